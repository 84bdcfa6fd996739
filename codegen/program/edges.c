/* edges.c: which earlier steps each must follow: those whose bytes it reads (they wrote them), and those that read or
 * wrote the bytes it writes.  An edge that another one implies is left out.  A step that owns others counts with all that
 * they touch. */
#include "codegen/program/program.h"
#include "tenon/internal/memory.h"

#include <stdlib.h>

/* Who touched a buffer and still matters: all that came before a write of the whole buffer does so through it. */
typedef struct access {
    uint32_t step;
    bool writes;
    const tn_extent *e;
} access;

typedef TN_VEC(access) history;

typedef struct deriver {
    tn_program *p;
    const tn_env *env;
    history *of; /* by buffer whose memory it is */
    TN_VEC(uint32_t) found;
} deriver;

static bool remember(deriver *d, const access *a) {
    history *h = &d->of[tn_program_memory_of(d->p, a->e->buffer)];
    if (d->p->buffers[a->e->buffer].kind == TN_BUFFER_CONST) return true;
    if (a->writes && tn_extent_is_whole(d->p, a->e)) h->n = 0;
    if (!TN_VEC_ROOM(d->env, h, 1)) return false;
    h->p[h->n++] = *a;
    return true;
}

static bool follow(deriver *d, const access *now) {
    const history *h = &d->of[tn_program_memory_of(d->p, now->e->buffer)];
    for (uint32_t k = h->n; k-- > 0;) {
        const access *old = &h->p[k];
        if (old->step == now->step || (!old->writes && !now->writes)) continue;
        if (d->found.n && d->found.p[d->found.n - 1] == old->step) continue;
        if (!tn_extents_meet(d->p, old->e, now->e)) continue;
        if (!TN_VEC_ROOM(d->env, &d->found, 1)) return false;
        d->found.p[d->found.n++] = old->step;
    }
    return true;
}

static int by_number(const void *a, const void *b) {
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* True if a found edge's step follows this one itself. */
static bool is_implied(const deriver *d, uint32_t step) {
    for (uint32_t k = d->found.n; k-- > 0 && d->found.p[k] > step;) {
        const tn_prog_step *s = &d->p->steps[d->found.p[k]];
        if (bsearch(&step, s->after, s->n_after, sizeof step, by_number)) return true;
    }
    return false;
}

static bool set_edges(deriver *d, uint32_t step) {
    tn_prog_step *s = &d->p->steps[step];
    uint32_t n = 0;
    if (d->found.n) qsort(d->found.p, d->found.n, sizeof *d->found.p, by_number);
    for (uint32_t k = 0; k < d->found.n; k++)
        if (!n || d->found.p[k] != d->found.p[n - 1]) d->found.p[n++] = d->found.p[k];
    d->found.n = n;
    s->n_after = 0;
    s->after = tn_graph_alloc(d->p->g, (n + 1) * sizeof *s->after);
    if (!s->after) return false;
    for (uint32_t k = 0; k < n; k++)
        if (!is_implied(d, d->found.p[k])) s->after[s->n_after++] = d->found.p[k];
    return true;
}

typedef bool (*each_access)(deriver *d, const access *a);

static bool each(deriver *d, uint32_t step, uint32_t end, each_access fn) {
    bool ok = true;
    for (uint32_t i = step; ok && i < end; i++) {
        const tn_prog_step *s = &d->p->steps[i];
        for (uint32_t k = 0; ok && k < s->n_reads; k++) ok = fn(d, &(access){step, false, &s->reads[k]});
        for (uint32_t k = 0; ok && k < s->n_writes; k++) ok = fn(d, &(access){step, true, &s->writes[k]});
    }
    return ok;
}

static bool derive(deriver *d, uint32_t step, uint32_t end) {
    d->found.n = 0;
    for (uint32_t k = step + 1; k < end; k++) d->p->steps[k].n_after = 0;
    return each(d, step, end, follow) && each(d, step, end, remember) && set_edges(d, step);
}

tn_status tn_program_edges(tn_program *p, const tn_program_options *o) {
    (void)o;
    deriver d = {.p = p, .env = tn_graph_env(p->g)};
    d.of = tn_alloc(d.env, (p->n_buffers + 1) * sizeof *d.of);
    bool ok = d.of != NULL;
    for (uint32_t k = 0; ok && k < p->n_steps; k = tn_prog_end(p, k)) ok = derive(&d, k, tn_prog_end(p, k));
    for (uint32_t k = 0; d.of && k < p->n_buffers; k++) TN_VEC_FREE(d.env, &d.of[k]);
    tn_free(d.env, d.of, (p->n_buffers + 1) * sizeof *d.of);
    TN_VEC_FREE(d.env, &d.found);
    return ok ? tn_graph_status(p->g) : tn_graph_fail(p->g, TN_E_MEMORY, (tn_node){0}, "", "out of memory");
}
