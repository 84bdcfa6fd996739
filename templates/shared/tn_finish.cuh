// tn_finish.cuh: from an accumulator to the region's epilogue: a norm of A's rows, or a convolution's own bias.  Included after
// tn_variant.cuh.
//
// TN_NORM: 0; 1, rows were to be divided by their root mean square; 2, and their mean to be taken away before.  A is multiplied as it
// stands: what the norm does to a row is one number for all its products, and another times the sums of B's columns
// (tn_load_bias).  Both follow from two sums over the row, which the kernel adds up while the row passes through it.
#pragma once
#include "tn_math.cuh"

struct tn_row_sums {
    float sum, squares;
    TN_MEMBER void add(float x) {
        sum += x;
        squares += x * x;
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

// VEC consecutive elements at (b, m, n) of the anchor's result; n is a multiple of VEC, and they are inside or none is.  Reads what the
// epilogue wants beside them, and returns what is called with them, x, and with the sums over row m of A, where a norm wants these.  Outside
// nothing is read or written.
template <int VEC, class T> TN_DEV auto tn_finish_at(const tn_args &args, int b, int m, int n, bool inside) {
#if TN_HAS_BIAS
    T bias[VEC] = {};
    if (inside) tn_load_bias(args, n, bias);
#endif
    const auto epilogue = tn_epilogue_at(args, b, m, n, inside);
    return [=, &args](T(&x)[VEC], const tn_row_sums &row = {0, 0}) {
        if (!inside) return;
#if TN_NORM
        const float part = 1.0f / (float)TN_K, mean = TN_NORM == 2 ? row.sum * part : 0.0f;
        const float variance = row.squares * part - mean * mean, scale = tn_rsqrt22((variance > 0.0f ? variance : 0.0f) + (float)TN_EPS);
#endif
#if TN_PUTS_ROWS
        if (n == 0) { // once a row
            const float row_norm[2] = {scale, -mean * scale};
            tn_put_row(args, b, m, 0, row_norm);
        }
#endif
        TN_UNROLL
        for (int i = 0; i < VEC; i++) {
#if TN_NORM == 2
            x[i] = (x[i] - mean * bias[i]) * scale;
#elif TN_NORM
            x[i] *= scale;
#elif TN_HAS_BIAS
            x[i] = tn_add(x[i], bias[i]);
#endif
        }
        epilogue(x);
    };
}

// Both steps at once.
template <int VEC, class T>
TN_DEV void tn_finish(const tn_args &args, int b, int m, int n, T (&x)[VEC], const tn_row_sums &row = {0, 0}) {
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
