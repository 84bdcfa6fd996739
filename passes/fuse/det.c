/* det.c: determinants of matrices that are too large for the memory of one block, or of a size that only a run knows: a loop over the columns, whose
 * steps are kernels of the whole matrices. */
#include "passes/fuse/fuse.h"
#include "passes/util.h"

static tn_val iota(tn_graph *g, size_t rank, const tn_dim *dims, int64_t axis) {
    const tn_attrs_iota a = {.dtype = TN_I64, .dims = {dims, (uint32_t)rank}, .axis = axis};
    return tn_emit1(g, TN_OP_IOTA, &a, 0, NULL);
}

static tn_val gather(tn_graph *g, tn_op op, tn_val v, tn_val at, int64_t axis) {
    return tn_emit1(g, op, &(tn_attrs_axis){.axis = axis}, 2, (const tn_val[]){v, at});
}

typedef struct step {
    tn_graph *g;
    tn_dim m, n; /* matrices, and their size */
    tn_val k;    /* the column, i64[] */
} step;

/* The row, at or behind k, of the largest element of column k: [m]. */
static tn_val pivot_row(const step *s, tn_val a) {
    tn_graph *g = s->g;
    const tn_dim rows[] = {tn_dim_const(g, 1), s->n};
    tn_val v = tn_unary(g, TN_OP_ABS, gather(g, TN_OP_GATHER, a, s->k, 2));
    const tn_val behind = tn_binary(g, TN_OP_GE, iota(g, 2, rows, 1), s->k);
    v = tn_emit_select(g, behind, v, tn_const_num(g, tn_val_dtype(g, a), -1));
    return tn_emit1(g, TN_OP_ARG_MAX, &(tn_attrs_arg){.axis = 1}, 1, &v);
}

/* Row at[m] of each matrix: [m, 1, n]. */
static tn_val row_of(const step *s, tn_val a, tn_val at) {
    tn_graph *g = s->g;
    const tn_dim one = tn_dim_const(g, 1), index[] = {s->m, one, one}, full[] = {s->m, one, s->n};
    at = tn_emit_broadcast(g, tn_emit_reshape(g, at, 3, index), 3, full);
    return gather(g, TN_OP_GATHER_ELEMENTS, a, at, 1);
}

/* The matrices with rows k and p exchanged, and what is below row k without column k. */
static tn_val eliminated(const step *s, tn_val a, tn_val p, tn_val pivot, tn_val *det) {
    tn_graph *g = s->g;
    const tn_dim one = tn_dim_const(g, 1), rows[] = {one, s->n, one}, each[] = {s->m, one, one};
    const tn_val zero = tn_const_num(g, tn_val_dtype(g, a), 0), i = iota(g, 3, rows, 1);
    const tn_val upper = row_of(s, a, p),
                 here = tn_emit_reshape(g, gather(g, TN_OP_GATHER, a, s->k, 1), 3, (const tn_dim[]){s->m, one, s->n});
    const tn_val is_p = tn_binary(g, TN_OP_EQ, i, tn_emit_reshape(g, p, 3, each)),
                 is_k = tn_binary(g, TN_OP_EQ, i, s->k);
    const tn_val by = tn_emit_reshape(g, pivot, 3, each);
    tn_val column = tn_emit_reshape(g, gather(g, TN_OP_GATHER, a, s->k, 2), 3, (const tn_dim[]){s->m, s->n, one});
    column = tn_emit_select(
        g, is_p,
        tn_emit_reshape(g, gather(g, TN_OP_GATHER, tn_emit_reshape(g, here, 2, (const tn_dim[]){s->m, s->n}), s->k, 1),
                        3, each),
        column);
    tn_val factor = tn_binary(g, TN_OP_DIV, column, by);
    factor = tn_emit_select(
        g, tn_binary(g, TN_OP_AND, tn_binary(g, TN_OP_GT, i, s->k), tn_binary(g, TN_OP_NE, by, zero)), factor, zero);
    const tn_val moved = tn_emit_select(g, is_k, upper, tn_emit_select(g, is_p, here, a));
    const tn_val sign = tn_emit_select(g, tn_binary(g, TN_OP_EQ, p, s->k), pivot, tn_unary(g, TN_OP_NEG, pivot));
    /* 0 once a pivot is, whatever the product was before or would be later */
    const tn_val none = tn_binary(g, TN_OP_OR, tn_binary(g, TN_OP_EQ, pivot, zero), tn_binary(g, TN_OP_EQ, *det, zero));
    *det = tn_emit_select(g, none, tn_emit_broadcast(g, zero, 1, &s->m), tn_binary(g, TN_OP_MUL, *det, sign));
    return tn_binary(g, TN_OP_SUB, moved, tn_binary(g, TN_OP_MUL, factor, upper));
}

