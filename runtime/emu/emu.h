/* emu.h: runs generated kernels on the CPU, with CUDA's semantics and checks that hardware does not make.
 *
 * A kernel is the source text that NVRTC would compile.  The host's C++ compiler ($TENON_CXX, $CXX or c++) builds it
 * against templates/shared/tn_emu.h, and a launch runs its threads as fibers: block after block (the blocks of a cluster
 * together), warp after warp, in an order that a seed shuffles.  Asynchronous copies and products take effect no sooner
 * than they are waited for.  What a launch finds wrong ends it with a report:
 *
 *     accesses outside every range, of the wrong alignment, or of a range that may only be read
 *     activations touched before griddepcontrol.wait
 *     shared memory that is read uninitialised or while a copy into it is under way
 *     races: two threads, at least one writing, no barrier between; in global memory only what follows a write
 *     barriers that not all threads reach, and warp-wide instructions that not all lanes reach
 *     kernels that make no end within a number of steps
 *
 * Threads: a module may be used by one thread at a time; different modules are independent. */
#ifndef TENON_RUNTIME_EMU_H
#define TENON_RUNTIME_EMU_H

#include "runtime/cuda/emulated.h"
#include "tenon/base.h"

typedef struct tn_emu_module tn_emu_module;
typedef struct tn_emu_kernel tn_emu_kernel;

typedef enum tn_emu_fault {
    TN_EMU_OK,
    TN_EMU_OUT_OF_BOUNDS,
    TN_EMU_MISALIGNED,
    TN_EMU_READ_ONLY,
    TN_EMU_TOO_EARLY,     /* before griddepcontrol.wait */
    TN_EMU_UNINITIALISED, /* shared memory */
    TN_EMU_RACE,
    TN_EMU_DIVERGENT, /* a barrier or warp-wide instruction that some threads do not reach */
    TN_EMU_ENDLESS,
    TN_EMU_MISUSE,    /* an instruction used against its rules */
    TN_EMU_BAD_INDEX, /* an index from the data that the model may not use; a GPU clamps it */
} tn_emu_fault;

typedef struct tn_emu_launch {
    uint32_t grid[3], block[3];
    uint32_t cluster[3];       /* 0: none */
    bool together;             /* all blocks of the grid run at the same time */
    uint32_t smem;             /* dynamic shared memory, bytes */
    const void *const *params; /* one pointer for each parameter, as cuLaunchKernel takes them */
    const tn_emu_range *ranges;
    size_t n_ranges;
    uint64_t seed;      /* 0: blocks and warps in order */
    uint64_t max_steps; /* memory accesses, branches and synchronising instructions in all; 0: 2^38 */
} tn_emu_launch;

typedef struct tn_emu_report {
    tn_emu_fault fault;
    char text[1600]; /* what, where (file:line of the template), which threads; "" when nothing was found */
    uint64_t steps;
    uint32_t bank_conflicts; /* ldmatrix phases whose rows share banks */
} tn_emu_report;

/* Takes a source (`name` is for messages).  The first tn_emu_get starts the compiler, or tn_emu_start (module.h), so
 * that it runs in the background.  Errors: E_IO. */
tn_status tn_emu_load(const tn_env *env, const char *name, const char *source, size_t size, tn_emu_module **out);
void tn_emu_unload(tn_emu_module *m); /* NULL allowed */
/* The kernel with that entry point, valid as long as the module.  Waits for the compiler.  Errors: E_NO_LIBRARY (no C++
 * compiler), E_COMPILE with its first error, E_ARGUMENT if there is no such kernel. */
tn_status tn_emu_get(tn_emu_module *m, const char *entry, tn_emu_kernel **out);
/* Runs a launch to its end.  TN_OK also where rep->fault says that something is wrong; E_ARGUMENT for an impossible
 * shape, E_MEMORY. */
tn_status tn_emu_run(tn_emu_kernel *k, const tn_emu_launch *l, tn_emu_report *rep);
const char *tn_emu_fault_name(tn_emu_fault f);

#endif
