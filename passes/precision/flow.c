/* flow.c: see precision.h.  One walk against the order of the body, into branches and loops before what stands above them: a
 * value's flow is the least of its uses'. */
#include "passes/precision/precision.h"

static bool is_f32(const tn_graph *g, tn_val v) {
    return v.i && tn_val_dtype(g, v) == TN_F32;
}

/* Where a use by node n leads; the flows of n's results are known. */
static tn_flow flow_through(const tn_graph *g, tn_node n, size_t slot, const uint8_t *flow) {
    tn_op op = tn_node_op(g, n);
    tn_policy policy = tn_op_facts_of(op)->policy;
    if (tn_op_is(op, TN_T_TERMINATOR) || policy == TN_POLICY_keep) return TN_FLOW_F32;
    if (op == TN_OP_SOFTMAX || op == TN_OP_LOG_SOFTMAX) return TN_FLOW_SOFTMAX;
    bool elementwise = tn_op_is(op, TN_T_ELEMENTWISE), movement = tn_op_is(op, TN_T_MOVEMENT);
    if ((!elementwise && !movement) || tn_node_result_count(g, n) != 1) return TN_FLOW_STORED;
    tn_val y = tn_node_result(g, n, 0);
    if (elementwise && (!is_f32(g, y) || tn_op_is(op, TN_T_STEP))) return TN_FLOW_STEP;
    if (elementwise && policy == TN_POLICY_wide) return TN_FLOW_F32;
    if (policy != TN_POLICY_follow || (movement && slot != 0)) return TN_FLOW_STORED;
    tn_flow on = (tn_flow)flow[y.i];
    return movement && on == TN_FLOW_F32 ? TN_FLOW_STORED : on; /* f32 moves twice the bytes */
}

static void flow_of(const tn_graph *g, tn_val v, uint8_t *flow) {
    tn_flow least = TN_FLOW_STEP;
    tn_use u = tn_val_first_use(g, v);
    if (!u.i) least = TN_FLOW_STORED;
    for (; u.i && least != TN_FLOW_STORED; u = tn_use_next(g, u)) {
        tn_flow f = flow_through(g, tn_use_node(g, u), tn_use_slot(g, u), flow);
        if (f < least) least = f;
    }
    flow[v.i] = (uint8_t)least;
}

/* Nesting is bounded by TN_MAX_NESTING. */
static void flow_in(const tn_graph *g, tn_region r, uint8_t *flow, uint32_t n) {
    for (tn_node x = tn_region_last(g, r); x.i; x = tn_node_prev(g, x)) {
        for (size_t k = 0; k < tn_node_subregion_count(g, x); k++) flow_in(g, tn_node_subregion(g, x, k), flow, n);
        for (size_t k = 0; k < tn_node_result_count(g, x); k++) {
            tn_val v = tn_node_result(g, x, k);
            if (is_f32(g, v) && v.i < n) flow_of(g, v, flow);
        }
    }
    for (size_t k = 0; k < tn_region_arg_count(g, r); k++)
        if (is_f32(g, tn_region_arg(g, r, k))) flow_of(g, tn_region_arg(g, r, k), flow);
}

void tn_precision_flow(const tn_graph *g, uint8_t *flow, uint32_t n) {
    flow_in(g, tn_graph_body(g), flow, n);
}
