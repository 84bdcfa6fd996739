/* types.c: the table of type rules, what rules share, and the rules of structure and elementwise ops.
 * Movement ops are in move.c; reductions, contractions, windows and norms in contract.c. */
#include <stdio.h>
#include <string.h>

#include "ir/type/infer.h"

#define OP(id, text, lo, hi, results, traits, cost, values, policy, role, attrs, rule)                                 \
    tn_status tn_rule_##rule(tn_infer_ctx *c);
TN_OPS(OP)
#undef OP

tn_rule_fn tn_op_rule(tn_op op) {
    static const tn_rule_fn rules[TN_OP_COUNT] = {
#define OP(id, text, lo, hi, results, traits, cost, values, policy, role, attrs, rule) [TN_OP_##id] = tn_rule_##rule,
        TN_OPS(OP)
#undef OP
    };
    return op > TN_OP_NONE && op < TN_OP_COUNT ? rules[op] : NULL;
}

/* ---- shared ------------------------------------------------------------------------------------------------------ */

const char *tn_infer_dim_text(const tn_infer_ctx *c, tn_dim d, char buf[96]) {
    tn_dim_print(c->g, d, buf, 96);
    return buf;
}

const char *tn_infer_type_text(const tn_infer_ctx *c, tn_type t, char buf[160]) {
    tn_type_print(c->g, t, buf, 160);
    return buf;
}

/* Whose size d is, that the operands before k have together on axis i from the right. */
static tn_size broadcast_size(const tn_infer_ctx *c, tn_dim d, size_t k, size_t i) {
    for (size_t j = 0; j < k; j++) {
        size_t r = tn_infer_has(c, j) ? tn_infer_rank(c, j) : 0;
        if (i < r && tn_infer_dim(c, j, r - 1 - i).i == d.i) return tn_size_axis(c, j, r - 1 - i);
    }
    return tn_size_text(d, "the operands before");
}

tn_status tn_infer_broadcast(tn_infer_ctx *c, tn_dim *dims, size_t *rank, size_t k) {
    size_t r = tn_infer_rank(c, k), n = r > *rank ? r : *rank;
    tn_dim out[TN_MAX_RANK];
    if (n > TN_MAX_RANK) return tn_infer_error(c, "rank %zu is above the limit of %d", n, TN_MAX_RANK);
    for (size_t i = 0; i < n; i++) { /* i counts from the last axis */
        if (i >= r)
            out[n - 1 - i] = dims[*rank - 1 - i];
        else if (i >= *rank)
            out[n - 1 - i] = tn_infer_dim(c, k, r - 1 - i);
        else {
            tn_size a = broadcast_size(c, dims[*rank - 1 - i], k, i), b = tn_size_axis(c, k, r - 1 - i);
            tn_rel need;
            out[n - 1 - i] = tn_dims_broadcast(c->g, a.d, b.d, &need);
            TN_TRY(tn_infer_need(c, need, a, b));
        }
    }
    memcpy(dims, out, n * sizeof *out);
    *rank = n;
    return TN_OK;
}

tn_status tn_infer_put(tn_infer_ctx *c, tn_dtype t, size_t rank, const tn_dim *dims) {
    if (rank > TN_MAX_RANK)
        return tn_infer_error(c, "the result's rank %zu is above the limit of %d", rank, TN_MAX_RANK);
    if (t <= TN_DTYPE_NONE || t >= TN_DTYPE_COUNT) return tn_infer_error(c, "the result has no dtype");
    int64_t bytes = (int64_t)(tn_dtype_bits(t) + 7) / 8;
    for (size_t k = 0; k < rank; k++) {
        int64_t v = 1, lo = 0, hi = 0;
        if (!dims[k].i) return tn_infer_error(c, "the result's size on axis %zu is not set", k);
        tn_dim_bounds(c->g, dims[k], &lo, &hi);
        if (hi < 0) return tn_infer_error(c, "the result's size on axis %zu would be %s", k, TN_DIM_TEXT(c, dims[k]));
        if (lo < 0)
            TN_TRY(tn_infer_need(c, TN_REL_AT_LEAST, (tn_size){dims[k], TN_SIZE_AXIS, TN_RESULT, k, ""},
                                 tn_size_text(tn_dim_const(c->g, 0), "")));
        if (!tn_dim_is_const(c->g, dims[k], &v)) continue;
        if (v > 0 && bytes > INT64_MAX / 4 / v)
            return tn_infer_error(c, "the result is too large: its size overflows on axis %zu", k);
        if (v > 0) bytes *= v;
    }
    tn_type type = tn_type_make(c->g, t, rank, dims);
    return type.i ? tn_infer_put_type(c, type) : TN_E_MEMORY;
}

