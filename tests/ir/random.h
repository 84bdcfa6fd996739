/* random.h: reproducible random numbers and elements for the tests of passes. */
#ifndef TENON_TESTS_RANDOM_H
#define TENON_TESTS_RANDOM_H

#include "ir/eval/eval.h"

typedef struct tn_random {
    uint64_t state;
} tn_random;

uint64_t tn_random_bits(tn_random *r);
uint32_t tn_pick(tn_random *r, uint32_t n); /* 0 .. n - 1 */
bool tn_chance(tn_random *r, uint32_t percent);

/* What elements are drawn from. */
typedef enum tn_flavour {
    TN_TAME,    /* small numbers, many of them equal */
    TN_MIXED,   /* some of them special */
    TN_SPECIAL, /* zeros of both signs, infinities, NaN, extremes, subnormals, wrap-around values */
    TN_ANY_BITS,
    TN_INFINITE, /* small numbers, zeros of both signs, infinities and NaN */
    TN_FLAVOURS
} tn_flavour;

void tn_random_element(tn_random *r, tn_flavour flavour, tn_dtype t, void *data, uint64_t i);
void tn_random_fill(tn_random *r, tn_flavour flavour, tn_tensor *t);
/* A constant of this shape; every element the same if `splat`. */
tn_val tn_random_const(tn_random *r, tn_graph *g, tn_flavour flavour, tn_dtype t, size_t rank, const int64_t *dims,
                       bool splat);

#endif
