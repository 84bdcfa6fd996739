/* ir.h: the graph that a plan was compiled from. */
#ifndef TENON_HOST_IR_H
#define TENON_HOST_IR_H

#include "ir/ir.h"
#include "runtime/plan/plan.h"
#include "tenon/compiler.h"

/* The fused graph in the plan, verified.  Its constants lie in the plan, which outlives it, but for those that the plan
 * holds only as kernels read them.  `source` names the IR in messages.  Errors: E_UNSUPPORTED (the plan holds no IR),
 * E_FORMAT, E_MEMORY. */
tn_status tn_plan_graph(const tn_env *env, tn_plan *p, const char *source, tn_graph **out);

/* How that graph is compiled again: its precision and exactness, and no passes. */
void tn_options_of_plan(const TnPlan__Plan *pb, tn_compile_options *o);

#endif
