// sort_move.cu: a block of CHUNK elements of a row, ordered by a digit of 8 bits, goes to where its elements of each digit begin
// in the result.  Each warp takes neighbouring elements in turns of 32, in which each lane counts those before it with its
// own digit, so that equal digits stay in order; the block is put together in shared memory, from where neighbours go to
// neighbouring places.
//! kernel  sort_move  y[row, :] = x[row, :] ordered by a digit, equal ones as they stood
//! knob    BLOCK  256 512
#include "tn_device.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"

extern "C" __global__ void __launch_bounds__(TN_BLOCK) TN_KERNEL(const __grid_constant__ tn_args args) {
    enum { WARPS = TN_BLOCK / 32, TURNS = TN_CHUNK / TN_BLOCK };
    TN_SHARED(unsigned long long, stage, [TN_CHUNK]);
    TN_SHARED(unsigned short, counts, [TN_BLOCK / 32][256]); // of each warp, then: of the warps before it
    TN_SHARED(int, first, [256]);                            // where the digit begins in the stage
    TN_SHARED(tn_index, to, [256]);                          // and how far from there it is to the result
    TN_SHARED(int, sums, [TN_BLOCK / 32]);
    TN_WAIT();
    const int tid = (int)threadIdx.x, warp = tid / 32, lane = tid % 32;
    const tn_index row = (tn_index)blockIdx.x / TN_BLOCKS, block = (tn_index)blockIdx.x % TN_BLOCKS;
    const tn_index left = TN_COLS - block * TN_CHUNK;
    const int n = left < TN_CHUNK ? (int)left : TN_CHUNK;
    for (int i = tid; i < WARPS * 256; i += TN_BLOCK) counts[i / 256][i % 256] = 0;
    unsigned long long x[TURNS];
    TN_UNROLL
    for (int i = 0; i < TURNS; ++i) {
        const int at = (warp * TURNS + i) * 32 + lane;
        unsigned long long v[1] = {0};
        if (at < n) tn_load_x(args, row, block * TN_CHUNK + at, v);
        x[i] = v[0];
    }
    __syncthreads();

    int before[TURNS];
    TN_UNROLL
    for (int i = 0; i < TURNS; ++i) {
        const bool ok = (warp * TURNS + i) * 32 + lane < n;
        const int digit = (int)(x[i] >> TN_SHIFT & 255);
        unsigned same = __ballot_sync(0xffffffffu, ok);
        TN_UNROLL
        for (int b = 0; b < 8; ++b) {
            const unsigned set = __ballot_sync(0xffffffffu, digit >> b & 1);
            same &= digit >> b & 1 ? set : ~set;
        }
        const int have = counts[warp][digit];
        before[i] = have + tn_bit_count(same & ((1u << lane) - 1));
        __syncwarp();
        if (ok && before[i] == have) counts[warp][digit] = (unsigned short)(have + tn_bit_count(same));
        __syncwarp();
    }
    __syncthreads();

    int all = 0; // elements of the block with digit tid
    if (tid < 256)
        for (int w = 0; w < WARPS; ++w) {
            const int here = counts[w][tid];
            counts[w][tid] = (unsigned short)all;
            all += here;
        }
    int upto = all;
    TN_UNROLL
    for (int d = 1; d < 32; d <<= 1) {
        const int other = tn_shuffle_up(upto, d);
        if (lane >= d) upto += other;
    }
    if (lane == 31) sums[warp] = upto;
    __syncthreads();
    if (tid < 256) {
        int begin = upto - all;
        for (int w = 0; w < warp; ++w) begin += sums[w];
        long long start[1];
        tn_load_start(args, row, tid, block, start);
        first[tid] = begin;
        to[tid] = (tn_index)start[0] - begin;
    }
    __syncthreads();

    TN_UNROLL
    for (int i = 0; i < TURNS; ++i) {
        const int digit = (int)(x[i] >> TN_SHIFT & 255);
        if ((warp * TURNS + i) * 32 + lane < n) stage[first[digit] + counts[warp][digit] + before[i]] = x[i];
    }
    __syncthreads();
    for (int i = tid; i < n; i += TN_BLOCK) {
        const unsigned long long y[1] = {stage[i]};
        const tn_index col = to[y[0] >> TN_SHIFT & 255] + i;
        if (col >= 0 && col < TN_COLS) tn_epilogue(args, row, col, y);
    }
}
#include "tn_variant_end.cuh"
