/* unknown.c: the operators of a model that have no importer, all of them at once: in the graph, in nested graphs and in
 * the functions that are called. */
#include "frontend/onnx/value.h"

#include <stdio.h>
#include <string.h>

enum { MAX_UNKNOWN = 64, MAX_DEPTH = 48 };

typedef struct unknown {
    const TnOnnx__NodeProto *first;
    int64_t opset;
    size_t nodes;
} unknown;

typedef struct search {
    tn_oi *x;
    bool *visited;                         /* by function */
    const TnOnnx__FunctionProto *function; /* whose nodes are looked at; NULL: the model's */
    unsigned depth;
    unknown found[MAX_UNKNOWN];
    size_t n, more; /* more: nodes of kinds beyond the table */
} search;

static void look_at_nodes(search *s, size_t n, TnOnnx__NodeProto **nodes);

static void look_at_graph(search *s, const TnOnnx__GraphProto *g) {
    if (g) look_at_nodes(s, g->n_node, g->node);
}

static void look_at_function(search *s, const TnOnnx__FunctionProto *f) {
    const TnOnnx__FunctionProto *outer = s->function;
    for (size_t k = 0; k < s->x->model->n_functions; k++) {
        if (s->x->model->functions[k] != f || s->visited[k]) continue;
        s->visited[k] = true;
        s->function = f;
        look_at_nodes(s, f->n_node, f->node);
    }
    s->function = outer;
}

static void add(search *s, const TnOnnx__NodeProto *n, int64_t opset) {
    for (size_t k = 0; k < s->n; k++) {
        unknown *u = &s->found[k];
        if (strcmp(u->first->op_type, n->op_type) || strcmp(u->first->domain, n->domain) || u->opset != opset) continue;
        u->nodes++;
        return;
    }
    if (s->n < MAX_UNKNOWN)
        s->found[s->n++] = (unknown){n, opset, 1};
    else
        s->more++;
}

static void look_at_nodes(search *s, size_t n, TnOnnx__NodeProto **nodes) {
    if (s->depth >= MAX_DEPTH) return;
    s->depth++;
    for (size_t k = 0; k < n; k++) {
        const TnOnnx__NodeProto *node = nodes[k];
        const TnOnnx__FunctionProto *f = tn_oi_find_function(s->x, node);
        const int64_t opset = tn_oi_opset_of(s->x, s->function, node->domain);
        if (tn_oi_find_plugin(s->x, node, opset)) continue;
        if (f)
            look_at_function(s, f);
        else if (!tn_oi_find_row(node->domain, node->op_type, opset))
            add(s, node, opset);
        for (size_t i = 0; i < node->n_attribute; i++) {
            look_at_graph(s, node->attribute[i]->g);
            for (size_t j = 0; j < node->attribute[i]->n_graphs; j++) look_at_graph(s, node->attribute[i]->graphs[j]);
        }
    }
    s->depth--;
}

/* ---- telling ----------------------------------------------------------------------------------------------------- */

typedef struct complaint {
    tn_status code;
    char hint[128], text[256];
} complaint;

static complaint complain(const TnOnnx__NodeProto *n, int64_t opset, size_t nodes) {
    complaint c = {.code = TN_E_UNSUPPORTED};
    int since, until;
    char count[48] = "";
    if (nodes > 1) snprintf(count, sizeof count, "; %zu nodes, this is the first", nodes);
    if (!opset) {
        c.code = TN_E_FORMAT;
        snprintf(c.hint, sizeof c.hint, "add the domain to the model's opset_import");
        snprintf(c.text, sizeof c.text, "the model imports no opset of domain '%.80s'%s", n->domain, count);
    } else if (tn_oi_versions(n->domain, n->op_type, &since, &until)) {
        snprintf(c.hint, sizeof c.hint, "convert the model to another opset with onnx.version_converter");
        snprintf(c.text, sizeof c.text,
                 "no importer for this version of the op (there is one for %d and later, up to %d)%s", since, until,
                 count);
    } else if (tn_oi_refusal(n->domain, n->op_type)) {
        snprintf(c.hint, sizeof c.hint, "tenon ops lists the operators that there are");
        snprintf(c.text, sizeof c.text, "not imported: %s%s", tn_oi_refusal(n->domain, n->op_type), count);
    } else {
        snprintf(c.hint, sizeof c.hint,
                 "declare it as a plugin (--plugin FILE), export it from other ops, or give it a body as a model-local "
                 "function");
        snprintf(c.text, sizeof c.text, "no importer for this op of domain '%.80s'%s",
                 *n->domain ? n->domain : "ai.onnx", count);
    }
    return c;
}

/* One that the import has not come to. */
static void report(const tn_oi *x, const unknown *u) {
    const TnOnnx__NodeProto *n = u->first;
    const complaint c = complain(n, u->opset, u->nodes);
    char loc[300];
    if (*n->name)
        snprintf(loc, sizeof loc, "%.280s", n->name);
    else
        snprintf(loc, sizeof loc, "%.140s(%.140s)", n->op_type, n->n_output ? n->output[0] : "");
    tn_fail(x->env, c.code, loc, c.hint, "%.80s%s%.80s (opset %lld): %s", n->domain, *n->domain ? "." : "", n->op_type,
            (long long)u->opset, c.text);
}

void tn_oi_unknown(tn_oi *x) {
    search *s = tn_oi_alloc(x, sizeof *s);
    bool *visited = tn_oi_alloc(x, x->model->n_functions + 1);
    if (!s || !visited) return;
    s->x = x;
    s->visited = visited;
    look_at_graph(s, x->model->graph);
    size_t here = 0, nodes = 1;
    while (here < s->n && (strcmp(s->found[here].first->op_type, x->node->op_type) ||
                           strcmp(s->found[here].first->domain, x->node->domain) || s->found[here].opset != x->opset))
        here++;
    if (here < s->n) nodes = s->found[here].nodes;
    const complaint c = complain(x->node, x->opset, nodes);
    tn_oi_fail(x, c.code, c.hint, "%s", c.text);
    for (size_t k = 0; k < s->n; k++)
        if (k != here) report(x, &s->found[k]);
    if (s->more) tn_fail(x->env, TN_E_UNSUPPORTED, "", "", "%zu nodes of further kinds have no importer", s->more);
}
