// attention_mma.cu: y = softmax(scale * q k^T + bias) v on tensor cores, f16 or bf16, with the scores in registers (Dao 2023, FlashAttention-2).
//
// A block computes WARPS * 16 queries of one head, a warp 16 of them: tiles of BN keys and values come into shared memory by cp.async,
// the next one while one is worked on (STAGES 2), or through registers where an operand has no 16-byte chunks.  The largest score and the
// sum of a query are kept up to date from tile to tile; weights are rounded to the operands' type and stay in registers as the operand of
// the second product.  Heads of any size: columns past D and E are zeros in shared memory.
//! kernel  attention_mma  attention, scores on chip
//! knob    WARPS   1 2 4 8
//! knob    BN      16 32 64 128
//! knob    STAGES  1 2
//! require ((D + 15) / 16 * 16 + (E + 15) / 16 * 16) * 2 + BN * 2 <= (WARPS == 8 ? 576 : 1088) && (BN <= 64 || D <= 128 && E <= 128)
//! require WARPS == 1 || WARPS * 8 <= hint(S)
//! require BN == 16 || BN / 2 <= hint(T)
//! require WARPS * 16 * ((D + 15) / 16 * 16 + 8) * 2 + STAGES * BN * ((D + 15) / 16 * 16 + (E + 15) / 16 * 16 + 16) * 2 <= SMEM_MAX
//! require WARPS * 16 * ((E + 15) / 16 * 16 + 4) * 4 <= SMEM_MAX
#include "tn_mma.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"
#include "tn_attention.cuh"

enum {
    THREADS = TN_WARPS * 32,
    BM = TN_WARPS * 16,
    BN = TN_BN,
    DP = (TN_D + 15) / 16 * 16,
    EP = (TN_E + 15) / 16 * 16,
    DS = DP + 8, // rows in shared memory: 16 bytes past a multiple of 32
    ES = EP + 8,
    OS = EP + 4, // of results on their way out
    NT = BN / 8,
    HOLDS_Q = DP <= 128 // in registers
};

