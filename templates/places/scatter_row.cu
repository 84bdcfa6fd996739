// scatter_row.cu: x with one update.  Where the result lies over x (a scan output of a loop does: passes/memory), the other rows are
// there already, and the row of the update is all that is read and written.
//! kernel  scatter_row  y[row, col] = combine(x[row, col], update[col]) if target = row, else x[row, col]
//! knob    BLOCK  128 256
#include "tn_device.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"

TN_DEV void tn_write_row(const tn_args &args, tn_index row, tn_index col, bool here) {
    tn_val x[1], u[1];
    tn_load_x(args, row, col, x);
    if (here) {
        tn_load_u(args, 0, col, u);
        x[0] = (tn_val)tn_combine((tn_acc)x[0], (tn_acc)u[0]);
    }
    tn_epilogue(args, row, col, x);
}

extern "C" __global__ void __launch_bounds__(TN_BLOCK) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_WAIT();
    const tn_index row = tn_target(args, 0), step = (tn_index)gridDim.x * TN_BLOCK;
    const tn_index first = (tn_index)blockIdx.x * TN_BLOCK + (tn_index)threadIdx.x;
    if ((const void *)tn_x(args) == (const void *)tn_y(args)) {
        for (tn_index col = first; row >= 0 && col < TN_COLS; col += step) tn_write_row(args, row, col, true);
    } else {
        for (tn_index at = first; at < TN_N; at += step) tn_write_row(args, at / TN_COLS, at % TN_COLS, at / TN_COLS == row);
    }
}
#include "tn_variant_end.cuh"
