/* pack.c: offsets for the arena's blocks.
 *
 * Two ways, the smaller at the hint shapes wins:
 *   classes   Blocks whose sizes are constant multiples of one expression E (E = 1 for static shapes, the batch size
 *             for most dynamic models) are packed in units of E: largest first, each at the lowest offset that is
 *             free during its life.  Classes lie behind one another.
 *   slots     Blocks of any size share a slot when their lives do not meet; a slot is as large as the maximum of its
 *             blocks' expressions.
 * Either is right for all values of the symbols; nothing is proved by sampling. */
#include <stdlib.h>
#include "codegen/program/pack.h"
#include "passes/fuse/fuse.h"
#include "tenon/internal/arith.h"

enum { UNIT = 256 };

/* The first step that needs the block, in list order. */
static uint32_t first_step(const tn_life *l) {
    uint32_t at = UINT32_MAX;
    for (size_t k = 0; k < TN_MAX_STREAMS; k++)
        if (l->first[k] && l->first[k] < at) at = l->first[k];
    return at;
}

typedef struct item {
    uint32_t block;
    tn_dim e;         /* E */
    int64_t c;        /* size = c * E */
    int64_t size, at; /* in units U */
    double hint;
    uint32_t start;
} item;

typedef struct span {
    int64_t at, end;
} span;

typedef struct slot {
    tn_dim size, offset;
    double hint;
    uint32_t taken; /* by a block beside this item, index + 1 */
} slot;

/* Arrays by block but for items and slots. */
typedef struct packer {
    tn_graph *g;
    tn_block *blocks;
    uint32_t n, n_slots;
    tn_meetings *meetings;
    item *items; /* in the order in which they are placed */
    uint32_t *item_of, *slot_of, *near;
    span *spans;
    slot *slots;
    tn_dim *offsets;
} packer;

static int by_size(const void *pa, const void *pb) {
    const item *a = pa, *b = pb;
    if (a->e.i != b->e.i) return a->e.i < b->e.i ? -1 : 1;
    if (a->hint > b->hint || a->hint < b->hint) return a->hint > b->hint ? -1 : 1;
    if (a->start != b->start) return a->start < b->start ? -1 : 1;
    return a->block < b->block ? -1 : a->block > b->block;
}

/* size = e * c with the largest c; sums of many c fit in 64 bits. */
static void split_size(tn_graph *g, const tn_block *b, item *it) {
    const int64_t most = INT64_C(1) << 40;
    it->c = tn_dim_divisor(g, b->size);
    it->e = it->c > 0 ? tn_dim_floordiv(g, b->size, tn_dim_const(g, it->c)) : tn_dim_const(g, 1);
    if (it->c > most || (it->c > 0 && tn_dim_mul(g, it->e, tn_dim_const(g, it->c)).i != b->size.i)) {
        it->e = b->size;
        it->c = 1;
    }
    it->hint = b->hint;
    it->start = first_step(&b->life);
}

static int by_at(const void *pa, const void *pb) {
    const span *a = pa, *b = pb;
    return a->at < b->at ? -1 : a->at > b->at;
}

/* The lowest offset of item k that clears all items from `first` on before it that live at the same time. */
static int64_t lowest_fit(packer *p, uint32_t first, uint32_t k) {
    const uint32_t n = tn_meetings_of(p->meetings, p->items[k].block, p->near);
    uint32_t n_spans = 0;
    int64_t at = 0;
    for (uint32_t j = 0; j < n; j++) {
        const uint32_t other = p->item_of[p->near[j]];
        const item *x = &p->items[other];
        if (other >= first && other < k) p->spans[n_spans++] = (span){x->at, x->at + x->size};
    }
    if (n_spans) qsort(p->spans, n_spans, sizeof *p->spans, by_at);
    for (uint32_t j = 0; j < n_spans && p->spans[j].at < at + p->items[k].size; j++)
        if (p->spans[j].end > at) at = p->spans[j].end;
    return at;
}

/* Packs items [first, end) in units of q * E; returns the height in units. */
static int64_t pack_units(packer *p, uint32_t first, uint32_t end, int64_t q) {
    int64_t height = 0;
    for (uint32_t k = first; k < end; k++) {
        item *x = &p->items[k];
        x->size = x->c / q + (x->c % q != 0);
        x->at = lowest_fit(p, first, k);
        if (x->at + x->size > height) height = x->at + x->size;
    }
    return height;
}

static tn_dim unit_bytes(tn_graph *g, tn_dim e, int64_t q) {
    tn_dim unit = tn_dim_const(g, UNIT), bytes = tn_dim_mul(g, e, tn_dim_const(g, q));
    return tn_dim_mul(g, tn_dim_ceildiv(g, bytes, unit), unit);
}

/* q is the sizes' common divisor, which wastes up to 255 bytes a unit, or 256, which wastes up to 255 * E a block:
 * whichever is smaller at the hint shapes. */
static tn_dim pack_class(packer *p, uint32_t first, uint32_t end, tn_dim base) {
    tn_graph *g = p->g;
    item *items = p->items;
    int64_t q = 0;
    for (uint32_t k = first; k < end; k++) q = tn_gcd(items[k].c, q);
    if (q <= 0) q = 1;
    int64_t height = pack_units(p, first, end, q);
    tn_dim unit = unit_bytes(g, items[first].e, q);
    if (q % UNIT) {
        double fine = (double)height * (double)tn_dim_typical(g, unit);
        int64_t coarse = pack_units(p, first, end, UNIT);
        tn_dim whole = unit_bytes(g, items[first].e, UNIT);
        if ((double)coarse * (double)tn_dim_typical(g, whole) <= fine) {
            height = coarse;
            unit = whole;
        } else {
            pack_units(p, first, end, q);
        }
    }
    for (uint32_t k = first; k < end; k++)
        p->offsets[items[k].block] = tn_dim_add(g, base, tn_dim_mul(g, unit, tn_dim_const(g, items[k].at)));
    return tn_dim_add(g, base, tn_dim_mul(g, unit, tn_dim_const(g, height)));
}

