/* recompile.c: see recompile.h. */
#include "codegen/host/recompile.h"

#include "codegen/codegen.h"
#include "codegen/host/ir.h"

bool tn_can_recompile(const tn_plan *p, int cc) {
    return p->pb->ir != TN_NO_BLOB && tn_arch_for(cc) != NULL;
}

/* Passes have fused it: what computes is in kernels. */
static tn_status check_fused(const tn_env *env, const tn_graph *g) {
    TN_FOR_NODES(g, tn_graph_body(g), n) {
        const tn_op op = tn_node_op(g, n);
        if (!tn_op_is(op, TN_T_ANCHOR) && !tn_op_is(op, TN_T_ELEMENTWISE)) continue;
        return tn_fail(env, TN_E_FORMAT, tn_op_text(op), "compile the model again",
                       "the graph in the plan is not one that kernels could be chosen for");
    }
    return TN_OK;
}

tn_status tn_recompile(tn_plan *p, int cc, tn_plan **out) {
    const tn_env *env = p->env;
    const char *const target = tn_arch_for(cc)->name;
    tn_compile_options o = {.targets = &target, .n_targets = 1, .no_gpu = true};
    tn_graph *g;
    void *data;
    size_t size;
    *out = NULL;
    tn_options_of_plan(p->pb, &o);
    tn_status st = tn_plan_graph(env, p, "the plan's IR", &g);
    if (st == TN_OK) st = check_fused(env, g);
    if (st == TN_OK) st = tn_compile_memory(g, &o, &data, &size);
    tn_graph_free(g);
    if (st == TN_OK) *out = tn_plan_load_owned(env, data, size, &st);
    return st;
}
