// tn_wgmma.cuh: Hopper's warpgroup matrix instructions (sm_90a), one small function each.
//
// A warpgroup is four consecutive warps.  wgmma reads both operands from shared memory, runs in the background and adds to the
// registers of its 128 threads, which must not be touched until tn_wgmma_wait says so.  Operands are tiles in the 128-byte
// swizzle: panels of rows of 128 bytes, whose 16-byte chunk c of row r stands at chunk c ^ (r % 8), 1024-byte aligned.
//   K-major:   a row is an m or n and holds 64 elements of 16 bits along k, or 128 of 8.
//   otherwise: a row is a k and holds 64 elements of 16 bits along m or n; the panels of 64 k follow each other along m or n.
#pragma once
#include "tn_mma.cuh"

enum { TN_PANEL_ROW = 128, TN_PANEL = 64 * TN_PANEL_ROW, TN_SWIZZLE_ATOM = 8 * TN_PANEL_ROW };

// Address of chunk `chunk` (of 8) of row `row`.
TN_DEV unsigned tn_panel_chunk(unsigned tile, int row, int chunk) {
    return tile + (unsigned)(row * TN_PANEL_ROW + ((chunk ^ (row & 7)) << 4));
}

// What wgmma is told about a tile: address, distance between panels along m or n, distance between groups of eight
// rows, 128-byte swizzle; addresses and distances in 16 bytes.
TN_DEV unsigned long long tn_wgmma_tile(unsigned addr, unsigned panel = TN_PANEL) {
    return (unsigned long long)((addr & 0x3ffffu) >> 4) | (unsigned long long)(panel >> 4) << 16 |
           (unsigned long long)(TN_SWIZZLE_ATOM >> 4) << 32 | 1ull << 62;
}
// The same tile, 16 elements of 16 bits of k further, or 32 of 8.
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
// x, which all lanes of a warp have.  By a shuffle, so that ptxas knows: what is computed from it, such as wgmma's descriptors, then stands
// in uniform registers.  Else some ten instructions stand before each wgmma.
template <class T> TN_DEV T tn_uniform(T x) { return tn_shuffle(x, 0); }
// The number of the warp's group of four.
TN_DEV int tn_warpgroup() { return tn_uniform((int)threadIdx.x / 128); }

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
#ifdef TN_HOST
template <class T, int N> TN_DEV void tn_wgmma_pin(T (&)[N]) {}
#else
template <int N> TN_DEV void tn_wgmma_pin(float (&d)[N]) {
    TN_UNROLL
    for (int i = 0; i < N; i++) asm volatile("" : "+f"(d[i])::"memory");
}
template <int N> TN_DEV void tn_wgmma_pin(int (&d)[N]) {
    TN_UNROLL
    for (int i = 0; i < N; i++) asm volatile("" : "+r"(d[i])::"memory");
}
#endif

