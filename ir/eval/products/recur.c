/* recur.c: recurrent layers, step by step (ir/type/recur.c says what they are).  Sums and the cell state are double; h is
 * rounded to its storage after each step. */
#include <math.h>

#include "ir/eval/internal.h"

typedef struct layer {
    const tn_attrs_recur *a;
    const tn_cell *cell;
    int64_t steps, batch, hidden, directions;
    double *x, *bias, *peep;             /* of one step and sequence; of one direction */
    double *r, *h, *c, *z, *sums, *last; /* of one direction and all its sequences; last: sums of a second phase */
} layer;

static bool is(const char *s, const char *name) {
    return s && !strcmp(s, name);
}

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

static double clipped(const layer *l, double x) {
    const double most = l->a->clip;
    return most > 0 ? x > most ? most : x < -most ? -most : x : x;
}

static void rnn_step(const layer *l, const double *sums, double *h) {
    for (int64_t u = 0; u < l->hidden; u++) {
        const double v = clipped(l, l->x[u] + sums[u]);
        h[u] = is(l->a->cell, "rnn_relu") ? (v > 0 || isnan(v) ? v : 0) : tanh(v);
    }
}

static void gru_linear_step(const layer *l, const double *sums, double *h) {
    const int64_t n = l->hidden;
    for (int64_t u = 0; u < n; u++) {
        const double z = sigmoid(clipped(l, l->x[u] + sums[u])), r = sigmoid(clipped(l, l->x[n + u] + sums[n + u]));
        const double now = tanh(clipped(l, l->x[2 * n + u] + r * (sums[2 * n + u] + l->bias[u])));
        h[u] = (1 - z) * now + z * h[u];
    }
}

/* The first phase: z, and the state that r has reset. */
static void gru_reset(const layer *l, const double *sums, const double *h, double *z, double *reset) {
    const int64_t n = l->hidden;
    for (int64_t u = 0; u < n; u++) {
        z[u] = sigmoid(clipped(l, l->x[u] + sums[u]));
        reset[u] = sigmoid(clipped(l, l->x[n + u] + sums[n + u])) * h[u];
    }
}

static void gru_finish(const layer *l, const double *last, const double *z, double *h) {
    const int64_t n = l->hidden;
    for (int64_t u = 0; u < n; u++) h[u] = (1 - z[u]) * tanh(clipped(l, l->x[2 * n + u] + last[u])) + z[u] * h[u];
}

static void lstm_step(const layer *l, const double *sums, double *h, double *c) {
    const int64_t n = l->hidden;
    for (int64_t u = 0; u < n; u++) {
        double v[4];
        for (int k = 0; k < 4; k++) v[k] = l->x[k * n + u] + sums[k * n + u];
        const double i = sigmoid(clipped(l, v[0] + l->peep[u] * c[u]));
        const double f = l->a->couple ? 1 - i : sigmoid(clipped(l, v[2] + l->peep[2 * n + u] * c[u]));
        c[u] = f * c[u] + i * tanh(clipped(l, v[3]));
        h[u] = sigmoid(clipped(l, v[1] + l->peep[n + u] * c[u])) * tanh(c[u]);
    }
}

static void load_or_zero(const tn_ev *c, size_t k, int64_t at, int64_t n, double *to) {
    if (tn_ev_has(c, k))
        tn_ev_load_f(&c->in[k], at, 1, (size_t)n, to);
    else
        memset(to, 0, (size_t)n * sizeof *to);
}

/* sums = v times the transposed rows of gates from .. to - 1, for all sequences. */
static void recurrent(const layer *l, int64_t from, int64_t to, const double *v, double *sums) {
    const int64_t n = l->hidden, rows = (to - from) * n;
    if (l->batch && n) tn_ev_gemm(false, true, l->batch, rows, n, v, n, l->r + from * n * n, n, false, sums, rows);
}

static bool goes_on(const tn_ev *c, int64_t b, int64_t t) {
    return !tn_ev_has(c, 6) || t < tn_ev_get_i(&c->in[6], b);
}

static void load_gates(const tn_ev *c, const layer *l, int64_t t, int64_t b, int64_t d) {
    const int64_t gates = l->cell->gates * l->hidden;
    tn_ev_load_f(&c->in[0], ((t * l->batch + b) * l->directions + d) * gates, 1, (size_t)gates, l->x);
}

