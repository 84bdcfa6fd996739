/* evaluate.h: do two graphs compute the same?  For tests of passes. */
#ifndef TENON_TESTS_EVALUATE_H
#define TENON_TESTS_EVALUATE_H

#include "tests/ir/random.h"

typedef struct tn_compare {
    double rtol, atol; /* |a - b| <= atol + rtol * |b|; NaN equals NaN */
    bool bits;         /* equal as numbers, the sign of zero included; integers always are */
    bool conditioned;  /* rtol is of the largest value on the way, infinite where one is not finite */
    bool amplified;    /* a difference also counts only beyond what the original makes of small ones (amplify.h) */
    uint32_t seed;
    bool flavoured; /* the inputs are of `flavour`, else small numbers without zero's other sign, infinities and NaN */
    tn_flavour flavour;
} tn_compare;

/* Evaluates both graphs on the same random inputs (symbols s<n> get the size n, others small sizes) and compares the
 * outputs.  On a difference returns TN_E_MISMATCH with a description in why.  TN_E_UNSUPPORTED: `before` cannot be
 * evaluated. */
tn_status tn_compare_graphs(const tn_env *env, tn_graph *before, tn_graph *after, const tn_compare *opts, char *why,
                            size_t size);

#endif
