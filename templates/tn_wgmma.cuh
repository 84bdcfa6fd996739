// tn_wgmma.cuh: Hopper's warpgroup matrix instructions (sm_90a), one small function each.
//
// A warpgroup is four consecutive warps.  wgmma reads both operands from shared memory, runs in the background and adds to the
// registers of its 128 threads, which must not be touched until tn_wgmma_wait says so.  Operands are tiles in the 128-byte
// swizzle: panels of rows of 128 bytes, whose 16-byte chunk c of row r stands at chunk c ^ (r % 8), 1024-byte aligned.
//   K-major:   a row is an m or n and holds 64 elements along k.
//   otherwise: a row is a k and holds 64 elements along m or n; the panels of 64 k follow each other along m or n.
#pragma once
#include "tn_mma.cuh"

enum { TN_PANEL_ROW = 128, TN_PANEL = 64 * TN_PANEL_ROW, TN_SWIZZLE_ATOM = 8 * TN_PANEL_ROW };

// Address of chunk `chunk` (of 8) of row `row`.
TN_DEV unsigned tn_panel_chunk(unsigned tile, int row, int chunk) {
    return tile + (unsigned)(row * TN_PANEL_ROW + ((chunk ^ (row & 7)) << 4));
}

// What wgmma is told about a tile: address, distance between panels along m or n, distance between groups of eight
// rows, 128-byte swizzle; addresses and distances in 16 bytes.
TN_DEV unsigned long long tn_wgmma_tile(unsigned addr) {
    return (unsigned long long)((addr & 0x3ffffu) >> 4) | (unsigned long long)(TN_PANEL >> 4) << 16 |
           (unsigned long long)(TN_SWIZZLE_ATOM >> 4) << 32 | 1ull << 62;
}
// The same tile, 16 elements of k further.
template <bool KMAJOR> TN_DEV unsigned long long tn_wgmma_step(unsigned long long tile, int steps) {
    return tile + (unsigned long long)(steps * (KMAJOR ? 32 : 16 * TN_PANEL_ROW) >> 4);
}

// The block's dynamic shared memory, aligned for the swizzle.
#ifdef TN_HOST
#define TN_SWIZZLED_SMEM(name) unsigned char *const name = (unsigned char *)tn_emu->shared_dynamic(tn_emu_self, 1024)
#else
#define TN_SWIZZLED_SMEM(name) extern __shared__ __align__(1024) unsigned char name[]
#endif

// Makes this thread's earlier writes of shared memory, copies that it has waited for included, visible to wgmma (after a barrier).
TN_DEV void tn_fence_wgmma_operands() {
#ifdef TN_HOST
    tn_emu->fence(tn_emu_self, TN_EMU_FENCE_PROXY_ASYNC);
#else
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}
// Orders accesses of accumulator registers before the wgmmas that follow.
TN_DEV void tn_wgmma_fence() {
#ifdef TN_HOST
    tn_emu->wgmma_fence(tn_emu_self);
#else
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}
TN_DEV void tn_wgmma_commit() {
#ifdef TN_HOST
    tn_emu->wgmma_commit(tn_emu_self);
#else
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
}
// Waits until at most N of the warpgroup's newest groups are still running.
template <int N> TN_DEV void tn_wgmma_wait() {
#ifdef TN_HOST
    tn_emu->wgmma_wait(tn_emu_self, N);
#else
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
#endif
}
// Keeps the compiler from moving uses of the accumulators across a wait or a fence.
template <int N> TN_DEV void tn_wgmma_pin(float (&d)[N]) {
#ifdef TN_HOST
    (void)d;
#else
    TN_UNROLL
    for (int i = 0; i < N; i++) asm volatile("" : "+f"(d[i])::"memory");
#endif
}

