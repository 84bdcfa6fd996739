/* kv_cache.c: caches of keys and values that do not just grow: of a fixed capacity, of the last tokens, of few bits. */
#include "frontend/onnx/attention/attention.h"

#include <string.h>

/* ---- a fixed capacity -------------------------------------------------------------------------------------------- */

/* `first`, looked up in the table of the places where S rows fit, so that one outside it is noticed like any
 * other index that data gives. */
static tn_val checked_place(tn_oi *x, tn_val first, tn_dim rows, tn_dim capacity) {
    tn_graph *g = x->g;
    const tn_dim places = tn_dim_add(g, tn_dim_sub(g, capacity, rows), tn_dim_const(g, 1));
    tn_val outside = tn_oi_size_value(x, places), zero = tn_const_num(g, TN_I64, 0);
    first = tn_build_select(g, tn_build_lt(g, first, zero), outside, first);
    return tn_build_gather(g, tn_build_iota(g, TN_I64, 1, &places, 0), first, (tn_attrs_axis){.axis = 0});
}

/* Numbers of all batches, [B]. */
static tn_val each_batch(tn_graph *g, tn_val v, tn_dim batch) {
    return tn_build_broadcast_to(g, v, 1, &batch);
}

tn_val tn_oi_put_rows(tn_oi *x, tn_val buffer, tn_val rows, tn_val first, tn_val count) {
    tn_graph *g = x->g;
    if (tn_oi_failed(x)) return buffer;
    const tn_dim batch = tn_val_dim(g, buffer, 0), capacity = tn_val_dim(g, buffer, 2), steps = tn_val_dim(g, rows, 2);
    tn_oi_fits(x, TN_REL_AT_LEAST, buffer, 2, "the cache", steps, "what is new");
    if (tn_oi_failed(x)) return buffer;
    if (!count.i) count = tn_oi_size_value(x, steps);
    first = each_batch(g, checked_place(x, first, steps, capacity), batch);
    tn_val y = tn_build_put_rows(g, buffer, rows, first, each_batch(g, count, batch), (tn_attrs_put_rows){0});
    const tn_node put = y.i ? tn_val_def(g, y) : (tn_node){0};
    const bool may_share = tn_val_arg_of(g, buffer).i == tn_graph_body(g).i;
    if (put.i && !may_share && tn_expand(g, put, &y) == TN_OK) tn_erase(g, put);
    return y;
}

/* ---- the last tokens --------------------------------------------------------------------------------------------- */

/* How many of n tokens (i64 [B, 1]) a cache of C rows holds that must hold the last W: all while they fit; then as many as
 * are left when whole groups of C - W + 1 go, the oldest first. */
static tn_val resident(tn_oi *x, tn_val n, int64_t capacity, int64_t window) {
    tn_graph *g = x->g;
    const double group = (double)(capacity - window + 1);
    tn_val over = tn_build_scalar(g, TN_OP_MAX, tn_build_scalar(g, TN_OP_SUB, n, (double)capacity), 0);
    tn_val groups = tn_build_scalar(g, TN_OP_DIV, tn_build_scalar(g, TN_OP_ADD, over, group - 1), group);
    return tn_build_sub(g, n, tn_build_scalar(g, TN_OP_MUL, groups, group));
}

/* Rows 0, 1, ... of each batch, [B, n]. */
static tn_val rows_of(tn_oi *x, tn_dim batch, tn_dim n) {
    const tn_dim dims[] = {batch, n};
    return tn_build_iota(x->g, TN_I64, 2, dims, 1);
}

tn_oi_recent tn_oi_recent_rows(tn_oi *x, tn_dim batch, tn_dim capacity, tn_dim steps, int64_t window, tn_val before,
                               tn_val count) {
    tn_graph *g = x->g;
    tn_oi_recent r = {.source = {0}};
    int64_t c = 0;
    if (tn_oi_failed(x)) return r;
    if (!tn_dim_is_const(g, capacity, &c) || c < window || window < 1) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "", "a cache of %lld rows (0: not known) for a window of %lld", (long long)c,
                   (long long)window);
        return r;
    }
    before = tn_build_unsqueeze(g, before, 1);
    count = tn_build_unsqueeze(g, count, 1);
    tn_val total = tn_build_add(g, before, count), held = resident(x, before, c, window);
    tn_val old = rows_of(x, batch, capacity), fresh = rows_of(x, batch, steps), first = tn_build_sub(g, before, held);
    const tn_val at[] = {tn_build_add(g, old, first), tn_build_add(g, fresh, before)};
    const tn_val real[] = {tn_build_lt(g, old, held), tn_build_lt(g, fresh, count)};
    r.at = tn_build_concat(g, 2, at, 1);
    r.real = tn_build_concat(g, 2, real, 1);
    /* row i of the result has position T - L(T) + i: in the old rows, or behind them in the new */
    tn_val stays = resident(x, total, c, window);
    r.kept = tn_build_lt(g, old, stays);
    tn_val position = tn_build_add(g, tn_build_sub(g, total, stays), old),
           end = tn_oi_size_value(x, tn_dim_add(g, capacity, steps));
    tn_val among_new = tn_build_scalar(g, TN_OP_ADD, tn_build_sub(g, position, before), (double)c);
    r.source = tn_build_select(g, tn_build_ge(g, position, before), among_new, tn_build_sub(g, position, first));
    r.source = tn_build_scalar(g, TN_OP_MAX, tn_build_min(g, r.source, tn_build_scalar(g, TN_OP_SUB, end, 1)), 0);
    return r;
}

