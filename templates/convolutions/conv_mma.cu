// conv_mma.cu: NHWC convolution (1-D or 2-D) as implicit GEMM on tensor cores: f16, bf16, tf32 (float32),
// or integers of 8 bits that are summed in int32.
//
// m is the output pixel (image, oh, ow), n the output channel of a group, k = (r, s, c) over the filter window and the
// group's input channels; filters are stored [O][R][S][C/groups], so they are a K-major matrix.  Tiles, pipeline and epilogue are
// tn_tile.cuh's.  A row of the A tile is a pixel's window: each thread computes the pixels of its rows once, and for every k tile the
// (r, s, c) of its 16-byte chunk, which is the same for all of its rows.  Padding and edges become zero-filled copies (FILL: of what
// is padded with, where that is not 0).
//
// PACK: the filters' tiles lie in memory as a slot holds them.  X_ASYNC: channels come in 16-byte chunks straight from memory.
// Otherwise (few channels: the stem; or a fused prologue) chunks are gathered X_VEC elements at a time by the generated tn_load_x.
//
//! kernel  conv_mma  implicit-GEMM convolution on tensor cores, NHWC
//! knob    BM      16 32 64 128 256
//! knob    BN      32 64 128 256
//! knob    KBYTES  64 128 256
//! knob    STAGES  2 3 4 5
//! knob    WARPS   2 4 8
//! knob    SPLITK  1 2 4 8
//! knob    EPI     0 1
//! knob    SLICES  1 2 4
//! switch  PACK    0 1
//! require PACK == 0 || (B_PACKS && (!B_ASYNC || hint(M) <= 4096))
//! require SPLITK == 1 || (CLUSTERS && EPI == 1)
//! require SLICES == 1 || EPI == 1
//! require WARPS >= SLICES * 2 || (WARPS == 4 && SLICES == 4)
//! require STAGES * KBYTES >= 192 && STAGES * KBYTES <= (SLICES == 1 ? 512 : 1024)
//! require KBYTES >= SLICES * 32 && (KBYTES <= 128 || SLICES > 1)
//! require STAGES * KBYTES <= 256 || STAGES * SPLITK * KBYTES <= K * ELT + SPLITK * KBYTES
//! require BM * BN * SLICES <= WARPS * 4096 && BM * BN * SLICES >= WARPS * 512 && BM * BN <= (SLICES == 1 ? 32768 : 4096)
//! require STAGES * (BM + BN) * KBYTES <= SMEM_MAX && (EPI == 0 || SLICES * BM * (BN + 8) * 4 <= SMEM_MAX)
//! require X_ASYNC || BM * KBYTES <= WARPS * 32 * 64
#include "tn_mma.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"
#include "tn_window.cuh"

#if !TN_PACK
// The B operand: a group's filters.
struct filters {
    typedef tn_elem_b elem;
    static constexpr bool ASYNC = TN_B_ASYNC, KMAJOR = true;
    static constexpr int VEC = TN_B_VEC;
#if TN_B_ASYNC
    TN_DEV const tn_elem_b *at(const tn_args &args, int group, int o, int k) {
        return tn_b(args) + tn_offset_b(args, 0, group * TN_N + o, k);
    }
#else
    template <class T> TN_DEV void load(const tn_args &args, int group, int o, int k, T (&x)[VEC]) {
        tn_load_b(args, 0, group * TN_N + o, k, x);
    }
#endif
};
#endif

extern "C" __global__ void __launch_bounds__(THREADS) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_DYNAMIC_SMEM(memory);
    const unsigned smem = tn_smem_addr(memory);
    const conv_block at(args);

    window_loader la(args, at.group, at.tm * BM);
#if TN_PACK
    tn_packed_loader<tn_sums> lb(tn_b(args), at.group * TN_B_BANDS + at.tn, TN_B_TILES);
#else
    tn_matrix_loader<filters, BN> lb(args, at.group, at.tn * BN, TN_N, TN_K);
#endif
    tn_sums acc;
    tn_pipeline(la, lb, at.k0, at.k1, smem, acc);

    const pixel_sink sink = {args, at};
    if constexpr (TN_EPI) tn_finish_shared<TN_EPI_VEC>(acc, smem, sink);
    else tn_finish_direct<TN_EPI_VEC>(acc, sink);
}
#include "tn_variant_end.cuh"
