// host_shim.h: CUDA's vocabulary for templates compiled by a C++ compiler (TN_HOST).
//
// A cluster's threads run as fibers on one CPU thread.  A fiber runs until it meets a barrier or a warp-wide
// instruction and continues when all its partners have arrived, so results do not depend on the machine; the order of
// fibers changes from round to round to bring missing barriers to light.  The functions here are the leaves that
// tn_device.cuh has on a device.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define __shared__ static // one block at a time: clusters use dynamic shared memory

struct host_dim {
    unsigned x, y, z;
};

struct host_copy { // a cp.async that has not landed
    unsigned char *to;
    const void *from; // NULL: zeros
};

struct host_warp {
    void *lane[32];
    int arrived;
    unsigned passed;
};

struct host_barrier { // of a block or a cluster
    int size, arrived;
    unsigned passed;
};

enum { HOST_MAX_GROUPS = 64, HOST_MAX_COPIES = 4096 };

struct host_block {
    host_dim index, dim, grid;
    unsigned char *smem;
    host_barrier barrier;
    host_warp warps[32];
};

struct host_thread {
    host_dim tid;
    int linear, lane, rank; // thread of the block, lane of the warp, block of the cluster
    host_block *block;
    bool waited;
    host_copy copies[HOST_MAX_COPIES]; // in flight, oldest first
    int n_copies, group_end[HOST_MAX_GROUPS], n_groups;
};

host_thread &host_self();
host_block &host_block_of(int rank);
host_barrier &host_cluster_barrier();
void host_yield();
[[noreturn]] void host_error(const char *what);

// An access of global memory: it must be aligned and lie in one of the ranges that the test has declared (none:
// anywhere).
struct host_range {
    const char *from, *to;
};
struct host_ranges {
    host_range r[64];
    int n;
};
host_ranges &host_memory();
inline void host_check_access(const void *p, int bytes) {
    if ((uintptr_t)p % (uintptr_t)bytes) host_error("misaligned access");
    const host_ranges &m = host_memory();
    for (int i = 0; i < m.n; i++)
        if ((const char *)p >= m.r[i].from && (const char *)p + bytes <= m.r[i].to) return;
    if (m.n) host_error("access outside every tensor");
}

#define threadIdx (host_self().tid)
#define blockIdx (host_self().block->index)
#define blockDim (host_self().block->dim)
#define gridDim (host_self().block->grid)

// How often two of the eight rows that one phase of ldmatrix reads lay in the same shared-memory banks.
inline unsigned &host_bank_conflicts() {
    static unsigned n = 0;
    return n;
}

inline void host_arrive(host_barrier &b) {
    const unsigned round = b.passed;
    if (++b.arrived == b.size) {
        b.arrived = 0;
        b.passed++;
        return;
    }
    while (b.passed == round) host_yield();
}

// Runs op(lanes) once all 32 lanes of the warp are here; lanes[i] is lane i's `mine`.
template <class T, class Op> void host_warp_op(T &mine, const Op &op) {
    host_thread &t = host_self();
    host_warp &w = t.block->warps[t.linear / 32];
    w.lane[t.lane] = &mine;
    const unsigned round = w.passed;
    if (++w.arrived == 32) {
        w.arrived = 0;
        op((T **)w.lane);
        w.passed++;
        return;
    }
    while (w.passed == round) host_yield();
}

inline void __syncthreads() {
    host_arrive(host_self().block->barrier);
}

inline void TN_RELEASE() {}
inline void TN_WAIT() {
    if (host_self().waited) host_error("TN_WAIT() called twice by a thread");
    host_self().waited = true;
}

inline float tn_bits_float(unsigned u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}
inline unsigned tn_float_bits(float f) {
    unsigned u;
    memcpy(&u, &f, 4);
    return u;
}
inline float tn_half_to_float(unsigned short h) {
    const unsigned sign = (unsigned)(h & 0x8000u) << 16, e = (h >> 10) & 31u, m = h & 1023u;
    if (e == 31) return tn_bits_float(sign | 0x7f800000u | m << 13);
    if (e) return tn_bits_float(sign | (e + 112) << 23 | m << 13);
    const float f = (float)m * 5.9604644775390625e-8f;
    return sign ? -f : f;
}
inline unsigned short tn_float_to_half(float f) {
    const unsigned u = tn_float_bits(f), sign = (u >> 16) & 0x8000u, a = u & 0x7fffffffu;
    if (a > 0x7f800000u) return (unsigned short)(sign | 0x7fffu);
    if (a >= 0x477ff000u) return (unsigned short)(sign | 0x7c00u);
    if (a < 0x38800000u) return (unsigned short)(sign | (unsigned)std::lrint(std::fabs(f) * 16777216.0f));
    return (unsigned short)(sign | ((a + 0xfffu + ((a >> 13) & 1u) - (112u << 23)) >> 13));
}
inline unsigned short tn_float_to_bf16(float f) {
    const unsigned u = tn_float_bits(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
    return (unsigned short)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}
inline unsigned tn_floats_to_half2(float lo, float hi) {
    return tn_float_to_half(lo) | (unsigned)tn_float_to_half(hi) << 16;
}
inline unsigned tn_floats_to_bf16x2(float lo, float hi) {
    return tn_float_to_bf16(lo) | (unsigned)tn_float_to_bf16(hi) << 16;
}

// Defined in host_mma.h, once the packed types are complete.
struct tn_bits16;
struct tn_bits8;
tn_bits16 tn_ldg16(const void *p);
tn_bits8 tn_ldg8(const void *p);
inline unsigned tn_ldg4(const void *p) {
    return *(const unsigned *)p;
}
inline unsigned short tn_ldg2(const void *p) {
    return *(const unsigned short *)p;
}
inline unsigned char tn_ldg1(const void *p) {
    return *(const unsigned char *)p;
}

template <class T> T host_shuffle(T v, int source) {
    struct {
        T in, out;
        int from;
    } x = {v, v, source};
    host_warp_op(x, [](auto **l) {
        for (int i = 0; i < 32; i++) l[i]->out = l[l[i]->from < 0 ? i : l[i]->from]->in;
    });
    return x.out;
}
template <class T> T tn_shuffle_xor(T v, int lanes) {
    return host_shuffle(v, host_self().lane ^ lanes);
}
template <class T> T tn_shuffle_up(T v, int lanes) {
    return host_shuffle(v, host_self().lane - lanes);
}
template <class T> T tn_shuffle_last(T v) {
    return host_shuffle(v, 31);
}
inline unsigned long long tn_double_bits(double d) {
    unsigned long long u;
    memcpy(&u, &d, 8);
    return u;
}
inline double tn_bits_double(unsigned long long u) {
    double d;
    memcpy(&d, &u, 8);
    return d;
}
