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

template <int ROWS, int COLS, int THREADS, int SPLIT, int SLICES = 1, class T = float, int TILES = 1> struct tn_partial_tile {
    // In words: writes of two a lane in the mma layout and reads of four are free of bank conflicts.
    static constexpr int STRIDE = COLS + 8, USED = COLS + (TN_NORM ? 4 : 0);
    static_assert(ROWS % SPLIT == 0, "a cluster's blocks share the rows evenly");

    TN_DEV unsigned at(unsigned smem, int slice, int m, int n) {
        return smem + (unsigned)(((slice * ROWS + m) * STRIDE + n) * 4);
    }

    TN_DEV unsigned at(unsigned smem, int m, int n) { return at(smem, 0, m, n); }

    // Four elements: the sum over the slices.
    TN_DEV tn_bits16 sum(unsigned smem, int m, int n) {
        tn_bits16 p = tn_lds16(at(smem, 0, m, n));
        TN_UNROLL
        for (int s = 1; s < SLICES; s++) {
            const tn_bits16 q = tn_lds16(at(smem, s, m, n));
            p.x = tn_add_bits(p.x, q.x, T());
            p.y = tn_add_bits(p.y, q.y, T());
            p.z = tn_add_bits(p.z, q.z, T());
            p.w = tn_add_bits(p.w, q.w, T());
        }
        return p;
    }

    // Four elements: the sum over the cluster, whose blocks' slices are added up.
    TN_DEV void all(unsigned smem, int m, int n, T *x) {
        TN_UNROLL
        for (int r = 0; r < SPLIT; r++) {
            const tn_bits16 p =
                SPLIT > 1 ? tn_cluster_lds16(at(smem, m, n), r * TILES + tn_cluster_rank() % TILES) : sum(smem, m, n);
            const T v[4] = {tn_of_bits(p.x, T()), tn_of_bits(p.y, T()), tn_of_bits(p.z, T()), tn_of_bits(p.w, T())};
            TN_UNROLL
            for (int i = 0; i < 4; i++) x[i] = r ? tn_add(x[i], v[i]) : v[i];
        }
    }

    // Called by the whole block once its tile is written: sink.put(m, n, x) for VEC elements (1, 2, 4 or 8) at a time, with the row's sums
    // behind them where there is a norm.
    template <int VEC, class Sink> TN_DEV void finish(unsigned smem, const Sink &sink) {
        constexpr int WIDTH = VEC < 4 ? 4 : VEC, PER_ROW = COLS / WIDTH; // read at least 16 bytes
        if (SPLIT > 1 && SLICES > 1) {
            __syncthreads();
            for (int i = (int)threadIdx.x; i < ROWS * USED / 4; i += THREADS) {
                const int m = i / (USED / 4), n = i % (USED / 4) * 4;
                tn_sts16(at(smem, 0, m, n), sum(smem, m, n));
            }
        }
        if (SPLIT > 1) tn_cluster_sync();
        else __syncthreads();
        const int first = SPLIT > 1 ? tn_cluster_rank() / TILES * (ROWS / SPLIT) : 0;
        for (int i = (int)threadIdx.x; i < ROWS / SPLIT * PER_ROW; i += THREADS) {
            const int m = first + i / PER_ROW, n = i % PER_ROW * WIDTH;
            T x[WIDTH];
            TN_UNROLL
            for (int w = 0; w < WIDTH; w += 4) all(smem, m, n + w, x + w);
            T row[4];
            if constexpr (TN_NORM) all(smem, m, COLS, row);
            TN_UNROLL
            for (int e = 0; e < WIDTH; e += VEC) {
                T y[VEC];
                TN_UNROLL
                for (int v = 0; v < VEC; v++) y[v] = x[e + v];
                if constexpr (TN_NORM) sink.put(m, n + e, y, tn_row_sums{row[0], row[1]});
                else sink.put(m, n + e, y);
            }
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
