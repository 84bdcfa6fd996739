// warps.cu: shuffles, votes, matches, reductions of a warp; atomics; barriers; clusters.
#include "tn_async.cuh"

extern "C" __global__ void shuffles(const unsigned *in, unsigned *out) {
    const int i = (int)threadIdx.x, lane = i & 31;
    const unsigned v = in[i];
    unsigned *o = out + i * 24;
    int n = 0;
    for (int width = 4; width <= 32; width *= 2) {
        o[n++] = __shfl_sync(0xffffffffu, v, 3, width);
        o[n++] = __shfl_sync(0xffffffffu, v, lane * 7 + 5, width);
        o[n++] = __shfl_xor_sync(0xffffffffu, v, 5, width);
        o[n++] = __shfl_up_sync(0xffffffffu, v, 3u, width);
        o[n++] = __shfl_down_sync(0xffffffffu, v, 3u, width);
    }
    o[n++] = tn_shuffle_xor(v, 16);
    o[n++] = tn_shuffle_up(v, 1);
    o[n++] = tn_shuffle_last(v);
    unsigned half = 0; // in one half of the warp only
    if (lane < 16) half = __shfl_xor_sync(0x0000ffffu, v, 9);
    o[n++] = half;
}

extern "C" __global__ void votes(const unsigned *in, unsigned *out) {
    const int i = (int)threadIdx.x, lane = i & 31;
    const unsigned v = in[i];
    unsigned *o = out + i * 16;
    o[0] = __ballot_sync(0xffffffffu, (int)(v & 1));
    o[1] = (unsigned)__any_sync(0xffffffffu, (v & 15) == 0) != 0;
    o[2] = (unsigned)__all_sync(0xffffffffu, (v & 15) != 3) != 0;
    o[3] = __match_any_sync(0xffffffffu, v & 3);
    o[4] = __reduce_add_sync(0xffffffffu, v);
    o[5] = __reduce_min_sync(0xffffffffu, v);
    o[6] = __reduce_max_sync(0xffffffffu, v);
    o[7] = __reduce_and_sync(0xffffffffu, v | 0xff00ff00u);
    o[8] = __reduce_or_sync(0xffffffffu, v & 0x11111111u);
    o[9] = __reduce_xor_sync(0xffffffffu, v);
    o[10] = (unsigned)__reduce_min_sync(0xffffffffu, (int)v);
    o[11] = (unsigned)__reduce_max_sync(0xffffffffu, (int)v);
    o[14] = (unsigned)tn_warp_reduce<tn_max_op, 8>((int)v);
    o[15] = tn_elect();
    o[12] = o[13] = 0;
    if (lane & 1) o[12] = __ballot_sync(0xaaaaaaaau, (int)(v & 2));
    else o[13] = __reduce_add_sync(0x55555555u, v);
}

// Results that do not depend on the order of the threads.
extern "C" __global__ void atomics(const unsigned *in, unsigned *out) {
    TN_SHARED(unsigned, s, [16]);
    const int i = (int)threadIdx.x;
    const unsigned v = in[blockIdx.x * blockDim.x + threadIdx.x];
    if (i < 16) s[i] = i == 2 || i == 4 ? 0xffffffffu : 0u;
    __syncthreads();
    atomicAdd(&s[0], v);
    atomicAdd((int *)&s[1], (int)v);
    atomicMin(&s[2], v);
    atomicMax(&s[3], v);
    atomicAnd(&s[4], v | 0xfffffff0u);
    atomicOr(&s[5], v & 0x0f0f0f0fu);
    atomicXor(&s[6], v);
    atomicMin((int *)&s[7], (int)v);
    atomicMax((int *)&s[8], (int)v);
    atomicAdd((float *)&s[9], (float)(v & 255u));
    atomicAdd((unsigned long long *)&s[10], (unsigned long long)v * v);
    unsigned old = 0, seen; // the same by compare and swap
    while ((seen = atomicCAS(&s[12], old, old + (v & 7u))) != old) old = seen;
    __syncthreads();
    const int width[16] = {1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0};
    unsigned *g = out; // of all blocks together: zeros at first
    if (i < 16) {
        if (width[i]) atomicAdd(&g[i], s[i]);
        out[16 + blockIdx.x * 16 + i] = s[i];
    }
    atomicXor(&g[2], v);
    atomicMax(&g[3], v);
    atomicOr(&g[4], v & 0x01010101u);
    tn_red_add((float *)&g[5], (float)(v & 7u));
    atomicAdd((float *)&g[6], (float)(v & 3u));
    atomicAdd((unsigned long long *)&g[8], (unsigned long long)v << 20);
    atomicMax((int *)&g[10], (int)v);
}

