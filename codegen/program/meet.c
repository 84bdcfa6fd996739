/* meet.c: which blocks' lives meet that of a block, without asking all.
 *
 * In list order a life is an interval: from its first step to where all steps, of every stream, come after it for sure.
 * Lives whose intervals are apart do not meet; of the others order.c is asked.  Intervals are sorted by where they begin,
 * with a tree of the latest end over them, which finds those that overlap one in steps that their number bounds. */
#include "codegen/program/pack.h"

#include <stdlib.h>

typedef struct interval {
    uint32_t from, end, block;
} interval;

/* The steps of each stream, in list order. */
typedef struct streams {
    uint32_t *step, first[TN_MAX_STREAMS + 1];
} streams;

static void sort_steps(const tn_program *p, streams *s) {
    uint32_t n = 0;
    for (uint32_t t = 0; t < p->n_streams; t++) {
        s->first[t] = n;
        for (uint32_t k = 0; k < p->n_steps; k++)
            if (p->steps[k].stream == t) s->step[n++] = k;
    }
    s->first[p->n_streams] = n;
}

static bool is_after(const tn_order *o, const tn_life *l, uint32_t step) {
    for (uint32_t t = 0; t < o->n_streams; t++)
        if (l->last[t] && !tn_order_before(o, l->last[t] - 1, step)) return false;
    return true;
}

/* The last step of the stream that may run before the life has ended, index + 1; 0: none.  What a step comes after, the
 * next of its stream does, too. */
static uint32_t last_beside(const tn_order *o, const streams *s, uint32_t stream, const tn_life *l) {
    uint32_t lo = s->first[stream], hi = s->first[stream + 1];
    while (lo < hi) {
        const uint32_t mid = lo + (hi - lo) / 2;
        if (is_after(o, l, s->step[mid]))
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo > s->first[stream] ? s->step[lo - 1] + 1 : 0;
}

static interval interval_of(const tn_order *o, const streams *s, const tn_life *l, uint32_t block) {
    interval x = {UINT32_MAX, 0, block};
    for (uint32_t t = 0; t < o->n_streams; t++) {
        const uint32_t last = last_beside(o, s, t, l);
        if (l->first[t] && l->first[t] < x.from) x.from = l->first[t];
        if (last >= x.end) x.end = last + 1;
    }
    return x;
}

static int by_from(const void *pa, const void *pb) {
    const interval *a = pa, *b = pb;
    if (a->from != b->from) return a->from < b->from ? -1 : 1;
    return a->block < b->block ? -1 : a->block > b->block;
}

struct tn_meetings {
    const tn_env *env;
    const tn_order *o;
    const tn_block *blocks;
    interval *at; /* sorted */
    uint32_t *where, *latest;
    uint32_t n, leaves; /* latest[leaves + k]: the end of interval k; latest[k]: of all below 2 k and 2 k + 1 */
};

void tn_meetings_free(tn_meetings *m) {
    if (!m) return;
    tn_free(m->env, m->at, m->n * sizeof *m->at);
    tn_free(m->env, m->where, m->n * sizeof *m->where);
    tn_free(m->env, m->latest, 2 * (size_t)m->leaves * sizeof *m->latest);
    tn_free(m->env, m, sizeof *m);
}

static void fill(tn_meetings *m, const streams *s) {
    for (uint32_t k = 0; k < m->n; k++) m->at[k] = interval_of(m->o, s, &m->blocks[k].life, k);
    qsort(m->at, m->n, sizeof *m->at, by_from);
    for (uint32_t k = 0; k < m->n; k++) {
        m->where[m->at[k].block] = k;
        m->latest[m->leaves + k] = m->at[k].end;
    }
    for (uint32_t k = m->leaves; k-- > 1;) {
        const uint32_t a = m->latest[2 * k], b = m->latest[2 * k + 1];
        m->latest[k] = a > b ? a : b;
    }
}

tn_meetings *tn_meetings_new(const tn_order *o, const tn_block *blocks, uint32_t n) {
    const tn_env *env = tn_graph_env(o->p->g);
    tn_meetings *m = tn_alloc(env, sizeof *m);
    streams s = {.step = tn_alloc(env, (o->p->n_steps + 1) * sizeof *s.step)};
    if (m) {
        *m = (tn_meetings){.env = env, .o = o, .blocks = blocks, .n = n, .leaves = 1};
        while (m->leaves < n) m->leaves *= 2;
        m->at = tn_alloc(env, n * sizeof *m->at);
        m->where = tn_alloc(env, n * sizeof *m->where);
        m->latest = tn_alloc(env, 2 * (size_t)m->leaves * sizeof *m->latest);
    }
    const bool ok = m && s.step && m->at && m->where && m->latest;
    if (ok) {
        sort_steps(o->p, &s);
        fill(m, &s);
    } else {
        tn_meetings_free(m);
    }
    tn_free(env, s.step, (o->p->n_steps + 1) * sizeof *s.step);
    return ok ? m : NULL;
}

typedef struct query {
    const tn_meetings *m;
    const interval *x;
    uint32_t *out, n;
} query;

/* Those below node k, whose intervals are first to first + size - 1.  They begin in order, so what begins too late ends it. */
static void visit(query *q, uint32_t k, uint32_t first, uint32_t size) {
    const tn_meetings *m = q->m;
    if (first >= m->n || m->latest[k] <= q->x->from || m->at[first].from >= q->x->end) return;
    if (size > 1) {
        visit(q, 2 * k, first, size / 2);
        visit(q, 2 * k + 1, first + size / 2, size / 2);
        return;
    }
    const uint32_t other = m->at[first].block;
    if (other != q->x->block && tn_lives_meet(m->o, &m->blocks[other].life, &m->blocks[q->x->block].life))
        q->out[q->n++] = other;
}

uint32_t tn_meetings_of(const tn_meetings *m, uint32_t block, uint32_t *out) {
    query q = {m, &m->at[m->where[block]], out, 0};
    visit(&q, 1, 0, m->leaves);
    return q.n;
}
