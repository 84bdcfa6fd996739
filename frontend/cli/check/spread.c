/* spread.c: see spread.h.
 *
 * The graph is the optimised one, which says what is stored in 16 bits, but nothing in it is rounded there: a value
 * that overflows or a step that is taken because of a wrong rewrite shows in no sample, and so is not excused. */
#include "frontend/cli/check/spread.h"

#include <math.h>
#include <string.h>

#include "codegen/compile.h"
#include "codegen/host/opaque.h"
#include "ir/eval/eval.h"

enum { MAX_IO = 256 };

typedef struct noise {
    const tn_graph *g;
    uint64_t state;
    bool on;
} noise;

/* Uniform in [-1, 1). */
static double next(noise *n) {
    n->state = n->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407); /* Knuth's MMIX generator */
    return (double)(n->state >> 11) * 0x1p-52 - 1.0;
}

static void disturb(void *user, tn_val v, const tn_tensor *t) {
    noise *n = user;
    const tn_dtype dtype = tn_val_dtype(n->g, v);
    const double unit = dtype == TN_F16 ? 0x1p-11 : dtype == TN_BF16 ? 0x1p-8 : 0;
    if (!n->on || unit == 0 || t->dtype != TN_F64) return;
    double *x = t->data;
    for (int64_t i = 0, count = tn_tensor_numel(t); i < count; i++) x[i] *= 1 + SPREAD_UNITS * unit * next(n);
}

static double element(const tn_tensor *t, uint64_t i) {
    return tn_load_num(t->dtype, t->data, i);
}

static void widen(double *spread, uint64_t n, const tn_tensor *plain, const tn_tensor *moved) {
    for (uint64_t i = 0; i < n; i++) {
        const double d = fabs(element(moved, i) - element(plain, i));
        if (isfinite(d) && d > spread[i]) spread[i] = d;
    }
}

static tn_status sample(cli *c, tn_graph *g, const tn_tensor *in, size_t n_in, size_t n_out, double **spread,
                        uint64_t *count) {
    const tn_env *env = &c->env;
    noise n = {.g = g, .state = 1};
    const tn_eval_opts opts = {.wide = true, .on_value = disturb, .user = &n, .opaque = tn_run_opaque};
    tn_tensor plain[MAX_IO] = {{0}};
    tn_status st = tn_eval_graph(env, g, in, n_in, plain, n_out, &opts);
    if (st != TN_OK) return st;
    n.on = true;
    for (size_t k = 0; st == TN_OK && k < n_out; k++) {
        count[k] = (uint64_t)tn_tensor_numel(&plain[k]);
        spread[k] = tn_alloc(env, (count[k] + 1) * sizeof *spread[k]);
        if (!spread[k]) st = TN_E_MEMORY;
    }
    for (int s = 0; st == TN_OK && s < SPREAD_SAMPLES; s++) {
        tn_tensor moved[MAX_IO] = {{0}};
        st = tn_eval_graph(env, g, in, n_in, moved, n_out, &opts);
        for (size_t k = 0; st == TN_OK && k < n_out; k++) {
            widen(spread[k], count[k], &plain[k], &moved[k]);
            tn_tensor_free(env, &moved[k]);
        }
    }
    for (size_t k = 0; k < n_out; k++) tn_tensor_free(env, &plain[k]);
    return st;
}

tn_status cli_spread(cli *c, const char *model, const compile_setup *s, const tn_host_tensor *in, size_t n_in,
                     size_t n_out, double **spread, uint64_t *count) {
    tn_status st;
    tn_tensor t[MAX_IO];
    memset(spread, 0, n_out * sizeof *spread);
    if (n_in > MAX_IO || n_out > MAX_IO) return TN_E_UNSUPPORTED;
    tn_graph *g = tn_import_file(&c->env, model, &s->import, &st);
    if (g) st = cli_optimise(c, g, s);
    for (size_t k = 0; st == TN_OK && k < n_in; k++) {
        t[k] = (tn_tensor){.dtype = in[k].dtype, .rank = in[k].rank, .data = in[k].data, .bytes = in[k].bytes};
        memcpy(t[k].dims, in[k].dims, sizeof t[k].dims);
    }
    if (st == TN_OK) st = sample(c, g, t, n_in, n_out, spread, count);
    tn_graph_free(g);
    return st;
}

void cli_free_spread(cli *c, double **spread, const uint64_t *count, size_t n_out) {
    for (size_t k = 0; k < n_out; k++)
        if (spread[k]) tn_free(&c->env, spread[k], (count[k] + 1) * sizeof *spread[k]);
    memset(spread, 0, n_out * sizeof *spread);
}
