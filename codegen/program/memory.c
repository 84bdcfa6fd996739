/* memory.c: scratch buffers into one arena.
 *
 * A buffer's life is the set of steps that touch it, kept as the first and last of them on each stream.  Results that
 * may overwrite a dying operand take over its bytes; pack.c chooses offsets for the rest.  Two buffers share bytes only
 * where all steps of one have surely ended before any of the other starts, so sharing never needs another edge.  A step
 * may be launched before its predecessor on its stream has ended: every kernel of ours waits for it
 * (griddepcontrol.wait) before its first access to an activation, so stream order is order enough.
 *
 * A `while` runs its steps again: a buffer that is used in it and outside lives through all of it.  One that is used in
 * it alone is written by each iteration before it is read.  Of an `if` both bodies count, as if one ran after the other. */
#include "codegen/program/pack.h"
#include "passes/fuse/fuse.h"

#include <string.h>

#define NONE UINT32_MAX

typedef struct planner {
    tn_program *p;
    tn_order order;
    tn_life *life;   /* by buffer; all zero: no step touches it, or another buffer has taken it over */
    uint32_t *group; /* by buffer: whose bytes it has; its own number unless it took over an operand's */
    tn_block *blocks;
    uint32_t *block_of; /* by group */
    uint32_t n_blocks;
} planner;

static bool is_scratch(const tn_program *p, uint32_t buffer) {
    return p->buffers[buffer].kind == TN_BUFFER_SCRATCH;
}

/* ---- lives ------------------------------------------------------------------------------------------------------- */

static void live(planner *c, uint32_t buffer, uint32_t step) {
    const uint32_t stream = c->p->steps[step].stream;
    tn_life *l = &c->life[buffer];
    if (!l->first[stream] || step + 1 < l->first[stream]) l->first[stream] = step + 1;
    if (step + 1 > l->last[stream]) l->last[stream] = step + 1;
}

static void live_at(planner *c, uint32_t step) {
    const tn_prog_step *s = &c->p->steps[step];
    for (uint32_t i = 0; i < s->n_reads; i++) live(c, s->reads[i].buffer, step);
    for (uint32_t i = 0; i < s->n_writes; i++) live(c, s->writes[i].buffer, step);
}

/* Some step outside [first, end) touches it.  Steps of a loop are on one stream. */
static bool lives_outside(const planner *c, uint32_t buffer, uint32_t first, uint32_t end) {
    const tn_life *l = &c->life[buffer];
    for (uint32_t s = 0; s < TN_MAX_STREAMS; s++)
        if (l->last[s] && (l->first[s] - 1 < first || l->last[s] - 1 >= end)) return true;
    return false;
}

static void live_through(planner *c, uint32_t buffer, uint32_t first, uint32_t end) {
    if (!lives_outside(c, buffer, first, end)) return;
    live(c, buffer, first);
    live(c, buffer, end - 1);
}

/* Inner loops first: what lives through one is used by all of it. */
static void extend_through_loop(planner *c, uint32_t loop) {
    const uint32_t end = tn_prog_end(c->p, loop);
    for (uint32_t k = loop; k < end; k++) {
        const tn_prog_step *s = &c->p->steps[k];
        for (uint32_t i = 0; i < s->n_reads; i++) live_through(c, s->reads[i].buffer, loop, end);
        for (uint32_t i = 0; i < s->n_writes; i++) live_through(c, s->writes[i].buffer, loop, end);
    }
}

static void find_lives(planner *c) {
    for (uint32_t k = 0; k < c->p->n_steps; k++) live_at(c, k);
    for (uint32_t k = c->p->n_steps; k-- > 0;)
        if (c->p->steps[k].kind == TN_STEP_WHILE) extend_through_loop(c, k);
}

/* All of a has ended before b begins; `but` (index + 1; 0: none) may be in both. */
static bool ends_before(const tn_order *o, const tn_life *a, const tn_life *b, uint32_t but) {
    for (uint32_t s = 0; s < o->n_streams; s++)
        for (uint32_t t = 0; a->last[s] && t < o->n_streams; t++) {
            const uint32_t x = a->last[s], y = b->first[t];
            if (!y || (x == y && x == but)) continue;
            if (!tn_order_before(o, x - 1, y - 1)) return false;
        }
    return true;
}

bool tn_lives_meet(const tn_order *o, const tn_life *a, const tn_life *b) {
    return !ends_before(o, a, b, 0) && !ends_before(o, b, a, 0);
}

/* ---- results in place of operands -------------------------------------------------------------------------------- */

/* How often the step's extents lie in the group. */
static uint32_t touches(const planner *c, const tn_extent *e, uint32_t n, uint32_t group) {
    uint32_t count = 0;
    for (uint32_t k = 0; k < n; k++) count += c->group[e[k].buffer] == group;
    return count;
}

