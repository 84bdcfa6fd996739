// tn_window.cuh: what the convolution templates of tn_tile.cuh share: a block's part of the work, windows of the input as operand A and
// where results go.  Included after tn_variant.cuh.
#pragma once
#include "tn_tile.cuh"

// The tile of one group, and its k tiles.
struct conv_block {
    int group, tm, tn, k0, k1;
    TN_MEMBER conv_block(const tn_args &args) {
        const int tiles_m = ((int)TN_M + BM - 1) / BM, tiles_n = (TN_N + BN - 1) / BN;
        group = TN_GROUPS == 1 ? 0 : (int)blockIdx.x / (tiles_m * tiles_n);
        tn_raster((int)blockIdx.x - group * (tiles_m * tiles_n), tiles_m, tiles_n, tm, tn);
        tn_split_range((TN_K + BK - 1) / BK, (int)blockIdx.z, k0, k1);
    }
};

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

struct pixel_sink {
    const tn_args &args;
    const conv_block &block;
    template <int VEC> TN_MEMBER auto at(int m, int n) const {
        m += block.tm * BM;
        n += block.tn * BN;
        return tn_finish_at<VEC, tn_sum>(args, 0, m, block.group * TN_N + n, m < (int)TN_M && n < TN_N);
    }
};
