/* scatter.c: Scatter, ScatterElements, ScatterND and TopK. */
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
