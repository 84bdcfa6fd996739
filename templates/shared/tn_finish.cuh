// tn_finish.cuh: from an accumulator to the region's epilogue: a norm of A's rows, or a convolution's own bias.  Included after
// tn_variant.cuh.
//
// TN_NORM: 0; 1, rows of A are to be divided by their root mean square; 2, by that of what is left when their mean is taken away.  A is
// multiplied as it stands: what the norm does to a row is one number for all its products.  It follows from two sums over the
// row, which the kernel adds up while the row passes through it, or, where the kernel that made the rows has added up each 32 neighbours
// (TN_PARTS a row), from those.  TN_PUTS_SUMS: this one does so with its results.
#pragma once
#include "tn_math.cuh"

struct tn_row_sums {
    float sum, squares;
    TN_MEMBER void add(float x) {
        sum += x;
        squares += x * x;
    }
    TN_MEMBER void add(const tn_row_sums &part) {
        sum += part.sum;
        squares += part.squares;
    }
    // The two elements in a word.
    template <class E> TN_MEMBER void add(unsigned pair, E) {
        E lo, hi;
        lo.bits = (unsigned short)(pair & 0xffffu);
        hi.bits = (unsigned short)(pair >> 16);
        add(tn_to_reg(lo));
        add(tn_to_reg(hi));
    }
    // Of this lane and the one whose number has bit `lane` other.
    TN_MEMBER void join(int lane) {
        sum += tn_shuffle_xor(sum, lane);
        squares += tn_shuffle_xor(squares, lane);
    }
    TN_MEMBER tn_bits16 bits() const {
        const tn_bits16 b = {tn_float_bits(sum), tn_float_bits(squares), 0, 0};
        return b;
    }
};

// What a norm does to a row.
struct tn_row_scale {
    float scale, mean;
    // By the sums over it.
    TN_DEV tn_row_scale of(const tn_row_sums &row) {
        (void)row;
#if TN_NORM
        const float part = 1.0f / (float)TN_K, mean = TN_NORM == 2 ? row.sum * part : 0.0f;
        const float variance = row.squares * part - mean * mean;
        return {tn_rsqrt22((variance > 0.0f ? variance : 0.0f) + (float)TN_EPS), mean};
#else
        return {1.0f, 0.0f};
#endif
    }
};

// What is given of the rows of a tile of A: the sums of their parts.
struct tn_row_parts {
    const tn_args &args;
    int b, m0;
    // What this lane, of LANES that have a row together, has of parts from ... to - 1 of the tile's row m: every LANES-th.  Outside of A
    // nothing.
    template <int LANES> TN_MEMBER tn_row_sums share(int m, int from, int to, int lane) const {
        tn_row_sums sums = {0.0f, 0.0f};
        (void)m, (void)from, (void)to, (void)lane;
#if TN_PARTS
        constexpr int AT_ONCE = TN_PARTS / LANES < 12 ? TN_PARTS / LANES + 1 : 12;
        m += m0;
        if (m >= (int)TN_M) return sums;
        for (int p = from + lane; p < to; p += LANES * AT_ONCE) {
            float x[AT_ONCE][2];
            TN_UNROLL
            for (int i = 0; i < AT_ONCE; i++) {
                x[i][0] = x[i][1] = 0.0f;
                if (p + i * LANES < to) tn_load_row_sums(args, p + i * LANES, tn_batch_a(args, b), m, 0, x[i]);
            }
            TN_UNROLL
            for (int i = 0; i < AT_ONCE; i++) sums.add(tn_row_sums{x[i][0], x[i][1]});
        }
#endif
        return sums;
    }
};

#if TN_PUTS_SUMS
// Stores the sums of 32 results of row m, of which the four lanes of a quad have eight each, from column n on.  All lanes of a warp come here.
TN_DEV void tn_put_sums(const tn_args &args, int b, int m, int n, bool inside, tn_row_sums sums) {
    sums.join(1);
    sums.join(2);
    const float x[2] = {sums.sum, sums.squares};
    if (inside && n % 32 == 0) tn_put_part(args, n / 32, b, m, 0, x);
}
#endif

// x: sums of products in row m, from column n on.  Bias or norm.
template <int VEC, class T>
TN_DEV void tn_norm_row(const tn_args &args, int b, int m, int n, T (&x)[VEC], const T (&bias)[VEC], const tn_row_scale &row) {
    (void)args, (void)b, (void)m, (void)n, (void)bias, (void)row;
#if TN_PUTS_ROWS
    if (n == 0) { // once a row
        const float row_norm[2] = {row.scale, -row.mean * row.scale};
        tn_put_row(args, b, m, 0, row_norm);
    }
#endif
    TN_UNROLL
    for (int i = 0; i < VEC; i++) {
#if TN_NORM
        x[i] *= row.scale;
#elif TN_HAS_BIAS
        x[i] = tn_add(x[i], bias[i]);
#endif
    }
}

// VEC consecutive elements at (b, m, n) of the anchor's result; n is a multiple of VEC, and they are inside or none is.  Reads what the
// epilogue wants beside them, and returns what is called with them, x, and with what a norm does to row m of A.  Outside
// nothing is read or written.
template <int VEC, class T> TN_DEV auto tn_finish_at(const tn_args &args, int b, int m, int n, bool inside) {
    T bias[VEC] = {};
#if TN_HAS_BIAS
    if (inside) tn_load_bias(args, n, bias);
#endif
    const auto epilogue = tn_epilogue_at(args, b, m, n, inside);
    return [=, &args](T(&x)[VEC], const tn_row_scale &row = {1, 0}) {
#if TN_PUTS_SUMS
        static_assert(VEC == 8, "a quad has 32 neighbours");
        tn_row_sums sums = {0, 0};
        if (inside) {
            T kept[VEC];
            tn_norm_row<VEC>(args, b, m, n, x, bias, row);
            epilogue(x, kept);
            TN_UNROLL
            for (int i = 0; i < VEC; i++) sums.add(kept[i]);
        }
        tn_put_sums(args, b, m, n, inside, sums);
#else
        if (!inside) return;
        tn_norm_row<VEC>(args, b, m, n, x, bias, row);
        epilogue(x);
#endif
    };
}

// Both steps at once.
template <int VEC, class T>
TN_DEV void tn_finish(const tn_args &args, int b, int m, int n, T (&x)[VEC], const tn_row_scale &row = {1, 0}) {
    tn_finish_at<VEC, T>(args, b, m, n, true)(x, row);
}

// What a sink returns for a place: sink.at<VEC>(m, n) is tn_finish_at of a tile's element.
template <int VEC, class Sink> using tn_finish_of = decltype(((const Sink *)nullptr)->template at<VEC>(0, 0));

// For k = 0 ... N-1 the first step, begin(k); then `between`; then for each k the second: end(k, what begin returned).  The last comes
// first, for the calls are nested, so that all is in registers.
template <int N, int K = 0, class Begin, class Between, class End>
TN_DEV void tn_finish_all(const Begin &begin, const Between &between, const End &end) {
    if constexpr (K == N) {
        between();
    } else {
        const auto finish = begin(K);
        tn_finish_all<N, K + 1>(begin, between, end);
        end(K, finish);
    }
}
