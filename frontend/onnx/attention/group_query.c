/* group_query.c: GroupQueryAttention of com.microsoft.
 *
 * Batch b has T[b] = seqlens_k[b] + 1 tokens when it is done, of which Q[b] are new: the first rows of what is given.  The new
 * ones follow the P[b] = T[b] - Q[b] of the cache.  Everything else follows from the positions of queries and keys: which
 * row of the cache is new, which angles rotate it, what a query may see. */
#include <string.h>

#include "frontend/onnx/attention/attention.h"

typedef struct setting {
    int64_t heads, kv_heads, window; /* window: keys that a query sees, itself included; 0: all */
    tn_dim batch, steps;
    tn_val total, count, before; /* T, Q and P, i64 [B] */
    bool causal, all;            /* all: what is new follows all rows of the cache, of every batch */
    bool recent;                 /* the cache holds the last tokens only */
} setting;

/* The keys that there are, not all of which a query sees. */
typedef struct keys {
    tn_dim n;
    tn_val at;   /* their positions, i64 that broadcasts to [B, 1, 1, n] */
    tn_val real; /* bool, the same; none: all are keys */
} keys;

/* ---- queries, keys and values ------------------------------------------------------------------------------------ */

/* [B, S, N * D] of each: three inputs, or one in which the keys' and values' heads follow the queries'. */
static bool read_operands(tn_oi *x, const setting *s, tn_val *v) {
    tn_graph *g = x->g;
    v[0] = tn_oi_need(x, 0);
    v[1] = tn_oi_in(x, 1);
    v[2] = tn_oi_in(x, 2);
    if (tn_oi_failed(x)) return false;
    if ((v[1].i != 0) != (v[2].i != 0) || tn_val_rank(g, v[0]) != 3 ||
        (v[1].i && (tn_val_rank(g, v[1]) != 3 || tn_val_rank(g, v[2]) != 3))) {
        tn_oi_fail(x, TN_E_FORMAT, "give query, key and value of rank 3, or a query that holds all",
                   "query of rank %zu, key of %zu, value of %zu (0: not given)", tn_oi_rank(x, 0), tn_oi_rank(x, 1),
                   tn_oi_rank(x, 2));
        return false;
    }
    const tn_dim q = tn_dim_const(g, s->heads), kv = tn_dim_const(g, s->kv_heads);
    const tn_dim heads = v[1].i ? q : tn_dim_const(g, s->heads + 2 * s->kv_heads), width = tn_val_dim(g, v[0], 2);
    const tn_dim size = tn_dim_floordiv(g, width, heads);
    tn_oi_fits(x, TN_REL_MULTIPLE, v[0], 2, "query", heads, "the heads in it");
    if (v[1].i) {
        for (size_t k = 1; k < 3; k++)
            tn_oi_fits(x, TN_REL_EQUAL, v[k], 2, k == 1 ? "key" : "value", tn_dim_mul(g, size, kv), "their heads");
        for (size_t k = 1; k < 3; k++)
            tn_oi_fits(x, TN_REL_EQUAL, v[k], 1, k == 1 ? "key" : "value", s->steps, "the queries");
        return !tn_oi_failed(x);
    }
    const tn_val all = v[0];
    tn_dim from = tn_dim_const(g, 0);
    for (size_t k = 0; k < 3; k++) {
        const tn_dim n = tn_dim_mul(g, size, k ? kv : q);
        v[k] = tn_build_slice_axis(g, all, 2, from, n);
        from = tn_dim_add(g, from, n);
    }
    return !tn_oi_failed(x);
}

/* Each head of v [B, N, S, D], divided by its root mean square, times the weight of input k. */
static tn_val normalised(tn_oi *x, tn_val v, size_t k, const char *eps) {
    const tn_val weight = tn_oi_in(x, k);
    const double both = tn_oi_num(x, "qk_norm_epsilon", (double)1e-6f);
    if (!weight.i || tn_oi_failed(x)) return v;
    return tn_build_rms_norm(x->g, v, weight, (tn_attrs_norm){.axis = 3, .eps = tn_oi_num(x, eps, both)});
}

