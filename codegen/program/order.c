/* order.c: what a program's streams and `after` lists say together.
 *
 * A step has seen, on every stream, all up to some step; what it has seen is what its predecessor on its stream and the
 * steps of its `after` list have seen, and these themselves (vector clocks: Mattern 1988).  A list of steps on one
 * stream is in list order, so one number a stream says it all.  Who follows a step follows all that it owns. */
#include "codegen/program/program.h"

void tn_order_see(tn_order *o, uint32_t step, uint32_t other) {
    uint32_t *a = &o->last[(size_t)step * o->n_streams];
    const uint32_t *b = &o->last[(size_t)other * o->n_streams];
    for (uint32_t k = 0; k < o->n_streams; k++)
        if (b[k] > a[k]) a[k] = b[k];
    uint32_t *own = &a[o->p->steps[other].stream];
    const uint32_t end = other < step && tn_prog_end(o->p, other) <= step ? tn_prog_end(o->p, other) : other + 1;
    if (end > *own) *own = end;
}

tn_status tn_order_begin(const tn_program *p, uint32_t n_streams, tn_order *o) {
    *o = (tn_order){.p = p, .n_streams = n_streams};
    o->last = tn_alloc(tn_graph_env(p->g), ((size_t)p->n_steps * n_streams + 1) * sizeof *o->last);
    return o->last ? TN_OK : TN_E_MEMORY;
}

tn_status tn_order_make(const tn_program *p, tn_order *o) {
    uint32_t newest[TN_MAX_STREAMS] = {0}; /* index + 1 */
    *o = (tn_order){.p = p, .n_streams = p->n_streams};
    if (p->n_streams == 1) return TN_OK; /* list order */
    if (tn_order_begin(p, p->n_streams, o) != TN_OK) return TN_E_MEMORY;
    for (uint32_t k = 0; k < p->n_steps; k++) {
        const tn_prog_step *s = &p->steps[k];
        if (newest[s->stream]) tn_order_see(o, k, newest[s->stream] - 1);
        for (uint32_t i = 0; i < s->n_after; i++) tn_order_see(o, k, s->after[i]);
        newest[s->stream] = k + 1;
    }
    return TN_OK;
}

void tn_order_free(tn_order *o) {
    if (o->last) tn_free(tn_graph_env(o->p->g), o->last, ((size_t)o->p->n_steps * o->n_streams + 1) * sizeof *o->last);
    o->last = NULL;
}

bool tn_order_before(const tn_order *o, uint32_t a, uint32_t b) {
    if (!o->last) return a < b;
    return o->last[(size_t)b * o->n_streams + o->p->steps[a].stream] > a;
}