// d += A (64 x 16) * B (16 x 2N), or of 8-bit integers, K-major, A (64 x 32) * B (32 x 2N).  With g = lane / 4 and t = lane % 4 of
// warp w: d[4j], d[4j+1] are row 16w + g, columns 8j + 2t and 8j + 2t + 1; d[4j+2], d[4j+3] the same of row g + 8.  The last two
// arguments are of the operands' types.  ADD false: d = A * B.  tn_wgmma_registers: A comes from registers, which must not be
// written until the product has been waited for; a[0] is row 16w + g, k = 2t and 2t + 1, a[1] of row g + 8, a[2] and a[3] of k + 8.
#ifdef TN_HOST
TN_DEV constexpr tn_emu_elem tn_emu_elem_of(tn_half) { return TN_EMU_F16; }
TN_DEV constexpr tn_emu_elem tn_emu_elem_of(tn_bf16) { return TN_EMU_BF16; }
TN_DEV constexpr tn_emu_elem tn_emu_elem_of(signed char) { return TN_EMU_S8; }
TN_DEV constexpr tn_emu_elem tn_emu_elem_of(unsigned char) { return TN_EMU_U8; }
template <bool TRANS_A, bool TRANS_B, bool ADD = true, class SUM, int ACC, class A, class B>
TN_DEV void tn_wgmma(SUM (&d)[ACC], unsigned long long a, unsigned long long b, A, B) {
    tn_emu->wgmma(tn_emu_self, tn_emu_elem_of(A()), tn_emu_elem_of(B()), 2 * ACC, (unsigned *)d, nullptr, a, b, ADD, TRANS_A,
                  TRANS_B);
}
template <bool TRANS_B, int ACC, class T>
TN_DEV void tn_wgmma_registers(float (&d)[ACC], const unsigned (&a)[4], unsigned long long b, T) {
    const tn_emu_elem e = tn_emu_elem_of(T());
    tn_emu->wgmma(tn_emu_self, e, e, 2 * ACC, (unsigned *)d, a, 0, b, 1, false, TRANS_B);
}
#else
#define TN_REGS10(t) "%" #t "0,%" #t "1,%" #t "2,%" #t "3,%" #t "4,%" #t "5,%" #t "6,%" #t "7,%" #t "8,%" #t "9,"
#define TN_D4(C, i) "+" C(d[i]), "+" C(d[i + 1]), "+" C(d[i + 2]), "+" C(d[i + 3])
#define TN_D16(C, i) TN_D4(C, i), TN_D4(C, i + 4), TN_D4(C, i + 8), TN_D4(C, i + 12)
#define TN_D32(C, i) TN_D16(C, i), TN_D16(C, i + 16)
// TAIL: what stands behind the predicate.
#define TN_WGMMA(N, TYPES, REGS, A, B, SCALE_D, TAIL, ...)                                                             \
    asm volatile("{.reg .pred add; setp.ne.b32 add, " SCALE_D ", 0; wgmma.mma_async.sync.aligned.m64n" #N TYPES        \
                 " {" REGS "}, " A ", " B ", add" TAIL ";}"                                                             \
                 : __VA_ARGS__                                                                                         \
                 : "l"(a), "l"(b), "r"((int)ADD), "n"(TRANS_A), "n"(TRANS_B))
#define TN_NO_TAIL(TA, TB)
#define TN_FLOAT_TAIL(TA, TB) ", 1, 1, " TA ", " TB
#define TN_WGMMA_SHAPES(A_ELEM, B_ELEM, SUM, C, TYPES, TAIL)                                                           \
    template <bool TRANS_A, bool TRANS_B, bool ADD = true>                                                             \
    TN_DEV void tn_wgmma(SUM (&d)[16], unsigned long long a, unsigned long long b, A_ELEM, B_ELEM) {                   \
        TN_WGMMA(32, TYPES, TN_REGS10() "%10,%11,%12,%13,%14,%15", "%16", "%17", "%18", TAIL("%19", "%20"),            \
                 TN_D16(C, 0));                                                                                        \
    }                                                                                                                  \
    template <bool TRANS_A, bool TRANS_B, bool ADD = true>                                                             \
    TN_DEV void tn_wgmma(SUM (&d)[32], unsigned long long a, unsigned long long b, A_ELEM, B_ELEM) {                   \
        TN_WGMMA(64, TYPES, TN_REGS10() TN_REGS10(1) TN_REGS10(2) "%30,%31", "%32", "%33", "%34", TAIL("%35", "%36"),  \
                 TN_D32(C, 0));                                                                                        \
    }                                                                                                                  \
    template <bool TRANS_A, bool TRANS_B, bool ADD = true>                                                             \
    TN_DEV void tn_wgmma(SUM (&d)[48], unsigned long long a, unsigned long long b, A_ELEM, B_ELEM) {                   \
        TN_WGMMA(96, TYPES,                                                                                            \
                 TN_REGS10() TN_REGS10(1) TN_REGS10(2) TN_REGS10(3) "%40,%41,%42,%43,%44,%45,%46,%47", "%48", "%49",   \
                 "%50", TAIL("%51", "%52"), TN_D32(C, 0), TN_D16(C, 32));                                              \
    }                                                                                                                  \
    template <bool TRANS_A, bool TRANS_B, bool ADD = true>                                                             \
    TN_DEV void tn_wgmma(SUM (&d)[64], unsigned long long a, unsigned long long b, A_ELEM, B_ELEM) {                   \
        TN_WGMMA(128, TYPES,                                                                                           \
                 TN_REGS10() TN_REGS10(1) TN_REGS10(2) TN_REGS10(3) TN_REGS10(4) TN_REGS10(5) "%60,%61,%62,%63", "%64", \
                 "%65", "%66", TAIL("%67", "%68"), TN_D32(C, 0), TN_D32(C, 32));                                       \
    }                                                                                                                  \
    template <bool TRANS_A, bool TRANS_B, bool ADD = true>                                                             \
    TN_DEV void tn_wgmma(SUM (&d)[128], unsigned long long a, unsigned long long b, A_ELEM, B_ELEM) {                  \
        TN_WGMMA(256, TYPES,                                                                                           \
                 TN_REGS10() TN_REGS10(1) TN_REGS10(2) TN_REGS10(3) TN_REGS10(4) TN_REGS10(5) TN_REGS10(6) TN_REGS10(7) \
                     TN_REGS10(8) TN_REGS10(9) TN_REGS10(10) TN_REGS10(11) "%120,%121,%122,%123,%124,%125,%126,%127",  \
                 "%128", "%129", "%130", TAIL("%131", "%132"), TN_D32(C, 0), TN_D32(C, 32), TN_D32(C, 64),             \
                 TN_D32(C, 96));                                                                                       \
    }
