/* cpu.c: runs a plan on the reference evaluator: the plan's text IR, with the weights blob as its side file. */
#include "codegen/host/cpu.h"
#include "codegen/host/ir.h"
#include "codegen/host/opaque.h"

#include <string.h>

#include "ir/eval/eval.h"
#include "runtime/plan/shape.h"

struct tn_cpu {
    const tn_env *env;
    const TnPlan__Plan *pb;
    tn_graph *graph;
    tn_tensor *in, *out; /* views of the caller's buffers */
};

static tn_status disagrees(const tn_cpu *x, const char *what) {
    return tn_fail(x->env, TN_E_FORMAT, "", "compile the plan again",
                   "the plan's IR and its manifest disagree about %s", what);
}

static tn_status check_values(const tn_cpu *x, TnPlan__Tensor *const *t, size_t n, size_t count,
                              tn_val (*at)(const tn_graph *, size_t), const char *what) {
    const tn_graph *g = x->graph;
    if (count != n) return disagrees(x, what);
    for (size_t k = 0; k < n; k++)
        if ((uint32_t)tn_val_dtype(g, at(g, k)) != t[k]->dtype || tn_val_rank(g, at(g, k)) != t[k]->n_dims)
            return disagrees(x, what);
    return TN_OK;
}

static void free_lent(void *lent) {
    tn_graph_free(lent);
}

/* The plan's graph, which is read once: a context has a copy of all but the constants. */
static tn_status copy_graph(tn_plan *p, tn_graph **out) {
    tn_graph *g = NULL;
    pthread_mutex_lock(&p->device_mutex);
    tn_status st = p->lent ? TN_OK : tn_plan_graph(p->env, p, "the plan's IR", &g);
    if (g) p->lent = g, p->free_lent = free_lent;
    *out = st == TN_OK ? tn_graph_clone_beside(p->lent) : NULL;
    pthread_mutex_unlock(&p->device_mutex);
    return st == TN_OK && !*out ? tn_fail(p->env, TN_E_MEMORY, "", "", "out of memory") : st;
}

static tn_status parse_ir(tn_plan *p, tn_cpu *x) {
    const TnPlan__Plan *pb = p->pb;
    tn_status st = copy_graph(p, &x->graph);
    tn_graph *g = x->graph;
    if (st == TN_OK)
        st = check_values(x, pb->inputs, pb->n_inputs, tn_graph_input_count(g), tn_graph_input, "the inputs");
    if (st == TN_OK)
        st = check_values(x, pb->outputs, pb->n_outputs, tn_graph_output_count(g), tn_graph_output, "the outputs");
    return st;
}

tn_status tn_cpu_new(tn_plan *p, tn_cpu **out) {
    tn_cpu *x = *out = tn_alloc(p->env, sizeof *x);
    if (!x) return tn_fail(p->env, TN_E_MEMORY, "", "", "out of memory");
    x->env = p->env;
    x->pb = p->pb;
    x->in = tn_alloc(x->env, (x->pb->n_inputs + 1) * sizeof *x->in);
    x->out = tn_alloc(x->env, (x->pb->n_outputs + 1) * sizeof *x->out);
    tn_status st = x->in && x->out ? parse_ir(p, x) : tn_fail(x->env, TN_E_MEMORY, "", "", "out of memory");
    if (st == TN_OK) return st;
    tn_cpu_free(x);
    *out = NULL;
    return st;
}

void tn_cpu_free(tn_cpu *x) {
    if (!x) return;
    tn_graph_free(x->graph);
    tn_free(x->env, x->in, (x->pb->n_inputs + 1) * sizeof *x->in);
    tn_free(x->env, x->out, (x->pb->n_outputs + 1) * sizeof *x->out);
    tn_free(x->env, x, sizeof *x);
}

static tn_tensor view(const TnPlan__Tensor *t, const int64_t *table, void *data) {
    tn_tensor v = {
        .dtype = (tn_dtype)t->dtype, .rank = (uint32_t)t->n_dims, .data = data, .bytes = tn_shape_bytes(t, table)};
    for (size_t k = 0; k < t->n_dims; k++) v.dims[k] = table[t->dims[k]];
    return v;
}

static tn_status evaluate(tn_cpu *x) {
    tn_eval_opts opts = {.fast = true, .opaque = tn_run_opaque};
    return tn_eval_graph(x->env, x->graph, x->in, x->pb->n_inputs, x->out, x->pb->n_outputs, &opts);
}

/* ---- in the caller's one buffer ---------------------------------------------------------------------------------- */

/* Packs the pieces of a buffer, or unpacks them into it. */
static void move_rows(tn_rows r, char *packed, char *buffer, bool pack) {
    for (size_t k = 0; r.run && k < r.n; k++)
        memcpy(pack ? packed + k * r.run : buffer + k * r.pitch, pack ? buffer + k * r.pitch : packed + k * r.run,
               r.run);
}

/* Gives outputs that grow in inputs' buffers, and those inputs, packed memory instead. */
static tn_status leave_buffers(tn_cpu *x, const int64_t *table) {
    const TnPlan__Plan *pb = x->pb;
    tn_status st = TN_OK;
    for (size_t k = 0; k < pb->n_aliases; k++) {
        tn_tensor *in = &x->in[pb->aliases[k]->input], *out = &x->out[pb->aliases[k]->output];
        char *buffer = in->data;
        in->data = tn_alloc(x->env, in->bytes + 1);
        out->data = tn_alloc(x->env, out->bytes + 1);
        if (!in->data || !out->data)
            st = TN_E_MEMORY;
        else
            move_rows(tn_rows_of(pb, false, pb->aliases[k]->input, table), in->data, buffer, true);
    }
    return st == TN_OK ? st : tn_fail(x->env, st, "", "", "out of memory");
}

/* Writes the outputs into the buffers. */
static void enter_buffers(tn_cpu *x, const int64_t *table, void *const *outputs, bool done) {
    const TnPlan__Plan *pb = x->pb;
    for (size_t k = 0; k < pb->n_aliases; k++) {
        const size_t o = pb->aliases[k]->output;
        tn_tensor *in = &x->in[pb->aliases[k]->input], *out = &x->out[o];
        if (done) move_rows(tn_rows_of(pb, true, o, table), out->data, outputs[o], false);
        tn_free(x->env, in->data, in->bytes + 1);
        tn_free(x->env, out->data, out->bytes + 1);
    }
}

tn_status tn_cpu_run(tn_cpu *x, const int64_t *table, bool in_place, const void *const *inputs, void *const *outputs) {
    const TnPlan__Plan *pb = x->pb;
    char none; /* stands for the bytes of an empty tensor, which the caller may leave NULL */
    for (size_t k = 0; k < pb->n_inputs; k++)
        x->in[k] = view(pb->inputs[k], table, inputs[k] ? (void *)(uintptr_t)inputs[k] : &none);
    for (size_t k = 0; k < pb->n_outputs; k++) x->out[k] = view(pb->outputs[k], table, outputs[k] ? outputs[k] : &none);
    if (!in_place || !pb->n_aliases) return evaluate(x);
    tn_status st = leave_buffers(x, table);
    if (st == TN_OK) st = evaluate(x);
    enter_buffers(x, table, outputs, st == TN_OK);
    return st;
}
