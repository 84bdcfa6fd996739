/* streams.c: independent steps side by side, on streams beside the caller's.
 *
 * List scheduling: each step continues the stream of the dependency that ends last, if nobody else continued it; else it
 * takes a stream whose last step has surely ended, a new one, or the one that is free first.  Times are the steps' `us`
 * (1 where unknown).  Where that promises less than 3 % against one stream, all stay on the caller's: a fork and a join
 * cost a microsecond or two.  What a step owns goes with it. */
#include "codegen/program/program.h"

typedef struct scheduler {
    tn_program *p;
    uint32_t most;
    uint32_t tail[TN_MAX_STREAMS]; /* index + 1 of the stream's last step; 0: none */
    double *end;                   /* by step */
    tn_order order;                /* of the steps that have a stream */
    double total;
} scheduler;

/* Of a step and what it owns: all of it once. */
static double time_of(const tn_program *p, uint32_t step) {
    double sum = 0;
    for (uint32_t k = step; k < tn_prog_end(p, step); k++) sum += p->steps[k].us > 0 ? p->steps[k].us : 1;
    return sum;
}

/* The dependency's stream to go on with; `most` if there is none. */
static uint32_t continued(const scheduler *c, const tn_prog_step *s) {
    uint32_t best = c->most;
    for (uint32_t k = 0; k < s->n_after; k++) {
        const uint32_t stream = c->p->steps[s->after[k]].stream;
        if (c->tail[stream] != s->after[k] + 1) continue;
        if (best == c->most || c->end[s->after[k]] > c->end[c->tail[best] - 1]) best = stream;
    }
    return best;
}

static uint32_t choose(const scheduler *c, uint32_t step, const tn_prog_step *s) {
    uint32_t best = continued(c, s);
    if (best < c->most) return best;
    for (uint32_t k = 0; k < c->most; k++)
        if (!c->tail[k] || tn_order_before(&c->order, c->tail[k] - 1, step)) return k;
    best = 0;
    for (uint32_t k = 1; k < c->most; k++)
        if (c->end[c->tail[k] - 1] < c->end[c->tail[best] - 1]) best = k;
    return best;
}

static void schedule(scheduler *c, uint32_t step) {
    tn_prog_step *s = &c->p->steps[step];
    double start = 0;
    for (uint32_t k = 0; k < s->n_after; k++) {
        tn_order_see(&c->order, step, s->after[k]);
        if (c->end[s->after[k]] > start) start = c->end[s->after[k]];
    }
    s->stream = choose(c, step, s);
    if (c->tail[s->stream]) {
        const uint32_t tail = c->tail[s->stream] - 1;
        tn_order_see(&c->order, step, tail);
        if (c->end[tail] > start) start = c->end[tail];
    }
    for (uint32_t k = step + 1; k < tn_prog_end(c->p, step); k++) c->p->steps[k].stream = s->stream;
    c->tail[s->stream] = step + 1;
    c->end[step] = start + time_of(c->p, step);
    c->total += time_of(c->p, step);
    if (s->stream >= c->p->n_streams) c->p->n_streams = s->stream + 1;
}

static void on_one_stream(tn_program *p) {
    for (uint32_t k = 0; k < p->n_steps; k++) p->steps[k].stream = 0;
    p->n_streams = 1;
}

static void schedule_all(scheduler *c) {
    const double least_gain = 0.97;
    double last = 0;
    for (uint32_t k = 0; k < c->p->n_steps; k = tn_prog_end(c->p, k)) {
        schedule(c, k);
        if (c->end[k] > last) last = c->end[k];
    }
    if (last > least_gain * c->total) on_one_stream(c->p);
}

tn_status tn_program_streams(tn_program *p, const tn_program_options *o) {
    const tn_env *env = tn_graph_env(p->g);
    scheduler c = {.p = p, .most = o->streams < TN_MAX_STREAMS ? o->streams : TN_MAX_STREAMS};
    on_one_stream(p);
    if (c.most < 2) return TN_OK;
    c.end = tn_alloc(env, (p->n_steps + 1) * sizeof *c.end);
    const bool ok = tn_order_begin(p, c.most, &c.order) == TN_OK && c.end;
    if (ok) schedule_all(&c);
    tn_free(env, c.end, (p->n_steps + 1) * sizeof *c.end);
    tn_order_free(&c.order);
    return ok ? TN_OK : tn_graph_fail(p->g, TN_E_MEMORY, (tn_node){0}, "", "out of memory");
}
