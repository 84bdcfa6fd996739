/* compile_tune.c: tunes the specs of an architecture on the device, as a pipeline.
 *
 * Of each spec a few candidates are built and raced; then a few more, chosen by what the first showed (search.c), are
 * built before everything else in the queue while the next specs race, and compete with the fastest of the first.
 * References are made a few specs ahead.  A spec is tuned in each bucket where its sizes differ, all specs in the first
 * bucket before any in the next, special cases (cases.h) last.  Past the deadline a spec that has not raced takes the cost
 * model's choice. */
#include <stdio.h>
#include <string.h>

#include "codegen/compile.h"
#include "ir/eval/eval.h"

enum { FIRST = 5, MORE = 3, OPEN = 4, AHEAD = 8 };
static const double WORTH = 1.15;                 /* a candidate is built if it should come this close to the fastest */
static const double ALIKE = 1.02;                 /* times that do not differ */
static const size_t REFERENCES = (size_t)2 << 30; /* bytes */

typedef struct pipeline {
    tn_compilation *c;
    tn_work *open[OPEN]; /* raced once; more candidates are being built */
    size_t n_open;
    size_t referenced; /* works before this one have had their references started */
    size_t bytes;      /* of references that are not freed yet */
} pipeline;

static tn_status start_wanted(tn_compilation *c, tn_work *w, bool first) {
    tn_status s = TN_OK;
    for (size_t k = 0; s == TN_OK && k < w->n; k++)
        if (w->c[k].wanted) s = tn_start_build(c, w, k, first);
    return s;
}

tn_status tn_start_tuning(tn_compilation *c, tn_work *w) {
    if (w->from_cache) return tn_start_build(c, w, w->must = w->winner, false);
    if (w->follows) return TN_OK; /* want_winners: once that is known */
    tn_search_first(w, FIRST);
    while (w->must + 1 < w->n && !w->c[w->must].wanted) w->must++;
    return start_wanted(c, w, false);
}

/* Those of the next few works, as far as memory allows. */
static tn_status start_references(pipeline *p, size_t at) {
    tn_compilation *c = p->c;
    tn_status s = TN_OK;
    for (; s == TN_OK && p->referenced < c->n_works && p->referenced < at + AHEAD; p->referenced++) {
        tn_work *w = &c->works[p->referenced];
        if (!tn_is_distinct(c, p->referenced) || !w->n || (w->from_cache && !w->untrusted)) continue;
        const size_t bytes = tn_reference_bytes(w->spec);
        if (p->referenced > at && p->bytes + bytes > REFERENCES) break;
        p->bytes += bytes;
        s = tn_start_reference(c, w);
    }
    return s;
}

static void drop_reference(pipeline *p, tn_work *w) {
    p->bytes -= tn_reference_bytes(w->spec);
    tn_reference_free(w->reference);
    w->reference = NULL;
}

/* ---- other buckets ---- */

/* The same spec in the k-th bucket before w's, or what a special case falls back on; NULL: there is none. */
static tn_work *rival(const tn_compilation *c, const tn_work *w, size_t k) {
    const size_t at = (size_t)(w - c->works), back = (k + 1) * c->n_nodes;
    if (w->fallback) return k ? NULL : w->fallback;
    return at >= back ? &c->works[at - back] : NULL;
}

/* ... that has a winner. */
static const tn_work *before(const tn_compilation *c, const tn_work *w, size_t k) {
    const tn_work *b = rival(c, w, k);
    return b && b->chosen ? b : NULL;
}

static tn_candidate *alike(const tn_work *w, const tn_candidate *x) {
    for (size_t k = 0; k < w->n; k++)
        if (w->c[k].is_lt == x->is_lt && !strcmp(w->c[k].text, x->text)) return &w->c[k];
    return NULL;
}

/* One kernel for several buckets where that costs nearly nothing. */
static void prefer_common(tn_compilation *c, tn_work *w) {
    const double best = tn_best_us(w);
    for (size_t k = 0; w->chosen && !w->fallback && best > 0 && k < c->n_buckets; k++) {
        const tn_work *b = before(c, w, k);
        tn_candidate *x = b ? alike(w, &b->c[b->winner]) : NULL;
        if (!x || x->out || x->us <= 0 || x->us > ALIKE * best || x == &w->c[w->winner]) continue;
        snprintf(w->c[w->winner].note, sizeof w->c[w->winner].note, "as fast as another bucket's winner");
        snprintf(x->note, sizeof x->note, "winner");
        w->winner = (size_t)(x - w->c);
        return;
    }
}

