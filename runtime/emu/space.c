/* space.c: the memory of launches: stacks, shared memory and what is known of it.
 *
 * Mapping it anew for every launch takes longer than running a small kernel, so that of the last launch is kept for the
 * next one.  Launches at the same time have spaces of their own. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "runtime/emu/engine.h"

enum { MAX_KEPT_THREADS = 4096 };

static _Atomic(emu_space *) kept;

static void destroy(emu_space *s) {
    if (!s) return;
    for (uint32_t k = 0; k < EMU_MAX_TOGETHER; k++) {
        free(s->rooms[k].smem);
        free(s->rooms[k].state);
        free(s->rooms[k].cells);
    }
    if (s->stacks) munmap(s->stacks, s->stacks_size);
    free(s);
}

static bool map_stacks(emu_space *s, size_t bytes) {
    if (s->stacks_size >= bytes) return true;
    if (s->stacks) munmap(s->stacks, s->stacks_size);
    s->stacks_size = bytes;
    s->stacks = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (s->stacks == MAP_FAILED) s->stacks = NULL;
    return s->stacks != NULL;
}

/* As if no launch had been there. */
static bool prepare_room(emu_room *m) {
    if (!m->smem) m->smem = aligned_alloc(1024, EMU_SMEM_SPACE);
    if (!m->state) m->state = calloc(EMU_SMEM_SPACE, 1);
    if (!m->cells) m->cells = calloc(EMU_SMEM_SPACE / 4, sizeof *m->cells);
    if (!m->smem || !m->state || !m->cells) return false;
    memset(m->state, EMU_NONE, m->used);
    memset(m->cells, 0, (m->used + 3) / 4 * sizeof *m->cells);
    m->used = 0;
    return true;
}

emu_space *emu_space_take(uint32_t n_threads, uint32_t n_blocks) {
    emu_space *s = atomic_exchange(&kept, NULL);
    if (!s) s = calloc(1, sizeof *s);
    bool ok = s && map_stacks(s, (size_t)n_threads * EMU_STACK);
    for (uint32_t k = 0; ok && k < n_blocks; k++) ok = prepare_room(&s->rooms[k]);
    if (ok) return s;
    destroy(s);
    return NULL;
}

void emu_space_give(emu_space *s) {
#ifndef EMU_SWAPCONTEXT /* what the address sanitizer knows of abandoned stacks would not be true of the next ones */
    if (s && s->stacks_size <= (size_t)MAX_KEPT_THREADS * EMU_STACK) s = atomic_exchange(&kept, s);
#endif
    destroy(s);
}
