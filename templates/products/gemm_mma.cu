// gemm_mma.cu: C[b, m, n] = epilogue(sum over k of A[b, m, k] * B[b, k, n]) on tensor cores: f16, bf16, tf32 (float32),
// or integers of 8 bits that are summed in int32.
//
// A block computes a BM x BN tile in k steps of KBYTES bytes through a STAGES-deep cp.async pipeline (tn_tile.cuh).  Either
// operand may be stored along k or along m / n; one without 16-byte chunks, or with a fused prologue, is loaded through registers by
// the generated tn_load_a / tn_load_b.  PACK: B is a constant whose tiles lie in memory as a slot holds them, whatever N and K
// are.  Pointwise convolutions (1x1, stride 1, NHWC) are this GEMM too: m is the pixel.
//
//! kernel  gemm_mma  tensor-core GEMM with fused prologue and epilogue
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
//! require STAGES * KBYTES <= 256 || STAGES * SPLITK * KBYTES <= hint(K) * ELT + SPLITK * KBYTES
//! require BM * BN * SLICES <= WARPS * 4096 && BM * BN * SLICES >= WARPS * 512 && BM * BN <= (SLICES == 1 ? 32768 : 4096)
//! require STAGES * (BM + BN) * KBYTES <= SMEM_MAX && (EPI == 0 || SLICES * BM * (BN + 8) * 4 <= SMEM_MAX)
//! require SUMS == 0 || (EPI == 1 && N_VEC == 8 && BM * BN >= SPLITK * 256)
//! require A_KMAJOR || (BM >= 32 && BM * ELT / 16 <= WARPS * 32)
//! require PACK || B_KMAJOR || BN * ELT / 16 <= WARPS * 32
#include "tn_mma.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"
#include "tn_gemm.cuh"

#if !TN_PACK
struct operand_b {
    typedef tn_elem_b elem;
    static constexpr bool ASYNC = TN_B_ASYNC, KMAJOR = TN_B_KMAJOR;
    static constexpr int VEC = TN_B_VEC;
#if TN_B_ASYNC
    TN_DEV const tn_elem_b *at(const tn_args &args, int b, int row, int col) {
        return tn_b(args) + tn_offset_b(args, tn_batch_b(args, b), row, col);
    }
#else
    template <class T> TN_DEV void load(const tn_args &args, int b, int row, int col, T (&x)[VEC]) {
        tn_load_b(args, tn_batch_b(args, b), row, col, x);
    }
#endif
};
#endif

extern "C" __global__ void __launch_bounds__(THREADS) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_DYNAMIC_SMEM(memory);
    const unsigned smem = tn_smem_addr(memory);
    const gemm_block at(args);

    tn_matrix_loader<operand_a, BM> la(args, at.b, at.tm * BM, (int)TN_M, (int)TN_K);
#if TN_PACK
    tn_packed_loader<tn_sums> lb(tn_b(args), tn_batch_b(args, at.b) * TN_B_BANDS + at.tn, TN_B_TILES);
#else
    tn_matrix_loader<operand_b, BN> lb(args, at.b, at.tn * BN, (int)TN_N, (int)TN_K);
#endif
    tn_sums acc;
    tn_pipeline(la, lb, at.k0, at.k1, smem, acc);

    const tile_sink sink = {args, at};
    if constexpr (TN_EPI) tn_finish_shared<TN_EPI_VEC>(acc, smem, sink);
    else tn_finish_direct<TN_EPI_VEC>(acc, sink);
}
#include "tn_variant_end.cuh"
