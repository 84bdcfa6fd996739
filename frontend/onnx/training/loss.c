/* loss.c: the two losses that exporters leave in models. */
#include "frontend/onnx/import.h"

#include <string.h>

/* Mean (weighted), sum or nothing of the losses. */
static tn_val reduced(tn_oi *x, tn_val loss, tn_val weight, const char *how) {
    tn_graph *g = x->g;
    int64_t axes[TN_MAX_RANK];
    size_t rank = tn_val_rank(g, loss);
    for (size_t k = 0; k < rank; k++) axes[k] = (int64_t)k;
    if (!strcmp(how, "none")) return loss;
    if (!strcmp(how, "mean") && !weight.i) return tn_build_reduce(g, TN_OP_REDUCE_MEAN, loss, rank, axes, false);
    loss = tn_build_reduce(g, TN_OP_REDUCE_SUM, loss, rank, axes, false);
    if (strcmp(how, "mean") != 0) return loss;
    return tn_build_div(g, loss, tn_build_reduce(g, TN_OP_REDUCE_SUM, weight, rank, axes, false));
}

/* A smaller target would leave out losses, and a shorter list of weights some classes, without a word. */
static bool fitting(tn_oi *x, tn_val logp, tn_val target, tn_val weight) {
    tn_graph *g = x->g;
    const size_t rank = tn_val_rank(g, target);
    if (tn_val_rank(g, logp) != rank + 1 || !rank || (weight.i && tn_val_rank(g, weight) != 1)) {
        tn_oi_fail(x, TN_E_FORMAT, "", "scores of rank %zu, a target of rank %zu, or weights that are no vector",
                   tn_val_rank(g, logp), rank);
        return false;
    }
    for (size_t k = 0; k < rank; k++)
        tn_oi_fits(x, TN_REL_EQUAL, target, k, "the target", tn_val_dim(g, logp, k + (k > 0)), "the scores");
    if (weight.i) tn_oi_fits(x, TN_REL_EQUAL, weight, 0, "the weights", tn_val_dim(g, logp, 1), "the classes");
    return !tn_oi_failed(x);
}

/* logp [N, C, ...], target [N, ...]: -weight[target] * logp[target], 0 where target is ignore_index. */
static tn_val nll(tn_oi *x, tn_val logp) {
    tn_graph *g = x->g;
    tn_val target = tn_build_cast_to(g, tn_oi_need(x, 1), TN_I64), weight = tn_oi_in(x, 2), ignored = {0};
    if (tn_oi_failed(x) || !fitting(x, logp, target, weight)) return (tn_val){0};
    tn_dtype t = tn_val_dtype(g, logp);
    if (tn_oi_attr(x, "ignore_index")) {
        tn_val index = tn_const_ints(g, TN_I64, 1, (const int64_t[]){tn_oi_int(x, "ignore_index", 0)});
        ignored = tn_build_eq(g, target, tn_build_reshape_to(g, index, 0, NULL));
        target = tn_build_select(g, ignored, tn_const_num(g, TN_I64, 0), target);
    }
    tn_val at = tn_build_unsqueeze(g, target, 1);
    tn_val loss = tn_build_squeeze(g, tn_build_gather_elements(g, logp, at, (tn_attrs_axis){.axis = 1}), 1);
    loss = tn_build_neg(g, loss);
    if (weight.i) weight = tn_build_gather(g, weight, target, (tn_attrs_axis){.axis = 0});
    if (ignored.i) {
        tn_val one = weight.i ? weight : tn_const_num(g, t, 1);
        weight = tn_build_select(g, ignored, tn_const_num(g, t, 0), one);
    }
    if (weight.i) loss = tn_build_mul(g, loss, weight);
    return reduced(x, loss, weight, tn_oi_str(x, "reduction", "mean"));
}

void tn_oi_op_nll_loss(tn_oi *x) {
    tn_oi_out(x, 0, nll(x, tn_oi_need(x, 0)));
}

void tn_oi_op_softmax_loss(tn_oi *x) {
    tn_val logp = tn_build_log_softmax(x->g, tn_oi_need(x, 0), (tn_attrs_axis){.axis = 1});
    tn_oi_out(x, 0, nll(x, logp));
    tn_oi_out(x, 1, logp);
}
