/* contrib_attention.c: Attention and MultiHeadAttention of com.microsoft.
 *
 * Both end in one attention whose bias says which keys are hidden: what the mask hides gets a large negative number (so
 * that a row of nothing but hidden keys sees all of them), what is in the future the most negative one. */
#include "frontend/onnx/attention/attention.h"

#include <math.h>

/* Sizes of one attention, and how many keys were there before: a size, or (in a shared buffer) a number. */
typedef struct setting {
    tn_dim batch, queries, keys, past, fresh; /* fresh: keys that are new */
    tn_val used; /* i64 [1], the rows of the past in a buffer of `keys` rows; none: all of `past` */
} setting;

/* Positions 0, 1, ... of the keys, [T]. */
static tn_val key_positions(tn_oi *x, const setting *s) {
    return tn_build_iota(x->g, TN_I64, 1, &s->keys, 0);
}

/* Positions of the queries, [S, 1]. */
static tn_val query_positions(tn_oi *x, const setting *s) {
    tn_graph *g = x->g;
    tn_val before = s->used.i ? s->used : tn_oi_size_value(x, s->past);
    return tn_build_unsqueeze(g, tn_build_add(g, tn_build_iota(g, TN_I64, 1, &s->queries, 0), before), 1);
}

/* Part `part` of a vector of parts of the batch's size, as [B, 1, 1, 1] of i64. */
static tn_val of_batch(tn_oi *x, tn_val v, const setting *s, int64_t part) {
    tn_graph *g = x->g;
    const tn_dim one = tn_dim_const(g, 1), dims[] = {s->batch, one, one, one};
    v = tn_build_slice_axis(g, v, 0, tn_dim_mul(g, s->batch, tn_dim_const(g, part)), s->batch);
    return tn_build_reshape_to(g, tn_build_cast_to(g, v, TN_I64), 4, dims);
}

/* Lengths [B]; ends and starts [2B]; or lengths and what adds them up [3B + 2]. */
static tn_val seen_by_position(tn_oi *x, tn_val mask, const setting *s) {
    tn_graph *g = x->g;
    const tn_dim n = tn_val_dim(g, mask, 0), twice = tn_dim_mul(g, s->batch, tn_dim_const(g, 2));
    const tn_dim more = tn_dim_add(g, tn_dim_add(g, twice, s->batch), tn_dim_const(g, 2));
    const bool pairs = n.i == twice.i;
    if (!pairs && n.i != more.i) tn_oi_fits(x, TN_REL_EQUAL, mask, 0, "the mask", s->batch, "the batch");
    if (tn_oi_failed(x)) return mask;
    tn_val j = key_positions(x, s), seen = tn_build_lt(g, j, of_batch(x, mask, s, 0));
    return pairs ? tn_build_and(g, seen, tn_build_ge(g, j, of_batch(x, mask, s, 1))) : seen;
}

/* A mask whose last axis is shorter than the keys: what it leaves out comes first and is seen (the past), or comes last
 * (of a buffer) and is hidden elsewhere. */
static tn_val widened(tn_oi *x, tn_val mask, const setting *s, double value) {
    tn_graph *g = x->g;
    const size_t rank = tn_val_rank(g, mask);
    const tn_dim n = tn_val_dim(g, mask, rank - 1), zero = tn_dim_const(g, 0);
    tn_dim before[4], after[4];
    if (n.i == s->keys.i) return mask;
    for (size_t k = 0; k < rank; k++) before[k] = after[k] = zero;
    if (s->used.i) {
        const tn_condition room = {
            TN_REL_AT_LEAST, s->keys, n, .what = x->node->op_type, .of_a = "the rows of the cache", .of_b = "the mask"};
        tn_oi_require(x, room);
        after[rank - 1] = tn_dim_max(g, tn_dim_sub(g, s->keys, n), zero);
    } else if (n.i == s->fresh.i) {
        before[rank - 1] = s->past;
    } else {
        tn_oi_fits(x, TN_REL_EQUAL, mask, rank - 1, "the mask", s->keys, "the keys");
        return mask;
    }
    return tn_build_pad(
        g, mask,
        (tn_attrs_pad){
            .before = {before, (uint32_t)rank}, .after = {after, (uint32_t)rank}, .mode = "constant", .value = value});
}

