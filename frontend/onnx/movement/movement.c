/* movement.c: ops that move elements: reshapes, slices, pads, gathers, tiles. */
#include "frontend/onnx/import.h"

#include <string.h>

/* ---- reshapes ---------------------------------------------------------------------------------------------------- */

static void view_sym(tn_oi *x, const tn_oi_sym *s, size_t rank, const int64_t *shape) {
    tn_oi_sym *r = tn_oi_sym_new(x, s->dtype, rank, shape);
    if (!r) return;
    if (r->n != s->n) {
        tn_oi_fail(x, TN_E_TYPE, "", "%u elements cannot be reshaped to %u", s->n, r->n);
        return;
    }
    r->d = s->d;
    r->f = s->f;
    tn_oi_out_sym(x, 0, r);
}

/* Input 0 with other dims, on contents if possible. */
static void reshape_out(tn_oi *x, size_t rank, const tn_dim *dims) {
    const tn_oi_sym *s = tn_oi_sym_of(x, 0);
    int64_t shape[TN_MAX_RANK];
    bool known = s != NULL;
    for (size_t k = 0; k < rank; k++) known = known && tn_dim_is_const(x->g, dims[k], &shape[k]);
    if (known)
        view_sym(x, s, rank, shape);
    else
        tn_oi_out(x, 0, tn_build_reshape_to(x->g, tn_oi_need(x, 0), rank, dims));
}

/* Element count of input 0 over `by`; the factors that both have are cancelled first, which is exact where division is
 * not provably so. */
static tn_dim rest_of(tn_oi *x, size_t n_by, const tn_dim *by) {
    tn_graph *g = x->g;
    bool used[TN_MAX_RANK] = {false};
    tn_dim num = tn_dim_const(g, 1), den = num;
    size_t rank = tn_oi_rank(x, 0);
    for (size_t k = 0; k < rank; k++) {
        tn_dim d = tn_oi_dim(x, 0, k);
        size_t hit = 0;
        while (hit < n_by && (used[hit] || by[hit].i != d.i)) hit++;
        if (hit < n_by)
            used[hit] = true;
        else
            num = tn_dim_mul(g, num, d);
    }
    for (size_t k = 0; k < n_by; k++)
        if (!used[k]) den = tn_dim_mul(g, den, by[k]);
    if (tn_dim_equal_const(g, den, 0)) {
        tn_oi_fail(x, TN_E_TYPE, "", "the size of the -1 dimension is not determined: another dimension is 0");
        return (tn_dim){0};
    }
    return tn_dim_equal_const(g, den, 1) ? num : tn_dim_floordiv(g, num, den);
}

void tn_oi_op_reshape(tn_oi *x) {
    const tn_oi_sym *s = tn_oi_need_dims(x, 1, "the shape");
    if (!s) return;
    if (s->n > TN_MAX_RANK || s->rank > 1) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "", "reshape to rank %u; the most is %d", s->n, TN_MAX_RANK);
        return;
    }
    bool allowzero = tn_oi_int(x, "allowzero", 0);
    tn_dim dims[TN_MAX_RANK], known[TN_MAX_RANK];
    size_t infer = SIZE_MAX, n_known = 0, rank = tn_oi_rank(x, 0);
    for (size_t k = 0; k < s->n; k++) {
        dims[k] = s->d[k];
        if (!allowzero && tn_dim_equal_const(x->g, dims[k], 0)) {
            if (k >= rank) {
                tn_oi_fail(x, TN_E_FORMAT, "", "the shape copies dimension %zu of a tensor of rank %zu", k, rank);
                return;
            }
            dims[k] = tn_oi_dim(x, 0, k);
        }
        if (tn_dim_equal_const(x->g, dims[k], -1)) {
            if (infer != SIZE_MAX) {
                tn_oi_fail(x, TN_E_FORMAT, "", "the shape has more than one -1");
                return;
            }
            infer = k;
        } else {
            known[n_known++] = dims[k];
        }
    }
    if (infer != SIZE_MAX) dims[infer] = rest_of(x, n_known, known);
    if (!tn_oi_failed(x)) reshape_out(x, s->n, dims);
}

