/* engine.c: runs a launch: cluster after cluster, the threads of one cluster as fibers.
 *
 * The scheduler resumes a warp's lanes in turn until none of them can go on, then the next warp, so that warps drift as
 * far apart as barriers let them.  When nothing can go on, the oldest background copy lands; when there is none, the
 * threads wait for something that never comes.  A fault found by a thread abandons all fibers. */
#undef _FORTIFY_SOURCE /* its longjmp refuses to change stacks */
#include "runtime/emu/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const tn_emu_api api = {
    .abi = TN_EMU_ABI,
    .access = emu_access,
    .shared_variable = emu_shared_variable,
    .shared_dynamic = emu_shared_dynamic,
    .shared_address = emu_shared_address,
    .shared_of = emu_shared_of,
    .sync_block = emu_sync_block,
    .barrier = emu_barrier_api,
    .cluster_arrive = emu_cluster_arrive,
    .cluster_wait = emu_cluster_wait,
    .sync_warp = emu_sync_warp,
    .warp = emu_warp,
    .fence = emu_fence,
    .atomic = emu_atomic,
    .cp_async = emu_cp_async,
    .cp_async_commit = emu_cp_async_commit,
    .cp_async_wait = emu_cp_async_wait,
    .cp_async_arrive = emu_cp_async_arrive,
    .mbarrier_init = emu_mbarrier_init,
    .mbarrier_invalidate = emu_mbarrier_invalidate,
    .mbarrier_arrive = emu_mbarrier_arrive,
    .mbarrier_expect = emu_mbarrier_expect,
    .mbarrier_test = emu_mbarrier_test,
    .mbarrier_wait = emu_mbarrier_wait,
    .bulk_load = emu_bulk_load,
    .bulk_store = emu_bulk_store,
    .tma_load = emu_tma_load,
    .tma_store = emu_tma_store,
    .bulk_commit = emu_bulk_commit,
    .bulk_wait = emu_bulk_wait,
    .ldmatrix = emu_ldmatrix,
    .stmatrix = emu_stmatrix,
    .mma = emu_mma,
    .mma_sp = emu_mma_sp,
    .wgmma = emu_wgmma,
    .wgmma_fence = emu_wgmma_fence,
    .wgmma_commit = emu_wgmma_commit,
    .wgmma_wait = emu_wgmma_wait,
    .grid_wait = emu_grid_wait,
    .branches = emu_branches,
    .misuse = emu_misuse,
    .bad_index = emu_bad_index,
};

const tn_emu_api *emu_api(void) {
    return &api;
}

/* ---- griddepcontrol and complaints of the kernel's own ----------------------------------------------------------- */

void emu_grid_wait(tn_emu_view *v) {
    emu_thread *t = emu_of(v);
    emu_step(t->run);
    if (t->depends) emu_fault(t->run, TN_EMU_MISUSE, EMU_PC(), "waits for the previous kernel a second time");
    t->depends = true;
}

void emu_misuse(tn_emu_view *v, const char *what) {
    emu_fault(emu_of(v)->run, TN_EMU_MISUSE, EMU_PC(), "%s", what);
}

void emu_bad_index(tn_emu_view *v, long long i, long long n) {
    emu_fault(emu_of(v)->run, TN_EMU_BAD_INDEX, EMU_PC(), "is given index %lld of an axis of %lld elements", i, n);
}

/* ---- reports ----------------------------------------------------------------------------------------------------- */

static const char *const fault_names[] = {
    [TN_EMU_OK] = "ok",
    [TN_EMU_OUT_OF_BOUNDS] = "access out of bounds",
    [TN_EMU_MISALIGNED] = "misaligned access",
    [TN_EMU_READ_ONLY] = "write of read-only memory",
    [TN_EMU_TOO_EARLY] = "activation touched before the previous kernel has finished",
    [TN_EMU_UNINITIALISED] = "uninitialised shared memory",
    [TN_EMU_RACE] = "race",
    [TN_EMU_DIVERGENT] = "divergent barrier",
    [TN_EMU_ENDLESS] = "kernel without an end",
    [TN_EMU_MISUSE] = "misuse",
    [TN_EMU_BAD_INDEX] = "index out of range",
};

