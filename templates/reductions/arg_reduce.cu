// arg_reduce.cu: position of the largest or smallest element along an axis; a NaN beats every number, ties go to the first
// (LAST: the last) position.  TPR threads share a row: some lanes of a warp, or the block, for a few long rows.
//! kernel  arg_reduce  y[row] = position of the best of x[row, :]
//! knob    BLOCK  128 256 1024
//! knob    TPR    1 8 32 256 1024
//! knob    VEC    1 2 4 8
//! require TPR == 1 || TPR < hint(COLS) * 2
//! require TPR == BLOCK || TPR <= 32 && BLOCK <= 256
//! require VEC == 1 || VEC <= VEC_MAX && COLS % VEC == 0 && TPR * VEC / 2 < hint(COLS)
#include "tn_device.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"

enum { DEPTH = TN_TPR > 32 ? 4 : 1, STEP = TN_TPR * TN_VEC, WARPS = TN_TPR / 32, WIDTH = TN_TPR < 32 ? TN_TPR : 32 };

// Is candidate (v, at) better than (best, best_at)?
TN_DEV bool tn_better(tn_val v, long long at, tn_val best, long long best_at) {
    const bool nan = v != v, best_nan = best != best;
    const bool more = nan ? !best_nan : !best_nan && (TN_MAX ? v > best : v < best);
    const bool same = nan ? best_nan : v == best;
    return more || (same && (TN_LAST ? at > best_at : at < best_at));
}

struct found {
    tn_val best;
    long long at; // -1: nothing yet
    TN_MEMBER void take(tn_val v, long long where) {
        if (where >= 0 && (at < 0 || tn_better(v, where, best, at))) {
            best = v;
            at = where;
        }
    }
    TN_MEMBER void take_lanes() { // of WIDTH neighbours
        TN_UNROLL
        for (int d = WIDTH / 2; d > 0; d >>= 1) {
            const tn_val other = (tn_val)tn_shuffle_xor(best, d);
            take(other, tn_shuffle_xor(at, d));
        }
    }
};

extern "C" __global__ void __launch_bounds__(TN_BLOCK) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_SHARED(tn_val, bests, [32]);
    TN_SHARED(long long, places, [32]);
    TN_WAIT();
    const int lane = (int)threadIdx.x % TN_TPR;
    const tn_index row = (tn_index)blockIdx.x * (TN_BLOCK / TN_TPR) + (tn_index)threadIdx.x / TN_TPR;
    found f = {(tn_val)0, -1};
    if (row < TN_ROWS) {
        for (tn_index from = lane * TN_VEC; from < TN_COLS; from += STEP * DEPTH) {
            tn_val x[DEPTH][TN_VEC];
            TN_UNROLL
            for (int u = 0; u < DEPTH; u++)
                if (from + u * STEP < TN_COLS) tn_load_x(args, row, from + u * STEP, x[u]);
            TN_UNROLL
            for (int u = 0; u < DEPTH; u++)
                if (from + u * STEP < TN_COLS) {
                    TN_UNROLL
                    for (int l = 0; l < TN_VEC; l++) f.take(x[u][l], from + u * STEP + l);
                }
        }
    }
    f.take_lanes();
    if (WARPS > 1) {
        const int warp = (int)threadIdx.x / 32, t = (int)threadIdx.x % 32;
        if (t == 0) {
            bests[warp] = f.best;
            places[warp] = f.at;
        }
        __syncthreads();
        if (warp > 0) return;
        f.at = -1;
        if (t < WARPS) f.take(bests[t], places[t]);
        f.take_lanes();
    }
    if (lane == 0 && row < TN_ROWS) {
        const long long y[1] = {f.at};
        tn_epilogue(args, row, y);
    }
}
#include "tn_variant_end.cuh"
