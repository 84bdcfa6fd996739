// scan.cu: cumulative sums or products along an axis, one thread or one warp a row.
//! kernel  scan    y[row, k] = sum or product of x[row, 0..k]
//! knob    BLOCK  64 128
//! knob    TPR    1 32
#include "tn_device.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"

extern "C" __global__ void __launch_bounds__(TN_BLOCK) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_WAIT();
    const int lane = (int)threadIdx.x % TN_TPR;
    const tn_index row = (tn_index)blockIdx.x * (TN_BLOCK / TN_TPR) + (tn_index)threadIdx.x / TN_TPR;
    tn_acc before = tn_combine::identity<tn_acc>(); // of the chunks that are done
    for (tn_index start = 0; start < TN_COLS; start += TN_TPR) { // the same trips for every thread: shuffles need them all
        const tn_index k = start + lane;
        const bool ok = row < TN_ROWS && k < TN_COLS;
        const tn_index col = TN_REVERSE ? TN_COLS - 1 - k : k;
        tn_val x[1] = {tn_combine::identity<tn_val>()};
        if (ok) tn_load_x(args, row, col, x);
        tn_acc all = (tn_acc)x[0];
        TN_UNROLL
        for (int d = 1; d < TN_TPR; d <<= 1) {
            const tn_acc left = (tn_acc)tn_shuffle_up(all, d);
            if (lane >= d) all = tn_combine::apply(left, all);
        }
        tn_acc left = all;
        if (TN_TPR > 1) left = (tn_acc)tn_shuffle_up(all, 1);
        if (lane == 0) left = tn_combine::identity<tn_acc>();
        if (ok) {
            const tn_val y[1] = {(tn_val)tn_combine::apply(before, TN_EXCLUSIVE ? left : all)};
            tn_epilogue(args, row, col, y);
        }
        before = tn_combine::apply(before, TN_TPR == 1 ? all : (tn_acc)tn_shuffle_last(all));
    }
}