/* The determinants of a, [m, n, n]: a loop that carries the matrices and the product of the pivots. */
static tn_val looped(tn_graph *g, tn_val a, tn_dim m, tn_dim n) {
    const tn_dtype t = tn_val_dtype(g, a);
    const tn_val one = tn_emit_broadcast(g, tn_const_num(g, t, 1), 1, &m),
                 trips = tn_emit_reshape(g, tn_emit_size(g, n), 0, NULL);
    const tn_region r = tn_region_new(g);
    step s = {.g = g, .m = m, .n = n, .k = tn_region_add_arg(g, r, tn_type_make(g, TN_I64, 0, NULL), "column")};
    const tn_val on = tn_region_add_arg(g, r, tn_type_make(g, TN_BOOL, 0, NULL), "on"),
                 x = tn_region_add_arg(g, r, tn_val_type(g, a), "x");
    tn_val det = tn_region_add_arg(g, r, tn_val_type(g, one), "det");
    const tn_cursor outer = tn_get_cursor(g);
    tn_cursor at = tn_cursor_end(g, r);
    at.loc = outer.loc;
    tn_set_cursor(g, at);
    const tn_val p = pivot_row(&s, x);
    const tn_dim each[] = {m, tn_dim_const(g, 1)};
    const tn_val column = gather(g, TN_OP_GATHER, x, s.k, 2);
    const tn_val pivot =
        tn_emit_reshape(g, gather(g, TN_OP_GATHER_ELEMENTS, column, tn_emit_reshape(g, p, 2, each), 1), 1, &m);
    const tn_val next = eliminated(&s, x, p, pivot, &det), yields[] = {on, next, det};
    tn_emit(g, TN_OP_YIELD, NULL, 3, yields);
    tn_set_cursor(g, outer);
    const tn_attrs_loop loop = {.carried = 2, .trips = n};
    const tn_node node = tn_emit_regions(g, TN_OP_LOOP, &loop, 4, (const tn_val[]){trips, {0}, a, one}, 1, &r);
    return node.i ? tn_node_result(g, node, 1) : (tn_val){0};
}

tn_status tn_fuse_prepare_det(tn_graph *g, tn_node n) {
    const tn_val x = tn_node_input(g, n, 0), y = tn_node_result(g, n, 0);
    const size_t rank = tn_val_rank(g, x);
    const tn_dim size = tn_val_dim(g, x, rank - 1);
    int64_t known = 0;
    if (tn_dim_is_const(g, size, &known) && known <= TN_DET_MAX) return tn_graph_status(g);
    tn_dim m = tn_dim_const(g, 1);
    for (size_t k = 0; k + 2 < rank; k++) m = tn_dim_mul(g, m, tn_val_dim(g, x, k));
    tn_set_cursor(g, tn_cursor_before(g, n));
    const tn_val det = looped(g, tn_emit_reshape(g, x, 3, (const tn_dim[]){m, size, size}), m, size);
    tn_replace(g, y, tn_emit_reshape(g, det, rank - 2, tn_type_dims(g, tn_val_type(g, y))));
    return tn_erase(g, n);
}
