/* attention.c: attention, decomposed into matmul, softmax and masks, and the parts that other attentions share. */
#include "frontend/onnx/attention/attention.h"

#include <math.h>

tn_val tn_oi_split_heads(tn_oi *x, tn_val v, int64_t heads) {
    tn_graph *g = x->g;
    const int64_t perm[] = {0, 2, 1, 3};
    if (!v.i || tn_val_rank(g, v) == 4) return v;
    if (tn_val_rank(g, v) != 3 || heads < 1) {
        tn_oi_fail(x, TN_E_FORMAT, "", "operands must be 4-D, or 3-D with the number of heads given");
        return (tn_val){0};
    }
    tn_dim h = tn_dim_const(g, heads);
    tn_dim dims[] = {tn_val_dim(g, v, 0), tn_val_dim(g, v, 1), h, tn_dim_floordiv(g, tn_val_dim(g, v, 2), h)};
    return tn_build_permute(g, tn_build_reshape_to(g, v, 4, dims), 4, perm);
}

tn_val tn_oi_merge_heads(tn_oi *x, tn_val v) {
    tn_graph *g = x->g;
    const int64_t perm[] = {0, 2, 1, 3};
    tn_dim dims[] = {tn_val_dim(g, v, 0), tn_val_dim(g, v, 2), tn_dim_mul(g, tn_val_dim(g, v, 1), tn_val_dim(g, v, 3))};
    return tn_build_reshape_to(g, tn_build_permute(g, v, 4, perm), 3, dims);
}

tn_val tn_oi_repeat_heads(tn_oi *x, tn_val v, tn_dim heads) {
    tn_graph *g = x->g;
    tn_dim own = tn_val_dim(g, v, 1);
    if (own.i == heads.i) return v;
    tn_dim wide[] = {tn_val_dim(g, v, 0), own, tn_dim_floordiv(g, heads, own), tn_val_dim(g, v, 2),
                     tn_val_dim(g, v, 3)};
    tn_dim flat[] = {wide[0], heads, wide[3], wide[4]};
    v = tn_build_broadcast_to(g, tn_build_unsqueeze(g, v, 2), 5, wide);
    return tn_build_reshape_to(g, v, 4, flat);
}

tn_val tn_oi_bias_of(tn_oi *x, tn_val allowed, tn_dtype t, double otherwise) {
    return tn_build_select(x->g, allowed, tn_const_num(x->g, t, 0), tn_const_num(x->g, t, otherwise));
}

/* The mask as a summand of scores [B, H, queries, keys]; a mask shorter than the keys hides the rest.  A larger one
 * would make more scores than there are. */
static tn_val mask_bias(tn_oi *x, tn_val mask, tn_val scores, tn_dtype t) {
    tn_graph *g = x->g;
    size_t rank = tn_val_rank(g, mask);
    if (rank > 4) {
        tn_oi_fail(x, TN_E_FORMAT, "", "attn_mask has rank %zu; it must be at most 4", rank);
        return mask;
    }
    for (size_t k = 0; k + 1 < rank; k++)
        tn_oi_fits(x, TN_REL_BCAST_TO, mask, k, "attn_mask", tn_val_dim(g, scores, 4 - rank + k), "the scores");
    if (rank) tn_oi_fits(x, TN_REL_AT_LEAST, scores, 3, "the scores", tn_val_dim(g, mask, rank - 1), "attn_mask");
    if (tn_val_dtype(g, mask) == TN_BOOL) mask = tn_oi_bias_of(x, mask, t, -INFINITY);
    tn_dim keys = tn_val_dim(g, scores, 3), last = rank ? tn_val_dim(g, mask, rank - 1) : keys, before[TN_MAX_RANK],
           after[TN_MAX_RANK];
    if (last.i == keys.i || tn_oi_failed(x)) return tn_build_cast_to(g, mask, t);
    for (size_t k = 0; k < rank; k++) before[k] = after[k] = tn_dim_const(g, 0);
    after[rank - 1] = tn_dim_max(g, tn_dim_sub(g, keys, last), before[0]);
    tn_attrs_pad a = {
        .before = {before, (uint32_t)rank}, .after = {after, (uint32_t)rank}, .mode = "constant", .value = -INFINITY};
    return tn_build_cast_to(g, tn_build_pad(g, mask, a), t);
}

/* Query i sees key j if j <= i + offset; offset i64 of a shape that broadcasts to [B, 1, S, T]. */
static tn_val causal_bias(tn_oi *x, tn_dim queries, tn_dim keys, tn_val offset, tn_dtype t) {
    tn_graph *g = x->g;
    tn_dim dims[] = {queries, keys};
    tn_val i = tn_build_iota(g, TN_I64, 2, dims, 0), j = tn_build_iota(g, TN_I64, 2, dims, 1);
    if (offset.i) i = tn_build_add(g, i, offset);
    return tn_oi_bias_of(x, tn_build_le(g, j, i), t, -INFINITY);
}

tn_val tn_oi_plus(tn_oi *x, tn_val a, tn_val b) {
    return !a.i ? b : !b.i ? a : tn_build_add(x->g, a, b);
}

