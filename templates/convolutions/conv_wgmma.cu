// conv_wgmma.cu: NHWC convolution (1-D or 2-D) as implicit GEMM on Hopper's warpgroup tensor cores: f16, bf16, or integers of 8 bits.
//
// As conv_mma.cu with whole 16-byte chunks of channels: m is the output pixel, n the output channel, a row of the A tile a pixel's
// window.  The order of k is free as long as both operands agree: where a slot holds channels of a single window position
// (C a multiple of 64, or of 128 of 8 bits), all rows share one offset, and positions run fastest, so that the windows' overlap is read again soon.
// Which positions of its window lie inside the image is a bit mask a pixel, made once.  TMA knows it from its tensor map (im2col); then
// a slot always holds channels of a single position, of which those behind the last are zeros, and the blocks of a cluster share tiles.
//
//! kernel  conv_wgmma  implicit-GEMM convolution on warpgroup tensor cores, NHWC (sm_90a)
//! knob    BM          64 128 192 256
//! knob    BN          32 64 96 128 256
//! knob    STAGES      3 4 6 8
//! knob    WARPGROUPS  1 2 3
//! knob    SPLITK      1 2 4 8
//! knob    CLUSTER_M   1 2
//! knob    CLUSTER_N   1 2
//! switch  PINGPONG    0 1
//! switch  LOAD        0 1
//! require LOAD == 0 || (X_TMA && B_TMA && (C * ELT + 127) / 128 * 384 <= C * ELT * 4)
//! require R * S <= 32
//! require CLUSTER_M * CLUSTER_N == 1 || (LOAD && CLUSTER_M * CLUSTER_N * SPLITK <= 4)
//! require PINGPONG == 0 || (LOAD && SPLITK == 1 && CLUSTER_M * CLUSTER_N <= 2)
//! require SPLITK == 1 || SPLITK * 256 <= K * ELT
//! require STAGES == 3 || STAGES * SPLITK * 128 <= K * ELT + SPLITK * 256
//! require (CLUSTER_M == 1 || (CLUSTER_M - 1) * BM < hint(M)) && (CLUSTER_N == 1 || (CLUSTER_N - 1) * BN < hint(N))
//! require WARPGROUPS == (PINGPONG ? 2 : 2 + (BM == 192) - (BM == 64 && BN < 128))
//! require PINGPONG == 0 || (BM <= 128 && BM * BN >= 8192 && BM * BN <= 16384 && BM * BN < hint(M) * hint(N))
//! require BM * BN <= 32768 && BM * BN <= WARPGROUPS * 16384 && BN * 4 >= BM && (BN != 96 || N % 96 == 0)
//! require BM != 192 || BN < 256
//! require STAGES * (BM + BN) * 128 + LOAD * ((SPLITK == 1 && !(B_KMAJOR && B_DEALS && N_VEC == 8 && BN / CLUSTER_M % 32 == 0)) * WARPGROUPS * 10240 + 128) <= SMEM_MAX
//! require BM * (BN + 8) * 4 + LOAD * 128 <= SMEM_MAX
//! require STAGES < 8 || (BM == 64 && BN <= 64)
#include "tn_async.cuh"
#include "tn_wgmma.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"
#include "tn_wgmma_tma.cuh"

constexpr bool WHOLE = TN_C % BK == 0; // a slot's channels belong to one position
constexpr int POSITIONS = TN_R * TN_S;

struct window { // where a chunk stands: position of the filter and channel
    int position, c;
    TN_MEMBER window(int kt, int col) {
        if (WHOLE) {
            const int block = kt / POSITIONS;
            position = kt - block * POSITIONS;
            c = block * BK + col;
        } else {
            position = (kt * BK + col) / TN_C;
            c = kt * BK + col - position * TN_C;
        }
    }
    TN_MEMBER int r() const { return position / TN_S; }
    TN_MEMBER int s() const { return position % TN_S; }
};

// The A operand: windows of the input.
struct window_loader {
    typedef tn_panel_copy<BM, true> copy;
    const tn_args &args;
    const tn_elem *corner[copy::N]; // may point outside: only dereferenced where the position is inside
    unsigned inside[copy::N];       // bit p: position p is; none behind the last

    TN_MEMBER window_loader(const tn_args &args, int m0) : args(args) {
        TN_UNROLL
        for (int i = 0; i < copy::N; i++) {
            const int m = m0 + copy::row(i), row = m / (int)TN_OW, n = row / (int)TN_OH;
            const int y = (row - n * (int)TN_OH) * TN_STRIDE_H - TN_PAD_H, x = (m - row * (int)TN_OW) * TN_STRIDE_W - TN_PAD_W;
            corner[i] = tn_x(args) + ((long long)n * TN_XS_N + (long long)y * TN_XS_H + (long long)x * TN_XS_W);
            unsigned columns = 0;
            inside[i] = 0;
            TN_UNROLL
            for (int s = 0; s < TN_S; s++) columns |= (unsigned)((unsigned)(x + s * TN_DILATION_W) < (unsigned)TN_W) << s;
            TN_UNROLL
            for (int r = 0; r < TN_R; r++)
                if ((unsigned)(y + r * TN_DILATION_H) < (unsigned)TN_H) inside[i] |= columns << (r * TN_S);
            if (m >= (int)TN_M) inside[i] = 0;
        }
    }

