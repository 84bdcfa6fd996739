/* compile_tune.c: tunes the specs of an architecture on the device, as a pipeline.
 *
 * Of each spec a few candidates are built and raced; then a few more, chosen by what the first showed (search.c), are
 * built before everything else in the queue while other specs race, and compete with the fastest of the first.
 * What they are judged by is made a few specs ahead, and of these the first that is ready races: nobody waits for a long
 * build or reference while something else can be timed.  A spec is tuned in each bucket where its sizes differ, and special cases
 * (cases.h) after what they fall back on; a spec whose kernel has raced at other sizes, or more generally, waits for
 * what that shows and tries fewer.  Past the deadline a spec that has not raced takes what won at other sizes, or the
 * cost model's choice. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "codegen/compile.h"
#include "ir/eval/eval.h"

enum { FIRST = 5, MORE = 3, GUIDED = 2, MORE_GUIDED = 1, OPEN = 8, AHEAD = 24 };
static const double WORTH = 1.15;             /* a candidate is built if it should come this close to the fastest */
static const double ALIKE = 1.02;             /* times that do not differ */
static const double NEAR = 8, FAR = 64;       /* sizes: so many times the work; from FAR on they show little */
static const double NEARLY = 1.3, HARDLY = 2; /* worth a race by what was measured at sizes that are near, or are not */
static const size_t REFERENCES = (size_t)2 << 30; /* bytes */

typedef struct pipeline {
    tn_compilation *c;
    size_t *order, n, total; /* works that have not raced yet, of so many */
    tn_work *open[OPEN];     /* raced once; more candidates are being built */
    size_t n_open;
    size_t referenced; /* of the order: works before this one have had their cases started */
    size_t bytes;      /* of cases that are not freed yet */
} pipeline;

static size_t node_of(const tn_compilation *c, const tn_work *w) {
    return (size_t)(w - c->works) % c->n_nodes;
}

/* ---- other works of the same kernel ---- */

/* The k-th: in each bucket; of a special case, what it falls back on.  NULL: it is w itself, or there is none. */
static tn_work *rival(const tn_compilation *c, const tn_work *w, size_t k) {
    tn_work *r = w->fallback ? k ? NULL : w->fallback : tn_work_in(c, node_of(c, w), k);
    return r == w ? NULL : r;
}

/* ... that has a winner. */
static const tn_work *settled(const tn_compilation *c, const tn_work *w, size_t k) {
    const tn_work *b = rival(c, w, k);
    return b && b->chosen ? b : NULL;
}

static double apart(const tn_work *a, const tn_work *b) {
    const double x = a->spec->flops + a->spec->bytes, y = b->spec->flops + b->spec->bytes;
    return x > y ? x / y : y / x;
}

/* The nearest that has raced. */
static const tn_work *guide_of(const tn_compilation *c, const tn_work *w) {
    const tn_work *guide = NULL;
    for (size_t k = 0; k < c->n_buckets; k++) {
        const tn_work *b = settled(c, w, k);
        if (b && tn_best_us(b) > 0 && (!guide || apart(w, b) < apart(w, guide))) guide = b;
    }
    return guide;
}

/* A token and a prompt of hundreds have little in common. */
static bool shows(const tn_work *guide, const tn_work *w) {
    return guide && apart(guide, w) < FAR;
}

/* ---- builds ---- */

static tn_status start_wanted(tn_compilation *c, tn_work *w, bool first) {
    tn_status s = TN_OK;
    for (size_t k = 0; s == TN_OK && k < w->n; k++)
        if (w->c[k].wanted) s = tn_start_build(c, w, k, first);
    return s;
}

/* What won elsewhere competes here too: it is built already. */
static void want_winners(const tn_compilation *c, tn_work *w) {
    for (size_t k = 0; k < c->n_buckets; k++) {
        const tn_work *b = settled(c, w, k);
        tn_candidate *x = b ? tn_candidate_like(w, &b->c[b->winner]) : NULL;
        if (x && !x->is_lt) x->wanted = true;
    }
}

static tn_status start_work(tn_compilation *c, tn_work *w, bool first) {
    const tn_work *guide = guide_of(c, w);
    w->started = true;
    if (w->from_cache) return tn_start_build(c, w, w->must = w->winner, first);
    want_winners(c, w);
    const bool late = guide && tn_now() > c->deadline; /* what won elsewhere is enough */
    if (!w->follows && !late &&
        (!shows(guide, w) || !tn_search_guided(w, guide, GUIDED, apart(w, guide) < NEAR ? NEARLY : HARDLY)))
        tn_search_first(w, FIRST);
    w->must = 0;
    while (w->must + 1 < w->n && !w->c[w->must].wanted) w->must++;
    return start_wanted(c, w, first);
}

