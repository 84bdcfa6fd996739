/* pass_scaling.c: the standard passes take time in proportion to the graph, also where one value has thousands of users
 * and a concat thousands of operands.
 *
 * Each kind of graph is built with N and 4 N users; the passes' CPU time (the least of three runs) may grow by a factor
 * of 9 and 30 ms: 4 would be linear, 16 quadratic.
 *
 *     tn_pass_scaling [N] */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "passes/pass.h"

typedef struct kind {
    const char *name;
    void (*build)(tn_graph *g, tn_val x, uint32_t n, tn_val *out); /* out[k]: what becomes of user k of x */
    bool concat;                                                   /* the outs are the operands of one concat */
} kind;

static tn_val number(tn_graph *g, double v) {
    return tn_const_num(g, TN_F32, v);
}

static tn_val layer(tn_graph *g, const char *name, uint32_t k, tn_op op, tn_val a, tn_val b) {
    char text[32];
    tn_cursor at = tn_get_cursor(g);
    snprintf(text, sizeof text, "%s%u", name, k);
    at.loc = tn_loc_make(g, text);
    tn_set_cursor(g, at);
    return b.i ? tn_binary(g, op, a, b) : tn_unary(g, op, a);
}

/* Users that are simplified away. */
static void identities(tn_graph *g, tn_val x, uint32_t n, tn_val *out) {
    tn_val one = number(g, 1), zero = number(g, 0), none = {0};
    for (uint32_t k = 0; k < n; k++) {
        tn_val m = layer(g, "mul", k, TN_OP_MUL, x, one);
        out[k] = layer(g, "neg", k, TN_OP_NEG, layer(g, "negated", k, TN_OP_NEG, m, none), none);
        out[k] = layer(g, "add", k, TN_OP_ADD, out[k], zero);
    }
}

/* Users that are rewritten and stay apart. */
static void rewritten(tn_graph *g, tn_val x, uint32_t n, tn_val *out) {
    for (uint32_t k = 0; k < n; k++)
        out[k] = tn_unary(g, TN_OP_TANH, layer(g, "sub", k, TN_OP_SUB, x, number(g, 0.5 + k)));
}

static void equal(tn_graph *g, tn_val x, uint32_t n, tn_val *out) {
    for (uint32_t k = 0; k < n; k++) out[k] = layer(g, "tanh", k, TN_OP_TANH, x, (tn_val){0});
}

static void unused(tn_graph *g, tn_val x, uint32_t n, tn_val *out) {
    for (uint32_t k = 0; k < n; k++) {
        layer(g, "dead", k, TN_OP_MUL, x, number(g, 0.5 + k));
        out[k] = x;
    }
}

static void slices(tn_graph *g, tn_val x, uint32_t n, tn_val *out) {
    for (uint32_t k = 0; k < n; k++) {
        tn_dim starts[2] = {tn_dim_const(g, 0), tn_dim_const(g, k % 8)}, sizes[2];
        sizes[0] = tn_dim_const(g, 4);
        sizes[1] = tn_dim_const(g, 1);
        tn_attrs_slice a = {.starts = {starts, 2}, .sizes = {sizes, 2}};
        out[k] = tn_binary(g, TN_OP_MUL, tn_emit1(g, TN_OP_SLICE, &a, 1, &x), number(g, 0.5 + k));
    }
}

static void reductions(tn_graph *g, tn_val x, uint32_t n, tn_val *out) {
    static const int64_t axes[1] = {1};
    for (uint32_t k = 0; k < n; k++) {
        tn_attrs_reduce a = {.axes = {axes, 1}, .keepdims = true};
        tn_val v = tn_binary(g, TN_OP_MUL, x, number(g, 0.5 + k));
        out[k] = tn_emit1(g, TN_OP_REDUCE_MAX, &a, 1, &v);
    }
}