tn_status tn_infer_put_type(tn_infer_ctx *c, tn_type t) {
    if (!t.i) return tn_infer_error(c, "a result has no type");
    if (c->n_out >= c->cap) return tn_infer_error(c, "has more than %zu results", c->cap);
    c->out[c->n_out++] = t;
    return TN_OK;
}

tn_status tn_infer_require(tn_infer_ctx *c, size_t required) {
    for (size_t k = 0; k < required; k++)
        if (!tn_infer_has(c, k)) return tn_infer_error(c, "operand %zu is missing", k);
    return TN_OK;
}

static tn_status want(tn_infer_ctx *c, size_t k, bool ok, const char *what) {
    return ok ? TN_OK
              : tn_infer_error(c, "operand %zu is %s; it must be %s", k, tn_dtype_text(tn_infer_dtype(c, k)), what);
}

tn_status tn_infer_float(tn_infer_ctx *c, size_t k) {
    TN_TRY(want(c, k, tn_dtype_is_float(tn_infer_dtype(c, k)), "floating point"));
    return tn_infer_computes(c, k);
}

tn_status tn_infer_int(tn_infer_ctx *c, size_t k) {
    return want(c, k, tn_dtype_is_int(tn_infer_dtype(c, k)), "an integer type");
}

tn_status tn_infer_number(tn_infer_ctx *c, size_t k) {
    TN_TRY(want(c, k, tn_infer_dtype(c, k) != TN_BOOL, "a number type, not bool"));
    return tn_infer_computes(c, k);
}

tn_status tn_infer_computes(tn_infer_ctx *c, size_t k) {
    return want(c, k, tn_dtype_computes(tn_infer_dtype(c, k)), "cast first: it is only stored");
}

tn_status tn_infer_same_dtype(tn_infer_ctx *c, size_t a, size_t b) {
    if (tn_infer_dtype(c, a) == tn_infer_dtype(c, b)) return TN_OK;
    return tn_infer_error(c, "operand %zu is %s but operand %zu is %s; cast one of them", a,
                          tn_dtype_text(tn_infer_dtype(c, a)), b, tn_dtype_text(tn_infer_dtype(c, b)));
}

tn_status tn_infer_axis(tn_infer_ctx *c, int64_t axis, size_t rank) {
    if (axis >= 0 && (uint64_t)axis < rank) return TN_OK;
    return tn_infer_error(c, "axis %lld is outside the operand's rank %zu", (long long)axis, rank);
}

tn_status tn_infer_ints(tn_infer_ctx *c, const char *name, tn_ints list, size_t n, int64_t lo, int64_t hi) {
    if (list.n != 0 && list.n != n) return tn_infer_error(c, "%s has %u elements; it needs %zu", name, list.n, n);
    for (uint32_t k = 0; k < list.n; k++)
        if (list.p[k] < lo || list.p[k] > hi)
            return tn_infer_error(c, "%s[%u] is %lld; it must lie in %lld..%lld", name, k, (long long)list.p[k],
                                  (long long)lo, (long long)hi);
    return TN_OK;
}

/* ---- structure --------------------------------------------------------------------------------------------------- */

tn_status tn_rule_none(tn_infer_ctx *c) {
    c->n_out = 0;
    return TN_OK;
}

