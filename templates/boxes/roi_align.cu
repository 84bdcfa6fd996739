// roi_align.cu: regions of images as fixed grids of bins; a bin is the mean or the maximum of bilinear samples.  One bin of
// one channel a thread.  A batch index that is out of range is clamped.
//! kernel  roi_align  y[r, c, i, j] = mean or maximum of samples of x[batch[r], c] in bin (i, j) of region r
//! knob    BLOCK  64 128 256
#include "tn_device.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"

// One axis of a region: where its bins start, how large they are, and how many samples each has.
struct tn_bins {
    tn_coordinate start, size;
    int samples;
};

TN_DEV tn_bins tn_bins_of(tn_coordinate from, tn_coordinate to, int count) {
    const tn_coordinate offset = TN_HALF_PIXEL ? (tn_coordinate)0.5 : (tn_coordinate)0;
    const tn_coordinate lo = tn_mul_rn(from, (tn_coordinate)TN_SCALE) - offset;
    const tn_coordinate hi = tn_mul_rn(to, (tn_coordinate)TN_SCALE) - offset;
    tn_coordinate length = hi - lo;
    if (!TN_HALF_PIXEL && length < 1) length = 1;
    tn_bins b = {lo, length / (tn_coordinate)count, TN_SAMPLING};
    if (!TN_SAMPLING) b.samples = b.size > 0 && b.size < (tn_coordinate)1048576 ? (int)tn_ceil(b.size) : 0;
    return b;
}

TN_DEV tn_coordinate tn_sample(const tn_bins &b, int bin, int k) {
    const tn_coordinate half = (tn_coordinate)k + (tn_coordinate)0.5;
    return b.start + tn_mul_rn((tn_coordinate)bin, b.size) + tn_mul_rn(half, b.size) / (tn_coordinate)b.samples;
}

// The two elements around coordinate v of an axis of n, and the weight of the second; false: outside, all is 0.
TN_DEV bool tn_between(tn_coordinate v, tn_index n, tn_index (&at)[2], tn_coordinate &w) {
    if (n < 1 || !(v >= -1 && v <= (tn_coordinate)n)) return false;
    v = v < 0 ? 0 : v;
    at[0] = (tn_index)v < n - 1 ? (tn_index)v : n - 1;
    at[1] = at[0] < n - 1 ? at[0] + 1 : n - 1;
    w = at[0] < n - 1 ? v - (tn_coordinate)at[0] : 0;
    return true;
}

extern "C" __global__ void __launch_bounds__(TN_BLOCK) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_WAIT();
    tn_index at = (tn_index)blockIdx.x * TN_BLOCK + (tn_index)threadIdx.x;
    if (at >= (tn_index)TN_R * TN_C * TN_OH * TN_OW) return;
    const int j = (int)(at % TN_OW), i = (int)(at / TN_OW % TN_OH);
    at /= TN_OW * TN_OH;
    const tn_index c = at % TN_C, r = at / TN_C;
    tn_roi box[4][1];
    TN_UNROLL
    for (int k = 0; k < 4; ++k) tn_load_roi(args, r, k, box[k]);
    tn_batch batch[1];
    tn_load_batch(args, r, batch);
    const tn_index n = (tn_index)tn_data_place((long long)batch[0], TN_BATCH);
    const tn_bins cols = tn_bins_of((tn_coordinate)box[0][0], (tn_coordinate)box[2][0], TN_OW);
    const tn_bins rows = tn_bins_of((tn_coordinate)box[1][0], (tn_coordinate)box[3][0], TN_OH);
    tn_acc sum = 0, best = 0;
    for (int v = 0; v < rows.samples; ++v)
        for (int u = 0; u < cols.samples; ++u) {
            tn_index row[2], col[2];
            tn_coordinate wr, wc;
            const bool inside = TN_BATCH > 0 && tn_between(tn_sample(rows, i, v), TN_H, row, wr) &&
                                tn_between(tn_sample(cols, j, u), TN_W, col, wc);
            tn_acc top = 0;
            if (inside) {
                TN_UNROLL
                for (int k = 0; k < 4; ++k) {
                    tn_val x[1];
                    tn_load_x(args, n, c, row[k >> 1], col[k & 1], x);
                    const tn_acc p = tn_tap((tn_acc)(k & 2 ? wr : 1 - wr) * (tn_acc)(k & 1 ? wc : 1 - wc), (tn_acc)x[0]);
                    sum += p;
                    top = k ? tn_max(top, p) : p;
                }
            }
            best = u == 0 && v == 0 ? top : tn_max(best, top);
        }
    const int count = rows.samples * cols.samples;
    const tn_val y[1] = {(tn_val)(TN_MAX ? best : sum / (tn_acc)(count > 0 ? count : 1))};
    tn_epilogue(args, r, c, i, j, y);
}
#include "tn_variant_end.cuh"
