// tn_device.cuh: the types and functions that every template may use.
//
// It includes nothing: NVRTC compiles it in a few milliseconds.  Templates hold no assembler: each PTX instruction is one
// small function, here, in tn_mma.cuh, tn_wgmma.cuh or tn_async.cuh, with two bodies: the instruction, and under TN_HOST
// what it means on the CPU (tn_emu.h).
#pragma once

#ifdef TN_HOST
#define TN_DEV static inline __attribute__((always_inline))
#define TN_MEMBER __attribute__((always_inline))
#define TN_UNROLL
#else
#define TN_DEV static __device__ __forceinline__
#define TN_MEMBER __device__ __forceinline__
#define TN_UNROLL _Pragma("unroll")
#endif

// An array in shared memory: TN_SHARED(float, tile, [32][33]).
#ifdef TN_HOST
#define TN_SHARED(type, name, ...)                                                                                     \
    typedef type tn_shared_##name __VA_ARGS__;                                                                         \
    tn_shared_##name &name = *(tn_shared_##name *)tn_emu->shared_variable(                                             \
        tn_emu_self, #name, __COUNTER__, sizeof(tn_shared_##name), alignof(tn_shared_##name))
#else
#define TN_SHARED(type, name, ...) __shared__ type name __VA_ARGS__
#endif

// The block's dynamic shared memory.
#ifdef TN_HOST
#define TN_DYNAMIC_SMEM(name) unsigned char *const name = (unsigned char *)tn_emu->shared_dynamic(tn_emu_self, 128)
#else
#define TN_DYNAMIC_SMEM(name) extern __shared__ __align__(128) unsigned char name[]
#endif

// ---- storage types ---------------------------------------------------------------------------------------------------

struct tn_half { unsigned short bits; };
struct tn_bf16 { unsigned short bits; };
struct tn_e4m3 { unsigned char bits; };
struct tn_e5m2 { unsigned char bits; };
struct tn_e4m3fnuz { unsigned char bits; };
struct tn_e5m2fnuz { unsigned char bits; };
struct tn_e8m0 { unsigned char bits; };
struct tn_bool { unsigned char bits; };
struct tn_i4x2 { unsigned char bits; }; // two signed 4-bit numbers, the first in the low nibble
struct tn_u4x2 { unsigned char bits; };

struct alignas(16) tn_bits16 { unsigned x, y, z, w; };
struct alignas(8) tn_bits8 { unsigned x, y; };

// The same as one access.
#ifdef TN_HOST
typedef unsigned __int128 tn_word16; // not a struct, whose copy some compilers take for one of bytes
typedef unsigned long long tn_word8;
#else
typedef tn_bits16 tn_word16;
typedef tn_bits8 tn_word8;
#endif

// ---- leaf functions: one instruction each ------------------------------------------------------------------------------