tn_status tn_rule_const(tn_infer_ctx *c) {
    const tn_attrs_const *a = c->attrs;
    uint64_t n = 1;
    for (uint32_t k = 0; k < a->dims.n; k++) {
        int64_t v = 0;
        if (!tn_dim_is_const(c->g, a->dims.p[k], &v)) return tn_infer_error(c, "a constant's shape cannot be symbolic");
        if (v < 0 || (v > 0 && n > (uint64_t)INT64_MAX / 16 / (uint64_t)v))
            return tn_infer_error(c, "size %lld on axis %u", (long long)v, k);
        n *= (uint64_t)v;
    }
    TN_TRY(tn_infer_put(c, a->dtype, a->dims.n, a->dims.p));
    size_t need = tn_dtype_bytes(a->dtype, n), have = a->data.i ? tn_blob_size(c->g, a->data) : 0;
    if (have != need)
        return tn_infer_error(c, "%s needs %zu bytes of data but has %zu", TN_TYPE_TEXT(c, c->out[0]), need, have);
    return TN_OK;
}

/* The yield that ends a region, or an error. */
static tn_status region_yield(tn_infer_ctx *c, size_t k, tn_node *yield) {
    *yield = tn_region_last(c->g, c->regions[k]);
    if (yield->i && tn_node_op(c->g, *yield) == TN_OP_YIELD) return TN_OK;
    return tn_infer_error(c, "region %zu does not end in a yield", k);
}

static tn_status need_regions(tn_infer_ctx *c, size_t n) {
    return c->n_regions == n ? TN_OK : tn_infer_error(c, "has %zu regions; it needs %zu", c->n_regions, n);
}

static tn_status args_match(tn_infer_ctx *c, size_t first_in, size_t first_arg, size_t n) {
    for (size_t k = 0; k < n; k++) {
        tn_val in = c->in[first_in + k], arg = tn_region_arg(c->g, c->regions[0], first_arg + k);
        if (!in.i) return tn_infer_error(c, "operand %zu is missing", first_in + k);
        if (tn_val_type(c->g, in).i != tn_val_type(c->g, arg).i)
            return tn_infer_error(c, "operand %zu is %s but the region's argument %zu is %s", first_in + k,
                                  TN_TYPE_TEXT(c, tn_val_type(c->g, in)), first_arg + k,
                                  TN_TYPE_TEXT(c, tn_val_type(c->g, arg)));
    }
    return TN_OK;
}

tn_status tn_rule_kernel(tn_infer_ctx *c) {
    tn_node yield;
    TN_TRY(need_regions(c, 1));
    TN_TRY(region_yield(c, 0, &yield));
    size_t n = tn_region_arg_count(c->g, c->regions[0]);
    if (n != c->n_in) return tn_infer_error(c, "has %zu operands but its region takes %zu", c->n_in, n);
    TN_TRY(args_match(c, 0, 0, n));
    for (size_t k = 0; k < tn_node_input_count(c->g, yield); k++)
        TN_TRY(tn_infer_put_type(c, tn_val_type(c->g, tn_node_input(c->g, yield, k))));
    return TN_OK;
}

/* Both must have the same dtypes and ranks, and dims that can be equal: branches, or what a loop carries into an iteration and
 * out of it. */
