// sort_count.cu: how many elements of each block of CHUNK have each value of a digit of 8 bits.  A block of threads a block of
// elements; each warp counts by itself.
//! kernel  sort_count  y[row, digit, block] = elements of x[row, block * CHUNK ...] with that digit
//! knob    BLOCK  128 256 512
#include "tn_device.cuh"
#include "tn_variant.cuh"

extern "C" __global__ void __launch_bounds__(TN_BLOCK) TN_KERNEL(const __grid_constant__ tn_args args) {
    enum { WARPS = TN_BLOCK / 32 };
    TN_SHARED(int, counts, [TN_BLOCK / 32][256]);
    TN_WAIT();
    const int tid = (int)threadIdx.x, warp = tid / 32;
    const tn_index row = (tn_index)blockIdx.x / TN_BLOCKS, block = (tn_index)blockIdx.x % TN_BLOCKS;
    for (int i = tid; i < WARPS * 256; i += TN_BLOCK) counts[i / 256][i % 256] = 0;
    __syncthreads();
    TN_UNROLL
    for (int i = 0; i < TN_CHUNK; i += TN_BLOCK) {
        const tn_index col = block * TN_CHUNK + i + tid;
        if (col >= TN_COLS) continue;
        unsigned long long x[1];
        tn_load_x(args, row, col, x);
        atomicAdd(&counts[warp][x[0] >> TN_SHIFT & 255], 1);
    }
    __syncthreads();
    for (int digit = tid; digit < 256; digit += TN_BLOCK) {
        int sum = 0;
        TN_UNROLL
        for (int w = 0; w < WARPS; ++w) sum += counts[w][digit];
        const long long y[1] = {sum};
        tn_epilogue(args, row, digit, block, y);
    }
}
#include "tn_variant_end.cuh"
