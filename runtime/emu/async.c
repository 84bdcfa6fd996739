/* async.c: copies in the background: cp.async, bulk copies, TMA.
 *
 * cp.async moves its bytes when its thread waits for their group, and no sooner; until then the destination is "in
 * flight".  A bulk copy is done by an agent when nothing else in the cluster can go on.  Both are checked for races
 * twice: when they are issued (from then on they may write) and when they land. */
#include <stdlib.h>
#include <string.h>

#include "runtime/emu/engine.h"

/* ---- cp.async ---------------------------------------------------------------------------------------------------- */

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
    if (src_bytes) emu_global(t, src, src_bytes, EMU_READ, pc);
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

/* ---- bulk copies ------------------------------------------------------------------------------------------------- */

static void free_bulk(emu_run *r, emu_bulk *c) {
    emu_clock_drop(r, c->seen);
    free(c);
}

/* The events of a copy in the shared memory of one block. */
static void shared_event(emu_run *r, const emu_bulk *c, emu_block *b) {
    emu_shared_event(r, b, c->shared, c->span, !c->is_store, c->who, c->time, c->seen, c->pc);
}

/* What threads have written must have been made visible to the async proxy. */
static void check_fenced(emu_run *r, const emu_bulk *c) {
    const emu_block *b = c->thread->block;
    for (uint32_t at = c->shared; at < c->shared + c->span; at += 4) {
        const emu_event *w = &b->cells[at / 4].write;
        if (!w->bytes || w->who >= r->n_blocks * r->n_threads || w->time <= r->base) continue;
        if (w->time <= r->threads[w->who].fenced) continue;
        if (c->thread->fence_seen && w->time <= c->thread->fence_seen->at[w->who]) continue;
        char name[160], line[400];
        emu_fault(r, TN_EMU_RACE, r->kernel->image + c->pc,
                  "stores %s in the background, written at %s with no fence.proxy.async since then",
                  emu_shared_name(b, at, name, sizeof name),
                  emu_line(r->kernel, r->kernel->image + w->pc, line, sizeof line));
    }
}

static bool goes_to(const emu_bulk *c, const emu_block *b) {
    return c->multicast >> b->rank & 1;
}

emu_bulk *emu_bulk_start(emu_thread *t, const emu_bulk *what, const void *pc) {
    emu_run *r = t->run;
    emu_bulk *c = malloc(sizeof *c);
    if (!c) emu_no_memory(r);
    *c = *what;
    const uint32_t agent = r->next_agent++ % EMU_AGENTS;
    c->next = NULL;
    c->thread = t;
    c->who = r->n_blocks * r->n_threads + agent;
    c->time = ++r->agent_time[agent];
    c->pc = emu_pc(r, pc);
    c->group = t->bulk_group;
    c->seen = emu_clock_ref(t->seen);
    *r->bulk_last = c; /* from here on it is freed with the run */
    r->bulk_last = &c->next;
    emu_clock_set(r, &c->seen, t->id, t->own++);
    if (c->is_store) {
        shared_event(r, c, t->block);
        check_fenced(r, c);
        return c;
    }
    for (uint32_t k = 0; k < r->n_blocks; k++) {
        emu_block *b = &r->blocks[k];
        if (!goes_to(c, b)) continue;
        emu_mbarrier_use_fenced(t, b, c->mbarrier, pc);
        shared_event(r, c, b);
        emu_set_state(b, c->shared, c->span, EMU_IN_FLIGHT);
    }
    return c;
}

static void plain_copy(emu_thread *t, const emu_bulk *what, const void *pc) {
    emu_run *r = t->run;
    emu_step(r);
    if (what->shared % 16 || (uintptr_t)what->global % 16 || what->bytes % 16 || !what->bytes)
        emu_fault(r, TN_EMU_MISALIGNED, pc, "copies %u bytes between %p and shared memory at %u", what->bytes,
                  (void *)what->global, what->shared);
    emu_global(t, what->global, what->bytes, what->is_store ? EMU_WRITE : EMU_READ, pc);
    emu_bulk_start(t, what, pc);
}

