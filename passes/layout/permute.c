/* permute.c: see permute.h.  One row an op kind: when it applies, and its attributes with the axes renamed.  Axis k of
 * a value transposed by p is axis p[k] of the value, so a list over axes is permuted by p and a single axis is renamed
 * by the inverse. */
#include <string.h>
#include "passes/layout/permute.h"

static int64_t renamed(tn_perm p, int64_t axis) {
    return tn_perm_inverse(p).p[axis];
}

static tn_dims permuted_dims(tn_dims d, tn_perm p, tn_dim *out) {
    for (uint32_t k = 0; k < p.n && d.n == p.n; k++) out[k] = d.p[p.p[k]];
    return (tn_dims){out, d.n};
}

static tn_ints permuted_ints(tn_ints d, tn_perm p, int64_t *out) {
    for (uint32_t k = 0; k < p.n && d.n == p.n; k++) out[k] = d.p[p.p[k]];
    return (tn_ints){out, d.n};
}

/* The layout a pool has after p: channels move to the end or back to axis 1; NULL for any other permutation. */
static const char *pool_layout(const tn_attrs_pool *a, tn_perm p) {
    bool nhwc = tn_str_is(a->layout, "nhwc");
    tn_perm to_last = tn_perm_identity(p.n);
    for (uint32_t k = 1; k + 1 < p.n; k++) to_last.p[k] = k + 1;
    to_last.p[p.n - 1] = 1;
    if (!nhwc && tn_perm_equal(p, to_last)) return "nhwc";
    if (nhwc && tn_perm_equal(p, tn_perm_inverse(to_last))) return "nchw";
    return NULL;
}

/* A reduction that drops its axes leaves the others; they must stand in the same order after p. */
static tn_permuted reduced(const tn_attrs_reduce *a, tn_perm p) {
    bool gone[TN_MAX_RANK] = {false};
    int64_t last = -1;
    if (a->keepdims) return TN_FOLLOWS;
    for (uint32_t k = 0; k < a->axes.n; k++) gone[a->axes.p[k]] = true;
    for (uint32_t k = 0; k < p.n; k++) {
        if (gone[p.p[k]]) continue;
        if (p.p[k] < last) return TN_FIXED;
        last = p.p[k];
    }
    return TN_SAME;
}

bool tn_permutes_operand(const tn_graph *g, tn_node n, size_t k) {
    return k == 0 || tn_node_op(g, n) != TN_OP_BATCH_NORM;
}

static bool ranks_fit(const tn_graph *g, tn_node n, tn_perm p) {
    if (tn_op_is(tn_node_op(g, n), TN_T_ELEMENTWISE)) return tn_val_rank(g, tn_node_result(g, n, 0)) == p.n;
    for (size_t k = 0; k < tn_node_input_count(g, n); k++) {
        tn_val v = tn_node_input(g, n, k);
        if (!v.i || (tn_permutes_operand(g, n, k) && tn_val_rank(g, v) != p.n)) return false;
    }
    return tn_node_input_count(g, n) > 0;
}

tn_permuted tn_permutable(const tn_graph *g, tn_node n, tn_perm p) {
    tn_op op = tn_node_op(g, n);
    if (tn_node_result_count(g, n) != 1 || tn_node_subregion_count(g, n) || !ranks_fit(g, n, p)) return TN_FIXED;
    if (tn_op_is(op, TN_T_ELEMENTWISE)) return TN_FOLLOWS;
    if (tn_op_is(op, TN_T_REDUCTION)) return reduced(tn_node_attrs(g, n), p);
    switch (op) {
    case TN_OP_CONCAT:
    case TN_OP_SLICE:
    case TN_OP_PAD:
    case TN_OP_SOFTMAX:
    case TN_OP_LOG_SOFTMAX:
    case TN_OP_BATCH_NORM:
    case TN_OP_LRN: return TN_FOLLOWS;
    case TN_OP_BROADCAST: return tn_val_rank(g, tn_node_result(g, n, 0)) == p.n ? TN_FOLLOWS : TN_FIXED;
    case TN_OP_RESIZE: return TN_ATTRS_OF(g, n, resize)->roi.n == 0 ? TN_FOLLOWS : TN_FIXED;
    case TN_OP_MAX_POOL:
    case TN_OP_AVG_POOL: return pool_layout(tn_node_attrs(g, n), p) ? TN_FOLLOWS : TN_FIXED;
    default: return TN_FIXED;
    }
}

