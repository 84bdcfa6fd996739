// emulate_entry.cpp: a variant's whole source (-DVARIANT) as a shared library that runs it on the CPU.
#include "host_shim.h"
#include VARIANT
#include "host_run.h"

// Returns the number of bank conflicts of ldmatrix.
extern "C" unsigned emulate_launch(const void *args, const unsigned *grid, const unsigned *block, unsigned cluster) {
    host::run({grid[0], grid[1], grid[2]}, (int)cluster, {block[0], block[1], block[2]},
              [&] { TN_KERNEL(*(const tn_args *)args); });
    return host_bank_conflicts();
}
