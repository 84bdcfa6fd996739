// tn_finish.cuh: from an accumulator to the region's epilogue: a norm of A's rows, or a convolution's own bias.  Included after
// tn_variant.cuh.
//
// TN_NORM: 0; 1, rows were to be divided by their root mean square; 2, and their mean to be taken away before.  A is multiplied as it
// stands: what the norm does to a row is one number for all its products, and another times the sums of B's columns
// (tn_load_bias).  Both follow from two sums over the row, which the kernel adds up while the row passes through it, or, where TN_GIVEN
// parts of them are given (tn_load_given), reads.
//
// TN_SUMS: 0; or the kernel gives such sums over the rows of its own result, over so many columns a part, for who reads these: what
// tn_epilogue stores it also adds up, and tn_put_sums writes once neighbouring lanes have put together what they have of a part.
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
    TN_MEMBER void join(const tn_row_sums &other) {
        sum += other.sum;
        squares += other.squares;
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

#if TN_GIVEN
// Sums over rows of A, from row `first` on, of which the parts were given.
struct tn_given_rows {
    const tn_args &args;
    int b, first;
    // Over every STEP-th part of a row, from `part` on; 0 where there is no such row.
    template <int STEP> TN_MEMBER tn_row_sums of(int row, int part) const {
        tn_row_sums sums = {0, 0};
        if (first + row < (int)TN_M) {
            TN_UNROLL
            for (int p = 0; p < TN_GIVEN; p += STEP) {
                float x[2] = {0, 0};
                if (TN_GIVEN % STEP == 0 || p + part < TN_GIVEN)
                    tn_load_given(args, tn_batch_a(args, b), first + row, (p + part) * 2, x);
                sums.sum += x[0];
                sums.squares += x[1];
            }
        }
        return sums;
    }
};
#endif

#if TN_SUMS
// part: what this lane's elements at (b, m, n), n a multiple of 8, add to the sums over row m of the result; so many neighbouring lanes have
// a part of TN_SUMS columns.  Called by whole warps; `is`: there are such elements.
template <int LANES> TN_DEV void tn_put_part(const tn_args &args, int b, int m, int n, bool is, tn_row_sums part) {
    TN_UNROLL
    for (int lane = LANES / 2; lane > 0; lane /= 2) part.join(lane);
    const float sums[2] = {part.sum, part.squares};
    if (is && (int)threadIdx.x % LANES == 0) tn_put_sums(args, b, m, n / TN_SUMS * 2, sums);
}
#endif

// x: VEC consecutive elements at (b, m, n) of the anchor's result; n is a multiple of VEC and all are in range.  row: sums over row m
// of A, where a norm wants them.  Returns sums over what became of the elements, where the kernel gives them.
template <int VEC, class T>
TN_DEV tn_row_sums tn_finish(const tn_args &args, int b, int m, int n, T (&x)[VEC], const tn_row_sums &row = {0, 0}) {
#if TN_HAS_BIAS
    T bias[VEC];
    tn_load_bias(args, n, bias);
#endif
#if TN_NORM
    const float mean = TN_NORM == 2 ? row.sum / (float)TN_K : 0.0f;
    const float variance = row.squares / (float)TN_K - mean * mean, scale = tn_rsqrt((variance > 0.0f ? variance : 0.0f) + (float)TN_EPS);
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
#if TN_SUMS
    float sums[2] = {0, 0};
    tn_epilogue(args, b, m, n, x, sums);
    return tn_row_sums{sums[0], sums[1]};
#else
    tn_epilogue(args, b, m, n, x);
    return tn_row_sums{0, 0};
#endif
}