void emu_bulk_load(tn_emu_view *v, unsigned dst, const void *src, unsigned bytes, unsigned mbarrier) {
    const emu_bulk c = {.shared = dst,
                        .global = (char *)(uintptr_t)src,
                        .span = bytes,
                        .bytes = bytes,
                        .mbarrier = mbarrier,
                        .multicast = 1u << v->rank};
    plain_copy(emu_of(v), &c, EMU_PC());
}

void emu_bulk_store(tn_emu_view *v, void *dst, unsigned src, unsigned bytes) {
    const emu_bulk c = {.is_store = true, .shared = src, .span = bytes, .bytes = bytes, .global = dst};
    plain_copy(emu_of(v), &c, EMU_PC());
}

void emu_bulk_commit(tn_emu_view *v) {
    emu_thread *t = emu_of(v);
    emu_step(t->run);
    t->bulk_group++;
}

static bool waits_for(const emu_thread *t, const emu_bulk *c, unsigned newest) {
    return c->is_store && c->thread == t && c->group + newest < t->bulk_group;
}

/* Reading and writing are one here, so both kinds of wait are the same. */
void emu_bulk_wait(tn_emu_view *v, unsigned newest, int read_only) {
    emu_thread *t = emu_of(v);
    emu_run *r = t->run;
    (void)read_only;
    emu_step(r);
    for (const emu_bulk *c = r->bulk; c;) {
        if (!waits_for(t, c, newest)) {
            c = c->next;
            continue;
        }
        emu_wait(t, &r->landings, r->landings, "its bulk stores", EMU_PC());
        c = r->bulk;
    }
    for (emu_bulk **at = &t->stores; *at;) {
        emu_bulk *c = *at;
        if (!waits_for(t, c, newest)) {
            at = &c->next;
            continue;
        }
        emu_clock_set(r, &t->seen, c->who, c->time);
        *at = c->next;
        free_bulk(r, c);
    }
}

void emu_bulk_forget(emu_run *r, emu_thread *t) {
    while (t->stores) {
        emu_bulk *c = t->stores;
        t->stores = c->next;
        free_bulk(r, c);
    }
}

static void check_alive(emu_run *r, const emu_bulk *c, const emu_block *b) {
    for (uint32_t i = 0; i < r->n_threads; i++)
        if (!b->threads[i].done) return;
    emu_fault(r, TN_EMU_MISUSE, r->kernel->image + c->pc,
              "starts a bulk copy that block %u of the cluster does not wait for before it ends", b->rank);
}

static void land_load(emu_run *r, const emu_bulk *c, emu_block *b) {
    check_alive(r, c, b);
    shared_event(r, c, b);
    if (c->is_tensor)
        emu_tensor_walk(r, c, b, emu_element_load);
    else
        memcpy(b->smem + c->shared, c->global, c->bytes);
    emu_set_state(b, c->shared, c->span, EMU_READY);
    emu_clock *news = NULL; /* the copy, and nothing else that its thread did */
    emu_clock_set(r, &news, c->who, c->time);
    emu_mbarrier_landed(r, b, c->mbarrier, c->bytes, news, c->pc);
    emu_clock_drop(r, news);
}

static void land_store(emu_run *r, const emu_bulk *c) {
    emu_block *b = c->thread->block;
    check_alive(r, c, b);
    shared_event(r, c, b);
    if (c->is_tensor)
        emu_tensor_walk(r, c, b, emu_element_store);
    else
        memcpy(c->global, b->smem + c->shared, c->bytes);
}

bool emu_bulk_land(emu_run *r) {
    emu_bulk *c = r->bulk;
    if (!c) return false;
    if (c->is_store)
        land_store(r, c);
    else
        for (uint32_t k = 0; k < r->n_blocks; k++)
            if (goes_to(c, &r->blocks[k])) land_load(r, c, &r->blocks[k]);
    r->bulk = c->next;
    if (!r->bulk) r->bulk_last = &r->bulk;
    r->landings++;
    if (!c->is_store) {
        free_bulk(r, c);
        return true;
    }
    c->next = c->thread->stores;
    c->thread->stores = c;
    return true;
}
