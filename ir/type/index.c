/* index.c: type rules of ops that address elements by data: scatters, top_k, grid_sample, roi_align; and what
 * constant indices need. */
#include <stdio.h>
#include <string.h>

#include "ir/type/infer.h"

static bool one_of(const char *s, const char *const *names) {
    if (!s || !*s) return true; /* unset: the default */
    for (; *names; names++)
        if (!strcmp(s, *names)) return true;
    return false;
}

/* ---- constant indices -------------------------------------------------------------------------------------------- */

static bool seen_count(const tn_infer_ctx *c, size_t k, int64_t *n) {
    enum { MANY = 1 << 20 };
    return c->g->collecting && tn_infer_has(c, k) && tn_const_data(c->g, c->in[k]) &&
           tn_dim_is_const(c->g, tn_type_numel(c->g, tn_infer_type(c, k)), n) && *n <= MANY;
}

bool tn_infer_sees(const tn_infer_ctx *c, size_t k) {
    int64_t n = 0;
    return seen_count(c, k, &n);
}

static tn_status index_fits(tn_infer_ctx *c, const tn_index_use *use, int64_t i) {
    char what[64];
    const bool ever = i < 0 ? use->from_end && i > INT64_MIN : i < INT64_MAX;
    const tn_dim least = tn_dim_const(c->g, !ever ? INT64_MAX : i < 0 ? -i : i + 1);
    const tn_size axis = tn_size_axis(c, 0, use->axis);
    const bool never = !ever || tn_rel_decide(c->g, TN_REL_AT_LEAST, axis.d, least) == TN_DIMS_DIFFERENT;
    if (never && !c->g->needing.i) /* of a branch that data chooses it is one when that is chosen */
        return tn_infer_error(c, "index %lld is out of range for axis %zu of %s, whose size is %s", (long long)i,
                              use->axis, TN_OPERAND_TEXT(c, 0), TN_DIM_TEXT(c, axis.d));
    snprintf(what, sizeof what, "what index %lld needs", (long long)i);
    return tn_infer_need(c, TN_REL_AT_LEAST, axis, tn_size_text(least, what));
}

tn_status tn_infer_indices(tn_infer_ctx *c, const tn_index_use *use) {
    int64_t least = INT64_MAX, most = INT64_MIN, n = 0;
    if (!seen_count(c, use->k, &n)) return TN_OK;
    for (size_t k = use->first; k < (size_t)n; k += use->step) {
        int64_t i = tn_const_get_int(c->g, c->in[use->k], (uint64_t)k);
        least = i < least ? i : least;
        most = i > most ? i : most;
    }
    if (most >= 0) TN_TRY(index_fits(c, use, most));
    return least < 0 ? index_fits(c, use, least) : TN_OK;
}

/* ---- scatters ---------------------------------------------------------------------------------------------------- */

tn_status tn_infer_scatter(tn_infer_ctx *c) {
    static const char *const reductions[] = {"add", "mul", "min", "max", NULL};
    const tn_attrs_scatter *a = c->attrs;
    TN_TRY(tn_infer_require(c, 3));
    TN_TRY(tn_infer_int(c, 1));
    TN_TRY(tn_infer_same_dtype(c, 0, 2));
    if (!one_of(a->reduction, reductions)) return tn_infer_error(c, "reduction \"%s\" is unknown", a->reduction);
    if (a->reduction && *a->reduction) TN_TRY(tn_infer_number(c, 0));
    if (tn_dtype_bits(tn_infer_dtype(c, 0)) < 8)
        return tn_infer_error(c, "takes no %s", tn_dtype_text(tn_infer_dtype(c, 0)));
    return TN_OK;
}

tn_status tn_rule_scatter_elements(tn_infer_ctx *c) {
    const tn_attrs_scatter *a = c->attrs;
    TN_TRY(tn_infer_scatter(c));
    size_t r = tn_infer_rank(c, 0);
    TN_TRY(tn_infer_axis(c, a->axis, r));
    if (tn_infer_rank(c, 1) != r || tn_infer_rank(c, 2) != r)
        return tn_infer_error(c, "x, the indices and the updates must have one rank");
    for (size_t k = 0; k < r; k++) {
        TN_TRY(tn_infer_need(c, TN_REL_EQUAL, tn_size_axis(c, 1, k), tn_size_axis(c, 2, k)));
        if (k != (size_t)a->axis)
            TN_TRY(tn_infer_need(c, TN_REL_AT_LEAST, tn_size_axis(c, 0, k), tn_size_axis(c, 1, k)));
    }
    TN_TRY(tn_infer_indices(c, &(tn_index_use){1, 0, 1, (size_t)a->axis, true}));
    return tn_infer_put_type(c, tn_infer_type(c, 0));
}

