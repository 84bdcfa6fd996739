/* cuda.h: the CUDA driver, opened when it is first needed.
 *
 * tn_cuda is a table of the driver's functions under their own names: cu->cuMemAlloc(&p, n).  Nothing links against
 * CUDA; only <cuda.h>'s types are used.  A table is read-only once open and may be shared between threads. */
#ifndef TENON_RUNTIME_CUDA_H
#define TENON_RUNTIME_CUDA_H

#include <cuda.h>

#include "runtime/cuda/emulated.h"
#include "tenon/base.h"

/* The oldest driver interface that works: 12.0. */
enum { TN_CUDA_DRIVER_NEEDED = 12000 };

typedef struct tn_cuda {
    const tn_env *env;
    void *lib;
    bool emulated;      /* runtime/emu/driver.c: images are sources, there are no graphs */
    int driver_version; /* 13000 for 13.0 */
    int device_count;
    /* Of an emulated device: what the calling thread's next launch may touch; valid until it is launched.  Otherwise
     * all device memory. */
    void (*next_launch_touches)(const tn_emu_range *ranges, size_t n);
#define CU(name, version, optional) __typeof__(name) *name;
#include "runtime/cuda/cuda_fns.def"
#undef CU
} tn_cuda;

/* Opens the driver ($TENON_LIBCUDA if set, otherwise libcuda.so.1) and initialises it.  E_NO_DEVICE says what is
 * missing: the library, a device, or a newer driver (found and needed versions).  `env` must outlive the table. */
tn_status tn_cuda_open(const tn_env *env, tn_cuda **out);
/* The same from a named library; NULL: as tn_cuda_open. */
tn_status tn_cuda_open_from(const tn_env *env, const char *path, tn_cuda **out);
void tn_cuda_close(tn_cuda *cu); /* NULL allowed */

/* TN_OK for CUDA_SUCCESS; otherwise reports E_CUDA (E_MEMORY when the device is out of memory) with the call, the
 * error's name and text; `loc` names the kernel and layers, or is "".  cu may be NULL only when r is CUDA_SUCCESS. */
tn_status tn_cuda_check(const tn_env *env, const tn_cuda *cu, CUresult r, const char *what, const char *loc);
/* TN_CU(cu, cuMemAlloc(&p, n), "weights"): the call, checked. */
#define TN_CU(cu, call, loc) tn_cuda_check((cu)->env, (cu), (cu)->call, #call, (loc))

typedef struct tn_device_info {
    int ordinal;
    CUdevice device;
    char name[128];
    int cc; /* 90 for compute capability 9.0 */
    int sms;
    int smem_block; /* bytes of shared memory a block may use after opting in */
    int smem_sm;    /* bytes of shared memory of a multiprocessor */
    int regs_sm;
    int l2_bytes;
    int clock_khz; /* 0 where the driver does not tell */
    int memory_clock_khz;
    int memory_bus_bits;
    size_t memory_bytes;
    int driver_version;
} tn_device_info;

/* E_NO_DEVICE if there is no such ordinal (names how many there are). */
tn_status tn_cuda_device_info(const tn_cuda *cu, int ordinal, tn_device_info *out);

/* Makes the context current for the calling thread until tn_cuda_leave; pairs nest. */
tn_status tn_cuda_enter(const tn_cuda *cu, CUcontext ctx);
void tn_cuda_leave(const tn_cuda *cu);

#endif
