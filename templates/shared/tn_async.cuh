// tn_async.cuh: mbarriers, bulk copies and TMA, named barriers, and further matrix instructions, one small function each.
//
// Shared memory is addressed by 32-bit byte addresses (tn_smem_addr).  A bulk copy's bytes are counted by an mbarrier:
// expect as many as all copies of the phase will bring, then wait for the phase's parity (0, 1, 0, ...).
#pragma once
#include "tn_mma.cuh"

// A tensor map (CUtensorMap); kernels take it as `const __grid_constant__ tn_tensor_map`.
struct alignas(64) tn_tensor_map { unsigned long long opaque[16]; };

// ---- mbarriers -------------------------------------------------------------------------------------------------------
// 8 bytes of shared memory; one thread initialises, then a barrier for all who use it (after tn_fence_mbarrier_init if
// other blocks of the cluster, or copies, do).

TN_DEV void tn_mbarrier_init(unsigned bar, unsigned arrivals) {
#ifdef TN_HOST
    tn_emu->mbarrier_init(tn_emu_self, bar, arrivals);
#else
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(bar), "r"(arrivals) : "memory");
#endif
}
TN_DEV void tn_mbarrier_invalidate(unsigned bar) {
#ifdef TN_HOST
    tn_emu->mbarrier_invalidate(tn_emu_self, bar);
#else
    asm volatile("mbarrier.inval.shared::cta.b64 [%0];" ::"r"(bar) : "memory");
#endif
}
TN_DEV void tn_mbarrier_arrive(unsigned bar) {
#ifdef TN_HOST
    tn_emu->mbarrier_arrive(tn_emu_self, bar, tn_emu_self->rank, 1, 0);
#elif __CUDA_ARCH__ >= 900
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(bar) : "memory");
#else
    unsigned long long state;
    asm volatile("mbarrier.arrive.shared::cta.b64 %0, [%1];" : "=l"(state) : "r"(bar) : "memory");
    (void)state;
#endif
}
// Arrives when all earlier cp.async of this thread have landed; counts as one of the expected arrivals.
TN_DEV void tn_cp_async_arrive(unsigned bar) {
#ifdef TN_HOST
    tn_emu->cp_async_arrive(tn_emu_self, bar);
#else
    asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(bar) : "memory");
#endif
}
// False while the phase of that parity goes on.
TN_DEV bool tn_mbarrier_test(unsigned bar, unsigned parity) {
#ifdef TN_HOST
    return tn_emu->mbarrier_test(tn_emu_self, bar, parity) != 0;
#elif __CUDA_ARCH__ >= 900
    unsigned done;
    asm volatile("{.reg .pred p; mbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p;}"
                 : "=r"(done)
                 : "r"(bar), "r"(parity)
                 : "memory");
    return done != 0;
#else
    return false;
#endif
}
TN_DEV void tn_mbarrier_wait(unsigned bar, unsigned parity) {
#ifdef TN_HOST
    tn_emu->mbarrier_wait(tn_emu_self, bar, parity);
#elif __CUDA_ARCH__ >= 900
    unsigned done;
    do
        asm volatile("{.reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p;}"
                     : "=r"(done)
                     : "r"(bar), "r"(parity)
                     : "memory");
    while (!done);
#endif
}

// ---- named barriers ----------------------------------------------------------------------------------------------------
// id 1 to 15 (0 is __syncthreads's); `threads` of the block, whole warps.

TN_DEV void tn_barrier_sync(int id, int threads) {
#ifdef TN_HOST
    tn_emu->barrier(tn_emu_self, (unsigned)id, (unsigned)threads, 0);
#else
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
#endif
}
// Arrives without waiting.
TN_DEV void tn_barrier_arrive(int id, int threads) {
#ifdef TN_HOST
    tn_emu->barrier(tn_emu_self, (unsigned)id, (unsigned)threads, 1);
#else
    asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
#endif
}

// ---- small copies in the background --------------------------------------------------------------------------------------

template <int BYTES> TN_DEV void tn_cp_async(unsigned dst, const void *src, bool ok) { // 4 or 8
#ifdef TN_HOST
    tn_emu->cp_async(tn_emu_self, dst, src, BYTES, ok ? BYTES : 0);
#else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(dst), "l"(src), "n"(BYTES), "r"(ok ? BYTES : 0)
                 : "memory");
