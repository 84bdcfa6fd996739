/* view.c: a view of a graph: all of it to read, and a pool of dims of its own to make expressions in.
 *
 * A view reads the graph's arrays in place and adds to none of them.  So several threads may each work with a view, as
 * long as nobody changes the graph; and what is made in a view is gone with it, but for what is taken over. */
#include "ir/internal.h"

tn_graph *tn_graph_view(const tn_graph *g) {
    if (!tn_graph_ok(g)) return NULL;
    tn_graph *v = tn_alloc(g->env, sizeof *v);
    if (!v) return NULL;
    *v = *g;
    v->arena = (tn_arena){.env = g->env};
    v->dims = (tn_dim_pool){.parent = &g->dims, .base = g->dims.base + g->dims.recs.n};
    return v;
}

bool tn_graph_is_whole(tn_graph *g) {
    if (g->dims.parent) tn_graph_fail(g, TN_E_INTERNAL, (tn_node){0}, "", "a view of a graph cannot change it");
    return !g->dims.parent;
}

bool tn_graph_is_view(const tn_graph *g) {
    return g->dims.parent != NULL;
}

/* Bounded by TN_DIM_DEPTH.  It is canonical, and the graph knows what the view knows. */
tn_dim tn_dim_take(tn_graph *g, const tn_graph *view, tn_dim d) {
    const tn_dim_rec *r = tn_dim_rec_of(view, d);
    if (!d.i || d.i < view->dims.base) return d;
    if (r->is_coord) {
        tn_graph_fail(g, TN_E_INTERNAL, (tn_node){0}, "", "a size depends on a coordinate");
        return (tn_dim){0};
    }
    const tn_dim lhs = tn_dim_take(g, view, r->lhs), rhs = tn_dim_take(g, view, r->rhs);
    return tn_graph_ok(g) ? tn_dim_intern(g, r->kind, lhs, rhs, r->value, r->name) : (tn_dim){0};
}
