// pool.cu: windows without overlap, their maximum or mean, and how many elements are in each: two results, words, lists, an
// optional input, a value of a knob that does not fit, shared memory.
//! plugin test::pool since 2
//! type T in f32, f16
//! attr mode: "max" | "mean"
//! attr window: ints = [2, 2]
//! input  x: T[n, c, h, w]
//! input  shift: T[c] optional
//! let oh = h // window.0
//! let ow = w // window.1
//! require window.len == 2 and window.0 >= 1 and window.1 >= 1, "a window has two sizes"
//! require h % window.0 == 0 and w % window.1 == 0, "windows do not overlap"
//! output y: T[n, c, oh, ow]
//! output count: i64[n, c, oh, ow]
//! knob BLOCK 4096 64
//! kernel grid [n * c, ceildiv(oh * ow, BLOCK)] block [BLOCK] shared 8 * BLOCK
//! expansion when mode == "max" and has(shift) {
//!   %parts = reshape %x {dims=[n, c, oh, window.0, ow, window.1]}
//!   %m = reduce_max %parts {axes=[3, 5]}
//!   %s = reshape %shift {dims=[1, c, 1, 1]}
//!   %y = add %m, %s
//!   %one = const splat(1) : i64[]
//!   %ones = broadcast %one {dims=[n, c, oh, ow]}
//!   %size = const splat(window.0 * window.1) : i64[]
//!   %count = mul %ones, %size
//!   yield %y, %count
//! }
//! expansion when mode == "max" {
//!   %parts = reshape %x {dims=[n, c, oh, window.0, ow, window.1]}
//!   %y = reduce_max %parts {axes=[3, 5]}
//!   %size = const splat(window.0 * window.1) : i64[]
//!   %count = broadcast %size {dims=[n, c, oh, ow]}
//!   yield %y, %count
//! }
//! expansion {
//!   %parts = reshape %x {dims=[n, c, oh, window.0, ow, window.1]}
//!   %y = reduce_mean %parts {axes=[3, 5]}
//!   %size = const splat(window.0 * window.1) : i64[]
//!   %count = broadcast %size {dims=[n, c, oh, ow]}
//!   yield %y, %count
//! }
#include "tn_device.cuh"
#include "tn_math.cuh"
#include "tn_mma.cuh"
#include "tn_variant.cuh"

extern "C" __global__ void TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_DYNAMIC_SMEM(memory);
    double *const sums = (double *)memory;
    TN_WAIT();
    const tn_index n = blockIdx.x / TN_C, c = blockIdx.x % TN_C;
    const tn_index at = (tn_index)blockIdx.y * TN_BLOCK + (tn_index)threadIdx.x, i = at / TN_OW, j = at % TN_OW;
    if (at >= (tn_index)TN_OH * TN_OW) return;
    T best = -TN_INF;
    sums[threadIdx.x] = 0;
    for (int u = 0; u < TN_WINDOW[0]; ++u)
        for (int v = 0; v < TN_WINDOW[1]; ++v) {
            const T x = tn_load_x(args, n, c, i * (tn_index)TN_WINDOW[0] + u, j * (tn_index)TN_WINDOW[1] + v);
            best = tn_max(best, x);
            sums[threadIdx.x] += (double)x;
        }
    const int size = (int)(TN_WINDOW[0] * TN_WINDOW[1]);
    if (TN_MODE == TN_MODE_MAX)
        tn_store_y(args, n, c, i, j, TN_HAS_SHIFT ? best + tn_load_shift(args, c) : best);
    else
        tn_store_y(args, n, c, i, j, (T)(sums[threadIdx.x] / size));
    tn_store_count(args, n, c, i, j, size);
}
