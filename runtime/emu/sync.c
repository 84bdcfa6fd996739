/* sync.c: clocks, block, cluster and warp barriers, warp-wide instructions, mbarriers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/emu/engine.h"

/* ---- clocks ------------------------------------------------------------------------------------------------------ */

_Noreturn void emu_no_memory(emu_run *r) {
    r->out_of_memory = true;
    emu_fault(r, TN_EMU_MISUSE, NULL, "out of memory");
}

emu_clock *emu_clock_new(emu_run *r) {
    emu_clock *c = r->free_clocks;
    if (c)
        r->free_clocks = c->next_free;
    else
        c = malloc(sizeof *c + r->n_events * sizeof *c->at);
    if (!c) emu_no_memory(r);
    c->refs = 1;
    return c;
}

emu_clock *emu_clock_ref(emu_clock *c) {
    if (c) c->refs++;
    return c;
}

void emu_clock_drop(emu_run *r, emu_clock *c) {
    if (!c || --c->refs) return;
    c->next_free = r->free_clocks;
    r->free_clocks = c;
}

/* Makes *into a clock of its own; NULL becomes one that knows nothing new. */
static void own_clock(emu_run *r, emu_clock **into) {
    emu_clock *old = *into;
    if (old && old->refs == 1) return;
    *into = emu_clock_new(r);
    for (uint32_t i = 0; i < r->n_events; i++) (*into)->at[i] = old ? old->at[i] : r->base;
    emu_clock_drop(r, old);
}

void emu_clock_join(emu_run *r, emu_clock **into, const emu_clock *from) {
    if (!from || *into == from) return;
    own_clock(r, into);
    for (uint32_t i = 0; i < r->n_events; i++)
        if (from->at[i] > (*into)->at[i]) (*into)->at[i] = from->at[i];
}

void emu_clock_set(emu_run *r, emu_clock **into, uint32_t who, uint32_t time) {
    own_clock(r, into);
    if (time > (*into)->at[who]) (*into)->at[who] = time;
}

/* What a set of threads knows together, with their own events; their times advance. */
static emu_clock *join_threads(emu_run *r, const uint16_t *who, uint32_t n) {
    emu_clock *all = emu_clock_new(r);
    const emu_clock *last = r->threads[who[0]].seen;
    memcpy(all->at, last->at, r->n_events * sizeof *all->at);
    for (uint32_t k = 1; k < n; k++) {
        const emu_clock *c = r->threads[who[k]].seen;
        if (c == last) continue;
        emu_clock_join(r, &all, c);
        last = c;
    }
    for (uint32_t k = 0; k < n; k++) {
        emu_thread *t = &r->threads[who[k]];
        if (t->own > all->at[t->id]) all->at[t->id] = t->own;
        t->own++;
    }
    return all;
}

static void acquire(emu_run *r, emu_thread *t, emu_clock *c) {
    emu_clock_join(r, &t->seen, c);
}

/* ---- barriers ---------------------------------------------------------------------------------------------------- */

/* Completes a barrier at which all have arrived. */
static void complete(emu_run *r, emu_barrier *b) {
    emu_clock_drop(r, b->released);
    b->released = join_threads(r, b->who, b->n);
    for (uint32_t k = 0; k < b->n; k++) { /* most threads know exactly this now: they share it */
        emu_thread *t = &r->threads[b->who[k]];
        emu_clock_drop(r, t->seen);
        t->seen = emu_clock_ref(b->released);
    }
    b->n = 0;
    b->round++;
}

/* Lanes of a warp must come to a block's barrier by one instruction. */
static void check_converged(emu_thread *t, const emu_barrier *b) {
    emu_run *r = t->run;
    if (!b->n) return;
    const emu_thread *o = &r->threads[b->who[b->n - 1]]; /* lanes arrive one after the other */
    if (o->block != t->block || o->warp != t->warp || (o->line == t->line && !strcmp(o->file, t->file))) return;
    char who[96];
    emu_fault(r, TN_EMU_DIVERGENT, NULL, "waits at __syncthreads in %s:%d while %s of the same warp waits in %s:%d",
              t->file, t->line, emu_who(r, o->id, who, sizeof who), o->file, o->line);
}

static void wait_at(emu_thread *t, emu_barrier *b, uint32_t expected, const char *what, const void *pc) {
    emu_run *r = t->run;
    if (b->n == 0) b->expected = expected;
    if (b->expected != expected)
        emu_fault(r, TN_EMU_DIVERGENT, pc, "expects %u threads at a barrier at which others expect %u", expected,
                  b->expected);
    b->who[b->n++] = (uint16_t)t->id;
    if (b->n == b->expected)
        complete(r, b);
    else
        emu_wait(t, &b->round, b->round, what, pc);
}