void tn_oi_op_flatten(tn_oi *x) {
    size_t rank = tn_oi_rank(x, 0);
    int64_t axis = tn_oi_int(x, "axis", 1);
    if (axis < 0) axis += (int64_t)rank;
    if (axis < 0 || axis > (int64_t)rank) {
        tn_oi_fail(x, TN_E_FORMAT, "", "axis %lld does not exist in a tensor of rank %zu", (long long)axis, rank);
        return;
    }
    tn_dim dims[2] = {tn_dim_const(x->g, 1), tn_dim_const(x->g, 1)};
    for (size_t k = 0; k < rank; k++) {
        tn_dim *d = &dims[k >= (size_t)axis];
        *d = tn_dim_mul(x->g, *d, tn_oi_dim(x, 0, k));
    }
    reshape_out(x, 2, dims);
}

void tn_oi_op_squeeze(tn_oi *x) {
    size_t rank = tn_oi_rank(x, 0), n = 0, left = 0;
    int64_t axes[TN_MAX_RANK];
    bool drop[TN_MAX_RANK] = {false};
    tn_dim dims[TN_MAX_RANK];
    bool given = tn_oi_axes(x, 1, rank, &n, axes);
    for (size_t k = 0; k < n; k++) drop[axes[k]] = true;
    for (size_t k = 0; k < rank; k++) {
        tn_dim d = tn_oi_dim(x, 0, k);
        bool one = tn_dim_equal_const(x->g, d, 1);
        if (given && drop[k] && !one && tn_dim_is_const(x->g, d, NULL)) {
            tn_oi_fail(x, TN_E_TYPE, "", "axis %zu cannot be squeezed: its size is not 1", k);
            return;
        }
        if (given ? !drop[k] : !one) dims[left++] = d;
    }
    reshape_out(x, left, dims);
}

void tn_oi_op_unsqueeze(tn_oi *x) {
    const int64_t *list;
    int64_t given[TN_MAX_RANK], axes[TN_MAX_RANK];
    size_t count = tn_oi_ints(x, "axes", &list), rank = tn_oi_rank(x, 0), n = 0;
    if (!list && !tn_oi_attr(x, "axes")) {
        if (!tn_oi_const_ints(x, 1, TN_MAX_RANK, given, &count)) {
            tn_oi_fail(x, TN_E_UNSUPPORTED, "make the axes a constant", "the axes are not constant, or too many");
            return;
        }
        list = given;
    }
    size_t full = rank + count;
    if (full > TN_MAX_RANK) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "", "result of rank %zu; the most is %d", full, TN_MAX_RANK);
        return;
    }
    bool hit[TN_MAX_RANK] = {false};
    for (size_t k = 0; k < count && !tn_oi_failed(x); k++) {
        axes[k] = tn_oi_axis(x, list[k], full);
        if (hit[axes[k]]) tn_oi_fail(x, TN_E_FORMAT, "", "axis %lld is given twice", (long long)axes[k]);
        hit[axes[k]] = true;
    }
    if (tn_oi_failed(x)) return;
    tn_dim dims[TN_MAX_RANK];
    for (size_t k = 0; k < full; k++) dims[k] = hit[k] ? tn_dim_const(x->g, 1) : tn_oi_dim(x, 0, n++);
    reshape_out(x, full, dims);
}

/* ---- transpose, expand, tile ------------------------------------------------------------------------------------- */

