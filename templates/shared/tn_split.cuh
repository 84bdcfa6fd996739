// tn_split.cuh: which tile and which part of k a block works on, and adding up the partial tiles of a cluster.
//
// Split-K protocol: the SPLITK blocks of a cluster each hold a partial BM x BN tile of sums in their own shared memory at one
// and the same address.  After a cluster barrier, block r adds rows r*BM/SPLITK ... of all partial tiles in rank order
// (so the sum does not depend on timing), reading the others' through distributed shared memory, and hands them to the
// epilogue; a second barrier keeps every block's memory alive until all have read.  No workspace, nothing to zero.  Where the
// groups of warps of a block have a partial tile each (SLICES), these are added up first.  A norm's sums over A's rows (tn_finish.cuh)
// are partial as well, and stand behind the columns.  A cluster may hold several tiles (TILES), whose blocks are as far apart in it.
#pragma once
#include "tn_mma.cuh"
#include "tn_finish.cuh"

// The bits of a + b, which are of type T.
TN_DEV unsigned tn_add_bits(unsigned a, unsigned b, float) {
    return tn_float_bits(tn_bits_float(a) + tn_bits_float(b));
}
TN_DEV unsigned tn_add_bits(unsigned a, unsigned b, int) { return a + b; }
TN_DEV unsigned tn_bits_of(float x) { return tn_float_bits(x); }
TN_DEV unsigned tn_bits_of(int x) { return (unsigned)x; }
TN_DEV float tn_of_bits(unsigned x, float) { return tn_bits_float(x); }
TN_DEV int tn_of_bits(unsigned x, int) { return (int)x; }

template <int ROWS, int COLS, int THREADS, int SPLIT, int SLICES = 1, class T = float, int TILES = 1, bool FOURS = false>
struct tn_partial_tile {
    // In words: writes of two a lane in the mma layout and reads of four are free of bank conflicts.  Where threads read eight from other
    // blocks, two times four, the odd fours of a row stand behind the even ones, so that those of a warp's threads are neighbours.
    // FOURS: lanes write four neighbours, four lanes a row.
    static constexpr bool HALVES = SPLIT > 1 && TN_EPI_VEC == 8;
    static constexpr int STRIDE = COLS + (FOURS ? 16 : 8), USED = COLS + (TN_NORM ? 4 : 0);
    TN_DEV int place(int n) {
        if (!HALVES) return n;
        return n == COLS ? COLS + 4 : n / 4 % 2 * (COLS / 2 + 4) + n / 8 * 4 + n % 4;
    }
    static_assert(ROWS % SPLIT == 0, "a cluster's blocks share the rows evenly");

    TN_DEV unsigned at(unsigned smem, int slice, int m, int n) {
        return smem + (unsigned)(((slice * ROWS + m) * STRIDE + place(n)) * 4);
    }

    TN_DEV unsigned at(unsigned smem, int m, int n) { return at(smem, 0, m, n); }

    // N elements, side by side in memory (HALVES: four of them): the sum over the slices.
    template <int N> TN_DEV void sum(unsigned smem, int m, int n, unsigned (&x)[N]) {
        tn_lds_words(at(smem, 0, m, n), x);
        TN_UNROLL
        for (int s = 1; s < SLICES; s++) {
            unsigned y[N];
            tn_lds_words(at(smem, s, m, n), y);
            TN_UNROLL
            for (int i = 0; i < N; i++) x[i] = tn_add_bits(x[i], y[i], T());
        }
    }

    // N elements: the sum over the cluster, whose blocks' slices are added up.
    template <int N> TN_DEV void all(unsigned smem, int m, int n, T (&x)[N]) {
        if constexpr (SPLIT == 1) {
            unsigned bits[N];
            sum(smem, m, n, bits);
            TN_UNROLL
            for (int i = 0; i < N; i++) x[i] = tn_of_bits(bits[i], T());
        } else {
            TN_UNROLL
            for (int r = 0; r < SPLIT; r++)
                TN_UNROLL
                for (int i = 0; i < N; i += 4) {
                    const tn_bits16 p = tn_cluster_lds16(at(smem, m, n + i), r * TILES + tn_cluster_rank() % TILES);
                    const T v[4] = {tn_of_bits(p.x, T()), tn_of_bits(p.y, T()), tn_of_bits(p.z, T()), tn_of_bits(p.w, T())};
                    TN_UNROLL
                    for (int k = 0; k < 4; k++) x[i + k] = r ? tn_add(x[i + k], v[k]) : v[k];
                }
        }
    }