const char *tn_emu_fault_name(tn_emu_fault f) {
    return (size_t)f < sizeof fault_names / sizeof *fault_names ? fault_names[f] : "?";
}

const char *emu_who(const emu_run *r, uint32_t who, char *buf, size_t size) {
    if (who >= r->n_blocks * r->n_threads) {
        const uint32_t agent = who - r->n_blocks * r->n_threads;
        snprintf(buf, size, agent < EMU_AGENTS ? "a bulk copy" : "a warpgroup's wgmma");
        return buf;
    }
    return emu_who_of(r, r->cluster, who, buf, size);
}

/* Where block i of a cluster lies in the grid. */
static tn_emu_uint3 block_at(const tn_emu_launch *l, uint64_t cluster, uint32_t i) {
    uint32_t c[3], per[3];
    if (l->together) return (tn_emu_uint3){i % l->grid[0], i / l->grid[0] % l->grid[1], i / l->grid[0] / l->grid[1]};
    for (int a = 0; a < 3; a++) c[a] = l->cluster[a] ? l->cluster[a] : 1, per[a] = l->grid[a] / c[a];
    return (tn_emu_uint3){(uint32_t)(cluster % per[0]) * c[0] + i % c[0],
                          (uint32_t)(cluster / per[0] % per[1]) * c[1] + i / c[0] % c[1],
                          (uint32_t)(cluster / per[0] / per[1]) * c[2] + i / c[0] / c[1]};
}

const char *emu_who_of(const emu_run *r, uint32_t cluster, uint32_t who, char *buf, size_t size) {
    const tn_emu_uint3 t = r->threads[who].view.thread, b = block_at(r->launch, cluster, who / r->n_threads);
    snprintf(buf, size, "thread (%u,%u,%u) of block (%u,%u,%u)", t.x, t.y, t.z, b.x, b.y, b.z);
    return buf;
}

static void go_home(emu_run *r) {
#ifdef EMU_SWAPCONTEXT
    if (r->current) setcontext(&r->home_context);
#endif
    EMU_GO(r->home);
}

_Noreturn void emu_fault(emu_run *r, tn_emu_fault f, const void *pc, const char *format, ...) {
    if (!r->failed) {
        char who[96], line[400], what[800];
        va_list args;
        va_start(args, format);
        vsnprintf(what, sizeof what, format, args);
        va_end(args);
        r->failed = true;
        r->report->fault = f;
        snprintf(r->report->text, sizeof r->report->text, "%s: %s: %s%s%s", fault_names[f],
                 pc ? emu_line(r->kernel, pc, line, sizeof line) : r->kernel->name,
                 r->current ? emu_who(r, r->current->id, who, sizeof who) : "", r->current ? " " : "", what);
    }
    go_home(r);
    abort(); /* not reached */
}

static void count_steps(emu_run *r, uint32_t n, const void *pc) {
    r->steps += n;
    if (r->steps > r->max_steps)
        emu_fault(r, TN_EMU_ENDLESS, pc, "has made no end within %llu steps", (unsigned long long)r->max_steps);
}

void emu_step(emu_run *r) {
    count_steps(r, 1, NULL);
}

void emu_branches(tn_emu_view *v, unsigned n, const void *pc) {
    count_steps(emu_of(v)->run, n, pc);
}

uint64_t emu_random(emu_run *r) { /* xorshift64* (Vigna) */
    r->random ^= r->random >> 12, r->random ^= r->random << 25, r->random ^= r->random >> 27;
    return r->random * 2685821657736338717u;
}

/* ---- fibers ------------------------------------------------------------------------------------------------------ */

/* A fiber runs one thread of block after block. */
static void fiber(unsigned low, unsigned high) {
    emu_thread *t = (emu_thread *)((uintptr_t)low | (uintptr_t)high << 32);
    for (;;) {
        t->run->kernel->entry->call(t->run->launch->params);
        t->done = true;
        t->block->living[t->warp] &= ~(1u << t->view.lane);
        t->wait_pc = NULL;
        emu_thread_ended(t);
        emu_yield(t);
    }
}

static bool can_run(const emu_thread *t) {
    return !t->done && (!t->wait || *t->wait != t->wait_value);
}

/* Makes t the running thread. */
static void enter(emu_run *r, emu_thread *t) {
    r->current = t;
    *r->kernel->self = &t->view;
}

