/* norm.c: normalisations and softmax. */
#include "frontend/onnx/math/norm.h"

#include <string.h>

tn_val tn_oi_softmax(tn_oi *x, tn_op op, tn_val v, int64_t opset) {
    tn_graph *g = x->g;
    if (tn_oi_failed(x)) return v;
    size_t rank = tn_val_rank(g, v);
    tn_attrs_axis a = {.axis = tn_oi_axis(x, tn_oi_int(x, "axis", opset < 13 ? 1 : -1), rank)};
    tn_dim full[TN_MAX_RANK], flat[2];
    if (tn_oi_failed(x)) return v;
    bool matrix = opset < 13 && a.axis + 1 != (int64_t)rank;
    for (size_t k = 0; k < rank; k++) full[k] = tn_val_dim(g, v, k);
    if (matrix) {
        flat[0] = tn_val_extent(x->g, v, 0, (size_t)a.axis);
        flat[1] = tn_val_extent(x->g, v, (size_t)a.axis, rank);
        v = tn_build_reshape_to(g, v, 2, flat);
        a.axis = 1;
    }
    v = tn_emit1(g, op, &a, 1, &v);
    return tn_build_reshape_to(g, v, rank, full);
}

void tn_oi_op_softmax(tn_oi *x) {
    tn_val v = tn_oi_need(x, 0);
    tn_oi_out(x, 0, tn_oi_softmax(x, x->row->op, v, x->opset));
}

/* old * momentum + now * (1 - momentum) */
static tn_val running(tn_oi *x, tn_val old, tn_val now, double momentum) {
    tn_val keep = tn_build_scalar(x->g, TN_OP_MUL, old, momentum);
    return tn_build_add(x->g, keep, tn_build_scalar(x->g, TN_OP_MUL, now, 1 - momentum));
}

void tn_oi_op_batch_norm(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val v[5];
    int64_t axes[TN_MAX_RANK];
    size_t n = 0;
    for (size_t k = 0; k < 5; k++) v[k] = tn_oi_need(x, k);
    if (tn_oi_failed(x)) return;
    if (!tn_oi_int(x, "spatial", 1) || (x->opset < 14 && tn_oi_wants(x, 1))) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "export the model for inference (evaluation mode)", "statistics %s",
                   tn_oi_wants(x, 1) ? "as outputs (training mode)" : "per activation (spatial = 0)");
        return;
    }
    tn_attrs_norm a = {.axis = 1, .eps = tn_oi_num(x, "epsilon", (double)1e-5f)};
    double momentum = tn_oi_num(x, "momentum", (double)0.9f);
    if (!tn_oi_int(x, "training_mode", 0)) {
        tn_oi_out(x, 0, tn_build_batch_norm(g, v[0], v[1], v[2], v[3], v[4], a));
        return;
    }
    for (size_t k = 0; k < tn_val_rank(g, v[0]); k++)
        if (k != 1) axes[n++] = (int64_t)k;
    tn_val mean = tn_build_reduce(g, TN_OP_REDUCE_MEAN, v[0], n, axes, true), off = tn_build_sub(g, v[0], mean);
    tn_val var = tn_build_reduce(g, TN_OP_REDUCE_MEAN, tn_build_mul(g, off, off), n, axes, false);
    tn_dim c = tn_val_dim(g, v[0], 1);
    mean = tn_build_reshape_to(g, mean, 1, &c);
    tn_oi_out(x, 0, tn_build_batch_norm(g, v[0], v[1], v[2], mean, var, a));
    if (tn_oi_wants(x, 1))
        tn_oi_out(x, 1, running(x, v[3], tn_build_cast_to(g, mean, tn_val_dtype(g, v[3])), momentum));
    if (tn_oi_wants(x, 2)) tn_oi_out(x, 2, running(x, v[4], tn_build_cast_to(g, var, tn_val_dtype(g, v[4])), momentum));
}

void tn_oi_statistics(tn_oi *x, tn_val v, int64_t axis, double eps, tn_val *mean, tn_val *inv) {
    tn_graph *g = x->g;
    int64_t axes[TN_MAX_RANK];
    size_t n = 0;
    for (int64_t k = axis; k < (int64_t)tn_val_rank(g, v); k++) axes[n++] = k;
    if (tn_dtype_bits(tn_val_dtype(g, v)) < 32) v = tn_build_cast_to(g, v, TN_F32);
    *mean = tn_build_reduce(g, TN_OP_REDUCE_MEAN, v, n, axes, true);
    tn_val off = tn_build_sub(g, v, *mean);
    tn_val var = tn_build_reduce(g, TN_OP_REDUCE_MEAN, tn_build_mul(g, off, off), n, axes, true);
    *inv = tn_build_rsqrt(g, tn_build_scalar(g, TN_OP_ADD, var, eps));
}

void tn_oi_op_layer_norm(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val v = tn_oi_need(x, 0), scale = tn_oi_in(x, 1), bias = tn_oi_in(x, 2), mean, inv;
    tn_attrs_norm a = {.axis = tn_oi_axis(x, tn_oi_int(x, "axis", -1), tn_val_rank(g, v)),
                       .eps = tn_oi_num(x, "epsilon", (double)1e-5f)};
    if (tn_oi_failed(x)) return;
    tn_oi_out(x, 0, tn_build_layer_norm(g, v, scale, bias, a));
    if (!tn_oi_wants(x, 1) && !tn_oi_wants(x, 2)) return;
    tn_oi_statistics(x, v, a.axis, a.eps, &mean, &inv);
    tn_oi_out(x, 1, mean);
    tn_oi_out(x, 2, inv);
}

