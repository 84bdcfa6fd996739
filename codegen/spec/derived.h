/* derived.h: operands that cannot be drawn element by element. */
#ifndef TENON_CODEGEN_DERIVED_H
#define TENON_CODEGEN_DERIVED_H

#include "codegen/codegen.h"

/* A strided tensor on the host. */
typedef struct tn_drawn_from {
    tn_dtype dtype;
    uint32_t rank;
    const int64_t *dims, *strides;
    const void *data;
} tn_drawn_from;
/* Fills operand k, dense and of these dims, where it cannot be drawn element by element, but follows from the first
 * one; false: it can. */
bool tn_derives(const tn_spec *s, uint32_t k, const tn_drawn_from *first, const int64_t *dims, void *data,
                uint64_t seed);

/* The number of keys of which the argument says how many a query of attention sees (its operand `limit`), or which is the first of them
 * (`from`); none. */
tn_dim tn_drawn_keys(const tn_spec *s, tn_val arg, bool *first);

/* The operand is, perhaps moved, the sums by rows of a product's operand, and of squares (row_sums). */
bool tn_drawn_sums(const tn_spec *s, tn_val arg);

/* What floats of an operand are to be multiplied with, of so many elements along its last axis: less than 1 where a state is
 * fed back, so that rounding errors fade over the steps, as in networks that can be trained. */
double tn_drawn_scale(const tn_spec *s, const tn_spec_tensor *t, int64_t last);

/* The next number of a sequence (draw.c): xorshift64*, Vigna 2016. */
uint64_t tn_draw_bits(uint64_t *seed);

#endif
