/* cut.c: Slice and Pad whose positions depend on data: gathers along one axis after the other, of as many elements as a run counts. */
#include "frontend/onnx/import.h"

#include <string.h>

static tn_val number(tn_oi *x, int64_t v) {
    return tn_build_reshape_to(x->g, tn_const_ints(x->g, TN_I64, 1, &v), 0, NULL);
}

/* Element k of input i, an i64 scalar. */
static tn_val element(tn_oi *x, size_t i, size_t k) {
    const tn_dim at = tn_dim_const(x->g, (int64_t)k), one = tn_dim_const(x->g, 1);
    const tn_val v = tn_build_slice_axis(x->g, tn_oi_need(x, i), 0, at, one);
    return tn_build_cast_to(x->g, tn_build_reshape_to(x->g, v, 0, NULL), TN_I64);
}

static tn_val clipped(tn_oi *x, tn_val v, tn_val low, tn_val high) {
    return tn_build_min(x->g, tn_build_max(x->g, v, low), high);
}

static tn_val gathered(tn_oi *x, tn_val v, tn_val at, size_t axis) {
    return tn_build_gather(x->g, v, at, (tn_attrs_axis){.axis = (int64_t)axis});
}

/* What a branch or an iteration counts, nobody outside knows. */
static bool may_count(tn_oi *x) {
    if (x->in_region && !tn_oi_failed(x))
        tn_oi_fail(x, TN_E_UNSUPPORTED, "make them constants or functions of input shapes",
                   "in a branch or loop, positions that depend on the data");
    return !tn_oi_failed(x);
}

/* ---- Slice ------------------------------------------------------------------------------------------------------- */

/* A position that counts from the end where it is negative. */
static tn_val position(tn_oi *x, tn_val v, tn_val n) {
    return tn_build_select(x->g, tn_build_scalar(x->g, TN_OP_LT, v, 0), tn_build_add(x->g, v, n), v);
}

/* v's axis from element k of the starts to that of the ends, as NumPy cuts it: no more elements than it has. */
static tn_val cut(tn_oi *x, tn_val v, size_t axis, size_t k, int64_t step) {
    tn_graph *g = x->g;
    const tn_dim have = tn_val_dim(g, v, axis), length = tn_dim_fresh(g, "length");
    const tn_val n = tn_oi_size_value(x, have), zero = number(x, 0), last = tn_build_scalar(g, TN_OP_SUB, n, 1);
    const bool forward = step > 0;
    /* far positions stay far when the size is added */
    const tn_val near = number(x, -(INT64_C(1) << 40)), far = number(x, INT64_C(1) << 40);
    tn_val from = position(x, clipped(x, element(x, 1, k), near, far), n),
           to = position(x, clipped(x, element(x, 2, k), near, far), n);
    from = forward ? clipped(x, from, zero, n) : tn_build_min(g, tn_build_max(g, from, number(x, -1)), last);
    to = forward ? clipped(x, to, zero, n) : tn_build_min(g, tn_build_max(g, to, number(x, -1)), last);
    tn_val count = forward ? tn_build_sub(g, to, from) : tn_build_sub(g, from, to);
    const int64_t by = forward ? step : -step;
    count = tn_build_scalar(g, TN_OP_ADD, tn_build_max(g, count, zero), (double)(by - 1));
    count = tn_build_scalar(g, TN_OP_DIV, count, (double)by);
    tn_build_size(g, count, (tn_attrs_size){.count = length, .most = have, .fits = true});
    const tn_val at = tn_build_scalar(g, TN_OP_MUL, tn_build_iota(g, TN_I64, 1, &length, 0), (double)step);
    return gathered(x, v, tn_build_add(g, at, from), axis);
}

void tn_oi_slice_of_data(tn_oi *x, size_t n, const int64_t *axes, const int64_t *steps) {
    tn_val v = tn_oi_need(x, 0);
    for (size_t k = 0; may_count(x) && k < n; k++) {
        const int64_t axis = tn_oi_axis(x, axes[k], tn_val_rank(x->g, v));
        if (!steps[k] || steps[k] > INT32_MAX || steps[k] < -INT32_MAX)
            tn_oi_fail(x, TN_E_UNSUPPORTED, "", "a step of %lld", (long long)steps[k]);
        if (!tn_oi_failed(x)) v = cut(x, v, (size_t)axis, k, steps[k]);
    }
    tn_oi_out(x, 0, v);
}

