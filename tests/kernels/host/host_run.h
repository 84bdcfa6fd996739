// host_run.h: runs a kernel's blocks, cluster by cluster, as fibers.
#pragma once
#include "host_shim.h"
#include <functional>
#include <random>
#include <ucontext.h>
#include <vector>

namespace host {
struct fiber {
    ucontext_t context;
    std::vector<char> stack;
    host_thread thread;
    bool done;
};
inline std::vector<fiber> fibers;
inline std::vector<host_block> blocks;
inline std::vector<std::vector<unsigned char>> memories;
inline host_barrier cluster_barrier;
inline ucontext_t scheduler;
inline fiber *current;
inline std::function<void()> body;

inline void enter() {
    body();
    current->done = true;
    for (;;) swapcontext(&current->context, &scheduler);
}
} // namespace host

inline host_thread &host_self() {
    return host::current->thread;
}
inline host_block &host_block_of(int rank) {
    return host::blocks[(size_t)rank];
}
inline host_barrier &host_cluster_barrier() {
    return host::cluster_barrier;
}
inline host_ranges &host_memory() {
    static host_ranges m;
    return m;
}
inline void host_yield() {
    swapcontext(&host::current->context, &host::scheduler);
}
inline void host_error(const char *what) {
    const host_thread &t = host_self();
    fprintf(stderr, "block (%u,%u,%u) thread %u: %s\n", t.block->index.x, t.block->index.y, t.block->index.z, t.tid.x,
            what);
    exit(2);
}

namespace host {
// One cluster: `size` blocks along z, whose first has this index.
inline void run_cluster(host_dim first, int size, host_dim grid, host_dim dim, std::mt19937 &random) {
    const int threads = (int)(dim.x * dim.y * dim.z);
    const size_t smem = 232448;
    blocks.resize((size_t)size);
    memories.resize((size_t)size);
    fibers.resize((size_t)(size * threads));
    cluster_barrier = {size * threads, 0, 0};
    for (int b = 0; b < size; b++) {
        memories[(size_t)b].assign(smem + 1024, 0xff); // unwritten memory reads as NaN
        host_block &block = blocks[(size_t)b];
        memset(&block, 0, sizeof block);
        block.index = {first.x, first.y, first.z + (unsigned)b};
        block.dim = dim;
        block.grid = grid;
        block.smem = (unsigned char *)(((uintptr_t)memories[(size_t)b].data() + 1023) / 1024 * 1024);
        block.barrier = {threads, 0, 0};
        for (int t = 0; t < threads; t++) {
            fiber &f = fibers[(size_t)(b * threads + t)];
            f.stack.resize(64 << 10);
            f.done = false;
            f.thread.tid = {(unsigned)t % dim.x, (unsigned)t / dim.x % dim.y, (unsigned)t / (dim.x * dim.y)};
            f.thread.linear = t;
            f.thread.lane = t % 32;
            f.thread.rank = b;
            f.thread.block = &block;
            f.thread.waited = false;
            f.thread.n_copies = f.thread.n_groups = 0;
            getcontext(&f.context);
            f.context.uc_stack.ss_sp = f.stack.data();
            f.context.uc_stack.ss_size = f.stack.size();
            f.context.uc_link = nullptr;
            makecontext(&f.context, enter, 0);
        }
    }
    const size_t n = fibers.size();
    for (size_t left = n, rounds = 0; left; rounds++) {
        const size_t start = random() % n, step = random() & 1 ? 1 : n - 1;
        for (size_t k = 0, at = start; k < n; k++, at = (at + step) % n) {
            current = &fibers[at];
            if (current->done) continue;
            swapcontext(&scheduler, &current->context);
            if (!current->done) continue;
            left--;
            if (!current->thread.waited) host_error("returned without TN_WAIT()");
            if (current->thread.n_copies) host_error("returned with copies in flight");
        }
        if (rounds > 10000000) host_error("deadlock");
    }
}

inline void run(host_dim grid, int cluster, host_dim block, std::function<void()> kernel) {
    std::mt19937 random(1);
    body = std::move(kernel);
    for (unsigned z = 0; z < grid.z; z += (unsigned)cluster)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) run_cluster({x, y, z}, cluster, grid, block, random);
}
} // namespace host
