/* move.c: type rules of movement ops, resize, space/depth and split. */
#include <string.h>

#include "ir/type/infer.h"

static bool one_of(const char *s, const char *const *names) {
    if (!s || !*s) return true; /* unset: the default */
    for (; *names; names++)
        if (!strcmp(s, *names)) return true;
    return false;
}

static const char *show(const char *s) {
    return s ? s : "";
}

/* Copies operand k's dims; returns the rank. */
static size_t dims_of(const tn_infer_ctx *c, size_t k, tn_dim *dims) {
    tn_type t = tn_infer_type(c, k);
    size_t r = tn_type_rank(c->g, t);
    if (r) memcpy(dims, tn_type_dims(c->g, t), r * sizeof *dims);
    return r;
}

tn_status tn_rule_reshape(tn_infer_ctx *c) {
    const tn_attrs_shape *a = c->attrs;
    TN_TRY(tn_infer_require(c, 1));
    TN_TRY(tn_infer_put(c, tn_infer_dtype(c, 0), a->dims.n, a->dims.p));
    tn_type x = tn_infer_type(c, 0);
    if (tn_dims_relation(c->g, tn_type_numel(c->g, x), tn_type_numel(c->g, c->out[0])) == TN_DIMS_DIFFERENT)
        return tn_infer_error(c, "%s cannot become %s: the numbers of elements differ", TN_TYPE_TEXT(c, x),
                              TN_TYPE_TEXT(c, c->out[0]));
    return tn_infer_need(c, TN_REL_EQUAL, (tn_size){tn_type_numel(c->g, x), TN_SIZE_ELEMENTS, 0, 0, ""},
                         tn_size_text(tn_type_numel(c->g, c->out[0]), "those of the result"));
}

tn_status tn_rule_transpose(tn_infer_ctx *c) {
    const tn_attrs_perm *a = c->attrs;
    tn_dim x[TN_MAX_RANK], dims[TN_MAX_RANK];
    TN_TRY(tn_infer_require(c, 1));
    size_t r = dims_of(c, 0, x);
    unsigned seen = 0;
    if (a->perm.n != r) return tn_infer_error(c, "perm has %u elements but x has rank %zu", a->perm.n, r);
    for (size_t k = 0; k < r; k++) {
        int64_t p = a->perm.p[k];
        if (p < 0 || (uint64_t)p >= r || (seen >> p & 1u))
            return tn_infer_error(c, "perm is no permutation of 0..%zu", r - 1);
        seen |= 1u << p;
        dims[k] = x[p];
    }
    return tn_infer_put(c, tn_infer_dtype(c, 0), r, dims);
}

tn_status tn_rule_expand(tn_infer_ctx *c) {
    const tn_attrs_shape *a = c->attrs;
    tn_dim x[TN_MAX_RANK];
    TN_TRY(tn_infer_require(c, 1));
    size_t r = dims_of(c, 0, x), n = a->dims.n;
    if (n < r) return tn_infer_error(c, "cannot broadcast rank %zu to rank %zu", r, n);
    TN_TRY(tn_infer_put(c, tn_infer_dtype(c, 0), n, a->dims.p));
    for (size_t k = 0; k < r; k++) {
        tn_dim d = a->dims.p[n - r + k];
        if (tn_rel_decide(c->g, TN_REL_BCAST_TO, x[k], d) == TN_DIMS_DIFFERENT)
            return tn_infer_error(c, "%s does not broadcast to %s on axis %zu", TN_TYPE_TEXT(c, tn_infer_type(c, 0)),
                                  TN_TYPE_TEXT(c, c->out[0]), n - r + k);
        TN_TRY(tn_infer_need(c, TN_REL_BCAST_TO, tn_size_axis(c, 0, k),
                             (tn_size){d, TN_SIZE_AXIS, TN_RESULT, n - r + k, ""}));
    }
    return TN_OK;
}

/* Refuses d where it is negative for every value of the symbols. */
static bool surely_negative(tn_graph *g, tn_dim d) {
    int64_t lo = 0, hi = 0;
    tn_dim_bounds(g, d, &lo, &hi);
    return hi < 0;
}

