/* policy.h: times a plan's whole inference in several ways (bench.c), for the tuner: launch policies, and steps done in other
 * ways. */
#ifndef TENON_RUNTIME_POLICY_H
#define TENON_RUNTIME_POLICY_H

#include "runtime/plan/plan.pb-c.h"
#include "tenon/tenon.h"

/* Arch.alternatives[to] does the work of Arch.alternatives[from], or of Arch.steps[from] itself. */
typedef struct tn_swap {
    bool of_step;
    uint32_t from, to;
} tn_swap;

typedef struct tn_attempt {
    TnPlan__Policy policy;
    const tn_swap *swaps;
    size_t n_swaps;
} tn_attempt;

/* us[k]: microseconds of an inference of a CUDA context at its current shapes, on random data, in attempt k: the least of
 * the medians of `rounds` turns of about `seconds` each, which the attempts take in rotation.  Where the first one's first
 * turn is above slow_us, no other is tried.  Nothing else may use the context. */
tn_status tn_cuda_try(tn_context *c, const tn_attempt *trials, size_t n, int rounds, double seconds, double slow_us,
                      double *us);

#endif
