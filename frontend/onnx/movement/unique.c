/* unique.c: Unique: a sort, neighbours that differ, and what follows from them.
 *
 * Slices along an axis are told apart by one number each: elements are ranked in their column, pairs of columns are made one number and
 * ranked again, until one column is left; that takes as many sorts as the number of columns has bits. */
#include "frontend/onnx/import.h"

static tn_val gather(tn_oi *x, tn_val v, tn_val at, int64_t axis) {
    return tn_build_gather(x->g, v, at, (tn_attrs_axis){.axis = axis});
}

static tn_val flat(tn_oi *x, tn_val v) {
    const tn_dim all = tn_type_numel(x->g, tn_val_type(x->g, v));
    return tn_build_reshape_to(x->g, v, 1, &all);
}

/* Rows [M, D] in order: where each element was, and whether it is another than the one before it. */
typedef struct sorted {
    tn_val at, differs;
} sorted;

static sorted sort(tn_oi *x, tn_val v) {
    tn_graph *g = x->g;
    const tn_dim dims[] = {tn_val_dim(g, v, 0), tn_val_dim(g, v, 1)}, row[] = {tn_dim_const(g, 1), dims[1]};
    const tn_val at = tn_build_top_k(g, v, (tn_attrs_top_k){.axis = 1, .k = dims[1], .smallest = true}),
                 here = tn_build_gather_elements(g, v, at, (tn_attrs_axis){.axis = 1}),
                 k = tn_build_iota(g, TN_I64, 2, row, 1);
    tn_val back =
        tn_build_scalar(g, TN_OP_MAX, tn_build_scalar(g, TN_OP_SUB, tn_build_iota(g, TN_I64, 1, &dims[1], 0), 1), 0);
    back = gather(x, here, back, 1);
    tn_val differs = tn_build_ne(g, here, back);
    if (tn_dtype_is_float(tn_val_dtype(g, v))) { /* all that is no number is one */
        const tn_val numbers = tn_build_not(g, tn_build_and(g, tn_build_is_nan(g, here), tn_build_is_nan(g, back)));
        differs = tn_build_and(g, differs, numbers);
    }
    return (sorted){at, tn_build_or(g, differs, tn_build_scalar(g, TN_OP_EQ, k, 0))};
}

/* Of each element in order: how many different ones there are before it. */
static tn_val ranks_in_order(tn_oi *x, const sorted *s) {
    const tn_val sum = tn_build_cumsum(x->g, tn_build_cast_to(x->g, s->differs, TN_I64), (tn_attrs_cumsum){.axis = 1});
    return tn_build_scalar(x->g, TN_OP_SUB, sum, 1);
}

/* v [M, D], which is in order, as it was. */
static tn_val put_back(tn_oi *x, tn_val v, const sorted *s) {
    tn_graph *g = x->g;
    const tn_dim dims[] = {tn_val_dim(g, v, 0), tn_val_dim(g, v, 1)}, rows[] = {dims[0], tn_dim_const(g, 1)};
    tn_val at = tn_build_mul(g, tn_build_iota(g, TN_I64, 2, rows, 0), tn_oi_size_value(x, dims[1]));
    at = tn_build_add(g, s->at, at);
    return tn_build_reshape_to(g, tn_build_place(g, flat(x, v), flat(x, at)), 2, dims);
}

/* Columns 2k and 2k + 1 of ranks [M, D] as one number: [(M + 1) / 2, D]. */
static tn_val paired(tn_oi *x, tn_val v, int64_t m) {
    tn_graph *g = x->g;
    const tn_dim d = tn_val_dim(g, v, 1), two = tn_dim_const(g, 2), split[] = {tn_dim_const(g, m / 2), two, d},
                 half[] = {split[0], d}, zero = tn_dim_const(g, 0), one = tn_dim_const(g, 1);
    const tn_val last = m % 2 ? tn_build_slice_axis(g, v, 0, tn_dim_const(g, m - 1), one) : (tn_val){0};
    v = tn_build_reshape_to(g, tn_build_slice_axis(g, v, 0, zero, tn_dim_const(g, m - m % 2)), 3, split);
    const tn_val a = tn_build_reshape_to(g, tn_build_slice_axis(g, v, 1, zero, one), 2, half),
                 b = tn_build_reshape_to(g, tn_build_slice_axis(g, v, 1, one, one), 2, half);
    v = tn_build_add(g, tn_build_mul(g, a, tn_oi_size_value(x, d)), b);
    return last.i ? tn_build_concat(g, 2, (const tn_val[]){v, last}, 0) : v;
}

