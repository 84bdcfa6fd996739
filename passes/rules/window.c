/* window.c: padding, transposes and copies that convolutions, pools, matmuls and resizes take over. */
#include <math.h>
#include <string.h>
#include "passes/util.h"
#include "passes/rule.h"

static tn_val root_value(const tn_match *m) {
    return tn_node_result(m->g, m->root, 0);
}

/* ---- pad into conv and pools ------------------------------------------------------------------------------------- */

/* The spatial axes of a layout: first and how many. */
static void spatial_axes(const tn_graph *g, tn_val x, const char *layout, size_t *first, size_t *count) {
    *count = tn_val_rank(g, x) - 2;
    *first = tn_str_is(layout, "nhwc") ? 1 : 2;
}

static const char *layout_of(const tn_match *m) {
    if (tn_node_op(m->g, m->root) == TN_OP_CONV) return TN_ATTRS_OF(m->g, m->root, conv)->layout;
    return TN_ATTRS_OF(m->g, m->root, pool)->layout;
}

/* Fills begins then ends with the pad's amounts; false unless they are constants >= 0 on spatial axes only. */
static bool spatial_pads(const tn_match *m, int64_t *amounts) {
    const tn_graph *g = m->g;
    tn_val padded = tn_node_input(g, m->root, 0);
    const tn_attrs_pad *a = tn_node_attrs(g, tn_val_def(g, padded));
    if (!tn_str_is(a->mode, "") && !tn_str_is(a->mode, "constant")) return false;
    size_t first, count;
    spatial_axes(g, padded, layout_of(m), &first, &count);
    for (uint32_t k = 0; k < a->before.n; k++) {
        int64_t b, e;
        if (!tn_dim_is_const(g, a->before.p[k], &b) || !tn_dim_is_const(g, a->after.p[k], &e)) return false;
        bool spatial = k >= first && k < first + count;
        if (b < 0 || e < 0 || b > 1 << 24 || e > 1 << 24 || (!spatial && (b || e))) return false;
        if (spatial) {
            amounts[k - first] = b;
            amounts[k - first + count] = e;
        }
    }
    return true;
}

static double fill_of(const tn_match *m) {
    return TN_ATTRS_OF(m->g, tn_val_def(m->g, tn_node_input(m->g, m->root, 0)), pad)->value;
}

static const char *zero_spatial_pad(const tn_match *m) {
    int64_t amounts[2 * TN_MAX_RANK];
    if (fill_of(m) != 0) return "the fill value is not zero";
    return spatial_pads(m, amounts) ? NULL : "the padding is not constant and spatial";
}

static const char *zero_pad_counted(const tn_match *m) {
    const tn_attrs_pool *a = tn_node_attrs(m->g, m->root);
    for (uint32_t k = 0; k < a->pads.n; k++)
        if (a->pads.p[k] && !a->count_pad) return "the pool does not count its own padding";
    return a->ceil_mode ? "the pool rounds its size up" : zero_spatial_pad(m);
}

static const char *minus_inf_pad(const tn_match *m) {
    int64_t amounts[2 * TN_MAX_RANK];
    if (TN_ATTRS_OF(m->g, m->root, pool)->ceil_mode) return "the pool rounds its size up";
    if (!isinf(fill_of(m)) || fill_of(m) > 0) return "the fill value is not minus infinity";
    return spatial_pads(m, amounts) ? NULL : "the padding is not constant and spatial";
}

static tn_ints summed(const tn_match *m, tn_ints pads, int64_t *sum) {
    int64_t extra[2 * TN_MAX_RANK] = {0};
    spatial_pads(m, extra);
    uint32_t n = 2 * (uint32_t)(tn_val_rank(m->g, tn_node_input(m->g, m->root, 0)) - 2);
    for (uint32_t k = 0; k < n; k++) sum[k] = extra[k] + (k < pads.n ? pads.p[k] : 0);
    return (tn_ints){sum, n};
}

static tn_val conv_with_pads(tn_match *m) {
    int64_t sum[2 * TN_MAX_RANK];
    tn_attrs_conv a = *TN_ATTRS_OF(m->g, m->root, conv);
    a.pads = summed(m, a.pads, sum);
    tn_val in[3] = {m->v[TN_X], m->v[TN_W], m->v[TN_B]};
    return tn_emit1(m->g, TN_OP_CONV, &a, m->v[TN_B].i ? 3 : 2, in);
}

static tn_val pool_with_pads(tn_match *m) {
    int64_t sum[2 * TN_MAX_RANK];
    tn_attrs_pool a = *TN_ATTRS_OF(m->g, m->root, pool);
    a.pads = summed(m, a.pads, sum);
    if (tn_node_op(m->g, m->root) == TN_OP_AVG_POOL) a.count_pad = true;
    return tn_emit1(m->g, tn_node_op(m->g, m->root), &a, 1, &m->v[TN_X]);
}

