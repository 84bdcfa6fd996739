/* indexing.c: gathers, index generators, and ops made of comparisons with indices. */
#include "frontend/onnx/import.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- gathers ----------------------------------------------------------------------------------------------------- */

static const tn_oi_sym *gather_sym(tn_oi *x) {
    const tn_oi_sym *s = tn_oi_sym_of(x, 0), *idx = tn_oi_sym_of(x, 1);
    if (!s || s->rank != 1 || !idx || !idx->d) return NULL;
    tn_oi_sym *r = tn_oi_sym_new(x, s->dtype, idx->rank, idx->shape);
    for (size_t k = 0; r && k < r->n; k++) {
        int64_t i;
        if (!tn_oi_sym_int(x, idx, k, &i)) return NULL;
        if (i < 0) i += (int64_t)s->n;
        if (i < 0 || i >= (int64_t)s->n) {
            tn_oi_fail(x, TN_E_TYPE, "", "index %lld lies outside an axis of %u", (long long)i, s->n);
            return NULL;
        }
        if (r->f)
            r->f[k] = s->f[i];
        else
            r->d[k] = s->d[i];
    }
    return r;
}

void tn_oi_op_gather(tn_oi *x) {
    int64_t axis = tn_oi_axis(x, tn_oi_int(x, "axis", 0), tn_oi_rank(x, 0));
    const tn_oi_sym *s = tn_oi_failed(x) ? NULL : gather_sym(x);
    if (s) {
        tn_oi_out_sym(x, 0, s);
        return;
    }
    tn_val v = tn_oi_need(x, 0), i = tn_oi_need(x, 1);
    tn_oi_out(x, 0, tn_build_gather(x->g, v, i, (tn_attrs_axis){.axis = axis}));
}

void tn_oi_op_gather_elements(tn_oi *x) {
    int64_t axis = tn_oi_axis(x, tn_oi_int(x, "axis", 0), tn_oi_rank(x, 0));
    tn_val v = tn_oi_need(x, 0), i = tn_oi_need(x, 1);
    tn_oi_out(x, 0, tn_build_gather_elements(x->g, v, i, (tn_attrs_axis){.axis = axis}));
}

void tn_oi_op_gather_nd(tn_oi *x) {
    tn_val v = tn_oi_need(x, 0), i = tn_oi_need(x, 1);
    tn_oi_out(x, 0, tn_build_gather_nd(x->g, v, i, (tn_attrs_gather_nd){.batch_dims = tn_oi_int(x, "batch_dims", 0)}));
}

/* Positions in a vector where it is not 0; how many there are only a run knows. */
static tn_val positions(tn_oi *x, tn_val v) {
    tn_attrs_nonzero a = {.count = tn_dim_fresh(x->g, "count")};
    return tn_build_nonzero(x->g, v, a);
}

static tn_val flat(tn_oi *x, tn_val v) {
    tn_dim all = tn_type_numel(x->g, tn_val_type(x->g, v));
    return tn_build_reshape_to(x->g, v, 1, &all);
}

/* Slices at the positions of a condition, which may be shorter than the axis: a gather.  The positions of a constant
 * condition are constants. */
void tn_oi_op_compress(tn_oi *x) {
    tn_graph *g = x->g;
    int64_t keep[TN_OI_MAX_SYM], idx[TN_OI_MAX_SYM];
    size_t n = 0, m = 0;
    tn_val v = tn_oi_need(x, 0), at;
    if (tn_oi_const_ints(x, 1, TN_OI_MAX_SYM, keep, &n)) {
        for (size_t k = 0; k < n; k++)
            if (keep[k]) idx[m++] = (int64_t)k;
        at = tn_const_ints(g, TN_I64, m, idx);
    } else {
        at = positions(x, tn_oi_need(x, 1));
    }
    int64_t axis = 0;
    if (tn_oi_attr(x, "axis"))
        axis = tn_oi_axis(x, tn_oi_int(x, "axis", 0), tn_val_rank(g, v));
    else
        v = flat(x, v);
    tn_oi_out(x, 0, tn_build_gather(g, v, at, (tn_attrs_axis){.axis = axis}));
}

