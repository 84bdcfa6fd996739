// gemm_sparse.cu: C[b, m, n] = epilogue(sum over k of A[b, m, k] * B[b, k, n]) on sparse tensor cores, where B is a constant, f16 or
// bf16, of which at most two of each four elements along k are not zero.
//
// A block computes a BM x BN tile as gemm_mma.cu's does, but B's tiles hold two of each four elements and where they stand
// (tn_sparse.cuh): 9/16 of the bytes, and half of the products.  An infinite or NaN element of A makes no NaN with a zero that is
// left out.
//
//! kernel  gemm_sparse  tensor-core GEMM with a 2:4 sparse weight
//! knob    BM      16 32 64 128 256
//! knob    BN      32 64 128 256
//! knob    KBYTES  64 128 256
//! knob    STAGES  2 3 4 5
//! knob    WARPS   2 4 8
//! knob    SPLITK  1 2 4 8
//! knob    EPI     1
//! knob    SLICES  1 2 4
//! knob    PACK    2
//! require SPLITK == 1 || CLUSTERS
//! require WARPS >= SLICES * 2 || (WARPS == 4 && SLICES == 4)
//! require STAGES * KBYTES >= 192 && STAGES * KBYTES <= (SLICES == 1 ? 512 : 1024)
//! require KBYTES >= SLICES * 64 && (KBYTES <= 128 || SLICES > 1)
//! require STAGES * KBYTES <= 256 || STAGES * SPLITK * KBYTES <= hint(K) * ELT + SPLITK * KBYTES
//! require BM * BN * SLICES <= WARPS * 4096 && BM * BN * SLICES >= WARPS * 512 && BM * BN <= (SLICES == 1 ? 32768 : 4096)
//! require STAGES * (BM * 16 + BN * 9) * KBYTES / 16 <= SMEM_MAX && SLICES * BM * (BN + 8) * 4 <= SMEM_MAX
//! require A_KMAJOR || (BM >= 32 && BM * ELT / 16 <= WARPS * 32)
#include "tn_mma.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"
#include "tn_gemm.cuh"
#include "tn_sparse.cuh"

extern "C" __global__ void __launch_bounds__(THREADS) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_DYNAMIC_SMEM(memory);
    const unsigned smem = tn_smem_addr(memory);
    const gemm_block at(args);

    tn_matrix_loader<operand_a, BM> la(args, at.b, at.tm * BM, (int)TN_M, (int)TN_K);
    tn_packed_loader<tn_sparse_sums> lb(tn_b(args), tn_batch_b(args, at.b) * TN_B_BANDS + at.tn, TN_B_TILES);
    tn_sparse_sums acc;
    tn_pipeline(la, lb, at.k0, at.k1, smem, acc);
    tn_finish_shared<TN_EPI_VEC>(acc, smem, tile_sink{args, at});
}
#include "tn_variant_end.cuh"
