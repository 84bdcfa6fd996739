/* async.c: copies in the background: cp.async, bulk copies, TMA.
 *
 * cp.async moves its bytes when its thread waits for their group, and no sooner; until then the destination is "in
 * flight".  A bulk copy is done by an agent when nothing else in the cluster can go on.  Both are checked for races
 * twice: when they are issued (from then on they may write) and when they land. */
#include <stdlib.h>
#include <string.h>

#include "runtime/emu/engine.h"

/* ---- cp.async -----------------------------------------------------------------------------------------------------
 */

static bool grow(void **p, size_t *cap, size_t n, size_t size) {
    if (n < *cap) return true;
    size_t more = *cap ? 2 * *cap : 32;
    void *q = realloc(*p, more * size);
    if (!q) return false;
    *p = q;
    *cap = more;
    return true;
}

void emu_cp_async(tn_emu_view *v, unsigned dst, const void *src, unsigned bytes, unsigned src_bytes) {
    emu_thread *t = emu_of(v);
    emu_run *r = t->run;
    const void *pc = EMU_PC();
    emu_step(r);
    if ((bytes != 4 && bytes != 8 && bytes != 16) || src_bytes > bytes)
        emu_fault(r, TN_EMU_MISUSE, pc, "copies %u of %u bytes with cp.async", src_bytes, bytes);
    if (dst % bytes || (src_bytes && (uintptr_t)src % bytes))
        emu_fault(r, TN_EMU_MISALIGNED, pc, "copies %u bytes from %p to shared memory at %u", bytes, src, dst);
    if (src_bytes) emu_global(t, src, src_bytes, false, pc);
    emu_shared_event(r, t->block, dst, bytes, true, t->id, t->own, t->seen, emu_pc(r, pc));
    emu_set_state(t->block, dst, bytes, EMU_IN_FLIGHT);
    if (!grow((void **)&t->copies, &t->cap_copies, t->n_copies, sizeof *t->copies)) emu_no_memory(r);
    t->copies[t->n_copies++] = (emu_copy){dst, bytes, src_bytes, emu_pc(r, pc), src};
}

void emu_cp_async_commit(tn_emu_view *v) {
    emu_thread *t = emu_of(v);
    emu_step(t->run);
    if (!grow((void **)&t->groups, &t->cap_groups, t->n_groups, sizeof *t->groups)) emu_no_memory(t->run);
    t->groups[t->n_groups++] = t->n_copies;
}

static void land_copies(emu_thread *t, size_t n) {
    emu_run *r = t->run;
    for (size_t i = 0; i < n; i++) {
        const emu_copy *c = &t->copies[i];
        unsigned char *to = t->block->smem + c->dst;
        emu_shared_event(r, t->block, c->dst, c->bytes, true, t->id, t->own, t->seen, c->pc);
        memcpy(to, c->src, c->src_bytes);
        memset(to + c->src_bytes, 0, c->bytes - c->src_bytes);
        emu_set_state(t->block, c->dst, c->bytes, EMU_READY);
    }
    if (n) memmove(t->copies, t->copies + n, (t->n_copies - n) * sizeof *t->copies);
    t->n_copies -= n;
}

void emu_cp_async_wait(tn_emu_view *v, unsigned newest) {
    emu_thread *t = emu_of(v);
    emu_step(t->run);
    if (t->n_groups <= newest) return;
    size_t over = t->n_groups - newest, copies = t->groups[over - 1];
    land_copies(t, copies);
    for (size_t i = over; i < t->n_groups; i++) t->groups[i - over] = t->groups[i] - copies;
    t->n_groups -= over;
}

/* All copies of the thread so far trigger one arrival when they have landed: they land here. */
void emu_cp_async_arrive(tn_emu_view *v, unsigned mbarrier) {
    emu_thread *t = emu_of(v);
    emu_run *r = t->run;
    emu_mbarrier *m = emu_mbarrier_use(t, t->block, mbarrier, EMU_PC());
    land_copies(t, t->n_copies);
    t->n_groups = 0;
    emu_clock_join(r, &m->gathered, t->seen);
    emu_clock_set(r, &m->gathered, t->id, t->own++);
    emu_mbarrier_count(r, m, 1, EMU_PC());
}

/* ---- bulk copies --------------------------------------------------------------------------------------------------
 */

static emu_bulk *enqueue(emu_thread *t, void (*land)(emu_run *, emu_bulk *), const void *pc) {
    emu_run *r = t->run;
    emu_bulk *b = calloc(1, sizeof *b);
    if (!b) emu_no_memory(r);
    b->land = land;
    b->thread = t;
    b->seen = emu_clock_ref(t->seen);
    b->own = t->own++;
    b->pc = emu_pc(r, pc);
    *r->bulk_last = b;
    r->bulk_last = &b->next;
    return b;
}

/* What the agent of this copy knows: all that its thread did, if a proxy fence or nothing stands between. */
static emu_clock *agent_clock(emu_run *r, const emu_bulk *b, uint32_t *who, uint32_t *time) {
    uint32_t agent = r->next_agent++ % EMU_AGENTS;
    emu_clock *c = emu_clock_new(r);
    memcpy(c->at, b->seen->at, r->n_events * sizeof *c->at);
    c->at[b->thread->id] = b->own;
    *who = r->n_blocks * r->n_threads + agent;
    *time = ++r->agent_time[agent];
    return c;
}

bool emu_bulk_land(emu_run *r) {
    emu_bulk *b = r->bulk;
    if (!b) return false;
    r->bulk = b->next;
    if (!r->bulk) r->bulk_last = &r->bulk;
    b->land(r, b);
    emu_clock_drop(r, b->seen);
    free(b);
    return true;
}
