/* ranges.c: see ranges.h.  A measurement, not a proof: it finds the layers whose magnitudes grow with depth, which is
 * how a network leaves float16's range in practice. */
#include "passes/precision/ranges.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>
#include "ir/eval/eval.h"

enum { MAX_SYMBOLS = 64 };

typedef struct measurement {
    const tn_graph *g;
    double *max_abs;
    uint32_t n;
} measurement;

/* Values of the graph's symbols; false if there are too many. */
static bool bind(const tn_graph *g, tn_binding *b, size_t cap, size_t *n) {
    *n = tn_sym_count(g);
    if (*n > cap) return false;
    for (size_t k = 0; k < *n; k++) {
        tn_dim s = tn_sym_at(g, k);
        b[k] = (tn_binding){tn_dim_name(g, s), tn_dim_typical(g, s)};
    }
    return true;
}

static bool shape_of(const tn_graph *g, tn_val v, const tn_binding *b, size_t n, int64_t *dims, double *numel) {
    *numel = 1;
    for (size_t k = 0; k < tn_val_rank(g, v); k++) {
        if (!tn_dim_eval(g, tn_val_dim(g, v, k), b, n, &dims[k]) || dims[k] < 0) return false;
        *numel *= (double)dims[k];
    }
    return true;
}

/* Multiply-adds of the heavy ops, times two; *ops: how many these are. */
static double flops_of(const tn_graph *g, const tn_binding *b, size_t n, uint32_t *ops) {
    double sum = 0;
    *ops = 0;
    TN_FOR_NODES(g, tn_graph_body(g), node) {
        tn_op op = tn_node_op(g, node);
        int64_t out[TN_MAX_RANK], w[TN_MAX_RANK];
        double numel, inner = 1;
        if (op != TN_OP_CONV && op != TN_OP_MATMUL) continue;
        if (!shape_of(g, tn_node_result(g, node, 0), b, n, out, &numel)) return INFINITY;
        tn_val weight = tn_node_input(g, node, op == TN_OP_CONV ? 1 : 0);
        if (!shape_of(g, weight, b, n, w, &inner)) return INFINITY;
        size_t rank = tn_val_rank(g, weight);
        if (op == TN_OP_CONV)
            inner /= w[0] > 0 ? (double)w[0] : 1;
        else
            inner = (double)w[TN_ATTRS_OF(g, node, matmul)->trans_a ? rank - 2 : rank - 1];
        sum += 2 * numel * inner;
        ++*ops;
    }
    return sum;
}

static void on_value(void *user, tn_val v, const tn_tensor *t) {
    measurement *m = user;
    if (v.i >= m->n || !tn_dtype_is_float(t->dtype)) return;
    m->max_abs[v.i] = tn_max_abs(t->dtype, t->data, (size_t)tn_tensor_numel(t), false);
}

static void fill(tn_tensor *t, uint64_t *x) {
    for (int64_t i = 0, n = tn_tensor_numel(t); i < n; i++) {
        *x = *x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407); /* Knuth's MMIX generator */
        if (tn_dtype_is_float(t->dtype))
            tn_store_num(t->dtype, t->data, (uint64_t)i, (double)(*x >> 11) * 0x1p-52 - 1.0);
        else
            tn_store_int(t->dtype, t->data, (uint64_t)i, (int64_t)(*x >> 62) & (t->dtype == TN_BOOL ? 1 : 3));
    }
}

static tn_status evaluate(const tn_env *env, tn_graph *g, const tn_binding *b, size_t n_bind, measurement *m) {
    size_t n_in = tn_graph_input_count(g), n_out = tn_graph_output_count(g);
    tn_tensor *in = tn_alloc(env, (n_in + 1) * sizeof *in), *out = tn_alloc(env, (n_out + 1) * sizeof *out);
    tn_status s = in && out ? TN_OK : TN_E_MEMORY;
    uint64_t seed = 1;
    for (size_t k = 0; s == TN_OK && k < n_in; k++) {
        int64_t dims[TN_MAX_RANK];
        double numel;
        tn_val v = tn_graph_input(g, k);
        s = shape_of(g, v, b, n_bind, dims, &numel)
                ? tn_tensor_new(env, tn_val_dtype(g, v), tn_val_rank(g, v), dims, &in[k])
                : TN_E_TYPE;
        if (s == TN_OK) fill(&in[k], &seed);
    }
    tn_eval_opts opts = {.fast = true, .symbols = b, .n_symbols = n_bind, .on_value = on_value, .user = m};
    if (s == TN_OK) s = tn_eval_graph(env, g, in, n_in, out, n_out, &opts);
    for (size_t k = 0; s == TN_OK && k < n_out; k++) tn_tensor_free(env, &out[k]);
    for (size_t k = 0; in && k < n_in; k++) tn_tensor_free(env, &in[k]);
    tn_free(env, in, (n_in + 1) * sizeof *in);
    tn_free(env, out, (n_out + 1) * sizeof *out);
    return s;
}