/* Positions of the rows of what is given, [B, S]. */
static tn_val row_positions(tn_oi *x, const setting *s) {
    tn_graph *g = x->g;
    const tn_dim dims[] = {s->batch, s->steps};
    return tn_build_add(g, tn_build_iota(g, TN_I64, 2, dims, 1), tn_build_unsqueeze(g, s->before, 1));
}

/* v [B, N, S, D] turned by the tables in inputs 7 and 8. */
static tn_val turned(tn_oi *x, tn_val v, const setting *s) {
    tn_graph *g = x->g;
    tn_val table[] = {tn_oi_need(x, 7), tn_oi_need(x, 8)}, positions = tn_oi_in(x, 9);
    int64_t half = 0;
    if (tn_oi_failed(x)) return v;
    if (tn_val_rank(g, table[0]) != 2 || !tn_dim_is_const(g, tn_val_dim(g, table[0], 1), &half)) {
        tn_oi_fail(x, TN_E_FORMAT, "", "cos_cache has rank %zu; it must be 2, with a known number of angles",
                   tn_val_rank(g, table[0]));
        return v;
    }
    positions = positions.i ? tn_build_cast_to(g, positions, TN_I64) : row_positions(x, s);
    for (size_t k = 0; k < 2; k++) table[k] = tn_oi_angles(x, table[k], positions, s->batch, s->steps, half, 1);
    return tn_oi_rotate(x, v, table[0], table[1], 2 * half, tn_oi_int(x, "rotary_interleaved", 0));
}

/* ---- the cache --------------------------------------------------------------------------------------------------- */

/* The name of axis 2 of an input or output of the model; NULL if it is a number, or there is no such. */
static const char *rows_name(size_t n, TnOnnx__ValueInfoProto *const *list, const char *name) {
    for (size_t k = 0; k < n; k++) {
        const TnOnnx__TypeProto *t = strcmp(list[k]->name, name) ? NULL : list[k]->type;
        if (!t || t->value_case != TN_ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE || !t->tensor_type->shape ||
            t->tensor_type->shape->n_dim != 4)
            continue;
        const TnOnnx__TensorShapeProto__Dimension *d = t->tensor_type->shape->dim[2];
        if (d->value_case == TN_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM) return d->dim_param;
    }
    return NULL;
}

/* The model says that its cache goes out with other rows than it came in with: it is no buffer of all that there may ever be. */
static bool is_said_to_grow(const tn_oi *x) {
    const TnOnnx__GraphProto *gr = x->model->graph;
    if (x->node->n_input < 4 || x->node->n_output < 2) return false;
    const char *before = rows_name(gr->n_input, gr->input, x->node->input[3]),
               *after = rows_name(gr->n_output, gr->output, x->node->output[1]);
    return before && after && strcmp(before, after) != 0;
}

/* The rows of the result: as many as the cache has, or as the longest sequence has tokens if these are more. */
static tn_dim rows_of_present(tn_oi *x, tn_dim past, setting *s) {
    tn_graph *g = x->g;
    const tn_oi_sym *total = tn_oi_sym_of(x, 6);
    const tn_dim grown = tn_dim_add(g, past, s->steps);
    tn_dim longest = {0};
    if (x->opts && x->opts->share_buffer) {
        longest = past;
    } else if (total && total->n == 1 && total->d) {
        longest = total->d[0];
    } else if (tn_oi_limit(x, 1) >= 0) {
        longest = tn_oi_size_of_data(x, tn_build_reshape_to(g, tn_build_cast_to(g, tn_oi_need(x, 6), TN_I64), 0, NULL),
                                     "the cache");
    } else if (is_said_to_grow(x)) {
        longest = grown;
    } else { /* the caller's buffer, which does not grow */
        longest = past;
    }
    s->all = longest.i == grown.i && tn_dim_equal_const(g, s->batch, 1) && !tn_oi_has(x, 16);
    return tn_dim_max(g, past, longest);
}

