// compact.cu: the positions of a mask's elements that are set, in order.  How many are set up to the end of each block of CHUNK
// elements is known, so that every block can write its own behind those of the blocks before it, whatever the order of blocks.
//! kernel  compact  y[k] = position of the k-th element of the mask that is set; 0 behind the last
//! knob    BLOCK  128 256 512
#include "tn_device.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"
#include "tn_before.cuh"

TN_DEV tn_index tn_end(const tn_args &args, tn_index block) {
    long long x[1];
    tn_load_ends(args, block, x);
    return (tn_index)x[0];
}

extern "C" __global__ void __launch_bounds__(TN_BLOCK) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_SHARED(int, counts, [TN_BLOCK / 32]);
    TN_WAIT();
    const int tid = (int)threadIdx.x;
    const tn_index block = (tn_index)blockIdx.x;
    tn_index to = block ? tn_end(args, block - 1) : 0;
    for (int start = 0; start < TN_CHUNK; start += TN_BLOCK) {
        const tn_index i = block * TN_CHUNK + start + tid;
        bool set[1] = {false};
        if (i < TN_N) tn_load_mask(args, i, set);
        int all;
        const tn_index k = to + tn_before(set[0], counts, all);
        const long long y[1] = {(long long)i};
        if (set[0] && k < TN_SIZE) tn_epilogue(args, k, y);
        to += all;
    }
    const long long none[1] = {0};
    for (tn_index k = tn_end(args, TN_BLOCKS - 1) + block * TN_BLOCK + tid; k < TN_SIZE; k += TN_BLOCKS * TN_BLOCK)
        tn_epilogue(args, k, none);
}
#include "tn_variant_end.cuh"
