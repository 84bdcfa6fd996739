/* random_graphs.c: the passes keep what a graph computes.  Builds random small graphs, runs a pipeline and compares the
 * reference evaluation before and after: within rounding for relaxed numerics, bit for bit for exact ones.  A seed is
 * four graphs: an f32 net in both modes, and expressions of all ops and dtypes (instance.h) in both modes, the exact
 * ones on zeros of both signs, infinities, NaN, extremes and wrap-around values.
 *
 *     tn_random_graphs [seeds [first seed]] */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/ir/evaluate.h"
#include "tests/ir/instance.h"
#include "passes/util.h"
#include "passes/rule.h"

#undef X
#undef Y
#undef Z
#undef W

enum { MAX_VALUES = 64 };

typedef struct builder {
    tn_graph *g;
    uint32_t state;
    tn_val v[MAX_VALUES];
    size_t n;
} builder;

static uint32_t pick(builder *b, uint32_t n) {
    b->state = b->state * 1664525u + 1013904223u;
    return (b->state >> 10) % n;
}

static tn_val any(builder *b) {
    return b->v[pick(b, 3) ? b->n - 1 - pick(b, b->n < 4 ? (uint32_t)b->n : 4) : pick(b, (uint32_t)b->n)];
}

static void keep(builder *b, tn_val v) {
    if (v.i && b->n < MAX_VALUES) b->v[b->n++] = v;
}

/* ---- nets -------------------------------------------------------------------------------------------------------- */

/* A constant that broadcasts to a value of this rank: a number, one a channel, or one a column. */
static tn_val constant(builder *b, tn_val like) {
    static const double nums[] = {0, -0.0, 1, -1, 0.5, 2, 3, 6, 0.25, 1.0 / 6};
    tn_graph *g = b->g;
    int64_t dims[TN_MAX_RANK], n = 1;
    size_t rank = tn_val_rank(g, like);
    if (pick(b, 2)) return tn_const_num(g, TN_F32, nums[pick(b, sizeof nums / sizeof nums[0])]);
    for (size_t k = 0; k < rank; k++) dims[k] = 1;
    size_t axis = rank == 4 && pick(b, 2) ? 1 : rank - 1;
    if (!tn_dim_is_const(g, tn_val_dim(g, like, axis), &n)) n = 1;
    dims[axis] = n;
    float data[64];
    for (int64_t k = 0; k < n && k < 64; k++) data[k] = (float)pick(b, 17) / 4 - 2;
    tn_blob blob = tn_blob_copy(g, data, (size_t)n * sizeof data[0]);
    return tn_const(g, tn_type_const(g, TN_F32, rank, dims), blob, NULL);
}

static tn_val unary(builder *b, tn_val x) {
    static const tn_op ops[] = {TN_OP_NEG,  TN_OP_ABS,   TN_OP_RELU, TN_OP_SIGMOID, TN_OP_TANH, TN_OP_EXP,
                                TN_OP_SQRT, TN_OP_FLOOR, TN_OP_ERF,  TN_OP_SIGN,    TN_OP_SILU, TN_OP_RELU};
    return tn_unary(b->g, ops[pick(b, sizeof ops / sizeof ops[0])], x);
}

static tn_val binary(builder *b, tn_val x) {
    static const tn_op ops[] = {TN_OP_ADD, TN_OP_SUB, TN_OP_MUL, TN_OP_DIV, TN_OP_MIN, TN_OP_MAX, TN_OP_ADD, TN_OP_MUL};
    tn_op op = ops[pick(b, sizeof ops / sizeof ops[0])];
    tn_val y = constant(b, x);
    for (int k = 0; k < 4 && pick(b, 2); k++) {
        tn_val other = any(b);
        if (tn_val_type(b->g, other).i == tn_val_type(b->g, x).i) y = other;
    }
    return pick(b, 2) ? tn_binary(b->g, op, x, y) : tn_binary(b->g, op, y, x);
}

