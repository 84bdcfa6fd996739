// nms.cu: non-maximum suppression: candidates by falling score, without those that overlap one that is kept.  A block for each batch
// and class: one after the other is kept, and all threads look for what it overlaps; a warp owns a word of 32 boxes.
//! kernel  nms  y[batch, class, k] = candidate k is kept
//! knob    BLOCK  128 256 1024
#include "tn_device.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"
#include "tn_box.cuh"

extern "C" __global__ void __launch_bounds__(TN_BLOCK) TN_KERNEL(const __grid_constant__ tn_args args) {
    enum { WARPS = TN_BLOCK / 32, WORDS = TN_MOST / 32 };
    TN_SHARED(unsigned, gone, [WORDS]); // no candidates, kept before, or overlapped
    TN_SHARED(unsigned, kept, [WORDS]);
    TN_SHARED(tn_box, near, [32]); // of the word at hand
    TN_WAIT();
    const int tid = (int)threadIdx.x, warp = tid / 32, lane = tid % 32;
    const tn_index row = (tn_index)blockIdx.x, batch = row / TN_CLASSES;
    const tn_index all = TN_N < WORDS * 32 ? TN_N : WORDS * 32;
    const int words = (int)((all + 31) / 32);
    for (int w = warp; w < words; w += WARPS) {
        const tn_index k = (tn_index)w * 32 + lane;
        bool candidate[1] = {false};
        if (k < all) tn_load_candidate(args, row, k, candidate);
        const unsigned none = __ballot_sync(0xffffffffu, !candidate[0]);
        if (lane == 0) gone[w] = none, kept[w] = 0;
    }
    tn_count most[1];
    tn_limit iou[1];
    tn_load_most(args, most);
    tn_load_iou(args, iou);
    const float threshold = (float)iou[0];
    long long left = (long long)most[0];
    __syncthreads();
    for (int w = 0; w < words && left > 0; ++w) {
        const unsigned open = ~gone[w]; // the same for every thread
        if (!open) continue;
        if (warp == 0) { // of 32 neighbours one after the other
            const tn_index k = (tn_index)w * 32 + lane;
            if (open >> lane & 1) near[lane] = tn_box_at(args, batch, row, k);
            __syncwarp();
            unsigned alive = open, keep = 0;
            for (long long n = left; alive && n > 0; --n) {
                const int bit = tn_lowest_bit(alive);
                const bool hit = lane > bit && (alive >> lane & 1) && tn_overlap(near[bit], near[lane], threshold);
                keep |= 1u << bit;
                alive &= ~(__ballot_sync(0xffffffffu, hit) | 1u << bit);
            }
            if (lane == 0) kept[w] = keep;
        }
        __syncthreads();
        const unsigned keep = kept[w];
        left -= tn_bit_count(keep);
        for (int v = w + 1 + warp; v < words && left > 0; v += WARPS) { // and those behind by all that were kept
            const unsigned was = gone[v];
            if (was == ~0u) continue;
            bool hit = false;
            if (!(was >> lane & 1)) {
                const tn_box b = tn_box_at(args, batch, row, (tn_index)v * 32 + lane);
                for (unsigned rest = keep; rest && !hit; rest &= rest - 1)
                    hit = tn_overlap(near[tn_lowest_bit(rest)], b, threshold);
            }
            const unsigned hits = __ballot_sync(0xffffffffu, hit);
            __syncwarp(); // all lanes have read the word
            if (lane == 0) gone[v] = was | hits;
        }
        __syncthreads();
    }
    for (tn_index k = tid; k < TN_N; k += TN_BLOCK) {
        const bool y[1] = {k < all && (kept[k / 32] >> (k % 32) & 1) != 0};
        tn_epilogue(args, row, k, y);
    }
}
#include "tn_variant_end.cuh"