/* Rows of the queries of a mask [B, 1, M, M] for whole sequences. */
static tn_val rows_of_square(tn_oi *x, tn_val mask, const setting *s) {
    tn_graph *g = x->g;
    mask = s->used.i
               ? tn_build_gather(g, mask, tn_build_squeeze(g, query_positions(x, s), 1), (tn_attrs_axis){.axis = 2})
               : tn_build_slice_axis(g, mask, 2, s->past, s->queries);
    return tn_build_slice_axis(g, mask, 3, tn_dim_const(g, 0), s->keys);
}

/* Which keys the mask, of any of its forms, lets be seen. */
static tn_val seen_by_mask(tn_oi *x, tn_val mask, const setting *s) {
    tn_graph *g = x->g;
    const size_t rank = tn_val_rank(g, mask);
    if (rank == 1) return seen_by_position(x, mask, s);
    if (rank < 1 || rank > 4) {
        tn_oi_fail(x, TN_E_FORMAT, "", "a mask of rank %zu; it must be 1 to 4", rank);
        return mask;
    }
    if (rank == 4) mask = rows_of_square(x, mask, s);
    if (rank < 4) mask = widened(x, mask, s, 1);
    tn_oi_fits(x, TN_REL_BCAST_TO, mask, 0, "the mask", s->batch, "the batch");
    if (rank == 3) tn_oi_fits(x, TN_REL_EQUAL, mask, 1, "the mask", s->queries, "the queries");
    if (rank < 4) mask = tn_build_unsqueeze(g, mask, 1);
    if (rank == 2) mask = tn_build_unsqueeze(g, mask, 1);
    return tn_build_scalar(g, TN_OP_GT, mask, 0);
}

/* The bias of all that hides keys, and of input k_bias. */
static tn_val total_bias(tn_oi *x, const setting *s, size_t k_mask, size_t k_bias, tn_dtype t) {
    tn_graph *g = x->g;
    tn_val mask = tn_oi_in(x, k_mask), given = tn_oi_in(x, k_bias), bias = {0};
    if (tn_oi_failed(x)) return bias;
    if (mask.i) bias = tn_oi_bias_of(x, seen_by_mask(x, mask, s), t, tn_oi_num(x, "mask_filter_value", -10000));
    if (tn_oi_int(x, "unidirectional", 0)) {
        tn_val now = tn_build_le(g, key_positions(x, s), query_positions(x, s));
        bias = tn_oi_plus(x, bias, tn_oi_bias_of(x, now, t, tn_oi_lowest(t)));
    }
    if (s->used.i) { /* rows of the buffer that nobody has written */
        tn_val end = tn_build_add(g, s->used, tn_oi_size_value(x, s->fresh));
        bias = tn_oi_plus(x, bias, tn_oi_bias_of(x, tn_build_lt(g, key_positions(x, s), end), t, tn_oi_lowest(t)));
    }
    if (!given.i) return bias;
    if (tn_val_rank(g, given) != 4) {
        tn_oi_fail(x, TN_E_FORMAT, "", "attention_bias has rank %zu; it must be 4", tn_val_rank(g, given));
        return bias;
    }
    tn_oi_fits(x, TN_REL_BCAST_TO, given, 0, "attention_bias", s->batch, "the batch");
    tn_oi_fits(x, TN_REL_EQUAL, given, 2, "attention_bias", s->queries, "the queries");
    return tn_oi_plus(x, bias, widened(x, given, s, 0));
}

/* Input k, how much of a shared buffer is used, as i64 [1]. */
static tn_val used_rows(tn_oi *x, size_t k) {
    const tn_dim one = tn_dim_const(x->g, 1);
    return tn_build_reshape_to(x->g, tn_build_cast_to(x->g, tn_oi_need(x, k), TN_I64), 1, &one);
}

/* Columns from.. of what the projections give. */
static tn_val columns(tn_oi *x, tn_val v, tn_dim from, tn_dim n) {
    return v.i ? tn_build_slice_axis(x->g, v, -1, from, n) : v;
}

/* ---- Attention --------------------------------------------------------------------------------------------------- */

/* Keys (0) or values (1) of [2, B, N, T, D]. */
static tn_val half_of(tn_oi *x, tn_val both, int64_t k) {
    tn_graph *g = x->g;
    return tn_build_squeeze(g, tn_build_slice_axis(g, both, 0, tn_dim_const(g, k), tn_dim_const(g, 1)), 0);
}