// Waits until the previous kernel of the stream has finished and its writes are seen, then lets the next one become resident.
// One that became resident any earlier would take room from the blocks of this kernel and of the one before it.
TN_DEV void TN_WAIT() {
#ifdef TN_HOST
    tn_emu->grid_wait(tn_emu_self);
#elif __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}

// Sizes that depend on data, computed by the kernel as the host computes others: rounding down, and 0 where 0 divides.
TN_DEV long long tn_size_mod(long long a, long long b) {
    const long long r = b ? a % b : 0;
    return r && (r < 0) != (b < 0) ? r + b : r;
}
TN_DEV long long tn_size_floordiv(long long a, long long b) { return b ? (a - tn_size_mod(a, b)) / b : 0; }
TN_DEV long long tn_size_ceildiv(long long a, long long b) { return tn_size_floordiv(a, b) + (tn_size_mod(a, b) != 0); }
TN_DEV long long tn_size_min(long long a, long long b) { return a < b ? a : b; }
TN_DEV long long tn_size_max(long long a, long long b) { return a > b ? a : b; }
TN_DEV long long tn_size_bcast(long long a, long long b) { return a == 1 ? b : a; }

TN_DEV float tn_bits_float(unsigned u) { return __uint_as_float(u); }
TN_DEV unsigned tn_float_bits(float f) { return __float_as_uint(f); }
TN_DEV unsigned long long tn_double_bits(double d) { return (unsigned long long)__double_as_longlong(d); }
TN_DEV double tn_bits_double(unsigned long long u) { return __longlong_as_double((long long)u); }

TN_DEV float tn_half_to_float(unsigned short h) {
#ifdef TN_HOST
    const unsigned sign = (unsigned)(h & 0x8000u) << 16, e = (h >> 10) & 31u, m = h & 1023u;
    if (e == 31) return tn_bits_float(m ? 0x7fffffffu : sign | 0x7f800000u);
    if (e) return tn_bits_float(sign | (e + 112) << 23 | m << 13);
    const float f = (float)m * 5.9604644775390625e-8f; // subnormal: steps of 2^-24
    return sign ? -f : f;
#else
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
    return f;
#endif
}
TN_DEV unsigned short tn_float_to_half(float f) {
#ifdef TN_HOST
    const unsigned u = tn_float_bits(f), sign = (u >> 16) & 0x8000u, a = u & 0x7fffffffu;
    if (a > 0x7f800000u) return 0x7fffu;
    if (a >= 0x477ff000u) return (unsigned short)(sign | 0x7c00u);
    if (a < 0x38800000u) return (unsigned short)(sign | (unsigned)(int)rintf(fabsf(f) * 16777216.0f));
    return (unsigned short)(sign | ((a + 0xfffu + ((a >> 13) & 1u) - (112u << 23)) >> 13));
#else
    unsigned short h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));
    return h;
#endif
}
TN_DEV unsigned short tn_float_to_bf16(float f) {
#ifdef TN_HOST
    const unsigned u = tn_float_bits(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) return 0x7fffu;
    return (unsigned short)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
#else
    unsigned short h;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(h) : "f"(f));
    return h;
#endif
}
// Two at a time: lo in the low half of the result.
TN_DEV unsigned tn_floats_to_half2(float lo, float hi) {
#ifdef TN_HOST
    return tn_float_to_half(lo) | (unsigned)tn_float_to_half(hi) << 16;
#else
    unsigned r;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
    return r;
#endif
}
TN_DEV unsigned tn_floats_to_bf16x2(float lo, float hi) {
#ifdef TN_HOST
    return tn_float_to_bf16(lo) | (unsigned)tn_float_to_bf16(hi) << 16;
#else
    unsigned r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
    return r;
#endif
}

