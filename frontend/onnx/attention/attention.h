/* attention.h: what attentions are made of (attention.c, rotary.c), for those of com.microsoft. */
#ifndef TENON_ONNX_ATTENTION_H
#define TENON_ONNX_ATTENTION_H

#include "frontend/onnx/import.h"

/* [B, S, H*D] -> [B, H, S, D]; 4-D tensors have that shape already. */
tn_val tn_oi_split_heads(tn_oi *x, tn_val v, int64_t heads);
tn_val tn_oi_merge_heads(tn_oi *x, tn_val v);
/* Grouped queries: each of v's heads serves as many query heads as make up `heads`. */
tn_val tn_oi_repeat_heads(tn_oi *x, tn_val v, tn_dim heads);
/* a + b; either may be none. */
tn_val tn_oi_plus(tn_oi *x, tn_val a, tn_val b);
/* What is added to scores: 0 where `allowed`, else a number. */
tn_val tn_oi_bias_of(tn_oi *x, tn_val allowed, tn_dtype t, double otherwise);
double tn_oi_lowest(tn_dtype t); /* the most negative finite number */

/* Rotates pairs (a, b) of the first `rotated` elements of each head of v [B, H, S, D], or [B, S, H, D], by angles whose cosines
 * and sines are [B or 1, 1, S, rotated / 2], or [B or 1, S, 1, rotated / 2]: neighbours (pairs), or elements of the two halves. */
tn_val tn_oi_rotate(tn_oi *x, tn_val v, tn_val cosine, tn_val sine, int64_t rotated, bool pairs);
/* A table [B, S, angles], given so or looked up by `positions` [B, S] in one [positions, angles], as tn_oi_rotate wants
 * it for a v of these sizes whose heads are axis 1 or 2. */
tn_val tn_oi_angles(tn_oi *x, tn_val table, tn_val positions, tn_dim batch, tn_dim steps, int64_t angles,
                    size_t head_axis);

/* One attention of com.microsoft: q [B, N, S, D], k [B, Nk, T, D], v [B, Nk, T, Dv], all of one dtype. */
typedef struct tn_oi_attention {
    tn_val q, k, v;
    tn_val bias;       /* broadcasts to the scores; may be none */
    tn_val sink;       /* one more logit of each row, [N] or a scalar, that takes part in the sum alone; may be none */
    double scale, cap; /* of q k^T; cap 0: none */
    tn_val logits;     /* result: scaled, capped and biased */
    tn_val weights;    /* result: their softmax */
} tn_oi_attention;
/* The result as [B, S, N * Dv]. */
tn_val tn_oi_attend(tn_oi *x, tn_oi_attention *a);
/* 1 / sqrt(D), unless attribute `scale` says otherwise. */
double tn_oi_scale(tn_oi *x, tn_val q);
/* A positive attribute; 0 (an error) where it is missing. */
int64_t tn_oi_positive(tn_oi *x, const char *name);

/* ---- kv_cache.c ---- */

/* A cache that holds more rows than are used: `rows` [B, N, S, D] at positions first.. of each batch (i64, [B] or [1]),
 * `count` of them ([B] or [1], none: all), in buffer [B, N, M, D]. */
tn_val tn_oi_put_rows(tn_oi *x, tn_val buffer, tn_val rows, tn_val first, tn_val count);

/* A cache that holds the last tokens only, oldest first.  Keys are its rows, and behind them those that are new. */
typedef struct tn_oi_recent {
    tn_val at, real;     /* of each key, [B, C + S]: its position; whether it is one */
    tn_val source, kept; /* of each row of the new cache, [B, C]: the key that it holds; whether it holds one */
} tn_oi_recent;
/* `before` tokens there were, `count` of S are new (i64 [B]). */
tn_oi_recent tn_oi_recent_rows(tn_oi *x, tn_dim batch, tn_dim capacity, tn_dim steps, int64_t window, tn_val before,
                               tn_val count);
/* The new cache [B, N, C, D] of keys or values [B, N, C + S, D]. */
tn_val tn_oi_recent_cache(tn_oi *x, const tn_oi_recent *r, tn_val staged, tn_dim capacity);

/* How a cache holds floats: as they are (dtype NONE), or divided by a scale and rounded. */
typedef struct tn_oi_store {
    tn_dtype dtype;
    bool packed; /* 4 bits, plus 8, two a byte */
    tn_val scale;
} tn_oi_store;
/* As attribute `how` says, with the scale in input k_scale. */
bool tn_oi_read_store(tn_oi *x, const char *how, tn_val cache, size_t k_scale, tn_oi_store *s);
tn_val tn_oi_store_of(tn_oi *x, const tn_oi_store *s, tn_val v);           /* v [B, N, S, D], as it is held */
tn_val tn_oi_loaded(tn_oi *x, const tn_oi_store *s, tn_val v, tn_dtype t); /* ... and back */

#endif