/* The sizes of what is projected to queries, keys and values. */
static bool hidden_sizes(tn_oi *x, tn_val weight, int64_t heads, tn_dim *size) {
    tn_graph *g = x->g;
    const int64_t *given;
    const size_t n = tn_oi_ints(x, "qkv_hidden_sizes", &given);
    if (n && n != 3) {
        tn_oi_fail(x, TN_E_FORMAT, "", "qkv_hidden_sizes has %zu numbers; 3 are wanted", n);
        return false;
    }
    const tn_dim all = tn_val_dim(g, weight, 1), three = tn_dim_const(g, 3);
    for (size_t k = 0; k < 3; k++) {
        size[k] = n ? tn_dim_const(g, given[k]) : tn_dim_floordiv(g, all, three);
        int64_t c = 0;
        if (!tn_dim_is_const(g, size[k], &c) || (c > 0 && c % heads == 0)) continue;
        tn_oi_fail(x, TN_E_FORMAT, "", "%lld values are no whole number for each of %lld heads", (long long)c,
                   (long long)heads);
        return false;
    }
    if (n && given[0] != given[1])
        tn_oi_fail(x, TN_E_FORMAT, "", "queries of %lld and keys of %lld values", (long long)given[0],
                   (long long)given[1]);
    tn_oi_fits(x, TN_REL_EQUAL, weight, 1, "the weights", tn_dim_add(g, tn_dim_add(g, size[0], size[1]), size[2]),
               "queries, keys and values");
    return !tn_oi_failed(x);
}

/* The cache [2, B, N, T, D] of these keys and values, behind those of the past or in its buffer. */
static tn_val present_of(tn_oi *x, tn_val past, const tn_val *head, setting *s) {
    tn_graph *g = x->g;
    tn_val pair[2];
    if (past.i && tn_oi_int(x, "past_present_share_buffer", 0)) {
        s->used = used_rows(x, 6);
        s->keys = tn_val_dim(g, past, 3);
        const tn_dim batch = s->batch;
        tn_val first = tn_build_broadcast_to(g, s->used, 1, &batch);
        for (int64_t k = 0; k < 2; k++)
            pair[k] = tn_build_unsqueeze(g, tn_oi_put_rows(x, half_of(x, past, k), head[k], first, (tn_val){0}), 0);
        return tn_build_concat(g, 2, pair, 0);
    }
    for (size_t k = 0; k < 2; k++) pair[k] = tn_build_unsqueeze(g, head[k], 0);
    tn_val fresh = tn_build_concat(g, 2, pair, 0);
    if (!past.i) return fresh;
    s->past = tn_val_dim(g, past, 3);
    s->keys = tn_dim_add(g, s->past, s->queries);
    return tn_build_concat(g, 2, (const tn_val[]){past, fresh}, 3);
}

/* The number of tokens before the first new one, as i64 [1]. */
static tn_val tokens_before(tn_oi *x, tn_val past) {
    tn_graph *g = x->g;
    const tn_dim one = tn_dim_const(g, 1);
    if (past.i && tn_oi_int(x, "past_present_share_buffer", 0)) return used_rows(x, 6);
    tn_val n = tn_oi_size_value(x, past.i ? tn_val_dim(g, past, 3) : tn_dim_const(g, 0));
    return tn_build_reshape_to(g, n, 1, &one);
}

/* Queries and keys [B, N, S, D], turned by their positions: pair i of the two halves of a head's first R elements by
 * position / 10000^(2 i / R). */
