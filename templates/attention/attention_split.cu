// attention_split.cu: y = softmax(scale * q k^T + bias) v for few queries and many keys, as in decoding: keys and values stream by once.
//
// A block has 16 rows, which are the queries of all GROUP heads that share keys and values, and SPLIT blocks of a cluster have a part of the
// keys each.  Of that part a warp takes every WARPS-th tile of BN keys, with a ring of STAGES tiles of its own, so that warps do not wait
// for each other and all that they ask for is in flight.  Each warp has the largest score, the sum and the results of the keys that it saw;
// these are brought to one base and added up over the warps of a block, then over the cluster's blocks, in a fixed order.  16 bits on tensor
// cores, with a tile's scores in registers; float32 by multiply-adds in the same places.
//! kernel  attention_split  attention of few queries, keys split over warps and blocks
//! knob    WARPS   1 2 4 8
//! knob    BN      16 32 64
//! knob    STAGES  1 2 4
//! knob    SPLIT   1 2 4 8
//! require SPLIT == 1 || CLUSTERS
//! require SPLIT * WARPS * BN < 2 * hint(T) || SPLIT * WARPS == 1 && BN == 16
//! require STAGES == 1 || (STAGES / 2) * SPLIT * WARPS * BN < hint(T)
//! require ELT == 4 || hint(ROWS) <= 64
//! require 16 * ((D + 15) / 16 * 16 * ELT + 16) + WARPS * STAGES * BN * (((D + 15) / 16 * 16 + (E + 15) / 16 * 16) * ELT + 32) <= SMEM_MAX
//! require ((E + 15) / 16 * 16 + 4) * 4 * 16 * WARPS + (WARPS + 1) * 256 <= SMEM_MAX
#include "tn_mma.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"
#include "tn_attention.cuh"

enum {
    THREADS = TN_WARPS * 32,
    BN = TN_BN,
    NT = BN / 8,
    ELT = sizeof(tn_elem),
    DP = (TN_D + 15) / 16 * 16,
    EP = (TN_E + 15) / 16 * 16,
    DS = (DP * ELT + 16) / ELT, // rows in shared memory: 16 bytes past a multiple of 32
    ES = (EP * ELT + 16) / ELT,
    SLOT = BN * (DS + ES) * ELT, // a tile of keys, and of values
    OS = EP + 4,                 // of results, floats
    HALVES = TN_FEW ? 1 : 2      // of the rows in use: 8 in each
};
constexpr bool IS_16 = sizeof(tn_elem) == 2;

// Row r of those that the block has from `first` on: query i of batch element b.
struct place {
    tn_index b, i;
    bool ok;
};
TN_DEV place place_of(const tn_args &args, tn_index kv, tn_index row) {
    return {kv * TN_GROUP + row % TN_GROUP, row / TN_GROUP, row < (tn_index)TN_S * TN_GROUP};
}

// Of the keys that one of 16 rows sees, the most, in all lanes of a warp; and the first.
TN_DEV int most_keys(const tn_args &args, tn_index kv, tn_index first, tn_index rows) {
    const tn_index behind = first + 15 < rows ? first + 15 : rows - 1, own = first + (int)threadIdx.x % 16;
    const place last = place_of(args, kv, behind), p = place_of(args, kv, own < behind ? own : behind);
    if (!TN_HAS_LIMIT) return keys_of(args, last.b, last.i);
    int n = keys_of(args, p.b, p.i);
    TN_UNROLL
    for (int lane = 8; lane > 0; lane /= 2) n = tn_max(n, __shfl_xor_sync(0xffffffffu, n, lane));
    return n;
}
TN_DEV int first_key(const tn_args &args, tn_index kv, tn_index first, tn_index rows) {
    const tn_index own = first + (int)threadIdx.x % 16;
    const place p = place_of(args, kv, own < rows ? own : rows - 1);
    if (!TN_HAS_FROM) return 0;
    int n = first_of(args, p.b, p.i);
    TN_UNROLL
    for (int lane = 8; lane > 0; lane /= 2) n = tn_min(n, __shfl_xor_sync(0xffffffffu, n, lane));
    return n;
}

// The block's queries: rows first ... first + 15.
struct operand_rows {
    enum { ASYNC = 0, VEC = TN_Q_VEC, COLS = TN_D };
    TN_DEV void load(const tn_args &args, tn_index kv, tn_index r, tn_index c, float (&x)[VEC]) {
        const place p = place_of(args, kv, r);
        operand_q::load(args, p.b, p.i, c, x);
    }
};