static tn_status join_types(tn_infer_ctx *c, bool loop, size_t k, tn_type a, tn_type b) {
    size_t rank = tn_type_rank(c->g, a);
    bool fit = tn_type_dtype(c->g, a) == tn_type_dtype(c->g, b) && rank == tn_type_rank(c->g, b);
    for (size_t i = 0; fit && i < rank; i++)
        fit = tn_dims_relation(c->g, tn_type_dims(c->g, a)[i], tn_type_dims(c->g, b)[i]) != TN_DIMS_DIFFERENT;
    for (size_t i = 0; fit && i < rank; i++)
        TN_TRY(tn_infer_need(
            c, TN_REL_EQUAL, (tn_size){tn_type_dims(c->g, a)[i], TN_SIZE_AXIS, TN_RESULT, i, ""},
            tn_size_text(tn_type_dims(c->g, b)[i], loop ? "that after an iteration" : "that in the other branch")));
    if (fit) return tn_infer_put_type(c, a);
    return tn_infer_error(c,
                          loop ? "carried value %zu is %s before an iteration and %s after it: what changes its type "
                                 "can only be carried by a loop whose number of iterations is known when compiling"
                               : "result %zu is %s in one branch and %s in the other",
                          k, TN_TYPE_TEXT(c, a), TN_TYPE_TEXT(c, b));
}

tn_status tn_rule_if(tn_infer_ctx *c) {
    tn_node a, b;
    TN_TRY(tn_infer_require(c, 1));
    if (tn_infer_dtype(c, 0) != TN_BOOL || tn_infer_rank(c, 0) != 0)
        return tn_infer_error(c, "the condition is %s; it must be bool[]", TN_TYPE_TEXT(c, tn_infer_type(c, 0)));
    TN_TRY(need_regions(c, 2));
    TN_TRY(region_yield(c, 0, &a));
    TN_TRY(region_yield(c, 1, &b));
    if (tn_region_arg_count(c->g, c->regions[0]) || tn_region_arg_count(c->g, c->regions[1]))
        return tn_infer_error(c, "its regions take no arguments");
    size_t n = tn_node_input_count(c->g, a);
    if (n != tn_node_input_count(c->g, b))
        return tn_infer_error(c, "one branch has %zu results, the other %zu", n, tn_node_input_count(c->g, b));
    for (size_t k = 0; k < n; k++)
        TN_TRY(join_types(c, false, k, tn_val_type(c->g, tn_node_input(c->g, a, k)),
                          tn_val_type(c->g, tn_node_input(c->g, b, k))));
    return TN_OK;
}

static tn_status scalar_of(tn_infer_ctx *c, tn_val v, tn_dtype t, const char *what) {
    if (v.i && tn_val_dtype(c->g, v) == t && tn_val_rank(c->g, v) == 0) return TN_OK;
    return tn_infer_error(c, "%s must be a %s scalar", what, tn_dtype_text(t));
}

/* Operands: trip count (i64[], may be absent), condition (bool[], may be absent), carried values.  The region takes the
 * iteration number, the condition and the carried values, and yields the condition, the carried values and the slices
 * of scan outputs, whose leading size is attrs.trips. */
tn_status tn_rule_loop(tn_infer_ctx *c) {
    const tn_attrs_loop *a = c->attrs;
    tn_node yield;
    TN_TRY(need_regions(c, 1));
    TN_TRY(region_yield(c, 0, &yield));
    if (c->n_in < 2 || a->carried != (int64_t)(c->n_in - 2))
        return tn_infer_error(c, "has %zu operands; it needs a trip count, a condition and %lld carried values",
                              c->n_in, (long long)a->carried);
    if (tn_infer_has(c, 0)) TN_TRY(scalar_of(c, c->in[0], TN_I64, "the trip count"));
    if (tn_infer_has(c, 1)) TN_TRY(scalar_of(c, c->in[1], TN_BOOL, "the condition"));
    size_t n = c->n_in - 2, args = tn_region_arg_count(c->g, c->regions[0]), yields = tn_node_input_count(c->g, yield);
    if (args != n + 2 || yields < n + 1)
        return tn_infer_error(c, "its region takes %zu arguments and yields %zu values; it needs %zu and at least %zu",
                              args, yields, n + 2, n + 1);
    TN_TRY(scalar_of(c, tn_region_arg(c->g, c->regions[0], 0), TN_I64, "the region's iteration number"));
    TN_TRY(scalar_of(c, tn_region_arg(c->g, c->regions[0], 1), TN_BOOL, "the region's condition"));
    TN_TRY(scalar_of(c, tn_node_input(c->g, yield, 0), TN_BOOL, "the yielded condition"));
    TN_TRY(args_match(c, 2, 2, n));
    for (size_t k = 0; k < n; k++)
        TN_TRY(join_types(c, true, k, tn_infer_type(c, 2 + k), tn_val_type(c->g, tn_node_input(c->g, yield, 1 + k))));
    for (size_t k = n + 1; k < yields; k++) {
        tn_type t = tn_val_type(c->g, tn_node_input(c->g, yield, k));
        tn_dim dims[TN_MAX_RANK];
        size_t rank = tn_type_rank(c->g, t);
        if (rank + 1 > TN_MAX_RANK)
            return tn_infer_error(c, "a scan output's rank is above the limit of %d", TN_MAX_RANK);
        dims[0] = a->trips;
        if (rank) memcpy(dims + 1, tn_type_dims(c->g, t), rank * sizeof *dims);
        TN_TRY(tn_infer_put(c, tn_type_dtype(c->g, t), rank + 1, dims));
    }
    return TN_OK;
}