void tn_oi_op_transpose(tn_oi *x) {
    size_t rank = tn_oi_rank(x, 0), n;
    const int64_t *given;
    int64_t perm[TN_MAX_RANK], shape[TN_MAX_RANK], strides[TN_MAX_RANK], own[TN_MAX_RANK], step = 1;
    n = tn_oi_ints(x, "perm", &given);
    if (tn_oi_attr(x, "perm") && n != rank) {
        tn_oi_fail(x, TN_E_FORMAT, "", "perm has %zu axes for a tensor of rank %zu", n, rank);
        return;
    }
    for (size_t k = 0; k < rank; k++) {
        perm[k] = tn_oi_attr(x, "perm") ? given[k] : (int64_t)(rank - 1 - k);
        perm[k] = tn_oi_axis(x, perm[k], rank);
    }
    const tn_oi_sym *s = tn_oi_sym_of(x, 0);
    if (tn_oi_failed(x)) return;
    if (!s) {
        tn_oi_out(x, 0, tn_build_permute(x->g, tn_oi_need(x, 0), rank, perm));
        return;
    }
    for (size_t k = rank; k-- > 0; step *= s->shape[k]) own[k] = step;
    for (size_t k = 0; k < rank; k++) {
        shape[k] = s->shape[perm[k]];
        strides[k] = own[perm[k]];
    }
    const tn_oi_sym *r = tn_oi_sym_view(x, s, rank, shape, 0, strides);
    if (r)
        tn_oi_out_sym(x, 0, r);
    else
        tn_oi_out(x, 0, tn_build_permute(x->g, tn_oi_need(x, 0), rank, perm));
}

tn_dim tn_oi_broadcast_dim(tn_oi *x, tn_dim a, tn_dim b) {
    tn_graph *g = x->g;
    if (a.i == b.i || tn_dim_equal_const(g, b, 1)) return a;
    if (tn_dim_equal_const(g, a, 1)) return b;
    int64_t p = 0, q = 0;
    if (tn_dim_is_const(g, a, &p) && tn_dim_is_const(g, b, &q))
        tn_oi_fail(x, TN_E_TYPE, "", "sizes %lld and %lld do not broadcast", (long long)p, (long long)q);
    tn_rel need;
    tn_dim d = tn_dims_broadcast(g, a, b, &need);
    if (!tn_oi_failed(x))
        tn_oi_require(x, (tn_condition){.rel = need, .a = a, .b = b, .what = "the sizes to broadcast"});
    return d;
}

void tn_oi_op_expand(tn_oi *x) {
    const tn_oi_sym *s = tn_oi_need_dims(x, 1, "the shape");
    size_t rank = tn_oi_rank(x, 0);
    if (!s) return;
    size_t n = s->n > rank ? s->n : rank;
    if (n > TN_MAX_RANK) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "", "result of rank %zu; the most is %d", n, TN_MAX_RANK);
        return;
    }
    tn_dim dims[TN_MAX_RANK], one = tn_dim_const(x->g, 1);
    for (size_t k = 0; k < n; k++) {
        tn_dim a = k < rank ? tn_oi_dim(x, 0, rank - 1 - k) : one, b = k < s->n ? s->d[s->n - 1 - k] : one;
        dims[n - 1 - k] = tn_oi_broadcast_dim(x, a, b);
    }
    if (tn_oi_failed(x)) return;
    const tn_oi_sym *v = tn_oi_sym_of(x, 0);
    int64_t shape[TN_MAX_RANK], strides[TN_MAX_RANK] = {0};
    bool known = v && v->n == 1;
    for (size_t k = 0; k < n; k++) known = known && tn_dim_is_const(x->g, dims[k], &shape[k]);
    const tn_oi_sym *r = known ? tn_oi_sym_view(x, v, n, shape, 0, strides) : NULL;
    if (r)
        tn_oi_out_sym(x, 0, r);
    else
        tn_oi_out(x, 0, tn_build_broadcast_to(x->g, tn_oi_need(x, 0), n, dims));
}

/* v with axis k written down `repeats` times: a broadcast of an axis before it, [..., 1, d, ...] -> [..., r, d, ...].  The others stay
 * axes where there is room for one more: what reads rows sees them through it. */
