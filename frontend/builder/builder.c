/* builder.c: the C builder (see tenon/builder.h): the per-op functions from their lists, and conveniences on top. */
#include "tenon/builder.h"

#include <string.h>

#define TN_B(name, ID)                                                                                                 \
    tn_val tn_build_##name(tn_graph *g, tn_val x) {                                                                    \
        return tn_emit1(g, TN_OP_##ID, NULL, 1, &x);                                                                   \
    }
TN_BUILD_UNARY(TN_B)
#undef TN_B
#define TN_B(name, ID)                                                                                                 \
    tn_val tn_build_##name(tn_graph *g, tn_val a, tn_val b) {                                                          \
        return tn_emit1(g, TN_OP_##ID, NULL, 2, (const tn_val[]){a, b});                                               \
    }
TN_BUILD_BINARY(TN_B)
#undef TN_B
#define TN_B(name, ID, attrs)                                                                                          \
    tn_val tn_build_##name(tn_graph *g, tn_val x, tn_attrs_##attrs a) {                                                \
        return tn_emit1(g, TN_OP_##ID, &a, 1, &x);                                                                     \
    }
TN_BUILD_UNARY_ATTRS(TN_B)
#undef TN_B

/* Operands without the absent ones at the end. */
static size_t present(size_t n, const tn_val *v) {
    while (n && !v[n - 1].i) n--;
    return n;
}

#define TN_B(name, ID, attrs)                                                                                          \
    tn_val tn_build_##name(tn_graph *g, tn_val a, tn_val b, tn_attrs_##attrs at) {                                     \
        const tn_val v[] = {a, b};                                                                                     \
        return tn_emit1(g, TN_OP_##ID, &at, present(2, v), v);                                                         \
    }
TN_BUILD_BINARY_ATTRS(TN_B)
#undef TN_B
#define TN_B(name, ID, attrs)                                                                                          \
    tn_val tn_build_##name(tn_graph *g, tn_val a, tn_val b, tn_val c, tn_attrs_##attrs at) {                           \
        const tn_val v[] = {a, b, c};                                                                                  \
        return tn_emit1(g, TN_OP_##ID, &at, present(3, v), v);                                                         \
    }
TN_BUILD_TERNARY_ATTRS(TN_B)
#undef TN_B

static int64_t wrap(int64_t axis, size_t rank) {
    return axis < 0 ? axis + (int64_t)rank : axis;
}

tn_val tn_build_select(tn_graph *g, tn_val cond, tn_val a, tn_val b) {
    return tn_emit1(g, TN_OP_SELECT, NULL, 3, (const tn_val[]){cond, a, b});
}

tn_val tn_build_concat(tn_graph *g, size_t n, const tn_val *vals, int64_t axis) {
    if (n == 1) return vals[0];
    tn_attrs_axis a = {.axis = n ? wrap(axis, tn_val_rank(g, vals[0])) : axis};
    return tn_emit1(g, TN_OP_CONCAT, &a, n, vals);
}

tn_val tn_build_iota(tn_graph *g, tn_dtype t, size_t rank, const tn_dim *dims, int64_t axis) {
    tn_attrs_iota a = {.dtype = t, .dims = {dims, (uint32_t)rank}, .axis = wrap(axis, rank)};
    return tn_emit1(g, TN_OP_IOTA, &a, 0, NULL);
}

tn_val tn_build_random(tn_graph *g, tn_val row, tn_attrs_random at) {
    return tn_emit1(g, TN_OP_RANDOM, &at, row.i ? 1 : 0, &row);
}

tn_status tn_build_split(tn_graph *g, tn_val x, int64_t axis, size_t n, const tn_dim *sizes, tn_val *parts) {
    tn_attrs_split a = {.axis = wrap(axis, tn_val_rank(g, x)), .sizes = {sizes, (uint32_t)n}};
    tn_node node = tn_emit(g, TN_OP_SPLIT, &a, 1, &x);
    for (size_t k = 0; k < n; k++) parts[k] = node.i ? tn_node_result(g, node, k) : (tn_val){0};
    return tn_graph_status(g);
}

tn_val tn_build_batch_norm(tn_graph *g, tn_val x, tn_val scale, tn_val bias, tn_val mean, tn_val var,
                           tn_attrs_norm at) {
    return tn_emit1(g, TN_OP_BATCH_NORM, &at, 5, (const tn_val[]){x, scale, bias, mean, var});
}

tn_val tn_build_put_rows(tn_graph *g, tn_val x, tn_val rows, tn_val first, tn_val count, tn_attrs_put_rows at) {
    return tn_emit1(g, TN_OP_PUT_ROWS, &at, 4, (const tn_val[]){x, rows, first, count});
}

tn_val tn_build_nms_keep(tn_graph *g, tn_val boxes, tn_val order, tn_val candidates, tn_val most, tn_val iou,
                         tn_attrs_nms_keep at) {
    return tn_emit1(g, TN_OP_NMS_KEEP, &at, 5, (const tn_val[]){boxes, order, candidates, most, iou});
}