#endif
}

// ---- 8x8 matrices of 16-bit elements ---------------------------------------------------------------------------------------
// As tn_ldmatrix4, for one and two matrices: lanes 0..7, 0..15 give the rows' addresses.

template <bool TRANS> TN_DEV unsigned tn_ldmatrix1(unsigned addr) {
    unsigned r;
#ifdef TN_HOST
    unsigned x;
    tn_emu->ldmatrix(tn_emu_self, addr, 1, TRANS, &x);
    r = x;
#else
    if constexpr (TRANS)
        asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];" : "=r"(r) : "r"(addr) : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(r) : "r"(addr) : "memory");
#endif
    return r;
}
template <bool TRANS> TN_DEV void tn_ldmatrix2(unsigned addr, unsigned (&r)[2]) {
#ifdef TN_HOST
    unsigned x[2];
    tn_emu->ldmatrix(tn_emu_self, addr, 2, TRANS, x);
    r[0] = x[0], r[1] = x[1];
#else
    if constexpr (TRANS)
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                     : "=r"(r[0]), "=r"(r[1])
                     : "r"(addr)
                     : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                     : "=r"(r[0]), "=r"(r[1])
                     : "r"(addr)
                     : "memory");
#endif
}

// mma.sync m16n8k32 of 8-bit floats; the layout of tn_mma_f16 with two elements in place of one.
#ifdef TN_HOST
#define TN_MMA_FP8_BODY(ENUM, T) tn_host_mma(ENUM, 32, c, a, b0, b1);
#else
#define TN_MMA_FP8_BODY(ENUM, T)                                                                                       \
    asm("mma.sync.aligned.m16n8k32.row.col.f32." T "." T ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "          \
        "{%0, %1, %2, %3};"                                                                                            \
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                                               \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 890
TN_DEV void tn_mma_e4m3(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    TN_MMA_FP8_BODY(TN_EMU_E4M3, "e4m3")
}
TN_DEV void tn_mma_e5m2(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    TN_MMA_FP8_BODY(TN_EMU_E5M2, "e5m2")
}
#endif

// Adds to a float in global or shared memory, without its old value.
TN_DEV void tn_red_add(float *p, float v) {
#ifdef TN_HOST
    atomicAdd(p, v);
#else
    asm volatile("red.relaxed.gpu.add.f32 [%0], %1;" ::"l"(p), "f"(v) : "memory");
#endif
}

// ---- Hopper ----------------------------------------------------------------------------------------------------------------
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

// Arrives and expects that bulk copies will bring so many more bytes in this phase.
TN_DEV void tn_mbarrier_arrive_expect(unsigned bar, unsigned bytes) {
#ifdef TN_HOST
    tn_emu->mbarrier_arrive(tn_emu_self, bar, tn_emu_self->rank, 1, bytes);
#else
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(bytes) : "memory");
#endif
}
TN_DEV void tn_mbarrier_expect(unsigned bar, unsigned bytes) {
#ifdef TN_HOST
    tn_emu->mbarrier_expect(tn_emu_self, bar, bytes);
#else
    asm volatile("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(bar), "r"(bytes) : "memory");
#endif
}
// Arrives at the mbarrier that another block of the cluster has at this address.
TN_DEV void tn_mbarrier_arrive_remote(unsigned bar, int rank) {
#ifdef TN_HOST
    tn_emu->mbarrier_arrive(tn_emu_self, bar, (unsigned)rank, 1, 0);
#else
    unsigned remote;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(bar), "r"(rank));
    asm volatile("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];" ::"r"(remote) : "memory");
#endif
}
// The same of a thread that has read, and tells that the memory may be written: what it wrote itself need not be seen, for which it would
// have to wait.
TN_DEV void tn_mbarrier_arrive_read(unsigned bar, int rank) {
#ifdef TN_HOST
    tn_emu->mbarrier_arrive(tn_emu_self, bar, (unsigned)rank, 1, 0);
#else
    unsigned remote;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(bar), "r"(rank));
    asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(remote) : "memory");