static tn_val emit_slice(tn_graph *g, tn_node n, tn_perm p, const tn_val *in) {
    tn_attrs_slice a = *TN_ATTRS_OF(g, n, slice);
    tn_dim starts[TN_MAX_RANK], sizes[TN_MAX_RANK];
    int64_t steps[TN_MAX_RANK];
    a.starts = permuted_dims(a.starts, p, starts);
    a.sizes = permuted_dims(a.sizes, p, sizes);
    a.steps = permuted_ints(a.steps, p, steps);
    return tn_emit1(g, TN_OP_SLICE, &a, 1, in);
}

static tn_val emit_pad(tn_graph *g, tn_node n, tn_perm p, const tn_val *in) {
    tn_attrs_pad a = *TN_ATTRS_OF(g, n, pad);
    tn_dim before[TN_MAX_RANK], after[TN_MAX_RANK];
    a.before = permuted_dims(a.before, p, before);
    a.after = permuted_dims(a.after, p, after);
    return tn_emit1(g, TN_OP_PAD, &a, 1, in);
}

static tn_val emit_reduce(tn_graph *g, tn_node n, tn_perm p, const tn_val *in) {
    tn_attrs_reduce a = *TN_ATTRS_OF(g, n, reduce);
    bool gone[TN_MAX_RANK] = {false};
    int64_t axes[TN_MAX_RANK];
    for (uint32_t k = 0; k < a.axes.n; k++) gone[renamed(p, a.axes.p[k])] = true;
    a.axes.n = 0;
    for (int k = 0; k < TN_MAX_RANK; k++)
        if (gone[k]) axes[a.axes.n++] = k;
    a.axes.p = axes;
    return tn_emit1(g, tn_node_op(g, n), &a, 1, in);
}

static tn_val emit_resize(tn_graph *g, tn_node n, tn_perm p, const tn_val *in) {
    tn_attrs_resize a = *TN_ATTRS_OF(g, n, resize);
    tn_dim sizes[TN_MAX_RANK];
    double scales[TN_MAX_RANK];
    a.sizes = permuted_dims(a.sizes, p, sizes);
    for (uint32_t k = 0; k < p.n && a.scales.n == p.n; k++) scales[k] = a.scales.p[p.p[k]];
    if (a.scales.n == p.n) a.scales.p = scales;
    return tn_emit1(g, TN_OP_RESIZE, &a, 1, in);
}

tn_val tn_emit_permuted(tn_graph *g, tn_node n, tn_perm p, size_t n_inputs, const tn_val *in) {
    tn_op op = tn_node_op(g, n);
    if (tn_op_is(op, TN_T_REDUCTION)) return emit_reduce(g, n, p, in);
    switch (op) {
    case TN_OP_SLICE: return emit_slice(g, n, p, in);
    case TN_OP_PAD: return emit_pad(g, n, p, in);
    case TN_OP_RESIZE: return emit_resize(g, n, p, in);
    case TN_OP_CONCAT:
    case TN_OP_SOFTMAX:
    case TN_OP_LOG_SOFTMAX: {
        tn_attrs_axis a = *TN_ATTRS_OF(g, n, axis);
        a.axis = renamed(p, a.axis);
        return tn_emit1(g, op, &a, n_inputs, in);
    }
    case TN_OP_LRN: {
        tn_attrs_lrn a = *TN_ATTRS_OF(g, n, lrn);
        a.axis = renamed(p, a.axis);
        return tn_emit1(g, op, &a, n_inputs, in);
    }
    case TN_OP_BATCH_NORM: {
        tn_attrs_norm a = *TN_ATTRS_OF(g, n, norm);
        a.axis = renamed(p, a.axis);
        return tn_emit1(g, op, &a, n_inputs, in);
    }
    case TN_OP_BROADCAST: {
        tn_attrs_shape a = *TN_ATTRS_OF(g, n, shape);
        tn_dim dims[TN_MAX_RANK];
        a.dims = permuted_dims(a.dims, p, dims);
        return tn_emit1(g, op, &a, 1, in);
    }
    case TN_OP_MAX_POOL:
    case TN_OP_AVG_POOL: {
        tn_attrs_pool a = *TN_ATTRS_OF(g, n, pool);
        a.layout = tn_intern(g, pool_layout(&a, p));
        return tn_emit1(g, op, &a, 1, in);
    }
    default: return tn_emit_like(g, n, n_inputs, in);
    }
}