/* Sum of the masks that apply, or none. */
static tn_val total_bias(tn_oi *x, tn_val scores, tn_dtype t) {
    tn_graph *g = x->g;
    const tn_dim queries = tn_val_dim(g, scores, 2), keys = tn_val_dim(g, scores, 3);
    tn_val mask = tn_oi_in(x, 3), nonpad = tn_oi_in(x, 6), bias = {0}, offset = {0}, lens = {0};
    if (mask.i) bias = mask_bias(x, mask, scores, t);
    if (nonpad.i) {
        tn_oi_fits(x, TN_REL_EQUAL, nonpad, 0, "nonpad_kv_seqlen", tn_val_dim(g, scores, 0), "the batch");
        tn_dim dims[] = {tn_val_dim(g, nonpad, 0), tn_dim_const(g, 1), tn_dim_const(g, 1), tn_dim_const(g, 1)};
        lens = tn_build_reshape_to(g, tn_build_cast_to(g, nonpad, TN_I64), 4, dims);
    }
    if (tn_oi_int(x, "is_causal", 0)) {
        if (tn_oi_has(x, 4))
            offset = tn_oi_size_value(x, tn_oi_dim(x, 4, 2));
        else if (lens.i)
            offset = tn_build_sub(g, lens, tn_oi_size_value(x, queries));
        bias = tn_oi_plus(x, bias, causal_bias(x, queries, keys, offset, t));
    }
    if (lens.i) {
        tn_val j = tn_build_iota(g, TN_I64, 1, &keys, 0);
        bias = tn_oi_plus(x, bias, tn_oi_bias_of(x, tn_build_lt(g, j, lens), t, -INFINITY));
    }
    return bias;
}

/* Rows that may see no key at all give 0 and not NaN. */
static tn_val guard(tn_oi *x, tn_val p, tn_val bias) {
    tn_graph *g = x->g;
    const int64_t last[] = {-1};
    if (!tn_oi_has(x, 3) && !tn_oi_has(x, 6)) return p;
    tn_val top = tn_build_reduce(g, TN_OP_REDUCE_MAX, bias, 1, last, true);
    tn_val none = tn_build_scalar(g, TN_OP_EQ, top, -INFINITY);
    return tn_build_select(g, none, tn_const_num(g, tn_val_dtype(g, p), 0), p);
}

void tn_oi_op_attention(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val q = tn_oi_need(x, 0), k = tn_oi_need(x, 1), v = tn_oi_need(x, 2), past_k = tn_oi_in(x, 4),
           past_v = tn_oi_in(x, 5);
    bool merged = tn_oi_rank(x, 0) == 3;
    q = tn_oi_split_heads(x, q, tn_oi_int(x, "q_num_heads", 0));
    k = tn_oi_split_heads(x, k, tn_oi_int(x, "kv_num_heads", 0));
    v = tn_oi_split_heads(x, v, tn_oi_int(x, "kv_num_heads", 0));
    if (tn_oi_failed(x)) return;
    if (tn_val_rank(g, q) != 4 || tn_val_rank(g, k) != 4 || tn_val_rank(g, v) != 4 ||
        (past_k.i != 0) != (past_v.i != 0)) {
        tn_oi_fail(x, TN_E_FORMAT, "", "operands must all be 4-D or all 3-D, and the past has keys and values");
        return;
    }
    if (tn_oi_int(x, "left_window_size", -1) >= 0 || tn_oi_int(x, "right_window_size", -1) >= 0) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "give the window as attn_mask", "a sliding window");
        return;
    }
    tn_oi_fits(x, TN_REL_EQUAL, v, 1, "V", tn_val_dim(g, k, 1), "the heads of K");
    if (past_k.i) k = tn_build_concat(g, 2, (const tn_val[]){past_k, k}, 2);
    if (past_v.i) v = tn_build_concat(g, 2, (const tn_val[]){past_v, v}, 2);
    tn_oi_out(x, 1, k);
    tn_oi_out(x, 2, v);
    tn_dtype t = tn_val_dtype(g, q);
    tn_dim heads = tn_val_dim(g, q, 1);
    k = tn_oi_repeat_heads(x, k, heads);
    v = tn_oi_repeat_heads(x, v, heads);
    int64_t width = 0, mode = tn_oi_int(x, "qk_matmul_output_mode", 0);
    if (!tn_dim_is_const(g, tn_val_dim(g, q, 3), &width) && !tn_oi_attr(x, "scale")) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "", "the head size is not known");
        return;
    }
    double scale = tn_oi_num(x, "scale", width > 0 ? 1 / sqrt((double)width) : 1), cap = tn_oi_num(x, "softcap", 0);
    tn_val s = tn_build_scalar(g, TN_OP_MUL, tn_build_matmul(g, q, k, (tn_attrs_matmul){.trans_b = true}), scale);
    if (mode == 0) tn_oi_out(x, 3, s);
    if (cap > 0) s = tn_build_scalar(g, TN_OP_MUL, tn_build_tanh(g, tn_build_scalar(g, TN_OP_DIV, s, cap)), cap);
    if (mode == 1) tn_oi_out(x, 3, s);
    if (tn_oi_failed(x)) return;
    tn_val bias = total_bias(x, s, t);
    if (bias.i) s = tn_build_add(g, s, bias);
    if (mode == 2) tn_oi_out(x, 3, s);
    tn_val p = tn_build_softmax(g, s, (tn_attrs_axis){.axis = 3});
    if (bias.i) p = guard(x, p, bias);
    if (mode == 3) tn_oi_out(x, 3, p);
    tn_val y = tn_build_matmul(g, p, v, (tn_attrs_matmul){0});
    if (!tn_oi_failed(x)) tn_oi_out(x, 0, merged ? tn_oi_merge_heads(x, y) : y);
}
