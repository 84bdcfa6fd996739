/* evaluate.h: do two graphs compute the same?  For tests of passes. */
#ifndef TENON_TESTS_EVALUATE_H
#define TENON_TESTS_EVALUATE_H

#include "ir/ir.h"

typedef struct tn_compare {
    double rtol, atol; /* |a - b| <= atol + rtol * |b|; NaN equals NaN */
    bool bits;         /* equal as numbers, the sign of zero included */
    uint32_t seed;
} tn_compare;

/* Evaluates both graphs on the same random inputs (symbols get small sizes) and compares the outputs.  On a difference
 * returns TN_E_MISMATCH with a description in why. */
tn_status tn_compare_graphs(const tn_env *env, tn_graph *before, tn_graph *after, const tn_compare *opts, char *why,
                            size_t size);

#endif
