/* index.h: index expressions as C.
 *
 * Coordinates and offsets are dims of a view of the graph (tn_dim_var in ir.h): simplified by the algebra that types use.
 * What is left to code generation is to write them.  An expression is a sum of terms; a factor is a variable, a quotient
 * or remainder that gets a name first, or a size without coordinates, which the host computes: an argument.  So is what
 * sizes contribute to a term where it would be long.
 *
 * The text does not depend on what symbols are called: sizes come in the order in which the kernel meets them, then
 * coordinates in the order in which they were made. */
#ifndef TENON_CODEGEN_INDEX_H
#define TENON_CODEGEN_INDEX_H

#include "ir/ir.h"

enum { TN_INDEX_TERMS = 64, TN_INDEX_FACTORS = 12 };

typedef struct tn_index_term { /* k x product of factors */
    int64_t k;
    uint32_t n;
    tn_dim f[TN_INDEX_FACTORS];
} tn_index_term;

typedef struct tn_index_sum { /* the constant last */
    uint32_t n;
    tn_index_term t[TN_INDEX_TERMS];
} tn_index_sum;

/* The order of sizes: as they are met. */
typedef struct tn_index_order {
    const tn_env *env;
    tn_dim *met;
    uint32_t n;
    size_t cap;
    bool failed; /* out of memory */
} tn_index_order;
bool tn_index_meet(tn_index_order *o, tn_dim d); /* false: out of memory */

/* The terms of a; false where it has too many, or out of memory (sticky in g). */
bool tn_index_sum_of(tn_graph *g, tn_index_order *o, tn_dim a, tn_index_sum *out);
/* Prints it as a C expression, parenthesised when `nested` and no single factor.  Returns the length it needs. */
typedef const char *(*tn_index_name_fn)(void *user, tn_dim factor);
size_t tn_index_print(const tn_index_sum *s, bool nested, tn_index_name_fn name, void *user, char *buf, size_t size);
/* If a = rest + k * var with var not in rest: true, and sets k and rest. */
bool tn_index_affine(tn_graph *g, tn_dim a, tn_dim var, int64_t *k, tn_dim *rest);

#endif