/* Halves the sizes of symbols first to end - 1, where the graph still runs then; false if none gets smaller. */
static bool halve(const tn_graph *g, tn_binding *b, size_t n, size_t first, size_t end) {
    tn_binding t[MAX_SYMBOLS];
    bool smaller = false;
    memcpy(t, b, n * sizeof *b);
    for (size_t k = first; k < end; k++) {
        int64_t lo, hi;
        tn_dim_bounds(g, tn_sym_at(g, k), &lo, &hi);
        if (t[k].value / 2 < (lo > 1 ? lo : 1)) continue;
        t[k].value /= 2;
        smaller = true;
    }
    if (!smaller || !tn_conditions_hold(g, t, n, true)) return false;
    memcpy(b, t, n * sizeof *b);
    return true;
}

/* Smaller sizes, until the work is little enough: of all symbols, or of those that can have smaller ones alone. */
static bool shrink(const tn_graph *g, tn_binding *b, size_t n, double max_flops) {
    bool smaller = true;
    uint32_t ops;
    while (flops_of(g, b, n, &ops) > max_flops && smaller) {
        smaller = halve(g, b, n, 0, n);
        for (size_t k = 0, all = smaller; k < n && !all; k++) smaller |= halve(g, b, n, k, k + 1);
    }
    return flops_of(g, b, n, &ops) <= max_flops;
}

/* On random numbers a loop may not end. */
static bool holds_loop(const tn_graph *g, tn_region r) {
    TN_FOR_NODES(g, r, n) {
        if (tn_node_op(g, n) == TN_OP_LOOP) return true;
        for (size_t k = 0; k < tn_node_subregion_count(g, n); k++)
            if (holds_loop(g, tn_node_subregion(g, n, k))) return true;
    }
    return false;
}

/* ---- what is known of an equal graph ------------------------------------------------------------------------------ */

/* Values in order of definition, which is the same in equal graphs. */
typedef struct values {
    uint32_t n, *of;
} values;

/* Nesting is bounded by TN_MAX_NESTING. */
static void list_values(const tn_graph *g, tn_region r, values *l) {
    for (size_t k = 0; k < tn_region_arg_count(g, r); k++) l->of[l->n++] = tn_region_arg(g, r, k).i;
    TN_FOR_NODES(g, r, n) {
        for (size_t k = 0; k < tn_node_subregion_count(g, n); k++) list_values(g, tn_node_subregion(g, n, k), l);
        for (size_t k = 0; k < tn_node_result_count(g, n); k++) l->of[l->n++] = tn_node_result(g, n, k).i;
    }
}

typedef enum outcome {
    UNKNOWN,
    MEASURED,
    REFUSED /* the graph does not take random inputs: up to where it refused */
} outcome;

typedef struct record {
    const tn_pass_memo *memo;
    char key[128 + MAX_SYMBOLS * 40];
    values l;
    double *said; /* the outcome, and the magnitudes in that order */
    uint32_t room;
} record;

static void end_record(const tn_env *env, record *r) {
    tn_free(env, r->l.of, r->room * sizeof *r->l.of);
    tn_free(env, r->said, r->room * sizeof *r->said);
}