static tn_val tiled(tn_graph *g, tn_val v, size_t k, tn_dim repeats) {
    const size_t rank = tn_val_rank(g, v), after = rank < TN_MAX_RANK ? rank - k : 1;
    tn_dim one[TN_MAX_RANK], wide[TN_MAX_RANK], full[TN_MAX_RANK];
    size_t n = 0;
    for (size_t i = 0; i < rank; i++) full[i] = tn_val_dim(g, v, i);
    if (after == rank - k)
        for (; n < k; n++) one[n] = full[n];
    else
        one[n++] = tn_val_extent(g, v, 0, k);
    one[n] = tn_dim_const(g, 1);
    for (size_t i = 0; i < after; i++) one[n + 1 + i] = after == 1 ? tn_val_extent(g, v, k, rank) : full[k + i];
    for (size_t i = 0; i < n + 1 + after; i++) wide[i] = i == n ? repeats : one[i];
    full[k] = tn_dim_mul(g, full[k], repeats);
    v = tn_build_broadcast_to(g, tn_build_reshape_to(g, v, n + 1 + after, one), n + 1 + after, wide);
    return tn_build_reshape_to(g, v, rank, full);
}

/* One axis at a time. */
void tn_oi_op_tile(tn_oi *x) {
    tn_graph *g = x->g;
    const tn_oi_sym *s = tn_oi_need_dims(x, 1, "the repeats");
    tn_val v = tn_oi_need(x, 0);
    size_t rank = tn_val_rank(g, v);
    if (!s || !v.i) return;
    if (s->n != rank) {
        tn_oi_fail(x, TN_E_FORMAT, "", "%u repeats for a tensor of rank %zu", s->n, rank);
        return;
    }
    for (size_t k = 0; k < rank && !tn_oi_failed(x); k++)
        if (!tn_dim_equal_const(g, s->d[k], 1)) v = tiled(g, v, k, s->d[k]);
    tn_oi_out(x, 0, v);
}

/* ---- concat and split -------------------------------------------------------------------------------------------- */

static const tn_oi_sym *concat_sym(tn_oi *x, size_t n) {
    size_t total = 0, at = 0;
    tn_dtype t = tn_oi_dtype(x, 0);
    for (size_t k = 0; k < n; k++) {
        const tn_oi_sym *s = tn_oi_sym_of(x, k);
        if (!s || s->rank != 1 || s->dtype != t) return NULL;
        total += s->n;
    }
    int64_t shape = (int64_t)total;
    tn_oi_sym *r = tn_oi_sym_new(x, t, 1, &shape);
    for (size_t k = 0; r && k < n; k++) {
        const tn_oi_sym *s = tn_oi_sym_of(x, k);
        if (!s) return NULL;
        for (size_t i = 0; i < s->n; i++, at++) {
            if (r->f)
                r->f[at] = s->f[i];
            else
                r->d[at] = s->d[i];
        }
    }
    return r;
}

void tn_oi_op_concat(tn_oi *x) {
    size_t n = tn_oi_input_count(x);
    if (!n) {
        tn_oi_need(x, 0);
        return;
    }
    int64_t axis = tn_oi_axis(x, tn_oi_int(x, "axis", 0), tn_oi_rank(x, 0));
    const tn_oi_sym *s = tn_oi_failed(x) ? NULL : concat_sym(x, n);
    if (s) {
        tn_oi_out_sym(x, 0, s);
        return;
    }
    tn_val *v = tn_oi_alloc(x, n * sizeof *v);
    for (size_t k = 0; v && k < n; k++) v[k] = tn_oi_need(x, k);
    if (!tn_oi_failed(x)) tn_oi_out(x, 0, tn_oi_join(x, n, v, (size_t)axis));
}

static void split_out(tn_oi *x, int64_t axis, size_t n, const tn_dim *sizes) {
    const tn_oi_sym *s = tn_oi_sym_of(x, 0);
    int64_t from = 0, size = 0, stride = 1;
    bool known = s && s->rank == 1;
    for (size_t k = 0; known && k < n; k++) known = tn_dim_is_const(x->g, sizes[k], &size);
    for (size_t k = 0; known && k < n; k++, from += size) {
        tn_dim_is_const(x->g, sizes[k], &size);
        const tn_oi_sym *part = tn_oi_sym_view(x, s, 1, &size, from, &stride);
        if (!part) {
            tn_oi_fail(x, TN_E_TYPE, "", "the parts are larger than the whole");
            return;
        }
        tn_oi_out_sym(x, k, part);
    }
    if (known) return;
    tn_val *parts = tn_oi_alloc(x, n * sizeof *parts);
    if (!parts || tn_build_split(x->g, tn_oi_need(x, 0), axis, n, sizes, parts)) return;
    for (size_t k = 0; k < n; k++) tn_oi_out(x, k, parts[k]);
}