/* [rank, count]: the coordinates of the flat positions. */
void tn_oi_op_nonzero(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val v = tn_oi_need(x, 0), rows[TN_MAX_RANK];
    size_t rank = tn_val_rank(g, v);
    if (!rank) tn_oi_fail(x, TN_E_UNSUPPORTED, "", "the positions of a scalar");
    if (tn_oi_failed(x)) return;
    tn_val at = positions(x, flat(x, v));
    tn_dim row[] = {tn_dim_const(g, 1), tn_val_dim(g, at, 0)};
    for (size_t k = rank; k-- > 0 && !tn_oi_failed(x);) {
        tn_val n = tn_oi_size_value(x, tn_val_dim(g, v, k)), here = k ? tn_build_mod(g, at, n) : at;
        rows[k] = tn_build_reshape_to(g, here, 2, row);
        if (k) at = tn_build_div(g, at, n);
    }
    tn_oi_out(x, 0, tn_build_concat(g, rank, rows, 0));
}

/* ---- generators -------------------------------------------------------------------------------------------------- */

void tn_oi_op_constant_of_shape(tn_oi *x) {
    tn_graph *g = x->g;
    const tn_oi_sym *s = tn_oi_need_dims(x, 0, "the shape");
    const TnOnnx__AttributeProto *a = tn_oi_attr(x, "value");
    tn_onnx_tensor t = {.dtype = TN_F32, .count = 1};
    if (!s) return;
    if (s->n > TN_MAX_RANK) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "", "result of rank %u; the most is %d", s->n, TN_MAX_RANK);
        return;
    }
    if (a && a->t) {
        tn_status st = tn_onnx_decode(x->m, a->t, "value", &t);
        if (st || t.count != 1) {
            tn_oi_fail(x, st ? st : TN_E_FORMAT, "", "its value must be one element");
            tn_onnx_tensor_release(x->env, &t);
            return;
        }
    }
    int64_t shape[TN_MAX_RANK];
    bool known = true;
    for (size_t k = 0; k < s->n; k++) known = known && tn_dim_is_const(g, s->d[k], &shape[k]);
    tn_oi_sym *r = known && t.dtype != TN_F16 && t.dtype != TN_BF16 ? tn_oi_sym_new(x, t.dtype, s->n, shape) : NULL;
    for (size_t k = 0; r && k < r->n; k++) {
        if (r->f)
            r->f[k] = t.data ? tn_load_num(t.dtype, t.data, 0) : 0;
        else
            r->d[k] = tn_dim_const(g, t.data ? tn_load_int(t.dtype, t.data, 0) : 0);
    }
    if (r) {
        tn_oi_out_sym(x, 0, r);
    } else {
        uint64_t zero = 0;
        tn_blob b = tn_blob_copy(g, t.data ? t.data : &zero, tn_dtype_bytes(t.dtype, 1));
        tn_val one = tn_const(g, tn_type_make(g, t.dtype, 0, NULL), b, NULL);
        tn_oi_out(x, 0, tn_build_broadcast_to(g, one, s->n, s->d));
    }
    tn_onnx_tensor_release(x->env, &t);
}

void tn_oi_op_shape(tn_oi *x) {
    int64_t rank = (int64_t)tn_oi_rank(x, 0), from = tn_oi_int(x, "start", 0), to = tn_oi_int(x, "end", rank);
    if (!tn_oi_has(x, 0)) tn_oi_need(x, 0);
    if (from < 0) from += rank;
    if (to < 0) to += rank;
    from = from < 0 ? 0 : from > rank ? rank : from;
    to = to > rank ? rank : to < from ? from : to;
    int64_t n = to - from;
    if (tn_oi_failed(x)) return;
    tn_oi_sym *s = tn_oi_sym_new(x, TN_I64, 1, &n);
    for (int64_t k = 0; s && k < n; k++) s->d[k] = tn_oi_dim(x, 0, (size_t)(from + k));
    if (s) tn_oi_out_sym(x, 0, s);
}

