/* branch.c: an `if` whose condition only a run knows becomes both branches and a select where that is cheaper than to let
 * the GPU decide between kernels.  Kept are branches that hold loops, or sizes that depend on data, those whose results
 * differ in type, those that need sizes which are checked only where they run, and those that cost much. */
#include "passes/rule.h"
#include "passes/util.h"

tn_status tn_pass_branch(tn_graph *g, tn_pass_ctx *ctx);

/* Whether a region's nodes may run although it is not taken. */
static bool always_runs(const tn_graph *g, tn_region r) {
    TN_FOR_NODES(g, r, n)
    if (tn_op_is(tn_node_op(g, n), TN_T_REGIONS | TN_T_EFFECT | TN_T_DYNAMIC) && tn_node_op(g, n) != TN_OP_YIELD)
        return false;
    return true;
}

/* How many products an element of the result is the sum of. */
static double terms(const tn_graph *g, tn_node n) {
    const tn_val w = tn_node_input(g, n, 1);
    if (tn_node_op(g, n) != TN_OP_MATMUL)
        return tn_typical_numel(g, w) / (double)tn_dim_typical(g, tn_val_dim(g, w, 0));
    return (double)tn_dim_typical(g,
                                  tn_val_dim(g, w, tn_val_rank(g, w) - (TN_ATTRS_OF(g, n, matmul)->trans_b ? 1 : 2)));
}

/* Microseconds on a large GPU, roughly, in which a value is written and read. */
static double move_us(const tn_graph *g, tn_val v) {
    const double bytes_per_us = 3e6;
    return 2 * tn_typical_numel(g, v) * tn_dtype_bits(tn_val_dtype(g, v)) / 8 / bytes_per_us;
}

/* Of a region: what it moves, or computes. */
static double time_of(const tn_graph *g, tn_region r) {
    const double flops_per_us = 1e8;
    double us = 0;
    TN_FOR_NODES(g, r, n) {
        for (size_t k = 0; k < tn_node_result_count(g, n); k++) us += move_us(g, tn_node_result(g, n, k));
        if (tn_op_is(tn_node_op(g, n), TN_T_CONTRACTION))
            us += 2 * tn_typical_numel(g, tn_node_result(g, n, 0)) * terms(g, n) / flops_per_us;
    }
    return us;
}

/* Both branches together cost half of their time more than one of them does on average.  A decision costs three steps that
 * nothing overlaps (the kernel that tells, the node, the first kernel in it), and what a branch gives is written and read
 * again, where a select would take it from registers. */
static bool is_dear(const tn_graph *g, tn_node n) {
    const double step_us = 3;
    double decision = 3 * step_us;
    for (size_t k = 0; k < tn_node_result_count(g, n); k++) decision += move_us(g, tn_node_result(g, n, k));
    return (time_of(g, tn_node_subregion(g, n, 0)) + time_of(g, tn_node_subregion(g, n, 1))) / 2 > decision;
}

static const char *why_not(tn_graph *g, tn_node n) {
    tn_node a = tn_region_last(g, tn_node_subregion(g, n, 0)), b = tn_region_last(g, tn_node_subregion(g, n, 1));
    if (TN_ATTRS_OF(g, n, branch)->sizes.i) return "each branch is right for its own sizes alone";
    if (!always_runs(g, tn_node_subregion(g, n, 0)) || !always_runs(g, tn_node_subregion(g, n, 1)))
        return "a branch holds a loop, or a size that depends on data";
    for (size_t k = 0; k < tn_node_result_count(g, n); k++)
        if (!tn_same_type(g, tn_node_input(g, a, k), tn_node_result(g, n, k)) ||
            !tn_same_type(g, tn_node_input(g, b, k), tn_node_result(g, n, k)))
            return "the branches give different types";
    if (tn_region_needs_more(g, tn_node_subregion(g, n, 0)) || tn_region_needs_more(g, tn_node_subregion(g, n, 1)))
        return "a branch needs sizes that the other may do without";
    return is_dear(g, n) ? "to compute both branches would cost more than to decide" : NULL;
}

static void move_out(tn_graph *g, tn_region r, tn_node before) {
    tn_node last = tn_region_last(g, r), next;
    tn_conditions_move(g, r, tn_node_region(g, before));
    for (tn_node k = tn_region_first(g, r); k.i && k.i != last.i; k = next) {
        next = tn_node_next(g, k);
        tn_move_before(g, k, tn_cursor_before(g, before));
    }
}

static void select_results(tn_graph *g, tn_node n) {
    tn_node last[2];
    for (size_t k = 0; k < 2; k++) {
        tn_region r = tn_node_subregion(g, n, k);
        last[k] = tn_region_last(g, r);
        move_out(g, r, n);
    }
    tn_set_cursor(g, tn_cursor_before(g, n));
    for (size_t k = 0; k < tn_node_result_count(g, n) && tn_graph_status(g) == TN_OK; k++) {
        tn_val in[] = {tn_node_input(g, n, 0), tn_node_input(g, last[0], k), tn_node_input(g, last[1], k)};
        tn_replace(g, tn_node_result(g, n, k), tn_emit1(g, TN_OP_SELECT, NULL, 3, in));
    }
    tn_erase(g, n);
}

/* Innermost first. */
static void flatten(tn_graph *g, tn_pass_ctx *ctx, tn_region r) {
    tn_node next;
    for (tn_node n = tn_region_first(g, r); n.i && tn_graph_status(g) == TN_OK; n = next) {
        next = tn_node_next(g, n);
        for (size_t k = 0; k < tn_node_subregion_count(g, n); k++) flatten(g, ctx, tn_node_subregion(g, n, k));
        if (tn_node_op(g, n) != TN_OP_IF) continue;
        const char *why = why_not(g, n);
        if (why) tn_pass_refused(ctx, "branch_select", g, n, why);
        if (why || !tn_pass_may_rewrite(ctx, "branch_select")) continue;
        select_results(g, n);
    }
}

tn_status tn_pass_branch(tn_graph *g, tn_pass_ctx *ctx) {
    tn_cursor former = tn_get_cursor(g);
    flatten(g, ctx, tn_graph_body(g));
    tn_set_cursor(g, former);
    return tn_graph_status(g);
}

bool tn_needs_reference(const tn_graph *g) {
    TN_FOR_NODES(g, tn_graph_body(g), n)
    if (tn_node_op(g, n) != TN_OP_KERNEL && tn_op_is(tn_node_op(g, n), TN_T_REGIONS | TN_T_DYNAMIC)) return true;
    return false;
}