tn_status tn_rule_scatter_nd(tn_infer_ctx *c) {
    TN_TRY(tn_infer_scatter(c));
    size_t r = tn_infer_rank(c, 0), ri = tn_infer_rank(c, 1), ru = tn_infer_rank(c, 2);
    int64_t len = 0;
    if (((const tn_attrs_scatter *)c->attrs)->axis) return tn_infer_error(c, "takes no axis");
    if (!ri || !tn_dim_is_const(c->g, tn_infer_dim(c, 1, ri - 1), &len))
        return tn_infer_error(c, "the length of an index cannot be symbolic");
    if (len < 1 || (uint64_t)len > r)
        return tn_infer_error(c, "an index of length %lld does not fit x of rank %zu", (long long)len, r);
    if (ru != ri - 1 + r - (size_t)len)
        return tn_infer_error(c, "the updates have rank %zu; %zu is needed", ru, ri - 1 + r - (size_t)len);
    for (size_t k = 0; k < ru; k++) {
        bool index = k + 1 < ri;
        tn_size want = index ? tn_size_axis(c, 1, k) : tn_size_axis(c, 0, (size_t)len + k - (ri - 1));
        TN_TRY(tn_infer_need(c, TN_REL_EQUAL, tn_size_axis(c, 2, k), want));
    }
    for (size_t k = 0; k < (size_t)len; k++) TN_TRY(tn_infer_indices(c, &(tn_index_use){1, k, (size_t)len, k, true}));
    return tn_infer_put_type(c, tn_infer_type(c, 0));
}

/* x [B,N,M,D] with `count` [B] rows of each batch of rows [B,N,S,D] in place of its own from `first` [B] on: what would lie outside is
 * left out. */
tn_status tn_rule_put_rows(tn_infer_ctx *c) {
    TN_TRY(tn_infer_require(c, 4));
    TN_TRY(tn_infer_same_dtype(c, 0, 1));
    if (tn_infer_rank(c, 0) != 4 || tn_infer_rank(c, 1) != 4)
        return tn_infer_error(c, "x has rank %zu, the rows %zu; they need 4", tn_infer_rank(c, 0), tn_infer_rank(c, 1));
    if (tn_dtype_bits(tn_infer_dtype(c, 0)) % 8) return tn_infer_error(c, "puts no elements of less than a byte");
    for (size_t k = 0; k < 4; k++)
        if (k != 2) TN_TRY(tn_infer_need(c, TN_REL_EQUAL, tn_size_axis(c, 1, k), tn_size_axis(c, 0, k)));
    for (size_t k = 2; k < 4; k++) {
        if (tn_infer_dtype(c, k) != TN_I64 || tn_infer_rank(c, k) != 1)
            return tn_infer_error(c, "%s is no vector of i64", TN_OPERAND_TEXT(c, k));
        TN_TRY(tn_infer_need(c, TN_REL_EQUAL, tn_size_axis(c, k, 0), tn_size_axis(c, 0, 0)));
    }
    return tn_infer_put_type(c, tn_infer_type(c, 0));
}

/* ---- sizes that depend on data ----------------------------------------------------------------------------------- */

tn_status tn_rule_nonzero(tn_infer_ctx *c) {
    const tn_attrs_nonzero *a = c->attrs;
    TN_TRY(tn_infer_require(c, 1));
    TN_TRY(tn_infer_computes(c, 0));
    if (tn_infer_rank(c, 0) != 1) return tn_infer_error(c, "x has rank %zu; it must be a vector", tn_infer_rank(c, 0));
    if (!a->count.i || tn_dim_kind_of(c->g, a->count) != TN_DIM_SYM)
        return tn_infer_error(c, "the number of positions must be a symbol");
    return tn_infer_put(c, TN_I64, 1, &a->count);
}

tn_status tn_rule_size(tn_infer_ctx *c) {
    const tn_attrs_size *a = c->attrs;
    TN_TRY(tn_infer_require(c, 1));
    for (size_t k = 0; k < c->n_in; k++)
        if (tn_infer_has(c, k) && (tn_infer_dtype(c, k) != TN_I64 || tn_infer_rank(c, k)))
            return tn_infer_error(c, "a size is an i64 scalar");
    if (!a->count.i || tn_dim_kind_of(c->g, a->count) != TN_DIM_SYM || !a->most.i)
        return tn_infer_error(c, "a size needs a symbol and a largest value");
    return tn_infer_put_type(c, tn_infer_type(c, 0));
}

