/* opaque.c: what only the kernel of a plugin says: its reference, a function of the caller's, says it, too, or the kernel is run. */
#include "ir/eval/internal.h"
#include "ir/plugin/plugin.h"

typedef struct call {
    tn_ev *c;
    tn_node kernel;
    const tn_plugin *p;
    tn_tensor in[TN_PLUGIN_MOST], out[TN_PLUGIN_MOST]; /* of the graph's types */
} call;

static tn_status take_operands(call *k) {
    tn_ev *c = k->c;
    if (c->n_in > TN_PLUGIN_MOST) return tn_ev_fail(c, TN_E_VERIFY, "it has %zu operands", c->n_in);
    for (size_t i = 0; i < c->n_in; i++) {
        const tn_dtype t = tn_val_dtype(c->g, tn_node_input(c->g, c->node, i));
        TN_TRY(tn_tensor_new(c->env, t, c->in[i].rank, c->in[i].dims, &k->in[i]));
        tn_ev_convert(&k->in[i], &c->in[i]);
    }
    return TN_OK;
}

static tn_status make_results(call *k) {
    tn_ev *c = k->c;
    const tn_node yield = tn_region_last(c->g, tn_node_region(c->g, c->node));
    for (uint32_t i = 0; i < k->p->n_out; i++) {
        const tn_val y = tn_node_input(c->g, yield, i);
        int64_t dims[TN_MAX_RANK];
        for (size_t a = 0; a < tn_val_rank(c->g, y); a++) TN_TRY(tn_ev_dim(c, tn_val_dim(c->g, y, a), &dims[a]));
        TN_TRY(tn_tensor_new(c->env, tn_val_dtype(c->g, y), tn_val_rank(c->g, y), dims, &k->out[i]));
    }
    return TN_OK;
}

/* With the operands where they are declared; those that are absent have no data. */
static tn_status ask(call *k) {
    tn_plugin_array in[TN_PLUGIN_MOST] = {{0}}, out[TN_PLUGIN_MOST] = {{0}};
    const tn_attrs_kernel *a = TN_ATTRS_OF(k->c->g, k->kernel, kernel);
    size_t at = 0;
    for (uint32_t s = 0; s < k->p->n_steps; s++) {
        const tn_plugin_step *step = &k->p->steps[s];
        bool there = step->kind == TN_PLUGIN_IN;
        for (uint32_t i = 1; there && i < a->given.n; i++) there = strcmp(a->given.p[i], step->name) != 0;
        if (!there || at >= k->c->n_in) continue;
        const tn_tensor *t = &k->in[at++];
        in[step->index] = (tn_plugin_array){t->dtype, t->rank, {0}, t->data};
        memcpy(in[step->index].dims, t->dims, sizeof t->dims);
    }
    for (uint32_t i = 0; i < k->p->n_out; i++) {
        out[i] = (tn_plugin_array){k->out[i].dtype, k->out[i].rank, {0}, k->out[i].data};
        memcpy(out[i].dims, k->out[i].dims, sizeof k->out[i].dims);
    }
    const tn_status st = k->p->reference(k->p->reference_user, a->given.p[0], k->p->n_in, in, k->p->n_out, out);
    return st == TN_OK ? st
                       : tn_ev_fail(k->c, st, "the reference of plugin %s fails: %s", k->p->name, tn_status_text(st));
}

static tn_status run(call *k) {
    tn_ev *c = k->c;
    const int64_t index = ((const tn_attrs_opaque *)c->attrs)->index;
    if (index < 0 || index >= k->p->n_out)
        return tn_ev_fail(c, TN_E_VERIFY, "the plugin has no result %lld", (long long)index);
    TN_TRY(take_operands(k));
    TN_TRY(make_results(k));
    if (k->p->reference)
        TN_TRY(ask(k));
    else
        TN_TRY(c->opts->opaque(c->env, c->g, k->kernel, c->n_in, k->in, k->p->n_out, k->out));
    if (k->out[index].rank != c->out[0].rank ||
        memcmp(k->out[index].dims, c->out[0].dims, c->out[0].rank * sizeof(int64_t)) != 0)
        return tn_ev_fail(c, TN_E_VERIFY, "it is yielded as another");
    tn_ev_convert(&c->out[0], &k->out[index]);
    return TN_OK;
}

tn_status tn_ev_opaque(tn_ev *c) {
    const tn_node kernel = tn_region_owner(c->g, tn_node_region(c->g, c->node));
    const tn_plugin *p = kernel.i ? tn_node_plugin(c->g, kernel) : NULL;
    if (!p || !TN_ATTRS_OF(c->g, kernel, kernel)->given.n)
        return tn_ev_fail(c, TN_E_VERIFY, "no plugin's kernel owns it");
    if (!p->reference && !c->opts->opaque)
        return tn_ev_fail(c, TN_E_UNSUPPORTED, "plugin %s (%s) has no expansion: here nothing says what it computes",
                          p->name, p->source);
    call *k = tn_alloc(c->env, sizeof *k);
    if (!k) return tn_ev_no_memory(c);
    *k = (call){.c = c, .kernel = kernel, .p = p};
    const tn_status st = run(k);
    for (size_t i = 0; i < TN_PLUGIN_MOST; i++) {
        tn_tensor_free(c->env, &k->in[i]);
        tn_tensor_free(c->env, &k->out[i]);
    }
    tn_free(c->env, k, sizeof *k);
    return st;
}
