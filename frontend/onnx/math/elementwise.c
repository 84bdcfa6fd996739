/* elementwise.c: arithmetic, comparison, logic, activations and casts. */
#include "frontend/onnx/import.h"

#include <math.h>
#include <string.h>

void tn_oi_op_unary(tn_oi *x) {
    const tn_oi_sym *s = tn_oi_sym_unary(x, x->row->op, tn_oi_sym_of(x, 0));
    if (s)
        tn_oi_out_sym(x, 0, s);
    else
        tn_oi_out(x, 0, tn_unary(x->g, x->row->op, tn_oi_need(x, 0)));
}

/* Operand 1.  Up to opset 6, `axis` said which axis of operand 0 its first axis meets: the axes after it become
 * explicit. */
static tn_val second(tn_oi *x, tn_val a) {
    tn_val b = tn_oi_need(x, 1);
    tn_dim dims[TN_MAX_RANK];
    size_t ra = tn_val_rank(x->g, a), rb = tn_val_rank(x->g, b);
    if (x->opset >= 7 || !tn_oi_attr(x, "axis") || !rb || tn_oi_failed(x)) return b;
    size_t axis = (size_t)tn_oi_axis(x, tn_oi_int(x, "axis", 0), ra);
    if (axis + rb >= ra) return b;
    for (size_t k = axis; k < ra; k++)
        dims[k - axis] = k - axis < rb ? tn_val_dim(x->g, b, k - axis) : tn_dim_const(x->g, 1);
    return tn_build_reshape_to(x->g, b, ra - axis, dims);
}

void tn_oi_op_binary(tn_oi *x) {
    const tn_oi_sym *s = tn_oi_sym_binary(x, x->row->op, tn_oi_sym_of(x, 0), tn_oi_sym_of(x, 1));
    if (s && x->opset >= 7) {
        tn_oi_out_sym(x, 0, s);
        return;
    }
    tn_val a = tn_oi_need(x, 0), b = second(x, a);
    tn_oi_out(x, 0, tn_binary(x->g, x->row->op, a, b));
}

/* Sum, Min, Max, Mean: any number of operands. */
void tn_oi_op_variadic(tn_oi *x) {
    size_t n = tn_oi_input_count(x);
    if (n == 2) {
        tn_oi_op_binary(x);
        return;
    }
    tn_val v = tn_oi_need(x, 0);
    for (size_t k = 1; k < n; k++) v = tn_binary(x->g, x->row->op, v, tn_oi_need(x, k));
    tn_oi_out(x, 0, v);
}

void tn_oi_op_mean(tn_oi *x) {
    size_t n = tn_oi_input_count(x);
    tn_val v = tn_oi_need(x, 0);
    for (size_t k = 1; k < n; k++) v = tn_build_add(x->g, v, tn_oi_need(x, k));
    if (n > 1) v = tn_build_scalar(x->g, TN_OP_DIV, v, (double)n);
    tn_oi_out(x, 0, v);
}

/* The result has the base's dtype; a floating exponent of an integer base is computed in the exponent's dtype. */
void tn_oi_op_pow(tn_oi *x) {
    tn_val a = tn_oi_need(x, 0), b = second(x, a);
    tn_dtype ta = tn_val_dtype(x->g, a), tb = tn_val_dtype(x->g, b);
    if (ta != tb && tn_dtype_is_int(ta) && tn_dtype_is_float(tb)) {
        tn_val r = tn_build_pow(x->g, tn_build_cast_to(x->g, a, tb), b);
        tn_oi_out(x, 0, tn_build_cast(x->g, r, (tn_attrs_cast){.to = ta}));
        return;
    }
    tn_oi_out(x, 0, tn_build_pow(x->g, a, tn_build_cast_to(x->g, b, ta)));
}

void tn_oi_op_mod(tn_oi *x) {
    tn_op op = tn_oi_int(x, "fmod", 0) ? TN_OP_FMOD : TN_OP_MOD;
    const tn_oi_sym *s = tn_oi_sym_binary(x, op, tn_oi_sym_of(x, 0), tn_oi_sym_of(x, 1));
    if (s) {
        tn_oi_out_sym(x, 0, s);
        return;
    }
    tn_val a = tn_oi_need(x, 0), b = tn_oi_need(x, 1);
    tn_oi_out(x, 0, tn_binary(x->g, op, a, b));
}

