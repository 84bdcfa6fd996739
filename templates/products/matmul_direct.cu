// matmul_direct.cu: matrix product of any dtype and any strides, batch axes broadcast: BM x BN tiles through shared memory,
// T x T results a thread.  The kernel that is always there; tensor-core and tiled ones are faster where they apply.
//! kernel  matmul_direct  y[b, m, n] = epilogue(sum of a[b, m, k] * b[b, k, n])
//! knob    BM     16 32 64
//! knob    BN     16 32 64 128
//! knob    T      1 2 4
//! require BM * BN / (T * T) >= 64 && BM * BN / (T * T) <= 512
//! require BM == 16 || BM < 2 * hint(M)
//! require BN == 16 || BN < 2 * hint(N)
#include "tn_device.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"

constexpr int BK = 16, THREADS = TN_BM * TN_BN / (TN_T * TN_T);

extern "C" __global__ void __launch_bounds__(THREADS) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_SHARED(tn_left, a, [BK][TN_BM + 1]);
    TN_SHARED(tn_right, b, [BK][TN_BN + 1]);
    TN_WAIT();
    const tn_index tiles_m = (TN_M + TN_BM - 1) / TN_BM, tiles_n = (TN_N + TN_BN - 1) / TN_BN;
    const tn_index batch = (tn_index)blockIdx.x / (tiles_m * tiles_n), tile = (tn_index)blockIdx.x % (tiles_m * tiles_n);
    const tn_index m0 = tile / tiles_n * TN_BM, n0 = tile % tiles_n * TN_BN;
    const int tid = (int)threadIdx.x, tm = tid / (TN_BN / TN_T), tn = tid % (TN_BN / TN_T);
    tn_acc acc[TN_T][TN_T];
    TN_UNROLL
    for (int i = 0; i < TN_T; ++i) {
        TN_UNROLL
        for (int j = 0; j < TN_T; ++j) acc[i][j] = (tn_acc)0;
    }
    for (tn_index k0 = 0; k0 < TN_K; k0 += BK) {
        for (int e = tid; e < TN_BM * BK; e += THREADS) { // neighbours load along the operand's inner axis
            const int k = TN_A_KINNER ? e % BK : e / TN_BM, m = TN_A_KINNER ? e / BK : e % TN_BM;
            tn_left x[1] = {(tn_left)0};
            if (m0 + m < TN_M && k0 + k < TN_K) tn_load_a(args, batch, m0 + m, k0 + k, x);
            a[k][m] = x[0];
        }
        for (int e = tid; e < TN_BN * BK; e += THREADS) {
            const int k = TN_B_KINNER ? e % BK : e / TN_BN, n = TN_B_KINNER ? e / BK : e % TN_BN;
            tn_right x[1] = {(tn_right)0};
            if (n0 + n < TN_N && k0 + k < TN_K) tn_load_b(args, batch, n0 + n, k0 + k, x);
            b[k][n] = x[0];
        }
        __syncthreads();
        TN_UNROLL
        for (int k = 0; k < BK; ++k) {
            TN_UNROLL
            for (int i = 0; i < TN_T; ++i) {
                TN_UNROLL
                for (int j = 0; j < TN_T; ++j)
                    acc[i][j] = tn_mad((tn_acc)a[k][i * (TN_BM / TN_T) + tm], (tn_acc)b[k][j * (TN_BN / TN_T) + tn], acc[i][j]);
            }
        }
        __syncthreads();
    }
    TN_UNROLL
    for (int i = 0; i < TN_T; ++i) {
        TN_UNROLL
        for (int j = 0; j < TN_T; ++j) {
            const tn_index m = m0 + i * (TN_BM / TN_T) + tm, n = n0 + j * (TN_BN / TN_T) + tn;
            const tn_val y[1] = {(tn_val)acc[i][j]};
            if (m < TN_M && n < TN_N) tn_epilogue(args, batch, m, n, y);
        }
    }
}
#include "tn_variant_end.cuh"
