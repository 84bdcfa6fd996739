// det.cu: determinants by elimination in shared memory, a block a matrix.  The pivot of a column is its largest element, the first of
// equal ones; warp 0 looks for it.
//! kernel  det  y[m] = determinant of x[m, :, :]
//! knob    BLOCK  32 64 256
#include "tn_device.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"

extern "C" __global__ void __launch_bounds__(TN_BLOCK) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_SHARED(tn_val, a, [TN_SIZE > 0 ? TN_SIZE : 1][TN_SIZE > 0 ? TN_SIZE : 1]);
    TN_SHARED(int, chosen, [1]);
    TN_WAIT();
    const int tid = (int)threadIdx.x;
    const tn_index m = (tn_index)blockIdx.x;
    for (int k = tid; k < TN_SIZE * TN_SIZE; k += TN_BLOCK) {
        tn_val v[1];
        tn_load_x(args, m, k / TN_SIZE, k % TN_SIZE, v);
        a[k / TN_SIZE][k % TN_SIZE] = v[0];
    }
    tn_val det = 1;
    __syncthreads();
    for (int k = 0; k < TN_SIZE; ++k) {
        if (tid < 32) {
            tn_val best = -1;
            int at = k;
            for (int i = k + tid; i < TN_SIZE; i += 32) {
                const tn_val v = a[i][k] != a[i][k] ? (tn_val)TN_INF : tn_abs(a[i][k]); // NaN stays
                if (v > best) best = v, at = i;
            }
            TN_UNROLL
            for (int d = 16; d > 0; d >>= 1) {
                const tn_val other = tn_shuffle_xor(best, d);
                const int there = tn_shuffle_xor(at, d);
                if (other > best || (other == best && there < at)) best = other, at = there;
            }
            if (tid == 0) chosen[0] = at;
        }
        __syncthreads();
        const int p = chosen[0];
        const tn_val pivot = a[p][k];
        det = pivot == 0 ? (tn_val)0 : tn_mul(det, p == k ? pivot : -pivot);
        if (pivot == 0) break; // of all threads
        const int left = TN_SIZE - k - 1;
        __syncthreads();
        for (int j = k + tid; p != k && j < TN_SIZE; j += TN_BLOCK) {
            const tn_val t = a[p][j];
            a[p][j] = a[k][j];
            a[k][j] = t;
        }
        __syncthreads();
        for (int i = k + 1 + tid; i < TN_SIZE; i += TN_BLOCK) a[i][k] /= pivot;
        __syncthreads();
        for (int c = tid; c < left * left; c += TN_BLOCK) {
            const int i = k + 1 + c / left, j = k + 1 + c % left;
            a[i][j] -= a[i][k] * a[k][j];
        }
        __syncthreads();
    }
    const tn_val y[1] = {det};
    if (tid == 0) tn_epilogue(args, m, y);
}
#include "tn_variant_end.cuh"
