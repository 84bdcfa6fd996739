// nms_grid.cu: non-maximum suppression of many boxes by BLOCKS blocks that all run at the same time.  Candidates are taken in chunks of
// BLOCK, of which each block owns every BLOCKS-th.  The owner of a chunk says which of its candidates are kept, in the result itself,
// which was filled with ones: whoever reads a byte sees whether it is there.  All blocks then look for what those overlap among their own
// chunks behind.  How a chunk's candidates overlap each other is found out before its turn, so that only bits are left to be followed.
//! kernel  nms_grid  y[batch, class, k] = candidate k is kept, blocks side by side
//! knob    BLOCK   128 256
//! knob    BLOCKS  2 8 32 96
//! require SHOWS && BLOCKS <= SMS * 4 / 5 && (BLOCKS - 1) * BLOCK < hint(N)
#include "tn_device.cuh"
#include "tn_math.cuh"
#include "tn_shown.cuh"
#include "tn_variant.cuh"
#include "tn_box.cuh"

enum {
    WARPS = TN_BLOCK / 32,
    OWN = (TN_MOST + TN_BLOCK * TN_BLOCKS - 1) / (TN_BLOCK * TN_BLOCKS), // chunks of a block
    HELD = OWN * TN_BLOCK < 512 ? OWN : 512 / TN_BLOCK                 // of which it holds the boxes
};

// Which of 32 * WARPS neighbours are kept, one warp: one after the other, and what a word keeps at once for the words behind.
// overlap: [TN_BLOCK][WARPS] bits of later ones.
TN_DEV void settle(unsigned *gone, const unsigned *overlap, unsigned *kept, long long left) {
    const int lane = (int)threadIdx.x % 32;
    for (int w = 0; w < WARPS; ++w) {
        unsigned alive = ~gone[w], keep = 0, over[32];
        if (alive) {
            TN_UNROLL
            for (int b = 0; b < 32; ++b) over[b] = overlap[(w * 32 + b) * WARPS + w];
            TN_UNROLL
            for (int b = 0; b < 32; ++b) {
                if (!(alive >> b & 1) || left <= 0) continue;
                keep |= 1u << b;
                alive &= ~over[b];
                --left;
            }
        }
        if (lane < WARPS && lane > w) {
            unsigned more = 0;
            for (unsigned rest = keep; rest; rest &= rest - 1)
                more |= overlap[(w * 32 + tn_lowest_bit(rest)) * WARPS + lane];
            gone[lane] |= more;
        }
        if (lane == 0) kept[w] = keep;
        __syncwarp();
    }
}