/* The mask in blocks of TN_COMPACT_BLOCK; ends[b]: how many are set in it up to the end of block b. */
tn_status tn_rule_compact(tn_infer_ctx *c) {
    const tn_attrs_compact *a = c->attrs;
    TN_TRY(tn_infer_require(c, 2));
    if (tn_infer_dtype(c, 0) != TN_BOOL || tn_infer_rank(c, 0) != 1 || tn_infer_dtype(c, 1) != TN_I64 ||
        tn_infer_rank(c, 1) != 1)
        return tn_infer_error(c, "the mask must be a bool vector and the ends an i64 vector");
    if (!a->size.i) return tn_infer_error(c, "the size of its result is not set");
    TN_TRY(tn_infer_need(c, TN_REL_EQUAL, tn_size_axis(c, 1, 0),
                         tn_size_text(tn_compact_blocks(c->g, tn_infer_dim(c, 0, 0)), "the mask's blocks")));
    return tn_infer_put(c, TN_I64, 1, &a->size);
}

/* Boxes [B,N,4], scores [B,C,N], scalars; the result holds batch, class and box of each that is kept. */
tn_status tn_rule_nms(tn_infer_ctx *c) {
    const tn_attrs_nms *a = c->attrs;
    TN_TRY(tn_infer_require(c, 4));
    TN_TRY(tn_infer_int(c, 2));
    for (size_t k = 0; k < c->n_in; k++) {
        if (!tn_infer_has(c, k)) continue;
        if (k != 2) TN_TRY(tn_infer_float(c, k));
        if (tn_infer_rank(c, k) != (k < 2 ? 3 : 0)) return tn_infer_error(c, "operand %zu has a wrong rank", k);
    }
    TN_TRY(tn_infer_need(c, TN_REL_EQUAL, tn_size_axis(c, 0, 2),
                         tn_size_text(tn_dim_const(c->g, 4), "the number of coordinates")));
    TN_TRY(tn_infer_need(c, TN_REL_EQUAL, tn_size_axis(c, 0, 0), tn_size_axis(c, 1, 0)));
    TN_TRY(tn_infer_need(c, TN_REL_EQUAL, tn_size_axis(c, 0, 1), tn_size_axis(c, 1, 2)));
    if (!a->count.i || tn_dim_kind_of(c->g, a->count) != TN_DIM_SYM)
        return tn_infer_error(c, "the number of boxes kept must be a symbol");
    return tn_infer_put(c, TN_I64, 2, (const tn_dim[]){a->count, tn_dim_const(c->g, 3)});
}

/* Boxes [B,N,4]; order and candidates [B,C,N], best first; scalars. */
tn_status tn_rule_nms_keep(tn_infer_ctx *c) {
    static const size_t ranks[] = {3, 3, 3, 0, 0};
    TN_TRY(tn_infer_require(c, 5));
    TN_TRY(tn_infer_float(c, 0));
    TN_TRY(tn_infer_int(c, 1));
    TN_TRY(tn_infer_int(c, 3));
    TN_TRY(tn_infer_float(c, 4));
    for (size_t k = 0; k < 5; k++)
        if (tn_infer_rank(c, k) != ranks[k]) return tn_infer_error(c, "operand %zu has a wrong rank", k);
    if (tn_infer_dtype(c, 2) != TN_BOOL) return tn_infer_error(c, "the candidates must be bool");
    TN_TRY(tn_infer_need(c, TN_REL_EQUAL, tn_size_axis(c, 0, 2),
                         tn_size_text(tn_dim_const(c->g, 4), "the number of coordinates")));
    TN_TRY(tn_infer_need(c, TN_REL_EQUAL, tn_size_axis(c, 0, 0), tn_size_axis(c, 1, 0)));
    TN_TRY(tn_infer_need(c, TN_REL_EQUAL, tn_size_axis(c, 0, 1), tn_size_axis(c, 1, 2)));
    for (size_t k = 0; k < 3; k++) TN_TRY(tn_infer_need(c, TN_REL_EQUAL, tn_size_axis(c, 1, k), tn_size_axis(c, 2, k)));
    TN_TRY(tn_infer_indices(c, &(tn_index_use){1, 0, 1, 1, false}));
    return tn_infer_put_type(c, tn_infer_type(c, 2));
}

/* ---- top_k ------------------------------------------------------------------------------------------------------- */

tn_status tn_rule_top_k(tn_infer_ctx *c) {
    const tn_attrs_top_k *a = c->attrs;
    tn_dim dims[TN_MAX_RANK];
    TN_TRY(tn_infer_require(c, 1));
    TN_TRY(tn_infer_number(c, 0));
    size_t r = tn_infer_rank(c, 0);
    TN_TRY(tn_infer_axis(c, a->axis, r));
    if (tn_dtype_bits(tn_infer_dtype(c, 0)) < 8)
        return tn_infer_error(c, "takes no %s", tn_dtype_text(tn_infer_dtype(c, 0)));
    if (!a->k.i) return tn_infer_error(c, "k is not set");
    memcpy(dims, tn_type_dims(c->g, tn_infer_type(c, 0)), r * sizeof *dims);
    TN_TRY(tn_infer_need(c, TN_REL_AT_LEAST, tn_size_axis(c, 0, (size_t)a->axis), tn_size_text(a->k, "k")));
    dims[a->axis] = a->k;
    return tn_infer_put(c, TN_I64, r, dims);
}