static tn_status slice_axis(tn_infer_ctx *c, size_t k, tn_dim x, tn_dim start, tn_dim size, int64_t step) {
    tn_graph *g = c->g;
    static const char inside[] = ": what lies between the slice and the end";
    int64_t lo = 0, hi = 0;
    tn_dim one = tn_dim_const(g, 1);
    tn_dim_bounds(g, size, &lo, &hi);
    if (hi < 1) return TN_OK; /* empty: nothing is read */
    tn_dim last = tn_dim_add(g, start, tn_dim_mul(g, tn_dim_sub(g, size, one), tn_dim_const(g, step)));
    tn_dim top = tn_dim_sub(g, x, one);
    if (lo >= 1 && (surely_negative(g, start) || surely_negative(g, last) ||
                    surely_negative(g, tn_dim_sub(g, top, start)) || surely_negative(g, tn_dim_sub(g, top, last))))
        return tn_infer_error(c, "axis %zu has %s elements; start %s, size %s, step %lld reach outside it", k,
                              TN_DIM_TEXT(c, x), TN_DIM_TEXT(c, start), TN_DIM_TEXT(c, size), (long long)step);
    /* The end towards which the steps go lies beyond the other; of an empty result nothing is read, wherever they
     * lie. */
    tn_dim read = lo >= 1 ? one : tn_dim_min(g, size, one), zero = tn_dim_const(g, 0);
    tn_dim ends[] = {step > 0 ? start : last, tn_dim_sub(g, top, step > 0 ? last : start)};
    for (size_t e = 0; e < 2; e++) {
        int64_t least = 0, most = 0;
        tn_dim_bounds(g, ends[e], &least, &most);
        if (least < 0)
            TN_TRY(tn_infer_need(c, TN_REL_AT_LEAST,
                                 (tn_size){tn_dim_mul(g, ends[e], read), TN_SIZE_AXIS, 0, k, inside},
                                 tn_size_text(zero, "")));
    }
    return TN_OK;
}

tn_status tn_rule_slice(tn_infer_ctx *c) {
    const tn_attrs_slice *a = c->attrs;
    tn_dim x[TN_MAX_RANK];
    TN_TRY(tn_infer_require(c, 1));
    size_t r = dims_of(c, 0, x);
    if (a->starts.n != r || a->sizes.n != r)
        return tn_infer_error(c, "has %u starts and %u sizes but x has rank %zu", a->starts.n, a->sizes.n, r);
    TN_TRY(tn_infer_ints(c, "steps", a->steps, r, -TN_ATTR_MAX, TN_ATTR_MAX));
    TN_TRY(tn_infer_put(c, tn_infer_dtype(c, 0), r, a->sizes.p));
    for (size_t k = 0; k < r; k++) {
        int64_t step = tn_ints_at(a->steps, k, 1);
        if (step == 0) return tn_infer_error(c, "the step on axis %zu is 0", k);
        if (!a->starts.p[k].i) return tn_infer_error(c, "the start on axis %zu is not set", k);
        TN_TRY(slice_axis(c, k, x[k], a->starts.p[k], a->sizes.p[k], step));
    }
    return TN_OK;
}

tn_status tn_rule_pad(tn_infer_ctx *c) {
    static const char *const modes[] = {"constant", "reflect", "edge", "wrap", NULL};
    const tn_attrs_pad *a = c->attrs;
    tn_dim dims[TN_MAX_RANK];
    TN_TRY(tn_infer_require(c, 1));
    size_t r = dims_of(c, 0, dims);
    if (a->before.n != r || a->after.n != r)
        return tn_infer_error(c, "has %u and %u pads but x has rank %zu", a->before.n, a->after.n, r);
    if (!one_of(a->mode, modes)) return tn_infer_error(c, "mode \"%s\" is unknown", a->mode);
    bool constant = !a->mode || !*a->mode || !strcmp(a->mode, "constant");
    for (size_t k = 0; k < r; k++) {
        if (!a->before.p[k].i || !a->after.p[k].i) return tn_infer_error(c, "the pad on axis %zu is not set", k);
        tn_dim size = tn_dim_add(c->g, dims[k], tn_dim_add(c->g, a->before.p[k], a->after.p[k]));
        if (!constant && size.i != dims[k].i)
            TN_TRY(tn_infer_need(c, TN_REL_AT_LEAST, tn_size_axis(c, 0, k),
                                 tn_size_text(tn_dim_min(c->g, size, tn_dim_const(c->g, 1)), "what padding needs")));
        dims[k] = size;
    }
    return tn_infer_put(c, tn_infer_dtype(c, 0), r, dims);
}