// d += A (64 x 16) * B (16 x 2N).  With g = lane / 4 and t = lane % 4 of warp w: d[4j], d[4j+1] are row 16w + g, columns 8j + 2t
// and 8j + 2t + 1; d[4j+2], d[4j+3] the same of row g + 8.
#ifdef TN_HOST
template <bool TRANS_A, bool TRANS_B, int ACC>
TN_DEV void tn_wgmma(float (&d)[ACC], unsigned long long a, unsigned long long b, tn_half) {
    tn_emu->wgmma(tn_emu_self, TN_EMU_F16, TN_EMU_F16, 2 * ACC, (unsigned *)d, nullptr, a, b, 1, TRANS_A, TRANS_B);
}
template <bool TRANS_A, bool TRANS_B, int ACC>
TN_DEV void tn_wgmma(float (&d)[ACC], unsigned long long a, unsigned long long b, tn_bf16) {
    tn_emu->wgmma(tn_emu_self, TN_EMU_BF16, TN_EMU_BF16, 2 * ACC, (unsigned *)d, nullptr, a, b, 1, TRANS_A, TRANS_B);
}
#else
#define TN_REGS10(t) "%" #t "0,%" #t "1,%" #t "2,%" #t "3,%" #t "4,%" #t "5,%" #t "6,%" #t "7,%" #t "8,%" #t "9,"
#define TN_D4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define TN_D16(i) TN_D4(i), TN_D4(i + 4), TN_D4(i + 8), TN_D4(i + 12)
#define TN_D32(i) TN_D16(i), TN_D16(i + 16)
#define TN_WGMMA(N, TYPE, REGS, A, B, ADD, TA, TB, ...)                                                                \
    asm volatile("{.reg .pred add; setp.ne.b32 add, " ADD ", 0; wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE    \
                 "." TYPE " {" REGS "}, " A ", " B ", add, 1, 1, " TA ", " TB ";}"                                       \
                 : __VA_ARGS__                                                                                         \
                 : "l"(a), "l"(b), "r"(1), "n"(TRANS_A), "n"(TRANS_B))
#define TN_WGMMA_SHAPES(ELEM, TYPE)                                                                                    \
    template <bool TRANS_A, bool TRANS_B>                                                                              \
    TN_DEV void tn_wgmma(float (&d)[16], unsigned long long a, unsigned long long b, ELEM) {                           \
        TN_WGMMA(32, TYPE, TN_REGS10() "%10,%11,%12,%13,%14,%15", "%16", "%17", "%18", "%19", "%20", TN_D16(0));       \
    }                                                                                                                  \
    template <bool TRANS_A, bool TRANS_B>                                                                              \
    TN_DEV void tn_wgmma(float (&d)[32], unsigned long long a, unsigned long long b, ELEM) {                           \
        TN_WGMMA(64, TYPE, TN_REGS10() TN_REGS10(1) TN_REGS10(2) "%30,%31", "%32", "%33", "%34", "%35", "%36",         \
                 TN_D32(0));                                                                                           \
    }                                                                                                                  \
    template <bool TRANS_A, bool TRANS_B>                                                                              \
    TN_DEV void tn_wgmma(float (&d)[48], unsigned long long a, unsigned long long b, ELEM) {                           \
        TN_WGMMA(96, TYPE,                                                                                             \
                 TN_REGS10() TN_REGS10(1) TN_REGS10(2) TN_REGS10(3) "%40,%41,%42,%43,%44,%45,%46,%47", "%48", "%49",   \
                 "%50", "%51", "%52", TN_D32(0), TN_D16(32));                                                          \
    }                                                                                                                  \
    template <bool TRANS_A, bool TRANS_B>                                                                              \
    TN_DEV void tn_wgmma(float (&d)[64], unsigned long long a, unsigned long long b, ELEM) {                           \
        TN_WGMMA(128, TYPE,                                                                                            \
                 TN_REGS10() TN_REGS10(1) TN_REGS10(2) TN_REGS10(3) TN_REGS10(4) TN_REGS10(5) "%60,%61,%62,%63", "%64", \
                 "%65", "%66", "%67", "%68", TN_D32(0), TN_D32(32));                                                   \
    }                                                                                                                  \
    template <bool TRANS_A, bool TRANS_B>                                                                              \
    TN_DEV void tn_wgmma(float (&d)[128], unsigned long long a, unsigned long long b, ELEM) {                          \
        TN_WGMMA(256, TYPE,                                                                                            \
                 TN_REGS10() TN_REGS10(1) TN_REGS10(2) TN_REGS10(3) TN_REGS10(4) TN_REGS10(5) TN_REGS10(6) TN_REGS10(7) \
                     TN_REGS10(8) TN_REGS10(9) TN_REGS10(10) TN_REGS10(11) "%120,%121,%122,%123,%124,%125,%126,%127",  \
                 "%128", "%129", "%130", "%131", "%132", TN_D32(0), TN_D32(32), TN_D32(64), TN_D32(96));               \
    }
TN_WGMMA_SHAPES(tn_half, "f16")
TN_WGMMA_SHAPES(tn_bf16, "bf16")

#endif