/* Weights in one order for several buckets where another copy saves too little. */
static void prefer_one_copy(tn_compilation *c, tn_work *w) {
    for (size_t k = 0; w->chosen && !w->fallback && k < c->n_buckets; k++) {
        const tn_work *b = before(c, w, k);
        const tn_candidate *there = b ? &b->c[b->winner] : NULL;
        tn_candidate *own = &w->c[w->winner], *found = NULL;
        if (!there || own->us <= 0 || tn_copy_worth(own, there) <= 1) continue;
        for (size_t j = 0; j < w->n; j++) {
            tn_candidate *x = &w->c[j];
            if (x->out || x->us <= 0 || tn_copy_worth(x, there) > 1 || x->us > tn_copy_worth(own, there) * own->us)
                continue;
            if (!found || x->us < found->us) found = x;
        }
        if (!found) continue;
        snprintf(own->note, sizeof own->note, "not worth another copy of the weights");
        snprintf(found->note, sizeof found->note, "winner");
        w->winner = (size_t)(found - w->c);
        return;
    }
}

/* ---- the end of a work ---- */

/* The first that builds, in the cost model's order. */
static tn_status choose_untimed(tn_compilation *c, tn_work *w) {
    for (w->must = 0; !tn_choose_first(w); w->must++) {
        if (w->must == w->n) return w->fallback ? TN_OK : tn_no_candidate(c, w);
        tn_status s = tn_start_build(c, w, w->must, true);
        if (s == TN_OK) s = tn_wait_jobs(c, w);
        if (s != TN_OK) return s;
    }
    return TN_OK;
}

static tn_status close_work(tn_compilation *c, tn_work *w) {
    tn_tuning_end(w->tuning);
    w->tuning = NULL;
    prefer_common(c, w);
    prefer_one_copy(c, w);
    for (size_t k = 0; k < w->n; k++)
        if (!w->c[k].is_lt && !w->c[k].wanted && !*w->c[k].note)
            snprintf(w->c[k].note, sizeof w->c[k].note, "not built: others should be faster");
    if (!w->chosen) return w->follows ? TN_OK : choose_untimed(c, w);
    tn_remember(c, w);
    return TN_OK;
}

/* ---- races ---- */

static tn_status race_again(pipeline *p) {
    tn_compilation *c = p->c;
    tn_work *w = p->open[0];
    memmove(p->open, p->open + 1, --p->n_open * sizeof *p->open);
    tn_status s;
    do {
        s = tn_wait_jobs(c, w);
        if (s == TN_OK) s = tn_tuning_race(w->tuning, c->deadline);
        if (s != TN_OK || tn_best_us(w) > 0 || tn_now() > c->deadline || !tn_search_more(w, MORE, WORTH)) break;
        s = start_wanted(c, w, true);
    } while (s == TN_OK);
    return s == TN_OK ? close_work(c, w) : s;
}

/* To the device; where there is no room, once the works that are there are done. */
static tn_status begin(pipeline *p, tn_work *w) {
    tn_status s = tn_tuning_begin(p->c->tuner, w, w->reference, p->n_open > 0, &w->tuning);
    if (s == TN_OK || !p->n_open) return s;
    for (s = TN_OK; s == TN_OK && p->n_open;) s = race_again(p);
    return s == TN_OK ? tn_tuning_begin(p->c->tuner, w, w->reference, false, &w->tuning) : s;
}

static tn_status race_first(pipeline *p, tn_work *w) {
    tn_compilation *c = p->c;
    tn_status s = begin(p, w);
    drop_reference(p, w);
    if (s == TN_OK) s = tn_tuning_race(w->tuning, c->deadline);
    if (s != TN_OK) return s;
    if (tn_now() > c->deadline || w->follows || !tn_search_more(w, MORE, WORTH)) return close_work(c, w);
    s = start_wanted(c, w, true);
    if (s == TN_OK && p->n_open == OPEN) s = race_again(p);
    if (s == TN_OK) p->open[p->n_open++] = w;
    return s;
}

static bool is_open(const pipeline *p, const tn_work *w) {
    for (size_t k = 0; k < p->n_open; k++)
        if (p->open[k] == w) return true;
    return false;
}

/* What won in other buckets competes here too: it is built already. */
static tn_status want_winners(pipeline *p, tn_work *w) {
    tn_compilation *c = p->c;
    tn_status s = TN_OK;
    for (size_t k = 0; s == TN_OK && k < c->n_buckets; k++) { /* what has not won yet, does first */
        const tn_work *r = rival(c, w, k);
        while (s == TN_OK && r && is_open(p, r)) s = race_again(p);
    }
    for (size_t k = 0; s == TN_OK && k < c->n_buckets; k++) {
        const tn_work *b = before(c, w, k);
        tn_candidate *x = b ? alike(w, &b->c[b->winner]) : NULL;
        if (!x || x->is_lt || x->wanted) continue;
        x->wanted = true;
        s = tn_start_build(c, w, (size_t)(x - w->c), true);
    }
    return s;
}