#ifdef EMU_SWAPCONTEXT
void emu_yield(emu_thread *t) {
    swapcontext(&t->context, &t->run->home_context);
}
#else
/* Straight to the next lane, as the scheduler would go on, or to that.  A call, so that compilers see that the place which
 * was set before may be returned to. */
static __attribute__((noinline)) void leave(emu_thread *t) {
    emu_run *r = t->run;
    const emu_thread *end = t->block->threads + r->n_threads;
    for (emu_thread *next = t + 1; next < end && next->warp == t->warp; next++) {
        if (!can_run(next)) continue;
        if (!next->made) break;
        enter(r, next);
        EMU_GO(next->jump);
    }
    EMU_GO(r->home);
}

void emu_yield(emu_thread *t) {
    if (!EMU_SET(t->jump)) leave(t);
}
#endif

void emu_wait(emu_thread *t, const uint32_t *word, uint32_t value, const char *for_what, const void *pc) {
    t->wait = word;
    t->wait_value = value;
    t->wait_for = for_what;
    t->wait_pc = pc;
    while (*word == value) emu_yield(t);
    t->wait = NULL;
}

void emu_wait_a_turn(emu_thread *t) {
    emu_wait(t, &t->run->turn, t->run->turn, "something that another thread does", t->wait_pc);
}

static void make_fiber(emu_thread *t) {
    getcontext(&t->context);
    t->context.uc_stack.ss_sp = t->stack;
    t->context.uc_stack.ss_size = EMU_STACK;
    t->context.uc_link = NULL;
    uintptr_t at = (uintptr_t)t;
    makecontext(&t->context, (void (*)(void))fiber, 2, (unsigned)at, (unsigned)(at >> 16 >> 16));
    t->made = true;
}

#ifndef EMU_SWAPCONTEXT
static __attribute__((noinline)) void go_on(emu_thread *t) {
    if (t->made) EMU_GO(t->jump);
    make_fiber(t);
    setcontext(&t->context);
}
#endif

/* Runs a thread until it waits, yields or ends. */
static void resume(emu_run *r, emu_thread *t) {
    enter(r, t);
#ifdef EMU_SWAPCONTEXT
    if (!t->made) make_fiber(t);
    swapcontext(&r->home_context, &t->context);
#else
    if (!EMU_SET(r->home)) go_on(t);
#endif
    r->current = NULL;
}

/* ---- the scheduler ----------------------------------------------------------------------------------------------- */

/* Runs a warp's lanes in turn until none can go on; true if any could. */
static bool run_warp(emu_run *r, emu_thread *lanes, uint32_t n) {
    bool any = false;
    for (bool again = true; again && !r->failed;) {
        again = false;
        for (uint32_t i = 0; i < n && !r->failed; i++) {
            if (!can_run(&lanes[i])) continue;
            resume(r, &lanes[i]);
            any = again = true;
        }
    }
    return any;
}

static void shuffle(emu_run *r, uint32_t *order, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) order[i] = i;
    if (!r->launch->seed) return;
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j = (uint32_t)(emu_random(r) % i), x = order[i - 1];
        order[i - 1] = order[j];
        order[j] = x;
    }
}

/* Who waits for what, for a launch in which nothing can go on. */
static void report_stuck(emu_run *r) {
    char text[1200] = "", line[400];
    size_t used = 0, n = (size_t)r->n_blocks * r->n_threads;
    for (size_t k = 0; k < n; k++) {
        const emu_thread *t = &r->threads[k];
        if (t->done) continue;
        size_t same = 0, before = 0;
        for (size_t j = 0; j < n; j++)
            if (!r->threads[j].done && r->threads[j].wait_pc == t->wait_pc) same++, before += j < k;
        if (before) continue;
        char who[96];
        int w = snprintf(text + used, sizeof text - used, "%s%zu threads (%s is the first) wait for %s at %s",
                         used ? "; " : "", same, emu_who(r, t->id, who, sizeof who), t->wait_for,
                         emu_line(r->kernel, t->wait_pc, line, sizeof line));
        used += w > 0 ? (size_t)w : 0;
        if (used >= sizeof text - 1) break;
    }
    size_t done = 0;
    for (size_t k = 0; k < n; k++) done += r->threads[k].done;
    r->failed = true;
    r->report->fault = TN_EMU_DIVERGENT;
    snprintf(r->report->text, sizeof r->report->text, "%s: %s: %s; %zu of %zu threads have ended",
             fault_names[TN_EMU_DIVERGENT], r->kernel->name, text, done, n);
}

