/* order.c: the order in which the nodes of a graph can be imported.
 *
 * ONNX asks for topologically sorted nodes, but files exist that are not, and other runtimes read them.  The order is a
 * depth-first walk from each node to the producers of what it uses (nested graphs included), so a sorted file keeps its
 * order. */
#include "frontend/onnx/value.h"

#include <string.h>

/* Output name -> node, open addressing; names are interned. */
typedef struct producers {
    const char **name;
    uint32_t *node;
    size_t mask;
} producers;

typedef struct deps {
    uint32_t *list;
    size_t n;
} deps;

static size_t place(const producers *p, const char *name) {
    size_t at = (size_t)(((uint64_t)(uintptr_t)name * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & p->mask;
    while (p->name[at] && p->name[at] != name) at = (at + 1) & p->mask;
    return at;
}

static bool new_table(tn_oi *x, producers *p, size_t names) {
    size_t size = 16;
    while (size < 2 * names + 2) size *= 2;
    p->mask = size - 1;
    p->name = tn_oi_alloc(x, size * sizeof *p->name);
    p->node = tn_oi_alloc(x, size * sizeof *p->node);
    return p->name && p->node;
}

static bool put(tn_oi *x, producers *p, const char *text, size_t node) {
    const char *name = *text ? tn_intern(x->g, text) : NULL;
    if (!name) return !*text;
    size_t at = place(p, name);
    p->name[at] = name; /* defined twice: the last counts */
    p->node[at] = (uint32_t)node;
    return true;
}

static bool index_outputs(tn_oi *x, producers *p, size_t n, TnOnnx__NodeProto **nodes) {
    size_t total = 0;
    for (size_t k = 0; k < n; k++) total += nodes[k]->n_output;
    if (!new_table(x, p, total)) return false;
    for (size_t k = 0; k < n; k++)
        for (size_t i = 0; i < nodes[k]->n_output; i++)
            if (!put(x, p, nodes[k]->output[i], k)) return false;
    return true;
}

/* ---- what a node uses -------------------------------------------------------------------------------------------- */

/* Names that a nested graph defines for itself, and those around it. */
typedef struct inner {
    const struct inner *outer;
    producers names;
} inner;

static bool index_own(tn_oi *x, inner *in, const TnOnnx__GraphProto *g) {
    size_t total = g->n_input + g->n_initializer;
    bool ok = true;
    for (size_t k = 0; k < g->n_node; k++) total += g->node[k]->n_output;
    if (!new_table(x, &in->names, total)) return false;
    for (size_t k = 0; k < g->n_input; k++) ok = ok && put(x, &in->names, g->input[k]->name, 0);
    for (size_t k = 0; k < g->n_initializer; k++) ok = ok && put(x, &in->names, g->initializer[k]->name, 0);
    for (size_t k = 0; k < g->n_node; k++)
        for (size_t i = 0; i < g->node[k]->n_output; i++) ok = ok && put(x, &in->names, g->node[k]->output[i], 0);
    return ok;
}

static void use(tn_oi *x, const producers *p, const inner *in, const char *input, deps *d, bool count) {
    const char *name = *input ? tn_intern(x->g, input) : NULL;
    size_t at = name ? place(p, name) : 0;
    if (!name || !p->name[at]) return;
    for (; in; in = in->outer)
        if (in->names.name[place(&in->names, name)]) return;
    if (!count) d->list[d->n] = p->node[at];
    d->n++;
}

/* Everything a node uses; nesting was limited when the file was read. */
static void collect(tn_oi *x, const producers *p, const inner *in, const TnOnnx__NodeProto *node, deps *d, bool count);

static void collect_graph(tn_oi *x, const producers *p, const inner *outer, const TnOnnx__GraphProto *g, deps *d,
                          bool count) {
    inner in = {.outer = outer};
    if (!index_own(x, &in, g)) return;
    for (size_t k = 0; k < g->n_node; k++) collect(x, p, &in, g->node[k], d, count);
    for (size_t k = 0; k < g->n_output; k++) use(x, p, &in, g->output[k]->name, d, count);
}

static void collect(tn_oi *x, const producers *p, const inner *in, const TnOnnx__NodeProto *node, deps *d, bool count) {
    for (size_t k = 0; k < node->n_input; k++) use(x, p, in, node->input[k], d, count);
    for (size_t k = 0; k < node->n_attribute; k++) {
        const TnOnnx__AttributeProto *a = node->attribute[k];
        if (a->g) collect_graph(x, p, in, a->g, d, count);
        for (size_t i = 0; i < a->n_graphs; i++) collect_graph(x, p, in, a->graphs[i], d, count);
    }
}

typedef struct walk {
    uint32_t *order, *stack, *cursor; /* cursor: dependencies of a node already walked */
    uint8_t *state;                   /* 0 new, 1 on the stack, 2 done */
    deps *deps;
    size_t done;
} walk;

static bool visit(tn_oi *x, walk *w, uint32_t root, TnOnnx__NodeProto **nodes) {
    size_t depth = 0;
    if (w->state[root]) return true;
    w->stack[depth++] = root;
    w->state[root] = 1;
    while (depth) {
        uint32_t k = w->stack[depth - 1];
        if (w->cursor[k] == w->deps[k].n) {
            w->state[k] = 2;
            w->order[w->done++] = k;
            depth--;
            continue;
        }
        uint32_t next = w->deps[k].list[w->cursor[k]++];
        if (w->state[next] == 1 && next != k) {
            tn_oi_fail(x, TN_E_FORMAT, "check the model with onnx.checker",
                       "the graph has a cycle through node '%s' (%s)", nodes[next]->name, nodes[next]->op_type);
            return false;
        }
        if (w->state[next]) continue;
        w->state[next] = 1;
        w->stack[depth++] = next;
    }
    return true;
}

/* Every output of node k is defined again by a later node, which is what its users see. */
static bool replaced(tn_oi *x, const producers *p, uint32_t k, const TnOnnx__NodeProto *node) {
    for (size_t i = 0; i < node->n_output; i++)
        if (*node->output[i] && p->node[place(p, tn_intern(x->g, node->output[i]))] == k) return false;
    return node->n_output > 0;
}

const uint32_t *tn_oi_order(tn_oi *x, size_t *n_nodes, TnOnnx__NodeProto **nodes) {
    producers p;
    size_t n = *n_nodes;
    walk w = {.order = tn_oi_alloc(x, (n + 1) * sizeof *w.order),
              .stack = tn_oi_alloc(x, (n + 1) * sizeof *w.stack),
              .cursor = tn_oi_alloc(x, (n + 1) * sizeof *w.cursor),
              .state = tn_oi_alloc(x, n + 1),
              .deps = tn_oi_alloc(x, (n + 1) * sizeof *w.deps)};
    if (n >= UINT32_MAX || tn_oi_failed(x) || !index_outputs(x, &p, n, nodes)) return NULL;
    for (size_t k = 0; k < n; k++) {
        collect(x, &p, NULL, nodes[k], &w.deps[k], true);
        w.deps[k].list = tn_oi_alloc(x, (w.deps[k].n + 1) * sizeof *w.deps[k].list);
        if (!w.deps[k].list) return NULL;
        w.deps[k].n = 0;
        if (tn_oi_failed(x)) return NULL;
        collect(x, &p, NULL, nodes[k], &w.deps[k], false);
    }
    for (size_t k = 0; k < n; k++)
        if (!replaced(x, &p, (uint32_t)k, nodes[k]) && !visit(x, &w, (uint32_t)k, nodes)) return NULL;
    *n_nodes = w.done;
    return w.order;
}