void emu_sync_block(tn_emu_view *v, const char *file, int line) {
    emu_thread *t = emu_of(v);
    emu_step(t->run);
    t->file = file;
    t->line = line;
    check_converged(t, &t->block->barriers[0]);
    wait_at(t, &t->block->barriers[0], t->run->n_threads, "__syncthreads", EMU_PC());
}

void emu_barrier_api(tn_emu_view *v, unsigned id, unsigned threads, int arrive_only) {
    emu_thread *t = emu_of(v);
    emu_run *r = t->run;
    const void *pc = EMU_PC();
    emu_step(r);
    if (id >= EMU_BARRIERS) emu_fault(r, TN_EMU_MISUSE, pc, "uses barrier %u of 16", id);
    uint32_t expected = threads ? threads : r->n_threads;
    if (expected > r->n_threads || (threads && threads % EMU_WARP))
        emu_fault(r, TN_EMU_MISUSE, pc, "expects %u threads at barrier %u; the block has %u", expected, id,
                  r->n_threads);
    emu_barrier *b = &t->block->barriers[id];
    if (!arrive_only) {
        wait_at(t, b, expected, "a named barrier", pc);
        return;
    }
    if (b->n == 0) b->expected = expected; /* publishes, but learns nothing */
    b->who[b->n++] = (uint16_t)t->id;
    emu_clock *known = emu_clock_ref(t->seen);
    if (b->n == b->expected) complete(r, b);
    emu_clock_drop(r, t->seen);
    t->seen = known;
}

void emu_cluster_arrive(tn_emu_view *v) {
    emu_thread *t = emu_of(v);
    emu_run *r = t->run;
    emu_barrier *b = &r->cluster_barrier;
    emu_step(r);
    if (t->cluster_arrived) emu_fault(r, TN_EMU_MISUSE, EMU_PC(), "arrives at the cluster's barrier twice");
    t->cluster_arrived = true;
    emu_clock_drop(r, t->cluster_seen);
    t->cluster_seen = emu_clock_ref(t->seen);
    t->cluster_round = b->round;
    b->who[b->n++] = (uint16_t)t->id;
    if (b->n < r->n_blocks * r->n_threads) return;
    emu_clock_drop(r, b->released);
    b->released = join_threads(r, b->who, b->n);
    b->n = 0;
    b->round++;
}

void emu_cluster_wait(tn_emu_view *v) {
    emu_thread *t = emu_of(v);
    emu_run *r = t->run;
    emu_step(r);
    if (!t->cluster_arrived)
        emu_fault(r, TN_EMU_MISUSE, EMU_PC(), "waits at the cluster's barrier without having arrived");
    if (r->cluster_barrier.round == t->cluster_round)
        emu_wait(t, &r->cluster_barrier.round, t->cluster_round, "the cluster's barrier", EMU_PC());
    t->cluster_arrived = false;
    if (t->seen == t->cluster_seen) { /* has learned nothing since: knows exactly this now, and shares it */
        emu_clock_drop(r, t->seen);
        t->seen = emu_clock_ref(r->cluster_barrier.released);
    } else
        acquire(r, t, r->cluster_barrier.released);
    emu_clock_drop(r, t->cluster_seen);
    t->cluster_seen = NULL;
}

/* ---- warps ------------------------------------------------------------------------------------------------------- */

/* Lanes of the mask that have not ended. */
static uint32_t living(const emu_thread *t, uint32_t mask) {
    return t->block->living[t->warp] & mask;
}

static emu_slot *warp_slots(emu_thread *t) {
    return t->block->slots[t->warp];
}

static emu_slot *find_slot(emu_thread *t, uint32_t mask, tn_emu_warp_op *op, const void *pc) {
    emu_slot *slots = warp_slots(t), *free_slot = NULL;
    emu_run *r = t->run;
    for (int k = 0; k < EMU_SLOTS; k++) {
        emu_slot *s = &slots[k];
        if (!s->arrived)
            free_slot = free_slot ? free_slot : s;
        else if (s->mask == mask && s->op == op)
            return s;
        else if (s->mask & mask) {
            char line[400];
            emu_fault(
                r, TN_EMU_DIVERGENT, pc,
                "executes a warp-wide instruction with mask %08x while lanes %08x of its warp wait at another one "
                "with mask %08x, %s",
                mask, s->arrived, s->mask, emu_line(r->kernel, s->pc, line, sizeof line));
        }
    }
    if (!free_slot) emu_fault(r, TN_EMU_MISUSE, pc, "has too many warp-wide instructions under way");
    free_slot->mask = mask;
    free_slot->op = op;
    free_slot->pc = pc;
    memset(free_slot->lane, 0, sizeof free_slot->lane);
    return free_slot;
}

static void finish_slot(emu_slot *s) {
    if (s->op) s->op(s->lane, s->mask);
    s->arrived = 0;
    s->round++;
}

