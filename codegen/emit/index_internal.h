/* index_internal.h: how index.c and index_div.c see an expression. */
#ifndef TENON_CODEGEN_INDEX_INTERNAL_H
#define TENON_CODEGEN_INDEX_INTERNAL_H

#include "codegen/emit/index.h"
#include "tenon/internal/arith.h"

/* k x product of atoms; f is sorted, unused slots (at the end) are 0. */
typedef struct tn_ix_term {
    int64_t k;
    uint32_t f[TN_IX_FACTORS];
} tn_ix_term;

/* Terms sorted by their atoms (the constant last), no two alike, none with k == 0. */
typedef struct tn_ix_poly {
    uint32_t n;
    tn_ix_term t[TN_IX_TERMS];
} tn_ix_poly;

typedef struct tn_ix_atom_rec {
    tn_ix_atom pub;
    tn_ix extent;    /* exclusive upper bound as expression; none: unknown */
    int64_t divisor; /* always divides the atom */
    int64_t lo, hi;  /* inclusive */
} tn_ix_atom_rec;

typedef struct tn_ix_node { /* an interned polynomial */
    uint64_t hash;
    uint32_t first, n; /* its terms */
    bool per_lane;
    int64_t lo, hi;
} tn_ix_node;

/* What quotients, remainders and comparisons gave.  Each asks many others, again and again the same ones: without this
 * the time grows exponentially with the axes that a reshape splits. */
typedef enum tn_ix_question { TN_IX_ASK_NONE, TN_IX_ASK_DIV, TN_IX_ASK_MOD, TN_IX_ASK_LESS } tn_ix_question;
typedef struct tn_ix_answer {
    tn_ix_question ask;
    tn_ix a, b;
    uint32_t is;
} tn_ix_answer;

struct tn_ix_pool {
    tn_graph *g;
    const tn_env *env;
    bool failed, no_memory; /* the second implies the first */
    tn_ix_atom_rec *atom;   /* index 0 unused */
    uint32_t n_atom;
    size_t cap_atom;
    tn_ix_node *node; /* index 0 unused */
    uint32_t n_node;
    size_t cap_node;
    tn_ix_term *term;
    uint32_t n_term;
    size_t cap_term;
    uint32_t *slot; /* open addressing over node */
    uint32_t n_slot;
    tn_ix_answer *answer; /* open addressing */
    uint32_t n_answer, n_answer_slot;
};

void tn_ix_get(const tn_ix_pool *p, tn_ix a, tn_ix_poly *out);
tn_ix tn_ix_intern(tn_ix_pool *p, const tn_ix_poly *a);
tn_ix tn_ix_fail(tn_ix_pool *p);
/* dst += k * f * a; false when it gets too large. */
bool tn_ix_poly_add(tn_ix_poly *dst, const tn_ix_poly *a, int64_t k, const uint32_t f[TN_IX_FACTORS]);
uint32_t tn_ix_atom_new(tn_ix_pool *p, const tn_ix_atom_rec *a);
int64_t tn_ix_term_divisor(const tn_ix_pool *p, const tn_ix_term *t);
/* The largest value of a as expression over dims only, or none. */
tn_ix tn_ix_max(tn_ix_pool *p, tn_ix a);

/* False: not known yet. */
bool tn_ix_recall(const tn_ix_pool *p, tn_ix_question ask, tn_ix a, tn_ix b, uint32_t *is);
void tn_ix_remember(tn_ix_pool *p, tn_ix_question ask, tn_ix a, tn_ix b, uint32_t is);

int64_t tn_sat_add(int64_t a, int64_t b);

#endif
