// tn_attention.cuh: what the attention templates share: their operands, a score from a product, the running softmax of a query
// (Dao 2023, FlashAttention-2), and the way out.
//
// A warp has 16 queries as an accumulator of mma has its rows: lane 4g + t has rows g and g + 8, and of each the columns 8j + 2t and 8j + 2t + 1.
#pragma once
#include "tn_mma.cuh"
#include "tn_math.cuh"

struct operand_q {
    enum { ASYNC = TN_Q_ASYNC, VEC = TN_Q_VEC, COLS = TN_D };
#if TN_Q_ASYNC
    TN_DEV const tn_elem *at(const tn_args &args, tn_index b, tn_index r, tn_index c) { return tn_q(args) + tn_offset_q(args, b, r, c); }
#else
    TN_DEV void load(const tn_args &args, tn_index b, tn_index r, tn_index c, float (&x)[VEC]) { tn_load_q(args, b, r, c, x); }
#endif
};
struct operand_k {
    enum { ASYNC = TN_K_ASYNC, VEC = TN_K_VEC, COLS = TN_D };
#if TN_K_ASYNC
    TN_DEV const tn_elem *at(const tn_args &args, tn_index b, tn_index r, tn_index c) { return tn_k(args) + tn_offset_k(args, b, r, c); }
#else
    TN_DEV void load(const tn_args &args, tn_index b, tn_index r, tn_index c, float (&x)[VEC]) { tn_load_k(args, b, r, c, x); }
#endif
};
struct operand_v {
    enum { ASYNC = TN_V_ASYNC, VEC = TN_V_VEC, COLS = TN_E };
#if TN_V_ASYNC
    TN_DEV const tn_elem *at(const tn_args &args, tn_index b, tn_index r, tn_index c) { return tn_v(args) + tn_offset_v(args, b, r, c); }
#else
    TN_DEV void load(const tn_args &args, tn_index b, tn_index r, tn_index c, float (&x)[VEC]) { tn_load_v(args, b, r, c, x); }
#endif
};

// Rows first ... first + ROWS - 1 of batch b into shared memory, whose rows are STRIDE elements apart, by THREADS threads of which this
// is one; zeros behind the last row and column.  Chunks of 16 bytes by cp.async, or through registers.
template <class OPERAND, int ROWS, int THREADS>
TN_DEV void bring_rows(const tn_args &args, int thread, tn_index b, tn_index first, tn_index rows, unsigned to) {
    enum { CHUNK = 16 / sizeof(tn_elem), CHUNKS = (OPERAND::COLS + 15) / 16 * 16 / CHUNK, STRIDE = (CHUNKS + 1) * CHUNK, VEC = OPERAND::VEC };
    for (int i = thread; i < ROWS * CHUNKS; i += THREADS) {
        const int r = i / CHUNKS, c = i % CHUNKS * CHUNK;
        const unsigned dst = to + (unsigned)((r * STRIDE + c) * (int)sizeof(tn_elem));
        const bool row_ok = first + r < rows;
        if constexpr (OPERAND::ASYNC) {
            const bool ok = row_ok && c < OPERAND::COLS;
            tn_cp_async16(dst, OPERAND::at(args, b, ok ? first + r : 0, ok ? c : 0), ok);
        } else {
            float x[CHUNK];
            tn_bits16 bits;
            TN_UNROLL
            for (int j = 0; j < CHUNK; j += VEC) {
                float part[VEC] = {};
                if (row_ok && c + j < OPERAND::COLS) OPERAND::load(args, b, first + r, c + j, part);
                TN_UNROLL
                for (int l = 0; l < VEC; l++) x[j + l] = part[l];
            }
            tn_pack16(x, bits, tn_elem());
            tn_sts16(dst, bits);
        }
    }
}

TN_DEV unsigned tn_pack2(float x, float y, tn_half) { return tn_floats_to_half2(x, y); }
TN_DEV unsigned tn_pack2(float x, float y, tn_bf16) { return tn_floats_to_bf16x2(x, y); }

// Adds the products of 16 queries (a: 16 of their columns) with 8 N keys at k_at, whose rows are STRIDE apart, to their scores.
template <int N, int STRIDE> TN_DEV void add_scores(const unsigned (&a)[4], unsigned k_at, float (&s)[N][4]) {
    TN_UNROLL
    for (int j = 0; j < N; j += 2) {
        unsigned r[4];
        tn_ldmatrix4(k_at + (unsigned)(j * 8 * STRIDE * 2), r);
        tn_mma(s[j], a, r[0], r[1], tn_elem());
        tn_mma(s[j + 1], a, r[2], r[3], tn_elem());
    }
}

