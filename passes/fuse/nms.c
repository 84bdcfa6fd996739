/* nms.c: non-maximum suppression as a sort of each class by score, `nms_keep`, which says what is kept, and positions of that in
 * order (`nonzero`), of which there are as many as the node's size says. */
#include "passes/fuse/fuse.h"
#include "passes/util.h"

static tn_dtype wide(const tn_graph *g, tn_val v) {
    return tn_val_dtype(g, v) == TN_F64 ? TN_F64 : TN_F32;
}

/* Without a threshold all that has a score. */
static tn_val candidates(tn_graph *g, tn_val scores, tn_val least) {
    if (!least.i) return tn_unary(g, TN_OP_NOT, tn_unary(g, TN_OP_IS_NAN, scores));
    const tn_dtype t = wide(g, least) == TN_F64 ? TN_F64 : wide(g, scores);
    return tn_binary(g, TN_OP_GT, tn_emit_cast(g, scores, t), tn_emit_cast(g, least, t));
}

/* As a column of the result, [count, 1]. */
static tn_val column(tn_graph *g, tn_val v) {
    const tn_dim dims[] = {tn_val_dim(g, v, 0), tn_dim_const(g, 1)};
    return tn_emit_reshape(g, v, 2, dims);
}

tn_status tn_fuse_prepare_nms(tn_graph *g, tn_node n) {
    const tn_attrs_nms a = *TN_ATTRS_OF(g, n, nms);
    tn_val in[5];
    for (size_t k = 0; k < 5; k++) in[k] = tn_node_input(g, n, k);
    const tn_dim classes = tn_val_dim(g, in[1], 1), boxes = tn_val_dim(g, in[1], 2),
                 all = tn_type_numel(g, tn_val_type(g, in[1]));
    const tn_condition fits = {.rel = TN_REL_AT_LEAST,
                               .a = tn_dim_const(g, TN_NMS_MAX),
                               .b = boxes,
                               .loc = tn_node_loc(g, n),
                               .what = "the boxes that kernels suppress"};
    tn_set_cursor(g, tn_cursor_before(g, n));
    tn_graph_require(g, fits);
    const tn_val scores = tn_emit_cast(g, in[1], wide(g, in[1]));
    const tn_val order = tn_emit1(g, TN_OP_TOP_K, &(tn_attrs_top_k){.axis = 2, .k = boxes}, 1, &scores);
    const tn_val may[] = {candidates(g, scores, in[4]), order};
    const tn_val kept_of[] = {tn_emit_cast(g, in[0], TN_F32), order,
                              tn_emit1(g, TN_OP_GATHER_ELEMENTS, &(tn_attrs_axis){.axis = 2}, 2, may),
                              tn_emit_cast(g, in[2], TN_I64), tn_emit_cast(g, in[3], TN_F32)};
    const tn_val keep =
        tn_emit_reshape(g, tn_emit1(g, TN_OP_NMS_KEEP, &(tn_attrs_nms_keep){.center = a.center}, 5, kept_of), 1, &all);
    const tn_val at = tn_emit1(g, TN_OP_NONZERO, &(tn_attrs_nonzero){.count = a.count}, 1, &keep);
    const tn_val row = tn_binary(g, TN_OP_DIV, at, tn_emit_size(g, boxes)), per_batch = tn_emit_size(g, classes);
    const tn_val box[] = {tn_emit_reshape(g, order, 1, &all), at};
    const tn_val columns[] = {column(g, tn_binary(g, TN_OP_DIV, row, per_batch)),
                              column(g, tn_binary(g, TN_OP_MOD, row, per_batch)),
                              column(g, tn_emit1(g, TN_OP_GATHER, &(tn_attrs_axis){.axis = 0}, 2, box))};
    tn_replace(g, tn_node_result(g, n, 0), tn_emit1(g, TN_OP_CONCAT, &(tn_attrs_axis){.axis = 1}, 3, columns));
    return tn_erase(g, n);
}