/* Another work of its kernel is in work, and may show what to try: it waits. */
static bool waits(const tn_compilation *c, const tn_work *w) {
    for (size_t k = 0; !w->from_cache && k < c->n_buckets; k++) {
        const tn_work *r = rival(c, w, k);
        if (r && r->n && !r->ended && (r->started || w->fallback)) return true;
    }
    return false;
}

/* Those that waited for w. */
static tn_status start_waiting(tn_compilation *c, const tn_work *w) {
    tn_status s = TN_OK;
    for (size_t kase = 0; s == TN_OK && kase < c->n_cases; kase++) {
        tn_work *x = tn_work_in(c, node_of(c, w), kase);
        if (x == w || x->started || !x->n || (x->fallback && x->fallback != w)) continue;
        s = start_work(c, x, false);
    }
    return s;
}

/* ---- what candidates are judged by ---- */

static tn_status take_set(tn_compilation *c, const tn_work *w, tn_case_set **out) {
    tn_case_set **set = &c->sets[node_of(c, w)];
    const tn_status s = *set ? TN_OK : tn_case_set_new(&c->job_env, set);
    *out = *set;
    return s;
}

/* A special case has those of its bucket where it can: of fewer symbols less can be told apart. */
static tn_status hold_general(tn_compilation *c, const tn_work *w, tn_case_set *set) {
    const tn_work *b = tn_work_in(c, node_of(c, w), c->cases[(size_t)(w - c->works) / c->n_nodes].bucket);
    tn_reference *r;
    if (!w->fallback || !b->spec) return TN_OK;
    const tn_status s = tn_reference_new(&c->job_env, set, b->spec, &r);
    tn_reference_free(r);
    return s == TN_E_UNSUPPORTED ? TN_OK : s;
}

static void make_room(pipeline *p) {
    for (size_t k = 0; k < p->c->n_nodes; k++)
        if (p->c->sets[k]) p->bytes -= tn_case_set_trim(p->c->sets[k]);
}

/* w's cases; those that nobody has begun yet, are. */
static tn_status start_reference(pipeline *p, tn_work *w) {
    tn_compilation *c = p->c;
    tn_case_set *set;
    tn_case *x;
    size_t bytes;
    tn_status s = take_set(c, w, &set);
    if (s == TN_OK) s = hold_general(c, w, set);
    if (s == TN_OK) w->reference_status = s = tn_reference_new(&c->job_env, set, w->spec, &w->reference);
    if (s == TN_E_UNSUPPORTED) return TN_OK;
    for (size_t k = 0; s == TN_OK && (x = tn_reference_case(w->reference, k)) != NULL; k++) {
        if (!tn_case_begin(x, c, &bytes)) continue;
        p->bytes += bytes;
        s = tn_start_case(c, x);
    }
    return s;
}

/* Those of the next few works, as far as memory allows. */
static tn_status start_references(pipeline *p) {
    tn_compilation *c = p->c;
    tn_status s = TN_OK;
    for (; s == TN_OK && p->referenced < p->n && p->referenced < AHEAD; p->referenced++) {
        tn_work *w = &c->works[p->order[p->referenced]];
        if (w->from_cache && !w->untrusted) continue;
        if (p->bytes > REFERENCES) make_room(p);
        if (p->referenced && p->bytes > REFERENCES) break;
        s = start_reference(p, w);
    }
    return s;
}

static void drop_reference(tn_work *w) {
    tn_reference_free(w->reference);
    w->reference = NULL;
}

/* The cases are made: which can be used? */
static void finish_reference(tn_work *w) {
    if (w->reference) w->reference_status = tn_reference_finish(w->reference);
    if (w->reference_status != TN_OK) drop_reference(w);
}

