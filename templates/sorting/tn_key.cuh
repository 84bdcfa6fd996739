// tn_key.cuh: values as unsigned keys of so many bytes, for top_k: the better, the larger.  A NaN is larger than every number;
// 0 and -0 are equal.
#pragma once
#include "tn_math.cuh"

typedef unsigned long long tn_key;

TN_DEV tn_key tn_key_bits(float v) {
    const unsigned u = tn_float_bits(v == 0 ? 0.0f : v);
    return v != v ? 0xffffffffu : u & 0x80000000u ? ~u : u | 0x80000000u;
}
TN_DEV tn_key tn_key_bits(double v) {
    const tn_key sign = 1ull << 63, u = (tn_key)tn_double_bits(v == 0 ? 0.0 : v);
    return v != v ? ~0ull : u & sign ? ~u : u | sign;
}
template <typename T> TN_DEV tn_key tn_key_bits(T v) { // integers
    return TN_IS_SIGNED(T) ? (tn_key)v ^ 1ull << (8 * sizeof(T) - 1) : (tn_key)v;
}
template <int BYTES, bool SMALLEST, typename T> TN_DEV tn_key tn_key_of(T v) {
    const tn_key all = ~0ull >> (64 - 8 * BYTES), k = tn_key_bits(v) & all;
    return SMALLEST ? all - k : k;
}