/* ---- elementwise ------------------------------------------------------------------------------------------------- */

static tn_status like_first(tn_infer_ctx *c) {
    return tn_infer_put_type(c, tn_infer_type(c, 0));
}

tn_status tn_rule_same(tn_infer_ctx *c) {
    TN_TRY(tn_infer_require(c, 1));
    return like_first(c);
}

tn_status tn_rule_number(tn_infer_ctx *c) {
    TN_TRY(tn_infer_require(c, 1));
    TN_TRY(tn_infer_number(c, 0));
    return like_first(c);
}

tn_status tn_rule_float(tn_infer_ctx *c) {
    TN_TRY(tn_infer_require(c, 1));
    TN_TRY(tn_infer_float(c, 0));
    return like_first(c);
}

tn_status tn_rule_int(tn_infer_ctx *c) {
    TN_TRY(tn_infer_require(c, 1));
    TN_TRY(tn_infer_int(c, 0));
    return like_first(c);
}

tn_status tn_rule_bool(tn_infer_ctx *c) {
    TN_TRY(tn_infer_require(c, 1));
    TN_TRY(want(c, 0, tn_infer_dtype(c, 0) == TN_BOOL, "bool"));
    return like_first(c);
}

tn_status tn_rule_clamp(tn_infer_ctx *c) {
    const tn_attrs_clamp *a = c->attrs;
    if (!(a->lo <= a->hi)) return tn_infer_error(c, "the lower bound %g is above the upper bound %g", a->lo, a->hi);
    return tn_rule_number(c);
}

tn_status tn_rule_gelu(tn_infer_ctx *c) {
    const tn_attrs_activation *a = c->attrs;
    if (a->approximate && *a->approximate && strcmp(a->approximate, "none") != 0 && strcmp(a->approximate, "tanh") != 0)
        return tn_infer_error(c, "approximate is \"%s\"; it must be \"\" or \"tanh\"", a->approximate);
    return tn_rule_float(c);
}

tn_status tn_rule_cast(tn_infer_ctx *c) {
    const tn_attrs_cast *a = c->attrs;
    TN_TRY(tn_infer_require(c, 1));
    const bool directed = a->round && *a->round;
    if (directed && (a->to != TN_F8E8M0 || (strcmp(a->round, "up") != 0 && strcmp(a->round, "down") != 0)))
        return tn_infer_error(c, "round is \"%s\"; it must be \"\", and to f8e8m0 may be \"up\" or \"down\"", a->round);
    tn_type t = tn_infer_type(c, 0);
    return tn_infer_put(c, a->to, tn_type_rank(c->g, t), tn_type_dims(c->g, t));
}