/* The write may have the read's bytes: they die here, begin here, and nothing else of the step is in them. */
static bool fits(const planner *c, uint32_t step, const tn_in_place *at) {
    const tn_prog_step *s = &c->p->steps[step];
    const tn_extent *r = &s->reads[at->read], *w = &s->writes[at->write];
    const uint32_t from = c->group[r->buffer];
    if (!is_scratch(c->p, r->buffer) || !is_scratch(c->p, w->buffer) || c->group[w->buffer] != w->buffer) return false;
    if (from == w->buffer || !tn_extent_is_whole(c->p, r) || !tn_extent_is_whole(c->p, w) || r->bytes.i != w->bytes.i)
        return false;
    if (touches(c, s->reads, s->n_reads, from) != 1 || touches(c, s->writes, s->n_writes, from) != 0) return false;
    if (touches(c, s->reads, s->n_reads, w->buffer) != 0 || touches(c, s->writes, s->n_writes, w->buffer) != 1)
        return false;
    return ends_before(&c->order, &c->life[from], &c->life[w->buffer], step + 1);
}

static void take_over(planner *c, uint32_t from, uint32_t buffer) {
    tn_life *a = &c->life[from], *b = &c->life[buffer];
    for (size_t k = 0; k < TN_MAX_STREAMS; k++) {
        if (b->first[k] && (!a->first[k] || b->first[k] < a->first[k])) a->first[k] = b->first[k];
        if (b->last[k] > a->last[k]) a->last[k] = b->last[k];
    }
    c->group[buffer] = from;
    *b = (tn_life){{0}, {0}};
}

static void share_in_place(planner *c) {
    for (uint32_t k = 0; k < c->p->n_steps; k++) {
        const tn_prog_step *s = &c->p->steps[k];
        for (uint32_t i = 0; i < s->n_in_place; i++)
            if (fits(c, k, &s->in_place[i]))
                take_over(c, c->group[s->reads[s->in_place[i].read].buffer], s->writes[s->in_place[i].write].buffer);
    }
}

/* ---- the arena --------------------------------------------------------------------------------------------------- */

static bool is_live(const tn_life *l) {
    static const tn_life none;
    return memcmp(l, &none, sizeof none) != 0;
}

static void make_blocks(planner *c) {
    const tn_program *p = c->p;
    for (uint32_t k = 0; k < p->n_buffers; k++) {
        c->block_of[k] = NONE;
        if (!is_scratch(p, k) || !is_live(&c->life[k])) continue;
        c->block_of[k] = c->n_blocks;
        c->blocks[c->n_blocks++] = (tn_block){
            .size = p->buffers[k].bytes, .hint = (double)tn_dim_typical(p->g, p->buffers[k].bytes), .life = c->life[k]};
    }
}

static void set_offsets(const planner *c) {
    tn_program *p = c->p;
    for (uint32_t k = 0; k < p->n_buffers; k++) {
        const uint32_t b = c->block_of[c->group[k]];
        if (is_scratch(p, k)) p->buffers[k].at = b == NONE ? tn_dim_const(p->g, 0) : c->blocks[b].offset;
    }
}

static tn_status plan(planner *c) {
    for (uint32_t k = 0; k < c->p->n_buffers; k++) c->group[k] = k;
    find_lives(c);
    share_in_place(c);
    make_blocks(c);
    tn_status s = tn_pack_blocks(&c->order, c->blocks, c->n_blocks, &c->p->arena);
    if (s == TN_OK) set_offsets(c);
    return s;
}

tn_status tn_program_memory(tn_program *p, const tn_program_options *o) {
    (void)o;
    const tn_env *env = tn_graph_env(p->g);
    const uint32_t n = p->n_buffers + 1;
    planner c = {.p = p};
    tn_status s = tn_order_make(p, &c.order);
    c.life = tn_alloc(env, n * sizeof *c.life);
    c.group = tn_alloc(env, n * sizeof *c.group);
    c.blocks = tn_alloc(env, n * sizeof *c.blocks);
    c.block_of = tn_alloc(env, n * sizeof *c.block_of);
    if (!c.life || !c.group || !c.blocks || !c.block_of) s = TN_E_MEMORY;
    s = s == TN_OK ? plan(&c) : tn_graph_fail(p->g, s, (tn_node){0}, "", "out of memory");
    tn_free(env, c.life, n * sizeof *c.life);
    tn_free(env, c.group, n * sizeof *c.group);
    tn_free(env, c.blocks, n * sizeof *c.blocks);
    tn_free(env, c.block_of, n * sizeof *c.block_of);
    tn_order_free(&c.order);
    return s;
}