#endif
}
// Waits for arrivals from other blocks: what they wrote before is seen.
TN_DEV void tn_mbarrier_wait_cluster(unsigned bar, unsigned parity) {
#ifdef TN_HOST
    tn_emu->mbarrier_wait(tn_emu_self, bar, parity);
#else
    unsigned done;
    do
        asm volatile("{.reg .pred p; mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2; "
                     "selp.u32 %0, 1, 0, p;}"
                     : "=r"(done)
                     : "r"(bar), "r"(parity)
                     : "memory");
    while (!done);
#endif
}
// Makes initialised mbarriers visible to the cluster and to copies.
TN_DEV void tn_fence_mbarrier_init() {
#ifdef TN_HOST
    tn_emu->fence(tn_emu_self, TN_EMU_FENCE_MBARRIER_INIT);
#else
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
}
// Makes this thread's writes of shared memory visible to bulk copies and wgmma (after a barrier for those of others).
TN_DEV void tn_fence_async() {
#ifdef TN_HOST
    tn_emu->fence(tn_emu_self, TN_EMU_FENCE_PROXY_ASYNC);
#else
    asm volatile("fence.proxy.async;" ::: "memory");
#endif
}

// Bulk copies: addresses and bytes are multiples of 16.
TN_DEV void tn_bulk_load(unsigned dst, const void *src, unsigned bytes, unsigned bar) {
#ifdef TN_HOST
    tn_emu->bulk_load(tn_emu_self, dst, src, bytes, bar);
#else
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(dst),
                 "l"(src), "r"(bytes), "r"(bar)
                 : "memory");
#endif
}
TN_DEV void tn_bulk_store(void *dst, unsigned src, unsigned bytes) {
#ifdef TN_HOST
    tn_emu->bulk_store(tn_emu_self, dst, src, bytes);
#else
    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(dst), "r"(src), "r"(bytes)
                 : "memory");
#endif
}
// Bulk stores are waited for by groups of the thread that started them.
TN_DEV void tn_bulk_commit() {
#ifdef TN_HOST
    tn_emu->bulk_commit(tn_emu_self);
#else
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
#endif
}
template <int N> TN_DEV void tn_bulk_wait() {
#ifdef TN_HOST
    tn_emu->bulk_wait(tn_emu_self, N, 0);
#else
    asm volatile("cp.async.bulk.wait_group %0;" ::"n"(N) : "memory");
#endif
}
// Until they have read shared memory, which may then be written again.
template <int N> TN_DEV void tn_bulk_wait_read() {
#ifdef TN_HOST
    tn_emu->bulk_wait(tn_emu_self, N, 1);
#else
    asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(N) : "memory");
#endif
}

