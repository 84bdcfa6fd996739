/* cases.h: the sizes that a graph's kernels are chosen for, and what they may assume of them.
 *
 * First there is one case for each bucket: its kernels are right at all sizes, and chosen at the bucket's typical ones.
 * Then come special cases, whose kernels are right where their guard holds:
 *
 *     within   all sizes lie in the bucket's ranges, which the kernels know; a size that is typically 1 is 1, and one that
 *              strides depend on is a multiple of what makes them whole vectors
 *     point    all sizes are exactly the bucket's typical ones: the kernels are those of a static graph
 *
 * A special case has a clone of the fused graph, with the same handles, in which the sizes are bound; its values lie where
 * the graph's do, since a plan has one program for all cases.  What a kernel of it says in the clone's dims (grids,
 * arguments) is brought back by tn_case_dim. */
#ifndef TENON_CASES_H
#define TENON_CASES_H

#include "codegen/tune/pool.h"
#include "passes/memory/memory.h"

typedef enum tn_case_kind { TN_CASE_ANY, TN_CASE_WITHIN, TN_CASE_POINT } tn_case_kind;

typedef struct tn_case_size {
    tn_dim sym;       /* of the graph that was given */
    tn_size_range in; /* what the guard says of it */
    tn_dim part;      /* of the clone: sym / in.divisor, which stands for it there; none: it does not */
} tn_case_size;

typedef struct tn_size_case {
    tn_case_kind kind;
    uint32_t bucket;
    tn_graph *g;   /* the graph that was given; special cases: a clone */
    tn_memory mem; /* where its values lie; special cases only */
    uint32_t n_sizes;
    tn_case_size *sizes; /* special cases: the guard */
} tn_size_case;

/* The cases of a graph whose values have been placed: at most TN_MAX_BUCKETS, special ones last, in the order of their
 * buckets.  Clones are made on the pool's threads (NULL: on this one).  Freed with tn_cases_free. */
tn_status tn_cases_make(tn_graph *g, const tn_memory *m, tn_pool *pool, tn_size_case **out, size_t *n);
void tn_cases_free(const tn_env *env, tn_size_case *c, size_t n);
/* A dim of the case's graph as one of g, the graph that was given. */
tn_dim tn_case_dim(const tn_size_case *c, tn_graph *g, tn_dim d);

#endif