/* Sizes: attribute (to 12), input (from 13), or equal parts; num_outputs (18) leaves a smaller last part. */
void tn_oi_op_split(tn_oi *x) {
    tn_graph *g = x->g;
    int64_t axis = tn_oi_axis(x, tn_oi_int(x, "axis", 0), tn_oi_rank(x, 0));
    size_t n = x->node->n_output;
    const int64_t *list;
    size_t given = tn_oi_ints(x, "split", &list);
    const tn_oi_sym *s = tn_oi_has(x, 1) ? tn_oi_need_dims(x, 1, "the split") : NULL;
    if (tn_oi_failed(x) || !n) return;
    if ((s && s->n != n) || (!s && given && given != n)) {
        tn_oi_fail(x, TN_E_FORMAT, "", "%zu sizes for %zu outputs", s ? (size_t)s->n : given, n);
        return;
    }
    tn_dim whole = tn_oi_dim(x, 0, (size_t)axis), *sizes = tn_oi_alloc(x, n * sizeof *sizes);
    if (!sizes) return;
    int64_t num = tn_oi_int(x, "num_outputs", (int64_t)n);
    if (num != (int64_t)n) {
        tn_oi_fail(x, TN_E_FORMAT, "", "num_outputs is %lld but there are %zu outputs", (long long)num, n);
        return;
    }
    tn_dim part = tn_dim_ceildiv(g, whole, tn_dim_const(g, num));
    for (size_t k = 0; k < n; k++) sizes[k] = s ? s->d[k] : given ? tn_dim_const(g, list[k]) : part;
    if (!s && !given) sizes[n - 1] = tn_dim_sub(g, whole, tn_dim_mul(g, part, tn_dim_const(g, num - 1)));
    split_out(x, axis, n, sizes);
}

/* ---- slice ------------------------------------------------------------------------------------------------------- */

typedef struct range {
    tn_dim start, size;
    int64_t step;
} range;

/* Resolves one axis the NumPy way: negative positions count from the end, then everything is cut to the axis.  Bounds
 * and constants make most of the min and max go away. */
static range resolve(tn_oi *x, tn_dim dim, tn_dim start, tn_dim end, int64_t step) {
    tn_graph *g = x->g;
    tn_dim zero = tn_dim_const(g, 0), low = step > 0 ? zero : tn_dim_const(g, -1);
    tn_dim high = step > 0 ? dim : tn_dim_sub(g, dim, tn_dim_const(g, 1)), at[2] = {start, end};
    for (int k = 0; k < 2; k++) {
        int64_t v = 0, lo = 0, hi = 0;
        tn_dim first =
            step < 0 && k == 0 ? zero : low; /* a reversed start never lies before element 0 of a nonempty axis */
        if (tn_dim_is_const(g, at[k], &v) && v >= INT32_MAX) {
            at[k] = high;
            continue;
        }
        if (tn_dim_is_const(g, at[k], &v) && v <= -INT32_MAX) {
            at[k] = low;
            continue;
        }
        tn_dim_bounds(g, at[k], &lo, &hi);
        if (hi < 0)
            at[k] = tn_dim_add(g, at[k], dim); /* of unknown sign: exporters compute those as "dim - something" */
        at[k] = tn_dim_min(g, tn_dim_max(g, at[k], first), high);
    }
    tn_dim span = step > 0 ? tn_dim_sub(g, at[1], at[0]) : tn_dim_sub(g, at[0], at[1]);
    tn_dim size = tn_dim_max(g, tn_dim_ceildiv(g, span, tn_dim_const(g, step > 0 ? step : -step)), zero);
    if (tn_dim_equal_const(g, size, 0)) at[0] = zero;
    return (range){at[0], size, step};
}

