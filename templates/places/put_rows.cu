// put_rows.cu: rows at places that a run tells, in a buffer that has all rows: a KV cache; or in two, keys and values, the rows of both at the same places.
// Where each result lies over its x, as the cache that goes out does over the one that comes in, the other rows are there already, and those that are new
// are all that is read and written.
//! kernel  put_rows  y[b, n, first[b] + s] = rows[b, n, s] for s < count[b], else x
//! knob    BLOCK  128 256
#include "tn_device.cuh"
#include "tn_variant.cuh"

// The first row of x, of those of its head, that a batch's rows go to, and how many of them.
TN_DEV void tn_span(const tn_args &args, tn_index batch, long long &first, long long &count) {
    first = tn_first(args, batch);
    count = tn_count(args, batch);
    count = count < TN_STEPS ? count : TN_STEPS;
}

// The row of x that row u goes to; -1: none.
TN_DEV tn_index tn_target(const tn_args &args, tn_index u) {
    const tn_index head = u / TN_STEPS, s = u % TN_STEPS;
    long long first, count;
    tn_span(args, head / TN_HEADS, first, count);
    return s < count && first >= -(long long)s && first < TN_CAPACITY - s ? head * TN_CAPACITY + (tn_index)(first + s) : -1;
}

// The row that goes to a row of x; -1: none.
TN_DEV tn_index tn_source(const tn_args &args, tn_index row) {
    const tn_index head = row / TN_CAPACITY, at = row % TN_CAPACITY;
    long long first, count;
    tn_span(args, head / TN_HEADS, first, count);
    return first <= at && first > at - count ? head * TN_STEPS + (tn_index)(at - first) : -1;
}

TN_DEV bool tn_in_place(const tn_args &args) {
    bool over = (const void *)tn_x0(args) == (const void *)tn_y0(args);
#if TN_CACHES > 1
    over = over && (const void *)tn_x1(args) == (const void *)tn_y1(args);
#endif
    return over;
}

// Both values are read before one is written, since a result may lie over an operand.
TN_DEV void tn_put(const tn_args &args, tn_index row, tn_index u, tn_index col) {
    const tn_val v0 = u >= 0 ? tn_read_u0(args, u, col) : tn_read_x0(args, row, col);
#if TN_CACHES > 1
    const tn_val v1 = u >= 0 ? tn_read_u1(args, u, col) : tn_read_x1(args, row, col);
    tn_write_y1(args, row, col, v1);
#endif
    tn_write_y0(args, row, col, v0);
}

extern "C" __global__ void __launch_bounds__(TN_BLOCK) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_WAIT();
    const tn_index start = (tn_index)blockIdx.x * TN_BLOCK + (tn_index)threadIdx.x, step = (tn_index)gridDim.x * TN_BLOCK;
    const bool over = tn_in_place(args);
    for (tn_index k = start; k < (over ? TN_UPDATES : TN_N); k += step) {
        const tn_index row = over ? tn_target(args, k / TN_COLS) : k / TN_COLS, col = k % TN_COLS;
        const tn_index u = over ? k / TN_COLS : tn_source(args, row);
        if (row >= 0) tn_put(args, row, u, col);
    }
}
#include "tn_variant_end.cuh"