TN_DEV void floats_at(unsigned at, float (&x)[4]) {
    const tn_bits16 v = tn_lds16(at);
    x[0] = tn_bits_float(v.x), x[1] = tn_bits_float(v.y), x[2] = tn_bits_float(v.z), x[3] = tn_bits_float(v.w);
}

// Products of the block's 16 queries at `q` with BN keys at `k`, as an accumulator has them.
TN_DEV void multiply(unsigned q, unsigned k, float (&s)[NT][4], float) {
    const int lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4;
    for (int d = 0; d < DP; d += 4) {
        float x[2][4], y[4];
        TN_UNROLL
        for (int h = 0; h < HALVES; h++) floats_at(q + (unsigned)(((g + h * 8) * DS + d) * 4), x[h]);
        TN_UNROLL
        for (int j = 0; j < NT; j++)
            TN_UNROLL
            for (int c = 0; c < 2; c++) {
                floats_at(k + (unsigned)(((j * 8 + t * 2 + c) * DS + d) * 4), y);
                TN_UNROLL
                for (int h = 0; h < HALVES; h++)
                    TN_UNROLL
                    for (int l = 0; l < 4; l++) s[j][h * 2 + c] = fmaf(x[h][l], y[l], s[j][h * 2 + c]);
            }
    }
}
template <class T> TN_DEV void multiply(unsigned q, unsigned k, float (&s)[NT][4], T) {
    const int lane = (int)threadIdx.x % 32;
    const unsigned q_at = q + (unsigned)(lane % 16 * DS + lane / 16 * 8) * 2, k_at = k + (unsigned)((lane / 16 * 8 + lane % 8) * DS + lane / 8 % 2 * 8) * 2;
    TN_UNROLL
    for (int d = 0; d < DP / 16; d++) {
        unsigned a[4];
        tn_ldmatrix4(q_at + d * 32, a);
        add_scores<NT, DS>(a, k_at + d * 32, s);
    }
}

// Adds BN values at `v`, weighed by p.
TN_DEV void weigh(unsigned v, const float (&p)[NT][4], float (&out)[EP / 8][4], float) {
    const int lane = (int)threadIdx.x % 32, t = lane % 4;
    TN_UNROLL
    for (int j = 0; j < NT; j++)
        TN_UNROLL
        for (int c = 0; c < 8; c++) {
            float w[2];
            TN_UNROLL
            for (int h = 0; h < HALVES; h++) w[h] = __shfl_sync(0xffffffffu, p[j][h * 2 + c % 2], lane - t + c / 2);
            TN_UNROLL
            for (int e = 0; e < EP / 8; e++) {
                const unsigned at = v + (unsigned)(((j * 8 + c) * ES + e * 8 + t * 2) * 4);
                const float y[2] = {tn_bits_float(tn_lds4(at)), tn_bits_float(tn_lds4(at + 4))};
                TN_UNROLL
                for (int h = 0; h < HALVES; h++)
                    TN_UNROLL
                    for (int i = 0; i < 2; i++) out[e][h * 2 + i] = fmaf(w[h], y[i], out[e][h * 2 + i]);
            }
        }
}
template <class T> TN_DEV void weigh(unsigned v, const float (&p)[NT][4], float (&out)[EP / 8][4], T) {
    const int lane = (int)threadIdx.x % 32;
    add_values<NT, EP / 8, ES>(p, v + (unsigned)(lane % 16 * ES + lane / 16 * 8) * 2, out);
}

// What has been seen of a row's keys: the base of its weights and their sum.
struct seen_part {
    float most, sum;
};

template <bool REMOTE> TN_DEV tn_bits16 read16(unsigned at, int rank) { return REMOTE ? tn_cluster_lds16(at, rank) : tn_lds16(at); }

