/* launch.h: launches one generated kernel.  Its only parameter is the argument block, a struct that is passed by value: fields
 * of 8 bytes, then tensor maps (TN_MAP_WORDS times as much, aligned to TN_ARGS_ALIGN words). */
#ifndef TENON_RUNTIME_LAUNCH_H
#define TENON_RUNTIME_LAUNCH_H

#include "runtime/cuda/cuda.h"
#include "runtime/cuda/tensor_map.h"

/* Words of an argument block, which begins at a multiple of TN_ARGS_ALIGN words, and where its map k begins. */
enum { TN_ARGS_ALIGN = 8 };
static inline size_t tn_args_map(size_t n_plain, size_t k) {
    return (n_plain + TN_ARGS_ALIGN - 1) / TN_ARGS_ALIGN * TN_ARGS_ALIGN + k * TN_MAP_WORDS;
}
static inline size_t tn_args_words(size_t n_plain, size_t n_maps) {
    return n_maps ? tn_args_map(n_plain, n_maps) : n_plain;
}

/* Makes a grid of tiles that of a kernel that takes them in turns: at most `most` blocks (0: any number), along x, in whole clusters of so
 * many (0: none).  Blocks that all run at the same time are a group for each tile along y: as many groups as fit, one at least. */
static inline void tn_grid_turns(uint32_t grid[3], uint32_t cluster, bool together, uint64_t most) {
    const uint64_t group = (uint64_t)grid[0] * grid[2], unit = together ? group : cluster ? cluster : 1;
    const uint64_t fit = unit && most > unit ? most / unit : 1, blocks = together ? fit : fit * unit;
    uint32_t *const tiles = &grid[together ? 1 : 0];
    if (most && blocks < *tiles) *tiles = (uint32_t)blocks;
}

/* What a launch needs beside its arguments.  An empty grid (any extent 0) launches nothing. */
typedef struct tn_launch {
    CUfunction fn;
    uint32_t grid[3], block[3];
    uint32_t cluster[3]; /* 0: none */
    uint32_t smem;       /* dynamic shared memory, bytes */
    uint32_t carveout;   /* percent plus 1 of an SM's memory that is to be shared memory; 0: as the driver likes */
    bool together;       /* all blocks run at the same time, or it fails (cooperative) */
    bool pdl; /* programmatic dependent launch: only after another kernel of ours, where the GPU has it (arch.h) */
} tn_launch;

/* Once after loading: raises the function's limits (dynamic shared memory above 48 KiB, clusters above 8 blocks). */
tn_status tn_launch_opt_in(const tn_cuda *cu, CUfunction fn, uint32_t smem, const uint32_t cluster[3], const char *loc);
/* tn_grid_turns for a launch that is complete but for its grid, which is one of tiles: at most per_sm blocks (0: any number) on each
 * of sms multiprocessors, and no more clusters than find place on the GPU at the same time, which may leave some unused. */
void tn_launch_turns(const tn_cuda *cu, tn_launch *l, uint32_t per_sm, int sms);
/* Its parameter block has args_size bytes, where the driver can tell. */
tn_status tn_launch_check_args(const tn_cuda *cu, CUfunction fn, size_t args_size, const char *loc);
/* Enqueues.  args: at least as many bytes as the kernel's parameter has. */
tn_status tn_launch_kernel(const tn_cuda *cu, const tn_launch *l, const void *args, CUstream stream, const char *loc);

#endif
