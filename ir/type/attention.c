/* attention.c: attention.
 *
 *     y [..., S, E] = attention q [..., S, D], k [..., T, D], v [..., T, E], bias, mask, limit, sink, from
 *
 * y = softmax(f(scale * q k^T)) v over the T keys, where f adds what there is of this, in this order: cap * tanh(x / cap), the bias,
 * `fill` instead where the mask is false, and with causal no key j of query i but those with j <= i + T - S, and of those only the ones with
 * from <= j < limit.  bias and mask broadcast to [..., S, T], limit and from, which are whole, to [..., S, 1]: limit is where a query stands
 * among the keys, or how many of a cache are filled, from is where a sliding window begins, and a kernel looks at no key that nobody sees.
 * sink, a float, broadcasts to [..., S, 1]: it is
 * the score of one more key, which nothing is done to, every query sees and has no value (a learned one of each head in gpt-oss; 0 makes
 * "smooth softmax").  With no_nan weights of softmax that are NaN are 0.  The leading axes are the same for q, k and v: fewer heads of keys are
 * broadcast before. */
#include "ir/type/infer.h"

/* Operand k broadcasts to the scores, without making them larger. */
static tn_status spreads(tn_infer_ctx *c, size_t k) {
    if (!tn_infer_has(c, k)) return TN_OK;
    const size_t r = tn_infer_rank(c, 0), own = tn_infer_rank(c, k);
    if (own > r) return tn_infer_error(c, "%s has rank %zu; the scores have %zu", TN_OPERAND_TEXT(c, k), own, r);
    for (size_t i = 0; i < own; i++) {
        const size_t at = r - own + i;
        const tn_size size = at + 1 == r ? tn_size_axis(c, 1, r - 2) : tn_size_axis(c, 0, at);
        TN_TRY(tn_infer_need(c, TN_REL_BCAST_TO, tn_size_axis(c, k, i), size));
    }
    return TN_OK;
}

/* Operand k is one number for all keys of a query. */
static tn_status check_of_queries(tn_infer_ctx *c, size_t k) {
    const size_t own = tn_infer_rank(c, k);
    if (own && !tn_dim_equal_const(c->g, tn_infer_dim(c, k, own - 1), 1))
        return tn_infer_error(c, "%s has a last axis of other than 1: it is one number for all keys of a query",
                              TN_OPERAND_TEXT(c, k));
    return TN_OK;
}

static tn_status check_number_of_key(tn_infer_ctx *c, size_t k) {
    const tn_dtype t = tn_infer_dtype(c, k);
    if (t != TN_I64 && t != TN_I32)
        return tn_infer_error(c, "the %s is %s; it must be i64 or i32", k == 5 ? "limit" : "first key",
                              tn_dtype_text(t));
    return check_of_queries(c, k);
}

static tn_status check_sink(tn_infer_ctx *c) {
    TN_TRY(tn_infer_float(c, 6));
    return check_of_queries(c, 6);
}

tn_status tn_rule_attention(tn_infer_ctx *c) {
    const tn_attrs_attention *a = c->attrs;
    tn_dim dims[TN_MAX_RANK];
    const size_t r = tn_infer_rank(c, 0);
    TN_TRY(tn_infer_require(c, 3));
    TN_TRY(tn_infer_float(c, 0));
    TN_TRY(tn_infer_computes(c, 0));
    if (r < 2) return tn_infer_error(c, "the queries have rank %zu; they need 2 or more", r);
    if (!(a->cap >= 0)) return tn_infer_error(c, "cap is negative");
    for (size_t k = 1; k < 3; k++) {
        TN_TRY(tn_infer_same_dtype(c, 0, k));
        if (tn_infer_rank(c, k) != r)
            return tn_infer_error(c, "%s has rank %zu; the queries have %zu", TN_OPERAND_TEXT(c, k),
                                  tn_infer_rank(c, k), r);
        for (size_t i = 0; i + 2 < r; i++)
            TN_TRY(tn_infer_need(c, TN_REL_EQUAL, tn_size_axis(c, k, i), tn_size_axis(c, 0, i)));
    }
    TN_TRY(tn_infer_need(c, TN_REL_EQUAL, tn_size_axis(c, 1, r - 1), tn_size_axis(c, 0, r - 1)));
    TN_TRY(tn_infer_need(c, TN_REL_EQUAL, tn_size_axis(c, 2, r - 2), tn_size_axis(c, 1, r - 2)));
    for (size_t k = 3; k < 8; k++) TN_TRY(spreads(c, k));
    if (tn_infer_has(c, 3)) TN_TRY(tn_infer_float(c, 3));
    if (tn_infer_has(c, 4) && tn_infer_dtype(c, 4) != TN_BOOL)
        return tn_infer_error(c, "the mask is %s; it must be bool", tn_dtype_text(tn_infer_dtype(c, 4)));
    for (size_t k = 5; k < 8; k += 2)
        if (tn_infer_has(c, k)) TN_TRY(check_number_of_key(c, k));
    if (tn_infer_has(c, 6)) TN_TRY(check_sink(c));
    for (size_t i = 0; i + 1 < r; i++) dims[i] = tn_infer_dim(c, 0, i);
    dims[r - 1] = tn_infer_dim(c, 2, r - 1);
    return tn_infer_put(c, tn_infer_dtype(c, 0), r, dims);
}