// Warps 0 and 1 exchange with warps 2 and 3 by named barriers; warp 0 only arrives at the last one.
extern "C" __global__ void named_barriers(const unsigned *in, unsigned *out) {
    TN_SHARED(unsigned, s, [128]);
    const int i = (int)threadIdx.x, group = i / 64;
    s[i] = in[i];
    tn_barrier_sync(1 + group, 64);
    unsigned sum = s[i ^ 63] * 3u;
    tn_barrier_sync(3, 128);
    sum += s[i ^ 127] * 5u;
    if (i < 32) {
        tn_barrier_sync(3, 128);
        s[i] = sum;
        tn_barrier_arrive(4, 64);
    } else {
        tn_barrier_sync(3, 128);
        if (i < 64) {
            tn_barrier_sync(4, 64);
            sum += s[i - 32] * 7u;
        }
    }
    out[i] = sum;
}

// Four blocks of a cluster read each other's shared memory and arrive at each other's mbarriers.
extern "C" __global__ void clusters(const unsigned *in, unsigned *out) {
    TN_SHARED(tn_bits16, s, [64]);
    TN_SHARED(unsigned long long, bar, [1]);
    const int i = (int)threadIdx.x, rank = tn_cluster_rank(), block = (int)blockIdx.x;
    const unsigned *mine = in + (block * 64 + i) * 4;
    s[i] = tn_bits16{mine[0], mine[1], mine[2], mine[3]};
    if (i == 0) {
        tn_mbarrier_init(tn_smem_addr(bar), 4 * 64);
        tn_fence_mbarrier_init();
    }
    tn_cluster_sync();
    unsigned sum = 0;
    for (int r = 0; r < 4; r++) {
        const tn_bits16 v = tn_cluster_lds16(tn_smem_addr(&s[(i * 5 + r) & 63]), r);
        sum = sum * 31u + v.x + 3u * v.y + 5u * v.z + 7u * v.w;
    }
    for (int r = 0; r < 4; r++) tn_mbarrier_arrive_remote(tn_smem_addr(bar), r);
    tn_mbarrier_wait_cluster(tn_smem_addr(bar), 0);
    s[i] = tn_bits16{sum, 0, 0, 0}; // everybody has read
    tn_cluster_sync();
    out[block * 64 + i] = tn_cluster_lds16(tn_smem_addr(&s[63 - i]), rank ^ 1).x;
    tn_cluster_sync(); // and nobody reads any more
}

// Producers and consumers over phases of two mbarriers.
extern "C" __global__ void mbarrier_phases(const unsigned *in, unsigned *out) {
    TN_SHARED(unsigned, s, [64]);
    TN_SHARED(unsigned long long, bar, [2]);
    const int i = (int)threadIdx.x;
    const unsigned full = tn_smem_addr(&bar[0]), empty = tn_smem_addr(&bar[1]);
    if (i == 0) {
        tn_mbarrier_init(full, 64);
        tn_mbarrier_init(empty, 64);
    }
    __syncthreads();
    unsigned sum = 0;
    for (unsigned k = 0; k < 5; k++) {
        if (i < 64) {
            if (k) tn_mbarrier_wait(empty, (k - 1) & 1);
            s[i] = in[k * 64 + (unsigned)i];
            tn_mbarrier_arrive(full);
        } else {
            if (k & 1)
                while (!tn_mbarrier_test(full, k & 1)) {}
            else
                tn_mbarrier_wait(full, k & 1);
            sum = sum * 3u + s[127 - i];
            tn_mbarrier_arrive(empty);
        }
    }
    if (i >= 64) out[i - 64] = sum;
}

extern "C" __global__ void grid_dependency(const unsigned *in, unsigned *out) {
    TN_WAIT();
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    out[i] = in[i] + 1u;
}
