/* float.h: the formats of the float dtypes, one row each, and which dtypes hold the numbers of which.  Not installed. */
#ifndef TENON_INTERNAL_FLOAT_H
#define TENON_INTERNAL_FLOAT_H

#include "tenon/base.h"

typedef enum tn_specials {
    TN_FLOAT_INF,     /* as IEEE 754 has it: an exponent of ones is infinity or NaN */
    TN_FLOAT_ONE_NAN, /* no infinity; all ones are NaN */
    TN_FLOAT_NUZ,     /* no infinity and no -0, where NaN stands */
    TN_FLOAT_FINITE,  /* no NaN either */
    TN_FLOAT_SCALE    /* powers of two without sign and zero; all ones are NaN */
} tn_specials;

typedef struct tn_float_format {
    int exp_bits, man_bits, bias;
    tn_specials specials;
    double largest;
} tn_float_format;

/* NULL for what is no float. */
const tn_float_format *tn_float_format_of(tn_dtype t);
/* Every value of `from` is one of `to`: casts there and back change nothing. */
bool tn_dtype_holds(tn_dtype to, tn_dtype from);

#endif
