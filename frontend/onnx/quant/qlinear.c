/* qlinear.c: quantised operators of com.microsoft: what they get as real numbers, the operator, and back. */
#include "frontend/onnx/quant/quant.h"
#include "frontend/onnx/windows/window.h"

/* Input k, a scale or zero point that must be one number; none where it is absent. */
static tn_val number(tn_oi *x, size_t k, bool needed) {
    const tn_val v = needed ? tn_oi_need(x, k) : tn_oi_in(x, k);
    if (!v.i || tn_oi_failed(x)) return v;
    for (size_t a = 0; a < tn_val_rank(x->g, v); a++)
        tn_oi_fits(x, TN_REL_EQUAL, v, a, "a scale or zero point", tn_dim_const(x->g, 1), "one number");
    return tn_build_reshape_to(x->g, v, 0, NULL);
}

/* Input k with the scale and zero point behind it. */
static tn_val real(tn_oi *x, size_t k) {
    const tn_val v = tn_oi_need(x, k), scale = number(x, k + 1, true), zero = number(x, k + 2, false);
    return tn_oi_failed(x) ? v : tn_oi_dequantise(x, v, scale, zero, TN_F32);
}

/* The result, with the scale in input k, the zero point in the next, and the dtype of input 0. */
static void put(tn_oi *x, tn_val v, size_t k) {
    const tn_val scale = number(x, k, true), zero = number(x, k + 1, false);
    if (!tn_oi_failed(x)) tn_oi_out(x, 0, tn_oi_quantise(x, v, scale, zero, tn_oi_dtype(x, 0)));
}

void tn_oi_op_qlinear_binary(tn_oi *x) {
    const tn_val a = real(x, 0), b = real(x, 3);
    if (!tn_oi_failed(x)) put(x, tn_binary(x->g, x->row->op, a, b), 6);
}

void tn_oi_op_qlinear_sigmoid(tn_oi *x) {
    put(x, tn_build_sigmoid(x->g, real(x, 0)), 3);
}

void tn_oi_op_qlinear_leaky_relu(tn_oi *x) {
    const tn_attrs_activation a = {.alpha = tn_oi_num(x, "alpha", (double)0.01f)};
    put(x, tn_build_leaky_relu(x->g, real(x, 0), a), 3);
}

/* `opset` is that of the Softmax that it replaces. */
void tn_oi_op_qlinear_softmax(tn_oi *x) {
    put(x, tn_oi_softmax(x, TN_OP_SOFTMAX, real(x, 0), tn_oi_int(x, "opset", 13)), 3);
}

void tn_oi_op_qlinear_average_pool(tn_oi *x) {
    const bool last = tn_oi_int(x, "channels_last", 0);
    tn_val v = real(x, 0);
    v = tn_oi_average_pool(x, last ? tn_oi_channels_first(x, v) : v);
    put(x, last ? tn_oi_channels_last(x, v) : v, 3);
}

void tn_oi_op_qlinear_global_average_pool(tn_oi *x) {
    const bool last = tn_oi_int(x, "channels_last", 0);
    tn_val v = real(x, 0);
    if (tn_oi_failed(x)) return;
    v = tn_oi_global_mean(x, last ? tn_oi_channels_first(x, v) : v);
    put(x, last ? tn_oi_channels_last(x, v) : v, 3);
}

/* Inputs: the result's scale and zero point, then a tensor, its scale and its zero point, and so on. */
void tn_oi_op_qlinear_concat(tn_oi *x) {
    enum { MOST = 256 };
    tn_val v[MOST];
    const size_t n = (tn_oi_input_count(x) - 2) / 3;
    if (tn_oi_input_count(x) < 5 || tn_oi_input_count(x) % 3 != 2 || n > MOST) {
        tn_oi_fail(x, TN_E_FORMAT, "", "%zu inputs; they must be 2, and 3 a tensor (at most %d)", tn_oi_input_count(x),
                   MOST);
        return;
    }
    for (size_t k = 0; k < n; k++) v[k] = real(x, 2 + 3 * k);
    const tn_val scale = number(x, 0, true), zero = number(x, 1, true);
    if (tn_oi_failed(x)) return;
    const int64_t axis = tn_oi_axis(x, tn_oi_int(x, "axis", 0), tn_val_rank(x->g, v[0]));
    if (tn_oi_failed(x)) return;
    const tn_val all = tn_build_concat(x->g, n, v, axis);
    if (!tn_oi_failed(x)) tn_oi_out(x, 0, tn_oi_quantise(x, all, scale, zero, tn_val_dtype(x->g, zero)));
}

/* ---- products ---------------------------------------------------------------------------------------------------- */