tn_val tn_build_nms(tn_graph *g, tn_val boxes, tn_val scores, tn_val most, tn_val iou, tn_val score, tn_attrs_nms at) {
    return tn_emit1(g, TN_OP_NMS, &at, score.i ? 5 : 4, (const tn_val[]){boxes, scores, most, iou, score});
}

tn_val tn_build_recur(tn_graph *g, tn_val x, tn_val r, tn_val h, tn_val c, tn_val bias, tn_val peepholes,
                      tn_val lengths, tn_attrs_recur at) {
    return tn_emit1(g, TN_OP_RECUR, &at, 7, (const tn_val[]){x, r, h, c, bias, peepholes, lengths});
}

tn_val tn_build_attention(tn_graph *g, tn_val q, tn_val k, tn_val v, tn_val bias, tn_val mask, tn_val limit,
                          tn_val sink, tn_val from, tn_attrs_attention at) {
    const size_t n = from.i ? 8 : sink.i ? 7 : limit.i ? 6 : mask.i ? 5 : bias.i ? 4 : 3;
    return tn_emit1(g, TN_OP_ATTENTION, &at, n, (const tn_val[]){q, k, v, bias, mask, limit, sink, from});
}

/* ---- conveniences ------------------------------------------------------------------------------------------------ */

void tn_build_layer(tn_graph *g, const char *name) {
    tn_cursor c = tn_get_cursor(g);
    c.loc = name && *name ? tn_loc_make(g, name) : (tn_loc){0};
    tn_set_cursor(g, c);
}

tn_val tn_build_const(tn_graph *g, const char *name, tn_dtype t, size_t rank, const int64_t *dims, const void *data) {
    uint64_t n = 1;
    for (size_t k = 0; k < rank; k++) {
        if (dims[k] < 0 || (dims[k] && n > (uint64_t)INT64_MAX / (uint64_t)dims[k])) {
            tn_graph_fail(g, TN_E_ARGUMENT, (tn_node){0}, "", "constant %s has a negative or overflowing shape",
                          name ? name : "");
            return (tn_val){0};
        }
        n *= (uint64_t)dims[k];
    }
    return tn_const(g, tn_type_const(g, t, rank, dims), tn_blob_copy(g, data, tn_dtype_bytes(t, n)), name);
}

tn_val tn_build_full(tn_graph *g, tn_dtype t, size_t rank, const tn_dim *dims, double v) {
    return tn_build_broadcast_to(g, tn_const_num(g, t, v), rank, dims);
}

tn_val tn_build_scalar(tn_graph *g, tn_op op, tn_val x, double v) {
    return tn_binary(g, op, x, tn_const_num(g, tn_val_dtype(g, x), v));
}

tn_val tn_build_scalar_left(tn_graph *g, tn_op op, double v, tn_val x) {
    return tn_binary(g, op, tn_const_num(g, tn_val_dtype(g, x), v), x);
}

tn_val tn_build_cast_to(tn_graph *g, tn_val x, tn_dtype t) {
    if (tn_val_dtype(g, x) == t) return x;
    return tn_build_cast(g, x, (tn_attrs_cast){.to = t, .saturate = true});
}

static bool same_dims(const tn_graph *g, tn_val x, size_t rank, const tn_dim *dims) {
    if (tn_val_rank(g, x) != rank) return false;
    for (size_t k = 0; k < rank; k++)
        if (tn_val_dim(g, x, k).i != dims[k].i) return false;
    return true;
}

tn_val tn_build_reshape_to(tn_graph *g, tn_val x, size_t rank, const tn_dim *dims) {
    if (!x.i || same_dims(g, x, rank, dims)) return x;
    return tn_build_reshape(g, x, (tn_attrs_shape){.dims = {dims, (uint32_t)rank}});
}

tn_val tn_build_broadcast_to(tn_graph *g, tn_val x, size_t rank, const tn_dim *dims) {
    if (!x.i || same_dims(g, x, rank, dims)) return x;
    return tn_build_broadcast(g, x, (tn_attrs_shape){.dims = {dims, (uint32_t)rank}});
}

tn_val tn_build_permute(tn_graph *g, tn_val x, size_t rank, const int64_t *perm) {
    bool moves = false;
    for (size_t k = 0; k < rank; k++) moves |= perm[k] != (int64_t)k;
    if (!moves) return x;
    return tn_build_transpose(g, x, (tn_attrs_perm){.perm = {perm, (uint32_t)rank}});
}