void emu_warp_at(emu_thread *t, uint32_t mask, void *mine, tn_emu_warp_op *op, const void *pc, const char *what) {
    emu_run *r = t->run;
    emu_step(r);
    if (!(mask >> t->view.lane & 1))
        emu_fault(r, TN_EMU_MISUSE, pc, "is lane %u and not in the mask %08x of its instruction", t->view.lane, mask);
    emu_slot *s = find_slot(t, mask, op, pc);
    s->lane[t->view.lane] = mine;
    s->arrived |= 1u << t->view.lane;
    if (s->arrived == living(t, mask))
        finish_slot(s);
    else
        emu_wait(t, &s->round, s->round, what, pc);
}

void emu_warp(tn_emu_view *v, unsigned mask, void *mine, tn_emu_warp_op *op) {
    emu_warp_at(emu_of(v), mask, mine, op, EMU_PC(), "a warp-wide instruction");
}

/* Lanes are emu_threads here: what they know is joined. */
static void sync_lanes(void *const lane[32], unsigned mask) {
    uint16_t who[EMU_WARP];
    uint32_t n = 0;
    emu_run *r = NULL;
    (void)mask;
    for (int i = 0; i < EMU_WARP; i++) {
        if (!lane[i]) continue;
        emu_thread *t = lane[i];
        r = t->run;
        who[n++] = (uint16_t)t->id;
    }
    emu_clock *all = join_threads(r, who, n);
    for (uint32_t k = 0; k < n; k++) {
        emu_clock_drop(r, r->threads[who[k]].seen);
        r->threads[who[k]].seen = emu_clock_ref(all);
    }
    emu_clock_drop(r, all);
}

void emu_sync_warp(tn_emu_view *v, unsigned mask) {
    emu_warp_at(emu_of(v), mask, emu_of(v), sync_lanes, EMU_PC(), "__syncwarp");
}

void emu_thread_ended(emu_thread *t) {
    emu_slot *slots = warp_slots(t);
    for (int k = 0; k < EMU_SLOTS; k++) {
        emu_slot *s = &slots[k];
        if (s->arrived && s->arrived == living(t, s->mask)) finish_slot(s);
    }
}

void emu_fence(tn_emu_view *v, tn_emu_fence kind) {
    emu_thread *t = emu_of(v);
    emu_step(t->run);
    for (emu_mbarrier *m = t->block->mbarriers; m; m = m->next) m->fenced |= m->by == t->id;
    if (kind != TN_EMU_FENCE_PROXY_ASYNC) return;
    t->fenced = t->own++;
    emu_clock_drop(t->run, t->fence_seen);
    t->fence_seen = emu_clock_ref(t->seen);
}

/* ---- mbarriers --------------------------------------------------------------------------------------------------- */

static emu_mbarrier *find_mbarrier(emu_run *r, emu_block *b, uint32_t address, const void *pc) {
    for (emu_mbarrier *m = b->mbarriers; m; m = m->next)
        if (m->address == address) return m;
    char name[160];
    emu_fault(r, TN_EMU_MISUSE, pc, "uses an mbarrier at %s, where none has been initialised",
              emu_shared_name(b, address, name, sizeof name));
}

void emu_mbarrier_init(tn_emu_view *v, unsigned address, unsigned count) {
    emu_thread *t = emu_of(v);
    emu_run *r = t->run;
    emu_shared_access(t, t->block, address, 8, true, true, EMU_PC());
    for (emu_mbarrier *m = t->block->mbarriers; m; m = m->next)
        if (m->address == address) emu_fault(r, TN_EMU_MISUSE, EMU_PC(), "initialises an mbarrier that is in use");
    if (count == 0 || count > (1u << 20) - 1)
        emu_fault(r, TN_EMU_MISUSE, EMU_PC(), "initialises an mbarrier for %u arrivals", count);
    emu_mbarrier *m = calloc(1, sizeof *m);
    if (!m) emu_no_memory(r);
    *m = (emu_mbarrier){.next = t->block->mbarriers, .address = address, .count = count, .pending = count, .by = t->id};
    t->block->mbarriers = m;
    /* whoever uses it must know of the initialisation: every use reads it */
}

static void free_mbarrier(emu_run *r, emu_mbarrier *m) {
    emu_clock_drop(r, m->gathered);
    emu_clock_drop(r, m->released);
    free(m);
}

void emu_mbarrier_invalidate(tn_emu_view *v, unsigned address) {
    emu_thread *t = emu_of(v);
    emu_mbarrier *m = find_mbarrier(t->run, t->block, address, EMU_PC()), **at = &t->block->mbarriers;
    emu_step(t->run);
    while (*at != m) at = &(*at)->next;
    *at = m->next;
    free_mbarrier(t->run, m);
}

