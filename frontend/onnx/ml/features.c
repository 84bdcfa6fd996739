/* features.c: operators that make features: of ai.onnx.ml, and counts of n-grams. */
#include "frontend/onnx/import.h"

#include <math.h>
#include <string.h>

/* Of the last axis. */
void tn_oi_op_array_feature_extractor(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val v = tn_oi_need(x, 0), at = tn_oi_need(x, 1);
    if (tn_oi_failed(x)) return;
    tn_dim count = tn_dim_const(g, 1);
    for (size_t k = 0; k < tn_val_rank(g, at); k++) count = tn_dim_mul(g, count, tn_val_dim(g, at, k));
    if (tn_val_rank(g, v) < 2) v = tn_build_unsqueeze(g, v, 0); /* one row */
    at = tn_build_reshape_to(g, at, 1, &count);
    tn_oi_out(x, 0, tn_build_gather(g, v, at, (tn_attrs_axis){.axis = (int64_t)tn_val_rank(g, v) - 1}));
}

/* An integer is above a number where it is above that rounded down. */
void tn_oi_op_binarizer(tn_oi *x) {
    const tn_val v = tn_oi_need(x, 0);
    if (tn_oi_failed(x)) return;
    const tn_dtype t = tn_val_dtype(x->g, v);
    const double threshold = tn_oi_num(x, "threshold", 0);
    const tn_val above = tn_build_scalar(x->g, TN_OP_GT, v, tn_dtype_is_float(t) ? threshold : floor(threshold));
    tn_oi_out(x, 0, tn_build_cast_to(x->g, above, t));
}

/* ---- TfIdfVectorizer --------------------------------------------------------------------------------------------- */

/* The n-grams of n items that are counted: grams[i * n + k] is item k of n-gram i, column[i] where its count goes, weights[i]
 * (NULL: 1) what it weighs. */
typedef struct pool {
    int64_t n;
    size_t count;
    const int64_t *grams, *column;
    const float *weights;
} pool;

enum { MOST_ITEMS = 64 };

/* Pools by n; how many there are, 0 on an error. */
static size_t read_pools(tn_oi *x, pool out[MOST_ITEMS]) {
    const int64_t *items = NULL, *starts = NULL, *columns = NULL, least = tn_oi_int(x, "min_gram_length", 1),
                  most = tn_oi_int(x, "max_gram_length", 1);
    const size_t n_items = tn_oi_ints(x, "pool_int64s", &items), n_starts = tn_oi_ints(x, "ngram_counts", &starts),
                 n_columns = tn_oi_ints(x, "ngram_indexes", &columns);
    const float *weights = NULL;
    const size_t n_weights = tn_oi_nums(x, "weights", &weights);
    const bool whole = n_columns && n_starts <= MOST_ITEMS && (!n_weights || n_weights == n_columns);
    size_t pools = 0, before = 0;
    for (size_t k = 0; k < n_starts && k < MOST_ITEMS; k++) {
        const int64_t n = (int64_t)k + 1, from = starts[k], to = k + 1 < n_starts ? starts[k + 1] : (int64_t)n_items;
        if (from < 0 || from > to || to > (int64_t)n_items || (to - from) % n) {
            tn_oi_fail(x, TN_E_FORMAT, "", "ngram_counts that do not fit a pool of %zu items", n_items);
            return 0;
        }
        const size_t count = (size_t)((to - from) / n);
        if (count && n >= least && n <= most && whole && before + count <= n_columns)
            out[pools++] = (pool){n, count, items + from, columns + before, n_weights ? weights + before : NULL};
        before += count;
    }
    if (!whole || before > n_columns)
        tn_oi_fail(x, TN_E_FORMAT, "", "%zu n-grams of up to %zu items have %zu indexes and %zu weights", before,
                   n_starts, n_columns, n_weights);
    return tn_oi_failed(x) ? 0 : pools;
}

/* An item that no n-gram has. */
static int64_t no_item(tn_oi *x) {
    const int64_t *items = NULL;
    int64_t least = 0, most = 0;
    for (size_t k = tn_oi_ints(x, "pool_int64s", &items); k-- > 0;) {
        if (items[k] < least) least = items[k];
        if (items[k] > most) most = items[k];
    }
    if (most == INT64_MAX && least == INT64_MIN)
        tn_oi_fail(x, TN_E_UNSUPPORTED, "", "a pool with both the least and the greatest integer");
    return most < INT64_MAX ? most + 1 : least == INT64_MIN ? 0 : least - 1;
}

/* How often each n-gram of p is in each row of v [B, L], which `beyond` elements follow that are none: [B, count].  Its items
 * lie `step` apart. */
static tn_val counted(tn_oi *x, tn_val v, tn_dim length, const pool *p, int64_t step) {
    tn_graph *g = x->g;
    tn_val all = {0};
    for (int64_t k = 0; k < p->n; k++) {
        int64_t *items = tn_oi_alloc(x, p->count * sizeof *items);
        if (!items) return v;
        for (size_t i = 0; i < p->count; i++) items[i] = p->grams[(int64_t)i * p->n + k];
        const tn_val from = tn_build_slice_axis(g, v, 1, tn_dim_const(g, k * step), length),
                     same = tn_build_eq(g, tn_build_unsqueeze(g, from, 2), tn_const_ints(g, TN_I64, p->count, items));
        all = k ? tn_build_and(g, all, same) : same;
    }
    return tn_build_reduce(g, TN_OP_REDUCE_SUM, tn_build_cast_to(g, all, TN_F32), 1, (const int64_t[]){1}, false);
}