/* Slices of contents: everything must be constant. */
static bool slice_sym(tn_oi *x, size_t rank, const range *r) {
    const tn_oi_sym *s = tn_oi_sym_of(x, 0);
    int64_t shape[TN_MAX_RANK], strides[TN_MAX_RANK], base = 0, step = 1;
    if (!s) return false;
    for (size_t k = rank; k-- > 0; step *= s->shape[k]) {
        int64_t at;
        if (!tn_dim_is_const(x->g, r[k].start, &at) || !tn_dim_is_const(x->g, r[k].size, &shape[k])) return false;
        base += at * step;
        strides[k] = r[k].step * step;
    }
    const tn_oi_sym *v = tn_oi_sym_view(x, s, rank, shape, base, strides);
    if (v) tn_oi_out_sym(x, 0, v);
    return v != NULL;
}

static void slice_out(tn_oi *x, size_t rank, const range *r) {
    tn_dim starts[TN_MAX_RANK], sizes[TN_MAX_RANK];
    int64_t steps[TN_MAX_RANK];
    if (tn_oi_failed(x) || slice_sym(x, rank, r)) return;
    bool whole = true;
    for (size_t k = 0; k < rank; k++) {
        starts[k] = r[k].start;
        sizes[k] = r[k].size;
        steps[k] = r[k].step;
        whole = whole && sizes[k].i == tn_oi_dim(x, 0, k).i && steps[k] == 1;
    }
    uint32_t n = (uint32_t)rank;
    if (whole) {
        tn_oi_forward(x, 0, 0);
        return;
    }
    tn_oi_out(x, 0,
              tn_build_slice(x->g, tn_oi_need(x, 0),
                             (tn_attrs_slice){.starts = {starts, n}, .sizes = {sizes, n}, .steps = {steps, n}}));
}

/* How many elements vector k has; false (an error) where that is not known. */
static bool length_of(tn_oi *x, size_t k, const char *what, int64_t *n) {
    if (!tn_oi_has(x, k)) tn_oi_need(x, k);
    if (tn_oi_failed(x)) return false;
    if (tn_oi_rank(x, k) == 1 && tn_dim_is_const(x->g, tn_oi_dim(x, k, 0), n)) return true;
    tn_oi_fail(x, TN_E_UNSUPPORTED, "", "the %s are no vector of a known length", what);
    return false;
}

