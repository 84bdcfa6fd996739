/* graph_gen.h: random graphs, evaluation on random data and comparison, for tests of passes.  Header-only: each test
 * program is one file. */
#ifndef TENON_TEST_GRAPH_GEN_H
#define TENON_TEST_GRAPH_GEN_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "ir/eval/eval.h"
#include "passes/pass.h"
#include "passes/util.h"

/* The last error, for messages of failed tests. */
typedef struct gen_log {
    char text[512];
} gen_log;

static inline void gen_diag(void *user, const tn_diag *d) {
    gen_log *log = user;
    if (d->severity == TN_ERROR) snprintf(log->text, sizeof log->text, "%s: %s", d->loc, d->message);
}

typedef struct gen {
    tn_graph *g;
    uint64_t state;
    tn_val pool[256];
    size_t n;
    tn_dim batch;
} gen;

static inline uint32_t gen_next(gen *s, uint32_t n) {
    s->state = s->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(s->state >> 33) % n;
}

static inline tn_val gen_weights(gen *s, size_t rank, const int64_t *dims) {
    int64_t n = 1;
    for (size_t k = 0; k < rank; k++) n *= dims[k];
    float *p = malloc((size_t)n * sizeof *p);
    for (int64_t k = 0; k < n; k++) p[k] = ((float)gen_next(s, 2001) - 1000) / 1000;
    tn_val v =
        tn_const(s->g, tn_type_const(s->g, TN_F32, rank, dims), tn_blob_copy(s->g, p, (size_t)n * sizeof *p), "");
    free(p);
    return v;
}

static inline tn_val gen_pick(gen *s) {
    /* Recent values more often, so that graphs are deep as well as wide. */
    size_t back = gen_next(s, 2) ? gen_next(s, s->n < 6 ? (uint32_t)s->n : 6) : gen_next(s, (uint32_t)s->n);
    return s->pool[s->n - 1 - back];
}

static inline bool gen_static(gen *s, tn_val v, size_t axis, int64_t *d) {
    return tn_dim_is_const(s->g, tn_val_dim(s->g, v, axis), d);
}

static inline bool gen_same_dims(const tn_graph *g, tn_val a, tn_val b, size_t except) {
    if (tn_val_rank(g, a) != tn_val_rank(g, b)) return false;
    for (size_t k = 0; k < tn_val_rank(g, a); k++)
        if (k != except && tn_val_dim(g, a, k).i != tn_val_dim(g, b, k).i) return false;
    return true;
}

static inline tn_val gen_binary(gen *s, tn_val x) {
    static const tn_op ops[] = {TN_OP_ADD, TN_OP_MUL, TN_OP_SUB, TN_OP_MAX};
    tn_op op = ops[gen_next(s, 4)];
    for (int tries = 0; tries < 8; tries++) {
        tn_val y = gen_pick(s);
        if (gen_same_dims(s->g, x, y, SIZE_MAX)) return tn_binary(s->g, op, x, y);
    }
    int64_t last;
    size_t rank = tn_val_rank(s->g, x);
    if (rank && gen_static(s, x, rank - 1, &last) && gen_next(s, 2))
        return tn_binary(s->g, op, x, gen_weights(s, 1, &last));
    return tn_binary(s->g, op, x, tn_const_num(s->g, TN_F32, 0.5));
}

static inline tn_val gen_concat(gen *s, tn_val x) {
    tn_val in[4] = {x};
    size_t n = 1, rank = tn_val_rank(s->g, x);
    if (rank < 2) return (tn_val){0};
    tn_attrs_axis a = {.axis = 1 + gen_next(s, (uint32_t)rank - 1)};
    for (int tries = 0; tries < 12 && n < 3; tries++) {
        tn_val y = gen_pick(s);
        if (gen_same_dims(s->g, x, y, (size_t)a.axis)) in[n++] = y;
    }
    if (gen_next(s, 4) == 0) in[n++] = x;
    return n > 1 ? tn_emit1(s->g, TN_OP_CONCAT, &a, n, in) : (tn_val){0};
}

static inline tn_val gen_slice(gen *s, tn_val x) {
    size_t rank = tn_val_rank(s->g, x);
    if (rank < 2) return (tn_val){0};
    size_t axis = 1 + gen_next(s, (uint32_t)rank - 1);
    int64_t d;
    if (!gen_static(s, x, axis, &d) || d < 2) return (tn_val){0};
    int64_t start = gen_next(s, (uint32_t)d - 1), size = 1 + gen_next(s, (uint32_t)(d - start));
    return tn_emit_slice(s->g, x, axis, tn_dim_const(s->g, start), tn_dim_const(s->g, size));
}

