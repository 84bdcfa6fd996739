/* made.c: the sizes that data makes on which the kernel of a group depends: it takes each as an operand, so that a group has few. */
#include "passes/fuse/fuse.h"

typedef struct list {
    tn_dim p[TN_FUSE_MAX_SIZES];
    uint32_t n;
    bool full;
} list;

static void put(const tn_graph *g, list *l, tn_dim d) {
    if (!tn_dim_is_made(g, d) || l->full) return;
    if (tn_dim_kind_of(g, d) != TN_DIM_SYM) {
        put(g, l, tn_dim_lhs(g, d));
        put(g, l, tn_dim_rhs(g, d));
        return;
    }
    for (uint32_t k = 0; k < l->n; k++)
        if (l->p[k].i == d.i) return;
    l->full = l->n == TN_FUSE_MAX_SIZES;
    if (!l->full) l->p[l->n++] = d;
}

static void put_type(const tn_graph *g, list *l, tn_val v) {
    for (size_t k = 0; v.i && k < tn_val_rank(g, v); k++) put(g, l, tn_val_dim(g, v, k));
}

/* With those of n's operands and results. */
static list sizes_with(const tn_fusion *f, const tn_fuse_group *gr, tn_node n) {
    list l = {.n = gr->n_sizes};
    for (uint32_t k = 0; k < l.n; k++) l.p[k] = gr->size[k];
    for (size_t k = 0; k < tn_node_input_count(f->g, n); k++) put_type(f->g, &l, tn_node_input(f->g, n, k));
    for (size_t k = 0; k < tn_node_result_count(f->g, n); k++) put_type(f->g, &l, tn_node_result(f->g, n, k));
    return l;
}

bool tn_fuse_sizes_fit(const tn_fusion *f, const tn_fuse_group *gr, tn_node n) {
    return !sizes_with(f, gr, n).full;
}

void tn_fuse_take_sizes(const tn_fusion *f, tn_fuse_group *gr, tn_node n) {
    const list l = sizes_with(f, gr, n);
    gr->n_sizes = l.n;
    for (uint32_t k = 0; k < l.n; k++) gr->size[k] = l.p[k];
}