static bool all_are(tn_ints v, int64_t want) {
    for (uint32_t k = 0; k < v.n; k++)
        if (v.p[k] != want) return false;
    return true;
}

static const char *one_by_one(const tn_match *m) {
    const tn_attrs_pool *a = tn_node_attrs(m->g, m->root);
    return all_are(a->kernel, 1) && all_are(a->strides, 1) && all_are(a->pads, 0) ? NULL : "";
}

/* ---- matmul with a transposed operand ---------------------------------------------------------------------------- */

/* The innermost axis of what is transposed becomes the rows: the flag does that, and what is left of the transpose
 * keeps the innermost axis in place (nothing is left if it only swapped the last two). */
static bool transposed_operand(const tn_match *m, size_t slot) {
    tn_val v = tn_node_input(m->g, m->root, slot);
    tn_perm p = tn_perm_of(m->g, tn_val_def(m->g, v));
    return p.n >= 2 && p.p[p.n - 2] == p.n - 1;
}

static const char *left_swapped(const tn_match *m) {
    return transposed_operand(m, 0) ? NULL : "the transpose does not make rows of the last axis";
}

static const char *right_swapped(const tn_match *m) {
    return transposed_operand(m, 1) ? NULL : "the transpose does not make rows of the last axis";
}

static tn_val without_swap(tn_match *m, size_t slot) {
    tn_node transpose = tn_val_def(m->g, tn_node_input(m->g, m->root, slot));
    tn_perm p = tn_perm_of(m->g, transpose);
    int64_t last = p.p[p.n - 1];
    p.p[p.n - 1] = p.p[p.n - 2];
    p.p[p.n - 2] = last;
    return tn_emit_transpose(m->g, tn_node_input(m->g, transpose, 0), p);
}

static tn_val take_left(tn_match *m) {
    tn_attrs_matmul a = *TN_ATTRS_OF(m->g, m->root, matmul);
    a.trans_a = !a.trans_a;
    tn_val in[2] = {without_swap(m, 0), m->v[TN_Y]};
    return tn_emit1(m->g, TN_OP_MATMUL, &a, 2, in);
}

static tn_val take_right(tn_match *m) {
    tn_attrs_matmul a = *TN_ATTRS_OF(m->g, m->root, matmul);
    a.trans_b = !a.trans_b;
    tn_val in[2] = {m->v[TN_X], without_swap(m, 1)};
    return tn_emit1(m->g, TN_OP_MATMUL, &a, 2, in);
}

/* ---- resize ------------------------------------------------------------------------------------------------------ */

static const char *resizes_nothing(const tn_match *m) {
    const tn_attrs_resize *a = tn_node_attrs(m->g, m->root);
    if (!tn_same_type(m->g, m->v[TN_X], root_value(m))) return "";
    for (uint32_t k = 0; k < a->scales.n; k++)
        if (a->scales.p[k] != 0 && a->scales.p[k] != 1) return "";
    return tn_str_is(a->coords, "tf_crop_and_resize") ? "" : NULL;
}

/* clang-format off */
static const tn_rule window[] = {
    /*   name            match                            becomes             dtypes                       when              exactness */
    RULE(pad_conv,       OP(CONV, OP(PAD, X), W, OPT(B)), FN(conv_with_pads), NUMBERS,                     zero_spatial_pad, FINITE(1)), /* 0 times an infinite weight is NaN */
    RULE(pad_avg_pool,   OP(AVG_POOL, OP(PAD, X)),        FN(pool_with_pads), NUMBERS,                     zero_pad_counted, EXACT),
    RULE(pad_max_pool,   OP(MAX_POOL, OP(PAD, X)),        FN(pool_with_pads), FLOATS & ~TN_SET(TN_F8E4M3), minus_inf_pad,    EXACT),
    RULE(max_pool_one,   OP(MAX_POOL, X),                 X,                  NUMBERS & ~LONG_INTS,        one_by_one,       EXACT),
    RULE(avg_pool_one,   OP(AVG_POOL, X),                 X,                  FLOATS,                      one_by_one,       ZERO_SIGN),
    RULE(matmul_trans_a, OP(MATMUL, OP(TRANSPOSE, X), Y), FN(take_left),      NUMBERS,                     left_swapped,     EXACT),
    RULE(matmul_trans_b, OP(MATMUL, X, OP(TRANSPOSE, Y)), FN(take_right),     NUMBERS,                     right_swapped,    EXACT),
    RULE(resize_same,    OP(RESIZE, X),                   X,                  NUMBERS & ~LONG_INTS,        resizes_nothing,  EXACT),
};
/* clang-format on */

const tn_rules tn_rules_window = TN_RULES(window);
