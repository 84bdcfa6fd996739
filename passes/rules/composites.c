/* composites.c: layer norm, RMS norm and softmax in their expansions. */
#include <math.h>
#include "passes/util.h"
#include "passes/rule.h"

/* ---- reductions -------------------------------------------------------------------------------------------------- */

static const tn_attrs_reduce *reduce_of(const tn_match *m, tn_var var) {
    return TN_ATTRS_OF(m->g, tn_val_def(m->g, m->v[var]), reduce);
}

/* Does `var` reduce the trailing axes from *axis on, and keep them as ones? */
static bool trailing(const tn_match *m, tn_var var, int64_t *axis) {
    const tn_attrs_reduce *a = reduce_of(m, var);
    size_t rank = tn_val_rank(m->g, m->v[TN_X]);
    *axis = (int64_t)rank - (int64_t)a->axes.n;
    if (!a->keepdims || a->axes.n == 0) return false;
    for (uint32_t k = 0; k < a->axes.n; k++)
        if (a->axes.p[k] != *axis + k) return false;
    return true;
}

static const char *one_axis(const tn_match *m, tn_var var) {
    const tn_attrs_reduce *a = reduce_of(m, var);
    return a->keepdims && a->axes.n == 1 ? NULL : "the sum does not run over one kept axis";
}

/* ---- norms ------------------------------------------------------------------------------------------------------- */

/* TN_A: the mean, TN_B: the mean of squares, TN_C: eps. */
static const char *both_trailing(const tn_match *m) {
    int64_t a, b;
    double eps;
    if (!trailing(m, TN_A, &a) || !trailing(m, TN_B, &b) || a != b)
        return "the means do not run over the trailing axes";
    return tn_const_splat(m->g, m->v[TN_C], &eps) && eps >= 0 ? NULL : "eps is negative";
}

static const char *squares_trailing(const tn_match *m) {
    int64_t b;
    double eps;
    if (!trailing(m, TN_B, &b)) return "the mean does not run over the trailing axes";
    return tn_const_splat(m->g, m->v[TN_C], &eps) && eps >= 0 ? NULL : "eps is negative";
}

static tn_attrs_norm norm_attrs(const tn_match *m) {
    tn_attrs_norm a = {0};
    trailing(m, TN_B, &a.axis);
    tn_const_splat(m->g, m->v[TN_C], &a.eps);
    return a;
}

static tn_val layer_norm(tn_match *m) {
    tn_attrs_norm a = norm_attrs(m);
    return tn_emit1(m->g, TN_OP_LAYER_NORM, &a, 1, &m->v[TN_X]);
}

static tn_val rms_norm(tn_match *m) {
    tn_attrs_norm a = norm_attrs(m);
    return tn_emit1(m->g, TN_OP_RMS_NORM, &a, 1, &m->v[TN_X]);
}

/* A constant with exactly the normalised dims. */
static bool trailing_constant(const tn_match *m, tn_val c, size_t axis) {
    const tn_graph *g = m->g;
    tn_val x = m->v[TN_X];
    size_t rank = tn_val_rank(g, x), n = rank - axis;
    if (tn_val_rank(g, c) < n || tn_val_rank(g, c) > rank) return false;
    size_t extra = tn_val_rank(g, c) - n; /* leading ones */
    for (size_t k = 0; k < extra; k++)
        if (!tn_dim_equal_const(g, tn_val_dim(g, c, k), 1)) return false;
    for (size_t k = 0; k < n; k++)
        if (tn_val_dim(g, c, extra + k).i != tn_val_dim(g, x, axis + k).i) return false;
    return true;
}

static tn_node norm_node(const tn_match *m) {
    return tn_val_def(m->g, m->v[TN_Y]);
}

static const char *param_fits(const tn_match *m) {
    size_t axis = (size_t)TN_ATTRS_OF(m->g, norm_node(m), norm)->axis;
    return trailing_constant(m, m->v[TN_C], axis) ? NULL : "the constant does not have the normalised shape";
}

static const char *scale_fits(const tn_match *m) {
    int64_t axis;
    const char *why = both_trailing(m);
    if (why) return why;
    trailing(m, TN_A, &axis);
    return trailing_constant(m, m->v[TN_E], (size_t)axis) && trailing_constant(m, m->v[TN_F], (size_t)axis)
               ? NULL
               : "scale or bias does not have the normalised shape";
}

static tn_val shaped(tn_match *m, tn_val c, size_t axis) {
    tn_type t = tn_val_type(m->g, m->v[TN_X]);
    return tn_emit_reshape(m->g, c, tn_type_rank(m->g, t) - axis, tn_type_dims(m->g, t) + axis);
}

static tn_val with_param(tn_match *m, size_t slot) {
    tn_node n = norm_node(m);
    tn_val in[3];
    for (size_t k = 0; k < 3; k++) in[k] = tn_node_input(m->g, n, k);
    in[slot] = shaped(m, m->v[TN_C], (size_t)TN_ATTRS_OF(m->g, n, norm)->axis);
    return tn_emit_like(m->g, n, in[2].i ? 3 : slot + 1, in);
}

static tn_val with_scale(tn_match *m) {
    return with_param(m, 1);
}

static tn_val with_bias(tn_match *m) {
    return with_param(m, 2);
}

static tn_val layer_norm_affine(tn_match *m) {
    tn_attrs_norm a = norm_attrs(m);
    tn_val in[3] = {m->v[TN_X], shaped(m, m->v[TN_E], (size_t)a.axis), shaped(m, m->v[TN_F], (size_t)a.axis)};
    return tn_emit1(m->g, TN_OP_LAYER_NORM, &a, 3, in);
}