/* One kernel for several buckets where that costs nearly nothing. */
static void prefer_common(tn_compilation *c, tn_work *w) {
    const double best = tn_best_us(w);
    for (size_t k = 0; w->chosen && !w->fallback && best > 0 && k < c->n_buckets; k++) {
        const tn_work *b = settled(c, w, k);
        tn_candidate *x = b ? tn_candidate_like(w, &b->c[b->winner]) : NULL;
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
        const tn_work *b = settled(c, w, k);
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

/* What won at other sizes, or the first that builds, in the cost model's order. */
static tn_status choose_untimed(tn_compilation *c, tn_work *w) {
    for (w->must = 0; !tn_choose_first(w); w->must++) {
        if (w->must == w->n) return w->fallback ? TN_OK : tn_no_candidate(c, w);
        tn_status s = tn_start_build(c, w, w->must, true);
        if (s == TN_OK) s = tn_wait_jobs(c, w);
        if (s != TN_OK) return s;
    }
    if (guide_of(c, w))
        snprintf(w->c[w->winner].note, sizeof w->c[w->winner].note, "winner at other sizes, not timed here");
    return TN_OK;
}

static tn_status close_work(tn_compilation *c, tn_work *w) {
    tn_tuning_end(w->tuning);
    w->tuning = NULL;
    w->ended = true;
    drop_reference(w);
    prefer_common(c, w);
    prefer_one_copy(c, w);
    for (size_t k = 0; k < w->n; k++)
        if (!w->c[k].is_lt && !w->c[k].wanted && !*w->c[k].note)
            snprintf(w->c[k].note, sizeof w->c[k].note, "not built: others should be faster");
    if (!w->chosen && !w->follows) return choose_untimed(c, w);
    if (!w->chosen) return TN_OK;
    tn_remember(c, w);
    return start_waiting(c, w);
}

/* ---- races ---- */

static tn_status race_again(pipeline *p, size_t k) {
    tn_compilation *c = p->c;
    tn_work *w = p->open[k];
    p->n_open--;
    memmove(p->open + k, p->open + k + 1, (p->n_open - k) * sizeof *p->open);
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
    for (s = TN_OK; s == TN_OK && p->n_open;) s = race_again(p, 0);
    return s == TN_OK ? tn_tuning_begin(p->c->tuner, w, w->reference, false, &w->tuning) : s;
}

/* How many to build behind the first: fewer where other sizes have shown what the fastest's template can do. */
static size_t more_of(const tn_compilation *c, const tn_work *w) {
    const tn_work *guide = guide_of(c, w);
    const tn_candidate *fastest = tn_fastest(w);
    return shows(guide, w) && (!fastest || fastest->is_lt || tn_search_knows(guide, fastest->v.tpl)) ? MORE_GUIDED
                                                                                                     : MORE;
}

static tn_status race_first(pipeline *p, tn_work *w) {
    tn_compilation *c = p->c;
    tn_status s = begin(p, w);
    if (s == TN_OK) s = tn_tuning_race(w->tuning, c->deadline);
    if (s != TN_OK) return s;
    if (tn_now() > c->deadline || w->follows || !tn_search_more(w, more_of(c, w), WORTH)) return close_work(c, w);
    s = start_wanted(c, w, true);
    p->open[p->n_open++] = w;
    return s;
}

/* ---- winners of records ---- */

/* Lists and builds what a record's winner kept away. */
static tn_status list_afresh(pipeline *p, tn_work *w) {
    tn_compilation *c = p->c;
    tn_report(c->env, TN_NOTE, TN_OK, w->spec->name, "the winner of a former compilation, %s, is not taken: %s",
              w->c[w->winner].text, w->c[w->winner].note);
    tn_status s = TN_OK;
    tn_wait_cases(c); /* candidates change the graph */
    s = tn_relist_candidates(c, w);
    if (s == TN_OK && !w->reference) s = start_reference(p, w); /* it was not judged */
    if (s == TN_OK) s = start_work(c, w, true);
    if (s == TN_OK) s = tn_wait_jobs(c, w);
    finish_reference(w);
    return s;
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

/* All that it waited for is there. */
static tn_status tune_work(pipeline *p, tn_work *w) {
    tn_compilation *c = p->c;
    tn_status s = TN_OK;
    finish_reference(w);
    if (w->from_cache) {
        w->ended = true;
        s = recall_winner(p, w);
        if (s == TN_OK && w->chosen) s = start_waiting(c, w);
        if (s != TN_OK || w->chosen) return drop_reference(w), s;
        w->ended = false;
        s = list_afresh(p, w);
        if (s != TN_OK) return s;
    }
    if (w->follows && !has_wanted(w)) return w->ended = true, drop_reference(w), TN_OK;
    if (w->reference_status == TN_OK && tn_now() < c->deadline) return race_first(p, w);
    const bool untunable = w->reference_status == TN_E_UNSUPPORTED; /* at this shape: the cost model's choice stands */
    if (w->reference_status != TN_OK && !untunable) return w->reference_status;
    return close_work(c, w);
}

/* What none waits for is built from the first on, in the order in which it races. */
static tn_status start_all(pipeline *p) {
    tn_status s = TN_OK;
    for (size_t k = 0; s == TN_OK && k < p->n; k++) {
        tn_work *w = &p->c->works[p->order[k]];
        if (!waits(p->c, w)) s = start_work(p->c, w, false);
    }
    return s;
}

/* Every work that is left is given one kernel. */
static tn_status pass_deadline(pipeline *p) {
    tn_compilation *c = p->c;
    tn_status s = TN_OK;
    c->past_deadline = true;
    for (size_t k = 0; s == TN_OK && k < p->n; k++) {
        tn_work *w = &c->works[p->order[k]];
        if (!w->started && !w->follows) s = start_work(c, w, false);
    }
    return s == TN_OK
               ? tn_report(c->env, TN_NOTE, TN_OK, "",
                           "tuning stopped at its deadline after %zu of %zu specs: what won at other sizes, or the "
                           "cost model's choice, serves the others",
                           p->total - p->n, p->total)
               : s;
}

/* ---- whose turn it is -------------------------------------------------------------------------------------------- */

/* Another work of its kernel has raced, and did not win yet. */
static bool follows_open(const pipeline *p, const tn_work *w) {
    for (size_t k = 0; k < p->c->n_buckets; k++) {
        const tn_work *r = rival(p->c, w, k);
        for (size_t i = 0; r && i < p->n_open; i++)
            if (p->open[i] == r) return true;
    }
    return false;
}

static bool is_idle(const pipeline *p) {
    return !p->n_open && tn_jobs_ended(p->c) == p->c->to_build + p->c->cases_begun;
}

/* Of the works with references the first that can race; p->n: there is none.  `must`: nothing else is to be waited for. */
static tn_status find_ready(pipeline *p, bool must, size_t *out) {
    tn_compilation *c = p->c;
    tn_status s = TN_OK;
    for (*out = 0; s == TN_OK && *out < p->referenced; ++*out) {
        tn_work *w = &c->works[p->order[*out]];
        if (!must && (p->n_open == OPEN || (!c->past_deadline && follows_open(p, w)))) continue;
        if (!w->started && (must || c->past_deadline || !waits(c, w))) s = start_work(c, w, true);
        if (s != TN_OK) return s;
        if (w->started && must) s = tn_wait_jobs(c, w);
        if (w->started && tn_jobs_done(c, w)) return s;
    }
    *out = p->n;
    return s;
}

static tn_work *take(pipeline *p, size_t k) {
    tn_work *w = &p->c->works[p->order[k]];
    p->n--;
    p->referenced--;
    memmove(p->order + k, p->order + k + 1, (p->n - k) * sizeof *p->order);
    return w;
}

/* What has raced once comes first, since others may wait for what it shows. */
static tn_status tune_next(pipeline *p) {
    tn_compilation *c = p->c;
    const bool idle = is_idle(p);
    const uint64_t seen = tn_jobs_ended(c);
    size_t k;
    for (k = 0; k < p->n_open; k++)
        if (tn_jobs_done(c, p->open[k])) return race_again(p, k);
    const tn_status s = find_ready(p, idle, &k);
    if (s != TN_OK) return s;
    if (k < p->n) return tune_work(p, take(p, k));
    return tn_wait_more(c, p->n_open ? p->open[0] : &c->works[p->order[0]], seen);
}

static tn_status tune_all(tn_compilation *c) {
    pipeline p = {.c = c};
    tn_status s = tn_tuning_order(c, &p.order, &p.n);
    p.total = p.n;
    if (s == TN_OK) s = start_all(&p);
    while (s == TN_OK && (p.n || p.n_open)) {
        if (tn_now() > c->deadline && !c->past_deadline && p.n) s = pass_deadline(&p);
        if (s == TN_OK) s = start_references(&p);
        if (s == TN_OK) s = tune_next(&p);
    }
    tn_free(c->env, p.order, (c->n_works + 1) * sizeof *p.order);
    return s;
}

tn_status tn_choose_tuned(tn_compilation *c) {
    tn_eval_single_threaded(true);
    const tn_status s = tune_all(c);
    tn_eval_single_threaded(false);
    return s;
}