    TN_MEMBER void issue(int kt, unsigned tile) {
        const window w(kt, copy::k(0));
        const tn_index shift = w.r() * TN_DILATION_H * TN_XS_H + w.s() * TN_DILATION_W * TN_XS_W + w.c;
        TN_UNROLL
        for (int i = 0; i < copy::N; i++) {
            if (!copy::has(i)) continue;
            const bool ok = inside[i] >> w.position & 1;
            if (TN_FILL == 0 || ok) tn_cp_async16(copy::address(tile, i), corner[i] + shift, ok);
            else tn_sts16(copy::address(tile, i), tn_filled(TN_FILL));
        }
    }
};

// The B operand.
struct filter_loader {
    typedef tn_panel_copy<BN, true, TN_B_DEALT> copy;
    const tn_args &args;
    int n0;
    TN_MEMBER filter_loader(const tn_args &args, int n0) : args(args), n0(n0) {}

    TN_MEMBER void issue(int kt, unsigned tile) {
        const window w(kt, copy::k(0));
        const int k = w.position * TN_C + w.c;
        TN_UNROLL
        for (int i = 0; i < copy::N; i++) {
            if (!copy::has(i)) continue;
            const int n = n0 + copy::side(i);
            tn_cp_async16(copy::address(tile, i), tn_b(args) + tn_offset_b(args, 0, n, k), n < TN_N && (WHOLE || k < TN_K));
        }
    }
};

struct pixel_sink {
    const tn_args &args;
    int m0, n0;
    template <int VEC> TN_MEMBER auto at(int m, int n) const {
        m += m0;
        n += n0;
        return tn_finish_at<VEC, tn_sum>(args, 0, m, n, m < (int)TN_M && n < TN_N);
    }
};

// For TMA.
constexpr int PIXELS = BM / CLUSTER_N; // that a block copies
struct conv_work {
    const tn_args &args;
    int clusters_m, clusters_n, k0, k1;
    struct place {
        int m0, n0, image, y, x; // y, x: of the window of the first pixel that this block copies
    };
    TN_MEMBER int tiles() const { return clusters_m * clusters_n * CLUSTER; }
    TN_MEMBER place at(int t) const {
        place p;
        tn_tile_at(t, clusters_m, clusters_n, p.m0, p.n0);
        const int m = p.m0 + tn_part_a().index * PIXELS, row = m / (int)TN_OW;
        p.image = row / (int)TN_OH;
        p.y = (row - p.image * (int)TN_OH) * TN_STRIDE_H - TN_PAD_H;
        p.x = (m - row * (int)TN_OW) * TN_STRIDE_W - TN_PAD_W;
        return p;
    }
    TN_MEMBER void prefetch() const {
        tn_tma_prefetch(tn_map_x(args));
        tn_tma_prefetch(tn_map_b(args));
    }
    template <class To> TN_MEMBER void load_a(const place &p, int kt, const To &to) const {
        const tn_part part = tn_part_a();
        const int block = kt / POSITIONS, position = kt - block * POSITIONS;
        const int c[4] = {block * BK, p.x, p.y, p.image};
        const unsigned short offsets[2] = {(unsigned short)(position % TN_S * TN_DILATION_W),
                                           (unsigned short)(position / TN_S * TN_DILATION_H)};
        to.template windows<CLUSTER_N>(part.index * PIXELS * TN_PANEL_ROW, tn_map_x(args), c, offsets, part.blocks);
    }
    template <class To> TN_MEMBER void load_b(const place &p, int kt, const To &to) const {
        constexpr int FILTERS = BN / CLUSTER_M;
        const tn_part part = tn_part_b();
        const int block = kt / POSITIONS, position = kt - block * POSITIONS, first = part.index * FILTERS;
        if constexpr (TN_B_DEALT) { // channels are whole slots
            tn_tma_tile<true, true, BN, CLUSTER_M>(to, part, tn_map_b(args), p.n0, position * (TN_C / BK) + block, 0);
        } else {
            const int c[3] = {block * BK, position, p.n0 + first};
            to.template box<CLUSTER_M>(first * TN_PANEL_ROW, tn_map_b(args), c, part.blocks);
        }
    }
    TN_MEMBER tn_row_parts rows(const place &) const { return tn_row_parts{args, 0, 0}; }
    TN_MEMBER pixel_sink sink(const place &p) const { return pixel_sink{args, p.m0, p.n0}; }
};

extern "C" __global__ void __launch_bounds__(THREADS, TN_RESIDENT) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_SWIZZLED_SMEM(memory);
    const unsigned smem = tn_smem_addr(memory);
    const int clusters_m = ((int)TN_M + BM * CLUSTER_M - 1) / (BM * CLUSTER_M),
              clusters_n = (TN_N + BN * CLUSTER_N - 1) / (BN * CLUSTER_N);
    int k0, k1;
    tn_split_range(TN_LOAD ? POSITIONS * ((TN_C + BK - 1) / BK) : (TN_K + BK - 1) / BK, (int)blockIdx.z, k0, k1);
    if constexpr (TN_LOAD) {
        tn_wgmma_tma(conv_work{args, clusters_m, clusters_n, k0, k1}, smem);
    } else {
        int m0, n0;
        tn_tile_at((int)blockIdx.x, clusters_m, clusters_n, m0, n0);
        window_loader la(args, m0);
        filter_loader lb(args, n0);
        tn_sums acc;
        tn_wgmma_pipeline(la, lb, tn_row_parts{args, 0, 0}, k0, k1, smem, acc);
        tn_wgmma_end<TN_EPI_VEC>(acc, smem, pixel_sink{args, m0, n0});
    }
}
#include "tn_variant_end.cuh"