// Adds 8 N values at v_at, of 8 TILES columns, weighed by p, which is rounded.
template <int N, int TILES, int STRIDE> TN_DEV void add_values(const float (&p)[N][4], unsigned v_at, float (&out)[TILES][4]) {
    TN_UNROLL
    for (int j = 0; j < N; j += 2) {
        const unsigned a[4] = {tn_pack2(p[j][0], p[j][1], tn_elem()), tn_pack2(p[j][2], p[j][3], tn_elem()),
                               tn_pack2(p[j + 1][0], p[j + 1][1], tn_elem()), tn_pack2(p[j + 1][2], p[j + 1][3], tn_elem())};
        TN_UNROLL
        for (int e = 0; e < TILES; e += 2) {
            unsigned r[4];
            tn_ldmatrix4_trans(v_at + (unsigned)(j * 8 * STRIDE * 2 + e * 16), r);
            tn_mma(out[e], a, r[0], r[1], tn_elem());
            tn_mma(out[e + 1], a, r[2], r[3], tn_elem());
        }
    }
}

// Where nothing is added to the products they are compared as they are, and scaled as they become exponents.
constexpr bool SCORED = TN_HAS_BIAS || TN_HAS_MASK || TN_CAP != 0 || !(TN_SCALE > 0);
constexpr float TO_2 = (float)((SCORED ? 1 : TN_SCALE) * 1.4426950408889634); // exponents of 2

// What is added to a score, or takes its place.
struct extra {
#if TN_HAS_BIAS
    tn_bias bias[1];
#endif
#if TN_HAS_MASK
    bool kept[1];
#endif
    // Of query i and key j; those behind the last are as the last: many loads without a branch are under way together.
    TN_MEMBER void load(const tn_args &args, tn_index b, tn_index i, tn_index j) {
        i = tn_min(i, (tn_index)(TN_S - 1)), j = tn_min(j, (tn_index)(TN_T - 1));
#if TN_HAS_BIAS
        tn_load_bias(args, b, i, j, bias);
#endif
#if TN_HAS_MASK
        tn_load_mask(args, b, i, j, kept);
#endif
        (void)args, (void)b;
    }
};
TN_DEV float score(float x, const extra &more) {
    x *= (float)TN_SCALE;
    if constexpr (TN_CAP != 0) x = (float)TN_CAP * tn_tanh(x * (float)(TN_CAP != 0 ? 1 / TN_CAP : 0));
#if TN_HAS_BIAS
    x += (float)more.bias[0];
#endif
#if TN_HAS_MASK
    if (!more.kept[0]) x = TN_FILL_INF ? TN_FILL_INF * TN_INF : (float)TN_FILL;
#endif
    (void)more;
    return x;
}

// The keys that query i of batch element b sees are the first of so many.  Queries behind the last are as the last.
TN_DEV int keys_of(const tn_args &args, tn_index b, tn_index i) {
    if (i >= TN_S) i = TN_S - 1;
    int n = (int)TN_T;
    if (TN_CAUSAL) n = tn_min(n, (int)(i + 1 + TN_T - TN_S));
#if TN_HAS_LIMIT
    tn_limit most[1];
    tn_load_limit(args, b, i, 0, most);
    if (most[0] < n) n = (int)most[0];
#endif
    return n > 0 ? n : 0;
}
// The first of them, in a sliding window; T: none is seen.
TN_DEV int first_of(const tn_args &args, tn_index b, tn_index i) {
#if TN_HAS_FROM
    tn_from from[1];
    tn_load_from(args, b, tn_min(i, (tn_index)(TN_S - 1)), 0, from);
    return from[0] <= 0 ? 0 : from[0] < TN_T ? (int)from[0] : (int)TN_T;
#else
    (void)args, (void)b, (void)i;
    return 0;
#endif
}
// Key j is none of these.
TN_DEV bool is_unseen(tn_index j, int first, int behind) { return j >= behind || (TN_HAS_FROM && j < first); }

