/* host.h: what libtenon lends the runtime: the devices that are programs.  libtenon_rt holds neither of them and looks
 * for nothing by itself: an application hands the table over in tn_context_options.host. */
#ifndef TENON_RUNTIME_HOST_H
#define TENON_RUNTIME_HOST_H

#include "runtime/cuda/cuda.h"
#include "tenon/tenon.h"

typedef struct tn_cpu tn_cpu; /* a plan on the reference evaluator, for one context */

struct tn_host {
    /* Errors: E_UNSUPPORTED (the plan holds no IR), E_FORMAT, E_MEMORY. */
    tn_status (*cpu_new)(tn_plan *p, tn_cpu **out);
    void (*cpu_free)(tn_cpu *x); /* NULL allowed */
    /* table: the values of the plan's dims; inputs and outputs: their buffers, in the plan's order. */
    tn_status (*cpu_run)(tn_cpu *x, const int64_t *table, const void *const *inputs, void *const *outputs);
    /* The emulated GPU as a driver, closed with tn_cuda_close. */
    tn_status (*emulator_open)(const tn_env *env, tn_cuda **out);
};

#endif
