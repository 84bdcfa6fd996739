/* kmajor.c: constant weights of products are stored with the axis that is summed innermost.
 *
 *     y = matmul(x, w)        w[k, n]      becomes      y = matmul(x, transpose(w)) {trans_b}      which fold evaluates
 *
 * Kernels read rows along k best: chunks of 16 bytes of one column whatever the number of columns, and rows of a tile in any order, so
 * that each lane of a warpgroup's product has neighbouring columns (templates/shared/tn_wgmma_tile.cuh).  Behind the passes that put
 * weights side by side.  A weight that something else reads as it is stays: it would be there twice. */
#include "passes/pass.h"
#include "passes/util.h"

tn_status tn_pass_kmajor(tn_graph *g, tn_pass_ctx *ctx);

enum { CHUNK_BITS = 128 };
static const char rule[] = "kmajor";

/* Operand b of products alone, each of which has k before n. */
static bool is_weight(const tn_graph *g, tn_val w) {
    for (tn_use u = tn_val_first_use(g, w); u.i; u = tn_use_next(g, u)) {
        const tn_node n = tn_use_node(g, u);
        if (tn_node_op(g, n) != TN_OP_MATMUL || tn_use_slot(g, u) != 1 || TN_ATTRS_OF(g, n, matmul)->trans_b)
            return false;
    }
    return true;
}

static bool is_candidate(const tn_graph *g, tn_node n) {
    if (tn_node_op(g, n) != TN_OP_MATMUL || TN_ATTRS_OF(g, n, matmul)->trans_b) return false;
    const tn_val w = tn_node_input(g, n, 1);
    const tn_dtype t = tn_val_dtype(g, w);
    return (t == TN_F16 || t == TN_BF16) && tn_val_rank(g, w) >= 2 && tn_is_const(g, w);
}

static const char *stays(const tn_graph *g, tn_val w) {
    int64_t k;
    if (!tn_static_dim(g, w, tn_val_rank(g, w) - 2, &k) || k * (int64_t)tn_dtype_bits(tn_val_dtype(g, w)) % CHUNK_BITS)
        return "what is summed is no whole chunks of 16 bytes";
    return is_weight(g, w) ? NULL : "something else reads the weight as it is";
}

/* All products of w. */
static void turn(tn_graph *g, tn_val w) {
    tn_cursor behind = tn_cursor_before(g, tn_node_next(g, tn_val_def(g, w)));
    behind.loc = tn_node_loc(g, tn_val_def(g, w));
    const tn_cursor saved = tn_set_cursor(g, behind);
    const tn_val turned = tn_emit_transpose(g, w, tn_perm_swap((uint32_t)tn_val_rank(g, w)));
    tn_use next;
    for (tn_use u = tn_val_first_use(g, w); u.i && tn_graph_status(g) == TN_OK; u = next) {
        next = tn_use_next(g, u);
        const tn_node n = tn_use_node(g, u);
        if (tn_node_op(g, n) != TN_OP_MATMUL) continue;
        tn_attrs_matmul a = *TN_ATTRS_OF(g, n, matmul);
        const tn_val in[] = {tn_node_input(g, n, 0), turned, tn_node_input(g, n, 2)};
        a.trans_b = true;
        tn_cursor at = tn_cursor_before(g, n);
        at.loc = tn_node_loc(g, n);
        tn_set_cursor(g, at);
        tn_replace(g, tn_node_result(g, n, 0), tn_emit1(g, TN_OP_MATMUL, &a, tn_node_input_count(g, n), in));
        tn_erase(g, n);
    }
    tn_set_cursor(g, saved);
}

tn_status tn_pass_kmajor(tn_graph *g, tn_pass_ctx *ctx) {
    const uint32_t nodes = tn_graph_node_limit(g);
    for (tn_node n = {1}; n.i < nodes && tn_graph_status(g) == TN_OK; n.i++) {
        if (!is_candidate(g, n)) continue;
        const tn_val w = tn_node_input(g, n, 1);
        const char *why = stays(g, w);
        if (why)
            tn_pass_refused(ctx, rule, g, n, why);
        else if (tn_pass_may_rewrite(ctx, rule))
            turn(g, w);
    }
    return tn_graph_status(g);
}