/* Sets the result's dims. */
static tn_status concat_dims(tn_infer_ctx *c, int64_t axis, size_t *rank, tn_dim dims[TN_MAX_RANK]) {
    size_t of[TN_MAX_RANK] = {0}; /* the operands that they are from */
    TN_TRY(tn_infer_require(c, c->n_in));
    const size_t r = *rank = dims_of(c, 0, dims);
    TN_TRY(tn_infer_axis(c, axis, r));
    for (size_t k = 1; k < c->n_in; k++) {
        TN_TRY(tn_infer_same_dtype(c, 0, k));
        if (tn_infer_rank(c, k) != r)
            return tn_infer_error(c, "operand %zu has rank %zu but operand 0 has rank %zu", k, tn_infer_rank(c, k), r);
        for (size_t i = 0; i < r; i++) {
            tn_dim d = tn_infer_dim(c, k, i);
            if (i == (size_t)axis)
                dims[i] = tn_dim_add(c->g, dims[i], d);
            else {
                TN_TRY(tn_infer_need(c, TN_REL_EQUAL, (tn_size){dims[i], TN_SIZE_AXIS, of[i], i, ""},
                                     tn_size_axis(c, k, i)));
                if (tn_dim_is_const(c->g, d, NULL)) dims[i] = d, of[i] = k;
            }
        }
    }
    return TN_OK;
}

tn_status tn_rule_concat(tn_infer_ctx *c) {
    tn_dim dims[TN_MAX_RANK];
    size_t rank;
    TN_TRY(concat_dims(c, ((const tn_attrs_axis *)c->attrs)->axis, &rank, dims));
    return tn_infer_put(c, tn_infer_dtype(c, 0), rank, dims);
}

/* The result fits the buffer, which its operand is in. */
tn_status tn_rule_append(tn_infer_ctx *c) {
    const tn_attrs_append *a = c->attrs;
    tn_dim dims[TN_MAX_RANK];
    size_t rank;
    TN_TRY(concat_dims(c, a->axis, &rank, dims));
    if (a->capacity < 0) return tn_infer_error(c, "has a negative capacity");
    if (tn_dtype_bits(tn_infer_dtype(c, 0)) % 8)
        return tn_infer_error(c, "elements of less than a byte cannot be appended");
    if (a->capacity)
        TN_TRY(tn_infer_need(c, TN_REL_AT_LEAST, tn_size_text(tn_dim_const(c->g, a->capacity), "the buffer's capacity"),
                             (tn_size){dims[a->axis], TN_SIZE_AXIS, TN_RESULT, (size_t)a->axis, ""}));
    return tn_infer_put(c, tn_infer_dtype(c, 0), rank, dims);
}

/* An index needs an element to point to. */
static tn_status has_elements(tn_infer_ctx *c, size_t axis, size_t rank, const tn_dim *indices) {
    tn_dim one = tn_dim_const(c->g, 1), any = one;
    int64_t lo = 0, hi = 0;
    tn_dim_bounds(c->g, tn_infer_dim(c, 0, axis), &lo, &hi);
    if (lo >= 1) return TN_OK;
    for (size_t k = 0; k < rank; k++) any = tn_dim_mul(c->g, any, tn_dim_min(c->g, indices[k], one));
    return tn_infer_need(c, TN_REL_AT_LEAST, tn_size_axis(c, 0, axis), tn_size_text(any, "what any index needs"));
}