void tn_oi_op_size(tn_oi *x) {
    tn_oi_sym *s = tn_oi_sym_new(x, TN_I64, 0, NULL);
    if (!tn_oi_has(x, 0)) tn_oi_need(x, 0);
    if (!s || tn_oi_failed(x)) return;
    s->d[0] = tn_dim_const(x->g, 1);
    for (size_t k = 0; k < tn_oi_rank(x, 0); k++) s->d[0] = tn_dim_mul(x->g, s->d[0], tn_oi_dim(x, 0, k));
    tn_oi_out_sym(x, 0, s);
}

static void range_of_dims(tn_oi *x, const tn_oi_sym *a, const tn_oi_sym *b, int64_t step) {
    tn_graph *g = x->g;
    tn_dim span = step > 0 ? tn_dim_sub(g, b->d[0], a->d[0]) : tn_dim_sub(g, a->d[0], b->d[0]);
    tn_dim n = tn_dim_max(g, tn_dim_ceildiv(g, span, tn_dim_const(g, step > 0 ? step : -step)), tn_dim_const(g, 0));
    int64_t count;
    tn_oi_sym *s = tn_dim_is_const(g, n, &count) ? tn_oi_sym_new(x, a->dtype, 1, &count) : NULL;
    for (int64_t k = 0; s && k < count; k++) s->d[k] = tn_dim_add(g, a->d[0], tn_dim_const(g, k * step));
    if (s) {
        tn_oi_out_sym(x, 0, s);
        return;
    }
    tn_val v = tn_build_iota(g, a->dtype, 1, &n, 0);
    if (step != 1) v = tn_build_scalar(g, TN_OP_MUL, v, (double)step);
    if (!tn_dim_equal_const(g, a->d[0], 0)) v = tn_build_add(g, v, tn_oi_in(x, 0));
    tn_oi_out(x, 0, v);
}

tn_dim tn_oi_size_of_data(tn_oi *x, tn_val n, const char *what) {
    const int64_t most = tn_oi_limit(x, 0);
    char hint[256];
    if (most >= 0 && !tn_oi_failed(x)) {
        const tn_dim size = tn_dim_fresh(x->g, "length");
        tn_build_size(x->g, n, (tn_attrs_size){.count = size, .most = tn_dim_const(x->g, most)});
        return size;
    }
    snprintf(hint, sizeof hint, "say how long it can be: --most %.120s=1000",
             tn_oi_wants(x, 0) ? x->node->output[0] : "");
    if (!tn_oi_failed(x)) tn_oi_fail(x, TN_E_UNSUPPORTED, hint, "%s depends on the data", what);
    return (tn_dim){0};
}

/* start + i * delta, in f32 of 16 bits, which cannot count far. */
static tn_val progression(tn_oi *x, tn_dim length, tn_val start, tn_val delta) {
    tn_graph *g = x->g;
    const tn_dtype t = tn_val_dtype(g, start), wide = t == TN_F16 || t == TN_BF16 ? TN_F32 : t;
    tn_val r = tn_build_iota(g, wide, 1, &length, 0);
    r = tn_build_mul(g, r, tn_build_cast_to(g, delta, wide));
    return tn_build_cast_to(g, tn_build_add(g, r, tn_build_cast_to(g, start, wide)), t);
}

/* How long it is a run computes, in double as numpy does: max(ceil((limit - start) / delta), 0). */
static void range_of_data(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val in[3], n;
    for (size_t k = 0; k < 3; k++) in[k] = tn_build_reshape_to(g, tn_oi_need(x, k), 0, NULL);
    n = tn_build_sub(g, tn_build_cast_to(g, in[1], TN_F64), tn_build_cast_to(g, in[0], TN_F64));
    n = tn_build_ceil(g, tn_build_div(g, n, tn_build_cast_to(g, in[2], TN_F64)));
    n = tn_build_cast_to(g, tn_build_max(g, n, tn_build_full(g, TN_F64, 0, NULL, 0)), TN_I64);
    const tn_dim length = tn_oi_size_of_data(x, n, "its length");
    if (length.i) tn_oi_out(x, 0, progression(x, length, in[0], in[2]));
}

