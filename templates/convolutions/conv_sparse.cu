// conv_sparse.cu: NHWC convolution as implicit GEMM on sparse tensor cores, where of each four elements of a filter, in the order (r, s,
// c), at most two are not zero; f16 or bf16.
//
// A block computes its tile as conv_mma.cu's does, with the filters as gemm_sparse.cu has its weight.
//
//! kernel  conv_sparse  implicit-GEMM convolution with 2:4 sparse filters, NHWC
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
//! require STAGES * KBYTES <= 256 || STAGES * SPLITK * KBYTES <= K * ELT + SPLITK * KBYTES
//! require BM * BN * SLICES <= WARPS * 4096 && BM * BN * SLICES >= WARPS * 512 && BM * BN <= (SLICES == 1 ? 32768 : 4096)
//! require STAGES * (BM * 16 + BN * 9) * KBYTES / 16 <= SMEM_MAX && SLICES * BM * (BN + 8) * 4 <= SMEM_MAX
//! require X_ASYNC || BM * KBYTES <= WARPS * 32 * 64
#include "tn_mma.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"
#include "tn_window.cuh"
#include "tn_sparse.cuh"

extern "C" __global__ void __launch_bounds__(THREADS) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_DYNAMIC_SMEM(memory);
    const unsigned smem = tn_smem_addr(memory);
    const conv_block at(args);

    window_loader la(args, at.group, at.tm * BM);
    tn_packed_loader<tn_sparse_sums> lb(tn_b(args), at.group * TN_B_BANDS + at.tn, TN_B_TILES);
    tn_sparse_sums acc;
    tn_pipeline(la, lb, at.k0, at.k1, smem, acc);
    tn_finish_shared<TN_EPI_VEC>(acc, smem, pixel_sink{args, at});
}
#include "tn_variant_end.cuh"
