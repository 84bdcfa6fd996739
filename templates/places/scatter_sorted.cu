// scatter_sorted.cu: x with updates written into it or combined with it, where what goes to which row was sorted.  A block's threads find by
// halving where the updates of each of its rows begin, and each element takes its row's in the order in which they stand.  Few
// elements of a block that many updates go to are combined by all its threads together, always in the same way: results do not depend on
// timing.  What is no update's number goes nowhere.
//! kernel  scatter_sorted  y[row, col] = combine(x[row, col], updates[u, col] for all u that the order sends to the row)
//! knob    BLOCK  128 256
//! knob    ITEMS  1 4
//! require ITEMS == 1 || hint(ROWS) * hint(COLS) > BLOCK
#include "tn_device.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"
#include "tn_before.cuh"

enum { TN_LONG = 128, TN_SHARE = 32 }; // updates of one element; elements of a block

TN_DEV unsigned long long tn_order_at(const tn_args &args, tn_index k) {
    unsigned long long v[1];
    tn_load_order(args, k, v);
    return v[0];
}

// The first update, from `from` on, of that row or one behind it.
TN_DEV tn_index tn_first(const tn_args &args, tn_index from, tn_index row) {
    tn_index to = TN_UPDATES;
    while (from < to) {
        const tn_index mid = from + (to - from) / 2;
        if ((long long)(tn_order_at(args, mid) >> 32) < (long long)row)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

// The k-th in order; false: none.
TN_DEV bool tn_update(const tn_args &args, tn_index k, tn_index col, tn_acc &v) {
    tn_val u[1];
    const unsigned at = (unsigned)tn_order_at(args, k);
    if (at >= (unsigned long long)TN_UPDATES) return false;
    tn_load_u(args, (tn_index)at, col, u);
    v = (tn_acc)u[0];
    return true;
}

extern "C" __global__ void __launch_bounds__(TN_BLOCK) TN_KERNEL(const __grid_constant__ tn_args args) {
    enum { EACH = TN_BLOCK * TN_ITEMS };
    TN_SHARED(tn_acc, part, [TN_BLOCK]);
    TN_SHARED(unsigned char, has, [TN_BLOCK]);
    TN_SHARED(int, many, [TN_BLOCK]);
    TN_SHARED(tn_index, begin, [TN_BLOCK * TN_ITEMS + 2]); // of the block's rows, and where the last one ends
    TN_SHARED(tn_index, span, [3]);
    TN_SHARED(int, counts, [TN_BLOCK / 32]);
    TN_WAIT();
    const int tid = (int)threadIdx.x;
    const tn_index start = (tn_index)blockIdx.x * EACH, all_of = (tn_index)TN_ROWS * TN_COLS;
    if (start >= all_of) return;
    const tn_index last = start + EACH < all_of ? start + EACH : all_of, low = start / TN_COLS;
    const int rows = (int)((last - 1) / TN_COLS - low) + 1;
    for (int r = tid; r <= rows; r += TN_BLOCK) begin[r] = tn_first(args, 0, low + r);
    __syncthreads();
    for (tn_index from = start; from < last; from += TN_BLOCK) { // the same trips for every thread
        const tn_index at = from + tid;
        const bool ok = at < last;
        const tn_index row = ok ? at / TN_COLS : low, col = ok ? at % TN_COLS : 0;
        tn_index first = begin[row - low], end = ok ? begin[row - low + 1] : first;
        tn_acc acc = (tn_acc)0;
        if (ok) {
            tn_val x[1];
            tn_load_x(args, row, col, x);
            acc = (tn_acc)x[0];
        }
        int all;
        const bool is_long = TN_REDUCES && end - first > TN_LONG;
        const int place = tn_before(is_long, counts, all);
        const bool together = all > 0 && all <= TN_SHARE;
        if (!TN_REDUCES) { // the last one wins
            while (end > first && !tn_update(args, end - 1, col, acc)) --end;
        } else if (!together || !is_long) {
            for (tn_index k = first; k < end; ++k) {
                tn_acc u;
                if (tn_update(args, k, col, u)) acc = tn_combine(acc, u);
            }
        }
        if (together) {
            if (is_long) many[place] = tid;
            __syncthreads();
            for (int e = 0; e < all; ++e) {
                if (tid == many[e]) span[0] = first, span[1] = end, span[2] = col;
                __syncthreads();
                tn_acc mine = (tn_acc)0;
                bool some = false;
                for (tn_index k = span[0] + tid; k < span[1]; k += TN_BLOCK) {
                    tn_acc u;
                    if (!tn_update(args, k, span[2], u)) continue;
                    mine = some ? tn_combine(mine, u) : u;
                    some = true;
                }
                part[tid] = mine;
                has[tid] = some;
                __syncthreads();
                for (int d = TN_BLOCK / 2; d > 0; d >>= 1) {
                    if (tid < d && has[tid + d]) {
                        part[tid] = has[tid] ? tn_combine(part[tid], part[tid + d]) : part[tid + d];
                        has[tid] = 1;
                    }
                    __syncthreads();
                }
                if (tid == many[e] && has[0]) acc = tn_combine(acc, part[0]);
                __syncthreads();
            }
        }
        if (!ok) continue;
        const tn_val y[1] = {(tn_val)acc};
        tn_epilogue(args, row, col, y);
    }
}
#include "tn_variant_end.cuh"