/* Input k as a number, if it is a constant. */
static bool number_of(tn_oi *x, size_t k, double *v) {
    size_t n = 0;
    if (tn_oi_const_nums(x, k, 1, v, &n) && n == 1) return true;
    const tn_val c = tn_oi_in(x, k);
    return c.i && tn_const_splat(x->g, c, v);
}

void tn_oi_op_range(tn_oi *x) {
    tn_graph *g = x->g;
    const tn_oi_sym *a = tn_oi_sym_of(x, 0), *b = tn_oi_sym_of(x, 1);
    double v[3];
    int64_t step;
    size_t n = 0;
    if (a && b && a->d && b->d && a->n == 1 && b->n == 1 && tn_oi_const_ints(x, 2, 1, &step, &n) && n == 1 && step &&
        step > -((int64_t)1 << 31) && step < (int64_t)1 << 31) {
        range_of_dims(x, a, b, step);
        return;
    }
    bool known = true;
    for (size_t k = 0; k < 3; k++) known = known && number_of(x, k, &v[k]);
    double count = known && v[2] != 0 ? fmax(ceil((v[1] - v[0]) / v[2]), 0) : -1;
    if (!(count >= 0 && count < 1e9)) {
        range_of_data(x);
        return;
    }
    const tn_val start = tn_build_reshape_to(g, tn_oi_need(x, 0), 0, NULL),
                 delta = tn_build_reshape_to(g, tn_oi_need(x, 2), 0, NULL);
    tn_oi_out(x, 0, progression(x, tn_dim_const(g, (int64_t)count), start, delta));
}

/* 1 where column - row = k */
void tn_oi_op_eye_like(tn_oi *x) {
    tn_graph *g = x->g;
    int64_t dtype = tn_oi_int(x, "dtype", TN_ONNX_UNDEFINED);
    tn_dtype t = tn_oi_attr(x, "dtype") ? tn_onnx_dtype((int32_t)dtype) : tn_oi_dtype(x, 0);
    if (tn_oi_rank(x, 0) != 2 || !t) {
        tn_oi_fail(x, TN_E_TYPE, "", "its input must be a matrix, and its element type numeric");
        return;
    }
    tn_dim dims[] = {tn_oi_dim(x, 0, 0), tn_oi_dim(x, 0, 1)};
    tn_val row = tn_build_iota(g, TN_I64, 2, dims, 0), col = tn_build_iota(g, TN_I64, 2, dims, 1);
    tn_val on = tn_build_eq(g, tn_build_scalar(g, TN_OP_ADD, row, (double)tn_oi_int(x, "k", 0)), col);
    tn_oi_out(x, 0, tn_build_cast_to(g, on, t));
}

/* ---- comparisons with indices ------------------------------------------------------------------------------------ */

/* on where `hot` (which gets a new axis) equals the index along that axis, of size `depth`, else off. */
static tn_val one_hot(tn_oi *x, tn_val hot, int64_t axis, tn_dim depth, tn_val on, tn_val off) {
    tn_graph *g = x->g;
    tn_val v = tn_build_unsqueeze(g, hot, axis);
    tn_dim dims[TN_MAX_RANK];
    size_t rank = tn_val_rank(g, v);
    if (!v.i) return v;
    for (size_t k = 0; k < rank; k++) dims[k] = (int64_t)k == axis ? depth : tn_dim_const(g, 1);
    tn_val index = tn_build_iota(g, tn_val_dtype(g, v), rank, dims, axis);
    return tn_build_select(g, tn_build_eq(g, v, index), on, off);
}

/* The size of the new axis, and its value. */
static tn_dim depth_of(tn_oi *x, tn_val *value) {
    tn_graph *g = x->g;
    const tn_oi_sym *s = tn_oi_sym_of(x, 1);
    tn_dim depth = {0};
    size_t n = 0;
    double f;
    if (s && s->d && s->n == 1)
        depth = s->d[0];
    else if (tn_oi_const_nums(x, 1, 1, &f, &n) && n == 1 && f >= 0 && f < 1e9)
        depth = tn_dim_const(g, (int64_t)f);
    if (depth.i) {
        *value = tn_oi_size_value(x, depth);
        return depth;
    }
    *value = tn_build_cast_to(g, tn_build_reshape_to(g, tn_oi_need(x, 1), 0, NULL), TN_I64);
    return tn_oi_size_of_data(x, *value, "the depth");
}