/* Equal bit widths only: the shape stays. */
tn_status tn_rule_bitcast(tn_infer_ctx *c) {
    const tn_attrs_cast *a = c->attrs;
    TN_TRY(tn_infer_require(c, 1));
    if (a->to <= TN_DTYPE_NONE || a->to >= TN_DTYPE_COUNT) return tn_infer_error(c, "the result has no dtype");
    if (tn_dtype_bits(a->to) != tn_dtype_bits(tn_infer_dtype(c, 0)) || a->to == TN_BOOL)
        return tn_infer_error(c, "%s cannot become %s: the widths differ", tn_dtype_text(tn_infer_dtype(c, 0)),
                              tn_dtype_text(a->to));
    return tn_rule_cast(c);
}

/* All operands broadcast together; the result's dtype is t. */
static tn_status broadcast_all(tn_infer_ctx *c, tn_dtype t) {
    tn_dim dims[TN_MAX_RANK];
    size_t rank = 0;
    for (size_t k = 0; k < c->n_in; k++) TN_TRY(tn_infer_broadcast(c, dims, &rank, k));
    return tn_infer_put(c, t, rank, dims);
}

tn_status tn_rule_broadcast(tn_infer_ctx *c) {
    TN_TRY(tn_infer_require(c, 2));
    TN_TRY(tn_infer_same_dtype(c, 0, 1));
    TN_TRY(tn_infer_number(c, 0));
    return broadcast_all(c, tn_infer_dtype(c, 0));
}

tn_status tn_rule_logic(tn_infer_ctx *c) {
    TN_TRY(tn_infer_require(c, 2));
    TN_TRY(tn_infer_same_dtype(c, 0, 1));
    TN_TRY(want(c, 0, !tn_dtype_is_float(tn_infer_dtype(c, 0)), "bool or an integer type"));
    return broadcast_all(c, tn_infer_dtype(c, 0));
}

tn_status tn_rule_shift(tn_infer_ctx *c) {
    TN_TRY(tn_infer_require(c, 2));
    TN_TRY(tn_infer_int(c, 0));
    TN_TRY(tn_infer_same_dtype(c, 0, 1));
    return broadcast_all(c, tn_infer_dtype(c, 0));
}

/* The exponent may have a dtype of its own; the result has the base's. */
tn_status tn_rule_pow(tn_infer_ctx *c) {
    TN_TRY(tn_infer_require(c, 2));
    TN_TRY(tn_infer_number(c, 0));
    TN_TRY(tn_infer_number(c, 1));
    return broadcast_all(c, tn_infer_dtype(c, 0));
}

/* The slope broadcasts to x, never the other way. */
tn_status tn_rule_prelu(tn_infer_ctx *c) {
    TN_TRY(tn_infer_require(c, 2));
    TN_TRY(tn_infer_same_dtype(c, 0, 1));
    TN_TRY(tn_infer_number(c, 0));
    size_t r = tn_infer_rank(c, 0), rs = tn_infer_rank(c, 1);
    if (rs > r) return tn_infer_error(c, "the slope has rank %zu but x has rank %zu", rs, r);
    for (size_t k = 0; k < rs; k++) {
        TN_TRY(tn_infer_need(c, TN_REL_BCAST_TO, tn_size_axis(c, 1, k), tn_size_axis(c, 0, r - rs + k)));
    }
    return like_first(c);
}

tn_status tn_rule_compare(tn_infer_ctx *c) {
    TN_TRY(tn_infer_require(c, c->n_in));
    if (c->n_in == 2)
        TN_TRY(tn_infer_same_dtype(c, 0, 1));
    else
        TN_TRY(tn_infer_float(c, 0));
    TN_TRY(c->op != TN_OP_EQ && c->op != TN_OP_NE ? tn_infer_number(c, 0) : tn_infer_computes(c, 0));
    return broadcast_all(c, TN_BOOL);
}

tn_status tn_rule_select(tn_infer_ctx *c) {
    TN_TRY(tn_infer_require(c, 3));
    TN_TRY(want(c, 0, tn_infer_dtype(c, 0) == TN_BOOL, "bool"));
    TN_TRY(tn_infer_same_dtype(c, 1, 2));
    return broadcast_all(c, tn_infer_dtype(c, 1));
}
