/* rows.c: what stands beside products about the rows that they read or make: what a norm does to them (row_norm), and the sums of their
 * parts (row_sums). */
#include "passes/fuse/fuse.h"
#include "passes/util.h"

tn_node tn_fuse_norm_product(const tn_graph *g, tn_node n) {
    const tn_attrs_row_norm *a = TN_ATTRS_OF(g, n, row_norm);
    for (tn_node m = tn_node_prev(g, n); m.i; m = tn_node_prev(g, m)) {
        if (tn_node_op(g, m) != TN_OP_MATMUL || tn_node_input(g, m, 0).i != tn_node_input(g, n, 0).i ||
            tn_node_input(g, m, 2).i != tn_node_input(g, n, 1).i)
            continue;
        const tn_attrs_matmul *b = TN_ATTRS_OF(g, m, matmul);
        if (tn_str_is(b->norm, a->norm) && b->eps == a->eps) return m;
    }
    return (tn_node){0};
}

bool tn_fuse_is_for_products(const tn_graph *g, tn_val v) {
    for (tn_use u = tn_val_first_use(g, v); u.i; u = tn_use_next(g, u)) {
        const tn_node n = tn_use_node(g, u);
        const bool reads = tn_node_op(g, n) == TN_OP_MATMUL || tn_node_op(g, n) == TN_OP_ROW_NORM;
        const bool moves = tn_node_op(g, n) == TN_OP_RESHAPE && tn_fuse_is_for_products(g, tn_node_result(g, n, 0));
        if (!reads && !moves) return false;
    }
    return true;
}

/* row_sums(reshape(y)) -> reshape(row_sums(y)) where that keeps rows, right behind y: one kernel makes both. */
static void lift_row_sums(tn_graph *g, tn_pass_ctx *ctx, tn_node n) {
    const tn_val v = tn_node_input(g, n, 0), y = tn_behind_reshapes(g, v), old = tn_node_result(g, n, 0);
    const size_t rank = tn_val_rank(g, y);
    int64_t cols, own;
    if (v.i == y.i || rank == 0 || rank == TN_MAX_RANK || !tn_static_dim(g, v, tn_val_rank(g, v) - 1, &cols) ||
        !tn_static_dim(g, y, rank - 1, &own) || own != cols || !tn_pass_may_rewrite(ctx, "lift_row_sums"))
        return;
    const tn_node def = tn_val_def(g, y);
    tn_cursor at = tn_cursor_before(g, def.i ? tn_node_next(g, def) : n);
    at.loc = tn_node_loc(g, n);
    tn_set_cursor(g, at);
    const tn_val sums = tn_emit1(g, TN_OP_ROW_SUMS, tn_node_attrs(g, n), 1, &y);
    tn_replace(g, old, tn_emit_reshape(g, sums, tn_val_rank(g, old), tn_type_dims(g, tn_val_type(g, old))));
    tn_erase(g, n);
}

void tn_fuse_lift_row_sums(tn_graph *g, tn_pass_ctx *ctx, tn_region r) {
    for (tn_node n = tn_region_first(g, r), next; n.i && tn_graph_status(g) == TN_OK; n = next) {
        next = tn_node_next(g, n);
        if (tn_node_op(g, n) == TN_OP_ROW_SUMS) lift_row_sums(g, ctx, n);
    }
}

void tn_fuse_forget_row_sums(tn_graph *g, tn_node x) {
    for (tn_use u; (u = tn_val_first_use(g, tn_node_result(g, x, 0))).i;) {
        const tn_node n = tn_use_node(g, u);
        if (tn_node_op(g, n) == TN_OP_RESHAPE)
            tn_fuse_forget_row_sums(g, n);
        else
            tn_set_input(g, n, tn_use_slot(g, u), (tn_val){0});
    }
    tn_erase(g, x);
}
