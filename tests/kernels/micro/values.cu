// values.cu: conversions, NaN-propagating extrema.
#include "tn_mma.cuh"

// Every pattern of the upper 16 bits with lower halves around the ties of the narrow formats: 2^19 floats, 64 a thread.
TN_DEV unsigned edge_pattern(int i) {
    const int k = i & 7;
    const unsigned low = k == 0 ? 0u
                       : k == 1 ? 1u
                       : k == 2 ? 0x0fffu
                       : k == 3 ? 0x1000u
                       : k == 4 ? 0x1001u
                       : k == 5 ? 0x7fffu
                       : k == 6 ? 0x8000u
                                : 0x8001u;
    return (unsigned)(i >> 3) << 16 | low;
}

// Then the floats of `in`.
TN_DEV float pattern(const unsigned *in, int k) {
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x) * 64 + k;
    return tn_bits_float(i < (1 << 19) ? edge_pattern(i) : in[i - (1 << 19)]);
}
template <typename T> TN_DEV void put(T *out, int k, T v) {
    out[(int)(blockIdx.x * blockDim.x + threadIdx.x) * 64 + k] = v;
}

extern "C" __global__ void float_to_half(const unsigned *in, unsigned short *out) {
    for (int k = 0; k < 64; k++) {
        const float f = pattern(in, k);
        put(out, k, tn_float_to_half(f));
    }
}
extern "C" __global__ void float_to_bf16(const unsigned *in, unsigned short *out) {
    for (int k = 0; k < 64; k++) {
        const float f = pattern(in, k);
        put(out, k, tn_float_to_bf16(f));
    }
}
extern "C" __global__ void float_to_half2(const unsigned *in, unsigned *out) {
    for (int k = 0; k < 64; k++) {
        const float f = pattern(in, k);
        put(out, k, tn_floats_to_half2(f, -f));
    }
}
extern "C" __global__ void float_to_bf16x2(const unsigned *in, unsigned *out) {
    for (int k = 0; k < 64; k++) {
        const float f = pattern(in, k);
        put(out, k, tn_floats_to_bf16x2(f, -f));
    }
}
extern "C" __global__ void float_to_e4m3(const unsigned *in, unsigned char *out) {
    for (int k = 0; k < 64; k++) {
        const float f = pattern(in, k);
        put(out, k, tn_float_to_e4m3(f));
    }
}
extern "C" __global__ void float_to_e5m2(const unsigned *in, unsigned char *out) {
    for (int k = 0; k < 64; k++) {
        const float f = pattern(in, k);
        put(out, k, tn_float_to_e5m2(f));
    }
}
extern "C" __global__ void float_to_tf32(const unsigned *in, unsigned *out) {
    for (int k = 0; k < 64; k++) {
        const float f = pattern(in, k);
        put(out, k, tn_round_tf32(tn_float_bits(f)));
    }
}

// All 16-bit patterns, 64 a thread; all bytes.
extern "C" __global__ void half_to_float(const unsigned *, unsigned *out) {
    const int thread = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    for (int k = 0; k < 64; k++)
        out[thread * 64 + k] = tn_float_bits(tn_half_to_float((unsigned short)(thread * 64 + k)));
}
extern "C" __global__ void e4m3_to_float(const unsigned *, unsigned *out) {
    out[threadIdx.x] = tn_float_bits(tn_e4m3_to_float((unsigned char)threadIdx.x));
}
extern "C" __global__ void e5m2_to_float(const unsigned *, unsigned *out) {
    out[threadIdx.x] = tn_float_bits(tn_e5m2_to_float((unsigned char)threadIdx.x));
}

extern "C" __global__ void max_min_nan(const unsigned *in, unsigned *out) {
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x), n = (int)(gridDim.x * blockDim.x);
    const float a = tn_bits_float(in[i]), b = tn_bits_float(in[n - 1 - i]), zero = tn_bits_float((unsigned)i << 31);
    out[i * 4] = tn_float_bits(tn_max_nan(a, b));
    out[i * 4 + 1] = tn_float_bits(tn_min_nan(a, b));
    out[i * 4 + 2] = tn_float_bits(tn_max_nan(zero, -zero));
    out[i * 4 + 3] = tn_float_bits(tn_min_nan(zero, -zero));
}

// Loads of each width through the read-only path, and those of weights.
extern "C" __global__ void loads(const unsigned char *in, unsigned *out) {
    const int i = (int)threadIdx.x;
    const tn_bits16 a = i % 2 ? tn_ldg16(in + i * 16) : tn_ld_early16(in + i * 16);
    const tn_bits8 b = tn_ldg8(in + i * 8);
    unsigned *o = out + i * 9;
    o[0] = a.x, o[1] = a.y, o[2] = a.z, o[3] = a.w, o[4] = b.x, o[5] = b.y;
    o[6] = tn_ldg4(in + i * 4), o[7] = tn_ldg2(in + i * 2), o[8] = tn_ldg1(in + i);
}