/* A chain whose links all read x too. */
static void chain(tn_graph *g, tn_val x, uint32_t n, tn_val *out) {
    static const int64_t perm[2] = {0, 1};
    tn_attrs_perm a = {.perm = {perm, 2}};
    for (uint32_t k = 0; k < n; k++) {
        out[k] = tn_binary(g, TN_OP_MAX, k ? out[k - 1] : x, x);
        out[k] = tn_emit1(g, TN_OP_TRANSPOSE, &a, 1, &out[k]);
        if (k % 64 == 63) out[k] = tn_unary(g, TN_OP_TANH, out[k]);
    }
}

/* Rules that ask what comes behind, in a chain where much does. */
static void residuals(tn_graph *g, tn_val x, uint32_t n, tn_val *out) {
    for (uint32_t k = 0; k < n; k++) {
        const tn_val v = k ? out[k - 1] : x, square = tn_binary(g, TN_OP_POW, v, number(g, 2));
        out[k] = tn_unary(g, TN_OP_SQRT, tn_binary(g, TN_OP_ADD, square, number(g, 1)));
        out[k] = tn_binary(g, TN_OP_ADD, tn_binary(g, TN_OP_DIV, v, out[k]), v);
    }
}

static const kind kinds[] = {
    {"identities", identities, false},
    {"identities in a concat", identities, true},
    {"rewritten", rewritten, false},
    {"rewritten in a concat", rewritten, true},
    {"equal", equal, false},
    {"equal in a concat", equal, true},
    {"unused", unused, false},
    {"slices", slices, false},
    {"slices in a concat", slices, true},
    {"reductions", reductions, false},
    {"reductions in a concat", reductions, true},
    {"chain", chain, false},
    {"residuals", residuals, false},
};

static double cpu_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void on_diag(void *user, const tn_diag *d) {
    (void)user;
    if (d->severity != TN_NOTE) fprintf(stderr, "%s: %s %s\n", d->loc, d->message, d->hint);
}

/* CPU milliseconds of the passes; negative if they fail. */
static double run(const kind *c, uint32_t n) {
    const tn_env env = {.diag = on_diag};
    const int64_t dims[2] = {4, 8};
    tn_graph *g = tn_graph_new(&env);
    tn_pass_ctx *ctx = tn_pass_ctx_new(&env, NULL);
    tn_val *out = calloc(n, sizeof *out);
    double ms = -1;
    if (g && ctx && out) {
        tn_val x = tn_unary(g, TN_OP_EXP, tn_graph_add_input(g, "x", tn_type_const(g, TN_F32, 2, dims)));
        tn_attrs_axis axis = {.axis = 1};
        c->build(g, x, n, out);
        tn_val all = c->concat ? tn_emit1(g, TN_OP_CONCAT, &axis, n, out) : (tn_val){0};
        tn_graph_set_outputs(g, c->concat ? 1 : n, c->concat ? &all : out, NULL);
        double start = cpu_ms();
        if (tn_run_passes(g, "canon,fold,cse,dce,fuse", ctx) == TN_OK) ms = cpu_ms() - start;
    }
    free(out);
    tn_pass_ctx_free(ctx);
    tn_graph_free(g);
    return ms;
}

static double least(const kind *c, uint32_t n) {
    double best = run(c, n);
    for (int k = 0; k < 2 && best >= 0; k++) {
        double ms = run(c, n);
        if (ms < best) best = ms;
    }
    return best;
}

int main(int argc, char **argv) {
    uint32_t n = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 2000;
    int failures = 0;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        double small = least(&kinds[k], n), large = least(&kinds[k], 4 * n);
        bool ok = small >= 0 && large >= 0 && large <= 9 * small + 30;
        printf("%-24s %7.1f ms at %u users, %7.1f ms at %u%s\n", kinds[k].name, small, n, large, 4 * n,
               ok ? "" : ": TOO MUCH");
        failures += !ok;
    }
    return failures ? 1 : 0;
}