// Widths that attention has beside those.
#define TN_REGS80() TN_REGS10() TN_REGS10(1) TN_REGS10(2) TN_REGS10(3) TN_REGS10(4) TN_REGS10(5) TN_REGS10(6) TN_REGS10(7)
#define TN_WGMMA_FLOAT_SHAPES(ELEM, TYPES)                                                                             \
    template <bool TRANS_A, bool TRANS_B, bool ADD = true>                                                             \
    TN_DEV void tn_wgmma(float (&d)[40], unsigned long long a, unsigned long long b, ELEM, ELEM) {                     \
        TN_WGMMA(80, TYPES,                                                                                            \
                 TN_REGS10() TN_REGS10(1) TN_REGS10(2) "%30,%31,%32,%33,%34,%35,%36,%37,%38,%39", "%40", "%41", "%42", \
                 TN_FLOAT_TAIL("%43", "%44"), TN_D32("f", 0), TN_D4("f", 32), TN_D4("f", 36));                         \
    }                                                                                                                  \
    template <bool TRANS_A, bool TRANS_B, bool ADD = true>                                                             \
    TN_DEV void tn_wgmma(float (&d)[88], unsigned long long a, unsigned long long b, ELEM, ELEM) {                     \
        TN_WGMMA(176, TYPES, TN_REGS80() "%80,%81,%82,%83,%84,%85,%86,%87", "%88", "%89", "%90",                       \
                 TN_FLOAT_TAIL("%91", "%92"), TN_D32("f", 0), TN_D32("f", 32), TN_D16("f", 64), TN_D4("f", 80),        \
                 TN_D4("f", 84));                                                                                      \
    }                                                                                                                  \
    template <bool TRANS_A, bool TRANS_B, bool ADD = true>                                                             \
    TN_DEV void tn_wgmma(float (&d)[96], unsigned long long a, unsigned long long b, ELEM, ELEM) {                     \
        TN_WGMMA(192, TYPES, TN_REGS80() TN_REGS10(8) "%90,%91,%92,%93,%94,%95", "%96", "%97", "%98",                  \
                 TN_FLOAT_TAIL("%99", "%100"), TN_D32("f", 0), TN_D32("f", 32), TN_D32("f", 64));                      \
    }
