/* compile_order.c: in which order works are tuned.
 *
 * A deadline may come before all have raced, so the heaviest come first: by their share of their bucket's time, as the cost
 * model predicts it, so that no bucket is favoured for being large.  Of one kernel's works all but the first count less: what
 * was measured of the first guides them, so that they lose less where they do not race, and a few other kernels should race
 * between them, while theirs are built.  Special cases come after what they fall back on. */
#include <stdlib.h>
#include <string.h>

#include "codegen/compile.h"

static const double LATER = 0.5; /* what each further work of a kernel counts */

typedef struct place {
    double weight;
    size_t work;
} place;

static int by_weight(const void *a, const void *b) {
    const place *x = a, *y = b;
    if (x->weight != y->weight) return x->weight > y->weight ? -1 : 1;
    return (x->work > y->work) - (x->work < y->work);
}

/* As the cost model has it, or a record. */
static double predicted_us(const tn_work *w) {
    double best = 0;
    for (size_t k = 0; k < w->n; k++)
        if (!w->c[k].is_lt && (best == 0 || w->c[k].predicted_us < best)) best = w->c[k].predicted_us;
    return best > 0 ? best : 1;
}

/* Of each work the time that it takes in its case, all its kernels together; and of each case the sum. */
static void add_times(const tn_compilation *c, place *p, double total[TN_MAX_BUCKETS]) {
    for (size_t k = 0; k < c->n_works; k++) {
        const tn_work *w = &c->works[c->same[k]];
        const double us = w->n ? predicted_us(w) : 0;
        p[c->same[k]].weight += us;
        total[k / c->n_nodes] += us;
    }
}

/* Where a work stands among those of its kernel: another bucket is the first with each kernel. */
static size_t turn_of(const tn_compilation *c, size_t work) {
    const size_t node = work % c->n_nodes, kase = work / c->n_nodes;
    if (c->cases[kase].kind == TN_CASE_ANY) return (kase + node) % c->n_buckets;
    return c->n_buckets + (c->cases[kase].kind == TN_CASE_POINT);
}

static void add(const tn_compilation *c, size_t work, bool *there, size_t *out, size_t *n) {
    const tn_work *w = &c->works[work];
    if (there[work] || !w->n) return;
    there[work] = true;
    if (w->fallback) add(c, (size_t)(w->fallback - c->works), there, out, n);
    out[(*n)++] = work;
}

tn_status tn_tuning_order(const tn_compilation *c, size_t **out, size_t *n) {
    double total[TN_MAX_BUCKETS] = {0};
    place *p = tn_alloc(c->env, (c->n_works + 1) * sizeof *p);
    bool *there = tn_alloc(c->env, (c->n_works + 1) * sizeof *there);
    *out = tn_alloc(c->env, (c->n_works + 1) * sizeof **out);
    *n = 0;
    const tn_status s = p && there && *out ? TN_OK : TN_E_MEMORY;
    for (size_t k = 0; s == TN_OK && k < c->n_works; k++) p[k].work = k;
    if (s == TN_OK) add_times(c, p, total);
    for (size_t k = 0; s == TN_OK && k < c->n_works; k++) {
        p[k].weight /= total[k / c->n_nodes] > 0 ? total[k / c->n_nodes] : 1;
        for (size_t i = turn_of(c, k); i > 0; i--) p[k].weight *= LATER;
    }
    if (s == TN_OK) qsort(p, c->n_works, sizeof *p, by_weight);
    for (size_t k = 0; s == TN_OK && k < c->n_works; k++)
        if (tn_is_distinct(c, p[k].work)) add(c, p[k].work, there, *out, n);
    tn_free(c->env, p, (c->n_works + 1) * sizeof *p);
    tn_free(c->env, there, (c->n_works + 1) * sizeof *there);
    return s;
}
