// conv_simt.cu: NHWC convolution (1-D or 2-D) as implicit GEMM in exact float32 with FMA instructions.
//
// As conv_mma.cu: m is the output pixel, n the output channel of a group, k = (r, s, c); tiles are tn_simt.cuh's.  Inputs
// and filters come through the generated tn_load_x / tn_load_b, X_VEC consecutive channels at a time.
//
//! kernel  conv_simt  implicit-GEMM convolution in float32, NHWC
//! knob    BM      32 64 128
//! knob    BN      32 64 128
//! knob    BK      8 16
//! knob    TM      4 8
//! knob    TN      4 8
//! knob    SPLITK  1 2 4 8
//! require BM * BN / (TM * TN) >= 32 && BM * BN / (TM * TN) <= 256
//! require SPLITK == 1 || (CLUSTERS && SPLITK * BK * 2 <= K && BM * (BN + 8) * 4 <= SMEM_MAX)
#include "tn_mma.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"
#include "tn_simt.cuh"

struct pixel_sink {
    const tn_args &args;
    int group, m0, n0;
    template <int VEC> TN_MEMBER auto at(int m, int n) const {
        m += m0;
        n += n0;
        return tn_finish_at<VEC, float>(args, 0, m, group * TN_N + n, m < (int)TN_M && n < TN_N);
    }
};

// X_VEC channels at filter position k of output pixel m; leaves x at zero in the padding and outside.
TN_DEV void load_window(const tn_args &args, int group, int m, int k, float (&x)[TN_X_VEC]) {
    const int row = m / (int)TN_OW, image = row / (int)TN_OH;
    const int rs = k / TN_C, c = k - rs * TN_C, r = rs / TN_S, s = rs - r * TN_S;
    const int ih = (row - image * (int)TN_OH) * TN_STRIDE_H - TN_PAD_H + r * TN_DILATION_H;
    const int iw = (m - row * (int)TN_OW) * TN_STRIDE_W - TN_PAD_W + s * TN_DILATION_W;
    if (m < (int)TN_M && k < TN_K && (unsigned)ih < (unsigned)TN_H && (unsigned)iw < (unsigned)TN_W)
        tn_load_x(args, image, ih, iw, group * TN_C + c, x);
}

extern "C" __global__ void __launch_bounds__(THREADS) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_DYNAMIC_SMEM(memory);
    const int tiles_m = ((int)TN_M + BM - 1) / BM, tiles_n = (TN_N + BN - 1) / BN;
    const int group = TN_GROUPS == 1 ? 0 : (int)blockIdx.x / (tiles_m * tiles_n);
    int tm, tn, k0, k1;
    tn_raster((int)blockIdx.x - group * (tiles_m * tiles_n), tiles_m, tiles_n, tm, tn);
    tn_split_range((TN_K + BK - 1) / BK, (int)blockIdx.z, k0, k1);
    const int m0 = tm * BM, n0 = tn * BN;

    tn_simt_loader<BM, TN_X_VEC, true> a;
    tn_simt_loader<BN, TN_B_VEC, true> b;
    float acc[TM][TN];
    tn_simt_product(
        a, b,
        [&](int k, int row, int col, float(&x)[TN_X_VEC]) { load_window(args, group, m0 + row, k + col, x); },
        [&](int k, int row, int col, float(&x)[TN_B_VEC]) {
            if (n0 + row < TN_N && k + col < TN_K) tn_load_b(args, 0, group * TN_N + n0 + row, k + col, x);
        },
        k0, k1, (float *)memory, acc);

    const pixel_sink sink = {args, group, m0, n0};
    tn_simt_finish<TN_EPI_VEC>(acc, tn_smem_addr(memory), sink);
}
#include "tn_variant_end.cuh"