/* ---- Pad --------------------------------------------------------------------------------------------------------- */

/* Where position i of an axis of n elements takes its value from, beyond its ends too. */
static tn_val source(tn_oi *x, tn_val i, tn_val n, const char *mode) {
    tn_graph *g = x->g;
    const tn_val zero = number(x, 0), last = tn_build_scalar(g, TN_OP_SUB, n, 1);
    if (!strcmp(mode, "wrap")) return tn_build_mod(g, i, n);
    if (!strcmp(mode, "reflect")) { /* there and back in 2 (n - 1) steps */
        const tn_val turn = tn_build_max(g, tn_build_scalar(g, TN_OP_MUL, last, 2), number(x, 1)),
                     at = tn_build_mod(g, i, turn);
        return tn_build_min(g, at, tn_build_sub(g, turn, at));
    }
    return clipped(x, i, zero, last);
}

/* v with an element behind its axis where it may have none: positions that take no value from it are gathered, too. */
static tn_val not_empty(tn_oi *x, tn_val v, size_t axis) {
    int64_t lo = 0, hi = 0;
    tn_dim before[TN_MAX_RANK], after[TN_MAX_RANK];
    const uint32_t rank = (uint32_t)tn_val_rank(x->g, v);
    tn_dim_bounds(x->g, tn_val_dim(x->g, v, axis), &lo, &hi);
    if (lo > 0) return v;
    for (size_t k = 0; k < rank; k++) before[k] = after[k] = tn_dim_const(x->g, 0);
    after[axis] = tn_dim_const(x->g, 1);
    return tn_build_pad(x->g, v, (tn_attrs_pad){.before = {before, rank}, .after = {after, rank}, .mode = "constant"});
}

/* v's axis with pads k and m of the input, which cut where they are negative. */
static tn_val padded(tn_oi *x, tn_val v, size_t axis, size_t k, size_t m, const char *mode, tn_val value) {
    tn_graph *g = x->g;
    const tn_val n = tn_oi_size_value(x, tn_val_dim(g, v, axis)), zero = number(x, 0), before = element(x, 1, k);
    const tn_val all = tn_build_max(g, tn_build_add(g, tn_build_add(g, before, element(x, 1, m)), n), zero);
    const tn_dim length = tn_oi_size_of_data(x, all, "the padding");
    if (tn_oi_failed(x)) return v;
    const tn_val i = tn_build_sub(g, tn_build_iota(g, TN_I64, 1, &length, 0), before);
    const size_t rank = tn_val_rank(g, v);
    const tn_val some = tn_build_max(g, n, number(x, 1));
    v = gathered(x, not_empty(x, v, axis), source(x, i, some, mode), axis);
    if (strcmp(mode, "constant") != 0) return v;
    tn_dim dims[TN_MAX_RANK];
    for (size_t a = 0; a < rank; a++) dims[a] = a == axis ? length : tn_dim_const(g, 1);
    const tn_val inside = tn_build_and(g, tn_build_ge(g, i, zero), tn_build_lt(g, i, n));
    return tn_build_select(g, tn_build_reshape_to(g, inside, rank, dims), v, value);
}

void tn_oi_pad_of_data(tn_oi *x, size_t n, const int64_t *axes) {
    tn_graph *g = x->g;
    tn_val v = tn_oi_need(x, 0);
    const char *mode = tn_oi_str(x, "mode", "constant");
    if (!may_count(x)) return;
    tn_val value = tn_build_full(g, tn_val_dtype(g, v), 0, NULL, 0);
    if (tn_oi_has(x, 2)) value = tn_build_reshape_to(g, tn_oi_in(x, 2), 0, NULL);
    for (size_t k = 0; k < n && !tn_oi_failed(x); k++) v = padded(x, v, (size_t)axes[k], k, n + k, mode, value);
    tn_oi_out(x, 0, v);
}