/* The cache with what is new in it, [B, N, M, D]. */
static tn_val present_of(tn_oi *x, tn_val past, tn_val fresh, tn_dim rows, const setting *s) {
    tn_graph *g = x->g;
    const tn_dim zero = tn_dim_const(g, 0);
    if (!past.i) return fresh;
    if (s->all) return tn_build_concat(g, 2, (const tn_val[]){past, fresh}, 2);
    const tn_dim before[] = {zero, zero, zero, zero};
    const tn_dim after[] = {zero, zero, tn_dim_sub(g, rows, tn_val_dim(g, past, 2)), zero};
    if (after[2].i != zero.i)
        past = tn_build_pad(g, past, (tn_attrs_pad){.before = {before, 4}, .after = {after, 4}, .mode = "constant"});
    return tn_oi_put_rows(x, past, fresh, s->before, s->count);
}

/* What is [B, n] as [B, 1, 1, n]. */
static tn_val of_keys(tn_oi *x, tn_val v) {
    return tn_build_unsqueeze(x->g, tn_build_unsqueeze(x->g, v, 1), 1);
}

/* Rows [B, N, S, D] behind those of the cache, 0 where they do not count. */
static tn_val staged(tn_oi *x, tn_val past, tn_val fresh, const setting *s) {
    tn_graph *g = x->g;
    const tn_dim one = tn_dim_const(g, 1), each[] = {s->batch, one, one, one}, row[] = {one, one, s->steps, one};
    tn_val at = tn_build_reshape_to(g, tn_build_iota(g, TN_I64, 1, &s->steps, 0), 4, row);
    tn_val counts = tn_build_lt(g, at, tn_build_reshape_to(g, s->count, 4, each));
    fresh = tn_build_select(g, counts, fresh, tn_const_num(g, tn_val_dtype(g, fresh), 0));
    return tn_build_concat(g, 2, (const tn_val[]){past, fresh}, 2);
}

/* Makes of what is new (kv, keys and values) all that there are, and of the cache outputs 1 and 2. */
static keys with_cache(tn_oi *x, setting *s, const tn_val *past, tn_val *kv) {
    static const char *const how[] = {"k_quant_type", "v_quant_type"};
    tn_graph *g = x->g;
    const tn_dtype t = tn_val_dtype(g, kv[0]);
    tn_oi_store store[2];
    tn_oi_recent recent;
    keys all = {.n = s->steps};
    for (size_t k = 0; k < 2; k++)
        if (!tn_oi_read_store(x, how[k], past[k], 12 + k, &store[k])) return all;
    const tn_dim held = past[0].i ? tn_val_dim(g, past[0], 2) : tn_dim_const(g, 0);
    if (s->recent) {
        recent = tn_oi_recent_rows(x, s->batch, held, s->steps, s->window, s->before, s->count);
        if (tn_oi_failed(x)) return all;
        all = (keys){.n = tn_dim_add(g, held, s->steps), .at = of_keys(x, recent.at), .real = of_keys(x, recent.real)};
    } else {
        if (past[0].i) all.n = rows_of_present(x, held, s);
        all.at = tn_build_iota(g, TN_I64, 1, &all.n, 0);
    }
    for (size_t k = 0; k < 2 && !tn_oi_failed(x); k++) {
        kv[k] = tn_oi_store_of(x, &store[k], kv[k]);
        kv[k] = s->recent ? staged(x, past[k], kv[k], s) : present_of(x, past[k], kv[k], all.n, s);
        tn_oi_out(x, 1 + k, s->recent ? tn_oi_recent_cache(x, &recent, kv[k], held) : kv[k]);
        kv[k] = tn_oi_loaded(x, &store[k], kv[k], t);
    }
    return all;
}

/* ---- what is seen ------------------------------------------------------------------------------------------------ */

/* No query sees what is behind itself, so that rows that do not count see something, too. */
static tn_val seen_keys(tn_oi *x, const keys *all, const setting *s) {
    tn_graph *g = x->g;
    const tn_dim one = tn_dim_const(g, 1), each[] = {s->batch, one, one, one}, row[] = {s->batch, one, s->steps, one};
    if (!s->causal) return tn_build_lt(g, all->at, tn_build_reshape_to(g, s->total, 4, each));
    tn_val now = tn_build_reshape_to(g, row_positions(x, s), 4, row), seen = tn_build_le(g, all->at, now);
    if (s->window)
        seen = tn_build_and(g, seen, tn_build_gt(g, all->at, tn_build_scalar(g, TN_OP_SUB, now, (double)s->window)));
    return all->real.i ? tn_build_and(g, seen, all->real) : seen;
}

