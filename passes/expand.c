/* expand.c: composites without a kernel of their own become core ops.
 *
 * Kept: elementwise composites (the code generator has a formula for each) and the row-wise ones that have a
 * template. */
#include "passes/util.h"
#include "passes/rule.h"

tn_status tn_pass_expand(tn_graph *g, tn_pass_ctx *ctx);

static void expand_node(tn_graph *g, tn_node n) {
    size_t count = tn_node_result_count(g, n);
    tn_val *vals = tn_alloc(tn_graph_env(g), (count + 1) * sizeof *vals);
    tn_status s = vals ? tn_expand(g, n, vals) : TN_E_MEMORY;
    if (s != TN_OK) tn_graph_fail(g, s, n, "", "%s cannot be expanded into core ops", tn_op_text(tn_node_op(g, n)));
    for (size_t k = 0; s == TN_OK && k < count; k++) s = tn_replace(g, tn_node_result(g, n, k), vals[k]);
    if (s == TN_OK) tn_erase(g, n);
    tn_free(tn_graph_env(g), vals, (count + 1) * sizeof *vals);
}

static void expand_region(tn_graph *g, tn_pass_ctx *ctx, tn_region r) {
    tn_node next;
    for (tn_node n = tn_region_first(g, r); n.i && tn_graph_status(g) == TN_OK; n = next) {
        tn_node before = tn_node_prev(g, n);
        next = tn_node_next(g, n);
        tn_op op = tn_node_op(g, n);
        if (op == TN_OP_KERNEL) continue;
        for (size_t k = 0; k < tn_node_subregion_count(g, n); k++) expand_region(g, ctx, tn_node_subregion(g, n, k));
        if (!tn_op_is(op, TN_T_COMPOSITE) || tn_op_facts_of(op)->role != TN_ROLE_none) continue;
        if (!tn_pass_may_rewrite(ctx, "expand")) return;
        expand_node(g, n);
        next = before.i ? tn_node_next(g, before) : tn_region_first(g, r); /* an expansion may hold composites */
    }
}

tn_status tn_pass_expand(tn_graph *g, tn_pass_ctx *ctx) {
    expand_region(g, ctx, tn_graph_body(g));
    return tn_graph_status(g);
}
