/* steps.h: which values reach an op that tells neighbouring numbers apart (rounding, comparison, conversion to integers or
 * 8-bit floats), through elementwise ops, movements and reductions.  A difference in such a value's last place may be a
 * whole step in what the user sees.
 *
 * Found for all values at once, from the steps up, and kept while rules rewrite: what a rewrite makes reach a step does so
 * at once; what reaches none any more is known when they are found again. */
#ifndef TENON_PASS_STEPS_H
#define TENON_PASS_STEPS_H

#include "ir/ir.h"
#include "tenon/internal/memory.h"

typedef struct tn_steps {
    const tn_graph *g;
    TN_VEC(bool) reach; /* by value */
    TN_VEC(tn_val) todo;
    bool known, oom;
} tn_steps;

void tn_steps_free(tn_steps *s);
/* Finds them where that was not done since `known` was false; true too where memory ran out. */
bool tn_reaches_step(tn_steps *s, tn_val v);
/* b takes a's place; nodes from `first_new` on are new. */
void tn_steps_replace(tn_steps *s, tn_val a, tn_val b);
void tn_steps_add(tn_steps *s, uint32_t first_new);

#endif
