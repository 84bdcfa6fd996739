/* launch.h: launches one generated kernel.  Its only parameter is the argument block, a struct of 8-byte fields passed
 * by value. */
#ifndef TENON_RUNTIME_LAUNCH_H
#define TENON_RUNTIME_LAUNCH_H

#include "runtime/cuda/cuda.h"

/* What a launch needs beside its arguments.  An empty grid (any extent 0) launches nothing. */
typedef struct tn_launch {
    CUfunction fn;
    uint32_t grid[3], block[3];
    uint32_t cluster[3]; /* 0: none */
    uint32_t smem;       /* dynamic shared memory, bytes */
    uint32_t carveout;   /* percent plus 1 of an SM's memory that is to be shared memory; 0: as the driver likes */
    bool pdl; /* programmatic dependent launch: only after another kernel of ours, where the GPU has it (arch.h) */
} tn_launch;

/* Once after loading: raises the function's limits (dynamic shared memory above 48 KiB, clusters above 8 blocks) and
 * checks that its parameter block has args_size bytes where the driver can tell. */
tn_status tn_launch_prepare(const tn_cuda *cu, CUfunction fn, uint32_t smem, const uint32_t cluster[3],
                            size_t args_size, const char *loc);
/* Enqueues.  args: at least as many bytes as the kernel's parameter has. */
tn_status tn_launch_kernel(const tn_cuda *cu, const tn_launch *l, const void *args, CUstream stream, const char *loc);

#endif