/* Of the counts [B, n], each n-gram's, those of the columns: what no n-gram has is 0. */
static tn_val in_columns(tn_oi *x, tn_val counts, const pool *p, size_t pools, size_t size) {
    tn_graph *g = x->g;
    int64_t *from = tn_oi_alloc(x, size * sizeof *from), n = 0;
    if (!from) return counts;
    for (size_t k = 0; k < pools; k++)
        for (size_t i = 0; i < p[k].count; i++) {
            if (from[p[k].column[i]])
                tn_oi_fail(x, TN_E_UNSUPPORTED, "give each an index of its own", "two n-grams have the index %lld",
                           (long long)p[k].column[i]);
            from[p[k].column[i]] = ++n;
        }
    const tn_dim one[] = {tn_val_dim(g, counts, 0), tn_dim_const(g, 1)};
    const tn_val both[] = {tn_build_full(g, TN_F32, 2, one, 0), counts};
    return tn_build_gather(g, tn_build_concat(g, 2, both, 1), tn_const_ints(g, TN_I64, size, from),
                           (tn_attrs_axis){.axis = 1});
}

/* Counts [B, count] of p's n-grams as the mode says: themselves, the n-grams' weights where they are not 0, or both multiplied. */
static tn_val weighted(tn_oi *x, tn_val counts, const pool *p) {
    tn_graph *g = x->g;
    const char *mode = tn_oi_str(x, "mode", "");
    const bool tf = !strcmp(mode, "TF"), idf = !strcmp(mode, "IDF");
    const int64_t dims[] = {(int64_t)p->count};
    if (!tf && !idf && strcmp(mode, "TFIDF") != 0) tn_oi_fail(x, TN_E_FORMAT, "", "the mode '%.40s'", mode);
    if (idf) counts = tn_build_scalar(g, TN_OP_MIN, counts, 1);
    if (tf || !p->weights || tn_oi_failed(x)) return counts;
    return tn_build_mul(g, counts, tn_build_const(g, NULL, TN_F32, 1, dims, p->weights));
}

/* How many columns the result has. */
static size_t columns_of(tn_oi *x) {
    const int64_t *columns = NULL;
    int64_t size = 0;
    for (size_t k = tn_oi_ints(x, "ngram_indexes", &columns); k-- > 0;) {
        if (columns[k] < 0 || columns[k] >= 1 << 24)
            tn_oi_fail(x, TN_E_FORMAT, "", "the index %lld of an n-gram", (long long)columns[k]);
        if (columns[k] >= size) size = columns[k] + 1;
    }
    return (size_t)size;
}

/* v [B, L], and behind each row what is in no n-gram. */
static tn_val extended(tn_oi *x, tn_val v, int64_t by) {
    tn_graph *g = x->g;
    const int64_t item = no_item(x);
    const tn_dim dims[] = {tn_val_dim(g, v, 0), tn_dim_const(g, by)};
    const tn_val none = tn_build_reshape_to(g, tn_const_ints(g, TN_I64, 1, &item), 0, NULL),
                 both[] = {v, tn_build_broadcast_to(g, none, 2, dims)};
    return by ? tn_build_concat(g, 2, both, 1) : v;
}

/* The items of an n-gram lie 1 to max_skip_count + 1 apart. */
void tn_oi_op_tf_idf(tn_oi *x) {
    tn_graph *g = x->g;
    pool pools[MOST_ITEMS];
    tn_val v = tn_build_cast_to(g, tn_oi_need(x, 0), TN_I64), parts[MOST_ITEMS];
    const int64_t skips = tn_oi_int(x, "max_skip_count", 0);
    if (tn_oi_attr(x, "pool_strings"))
        tn_oi_fail(x, TN_E_UNSUPPORTED, "number the words outside of the model", "n-grams of strings");
    const size_t size = columns_of(x), n = read_pools(x, pools), rank = tn_oi_failed(x) ? 0 : tn_val_rank(g, v);
    if (rank > 2 || skips < 0 || skips > 1 << 16)
        tn_oi_fail(x, TN_E_FORMAT, "", "an input of rank %zu, and up to %lld items between", rank, (long long)skips);
    if (tn_oi_failed(x)) return;
    while (tn_val_rank(g, v) < 2) v = tn_build_unsqueeze(g, v, 0);
    const tn_dim length = tn_val_dim(g, v, 1), none[] = {tn_val_dim(g, v, 0), tn_dim_const(g, 0)};
    if (n) v = extended(x, v, (pools[n - 1].n - 1) * (skips + 1));
    for (size_t k = 0; k < n; k++) {
        parts[k] = counted(x, v, length, &pools[k], 1);
        for (int64_t step = 2; step <= (pools[k].n > 1 ? skips + 1 : 1); step++)
            parts[k] = tn_build_add(g, parts[k], counted(x, v, length, &pools[k], step));
        parts[k] = weighted(x, parts[k], &pools[k]);
    }
    tn_val counts = n ? parts[0] : tn_build_full(g, TN_F32, 2, none, 0);
    if (n > 1) counts = tn_build_concat(g, n, parts, 1);
    v = in_columns(x, counts, pools, n, size);
    tn_oi_out(x, 0, rank < 2 ? tn_build_squeeze(g, v, 0) : v);
}