tn_val tn_build_swap_axes(tn_graph *g, tn_val x, int64_t a, int64_t b) {
    size_t rank = tn_val_rank(g, x);
    int64_t perm[TN_MAX_RANK];
    a = wrap(a, rank);
    b = wrap(b, rank);
    if (!x.i || a < 0 || b < 0 || a >= (int64_t)rank || b >= (int64_t)rank) {
        tn_graph_fail(g, TN_E_ARGUMENT, (tn_node){0}, "", "swap of axes %lld and %lld of a tensor of rank %zu",
                      (long long)a, (long long)b, rank);
        return (tn_val){0};
    }
    for (size_t k = 0; k < rank; k++) perm[k] = (int64_t)k;
    perm[a] = b;
    perm[b] = a;
    return tn_build_permute(g, x, rank, perm);
}

tn_val tn_build_unsqueeze(tn_graph *g, tn_val x, int64_t axis) {
    size_t rank = tn_val_rank(g, x);
    tn_dim dims[TN_MAX_RANK];
    axis = wrap(axis, rank + 1);
    if (!x.i || rank >= TN_MAX_RANK || axis < 0 || axis > (int64_t)rank) {
        tn_graph_fail(g, TN_E_ARGUMENT, (tn_node){0}, "", "cannot insert axis %lld into a tensor of rank %zu",
                      (long long)axis, rank);
        return (tn_val){0};
    }
    for (size_t k = 0, n = 0; k <= rank; k++) dims[k] = (int64_t)k == axis ? tn_dim_const(g, 1) : tn_val_dim(g, x, n++);
    return tn_build_reshape_to(g, x, rank + 1, dims);
}

tn_val tn_build_squeeze(tn_graph *g, tn_val x, int64_t axis) {
    size_t rank = tn_val_rank(g, x), n = 0;
    tn_dim dims[TN_MAX_RANK];
    axis = wrap(axis, rank);
    if (!x.i || axis < 0 || axis >= (int64_t)rank || !tn_dim_equal_const(g, tn_val_dim(g, x, (size_t)axis), 1)) {
        tn_graph_fail(g, TN_E_ARGUMENT, (tn_node){0}, "", "axis %lld cannot be squeezed: it does not have size 1",
                      (long long)axis);
        return (tn_val){0};
    }
    for (size_t k = 0; k < rank; k++)
        if ((int64_t)k != axis) dims[n++] = tn_val_dim(g, x, k);
    return tn_build_reshape_to(g, x, n, dims);
}

tn_val tn_build_slice_axis(tn_graph *g, tn_val x, int64_t axis, tn_dim start, tn_dim size) {
    size_t rank = tn_val_rank(g, x);
    tn_dim starts[TN_MAX_RANK], sizes[TN_MAX_RANK];
    int64_t steps[TN_MAX_RANK];
    axis = wrap(axis, rank);
    for (size_t k = 0; k < rank; k++) {
        bool cut = (int64_t)k == axis;
        starts[k] = cut ? start : tn_dim_const(g, 0);
        sizes[k] = cut ? size : tn_val_dim(g, x, k);
        steps[k] = 1;
    }
    uint32_t n = (uint32_t)rank;
    return tn_build_slice(g, x, (tn_attrs_slice){.starts = {starts, n}, .sizes = {sizes, n}, .steps = {steps, n}});
}

tn_val tn_build_reduce(tn_graph *g, tn_op op, tn_val x, size_t n, const int64_t *axes, bool keepdims) {
    size_t rank = tn_val_rank(g, x);
    bool hit[TN_MAX_RANK] = {false};
    int64_t sorted[TN_MAX_RANK];
    uint32_t count = 0;
    for (size_t k = 0; k < n; k++) {
        int64_t axis = wrap(axes[k], rank);
        if (axis < 0 || axis >= (int64_t)rank) {
            tn_graph_fail(g, TN_E_ARGUMENT, (tn_node){0}, "", "axis %lld of a tensor of rank %zu", (long long)axes[k],
                          rank);
            return (tn_val){0};
        }
        hit[axis] = true;
    }
    for (size_t k = 0; k < rank; k++)
        if (hit[k]) sorted[count++] = (int64_t)k;
    if (!count) return x;
    tn_attrs_reduce a = {.axes = {sorted, count}, .keepdims = keepdims};
    return tn_emit1(g, op, &a, 1, &x);
}

tn_val tn_build_linear(tn_graph *g, tn_val x, tn_val w, tn_val bias) {
    tn_val y = tn_build_matmul(g, x, w, (tn_attrs_matmul){.trans_b = true});
    return bias.i ? tn_build_add(g, y, bias) : y;
}

tn_val tn_build_conv2d(tn_graph *g, tn_val x, tn_val w, tn_val bias, int64_t stride, int64_t pad, int64_t groups) {
    const int64_t strides[] = {stride, stride}, pads[] = {pad, pad, pad, pad}, dilations[] = {1, 1};
    tn_attrs_conv a = {
        .strides = {strides, 2}, .pads = {pads, 4}, .dilations = {dilations, 2}, .groups = groups, .layout = "nchw"};
    return tn_build_conv(g, x, w, bias, a);
}

tn_status tn_build_outputs(tn_graph *g, size_t n, const tn_val *vals, const char *const *names) {
    return tn_graph_set_outputs(g, n, vals, names);
}
