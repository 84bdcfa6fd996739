// row_reduce.cu: sum, mean, max, min or product over any axes: TPR threads share a row (all reduced elements of one result).
//! kernel  row_reduce  y[row] = epilogue(combine(x[row, :])), TPR threads a row
//! knob    BLOCK  128 256 512
//! knob    TPR    1 4 8 32 128 256 512
//! knob    VEC    1 2 4 8
//! require TPR <= 32 || TPR == BLOCK
//! require VEC == 1 || (COLS % VEC == 0 && VEC <= VEC_MAX)
//! require TPR == 1 || TPR * VEC < hint(COLS) * 2
//! require TPR > 1 || hint(COLS) <= 4096 || hint(ROWS) >= 65536
#include "tn_device.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"

extern "C" __global__ void __launch_bounds__(TN_BLOCK) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_SHARED(tn_acc, scratch, [TN_BLOCK / 32]);
    TN_WAIT();
    const int lane = (int)threadIdx.x % TN_TPR;
    const tn_index row = (tn_index)blockIdx.x * (TN_BLOCK / TN_TPR) + (tn_index)threadIdx.x / TN_TPR;
    tn_acc acc = tn_combine::identity<tn_acc>();
    if (row < TN_ROWS) {
        _Pragma("unroll 4")
        for (tn_index col = lane * TN_VEC; col < TN_COLS; col += TN_TPR * TN_VEC) {
            tn_val x[TN_VEC];
            tn_load_x(args, row, col, x);
            TN_UNROLL
            for (int i = 0; i < TN_VEC; ++i) acc = tn_combine::apply(acc, (tn_acc)x[i]);
        }
    }
    acc = tn_row_reduce<tn_combine, TN_TPR, TN_BLOCK>(acc, scratch);
    if (lane == 0 && row < TN_ROWS) {
        const tn_val y[1] = {(tn_val)tn_finished(args, acc)};
        tn_epilogue(args, row, y);
    }
}
#include "tn_variant_end.cuh"