static void turn(tn_oi *x, tn_val past, tn_val *head) {
    tn_graph *g = x->g;
    int64_t size = 0, rotated = tn_oi_int(x, "rotary_embedding_dim", 0);
    tn_dim_is_const(g, tn_val_dim(g, head[0], 3), &size);
    if (rotated <= 0) rotated = size;
    if (rotated < 2 || rotated > size || rotated > 1 << 16 || rotated % 2) {
        tn_oi_fail(x, TN_E_FORMAT, "", "%lld elements turn in heads of %lld", (long long)rotated, (long long)size);
        return;
    }
    const tn_dim steps = tn_val_dim(g, head[0], 2), half = tn_dim_const(g, rotated / 2), one = tn_dim_const(g, 1);
    const tn_dim row[] = {one, one, steps, one};
    tn_val at = tn_build_add(g, tn_build_iota(g, TN_I64, 1, &steps, 0), tokens_before(x, past));
    tn_val speed = tn_build_cast_to(g, tn_build_iota(g, TN_I64, 1, &half, 0), TN_F32);
    speed = tn_build_exp(g, tn_build_scalar(g, TN_OP_MUL, speed, -2 * log(10000) / (double)rotated));
    at = tn_build_cast_to(g, tn_build_reshape_to(g, at, 4, row), TN_F32);
    tn_val angle = tn_build_mul(g, at, speed), cosine = tn_build_cos(g, angle), sine = tn_build_sin(g, angle);
    const tn_dtype t = tn_val_dtype(g, head[0]);
    for (size_t k = 0; k < 2; k++)
        head[k] =
            tn_oi_rotate(x, head[k], tn_build_cast_to(g, cosine, t), tn_build_cast_to(g, sine, t), rotated, false);
}

void tn_oi_op_contrib_attention(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val v = tn_oi_need(x, 0), w = tn_oi_need(x, 1), bias = tn_oi_in(x, 2), past = tn_oi_in(x, 4), head[3];
    const int64_t heads = tn_oi_positive(x, "num_heads");
    tn_dim size[3], from = tn_dim_const(g, 0);
    if (tn_oi_failed(x)) return;
    if (tn_val_rank(g, v) != 3 || tn_val_rank(g, w) != 2 || (past.i && tn_val_rank(g, past) != 5)) {
        tn_oi_fail(x, TN_E_FORMAT, "", "the input must have rank 3, the weights 2, the past 5");
        return;
    }
    if (!hidden_sizes(x, w, heads, size)) return;
    v = tn_oi_plus(x, tn_build_matmul(g, v, w, (tn_attrs_matmul){0}), bias);
    for (size_t k = 0; k < 3; k++) {
        head[k] = tn_oi_split_heads(x, columns(x, v, from, size[k]), heads);
        from = tn_dim_add(g, from, size[k]);
    }
    if (tn_oi_failed(x)) return;
    if (tn_oi_int(x, "do_rotary", 0)) turn(x, past, head);
    if (tn_oi_failed(x)) return;
    setting s = {.batch = tn_val_dim(g, v, 0), .queries = tn_val_dim(g, v, 1), .past = tn_dim_const(g, 0)};
    s.keys = s.fresh = s.queries;
    if (past.i || tn_oi_wants(x, 1)) {
        tn_val present = present_of(x, past, head + 1, &s);
        tn_oi_out(x, 1, present);
        for (int64_t k = 0; k < 2; k++) head[1 + k] = half_of(x, present, k);
    }
    tn_oi_attention a = {.q = head[0], .k = head[1], .v = head[2], .scale = tn_oi_scale(x, head[0])};
    a.bias = total_bias(x, &s, 3, 5, tn_val_dtype(g, v));
    tn_oi_out(x, 0, tn_oi_attend(x, &a));
}

/* ---- MultiHeadAttention ------------------------------------------------------------------------------------------ */

/* Part k of v [B, S, N, parts, D], as [B, S, N * D]. */
static tn_val unpacked(tn_oi *x, tn_val v, int64_t k) {
    tn_graph *g = x->g;
    const tn_dim dims[] = {tn_val_dim(g, v, 0), tn_val_dim(g, v, 1),
                           tn_dim_mul(g, tn_val_dim(g, v, 2), tn_val_dim(g, v, 4))};
    return tn_build_reshape_to(g, tn_build_slice_axis(g, v, 3, tn_dim_const(g, k), tn_dim_const(g, 1)), 3, dims);
}

/* Queries, keys and values as [B, S, N * D], or keys and values as [B, N, T, D]; false (an error) where they have none of
 * the layouts. */
