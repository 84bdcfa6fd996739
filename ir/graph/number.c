/* number.c: one element of any dtype as a double, an int64 or its bits.
 *
 * Floats round to nearest, ties to even, straight from the double (no rounding twice).  What exceeds the range becomes
 * infinity, NaN in a format without infinity, the largest number in one without NaN.  Of two powers of two (f8e8m0) ties
 * go to the larger; what is below the smallest, zero and negative numbers with it, becomes the smallest.  Floats become
 * integers by tn_float_to_int; integers become narrower ones by dropping high bits.  Elements of 2 and 4 bits are packed,
 * the low bits of a byte first. */
#include <math.h>
#include <string.h>

#include "ir/internal.h"
#include "tenon/internal/float.h"

/* Of a format of at most 16 bits: the codes of the largest number, of what lies beyond it, and of NaN; where NaN is what
 * -0 would be, it has the sign's bit. */
typedef struct codes {
    uint32_t max, over, nan;
} codes;

static codes codes_of(const tn_float_format *f) {
    const uint32_t all = (1u << (f->exp_bits + f->man_bits)) - 1, inf = all >> f->man_bits << f->man_bits;
    switch (f->specials) {
    case TN_FLOAT_ONE_NAN:
    case TN_FLOAT_SCALE: return (codes){all - 1, all, all};
    case TN_FLOAT_NUZ: return (codes){all, all + 1, all + 1};
    case TN_FLOAT_FINITE: return (codes){all, all, all + 1};
    default: return (codes){inf - 1, inf, inf | ((1u << f->man_bits) >> 1)};
    }
}

static uint32_t encode_scale(const tn_float_format *f, double v) {
    int exp = 0;
    if (isnan(v)) return codes_of(f).nan;
    if (v <= ldexp(1, -f->bias)) return 0;
    if (v >= f->largest) return codes_of(f).max;
    const double part = frexp(v, &exp); /* v = part * 2^exp, 0.5 <= part < 1 */
    return (uint32_t)(exp - 1 + f->bias + (part >= 0.75));
}

static uint32_t encode(const tn_float_format *f, double v) {
    uint64_t bits = 0;
    if (f->specials == TN_FLOAT_SCALE) return encode_scale(f, v);
    memcpy(&bits, &v, sizeof bits);
    const codes c = codes_of(f);
    const int bias = f->bias, exp = (int)(bits >> 52 & 0x7ff) - 1023;
    uint32_t sign = (uint32_t)(bits >> 63) << (f->exp_bits + f->man_bits), code = 0;
    uint64_t man = (bits & 0xfffffffffffffu) | (uint64_t)1 << 52;
    if (v != v) return sign | c.nan;
    if (exp > bias + 1) return sign | c.over;
    int shift = 52 - f->man_bits + (exp < 1 - bias ? 1 - bias - exp : 0);
    if (exp > -1023 && shift < 54) { /* not zero, nor far below the format's numbers */
        uint64_t rest = man & (((uint64_t)1 << shift) - 1), half = (uint64_t)1 << (shift - 1);
        man >>= shift;
        man += rest > half || (rest == half && (man & 1));
        /* The leading one of man, or a carry out of it, counts up the exponent field. */
        code = (uint32_t)man + (exp < 1 - bias ? 0 : (uint32_t)(exp + bias - 1) << f->man_bits);
    }
    if (code > c.max) code = c.over;
    return code || f->specials != TN_FLOAT_NUZ ? sign | code : 0;
}