tn_val tn_oi_dynamic_product(tn_oi *x, tn_val v, tn_val b, tn_val scale) {
    tn_graph *g = x->g;
    tn_val own = {0}, zero = {0};
    v = tn_oi_dynamic_quantise(x, v, &own, &zero);
    v = tn_oi_product(x, tn_oi_centred(x, v, zero, -2), b);
    if (tn_oi_failed(x)) return v;
    scale = tn_build_mul(g, tn_oi_spread(x, scale, v, -1, 0), own);
    return tn_build_mul(g, tn_build_cast_to(g, v, TN_F32), scale);
}

static void put_with_bias(tn_oi *x, tn_val v, size_t k) {
    const tn_val bias = tn_oi_in(x, k);
    if (tn_oi_failed(x)) return;
    if (bias.i && tn_val_rank(x->g, bias) != 1)
        tn_oi_fail(x, TN_E_FORMAT, "", "a bias of rank %zu; it must be 1", tn_val_rank(x->g, bias));
    else
        tn_oi_out(x, 0, bias.i ? tn_build_add(x->g, v, bias) : v);
}

void tn_oi_op_dynamic_quantize_matmul(tn_oi *x) {
    const tn_val a = tn_oi_need(x, 0), b = tn_oi_need(x, 1), scale = tn_oi_need(x, 2);
    put_with_bias(x, tn_oi_dynamic_product(x, a, tn_oi_centred(x, b, tn_oi_in(x, 3), -1), scale), 4);
}

/* Inputs: a, scale, zero, b, scale, zero, and perhaps an int32 bias, the result's scale and zero (else it is float). */
void tn_oi_op_qgemm(tn_oi *x) {
    tn_graph *g = x->g;
    const tn_attrs_matmul at = {.trans_a = tn_oi_int(x, "transA", 0) != 0, .trans_b = tn_oi_int(x, "transB", 0) != 0};
    const tn_val a = tn_oi_centred(x, tn_oi_need(x, 0), tn_oi_in(x, 2), -1);
    const tn_val b = tn_oi_centred(x, tn_oi_need(x, 3), tn_oi_in(x, 5), at.trans_b ? 0 : 1), bias = tn_oi_in(x, 6);
    const tn_val sa = tn_oi_need(x, 1), sb = tn_oi_need(x, 4), sy = tn_oi_in(x, 7), zero = tn_oi_in(x, 8);
    if (tn_oi_failed(x)) return;
    tn_val v = tn_build_matmul(g, a, b, at);
    if (bias.i) v = tn_build_add(g, v, bias);
    v = tn_build_cast_to(g, v, TN_F32);
    if (tn_oi_failed(x)) return;
    const tn_val scale = tn_build_mul(g, tn_oi_spread(x, sb, v, -1, 0), tn_oi_spread(x, sa, v, -1, 0));
    v = tn_build_mul(g, v, tn_build_scalar(g, TN_OP_MUL, scale, tn_oi_num(x, "alpha", 1)));
    tn_oi_out(x, 0, sy.i ? tn_oi_quantise(x, v, sy, zero, zero.i ? tn_val_dtype(g, zero) : tn_oi_dtype(x, 0)) : v);
}

/* Scales of a are one number, or (which no product of integers can have) one a column. */
void tn_oi_op_matmul_integer_to_float(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val a = tn_oi_need(x, 0), b = tn_oi_need(x, 1), sa = tn_oi_need(x, 2), sb = tn_oi_need(x, 3);
    tn_val za = tn_oi_in(x, 4), zb = tn_oi_in(x, 5), v;
    if (tn_oi_failed(x)) return;
    const tn_dtype t = tn_val_dtype(g, sa);
    const tn_dim one = tn_dim_const(g, 1);
    if ((tn_val_rank(g, sa) && tn_val_dim(g, sa, 0).i != one.i) ||
        (za.i && tn_val_rank(g, za) && tn_val_dim(g, za, 0).i != one.i)) {
        a = tn_oi_dequantise(x, a, tn_oi_spread(x, sa, a, -1, 0), za.i ? tn_oi_spread(x, za, a, -1, 0) : za, TN_F32);
        v = tn_oi_product(x, a, tn_build_cast_to(g, tn_oi_centred(x, b, zb, -1), TN_F32));
    } else {
        v = tn_oi_product(x, tn_oi_centred(x, a, za, -1), tn_oi_centred(x, b, zb, -1));
        v = tn_build_mul(g, tn_build_cast_to(g, v, TN_F32), tn_build_cast_to(g, tn_oi_spread(x, sa, a, -1, 0), TN_F32));
    }
    if (tn_oi_failed(x)) return;
    v = tn_build_mul(g, v, tn_build_cast_to(g, tn_oi_spread(x, sb, v, -1, 0), TN_F32));
    put_with_bias(x, tn_build_cast_to(g, v, t), 6);
}
