// gemm_wgmma.cu: C[b, m, n] = epilogue(sum over k of A[b, m, k] * B[b, k, n]) on Hopper's warpgroup tensor cores: f16, bf16, or integers of 8 bits.
//
// As gemm_mma.cu, for operands that come in 16-byte chunks straight from memory, along k or along m / n: by cp.async, or, where an
// operand is a tensor of at most three strides, by TMA.
//
//! kernel  gemm_wgmma  warpgroup tensor-core GEMM with fused epilogue (sm_90a)
//! knob    BM          64 128 192 256
//! knob    BN          32 64 96 128 256
//! knob    STAGES      3 4 6 8
//! knob    WARPGROUPS  1 2 3
//! knob    SPLITK      1 2 4 8
//! switch  LOAD        0 1
//! require WARPGROUPS == 2 + (BM == 192) - (BM == 64 && BN < 128)
//! require BM * BN <= 32768 && BM * BN <= WARPGROUPS * 16384 && BN * 4 >= BM && (BN != 96 || N % 96 == 0)
//! require BM != 192 || BN < 256
//! require STAGES * (BM + BN) * 128 + LOAD * (WARPGROUPS * 10240 + 128) <= SMEM_MAX && BM * (BN + 8) * 4 + LOAD * 128 <= SMEM_MAX
//! require B_KMAJOR || BN % 64 == 0
//! require STAGES < 8 || (BM == 64 && BN <= 64)
//! require STAGES == 3 || STAGES * SPLITK * 128 <= hint(K) * ELT + SPLITK * 256
//! require SPLITK == 1 || SPLITK * 256 <= hint(K) * ELT
//! require LOAD == 0 || (A_TMA && B_TMA)
#include "tn_async.cuh"
#include "tn_wgmma.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"
#include "tn_wgmma_tma.cuh"

struct operand_a {
    static constexpr bool KMAJOR = TN_A_KMAJOR;
    TN_DEV const tn_elem *at(const tn_args &args, int b, int row, int col) {
        return tn_a(args) + tn_offset_a(args, tn_batch_a(args, b), row, col);
    }
};

struct operand_b {
    static constexpr bool KMAJOR = TN_B_KMAJOR;
    TN_DEV const tn_elem_b *at(const tn_args &args, int b, int row, int col) {
        return tn_b(args) + tn_offset_b(args, tn_batch_b(args, b), row, col);
    }
};

struct tile_sink {
    const tn_args &args;
    int b, m0, n0;
    template <int VEC> TN_MEMBER void put(int m, int n, tn_sum (&x)[VEC], const tn_row_sums &row = {0, 0}) const {
        m += m0;
        n += n0;
        if (m < (int)TN_M && n < (int)TN_N) tn_finish(args, b, m, n, x, row);
    }
};

// For TMA.
struct gemm_work {
    const tn_args &args;
    int tiles_m, tiles_n, k0, k1;
    struct place {
        int b, m0, n0;
    };
    TN_MEMBER int tiles() const { return tiles_m * tiles_n * (int)TN_BATCH; }
    TN_MEMBER place at(int t) const {
        const int b = t / (tiles_m * tiles_n);
        int tm, tn;
        tn_raster(t - b * (tiles_m * tiles_n), tiles_m, tiles_n, tm, tn);
        return place{b, tm * BM, tn * BN};
    }
    TN_MEMBER void prefetch() const {
        tn_tma_prefetch(tn_map_a(args));
        tn_tma_prefetch(tn_map_b(args));
    }
    TN_MEMBER void load_a(const place &p, int kt, unsigned dst, unsigned bar) const {
        tn_tma_tile<A_KMAJOR, BM>(dst, tn_map_a(args), p.m0, kt, (int)tn_batch_a(args, p.b), bar);
    }
    TN_MEMBER void load_b(const place &p, int kt, unsigned dst, unsigned bar) const {
        tn_tma_tile<B_KMAJOR, BN>(dst, tn_map_b(args), p.n0, kt, (int)tn_batch_b(args, p.b), bar);
    }
    TN_MEMBER tile_sink sink(const place &p) const { return tile_sink{args, p.b, p.m0, p.n0}; }
};

extern "C" __global__ void __launch_bounds__(THREADS, TN_RESIDENT) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_SWIZZLED_SMEM(memory);
    const unsigned smem = tn_smem_addr(memory);
    const int tiles_m = ((int)TN_M + BM - 1) / BM, tiles_n = ((int)TN_N + BN - 1) / BN;
    int k0, k1;
    tn_split_range(((int)TN_K + BK - 1) / BK, (int)blockIdx.z, k0, k1);
    if constexpr (TN_LOAD) {
        tn_wgmma_tma(gemm_work{args, tiles_m, tiles_n, k0, k1}, smem);
    } else {
        const int b = (int)blockIdx.x / (tiles_m * tiles_n);
        int tm, tn;
        tn_raster((int)blockIdx.x - b * (tiles_m * tiles_n), tiles_m, tiles_n, tm, tn);
        tn_panel_loader<operand_a, BM> la(args, b, tm * BM, (int)TN_M, (int)TN_K);
        tn_panel_loader<operand_b, BN> lb(args, b, tn * BN, (int)TN_N, (int)TN_K);
        tn_sums acc;
        tn_wgmma_pipeline(la, lb, k0, k1, smem, acc);
        tn_wgmma_finish<TN_EPI_VEC>(acc, smem, tile_sink{args, b, tm * BM, tn * BN});
    }
}
#include "tn_variant_end.cuh"
