/* cpu_run.c: runs a plan on the reference evaluator: the plan's text IR, with the weights blob as its side file. */
#include <inttypes.h>
#include <string.h>

#include "ir/eval/eval.h"
#include "runtime/context.h"

struct tn_cpu_context {
    tn_graph *graph;
    tn_tensor *in, *out; /* views of the caller's buffers */
};

static tn_status disagrees(const tn_context *c, const char *what) {
    return tn_fail(c->env, TN_E_FORMAT, "", "compile the plan again",
                   "the plan's IR and its manifest disagree about %s", what);
}

static tn_status check_values(const tn_context *c, TnPlan__Tensor *const *t, size_t n, size_t count,
                              tn_val (*at)(const tn_graph *, size_t), const char *what) {
    const tn_graph *g = c->cpu->graph;
    if (count != n) return disagrees(c, what);
    for (size_t k = 0; k < n; k++)
        if ((uint32_t)tn_val_dtype(g, at(g, k)) != t[k]->dtype || tn_val_rank(g, at(g, k)) != t[k]->n_dims)
            return disagrees(c, what);
    return TN_OK;
}

static tn_status parse_ir(tn_context *c) {
    const TnPlan__Plan *pb = c->plan->pb;
    const void *text, *weights = NULL;
    size_t size, weights_size = 0;
    if (pb->ir == TN_NO_BLOB)
        return tn_fail(c->env, TN_E_UNSUPPORTED, "", "compile the plan again",
                       "the plan holds no IR to run on the CPU");
    tn_status st = tn_plan_blob(c->plan, pb->ir, &text, &size);
    if (st == TN_OK && pb->weights != TN_NO_BLOB) st = tn_plan_blob(c->plan, pb->weights, &weights, &weights_size);
    if (st != TN_OK) return st;
    c->cpu->graph = tn_parse(c->env, "the plan's IR", text, size, weights, weights_size, false, &st);
    if (!c->cpu->graph) return st == TN_OK ? TN_E_MEMORY : st;
    st = tn_verify(c->cpu->graph);
    if (st == TN_OK)
        st = check_values(c, pb->inputs, pb->n_inputs, tn_graph_input_count(c->cpu->graph), tn_graph_input,
                          "the inputs");
    if (st == TN_OK)
        st = check_values(c, pb->outputs, pb->n_outputs, tn_graph_output_count(c->cpu->graph), tn_graph_output,
                          "the outputs");
    return st;
}

tn_status tn_cpu_context_new(tn_context *c) {
    const TnPlan__Plan *pb = c->plan->pb;
    c->cpu = tn_alloc(c->env, sizeof *c->cpu);
    if (!c->cpu) return tn_fail(c->env, TN_E_MEMORY, "", "", "out of memory");
    c->cpu->in = tn_alloc(c->env, (pb->n_inputs + 1) * sizeof *c->cpu->in);
    c->cpu->out = tn_alloc(c->env, (pb->n_outputs + 1) * sizeof *c->cpu->out);
    if (!c->cpu->in || !c->cpu->out) return tn_fail(c->env, TN_E_MEMORY, "", "", "out of memory");
    return parse_ir(c);
}

void tn_cpu_context_free(tn_context *c) {
    const TnPlan__Plan *pb = c->plan->pb;
    if (!c->cpu) return;
    tn_graph_free(c->cpu->graph);
    tn_free(c->env, c->cpu->in, (pb->n_inputs + 1) * sizeof *c->cpu->in);
    tn_free(c->env, c->cpu->out, (pb->n_outputs + 1) * sizeof *c->cpu->out);
    tn_free(c->env, c->cpu, sizeof *c->cpu);
    c->cpu = NULL;
}

static tn_tensor view(const TnPlan__Tensor *t, const int64_t *table, void *data) {
    tn_tensor v = {
        .dtype = (tn_dtype)t->dtype, .rank = (uint32_t)t->n_dims, .data = data, .bytes = tn_shape_bytes(t, table)};
    for (size_t k = 0; k < t->n_dims; k++) v.dims[k] = table[t->dims[k]];
    return v;
}

tn_status tn_cpu_run(tn_context *c, const void *const *inputs, void *const *outputs) {
    const TnPlan__Plan *pb = c->plan->pb;
    char none; /* stands for the bytes of an empty tensor, which the caller may leave NULL */
    for (size_t k = 0; k < pb->n_inputs; k++)
        c->cpu->in[k] = view(pb->inputs[k], c->table, inputs[k] ? (void *)(uintptr_t)inputs[k] : &none);
    for (size_t k = 0; k < pb->n_outputs; k++)
        c->cpu->out[k] = view(pb->outputs[k], c->table, outputs[k] ? outputs[k] : &none);
    tn_eval_opts opts = {.fast = true};
    return tn_eval_graph(c->env, c->cpu->graph, c->cpu->in, pb->n_inputs, c->cpu->out, pb->n_outputs, &opts);
}