// Four results of a row, from N parts that are `step` (or, REMOTE, a block of the cluster) apart: what their weights add up to, with one base.
template <int N, bool REMOTE> TN_DEV seen_part add_up(unsigned stats, unsigned stats_step, unsigned results, unsigned step, float (&x)[4]) {
    float most[N], sum[N];
    seen_part all = {-TN_INF, 0};
    TN_UNROLL
    for (int n = 0; n < N; n++) {
        const tn_bits16 s = read16<REMOTE>(stats + n * stats_step, n);
        most[n] = tn_bits_float(s.x);
        sum[n] = tn_bits_float(s.y);
        all.most = tn_max(all.most, most[n]);
    }
    TN_UNROLL
    for (int l = 0; l < 4; l++) x[l] = 0;
    TN_UNROLL
    for (int n = 0; n < N; n++) {
        const float f = factor(most[n], base_of(all.most));
        const tn_bits16 r = read16<REMOTE>(results + n * step, n);
        const float y[4] = {tn_bits_float(r.x), tn_bits_float(r.y), tn_bits_float(r.z), tn_bits_float(r.w)};
        all.sum += f * sum[n];
        TN_UNROLL
        for (int l = 0; l < 4; l++) x[l] += f * y[l];
    }
    return all;
}

TN_DEV void put16(unsigned at, float x, float y, float z, float w) {
    const tn_bits16 v = {tn_float_bits(x), tn_float_bits(y), tn_float_bits(z), tn_float_bits(w)};
    tn_sts16(at, v);
}

TN_DEV float sink_at(unsigned stats, int r) { return tn_bits_float(tn_lds4(stats + (unsigned)r * 16 + 8)); } // of row r

