/* packed_attention.c: PackedMultiHeadAttention of com.microsoft.
 *
 * Sequences of a batch lie behind each other without padding.  They are laid out with padding, [B, S], by where each
 * begins; padding is not seen; what comes out is packed again by where each token was. */
#include "frontend/onnx/attention/attention.h"

typedef struct layout {
    tn_dim batch, steps, tokens;
    tn_val token; /* i64 [B, S]: which token is there (any of them in padding) */
    tn_val real;  /* bool [B, S]: no padding */
} layout;

/* Input 5 says where sequences begin, and the last one ends: [B + 1]. */
static layout read_layout(tn_oi *x, tn_val offsets, tn_dim tokens) {
    tn_graph *g = x->g;
    tn_val ends = tn_build_cast_to(g, tn_oi_need(x, 5), TN_I64);
    layout l = {.tokens = tokens};
    if (tn_oi_failed(x)) return l;
    if (tn_val_rank(g, offsets) != 2 || tn_val_rank(g, ends) != 1) {
        tn_oi_fail(x, TN_E_FORMAT, "", "token_offset of rank %zu (it must be 2), cumulative_sequence_length of %zu (1)",
                   tn_val_rank(g, offsets), tn_val_rank(g, ends));
        return l;
    }
    l.batch = tn_val_dim(g, offsets, 0);
    l.steps = tn_val_dim(g, offsets, 1);
    const tn_dim one = tn_dim_const(g, 1), all[] = {l.batch, l.steps};
    tn_oi_fits(x, TN_REL_EQUAL, ends, 0, "cumulative_sequence_length", tn_dim_add(g, l.batch, one), "the batch, and 1");
    tn_val begin = tn_build_unsqueeze(g, tn_build_slice_axis(g, ends, 0, tn_dim_const(g, 0), l.batch), 1);
    tn_val end = tn_build_unsqueeze(g, tn_build_slice_axis(g, ends, 0, one, l.batch), 1);
    l.token = tn_build_add(g, tn_build_iota(g, TN_I64, 2, all, 1), begin);
    l.real = tn_build_lt(g, l.token, end);
    l.token = tn_build_select(g, l.real, l.token, tn_const_num(g, TN_I64, 0));
    return l;
}

/* Queries, keys and values [tokens, C]: three inputs, or one [tokens, N, 3, D]. */
static bool read_operands(tn_oi *x, tn_val *v) {
    tn_graph *g = x->g;
    v[0] = tn_oi_need(x, 0);
    v[1] = tn_oi_in(x, 1);
    v[2] = tn_oi_in(x, 2);
    if (tn_oi_failed(x)) return false;
    const tn_val all = v[0];
    const size_t rank = tn_val_rank(g, all);
    if (rank == 4 && !v[1].i && !v[2].i) {
        const tn_dim dims[] = {tn_val_dim(g, all, 0), tn_dim_mul(g, tn_val_dim(g, all, 1), tn_val_dim(g, all, 3))};
        tn_oi_fits(x, TN_REL_EQUAL, all, 2, "what is packed", tn_dim_const(g, 3), "its parts");
        for (int64_t k = 0; k < 3; k++)
            v[k] =
                tn_build_reshape_to(g, tn_build_slice_axis(g, all, 2, tn_dim_const(g, k), tn_dim_const(g, 1)), 2, dims);
    } else if (rank != 2 || !v[1].i || !v[2].i || tn_val_rank(g, v[1]) != 2 || tn_val_rank(g, v[2]) != 2) {
        tn_oi_fail(x, TN_E_FORMAT, "give query, key and value of rank 2, or a packed one of rank 4",
                   "query of rank %zu, key of %zu, value of %zu (0: not given)", rank, tn_oi_rank(x, 1),
                   tn_oi_rank(x, 2));
    }
    return !tn_oi_failed(x);
}

static void add_bias(tn_oi *x, tn_val *v) {
    tn_graph *g = x->g;
    tn_val bias = tn_oi_in(x, 3);
    tn_dim from = tn_dim_const(g, 0);
    for (size_t k = 0; bias.i && k < 3 && !tn_oi_failed(x); k++) {
        const tn_dim n = tn_val_dim(g, v[k], 1);
        v[k] = tn_build_add(g, v[k], tn_build_slice_axis(g, bias, 0, from, n));
        from = tn_dim_add(g, from, n);
    }
    if (bias.i) tn_oi_fits(x, TN_REL_EQUAL, bias, 0, "the bias", from, "queries, keys and values");
}

/* The bias of padding, and of input 6. */
static tn_val total_bias(tn_oi *x, const layout *l, tn_dtype t) {
    tn_graph *g = x->g;
    const tn_dim one = tn_dim_const(g, 1), dims[] = {l->batch, one, one, l->steps};
    tn_val given = tn_oi_in(x, 6);
    if (given.i && !tn_oi_failed(x)) {
        if (tn_val_rank(g, given) != 4) {
            tn_oi_fail(x, TN_E_FORMAT, "", "attention_bias has rank %zu; it must be 4", tn_val_rank(g, given));
            return given;
        }
        for (size_t k = 2; k < 4; k++)
            tn_oi_fits(x, TN_REL_EQUAL, given, k, "attention_bias", l->steps, "the longest sequence");
    }
    return tn_oi_plus(x, given, tn_oi_bias_of(x, tn_build_reshape_to(g, l->real, 4, dims), t, tn_oi_lowest(t)));
}

void tn_oi_op_packed_attention(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val v[3], offsets = tn_build_cast_to(g, tn_oi_need(x, 4), TN_I64);
    const int64_t heads = tn_oi_positive(x, "num_heads");
    if (tn_oi_failed(x) || !read_operands(x, v)) return;
    const layout l = read_layout(x, offsets, tn_val_dim(g, v[0], 0));
    add_bias(x, v);
    if (tn_oi_failed(x)) return;
    for (size_t k = 0; k < 3; k++)
        v[k] = tn_oi_split_heads(x, tn_build_gather(g, v[k], l.token, (tn_attrs_axis){.axis = 0}), heads);
    if (tn_oi_failed(x)) return;
    tn_oi_attention a = {.q = v[0], .k = v[1], .v = v[2], .scale = tn_oi_scale(x, v[0])};
    a.bias = total_bias(x, &l, tn_val_dtype(g, v[0]));
    tn_val y = tn_oi_attend(x, &a);
    if (tn_oi_failed(x)) return;
    const tn_dim places = tn_dim_mul(g, l.batch, l.steps), flat[] = {places, tn_val_dim(g, y, 2)};
    tn_val at = tn_build_slice_axis(g, tn_build_reshape_to(g, offsets, 1, &places), 0, tn_dim_const(g, 0), l.tokens);
    tn_oi_out(x, 0, tn_build_gather(g, tn_build_reshape_to(g, y, 2, flat), at, (tn_attrs_axis){.axis = 0}));
}
