/* memory_pack.c: offsets for the arena's blocks.
 *
 * Two ways, the smaller at the hint shapes wins:
 *   classes   Blocks whose sizes are constant multiples of one expression E (E = 1 for static shapes, the batch size
 * for most dynamic models) are packed in units of E: largest first, each at the lowest offset that is free during its
 *             life.  Classes lie behind one another.
 *   slots     Blocks of any size share a slot when their lives do not meet; a slot is as large as the maximum of its
 *             blocks' expressions.
 * Either is right for all values of the symbols; nothing is proved by sampling. */
#include <stdlib.h>
#include "passes/memory_private.h"
#include "passes/fuse.h"

enum { UNIT = 256 };

typedef struct item {
    uint32_t block;
    tn_dim unit;      /* E */
    int64_t size, at; /* in multiples of E, rounded up to UNIT */
    double hint;
    uint32_t start;
} item;

static bool meet(const tn_block *a, const tn_block *b) {
    return a->start <= b->end && b->start <= a->end;
}

static int by_size(const void *pa, const void *pb) {
    const item *a = pa, *b = pb;
    if (a->unit.i != b->unit.i) return a->unit.i < b->unit.i ? -1 : 1;
    if (a->hint > b->hint || a->hint < b->hint) return a->hint > b->hint ? -1 : 1;
    if (a->start != b->start) return a->start < b->start ? -1 : 1;
    return a->block < b->block ? -1 : a->block > b->block;
}

/* size = unit * constant; the constant is rounded up. */
static void split_size(tn_graph *g, const tn_block *b, item *it) {
    int64_t c = tn_dim_divisor(g, b->size);
    it->unit = c > 0 ? tn_dim_floordiv(g, b->size, tn_dim_const(g, c)) : tn_dim_const(g, 1);
    if (c > 0 && tn_dim_mul(g, it->unit, tn_dim_const(g, c)).i != b->size.i) {
        it->unit = b->size;
        c = 1;
    }
    if (c > INT64_MAX - UNIT) c = INT64_MAX - UNIT;
    it->size = (c + UNIT - 1) / UNIT * UNIT;
    it->hint = b->hint;
    it->start = b->start;
}

/* The lowest offset of item k that clears all items before it that live at the same time.  `taken` is scratch. */
static int64_t lowest_fit(const tn_block *blocks, const item *items, size_t first, size_t k) {
    int64_t at = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (size_t j = first; j < k; j++) {
            if (!meet(&blocks[items[j].block], &blocks[items[k].block])) continue;
            if (at >= items[j].at + items[j].size || items[j].at >= at + items[k].size) continue;
            at = items[j].at + items[j].size;
            moved = true;
        }
    }
    return at;
}

static tn_dim pack_classes(tn_graph *g, const tn_block *blocks, item *items, size_t n, tn_dim *offsets) {
    tn_dim base = tn_dim_const(g, 0);
    for (size_t first = 0, end; first < n; first = end) {
        int64_t height = 0;
        for (end = first; end < n && items[end].unit.i == items[first].unit.i; end++) {
            items[end].at = lowest_fit(blocks, items, first, end);
            if (items[end].at + items[end].size > height) height = items[end].at + items[end].size;
        }
        for (size_t k = first; k < end; k++)
            offsets[items[k].block] = tn_dim_add(g, base, tn_dim_mul(g, items[k].unit, tn_dim_const(g, items[k].at)));
        base = tn_dim_add(g, base, tn_dim_mul(g, items[first].unit, tn_dim_const(g, height)));
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
static size_t free_slot(const tn_block *blocks, const tn_block *b, const uint32_t *slot_of, const item *items, size_t k,
                        const slot *slots, size_t n_slots) {
    size_t best = n_slots;
    for (size_t s = 0; s < n_slots; s++) {
        bool is_free = true;
        for (size_t j = 0; is_free && j < k; j++)
            is_free = slot_of[items[j].block] != s || !meet(&blocks[items[j].block], b);
        if (is_free && (best == n_slots || slots[s].hint < slots[best].hint)) best = s;
    }
    return best;
}

static tn_dim pack_slots(tn_graph *g, const tn_block *blocks, item *items, size_t n, slot *slots, uint32_t *slot_of) {
    size_t n_slots = 0;
    tn_dim unit = tn_dim_const(g, UNIT), at = tn_dim_const(g, 0);
    for (size_t k = 0; k < n; k++) {
        const tn_block *b = &blocks[items[k].block];
        size_t s = free_slot(blocks, b, slot_of, items, k, slots, n_slots);
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

static tn_status pack(tn_graph *g, tn_block *blocks, size_t n, item *items, slot *slots, uint32_t *slot_of,
                      tn_dim *offsets, tn_dim *total) {
    bool one_class = true;
    for (size_t k = 0; k < n; k++) {
        items[k].block = (uint32_t)k;
        split_size(g, &blocks[k], &items[k]);
        one_class = one_class && items[k].unit.i == items[0].unit.i;
    }
    qsort(items, n, sizeof *items, by_size);
    *total = pack_classes(g, blocks, items, n, offsets);
    for (size_t k = 0; k < n; k++) blocks[k].offset = offsets[k];
    if (one_class) return tn_graph_status(g);
    qsort(items, n, sizeof *items, by_hint);
    tn_dim in_slots = pack_slots(g, blocks, items, n, slots, slot_of);
    if (tn_hint_eval(g, in_slots) < tn_hint_eval(g, *total)) {
        *total = in_slots;
        for (size_t k = 0; k < n; k++) blocks[k].offset = slots[slot_of[k]].offset;
    }
    return tn_graph_status(g);
}

tn_status tn_pack_blocks(tn_graph *g, tn_block *blocks, size_t n, tn_dim *total) {
    *total = tn_dim_const(g, 0);
    if (!n) return tn_graph_status(g);
    const tn_env *env = tn_graph_env(g);
    item *items = tn_alloc(env, n * sizeof *items);
    slot *slots = tn_alloc(env, n * sizeof *slots);
    uint32_t *slot_of = tn_alloc(env, n * sizeof *slot_of);
    tn_dim *offsets = tn_alloc(env, n * sizeof *offsets);
    tn_status s = items && slots && slot_of && offsets
                      ? pack(g, blocks, n, items, slots, slot_of, offsets, total)
                      : tn_graph_fail(g, TN_E_MEMORY, (tn_node){0}, "", "out of memory");
    tn_free(env, items, n * sizeof *items);
    tn_free(env, slots, n * sizeof *slots);
    tn_free(env, slot_of, n * sizeof *slot_of);
    tn_free(env, offsets, n * sizeof *offsets);
    return s;
}
