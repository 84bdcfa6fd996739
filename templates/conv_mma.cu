// conv_mma.cu: NHWC convolution (1-D or 2-D) as implicit GEMM on tensor cores: f16, bf16, tf32 (float32),
// or integers of 8 bits that are summed in int32.
//
// m is the output pixel (image, oh, ow), n the output channel of a group, k = (r, s, c) over the filter window and the
// group's input channels; filters are stored [O][R][S][C/groups], so they are a K-major matrix.  Tiles, pipeline and epilogue are
// tn_tile.cuh's.  A row of the A tile is a pixel's window: each thread computes the pixels of its rows once, and for every k tile the
// (r, s, c) of its 16-byte chunk, which is the same for all of its rows.  Padding and edges become zero-filled copies (FILL: of what
// is padded with, where that is not 0).
//
// PACK: the filters' tiles lie in memory as a slot holds them.  X_ASYNC: channels come in 16-byte chunks straight from memory.  Otherwise (few channels: the stem; or a fused prologue) chunks are
// gathered X_VEC elements at a time by the generated tn_load_x.
//
//! kernel  conv_mma  implicit-GEMM convolution on tensor cores, NHWC
//! knob    BM      16 32 64 128 256
//! knob    BN      32 64 128 256
//! knob    KBYTES  64 128 256
//! knob    STAGES  2 3 4 5
//! knob    WARPS   2 4 8
//! knob    SPLITK  1 2 4 8
//! knob    EPI     0 1
//! knob    SLICES  1 2 4
//! switch  PACK    0 1
//! require PACK == 0 || (B_PACKS && (!B_ASYNC || hint(M) <= 4096))
//! require SPLITK == 1 || (CLUSTERS && EPI == 1)
//! require SLICES == 1 || EPI == 1
//! require WARPS >= SLICES * 2 || (WARPS == 4 && SLICES == 4)
//! require STAGES * KBYTES >= 192 && STAGES * KBYTES <= (SLICES == 1 ? 512 : 1024)
//! require KBYTES >= SLICES * 32 && (KBYTES <= 128 || SLICES > 1)
//! require STAGES * KBYTES <= 256 || STAGES * SPLITK * KBYTES <= K * ELT + SPLITK * KBYTES
//! require BM * BN * SLICES <= WARPS * 4096 && BM * BN * SLICES >= WARPS * 512 && BM * BN <= (SLICES == 1 ? 32768 : 4096)
//! require STAGES * (BM + BN) * KBYTES <= SMEM_MAX && (EPI == 0 || SLICES * BM * (BN + 8) * 4 <= SMEM_MAX)
//! require X_ASYNC || BM * KBYTES <= WARPS * 32 * 64
#include "tn_mma.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"
#include "tn_tile.cuh"

struct window { // one position of the filter
    int r, s, c;
    TN_MEMBER explicit window(int k) {
        const int rs = k / TN_C;
        c = k - rs * TN_C;
        r = rs / TN_S;
        s = rs - r * TN_S;
    }
};

// The A operand: windows of the input.
struct window_loader {
    typedef tn_copy_shape<BM, BK> shape;
    typedef decltype(tn_to_reg(tn_elem())) reg;
    const tn_args &args;
    int group;
    int ih[shape::N], iw[shape::N]; // the window's corner; rows past the end stand far outside
#if TN_X_ASYNC
    const tn_elem *corner[shape::N]; // may point outside: only dereferenced where the position is inside
#else
    int image[shape::N];
    tn_bits16 held[shape::N];
#endif

    TN_MEMBER window_loader(const tn_args &args, int group, int m0) : args(args), group(group) {
        TN_UNROLL
        for (int i = 0; i < shape::N; i++) {
            const int m = m0 + shape::row(i), row = m / (int)TN_OW, n = row / (int)TN_OH;
            const bool ok = m < (int)TN_M;
            ih[i] = ok ? (row - n * (int)TN_OH) * TN_STRIDE_H - TN_PAD_H : -(1 << 29);
            iw[i] = (m - row * (int)TN_OW) * TN_STRIDE_W - TN_PAD_W;
#if TN_X_ASYNC
            corner[i] = tn_x(args) + (ok ? (long long)n * TN_XS_N + (long long)ih[i] * TN_XS_H +
                                               (long long)iw[i] * TN_XS_W + group * TN_C
                                         : 0);
#else
            image[i] = n;
#endif
        }
    }