/* Merges two neighbouring axes, or splits a static one. */
static inline tn_val gen_reshape(gen *s, tn_val x) {
    size_t rank = tn_val_rank(s->g, x), n = 0;
    tn_dim dims[TN_MAX_RANK];
    if (rank < 2) return (tn_val){0};
    size_t axis = gen_next(s, (uint32_t)rank);
    int64_t d;
    bool split = rank < 5 && gen_static(s, x, axis, &d) && d % 2 == 0 && gen_next(s, 2);
    for (size_t k = 0; k < rank; k++) {
        tn_dim here = tn_val_dim(s->g, x, k);
        if (k == axis && split) {
            dims[n++] = tn_dim_const(s->g, d / 2);
            here = tn_dim_const(s->g, 2);
        } else if (k == axis && k + 1 < rank && rank > 2) {
            here = tn_dim_mul(s->g, here, tn_val_dim(s->g, x, ++k));
        }
        dims[n++] = here;
    }
    return tn_emit_reshape(s->g, x, n, dims);
}

static inline tn_val gen_transpose(gen *s, tn_val x) {
    tn_perm p = tn_perm_identity((uint32_t)tn_val_rank(s->g, x));
    if (p.n < 2) return (tn_val){0};
    uint32_t a = gen_next(s, p.n), b = gen_next(s, p.n);
    int64_t t = p.p[a];
    p.p[a] = p.p[b];
    p.p[b] = t;
    return tn_emit_transpose(s->g, x, p);
}

static inline tn_val gen_reduce(gen *s, tn_val x) {
    static const tn_op ops[] = {TN_OP_REDUCE_SUM, TN_OP_REDUCE_MEAN, TN_OP_REDUCE_MAX};
    if (tn_val_rank(s->g, x) < 2) return (tn_val){0};
    int64_t axis = (int64_t)tn_val_rank(s->g, x) - 1;
    if (gen_next(s, 2)) return tn_emit1(s->g, TN_OP_SOFTMAX, &(tn_attrs_axis){.axis = axis}, 1, &x);
    return tn_emit1(s->g, ops[gen_next(s, 3)], &(tn_attrs_reduce){.axes = {&axis, 1}, .keepdims = gen_next(s, 3) > 0},
                    1, &x);
}

static inline tn_val gen_contract(gen *s, tn_val x) {
    size_t rank = tn_val_rank(s->g, x);
    int64_t k, c;
    if (rank == 4 && gen_next(s, 3) && gen_static(s, x, 1, &c) && gen_static(s, x, 2, &k) && gen_static(s, x, 3, &k)) {
        int64_t w[4] = {4, c, 3, 3};
        int64_t pads[4] = {1, 1, 1, 1};
        tn_val in[2] = {x, gen_weights(s, 4, w)};
        if (gen_next(s, 3) == 0) {
            tn_attrs_pool p = {.kernel = {(int64_t[]){3, 3}, 2}, .strides = {(int64_t[]){1, 1}, 2}, .pads = {pads, 4}};
            return tn_emit1(s->g, TN_OP_MAX_POOL, &p, 1, in);
        }
        tn_attrs_conv a = {
            .strides = {(int64_t[]){1, 1}, 2}, .pads = {pads, 4}, .dilations = {(int64_t[]){1, 1}, 2}, .groups = 1};
        return tn_emit1(s->g, TN_OP_CONV, &a, 2, in);
    }
    if (rank < 2 || !gen_static(s, x, rank - 1, &k)) return (tn_val){0};
    if (rank > 2 && gen_next(s, 2)) { /* x times the transpose of something of its shape */
        tn_perm p = tn_perm_identity((uint32_t)rank);
        p.p[rank - 1] = (int64_t)rank - 2;
        p.p[rank - 2] = (int64_t)rank - 1;
        tn_val y = gen_pick(s);
        return tn_binary(s->g, TN_OP_MATMUL, x,
                         tn_emit_transpose(s->g, gen_same_dims(s->g, x, y, SIZE_MAX) ? y : x, p));
    }
    int64_t w[2] = {k, 4};
    return tn_binary(s->g, TN_OP_MATMUL, x, gen_weights(s, 2, w));
}

static inline tn_val gen_step(gen *s) {
    static const tn_op unary[] = {TN_OP_RELU, TN_OP_NEG, TN_OP_SIGMOID, TN_OP_ABS};
    tn_val x = gen_pick(s);
    switch (gen_next(s, 12)) {
    case 0:
    case 1: return gen_binary(s, x);
    case 2: return tn_unary(s->g, unary[gen_next(s, 4)], x);
    case 3: return gen_concat(s, x);
    case 4: return gen_slice(s, x);
    case 5: return gen_reshape(s, x);
    case 6: return gen_transpose(s, x);
    case 7: return gen_reduce(s, x);
    case 8:
    case 9: return gen_contract(s, x);
    default: return gen_binary(s, x);
    }
}