/* ---- softmax ----------------------------------------------------------------------------------------------------- */

/* TN_A: the maximum, TN_B: the sum. */
static const char *same_axis(const tn_match *m) {
    const char *why = one_axis(m, TN_B);
    if (why) return why;
    const tn_attrs_reduce *a = reduce_of(m, TN_A);
    return !one_axis(m, TN_A) && a->axes.p[0] == reduce_of(m, TN_B)->axes.p[0]
               ? NULL
               : "maximum and sum run over different axes";
}

static const char *sum_axis(const tn_match *m) {
    return one_axis(m, TN_B);
}

static tn_val along_sum(tn_match *m, tn_op op) {
    tn_attrs_axis a = {.axis = reduce_of(m, TN_B)->axes.p[0]};
    return tn_emit1(m->g, op, &a, 1, &m->v[TN_X]);
}

static tn_val softmax(tn_match *m) {
    return along_sum(m, TN_OP_SOFTMAX);
}

/* TN_A: the maximum, along the axis of softmax TN_Y. */
static const char *own_axis(const tn_match *m) {
    const int64_t axis = TN_ATTRS_OF(m->g, tn_val_def(m->g, m->v[TN_Y]), axis)->axis;
    return !one_axis(m, TN_A) && reduce_of(m, TN_A)->axes.p[0] == axis ? NULL
                                                                       : "maximum and softmax run over different axes";
}

static tn_val softmax_again(tn_match *m) {
    return tn_emit_like(m->g, tn_val_def(m->g, m->v[TN_Y]), 1, &m->v[TN_X]);
}

static tn_val log_softmax(tn_match *m) {
    return along_sum(m, TN_OP_LOG_SOFTMAX);
}

static tn_val log_of_softmax(tn_match *m) {
    tn_attrs_axis a = *TN_ATTRS_OF(m->g, tn_val_def(m->g, m->v[TN_Y]), axis);
    return tn_emit1(m->g, TN_OP_LOG_SOFTMAX, &a, 1, &m->v[TN_X]);
}

/* x - mean(x), and 1 / sqrt(mean of its squares + eps) */
#define CENTRED LET(D, SUB, X, LET(A, REDUCE_MEAN, X))
#define INV_STD OP(RSQRT, OP(ADD, LET(B, REDUCE_MEAN, OP(MUL, VAR(D), VAR(D))), SPLAT(C)))
#define INV_RMS OP(RSQRT, OP(ADD, LET(B, REDUCE_MEAN, OP(MUL, X, X)), SPLAT(C)))
/* the spelling with scale and bias inside: x * g + (bias - mean * g), g = scale / std */
#define GAIN LET(W, MUL, OP(RSQRT, OP(ADD, LET(B, REDUCE_MEAN, OP(MUL, CENTRED, VAR(D))), SPLAT(C))), CONSTANT(E))
/* x - max(x), as softmax subtracts it */
#define SHIFTED LET(D, SUB, X, LET(A, REDUCE_MAX, X))

/* clang-format off */
static const tn_rule norms[] = {
    /*   name               match                                                                     becomes                dtypes  when              exactness */
    RULE(layer_norm,        OP(MUL, CENTRED, INV_STD),                                                FN(layer_norm),        FLOATS, both_trailing,    OF_LARGEST(64)),
    RULE(layer_norm_gain,   OP(ADD, OP(MUL, X, GAIN), OP(SUB, CONSTANT(F), OP(MUL, VAR(A), VAR(W)))), FN(layer_norm_affine), FLOATS, scale_fits,       FINITE(64)),
    RULE(layer_norm_scale,  OP(MUL, LET_ONCE(Y, LAYER_NORM, X), CONSTANT(C)),                         FN(with_scale),        FLOATS, param_fits,       ULPS(4)),
    RULE(layer_norm_bias,   OP(ADD, LET_ONCE(Y, LAYER_NORM, X, OPT(W)), CONSTANT(C)),                 FN(with_bias),         FLOATS, param_fits,       OF_LARGEST(4)),
    RULE(rms_norm,          OP(MUL, X, INV_RMS),                                                      FN(rms_norm),          FLOATS, squares_trailing, OF_LARGEST(64)),
    RULE(rms_norm_scale,    OP(MUL, LET_ONCE(Y, RMS_NORM, X), CONSTANT(C)),                           FN(with_scale),        FLOATS, param_fits,       ULPS(4)),
    RULE(softmax,           OP(DIV, LET(E, EXP, SHIFTED), LET(B, REDUCE_SUM, VAR(E))),                FN(softmax),           FLOATS, same_axis,        ULPS(8)),
    RULE(softmax_unshifted, OP(DIV, LET(E, EXP, X), LET(B, REDUCE_SUM, VAR(E))),                      FN(softmax),           FLOATS, sum_axis,         FINITE(8)),
    RULE(softmax_shifted,   LET(Y, SOFTMAX, SHIFTED),                                                 FN(softmax_again),     FLOATS, own_axis,         ULPS(8)),
    RULE(log_softmax,       OP(SUB, SHIFTED, OP(LOG, LET(B, REDUCE_SUM, OP(EXP, VAR(D))))),           FN(log_softmax),       FLOATS, same_axis,        OF_LARGEST(8)),
    RULE(log_of_softmax,    OP(LOG, LET(Y, SOFTMAX, X)),                                              FN(log_of_softmax),    FLOATS, NULL,             OF_LARGEST(8)),
};
/* clang-format on */

const tn_rules tn_rules_norms = TN_RULES(norms);
