/* device.h: a plan on one GPU: its kernels loaded and its weights uploaded, once, for all contexts of the plan
 * there. */
#ifndef TENON_RUNTIME_DEVICE_H
#define TENON_RUNTIME_DEVICE_H

#include "runtime/cuda/cublaslt.h"
#include "runtime/cuda/cuda.h"
#include "runtime/host.h"
#include "runtime/plan/plan.h"

enum { TN_STEP_TEXT = 256, TN_MEMORY_ALIGN = 256 /* of every block of device memory, in bytes */ };

typedef struct tn_plan_device {
    struct tn_plan_device *next;
    unsigned refs; /* under the plan's device_mutex */
    const tn_env *env;
    tn_cuda *cu;
    tn_cublaslt *lt; /* NULL: no step needs it */
    tn_device_info info;
    CUcontext ctx; /* the primary one */
    bool retained;
    const TnPlan__Arch *arch;
    tn_machine_code *rebuilt; /* parallel to arch->kernels: their code where the plan's does not run here; else NULL */
    size_t n_modules;
    CUmodule *modules; /* parallel to the plan's blobs: of a cubin, or of a source that was compiled here; or NULL */
    CUfunction *functions;           /* parallel to arch->kernels */
    char (*step_text)[TN_STEP_TEXT]; /* parallel to arch->steps, for messages */
    CUdeviceptr weights;             /* the constants that steps read, each aligned to TN_MEMORY_ALIGN; 0: none */
    CUmodule decide_module;          /* decide.c's kernel; NULL: no step decides, or the driver cannot */
    CUfunction decide;
    CUdeviceptr *consts; /* parallel to the plan's constants: addresses; 0: not read by any step */
} tn_plan_device;

/* The architecture of a plan whose code is nearest to compute capability cc (90 for 9.0; arch.h); pb->n_archs if none
 * runs there. */
size_t tn_arch_pick(const TnPlan__Plan *pb, int cc);

/* Some step owns others. */
bool tn_arch_decides(const TnPlan__Arch *a);
/* decide.c: loads the kernel that tells a graph what a step decided; leaves d->decide NULL where the driver has no
 * conditional nodes, or does not take it: the host decides then. */
void tn_decide_load(tn_plan_device *d);

/* The one whose sources a compiler may be given for cc: the nearest that is not newer, since sources use what their
 * architecture has, and not in need of more shared memory.  pb->n_archs if there is none. */
size_t tn_arch_to_rebuild(const TnPlan__Plan *pb, int cc, int smem_block);

/* Opens the plan on a GPU, or on that which the host emulates, or shares what another context opened.  Where the plan
 * has no code for the GPU, a host compiles its sources; where these do not serve, it makes *made (else NULL) of the plan,
 * which p owns: that is to be opened instead, and *out is NULL.  host may be NULL for a GPU.  Errors as tn_context_new. */
tn_status tn_plan_device_acquire(tn_plan *p, const tn_host *host, bool emulated, int ordinal, tn_plan_device **out,
                                 tn_plan **made);
void tn_plan_device_release(tn_plan *p, tn_plan_device *d);

#endif