static tn_val transpose(builder *b, tn_val x) {
    static const int64_t perms[][4] = {{0, 2, 3, 1}, {0, 3, 1, 2}, {0, 2, 1, 3}, {3, 2, 1, 0}};
    if (tn_val_rank(b->g, x) != 4) return (tn_val){0};
    tn_attrs_perm a = {.perm = {perms[pick(b, 4)], 4}};
    return tn_emit1(b->g, TN_OP_TRANSPOSE, &a, 1, &x);
}

static tn_val reduce(builder *b, tn_val x) {
    static const tn_op ops[] = {TN_OP_REDUCE_SUM, TN_OP_REDUCE_MEAN, TN_OP_REDUCE_MAX, TN_OP_REDUCE_MIN};
    int64_t axes[TN_MAX_RANK];
    tn_attrs_reduce a = {.axes = {axes, 0}, .keepdims = pick(b, 3) != 0};
    for (size_t k = 0; k < tn_val_rank(b->g, x); k++)
        if (pick(b, 2)) axes[a.axes.n++] = (int64_t)k;
    if (!a.keepdims && tn_val_rank(b->g, x) - a.axes.n < 2) a.keepdims = true;
    return tn_emit1(b->g, ops[pick(b, 4)], &a, 1, &x);
}

static tn_val slice(builder *b, tn_val x) {
    tn_graph *g = b->g;
    tn_dim starts[TN_MAX_RANK], sizes[TN_MAX_RANK];
    size_t rank = tn_val_rank(g, x);
    for (size_t k = 0; k < rank; k++) {
        int64_t d = 1;
        tn_dim_is_const(g, tn_val_dim(g, x, k), &d);
        int64_t s = pick(b, 2) ? pick(b, (uint32_t)d) : 0;
        starts[k] = tn_dim_const(g, s);
        sizes[k] = tn_dim_const(g, pick(b, 2) ? d - s : 1 + pick(b, (uint32_t)(d - s)));
    }
    tn_attrs_slice a = {.starts = {starts, (uint32_t)rank}, .sizes = {sizes, (uint32_t)rank}};
    return tn_emit1(g, TN_OP_SLICE, &a, 1, &x);
}

static tn_val concat(builder *b, tn_val x) {
    tn_val in[3] = {x, x, x};
    for (int k = 0; k < 3; k++) {
        tn_val other = any(b);
        if (tn_val_type(b->g, other).i == tn_val_type(b->g, x).i) in[k] = other;
    }
    int64_t d = 0;
    tn_attrs_axis a = {.axis = pick(b, (uint32_t)tn_val_rank(b->g, x))};
    if (!tn_dim_is_const(b->g, tn_val_dim(b->g, x, (size_t)a.axis), &d) || d > 16) return (tn_val){0};
    return tn_emit1(b->g, TN_OP_CONCAT, &a, 1 + pick(b, 3), in);
}

static tn_val weights(builder *b, size_t rank, const int64_t *dims) {
    float data[4096];
    int64_t n = 1;
    for (size_t k = 0; k < rank; k++) n *= dims[k];
    if (n > 4096) return (tn_val){0};
    for (int64_t k = 0; k < n; k++) data[k] = (float)pick(b, 33) / 32 - 0.5f;
    return tn_const(b->g, tn_type_const(b->g, TN_F32, rank, dims), tn_blob_copy(b->g, data, (size_t)n * sizeof data[0]),
                    "w");
}

static tn_val conv(builder *b, tn_val x) {
    tn_graph *g = b->g;
    int64_t c = 0, h = 0, w = 0;
    if (tn_val_rank(g, x) != 4) return (tn_val){0};
    tn_dim_is_const(g, tn_val_dim(g, x, 1), &c);
    tn_dim_is_const(g, tn_val_dim(g, x, 2), &h);
    tn_dim_is_const(g, tn_val_dim(g, x, 3), &w);
    bool wide = h >= 3 && w >= 3 && pick(b, 2);
    int64_t k = wide ? 3 : 1, dims[4] = {pick(b, 2) ? c : 4, c, k, k}, pads[4] = {wide, wide, wide, wide};
    tn_attrs_conv a = {.groups = 1};
    if (wide && pick(b, 3)) a.pads = (tn_ints){pads, 4};
    if (pick(b, 3) == 0) {
        a.groups = c;
        dims[0] = c;
        dims[1] = 1;
    }
    tn_val in[3] = {x, weights(b, 4, dims), {0}};
    if (!in[1].i) return in[1];
    if (pick(b, 2)) in[2] = weights(b, 1, dims);
    return tn_emit1(g, TN_OP_CONV, &a, in[2].i ? 3 : 2, in);
}

