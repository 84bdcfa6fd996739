// tn_sparse.cuh: tn_tile.cuh's products where of each four elements of B along k at most two are not zero, on mma.sp.
//
// The instruction's sparse operand is its first, so that a warp computes its tile turned: the instruction's rows are n and its
// columns m.  A slot has B's tile by fragments of 16 n x 32 k, rows of them one behind the other: 512 bytes of values, 16 a lane,
// and 64 bytes that say where these stand (runtime/plan/two_of_four.c).  An mma step covers 64 bytes of k.
#pragma once
#include "tn_tile.cuh"

constexpr int FRAGMENT_VALUES = 512, FRAGMENT = FRAGMENT_VALUES + 64;
constexpr int SPARSE_STEPS = TN_KBYTES / 64 / SLICES;
constexpr int SPARSE_NI = WN / 16, SPARSE_MI = WM / 8; // the warp's tile in mma tiles
static_assert(sizeof(tn_elem) == 2, "two of four are 16-bit floats");
static_assert(SPARSE_STEPS > 0, "a group of warps has no step of a slot");

struct tn_sparse_sums {
    static constexpr int B_BYTES = BN / 16 * (BK / 32) * FRAGMENT;
    tn_sum of[SPARSE_NI][SPARSE_MI][4];
};

// 8 m x 32 k of A's tile, at rows m.. and step ks.
TN_DEV void tn_sparse_fragment_a(unsigned tile, int m, int ks, unsigned (&r)[4]) {
    const int lane = (int)threadIdx.x & 31;
    if constexpr (A_KMAJOR) tn_ldmatrix4(tn_chunk_at<TN_KBYTES, false>(tile, m + (lane & 7), 4 * ks + (lane >> 3)), r);
    else tn_ldmatrix4_trans(tn_chunk_at<BM * 2, true>(tile, 32 * ks + lane, m / 8), r);
}

// 16 n x 32 k of B's: values, and where they stand.
TN_DEV void tn_sparse_fragment_b(unsigned tile, int n, int ks, unsigned (&r)[4], unsigned &places) {
    const int lane = (int)threadIdx.x & 31;
    const unsigned at = tile + (unsigned)((n / 16 * (BK / 32) + ks) * FRAGMENT);
    const tn_bits16 v = tn_lds16(at + (unsigned)lane * 16);
    r[0] = v.x, r[1] = v.y, r[2] = v.z, r[3] = v.w;
    places = tn_lds4(at + FRAGMENT_VALUES + (unsigned)(lane / 4 * 2 + lane % 2) * 4);
}

// acc += the product of one slot's tiles.
TN_DEV void tn_slot_mma(unsigned a_tile, unsigned b_tile, const tn_warp_at &at, tn_sparse_sums &acc) {
    TN_UNROLL
    for (int ks = 0; ks < SPARSE_STEPS; ks++) {
        const int step = at.slice * SPARSE_STEPS + ks;
        unsigned a[SPARSE_MI][4], b[SPARSE_NI][4], places[SPARSE_NI];
        TN_UNROLL
        for (int j = 0; j < SPARSE_NI; j++) tn_sparse_fragment_b(b_tile, at.n + j * 16, step, b[j], places[j]);
        TN_UNROLL
        for (int i = 0; i < SPARSE_MI; i++) tn_sparse_fragment_a(a_tile, at.m + i * 8, step, a[i]);
        TN_UNROLL
        for (int i = 0; i < SPARSE_MI; i++) {
            TN_UNROLL
            for (int j = 0; j < SPARSE_NI; j++) tn_mma_sp(acc.of[j][i], b[j], a[i], places[j], tn_elem());
        }
    }
}

template <class Partial> TN_DEV void tn_put_sums(const tn_sparse_sums &acc, const tn_warp_at &at, unsigned smem) {
    const int g = ((int)threadIdx.x & 31) / 4, t = (int)threadIdx.x & 3;
    TN_UNROLL
    for (int j = 0; j < SPARSE_NI; j++)
        TN_UNROLL
        for (int i = 0; i < SPARSE_MI; i++)
            TN_UNROLL
            for (int e = 0; e < 4; e++)
                tn_sts4(Partial::at(smem, at.slice, at.m + i * 8 + t * 2 + e % 2, at.n + j * 16 + e / 2 * 8 + g),
                        tn_bits_of(acc.of[j][i][e]));
}