void tn_oi_op_one_hot(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val idx = tn_oi_need(x, 0), values = tn_oi_need(x, 2), size;
    const tn_dim depth = depth_of(x, &size), one = tn_dim_const(g, 1);
    int64_t axis = tn_oi_axis(x, tn_oi_int(x, "axis", -1), tn_val_rank(g, idx) + 1);
    if (tn_oi_failed(x)) return;
    if (tn_val_rank(g, values) == 1) tn_oi_fits(x, TN_REL_EQUAL, values, 0, "values", tn_dim_const(g, 2), "off and on");
    idx = tn_build_cast_to(g, idx, TN_I64);
    tn_val off = tn_build_reshape_to(g, tn_build_slice_axis(g, values, 0, tn_dim_const(g, 0), one), 0, NULL);
    tn_val on = tn_build_reshape_to(g, tn_build_slice_axis(g, values, 0, one, one), 0, NULL);
    tn_val wrapped = tn_build_add(g, idx, size);
    idx = tn_build_select(g, tn_build_scalar(g, TN_OP_LT, idx, 0), wrapped, idx);
    tn_oi_out(x, 0, one_hot(x, idx, axis, depth, on, off));
}

void tn_oi_op_arg(tn_oi *x) {
    tn_val v = tn_oi_need(x, 0);
    tn_attrs_arg a = {.axis = tn_oi_axis(x, tn_oi_int(x, "axis", 0), tn_val_rank(x->g, v)),
                      .keepdims = tn_oi_int(x, "keepdims", 1),
                      .last = tn_oi_int(x, "select_last_index", 0)};
    if (!tn_oi_failed(x)) tn_oi_out(x, 0, tn_emit1(x->g, x->row->op, &a, 1, &v));
}

/* The axis with one element more, which no other one loses to: what has no elements has no maximum. */
static tn_val never_empty(tn_graph *g, tn_val v, int64_t axis) {
    tn_dim none[TN_MAX_RANK], more[TN_MAX_RANK];
    const size_t rank = tn_val_rank(g, v);
    const tn_dim zero = tn_dim_const(g, 0), one = tn_dim_const(g, 1);
    int64_t least, most;
    tn_dim_bounds(g, tn_val_dim(g, v, (size_t)axis), &least, &most);
    if (least > 0) return v;
    for (size_t k = 0; k < rank; k++) none[k] = zero, more[k] = (int64_t)k == axis ? one : zero;
    const tn_attrs_pad a = {{none, (uint32_t)rank}, {more, (uint32_t)rank}, "constant", -INFINITY};
    return tn_build_pad(g, v, a);
}

/* 1 at the first maximum along the axis; up to opset 12 over all axes from `axis` on. */
void tn_oi_op_hardmax(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val v = tn_oi_need(x, 0);
    size_t rank = tn_val_rank(g, v);
    int64_t axis = tn_oi_axis(x, tn_oi_int(x, "axis", x->opset < 13 ? 1 : -1), rank);
    tn_dim full[TN_MAX_RANK], flat[2];
    if (tn_oi_failed(x)) return;
    for (size_t k = 0; k < rank; k++) full[k] = tn_val_dim(g, v, k);
    if (x->opset < 13) {
        flat[0] = tn_val_extent(x->g, v, 0, (size_t)axis);
        flat[1] = tn_val_extent(x->g, v, (size_t)axis, rank);
        v = tn_build_reshape_to(g, v, 2, flat);
        axis = 1;
    }
    tn_dtype t = tn_val_dtype(g, v);
    tn_val top = tn_build_arg_max(g, never_empty(g, v, axis), (tn_attrs_arg){.axis = axis});
    v = one_hot(x, top, axis, tn_val_dim(g, v, (size_t)axis), tn_const_num(g, t, 1), tn_const_num(g, t, 0));
    tn_oi_out(x, 0, tn_build_reshape_to(g, v, rank, full));
}