// Of the numbers that `of` says of ROWS queries the largest, or the smallest, in all lanes of a warp.
template <int ROWS, bool MOST, class OF> TN_DEV int among(tn_index first, const OF &of) {
    int n = of(first + (int)threadIdx.x % 32 % ROWS);
    TN_UNROLL
    for (int r = 32; r < ROWS; r += 32) {
        const int more = of(first + r + (int)threadIdx.x % 32);
        n = MOST ? tn_max(n, more) : tn_min(n, more);
    }
    // By one instruction, which tells ptxas that it is the same in all lanes: or wgmmas in a loop of so many turns wait for each other.
    return MOST ? __reduce_max_sync(0xffffffffu, n) : __reduce_min_sync(0xffffffffu, n);
}
// The most that one of ROWS queries sees, or the fewest.
template <int ROWS, bool MOST> TN_DEV int keys_among(const tn_args &args, tn_index b, tn_index first) {
    if (!TN_HAS_LIMIT) return keys_of(args, b, MOST ? first + ROWS - 1 : first);
    return among<ROWS, MOST>(first, [&](tn_index i) { return keys_of(args, b, i); });
}
// The first key that one of them sees, or the last with which one begins.
template <int ROWS, bool MOST> TN_DEV int first_among(const tn_args &args, tn_index b, tn_index first) {
    if (!TN_HAS_FROM) return 0;
    return among<ROWS, MOST>(first, [&](tn_index i) { return first_of(args, b, i); });
}

// The score of the key that all see and that has no value, in units of the products where these are compared as they are; -inf: there is
// none.  Queries behind the last are as the last.
TN_DEV float sink_of(const tn_args &args, tn_index b, tn_index i) {
#if TN_HAS_SINK
    tn_sink x[1];
    tn_load_sink(args, b, tn_min(i, (tn_index)(TN_S - 1)), 0, x);
    return (float)x[0] * (float)(SCORED ? 1 : 1 / TN_SCALE);
#else
    (void)args, (void)b, (void)i;
    return -TN_INF;
#endif
}