extern "C" __global__ void __launch_bounds__(THREADS) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_DYNAMIC_SMEM(memory);
    const unsigned smem_q = tn_smem_addr(memory), smem_k = smem_q + BM * DS * 2, smem_v = smem_k + TN_STAGES * BN * DS * 2;
    const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const tn_index tiles = ((tn_index)TN_S + BM - 1) / BM, b = (tn_index)blockIdx.x / tiles,
                   tile = tiles - 1 - (tn_index)blockIdx.x % tiles, first = tile * BM, keys = TN_T;
    TN_WAIT();
    const int n = (keys_among<BM, true>(args, b, first) + BN - 1) / BN, begin = first_among<BM, false>(args, b, first) / BN;
    const int fewest = keys_among<16, false>(args, b, first + warp * 16), latest = first_among<16, true>(args, b, first + warp * 16);
    const int seen[2] = {keys_of(args, b, first + warp * 16 + g), keys_of(args, b, first + warp * 16 + g + 8)},
              since[2] = {first_of(args, b, first + warp * 16 + g), first_of(args, b, first + warp * 16 + g + 8)};
    bring_rows<operand_q, BM, THREADS>(args, (int)threadIdx.x, b, first, TN_S, smem_q);
    if (begin < n) {
        bring_rows<operand_k, BN, THREADS>(args, (int)threadIdx.x, b, (tn_index)begin * BN, keys, smem_k);
        bring_rows<operand_v, BN, THREADS>(args, (int)threadIdx.x, b, (tn_index)begin * BN, keys, smem_v);
    }
    tn_cp_async_commit();

    const unsigned q_at = smem_q + (unsigned)((warp * 16 + lane % 16) * DS + lane / 16 * 8) * 2;
    unsigned q[HOLDS_Q ? DP / 16 : 1][4];
    float out[EP / 8][4], most[2] = {-TN_INF, -TN_INF}, sum[2] = {0, 0};
    TN_UNROLL
    for (int e = 0; e < EP / 8; e++)
        TN_UNROLL
        for (int i = 0; i < 4; i++) out[e][i] = 0;

    for (int k = begin; k < n; k++) {
        const int slot = TN_STAGES == 2 ? (k - begin) & 1 : 0;
        if (TN_STAGES == 2 && k + 1 < n) {
            bring_rows<operand_k, BN, THREADS>(args, (int)threadIdx.x, b, (tn_index)(k + 1) * BN, keys, smem_k + (unsigned)((slot ^ 1) * BN * DS * 2));
            bring_rows<operand_v, BN, THREADS>(args, (int)threadIdx.x, b, (tn_index)(k + 1) * BN, keys, smem_v + (unsigned)((slot ^ 1) * BN * ES * 2));
            tn_cp_async_commit();
            tn_cp_async_wait<1>();
        } else {
            tn_cp_async_wait<0>();
        }
        __syncthreads();
        if (HOLDS_Q && k == begin)
            TN_UNROLL
            for (int d = 0; d < DP / 16; d++) tn_ldmatrix4(q_at + d * 32, q[HOLDS_Q ? d : 0]);

        float s[NT][4];
        TN_UNROLL
        for (int j = 0; j < NT; j++)
            TN_UNROLL
            for (int i = 0; i < 4; i++) s[j][i] = 0;
        const unsigned k_at = smem_k + (unsigned)((slot * BN + lane / 16 * 8 + lane % 8) * DS + lane / 8 % 2 * 8) * 2;
        TN_UNROLL
        for (int d = 0; d < DP / 16; d++) {
            unsigned own[4];
            if (!HOLDS_Q) tn_ldmatrix4(q_at + d * 32, own);
            add_scores<NT, DS>(HOLDS_Q ? q[HOLDS_Q ? d : 0] : own, k_at + d * 32, s);
        }

        const tn_index row = first + warp * 16 + g, col = (tn_index)k * BN + t * 2;
        if (SCORED)
            TN_UNROLL
            for (int j = 0; j < NT; j += 2) {
                extra more[8];
                TN_UNROLL
                for (int i = 0; i < 8; i++) more[i].load(args, b, row + i / 2 % 2 * 8, col + (j + i / 4) * 8 + i % 2);
                TN_UNROLL
                for (int i = 0; i < 8; i++) s[j + i / 4][i % 4] = score(s[j + i / 4][i % 4], more[i]);
            }
        if ((k + 1) * BN > fewest || k * BN < latest)
            TN_UNROLL
            for (int j = 0; j < NT; j++)
                TN_UNROLL
                for (int i = 0; i < 4; i++) {
                    if (is_unseen(col + j * 8 + i % 2, since[i / 2], seen[i / 2])) s[j][i] = -TN_INF;
                }
        to_weights<NT, EP / 8>(s, most, sum, out);

        const unsigned v_at = smem_v + (unsigned)((slot * BN + lane % 16) * ES + lane / 16 * 8) * 2;
        add_values<NT, EP / 8, ES>(s, v_at, out);
        __syncthreads();
        if (TN_STAGES == 1 && k + 1 < n) {
            bring_rows<operand_k, BN, THREADS>(args, (int)threadIdx.x, b, (tn_index)(k + 1) * BN, keys, smem_k);
            bring_rows<operand_v, BN, THREADS>(args, (int)threadIdx.x, b, (tn_index)(k + 1) * BN, keys, smem_v);
            tn_cp_async_commit();
        }
    }
    if (begin >= n) { // what was asked for must have come before shared memory is used again
        tn_cp_async_wait<0>();
        __syncthreads();
    }

    finish<EP / 8>(args, b, first + warp * 16, (float *)memory + warp * 16 * OS, out[0], most, sum);
}
#include "tn_variant_end.cuh"
