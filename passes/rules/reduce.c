/* reduce.c: reductions over nothing, over axes of size one, and of reductions. */
#include "passes/util.h"
#include "passes/rule.h"

static const char *only_unit_axes(const tn_match *m) {
    tn_val x = tn_node_input(m->g, m->root, 0);
    const tn_attrs_reduce *a = tn_node_attrs(m->g, m->root);
    for (uint32_t k = 0; k < a->axes.n; k++)
        if (!tn_dim_equal_const(m->g, tn_val_dim(m->g, x, (size_t)a->axes.p[k]), 1)) return "";
    return tn_val_dtype(m->g, x) == tn_val_dtype(m->g, tn_node_result(m->g, m->root, 0)) ? NULL : "";
}

static tn_val operand_reshaped(tn_match *m) {
    tn_type t = tn_val_type(m->g, tn_node_result(m->g, m->root, 0));
    return tn_emit_reshape(m->g, tn_node_input(m->g, m->root, 0), tn_type_rank(m->g, t), tn_type_dims(m->g, t));
}

static tn_node inner_reduce(const tn_match *m) {
    return tn_val_def(m->g, tn_node_input(m->g, m->root, 0));
}

/* A mean of means is the mean, for every mean covers as many elements as the others. */
static const char *both_or_neither_keep(const tn_match *m) {
    const tn_attrs_reduce *in = tn_node_attrs(m->g, inner_reduce(m)), *out = tn_node_attrs(m->g, m->root);
    return in->keepdims == out->keepdims ? NULL : "one keeps its axes, the other does not";
}

static tn_val merged_reduce(tn_match *m) {
    const tn_attrs_reduce *in = tn_node_attrs(m->g, inner_reduce(m)), *out = tn_node_attrs(m->g, m->root);
    bool gone[TN_MAX_RANK] = {false};
    int64_t axes[TN_MAX_RANK];
    tn_attrs_reduce a = {.keepdims = out->keepdims};
    for (uint32_t k = 0; k < in->axes.n; k++) gone[in->axes.p[k]] = true;
    bool kept[TN_MAX_RANK];
    for (int k = 0; k < TN_MAX_RANK; k++) kept[k] = in->keepdims || !gone[k];
    for (uint32_t k = 0; k < out->axes.n; k++) { /* the outer axis counts the axes that the inner reduction kept */
        int64_t left = out->axes.p[k], axis = 0;
        for (; axis < TN_MAX_RANK; axis++)
            if (kept[axis] && left-- == 0) break;
        if (axis < TN_MAX_RANK) gone[axis] = true;
    }
    for (int k = 0; k < TN_MAX_RANK; k++)
        if (gone[k]) axes[a.axes.n++] = k;
    a.axes.p = axes;
    return tn_emit1(m->g, tn_node_op(m->g, m->root), &a, 1, &m->v[TN_X]);
}

/* clang-format off */
static const tn_rule reduce[] = {
    /*   name        match                                  becomes               dtypes   when                  exactness */
    RULE(max_units,  NODE(REDUCE_MAX),                      FN(operand_reshaped), NUMBERS, only_unit_axes,       EXACT),
    RULE(min_units,  NODE(REDUCE_MIN),                      FN(operand_reshaped), NUMBERS, only_unit_axes,       EXACT),
    RULE(prod_units, NODE(REDUCE_PROD),                     FN(operand_reshaped), NUMBERS, only_unit_axes,       EXACT),
    RULE(sum_units,  NODE(REDUCE_SUM),                      FN(operand_reshaped), NUMBERS, only_unit_axes,       ZERO_SIGN), /* 0 + -0 is 0 */
    RULE(mean_units, NODE(REDUCE_MEAN),                     FN(operand_reshaped), NUMBERS, only_unit_axes,       ZERO_SIGN),
    RULE(sum_sum,    OP(REDUCE_SUM, ONCE(REDUCE_SUM, X)),   FN(merged_reduce),    NUMBERS, both_or_neither_keep, OF_LARGEST(16)),
    RULE(mean_mean,  OP(REDUCE_MEAN, ONCE(REDUCE_MEAN, X)), FN(merged_reduce),    FLOATS,  both_or_neither_keep, OF_LARGEST(16)),
    RULE(prod_prod,  OP(REDUCE_PROD, ONCE(REDUCE_PROD, X)), FN(merged_reduce),    INTS,    both_or_neither_keep, EXACT),
    RULE(max_max,    OP(REDUCE_MAX, ONCE(REDUCE_MAX, X)),   FN(merged_reduce),    NUMBERS, both_or_neither_keep, EXACT),
    RULE(min_min,    OP(REDUCE_MIN, ONCE(REDUCE_MIN, X)),   FN(merged_reduce),    NUMBERS, both_or_neither_keep, EXACT),
};
/* clang-format on */

const tn_rules tn_rules_reduce = TN_RULES(reduce);