// The larger and the smaller of two; NaN if one is NaN.
TN_DEV float tn_max_nan(float a, float b) {
#ifdef TN_HOST
    if (a != a || b != b) return tn_bits_float(0x7fffffffu);
    return a == b ? tn_bits_float(tn_float_bits(a) & tn_float_bits(b)) : a > b ? a : b; // +0 is above -0
#else
    float r;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
    return r;
#endif
}
TN_DEV float tn_min_nan(float a, float b) {
#ifdef TN_HOST
    if (a != a || b != b) return tn_bits_float(0x7fffffffu);
    return a == b ? tn_bits_float(tn_float_bits(a) | tn_float_bits(b)) : a < b ? a : b;
#else
    float r;
    asm("min.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
    return r;
#endif
}

// Loads through the read-only path: only for memory that no kernel writes (weights).
TN_DEV tn_bits16 tn_ldg16(const void *p) {
#ifdef TN_HOST
    return __builtin_bit_cast(tn_bits16, *(const tn_word16 *)p);
#else
    tn_bits16 v;
    asm("ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
    return v;
#endif
}
// 16 bytes of a weight that are asked for above TN_WAIT(), and once: ptxas moves loads through the read-only path below it.
TN_DEV tn_bits16 tn_ld_early16(const void *p) {
#ifdef TN_HOST
    return __builtin_bit_cast(tn_bits16, *(const tn_word16 *)p);
#else
    tn_bits16 v;
    asm volatile("ld.global.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
    return v;
#endif
}
TN_DEV tn_bits8 tn_ldg8(const void *p) {
#ifdef TN_HOST
    return __builtin_bit_cast(tn_bits8, *(const tn_word8 *)p);
#else
    tn_bits8 v;
    asm("ld.global.nc.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(p));
    return v;
#endif
}
TN_DEV unsigned tn_ldg4(const void *p) {
#ifdef TN_HOST
    return *(const unsigned *)p;
#else
    unsigned v;
    asm("ld.global.nc.u32 %0, [%1];" : "=r"(v) : "l"(p));
    return v;
#endif
}
TN_DEV unsigned short tn_ldg2(const void *p) {
#ifdef TN_HOST
    return *(const unsigned short *)p;
#else
    unsigned short v;
    asm("ld.global.nc.u16 %0, [%1];" : "=h"(v) : "l"(p));
    return v;
#endif
}
TN_DEV unsigned char tn_ldg1(const void *p) {
#ifdef TN_HOST
    return *(const unsigned char *)p;
#else
    unsigned v;
    asm("ld.global.nc.u8 %0, [%1];" : "=r"(v) : "l"(p));
    return (unsigned char)v;
#endif
}

// The whole warp takes part in these.
template <typename T> TN_DEV T tn_shuffle_xor(T v, int lanes) { return __shfl_xor_sync(0xffffffffu, v, lanes); }
template <typename T> TN_DEV T tn_shuffle_up(T v, int lanes) { return __shfl_up_sync(0xffffffffu, v, (unsigned)lanes); }
// The value of that lane, and of lane 31.
template <typename T> TN_DEV T tn_shuffle(T v, int lane) { return __shfl_sync(0xffffffffu, v, lane); }
template <typename T> TN_DEV T tn_shuffle_last(T v) { return tn_shuffle(v, 31); }

// ---- constants ------------------------------------------------------------------------------------------------------------

#define TN_INF tn_bits_float(0x7f800000u)
#define TN_NAN tn_bits_float(0x7fffffffu)

template <typename T> struct tn_limits;
#define TN_LIMITS(T, LO, HI)                                                                                           \
    template <> struct tn_limits<T> {                                                                                  \
        TN_DEV T lowest() { return (T)(LO); }                                                                          \
        TN_DEV T highest() { return (T)(HI); }                                                                         \
    };
TN_LIMITS(float, -TN_INF, TN_INF)
TN_LIMITS(double, -(double)TN_INF, (double)TN_INF)
TN_LIMITS(signed char, -128, 127)
TN_LIMITS(short, -32768, 32767)
TN_LIMITS(int, (-2147483647 - 1), 2147483647)
TN_LIMITS(long long, (-9223372036854775807LL - 1), 9223372036854775807LL)
TN_LIMITS(unsigned char, 0, 255)
TN_LIMITS(unsigned short, 0, 65535)
TN_LIMITS(unsigned, 0, 4294967295u)
TN_LIMITS(unsigned long long, 0, 18446744073709551615ULL)
TN_LIMITS(bool, 0, 1)

// ---- storage <-> register -------------------------------------------------------------------------------------------------

TN_DEV float tn_e4m3_to_float(unsigned char b) {
    if ((b & 0x7f) == 0x7f) return TN_NAN;
    const float f = tn_half_to_float((unsigned short)((b & 0x7f) << 7)) * 256.0f;
    return (b & 0x80) ? -f : f;
}
TN_DEV unsigned char tn_float_to_e4m3(float f) { // to nearest even; NaN beyond 448
    const unsigned sign = (tn_float_bits(f) >> 24) & 0x80u, u = tn_float_bits(f) & 0x7fffffffu;
    if (u > 0x7f800000u) return (unsigned char)(sign | 0x7fu);
    const float a = tn_bits_float(u);
    unsigned code;
    if (a < 0.015625f) code = (unsigned)(int)rintf(a * 512.0f); // subnormal: steps of 2^-9
    else code = ((u + 0x7ffffu + ((u >> 20) & 1u)) >> 20) - (120u << 3);
    if (a > 464.0f || code > 0x7eu) code = 0x7fu;
    return (unsigned char)(sign | code);
}
TN_DEV float tn_e5m2_to_float(unsigned char b) { return tn_half_to_float((unsigned short)(b << 8)); }
TN_DEV unsigned char tn_float_to_e5m2(float f) { // to nearest even; infinity beyond 57344
    const unsigned sign = (tn_float_bits(f) >> 24) & 0x80u, u = tn_float_bits(f) & 0x7fffffffu;
    if (u > 0x7f800000u) return (unsigned char)(sign | 0x7fu);
    const float a = tn_bits_float(u);
    unsigned code;
    if (a < 6.103515625e-05f) code = (unsigned)(int)rintf(a * 65536.0f); // subnormal: steps of 2^-16
    else if (a >= 61440.0f) code = 0x7cu;
    else code = ((u + 0xfffffu + ((u >> 21) & 1u)) >> 21) - (112u << 2);
    if (code > 0x7cu) code = 0x7cu;
    return (unsigned char)(sign | code);
}

// Formats without infinity and -0, where NaN stands, of MAN mantissa bits; exponents of e4m3 are biased by 8, of e5m2 by 16.
template <int MAN> TN_DEV float tn_fnuz_to_float(unsigned char b) {
    constexpr int BIAS = 1 << (6 - MAN);
    const unsigned m = b & 0x7fu;
    if (b == 0x80) return TN_NAN;
    const float f = m >> MAN ? tn_bits_float((m + ((127 - BIAS) << MAN)) << (23 - MAN))
                             : (float)(int)m * tn_bits_float((unsigned)(128 - BIAS - MAN) << 23); // subnormal
    return b & 0x80 ? -f : f;
}
template <int MAN> TN_DEV unsigned char tn_float_to_fnuz(float f) { // to nearest even; NaN beyond the largest
    constexpr int BIAS = 1 << (6 - MAN), CUT = 23 - MAN;
    const unsigned u = tn_float_bits(f) & 0x7fffffffu;
    unsigned code;
    if (u < (unsigned)(128 - BIAS) << 23) code = (unsigned)(int)rintf(tn_bits_float(u) * tn_bits_float((unsigned)(126 + BIAS + MAN) << 23));
    else code = ((u + (1u << (CUT - 1)) - 1 + ((u >> CUT) & 1u)) >> CUT) - ((127 - BIAS) << MAN);
    if (code > 0x7fu) return 0x80;
    return (unsigned char)(code ? code | ((tn_float_bits(f) >> 24) & 0x80u) : 0);
}
TN_DEV float tn_e4m3fnuz_to_float(unsigned char b) { return tn_fnuz_to_float<3>(b); }
TN_DEV float tn_e5m2fnuz_to_float(unsigned char b) { return tn_fnuz_to_float<2>(b); }
TN_DEV unsigned char tn_float_to_e4m3fnuz(float f) { return tn_float_to_fnuz<3>(f); }
TN_DEV unsigned char tn_float_to_e5m2fnuz(float f) { return tn_float_to_fnuz<2>(f); }
// 0 0.5 1 1.5 2 3 4 6 and a sign.
TN_DEV float tn_e2m1_to_float(unsigned code) {
    const unsigned m = code & 7u, sign = (code & 8u) << 28;
    return tn_bits_float(sign | (m > 1 ? (m + 252u) << 22 : m ? 0x3f000000u : 0u));
}
TN_DEV unsigned tn_float_to_e2m1(float f) { // to nearest even; 6 beyond it; -0 for NaN
    const unsigned u = tn_float_bits(f) & 0x7fffffffu, sign = (tn_float_bits(f) >> 28) & 8u;
    if (u > 0x7f800000u) return 8u;
    const unsigned code = u < 0x3f800000u ? (unsigned)(int)rintf(tn_bits_float(u) * 2.0f)
                                          : ((u + 0x1fffffu + ((u >> 22) & 1u)) >> 22) - 252u;
    return sign | (code > 7u ? 7u : code);
}
// Powers of two from 2^-127 to 2^127.
TN_DEV float tn_e8m0_to_float(unsigned char b) {
    return b == 255 ? TN_NAN : tn_bits_float(b ? (unsigned)b << 23 : 0x400000u);
}
TN_DEV unsigned char tn_float_to_e8m0(float f) { // to nearest, ties to the larger; the nearest end beyond the ends
    const unsigned u = tn_float_bits(f);
    if (f != f) return 255;
    if (u >> 31 || u < 0x600000u) return 0;
    if (u >= 0x7f000000u) return 254;
    return (unsigned char)(u < 0x800000u ? 1u : (u + 0x400000u) >> 23);
}
// Casts to them: what is outside becomes NaN where they do not saturate; then rounded in one direction.
TN_DEV float tn_in_e8m0(float f) { return f >= tn_bits_float(0x400000u) && f <= tn_bits_float(0x7f000000u) ? f : TN_NAN; }
TN_DEV float tn_down_to_e8m0(float f, bool saturate) {
    const unsigned u = tn_float_bits(f);
    if (!(tn_in_e8m0(f) == f)) return saturate ? f : TN_NAN;
    return tn_bits_float(u < 0x800000u ? 0x400000u : u & 0xff800000u);
}
TN_DEV float tn_up_to_e8m0(float f, bool saturate) {
    const float down = tn_down_to_e8m0(f, saturate);
    return down < f && tn_in_e8m0(f) == f ? down * 2.0f : down;
}

// What a saturating cast does before it rounds; NaN stays.
TN_DEV float tn_saturate(float f, float largest) { return f > largest ? largest : f < -largest ? -largest : f; }

// The register type of each storage type, and conversion both ways.
template <typename T> struct tn_reg { typedef T type; };
template <> struct tn_reg<tn_half> { typedef float type; };
template <> struct tn_reg<tn_bf16> { typedef float type; };
template <> struct tn_reg<tn_e4m3> { typedef float type; };
template <> struct tn_reg<tn_e5m2> { typedef float type; };
template <> struct tn_reg<tn_e4m3fnuz> { typedef float type; };
template <> struct tn_reg<tn_e5m2fnuz> { typedef float type; };
template <> struct tn_reg<tn_e8m0> { typedef float type; };
template <> struct tn_reg<tn_bool> { typedef bool type; };

template <typename T> TN_DEV T tn_to_reg(T v) { return v; }
TN_DEV float tn_to_reg(tn_half v) { return tn_half_to_float(v.bits); }
TN_DEV float tn_to_reg(tn_bf16 v) { return tn_bits_float((unsigned)v.bits << 16); }
TN_DEV float tn_to_reg(tn_e4m3 v) { return tn_e4m3_to_float(v.bits); }
TN_DEV float tn_to_reg(tn_e5m2 v) { return tn_e5m2_to_float(v.bits); }
TN_DEV float tn_to_reg(tn_e4m3fnuz v) { return tn_e4m3fnuz_to_float(v.bits); }
TN_DEV float tn_to_reg(tn_e5m2fnuz v) { return tn_e5m2fnuz_to_float(v.bits); }
TN_DEV float tn_to_reg(tn_e8m0 v) { return tn_e8m0_to_float(v.bits); }
TN_DEV bool tn_to_reg(tn_bool v) { return v.bits != 0; }

TN_DEV void tn_from_reg(tn_half &d, float v) { d.bits = tn_float_to_half(v); }
TN_DEV void tn_from_reg(tn_bf16 &d, float v) { d.bits = tn_float_to_bf16(v); }
TN_DEV void tn_from_reg(tn_e4m3 &d, float v) { d.bits = tn_float_to_e4m3(v); }
TN_DEV void tn_from_reg(tn_e5m2 &d, float v) { d.bits = tn_float_to_e5m2(v); }
TN_DEV void tn_from_reg(tn_e4m3fnuz &d, float v) { d.bits = tn_float_to_e4m3fnuz(v); }
TN_DEV void tn_from_reg(tn_e5m2fnuz &d, float v) { d.bits = tn_float_to_e5m2fnuz(v); }
TN_DEV void tn_from_reg(tn_e8m0 &d, float v) { d.bits = tn_float_to_e8m0(v); }
TN_DEV void tn_from_reg(tn_bool &d, bool v) { d.bits = v ? 1 : 0; }
template <typename T> TN_DEV void tn_from_reg(T &d, T v) { d = v; }

// ---- packs: N elements moved in accesses of at most 16 bytes ---------------------------------------------------------------

template <typename T, int N> struct tn_pack {
    alignas(sizeof(T) * N >= 16 ? 16 : sizeof(T) * N) T v[N];
    TN_MEMBER T &operator[](int i) { return v[i]; }
    TN_MEMBER const T &operator[](int i) const { return v[i]; }
};

template <int BYTES> struct tn_access; // the access of that many bytes
template <> struct tn_access<16> {
    TN_DEV void load(void *d, const void *s) {
        *(tn_word16 *)d = *(const tn_word16 *)s;
    }
    TN_DEV void load_const(void *d, const void *s) {
        *(tn_bits16 *)d = tn_ldg16(s);
    }
    TN_DEV void store(void *d, const void *s) {
        *(tn_word16 *)d = *(const tn_word16 *)s;
    }
};
template <> struct tn_access<8> {
    TN_DEV void load(void *d, const void *s) {
        *(tn_word8 *)d = *(const tn_word8 *)s;
    }
    TN_DEV void load_const(void *d, const void *s) {
        *(tn_bits8 *)d = tn_ldg8(s);
    }
    TN_DEV void store(void *d, const void *s) {
        *(tn_word8 *)d = *(const tn_word8 *)s;
    }
};
template <> struct tn_access<4> {
    TN_DEV void load(void *d, const void *s) {
        *(unsigned *)d = *(const unsigned *)s;
    }
    TN_DEV void load_const(void *d, const void *s) {
        *(unsigned *)d = tn_ldg4(s);
    }
    TN_DEV void store(void *d, const void *s) {
        *(unsigned *)d = *(const unsigned *)s;
    }
};
template <> struct tn_access<2> {
    TN_DEV void load(void *d, const void *s) {
        *(unsigned short *)d = *(const unsigned short *)s;
    }
    TN_DEV void load_const(void *d, const void *s) {
        *(unsigned short *)d = tn_ldg2(s);
    }
    TN_DEV void store(void *d, const void *s) {
        *(unsigned short *)d = *(const unsigned short *)s;
    }
};
template <> struct tn_access<1> {
    TN_DEV void load(void *d, const void *s) {
        *(unsigned char *)d = *(const unsigned char *)s;
    }
    TN_DEV void load_const(void *d, const void *s) {
        *(unsigned char *)d = tn_ldg1(s);
    }
    TN_DEV void store(void *d, const void *s) {
        *(unsigned char *)d = *(const unsigned char *)s;
    }
};

#define TN_ACCESS_BYTES(A, T) ((A) * (int)sizeof(T) >= 16 ? 16 : (A) * (int)sizeof(T))

// N elements at p in accesses of A elements: p is aligned to A elements, as far as 16 bytes.
template <int N, int A, typename T> TN_DEV tn_pack<T, N> tn_load(const T *p) {
    constexpr int B = TN_ACCESS_BYTES(A, T);
    tn_pack<T, N> r;
    TN_UNROLL
    for (int i = 0; i < N * (int)sizeof(T) / B; ++i) tn_access<B>::load((char *)r.v + i * B, (const char *)p + i * B);
    return r;
}
// The same for memory that no kernel writes; not for what is asked for above TN_WAIT(), below which ptxas would move it.
template <int N, int A, typename T> TN_DEV tn_pack<T, N> tn_load_const(const T *p) {
    constexpr int B = TN_ACCESS_BYTES(A, T);
    tn_pack<T, N> r;
    TN_UNROLL
    for (int i = 0; i < N * (int)sizeof(T) / B; ++i)
        tn_access<B>::load_const((char *)r.v + i * B, (const char *)p + i * B);
    return r;
}
template <int A, typename T, int N> TN_DEV void tn_store(T *p, const tn_pack<T, N> &x) {
    constexpr int B = TN_ACCESS_BYTES(A, T);
    TN_UNROLL
    for (int i = 0; i < N * (int)sizeof(T) / B; ++i) tn_access<B>::store((char *)p + i * B, (const char *)x.v + i * B);
}

// One element as register value; `if` reads only where ok holds and gives 0 elsewhere.
template <typename T> TN_DEV typename tn_reg<T>::type tn_get(const T *p) {
    return tn_to_reg(*p);
}
template <typename T> TN_DEV typename tn_reg<T>::type tn_get_const(const T *p) {
    T v;
    tn_access<(int)sizeof(T)>::load_const(&v, p);
    return tn_to_reg(v);
}
template <typename T> TN_DEV typename tn_reg<T>::type tn_get_if(bool ok, const T *p) {
    return ok ? tn_get(p) : (typename tn_reg<T>::type)0;
}
template <typename T> TN_DEV typename tn_reg<T>::type tn_get_const_if(bool ok, const T *p) {
    return ok ? tn_get_const(p) : (typename tn_reg<T>::type)0;
}
template <typename T> TN_DEV void tn_put(T *p, typename tn_reg<T>::type v) {
    tn_from_reg(*p, v);
}

// Elements of 4 and 2 bits, the low bits of a byte first; i counts elements.
TN_DEV signed char tn_get_i4(const unsigned char *p, long long i) {
    const int v = (p[i >> 1] >> ((i & 1) * 4)) & 15;
    return (signed char)(v >= 8 ? v - 16 : v);
}
TN_DEV unsigned char tn_get_u4(const unsigned char *p, long long i) {
    return (unsigned char)((p[i >> 1] >> ((i & 1) * 4)) & 15);
}
TN_DEV float tn_get_f4e2m1(const unsigned char *p, long long i) { return tn_e2m1_to_float(tn_get_u4(p, i)); }
TN_DEV unsigned char tn_get_u2(const unsigned char *p, long long i) {
    return (unsigned char)((p[i >> 2] >> ((i & 3) * 2)) & 3);
}
TN_DEV signed char tn_get_i2(const unsigned char *p, long long i) { return (signed char)((tn_get_u2(p, i) ^ 2) - 2); }

// ---- arithmetic ------------------------------------------------------------------------------------------------------------

// Integers wrap to their width: computed without a sign, where C++ defines that.
template <typename T> TN_DEV T tn_add(T a, T b) { return (T)((unsigned long long)a + (unsigned long long)b); }
template <typename T> TN_DEV T tn_sub(T a, T b) { return (T)((unsigned long long)a - (unsigned long long)b); }
template <typename T> TN_DEV T tn_mul(T a, T b) { return (T)((unsigned long long)a * (unsigned long long)b); }
TN_DEV float tn_add(float a, float b) { return a + b; }
TN_DEV double tn_add(double a, double b) { return a + b; }

// A step of a sum of products, in one rounding where the machine has that.
template <typename T> TN_DEV T tn_mad(T a, T b, T c) { return tn_add(tn_mul(a, b), c); }
TN_DEV float tn_mad(float a, float b, float c) { return a * b + c; }
TN_DEV double tn_mad(double a, double b, double c) { return a * b + c; }

// A product that is rounded before anything is added to it, as the graph has it: the compiler makes no FMA of it.
TN_DEV float tn_mul(float a, float b) {
#ifdef TN_HOST
    float p = a * b;
    TN_EMU_ROUNDED(p);
    return p;
#else
    return __fmul_rn(a, b);
#endif
}
TN_DEV double tn_mul(double a, double b) {
#ifdef TN_HOST
    double p = a * b;
    TN_EMU_ROUNDED(p);
    return p;
#else
    return __dmul_rn(a, b);
#endif
}

// ---- reductions ------------------------------------------------------------------------------------------------------------

struct tn_sum_op {
    template <typename T> TN_DEV T identity() { return (T)0; }
    template <typename T> TN_DEV T apply(T a, T b) { return tn_add(a, b); }
};
struct tn_prod_op {
    template <typename T> TN_DEV T identity() { return (T)1; }
    template <typename T> TN_DEV T apply(T a, T b) { return tn_mul(a, b); }
};
struct tn_max_op { // NaN wins
    template <typename T> TN_DEV T identity() { return tn_limits<T>::lowest(); }
    template <typename T> TN_DEV T apply(T a, T b) { return (a > b || a != a) ? a : b; }
};
struct tn_min_op {
    template <typename T> TN_DEV T identity() { return tn_limits<T>::highest(); }
    template <typename T> TN_DEV T apply(T a, T b) { return (a < b || a != a) ? a : b; }
};

// Over groups of WIDTH neighbouring lanes (a power of two up to 32); every lane gets the result.
template <typename Op, int WIDTH, typename T> TN_DEV T tn_warp_reduce(T v) {
    TN_UNROLL
    for (int d = WIDTH / 2; d > 0; d >>= 1) v = Op::apply(v, (T)tn_shuffle_xor(v, d));
    return v;
}
// Over a block of THREADS threads in x; every thread gets the result.  scratch: THREADS / 32 elements of shared memory,
// free for the next use on return.
template <typename Op, int THREADS, typename T> TN_DEV T tn_block_reduce(T v, T *scratch) {
    v = tn_warp_reduce<Op, 32>(v);
    if (THREADS == 32) return v;
    const int warp = (int)threadIdx.x >> 5, lane = (int)threadIdx.x & 31;
    if (lane == 0) scratch[warp] = v;
    __syncthreads();
    v = lane < THREADS / 32 ? scratch[lane] : Op::template identity<T>();
    v = tn_warp_reduce<Op, 32>(v);
    __syncthreads();
    return v;
}

// ---- integer helpers ----------------------------------------------------------------------------------------------------------

TN_DEV long long tn_min_index(long long a, long long b) { return a < b ? a : b; }
// A gather index as ONNX means it: negative ones count from the end; what is still outside is clamped, so that no
// access leaves the tensor.
TN_DEV long long tn_wrap_index(long long i, long long n) {
    i = i < 0 ? i + n : i;
    return i < 0 ? 0 : i >= n ? n - 1 : i;
}
// The same of an index that comes from the model's data, where one outside is an error.  A GPU cannot report it.
TN_DEV long long tn_data_index(long long i, long long n) {
#ifdef TN_HOST
    if (n > 0 && (i < -n || i >= n)) tn_emu->bad_index(tn_emu_self, i, n);
#endif
    return tn_wrap_index(i, n);
}
// One that is never counted from the end.
TN_DEV long long tn_clamp_index(long long i, long long n) { return i < 0 ? 0 : i >= n ? n - 1 : i; }
// The same of one that comes from the model's data.
TN_DEV long long tn_data_place(long long i, long long n) {
#ifdef TN_HOST
    if (n > 0 && (i < 0 || i >= n)) tn_emu->bad_index(tn_emu_self, i, n);
#endif
    return tn_clamp_index(i, n);
}
// Whether an index, negative ones counted from the end, is inside.
TN_DEV bool tn_has_index(long long i, long long n) { return i >= -n && i < n; }
// Of a word that is not 0.
TN_DEV int tn_lowest_bit(unsigned m) {
#ifdef TN_HOST
    return __builtin_ctz(m);
#else
    return __ffs((int)m) - 1;
#endif
}
TN_DEV int tn_bit_count(unsigned m) {
#ifdef TN_HOST
    return __builtin_popcount(m);
#else
    return __popc(m);
#endif
}
// A product that no addition is fused with.
TN_DEV float tn_mul_rn(float a, float b) {
#ifdef TN_HOST
    return a * b;
#else
    return __fmul_rn(a, b);
#endif
}
TN_DEV double tn_mul_rn(double a, double b) {
#ifdef TN_HOST
    return a * b;
#else
    return __dmul_rn(a, b);
#endif
}
TN_DEV int tn_ceil_div(int a, int b) { return (a + b - 1) / b; }

// Over the TPR threads that share a row: neighbouring lanes of a warp, or the whole block (TPR == BLOCK).
template <typename Op, int TPR, int BLOCK, typename T> TN_DEV T tn_row_reduce(T v, T *scratch) {
    if constexpr (TPR <= 32) return tn_warp_reduce<Op, TPR>(v);
    else return tn_block_reduce<Op, BLOCK>(v, scratch);
}
