/* layout.c: convolutions and pools in NHWC.
 *
 * Each NCHW convolution, transposed convolution and pool becomes transpose -> the op in NHWC -> transpose back, with
 * the weight transposed to (out, spatial, in).  Nothing is decided here about neighbours: `cancel` removes the pairs
 * that meet and sinks the rest, `fold` transposes the constants.  Where channels or all spatial axes have size 1 the
 * transpose moves no byte, and a reshape says so.  Convolutions of an image's few channels are packed on the way
 * (pack.h). */
#include "passes/layout/pack.h"
#include "passes/util.h"

static bool unit(const tn_graph *g, tn_val v, size_t axis) {
    return tn_dim_equal_const(g, tn_val_dim(g, v, axis), 1);
}

static bool all_unit(const tn_graph *g, tn_val v, size_t first, size_t end) {
    for (size_t k = first; k < end; k++)
        if (!unit(g, v, k)) return false;
    return true;
}

/* N C spatial -> N spatial C, or back. */
static tn_val move_channels(tn_graph *g, tn_val v, bool to_last) {
    uint32_t rank = (uint32_t)tn_val_rank(g, v);
    tn_perm p = {.n = rank};
    p.p[0] = 0;
    for (uint32_t k = 1; k < rank; k++)
        p.p[k] = to_last ? (int64_t)(k + 1 < rank ? k + 1 : 1) : (int64_t)(k > 1 ? k - 1 : rank - 1);
    size_t channel = to_last ? 1 : rank - 1, first = to_last ? 2 : 1;
    if (!unit(g, v, channel) && !all_unit(g, v, first, first + rank - 2)) return tn_emit_transpose(g, v, p);
    tn_dim dims[TN_MAX_RANK];
    for (uint32_t k = 0; k < rank; k++) dims[k] = tn_val_dim(g, v, (size_t)p.p[k]);
    return tn_emit_reshape(g, v, rank, dims);
}

/* A copy of the node's attributes with layout = "nhwc". */
typedef union window_attrs {
    tn_attrs_conv conv;
    tn_attrs_conv_transpose conv_transpose;
    tn_attrs_pool pool;
} window_attrs;

static const char **layout_of(const tn_graph *g, tn_node n, window_attrs *a) {
    switch (tn_node_op(g, n)) {
    case TN_OP_CONV: a->conv = *TN_ATTRS_OF(g, n, conv); return &a->conv.layout;
    case TN_OP_CONV_TRANSPOSE: a->conv_transpose = *TN_ATTRS_OF(g, n, conv_transpose); return &a->conv_transpose.layout;
    case TN_OP_MAX_POOL:
    case TN_OP_AVG_POOL: a->pool = *TN_ATTRS_OF(g, n, pool); return &a->pool.layout;
    default: return NULL;
    }
}

static void to_nhwc(tn_graph *g, tn_pass_ctx *ctx, tn_node n) {
    window_attrs attrs;
    const char **layout = layout_of(g, n, &attrs);
    if (!layout || tn_str_is(*layout, "nhwc") || tn_val_rank(g, tn_node_input(g, n, 0)) < 3) return;
    if (!tn_pass_may_rewrite(ctx, "nhwc")) return;
    tn_set_cursor(g, tn_cursor_before(g, n));
    *layout = tn_intern(g, "nhwc");
    tn_val in[3] = {{0}, {0}, {0}};
    size_t count = tn_node_input_count(g, n);
    for (size_t k = 0; k < count && k < 3; k++) in[k] = tn_node_input(g, n, k);
    in[0] = move_channels(g, in[0], true);
    if (in[1].i) in[1] = move_channels(g, in[1], true);
    tn_pack_ints hold;
    if (tn_node_op(g, n) == TN_OP_CONV && tn_graph_status(g) == TN_OK) tn_pack_width(g, ctx, &attrs.conv, in, &hold);
    tn_val v = tn_emit1(g, tn_node_op(g, n), &attrs, count, in);
    if (tn_graph_status(g) != TN_OK) return;
    tn_replace(g, tn_node_result(g, n, 0), move_channels(g, v, false));
    tn_erase(g, n);
}

static void visit(tn_graph *g, tn_pass_ctx *ctx, tn_region r, uint32_t depth) {
    for (tn_node n = tn_region_first(g, r), next; n.i && tn_graph_status(g) == TN_OK; n = next) {
        next = tn_node_next(g, n);
        if (tn_node_op(g, n) == TN_OP_KERNEL) continue; /* a plugin's */
        for (size_t k = 0; depth < 64 && k < tn_node_subregion_count(g, n); k++)
            visit(g, ctx, tn_node_subregion(g, n, k), depth + 1);
        to_nhwc(g, ctx, n);
    }
}

tn_status tn_pass_layout(tn_graph *g, tn_pass_ctx *ctx) {
    tn_cursor saved = tn_get_cursor(g);
    visit(g, ctx, tn_graph_body(g), 0);
    tn_set_cursor(g, saved);
    return tn_graph_status(g);
}