tn_status tn_rule_gather(tn_infer_ctx *c) {
    const tn_attrs_axis *a = c->attrs;
    tn_dim x[TN_MAX_RANK], idx[TN_MAX_RANK], dims[2 * TN_MAX_RANK];
    TN_TRY(tn_infer_require(c, 2));
    TN_TRY(tn_infer_int(c, 1));
    size_t r = dims_of(c, 0, x), ri = dims_of(c, 1, idx), n = 0;
    TN_TRY(tn_infer_axis(c, a->axis, r));
    if (!tn_infer_sees(c, 1)) TN_TRY(has_elements(c, (size_t)a->axis, ri, idx));
    TN_TRY(tn_infer_indices(c, &(tn_index_use){1, 0, 1, (size_t)a->axis, true}));
    for (size_t k = 0; k < (size_t)a->axis; k++) dims[n++] = x[k];
    for (size_t k = 0; k < ri; k++) dims[n++] = idx[k];
    for (size_t k = (size_t)a->axis + 1; k < r; k++) dims[n++] = x[k];
    return tn_infer_put(c, tn_infer_dtype(c, 0), n, dims);
}

tn_status tn_rule_gather_elements(tn_infer_ctx *c) {
    const tn_attrs_axis *a = c->attrs;
    tn_dim idx[TN_MAX_RANK];
    TN_TRY(tn_infer_require(c, 2));
    TN_TRY(tn_infer_int(c, 1));
    size_t r = tn_infer_rank(c, 0), ri = dims_of(c, 1, idx);
    TN_TRY(tn_infer_axis(c, a->axis, r));
    if (ri != r) return tn_infer_error(c, "the indices have rank %zu but x has rank %zu", ri, r);
    if (!tn_infer_sees(c, 1)) TN_TRY(has_elements(c, (size_t)a->axis, ri, idx));
    TN_TRY(tn_infer_indices(c, &(tn_index_use){1, 0, 1, (size_t)a->axis, true}));
    for (size_t k = 0; k < r; k++)
        if (k != (size_t)a->axis)
            TN_TRY(tn_infer_need(c, TN_REL_AT_LEAST, tn_size_axis(c, 0, k), tn_size_axis(c, 1, k)));
    return tn_infer_put(c, tn_infer_dtype(c, 0), r, idx);
}

tn_status tn_rule_gather_nd(tn_infer_ctx *c) {
    const tn_attrs_gather_nd *a = c->attrs;
    tn_dim x[TN_MAX_RANK], idx[TN_MAX_RANK], dims[2 * TN_MAX_RANK];
    TN_TRY(tn_infer_require(c, 2));
    TN_TRY(tn_infer_int(c, 1));
    size_t r = dims_of(c, 0, x), ri = dims_of(c, 1, idx), n = 0;
    int64_t b = a->batch_dims, len = 0;
    if (b < 0 || (uint64_t)b >= r || (uint64_t)b >= ri)
        return tn_infer_error(c, "batch_dims %lld does not fit ranks %zu and %zu", (long long)b, r, ri);
    if (!tn_dim_is_const(c->g, idx[ri - 1], &len))
        return tn_infer_error(c, "the length of an index cannot be symbolic");
    if (len < 1 || (uint64_t)len > r - (size_t)b)
        return tn_infer_error(c, "an index of length %lld does not fit x of rank %zu with %lld batch dims",
                              (long long)len, r, (long long)b);
    for (size_t k = 0; k < (size_t)len; k++) {
        const size_t axis = (size_t)b + k;
        if (!tn_infer_sees(c, 1)) TN_TRY(has_elements(c, axis, ri, idx));
        TN_TRY(tn_infer_indices(c, &(tn_index_use){1, k, (size_t)len, axis, true}));
    }
    for (size_t k = 0; k < (size_t)b; k++)
        TN_TRY(tn_infer_need(c, TN_REL_EQUAL, tn_size_axis(c, 0, k), tn_size_axis(c, 1, k)));
    for (size_t k = 0; k + 1 < ri; k++) dims[n++] = idx[k];
    for (size_t k = (size_t)b + (size_t)len; k < r; k++) dims[n++] = x[k];
    return tn_infer_put(c, tn_infer_dtype(c, 0), n, dims);
}