/* Columns of the bias at the keys' positions. */
static tn_val columns_at(tn_oi *x, tn_val v, const keys *all, const setting *s) {
    tn_graph *g = x->g;
    const tn_dim dims[] = {s->batch, tn_val_dim(g, v, 1), s->steps, all->n};
    const tn_dim wide[] = {s->batch, dims[1], s->steps, tn_val_dim(g, v, 3)};
    tn_val last = tn_build_scalar(g, TN_OP_SUB, tn_oi_size_value(x, wide[3]), 1);
    tn_val at = tn_build_scalar(g, TN_OP_MAX, tn_build_min(g, all->at, last), 0); /* others are not seen */
    return tn_build_gather_elements(g, tn_build_broadcast_to(g, v, 4, wide), tn_build_broadcast_to(g, at, 4, dims),
                                    (tn_attrs_axis){.axis = 3});
}

/* attention_bias [B or 1, N or 1, S, T], for as many keys as there are. */
static tn_val given_bias(tn_oi *x, const keys *all, const setting *s) {
    tn_graph *g = x->g;
    tn_val v = tn_oi_in(x, 10);
    if (!v.i || tn_oi_failed(x)) return v;
    if (tn_val_rank(g, v) != 4) {
        tn_oi_fail(x, TN_E_FORMAT, "", "attention_bias has rank %zu; it must be 4", tn_val_rank(g, v));
        return v;
    }
    tn_oi_fits(x, TN_REL_BCAST_TO, v, 0, "attention_bias", s->batch, "the batch");
    tn_oi_fits(x, TN_REL_BCAST_TO, v, 1, "attention_bias", tn_dim_const(g, s->heads), "the heads");
    tn_oi_fits(x, TN_REL_EQUAL, v, 2, "attention_bias", s->steps, "the queries");
    const tn_dim zero = tn_dim_const(g, 0), none[] = {zero, zero, zero, zero}, n = tn_val_dim(g, v, 3);
    const tn_dim more[] = {zero, zero, zero, tn_dim_max(g, tn_dim_sub(g, all->n, n), zero)};
    if (s->recent) return columns_at(x, v, all, s);
    if (n.i == all->n.i) return v;
    v = tn_build_pad(g, v, (tn_attrs_pad){.before = {none, 4}, .after = {more, 4}, .mode = "constant"});
    return tn_build_slice_axis(g, v, 3, zero, all->n);
}

/* One more logit of each head: given, or 0. */
static tn_val sink_of(tn_oi *x, tn_dtype t) {
    if (tn_oi_has(x, 11)) return tn_oi_in(x, 11);
    return tn_oi_int(x, "smooth_softmax", 0) == 1 ? tn_const_num(x->g, t, 0) : (tn_val){0};
}

/* ---- the op ------------------------------------------------------------------------------------------------------ */