static tn_val matmul(builder *b, tn_val x) {
    int64_t k = 0;
    tn_dim_is_const(b->g, tn_val_dim(b->g, x, tn_val_rank(b->g, x) - 1), &k);
    int64_t dims[2] = {k, 5};
    tn_val in[2] = {x, weights(b, 2, dims)};
    tn_attrs_matmul a = {0};
    return in[1].i ? tn_emit1(b->g, TN_OP_MATMUL, &a, 2, in) : in[1];
}

/* Products of one operand, which mostly go on alike. */
static tn_val siblings(builder *b, tn_val x) {
    static const tn_op ops[] = {TN_OP_ADD, TN_OP_SUB, TN_OP_MUL, TN_OP_DIV};
    const tn_op op = ops[pick(b, 4)];
    const bool follows = pick(b, 3), ends = pick(b, 2), flat = pick(b, 2);
    tn_val v = {0};
    int64_t k = 0;
    tn_dim_is_const(b->g, tn_val_dim(b->g, x, tn_val_rank(b->g, x) - 1), &k);
    for (uint32_t n = 2 + pick(b, 2); n-- > 0; keep(b, v)) {
        const tn_attrs_matmul a = {.trans_b = !flat};
        const int64_t outs = 4 + 4 * pick(b, 2), dims[2] = {flat ? k : outs, flat ? outs : k};
        tn_val in[2] = {x, weights(b, 2, dims)};
        v = in[1].i ? tn_emit1(b->g, TN_OP_MATMUL, &a, 2, in) : in[1];
        if (v.i && follows && pick(b, 4)) v = tn_binary(b->g, op, v, constant(b, v));
        if (v.i && ends) v = tn_unary(b->g, TN_OP_RELU, v);
    }
    return v;
}

static tn_val batch_norm(builder *b, tn_val x) {
    int64_t c = 0;
    if (tn_val_rank(b->g, x) != 4) return (tn_val){0};
    tn_dim_is_const(b->g, tn_val_dim(b->g, x, 1), &c);
    tn_attrs_norm a = {.axis = 1, .eps = 1e-3};
    tn_val in[5] = {x, weights(b, 1, &c), weights(b, 1, &c), weights(b, 1, &c), {0}};
    in[4] = tn_unary(b->g, TN_OP_ABS, weights(b, 1, &c));
    return tn_emit1(b->g, TN_OP_BATCH_NORM, &a, 5, in);
}

static tn_graph *random_graph(const tn_env *env, uint32_t seed) {
    static tn_val (*const makers[])(builder *, tn_val) = {unary,      binary, binary, transpose, transpose,
                                                          reduce,     slice,  concat, conv,      matmul,
                                                          batch_norm, unary,  binary, siblings};
    builder b = {.g = tn_graph_new(env), .state = seed * 2654435761u + 1};
    if (!b.g) return NULL;
    int64_t dims[4] = {1 + pick(&b, 2), 4, 3 + pick(&b, 3), 3 + pick(&b, 3)};
    keep(&b, tn_graph_add_input(b.g, "x", tn_type_const(b.g, TN_F32, 4, dims)));
    keep(&b, tn_graph_add_input(b.g, "y", tn_type_const(b.g, TN_F32, 4, dims)));
    uint32_t n = 4 + pick(&b, 14);
    for (uint32_t k = 0; k < n; k++) {
        tn_val (*make)(builder *, tn_val) = makers[pick(&b, sizeof makers / sizeof makers[0])];
        keep(&b, make(&b, any(&b)));
    }
    tn_val outs[3] = {b.v[b.n - 1], b.v[b.n - 2], any(&b)};
    const char *names[3] = {"a", "b", "c"};
    tn_graph_set_outputs(b.g, 3, outs, names);
    return b.g;
}