extern "C" __global__ void __launch_bounds__(TN_BLOCK) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_SHARED(tn_box, held, [HELD * TN_BLOCK]);
    TN_SHARED(tn_box, near, [TN_BLOCK]);             // of the chunk at hand
    TN_SHARED(tn_box, next, [TN_BLOCK]);             // of this block's next one
    TN_SHARED(unsigned, overlap, [TN_BLOCK * WARPS]); // in it
    TN_SHARED(unsigned, gone, [OWN * WARPS]);        // no candidates, or overlapped
    TN_SHARED(unsigned, kept, [WARPS]);
    const int tid = (int)threadIdx.x, warp = tid / 32, lane = tid % 32;
    const tn_index rank = (tn_index)blockIdx.x, all = TN_N < TN_MOST ? TN_N : TN_MOST,
                   chunks = (all + TN_BLOCK - 1) / TN_BLOCK;
    TN_WAIT();
    tn_count most[1];
    tn_limit iou[1];
    tn_load_most(args, most);
    tn_load_iou(args, iou);
    const float threshold = (float)iou[0];
    for (tn_index row = (tn_index)blockIdx.y; row < TN_ROWS; row += (tn_index)gridDim.y) {
        const tn_index batch = row / TN_CLASSES;
        unsigned char *const y = (unsigned char *)tn_y(args) + row * TN_N;
        for (tn_index c = rank, j = 0; c < chunks; c += TN_BLOCKS, ++j) {
            const tn_index k = c * TN_BLOCK + tid;
            bool candidate[1] = {false};
            if (k < all) tn_load_candidate(args, row, k, candidate);
            if (candidate[0] && j < HELD) held[j * TN_BLOCK + tid] = tn_box_at(args, batch, row, k);
            const unsigned none = __ballot_sync(0xffffffffu, !candidate[0]);
            if (lane == 0) gone[j * WARPS + warp] = none;
        }
        __syncthreads();
        long long left = (long long)most[0];
        for (tn_index c = 0, prepared = -1; c < chunks; ++c) {
            const tn_index k = c * TN_BLOCK + tid, first = c / TN_BLOCKS + (c % TN_BLOCKS >= rank); // own chunk behind c
            const bool owns = c % TN_BLOCKS == rank;
            if (left <= 0) {
                if (owns && k < all) tn_st_shown1(y + k, 0);
                continue;
            }
            if (k < all) near[tid] = tn_box_at(args, batch, row, k);
            const tn_index coming = c + (rank + TN_BLOCKS - c % TN_BLOCKS) % TN_BLOCKS; // own chunk from c on
            if (coming != prepared && coming < chunks) {
                const tn_index j = coming / TN_BLOCKS, own = coming * TN_BLOCK + tid;
                const bool candidate = !(gone[j * WARPS + warp] >> lane & 1);
                if (candidate) next[tid] = j < HELD ? held[j * TN_BLOCK + tid] : tn_box_at(args, batch, row, own);
                __syncthreads();
                for (int w = 0; w < WARPS; ++w) {
                    const unsigned behind = w < warp ? 0 : w > warp ? ~0u : ~0u << lane << 1;
                    unsigned bits = 0;
                    if (candidate)
                        for (unsigned rest = behind & ~gone[j * WARPS + w]; rest; rest &= rest - 1) {
                            const int b = tn_lowest_bit(rest);
                            if (tn_overlap(next[tid], next[w * 32 + b], threshold)) bits |= 1u << b;
                        }
                    overlap[tid * WARPS + w] = bits;
                }
                __syncthreads();
                prepared = coming;
            }
            if (owns) {
                if (warp == 0) settle(gone + c / TN_BLOCKS * WARPS, overlap, kept, left);
                __syncthreads();
                if (k < all) tn_st_shown1(y + k, kept[warp] >> lane & 1);
            } else {
                unsigned is = 0;
                if (k < all)
                    do is = tn_ld_shown1(y + k);
                    while (is > 1);
                const unsigned keep = __ballot_sync(0xffffffffu, is != 0);
                if (lane == 0) kept[warp] = keep;
            }
            __syncthreads();
            bool any = false;
            for (int w = 0; w < WARPS; ++w) left -= tn_bit_count(kept[w]), any |= kept[w] != 0;
            for (tn_index j = first, at = j * TN_BLOCKS + rank; any && left > 0 && at < chunks; ++j, at += TN_BLOCKS) {
                const unsigned was = gone[j * WARPS + warp];
                bool hit = false;
                if (!(was >> lane & 1)) {
                    const tn_box b = j < HELD ? held[j * TN_BLOCK + tid] : tn_box_at(args, batch, row, at * TN_BLOCK + tid);
                    for (int w = 0; w < WARPS; ++w)
                        for (unsigned rest = kept[w]; rest && !hit; rest &= rest - 1)
                            hit = tn_overlap(near[w * 32 + tn_lowest_bit(rest)], b, threshold);
                }
                const unsigned hits = __ballot_sync(0xffffffffu, hit);
                __syncwarp(); // all lanes have read the word
                if (lane == 0) gone[j * WARPS + warp] = was | hits;
            }
            __syncthreads();
        }
    }
}
#include "tn_variant_end.cuh"