// Tensor copies of boxes at coordinates c, innermost dimension first.  c[0] is a multiple of 16 bytes, and a store's
// coordinates are not negative; a store writes whole 16-byte chunks, so that the rows of its tensor are padded to those.
// With a swizzle, rows of a box are as far apart in shared memory as the swizzle is wide.  One overload for each number
// of dimensions.
#define TN_TMA_COORDS1 "r"(c[0])
#define TN_TMA_COORDS2 TN_TMA_COORDS1, "r"(c[1])
#define TN_TMA_COORDS3 TN_TMA_COORDS2, "r"(c[2])
#define TN_TMA_COORDS4 TN_TMA_COORDS3, "r"(c[3])
#define TN_TMA_COORDS5 TN_TMA_COORDS4, "r"(c[4])
#ifdef TN_HOST
template <int RANK> TN_DEV void tn_tma_load(unsigned dst, const tn_tensor_map *map, const int (&c)[RANK], unsigned bar) {
    tn_emu->tma_load(tn_emu_self, dst, map, c, RANK, nullptr, bar, 0);
}
// To the same address of every block of the mask, whose mbarriers at `bar` count the bytes.
template <int RANK>
TN_DEV void tn_tma_load_multicast(unsigned dst, const tn_tensor_map *map, const int (&c)[RANK], unsigned bar,
                                  unsigned short blocks) {
    tn_emu->tma_load(tn_emu_self, dst, map, c, RANK, nullptr, bar, blocks);
}
// c: channel, w, (h, (d,)) n; offsets of w, (h, (d)).
template <int RANK>
TN_DEV void tn_tma_load_im2col(unsigned dst, const tn_tensor_map *map, const int (&c)[RANK],
                               const unsigned short (&offsets)[RANK - 2], unsigned bar) {
    tn_emu->tma_load(tn_emu_self, dst, map, c, RANK, offsets, bar, 0);
}
template <int RANK>
TN_DEV void tn_tma_load_im2col_multicast(unsigned dst, const tn_tensor_map *map, const int (&c)[RANK],
                                         const unsigned short (&offsets)[RANK - 2], unsigned bar,
                                         unsigned short blocks) {
    tn_emu->tma_load(tn_emu_self, dst, map, c, RANK, offsets, bar, blocks);
}
// Into L2 alone.
template <int RANK> TN_DEV void tn_tma_prefetch(const tn_tensor_map *map, const int (&c)[RANK]) {
    (void)map, (void)c;
}
template <int RANK> TN_DEV void tn_tma_store(const tn_tensor_map *map, const int (&c)[RANK], unsigned src) {
    tn_emu->tma_store(tn_emu_self, map, c, RANK, src);
}
#else
#define TN_TMA_LOADS(RANK, LIST, LIST_STORE, MASK)                                                                     \
    TN_DEV void tn_tma_load(unsigned dst, const tn_tensor_map *map, const int (&c)[RANK], unsigned bar) {              \
        asm volatile("cp.async.bulk.tensor." #RANK "d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], "  \
                     "[%1, {" LIST "}], [%2];" ::"r"(dst),                                                             \
                     "l"(map), "r"(bar), TN_TMA_COORDS##RANK                                                           \
                     : "memory");                                                                                      \
    }                                                                                                                  \
    TN_DEV void tn_tma_load_multicast(unsigned dst, const tn_tensor_map *map, const int (&c)[RANK], unsigned bar,      \
                                      unsigned short blocks) {                                                         \
        asm volatile("cp.async.bulk.tensor." #RANK "d.shared::cluster.global.tile.mbarrier::complete_tx::bytes."        \
                     "multicast::cluster [%0], [%1, {" LIST "}], [%2], " MASK ";" ::"r"(dst),                          \
                     "l"(map), "r"(bar), TN_TMA_COORDS##RANK, "h"(blocks)                                              \
                     : "memory");                                                                                      \
    }                                                                                                                  \
    TN_DEV void tn_tma_prefetch(const tn_tensor_map *map, const int (&c)[RANK]) {                                      \
        asm volatile("cp.async.bulk.prefetch.tensor." #RANK "d.L2.global.tile [%0, {" LIST_STORE "}];" ::"l"(map),       \
                     "r"(0), TN_TMA_COORDS##RANK                                                                       \
                     : "memory");                                                                                      \
    }                                                                                                                  \
    TN_DEV void tn_tma_store(const tn_tensor_map *map, const int (&c)[RANK], unsigned src) {                           \
        asm volatile("cp.async.bulk.tensor." #RANK "d.global.shared::cta.tile.bulk_group [%0, {" LIST_STORE            \
                     "}], [%1];" ::"l"(map),                                                                           \
                     "r"(src), TN_TMA_COORDS##RANK                                                                     \
                     : "memory");                                                                                      \
    }