/* True if every thread has ended, or waits, or spins. */
static bool all_wait(const emu_run *r) {
    for (size_t k = 0; k < (size_t)r->n_blocks * r->n_threads; k++)
        if (!r->threads[k].done && !r->threads[k].wait) return false;
    return true;
}

static bool all_done(const emu_run *r) {
    for (size_t k = 0; k < (size_t)r->n_blocks * r->n_threads; k++)
        if (!r->threads[k].done) return false;
    return true;
}

/* Lands one background copy; a fault in it comes back here. */
static bool land(emu_run *r) {
    if (EMU_SET(r->home)) return true;
    return emu_bulk_land(r);
}

static void run_cluster(emu_run *r) {
    uint32_t n = r->n_blocks * r->n_warps, order[EMU_MAX_EVENTS / EMU_WARP];
    while (!r->failed) {
        bool any = false;
        r->turn++;
        shuffle(r, order, n);
        for (uint32_t k = 0; k < n && !r->failed; k++) {
            emu_block *b = &r->blocks[order[k] / r->n_warps];
            uint32_t first = order[k] % r->n_warps * EMU_WARP;
            uint32_t lanes = r->n_threads - first < EMU_WARP ? r->n_threads - first : EMU_WARP;
            any |= run_warp(r, &b->threads[first], lanes);
        }
        if (r->failed || (any && !all_wait(r))) continue;
        if (land(r) || any) continue;
        if (!all_done(r)) report_stuck(r);
        return;
    }
}

/* ---- clusters ---------------------------------------------------------------------------------------------------- */

static void prepare_thread(emu_run *r, emu_block *b, emu_thread *t, uint32_t i, emu_clock *start) {
    const tn_emu_launch *l = r->launch;
    t->block = b;
    t->done = t->depends = t->cluster_arrived = t->registers_fenced = false;
    t->wait = NULL;
    t->wait_pc = NULL;
    t->own = r->base + 1;
    t->fenced = 0;
    emu_clock_drop(r, t->seen);
    emu_clock_drop(r, t->fence_seen);
    emu_clock_drop(r, t->cluster_seen);
    t->fence_seen = t->cluster_seen = NULL;
    t->seen = emu_clock_ref(start);
    t->n_copies = t->n_groups = 0;
    t->bulk_group = 0;
    emu_bulk_forget(r, t);
    t->view.thread = (tn_emu_uint3){i % l->block[0], i / l->block[0] % l->block[1], i / l->block[0] / l->block[1]};
    t->view.block = b->index;
    t->view.lane = i % EMU_WARP;
    t->warp = i / EMU_WARP;
    t->view.rank = b->rank;
    t->view.shared = b->smem;
}

static void prepare_block(emu_run *r, emu_block *b) {
    memset(b->variables, 0, sizeof b->variables);
    memset(b->state, EMU_NONE, b->used); /* of the block before */
    b->used = r->launch->smem;
    memset(b->state, EMU_UNWRITTEN, r->launch->smem);
    memset(b->smem, 0xff, r->launch->smem);
    for (uint32_t w = 0; w < r->n_warps; w++) {
        const uint32_t left = r->n_threads - w * EMU_WARP;
        b->living[w] = left < EMU_WARP ? (1u << left) - 1 : 0xffffffffu;
    }
}

/* Cluster number k of the grid; its blocks are neighbours. */
static void prepare_cluster(emu_run *r, uint64_t k) {
    r->cluster = (uint32_t)k;
    emu_clock *start = emu_clock_new(r);
    for (uint32_t i = 0; i < r->n_events; i++) start->at[i] = r->base;
    for (uint32_t i = 0; i < r->n_blocks; i++) {
        emu_block *b = &r->blocks[i];
        b->rank = i;
        b->index = block_at(r->launch, k, i);
        prepare_block(r, b);
        for (uint32_t t = 0; t < r->n_threads; t++) prepare_thread(r, b, &b->threads[t], t, start);
    }
    for (uint32_t i = 0; i < EMU_AGENTS + EMU_TENSOR_CORES; i++) r->agent_time[i] = r->base + 1;
    emu_clock_drop(r, start);
}

