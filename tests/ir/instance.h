/* instance.h: random graphs: from a rewrite rule's own pattern, or of any ops and dtypes.
 *
 * Shapes flow from the root down (a suggestion), values from the leaves up: every pattern node gets operands of the
 * suggested shapes and random attributes.  Most of what is drawn this way has a type; what has none, or what the rule's
 * guard refuses, is thrown away by the caller. */
#ifndef TENON_TESTS_INSTANCE_H
#define TENON_TESTS_INSTANCE_H

#include "ir/ir.h"
#include "tests/ir/random.h"

struct tn_pat;

typedef struct tn_sizes {
    size_t rank;
    int64_t d[TN_MAX_RANK];
} tn_sizes;

/* A graph whose first outputs are the results of the root of `pattern`, instantiated for dtype t.  Some sizes are
 * symbols s<n> that stand for n.  NULL if what was drawn does not type. */
tn_graph *tn_instance(const tn_env *env, const struct tn_pat *pattern, tn_dtype t, tn_random *r);

/* What an expression may hold. */
typedef struct tn_expression {
    uint32_t dtypes; /* set, as a rule's */
    uint32_t depth;
    bool steps;        /* rounding, comparison and conversion of floats to integers */
    bool contractions; /* matmul, convolutions, norms, sums: what sums many terms */
    tn_flavour constants;
} tn_expression;
tn_graph *tn_random_expression(const tn_env *env, const tn_expression *what, tn_random *r);

#endif
