/* sort.c: type rules of what long sorts are made of. */
#include "ir/type/infer.h"

static tn_status digits(tn_infer_ctx *c) {
    const tn_attrs_sort *a = c->attrs;
    if (tn_infer_dtype(c, 0) != TN_U64 || tn_infer_rank(c, 0) != 2)
        return tn_infer_error(c, "x must be u64 of rank 2: rows that are sorted");
    if (a->shift < 0 || a->shift > 56) return tn_infer_error(c, "no digit begins at bit %lld", (long long)a->shift);
    return TN_OK;
}

tn_status tn_rule_sort_count(tn_infer_ctx *c) {
    TN_TRY(tn_infer_require(c, 1));
    TN_TRY(digits(c));
    const tn_dim dims[] = {tn_infer_dim(c, 0, 0), tn_dim_const(c->g, TN_SORT_DIGITS),
                           tn_blocks_of(c->g, tn_infer_dim(c, 0, 1), TN_SORT_BLOCK)};
    return tn_infer_put(c, TN_I64, 3, dims);
}

tn_status tn_rule_sort_move(tn_infer_ctx *c) {
    TN_TRY(tn_infer_require(c, 2));
    TN_TRY(digits(c));
    if (tn_infer_dtype(c, 1) != TN_I64 || tn_infer_rank(c, 1) != 3)
        return tn_infer_error(c, "where blocks begin must be i64 of rank 3");
    TN_TRY(tn_infer_need(c, TN_REL_EQUAL, tn_size_axis(c, 1, 0), tn_size_axis(c, 0, 0)));
    TN_TRY(tn_infer_need(c, TN_REL_EQUAL, tn_size_axis(c, 1, 1),
                         tn_size_text(tn_dim_const(c->g, TN_SORT_DIGITS), "the number of digits")));
    TN_TRY(tn_infer_need(c, TN_REL_EQUAL, tn_size_axis(c, 1, 2),
                         tn_size_text(tn_blocks_of(c->g, tn_infer_dim(c, 0, 1), TN_SORT_BLOCK), "the blocks of x")));
    return tn_infer_put_type(c, tn_infer_type(c, 0));
}

tn_status tn_rule_place(tn_infer_ctx *c) {
    TN_TRY(tn_infer_require(c, 2));
    TN_TRY(tn_infer_int(c, 1));
    if (tn_infer_rank(c, 0) != 1 || tn_infer_rank(c, 1) != 1) return tn_infer_error(c, "takes two vectors");
    if (tn_dtype_bits(tn_infer_dtype(c, 0)) < 8)
        return tn_infer_error(c, "takes no %s", tn_dtype_text(tn_infer_dtype(c, 0)));
    TN_TRY(tn_infer_need(c, TN_REL_EQUAL, tn_size_axis(c, 0, 0), tn_size_axis(c, 1, 0)));
    return tn_infer_put_type(c, tn_infer_type(c, 0));
}

tn_status tn_rule_scatter_sorted(tn_infer_ctx *c) {
    TN_TRY(tn_infer_scatter(c));
    if (((const tn_attrs_scatter *)c->attrs)->axis) return tn_infer_error(c, "takes no axis");
    if (tn_infer_dtype(c, 1) != TN_U64 || tn_infer_rank(c, 1) != 1 || tn_infer_rank(c, 0) != 2 ||
        tn_infer_rank(c, 2) != 2)
        return tn_infer_error(c, "x and the updates must have rank 2, the order must be a u64 vector");
    TN_TRY(tn_infer_need(c, TN_REL_EQUAL, tn_size_axis(c, 1, 0), tn_size_axis(c, 2, 0)));
    TN_TRY(tn_infer_need(c, TN_REL_EQUAL, tn_size_axis(c, 0, 1), tn_size_axis(c, 2, 1)));
    return tn_infer_put_type(c, tn_infer_type(c, 0));
}
