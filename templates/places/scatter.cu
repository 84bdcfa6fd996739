// scatter.cu: x with updates written into it or combined with it.  A block owns BLOCK * ITEMS neighbouring elements of the
// result and looks at all targets that may be among them (each UPDATES_STEP updates go to ROWS_STEP rows), so nothing is written twice, no atomics are needed, and updates of one element are
// applied in the order in which they stand: results do not depend on timing, and the last of several wins without a
// reduction.  A target that is out of range is -1 and belongs to no block.
//! kernel  scatter  y[row, col] = combine(x[row, col], updates[u, col] for all u with target(u) = row)
//! knob    BLOCK  128 256
//! knob    ITEMS  1 4
//! require ITEMS == 1 || hint(N) >= BLOCK * ITEMS * SMS
#include "tn_device.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"

extern "C" __global__ void __launch_bounds__(TN_BLOCK) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_SHARED(tn_index, target, [TN_BLOCK]);
    TN_SHARED(unsigned, hits, [TN_BLOCK / 32]);
    TN_WAIT();
    const int tid = (int)threadIdx.x;
    const tn_index first = (tn_index)blockIdx.x * (TN_BLOCK * TN_ITEMS), end = TN_N;
    if (first >= end) return;
    const tn_index last = (first + TN_BLOCK * TN_ITEMS < end ? first + TN_BLOCK * TN_ITEMS : end) - 1;
    const tn_index low = first / TN_COLS, high = last / TN_COLS;
    tn_index row[TN_ITEMS], col[TN_ITEMS];
    tn_acc acc[TN_ITEMS];
    TN_UNROLL
    for (int i = 0; i < TN_ITEMS; ++i) {
        const tn_index at = first + i * TN_BLOCK + tid;
        row[i] = at <= last ? at / TN_COLS : -1;
        col[i] = at <= last ? at % TN_COLS : 0;
        if (row[i] < 0) continue;
        tn_val x[1];
        tn_load_x(args, row[i], col[i], x);
        acc[i] = (tn_acc)x[0];
    }
    const tn_index from = low / TN_ROWS_STEP * TN_UPDATES_STEP, to = (high / TN_ROWS_STEP + 1) * TN_UPDATES_STEP;
    for (tn_index start = from; start < to; start += TN_BLOCK) { // the same trips for every thread
        const tn_index mine = start + tid < to ? tn_target(args, start + tid) : -1;
        const unsigned mask = __ballot_sync(0xffffffffu, mine >= low && mine <= high);
        target[tid] = mine;
        if (tid % 32 == 0) hits[tid / 32] = mask;
        __syncthreads();
        for (int w = 0; w < TN_BLOCK / 32; ++w)
            for (unsigned m = hits[w]; m; m &= m - 1) {
                const int k = w * 32 + tn_lowest_bit(m);
                const tn_index hit = target[k];
                TN_UNROLL
                for (int i = 0; i < TN_ITEMS; ++i) {
                    if (row[i] != hit) continue;
                    tn_val u[1];
                    tn_load_u(args, start + k, col[i], u);
                    acc[i] = tn_combine(acc[i], (tn_acc)u[0]);
                }
            }
        __syncthreads();
    }
    TN_UNROLL
    for (int i = 0; i < TN_ITEMS; ++i) {
        if (row[i] < 0) continue;
        const tn_val y[1] = {(tn_val)acc[i]};
        tn_epilogue(args, row[i], col[i], y);
    }
}
#include "tn_variant_end.cuh"