void tn_oi_op_trilu(tn_oi *x) {
    tn_val v = tn_oi_need(x, 0), k = tn_oi_in(x, 1);
    if (k.i) k = tn_build_reshape_to(x->g, k, 0, NULL);
    tn_oi_out(x, 0, tn_build_trilu(x->g, v, k, (tn_attrs_trilu){.upper = tn_oi_int(x, "upper", 1)}));
}

/* An axis that only a run knows: the sums, or products, along each, of which it takes one. */
void tn_oi_op_cumulative(tn_oi *x) {
    tn_graph *g = x->g;
    int64_t axis = 0;
    size_t n = 0;
    tn_val v = tn_oi_need(x, 0), all[TN_MAX_RANK];
    size_t rank = tn_val_rank(g, v);
    tn_attrs_cumsum a = {.exclusive = tn_oi_int(x, "exclusive", 0), .reverse = tn_oi_int(x, "reverse", 0)};
    if (tn_oi_const_ints(x, 1, 1, &axis, &n) && n == 1) {
        a.axis = tn_oi_axis(x, axis, rank);
        if (!tn_oi_failed(x)) tn_oi_out(x, 0, tn_emit1(g, x->row->op, &a, 1, &v));
        return;
    }
    if (rank + 1 > TN_MAX_RANK) tn_oi_fail(x, TN_E_UNSUPPORTED, "make the axis a constant", "the axis is not constant");
    tn_val which = tn_build_reshape_to(g, tn_oi_need(x, 1), 0, NULL);
    if (tn_oi_failed(x)) return;
    tn_dim dims[TN_MAX_RANK + 1] = {tn_dim_const(g, 1)};
    for (size_t k = 0; k < rank; k++) dims[k + 1] = tn_val_dim(g, v, k);
    for (size_t k = 0; k < rank; k++) {
        a.axis = (int64_t)k;
        all[k] = tn_build_reshape_to(g, tn_emit1(g, x->row->op, &a, 1, &v), rank + 1, dims);
    }
    tn_val stack = tn_build_concat(g, rank, all, 0);
    tn_oi_out(x, 0, tn_build_gather(g, stack, which, (tn_attrs_axis){.axis = 0}));
}

/* The first lens[b] elements of each sequence reversed: element t comes from lens[b] - 1 - t. */
void tn_oi_op_reverse_sequence(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val v = tn_oi_need(x, 0), lens = tn_oi_need(x, 1);
    size_t rank = tn_val_rank(g, v);
    int64_t batch = tn_oi_axis(x, tn_oi_int(x, "batch_axis", 1), rank),
            time = tn_oi_axis(x, tn_oi_int(x, "time_axis", 0), rank);
    tn_dim dims[TN_MAX_RANK], full[TN_MAX_RANK];
    if (tn_oi_failed(x)) return;
    for (size_t k = 0; k < rank; k++) {
        full[k] = tn_val_dim(g, v, k);
        dims[k] = (int64_t)k == batch ? full[k] : tn_dim_const(g, 1);
    }
    tn_val n = tn_build_reshape_to(g, tn_build_cast_to(g, lens, TN_I64), rank, dims);
    tn_val t = tn_build_iota(g, TN_I64, rank, full, time);
    tn_val back = tn_build_scalar(g, TN_OP_SUB, tn_build_sub(g, n, t), 1);
    tn_val from = tn_build_select(g, tn_build_lt(g, t, n), back, t);
    tn_oi_out(x, 0, tn_build_gather_elements(g, v, from, (tn_attrs_axis){.axis = time}));
}

void tn_oi_op_depth(tn_oi *x) {
    tn_val v = tn_oi_need(x, 0);
    bool crd = !strcmp(tn_oi_str(x, "mode", "DCR"), "CRD");
    tn_attrs_depth a = {.block = tn_oi_int(x, "blocksize", 0), .mode = crd ? "CRD" : "DCR"};
    tn_oi_out(x, 0, tn_emit1(x->g, x->row->op, &a, 1, &v));
}