static void finish_cluster(emu_run *r) {
    uint32_t newest = r->base;
    for (uint32_t i = 0; i < r->n_blocks; i++) {
        emu_block *b = &r->blocks[i];
        emu_block_forget(r, b);
        emu_warpgroups_forget(r, b);
        if (b->used > r->space->rooms[i].used) r->space->rooms[i].used = b->used;
    }
    for (uint32_t i = 0; i < r->n_blocks * r->n_threads; i++)
        if (r->threads[i].own > newest) newest = r->threads[i].own;
    for (uint32_t i = 0; i < EMU_AGENTS + EMU_TENSOR_CORES; i++)
        if (r->agent_time[i] > newest) newest = r->agent_time[i];
    r->base = newest;
    if (r->base < UINT32_MAX / 2) return;
    r->base = 0; /* times start over: forget the events that had them */
    for (uint32_t i = 0; i < r->n_blocks; i++) memset(r->blocks[i].cells, 0, EMU_SMEM_SPACE / 4 * sizeof(emu_cell));
}

static void run_clusters(emu_run *r) {
    const tn_emu_launch *l = r->launch;
    uint64_t n = (uint64_t)l->grid[0] * l->grid[1] * l->grid[2] / r->n_blocks;
    /* a seed visits the clusters with a stride that has no common factor with their number */
    uint64_t stride = 1, first = 0;
    if (l->seed && n > 2) {
        first = emu_random(r) % n;
        stride = emu_random(r) % n | 1;
        for (uint64_t a = stride, b = n; b; a = stride, b = n) {
            while (b) {
                uint64_t m = a % b;
                a = b, b = m;
            }
            if (a == 1) break;
            stride++;
        }
    }
    for (uint64_t k = 0; k < n && !r->failed; k++) {
        prepare_cluster(r, (first + k * (stride % n)) % n);
        run_cluster(r);
        finish_cluster(r);
    }
}

/* ---- launches ---------------------------------------------------------------------------------------------------- */

static bool allocate_block(emu_run *r, emu_block *b, const emu_room *room, emu_thread *threads) {
    b->threads = threads;
    b->smem = room->smem;
    b->state = room->state;
    b->cells = room->cells;
    for (int k = 0; k < EMU_BARRIERS; k++) {
        b->barriers[k].who = malloc(r->n_threads * sizeof *b->barriers[k].who);
        if (!b->barriers[k].who) return false;
    }
    for (size_t k = 0; k < sizeof b->groups / sizeof *b->groups; k++) b->groups[k].last = &b->groups[k].first;
    return true;
}

static bool allocate(emu_run *r) {
    uint32_t n = r->n_blocks * r->n_threads;
    r->blocks = calloc(r->n_blocks, sizeof *r->blocks);
    r->threads = calloc(n, sizeof *r->threads);
    r->cluster_barrier.who = malloc(n * sizeof *r->cluster_barrier.who);
    r->space = emu_space_take(n, r->n_blocks);
    if (!r->blocks || !r->threads || !r->cluster_barrier.who || !r->space || !emu_written_new(r)) return false;
    r->stacks = r->space->stacks;
    r->stacks_size = (size_t)n * EMU_STACK;
    const tn_emu_launch *l = r->launch;
    for (uint32_t i = 0; i < n; i++) {
        emu_thread *t = &r->threads[i];
        t->run = r;
        t->id = i;
        t->stack = r->space->stacks + (size_t)i * EMU_STACK;
        t->view.stack = t->stack;
        t->view.stack_size = EMU_STACK;
        t->view.block_dim = (tn_emu_uint3){l->block[0], l->block[1], l->block[2]};
        t->view.grid_dim = (tn_emu_uint3){l->grid[0], l->grid[1], l->grid[2]};
        t->view.cluster_dim = (tn_emu_uint3){l->cluster[0] ? l->cluster[0] : 1, l->cluster[1] ? l->cluster[1] : 1,
                                             l->cluster[2] ? l->cluster[2] : 1};
        t->view.cluster_size = r->n_blocks;
    }
    for (uint32_t i = 0; i < r->n_blocks; i++)
        if (!allocate_block(r, &r->blocks[i], &r->space->rooms[i], r->threads + i * r->n_threads)) return false;
    return true;
}