static double decode(const tn_float_format *f, uint32_t code) {
    const int places = f->exp_bits + f->man_bits;
    const codes c = codes_of(f);
    if (f->specials == TN_FLOAT_SCALE) return code == c.nan ? (double)NAN : ldexp(1, (int)code - f->bias);
    uint32_t magnitude = code & ((1u << places) - 1), exp = magnitude >> f->man_bits;
    uint64_t man = magnitude & ((1u << f->man_bits) - 1), sign = code >> places & 1, bits = 0;
    if (f->specials == TN_FLOAT_NUZ && code == c.nan) return (double)NAN;
    if (magnitude > c.max) {
        double special = f->specials == TN_FLOAT_INF && man == 0 ? (double)INFINITY : (double)NAN;
        return sign ? -special : special;
    }
    if (exp == 0) {
        double v = ldexp((double)man, 1 - f->bias - f->man_bits);
        return sign ? -v : v;
    }
    bits = sign << 63 | (uint64_t)((int64_t)exp - f->bias + 1023) << 52 | man << (52 - f->man_bits);
    double v = 0;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* ---- elements of less than a byte -------------------------------------------------------------------------------- */

static unsigned part(unsigned bits, const void *data, uint64_t i) {
    const unsigned each = 8 / bits;
    return (unsigned)((const uint8_t *)data)[i / each] >> (i % each * bits) & ((1u << bits) - 1);
}

static void set_part(unsigned bits, void *data, uint64_t i, uint64_t v) {
    const unsigned each = 8 / bits, shift = (unsigned)(i % each) * bits, mask = (1u << bits) - 1;
    uint8_t *p = (uint8_t *)data + i / each;
    *p = (uint8_t)((*p & ~(mask << shift)) | ((unsigned)(v & mask) << shift));
}

uint64_t tn_load_bits(tn_dtype t, const void *data, uint64_t i) {
    const unsigned bits = tn_dtype_bits(t);
    uint64_t v = 0;
    if (bits && bits < 8) return part(bits, data, i);
    memcpy(&v, (const char *)data + i * (bits / 8), bits / 8); /* little-endian */
    return v;
}

void tn_store_bits(tn_dtype t, void *data, uint64_t i, uint64_t v) {
    const unsigned bits = tn_dtype_bits(t);
    if (bits && bits < 8)
        set_part(bits, data, i, v);
    else
        memcpy((char *)data + i * (bits / 8), &v, bits / 8);
}

/* ---- elements ---------------------------------------------------------------------------------------------------- */

#define LOAD(T, name)                                                                                                  \
    T name;                                                                                                            \
    memcpy(&name, (const char *)data + i * sizeof name, sizeof name)
#define STORE(T, value)                                                                                                \
    do {                                                                                                               \
        T stored = (T)(value);                                                                                         \
        memcpy((char *)data + i * sizeof stored, &stored, sizeof stored);                                              \
    } while (0)

double tn_load_num(tn_dtype t, const void *data, uint64_t i) {
    switch (t) {
    case TN_F64: {
        LOAD(double, v);
        return v;
    }
    case TN_F32: {
        LOAD(float, v);
        return (double)v;
    }
    case TN_U64: {
        LOAD(uint64_t, v);
        return (double)v;
    }
    default:
        if (tn_dtype_is_float(t)) return decode(tn_float_format_of(t), (uint32_t)tn_load_bits(t, data, i));
        return (double)tn_load_int(t, data, i);
    }
}

int64_t tn_load_int(tn_dtype t, const void *data, uint64_t i) {
    switch (t) {
    case TN_I64:
    case TN_U64: {
        LOAD(int64_t, v);
        return v;
    }
    case TN_I32: {
        LOAD(int32_t, v);
        return v;
    }
    case TN_I16: {
        LOAD(int16_t, v);
        return v;
    }
    case TN_I8: {
        LOAD(int8_t, v);
        return v;
    }
    case TN_U32: {
        LOAD(uint32_t, v);
        return v;
    }
    case TN_U16: {
        LOAD(uint16_t, v);
        return v;
    }
    case TN_U8: {
        LOAD(uint8_t, v);
        return v;
    }
    case TN_BOOL: {
        LOAD(uint8_t, v);
        return v != 0;
    }
    case TN_I4: return (int64_t)(part(4, data, i) ^ 8u) - 8;
    case TN_I2: return (int64_t)(part(2, data, i) ^ 2u) - 2;
    case TN_U4:
    case TN_U2: return (int64_t)part(tn_dtype_bits(t), data, i);
    case TN_DTYPE_NONE:
    case TN_DTYPE_COUNT: return 0;
    default: return tn_float_to_int(tn_load_num(t, data, i), false);
    }
}

void tn_store_num(tn_dtype t, void *data, uint64_t i, double v) {
    switch (t) {
    case TN_F64: STORE(double, v); break;
    case TN_F32: STORE(float, v); break;
    case TN_BOOL: STORE(uint8_t, v != 0); break;
    case TN_DTYPE_NONE:
    case TN_DTYPE_COUNT: break;
    default:
        if (tn_dtype_is_float(t))
            tn_store_bits(t, data, i, encode(tn_float_format_of(t), v));
        else
            tn_store_int(t, data, i, tn_float_to_int(v, tn_dtype_is_unsigned(t)));
    }
}

void tn_store_int(tn_dtype t, void *data, uint64_t i, int64_t v) {
    switch (t) {
    case TN_I64:
    case TN_U64: STORE(int64_t, v); break;
    case TN_I32:
    case TN_U32: STORE(uint32_t, (uint64_t)v & UINT32_MAX); break;
    case TN_I16:
    case TN_U16: STORE(uint16_t, (uint64_t)v & UINT16_MAX); break;
    case TN_I8:
    case TN_U8: STORE(uint8_t, (uint64_t)v & UINT8_MAX); break;
    case TN_I4:
    case TN_U4:
    case TN_I2:
    case TN_U2: set_part(tn_dtype_bits(t), data, i, (uint64_t)v); break;
    case TN_BOOL: STORE(uint8_t, v != 0); break;
    case TN_F32: STORE(float, v); break; /* straight: a double between would round twice */
    default: tn_store_num(t, data, i, (double)v);
    }
}
