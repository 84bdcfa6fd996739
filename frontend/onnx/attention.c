/* attention.c: attention and rotary embedding, decomposed into matmul, softmax and masks. */
#include "frontend/onnx/import.h"

#include <math.h>

/* [B, S, H*D] -> [B, H, S, D]; 4-D tensors have that shape already. */
static tn_val split_heads(tn_oi *x, tn_val v, int64_t heads) {
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

static tn_val merge_heads(tn_oi *x, tn_val v) {
    tn_graph *g = x->g;
    const int64_t perm[] = {0, 2, 1, 3};
    tn_dim dims[] = {tn_val_dim(g, v, 0), tn_val_dim(g, v, 2), tn_dim_mul(g, tn_val_dim(g, v, 1), tn_val_dim(g, v, 3))};
    return tn_build_reshape_to(g, tn_build_permute(g, v, 4, perm), 3, dims);
}

/* Grouped queries: each key head serves `repeat` query heads. */
static tn_val repeat_heads(tn_oi *x, tn_val v, tn_dim heads) {
    tn_graph *g = x->g;
    tn_dim own = tn_val_dim(g, v, 1);
    if (own.i == heads.i) return v;
    tn_dim wide[] = {tn_val_dim(g, v, 0), own, tn_dim_floordiv(g, heads, own), tn_val_dim(g, v, 2),
                     tn_val_dim(g, v, 3)};
    tn_dim flat[] = {wide[0], heads, wide[3], wide[4]};
    v = tn_build_broadcast_to(g, tn_build_unsqueeze(g, v, 2), 5, wide);
    return tn_build_reshape_to(g, v, 4, flat);
}

/* 0 where `allowed`, -inf elsewhere */
static tn_val bias_of(tn_oi *x, tn_val allowed, tn_dtype t) {
    return tn_build_select(x->g, allowed, tn_const_num(x->g, t, 0), tn_const_num(x->g, t, -INFINITY));
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
    if (tn_val_dtype(g, mask) == TN_BOOL) mask = bias_of(x, mask, t);
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
    return bias_of(x, tn_build_le(g, j, i), t);
}

static tn_val dim_scalar(tn_oi *x, tn_dim d) {
    tn_oi_sym *s = tn_oi_sym_new(x, TN_I64, 0, NULL);
    if (!s) return (tn_val){0};
    s->d[0] = d;
    return tn_oi_materialise(x, s, NULL);
}

static tn_val plus(tn_oi *x, tn_val a, tn_val b) {
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
            offset = dim_scalar(x, tn_oi_dim(x, 4, 2));
        else if (lens.i)
            offset = tn_build_sub(g, lens, dim_scalar(x, queries));
        bias = plus(x, bias, causal_bias(x, queries, keys, offset, t));
    }
    if (lens.i) {
        tn_val j = tn_build_iota(g, TN_I64, 1, &keys, 0);
        bias = plus(x, bias, bias_of(x, tn_build_lt(g, j, lens), t));
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
    q = split_heads(x, q, tn_oi_int(x, "q_num_heads", 0));
    k = split_heads(x, k, tn_oi_int(x, "kv_num_heads", 0));
    v = split_heads(x, v, tn_oi_int(x, "kv_num_heads", 0));
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
    k = repeat_heads(x, k, heads);
    v = repeat_heads(x, v, heads);
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
    if (!tn_oi_failed(x)) tn_oi_out(x, 0, merged ? merge_heads(x, y) : y);
}

/* ---- rotary embedding -------------------------------------------------------------------------------------------- */

static tn_val cut(tn_oi *x, tn_val v, int64_t from, int64_t size, int64_t step) {
    tn_graph *g = x->g;
    tn_dim starts[4], sizes[4];
    int64_t steps[4];
    for (size_t k = 0; k < 4; k++) {
        starts[k] = tn_dim_const(g, k == 3 ? from : 0);
        sizes[k] = k == 3 ? tn_dim_const(g, size) : tn_val_dim(g, v, k);
        steps[k] = k == 3 ? step : 1;
    }
    return tn_build_slice(g, v, (tn_attrs_slice){.starts = {starts, 4}, .sizes = {sizes, 4}, .steps = {steps, 4}});
}

/* A table of cosines or sines as [B, 1, S, half]: given so, or looked up by position. */
static tn_val table(tn_oi *x, size_t k, tn_val positions, const tn_dim *angles) {
    tn_graph *g = x->g;
    tn_val v = tn_oi_need(x, k);
    if (positions.i) v = tn_build_gather(g, v, positions, (tn_attrs_axis){.axis = 0});
    if (tn_val_rank(g, v) != 3) {
        tn_oi_fail(x, TN_E_FORMAT, "", "a table of rank %zu; it must be %d", tn_oi_rank(x, k), positions.i ? 2 : 3);
        return v;
    }
    for (size_t i = 0; i < 3; i++)
        tn_oi_fits(x, i < 2 ? TN_REL_BCAST_TO : TN_REL_EQUAL, v, i, "a table of angles", angles[i], "what it turns");
    return tn_build_unsqueeze(g, v, 1);
}

/* Rotates pairs (a, b) of the first `rotated` elements of each head by the tables' angles. */
void tn_oi_op_rotary(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val v = tn_oi_need(x, 0), positions = tn_oi_in(x, 3);
    bool merged = tn_oi_rank(x, 0) == 3, pairs = tn_oi_int(x, "interleaved", 0);
    v = split_heads(x, v, tn_oi_int(x, "num_heads", 0));
    int64_t size = 0, rotated = tn_oi_int(x, "rotary_embedding_dim", 0);
    if (tn_oi_failed(x)) return;
    if (!tn_dim_is_const(g, tn_val_dim(g, v, 3), &size) || size < 2) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "", "the head size is not known");
        return;
    }
    if (rotated <= 0) rotated = size;
    if (rotated > size || rotated % 2) {
        tn_oi_fail(x, TN_E_FORMAT, "", "rotary_embedding_dim is %lld in heads of %lld", (long long)rotated,
                   (long long)size);
        return;
    }
    int64_t half = rotated / 2;
    const tn_dim angles[] = {tn_val_dim(g, v, 0), tn_val_dim(g, v, 2), tn_dim_const(g, half)};
    tn_val cosine = table(x, 1, positions, angles), sine = table(x, 2, positions, angles);
    if (tn_oi_failed(x)) return;
    tn_val a = cut(x, v, 0, half, pairs ? 2 : 1), b = cut(x, v, pairs ? 1 : half, half, pairs ? 2 : 1);
    tn_val re = tn_build_sub(g, tn_build_mul(g, cosine, a), tn_build_mul(g, sine, b));
    tn_val im = tn_build_add(g, tn_build_mul(g, sine, a), tn_build_mul(g, cosine, b)), r;
    if (pairs) {
        tn_dim dims[] = {tn_val_dim(g, v, 0), tn_val_dim(g, v, 1), tn_val_dim(g, v, 2), tn_dim_const(g, rotated)};
        tn_val both[] = {tn_build_unsqueeze(g, re, 4), tn_build_unsqueeze(g, im, 4)};
        r = tn_build_reshape_to(g, tn_build_concat(g, 2, both, 4), 4, dims);
    } else {
        r = tn_build_concat(g, 2, (const tn_val[]){re, im}, 3);
    }
    if (rotated < size) r = tn_build_concat(g, 2, (const tn_val[]){r, cut(x, v, rotated, size - rotated, 1)}, 3);
    if (!tn_oi_failed(x)) tn_oi_out(x, 0, merged ? merge_heads(x, r) : r);
}
