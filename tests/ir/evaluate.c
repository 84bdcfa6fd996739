/* evaluate.c: see evaluate.h. */
#include <math.h>
#include <stdio.h>
#include "evaluate.h"
#include "tests/ir/amplify.h"

enum { MAX_IO = 32 };

static uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* Floats in [-4, 4) with some exact integers among them, integers in [0, 4), bools. */
static void fill(tn_tensor *t, uint32_t *state) {
    int64_t n = tn_tensor_numel(t);
    for (int64_t i = 0; i < n; i++) {
        uint32_t r = next_random(state);
        if (t->dtype == TN_BOOL)
            tn_store_int(t->dtype, t->data, (uint64_t)i, r & 1);
        else if (!tn_dtype_is_float(t->dtype))
            tn_store_int(t->dtype, t->data, (uint64_t)i, r & 3);
        else
            tn_store_num(t->dtype, t->data, (uint64_t)i,
                         r % 5 == 0 ? (double)(r % 7) - 3 : (double)(r % 8192) / 1024 - 4);
    }
}

static int64_t size_of_symbol(const char *name, size_t k) {
    return name[0] == 's' && name[1] >= '0' && name[1] <= '9' && !name[2] ? name[1] - '0' : 3 + (int64_t)k;
}

static tn_status make_inputs(const tn_env *env, tn_graph *g, const tn_binding *b, size_t n_syms, tn_tensor *in,
                             const tn_compare *o) {
    uint32_t seed = o->seed;
    tn_random r = {o->seed};
    for (size_t k = 0; k < tn_graph_input_count(g); k++) {
        tn_val v = tn_graph_input(g, k);
        int64_t dims[TN_MAX_RANK];
        for (size_t i = 0; i < tn_val_rank(g, v); i++)
            if (!tn_dim_eval(g, tn_val_dim(g, v, i), b, n_syms, &dims[i])) return TN_E_ARGUMENT;
        tn_status s = tn_tensor_new(env, tn_val_dtype(g, v), tn_val_rank(g, v), dims, &in[k]);
        if (s != TN_OK) return s;
        if (o->flavoured)
            tn_random_fill(&r, o->flavour, &in[k]);
        else
            fill(&in[k], &seed);
    }
    return TN_OK;
}

static void on_value(void *user, tn_val v, const tn_tensor *t) {
    double *largest = user;
    (void)v;
    for (int64_t i = 0, n = tn_dtype_is_float(t->dtype) ? tn_tensor_numel(t) : 0; i < n; i++) {
        double x = fabs(tn_load_num(t->dtype, t->data, (uint64_t)i));
        *largest = isfinite(x) ? fmax(*largest, x) : INFINITY;
    }
}

static bool close_enough(double a, double b, const tn_compare *o, double largest) {
    if (o->conditioned && isinf(largest)) return true;
    if (!o->bits && isinf(largest) && !isfinite(b)) return true; /* rules for finite operands may make inf of NaN */
    if (isnan(a) || isnan(b)) return isnan(a) && isnan(b);
    if (o->bits) return a == b && signbit(a) == signbit(b);
    return a == b || fabs(a - b) <= o->atol + o->rtol * (o->conditioned ? largest : fabs(b));
}

typedef struct comparison {
    const tn_compare *o;
    tn_graph *before;
    size_t n_in, n_out;
    tn_tensor in[MAX_IO], was[MAX_IO], is[MAX_IO];
    tn_eval_opts opts;
    double largest;          /* on the original's way */
    tn_amplifier *amplifier; /* made at the first difference */
} comparison;

static bool is_amplified(comparison *c, size_t output, uint64_t i, double was, double is) {
    if (!c->o->amplified) return false;
    if (!c->amplifier) c->amplifier = tn_amplifier_new(c->before, c->in, c->n_in, c->n_out, &c->opts, c->o->seed);
    return c->amplifier && tn_amplifies(c->amplifier, output, i, was, is);
}

static tn_status compare(comparison *c, size_t output, char *why, size_t size) {
    const tn_tensor *a = &c->was[output], *b = &c->is[output];
    bool same = a->dtype == b->dtype && a->rank == b->rank;
    for (uint32_t k = 0; same && k < a->rank; k++) same = a->dims[k] == b->dims[k];
    if (!same) {
        snprintf(why, size, "output %zu has another shape or dtype", output);
        return TN_E_MISMATCH;
    }
    for (int64_t i = 0; i < tn_tensor_numel(a); i++) {
        uint64_t at = (uint64_t)i;
        double x = tn_load_num(a->dtype, a->data, at), y = tn_load_num(b->dtype, b->data, at);
        bool is_float = tn_dtype_is_float(a->dtype);
        if (is_float && close_enough(y, x, c->o, c->largest)) continue;
        if (!is_float && tn_load_int(a->dtype, a->data, at) == tn_load_int(b->dtype, b->data, at)) continue;
        if (is_amplified(c, output, at, x, y)) continue;
        snprintf(why, size, "output %zu element %lld was %.17g and is %.17g", output, (long long)i, x, y);
        return TN_E_MISMATCH;
    }
    return TN_OK;
}

static tn_status evaluate_and_compare(const tn_env *env, comparison *c, tn_graph *after, char *why, size_t size) {
    const tn_env quiet = {0};
    tn_eval_opts watched = c->opts;
    watched.on_value = on_value;
    watched.user = &c->largest;
    tn_status s = make_inputs(env, c->before, c->opts.symbols, c->opts.n_symbols, c->in, c->o);
    if (s != TN_OK) return s;
    for (size_t k = 0; k < c->n_in; k++) on_value(&c->largest, (tn_val){0}, &c->in[k]);
    if (tn_eval_graph(&quiet, c->before, c->in, c->n_in, c->was, c->n_out, &watched) != TN_OK) return TN_E_UNSUPPORTED;
    const size_t n_is =
        tn_graph_told_sizes(after).n ? tn_graph_output_count(after) : c->n_out; /* sizes behind the others */
    s = tn_eval_graph(env, after, c->in, c->n_in, c->is, n_is, &c->opts);
    for (size_t k = 0; s == TN_OK && k < c->n_out; k++) s = compare(c, k, why, size);
    return s;
}

tn_status tn_compare_graphs(const tn_env *env, tn_graph *before, tn_graph *after, const tn_compare *o, char *why,
                            size_t size) {
    tn_binding bind[MAX_IO];
    size_t n_syms = tn_sym_count(before), n_bound = 0;
    comparison c = {
        .o = o, .before = before, .n_in = tn_graph_input_count(before), .n_out = tn_graph_output_count(before)};
    snprintf(why, size, "cannot be evaluated");
    if (c.n_in > MAX_IO || tn_graph_output_count(after) > MAX_IO || c.n_out > MAX_IO || n_syms > MAX_IO)
        return TN_E_UNSUPPORTED;
    for (size_t k = 0; k < n_syms; k++) {
        const char *name = tn_dim_name(before, tn_sym_at(before, k));
        if (tn_dim_is_made(before, tn_sym_at(before, k))) continue;
        bind[n_bound++] = (tn_binding){name, size_of_symbol(name, k)};
    }
    c.opts = (tn_eval_opts){.total = true, .symbols = bind, .n_symbols = n_bound}; /* a random divisor may be 0 */
    tn_status s = evaluate_and_compare(env, &c, after, why, size);
    for (size_t k = 0; k < MAX_IO; k++) {
        tn_tensor_free(env, &c.in[k]);
        tn_tensor_free(env, &c.was[k]);
        tn_tensor_free(env, &c.is[k]);
    }
    tn_amplifier_free(c.amplifier);
    return s;
}