TN_WGMMA_FLOAT_SHAPES(tn_half, "k16.f32.f16.f16")
TN_WGMMA_FLOAT_SHAPES(tn_bf16, "k16.f32.bf16.bf16")
TN_WGMMA_SHAPES(tn_half, tn_half, float, "f", "k16.f32.f16.f16", TN_FLOAT_TAIL)
TN_WGMMA_SHAPES(tn_bf16, tn_bf16, float, "f", "k16.f32.bf16.bf16", TN_FLOAT_TAIL)
TN_WGMMA_SHAPES(signed char, signed char, int, "r", "k32.s32.s8.s8", TN_NO_TAIL)
TN_WGMMA_SHAPES(unsigned char, unsigned char, int, "r", "k32.s32.u8.u8", TN_NO_TAIL)
TN_WGMMA_SHAPES(signed char, unsigned char, int, "r", "k32.s32.s8.u8", TN_NO_TAIL)
TN_WGMMA_SHAPES(unsigned char, signed char, int, "r", "k32.s32.u8.s8", TN_NO_TAIL)
#define TN_WGMMA_REGISTERS(N, TYPES, REGS, A, B, TB, ...)                                                              \
    asm volatile("wgmma.mma_async.sync.aligned.m64n" #N TYPES " {" REGS "}, {" A "}, " B ", 1, 1, 1, " TB ";"           \
                 : __VA_ARGS__                                                                                         \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(TRANS_B))
#define TN_WGMMA_REGISTERS_SHAPES(ELEM, TYPES)                                                                         \
    template <bool TRANS_B>                                                                                            \
    TN_DEV void tn_wgmma_registers(float (&d)[32], const unsigned (&a)[4], unsigned long long b, ELEM) {               \
        TN_WGMMA_REGISTERS(64, TYPES, TN_REGS10() TN_REGS10(1) TN_REGS10(2) "%30,%31", "%32,%33,%34,%35", "%36",       \
                           "%37", TN_D32("f", 0));                                                                     \
    }                                                                                                                  \
    template <bool TRANS_B>                                                                                            \
    TN_DEV void tn_wgmma_registers(float (&d)[48], const unsigned (&a)[4], unsigned long long b, ELEM) {               \
        TN_WGMMA_REGISTERS(96, TYPES,                                                                                  \
                           TN_REGS10() TN_REGS10(1) TN_REGS10(2) TN_REGS10(3) "%40,%41,%42,%43,%44,%45,%46,%47",       \
                           "%48,%49,%50,%51", "%52", "%53", TN_D32("f", 0), TN_D16("f", 32));                          \
    }                                                                                                                  \
    template <bool TRANS_B>                                                                                            \
    TN_DEV void tn_wgmma_registers(float (&d)[96], const unsigned (&a)[4], unsigned long long b, ELEM) {               \
        TN_WGMMA_REGISTERS(192, TYPES, TN_REGS80() TN_REGS10(8) "%90,%91,%92,%93,%94,%95", "%96,%97,%98,%99", "%100",  \
                           "%101", TN_D32("f", 0), TN_D32("f", 32), TN_D32("f", 64));                                  \
    }                                                                                                                  \
    template <bool TRANS_B>                                                                                            \
    TN_DEV void tn_wgmma_registers(float (&d)[128], const unsigned (&a)[4], unsigned long long b, ELEM) {              \
        TN_WGMMA_REGISTERS(256, TYPES,                                                                                 \
                           TN_REGS80() TN_REGS10(8) TN_REGS10(9) TN_REGS10(10) TN_REGS10(11)                           \
                           "%120,%121,%122,%123,%124,%125,%126,%127", "%128,%129,%130,%131", "%132", "%133",           \
                           TN_D32("f", 0), TN_D32("f", 32), TN_D32("f", 64), TN_D32("f", 96));                         \
    }                                                                                                                  \
    template <bool TRANS_B>                                                                                            \
    TN_DEV void tn_wgmma_registers(float (&d)[64], const unsigned (&a)[4], unsigned long long b, ELEM) {               \
        TN_WGMMA_REGISTERS(128, TYPES,                                                                                 \
                           TN_REGS10() TN_REGS10(1) TN_REGS10(2) TN_REGS10(3) TN_REGS10(4) TN_REGS10(5)                \
                           "%60,%61,%62,%63", "%64,%65,%66,%67", "%68", "%69", TN_D32("f", 0), TN_D32("f", 32));       \
    }
TN_WGMMA_REGISTERS_SHAPES(tn_half, "k16.f32.f16.f16")
TN_WGMMA_REGISTERS_SHAPES(tn_bf16, "k16.f32.bf16.bf16")

#endif