static void release(emu_run *r) {
    for (uint32_t i = 0; r->threads && i < r->n_blocks * r->n_threads; i++) {
        emu_thread *t = &r->threads[i];
        emu_clock_drop(r, t->seen);
        emu_clock_drop(r, t->fence_seen);
        emu_clock_drop(r, t->cluster_seen);
        emu_bulk_forget(r, t);
        free(t->copies);
        free(t->groups);
    }
    while (r->bulk) {
        emu_bulk *b = r->bulk;
        r->bulk = b->next;
        emu_clock_drop(r, b->seen);
        free(b);
    }
    for (uint32_t i = 0; r->blocks && i < r->n_blocks; i++) {
        emu_block *b = &r->blocks[i];
        emu_block_forget(r, b);
        emu_warpgroups_forget(r, b);
        for (int k = 0; k < EMU_BARRIERS; k++) free(b->barriers[k].who);
    }
    emu_clock_drop(r, r->cluster_barrier.released);
    emu_written_free(r);
    free(r->cluster_barrier.who);
    free(r->blocks);
    free(r->threads);
    emu_space_give(r->space);
    while (r->free_clocks) {
        emu_clock *c = r->free_clocks;
        r->free_clocks = c->next_free;
        free(c);
    }
}

static const char *impossible(const tn_emu_launch *l) {
    uint64_t threads = 1, blocks = 1;
    for (int a = 0; a < 3; a++) {
        uint32_t c = l->cluster[a] ? l->cluster[a] : 1;
        if (!l->block[a] || l->block[a] > EMU_MAX_THREADS) return "a block has 1 to 1024 threads";
        if (l->grid[a] % c) return "the cluster does not divide the grid";
        if (c > EMU_MAX_CLUSTER) return "a cluster has at most 16 blocks";
        threads *= l->block[a];
        blocks *= c;
    }
    if (threads > EMU_MAX_THREADS) return "a block has 1 to 1024 threads";
    if (blocks > EMU_MAX_CLUSTER) return "a cluster has at most 16 blocks";
    if (l->together) {
        const uint64_t all = (uint64_t)l->grid[0] * l->grid[1] * l->grid[2];
        if (blocks > 1) return "blocks in clusters that all run at the same time";
        if (all > EMU_MAX_TOGETHER || all * threads > EMU_MAX_EVENTS - EMU_AGENTS - EMU_TENSOR_CORES)
            return "too many blocks that all run at the same time";
    }
    return l->smem > EMU_SMEM_MAX ? "a block has at most 227 KiB of shared memory" : NULL;
}

tn_status tn_emu_run(tn_emu_kernel *k, const tn_emu_launch *l, tn_emu_report *rep) {
    memset(rep, 0, sizeof *rep);
    const tn_env *env = tn_emu_module_env(k->module);
    const char *why = impossible(l);
    if (why) return tn_fail(env, TN_E_ARGUMENT, k->name, "", "this launch is impossible: %s", why);
    if (!l->grid[0] || !l->grid[1] || !l->grid[2]) return TN_OK;
    emu_run r = {.env = env, .kernel = k, .launch = l, .report = rep};
    r.n_threads = l->block[0] * l->block[1] * l->block[2];
    r.n_warps = (r.n_threads + EMU_WARP - 1) / EMU_WARP;
    r.n_blocks = 1;
    for (int a = 0; a < 3; a++) r.n_blocks *= l->together ? l->grid[a] : l->cluster[a] ? l->cluster[a] : 1;
    r.n_events = r.n_blocks * r.n_threads + EMU_AGENTS + EMU_TENSOR_CORES;
    r.max_steps = l->max_steps ? l->max_steps : 1ull << 38;
    r.random = l->seed | 1ull << 63;
    r.bulk_last = &r.bulk;
    bool ok = allocate(&r);
    if (ok) run_clusters(&r);
    rep->steps = r.steps;
    rep->bank_conflicts = r.bank_conflicts;
    release(&r);
    if (ok && !r.out_of_memory) return TN_OK;
    return tn_fail(env, TN_E_MEMORY, k->name, "", "out of memory while a kernel is emulated");
}