void tn_oi_op_bit_shift(tn_oi *x) {
    bool left = !strcmp(tn_oi_str(x, "direction", ""), "LEFT");
    tn_val a = tn_oi_need(x, 0), b = tn_oi_need(x, 1);
    tn_oi_out(x, 0, tn_binary(x->g, left ? TN_OP_SHL : TN_OP_SHR, a, b));
}

void tn_oi_op_where(tn_oi *x) {
    const tn_oi_sym *s = tn_oi_sym_select(x, tn_oi_sym_of(x, 0), tn_oi_sym_of(x, 1), tn_oi_sym_of(x, 2));
    if (s) {
        tn_oi_out_sym(x, 0, s);
        return;
    }
    tn_val c = tn_oi_need(x, 0), a = tn_oi_need(x, 1), b = tn_oi_need(x, 2);
    tn_oi_out(x, 0, tn_build_select(x->g, c, a, b));
}

/* ---- casts ------------------------------------------------------------------------------------------------------- */

static void cast_to(tn_oi *x, tn_dtype t) {
    if (tn_oi_dtype(x, 0) == t) {
        tn_oi_forward(x, 0, 0);
        return;
    }
    const tn_oi_sym *s = tn_oi_sym_cast(x, tn_oi_sym_of(x, 0), t);
    if (s) {
        tn_oi_out_sym(x, 0, s);
        return;
    }
    const char *round = t == TN_F8E8M0 ? tn_oi_str(x, "round_mode", "up") : "";
    if (!strcmp(round, "nearest")) round = "";
    tn_oi_out(x, 0,
              tn_build_cast(x->g, tn_oi_need(x, 0),
                            (tn_attrs_cast){.to = t, .saturate = tn_oi_int(x, "saturate", 1), .round = round}));
}

void tn_oi_op_cast(tn_oi *x) {
    int64_t to = tn_oi_int(x, "to", TN_ONNX_UNDEFINED);
    tn_dtype t = to > 0 && to < 1000 ? tn_onnx_dtype((int32_t)to) : TN_DTYPE_NONE;
    if (t)
        cast_to(x, t);
    else
        tn_oi_fail(x, TN_E_UNSUPPORTED, "cast to a numeric type that Tenon has", "cast to element type %s (%lld)",
                   to > 0 && to < 1000 ? tn_onnx_dtype_name((int32_t)to) : "unknown", (long long)to);
}

void tn_oi_op_cast_like(tn_oi *x) {
    tn_dtype t = tn_oi_dtype(x, 1);
    if (t)
        cast_to(x, t);
    else
        tn_oi_need(x, 1);
}

void tn_oi_op_bitcast(tn_oi *x) {
    int64_t to = tn_oi_int(x, "to", TN_ONNX_UNDEFINED);
    tn_dtype t = to > 0 && to < 1000 ? tn_onnx_dtype((int32_t)to) : TN_DTYPE_NONE;
    if (t)
        tn_oi_out(x, 0, tn_build_bitcast(x->g, tn_oi_need(x, 0), (tn_attrs_cast){.to = t}));
    else
        tn_oi_fail(x, TN_E_UNSUPPORTED, "", "bit cast to element type %lld", (long long)to);
}

/* ---- activations ------------------------------------------------------------------------------------------------- */

void tn_oi_op_gelu(tn_oi *x) {
    const char *how = tn_oi_str(x, "approximate", "none");
    tn_attrs_activation a = {.approximate = strcmp(how, "none") ? how : ""};
    tn_oi_out(x, 0, tn_build_gelu(x->g, tn_oi_need(x, 0), a));
}

/* com.microsoft: gelu(x + bias), and its tanh form with an optional bias */
void tn_oi_op_bias_gelu(tn_oi *x) {
    tn_val v = tn_oi_need(x, 0), bias = tn_oi_need(x, 1);
    tn_oi_out(x, 0, tn_build_gelu(x->g, tn_build_add(x->g, v, bias), (tn_attrs_activation){0}));
}

void tn_oi_op_fast_gelu(tn_oi *x) {
    tn_val v = tn_oi_need(x, 0);
    if (tn_oi_has(x, 1)) v = tn_build_add(x->g, v, tn_oi_in(x, 1));
    tn_oi_out(x, 0, tn_build_gelu(x->g, v, (tn_attrs_activation){.approximate = "tanh"}));
}