tn_val tn_oi_inverse_rms(tn_oi *x, tn_val v, int64_t axis, double eps) {
    tn_graph *g = x->g;
    int64_t axes[TN_MAX_RANK];
    size_t n = 0;
    for (int64_t k = axis; k < (int64_t)tn_val_rank(g, v); k++) axes[n++] = k;
    if (tn_dtype_bits(tn_val_dtype(g, v)) < 32) v = tn_build_cast_to(g, v, TN_F32);
    tn_val square = tn_build_reduce(g, TN_OP_REDUCE_MEAN, tn_build_mul(g, v, v), n, axes, true);
    return tn_build_rsqrt(g, tn_build_scalar(g, TN_OP_ADD, square, eps));
}

void tn_oi_op_rms_norm(tn_oi *x) {
    tn_val v = tn_oi_need(x, 0), scale = tn_oi_in(x, 1);
    tn_attrs_norm a = {.axis = tn_oi_axis(x, tn_oi_int(x, "axis", -1), tn_val_rank(x->g, v)),
                       .eps = tn_oi_num(x, "epsilon", (double)1e-5f)};
    if (tn_oi_failed(x)) return;
    tn_oi_out(x, 0, tn_build_rms_norm(x->g, v, scale, a));
    if (tn_oi_wants(x, 1)) tn_oi_out(x, 1, tn_oi_inverse_rms(x, v, a.axis, a.eps));
}

void tn_oi_op_instance_norm(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val v = tn_oi_need(x, 0), scale = tn_oi_need(x, 1), bias = tn_oi_need(x, 2);
    tn_attrs_norm a = {.axis = 1, .eps = tn_oi_num(x, "epsilon", (double)1e-5f)};
    if (tn_oi_failed(x)) return;
    if (tn_val_rank(g, v) < 3 || !tn_dim_is_const(g, tn_val_dim(g, v, 1), &a.groups)) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "", "the number of channels is not known, or there are no spatial axes");
        return;
    }
    tn_oi_out(x, 0, tn_build_group_norm(g, v, scale, bias, a));
}

/* Opset 18 has one scale and bias a group, 21 one a channel. */
static tn_val per_channel(tn_oi *x, tn_val v, int64_t groups, tn_dim channels) {
    tn_graph *g = x->g;
    tn_dim n = tn_dim_const(g, groups), narrow[] = {n, tn_dim_const(g, 1)},
           wide[] = {n, tn_dim_floordiv(g, channels, n)};
    if (x->opset >= 21 || !v.i) return v;
    return tn_build_reshape_to(g, tn_build_broadcast_to(g, tn_build_reshape_to(g, v, 2, narrow), 2, wide), 1,
                               &channels);
}

void tn_oi_op_group_norm(tn_oi *x) {
    tn_val v = tn_oi_need(x, 0), scale = tn_oi_need(x, 1), bias = tn_oi_need(x, 2);
    tn_attrs_norm a = {
        .axis = 1, .groups = tn_oi_int(x, "num_groups", 0), .eps = tn_oi_num(x, "epsilon", (double)1e-5f)};
    if (tn_oi_failed(x)) return;
    if (a.groups < 1 || tn_val_rank(x->g, v) < 2) {
        tn_oi_fail(x, TN_E_FORMAT, "", "num_groups is %lld", (long long)a.groups);
        return;
    }
    tn_dim c = tn_val_dim(x->g, v, 1);
    scale = per_channel(x, scale, a.groups, c);
    bias = per_channel(x, bias, a.groups, c);
    tn_oi_out(x, 0, tn_build_group_norm(x->g, v, scale, bias, a));
}

void tn_oi_op_lrn(tn_oi *x) {
    tn_attrs_lrn a = {.size = tn_oi_int(x, "size", 0),
                      .alpha = tn_oi_num(x, "alpha", (double)1e-4f),
                      .beta = tn_oi_num(x, "beta", 0.75),
                      .bias = tn_oi_num(x, "bias", 1),
                      .axis = 1};
    tn_oi_out(x, 0, tn_build_lrn(x->g, tn_oi_need(x, 0), a));
}

/* x / ||x||_p */
void tn_oi_op_lp_norm(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val v = tn_oi_need(x, 0);
    int64_t axis = tn_oi_axis(x, tn_oi_int(x, "axis", -1), tn_val_rank(g, v)), p = tn_oi_int(x, "p", 2);
    if (tn_oi_failed(x)) return;
    tn_val n = p == 1 ? tn_build_abs(g, v) : tn_build_mul(g, v, v);
    n = tn_build_reduce(g, TN_OP_REDUCE_SUM, n, 1, &axis, true);
    if (p != 1) n = tn_build_sqrt(g, n);
    tn_val zero = tn_build_scalar(g, TN_OP_EQ, n, 0); /* a zero vector stays zero */
    n = tn_build_select(g, zero, tn_const_num(g, tn_val_dtype(g, n), 1), n);
    tn_oi_out(x, 0, tn_build_div(g, v, n));
}

/* (x - E[x]) / (sqrt(E[x^2] - E[x]^2) + 1e-9) */
void tn_oi_op_mean_variance_norm(tn_oi *x) {
    tn_graph *g = x->g;
    const int64_t standard[] = {0, 2, 3}, *axes;
    size_t n = tn_oi_ints(x, "axes", &axes);
    if (!n) {
        axes = standard;
        n = 3;
    }
    tn_val v = tn_oi_need(x, 0);
    tn_val off = tn_build_sub(g, v, tn_build_reduce(g, TN_OP_REDUCE_MEAN, v, n, axes, true));
    tn_val var = tn_build_reduce(g, TN_OP_REDUCE_MEAN, tn_build_mul(g, off, off), n, axes, true);
    tn_oi_out(x, 0, tn_build_div(g, off, tn_build_scalar(g, TN_OP_ADD, tn_build_sqrt(g, var), 1e-9)));
}
