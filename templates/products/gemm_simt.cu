// gemm_simt.cu: C[b, m, n] = epilogue(sum over k of A[b, m, k] * B[b, k, n]) in exact float32 with FMA instructions.
//
// tn_simt.cuh's tiles; operands come through the generated tn_load_a / tn_load_b, so any prologue and any float type works.
//
//! kernel  gemm_simt  float32 GEMM with fused prologue and epilogue
//! knob    BM      32 64 128
//! knob    BN      32 64 128
//! knob    BK      8 16
//! knob    TM      4 8
//! knob    TN      4 8
//! knob    SPLITK  1 2 4 8
//! require BM * BN / (TM * TN) >= 32 && BM * BN / (TM * TN) <= 256
//! require SPLITK == 1 || (CLUSTERS && SPLITK * BK * 2 <= hint(K) && BM * (BN + 8) * 4 <= SMEM_MAX)
#include "tn_mma.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"
#include "tn_simt.cuh"

struct tile_sink {
    const tn_args &args;
    int b, m0, n0;
    template <int VEC> TN_MEMBER auto at(int m, int n) const {
        m += m0;
        n += n0;
        return tn_finish_at<VEC, float>(args, b, m, n, m < (int)TN_M && n < (int)TN_N);
    }
};

extern "C" __global__ void __launch_bounds__(THREADS) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_DYNAMIC_SMEM(memory);
    const int tiles_m = ((int)TN_M + BM - 1) / BM, tiles_n = ((int)TN_N + BN - 1) / BN;
    const int b = (int)blockIdx.x / (tiles_m * tiles_n);
    int tm, tn, k0, k1;
    tn_raster((int)blockIdx.x - b * (tiles_m * tiles_n), tiles_m, tiles_n, tm, tn);
    tn_split_range(((int)TN_K + BK - 1) / BK, (int)blockIdx.z, k0, k1);
    const int m0 = tm * BM, n0 = tn * BN;

    tn_simt_loader<BM, TN_A_VEC, TN_A_KMAJOR> a;
    tn_simt_loader<BN, TN_B_VEC, TN_B_KMAJOR> bt;
    float acc[TM][TN];
    tn_simt_product(
        a, bt,
        [&](int k, int row, int col, float(&x)[TN_A_VEC]) {
            row += TN_A_KMAJOR ? m0 : k;
            col += TN_A_KMAJOR ? k : m0;
            if (row < (int)(TN_A_KMAJOR ? TN_M : TN_K) && col < (int)(TN_A_KMAJOR ? TN_K : TN_M))
                tn_load_a(args, tn_batch_a(args, b), row, col, x);
        },
        [&](int k, int row, int col, float(&x)[TN_B_VEC]) {
            row += TN_B_KMAJOR ? n0 : k;
            col += TN_B_KMAJOR ? k : n0;
            if (row < (int)(TN_B_KMAJOR ? TN_N : TN_K) && col < (int)(TN_B_KMAJOR ? TN_K : TN_N))
                tn_load_b(args, tn_batch_b(args, b), row, col, x);
        },
        k0, k1, (float *)memory, acc);

    const tile_sink sink = {args, b, m0, n0};
    tn_simt_finish<TN_EPI_VEC>(acc, tn_smem_addr(memory), sink);
}
#include "tn_variant_end.cuh"