tn_val tn_oi_recent_cache(tn_oi *x, const tn_oi_recent *r, tn_val staged, tn_dim capacity) {
    tn_graph *g = x->g;
    int64_t heads = 0;
    if (tn_oi_failed(x)) return staged;
    const tn_dim one = tn_dim_const(g, 1), batch = tn_val_dim(g, staged, 0), each[] = {batch, one, capacity, one};
    if (!tn_dim_is_const(g, tn_val_dim(g, staged, 1), &heads)) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "", "the cache's number of heads is not known");
        return staged;
    }
    tn_val at = tn_build_unsqueeze(g, r->source, 2), kept = tn_build_reshape_to(g, r->kept, 4, each);
    tn_val v = tn_build_gather_nd(g, tn_oi_merge_heads(x, staged), at, (tn_attrs_gather_nd){.batch_dims = 1});
    return tn_build_select(g, kept, tn_oi_split_heads(x, v, heads), tn_const_num(g, tn_val_dtype(g, staged), 0));
}

/* ---- few bits ---------------------------------------------------------------------------------------------------- */

bool tn_oi_read_store(tn_oi *x, const char *how, tn_val cache, size_t k_scale, tn_oi_store *s) {
    const char *type = tn_oi_str(x, how, "NONE");
    *s = (tn_oi_store){.dtype = TN_DTYPE_NONE};
    if (!strcmp(type, "NONE")) return true;
    if (strcmp(type, "PER_TENSOR") != 0 && strcmp(type, "PER_CHANNEL") != 0) {
        tn_oi_fail(x, TN_E_FORMAT, "it is NONE, PER_TENSOR or PER_CHANNEL", "%s = %s", how, type);
        return false;
    }
    s->scale = tn_oi_need(x, k_scale);
    if (tn_oi_failed(x)) return false;
    s->dtype = cache.i ? tn_val_dtype(x->g, cache) : TN_DTYPE_NONE;
    s->packed = tn_oi_int(x, "kv_cache_bit_width", 8) == 4;
    if (s->packed ? s->dtype != TN_U8 : s->dtype != TN_I8 && s->dtype != TN_F8E4M3) {
        tn_oi_fail(x, TN_E_TYPE, "", "a quantised cache of %lld bits in %s",
                   (long long)tn_oi_int(x, "kv_cache_bit_width", 8), s->dtype ? tn_dtype_text(s->dtype) : "none");
        return false;
    }
    return true;
}

/* Every second element of the last axis, from `from` on. */
static tn_val every_second(tn_oi *x, tn_val v, int64_t from) {
    tn_graph *g = x->g;
    const tn_dim two = tn_dim_const(g, 2), one = tn_dim_const(g, 1);
    tn_dim dims[5];
    for (size_t k = 0; k < 4; k++) dims[k] = tn_val_dim(g, v, k);
    dims[3] = tn_dim_floordiv(g, dims[3], two);
    dims[4] = two;
    v = tn_build_slice_axis(g, tn_build_reshape_to(g, v, 5, dims), 4, tn_dim_const(g, from), one);
    return tn_build_squeeze(g, v, 4);
}

tn_val tn_oi_store_of(tn_oi *x, const tn_oi_store *s, tn_val v) {
    tn_graph *g = x->g;
    if (!s->dtype || tn_oi_failed(x)) return v;
    v = tn_build_div(g, tn_build_cast_to(g, v, TN_F32), s->scale);
    if (s->dtype == TN_F8E4M3) return tn_build_cast(g, v, (tn_attrs_cast){.to = s->dtype, .saturate = true});
    v = tn_build_clamp(g, tn_build_round(g, v), s->packed ? (tn_attrs_clamp){-8, 7} : (tn_attrs_clamp){-128, 127});
    if (!s->packed) return tn_build_cast_to(g, v, TN_I8);
    v = tn_build_cast_to(g, tn_build_scalar(g, TN_OP_ADD, v, 8), TN_U8); /* two a byte, the first one low */
    return tn_build_or(g, every_second(x, v, 0), tn_build_scalar(g, TN_OP_SHL, every_second(x, v, 1), 4));
}

tn_val tn_oi_loaded(tn_oi *x, const tn_oi_store *s, tn_val v, tn_dtype t) {
    tn_graph *g = x->g;
    if (!s->dtype || tn_oi_failed(x)) return v;
    if (s->packed) {
        const tn_dim dims[] = {tn_val_dim(g, v, 0), tn_val_dim(g, v, 1), tn_val_dim(g, v, 2),
                               tn_dim_mul(g, tn_val_dim(g, v, 3), tn_dim_const(g, 2))};
        const tn_val both[] = {tn_build_unsqueeze(g, tn_build_scalar(g, TN_OP_AND, v, 15), 4),
                               tn_build_unsqueeze(g, tn_build_scalar(g, TN_OP_SHR, v, 4), 4)};
        v = tn_build_reshape_to(g, tn_build_concat(g, 2, both, 4), 4, dims);
        v = tn_build_scalar(g, TN_OP_SUB, tn_build_cast_to(g, v, TN_F32), 8);
    }
    return tn_build_cast_to(g, tn_build_mul(g, tn_build_cast_to(g, v, TN_F32), s->scale), t);
}
