/* made.c: the sizes that data makes on which a kernel depends, in lists without doubles; fusion keeps those of a group short. */
#include "passes/fuse/fuse.h"

void tn_made_put(const tn_graph *g, tn_made_sizes *l, tn_dim d) {
    if (!tn_dim_is_made(g, d) || l->full) return;
    if (tn_dim_kind_of(g, d) != TN_DIM_SYM) {
        tn_made_put(g, l, tn_dim_lhs(g, d));
        tn_made_put(g, l, tn_dim_rhs(g, d));
        return;
    }
    for (uint32_t k = 0; k < l->n; k++)
        if (l->sym[k].i == d.i) return;
    l->full = l->n == TN_MADE_MOST;
    if (!l->full) l->sym[l->n++] = d;
}

void tn_made_put_type(const tn_graph *g, tn_made_sizes *l, tn_val v) {
    for (size_t k = 0; v.i && k < tn_val_rank(g, v); k++) tn_made_put(g, l, tn_val_dim(g, v, k));
}

void tn_fuse_take_sizes(const tn_fusion *f, tn_fuse_group *gr, tn_node n) {
    for (size_t k = 0; k < tn_node_input_count(f->g, n); k++)
        tn_made_put_type(f->g, &gr->sizes, tn_node_input(f->g, n, k));
    for (size_t k = 0; k < tn_node_result_count(f->g, n); k++)
        tn_made_put_type(f->g, &gr->sizes, tn_node_result(f->g, n, k));
}

bool tn_fuse_sizes_fit(const tn_fusion *f, const tn_fuse_group *gr, tn_node n) {
    tn_fuse_group with = *gr;
    tn_fuse_take_sizes(f, &with, n);
    return with.sizes.n <= TN_MADE_FUSED || (with.sizes.n == gr->sizes.n && !with.sizes.full);
}
