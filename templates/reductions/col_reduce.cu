// col_reduce.cu: reductions that keep the innermost axis: x is [outer, rows, inner], reduced over rows.  A block covers
// BX * VEC neighbouring columns; BY groups of threads share the rows and meet in shared memory.
//! kernel  col_reduce  y[o, n] = epilogue(combine(x[o, :, n])), threads along n
//! knob    BX     32 64 128
//! knob    BY     1 2 4 8 16
//! knob    VEC    1 2 4 8
//! require BX * BY >= 64 && BX * BY <= 1024
//! require VEC == 1 || (INNER % VEC == 0 && VEC <= VEC_MAX)
//! require BY == 1 || BY * 2 <= hint(ROWS)
//! require BX == 32 || BX * VEC <= hint(INNER)
#include "tn_device.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"

extern "C" __global__ void __launch_bounds__(TN_BX *TN_BY) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_SHARED(tn_acc, part, [TN_BY > 1 ? TN_BY * TN_BX * TN_VEC : 1]);
    TN_WAIT();
    const int tx = (int)threadIdx.x % TN_BX, ty = (int)threadIdx.x / TN_BX;
    const tn_index tiles = (TN_INNER + TN_BX * TN_VEC - 1) / (TN_BX * TN_VEC);
    const tn_index o = (tn_index)blockIdx.x / tiles;
    const tn_index n = ((tn_index)blockIdx.x % tiles * TN_BX + tx) * TN_VEC;
    tn_acc acc[TN_VEC];
    TN_UNROLL
    for (int i = 0; i < TN_VEC; ++i) acc[i] = tn_combine::identity<tn_acc>();
    if (n < TN_INNER) {
        _Pragma("unroll 4")
        for (tn_index r = ty; r < TN_ROWS; r += TN_BY) {
            tn_val x[TN_VEC];
            tn_load_x(args, o, r, n, x);
            TN_UNROLL
            for (int i = 0; i < TN_VEC; ++i) acc[i] = tn_combine::apply(acc[i], (tn_acc)x[i]);
        }
    }
    if (TN_BY > 1) {
        TN_UNROLL
        for (int i = 0; i < TN_VEC; ++i) part[(ty * TN_VEC + i) * TN_BX + tx] = acc[i];
        __syncthreads();
        if (ty == 0) {
            TN_UNROLL
            for (int k = 1; k < TN_BY; ++k) {
                TN_UNROLL
                for (int i = 0; i < TN_VEC; ++i) acc[i] = tn_combine::apply(acc[i], part[(k * TN_VEC + i) * TN_BX + tx]);
            }
        }
    }
    if (ty == 0 && n < TN_INNER) {
        tn_val y[TN_VEC];
        TN_UNROLL
        for (int i = 0; i < TN_VEC; ++i) y[i] = (tn_val)tn_finished(args, acc[i]);
        tn_epilogue(args, o, n, y);
    }
}
#include "tn_variant_end.cuh"