/* ---- graphs of any ops and dtypes ------------------------------------------------------------------------------- */

/* What kind of graph a seed is. */
typedef enum family {
    NET,        /* f32: convolutions, norms and what surrounds them */
    EXPRESSION, /* of any dtypes, on any inputs, with exact numerics: the same bits */
    RELAXED_EXPRESSION
} family;

static const tn_env quiet; /* what does not type is thrown away */

static tn_graph *make_graph(const tn_env *env, uint32_t seed, family kind) {
    tn_random r = {(uint64_t)seed << 20};
    if (kind == NET) return random_graph(env, seed);
    tn_expression e = {.dtypes = ANY, .depth = 2 + tn_pick(&r, 4), .steps = true, .contractions = tn_chance(&r, 40)};
    e.constants = tn_chance(&r, 50) ? TN_TAME : (tn_flavour)tn_pick(&r, TN_FLAVOURS);
    if (kind == RELAXED_EXPRESSION) {
        e.dtypes = tn_chance(&r, 60) ? WIDE_FLOATS | INTS | BOOLS : FLOATS_16 | INTS | BOOLS;
        e.steps = !e.contractions; /* a step behind a sum falls where rounding says */
        e.constants = TN_TAME;
    } else if (tn_chance(&r, 60)) { /* few dtypes, so that values meet */
        e.dtypes = 1u << (1 + tn_pick(&r, TN_DTYPE_COUNT - 1)) | 1u << (1 + tn_pick(&r, TN_DTYPE_COUNT - 1));
        e.dtypes |= tn_chance(&r, 50) ? BOOLS : 0;
    }
    tn_graph *g = NULL;
    for (int k = 0; k < 20 && !g; k++) g = tn_random_expression(&quiet, &e, &r);
    return g;
}

static double coarsest(tn_graph *g) {
    double eps = tn_limits_of(TN_F32).eps;
    for (uint32_t k = 1; k < tn_graph_val_limit(g); k++)
        if (tn_val_type(g, (tn_val){k}).i) eps = fmax(eps, tn_limits_of(tn_val_dtype(g, (tn_val){k})).eps);
    return eps;
}