void tn_oi_op_slice(tn_oi *x) {
    tn_graph *g = x->g;
    size_t rank = tn_oi_rank(x, 0), n, n_axes = 0, n_steps = 0;
    range r[TN_MAX_RANK];
    tn_dim from[TN_MAX_RANK], to[TN_MAX_RANK];
    int64_t axes[TN_MAX_RANK], steps[TN_MAX_RANK];
    for (size_t k = 0; k < rank; k++) {
        r[k] = (range){tn_dim_const(g, 0), tn_oi_dim(x, 0, k), 1};
        axes[k] = (int64_t)k;
        steps[k] = 1;
    }
    if (x->opset < 10) {
        const int64_t *starts, *ends, *a;
        n = tn_oi_ints(x, "starts", &starts);
        if (n > rank || tn_oi_ints(x, "ends", &ends) != n) {
            tn_oi_fail(x, TN_E_FORMAT, "", "starts and ends do not fit a tensor of rank %zu", rank);
            return;
        }
        for (size_t k = 0; k < n; k++) {
            from[k] = tn_dim_const(g, starts[k]);
            to[k] = tn_dim_const(g, ends[k]);
        }
        n_axes = tn_oi_ints(x, "axes", &a);
        for (size_t k = 0; k < n_axes && k < rank; k++) axes[k] = a[k];
        if (!n_axes) n_axes = n;
    } else {
        int64_t starts = 0, ends = 0;
        if (!length_of(x, 1, "starts", &starts) || !length_of(x, 2, "ends", &ends)) return;
        n = (size_t)starts;
        if (n > rank || ends != starts) {
            tn_oi_fail(x, TN_E_FORMAT, "", "%zu starts and %lld ends for a tensor of rank %zu", n, (long long)ends,
                       rank);
            return;
        }
        n_axes = n_steps = n;
        if ((tn_oi_has(x, 3) && !tn_oi_const_ints(x, 3, rank, axes, &n_axes)) ||
            (tn_oi_has(x, 4) && !tn_oi_const_ints(x, 4, rank, steps, &n_steps))) {
            tn_oi_fail(x, TN_E_UNSUPPORTED, "make them constants", "axes or steps are not constant, or too many");
            return;
        }
        const tn_oi_sym *s = tn_oi_sym_of(x, 1), *e = tn_oi_sym_of(x, 2);
        if (!s || !s->d || !e || !e->d) {
            if (n_axes == n && n_steps == n)
                tn_oi_slice_of_data(x, n, axes, steps);
            else
                tn_oi_fail(x, TN_E_FORMAT, "", "starts, ends, axes and steps differ in length");
            return;
        }
        for (size_t k = 0; k < n; k++) {
            from[k] = s->d[k];
            to[k] = e->d[k];
        }
    }
    if (n_axes != n || (x->opset >= 10 && n_steps != n)) {
        tn_oi_fail(x, TN_E_FORMAT, "", "starts, ends, axes and steps differ in length");
        return;
    }
    for (size_t k = 0; k < n; k++) {
        int64_t a = tn_oi_axis(x, axes[k], rank);
        if (!steps[k] || steps[k] == INT64_MIN) tn_oi_fail(x, TN_E_FORMAT, "", "a step of 0");
        if (tn_oi_failed(x)) return;
        r[a] = resolve(x, tn_oi_dim(x, 0, (size_t)a), from[k], to[k], steps[k]);
    }
    slice_out(x, rank, r);
}

/* ---- pad --------------------------------------------------------------------------------------------------------- */

/* pads are begins then ends: attribute up to opset 10, inputs (with axes from 18) later.  Negative pads cut first. */
void tn_oi_op_pad(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val v = tn_oi_need(x, 0);
    size_t rank = tn_val_rank(g, v), n = 0, n_axes = rank;
    tn_dim pads[2 * TN_MAX_RANK], before[TN_MAX_RANK], after[TN_MAX_RANK], zero = tn_dim_const(g, 0);
    int64_t axes[TN_MAX_RANK];
    double value = tn_oi_num(x, "value", 0);
    const char *mode = tn_oi_str(x, "mode", "constant");
    if (x->opset < 11) {
        const int64_t *list;
        n = tn_oi_ints(x, "pads", &list);
        for (size_t k = 0; k < n && k < 2 * TN_MAX_RANK; k++) pads[k] = tn_dim_const(g, list[k]);
    } else {
        const tn_oi_sym *s = tn_oi_sym_of(x, 1);
        if (!s || !s->d) {
            int64_t count = 0;
            if (!length_of(x, 1, "pads", &count)) return;
            for (size_t k = 0; k < rank; k++) axes[k] = (int64_t)k;
            if (tn_oi_has(x, 3) && !tn_oi_axes(x, 3, rank, &n_axes, axes)) return;
            if ((size_t)count == 2 * n_axes)
                tn_oi_pad_of_data(x, n_axes, axes);
            else
                tn_oi_fail(x, TN_E_FORMAT, "", "%lld pads for %zu axes", (long long)count, n_axes);
            return;
        }
        n = s->n;
        for (size_t k = 0; k < n && k < 2 * TN_MAX_RANK; k++) pads[k] = s->d[k];
        if (tn_oi_has(x, 2) && !strcmp(mode, "constant") && !tn_oi_need_num(x, 2, "the fill value", &value)) return;
    }
    for (size_t k = 0; k < rank; k++) {
        before[k] = after[k] = zero;
        axes[k] = (int64_t)k;
    }
    if (tn_oi_has(x, 3) && !tn_oi_axes(x, 3, rank, &n_axes, axes)) return;
    if (n != 2 * n_axes) {
        tn_oi_fail(x, TN_E_FORMAT, "", "%zu pads for %zu axes", n, n_axes);
        return;
    }
    bool cuts = false, pads_any = false;
    range r[TN_MAX_RANK];
    for (size_t k = 0; k < rank; k++) r[k] = (range){zero, tn_val_dim(g, v, k), 1};
    for (size_t k = 0; k < n_axes; k++) {
        size_t a = (size_t)axes[k];
        tn_dim cut_b = tn_dim_max(g, tn_dim_sub(g, zero, pads[k]), zero);
        tn_dim cut_a = tn_dim_max(g, tn_dim_sub(g, zero, pads[k + n_axes]), zero);
        before[a] = tn_dim_max(g, pads[k], zero);
        after[a] = tn_dim_max(g, pads[k + n_axes], zero);
        cuts |= !tn_dim_equal_const(g, cut_b, 0) || !tn_dim_equal_const(g, cut_a, 0);
        pads_any |= !tn_dim_equal_const(g, before[a], 0) || !tn_dim_equal_const(g, after[a], 0);
        r[a].start = cut_b;
        r[a].size = tn_dim_sub(g, r[a].size, tn_dim_add(g, cut_b, cut_a));
    }
    uint32_t m = (uint32_t)rank;
    if (cuts) {
        tn_dim starts[TN_MAX_RANK], sizes[TN_MAX_RANK];
        int64_t steps[TN_MAX_RANK];
        for (size_t k = 0; k < rank; k++) {
            starts[k] = r[k].start;
            sizes[k] = r[k].size;
            steps[k] = 1;
        }
        v = tn_build_slice(g, v, (tn_attrs_slice){.starts = {starts, m}, .sizes = {sizes, m}, .steps = {steps, m}});
    }
    if (pads_any)
        v = tn_build_pad(g, v,
                         (tn_attrs_pad){.before = {before, m}, .after = {after, m}, .mode = mode, .value = value});
    tn_oi_out(x, 0, v);
}