static bool begin_record(tn_graph *g, const tn_binding *b, size_t n_bind, record *r) {
    const tn_env *env = tn_graph_env(g);
    r->room = tn_graph_val_limit(g) + 1;
    r->l.of = tn_alloc(env, r->room * sizeof *r->l.of);
    r->said = tn_alloc(env, r->room * sizeof *r->said);
    if (!r->l.of || !r->said) return false;
    list_values(g, tn_graph_body(g), &r->l);
    size_t at = (size_t)snprintf(
        r->key, sizeof r->key, "ranges 1 graph=%016llx values=%u sizes=", (unsigned long long)tn_graph_hash(g), r->l.n);
    for (size_t k = 0; k < n_bind; k++)
        at += (size_t)snprintf(r->key + at, sizeof r->key - at, "%016llx=%lld,",
                               (unsigned long long)XXH3_64bits(b[k].name, strlen(b[k].name)), (long long)b[k].value);
    return at < sizeof r->key;
}

static outcome recall(const tn_env *env, const record *r, double *max_abs) {
    const size_t want = (r->l.n + 1) * sizeof *r->said;
    void *data;
    size_t size;
    if (!r->memo->get(r->memo->user, r->key, &data, &size)) return UNKNOWN;
    const bool fits = size >= want;
    if (fits) memcpy(r->said, data, want);
    tn_free(env, data, size);
    for (uint32_t k = 0; fits && k < r->l.n; k++) max_abs[r->l.of[k]] = r->said[k + 1];
    return !fits ? UNKNOWN : r->said[0] == MEASURED ? MEASURED : REFUSED;
}

static void keep(const record *r, outcome o, const double *max_abs) {
    r->said[0] = o;
    for (uint32_t k = 0; k < r->l.n; k++) r->said[k + 1] = max_abs[r->l.of[k]];
    r->memo->put(r->memo->user, r->key, r->said, (r->l.n + 1) * sizeof *r->said);
}

/* Threads of the BLAS wait for each other longer than a small product takes. */
static outcome measure(tn_graph *g, const tn_binding *b, size_t n_bind, double *max_abs, uint32_t n) {
    static const double SMALL = 1e8; /* a few milliseconds */
    tn_env quiet = tn_graph_env(g) ? *tn_graph_env(g) : (tn_env){0};
    quiet.diag = NULL; /* random data may be refused: that is no error of the user's */
    measurement m = {g, max_abs, n};
    uint32_t ops;
    const bool alone = flops_of(g, b, n_bind, &ops) < SMALL * ops;
    if (alone) tn_eval_single_threaded(true);
    const tn_status s = evaluate(&quiet, g, b, n_bind, &m);
    if (alone) tn_eval_single_threaded(false);
    return s == TN_OK ? MEASURED : s == TN_E_CANCELLED || s == TN_E_MEMORY ? UNKNOWN : REFUSED;
}

/* Measured by a former run, or now. */
static outcome measure_once(tn_graph *g, const tn_binding *b, size_t n_bind, const tn_pass_memo *memo, double *max_abs,
                            uint32_t n) {
    record r = {.memo = memo};
    outcome o = UNKNOWN;
    const bool ok = begin_record(g, b, n_bind, &r);
    if (ok) o = recall(tn_graph_env(g), &r, max_abs);
    if (ok && o == UNKNOWN) {
        o = measure(g, b, n_bind, max_abs, n);
        if (o != UNKNOWN) keep(&r, o, max_abs);
    }
    end_record(tn_graph_env(g), &r);
    return o;
}

bool tn_measure_ranges(tn_graph *g, double max_flops, const tn_pass_memo *memo, double *max_abs, uint32_t n) {
    tn_binding b[MAX_SYMBOLS];
    size_t n_bind;
    const tn_env *env = tn_graph_env(g);
    if (holds_loop(g, tn_graph_body(g))) {
        tn_report(env, TN_NOTE, TN_OK, "precision", "the range of values was not measured: the graph holds a loop");
        return false;
    }
    if (!bind(g, b, MAX_SYMBOLS, &n_bind) || !shrink(g, b, n_bind, max_flops)) {
        tn_report(env, TN_NOTE, TN_OK, "precision", "the range of values was not measured: too much work for the CPU");
        return false;
    }
    const outcome o = memo ? measure_once(g, b, n_bind, memo, max_abs, n) : measure(g, b, n_bind, max_abs, n);
    if (o == REFUSED)
        tn_report(env, TN_NOTE, TN_OK, "precision",
                  "the range of values was not measured: the graph does not take random inputs");
    return o == MEASURED;
}
