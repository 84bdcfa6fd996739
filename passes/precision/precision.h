/* precision.h: what the files of the precision pass share (private to passes/).
 *
 *   precision.c       chooses and places casts
 *   precision_flow.c  where values go: who could take them in f32 at no cost */
#ifndef TENON_PRECISION_H
#define TENON_PRECISION_H

#include "passes/pass.h"

/* Where every use of a value leads. */
typedef enum tn_flow {
    TN_FLOW_STORED = 0, /* somebody wants it in memory, or in 16 bits */
    TN_FLOW_SOFTMAX,    /* through elementwise and movement ops to softmax, which computes them while it loads */
    TN_FLOW_F32,        /* through elementwise ops to what is f32 anyway: results of the graph, exp, sqrt, ... */
    TN_FLOW_STEP        /* through elementwise and movement ops to integers, comparisons, round, floor, ... */
} tn_flow;

/* Fills flow[v.i] for the graph's values; n entries, zeroed. */
void tn_precision_flow(const tn_graph *g, uint8_t *flow, uint32_t n);

#endif