/* Two inputs; the batch is symbolic ("N") or 2.  False if out of memory. */
static inline bool gen_begin(gen *s, const tn_env *env, uint64_t seed, bool symbolic) {
    *s = (gen){.g = tn_graph_new(env), .state = seed * 2654435761u + 12345};
    if (!s->g) return false;
    for (int k = 0; k < 3; k++) gen_next(s, 2);
    s->batch = symbolic ? tn_dim_sym(s->g, "N") : tn_dim_const(s->g, 2);
    tn_dim image[4] = {s->batch, tn_dim_const(s->g, 4), tn_dim_const(s->g, 4), tn_dim_const(s->g, 6)};
    tn_dim rows[2] = {s->batch, tn_dim_const(s->g, 8)};
    s->pool[s->n++] = tn_graph_add_input(s->g, "image", tn_type_make(s->g, TN_F32, 4, image));
    s->pool[s->n++] = tn_graph_add_input(s->g, "rows", tn_type_make(s->g, TN_F32, 2, rows));
    tn_set_cursor(s->g, tn_cursor_end(s->g, tn_graph_body(s->g)));
    return true;
}

static inline void gen_steps(gen *s, size_t steps) {
    for (size_t k = 0; k < steps && s->n < 250; k++) {
        char layer[32];
        snprintf(layer, sizeof layer, "layer%zu", k);
        tn_cursor at = tn_get_cursor(s->g);
        at.loc = tn_loc_make(s->g, layer);
        tn_set_cursor(s->g, at);
        tn_val v = gen_step(s);
        int64_t n = 0;
        if (!v.i || tn_val_rank(s->g, v) > 6) continue;
        if (tn_dim_is_const(s->g, tn_dim_floordiv(s->g, tn_type_numel(s->g, tn_val_type(s->g, v)), s->batch), &n) &&
            n > 4000)
            continue;
        s->pool[s->n++] = v;
    }
}

/* The graph with some of the pool as outputs, and `own` (none: nothing) as one of its own; NULL if it went wrong. */
static inline tn_graph *gen_end(gen *s, tn_val own) {
    tn_val out[64];
    const char *names[64];
    static const char *const name[] = {"y0", "y1", "y2", "y3", "y4", "y5", "y6", "y7"};
    size_t n_out = 0;
    for (size_t k = s->n; k-- > 0 && n_out < 6;)
        if (s->pool[k].i != own.i && (!tn_val_first_use(s->g, s->pool[k]).i || gen_next(s, 12) == 0)) {
            names[n_out] = name[n_out];
            out[n_out++] = s->pool[k];
        }
    if (!n_out && !own.i) {
        out[n_out] = s->pool[s->n - 1];
        names[n_out++] = name[0];
    }
    if (own.i) names[n_out] = "own", out[n_out++] = own;
    tn_graph_set_outputs(s->g, n_out, out, names);
    if (tn_graph_status(s->g) == TN_OK) return s->g;
    tn_graph_free(s->g);
    return NULL;
}

/* A graph of about `steps` ops over one or two inputs. */
static inline tn_graph *gen_graph(const tn_env *env, uint64_t seed, size_t steps, bool symbolic) {
    gen s;
    if (!gen_begin(&s, env, seed, symbolic)) return NULL;
    gen_steps(&s, steps);
    return gen_end(&s, (tn_val){0});
}

/* The same with an output "own" that grows in the buffer of an input "past", of "P" (0 to 4) or 3 on some axis; both
 * are read by what follows, too. */
static inline tn_graph *gen_growing_graph(const tn_env *env, uint64_t seed, size_t steps, bool symbolic) {
    gen s;
    if (!gen_begin(&s, env, seed, symbolic)) return NULL;
    const tn_val image = s.pool[0];
    tn_attrs_axis a = {.axis = gen_next(&s, 4)};
    tn_dim dims[4];
    for (size_t k = 0; k < 4; k++) dims[k] = tn_val_dim(s.g, image, k);
    dims[a.axis] = symbolic ? tn_dim_sym(s.g, "P") : tn_dim_const(s.g, 3);
    if (symbolic) tn_dim_set_range(s.g, dims[a.axis], 0, 4);
    if (symbolic) tn_dim_set_range(s.g, s.batch, 0, 8);
    tn_val in[2] = {tn_graph_add_input(s.g, "past", tn_type_make(s.g, TN_F32, 4, dims)), image};
    gen_steps(&s, steps / 2);
    for (int tries = 0; tries < 12; tries++) {
        const tn_val x = gen_pick(&s);
        if (gen_same_dims(s.g, x, image, (size_t)a.axis)) in[1] = x;
    }
    const tn_val own = tn_emit1(s.g, TN_OP_CONCAT, &a, 2, in);
    if (gen_next(&s, 2)) s.pool[s.n++] = in[0];
    s.pool[s.n++] = own;
    gen_steps(&s, steps - steps / 2);
    tn_graph *g = gen_end(&s, own);
    const char *const pair = "past=own";
    if (!g || tn_graph_alias(g, &pair, 1) == TN_OK) return g;
    tn_graph_free(g);
    return NULL;
}