static void phase_over(emu_run *r, emu_mbarrier *m) {
    if (m->pending || m->bytes) return;
    emu_clock_drop(r, m->released);
    m->released = m->gathered;
    m->gathered = NULL;
    m->pending = m->count;
    m->phase++;
}

void emu_mbarrier_count(emu_run *r, emu_mbarrier *m, unsigned count, const void *pc) {
    if (count > m->pending)
        emu_fault(r, TN_EMU_MISUSE, pc, "arrives %u times at an mbarrier that waits for %u", count, m->pending);
    m->pending -= count;
    phase_over(r, m);
}

emu_mbarrier *emu_mbarrier_use(emu_thread *t, emu_block *b, uint32_t address, const void *pc) {
    emu_run *r = t->run;
    emu_step(r);
    emu_mbarrier *m = find_mbarrier(r, b, address, pc);
    const emu_event *w = &b->cells[address / 4].write;
    if (w->bytes && w->who != t->id && w->time > t->seen->at[w->who]) {
        char name[160];
        emu_fault(r, TN_EMU_RACE, pc, "uses the mbarrier at %s without a barrier since it was initialised",
                  emu_shared_name(b, address, name, sizeof name));
    }
    return m;
}

emu_mbarrier *emu_mbarrier_use_fenced(emu_thread *t, emu_block *b, uint32_t address, const void *pc) {
    emu_mbarrier *m = emu_mbarrier_use(t, b, address, pc);
    char name[160];
    if (!m->fenced)
        emu_fault(t->run, TN_EMU_RACE, pc,
                  "uses the mbarrier at %s with no fence.mbarrier_init since it was initialised",
                  emu_shared_name(b, address, name, sizeof name));
    return m;
}

void emu_mbarrier_arrive(tn_emu_view *v, unsigned address, unsigned rank, unsigned count, unsigned expect_bytes) {
    emu_thread *t = emu_of(v);
    emu_run *r = t->run;
    if (rank >= r->n_blocks) emu_fault(r, TN_EMU_OUT_OF_BOUNDS, EMU_PC(), "arrives at an mbarrier of block %u", rank);
    if (rank != t->block->rank) emu_check_alive(r, &r->blocks[rank], EMU_PC());
    emu_mbarrier *m =
        (rank == t->block->rank ? emu_mbarrier_use : emu_mbarrier_use_fenced)(t, &r->blocks[rank], address, EMU_PC());
    emu_clock_join(r, &m->gathered, t->seen);
    emu_clock_set(r, &m->gathered, t->id, t->own++);
    m->bytes += expect_bytes;
    emu_mbarrier_count(r, m, count, EMU_PC());
}

void emu_mbarrier_expect(tn_emu_view *v, unsigned address, unsigned bytes) {
    emu_thread *t = emu_of(v);
    emu_mbarrier *m = emu_mbarrier_use(t, t->block, address, EMU_PC());
    m->bytes += bytes;
}

void emu_mbarrier_landed(emu_run *r, emu_block *b, uint32_t address, uint32_t bytes, const emu_clock *seen,
                         uint32_t pc) {
    emu_mbarrier *m = find_mbarrier(r, b, address, r->kernel->image + pc);
    emu_clock_join(r, &m->gathered, seen);
    m->bytes -= bytes;
    phase_over(r, m);
}

int emu_mbarrier_test(tn_emu_view *v, unsigned address, unsigned parity) {
    emu_thread *t = emu_of(v);
    emu_run *r = t->run;
    emu_mbarrier *m = emu_mbarrier_use(t, t->block, address, EMU_PC());
    if ((m->phase & 1) == (parity & 1)) {
        emu_wait_a_turn(t);
        return 0;
    }
    emu_clock_join(r, &t->seen, m->released);
    return 1;
}

void emu_mbarrier_wait(tn_emu_view *v, unsigned address, unsigned parity) {
    emu_thread *t = emu_of(v);
    emu_run *r = t->run;
    emu_mbarrier *m = emu_mbarrier_use(t, t->block, address, EMU_PC());
    if ((m->phase & 1) == (parity & 1)) emu_wait(t, &m->phase, m->phase, "an mbarrier", EMU_PC());
    emu_clock_join(r, &t->seen, m->released);
}

void emu_block_forget(emu_run *r, emu_block *b) {
    while (b->mbarriers) {
        emu_mbarrier *m = b->mbarriers;
        b->mbarriers = m->next;
        free_mbarrier(r, m);
    }
    for (int k = 0; k < EMU_BARRIERS; k++) {
        emu_clock_drop(r, b->barriers[k].released);
        b->barriers[k].released = NULL;
        b->barriers[k].n = 0;
    }
    memset(b->slots, 0, sizeof b->slots);
}