tn_status tn_rule_iota(tn_infer_ctx *c) {
    const tn_attrs_iota *a = c->attrs;
    TN_TRY(tn_infer_axis(c, a->axis, a->dims.n));
    if (a->dtype == TN_BOOL || !tn_dtype_computes(a->dtype))
        return tn_infer_error(c, "its dtype must be a number type that ops compute with");
    return tn_infer_put(c, a->dtype, a->dims.n, a->dims.p);
}

tn_status tn_rule_opaque(tn_infer_ctx *c) {
    const tn_attrs_opaque *a = c->attrs;
    if (a->dtype == TN_DTYPE_NONE) return tn_infer_error(c, "its dtype is missing");
    return tn_infer_put(c, a->dtype, a->dims.n, a->dims.p);
}

tn_status tn_rule_random(tn_infer_ctx *c) {
    const tn_attrs_random *a = c->attrs;
    if (a->dtype != TN_F32 && a->dtype != TN_F64) return tn_infer_error(c, "its dtype must be f32 or f64");
    if (a->seed < 0 || a->seed > UINT32_MAX || a->stream < 0 || a->stream > UINT32_MAX)
        return tn_infer_error(c, "seed and stream must lie in 0..4294967295");
    if (tn_infer_has(c, 0) && (tn_infer_dtype(c, 0) != TN_I64 || tn_infer_rank(c, 0) != 0))
        return tn_infer_error(c, "its operand is %s; it must be i64[]", TN_TYPE_TEXT(c, tn_infer_type(c, 0)));
    return tn_infer_put(c, a->dtype, a->dims.n, a->dims.p);
}

tn_status tn_rule_trilu(tn_infer_ctx *c) {
    TN_TRY(tn_infer_require(c, 1));
    TN_TRY(tn_infer_computes(c, 0));
    if (tn_infer_rank(c, 0) < 2) return tn_infer_error(c, "x has rank %zu; it needs 2 or more", tn_infer_rank(c, 0));
    if (tn_infer_has(c, 1) && (tn_infer_dtype(c, 1) != TN_I64 || tn_infer_rank(c, 1) != 0))
        return tn_infer_error(c, "k is %s; it must be i64[]", TN_TYPE_TEXT(c, tn_infer_type(c, 1)));
    return tn_infer_put_type(c, tn_infer_type(c, 0));
}

