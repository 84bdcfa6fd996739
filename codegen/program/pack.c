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

static int by_size(const void *pa, const void *pb) {
    const item *a = pa, *b = pb;
    if (a->e.i != b->e.i) return a->e.i < b->e.i ? -1 : 1;
    if (a->hint > b->hint || a->hint < b->hint) return a->hint > b->hint ? -1 : 1;
    if (a->start != b->start) return a->start < b->start ? -1 : 1;
    return a->block < b->block ? -1 : a->block > b->block;
}

/* size = e * c with the largest c. */
static void split_size(tn_graph *g, const tn_block *b, item *it) {
    it->c = tn_dim_divisor(g, b->size);
    it->e = it->c > 0 ? tn_dim_floordiv(g, b->size, tn_dim_const(g, it->c)) : tn_dim_const(g, 1);
    if (it->c > 0 && tn_dim_mul(g, it->e, tn_dim_const(g, it->c)).i != b->size.i) {
        it->e = b->size;
        it->c = 1;
    }
    it->hint = b->hint;
    it->start = first_step(&b->life);
}

/* The lowest offset of item k that clears all items before it that live at the same time.  */
static int64_t lowest_fit(const tn_order *o, const tn_block *blocks, const item *items, size_t first, size_t k) {
    int64_t at = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (size_t j = first; j < k; j++) {
            if (!tn_lives_meet(o, &blocks[items[j].block].life, &blocks[items[k].block].life)) continue;
            if (at >= items[j].at + items[j].size || items[j].at >= at + items[k].size) continue;
            at = items[j].at + items[j].size;
            moved = true;
        }
    }
    return at;
}

/* Packs items [first, end) in units of q * E; returns the height in units. */
static int64_t pack_units(const tn_order *o, const tn_block *blocks, item *items, size_t first, size_t end, int64_t q) {
    int64_t height = 0;
    for (size_t k = first; k < end; k++) {
        items[k].size = items[k].c / q + (items[k].c % q != 0);
        items[k].at = lowest_fit(o, blocks, items, first, k);
        if (items[k].at + items[k].size > height) height = items[k].at + items[k].size;
    }
    return height;
}

static tn_dim unit_bytes(tn_graph *g, tn_dim e, int64_t q) {
    tn_dim unit = tn_dim_const(g, UNIT), bytes = tn_dim_mul(g, e, tn_dim_const(g, q));
    return tn_dim_mul(g, tn_dim_ceildiv(g, bytes, unit), unit);
}

/* q is the sizes' common divisor, which wastes up to 255 bytes a unit, or 256, which wastes up to 255 * E a block:
 * whichever is smaller at the hint shapes. */
static tn_dim pack_class(const tn_order *o, const tn_block *blocks, item *items, size_t first, size_t end, tn_dim base,
                         tn_dim *offsets) {
    tn_graph *g = o->p->g;
    int64_t q = 0;
    for (size_t k = first; k < end; k++) q = tn_gcd(items[k].c, q);
    if (q <= 0) q = 1;
    int64_t height = pack_units(o, blocks, items, first, end, q);
    tn_dim unit = unit_bytes(g, items[first].e, q);
    if (q % UNIT) {
        double fine = (double)height * (double)tn_dim_typical(g, unit);
        int64_t coarse = pack_units(o, blocks, items, first, end, UNIT);
        tn_dim whole = unit_bytes(g, items[first].e, UNIT);
        if ((double)coarse * (double)tn_dim_typical(g, whole) <= fine) {
            height = coarse;
            unit = whole;
        } else {
            pack_units(o, blocks, items, first, end, q);
        }
    }
    for (size_t k = first; k < end; k++)
        offsets[items[k].block] = tn_dim_add(g, base, tn_dim_mul(g, unit, tn_dim_const(g, items[k].at)));
    return tn_dim_add(g, base, tn_dim_mul(g, unit, tn_dim_const(g, height)));
}

static tn_dim pack_classes(const tn_order *o, const tn_block *blocks, item *items, size_t n, tn_dim *offsets) {
    tn_graph *g = o->p->g;
    tn_dim base = tn_dim_const(g, 0);
    for (size_t first = 0, end; first < n; first = end) {
        for (end = first; end < n && items[end].e.i == items[first].e.i; end++) {
        }
        base = pack_class(o, blocks, items, first, end, base, offsets);
    }
    return base;
}