enum { GEN_MAX_IO = 16 };

typedef struct gen_io {
    tn_tensor in[GEN_MAX_IO], out[GEN_MAX_IO];
    size_t n_in, n_out;
} gen_io;

/* Evaluates g on data made from `seed`, with every symbol equal to n.  Floats lie in [-scale, scale]. */
static inline tn_status gen_eval(const tn_env *env, tn_graph *g, uint64_t seed, int64_t n, double scale, gen_io *io) {
    memset(io, 0, sizeof *io);
    io->n_in = tn_graph_input_count(g);
    io->n_out = tn_graph_output_count(g);
    if (io->n_in > GEN_MAX_IO || io->n_out > GEN_MAX_IO) return TN_E_ARGUMENT;
    gen s = {.state = seed};
    tn_binding b[8];
    size_t n_b = tn_sym_count(g) < 8 ? tn_sym_count(g) : 8;
    for (size_t k = 0; k < n_b; k++) b[k] = (tn_binding){tn_dim_name(g, tn_sym_at(g, k)), n};
    for (size_t k = 0; k < io->n_in; k++) {
        tn_val v = tn_graph_input(g, k);
        int64_t dims[TN_MAX_RANK];
        for (size_t a = 0; a < tn_val_rank(g, v); a++)
            if (!tn_dim_eval(g, tn_val_dim(g, v, a), b, n_b, &dims[a])) return TN_E_ARGUMENT;
        tn_status st = tn_tensor_new(env, tn_val_dtype(g, v), tn_val_rank(g, v), dims, &io->in[k]);
        if (st != TN_OK) return st;
        for (int64_t i = 0; i < tn_tensor_numel(&io->in[k]); i++)
            tn_store_num(io->in[k].dtype, io->in[k].data, (uint64_t)i,
                         scale * ((double)gen_next(&s, 2001) - 1000) / 1000);
    }
    return tn_eval_graph(env, g, io->in, io->n_in, io->out, io->n_out, NULL);
}

static inline void gen_io_free(const tn_env *env, gen_io *io) {
    for (size_t k = 0; k < io->n_in; k++) tn_tensor_free(env, &io->in[k]);
    for (size_t k = 0; k < io->n_out; k++) tn_tensor_free(env, &io->out[k]);
}

/* The largest |a - b| / (1 + |a|) over all outputs; infinity if shapes or NaNs differ. */
static inline double gen_difference(const gen_io *a, const gen_io *b) {
    double worst = 0;
    if (a->n_out != b->n_out) return INFINITY;
    for (size_t k = 0; k < a->n_out; k++) {
        const tn_tensor *x = &a->out[k], *y = &b->out[k];
        if (x->dtype != y->dtype || x->rank != y->rank || memcmp(x->dims, y->dims, x->rank * sizeof *x->dims))
            return INFINITY;
        for (int64_t i = 0; i < tn_tensor_numel(x); i++) {
            double u = tn_load_num(x->dtype, x->data, (uint64_t)i), v = tn_load_num(y->dtype, y->data, (uint64_t)i);
            if (isnan(u) != isnan(v)) return INFINITY;
            double d = fabs(u - v) / (1 + fabs(u));
            if (u != v && d > worst) worst = d;
        }
    }
    return worst;
}

static inline size_t gen_count(const tn_graph *g, tn_op op) {
    size_t n = 0;
    TN_FOR_NODES(g, tn_graph_body(g), x) n += tn_node_op(g, x) == op;
    return n;
}

/* Runs passes over g; 0 options mean f32. */
static inline tn_status gen_run(const tn_env *env, tn_graph *g, const char *passes, const tn_pass_options *o) {
    tn_pass_ctx *ctx = tn_pass_ctx_new(env, o);
    tn_status s = ctx ? tn_run_passes(g, passes, ctx) : TN_E_MEMORY;
    tn_pass_ctx_free(ctx);
    return s;
}

#endif
