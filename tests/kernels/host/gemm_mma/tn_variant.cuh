// A hand-written stand-in for the generated header: gemm_mma on plain contiguous matrices, knobs from the command line.
#pragma once
#define TN_KERNEL gemm_mma_test
typedef int tn_index;
#ifndef ELEM
#define ELEM tn_half
#endif
typedef ELEM tn_elem;
struct tn_args {
    const tn_elem *in0, *in1;
    float *out0;
};
#define TN_A(args) (args).in0
#define TN_B(args) (args).in1
#define TN_A_BATCH(b) (b)
#define TN_B_BATCH(b) (b)
#ifndef TN_B_CONST
#define TN_B_CONST 1
#endif
#define TN_HAS_BIAS 0
TN_DEV tn_index offset_of(int b, int row, int col, int rows, int cols) { return (b * rows + row) * cols + col; }
#define TN_A_ROWS (TN_A_KMAJOR ? TN_M : TN_K)
#define TN_A_COLS (TN_A_KMAJOR ? TN_K : TN_M)
#define TN_B_ROWS (TN_B_KMAJOR ? TN_N : TN_K)
#define TN_B_COLS (TN_B_KMAJOR ? TN_K : TN_N)
TN_DEV tn_index tn_offset_a(const tn_args &, int b, int r, int c) { return offset_of(b, r, c, TN_A_ROWS, TN_A_COLS); }
TN_DEV tn_index tn_offset_b(const tn_args &, int b, int r, int c) { return offset_of(b, r, c, TN_B_ROWS, TN_B_COLS); }
TN_DEV void tn_load_a(const tn_args &args, int b, int r, int c, float (&x)[TN_A_VEC]) {
    for (int i = 0; i < TN_A_VEC; i++) x[i] = tn_get(args.in0 + offset_of(b, r, c + i, TN_A_ROWS, TN_A_COLS));
}
TN_DEV void tn_load_b(const tn_args &args, int b, int r, int c, float (&x)[TN_B_VEC]) {
    for (int i = 0; i < TN_B_VEC; i++) x[i] = tn_get(args.in1 + offset_of(b, r, c + i, TN_B_ROWS, TN_B_COLS));
}
template <int VEC> TN_DEV void tn_epilogue(const tn_args &args, int b, int m, int n, const float (&acc)[VEC]) {
    TN_UNROLL
    for (int i = 0; i < VEC; i++) args.out0[(b * TN_M + m) * TN_N + n + i] = acc[i];
}
