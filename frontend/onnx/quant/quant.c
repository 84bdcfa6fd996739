/* quant.c: quantised ops by their arithmetic: (x - zero) * scale and its inverse, integer products in int32. */
#include "frontend/onnx/quant/quant.h"

#include <math.h>
#include <string.h>

tn_val tn_oi_spread(tn_oi *x, tn_val p, tn_val v, int64_t axis, int64_t block) {
    tn_graph *g = x->g;
    size_t rank = tn_val_rank(g, v), pr = tn_val_rank(g, p);
    tn_dim dims[TN_MAX_RANK + 1], one = tn_dim_const(g, 1), len = {0};
    if (!p.i || !pr || tn_oi_failed(x)) return p;
    if (pr == 1 && tn_dim_equal_const(g, tn_val_dim(g, p, 0), 1)) return tn_build_reshape_to(g, p, 0, NULL);
    axis = tn_oi_axis(x, axis, rank);
    if (tn_oi_failed(x)) return p;
    if (!block && pr == 1) {
        tn_oi_fits(x, TN_REL_BCAST_TO, p, 0, "the scales or zero points", tn_val_dim(g, v, (size_t)axis),
                   "what they are for");
        for (size_t k = 0; k < rank; k++) dims[k] = (int64_t)k == axis ? tn_val_dim(g, p, 0) : one;
        return tn_build_reshape_to(g, p, rank, dims);
    }
    if (!block || pr != rank || rank + 1 > TN_MAX_RANK) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "", "a scale of rank %zu for a tensor of rank %zu", pr, rank);
        return p;
    }
    for (size_t k = 0; k < rank; k++) dims[k] = tn_val_dim(g, p, k);
    len = tn_dim_mul(g, dims[axis], tn_dim_const(g, block));
    for (size_t k = rank; k > (size_t)axis; k--) dims[k] = k == (size_t)axis + 1 ? tn_dim_const(g, block) : dims[k - 1];
    p = tn_build_broadcast_to(g, tn_build_unsqueeze(g, p, axis + 1), rank + 1, dims);
    for (size_t k = 0; k < rank; k++) dims[k] = (int64_t)k == axis ? len : tn_val_dim(g, p, k + (k > (size_t)axis));
    p = tn_build_reshape_to(g, p, rank, dims);
    return tn_build_slice_axis(g, p, axis, tn_dim_const(g, 0), tn_val_dim(g, v, (size_t)axis));
}

tn_val tn_oi_dequantise(tn_oi *x, tn_val v, tn_val scale, tn_val zero, tn_dtype t) {
    tn_graph *g = x->g;
    tn_dtype wide = tn_val_dtype(g, scale) == TN_F64 ? TN_F64 : TN_F32;
    if (zero.i && tn_dtype_is_int(tn_val_dtype(g, v))) {
        v = tn_build_sub(g, tn_build_cast_to(g, v, TN_I32), tn_build_cast_to(g, zero, TN_I32));
    } else if (zero.i) {
        v = tn_build_sub(g, tn_build_cast_to(g, v, wide), tn_build_cast_to(g, zero, wide));
    }
    v = tn_build_mul(g, tn_build_cast_to(g, v, wide), tn_build_cast_to(g, scale, wide));
    return tn_build_cast_to(g, v, t);
}

static void limits(tn_dtype t, double *lo, double *hi) {
    int bits = (int)tn_dtype_bits(t);
    bool is_signed = !tn_dtype_is_unsigned(t);
    *lo = is_signed ? -ldexp(1, bits - 1) : 0;
    *hi = ldexp(1, is_signed ? bits - 1 : bits) - 1;
}

tn_val tn_oi_quantise(tn_oi *x, tn_val v, tn_val scale, tn_val zero, tn_dtype t) {
    tn_graph *g = x->g;
    tn_dtype wide = tn_val_dtype(g, v) == TN_F64 ? TN_F64 : TN_F32;
    v = tn_build_div(g, tn_build_cast_to(g, v, wide), tn_build_cast_to(g, scale, wide));
    if (tn_dtype_is_float(t)) {
        if (zero.i) v = tn_build_add(g, v, tn_build_cast_to(g, zero, wide));
        return tn_build_cast(g, v, (tn_attrs_cast){.to = t, .saturate = tn_oi_int(x, "saturate", 1)});
    }
    tn_attrs_clamp c;
    limits(t, &c.lo, &c.hi);
    v = tn_build_round(g, v);
    if (zero.i) v = tn_build_add(g, v, tn_build_cast_to(g, zero, wide));
    return tn_build_cast_to(g, tn_build_clamp(g, v, c), t);
}

