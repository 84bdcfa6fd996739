/* dce.c: erases nodes without uses, users before operands; nodes with effects, in nested regions too, stay. */
#include "passes/pass.h"
#include "passes/util.h"

tn_status tn_pass_dce(tn_graph *g, tn_pass_ctx *ctx);

static bool used(const tn_graph *g, tn_node n) {
    for (size_t k = 0; k < tn_node_result_count(g, n); k++)
        if (tn_val_first_use(g, tn_node_result(g, n, k)).i) return true;
    return tn_makes_what_is_used(g, n);
}

static void sweep(tn_graph *g, tn_pass_ctx *ctx, tn_region r) {
    tn_node prev;
    for (tn_node n = tn_region_last(g, r); n.i; n = prev) {
        prev = tn_node_prev(g, n);
        if (!used(g, n) && !tn_node_has_effect(g, n)) {
            if (!tn_pass_may_rewrite(ctx, "dce") || tn_erase(g, n) != TN_OK) return;
            continue;
        }
        if (tn_node_op(g, n) == TN_OP_KERNEL) continue;
        for (size_t k = 0; k < tn_node_subregion_count(g, n); k++) sweep(g, ctx, tn_node_subregion(g, n, k));
    }
}

tn_status tn_pass_dce(tn_graph *g, tn_pass_ctx *ctx) {
    sweep(g, ctx, tn_graph_body(g));
    return tn_graph_status(g);
}
