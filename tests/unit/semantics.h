/* semantics.h: a small bench for tests of op semantics: build a graph of one or a few ops, evaluate it, compare with
 * numbers.
 *
 *     bench b; bench_open(&b);
 *     tn_val x = bench_input(&b, TN_F32, 2, DIMS(2, 3), NUMS(1, 2, 3, 4, 5, 6));
 *     bench_eval(&b, 1, (tn_val[]){tn_unary(b.g, TN_OP_NEG, x)});
 *     bench_expect(&b, 0, 2, DIMS(2, 3), NUMS(-1, -2, -3, -4, -5, -6), 0);
 *     bench_close(&b); */
#ifndef TENON_TESTS_SEMANTICS_H
#define TENON_TESTS_SEMANTICS_H

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ir/eval/eval.h"

#define DIMS(...) ((const int64_t[]){__VA_ARGS__})
#define NUMS(...) ((const double[]){__VA_ARGS__})
#define INTS(...)                                                                                                      \
    { (const int64_t[]){__VA_ARGS__}, sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t) }
#define LIST(T, ...)                                                                                                   \
    { (const T[]){__VA_ARGS__}, sizeof((const T[]){__VA_ARGS__}) / sizeof(T) }

enum { BENCH_MAX = 16 };

typedef struct bench {
    tn_env env;
    char message[1000]; /* of the last diagnostic */
    char loc[200];
    tn_graph *g;
    size_t n_in, n_out;
    tn_tensor in[BENCH_MAX], out[BENCH_MAX];
    tn_eval_opts opts;
    uint32_t wild; /* not 0: a seed; inputs get symbolic types and shapes that may not fit, and every outcome but a
                      crash is fine */
} bench;

static inline void bench_diag(void *user, const tn_diag *d) {
    bench *b = user;
    snprintf(b->message, sizeof b->message, "%s", d->message);
    snprintf(b->loc, sizeof b->loc, "%s", d->loc);
}

static inline void bench_open(bench *b) {
    memset(b, 0, sizeof *b);
    b->env.diag = bench_diag;
    b->env.diag_user = b;
    b->g = tn_graph_new(&b->env);
    ck_assert_ptr_nonnull(b->g);
}

static inline void bench_drop_outputs(bench *b) {
    for (size_t k = 0; k < b->n_out; k++) tn_tensor_free(&b->env, &b->out[k]);
    b->n_out = 0;
}

static inline void bench_close(bench *b) {
    bench_drop_outputs(b);
    for (size_t k = 0; k < b->n_in; k++) tn_tensor_free(&b->env, &b->in[k]);
    tn_graph_free(b->g);
}

static inline tn_tensor bench_tensor(bench *b, tn_dtype t, size_t rank, const int64_t *dims, const double *v) {
    tn_tensor x;
    ck_assert_int_eq(tn_tensor_new(&b->env, t, rank, dims, &x), TN_OK);
    int64_t n = tn_tensor_numel(&x);
    for (int64_t k = 0; v && k < n; k++) {
        if (tn_dtype_is_float(t))
            tn_store_num(t, x.data, (uint64_t)k, v[k]);
        else
            tn_store_int(t, x.data, (uint64_t)k, (int64_t)v[k]);
    }
    return x;
}

/* An input with a symbolic type; its tensor is made of v. */
static inline tn_val bench_input_as(bench *b, const char *name, tn_type type, size_t rank, const int64_t *dims,
                                    const double *v) {
    ck_assert_uint_lt(b->n_in, BENCH_MAX);
    b->in[b->n_in++] = bench_tensor(b, tn_type_dtype(b->g, type), rank, dims, v);
    tn_val x = tn_graph_add_input(b->g, name, type);
    ck_assert_uint_ne(x.i, 0);
    return x;
}

static inline uint32_t bench_random(bench *b) {
    b->wild = b->wild * 1664525u + 1013904223u;
    return b->wild >> 16;
}