    // Called by the whole block once its tile is written: sink.at<VEC>(m, n) (tn_finish_at) for VEC elements (1, 2, 4 or 8) at a time.
    // A thread asks for what the epilogue reads at several places at once.
    template <int VEC, class Sink> TN_DEV void finish(unsigned smem, const Sink &sink) {
        // From other blocks 16 bytes at least; else what a thread writes at a time, so that a warp writes its threads' elements side by side.
        constexpr int WIDTH = SPLIT > 1 && VEC < 4 ? 4 : VEC, PER_ROW = COLS / WIDTH;
        if (SPLIT > 1 && SLICES > 1) {
            __syncthreads();
            for (int i = (int)threadIdx.x; i < ROWS * USED / 4; i += THREADS) {
                const int m = i / (USED / 4), n = i % (USED / 4) * 4;
                unsigned x[4];
                sum(smem, m, n, x);
                tn_sts16(at(smem, 0, m, n), tn_bits16{x[0], x[1], x[2], x[3]});
            }
        }
        if (SPLIT > 1) tn_cluster_sync();
        else __syncthreads();
        constexpr int PLACES = ROWS / SPLIT * PER_ROW, EACH = PLACES % THREADS ? 1 : PLACES / THREADS;
        constexpr int PIECES = WIDTH / VEC, AT_ONCE = EACH % 4 == 0 && WIDTH <= 4 ? 4 : EACH % 2 == 0 && SLICES == 1 ? 2 : 1;
        const int first = SPLIT > 1 ? tn_cluster_rank() / TILES * (ROWS / SPLIT) : 0;
        for (int i = (int)threadIdx.x; i < PLACES; i += AT_ONCE * THREADS) {
            T x[AT_ONCE][WIDTH], row[AT_ONCE][4] = {};
            const auto m = [&](int k) { return first + (i + k * THREADS) / PER_ROW; };
            const auto n = [&](int k) { return (i + k * THREADS) % PER_ROW * WIDTH; };
            tn_finish_all<AT_ONCE * PIECES>(
                [&](int k) { return sink.template at<VEC>(m(k / PIECES), n(k / PIECES) + k % PIECES * VEC); },
                [&] {
                    TN_UNROLL
                    for (int k = 0; k < AT_ONCE; k++) {
                        all(smem, m(k), n(k), x[k]);
                        if constexpr (TN_NORM) all(smem, m(k), COLS, row[k]);
                    }
                },
                [&](int k, const tn_finish_of<VEC, Sink> &finish) {
                    T y[VEC];
                    TN_UNROLL
                    for (int v = 0; v < VEC; v++) y[v] = x[k / PIECES][k % PIECES * VEC + v];
                    finish(y, tn_row_scale::of({(float)row[k / PIECES][0], (float)row[k / PIECES][1]}));
                });
        }
        if (SPLIT > 1) tn_cluster_sync();
    }
};

// k tiles of this block: the cluster's share of `tiles`.
TN_DEV void tn_split_range(int tiles, int rank, int &k0, int &k1) {
    k0 = (int)((long long)tiles * rank / TN_SPLITK);
    k1 = (int)((long long)tiles * (rank + 1) / TN_SPLITK);
}

// Tile `t` of tiles_m x tiles_n, in bands of 8 along n, so that the blocks that run together share rows and columns in L2.
template <int BAND = 8> TN_DEV void tn_raster(int t, int tiles_m, int tiles_n, int &tm, int &tn) {
    const int band = t / (BAND * tiles_m), n0 = band * BAND, width = tiles_n - n0 < BAND ? tiles_n - n0 : BAND;
    const int r = t - band * BAND * tiles_m;
    tm = r / width;
    tn = n0 + r % width;
}
