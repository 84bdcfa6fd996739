// tn_simt.cuh: the machinery that the float32 templates share: one block computes a BM x BN tile with FMA instructions.
//
// Two buffers in shared memory hold BK x BM of A and BK x BN of B, both with k as the row, so that a thread reads its operands as
// vectors of four.  A thread owns TM x TN results as quads: rows 4*ty + 4*TY*i + {0..3}, columns 4*tx + 4*TX*j + {0..3}, which keeps
// those reads free of bank conflicts.  The next k tile is loaded into registers during the products and stored after them.
// Split-K as in tn_split.cuh.
#pragma once
#include "tn_split.cuh"

constexpr int BM = TN_BM, BN = TN_BN, BK = TN_BK, TM = TN_TM, TN = TN_TN, SPLITK = TN_SPLITK;
constexpr int TX = BN / TN, TY = BM / TM, THREADS = TX * TY;
constexpr int A_ROW = BM + 4, B_ROW = BN + 4, SLOT = BK * (A_ROW + B_ROW); // in floats

// Loads a tile of SIDE x BK elements in vectors of VEC along k (KMAJOR) or along the side.
//     load(row, col, x)   row, col of the tile: (side, k) if KMAJOR, else (k, side); gives zeros outside
template <int SIDE, int VEC, bool KMAJOR> struct tn_simt_loader {
    static constexpr int WIDTH = VEC, COLS = (KMAJOR ? BK : SIDE) / VEC, TOTAL = SIDE * BK / VEC;
    static constexpr int N = (TOTAL + THREADS - 1) / THREADS;
    static_assert((KMAJOR ? BK : SIDE) % VEC == 0, "a row holds whole vectors");
    float held[N][VEC];

    template <class Load> TN_MEMBER void fetch(const Load &load) {
        TN_UNROLL
        for (int i = 0; i < N; i++) {
            const int at = (int)threadIdx.x + i * THREADS;
            TN_UNROLL
            for (int v = 0; v < VEC; v++) held[i][v] = 0.0f;
            if (TOTAL % THREADS == 0 || at < TOTAL) load(at / COLS, at % COLS * VEC, held[i]);
        }
    }
    TN_MEMBER void store(float *tile) const {
        constexpr int ROW = SIDE + 4;
        TN_UNROLL
        for (int i = 0; i < N; i++) {
            const int at = (int)threadIdx.x + i * THREADS, row = at / COLS, col = at % COLS * VEC;
            if (TOTAL % THREADS != 0 && at >= TOTAL) continue;
            TN_UNROLL
            for (int v = 0; v < VEC; v++) tile[KMAJOR ? (col + v) * ROW + row : row * ROW + col + v] = held[i][v];
        }
    }
};

TN_DEV void tn_quad(const float *p, float (&x)[4]) {
    const tn_pack<float, 4> q = tn_load<4, 4>(p);
    TN_UNROLL
    for (int i = 0; i < 4; i++) x[i] = q[i];
}

// acc = sum over k tiles k0 ... k1-1.  load_a(k, row, col, x) and load_b likewise: k is the tile's first.  Contains TN_WAIT().
template <class A, class B, class LoadA, class LoadB>
TN_DEV void tn_simt_product(A &a, B &b, const LoadA &load_a, const LoadB &load_b, int k0, int k1, float *smem,
                            float (&acc)[TM][TN]) {
    const int tx = (int)threadIdx.x % TX, ty = (int)threadIdx.x / TX;
    const auto fetch_a = [&](int kt) {
        a.fetch([&](int row, int col, float(&x)[A::WIDTH]) { load_a(kt * BK, row, col, x); });
    };
    const auto fetch_b = [&](int kt) {
        b.fetch([&](int row, int col, float(&x)[B::WIDTH]) { load_b(kt * BK, row, col, x); });
    };
    TN_UNROLL
    for (int i = 0; i < TM; i++)
        TN_UNROLL
        for (int j = 0; j < TN; j++) acc[i][j] = 0.0f;

    if (!TN_B_CONST) TN_WAIT();
    if (k0 < k1) fetch_b(k0);
    if (TN_B_CONST) TN_WAIT();
    if (k0 >= k1) return;
    fetch_a(k0);
    a.store(smem);
    b.store(smem + BK * A_ROW);
    __syncthreads();
    for (int kt = k0; kt < k1; kt++) {
        const float *now = smem + (kt - k0) % 2 * SLOT;
        float *next = smem + (kt - k0 + 1) % 2 * SLOT;
        if (kt + 1 < k1) {
            fetch_a(kt + 1);
            fetch_b(kt + 1);
        }
        TN_UNROLL
        for (int k = 0; k < BK; k++) {
            float x[TM / 4][4], y[TN / 4][4];
            TN_UNROLL
            for (int i = 0; i < TM / 4; i++) tn_quad(now + k * A_ROW + ty * 4 + i * 4 * TY, x[i]);
            TN_UNROLL
            for (int j = 0; j < TN / 4; j++) tn_quad(now + BK * A_ROW + k * B_ROW + tx * 4 + j * 4 * TX, y[j]);
            TN_UNROLL
            for (int i = 0; i < TM; i++)
                TN_UNROLL
                for (int j = 0; j < TN; j++) acc[i][j] += x[i / 4][i % 4] * y[j / 4][j % 4];
        }
        if (kt + 1 < k1) {
            a.store(next);
            b.store(next + BK * A_ROW);
            __syncthreads();
        }
    }
}

// From accumulators to the sink (at, tn_split.cuh), VEC (1, 2 or 4) at a time; through the cluster's shared memory with split-K.
template <int VEC, class Sink>
TN_DEV void tn_simt_finish(const float (&acc)[TM][TN], unsigned smem, const Sink &sink) {
    typedef tn_partial_tile<BM, BN, THREADS, SPLITK> partial;
    const int tx = (int)threadIdx.x % TX, ty = (int)threadIdx.x / TX;
    if (SPLITK > 1) __syncthreads(); // the buffers are free
    TN_UNROLL
    for (int i = 0; i < TM; i++) {
        const int m = ty * 4 + i / 4 * 4 * TY + i % 4;
        TN_UNROLL
        for (int j = 0; j < TN; j += 4) {
            const int n = tx * 4 + j * TX;
            if constexpr (SPLITK > 1) {
                const tn_bits16 quad = {tn_float_bits(acc[i][j]), tn_float_bits(acc[i][j + 1]),
                                        tn_float_bits(acc[i][j + 2]), tn_float_bits(acc[i][j + 3])};
                tn_sts16(partial::at(smem, m, n), quad);
            } else {
                TN_UNROLL
                for (int e = 0; e < 4; e += VEC) {
                    float x[VEC];
                    TN_UNROLL
                    for (int v = 0; v < VEC; v++) x[v] = acc[i][j + e + v];
                    sink.template at<VEC>(m, n + e)(x);
                }
            }
        }
    }
    if constexpr (SPLITK > 1) partial::template finish<VEC>(smem, sink);
}
