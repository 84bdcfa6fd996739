/* policy.h: times a plan's whole inference under several launch policies (bench.c), for the tuner. */
#ifndef TENON_RUNTIME_POLICY_H
#define TENON_RUNTIME_POLICY_H

#include "runtime/plan/plan.pb-c.h"
#include "tenon/tenon.h"

/* us[k]: microseconds of an inference of a CUDA context at its current shapes, on random data, under policy k: the least of
 * the medians of `rounds` turns of about `seconds` each, which the policies take in rotation.  Where the first one's first
 * turn is above slow_us, no other is tried.  Nothing else may use the context. */
tn_status tn_cuda_try_policies(tn_context *c, const TnPlan__Policy *policies, size_t n, int rounds, double seconds,
                               double slow_us, double *us);

#endif
