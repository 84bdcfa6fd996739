/* scatter.c: Scatter, ScatterElements, ScatterND, TensorScatter and TopK. */
#include "frontend/onnx/import.h"

#include <string.h>

static const char *reduction_of(tn_oi *x) {
    const char *r = tn_oi_str(x, "reduction", "none");
    return strcmp(r, "none") ? r : "";
}

void tn_oi_op_scatter_elements(tn_oi *x) {
    tn_val v = tn_oi_need(x, 0), i = tn_oi_need(x, 1), u = tn_oi_need(x, 2);
    tn_attrs_scatter a = {.axis = tn_oi_axis(x, tn_oi_int(x, "axis", 0), tn_val_rank(x->g, v)),
                          .reduction = reduction_of(x)};
    tn_oi_out(x, 0, tn_build_scatter_elements(x->g, v, i, u, a));
}

void tn_oi_op_scatter_nd(tn_oi *x) {
    tn_val v = tn_oi_need(x, 0), i = tn_oi_need(x, 1), u = tn_oi_need(x, 2);
    tn_oi_out(x, 0, tn_build_scatter_nd(x->g, v, i, u, (tn_attrs_scatter){.reduction = reduction_of(x)}));
}

/* Slices of a cache from write_indices[batch] on are replaced: of the cache as [places before the axis, axis, what
 * follows], those at (place, index). */
void tn_oi_op_tensor_scatter(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val v = tn_oi_need(x, 0), u = tn_oi_need(x, 1), start = tn_oi_in(x, 2);
    size_t rank = tn_val_rank(g, v), axis = (size_t)tn_oi_axis(x, tn_oi_int(x, "axis", -2), rank);
    if (!tn_oi_failed(x) && (tn_val_rank(g, u) != rank || !axis))
        tn_oi_fail(x, TN_E_FORMAT, "", "the cache and the update must have one rank, and the axis is not the batch");
    for (size_t k = 0; k < rank && !tn_oi_failed(x); k++) /* what is flattened below would land in other rows */
        tn_oi_fits(x, k == axis ? TN_REL_AT_LEAST : TN_REL_EQUAL, v, k, "the cache", tn_val_dim(g, u, k), "the update");
    if (tn_oi_failed(x)) return;
    tn_dim full[TN_MAX_RANK], batch = tn_val_dim(g, u, 0), places = tn_val_extent(x->g, u, 1, axis);
    tn_dim steps = tn_val_dim(g, u, axis), inner = tn_val_extent(x->g, u, axis + 1, rank), one = tn_dim_const(g, 1);
    for (size_t k = 0; k < rank; k++) full[k] = tn_val_dim(g, v, k);
    const tn_dim flat[] = {tn_val_extent(x->g, v, 0, axis), full[axis], tn_val_extent(x->g, v, axis + 1, rank)};
    const tn_dim all = tn_dim_mul(g, batch, places), update[] = {all, steps, inner}, index[] = {all, steps, one},
                 at[] = {batch, places, steps}, first[] = {batch, one, one};
    tn_val to = tn_build_iota(g, TN_I64, 3, at, 2);
    if (start.i) to = tn_build_add(g, to, tn_build_reshape_to(g, start, 3, first));
    if (!strcmp(tn_oi_str(x, "mode", "linear"), "circular")) to = tn_build_mod(g, to, tn_oi_size_value(x, full[axis]));
    const tn_val pair[] = {tn_build_iota(g, TN_I64, 3, index, 0), tn_build_reshape_to(g, to, 3, index)};
    v = tn_build_scatter_nd(g, tn_build_reshape_to(g, v, 3, flat), tn_build_concat(g, 2, pair, 2),
                            tn_build_reshape_to(g, u, 3, update), (tn_attrs_scatter){0});
    tn_oi_out(x, 0, tn_build_reshape_to(g, v, rank, full));
}

/* k is an attribute up to opset 9, then an input; what is chosen is always sorted, which `sorted` = 0 allows. */
void tn_oi_op_top_k(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val v = tn_oi_need(x, 0);
    tn_attrs_top_k a = {.axis = tn_oi_axis(x, tn_oi_int(x, "axis", -1), tn_val_rank(g, v)),
                        .smallest = !tn_oi_int(x, "largest", 1)};
    if (x->opset < 10) {
        a.k = tn_dim_const(g, tn_oi_int(x, "k", 0));
    } else {
        const tn_oi_sym *k = tn_oi_need_dims(x, 1, "the number of elements");
        if (k && k->n != 1) tn_oi_fail(x, TN_E_FORMAT, "", "k has %u elements", k->n);
        if (tn_oi_failed(x)) return;
        a.k = k->d[0];
    }
    tn_val at = tn_build_top_k(g, v, a);
    tn_oi_out(x, 0, tn_build_gather_elements(g, v, at, (tn_attrs_axis){.axis = a.axis}));
    tn_oi_out(x, 1, at);
}
