// arg_reduce.cu: position of the largest or smallest element along an axis; a NaN beats every number, ties go to the first
// (LAST: the last) position.
//! kernel  arg_reduce  y[row] = position of the best of x[row, :]
//! knob    BLOCK  128 256
//! knob    TPR    1 8 32
//! require TPR == 1 || TPR < hint(COLS) * 2
#include "tn_device.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"

// Is candidate (v, at) better than (best, best_at)?
TN_DEV bool tn_better(tn_val v, long long at, tn_val best, long long best_at) {
    const bool nan = v != v, best_nan = best != best;
    const bool more = nan ? !best_nan : !best_nan && (TN_MAX ? v > best : v < best);
    const bool same = nan ? best_nan : v == best;
    return more || (same && (TN_LAST ? at > best_at : at < best_at));
}

extern "C" __global__ void __launch_bounds__(TN_BLOCK) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_WAIT();
    const int lane = (int)threadIdx.x % TN_TPR;
    const tn_index row = (tn_index)blockIdx.x * (TN_BLOCK / TN_TPR) + (tn_index)threadIdx.x / TN_TPR;
    tn_val best = (tn_val)0;
    long long at = -1; // none yet
    if (row < TN_ROWS) {
        for (tn_index col = lane; col < TN_COLS; col += TN_TPR) {
            tn_val x[1];
            tn_load_x(args, row, col, x);
            if (at < 0 || tn_better(x[0], col, best, at)) {
                best = x[0];
                at = col;
            }
        }
    }
    TN_UNROLL
    for (int d = TN_TPR / 2; d > 0; d >>= 1) {
        const tn_val other = (tn_val)tn_shuffle_xor(best, d);
        const long long other_at = tn_shuffle_xor(at, d);
        if (other_at >= 0 && (at < 0 || tn_better(other, other_at, best, at))) {
            best = other;
            at = other_at;
        }
    }
    if (lane == 0 && row < TN_ROWS) {
        const long long y[1] = {at};
        tn_epilogue(args, row, y);
    }
}
#include "tn_variant_end.cuh"