// The largest, or NaN, and the sum, of a query's four lanes.
TN_DEV float most_of_four(float x) {
    x = tn_max(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return tn_max(x, __shfl_xor_sync(0xffffffffu, x, 2));
}
TN_DEV float sum_of_four(float x) {
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

// The base of weights whose largest score is `most`, and what sums relative to `most` are in those relative to a base.
TN_DEV float base_of(float most) { return most == -TN_INF ? 0.0f : most; } // nothing seen yet
TN_DEV float factor(float most, float base) { return tn_ex2((most - base) * TO_2); }

// The base of a query's weights rises to `now`: what earlier sums are to be multiplied by, and the shift of its exponents.  Scores to which
// the lowest number is added must be subtracted before they are scaled.
TN_DEV float raise_to(float now, float &most, float &shift) {
    const float base = base_of(now), fade = factor(most, base);
    shift = SCORED ? base : -base * TO_2;
    most = now;
    return fade;
}
// ... to the largest of its scores, `now` among those of this lane.
TN_DEV float raise(float now, float &most, float &shift) { return raise_to(most_of_four(now), most, shift); }
TN_DEV float weight(float x, float shift) { return tn_ex2(SCORED ? (x - shift) * TO_2 : fmaf(x, TO_2, shift)); }

// The scores s of 8 N keys become weights, and what has been added up so far gets their base.  HALVES: 1 where rows 8 to 15 are none.
template <int N, int TILES, int HALVES = 2>
TN_DEV void to_weights(float (&s)[N][4], float (&most)[2], float (&sum)[2], float (&out)[TILES][4]) {
    TN_UNROLL
    for (int h = 0; h < HALVES; h++) {
        float now = most[h], shift;
        TN_UNROLL
        for (int j = 0; j < N; j++)
            TN_UNROLL
            for (int i = 0; i < 2; i++) now = tn_max(now, s[j][h * 2 + i]);
        const float fade = raise(now, most[h], shift);
        sum[h] *= fade;
        TN_UNROLL
        for (int e = 0; e < TILES; e++)
            TN_UNROLL
            for (int i = 0; i < 2; i++) out[e][h * 2 + i] *= fade;
        TN_UNROLL
        for (int j = 0; j < N; j++)
            TN_UNROLL
            for (int i = 0; i < 2; i++) {
                s[j][h * 2 + i] = weight(s[j][h * 2 + i], shift);
                sum[h] += s[j][h * 2 + i];
            }
    }
}

// What makes results of a query's sums: `sum` is of its weights, relative to `most`.  The sink takes its share at the end, so that weights
// are not small beside it when they are rounded; of the two the larger is the base, since neither needs to be in reach of the other.
struct share {
    float by;
    bool none; // no key, or NaN
    TN_MEMBER share(float most, float sum, float sink) {
        float fade = 1, all = sum;
        if (TN_HAS_SINK) {
            const float base = base_of(tn_max(most, sink));
            fade = factor(most, base);
            all = sum * fade + factor(sink, base);
        }
        by = fade / all;
        none = TN_NO_NAN && !(all > 0);
    }
    TN_MEMBER float of(float x) const { return none ? 0.0f : x * by; }
};

// Results of a warp's queries, from `first` on, by way of its own shared memory: 16 rows of OS floats.  out: an accumulator for each
// eight columns.
template <int TILES> TN_DEV void finish(const tn_args &args, tn_index b, tn_index first, float *result, const float *out,
                                        const float (&most)[2], const float (&sum)[2]) {
    enum { OS = TILES * 8 + 4 };
    const int lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4;
    TN_UNROLL
    for (int h = 0; h < 2; h++) {
        const share x(most[h], sum_of_four(sum[h]), sink_of(args, b, first + h * 8 + g));
        TN_UNROLL
        for (int e = 0; e < TILES; e++)
            TN_UNROLL
            for (int i = 0; i < 2; i++) result[(h * 8 + g) * OS + e * 8 + t * 2 + i] = x.of(out[e * 4 + h * 2 + i]);
    }
    __syncwarp();
    for (int i = lane; i < 16 * (TN_E / TN_EPI_VEC); i += 32) {
        const int r = i / (TN_E / TN_EPI_VEC), e = i % (TN_E / TN_EPI_VEC) * TN_EPI_VEC;
        float y[TN_EPI_VEC];
        if (first + r >= TN_S) continue;
        TN_UNROLL
        for (int l = 0; l < TN_EPI_VEC; l++) y[l] = result[r * OS + e + l];
        tn_epilogue(args, b, first + r, e, y);
    }
}

// Results of a query, of whose columns four lanes have the pairs; they exchange them so that each has eight columns in a row.
template <int N> TN_DEV void finish_row(const tn_args &args, tn_index b, tn_index row, const float (&sums)[N], float most, float sum) {
    const int t = (int)threadIdx.x % 4;
    const bool odd = t & 1, high = t & 2;
    const share own(most, sum_of_four(sum), sink_of(args, b, row));
    TN_UNROLL
    for (int j = 0; j < N; j += 8) {
        float x[8]; // columns by pairs: of four blocks of eight, then of one
        TN_UNROLL
        for (int i = 0; i < 8; i++) x[i] = own.of(sums[j + i]);
        TN_UNROLL
        for (int i = 0; i < 4; i++) { // blocks 0 and 1, 2 and 3
            float &low = x[i / 2 * 4 + i % 2], &up = x[i / 2 * 4 + 2 + i % 2];
            const float got = __shfl_xor_sync(0xffffffffu, odd ? low : up, 1);
            low = odd ? got : low;
            up = odd ? up : got;
        }
        TN_UNROLL
        for (int i = 0; i < 4; i++) { // ... and these pairs
            const float got = __shfl_xor_sync(0xffffffffu, high ? x[i] : x[i + 4], 2);
            x[i] = high ? got : x[i];
            x[i + 4] = high ? x[i + 4] : got;
        }
        const int e = (j / 2 + t) * 8;
        if (row >= TN_S) continue;
        TN_UNROLL
        for (int l = 0; l < 8; l += TN_EPI_VEC) {
            float y[TN_EPI_VEC];
            TN_UNROLL
            for (int i = 0; i < TN_EPI_VEC; i++) y[i] = x[l + i];
            if (e + l < TN_E) tn_epilogue(args, b, row, e + l, y);
        }
    }
}

// Results of a warp's queries, from `first` on.  out: accumulators of wgmma or mma.
template <int ACC> TN_DEV void finish_quads(const tn_args &args, tn_index b, tn_index first, const float (&out)[ACC], const float (&most)[2],
                                               const float (&sum)[2]) {
    TN_UNROLL
    for (int h = 0; h < 2; h++) {
        float row[ACC / 2];
        TN_UNROLL
        for (int i = 0; i < ACC / 2; i++) row[i] = out[i / 2 * 4 + h * 2 + i % 2];
        finish_row(args, b, first + h * 8 + (int)threadIdx.x % 32 / 4, row, most[h], sum[h]);
    }
}