typedef struct slot {
    tn_dim size, offset;
    double hint;
} slot;

static int by_hint(const void *pa, const void *pb) {
    const item *a = pa, *b = pb;
    if (a->hint > b->hint || a->hint < b->hint) return a->hint > b->hint ? -1 : 1;
    return a->block < b->block ? -1 : a->block > b->block;
}

/* The smallest slot that is free during the block's life; n_slots if there is none. */
static size_t free_slot(const tn_order *o, const tn_block *blocks, const tn_block *b, const uint32_t *slot_of,
                        const item *items, size_t k, const slot *slots, size_t n_slots) {
    size_t best = n_slots;
    for (size_t s = 0; s < n_slots; s++) {
        bool is_free = true;
        for (size_t j = 0; is_free && j < k; j++)
            is_free = slot_of[items[j].block] != s || !tn_lives_meet(o, &blocks[items[j].block].life, &b->life);
        if (is_free && (best == n_slots || slots[s].hint < slots[best].hint)) best = s;
    }
    return best;
}

static tn_dim pack_slots(const tn_order *o, const tn_block *blocks, item *items, size_t n, slot *slots,
                         uint32_t *slot_of) {
    tn_graph *g = o->p->g;
    size_t n_slots = 0;
    tn_dim unit = tn_dim_const(g, UNIT), at = tn_dim_const(g, 0);
    for (size_t k = 0; k < n; k++) {
        const tn_block *b = &blocks[items[k].block];
        size_t s = free_slot(o, blocks, b, slot_of, items, k, slots, n_slots);
        if (s == n_slots)
            slots[n_slots++] = (slot){.size = b->size, .hint = b->hint};
        else
            slots[s].size = tn_dim_max(g, slots[s].size, b->size);
        slot_of[items[k].block] = (uint32_t)s;
    }
    for (size_t s = 0; s < n_slots; s++) {
        slots[s].offset = at;
        at = tn_dim_add(g, at, tn_dim_mul(g, tn_dim_ceildiv(g, slots[s].size, unit), unit));
    }
    return at;
}

static tn_status pack(const tn_order *o, tn_block *blocks, size_t n, item *items, slot *slots, uint32_t *slot_of,
                      tn_dim *offsets, tn_dim *total) {
    tn_graph *g = o->p->g;
    bool one_class = true;
    for (size_t k = 0; k < n; k++) {
        items[k].block = (uint32_t)k;
        split_size(g, &blocks[k], &items[k]);
        one_class = one_class && items[k].e.i == items[0].e.i;
    }
    qsort(items, n, sizeof *items, by_size);
    *total = pack_classes(o, blocks, items, n, offsets);
    for (size_t k = 0; k < n; k++) blocks[k].offset = offsets[k];
    if (one_class) return tn_graph_status(g);
    qsort(items, n, sizeof *items, by_hint);
    tn_dim in_slots = pack_slots(o, blocks, items, n, slots, slot_of);
    if ((double)tn_dim_typical(g, in_slots) < (double)tn_dim_typical(g, *total)) {
        *total = in_slots;
        for (size_t k = 0; k < n; k++) blocks[k].offset = slots[slot_of[k]].offset;
    }
    return tn_graph_status(g);
}

tn_status tn_pack_blocks(const tn_order *o, tn_block *blocks, size_t n, tn_dim *total) {
    tn_graph *g = o->p->g;
    *total = tn_dim_const(g, 0);
    if (!n) return tn_graph_status(g);
    const tn_env *env = tn_graph_env(g);
    item *items = tn_alloc(env, n * sizeof *items);
    slot *slots = tn_alloc(env, n * sizeof *slots);
    uint32_t *slot_of = tn_alloc(env, n * sizeof *slot_of);
    tn_dim *offsets = tn_alloc(env, n * sizeof *offsets);
    tn_status s = items && slots && slot_of && offsets
                      ? pack(o, blocks, n, items, slots, slot_of, offsets, total)
                      : tn_graph_fail(g, TN_E_MEMORY, (tn_node){0}, "", "out of memory");
    tn_free(env, items, n * sizeof *items);
    tn_free(env, slots, n * sizeof *slots);
    tn_free(env, slot_of, n * sizeof *slot_of);
    tn_free(env, offsets, n * sizeof *offsets);
    return s;
}
