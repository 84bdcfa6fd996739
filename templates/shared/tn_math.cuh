// tn_math.cuh: the functions that formulas.def uses, for float and double, and for integers what C leaves undefined.
// Floats give NaN for NaN; integers wrap; x / 0 is 0, which the emulator reports.
#pragma once
#include "tn_device.cuh"

TN_DEV float tn_max(float a, float b) { return tn_max_nan(a, b); }
TN_DEV float tn_min(float a, float b) { return tn_min_nan(a, b); }
TN_DEV double tn_max(double a, double b) { return a != a || a > b ? a : b; }
TN_DEV double tn_min(double a, double b) { return a != a || a < b ? a : b; }
template <typename T> TN_DEV T tn_max(T a, T b) { return a > b ? a : b; }
template <typename T> TN_DEV T tn_min(T a, T b) { return a < b ? a : b; }

#define TN_MATH(name, f32, f64)                                                                                        \
    TN_DEV float tn_##name(float x) { return f32; }                                                                    \
    TN_DEV double tn_##name(double x) { return f64; }
TN_MATH(abs, fabsf(x), fabs(x))
TN_MATH(sign, x != x ? x : (float)((x > 0) - (x < 0)), x != x ? x : (double)((x > 0) - (x < 0)))
TN_MATH(floor, floorf(x), floor(x))
TN_MATH(ceil, ceilf(x), ceil(x))
TN_MATH(round, rintf(x), rint(x))
TN_MATH(sqrt, sqrtf(x), sqrt(x))
TN_MATH(rsqrt, 1.0f / sqrtf(x), 1.0 / sqrt(x))
TN_MATH(exp, expf(x), exp(x))
TN_MATH(expm1, expm1f(x), expm1(x))
TN_MATH(log, logf(x), log(x))
TN_MATH(sin, sinf(x), sin(x))
TN_MATH(cos, cosf(x), cos(x))
TN_MATH(tan, tanf(x), tan(x))
TN_MATH(asin, asinf(x), asin(x))
TN_MATH(acos, acosf(x), acos(x))
TN_MATH(atan, atanf(x), atan(x))
TN_MATH(sinh, sinhf(x), sinh(x))
TN_MATH(cosh, coshf(x), cosh(x))
TN_MATH(tanh, tanhf(x), tanh(x))
TN_MATH(asinh, asinhf(x), asinh(x))
TN_MATH(acosh, acoshf(x), acosh(x))
TN_MATH(atanh, atanhf(x), atanh(x))
TN_MATH(erf, erff(x), erf(x))
TN_MATH(sigmoid, 1.0f / (1.0f + expf(-x)), 1.0 / (1.0 + exp(-x)))
TN_MATH(softplus, (x > 0 ? x : 0.0f) + log1pf(expf(-fabsf(x))), (x > 0 ? x : 0.0) + log1p(exp(-fabs(x))))
TN_MATH(gelu, 0.5f * x * (1.0f + erff(x * 0.70710678f)), 0.5 * x * erfc(-x * 0.70710678118654752))
TN_MATH(gelu_tanh, 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x))),
        0.5 * x * (1.0 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))))
#undef TN_MATH

// ---- results that are rounded to 16 bits --------------------------------------------------------------------------------

