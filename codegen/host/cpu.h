/* cpu.h: a plan on the reference evaluator; see runtime/host.h, whose functions these are. */
#ifndef TENON_CODEGEN_HOST_CPU_H
#define TENON_CODEGEN_HOST_CPU_H

#include "runtime/host.h"

tn_status tn_cpu_new(tn_plan *p, tn_cpu **out);
void tn_cpu_free(tn_cpu *x);
tn_status tn_cpu_run(tn_cpu *x, const int64_t *table, bool in_place, const void *const *inputs, void *const *outputs);

#endif