/* ---- winners of records ---- */

/* Lists and builds what a record's winner kept away. */
static tn_status list_afresh(pipeline *p, tn_work *w) {
    tn_compilation *c = p->c;
    tn_report(c->env, TN_NOTE, TN_OK, w->spec->name, "the winner of a former compilation, %s, is not taken: %s",
              w->c[w->winner].text, w->c[w->winner].note);
    tn_status s = TN_OK;
    if (!w->untrusted) { /* it was not judged, so there is no reference */
        p->bytes += tn_reference_bytes(w->spec);
        s = tn_start_reference(c, w);
    }
    if (s == TN_OK) s = tn_relist_candidates(c, w);
    if (s == TN_OK) s = tn_start_tuning(c, w);
    return s == TN_OK ? tn_wait_jobs(c, w) : s;
}

/* Compares the winner, which others have chosen, with its reference. */
static tn_status judge_winner(pipeline *p, tn_work *w) {
    tn_status s = begin(p, w);
    if (s == TN_OK) s = tn_tuning_check(w->tuning, w->winner);
    w->chosen = s == TN_OK && !w->c[w->winner].out;
    tn_tuning_end(w->tuning);
    w->tuning = NULL;
    if (w->chosen && w->tuned) tn_remember(p->c, w); /* as chosen by these versions */
    return s;
}

/* Chooses the winner that a record names; w->chosen says whether it is one. */
static tn_status recall_winner(pipeline *p, tn_work *w) {
    tn_compilation *c = p->c;
    tn_candidate *x = &w->c[w->winner];
    if (x->out) return TN_OK;
    w->chosen = true;
    if (!w->untrusted) return TN_OK;
    if (w->reference_status == TN_OK && tn_now() < c->deadline) return judge_winner(p, w);
    if (w->reference_status != TN_OK && w->reference_status != TN_E_UNSUPPORTED) return w->reference_status;
    return tn_report(c->env, TN_NOTE, TN_OK, w->spec->name, "%s, chosen by other versions, could not be judged",
                     x->text);
}

static bool has_wanted(const tn_work *w) {
    for (size_t k = 0; k < w->n; k++)
        if (w->c[k].wanted) return true;
    return false;
}

static tn_status tune_work(pipeline *p, tn_work *w) {
    tn_compilation *c = p->c;
    tn_status s = tn_wait_jobs(c, w);
    if (s == TN_OK && w->from_cache) {
        s = recall_winner(p, w);
        if (w->untrusted && (s != TN_OK || w->chosen)) drop_reference(p, w);
        if (s != TN_OK || w->chosen) return s;
        s = list_afresh(p, w);
    }
    if (s == TN_OK && tn_now() < c->deadline) s = want_winners(p, w);
    if (s == TN_OK) s = tn_wait_jobs(c, w);
    if (s != TN_OK) return s;
    if (w->follows && !has_wanted(w)) return drop_reference(p, w), TN_OK;
    if (w->reference_status == TN_OK && tn_now() < c->deadline) return race_first(p, w);
    const bool untunable = w->reference_status == TN_E_UNSUPPORTED; /* at this shape: the cost model's choice stands */
    if (w->reference_status != TN_OK && !untunable) return w->reference_status;
    drop_reference(p, w);
    return close_work(c, w);
}

static tn_status tune_all(tn_compilation *c) {
    pipeline p = {.c = c};
    tn_status s = TN_OK;
    size_t done = 0;
    for (size_t k = 0; s == TN_OK && k < c->n_works; k++) {
        if (!tn_is_distinct(c, k) || !c->works[k].n) continue;
        if (tn_now() > c->deadline && !c->past_deadline) {
            c->past_deadline = true;
            tn_report(c->env, TN_NOTE, TN_OK, "",
                      "tuning stopped at its deadline after %zu specs: the cost model chose the others", done);
        }
        s = start_references(&p, k);
        if (s == TN_OK) s = tune_work(&p, &c->works[k]);
        done++;
    }
    while (s == TN_OK && p.n_open) s = race_again(&p);
    return s;
}

tn_status tn_choose_tuned(tn_compilation *c) {
    tn_eval_single_threaded(true);
    const tn_status s = tune_all(c);
    tn_eval_single_threaded(false);
    return s;
}
