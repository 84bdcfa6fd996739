// scan.cu: cumulative sums or products along an axis.  TPR threads share a row and take ITEMS stripes of it at a time, whose loads
// are under way together.
//! kernel  scan    y[row, k] = sum or product of x[row, 0..k]
//! knob    BLOCK  64 128 256
//! knob    TPR    1 32 256
//! knob    ITEMS  1 4 8
//! require TPR <= BLOCK
//! require TPR == 1 || IN_ORDER == 0
//! require ITEMS == 1 || TPR * ITEMS < hint(COLS) * 2
#include "tn_device.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"

// What the row's threads up to this one hold, combined; left: without its own; all: of all of them.
TN_DEV tn_acc tn_row_scan(tn_acc mine, int lane, tn_acc *warps, tn_acc &left, tn_acc &all) {
    enum { SPAN = TN_TPR < 32 ? TN_TPR : 32, WARPS = TN_TPR / SPAN };
    const tn_acc none = tn_combine::identity<tn_acc>();
    tn_acc upto = mine;
    TN_UNROLL
    for (int d = 1; d < SPAN; d <<= 1) {
        const tn_acc other = (tn_acc)tn_shuffle_up(upto, d);
        if (lane % SPAN >= d) upto = tn_combine::apply(other, upto);
    }
    left = SPAN == 1 ? none : (tn_acc)tn_shuffle_up(upto, 1);
    if (lane % SPAN == 0) left = none;
    all = SPAN == 1 ? upto : (tn_acc)tn_shuffle_last(upto);
    if (WARPS > 1) {
        if (lane % 32 == 31) warps[lane / 32] = upto;
        __syncthreads();
        tn_acc before = none;
        all = none;
        TN_UNROLL
        for (int w = 0; w < WARPS; ++w) {
            if (w < lane / 32) before = tn_combine::apply(before, warps[w]);
            all = tn_combine::apply(all, warps[w]);
        }
        upto = tn_combine::apply(before, upto);
        left = tn_combine::apply(before, left);
        __syncthreads();
    }
    return upto;
}

extern "C" __global__ void __launch_bounds__(TN_BLOCK) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_SHARED(tn_acc, warps, [TN_BLOCK / 32]);
    TN_WAIT();
    const int lane = (int)threadIdx.x % TN_TPR;
    const tn_index row = (tn_index)blockIdx.x * (TN_BLOCK / TN_TPR) + (tn_index)threadIdx.x / TN_TPR;
    tn_acc before = tn_combine::identity<tn_acc>(); // of the stripes that are done
    for (tn_index start = 0; start < TN_COLS; start += TN_TPR * TN_ITEMS) { // the same trips for every thread: shuffles need them all
        tn_val x[TN_ITEMS];
        TN_UNROLL
        for (int i = 0; i < TN_ITEMS; ++i) {
            const tn_index k = start + i * TN_TPR + lane;
            tn_val v[1] = {tn_combine::identity<tn_val>()};
            if (row < TN_ROWS && k < TN_COLS) tn_load_x(args, row, TN_REVERSE ? TN_COLS - 1 - k : k, v);
            x[i] = v[0];
        }
        TN_UNROLL
        for (int i = 0; i < TN_ITEMS; ++i) {
            const tn_index k = start + i * TN_TPR + lane;
            tn_acc left, all;
            const tn_acc upto = tn_row_scan((tn_acc)x[i], lane, warps, left, all);
            if (row < TN_ROWS && k < TN_COLS) {
                const tn_val y[1] = {(tn_val)tn_combine::apply(before, TN_EXCLUSIVE ? left : upto)};
                tn_epilogue(args, row, TN_REVERSE ? TN_COLS - 1 - k : k, y);
            }
            before = tn_combine::apply(before, all);
        }
    }
}
#include "tn_variant_end.cuh"
