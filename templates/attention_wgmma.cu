// attention_wgmma.cu: attention as attention_mma.cu, on Hopper's warpgroup tensor cores (Shah and others 2024, FlashAttention-3).
//
// A block computes WARPGROUPS * 64 queries of one head.  The products of the queries with the keys of tile k + 1 run together with the
// product of tile k's weights, which are in registers, with its values, and the softmax of tile k + 1 is computed while the latter still
// runs.  Tiles of keys and of values come into shared memory by cp.async, in wgmma's panels, STAGES of each: another is asked for when one
// has been used.  Columns past D and E are zeros.
//! kernel  attention_wgmma  attention, scores on chip, warpgroup tensor cores (sm_90a)
//! knob    WARPGROUPS  1 2 3
//! knob    BN          64 128
//! knob    STAGES      2 3 4
//! require WARPGROUPS == 1 || (WARPGROUPS - 1) * 64 < hint(S)
//! require BN == 64 || hint(T) > 64
//! require WARPGROUPS < 3 || BN == 64 || D <= 64 && E <= 64
//! require (D + 63) / 64 * (WARPGROUPS * 64 + STAGES * BN) * 128 + (E + 63) / 64 * STAGES * BN * 128 <= SMEM_MAX
//! require STAGES == 2 || (STAGES - 1) * BN < hint(T)
//! require WARPGROUPS * 64 * ((E + 63) / 64 * 64 + 4) * 4 <= SMEM_MAX
#include "tn_async.cuh"
#include "tn_wgmma.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"
#include "tn_attention.cuh"

enum {
    THREADS = TN_WARPGROUPS * 128,
    BM = TN_WARPGROUPS * 64,
    BN = TN_BN,
    STAGES = TN_STAGES,
    DP = (TN_D + 63) / 64, // panels of 64 columns
    EP = (TN_E + 63) / 64,
    K_TILE = DP * BN * TN_PANEL_ROW,
    V_TILE = EP * BN * TN_PANEL_ROW
};

// Rows first ... first + ROWS - 1 of batch b as panels, zeros behind the last row and column.  A panel has all rows, or is 64 of them.
template <class OPERAND, int ROWS, bool BY_64> TN_DEV void bring(const tn_args &args, tn_index b, tn_index first, tn_index rows, unsigned to) {
    enum { PANELS = (OPERAND::COLS + 63) / 64, CHUNKS = PANELS * 8, TALL = BY_64 ? 64 : ROWS, STEP = THREADS / CHUNKS };
    const int c = (int)threadIdx.x % CHUNKS;
    TN_UNROLL
    for (int i = 0; i < ROWS; i += STEP) {
        const int r = (int)threadIdx.x / CHUNKS + i;
        if (ROWS % STEP && r >= ROWS) break;
        const unsigned panel = to + (unsigned)((r / TALL * PANELS + c / 8) * TALL * TN_PANEL_ROW);
        const bool ok = first + r < rows && c * 8 < OPERAND::COLS;
        tn_cp_async16(tn_panel_chunk(panel, r % TALL, c % 8), OPERAND::at(args, b, ok ? first + r : 0, ok ? c * 8 : 0), ok);
    }
}

// A warpgroup's state.
struct softmax {
    const tn_args &args;
    unsigned q, keys, values; // tiles in shared memory
    tn_index b, first;        // of the warpgroup: its first query
    float most[2], sum[2], out[EP * 32];
    unsigned p[BN / 16][4]; // weights

    // Starts the products of the queries with tile k of keys.
    TN_MEMBER void start_scores(int k, float (&s)[BN / 2]) const {
        TN_UNROLL
        for (int j = 0; j < DP; j++) {
            const unsigned long long a = tn_wgmma_tile(q + (unsigned)(j * BM * TN_PANEL_ROW)),
                                     t = tn_wgmma_tile(keys + (unsigned)(k % STAGES * K_TILE + j * BN * TN_PANEL_ROW));
            TN_UNROLL
            for (int i = 0; i < 4; i++) {
                if (j == 0 && i == 0)
                    tn_wgmma<false, false, false>(s, tn_wgmma_step<true>(a, i), tn_wgmma_step<true>(t, i), tn_elem(), tn_elem());
                else
                    tn_wgmma<false, false>(s, tn_wgmma_step<true>(a, i), tn_wgmma_step<true>(t, i), tn_elem(), tn_elem());
            }
        }
        tn_wgmma_commit();
    }

    // Starts the product of the weights with tile k of values.
    TN_MEMBER void start_sums(int k) {
        TN_UNROLL
        for (int i = 0; i < BN / 16; i++)
            tn_wgmma_registers<true>(
                out, p[i],
                tn_wgmma_step<false>(tn_wgmma_tile(values + (unsigned)(k % STAGES * V_TILE + i / 4 * EP * TN_PANEL)), i % 4), tn_elem());
        tn_wgmma_commit();
    }

