// check.cu: what the tuner runs beside candidates: it fills buffers with a pattern, compares an output with the float64
// reference, counts guard bytes that a candidate overwrote, and stands between candidates while they are timed.  No variants: compiled once an architecture.
//! kernel  check   guard patterns and comparison with the reference; not a candidate
#include "tn_device.cuh"

// A strided tensor, at most 8 axes; code is the host's tn_dtype.
struct tn_check_view {
    unsigned char *data;
    long long dims[8], strides[8]; // strides in elements
    long long numel;
    int rank, code;
};

// In the order of tn_dtype.
enum { TN_CHECK_NONE, TN_CHECK_F64, TN_CHECK_F32, TN_CHECK_F16, TN_CHECK_BF16, TN_CHECK_E4M3, TN_CHECK_E5M2, TN_CHECK_I64,
       TN_CHECK_I32, TN_CHECK_I16, TN_CHECK_I8, TN_CHECK_U64, TN_CHECK_U32, TN_CHECK_U16, TN_CHECK_U8, TN_CHECK_I4, TN_CHECK_U4,
       TN_CHECK_BOOL, TN_CHECK_E4M3FNUZ, TN_CHECK_E5M2FNUZ, TN_CHECK_E8M0, TN_CHECK_E2M1, TN_CHECK_I2, TN_CHECK_U2 };

struct tn_check_result {
    unsigned long long max_abs_bits, max_rel_bits; // bits of non-negative doubles, ordered as they are
    unsigned long long bad;
    unsigned long long first_bad; // lowest index; initialise to ~0
};

// Where along one axis a tensor [outer, of, inner] is compared; n 0: everywhere.
struct tn_check_rows {
    long long of, inner, n;
    long long at[16];
};

// Of the k-th element that is compared, the index in the tensor.
__device__ __forceinline__ long long tn_check_index(const tn_check_rows &r, long long k) {
    if (!r.n) return k;
    const long long row = k / r.inner;
    return (row / r.n * r.of + r.at[row % r.n]) * r.inner + k % r.inner;
}

__device__ __forceinline__ long long tn_check_offset(const tn_check_view &t, long long i) {
    long long at = 0;
    for (int k = t.rank - 1; k >= 0; k--) {
        at += i % t.dims[k] * t.strides[k];
        i /= t.dims[k];
    }
    return at;
}

__device__ __forceinline__ int tn_check_bits(int code) {
    switch (code) {
    case TN_CHECK_F64: case TN_CHECK_I64: case TN_CHECK_U64: return 64;
    case TN_CHECK_F32: case TN_CHECK_I32: case TN_CHECK_U32: return 32;
    case TN_CHECK_F16: case TN_CHECK_BF16: case TN_CHECK_I16: case TN_CHECK_U16: return 16;
    case TN_CHECK_I4: case TN_CHECK_U4: case TN_CHECK_E2M1: return 4;
    case TN_CHECK_I2: case TN_CHECK_U2: return 2;
    default: return 8;
    }
}

__device__ __forceinline__ double tn_check_load(const tn_check_view &t, long long at) {
    switch (t.code) {
    case TN_CHECK_F64: return ((const double *)t.data)[at];
    case TN_CHECK_F32: return ((const float *)t.data)[at];
    case TN_CHECK_F16: return tn_to_reg(((const tn_half *)t.data)[at]);
    case TN_CHECK_BF16: return tn_to_reg(((const tn_bf16 *)t.data)[at]);
    case TN_CHECK_E4M3: return tn_to_reg(((const tn_e4m3 *)t.data)[at]);
    case TN_CHECK_E5M2: return tn_to_reg(((const tn_e5m2 *)t.data)[at]);
    case TN_CHECK_I64: return (double)((const long long *)t.data)[at];
    case TN_CHECK_I32: return ((const int *)t.data)[at];
    case TN_CHECK_I16: return ((const short *)t.data)[at];
    case TN_CHECK_I8: return ((const signed char *)t.data)[at];
    case TN_CHECK_U64: return (double)((const unsigned long long *)t.data)[at];
    case TN_CHECK_U32: return ((const unsigned *)t.data)[at];
    case TN_CHECK_U16: return ((const unsigned short *)t.data)[at];
    case TN_CHECK_E4M3FNUZ: return tn_to_reg(((const tn_e4m3fnuz *)t.data)[at]);
    case TN_CHECK_E5M2FNUZ: return tn_to_reg(((const tn_e5m2fnuz *)t.data)[at]);
    case TN_CHECK_E8M0: return tn_to_reg(((const tn_e8m0 *)t.data)[at]);
    case TN_CHECK_E2M1: return tn_get_f4e2m1(t.data, at);
    case TN_CHECK_I4: return tn_get_i4(t.data, at);
    case TN_CHECK_U4: return tn_get_u4(t.data, at);
    case TN_CHECK_I2: return tn_get_i2(t.data, at);
    case TN_CHECK_U2: return tn_get_u2(t.data, at);
    default: return t.data[at];
    }
}