static bool read_setting(tn_oi *x, setting *s) {
    tn_graph *g = x->g;
    const int64_t window = tn_oi_int(x, "local_window_size", -1), causal = tn_oi_int(x, "causal", 1);
    *s = (setting){.heads = tn_oi_positive(x, "num_heads"), .kv_heads = tn_oi_positive(x, "kv_num_heads")};
    tn_val lengths = tn_oi_need(x, 5), given = tn_oi_need(x, 0);
    if (tn_oi_failed(x)) return false;
    if (s->heads % s->kv_heads || tn_val_rank(g, lengths) > 2 || tn_val_rank(g, given) != 3 ||
        (causal != 0 && causal != 1)) {
        tn_oi_fail(x, TN_E_FORMAT, "", "%lld heads of queries, %lld of keys; query of rank %zu; causal = %lld",
                   (long long)s->heads, (long long)s->kv_heads, tn_val_rank(g, given), (long long)causal);
        return false;
    }
    if (window > 0 && !causal) {
        tn_oi_fail(x, TN_E_FORMAT, "", "local_window_size = %lld without causal", (long long)window);
        return false;
    }
    s->recent = tn_oi_int(x, "sliding_window_cache", 0) == 1;
    if (s->recent && (window < 1 || !tn_oi_has(x, 3) || tn_oi_wants(x, 3))) {
        tn_oi_fail(x, tn_oi_wants(x, 3) ? TN_E_UNSUPPORTED : TN_E_FORMAT, "",
                   "sliding_window_cache goes with local_window_size and past_key, and without output_qk");
        return false;
    }
    s->causal = causal;
    s->window = window > 0 ? window : 0;
    s->batch = tn_val_dim(g, given, 0);
    s->steps = tn_val_dim(g, given, 1);
    tn_val total = tn_build_reshape_to(g, tn_build_cast_to(g, lengths, TN_I64), 1, &s->batch);
    s->total = tn_build_scalar(g, TN_OP_ADD, total, 1);
    tn_val count = tn_oi_has(x, 16) ? tn_build_cast_to(g, tn_oi_in(x, 16), TN_I64) : tn_oi_size_value(x, s->steps);
    s->count = tn_build_min(g, count, s->total);
    s->before = tn_build_sub(g, s->total, s->count);
    return !tn_oi_failed(x);
}

/* Output 3: the logits (1) or their softmax (2) of all T tokens, 0 where nothing is seen. */
static void put_products(tn_oi *x, const tn_oi_attention *a, tn_val seen) {
    tn_graph *g = x->g;
    const int64_t which = tn_oi_int(x, "qk_output", 0);
    if (!tn_oi_wants(x, 3) || tn_oi_failed(x)) return;
    if (which != 1 && which != 2) {
        tn_oi_fail(x, TN_E_FORMAT, "set qk_output to 1 or 2", "output_qk with qk_output = %lld", (long long)which);
        return;
    }
    tn_val v =
        tn_build_select(g, seen, which == 1 ? a->logits : a->weights, tn_const_num(g, tn_val_dtype(g, a->logits), 0));
    const tn_oi_sym *total = tn_oi_sym_of(x, 6);
    if (total && total->n == 1 && total->d) v = tn_build_slice_axis(g, v, 3, tn_dim_const(g, 0), total->d[0]);
    tn_oi_out(x, 3, v);
}

void tn_oi_op_group_query_attention(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val v[3], past[] = {tn_oi_in(x, 3), tn_oi_in(x, 4)};
    setting s;
    if (tn_oi_failed(x) || !read_setting(x, &s) || !read_operands(x, &s, v)) return;
    if ((past[0].i != 0) != (past[1].i != 0) || (past[0].i && tn_val_rank(g, past[0]) != 4)) {
        tn_oi_fail(x, TN_E_FORMAT, "", "past_key and past_value come together, and have rank 4");
        return;
    }
    for (size_t k = 0; k < 3; k++) v[k] = tn_oi_split_heads(x, v[k], k ? s.kv_heads : s.heads);
    v[0] = normalised(x, v[0], 14, "q_norm_epsilon");
    v[1] = normalised(x, v[1], 15, "k_norm_epsilon");
    if (tn_oi_int(x, "do_rotary", 0))
        for (size_t k = 0; k < 2; k++) v[k] = turned(x, v[k], &s);
    if (tn_oi_failed(x)) return;
    const tn_dtype t = tn_val_dtype(g, v[0]);
    const keys all = with_cache(x, &s, past, v + 1);
    if (tn_oi_failed(x)) return;
    tn_val seen = seen_keys(x, &all, &s);
    tn_oi_attention a = {.q = v[0], .k = v[1], .v = v[2], .sink = sink_of(x, t), .cap = tn_oi_num(x, "softcap", 0)};
    a.scale = tn_oi_scale(x, v[0]);
    a.bias = tn_oi_plus(x, given_bias(x, &all, &s), tn_oi_bias_of(x, seen, t, tn_oi_lowest(t)));
    tn_oi_out(x, 0, tn_oi_attend(x, &a));
    put_products(x, &a, seen);
}
