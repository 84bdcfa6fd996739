// tn_gemm.cuh: what the GEMM templates of tn_tile.cuh share: a block's part of the work, operand A and where results go.  Included
// after tn_variant.cuh.
#pragma once
#include "tn_tile.cuh"

// The tile of one matrix, and its k tiles.
struct gemm_block {
    int b, tm, tn, k0, k1;
    TN_MEMBER gemm_block(const tn_args &args) {
        const int tiles_m = ((int)TN_M + BM - 1) / BM, tiles_n = ((int)TN_N + BN - 1) / BN;
        b = (int)blockIdx.x / (tiles_m * tiles_n);
        tn_raster((int)blockIdx.x - b * (tiles_m * tiles_n), tiles_m, tiles_n, tm, tn);
        tn_split_range(((int)TN_K + BK - 1) / BK, (int)blockIdx.z, k0, k1);
    }
};

struct operand_a {
    typedef tn_elem elem;
    static constexpr bool ASYNC = TN_A_ASYNC, KMAJOR = TN_A_KMAJOR;
    static constexpr int VEC = TN_A_VEC;
#if TN_A_ASYNC
    TN_DEV const tn_elem *at(const tn_args &args, int b, int row, int col) {
        return tn_a(args) + tn_offset_a(args, tn_batch_a(args, b), row, col);
    }
#else
    template <class T> TN_DEV void load(const tn_args &args, int b, int row, int col, T (&x)[VEC]) {
        tn_load_a(args, tn_batch_a(args, b), row, col, x);
    }
#endif
};

struct tile_sink {
    const tn_args &args;
    const gemm_block &block;
    template <int VEC> TN_MEMBER auto at(int m, int n) const {
        m += block.tm * BM;
        n += block.tn * BN;
        return tn_finish_at<VEC, tn_sum>(args, block.b, m, n, m < (int)TN_M && n < (int)TN_N);
    }
};
