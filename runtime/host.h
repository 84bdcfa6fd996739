/* host.h: what libtenon lends the runtime: the devices that are programs, and a compiler for kernels.  libtenon_rt holds none of them
 * and looks for nothing by itself: an application hands the table over in tn_context_options.host. */
#ifndef TENON_RUNTIME_HOST_H
#define TENON_RUNTIME_HOST_H

#include "runtime/cuda/cuda.h"
#include "runtime/plan/plan.pb-c.h"
#include "tenon/tenon.h"

typedef struct tn_cpu tn_cpu; /* a plan on the reference evaluator, for one context */

typedef struct tn_machine_code {
    void *data; /* freed with tn_free(env, data, size), the plan's env */
    size_t size;
} tn_machine_code;

struct tn_host {
    /* Errors: E_UNSUPPORTED (the plan holds no IR), E_FORMAT, E_MEMORY. */
    tn_status (*cpu_new)(tn_plan *p, tn_cpu **out);
    void (*cpu_free)(tn_cpu *x); /* NULL allowed */
    /* table: the values of the plan's dims; inputs and outputs: their buffers, in the plan's order.  in_place: outputs that
     * grow in inputs' buffers are there, as tn_rows_of says; else all are dense. */
    tn_status (*cpu_run)(tn_cpu *x, const int64_t *table, bool in_place, const void *const *inputs,
                         void *const *outputs);
    /* The emulated GPU as a driver, closed with tn_cuda_close. */
    tn_status (*emulator_open)(const tn_env *env, tn_cuda **out);
    /* Compiles the sources of an architecture's kernels for compute capability cc (100 for 10.0), showing progress; what
     * was compiled before comes from the cache.  out: parallel to arch->kernels, left alone on failure.  Errors: E_ARCH
     * (a kernel without source), E_COMPILE (names the kernel): notes where it is not the `last` that is tried;
     * E_NO_COMPILER, E_CANCELLED, E_FORMAT, E_MEMORY. */
    tn_status (*rebuild)(tn_plan *p, const TnPlan__Arch *arch, int cc, bool last, tn_machine_code *out);
    /* Whether the plan can be made again for compute capability cc: it has its graph, and kernels can be chosen. */
    bool (*can_recompile)(const tn_plan *p, int cc);
    /* Makes it: from the graph in the plan, with kernels that the cost model chooses, showing progress; what was compiled
     * before comes from the cache.  *out has the inputs, outputs and symbols of p, and outlives it.  Errors: as tn_compile,
     * and as reading the graph. */
    tn_status (*recompile)(tn_plan *p, int cc, tn_plan **out);
};

#endif
