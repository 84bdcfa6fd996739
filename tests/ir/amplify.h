/* amplify.h: what a graph makes of small differences.
 *
 * Rules for relaxed numerics may move a value by some units of the largest number on its way, and a zero to the other
 * sign (rule.h).  A graph may make much of that: a step, a quotient by what cancels, the sign of an infinity.  So it is
 * evaluated with every value moved that little, and how far its results went is what a difference is measured by. */
#ifndef TENON_TESTS_AMPLIFY_H
#define TENON_TESTS_AMPLIFY_H

#include "tests/ir/random.h"

typedef struct tn_amplifier tn_amplifier;

/* Samples of g on these operands; opts as for tn_eval_graph.  NULL when out of memory. */
tn_amplifier *tn_amplifier_new(const tn_graph *g, const tn_tensor *in, size_t n_in, size_t n_out,
                               const tn_eval_opts *opts, uint32_t seed);
void tn_amplifier_free(tn_amplifier *a); /* NULL allowed */
/* Whether element i of an output, which was `was`, may have become `is`. */
bool tn_amplifies(const tn_amplifier *a, size_t output, uint64_t i, double was, double is);

#endif
