/* amplify.c: see amplify.h. */
#include <math.h>
#include <stdlib.h>
#include "tests/ir/amplify.h"
#include "passes/pass.h"
#include "passes/util.h"

enum { SAMPLES = 64, UNITS = 16 /* rules follow each other; most state 8 or less */, MAX_IO = 32 };

struct tn_amplifier {
    tn_graph *g; /* composites expanded: their values move too */
    tn_random r;
    bool keeps_zeros; /* but for their signs */
    double *largest;  /* of each value, the largest finite magnitude */
    tn_tensor sample[SAMPLES][MAX_IO];
};

static double uniform(tn_random *r) { /* in [-1, 1) */
    return (double)(tn_random_bits(r) >> 11) * 0x1p-52 - 1;
}

static double rounded(tn_dtype t, double v) {
    uint64_t room = 0;
    tn_store_num(t, &room, 0, v);
    return tn_load_num(t, &room, 0);
}

/* Moves the results of ops; operands and constants are exact, and f64 is not to be changed (eval.h). */
static void move(void *user, tn_val v, const tn_tensor *t) {
    tn_amplifier *a = user;
    const tn_node def = tn_val_def(a->g, v);
    const tn_dtype dtype = tn_val_dtype(a->g, v);
    if (t->dtype != TN_F64) return;
    const size_t count = (size_t)tn_tensor_numel(t), n_in = tn_node_input_count(a->g, def);
    double largest = a->largest[v.i] = tn_max_abs(TN_F64, t->data, count, true), *x = t->data;
    if (dtype == TN_F64 || n_in == 0) return;
    for (size_t k = 0; k < n_in; k++) largest = fmax(largest, a->largest[tn_node_input(a->g, def, k).i]);
    const double by = UNITS * tn_limits_of(dtype).eps * largest;
    for (size_t i = 0; i < count; i++) {
        if (x[i] != 0 || !a->keeps_zeros) x[i] = rounded(dtype, x[i] + by * uniform(&a->r));
        if (x[i] == 0) x[i] = copysign(0, uniform(&a->r));
    }
}

static bool expand(tn_amplifier *a, const tn_graph *g) {
    a->g = tn_graph_clone(g);
    tn_pass_ctx *ctx = a->g ? tn_pass_ctx_new(NULL, NULL) : NULL;
    const bool ok = ctx && tn_run_passes(a->g, "expand", ctx) == TN_OK;
    tn_pass_ctx_free(ctx);
    return ok;
}

tn_amplifier *tn_amplifier_new(const tn_graph *g, const tn_tensor *in, size_t n_in, size_t n_out,
                               const tn_eval_opts *opts, uint32_t seed) {
    tn_amplifier *a = calloc(1, sizeof *a);
    if (!a || n_out > MAX_IO || !expand(a, g) || !(a->largest = calloc(tn_graph_val_limit(a->g), sizeof *a->largest))) {
        tn_amplifier_free(a);
        return NULL;
    }
    tn_eval_opts moved = *opts;
    moved.wide = true;
    moved.on_value = move;
    moved.user = a;
    a->r.state = seed;
    for (size_t k = 0; k < n_in; k++)
        if (tn_dtype_is_float(in[k].dtype))
            a->largest[tn_graph_input(a->g, k).i] =
                tn_max_abs(in[k].dtype, in[k].data, (size_t)tn_tensor_numel(&in[k]), true);
    for (int k = 0; k < SAMPLES; k++) {
        a->keeps_zeros = k % 2;
        tn_eval_graph(NULL, a->g, in, n_in, a->sample[k], n_out, &moved);
    }
    return a;
}

void tn_amplifier_free(tn_amplifier *a) {
    if (!a) return;
    for (int k = 0; k < SAMPLES; k++)
        for (size_t i = 0; i < MAX_IO; i++) tn_tensor_free(NULL, &a->sample[k][i]);
    tn_graph_free(a->g);
    free(a->largest);
    free(a);
}

/* From a to b, either way: 0 if they are the same, infinite where b alone or a alone is no number. */
static double step(double a, double b) {
    if (a == b || (isnan(a) && isnan(b))) return 0;
    return isnan(b - a) ? INFINITY : b - a;
}

bool tn_amplifies(const tn_amplifier *a, size_t output, uint64_t i, double was, double is) {
    enum { BEYOND = 4 }; /* few samples do not meet the worst case */
    double up = 0, down = 0, by = step(was, is);
    for (int k = 0; k < SAMPLES; k++) {
        const tn_tensor *t = &a->sample[k][output];
        const double to = t->data ? tn_load_num(t->dtype, t->data, i) : was;
        up = fmax(up, step(was, to));
        down = fmax(down, isnan(to) ? step(was, to) : -step(was, to));
    }
    return by > 0 ? by <= BEYOND * up : -by <= BEYOND * down;
}
