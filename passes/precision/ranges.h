/* ranges.h: how large the values of a graph become, measured on random inputs. */
#ifndef TENON_RANGES_H
#define TENON_RANGES_H

#include "passes/pass.h"

/* Evaluates the graph once on inputs uniform in [-1, 1] (integers in [0, 4)) at the hint shapes, or smaller ones where
 * these are more than `max_flops` of work, and sets max_abs[v.i] to the largest finite magnitude of each float value,
 * infinity if it overflowed f32.  max_abs has n zeroed entries.  False, with a note, where that is not possible: too much
 * work at any size, or data that the graph refuses.  With a memo an equal graph is evaluated once. */
bool tn_measure_ranges(tn_graph *g, double max_flops, const tn_pass_memo *memo, double *max_abs, uint32_t n);

#endif