extern "C" __global__ void __launch_bounds__(THREADS) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_DYNAMIC_SMEM(memory);
    const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const tn_index rows = (tn_index)TN_S * TN_GROUP, tiles = (rows + 15) / 16, block = (tn_index)blockIdx.x / TN_SPLIT;
    const tn_index kv = block / tiles, first = block % tiles * 16, keys = TN_T, head = kv * TN_GROUP;
    const int rank = TN_SPLIT > 1 ? tn_cluster_rank() : 0;
    TN_WAIT();
    const int n = (most_keys(args, kv, first, rows) + BN - 1) / BN, before = tn_min(first_key(args, kv, first, rows) / BN, n);
    const int begin = before + (int)((long long)(n - before) * rank / TN_SPLIT) + warp,
              end = before + (int)((long long)(n - before) * (rank + 1) / TN_SPLIT);
    const unsigned smem_q = tn_smem_addr(memory), ring = smem_q + 16 * DS * ELT + (unsigned)(warp * TN_STAGES * SLOT);
    bring_rows<operand_rows, 16, THREADS>(args, (int)threadIdx.x, kv, first, rows, smem_q);
    TN_UNROLL
    for (int u = 0; u < TN_STAGES; u++) {
        const int k = begin + u * TN_WARPS;
        if (k < end) {
            bring_rows<operand_k, BN, 32>(args, lane, head, (tn_index)k * BN, keys, ring + (unsigned)(u * SLOT));
            bring_rows<operand_v, BN, 32>(args, lane, head, (tn_index)k * BN, keys, ring + (unsigned)(u * SLOT + BN * DS * ELT));
        }
        tn_cp_async_commit();
    }
    __syncthreads(); // queries

    float out[EP / 8][4], most[2] = {-TN_INF, -TN_INF}, sum[2] = {0, 0};
    TN_UNROLL
    for (int e = 0; e < EP / 8; e++)
        TN_UNROLL
        for (int i = 0; i < 4; i++) out[e][i] = 0;
    const place row[2] = {place_of(args, kv, first + g), place_of(args, kv, first + g + 8)};
    const int seen[2] = {keys_of(args, row[0].b, row[0].i), keys_of(args, row[1].b, row[1].i)};
    const int since[2] = {first_of(args, row[0].b, row[0].i), first_of(args, row[1].b, row[1].i)};
    const float sink[2] = {sink_of(args, row[0].b, row[0].i), sink_of(args, row[1].b, row[1].i)};

    unsigned slot = ring;
    for (int k = begin; k < end; k += TN_WARPS) {
        tn_cp_async_wait<TN_STAGES - 1>();
        __syncwarp();
        float s[NT][4];
        TN_UNROLL
        for (int j = 0; j < NT; j++)
            TN_UNROLL
            for (int i = 0; i < 4; i++) s[j][i] = 0;
        multiply(smem_q, slot, s, tn_elem());

        const tn_index col = (tn_index)k * BN + t * 2;
        extra more[NT][HALVES * 2];
        TN_UNROLL
        for (int j = 0; j < NT; j++)
            TN_UNROLL
            for (int i = 0; i < HALVES * 2; i++)
                if (SCORED && row[i / 2].ok) more[j][i].load(args, row[i / 2].b, row[i / 2].i, col + j * 8 + i % 2);
        TN_UNROLL
        for (int j = 0; j < NT; j++)
            TN_UNROLL
            for (int i = 0; i < HALVES * 2; i++) {
                if (SCORED && row[i / 2].ok) s[j][i] = score(s[j][i], more[j][i]);
                if (is_unseen(col + j * 8 + i % 2, since[i / 2], seen[i / 2])) s[j][i] = -TN_INF;
            }
        to_weights<NT, EP / 8, HALVES>(s, most, sum, out);
        weigh(slot + BN * DS * ELT, s, out, tn_elem());
        __syncwarp();
        const int next = k + TN_STAGES * TN_WARPS;
        if (next < end) {
            bring_rows<operand_k, BN, 32>(args, lane, head, (tn_index)next * BN, keys, slot);
            bring_rows<operand_v, BN, 32>(args, lane, head, (tn_index)next * BN, keys, slot + BN * DS * ELT);
        }
        tn_cp_async_commit();
        slot = slot == ring + (unsigned)((TN_STAGES - 1) * SLOT) ? ring : slot + SLOT;
    }

    // Results of each warp, and behind them largest scores, sums and sinks, of each warp, then of the block.
    const unsigned results = smem_q, stats = results + TN_WARPS * 16 * OS * 4, whole = stats + TN_WARPS * 256;
    __syncthreads();
    TN_UNROLL
    for (int h = 0; h < HALVES; h++) {
        const float all = sum_of_four(sum[h]);
        const int r = warp * 16 + h * 8 + g;
        if (t == 0) put16(stats + (unsigned)r * 16, most[h], all, sink[h], 0);
        TN_UNROLL
        for (int e = 0; e < EP / 8; e++) tn_sts8(results + (unsigned)((r * OS + e * 8 + t * 2) * 4), tn_float_bits(out[e][h * 2]), tn_float_bits(out[e][h * 2 + 1]));
    }
    __syncthreads();
    enum { ROWS = HALVES * 8, FOURS = EP / 4 };
    if (TN_WARPS > 1 || TN_SPLIT > 1) {
        for (int i = (int)threadIdx.x; i < ROWS * FOURS; i += THREADS) {
            const int r = i / FOURS, e = i % FOURS * 4;
            const unsigned at = results + (unsigned)((r * OS + e) * 4);
            float x[4];
            const seen_part all = add_up<TN_WARPS, false>(stats + (unsigned)r * 16, 256, at, 16 * OS * 4, x);
            put16(at, x[0], x[1], x[2], x[3]); // which only this thread reads
            if (e == 0) put16(whole + (unsigned)r * 16, all.most, all.sum, sink_at(stats, r), 0);
        }
        if (TN_SPLIT > 1) tn_cluster_sync();
        else __syncthreads();
    }
    const unsigned from = TN_WARPS > 1 || TN_SPLIT > 1 ? whole : stats;
    enum { WIDE = TN_EPI_VEC < 4 ? 4 : TN_EPI_VEC, PER_ROW = (EP + WIDE - 1) / WIDE };
    for (int i = (int)threadIdx.x * TN_SPLIT + rank; i < ROWS * PER_ROW; i += THREADS * TN_SPLIT) {
        const int r = i / PER_ROW, e = i % PER_ROW * WIDE;
        const place p = place_of(args, kv, first + r);
        if (!p.ok) continue;
        float x[WIDE];
        seen_part all = {0, 0};
        TN_UNROLL
        for (int w = 0; w < WIDE; w += 4) {
            float y[4];
            all = add_up<TN_SPLIT, (TN_SPLIT > 1)>(from + (unsigned)r * 16, 0, results + (unsigned)((r * OS + e + w) * 4), 0, y);
            TN_UNROLL
            for (int l = 0; l < 4; l++) x[w + l] = y[l];
        }
        const share own(all.most, all.sum, sink_at(from, r));
        TN_UNROLL
        for (int w = 0; w < WIDE; w += TN_EPI_VEC) {
            float y[TN_EPI_VEC];
            TN_UNROLL
            for (int l = 0; l < TN_EPI_VEC; l++) y[l] = own.of(x[w + l]);
            if (e + w < TN_E) tn_epilogue(args, p.b, p.i, e + w, y);
        }
    }
    if (TN_SPLIT > 1) tn_cluster_sync(); // the others read this block's
}
#include "tn_variant_end.cuh"