static bool read_operands(tn_oi *x, tn_val *v) {
    tn_graph *g = x->g;
    v[0] = tn_oi_need(x, 0);
    v[1] = tn_oi_in(x, 1);
    v[2] = tn_oi_in(x, 2);
    if (tn_oi_failed(x)) return false;
    const size_t rank[] = {tn_val_rank(g, v[0]), v[1].i ? tn_val_rank(g, v[1]) : 0, v[2].i ? tn_val_rank(g, v[2]) : 0};
    const int64_t parts = rank[0] == 5 ? 3 : rank[1] == 5 ? 2 : 0;
    const bool fits = parts == 3 ? !v[1].i && !v[2].i : parts == 2 && rank[0] == 3 && !v[2].i;
    if (fits) {
        const size_t from = parts == 3 ? 0 : 1; /* the first of those that are packed, in its own place */
        const tn_val all = v[from];
        tn_oi_fits(x, TN_REL_EQUAL, all, 3, "what is packed", tn_dim_const(g, parts), "its parts");
        for (int64_t k = 0; k < parts && !tn_oi_failed(x); k++) v[from + (size_t)k] = unpacked(x, all, k);
    } else if (parts || rank[0] != 3 || rank[1] != rank[2] || (rank[1] != 3 && rank[1] != 4)) {
        tn_oi_fail(x, TN_E_FORMAT, "give query, key and value of rank 3, or packed ones of rank 5",
                   "query of rank %zu, key of %zu, value of %zu (0: not given)", rank[0], rank[1], rank[2]);
    }
    return !tn_oi_failed(x);
}

/* Adds the projections' bias, which lies behind each other for queries, keys and values. */
static void add_bias(tn_oi *x, tn_val *v) {
    tn_graph *g = x->g;
    tn_val bias = tn_oi_in(x, 3);
    tn_dim from = tn_dim_const(g, 0);
    if (tn_oi_failed(x) || !bias.i) return;
    for (size_t k = 0; k < 3 && tn_val_rank(g, v[k]) == 3; k++) {
        const tn_dim n = tn_val_dim(g, v[k], 2);
        v[k] = tn_build_add(g, v[k], columns(x, bias, from, n));
        from = tn_dim_add(g, from, n);
    }
    if (tn_val_rank(g, v[1]) == 3) tn_oi_fits(x, TN_REL_EQUAL, bias, 0, "the bias", from, "queries, keys and values");
}

void tn_oi_op_multi_head_attention(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val v[3], head[3], past[] = {tn_oi_in(x, 6), tn_oi_in(x, 7)};
    const int64_t heads = tn_oi_positive(x, "num_heads");
    if (tn_oi_failed(x) || !read_operands(x, v)) return;
    if (tn_oi_has(x, 9)) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "gather the caches by beam outside of the node", "cache_indirection");
        return;
    }
    if ((past[0].i != 0) != (past[1].i != 0) || (past[0].i && tn_val_rank(g, v[1]) == 4)) {
        tn_oi_fail(x, TN_E_FORMAT, "", "past_key and past_value come together, and with keys that are new");
        return;
    }
    add_bias(x, v);
    for (size_t k = 0; k < 3; k++) head[k] = tn_oi_split_heads(x, v[k], heads);
    if (tn_oi_failed(x)) return;
    tn_oi_fits(x, TN_REL_EQUAL, head[1], 1, "the keys", tn_dim_const(g, heads), "the heads");
    setting s = {.batch = tn_val_dim(g, head[0], 0),
                 .queries = tn_val_dim(g, head[0], 2),
                 .keys = tn_val_dim(g, head[1], 2),
                 .past = tn_dim_const(g, 0)};
    s.fresh = s.keys;
    if (past[0].i && tn_oi_has(x, 8)) {
        s.used = used_rows(x, 8);
        s.keys = tn_val_dim(g, past[0], 2);
        tn_val first = tn_build_broadcast_to(g, s.used, 1, &s.batch);
        for (size_t k = 0; k < 2; k++) head[1 + k] = tn_oi_put_rows(x, past[k], head[1 + k], first, (tn_val){0});
    } else if (past[0].i) {
        s.past = tn_val_dim(g, past[0], 2);
        s.keys = tn_dim_add(g, s.past, s.fresh);
        for (size_t k = 0; k < 2; k++) head[1 + k] = tn_build_concat(g, 2, (const tn_val[]){past[k], head[1 + k]}, 2);
    }
    for (size_t k = 0; k < 2; k++) tn_oi_out(x, 1 + k, head[1 + k]);
    tn_oi_attention a = {.q = head[0], .k = head[1], .v = head[2], .scale = tn_oi_scale(x, head[0])};
    a.bias = total_bias(x, &s, 4, 5, tn_val_dtype(g, head[0]));
    tn_oi_out(x, 0, tn_oi_attend(x, &a));
    tn_oi_out(x, 3, a.logits);
}