/* Each axis is cut or padded around its centre; odd remainders go to the end. */
void tn_oi_op_center_crop_pad(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val v = tn_oi_need(x, 0);
    const tn_oi_sym *s = tn_oi_need_dims(x, 1, "the shape");
    size_t rank = tn_val_rank(g, v), n = rank;
    int64_t axes[TN_MAX_RANK];
    tn_dim starts[TN_MAX_RANK], sizes[TN_MAX_RANK], before[TN_MAX_RANK], after[TN_MAX_RANK];
    tn_dim zero = tn_dim_const(g, 0), two = tn_dim_const(g, 2);
    for (size_t k = 0; k < rank; k++) axes[k] = (int64_t)k;
    if (!s || (tn_oi_attr(x, "axes") && !tn_oi_axes(x, SIZE_MAX, rank, &n, axes))) return;
    if (s->n != n) {
        tn_oi_fail(x, TN_E_FORMAT, "", "%u sizes for %zu axes", s->n, n);
        return;
    }
    for (size_t k = 0; k < rank; k++) {
        starts[k] = before[k] = after[k] = zero;
        sizes[k] = tn_val_dim(g, v, k);
    }
    for (size_t k = 0; k < n; k++) {
        size_t a = (size_t)axes[k];
        tn_dim less = tn_dim_max(g, tn_dim_sub(g, sizes[a], s->d[k]), zero);
        tn_dim more = tn_dim_max(g, tn_dim_sub(g, s->d[k], sizes[a]), zero);
        starts[a] = tn_dim_floordiv(g, less, two);
        before[a] = tn_dim_floordiv(g, more, two);
        after[a] = tn_dim_sub(g, more, before[a]);
        sizes[a] = tn_dim_sub(g, sizes[a], less);
    }
    uint32_t m = (uint32_t)rank;
    v = tn_build_slice(g, v, (tn_attrs_slice){.starts = {starts, m}, .sizes = {sizes, m}});
    v = tn_build_pad(g, v, (tn_attrs_pad){.before = {before, m}, .after = {after, m}, .mode = "constant"});
    tn_oi_out(x, 0, v);
}
