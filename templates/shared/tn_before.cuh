// tn_before.cuh: places in order among the threads of a block of TN_BLOCK.  Included after tn_variant.cuh.
#pragma once

// How many threads before this one have `mine`, and in all; scratch: a count for each warp.
TN_DEV int tn_before(bool mine, int *scratch, int &all) {
    const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    const unsigned m = __ballot_sync(0xffffffffu, mine);
    if (lane == 0) scratch[warp] = tn_bit_count(m);
    __syncthreads();
    int before = tn_bit_count(m & ((1u << lane) - 1));
    all = 0;
    for (int w = 0; w < TN_BLOCK / 32; ++w) {
        if (w < warp) before += scratch[w];
        all += scratch[w];
    }
    __syncthreads();
    return before;
}
