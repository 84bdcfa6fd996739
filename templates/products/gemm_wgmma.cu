// gemm_wgmma.cu: C[b, m, n] = epilogue(sum over k of A[b, m, k] * B[b, k, n]) on Hopper's warpgroup tensor cores: f16, bf16, or integers of 8 bits.
//
// As gemm_mma.cu, for operands that come in 16-byte chunks straight from memory, along k or along m / n: by cp.async, or, where an
// operand is a tensor of at most three strides, by TMA, with tiles that the blocks of a cluster share, or two tiles in turns (PINGPONG).
//
//! kernel  gemm_wgmma  warpgroup tensor-core GEMM with fused epilogue (sm_90a)
//! knob    BM          64 128 192 256
//! knob    BN          32 64 96 128 256
//! knob    STAGES      3 4 6 8
//! knob    WARPGROUPS  1 2 3
//! knob    SPLITK      1 2 4 8
//! knob    CLUSTER_M   1 2 4
//! knob    CLUSTER_N   1 2 4
//! switch  PINGPONG    0 1
//! switch  LOAD        0 1
//! require LOAD == 0 || (A_TMA && B_TMA)
//! require CLUSTER_M * CLUSTER_N == 1 || (LOAD && CLUSTER_M * CLUSTER_N <= 4 && CLUSTER_M * CLUSTER_N * SPLITK <= 8)
//! require PINGPONG == 0 || (LOAD && SPLITK == 1 && CLUSTER_M * CLUSTER_N <= 2)
//! require SPLITK == 1 || SPLITK * 256 <= hint(K) * ELT
//! require STAGES == 3 || STAGES * SPLITK * 128 <= hint(K) * ELT + SPLITK * 256
//! require (CLUSTER_M == 1 || (CLUSTER_M - 1) * BM < hint(M)) && (CLUSTER_N == 1 || (CLUSTER_N - 1) * BN < hint(N))
//! require WARPGROUPS == (PINGPONG ? 2 : 2 + (BM == 192) - (BM == 64 && BN < 128))
//! require PINGPONG == 0 || (BM <= 128 && BM * BN >= 8192 && BM * BN <= 16384 && BM * BN < hint(M) * hint(N))
//! require BM * BN <= 32768 && BM * BN <= WARPGROUPS * 16384 && BN * 4 >= BM && (BN != 96 || N % 96 == 0)
//! require BM != 192 || BN < 256
//! require STAGES * (BM + BN) * 128 + LOAD * ((SPLITK == 1 && !(B_KMAJOR && B_DEALS && N_VEC == 8 && BN / CLUSTER_M % 32 == 0)) * WARPGROUPS * 10240 + 128) <= SMEM_MAX
//! require BM * (BN + 8) * 4 + LOAD * 128 <= SMEM_MAX
//! require B_KMAJOR || BN % 64 == 0
//! require SUMS == 0 || (B_KMAJOR && N_VEC == 8 && (LOAD == 0 || (B_DEALS && BN / CLUSTER_M % 32 == 0)))
//! require STAGES < 8 || (BM == 64 && BN <= 64)
#include "tn_async.cuh"
#include "tn_wgmma.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"
#include "tn_wgmma_tma.cuh"

struct operand_a {
    static constexpr bool KMAJOR = TN_A_KMAJOR, DEALT = false;
    TN_DEV const tn_elem *at(const tn_args &args, int b, int row, int col) {
        return tn_a(args) + tn_offset_a(args, tn_batch_a(args, b), row, col);
    }
};

struct operand_b {
    static constexpr bool KMAJOR = TN_B_KMAJOR, DEALT = TN_B_DEALT;
    TN_DEV const tn_elem_b *at(const tn_args &args, int b, int row, int col) {
        return tn_b(args) + tn_offset_b(args, tn_batch_b(args, b), row, col);
    }
};

struct tile_sink {
    const tn_args &args;
    int b, m0, n0;
    template <int VEC> TN_MEMBER auto at(int m, int n) const {
        m += m0;
        n += n0;
        return tn_finish_at<VEC, tn_sum>(args, b, m, n, m < (int)TN_M && n < (int)TN_N);
    }
};

struct gemm_work {
    const tn_args &args;
    int clusters_m, clusters_n, k0, k1;
    struct place {
        int b, m0, n0;
    };
    TN_MEMBER int tiles_of_one() const { return clusters_m * clusters_n * CLUSTER; }
    TN_MEMBER int tiles() const { return tiles_of_one() * (int)TN_BATCH; }
    TN_MEMBER place at(int t) const {
        place p;
        p.b = t / tiles_of_one();
        tn_tile_at(t - p.b * tiles_of_one(), clusters_m, clusters_n, p.m0, p.n0);
        return p;
    }
    TN_MEMBER void prefetch() const {
        tn_tma_prefetch(tn_map_a(args));
        tn_tma_prefetch(tn_map_b(args));
    }
    template <class To> TN_MEMBER void load_a(const place &p, int kt, const To &to) const {
        tn_tma_tile<A_KMAJOR, false, BM, CLUSTER_N>(to, tn_part_a(), tn_map_a(args), p.m0, kt, (int)tn_batch_a(args, p.b));
    }
    template <class To> TN_MEMBER void load_b(const place &p, int kt, const To &to) const {
        tn_tma_tile<B_KMAJOR, TN_B_DEALT, BN, CLUSTER_M>(to, tn_part_b(), tn_map_b(args), p.n0, kt, (int)tn_batch_b(args, p.b));
    }
    TN_MEMBER tn_row_parts rows(const place &p) const { return tn_row_parts{args, p.b, p.m0}; }
    TN_MEMBER tile_sink sink(const place &p) const { return tile_sink{args, p.b, p.m0, p.n0}; }
};

extern "C" __global__ void __launch_bounds__(THREADS, TN_RESIDENT) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_SWIZZLED_SMEM(memory);
    const unsigned smem = tn_smem_addr(memory);
    const int clusters_m = ((int)TN_M + BM * CLUSTER_M - 1) / (BM * CLUSTER_M),
              clusters_n = ((int)TN_N + BN * CLUSTER_N - 1) / (BN * CLUSTER_N);
    int k0, k1;
    tn_split_range(((int)TN_K + BK - 1) / BK, (int)blockIdx.z, k0, k1);
    if constexpr (TN_LOAD) {
        tn_wgmma_tma(gemm_work{args, clusters_m, clusters_n, k0, k1}, smem);
    } else {
        const gemm_work::place p = gemm_work{args, clusters_m, clusters_n, k0, k1}.at((int)blockIdx.x);
        tn_panel_loader<operand_a, BM> la(args, p.b, p.m0, (int)TN_M, (int)TN_K);
        tn_panel_loader<operand_b, BN> lb(args, p.b, p.n0, (int)TN_N, (int)TN_K);
        tn_sums acc;
        tn_wgmma_pipeline(la, lb, tn_row_parts{args, p.b, p.m0}, k0, k1, smem, acc);
        tn_wgmma_end<TN_EPI_VEC>(acc, smem, tile_sink{args, p.b, p.m0, p.n0});
    }
}
#include "tn_variant_end.cuh"
