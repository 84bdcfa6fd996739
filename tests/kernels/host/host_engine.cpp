// host_engine.cpp: what a variant's shared library is run through: host_kernel_run(grid, threads, args, ranges).
#include "host_run.h"
#include <unistd.h>

extern "C" void host_kernel(const void *args); // of the variant

// ranges: n pairs of first and past-the-last byte that the kernel may touch.
extern "C" __attribute__((visibility("default"))) void host_kernel_run(const unsigned grid[3], int cluster, int threads, const void *args, const void *const *ranges, int n) {
    host_ranges &m = host_memory();
    m.n = n;
    for (int i = 0; i < n; i++) m.r[i] = {(const char *)ranges[2 * i], (const char *)ranges[2 * i + 1]};
    host::run({grid[0], grid[1], grid[2]}, cluster, {(unsigned)threads, 1, 1}, [args] { host_kernel(args); });
}