static void sort_items(packer *p, int (*by)(const void *a, const void *b)) {
    qsort(p->items, p->n, sizeof *p->items, by);
    for (uint32_t k = 0; k < p->n; k++) p->item_of[p->items[k].block] = k;
}

static tn_dim pack_classes(packer *p) {
    tn_dim base = tn_dim_const(p->g, 0);
    sort_items(p, by_size);
    for (uint32_t first = 0, end; first < p->n; first = end) {
        for (end = first; end < p->n && p->items[end].e.i == p->items[first].e.i; end++) {
        }
        base = pack_class(p, first, end, base);
    }
    return base;
}

static int by_hint(const void *pa, const void *pb) {
    const item *a = pa, *b = pb;
    if (a->hint > b->hint || a->hint < b->hint) return a->hint > b->hint ? -1 : 1;
    return a->block < b->block ? -1 : a->block > b->block;
}

/* The smallest slot that is free during item k's life; n_slots if there is none. */
static uint32_t free_slot(packer *p, uint32_t k) {
    const uint32_t n = tn_meetings_of(p->meetings, p->items[k].block, p->near);
    uint32_t best = p->n_slots;
    for (uint32_t j = 0; j < n; j++)
        if (p->item_of[p->near[j]] < k) p->slots[p->slot_of[p->near[j]]].taken = k + 1;
    for (uint32_t s = 0; s < p->n_slots; s++)
        if (p->slots[s].taken != k + 1 && (best == p->n_slots || p->slots[s].hint < p->slots[best].hint)) best = s;
    return best;
}

static tn_dim pack_slots(packer *p) {
    tn_graph *g = p->g;
    tn_dim unit = tn_dim_const(g, UNIT), at = tn_dim_const(g, 0);
    sort_items(p, by_hint);
    for (uint32_t k = 0; k < p->n; k++) {
        const tn_block *b = &p->blocks[p->items[k].block];
        const uint32_t s = free_slot(p, k);
        if (s == p->n_slots)
            p->slots[p->n_slots++] = (slot){.size = b->size, .hint = b->hint};
        else
            p->slots[s].size = tn_dim_max(g, p->slots[s].size, b->size);
        p->slot_of[p->items[k].block] = s;
    }
    for (uint32_t s = 0; s < p->n_slots; s++) {
        p->slots[s].offset = at;
        at = tn_dim_add(g, at, tn_dim_mul(g, tn_dim_ceildiv(g, p->slots[s].size, unit), unit));
    }
    return at;
}

static tn_status pack(packer *p, tn_dim *total) {
    tn_graph *g = p->g;
    bool one_class = true;
    for (uint32_t k = 0; k < p->n; k++) {
        p->items[k].block = k;
        split_size(g, &p->blocks[k], &p->items[k]);
        one_class = one_class && p->items[k].e.i == p->items[0].e.i;
    }
    *total = pack_classes(p);
    for (uint32_t k = 0; k < p->n; k++) p->blocks[k].offset = p->offsets[k];
    if (one_class) return tn_graph_status(g);
    tn_dim in_slots = pack_slots(p);
    if ((double)tn_dim_typical(g, in_slots) < (double)tn_dim_typical(g, *total)) {
        *total = in_slots;
        for (uint32_t k = 0; k < p->n; k++) p->blocks[k].offset = p->slots[p->slot_of[k]].offset;
    }
    return tn_graph_status(g);
}

tn_status tn_pack_blocks(const tn_order *o, tn_block *blocks, uint32_t n, tn_dim *total) {
    tn_graph *g = o->p->g;
    *total = tn_dim_const(g, 0);
    if (!n) return tn_graph_status(g);
    const tn_env *env = tn_graph_env(g);
    packer p = {.g = g, .blocks = blocks, .n = n, .meetings = tn_meetings_new(o, blocks, n)};
    p.items = tn_alloc(env, n * sizeof *p.items);
    p.item_of = tn_alloc(env, n * sizeof *p.item_of);
    p.slot_of = tn_alloc(env, n * sizeof *p.slot_of);
    p.near = tn_alloc(env, n * sizeof *p.near);
    p.spans = tn_alloc(env, n * sizeof *p.spans);
    p.slots = tn_alloc(env, n * sizeof *p.slots);
    p.offsets = tn_alloc(env, n * sizeof *p.offsets);
    tn_status s = p.meetings && p.items && p.item_of && p.slot_of && p.near && p.spans && p.slots && p.offsets
                      ? pack(&p, total)
                      : tn_graph_fail(g, TN_E_MEMORY, (tn_node){0}, "", "out of memory");
    tn_meetings_free(p.meetings);
    tn_free(env, p.items, n * sizeof *p.items);
    tn_free(env, p.item_of, n * sizeof *p.item_of);
    tn_free(env, p.slot_of, n * sizeof *p.slot_of);
    tn_free(env, p.near, n * sizeof *p.near);
    tn_free(env, p.spans, n * sizeof *p.spans);
    tn_free(env, p.slots, n * sizeof *p.slots);
    tn_free(env, p.offsets, n * sizeof *p.offsets);
    return s;
}
