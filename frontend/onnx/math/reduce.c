/* reduce.c: reductions.  Axes are an attribute, from opset 13 (ReduceSum) or 18 (the others) an input. */
#include "frontend/onnx/import.h"

typedef struct reduction {
    size_t n;
    int64_t axes[TN_MAX_RANK];
    bool keepdims;
} reduction;

static bool read_axes(tn_oi *x, reduction *r) {
    size_t rank = tn_oi_rank(x, 0);
    bool given = tn_oi_axes(x, 1, rank, &r->n, r->axes);
    r->keepdims = tn_oi_int(x, "keepdims", 1);
    if ((!given || !r->n) && !tn_oi_int(x, "noop_with_empty_axes", 0)) {
        r->n = rank;
        for (size_t k = 0; k < rank; k++) r->axes[k] = (int64_t)k;
    }
    return !tn_oi_failed(x);
}

static tn_val apply(tn_oi *x, tn_op op, tn_val v, const reduction *r) {
    return tn_build_reduce(x->g, op, v, r->n, r->axes, r->keepdims);
}

void tn_oi_op_reduce(tn_oi *x) {
    reduction r;
    if (!read_axes(x, &r)) return;
    const tn_oi_sym *s = tn_oi_sym_reduce(x, x->row->op, tn_oi_sym_of(x, 0), r.n, r.axes, r.keepdims);
    if (s)
        tn_oi_out_sym(x, 0, s);
    else
        tn_oi_out(x, 0, apply(x, x->row->op, tn_oi_need(x, 0), &r));
}

void tn_oi_op_reduce_l1(tn_oi *x) {
    reduction r;
    if (read_axes(x, &r)) tn_oi_out(x, 0, apply(x, TN_OP_REDUCE_SUM, tn_build_abs(x->g, tn_oi_need(x, 0)), &r));
}

static tn_val sum_square(tn_oi *x, tn_val v, const reduction *r) {
    return apply(x, TN_OP_REDUCE_SUM, tn_build_mul(x->g, v, v), r);
}

void tn_oi_op_reduce_sum_square(tn_oi *x) {
    reduction r;
    if (read_axes(x, &r)) tn_oi_out(x, 0, sum_square(x, tn_oi_need(x, 0), &r));
}

/* Roots and logarithms of integers are taken in float64 and cast back. */
static tn_val as_float(tn_oi *x, tn_val v) {
    return tn_dtype_is_float(tn_val_dtype(x->g, v)) ? v : tn_build_cast_to(x->g, v, TN_F64);
}

void tn_oi_op_reduce_l2(tn_oi *x) {
    reduction r;
    if (!read_axes(x, &r)) return;
    tn_val v = tn_build_sqrt(x->g, sum_square(x, as_float(x, tn_oi_need(x, 0)), &r));
    tn_oi_out(x, 0, tn_build_cast_to(x->g, v, tn_oi_dtype(x, 0)));
}

void tn_oi_op_reduce_log_sum(tn_oi *x) {
    reduction r;
    if (!read_axes(x, &r)) return;
    tn_val v = tn_build_log(x->g, apply(x, TN_OP_REDUCE_SUM, as_float(x, tn_oi_need(x, 0)), &r));
    tn_oi_out(x, 0, tn_build_cast_to(x->g, v, tn_oi_dtype(x, 0)));
}

/* max + log(sum(exp(x - max))), where an infinite max is not subtracted */
void tn_oi_op_reduce_log_sum_exp(tn_oi *x) {
    tn_graph *g = x->g;
    reduction r, keep;
    if (!read_axes(x, &r)) return;
    keep = r;
    keep.keepdims = true;
    tn_val v = as_float(x, tn_oi_need(x, 0)), top = apply(x, TN_OP_REDUCE_MAX, v, &keep);
    tn_val inf = tn_build_is_inf(g, top, (tn_attrs_activation){.alpha = 1, .beta = 1});
    top = tn_build_select(g, inf, tn_const_num(g, tn_val_dtype(g, v), 0), top);
    tn_val sum = apply(x, TN_OP_REDUCE_SUM, tn_build_exp(g, tn_build_sub(g, v, top)), &r);
    if (!r.keepdims && r.n) {
        tn_dim dims[TN_MAX_RANK];
        size_t rank = tn_val_rank(g, sum);
        for (size_t k = 0; k < rank; k++) dims[k] = tn_val_dim(g, sum, k);
        top = tn_build_reshape_to(g, top, rank, dims);
    }
    tn_oi_out(x, 0, tn_build_cast_to(g, tn_build_add(g, tn_build_log(g, sum), top), tn_oi_dtype(x, 0)));
}