TN_TMA_LOADS(1, "%3", "%2", "%4")
TN_TMA_LOADS(2, "%3, %4", "%2, %3", "%5")
TN_TMA_LOADS(3, "%3, %4, %5", "%2, %3, %4", "%6")
TN_TMA_LOADS(4, "%3, %4, %5, %6", "%2, %3, %4, %5", "%7")
TN_TMA_LOADS(5, "%3, %4, %5, %6, %7", "%2, %3, %4, %5, %6", "%8")
#define TN_TMA_OFFSETS3 "h"(offsets[0])
#define TN_TMA_OFFSETS4 TN_TMA_OFFSETS3, "h"(offsets[1])
#define TN_TMA_OFFSETS5 TN_TMA_OFFSETS4, "h"(offsets[2])
#define TN_TMA_IM2COL(RANK, LIST, OFFSETS, MASK)                                                                       \
    TN_DEV void tn_tma_load_im2col(unsigned dst, const tn_tensor_map *map, const int (&c)[RANK],                       \
                                   const unsigned short (&offsets)[RANK - 2], unsigned bar) {                          \
        asm volatile("cp.async.bulk.tensor." #RANK "d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes [%0], " \
                     "[%1, {" LIST "}], [%2], {" OFFSETS "};" ::"r"(dst),                                              \
                     "l"(map), "r"(bar), TN_TMA_COORDS##RANK, TN_TMA_OFFSETS##RANK                                     \
                     : "memory");                                                                                      \
    }                                                                                                                  \
    TN_DEV void tn_tma_load_im2col_multicast(unsigned dst, const tn_tensor_map *map, const int (&c)[RANK],             \
                                             const unsigned short (&offsets)[RANK - 2], unsigned bar,                  \
                                             unsigned short blocks) {                                                  \
        asm volatile("cp.async.bulk.tensor." #RANK "d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes."      \
                     "multicast::cluster [%0], [%1, {" LIST "}], [%2], {" OFFSETS "}, " MASK ";" ::"r"(dst),           \
                     "l"(map), "r"(bar), TN_TMA_COORDS##RANK, TN_TMA_OFFSETS##RANK, "h"(blocks)                        \
                     : "memory");                                                                                      \
    }
TN_TMA_IM2COL(3, "%3, %4, %5", "%6", "%7")
TN_TMA_IM2COL(4, "%3, %4, %5, %6", "%7, %8", "%9")
TN_TMA_IM2COL(5, "%3, %4, %5, %6, %7", "%8, %9, %10", "%11")
#endif
TN_DEV void tn_tma_prefetch(const tn_tensor_map *map) {
#ifdef TN_HOST
    (void)map;
#else
    asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
#endif
}

// Stores the matrices that tn_ldmatrix4 loads: N of them (1, 2, 4); lanes 0..8N-1 give the rows' addresses.
template <bool TRANS, int N> TN_DEV void tn_stmatrix(unsigned addr, const unsigned (&r)[N]) {
#ifdef TN_HOST
    unsigned x[N];
    for (int i = 0; i < N; i++) x[i] = r[i];
    tn_emu->stmatrix(tn_emu_self, addr, N, TRANS, x);
#else
#define TN_STMATRIX(FORM, LIST, ...)                                                                                   \
    asm volatile("stmatrix.sync.aligned.m8n8." FORM ".shared.b16 [%0], {" LIST "};" ::"r"(addr), __VA_ARGS__ : "memory")
    if constexpr (N == 1 && !TRANS) TN_STMATRIX("x1", "%1", "r"(r[0]));
    if constexpr (N == 1 && TRANS) TN_STMATRIX("x1.trans", "%1", "r"(r[0]));
    if constexpr (N == 2 && !TRANS) TN_STMATRIX("x2", "%1, %2", "r"(r[0]), "r"(r[1]));
    if constexpr (N == 2 && TRANS) TN_STMATRIX("x2.trans", "%1, %2", "r"(r[0]), "r"(r[1]));
    if constexpr (N == 4 && !TRANS)
        TN_STMATRIX("x4", "%1, %2, %3, %4", "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3]));
    if constexpr (N == 4 && TRANS)
        TN_STMATRIX("x4.trans", "%1, %2, %3, %4", "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3]));
#undef TN_STMATRIX
#endif
}

// True in one lane of the warp.
TN_DEV bool tn_elect() {
#ifdef TN_HOST
    (void)__ballot_sync(0xffffffffu, 1);
    return tn_emu_self->lane == 0;
#else
    unsigned elected;
    asm volatile("{.reg .pred p; elect.sync _|p, 0xffffffff; selp.u32 %0, 1, 0, p;}" : "=r"(elected) : : "memory");
    return elected != 0;
#endif
}
// Registers of each thread of the warpgroup from here on, a multiple of 8 (sm_90a).
template <int N> TN_DEV void tn_more_registers() {
#if !defined(TN_HOST) && defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
#endif
}
template <int N> TN_DEV void tn_fewer_registers() {
#if !defined(TN_HOST) && defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
#endif
}
#endif
