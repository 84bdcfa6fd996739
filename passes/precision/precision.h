/* precision.h: what the files of the precision pass share (private to passes/).
 *
 *   precision.c       chooses and places casts
 *   precision_flow.c  where values go: who could take them in f32 at no cost */
#ifndef TENON_PRECISION_H
#define TENON_PRECISION_H

#include "passes/pass.h"

/* How an op chooses between low and wide. */
typedef enum tn_policy {
    TN_POLICY_FOLLOW, /* wide if an operand is wide, or if that costs nothing (tn_flow) */
    TN_POLICY_LOW,    /* operands and results low */
    TN_POLICY_WIDE,   /* operands and results f32 */
    TN_POLICY_SELF,   /* computes in the class of operand 0, gives low */
    TN_POLICY_INNER,  /* computes in f32, gives low */
    TN_POLICY_KEEP    /* f32 as it stands: owns regions that refer to outer values, or reads bits */
} tn_policy;

tn_policy tn_policy_of(tn_op op);

/* Ops that fall to another value at an edge: rounding their operand to 16 bits first moves it across. */
bool tn_op_steps(tn_op op);

/* Where every use of a value leads. */
typedef enum tn_flow {
    TN_FLOW_STORED = 0, /* somebody wants it in memory, or in 16 bits */
    TN_FLOW_SOFTMAX,    /* through elementwise and movement ops to softmax, which computes them while it loads */
    TN_FLOW_F32,        /* through elementwise ops to what is f32 anyway: results of the graph, exp, sqrt, ... */
    TN_FLOW_STEP        /* through elementwise and movement ops to integers, comparisons, round, floor, ... */
} tn_flow;

/* Fills flow[v.i] for the values of the body; n entries, zeroed. */
void tn_precision_flow(const tn_graph *g, uint8_t *flow, uint32_t n);

#endif
