/* norm.c: batch norms with constant parameters.
 *
 * batch_norm(x) = x * s + t with s = scale / sqrt(var + eps) and t = bias - mean * s (Ioffe and Szegedy 2015,
 * section 3.1). */
#include <math.h>
#include "passes/rules/filter.h"
#include "passes/util.h"
#include "passes/rule.h"

enum { X_IN, SCALE, BIAS, MEAN, VARIANCE };

typedef struct affine {
    int64_t n;
    double *s, *t;
} affine;

static bool constant_params(const tn_match *m, int64_t *n) {
    const tn_graph *g = m->g;
    for (size_t k = SCALE; k <= VARIANCE; k++) {
        tn_val v = tn_node_input(g, m->root, k);
        if (!tn_is_const(g, v) || !tn_static_numel(g, v, n) || *n < 1) return false;
    }
    return true;
}

static const char *constants(const tn_match *m) {
    return constant_params(m, &(int64_t){0}) ? NULL : "the parameters are not constant";
}

/* The operand is a convolution or matmul used here only, with constant weights, and the norm runs over its channels. */
static const char *after_filter(const tn_match *m) {
    tn_filter f;
    int64_t n;
    if (!constant_params(m, &n)) return "the parameters are not constant";
    tn_val x = tn_node_input(m->g, m->root, X_IN);
    if (!tn_val_has_one_use(m->g, x)) return "the result before the norm has a second use";
    if (!tn_filter_of(m->g, tn_val_def(m->g, x), &f)) return "the weights are not constant";
    if (f.outs != n || (int64_t)f.axis != TN_ATTRS_OF(m->g, m->root, norm)->axis)
        return "the norm runs over another axis";
    return NULL;
}

static bool affine_of(const tn_match *m, affine *a) {
    const tn_graph *g = m->g;
    double eps = TN_ATTRS_OF(g, m->root, norm)->eps;
    constant_params(m, &a->n);
    a->s = tn_alloc(tn_graph_env(g), (size_t)a->n * 2 * sizeof *a->s);
    if (!a->s) return false;
    a->t = a->s + a->n;
    for (int64_t k = 0; k < a->n; k++) {
        double p[5];
        for (size_t i = SCALE; i <= VARIANCE; i++) p[i] = tn_channel_num(g, tn_node_input(g, m->root, i), k);
        a->s[k] = p[SCALE] / sqrt(p[VARIANCE] + eps);
        a->t[k] = p[BIAS] - p[MEAN] * a->s[k];
    }
    return true;
}

static void affine_free(const tn_match *m, affine *a) {
    tn_free(tn_graph_env(m->g), a->s, (size_t)a->n * 2 * sizeof *a->s);
}

static tn_val out_of_memory(tn_match *m) {
    tn_graph_fail(m->g, TN_E_MEMORY, m->root, "", "out of memory while folding a batch norm");
    return (tn_val){0};
}

static tn_val fold_into_filter(tn_match *m) {
    tn_filter f;
    affine a;
    tn_filter_of(m->g, tn_val_def(m->g, tn_node_input(m->g, m->root, X_IN)), &f);
    if (!affine_of(m, &a)) return out_of_memory(m);
    for (int64_t k = 0; k < a.n; k++) a.t[k] += a.s[k] * tn_filter_bias(&f, k);
    tn_val y = tn_filter_emit(&f, f.x, tn_filter_scaled(&f, a.s, NULL), a.t);
    affine_free(m, &a);
    if (!y.i) m->why = "a weight would not be finite";
    return y;
}

static tn_val mul_add(tn_match *m) {
    affine a;
    if (!affine_of(m, &a)) return out_of_memory(m);
    tn_graph *g = m->g;
    tn_val x = tn_node_input(g, m->root, X_IN);
    int64_t dims[TN_MAX_RANK];
    size_t axis = (size_t)TN_ATTRS_OF(g, m->root, norm)->axis, rank = tn_val_rank(g, x) - axis;
    for (size_t k = 0; k < rank; k++) dims[k] = k ? 1 : a.n;
    tn_dtype t = tn_val_dtype(g, x);
    tn_val s = tn_emit_const_f64(g, t, rank, dims, a.s, NULL), d = tn_emit_const_f64(g, t, rank, dims, a.t, NULL);
    affine_free(m, &a);
    if (!s.i || !d.i) m->why = "a factor would not be finite";
    if (m->why) return (tn_val){0};
    return tn_binary(g, TN_OP_ADD, tn_binary(g, TN_OP_MUL, x, s), d);
}

/* clang-format off */
static const tn_rule norm_fold[] = {
    /*   name                 match                                             becomes               dtypes  when          exactness */
    RULE(conv_norm,           OP(BATCH_NORM, NODE(CONV), X, Y, Z, W),           FN(fold_into_filter), FLOATS, after_filter, FINITE(8)),
    RULE(conv_transpose_norm, OP(BATCH_NORM, NODE(CONV_TRANSPOSE), X, Y, Z, W), FN(fold_into_filter), FLOATS, after_filter, FINITE(8)),
    RULE(matmul_norm,         OP(BATCH_NORM, NODE(MATMUL), X, Y, Z, W),         FN(fold_into_filter), FLOATS, after_filter, FINITE(8)),
    RULE(norm_mul_add,        NODE(BATCH_NORM),                                 FN(mul_add),          FLOATS, constants,    FINITE(8)),
};
/* clang-format on */

const tn_rules tn_rules_norm_fold = TN_RULES(norm_fold);
