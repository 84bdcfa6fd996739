/* narrow.h: an int32 value as 8-bit integers with something added: what is cast from such, perhaps minus a zero point, or a
 * constant.  The rules of products of integers see operands through this view. */
#ifndef TENON_PASS_NARROW_H
#define TENON_PASS_NARROW_H

#include "ir/ir.h"

typedef struct tn_narrow {
    tn_val v;    /* all of it */
    tn_val base; /* a cast of 8-bit integers, or a constant, behind transposes, reshapes and pads */
    tn_dtype t;  /* i8 or u8 */
    tn_val zero; /* int32, added to the base; none: nothing */
    bool minus;  /* it is subtracted */
    /* What is taken off a constant's numbers so that 8 bits hold them: the lowest of each index of an axis with `inner`
     * elements behind it; 0 of them: nothing. */
    size_t axis;
    int64_t lows, inner;
} tn_narrow;

/* False if v is none.  axis: along which a constant's zero points may differ.  Where something moves the base, what is added is
 * one number. */
bool tn_narrow_of(const tn_graph *g, tn_val v, size_t axis, tn_narrow *out);
/* Which of the 8-bit numbers stands for `value`, a whole number; false if none does, or only data tells. */
bool tn_narrow_fill(const tn_graph *g, const tn_narrow *b, double value, int64_t *fill);
/* Is something added? */
bool tn_narrow_shifted(const tn_narrow *b);
/* The 8-bit integers; turn, for a base that nothing moves: with the last two axes the other way round. */
tn_val tn_narrow_emit(tn_graph *g, const tn_narrow *b, bool turn);
/* What is added to them: int32 that broadcasts to v, one number of rank 0. */
tn_val tn_narrow_shift(tn_graph *g, const tn_narrow *b);
bool tn_is_one_number(const tn_graph *g, tn_val v);

#endif
