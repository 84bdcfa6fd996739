/* search.c: which candidates of a spec are worth building, since building takes nearly all of a tuning's time.
 *
 * The cost model ranks them; it errs more between templates than within one.  So the first to be built are the best of
 * each template and the best of all, and what is measured of them corrects the predictions of the others: a candidate
 * is expected to be off by the factor that the one most like it was. */
#include <string.h>

#include "codegen/tune/tune.h"

static const double TEMPLATE_ERROR = 4; /* no prediction is further off than this, from template to template */

static bool is_choice(const tn_candidate *c) {
    return !c->is_lt && !c->out;
}

/* Candidates are in the order of their predictions. */
static bool is_best_of_template(const tn_work *w, size_t k) {
    for (size_t j = 0; j < k; j++)
        if (is_choice(&w->c[j]) && w->c[j].v.tpl == w->c[k].v.tpl) return false;
    return true;
}

size_t tn_search_first(tn_work *w, size_t most) {
    size_t n = 0;
    double best = 0;
    for (size_t k = 0; k < w->n && n < most; k++) {
        tn_candidate *c = &w->c[k];
        if (!is_choice(c)) continue;
        if (best == 0) best = c->predicted_us;
        if (c->predicted_us > TEMPLATE_ERROR * best || !is_best_of_template(w, k)) continue;
        c->wanted = true;
        n++;
    }
    for (size_t k = 0; k < w->n && n < most; k++) {
        tn_candidate *c = &w->c[k];
        if (!is_choice(c) || c->wanted) continue;
        c->wanted = true;
        n++;
    }
    return n;
}

static uint32_t knobs_apart(const tn_variant *a, const tn_variant *b) {
    uint32_t n = 0;
    for (uint32_t k = 0; k < a->tpl->n_knobs; k++) n += a->knob[k] != b->knob[k];
    return n;
}

/* What c should take, by the measured candidate of its template that is most like it; 0: there is none. */
static double expected_us(const tn_work *w, const tn_candidate *c) {
    const tn_candidate *like = NULL;
    for (size_t k = 0; k < w->n; k++) {
        const tn_candidate *m = &w->c[k];
        if (m->is_lt || m->us <= 0 || m->v.tpl != c->v.tpl) continue;
        if (!like || knobs_apart(&m->v, &c->v) < knobs_apart(&like->v, &c->v)) like = m;
    }
    return like ? c->predicted_us * like->us / like->predicted_us : 0;
}

size_t tn_search_more(tn_work *w, size_t most, double factor) {
    const double best = tn_best_us(w);
    size_t n = 0;
    for (; n < most; n++) {
        tn_candidate *next = NULL;
        double least = best > 0 ? factor * best : 1e30;
        for (size_t k = 0; k < w->n; k++) {
            tn_candidate *c = &w->c[k];
            if (!is_choice(c) || c->wanted) continue;
            const double us = best > 0 ? expected_us(w, c) : c->predicted_us; /* nothing works yet: the next best */
            if (us > 0 && us < least) least = us, next = c;
        }
        if (!next) break;
        next->wanted = true;
    }
    return n;
}

/* ---- by what is known of other sizes ----------------------------------------------------------------------------- */

tn_candidate *tn_candidate_like(const tn_work *w, const tn_candidate *x) {
    for (size_t k = 0; k < w->n; k++)
        if (w->c[k].is_lt == x->is_lt && !strcmp(w->c[k].text, x->text)) return &w->c[k];
    return NULL;
}

/* By itself or by the one most like it; 0: nothing is known of it, or it is no good. */
static double guided_us(const tn_candidate *c, const tn_work *guide) {
    const tn_candidate *g = tn_candidate_like(guide, c);
    if (g && g->us > 0) return c->predicted_us * g->us / g->predicted_us;
    if (g && g->out) return 0;
    return expected_us(guide, c);
}

bool tn_search_knows(const tn_work *guide, const tn_template *t) {
    for (size_t k = 0; k < guide->n; k++) {
        const tn_candidate *g = &guide->c[k];
        if (!g->is_lt && g->v.tpl == t && (g->us > 0 || g->out)) return true;
    }
    return false;
}

/* The best of each template that was no good for the guide's sizes, so that nothing is known of it, and promises less than `best`. */
static size_t search_unknown(tn_work *w, const tn_work *guide, double best) {
    size_t n = 0;
    for (size_t k = 0; k < w->n; k++) {
        tn_candidate *c = &w->c[k];
        if (!is_choice(c) || c->wanted || c->predicted_us >= best || !is_best_of_template(w, k) ||
            tn_search_knows(guide, c->v.tpl))
            continue;
        c->wanted = true;
        n++;
    }
    return n;
}

size_t tn_search_guided(tn_work *w, const tn_work *guide, size_t most, double factor) {
    double best = 0;
    size_t n = 0;
    for (size_t k = 0; k < w->n; k++) {
        const double us = is_choice(&w->c[k]) ? guided_us(&w->c[k], guide) : 0;
        if (us > 0 && (best == 0 || us < best)) best = us;
    }
    for (; n < most; n++) {
        tn_candidate *next = NULL;
        double least = factor * best;
        for (size_t k = 0; k < w->n; k++) {
            tn_candidate *c = &w->c[k];
            if (!is_choice(c) || c->wanted) continue;
            const double us = guided_us(c, guide);
            if (us > 0 && us <= least && (!next || us < least)) least = us, next = c;
        }
        if (!next) break;
        next->wanted = true;
    }
    return n + search_unknown(w, guide, best);
}