// To 22 bits, subnormal results 0: one instruction each.
TN_DEV float tn_ex2(float x) {
#ifdef TN_HOST
    return exp2f(x);
#else
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}
TN_DEV float tn_rcp(float x) {
#ifdef TN_HOST
    return 1.0f / x;
#else
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

TN_DEV float tn_rsqrt22(float x) {
#ifdef TN_HOST
    return 1.0f / sqrtf(x);
#else
    float y;
    asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

// 2^-12 of the result, or of the smallest f16, off at most.  GELU is max(x, 0) - |x| P(|x|), P(x) the normal distribution's
// upper tail (or what the tanh form has for it), whose base-2 logarithm is nearly a polynomial: the coefficients are
// minimax for the error in units of f16's last place, up to where the result is less than half of its smallest number.
TN_DEV float tn_exp16(float x) { return tn_ex2(1.44269504f * x); }
TN_DEV float tn_sigmoid16(float x) { return tn_rcp(1.0f + tn_ex2(-1.44269504f * x)); }
TN_DEV float tn_silu16(float x) { return x * tn_sigmoid16(x); }
TN_DEV float tn_gelu16(float x) {
    const float t = fminf(fabsf(x), 5.9f);
    float p = fmaf(t, 3.29800703e-5f, -7.54988928e-4f);
    p = fmaf(t, fmaf(t, fmaf(t, p, 7.9723705e-3f), -5.31158299e-2f), -0.459106546f);
    return fmaf(-t, tn_ex2(fmaf(t, fmaf(t, p, -1.15106271f), -1.00000619f)), tn_max(x, 0.0f));
}
TN_DEV float tn_gelu_tanh16(float x) {
    const float t = fminf(fabsf(x), 5.5f);
    float p = fmaf(t, 4.02642678e-4f, -5.25683574e-3f);
    p = fmaf(t, fmaf(t, fmaf(t, p, 1.83757849e-2f), -5.99518955e-2f), -0.458155199f);
    return fmaf(-t, tn_ex2(fmaf(t, fmaf(t, p, -1.15007338f), -1.00014208f)), tn_max(x, 0.0f));
}

// Of pi x, |x| <= 1.
TN_DEV void tn_sincospi(float x, float &sine, float &cosine) {
#ifdef TN_HOST
    sine = (float)sin(3.14159265358979323846 * x);
    cosine = (float)cos(3.14159265358979323846 * x);
#else
    sincospif(x, &sine, &cosine);
#endif
}
TN_DEV void tn_sincospi(double x, double &sine, double &cosine) {
#ifdef TN_HOST
    sine = sin(3.14159265358979323846 * x);
    cosine = cos(3.14159265358979323846 * x);
#else
    sincospi(x, &sine, &cosine);
#endif
}

TN_DEV float tn_fmod(float a, float b) { return fmodf(a, b); }
TN_DEV double tn_fmod(double a, double b) { return fmod(a, b); }
TN_DEV float tn_pow(float a, float b) { return powf(a, b); }
TN_DEV double tn_pow(double a, double b) { return pow(a, b); }
TN_DEV float tn_mod(float a, float b) {
    const float m = fmodf(a, b);
    return m != 0 && (m < 0) != (b < 0) ? m + b : m;
}
TN_DEV double tn_mod(double a, double b) {
    const double m = fmod(a, b);
    return m != 0 && (m < 0) != (b < 0) ? m + b : m;
}

// ---- integers ---------------------------------------------------------------------------------------------------------

#define TN_IS_SIGNED(T) ((T)-1 < (T)0)
template <typename T> TN_DEV T tn_neg(T x) { return tn_sub((T)0, x); }
template <typename T> TN_DEV T tn_abs(T x) { return TN_IS_SIGNED(T) && x < (T)0 ? tn_neg(x) : x; }
template <typename T> TN_DEV T tn_sign(T x) { return (T)((x > (T)0) - (TN_IS_SIGNED(T) && x < (T)0)); }
template <typename T> TN_DEV bool tn_is_zero_divisor(T b) {
#ifdef TN_HOST
    if (b == (T)0) tn_emu->misuse(tn_emu_self, "an integer is divided by zero");
#endif
    return b == (T)0;
}
template <typename T> TN_DEV T tn_div(T a, T b) {
    if (tn_is_zero_divisor(b)) return (T)0;
    if (TN_IS_SIGNED(T) && b == (T)-1) return tn_neg(a);
    return (T)(a / b);
}
template <typename T> TN_DEV T tn_fmod(T a, T b) {
    if (tn_is_zero_divisor(b) || (TN_IS_SIGNED(T) && b == (T)-1)) return (T)0;
    return (T)(a % b);
}
template <typename T> TN_DEV T tn_mod(T a, T b) {
    const T m = tn_fmod(a, b);
    return TN_IS_SIGNED(T) && m != (T)0 && (m < (T)0) != (b < (T)0) ? (T)(m + b) : m;
}
template <typename T> TN_DEV T tn_pow(T x, T e) {
    if (TN_IS_SIGNED(T) && e < (T)0) return x == (T)1 ? (T)1 : x == (T)-1 ? (e % 2 ? (T)-1 : (T)1) : (T)0;
    unsigned long long y = 1, base = (unsigned long long)x, n = (unsigned long long)e;
    for (; n; n >>= 1, base *= base)
        if (n & 1) y *= base;
    return (T)y;
}
template <typename T> TN_DEV T tn_shl(T x, T n) {
    return n < (T)0 || n > (T)63 ? (T)0 : (T)((unsigned long long)x << (int)n);
}
template <typename T> TN_DEV T tn_shr(T x, T n) {
    if (TN_IS_SIGNED(T)) return (T)((long long)x >> (n < (T)0 || n > (T)63 ? 63 : (int)n));
    return n > (T)63 ? (T)0 : (T)((unsigned long long)x >> (int)n);
}

// Floats to integers truncate, saturate at 64 bits (NaN gives 0) and then wrap.
TN_DEV long long tn_to_i64(double x) {
    if (x != x) return 0;
    if (x >= 9223372036854775808.0) return 9223372036854775807LL;
    if (x <= -9223372036854775808.0) return -9223372036854775807LL - 1;
    return (long long)x;
}
TN_DEV unsigned long long tn_to_u64(double x) {
    if (!(x > -9223372036854775808.0)) return x != x ? 0 : 9223372036854775808ULL;
    if (x >= 18446744073709551616.0) return 18446744073709551615ULL;
    return x < 0 ? (unsigned long long)(long long)x : (unsigned long long)x;
}
// The same for floats that are known to fit 31 bits or of which only the low bits matter.
TN_DEV long long tn_to_i64(float x) {
    if (x != x) return 0;
    if (x >= 9223372036854775808.0f) return 9223372036854775807LL;
    if (x <= -9223372036854775808.0f) return -9223372036854775807LL - 1;
    return (long long)x;
}
TN_DEV unsigned long long tn_to_u64(float x) { return tn_to_u64((double)x); }
template <typename T> TN_DEV T tn_clamp_int(T x, double lo, double hi) {
    if (TN_IS_SIGNED(T)) {
        const long long v = (long long)x, l = tn_to_i64(ceil(lo)), h = tn_to_i64(floor(hi));
        return (T)(v < l ? l : v > h ? h : v);
    }
    const unsigned long long v = (unsigned long long)x, l = tn_to_u64(ceil(fmax(lo, 0.0))), h = tn_to_u64(floor(fmax(hi, 0.0)));
    return (T)(v < l ? l : v > h ? h : v);
}
// The low four or two bits.
TN_DEV signed char tn_wrap_i4(long long v) { return (signed char)((int)(v & 15) - ((v & 8) ? 16 : 0)); }
TN_DEV unsigned char tn_wrap_u4(long long v) { return (unsigned char)(v & 15); }
TN_DEV signed char tn_wrap_i2(long long v) { return (signed char)((int)(v & 3) - ((v & 2) ? 4 : 0)); }
TN_DEV unsigned char tn_wrap_u2(long long v) { return (unsigned char)(v & 3); }
// A value after a trip through a narrower float.
TN_DEV float tn_round_f16(float x) { return tn_half_to_float(tn_float_to_half(x)); }
TN_DEV float tn_round_bf16(float x) { return tn_bits_float((unsigned)tn_float_to_bf16(x) << 16); }
TN_DEV float tn_round_e4m3(float x) { return tn_e4m3_to_float(tn_float_to_e4m3(x)); }
TN_DEV float tn_round_e5m2(float x) { return tn_e5m2_to_float(tn_float_to_e5m2(x)); }
TN_DEV float tn_round_e4m3fnuz(float x) { return tn_e4m3fnuz_to_float(tn_float_to_e4m3fnuz(x)); }
TN_DEV float tn_round_e5m2fnuz(float x) { return tn_e5m2fnuz_to_float(tn_float_to_e5m2fnuz(x)); }
TN_DEV float tn_round_e8m0(float x) { return tn_e8m0_to_float(tn_float_to_e8m0(x)); }
TN_DEV float tn_round_e2m1(float x) { return tn_e2m1_to_float(tn_float_to_e2m1(x)); }
// A float that rounds to a narrower one as x itself does: cut off, with the last bit set if that was not exact.
TN_DEV float tn_to_odd(double x) {
    float f = (float)x;
    unsigned u = tn_float_bits(f);
    if (fabs((double)f) > fabs(x)) --u;
    return (double)f == x || x != x ? f : tn_bits_float(u | 1u);
}

// Philox 4x32 with ten rounds (Salmon and others, 2011), as ir/eval/elements/random.c has it: four words of a counter and a key.
struct tn_random_words { unsigned a, b, c, d; };
TN_DEV tn_random_words tn_philox(unsigned long long block, unsigned long long row, unsigned k0, unsigned k1) {
    tn_random_words x = {(unsigned)block, (unsigned)(block >> 32), (unsigned)row, (unsigned)(row >> 32)};
    TN_UNROLL
    for (int round = 0; round < 10; ++round, k0 += 0x9e3779b9u, k1 += 0xbb67ae85u) {
        const unsigned long long p = 0xd2511f53ull * x.a, q = 0xcd9e8d57ull * x.c;
        x = {(unsigned)(q >> 32) ^ x.b ^ k0, (unsigned)q, (unsigned)(p >> 32) ^ x.d ^ k1, (unsigned)p};
    }
    return x;
}
// Uniform in [0, 1): number k of four, or of two with 53 bits.
TN_DEV float tn_random_f32(tn_random_words x, long long k) {
    const unsigned w = k & 2 ? (k & 1 ? x.d : x.c) : k & 1 ? x.b : x.a;
    return (float)(int)(w >> 8) * 5.9604644775390625e-8f;
}
TN_DEV double tn_random_f64(tn_random_words x, long long k) {
    return ((double)((k ? x.c : x.a) >> 5) * 67108864.0 + (double)((k ? x.d : x.b) >> 6)) * 1.1102230246251565e-16;
}

// Indices that pads and resizes compute.
template <typename I> TN_DEV I tn_edge(I i, I n) { return i < 0 ? 0 : i >= n ? n - 1 : i; }
template <typename I> TN_DEV I tn_wrap(I i, I n) { // of no elements nothing is read, yet the index may be computed
    const I m = n > 0 ? i % n : 0;
    return m < 0 ? m + n : m;
}
template <typename I> TN_DEV I tn_reflect(I i, I n) { // mirrored at the first and last element, which are not repeated
    if (n == 1) return 0;
    const I m = tn_wrap(i, 2 * (n - 1));
    return m < n ? m : 2 * (n - 1) - m;
}

// ---- resize: the coordinate that output element o samples, and the interpolation kernel ------------------------------------
// n_in: elements of the input axis; scale: output / input.

template <typename F> TN_DEV F tn_resize_asymmetric(F o, F scale) { return o / scale; }
template <typename F> TN_DEV F tn_resize_half_pixel(F o, F scale) { return (o + (F)0.5) / scale - (F)0.5; }
template <typename F> TN_DEV F tn_resize_symmetric(F o, F scale, F n_in, F n_out) {
    return (o + (F)0.5) / scale - (F)0.5 + n_in / 2 * (1 - n_out / (n_in * scale));
}
template <typename F> TN_DEV F tn_resize_pytorch(F o, F scale, F n_in) {
    return n_in * scale == 1 ? (F)-0.5 : (o + (F)0.5) / scale - (F)0.5;
}
template <typename F> TN_DEV F tn_resize_align_corners(F o, F scale, F n_in) {
    return n_in * scale == 1 ? (F)0 : o * (n_in - 1) / (n_in * scale - 1);
}
template <typename F> TN_DEV F tn_resize_crop(F o, F scale, F n_in, F start, F end) {
    const F span = (end - start) * (n_in - 1);
    return start * (n_in - 1) + (n_in * scale == 1 ? span / 2 : o * span / (n_in * scale - 1));
}
template <typename F> TN_DEV F tn_nearest_floor(F x) { return tn_floor(x); }
template <typename F> TN_DEV F tn_nearest_ceil(F x) { return tn_ceil(x); }
template <typename F> TN_DEV F tn_nearest_prefer_floor(F x) { return tn_ceil(x - (F)0.5); }
template <typename F> TN_DEV F tn_nearest_prefer_ceil(F x) { return tn_floor(x + (F)0.5); }
template <typename I, typename F> TN_DEV I tn_resize_index(F x, I n) { // to the nearest element that is there
    return x <= 0 ? (I)0 : x >= (F)(n - 1) ? n - 1 : (I)x;
}
// What an element at distance d weighs: a triangle, or Keys' cubic convolution with parameter a.
template <typename F> TN_DEV F tn_linear_weight(F d) {
    d = 1 - tn_abs(d);
    return d < 0 ? 0 : d;
}
template <typename F> TN_DEV F tn_cubic_weight(F d, F a) {
    d = tn_abs(d);
    if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
    return d >= 2 ? 0 : ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
}
// What weighs nothing does not count, whatever it is: which neighbour has weight 0 at a whole coordinate is arbitrary.
template <typename F> TN_DEV F tn_tap(F weight, F x) { return weight == 0 ? 0 : weight * x; }

// ---- grid_sample: a coordinate of -1..1 on an axis of n elements ------------------------------------------------------------

enum tn_padding { TN_PAD_ZEROS, TN_PAD_BORDER, TN_PAD_REFLECTION };

template <typename F> TN_DEV F tn_grid_reflect(F x, F lo, F hi) { // mirrored at lo and hi as often as it takes
    if (x >= lo && x <= hi) return x;
    const F span = hi - lo, d = x < lo ? lo - x : x - hi;
    if (!(span > 0)) return lo;
    const F turns = tn_floor(d / span), rest = d - turns * span;
    const bool odd = turns - 2 * tn_floor(turns / 2) != 0;
    return (x < lo) != odd ? lo + rest : hi - rest;
}
template <bool ELEMENTS, bool ALIGN, tn_padding PAD, typename F> TN_DEV F tn_grid_coordinate(F g, F n) {
    const F x = ELEMENTS ? g : ALIGN ? (g + 1) / 2 * (n - 1) : ((g + 1) * n - 1) / 2;
    if (PAD == TN_PAD_REFLECTION) return x;
    return x < -3 ? -3 : x > n + 2 ? n + 2 : x; // beyond that all taps are the same: keeps infinity out of the weights
}
template <typename F, typename I> TN_DEV bool tn_grid_inside(F at, I n) { return at >= 0 && at <= (F)(n - 1); }
// The element that stands at a whole coordinate; never outside the axis.
template <bool ALIGN, tn_padding PAD, typename I, typename F> TN_DEV I tn_grid_index(F at, I n) {
    if (PAD == TN_PAD_REFLECTION) at = tn_grid_reflect(at, ALIGN ? (F)0 : (F)-0.5, (F)n - (ALIGN ? (F)1 : (F)0.5));
    return !(at > 0) ? (I)0 : at >= (F)(n - 1) ? n - 1 : (I)at;
}