    TN_MEMBER bool inside(int i, const window &w, int &y, int &x) const {
        y = ih[i] + w.r * TN_DILATION_H;
        x = iw[i] + w.s * TN_DILATION_W;
        return (unsigned)y < (unsigned)TN_H && (unsigned)x < (unsigned)TN_W;
    }

    TN_MEMBER void issue(int kt, unsigned tile) {
        const int k = kt * BK + shape::col();
#if TN_X_ASYNC
        const window w(k);
        const tn_index shift = w.r * TN_DILATION_H * TN_XS_H + w.s * TN_DILATION_W * TN_XS_W + w.c;
#endif
        TN_UNROLL
        for (int i = 0; i < shape::N; i++) {
            if (!shape::has(i)) continue;
#if TN_X_ASYNC
            int y, x;
            const unsigned to = tn_chunk_at<TN_KBYTES, false>(tile, shape::row(i), shape::col() / CHUNK);
            const bool ok = inside(i, w, y, x);
            if (TN_FILL == 0 || ok) tn_cp_async16(to, corner[i] + shift, ok && k < TN_K);
            else tn_sts16(to, tn_filled(TN_FILL));
#else
            held[i] = tn_gather_chunk<tn_elem, TN_X_VEC>(true, k, TN_K, [&](int at, reg(&v)[TN_X_VEC]) {
                const window w(at);
                int y, x;
                const bool ok = inside(i, w, y, x);
                if (ok) tn_load_x(args, image[i], y, x, group * TN_C + w.c, v);
                TN_UNROLL
                for (int j = 0; TN_FILL != 0 && !ok && j < TN_X_VEC; j++) v[j] = (reg)TN_FILL;
            });
#endif
        }
    }

    TN_MEMBER void land(unsigned tile) {
#if !TN_X_ASYNC
        TN_UNROLL
        for (int i = 0; i < shape::N; i++)
            if (shape::has(i))
                tn_sts16(tn_chunk_at<TN_KBYTES, false>(tile, shape::row(i), shape::col() / CHUNK), held[i]);
#endif
    }
};

#if !TN_PACK
// The B operand: a group's filters.
struct filters {
    typedef tn_elem_b elem;
    static constexpr bool ASYNC = TN_B_ASYNC, KMAJOR = true;
    static constexpr int VEC = TN_B_VEC;
#if TN_B_ASYNC
    TN_DEV const tn_elem_b *at(const tn_args &args, int group, int o, int k) {
        return tn_b(args) + tn_offset_b(args, 0, group * TN_N + o, k);
    }
#else
    template <class T> TN_DEV void load(const tn_args &args, int group, int o, int k, T (&x)[VEC]) {
        tn_load_b(args, 0, group * TN_N + o, k, x);
    }
#endif
};

#endif

struct pixel_sink {
    const tn_args &args;
    int group, m0, n0;
    template <int VEC> TN_MEMBER void put(int m, int n, tn_sum (&x)[VEC]) const {
        m += m0;
        n += n0;
        if (m < (int)TN_M && n < TN_N) tn_finish(args, 0, m, group * TN_N + n, x);
    }
};

extern "C" __global__ void __launch_bounds__(THREADS) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_DYNAMIC_SMEM(memory);
    const unsigned smem = tn_smem_addr(memory);
    const int tiles_m = ((int)TN_M + BM - 1) / BM, tiles_n = (TN_N + BN - 1) / BN;
    const int group = TN_GROUPS == 1 ? 0 : (int)blockIdx.x / (tiles_m * tiles_n);
    int tm, tn, k0, k1;
    tn_raster((int)blockIdx.x - group * (tiles_m * tiles_n), tiles_m, tiles_n, tm, tn);
    tn_split_range((TN_K + BK - 1) / BK, (int)blockIdx.z, k0, k1);

    window_loader la(args, group, tm * BM);
#if TN_PACK
    tn_packed_loader<tn_sums> lb(tn_b(args), group * TN_B_BANDS + tn, TN_B_TILES);
#else
    tn_matrix_loader<filters, BN> lb(args, group, tn * BN, TN_N, TN_K);
#endif
    tn_sums acc;
    tn_pipeline(la, lb, k0, k1, smem, acc);

    const pixel_sink sink = {args, group, tm * BM, tn * BN};
    if constexpr (TN_EPI) tn_finish_shared<TN_EPI_VEC>(acc, smem, sink);
    else tn_finish_direct<TN_EPI_VEC>(acc, sink);
}
#include "tn_variant_end.cuh"