/* A number for each slice of v along the axis, which orders as slices do: [1, D]. */
static tn_val slice_numbers(tn_oi *x, tn_val v, int64_t axis) {
    tn_graph *g = x->g;
    const size_t rank = tn_val_rank(g, v);
    int64_t perm[TN_MAX_RANK], m = 0;
    size_t n = 0;
    for (size_t k = 0; k < rank; k++)
        if ((int64_t)k != axis) perm[n++] = (int64_t)k;
    perm[rank - 1] = axis;
    v = tn_build_permute(g, v, rank, perm);
    const tn_dim dims[] = {tn_val_extent(x->g, v, 0, rank - 1), tn_val_dim(g, v, rank - 1)};
    if (!tn_dim_is_const(g, dims[0], &m)) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "fix the input's size with --shape", "slices whose size is not known");
        return (tn_val){0};
    }
    if (!m) return tn_build_full(g, TN_I64, 2, (const tn_dim[]){tn_dim_const(g, 1), dims[1]}, 0);
    for (v = tn_build_reshape_to(g, v, 2, dims); m > 1 && !tn_oi_failed(x); m = (m + 1) / 2) {
        const sorted s = sort(x, v);
        v = paired(x, put_back(x, ranks_in_order(x, &s), &s), m);
    }
    return v;
}

/* What there is of each different element, in their order. */
typedef struct different {
    tn_val first, counts; /* where the first one is; how many there are */
    tn_val which;         /* of each element: which one it is */
} different;

static different found(tn_oi *x, tn_val v, tn_dim count) {
    tn_graph *g = x->g;
    const sorted s = sort(x, v);
    const tn_dim one = tn_dim_const(g, 1);
    const tn_val starts = tn_build_nonzero(g, flat(x, s.differs), (tn_attrs_nonzero){.count = count});
    const tn_val end = tn_build_reshape_to(g, tn_oi_size_value(x, tn_val_dim(g, v, 1)), 1, &one);
    const tn_val ends = tn_build_slice_axis(g, tn_build_concat(g, 2, (const tn_val[]){starts, end}, 0), 0, one, count);
    return (different){.first = gather(x, flat(x, s.at), starts, 0),
                       .counts = tn_build_sub(g, ends, starts),
                       .which = flat(x, put_back(x, ranks_in_order(x, &s), &s))};
}

/* The same in the order in which the first ones stand. */
static different as_they_stand(tn_oi *x, different d, tn_dim count) {
    tn_graph *g = x->g;
    const tn_val order = tn_build_top_k(g, d.first, (tn_attrs_top_k){.axis = 0, .k = count, .smallest = true}),
                 place = tn_build_place(g, tn_build_iota(g, TN_I64, 1, &count, 0), order);
    return (different){.first = gather(x, d.first, order, 0),
                       .counts = gather(x, d.counts, order, 0),
                       .which = gather(x, place, d.which, 0)};
}

void tn_oi_op_unique(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val v = tn_oi_need(x, 0), key;
    if (tn_oi_failed(x)) return;
    const bool is_bool = tn_val_dtype(g, v) == TN_BOOL;
    int64_t axis = 0;
    if (is_bool) v = tn_build_cast_to(g, v, TN_U8);
    if (tn_oi_attr(x, "axis")) {
        axis = tn_oi_axis(x, tn_oi_int(x, "axis", 0), tn_val_rank(g, v));
        key = tn_oi_failed(x) ? v : slice_numbers(x, v, axis);
    } else {
        v = flat(x, v);
        key = tn_build_unsqueeze(g, v, 0);
    }
    if (tn_oi_failed(x)) return;
    const tn_dim count = tn_dim_fresh(g, "count");
    different d = found(x, key, count);
    if (!tn_oi_int(x, "sorted", 1)) d = as_they_stand(x, d, count);
    tn_val y = gather(x, v, d.first, axis);
    if (is_bool) y = tn_build_cast_to(g, y, TN_BOOL);
    tn_oi_out(x, 0, y);
    tn_oi_out(x, 1, d.first);
    tn_oi_out(x, 2, d.which);
    tn_oi_out(x, 3, d.counts);
}