void tn_oi_op_dequantize(tn_oi *x) {
    tn_val v = tn_oi_need(x, 0), scale = tn_oi_need(x, 1), zero = tn_oi_in(x, 2);
    int64_t axis = tn_oi_int(x, "axis", 1), block = tn_oi_int(x, "block_size", 0);
    int64_t to = tn_oi_int(x, "output_dtype", 0);
    if (tn_oi_failed(x)) return;
    tn_dtype t = to > 0 && to < 1000 ? tn_onnx_dtype((int32_t)to) : tn_val_dtype(x->g, scale);
    if (!tn_dtype_is_float(t) || !tn_dtype_computes(t)) {
        tn_oi_fail(x, TN_E_TYPE, "set output_dtype", "dequantisation to %s",
                   to ? tn_onnx_dtype_name((int32_t)to) : "the type of the scale");
        return;
    }
    scale = tn_oi_spread(x, scale, v, axis, block);
    zero = tn_oi_spread(x, zero, v, axis, block);
    tn_oi_out(x, 0, tn_oi_dequantise(x, v, scale, zero, t));
}

void tn_oi_op_quantize(tn_oi *x) {
    tn_val v = tn_oi_need(x, 0), scale = tn_oi_need(x, 1), zero = tn_oi_in(x, 2);
    int64_t axis = tn_oi_int(x, "axis", 1), block = tn_oi_int(x, "block_size", 0);
    int64_t to = tn_oi_int(x, "output_dtype", 0);
    if (tn_oi_failed(x)) return;
    tn_dtype t = zero.i ? tn_val_dtype(x->g, zero) : to > 0 && to < 1000 ? tn_onnx_dtype((int32_t)to) : TN_U8;
    if (!t) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "", "quantisation to element type %s", tn_onnx_dtype_name((int32_t)to));
        return;
    }
    scale = tn_oi_spread(x, scale, v, axis, block);
    zero = tn_oi_spread(x, zero, v, axis, block);
    tn_oi_out(x, 0, tn_oi_quantise(x, v, scale, zero, t));
}

tn_val tn_oi_dynamic_quantise(tn_oi *x, tn_val v, tn_val *scale, tn_val *zero) {
    tn_graph *g = x->g;
    int64_t axes[TN_MAX_RANK];
    if (tn_oi_failed(x)) return v;
    size_t rank = tn_val_rank(g, v);
    for (size_t k = 0; k < rank; k++) axes[k] = (int64_t)k;
    tn_val hi = tn_build_scalar(g, TN_OP_MAX, tn_build_reduce(g, TN_OP_REDUCE_MAX, v, rank, axes, false), 0);
    tn_val lo = tn_build_scalar(g, TN_OP_MIN, tn_build_reduce(g, TN_OP_REDUCE_MIN, v, rank, axes, false), 0);
    tn_val range = tn_build_sub(g, hi, lo), one = tn_build_full(g, tn_val_dtype(g, v), 0, NULL, 1);
    tn_val is_zero = tn_build_scalar(g, TN_OP_EQ, range, 0); /* of zeros the scale is 1, as in ONNX Runtime */
    *scale = tn_build_select(g, is_zero, one, tn_build_scalar(g, TN_OP_DIV, range, 255));
    tn_val at = tn_build_round(g, tn_build_div(g, tn_build_neg(g, lo), *scale));
    *zero = tn_build_cast_to(g, tn_build_clamp(g, at, (tn_attrs_clamp){0, 255}), TN_U8);
    return tn_oi_quantise(x, v, *scale, *zero, TN_U8);
}

void tn_oi_op_dynamic_quantize(tn_oi *x) {
    tn_val scale = {0}, zero = {0};
    tn_oi_out(x, 0, tn_oi_dynamic_quantise(x, tn_oi_need(x, 0), &scale, &zero));
    tn_oi_out(x, 1, scale);
    tn_oi_out(x, 2, zero);
}

/* ---- integer products -------------------------------------------------------------------------------------------- */

/* Zero points broadcast to their operand and never make it larger. */
static void must_fit(tn_oi *x, tn_val zero, tn_val v) {
    const size_t own = tn_val_rank(x->g, zero), rank = tn_val_rank(x->g, v);
    if (own > rank) tn_oi_fail(x, TN_E_TYPE, "", "a zero point of rank %zu for an operand of rank %zu", own, rank);
    for (size_t k = 0; k < own && !tn_oi_failed(x); k++)
        tn_oi_fits(x, TN_REL_BCAST_TO, zero, k, "a zero point", tn_val_dim(x->g, v, rank - own + k), "its operand");
}

