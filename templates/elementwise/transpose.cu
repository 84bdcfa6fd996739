// transpose.cu: maps that read one operand along another axis than they write: tiles of TILE x TILE elements pass through
// shared memory, so that both reading and writing run along innermost axes.
//! kernel  transpose  y[b, r, c] = f(x[b, c, r], ...), tile by tile
//! knob    TILE   32 64
//! knob    ROWS   4 8 16
#include "tn_device.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"

// The result is [b, r, c] with c innermost; the operand is innermost along r.
extern "C" __global__ void __launch_bounds__(32 * TN_ROWS) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_SHARED(tn_val, tile, [TN_TILE][TN_TILE + 1]);
    TN_WAIT();
    const tn_index tiles_r = (TN_R + TN_TILE - 1) / TN_TILE, tiles_c = (TN_C + TN_TILE - 1) / TN_TILE;
    const tn_index b = (tn_index)blockIdx.x / (tiles_r * tiles_c), t = (tn_index)blockIdx.x % (tiles_r * tiles_c);
    const tn_index r0 = t / tiles_c * TN_TILE, c0 = t % tiles_c * TN_TILE;
    const int tx = (int)threadIdx.x % 32, ty = (int)threadIdx.x / 32;
    TN_UNROLL
    for (int i = 0; i < TN_TILE; i += TN_ROWS) {
        TN_UNROLL
        for (int j = 0; j < TN_TILE; j += 32) {
            const tn_index c = c0 + i + ty, r = r0 + j + tx;
            if (r < TN_R && c < TN_C) {
                tn_val x[1];
                tn_load_x(args, b, r, c, x);
                tile[j + tx][i + ty] = x[0];
            }
        }
    }
    __syncthreads();
    TN_UNROLL
    for (int i = 0; i < TN_TILE; i += TN_ROWS) {
        TN_UNROLL
        for (int j = 0; j < TN_TILE; j += 32) {
            const tn_index r = r0 + i + ty, c = c0 + j + tx;
            if (r < TN_R && c < TN_C) {
                const tn_val x[1] = {tile[i + ty][j + tx]};
                tn_epilogue(args, b, r, c, x);
            }
        }
    }
}
#include "tn_variant_end.cuh"