extern "C" __global__ void tn_check_fill(unsigned *p, long long words, unsigned pattern) {
    for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < words; i += (long long)gridDim.x * blockDim.x)
        p[i] = pattern;
}

// |got - want| <= tol * (|want| + scale), or both NaN, or equal infinities; want holds what is compared.
extern "C" __global__ void tn_check_compare(const __grid_constant__ tn_check_view t, const double *want, double tol,
                                            double scale, tn_check_result *r, const __grid_constant__ tn_check_rows rows) {
    double max_abs = 0, max_rel = 0;
    unsigned long long bad = 0, first = ~0ull;
    const long long n = rows.n ? t.numel / rows.of * rows.n : t.numel;
    for (long long k = blockIdx.x * (long long)blockDim.x + threadIdx.x; k < n; k += (long long)gridDim.x * blockDim.x) {
        const long long i = tn_check_index(rows, k);
        double g = tn_check_load(t, tn_check_offset(t, i)), w = want[k];
        if (g == w || (g != g && w != w)) continue;
        double e = g > w ? g - w : w - g, a = w < 0 ? -w : w;
        bool wrong = !(e <= tol * (a + scale)); // NaN is wrong
        if (wrong) {
            bad++;
            if ((unsigned long long)i < first) first = (unsigned long long)i;
        }
        if (e != e || e > 1e300) e = 1e300; // one side is NaN or infinite
        double rel = e / (a + scale);
        if (e > max_abs) max_abs = e;
        if (rel > max_rel) max_rel = rel;
    }
    if (max_abs > 0) atomicMax(&r->max_abs_bits, (unsigned long long)__double_as_longlong(max_abs));
    if (max_rel > 0) atomicMax(&r->max_rel_bits, (unsigned long long)__double_as_longlong(max_rel));
    if (bad) {
        atomicAdd(&r->bad, bad);
        atomicMin(&r->first_bad, first);
    }
}

// Writes the pattern over every element of the tensor, so that what is left unlike the pattern is an overwritten guard.
extern "C" __global__ void tn_check_erase(const __grid_constant__ tn_check_view t, unsigned pattern) {
    const int bits = tn_check_bits(t.code), size = bits < 8 ? 1 : bits / 8;
    for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < t.numel; i += (long long)gridDim.x * blockDim.x) {
        const long long first = tn_check_offset(t, i) * bits, at = first / 8;
        if (first % 8) continue; // the first element of a byte writes it: packed tensors are dense
        for (int b = 0; b < size; b++) t.data[at + b] = (unsigned char)(pattern >> ((at + b) % 4 * 8));
    }
}

// Counts words of p that are not the pattern.
extern "C" __global__ void tn_check_count(const unsigned *p, long long words, unsigned pattern, unsigned long long *count) {
    unsigned long long n = 0;
    for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < words; i += (long long)gridDim.x * blockDim.x)
        n += p[i] != pattern;
    if (n) atomicAdd(count, n);
}

// A step of the chain in which candidates are timed: the least that a kernel of ours does.
extern "C" __global__ void tn_check_step() {
    TN_WAIT();
}