tn_val tn_oi_centred(tn_oi *x, tn_val v, tn_val zero, int64_t axis) {
    tn_graph *g = x->g;
    if (!v.i || tn_oi_failed(x)) return v;
    if (zero.i && tn_val_rank(g, zero) == 1 && tn_val_rank(g, v) > 1)
        zero = tn_oi_spread(x, zero, v, axis, 0);
    else if (zero.i && tn_val_rank(g, zero) == 1)
        zero = tn_build_reshape_to(g, zero, 0, NULL);
    if (zero.i) must_fit(x, zero, v);
    v = tn_build_cast_to(g, v, TN_I32);
    return zero.i ? tn_build_sub(g, v, tn_build_cast_to(g, zero, TN_I32)) : v;
}

tn_val tn_oi_product(tn_oi *x, tn_val a, tn_val b) {
    tn_graph *g = x->g;
    if (!a.i || !b.i) return (tn_val){0};
    bool row = tn_val_rank(g, a) == 1, col = tn_val_rank(g, b) == 1;
    if (row) a = tn_build_unsqueeze(g, a, 0);
    if (col) b = tn_build_unsqueeze(g, b, 1);
    tn_val v = tn_build_matmul(g, a, b, (tn_attrs_matmul){0});
    if (row) v = tn_build_squeeze(g, v, -2);
    return col ? tn_build_squeeze(g, v, -1) : v;
}

/* Operand k minus the zero point in operand z. */
static tn_val centred_input(tn_oi *x, size_t k, size_t z, int64_t axis) {
    tn_val v = tn_oi_need(x, k), zero = tn_oi_in(x, z);
    return tn_oi_centred(x, v, zero, axis);
}

void tn_oi_op_matmul_integer(tn_oi *x) {
    tn_oi_out(x, 0, tn_oi_product(x, centred_input(x, 0, 2, -2), centred_input(x, 1, 3, -1)));
}

void tn_oi_op_conv_integer(tn_oi *x) {
    tn_val v = centred_input(x, 0, 2, 1), w = centred_input(x, 1, 3, 0);
    if (!tn_oi_failed(x)) tn_oi_out(x, 0, tn_oi_conv(x, v, w, (tn_val){0}));
}

/* Inputs: a, scale, zero, b, scale, zero, result's scale, result's zero. */
void tn_oi_op_qlinear_matmul(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val a = centred_input(x, 0, 2, -2), b = centred_input(x, 3, 5, -1), zero = tn_oi_need(x, 7);
    tn_val sa = tn_build_cast_to(g, tn_oi_need(x, 1), TN_F32), sb = tn_build_cast_to(g, tn_oi_need(x, 4), TN_F32);
    tn_val sy = tn_build_cast_to(g, tn_oi_need(x, 6), TN_F32);
    if (tn_oi_failed(x)) return;
    tn_val v = tn_build_cast_to(g, tn_oi_product(x, a, b), TN_F32);
    sa = tn_oi_spread(x, sa, v, -2, 0);
    sb = tn_oi_spread(x, sb, v, -1, 0);
    v = tn_build_mul(g, v, tn_build_mul(g, sa, sb));
    tn_oi_out(x, 0, tn_oi_quantise(x, v, sy, zero, tn_val_dtype(g, zero)));
}

/* Inputs: x, scale, zero, w, scale (one, or one an output channel), zero, result's scale, result's zero, int32 bias. */
void tn_oi_op_qlinear_conv(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val v = centred_input(x, 0, 2, 1), w = centred_input(x, 3, 5, 0), zero = tn_oi_need(x, 7), bias = tn_oi_in(x, 8);
    tn_val sx = tn_oi_need(x, 1), sw = tn_oi_need(x, 4), sy = tn_oi_need(x, 6);
    if (tn_oi_failed(x)) return;
    tn_val y = tn_build_cast_to(g, tn_oi_conv(x, v, w, bias), TN_F32);
    if (tn_oi_failed(x)) return;
    y = tn_build_mul(g, y, tn_build_mul(g, tn_oi_spread(x, sx, y, 1, 0), tn_oi_spread(x, sw, y, 1, 0)));
    tn_oi_out(
        x, 0,
        tn_oi_quantise(x, y, tn_oi_spread(x, sy, y, 1, 0), tn_oi_spread(x, zero, y, 1, 0), tn_val_dtype(g, zero)));
}
