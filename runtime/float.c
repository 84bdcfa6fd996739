/* float.c: the formats of the float dtypes (float.h). */
#include "tenon/internal/float.h"

static const tn_float_format formats[TN_DTYPE_COUNT] = {
    [TN_F64] = {11, 52, 1023, TN_FLOAT_INF, 0x1.fffffffffffffp1023},
    [TN_F32] = {8, 23, 127, TN_FLOAT_INF, 0x1.fffffep127},
    [TN_F16] = {5, 10, 15, TN_FLOAT_INF, 65504},
    [TN_BF16] = {8, 7, 127, TN_FLOAT_INF, 0x1.fep127},
    [TN_F8E4M3] = {4, 3, 7, TN_FLOAT_ONE_NAN, 448},
    [TN_F8E5M2] = {5, 2, 15, TN_FLOAT_INF, 57344},
    [TN_F8E4M3FNUZ] = {4, 3, 8, TN_FLOAT_NUZ, 240},
    [TN_F8E5M2FNUZ] = {5, 2, 16, TN_FLOAT_NUZ, 57344},
    [TN_F8E8M0] = {8, 0, 127, TN_FLOAT_SCALE, 0x1p127},
    [TN_F4E2M1] = {2, 1, 1, TN_FLOAT_FINITE, 6},
};

const tn_float_format *tn_float_format_of(tn_dtype t) {
    return (unsigned)t < TN_DTYPE_COUNT && formats[t].exp_bits ? &formats[t] : NULL;
}

/* The exponent of the smallest number. */
static int least_exponent(const tn_float_format *f) {
    return (f->specials == TN_FLOAT_SCALE ? 0 : 1) - f->bias - f->man_bits;
}

static bool has_negative_zero(const tn_float_format *f) {
    return f->specials != TN_FLOAT_NUZ && f->specials != TN_FLOAT_SCALE;
}

static bool holds_float(const tn_float_format *to, const tn_float_format *from) {
    return to->specials != TN_FLOAT_SCALE && to->man_bits >= from->man_bits && to->largest >= from->largest &&
           least_exponent(to) <= least_exponent(from) && (has_negative_zero(to) || !has_negative_zero(from)) &&
           (to->specials == TN_FLOAT_INF || from->specials != TN_FLOAT_INF) &&
           (to->specials != TN_FLOAT_FINITE || from->specials == TN_FLOAT_FINITE);
}

/* Bits of the magnitude of an integer or bool. */
static int magnitude_bits(tn_dtype t) {
    if (t == TN_BOOL) return 1;
    return (int)tn_dtype_bits(t) - (tn_dtype_is_unsigned(t) ? 0 : 1);
}

bool tn_dtype_holds(tn_dtype to, tn_dtype from) {
    const tn_float_format *f = tn_float_format_of(to), *n = tn_float_format_of(from);
    if (to == from || (f && n)) return to == from || holds_float(f, n);
    if (n || to == TN_BOOL) return false;
    const int bits = magnitude_bits(from);
    if (f)
        return f->specials != TN_FLOAT_SCALE && bits <= f->man_bits + 1 && f->largest >= (double)(UINT64_C(1) << bits);
    const bool has_sign = from != TN_BOOL && !tn_dtype_is_unsigned(from);
    return bits <= magnitude_bits(to) && (!has_sign || !tn_dtype_is_unsigned(to));
}