/* An axis that is sampled. */
static tn_status has_elements(tn_infer_ctx *c, size_t axis) {
    return tn_infer_need(c, TN_REL_AT_LEAST, tn_size_axis(c, 0, axis), tn_size_text(tn_dim_const(c->g, 1), ""));
}

/* ---- grid_sample, roi_align -------------------------------------------------------------------------------------- */

tn_status tn_rule_grid_sample(tn_infer_ctx *c) {
    static const char *const modes[] = {"linear", "nearest", "cubic", NULL};
    static const char *const paddings[] = {"zeros", "border", "reflection", NULL};
    const tn_attrs_grid_sample *a = c->attrs;
    tn_dim dims[TN_MAX_RANK];
    TN_TRY(tn_infer_require(c, 2));
    TN_TRY(tn_infer_number(c, 0));
    TN_TRY(tn_infer_float(c, 1));
    size_t r = tn_infer_rank(c, 0);
    if (!one_of(a->mode, modes)) return tn_infer_error(c, "mode \"%s\" is unknown", a->mode);
    if (!one_of(a->padding, paddings)) return tn_infer_error(c, "padding \"%s\" is unknown", a->padding);
    if (r < 3 || tn_infer_rank(c, 1) != r)
        return tn_infer_error(c, "x must be [N,C,...] with an axis or more to sample, and the grid of the same rank");
    const tn_dim coordinates = tn_dim_const(c->g, (int64_t)r - 2);
    if (tn_dims_relation(c->g, tn_infer_dim(c, 1, r - 1), coordinates) == TN_DIMS_DIFFERENT)
        return tn_infer_error(c, "the grid's last size is %s; it must be %zu, one coordinate an axis of x",
                              TN_DIM_TEXT(c, tn_infer_dim(c, 1, r - 1)), r - 2);
    TN_TRY(tn_infer_need(c, TN_REL_EQUAL, tn_size_axis(c, 1, r - 1),
                         tn_size_text(coordinates, "the axes of x to sample")));
    TN_TRY(tn_infer_need(c, TN_REL_EQUAL, tn_size_axis(c, 0, 0), tn_size_axis(c, 1, 0)));
    for (size_t k = 2; k < r; k++) TN_TRY(has_elements(c, k));
    dims[0] = tn_infer_dim(c, 0, 0);
    dims[1] = tn_infer_dim(c, 0, 1);
    for (size_t k = 2; k < r; k++) dims[k] = tn_infer_dim(c, 1, k - 1);
    return tn_infer_put(c, tn_infer_dtype(c, 0), r, dims);
}

tn_status tn_rule_roi_align(tn_infer_ctx *c) {
    static const char *const modes[] = {"avg", "max", NULL};
    const tn_attrs_roi_align *a = c->attrs;
    TN_TRY(tn_infer_require(c, 3));
    TN_TRY(tn_infer_float(c, 0));
    TN_TRY(tn_infer_float(c, 1));
    TN_TRY(tn_infer_int(c, 2));
    if (!one_of(a->mode, modes)) return tn_infer_error(c, "mode \"%s\" is unknown", a->mode);
    if (a->height < 1 || a->width < 1 || a->sampling < 0 || a->height > TN_ATTR_MAX || a->width > TN_ATTR_MAX ||
        a->sampling > 1 << 15)
        return tn_infer_error(c, "an output of %lld x %lld with %lld samples", (long long)a->height,
                              (long long)a->width, (long long)a->sampling);
    if (tn_infer_rank(c, 0) != 4 || tn_infer_rank(c, 1) != 2 || tn_infer_rank(c, 2) != 1)
        return tn_infer_error(c, "x must be [N,C,H,W], the regions [R,4] and the batch indices [R]");
    tn_dim n = tn_infer_dim(c, 1, 0);
    TN_TRY(tn_infer_need(c, TN_REL_EQUAL, tn_size_axis(c, 1, 1),
                         tn_size_text(tn_dim_const(c->g, 4), "the number of coordinates")));
    TN_TRY(tn_infer_need(c, TN_REL_EQUAL, tn_size_axis(c, 1, 0), tn_size_axis(c, 2, 0)));
    TN_TRY(has_elements(c, 2));
    TN_TRY(has_elements(c, 3));
    TN_TRY(tn_infer_indices(c, &(tn_index_use){2, 0, 1, 0, false}));
    const tn_dim dims[] = {n, tn_infer_dim(c, 0, 1), tn_dim_const(c->g, a->height), tn_dim_const(c->g, a->width)};
    return tn_infer_put(c, tn_infer_dtype(c, 0), 4, dims);
}