/* All sequences; the state of those that are at an end stays. */
static void step(const tn_ev *c, const layer *l, int64_t t, int64_t d) {
    const int64_t n = l->hidden, phase = l->cell->two_phases ? 2 : l->cell->gates, row = phase * n;
    double *reset = l->last; /* its products take its place */
    recurrent(l, 0, phase, l->h, l->sums);
    for (int64_t b = 0; b < l->batch; b++) {
        load_gates(c, l, t, b, d);
        double *h = l->h + b * n;
        if (l->cell->two_phases)
            gru_reset(l, l->sums + b * row, h, l->z + b * n, reset + b * n);
        else if (!goes_on(c, b, t))
            continue;
        else if (l->cell->gates == 1)
            rnn_step(l, l->sums + b * row, h);
        else if (l->cell->gates == 3)
            gru_linear_step(l, l->sums + b * row, h);
        else
            lstm_step(l, l->sums + b * row, h, l->c + b * n);
    }
    if (!l->cell->two_phases) return;
    recurrent(l, 2, 3, reset, l->sums);
    for (int64_t b = 0; b < l->batch; b++) {
        load_gates(c, l, t, b, d);
        if (goes_on(c, b, t)) gru_finish(l, l->sums + b * n, l->z + b * n, l->h + b * n);
    }
}

static void direction(tn_ev *c, const layer *l, int64_t d) {
    const int64_t n = l->hidden, states = l->batch * n, row = l->directions * states;
    const bool reverse = d == 1 || is(l->a->direction, "reverse");
    tn_tensor *y = &c->out[0];
    tn_ev_load_f(&c->in[1], d * l->cell->gates * n * n, 1, (size_t)(l->cell->gates * n * n), l->r);
    tn_ev_load_f(&c->in[2], d * states, 1, (size_t)states, l->h);
    load_or_zero(c, 3, d * states, states, l->c);
    load_or_zero(c, 4, d * n, n, l->bias);
    load_or_zero(c, 5, d * 3 * n, 3 * n, l->peep);
    for (int64_t k = 0; k < l->steps; k++) {
        const int64_t t = reverse ? l->steps - 1 - k : k;
        step(c, l, t, d);
        for (int64_t b = 0; b < l->batch; b++) {
            const int64_t at = t * row + d * states + b * n;
            double *h = l->h + b * n, *zero = l->x;
            if (goes_on(c, b, t)) {
                tn_ev_store_f(y, at, 1, (size_t)n, h);
                tn_ev_load_f(y, at, 1, (size_t)n, h); /* as it is stored */
            } else {
                memset(zero, 0, (size_t)n * sizeof *zero);
                tn_ev_store_f(y, at, 1, (size_t)n, zero);
            }
        }
    }
    tn_ev_store_f(y, l->steps * row + d * states, 1, (size_t)states, l->h);
    if (l->cell->keeps_cell) tn_ev_store_f(y, (l->steps + 1) * row + d * states, 1, (size_t)states, l->c);
}

static bool fits(const tn_ev *c, size_t k, size_t rank, int64_t p, int64_t q, int64_t r) {
    const int64_t dims[] = {p, q, r};
    const tn_tensor *t = &c->in[k];
    if (!tn_ev_has(c, k)) return true;
    if (t->rank != rank) return false;
    for (size_t i = 0; i < rank; i++)
        if (t->dims[i] != dims[i]) return false;
    return true;
}

tn_status tn_ev_recur(tn_ev *c) {
    const tn_attrs_recur *a = c->attrs;
    layer l = {.a = a, .cell = tn_cell_find(a->cell)};
    l.steps = c->in[0].dims[0], l.batch = c->in[0].dims[1], l.hidden = c->in[1].dims[2],
    l.directions = c->in[1].dims[0];
    const int64_t n = l.hidden, b = l.batch, ds = l.directions, gates = l.cell->gates * n;
    if (ds != (is(a->direction, "both") ? 2 : 1) || !fits(c, 0, 3, l.steps, b, ds * gates) ||
        !fits(c, 1, 3, ds, gates, n) || !fits(c, 2, 3, ds, b, n) || !fits(c, 3, 3, ds, b, n) ||
        !fits(c, 4, 2, ds, n, 0) || !fits(c, 5, 2, ds, 3 * n, 0) || !fits(c, 6, 1, b, 0, 0))
        return tn_ev_fail(c, TN_E_TYPE, "the sizes of its operands do not fit");
    const int64_t room = gates + 4 * n + gates * n + b * (4 * n + gates);
    double *all = tn_ev_scratch(c, room, sizeof *all);
    if (!all) return tn_ev_no_memory(c);
    l.x = all, l.bias = l.x + gates, l.peep = l.bias + n, l.r = l.peep + 3 * n, l.h = l.r + gates * n;
    l.c = l.h + b * n, l.z = l.c + b * n, l.last = l.z + b * n, l.sums = l.last + b * n;
    for (int64_t d = 0; d < ds; d++) direction(c, &l, d);
    tn_ev_drop(c, all, room, sizeof *all);
    return TN_OK;
}
