/* permute.h: which ops can work on transposed operands, and how. */
#ifndef TENON_PASS_PERMUTE_H
#define TENON_PASS_PERMUTE_H

#include "passes/util.h"

/* What becomes of a node's result when its operands are given transposed by p. */
typedef enum tn_permuted {
    TN_FIXED,   /* the node cannot take transposed operands */
    TN_FOLLOWS, /* the result is transposed by p too */
    TN_SAME     /* the result is unchanged (a reduction that drops the axes that moved) */
} tn_permuted;

tn_permuted tn_permutable(const tn_graph *g, tn_node n, tn_perm p);
/* Is operand k of such a node transposed with it?  (The parameters of a batch norm are not.) */
bool tn_permutes_operand(const tn_graph *g, tn_node n, size_t k);
/* Emits the node over operands that are already transposed. */
tn_val tn_emit_permuted(tn_graph *g, tn_node n, tn_perm p, size_t n_inputs, const tn_val *inputs);

#endif