void tn_oi_op_is_inf(tn_oi *x) {
    tn_attrs_activation a = {.alpha = tn_oi_int(x, "detect_positive", 1) ? 1 : 0,
                             .beta = tn_oi_int(x, "detect_negative", 1) ? 1 : 0};
    tn_oi_out(x, 0, tn_build_is_inf(x->g, tn_oi_need(x, 0), a));
}

/* x * sigmoid(alpha x) */
static tn_val swish(tn_oi *x, tn_val v, double alpha) {
    if (alpha == 1) return tn_build_silu(x->g, v);
    return tn_build_mul(x->g, v, tn_build_sigmoid(x->g, tn_build_scalar(x->g, TN_OP_MUL, v, alpha)));
}

void tn_oi_op_swish(tn_oi *x) {
    tn_oi_out(x, 0, swish(x, tn_oi_need(x, 0), tn_oi_num(x, "alpha", 1)));
}

void tn_oi_op_quick_gelu(tn_oi *x) {
    tn_oi_out(x, 0, swish(x, tn_oi_need(x, 0), tn_oi_num(x, "alpha", (double)1.702f)));
}

/* x + bias below -lambd, x - bias above lambd, else 0 */
void tn_oi_op_shrink(tn_oi *x) {
    double lambd = tn_oi_num(x, "lambd", 0.5), bias = tn_oi_num(x, "bias", 0);
    tn_graph *g = x->g;
    tn_val v = tn_oi_need(x, 0), zero = tn_const_num(g, tn_val_dtype(g, v), 0);
    tn_val above =
        tn_build_select(g, tn_build_scalar(g, TN_OP_GT, v, lambd), tn_build_scalar(g, TN_OP_SUB, v, bias), zero);
    tn_val below = tn_build_scalar(g, TN_OP_LT, v, -lambd);
    tn_oi_out(x, 0, tn_build_select(g, below, tn_build_scalar(g, TN_OP_ADD, v, bias), above));
}

/* Bounds are attributes up to opset 10 and inputs from 11 on.  Constant bounds of floats become `clamp`. */
void tn_oi_op_clip(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val v = tn_oi_need(x, 0);
    tn_attrs_clamp a = {.lo = tn_oi_num(x, "min", -INFINITY), .hi = tn_oi_num(x, "max", INFINITY)};
    size_t n = 0;
    bool constant = (!tn_oi_has(x, 1) || (tn_oi_const_nums(x, 1, 1, &a.lo, &n) && n == 1)) &&
                    (!tn_oi_has(x, 2) || (tn_oi_const_nums(x, 2, 1, &a.hi, &n) && n == 1));
    if (constant && tn_dtype_is_float(tn_val_dtype(g, v)) && a.lo <= a.hi) {
        tn_oi_out(x, 0, tn_build_clamp(g, v, a));
        return;
    }
    if (tn_oi_attr(x, "min")) v = tn_build_scalar(g, TN_OP_MAX, v, a.lo);
    if (tn_oi_attr(x, "max")) v = tn_build_scalar(g, TN_OP_MIN, v, a.hi);
    if (tn_oi_has(x, 1)) v = tn_build_max(g, v, tn_build_reshape_to(g, tn_oi_in(x, 1), 0, NULL));
    if (tn_oi_has(x, 2)) v = tn_build_min(g, v, tn_build_reshape_to(g, tn_oi_in(x, 2), 0, NULL));
    tn_oi_out(x, 0, v);
}

/* Up to opset 6 a slope of several numbers is one a channel; later it broadcasts to x the NumPy way. */
void tn_oi_op_prelu(tn_oi *x) {
    tn_val v = tn_oi_need(x, 0), slope = tn_oi_need(x, 1);
    size_t rank = tn_val_rank(x->g, v);
    if (x->opset < 7 && rank > 2 && tn_val_rank(x->g, slope) == 1) {
        tn_dim dims[TN_MAX_RANK];
        for (size_t k = 1; k < rank; k++) dims[k - 1] = k == 1 ? tn_val_dim(x->g, slope, 0) : tn_dim_const(x->g, 1);
        slope = tn_build_reshape_to(x->g, slope, rank - 1, dims);
    }
    tn_oi_out(x, 0, tn_build_prelu(x->g, v, slope));
}