/* An input whose sizes are all symbols (some shared, some constant) and whose tensor's sizes are near dims. */
static inline tn_val bench_wild_input(bench *b, const char *name, tn_dtype t, size_t rank, const int64_t *dims) {
    static const char *const symbols[] = {"A", "B", "C", "D"};
    tn_dim d[TN_MAX_RANK];
    int64_t size[TN_MAX_RANK], n = 1;
    for (size_t k = 0; k < rank; k++) {
        uint32_t how = bench_random(b) % 8;
        size[k] = how < 5 ? dims[k] : how == 5 ? dims[k] + 1 : how == 6 && dims[k] > 1 ? dims[k] - 1 : 1;
        d[k] = bench_random(b) % 8 == 0   ? tn_dim_sym(b->g, symbols[bench_random(b) % 4])
               : bench_random(b) % 4 == 0 ? tn_dim_const(b->g, size[k])
                                          : tn_dim_fresh(b->g, "s");
        n *= size[k];
    }
    double *v = malloc((size_t)n * sizeof *v + 1);
    for (int64_t k = 0; k < n; k++) v[k] = (double)(bench_random(b) % 9) - 3;
    tn_val x = bench_input_as(b, name, tn_type_make(b->g, t, rank, d), rank, size, v);
    free(v);
    return x;
}

static inline tn_val bench_input(bench *b, tn_dtype t, size_t rank, const int64_t *dims, const double *v) {
    char name[16];
    snprintf(name, sizeof name, "x%zu", b->n_in);
    if (b->wild) return bench_wild_input(b, name, t, rank, dims);
    return bench_input_as(b, name, tn_type_const(b->g, t, rank, dims), rank, dims, v);
}

/* Whether the type rule refused the node: an error unless the bench is wild. */
static inline bool bench_refused(const bench *b, tn_node n) {
    ck_assert_msg(n.i != 0 || b->wild, "%s", b->message);
    return n.i == 0;
}

static inline tn_val bench_op(bench *b, tn_op op, const void *attrs, size_t n, const tn_val *in) {
    tn_val v = tn_emit1(b->g, op, attrs, n, in);
    ck_assert_msg(v.i != 0, "%s: %s", tn_op_text(op), b->message);
    return v;
}

/* Ends the function with these outputs and evaluates it. */
static inline tn_status bench_try(bench *b, size_t n, const tn_val *vals) {
    static const char *const names[BENCH_MAX] = {"y0", "y1", "y2", "y3", "y4", "y5", "y6", "y7",
                                                 "y8", "y9", "ya", "yb", "yc", "yd", "ye", "yf"};
    bench_drop_outputs(b);
    memset(b->out, 0, sizeof b->out);
    ck_assert_msg(tn_graph_set_outputs(b->g, n, vals, names) == TN_OK, "%s", b->message);
    tn_status s = tn_eval_graph(&b->env, b->g, b->in, b->n_in, b->out, n, &b->opts);
    if (s == TN_OK) b->n_out = n;
    return s;
}

static inline void bench_eval(bench *b, size_t n, const tn_val *vals) {
    tn_status s = bench_try(b, n, vals);
    if (b->wild)
        ck_assert_msg(s == TN_OK || s == TN_E_ARGUMENT || s == TN_E_TYPE, "%s: %s", tn_status_text(s), b->message);
    else
        ck_assert_msg(s == TN_OK, "%s: %s", tn_status_text(s), b->message);
}

static inline double bench_get(const tn_tensor *t, int64_t k) {
    return tn_dtype_is_float(t->dtype) ? tn_load_num(t->dtype, t->data, (uint64_t)k)
                                       : (double)tn_load_int(t->dtype, t->data, (uint64_t)k);
}

/* |got - want| <= tol * (1 + |want|), NaN equals NaN. */
static inline bool bench_close_to(double got, double want, double tol) {
    if (isnan(want) || isnan(got)) return isnan(want) && isnan(got);
    return got == want || (isfinite(want) && fabs(got - want) <= tol * (1 + fabs(want)));
}

/* `want` as the value's dtype holds it; *tol grows to its precision where the evaluation is wide and did not round. */
static inline double bench_rounded(const bench *b, size_t out, double want, double *tol) {
    tn_dtype t = tn_val_dtype(b->g, tn_graph_output(b->g, out));
    double v = want;
    if (!tn_dtype_is_float(t)) return want;
    tn_store_num(t, &v, 0, want);
    double slack = t == TN_F64 ? 0 : t == TN_F32 ? 0x1p-22 : 0x1p-7;
    if (b->opts.wide && *tol < slack) *tol = slack;
    return tn_load_num(t, &v, 0);
}

