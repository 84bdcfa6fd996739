/* typical.c: how large things typically are, and sizes at which a graph can be tried.
 *
 * A symbol without a hint counts as TN_TYPICAL, or as the nearest size in its range; one that a node makes as half of the most
 * that it can be.  Where the graph's conditions do not
 * hold at those sizes, others are looked for: what a condition says outright, then one symbol after the other, each
 * time to the size that leaves the fewest conditions open, then one size for all.  Hints are only set if all conditions
 * hold then. */
#include "ir/internal.h"
#include "tenon/internal/arith.h"

enum { CAP = 64, ROUNDS = 3 };

static const int64_t sizes[] = {1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 224, 256, 512};
enum { N_SIZES = sizeof sizes / sizeof *sizes };

static bool typical_value(const void *user, const tn_graph *g, tn_dim sym, int64_t *out) {
    int64_t lo = 0, hi = 0;
    (void)user;
    const tn_dim most = tn_dim_rec_of(g, sym)->most;
    tn_dim_bounds(g, sym, &lo, &hi);
    *out = tn_dim_hint(g, sym);
    if (*out > 0) return true;
    *out = most.i ? (tn_dim_typical(g, most) + 1) / 2 : TN_TYPICAL;
    *out = tn_clamp(*out, lo, hi);
    return true;
}

int64_t tn_dim_typical(const tn_graph *g, tn_dim d) {
    int64_t v = 0;
    return tn_dim_eval_by(g, d, typical_value, NULL, &v) && v > 0 ? v : 1;
}

double tn_typical_numel(const tn_graph *g, tn_val v) {
    double n = 1;
    for (size_t k = 0; k < tn_val_rank(g, v); k++) n *= (double)tn_dim_typical(g, tn_val_dim(g, v, k));
    return n;
}

static bool bucket_value(const void *bucket, const tn_graph *g, tn_dim sym, int64_t *out) {
    *out = tn_bucket_typical(g, *(const size_t *)bucket, sym);
    return true;
}

double tn_bucket_numel(const tn_graph *g, size_t bucket, tn_val v) {
    double n = 1;
    for (size_t k = 0; k < tn_val_rank(g, v); k++) {
        int64_t d;
        n *= tn_dim_eval_by(g, tn_val_dim(g, v, k), bucket_value, &bucket, &d) && d > 0 ? (double)d : 1;
    }
    return n;
}

typedef struct trial {
    tn_graph *g;
    size_t n;
    bool chosen; /* conditions of what data chooses count, too */
    tn_binding at[CAP];
    tn_dim sym[CAP];
    bool free[CAP];
} trial;

static size_t open_conditions(const trial *t) {
    size_t open = 0;
    for (size_t k = 0; k < tn_condition_count(t->g); k++) {
        tn_condition c = tn_condition_at(t->g, k);
        int64_t a = 0, b = 0;
        if (!t->chosen && !tn_condition_always(t->g, &c)) continue;
        open += !tn_dim_eval(t->g, c.a, t->at, t->n, &a) || !tn_dim_eval(t->g, c.b, t->at, t->n, &b) ||
                !tn_rel_holds(c.rel, a, b);
    }
    return open;
}

static bool in_range(const trial *t, size_t k, int64_t v) {
    int64_t lo = 0, hi = 0;
    tn_dim_bounds(t->g, t->sym[k], &lo, &hi);
    return lo <= v && v <= hi;
}

/* "K must be 5" */
static void take_what_is_said(trial *t) {
    for (size_t k = 0; k < tn_condition_count(t->g); k++) {
        tn_condition c = tn_condition_at(t->g, k);
        int64_t v = 0;
        if (c.rel != TN_REL_EQUAL || !tn_dim_is_const(t->g, c.b, &v) || v < 1) continue;
        for (size_t s = 0; s < t->n; s++)
            if (t->sym[s].i == c.a.i && t->free[s] && in_range(t, s, v)) t->at[s].value = v;
    }
}

static bool one_for_all(trial *t) {
    trial best = *t;
    for (size_t j = 0; j < N_SIZES; j++) {
        for (size_t s = 0; s < t->n; s++)
            if (t->free[s] && in_range(t, s, sizes[j])) best.at[s].value = sizes[j];
        if (open_conditions(&best)) continue;
        *t = best;
        return true;
    }
    return false;
}

static bool one_by_one(trial *t) {
    size_t open = open_conditions(t);
    for (int round = 0; round < ROUNDS && open; round++)
        for (size_t s = 0; s < t->n && open; s++) {
            int64_t best = t->at[s].value;
            for (size_t j = 0; j < N_SIZES && t->free[s]; j++) {
                if (!in_range(t, s, sizes[j])) continue;
                t->at[s].value = sizes[j];
                size_t now = open_conditions(t);
                if (now < open) open = now, best = sizes[j];
            }
            t->at[s].value = best;
        }
    return !open;
}

/* False: at no sizes that were tried all of them hold. */
static bool close_conditions(trial *t) {
    take_what_is_said(t);
    return !open_conditions(t) || one_by_one(t) || one_for_all(t);
}

void tn_graph_choose_hints(tn_graph *g) {
    trial t = {.g = g, .n = tn_sym_count(g), .chosen = true};
    if (!tn_graph_ok(g) || t.n > CAP || !tn_condition_count(g)) return;
    for (size_t k = 0; k < t.n; k++) {
        t.sym[k] = tn_sym_at(g, k);
        t.free[k] = tn_dim_hint(g, t.sym[k]) <= 0;
        t.at[k] = (tn_binding){tn_dim_name(g, t.sym[k]), tn_dim_typical(g, t.sym[k])};
    }
    trial all = t;
    if (!open_conditions(&t)) return;
    if (!close_conditions(&all)) { /* branches may contradict each other */
        t.chosen = false;
        if (!open_conditions(&t) || !close_conditions(&t)) return;
        all = t;
    }
    t = all;
    for (size_t k = 0; k < t.n; k++)
        if (t.free[k] && t.at[k].value != tn_dim_typical(g, t.sym[k])) tn_dim_set_hint(g, t.sym[k], t.at[k].value);
}
