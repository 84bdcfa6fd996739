/* index.h: integer expressions for coordinates and offsets in generated code.
 *
 * An expression is a canonical polynomial: a sum of constant x product of atoms.  Atoms are C variables with a known
 * extent (0 <= v < extent) and divisor, symbolic dims, and quotients and remainders that could not be simplified.
 * Expressions are interned, so equal ones have equal handles.  Delinearising an index and linearising it again folds
 * back to the index, which is how adjacent axes collapse without code of their own.
 *
 * What dims alone make up becomes one atom, which the host computes, where it would be too long: so every expression
 * over symbolic sizes can be written, if perhaps not simplified.
 *
 * Expressions stand for coordinates: non-negative wherever they are used unguarded, so that C's division is floor
 * division; a negative value occurs only where a predicate guards the access. */
#ifndef TENON_CODEGEN_INDEX_H
#define TENON_CODEGEN_INDEX_H

#include "ir/ir.h"

typedef struct {
    uint32_t i;
} tn_ix; /* handle 0: none (also after a failure) */

typedef struct tn_ix_pool tn_ix_pool;

enum {
    TN_IX_TERMS = 32,
    TN_IX_FACTORS = 6,
    TN_IX_ATOMS = TN_IX_TERMS * TN_IX_FACTORS
}; /* the most in one expression */

tn_ix_pool *tn_ix_pool_new(tn_graph *g); /* NULL: out of memory */
void tn_ix_pool_free(tn_ix_pool *p);
bool tn_ix_no_memory(const tn_ix_pool *p);
bool tn_ix_failed(const tn_ix_pool *p); /* out of memory or too complex: everything since is none */

tn_ix tn_ix_const(tn_ix_pool *p, int64_t v);
/* A C variable with 0 <= name < extent that is always a multiple of divisor.  per_lane: its value differs between the
 * lanes of a vector.  Two calls give two variables even if names are equal. */
tn_ix tn_ix_var(tn_ix_pool *p, const char *name, tn_ix extent, int64_t divisor, bool per_lane);
/* A symbolic dim as polynomial over its symbols; parts that are no polynomial become atoms of their own. */
tn_ix tn_ix_dim(tn_ix_pool *p, tn_dim d);
tn_ix tn_ix_add(tn_ix_pool *p, tn_ix a, tn_ix b);
tn_ix tn_ix_sub(tn_ix_pool *p, tn_ix a, tn_ix b);
tn_ix tn_ix_mul(tn_ix_pool *p, tn_ix a, tn_ix b);
tn_ix tn_ix_div(tn_ix_pool *p, tn_ix a, tn_ix b); /* floor; b > 0 */
tn_ix tn_ix_mod(tn_ix_pool *p, tn_ix a, tn_ix b);

bool tn_ix_is_const(const tn_ix_pool *p, tn_ix a, int64_t *v);
/* Inclusive bounds; INT64_MIN / INT64_MAX where unknown. */
void tn_ix_bounds(const tn_ix_pool *p, tn_ix a, int64_t *lo, int64_t *hi);
/* Largest known constant that always divides a. */
int64_t tn_ix_divisor(const tn_ix_pool *p, tn_ix a);
/* -1: a < b never holds, 1: always, 0: unknown. */
int tn_ix_less(tn_ix_pool *p, tn_ix a, tn_ix b);
/* Rewrites a < b to an equivalent comparison with fewer variables (drops a lane index that cannot matter). */
void tn_ix_simplify_less(tn_ix_pool *p, tn_ix *a, tn_ix *b);
bool tn_ix_is_per_lane(const tn_ix_pool *p, tn_ix a);
/* If a = rest + k * var with var not in rest: true, and sets k and rest. */
bool tn_ix_affine(tn_ix_pool *p, tn_ix a, tn_ix var, int64_t *k, tn_ix *rest);

/* Printing: atoms are named by the callback (variables under their own name without it). */
typedef const char *(*tn_ix_name_fn)(void *user, uint32_t atom);
typedef struct tn_ix_atom { /* what the callback may ask */
    enum { TN_IX_VAR, TN_IX_DIM, TN_IX_DIV, TN_IX_MOD } kind;
    const char *name; /* VAR */
    tn_dim dim;       /* DIM */
    tn_ix a, b;       /* DIV, MOD operands */
    bool per_lane;
} tn_ix_atom;
void tn_ix_atom_get(const tn_ix_pool *p, uint32_t atom, tn_ix_atom *out);
/* The atoms of a (those inside quotients not included), each once; returns how many were written. */
uint32_t tn_ix_atoms(const tn_ix_pool *p, tn_ix a, uint32_t *atoms, uint32_t cap);
tn_ix tn_ix_of_atom(tn_ix_pool *p, uint32_t atom);
/* Prints as a C expression; a sum is parenthesised when `nested`.  Returns the length it needs. */
size_t tn_ix_print(const tn_ix_pool *p, tn_ix a, bool nested, tn_ix_name_fn name, void *user, char *buf, size_t size);

#endif