static inline void bench_expect(bench *b, size_t out, size_t rank, const int64_t *dims, const double *want,
                                double tol) {
    const tn_tensor *t = &b->out[out];
    if (b->wild) return;
    ck_assert_uint_lt(out, b->n_out);
    ck_assert_uint_eq(t->rank, rank);
    for (size_t k = 0; k < rank; k++) ck_assert_int_eq(t->dims[k], dims[k]);
    for (int64_t k = 0; k < tn_tensor_numel(t); k++) {
        double w = bench_rounded(b, out, want[k], &tol);
        ck_assert_msg(bench_close_to(bench_get(t, k), w, tol), "output %zu[%lld] is %.17g, expected %.17g", out,
                      (long long)k, bench_get(t, k), w);
    }
}

/* Outputs p and q hold the same numbers. */
static inline void bench_same(bench *b, size_t p, size_t q, double tol) {
    const tn_tensor *x = &b->out[p], *y = &b->out[q];
    ck_assert_uint_eq(x->rank, y->rank);
    for (size_t k = 0; k < x->rank; k++) ck_assert_int_eq(x->dims[k], y->dims[k]);
    for (int64_t k = 0; k < tn_tensor_numel(x); k++)
        ck_assert_msg(bench_close_to(bench_get(x, k), bench_get(y, k), tol), "element %lld: %.9g and %.9g",
                      (long long)k, bench_get(x, k), bench_get(y, k));
}

/* Reproducible numbers in [lo, hi]. */
static inline double *bench_noise(size_t n, double lo, double hi, uint32_t seed) {
    double *v = malloc((n ? n : 1) * sizeof *v);
    uint64_t s = seed * 2654435761u + 1;
    for (size_t k = 0; k < n; k++) {
        s = s * 6364136223846793005u + 1442695040888963407u;
        v[k] = lo + (hi - lo) * (double)(s >> 40) / (double)(1 << 24);
    }
    return v;
}

static inline tn_val bench_noise_input(bench *b, tn_dtype t, size_t rank, const int64_t *dims, double lo, double hi,
                                       uint32_t seed) {
    size_t n = 1;
    for (size_t k = 0; k < rank; k++) n *= (size_t)dims[k];
    double *v = bench_noise(n, lo, hi, seed);
    tn_val x = bench_input(b, t, rank, dims, v);
    free(v);
    return x;
}

/* An allocator that fails after `left` allocations (negative: never) and counts live bytes. */
typedef struct heap {
    long left;
    size_t live, peak;
} heap;

static inline void *heap_alloc(void *user, void *p, size_t old_size, size_t size) {
    heap *h = user;
    if (size == 0) {
        free(p);
        h->live -= p ? old_size : 0;
        return NULL;
    }
    if (h->left == 0) return NULL;
    if (h->left > 0) h->left--;
    void *q = realloc(p, size);
    h->live += size - (p ? old_size : 0);
    h->peak = h->live > h->peak ? h->live : h->peak;
    return q;
}

/* Evaluates the bench's graph again and again, failing the n-th allocation for every n: always TN_E_MEMORY, never a
 * leak or a crash, until it succeeds. */
static inline void bench_starve(bench *b) {
    heap h = {.left = -1};
    tn_env env = {.alloc = heap_alloc, .alloc_user = &h};
    size_t n_out = tn_graph_output_count(b->g);
    for (long n = 0;; n++) {
        tn_tensor out[BENCH_MAX] = {{0}};
        h.left = n;
        ck_assert_int_lt(n, 10000);
        tn_status s = tn_eval_graph(&env, b->g, b->in, b->n_in, out, n_out, &b->opts);
        h.left = -1;
        for (size_t k = 0; k < n_out; k++) {
            if (s != TN_OK) ck_assert_ptr_null(out[k].data);
            tn_tensor_free(&env, &out[k]);
        }
        ck_assert_uint_eq(h.live, 0);
        if (s == TN_OK) return;
        ck_assert_int_eq(s, TN_E_MEMORY);
    }
}

#endif
