/* recur.c: recurrent layers, step by step (ir/type/recur.c says what they are).  Sums and the cell state are double; h is
 * rounded to its storage after each step. */
#include <math.h>

#include "ir/eval/internal.h"

typedef struct layer {
    const tn_attrs_recur *a;
    const tn_cell *cell;
    int64_t steps, batch, hidden, directions;
    double *x, *r, *h, *c, *bias, *peep, *sums; /* of one step and sequence; r: of one direction */
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

/* sums[j] = row j of r times v, for gates from .. to - 1. */
static void recurrent(const layer *l, int64_t from, int64_t to, const double *v) {
    for (int64_t j = from * l->hidden; j < to * l->hidden; j++) {
        double sum = 0;
        for (int64_t k = 0; k < l->hidden; k++) sum += l->r[j * l->hidden + k] * v[k];
        l->sums[j] = sum;
    }
}

static void rnn_step(const layer *l) {
    recurrent(l, 0, 1, l->h);
    for (int64_t u = 0; u < l->hidden; u++) {
        const double v = clipped(l, l->x[u] + l->sums[u]);
        l->h[u] = is(l->a->cell, "rnn_relu") ? (v > 0 || isnan(v) ? v : 0) : tanh(v);
    }
}

static void gru_step(const layer *l) {
    const int64_t n = l->hidden;
    double *z = l->sums, *r = z + n, *last = r + n, *reset = last + n;
    recurrent(l, 0, l->cell->two_phases ? 2 : 3, l->h);
    for (int64_t u = 0; u < n; u++) {
        z[u] = sigmoid(clipped(l, l->x[u] + z[u]));
        r[u] = sigmoid(clipped(l, l->x[n + u] + r[u]));
        reset[u] = r[u] * l->h[u];
    }
    if (l->cell->two_phases) recurrent(l, 2, 3, reset);
    for (int64_t u = 0; u < n; u++) {
        const double part = l->cell->two_phases ? last[u] : r[u] * (last[u] + l->bias[u]);
        const double now = tanh(clipped(l, l->x[2 * n + u] + part));
        l->h[u] = (1 - z[u]) * now + z[u] * l->h[u];
    }
}

static void lstm_step(const layer *l) {
    const int64_t n = l->hidden;
    recurrent(l, 0, 4, l->h);
    for (int64_t u = 0; u < n; u++) {
        double v[4];
        for (int k = 0; k < 4; k++) v[k] = l->x[k * n + u] + l->sums[k * n + u];
        const double i = sigmoid(clipped(l, v[0] + l->peep[u] * l->c[u]));
        const double f = l->a->couple ? 1 - i : sigmoid(clipped(l, v[2] + l->peep[2 * n + u] * l->c[u]));
        l->c[u] = f * l->c[u] + i * tanh(clipped(l, v[3]));
        l->h[u] = sigmoid(clipped(l, v[1] + l->peep[n + u] * l->c[u])) * tanh(l->c[u]);
    }
}

static void load_or_zero(const tn_ev *c, size_t k, int64_t at, int64_t n, double *to) {
    if (tn_ev_has(c, k))
        tn_ev_load_f(&c->in[k], at, 1, (size_t)n, to);
    else
        memset(to, 0, (size_t)n * sizeof *to);
}

/* Sequence b in direction d. */
static void sequence(tn_ev *c, const layer *l, int64_t d, int64_t b) {
    const int64_t n = l->hidden, gates = l->cell->gates * n, state = (d * l->batch + b) * n;
    const int64_t row = l->directions * l->batch * n;
    const bool reverse = d == 1 || is(l->a->direction, "reverse");
    const int64_t length = tn_ev_has(c, 6) ? tn_ev_get_i(&c->in[6], b) : l->steps;
    tn_ev_load_f(&c->in[2], state, 1, (size_t)n, l->h);
    load_or_zero(c, 3, state, n, l->c);
    for (int64_t k = 0; k < l->steps; k++) {
        const int64_t t = reverse ? l->steps - 1 - k : k;
        if (t >= length) {
            memset(l->sums, 0, (size_t)n * sizeof *l->sums);
            tn_ev_store_f(&c->out[0], t * row + state, 1, (size_t)n, l->sums);
            continue;
        }
        tn_ev_load_f(&c->in[0], ((t * l->batch + b) * l->directions + d) * gates, 1, (size_t)gates, l->x);
        if (l->cell->gates == 1)
            rnn_step(l);
        else if (l->cell->gates == 3)
            gru_step(l);
        else
            lstm_step(l);
        tn_ev_store_f(&c->out[0], t * row + state, 1, (size_t)n, l->h);
        tn_ev_load_f(&c->out[0], t * row + state, 1, (size_t)n, l->h); /* as it is stored */
    }
    tn_ev_store_f(&c->out[0], l->steps * row + state, 1, (size_t)n, l->h);
    if (l->cell->keeps_cell) tn_ev_store_f(&c->out[0], (l->steps + 1) * row + state, 1, (size_t)n, l->c);
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
    const int64_t room = gates + gates * n + 2 * n + n + 3 * n + 4 * n;
    double *all = tn_ev_scratch(c, room, sizeof *all);
    if (!all) return tn_ev_no_memory(c);
    l.x = all, l.r = l.x + gates, l.h = l.r + gates * n, l.c = l.h + n, l.bias = l.c + n, l.peep = l.bias + n;
    l.sums = l.peep + 3 * n;
    for (int64_t d = 0; d < ds; d++) {
        tn_ev_load_f(&c->in[1], d * gates * n, 1, (size_t)(gates * n), l.r);
        load_or_zero(c, 4, d * n, n, l.bias);
        load_or_zero(c, 5, d * 3 * n, 3 * n, l.peep);
        for (int64_t k = 0; k < b; k++) sequence(c, &l, d, k);
    }
    tn_ev_drop(c, all, room, sizeof *all);
    return TN_OK;
}