static tn_compare tolerance(tn_graph *g, family kind, tn_numerics numerics, uint32_t seed) {
    tn_compare c = {.bits = numerics == TN_NUMERICS_EXACT, .seed = seed, .rtol = 1e-4, .atol = 1e-4};
    c.amplified = !c.bits;
    if (kind == NET) return c;
    tn_random r = {seed};
    c.flavoured = true;
    c.flavour = kind == RELAXED_EXPRESSION ? TN_TAME : (tn_flavour)tn_pick(&r, TN_FLAVOURS);
    if (kind == RELAXED_EXPRESSION) {
        c.conditioned = true;
        c.rtol = 64 * coarsest(g);
        c.atol = 0;
    }
    return c;
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

static void on_diag(void *user, const tn_diag *d) {
    (void)user;
    if (d->severity != TN_NOTE) fprintf(stderr, "%s: %s %s\n", d->loc, d->message, d->hint);
}

typedef struct job {
    family kind;
    tn_numerics numerics;
    const char *passes;
    uint32_t seed;
} job;

/* One run with at most `limit` rewrites (0: all); the rule counts go to *ctx, which the caller frees. */
static tn_status run_job(const tn_env *env, const job *j, uint32_t limit, tn_pass_ctx **ctx, char *why, size_t size) {
    tn_graph *before = make_graph(env, j->seed, j->kind), *after = before ? tn_graph_clone(before) : NULL;
    tn_pass_options opts = {.compute = TN_F32, .numerics = j->numerics, .stop_after_rewrite = limit};
    *ctx = tn_pass_ctx_new(env, &opts);
    snprintf(why, size, "the passes fail");
    tn_status s = after && *ctx ? tn_run_passes(after, j->passes, *ctx) : TN_E_MEMORY;
    if (s == TN_OK) {
        tn_compare c = tolerance(before, j->kind, j->numerics, j->seed);
        s = tn_compare_graphs(env, before, after, &c, why, size);
    }
    tn_graph_free(after);
    tn_graph_free(before);
    return s;
}

static uint32_t rewrites(const tn_pass_ctx *ctx, const char *rule) {
    const tn_rule_count *counts;
    uint32_t total = 0;
    for (size_t n = tn_rule_counts(ctx, &counts), k = 0; k < n; k++)
        if (!rule || !strcmp(counts[k].rule, rule)) total += counts[k].fired;
    return total;
}

/* The first rewrite that makes a difference, by running with ever more of them. */
static void name_culprit(const tn_env *env, const job *j) {
    tn_pass_ctx *last = NULL;
    char why[200];
    for (uint32_t limit = 1; limit < 2000; limit++) {
        tn_pass_ctx *ctx;
        tn_status s = run_job(env, j, limit, &ctx, why, sizeof why);
        const tn_rule_count *counts;
        size_t n = ctx ? tn_rule_counts(ctx, &counts) : 0;
        for (size_t k = 0; s != TN_OK && k < n; k++)
            if (counts[k].fired != (last ? rewrites(last, counts[k].rule) : 0))
                printf("  rewrite %u, by %s: %s\n", limit, counts[k].rule, why);
        tn_pass_ctx_free(last);
        last = ctx;
        if (s != TN_OK || !ctx || rewrites(ctx, NULL) < limit) break;
    }
    tn_pass_ctx_free(last);
}

typedef struct totals {
    uint32_t graphs, skipped, rewrites, failures;
} totals;

static void try_job(const tn_env *env, const job *j, totals *all) {
    static const char *const kinds[] = {"net", "expression", "relaxed expression"};
    char why[200] = "";
    tn_pass_ctx *ctx;
    tn_status s = run_job(env, j, 0, &ctx, why, sizeof why);
    if (ctx) all->rewrites += rewrites(ctx, NULL);
    tn_pass_ctx_free(ctx);
    if (s == TN_E_UNSUPPORTED) {
        all->skipped++;
    } else if (s == TN_OK) {
        all->graphs++;
    } else {
        printf("%s, seed %u, %s: %s: %s\n", kinds[j->kind], j->seed,
               j->numerics == TN_NUMERICS_EXACT ? "exact" : "relaxed", tn_status_text(s), why);
        name_culprit(env, j);
        all->failures++;
    }
}

int main(int argc, char **argv) {
    tn_env env = {.diag = on_diag};
    uint32_t count = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 300;
    const char *turn = getenv("TENON_MATRIX_TURN"); /* CI's commit number: other graphs every time */
    uint32_t first = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 1;
    if (argc <= 2 && turn) first += (uint32_t)strtoul(turn, NULL, 10) * count;
    static const char exact[] = "canon,fold,cse,dce,recognise,affine,cancel,canon,fold,dce,horizontal,fold,dce";
    static const char relaxed[] = "canon,fold,cse,dce,recognise,affine,fold,cancel,layout,fold,cancel,"
                                  "canon,fold,cse,dce,expand,canon,fold,cse,dce,horizontal,fold,dce";
    totals all = {0};
    for (uint32_t seed = first; seed < first + count; seed++) {
        try_job(&env, &(job){NET, TN_NUMERICS_EXACT, exact, seed}, &all);
        try_job(&env, &(job){NET, TN_NUMERICS_RELAXED, relaxed, seed}, &all);
        try_job(&env, &(job){EXPRESSION, TN_NUMERICS_EXACT, exact, seed}, &all);
        try_job(&env, &(job){RELAXED_EXPRESSION, TN_NUMERICS_RELAXED, relaxed, seed}, &all);
    }
    printf("seeds %u to %u: %u graphs compared, %u cannot be evaluated, %u rewrites, %u mismatches\n", first,
           first + count - 1, all.graphs, all.skipped, all.rewrites, all.failures);
    return all.failures || all.rewrites < count || all.graphs < count ? 1 : 0;
}