    // Products become weights of tile k; fade is what earlier sums are to be multiplied by.
    TN_MEMBER void weigh(int k, float (&s)[BN / 2], float (&fade)[2]) {
        const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32 % 4;
        const tn_index row = first + warp * 16 + lane / 4, col = (tn_index)k * BN + lane % 4 * 2, all = TN_T, ahead = all - TN_S;
        const bool edge = (tn_index)(k + 1) * BN > all || (TN_CAUSAL && (tn_index)(k + 1) * BN > first + warp * 16 + ahead + 1);
        if (SCORED || edge)
            TN_UNROLL
            for (int j = 0; j < BN / 2; j++) {
                const tn_index r = row + j / 2 % 2 * 8, c = col + j / 4 * 8 + j % 2;
                if (SCORED && r < TN_S && c < all) s[j] = score(args, b, r, c, s[j]);
                if (edge && (c >= all || (TN_CAUSAL && c > r + ahead))) s[j] = -TN_INF;
            }
        float now[2] = {most[0], most[1]}, shift[2];
        TN_UNROLL
        for (int j = 0; j < BN / 2; j++) now[j / 2 % 2] = tn_max(now[j / 2 % 2], s[j]);
        TN_UNROLL
        for (int h = 0; h < 2; h++) {
            fade[h] = raise(now[h], most[h], shift[h]);
            sum[h] *= fade[h];
        }
        TN_UNROLL
        for (int j = 0; j < BN / 2; j++) {
            s[j] = weight(s[j], shift[j / 2 % 2]);
            sum[j / 2 % 2] += s[j];
        }
    }
    TN_MEMBER void pack(const float (&s)[BN / 2]) {
        TN_UNROLL
        for (int j = 0; j < BN / 4; j++) p[j / 4][j % 4] = tn_pack2(s[2 * j], s[2 * j + 1], tn_elem());
    }
};

// All but the LEFT newest groups of copies have landed, this thread's and everyone's, and nobody reads what the next ones replace.
template <int LEFT> TN_DEV void landed() {
    tn_cp_async_wait<LEFT>();
    tn_fence_wgmma_operands();
    __syncthreads();
}

extern "C" __global__ void __launch_bounds__(THREADS) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_SWIZZLED_SMEM(memory);
    const unsigned smem_q = tn_smem_addr(memory), smem_k = smem_q + DP * BM * TN_PANEL_ROW, smem_v = smem_k + STAGES * K_TILE;
    const int group = (int)threadIdx.x / 128, warp = (int)threadIdx.x / 32;
    const tn_index tiles = ((tn_index)TN_S + BM - 1) / BM, b = (tn_index)blockIdx.x / tiles,
                   tile = tiles - 1 - (tn_index)blockIdx.x % tiles, first = tile * BM, ahead = (tn_index)TN_T - TN_S;
    tn_index seen = TN_T; // causal: query i sees keys up to i + ahead
    if (TN_CAUSAL && first + BM + ahead < seen) seen = first + BM + ahead > 0 ? first + BM + ahead : 0;
    const int n = (int)((seen + BN - 1) / BN);
    TN_WAIT();
    softmax x{args, smem_q + (unsigned)(group * TN_PANEL), smem_k, smem_v, b, first + group * 64, {-TN_INF, -TN_INF}, {}, {}, {}};
    if (n > 0) {
        const auto bring_tiles = [&](int k, int v) { // a group of copies
            if (k < n) bring<operand_k, BN, false>(args, b, (tn_index)k * BN, TN_T, smem_k + (unsigned)(k % STAGES * K_TILE));
            if (v < n) bring<operand_v, BN, true>(args, b, (tn_index)v * BN, TN_T, smem_v + (unsigned)(v % STAGES * V_TILE));
            tn_cp_async_commit();
        };
        float s[BN / 2], fade[2];
        bring<operand_q, BM, false>(args, b, first, TN_S, smem_q);
        bring<operand_k, BN, false>(args, b, 0, TN_T, smem_k);
        tn_cp_async_commit();
        for (int k = 0; k + 1 < STAGES; k++) bring_tiles(k + 1, k);
        landed<STAGES - 1>();
        tn_wgmma_fence();
        x.start_scores(0, s);
        tn_wgmma_wait<0>();
        tn_wgmma_pin(s);
        x.weigh(0, s, fade);
        x.pack(s);
        for (int k = 0; k + 1 < n; k++) {
            landed<STAGES - 2>(); // keys k + 1 and values k
            bring_tiles(k + STAGES, k + STAGES - 1);
            tn_wgmma_pin(x.out);
            tn_wgmma_fence();
            x.start_scores(k + 1, s);
            x.start_sums(k);
            tn_wgmma_wait<1>();
            tn_wgmma_pin(s);
            x.weigh(k + 1, s, fade);
            tn_wgmma_wait<0>();
            tn_wgmma_pin(x.out);
            TN_UNROLL
            for (int i = 0; i < EP * 32; i++) x.out[i] *= fade[i / 2 % 2];
            x.pack(s);
        }
        landed<STAGES - 2>();
        tn_wgmma_pin(x.out);
        tn_wgmma_fence();
        x.start_sums(n - 1);
        tn_wgmma_wait<0>();
        tn_wgmma_pin(x.out);
        __syncthreads(); // shared memory is used again
    }
    finish<EP * 8>(args, b, first + warp * 16, (float *)memory + warp * 16 * (EP * 64 + 4), x.out, x.sum);
}
#include "tn_variant_end.cuh"
