// top_k_count.cu: the positions of the k best elements of a row, best first, for any k: each element counts how many of its row
// stand before it, which is where its position goes if that is below k.
//! kernel  top_k_count  y[row, rank of x[row, col]] = col where the rank is below k
//! knob    BLOCK  128 256
#include "tn_device.cuh"
#include "tn_key.cuh"
#include "tn_variant.cuh"

TN_DEV tn_key tn_key_at(const tn_args &args, tn_index row, tn_index col) {
    tn_val x[1];
    tn_load_x(args, row, col, x);
    return tn_key_of<TN_KEY_BYTES, TN_SMALLEST>(x[0]);
}

extern "C" __global__ void __launch_bounds__(TN_BLOCK) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_WAIT();
    const tn_index at = (tn_index)blockIdx.x * TN_BLOCK + (tn_index)threadIdx.x;
    if (at >= (tn_index)TN_ROWS * TN_COLS) return;
    const tn_index row = at / TN_COLS, col = at % TN_COLS;
    const tn_key mine = tn_key_at(args, row, col);
    tn_index rank = 0;
    for (tn_index j = 0; j < TN_COLS; ++j) {
        const tn_key other = tn_key_at(args, row, j);
        rank += other > mine || (other == mine && j < col);
    }
    if (rank >= TN_K) return;
    const long long y[1] = {(long long)col};
    tn_epilogue(args, row, rank, y);
}
#include "tn_variant_end.cuh"
