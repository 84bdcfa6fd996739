/* edges.c: which earlier steps each must follow: those whose bytes it reads (they wrote them), and those that read or
 * wrote the bytes it writes.  An edge that another one implies is left out. */
#include "codegen/program/program.h"

#include <stdlib.h>

/* Who touched a buffer and still matters: all that came before a write of the whole buffer does so through it. */
typedef struct access {
    uint32_t step;
    bool writes;
    const tn_extent *e;
} access;

typedef struct history {
    access *a;
    uint32_t n, cap;
} history;

typedef struct deriver {
    tn_program *p;
    const tn_env *env;
    history *of; /* by buffer */
    uint32_t *found, n_found, cap_found;
} deriver;

static bool add_found(deriver *d, uint32_t step) {
    if (d->n_found == d->cap_found) {
        const uint32_t cap = d->cap_found ? 2 * d->cap_found : 64;
        uint32_t *p = tn_realloc(d->env, d->found, d->cap_found * sizeof *p, cap * sizeof *p);
        if (!p) return false;
        d->found = p;
        d->cap_found = cap;
    }
    d->found[d->n_found++] = step;
    return true;
}

static bool remember(deriver *d, const access *a) {
    history *h = &d->of[a->e->buffer];
    const tn_prog_buffer *b = &d->p->buffers[a->e->buffer];
    if (b->kind == TN_BUFFER_CONST) return true;
    if (a->writes && a->e->bytes.i == b->bytes.i && !a->e->pitch.i) h->n = 0;
    if (h->n == h->cap) {
        const uint32_t cap = h->cap ? 2 * h->cap : 4;
        access *p = tn_realloc(d->env, h->a, h->cap * sizeof *p, cap * sizeof *p);
        if (!p) return false;
        h->a = p;
        h->cap = cap;
    }
    h->a[h->n++] = *a;
    return true;
}

static bool follow(deriver *d, const access *now) {
    const history *h = &d->of[now->e->buffer];
    for (uint32_t k = h->n; k-- > 0;) {
        const access *old = &h->a[k];
        if (old->step == now->step || (!old->writes && !now->writes)) continue;
        if (d->n_found && d->found[d->n_found - 1] == old->step) continue;
        if (tn_extents_meet(d->p, old->e, now->e) && !add_found(d, old->step)) return false;
    }
    return true;
}

static int by_number(const void *a, const void *b) {
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* True if a found edge's step follows this one itself. */
static bool is_implied(const deriver *d, uint32_t step) {
    for (uint32_t k = d->n_found; k-- > 0 && d->found[k] > step;) {
        const tn_prog_step *s = &d->p->steps[d->found[k]];
        if (bsearch(&step, s->after, s->n_after, sizeof step, by_number)) return true;
    }
    return false;
}

static bool set_edges(deriver *d, uint32_t step) {
    tn_prog_step *s = &d->p->steps[step];
    uint32_t n = 0;
    if (d->n_found) qsort(d->found, d->n_found, sizeof *d->found, by_number);
    for (uint32_t k = 0; k < d->n_found; k++)
        if (!n || d->found[k] != d->found[n - 1]) d->found[n++] = d->found[k];
    d->n_found = n;
    s->n_after = 0;
    s->after = tn_graph_alloc(d->p->g, (n + 1) * sizeof *s->after);
    if (!s->after) return false;
    for (uint32_t k = 0; k < n; k++)
        if (!is_implied(d, d->found[k])) s->after[s->n_after++] = d->found[k];
    return true;
}

static bool derive(deriver *d, uint32_t step) {
    const tn_prog_step *s = &d->p->steps[step];
    bool ok = true;
    d->n_found = 0;
    for (uint32_t k = 0; ok && k < s->n_reads; k++) ok = follow(d, &(access){step, false, &s->reads[k]});
    for (uint32_t k = 0; ok && k < s->n_writes; k++) ok = follow(d, &(access){step, true, &s->writes[k]});
    for (uint32_t k = 0; ok && k < s->n_reads; k++) ok = remember(d, &(access){step, false, &s->reads[k]});
    for (uint32_t k = 0; ok && k < s->n_writes; k++) ok = remember(d, &(access){step, true, &s->writes[k]});
    return ok && set_edges(d, step);
}

tn_status tn_program_edges(tn_program *p, const tn_program_options *o) {
    (void)o;
    deriver d = {.p = p, .env = tn_graph_env(p->g)};
    d.of = tn_alloc(d.env, (p->n_buffers + 1) * sizeof *d.of);
    bool ok = d.of != NULL;
    for (uint32_t k = 0; ok && k < p->n_steps; k++) ok = derive(&d, k);
    for (uint32_t k = 0; d.of && k < p->n_buffers; k++) tn_free(d.env, d.of[k].a, d.of[k].cap * sizeof *d.of[k].a);
    tn_free(d.env, d.of, (p->n_buffers + 1) * sizeof *d.of);
    tn_free(d.env, d.found, d.cap_found * sizeof *d.found);
    return ok ? tn_graph_status(p->g) : tn_graph_fail(p->g, TN_E_MEMORY, (tn_node){0}, "", "out of memory");
}
