/* number.c: one element of any dtype as a double or an int64.
 *
 * Floats round to nearest, ties to even, straight from the double (no rounding twice).  What exceeds the range becomes
 * infinity, or NaN in f8e4m3, which has no infinity (ONNX float8e4m3fn).  Floats become integers by tn_float_to_int;
 * integers become narrower ones by dropping high bits.  4-bit elements are packed two a byte, low nibble first. */
#include <math.h>
#include <string.h>

#include "ir/internal.h"

/* A float format of at most 16 bits. */
typedef struct small_float {
    int exp_bits, man_bits;
    uint32_t max;  /* code of the largest finite number */
    uint32_t over; /* code of what lies beyond it */
    uint32_t nan;
    bool has_inf;
} small_float;

static const small_float formats[TN_DTYPE_COUNT] = {
    [TN_F16] = {5, 10, 0x7bff, 0x7c00, 0x7e00, true},
    [TN_BF16] = {8, 7, 0x7f7f, 0x7f80, 0x7fc0, true},
    [TN_F8E4M3] = {4, 3, 0x7e, 0x7f, 0x7f, false},
    [TN_F8E5M2] = {5, 2, 0x7b, 0x7c, 0x7e, true},
};

static uint32_t encode(const small_float *f, double v) {
    uint64_t bits = 0;
    memcpy(&bits, &v, sizeof bits);
    int bias = (1 << (f->exp_bits - 1)) - 1, exp = (int)(bits >> 52 & 0x7ff) - 1023;
    uint32_t sign = (uint32_t)(bits >> 63) << (f->exp_bits + f->man_bits), code = 0;
    uint64_t man = (bits & 0xfffffffffffffu) | (uint64_t)1 << 52;
    if (v != v) return sign | f->nan;
    if (exp > bias + 1) return sign | f->over;
    if (exp == -1023) return sign; /* zero, or a subnormal double, which is far below all these formats */
    int shift = 52 - f->man_bits + (exp < 1 - bias ? 1 - bias - exp : 0);
    if (shift >= 54) return sign;
    uint64_t rest = man & (((uint64_t)1 << shift) - 1), half = (uint64_t)1 << (shift - 1);
    man >>= shift;
    man += rest > half || (rest == half && (man & 1));
    /* The leading one of man, or a carry out of it, counts up the exponent field. */
    code = (uint32_t)man + (exp < 1 - bias ? 0 : (uint32_t)(exp + bias - 1) << f->man_bits);
    return sign | (code > f->max ? f->over : code);
}

static double decode(const small_float *f, uint32_t code) {
    int bias = (1 << (f->exp_bits - 1)) - 1;
    uint32_t magnitude = code & ((1u << (f->exp_bits + f->man_bits)) - 1), exp = magnitude >> f->man_bits;
    uint64_t man = magnitude & ((1u << f->man_bits) - 1), sign = code >> (f->exp_bits + f->man_bits) & 1, bits = 0;
    if (magnitude > f->max) {
        double special = f->has_inf && man == 0 ? (double)INFINITY : (double)NAN;
        return sign ? -special : special;
    }
    if (exp == 0) {
        double v = ldexp((double)man, 1 - bias - f->man_bits);
        return sign ? -v : v;
    }
    bits = sign << 63 | (uint64_t)((int64_t)exp - bias + 1023) << 52 | man << (52 - f->man_bits);
    double v = 0;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static unsigned nibble(const void *data, uint64_t i) {
    unsigned byte = ((const uint8_t *)data)[i / 2];
    return byte >> (i % 2 * 4) & 15u;
}

static void set_nibble(void *data, uint64_t i, unsigned v) {
    uint8_t *p = (uint8_t *)data + i / 2;
    unsigned shift = (unsigned)(i % 2) * 4;
    *p = (uint8_t)((*p & ~(15u << shift)) | ((v & 15u) << shift));
}

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
    case TN_F16:
    case TN_BF16: {
        LOAD(uint16_t, v);
        return decode(&formats[t], v);
    }
    case TN_F8E4M3:
    case TN_F8E5M2: {
        LOAD(uint8_t, v);
        return decode(&formats[t], v);
    }
    case TN_U64: {
        LOAD(uint64_t, v);
        return (double)v;
    }
    default: return (double)tn_load_int(t, data, i);
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
    case TN_I4: return (int64_t)(nibble(data, i) ^ 8u) - 8;
    case TN_U4: return (int64_t)nibble(data, i);
    case TN_DTYPE_NONE:
    case TN_DTYPE_COUNT: return 0;
    default: return tn_float_to_int(tn_load_num(t, data, i), false);
    }
}

void tn_store_num(tn_dtype t, void *data, uint64_t i, double v) {
    switch (t) {
    case TN_F64: STORE(double, v); break;
    case TN_F32: STORE(float, v); break;
    case TN_F16:
    case TN_BF16: STORE(uint16_t, encode(&formats[t], v)); break;
    case TN_F8E4M3:
    case TN_F8E5M2: STORE(uint8_t, encode(&formats[t], v)); break;
    case TN_BOOL: STORE(uint8_t, v != 0); break;
    case TN_DTYPE_NONE:
    case TN_DTYPE_COUNT: break;
    default: tn_store_int(t, data, i, tn_float_to_int(v, tn_dtype_is_unsigned(t)));
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
    case TN_U4: set_nibble(data, i, (unsigned)((uint64_t)v & 15u)); break;
    case TN_BOOL: STORE(uint8_t, v != 0); break;
    case TN_F32: STORE(float, v); break; /* straight: a double between would round twice */
    default: tn_store_num(t, data, i, (double)v);
    }
}