tn_status tn_rule_resize(tn_infer_ctx *c) {
    static const char *const modes[] = {"nearest", "linear", "cubic", NULL};
    static const char *const coords[] = {
        "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize",
        NULL};
    static const char *const nearest[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil", NULL};
    const tn_attrs_resize *a = c->attrs;
    TN_TRY(tn_infer_require(c, 1));
    TN_TRY(tn_infer_number(c, 0));
    size_t r = tn_infer_rank(c, 0);
    if (a->sizes.n != r) return tn_infer_error(c, "has %u sizes but x has rank %zu", a->sizes.n, r);
    if (a->scales.n && a->scales.n != r) return tn_infer_error(c, "has %u scales but x has rank %zu", a->scales.n, r);
    for (uint32_t k = 0; k < a->scales.n; k++)
        if (!(a->scales.p[k] >= 0 && a->scales.p[k] < 1e9))
            return tn_infer_error(c, "scale %g on axis %u is out of range", a->scales.p[k], k);
    if (!one_of(a->mode, modes)) return tn_infer_error(c, "mode \"%s\" is unknown", show(a->mode));
    if (!one_of(a->coords, coords)) return tn_infer_error(c, "coordinate mode \"%s\" is unknown", show(a->coords));
    if (!one_of(a->nearest, nearest)) return tn_infer_error(c, "nearest mode \"%s\" is unknown", show(a->nearest));
    if (a->roi.n && a->roi.n != 2 * r) return tn_infer_error(c, "roi has %u elements; it needs %zu", a->roi.n, 2 * r);
    if (a->coords && !strcmp(a->coords, "tf_crop_and_resize") && !a->roi.n)
        return tn_infer_error(c, "tf_crop_and_resize needs a roi");
    for (size_t k = 0; k < r; k++) {
        int64_t n = 0, m = 0;
        if (tn_dim_is_const(c->g, tn_infer_dim(c, 0, k), &n) && n == 0 && tn_dim_is_const(c->g, a->sizes.p[k], &m) &&
            m > 0)
            return tn_infer_error(c, "axis %zu is empty: it cannot be resized to %lld", k, (long long)m);
        if (tn_infer_dim(c, 0, k).i != a->sizes.p[k].i)
            TN_TRY(tn_infer_need(
                c, TN_REL_AT_LEAST, tn_size_axis(c, 0, k),
                tn_size_text(tn_dim_min(c->g, a->sizes.p[k], tn_dim_const(c->g, 1)), "what resizing needs")));
    }
    return tn_infer_put(c, tn_infer_dtype(c, 0), r, a->sizes.p);
}

/* ---- space and depth, split -------------------------------------------------------------------------------------- */

static tn_status depth_dims(tn_infer_ctx *c, tn_dim dims[4], tn_dim *block) {
    static const char *const modes[] = {"DCR", "CRD", NULL};
    const tn_attrs_depth *a = c->attrs;
    TN_TRY(tn_infer_require(c, 1));
    if (tn_infer_rank(c, 0) != 4) return tn_infer_error(c, "x has rank %zu; it must be [N,C,H,W]", tn_infer_rank(c, 0));
    if (a->block < 1 || a->block > 1 << 15) return tn_infer_error(c, "block size %lld", (long long)a->block);
    if (!one_of(a->mode, modes)) return tn_infer_error(c, "mode \"%s\" must be DCR or CRD", a->mode);
    for (size_t k = 0; k < 4; k++) dims[k] = tn_infer_dim(c, 0, k);
    *block = tn_dim_const(c->g, a->block);
    return TN_OK;
}

/* The size of x on an axis / by, refusing one that by does not divide. */
static tn_status divide(tn_infer_ctx *c, tn_dim *d, size_t axis, tn_dim by) {
    TN_TRY(tn_infer_need(c, TN_REL_MULTIPLE, tn_size_axis(c, 0, axis), tn_size_text(by, "")));
    *d = tn_dim_floordiv(c->g, *d, by);
    return TN_OK;
}

tn_status tn_rule_space_to_depth(tn_infer_ctx *c) {
    tn_dim d[4], b;
    TN_TRY(depth_dims(c, d, &b));
    TN_TRY(divide(c, &d[2], 2, b));
    TN_TRY(divide(c, &d[3], 3, b));
    d[1] = tn_dim_mul(c->g, d[1], tn_dim_mul(c->g, b, b));
    return tn_infer_put(c, tn_infer_dtype(c, 0), 4, d);
}

tn_status tn_rule_depth_to_space(tn_infer_ctx *c) {
    tn_dim d[4], b;
    TN_TRY(depth_dims(c, d, &b));
    TN_TRY(divide(c, &d[1], 1, tn_dim_mul(c->g, b, b)));
    d[2] = tn_dim_mul(c->g, d[2], b);
    d[3] = tn_dim_mul(c->g, d[3], b);
    return tn_infer_put(c, tn_infer_dtype(c, 0), 4, d);
}

tn_status tn_rule_split(tn_infer_ctx *c) {
    const tn_attrs_split *a = c->attrs;
    tn_dim dims[TN_MAX_RANK], sum = tn_dim_const(c->g, 0);
    TN_TRY(tn_infer_require(c, 1));
    size_t r = dims_of(c, 0, dims);
    TN_TRY(tn_infer_axis(c, a->axis, r));
    if (!a->sizes.n) return tn_infer_error(c, "has no sizes");
    for (uint32_t k = 0; k < a->sizes.n; k++) {
        dims[a->axis] = a->sizes.p[k];
        TN_TRY(tn_infer_put(c, tn_infer_dtype(c, 0), r, dims));
        sum = tn_dim_add(c->g, sum, a->sizes.p[k]);
    }
    return tn_infer_need(c, TN_REL_EQUAL, tn_size_text(sum, "the sum of the sizes"),
                         tn_size_axis(c, 0, (size_t)a->axis));
}
