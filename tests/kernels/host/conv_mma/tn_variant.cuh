// A hand-written stand-in for the generated header: conv_mma on a contiguous NHWC image, knobs from the command line.
#pragma once
#define TN_KERNEL conv_mma_test
typedef int tn_index;
#ifndef ELEM
#define ELEM tn_half
#endif
typedef ELEM tn_elem;
struct tn_args {
    const tn_elem *in0, *in1;
    const float *in2;
    float *out0;
};
#ifdef DEPTHWISE
#define TN_C (TN_N_TOTAL / TN_MULT)
#define TN_N TN_N_TOTAL
#define TN_GROUPS 1
#define TN_K (TN_R * TN_S)
#define TN_F_CONST 1
#define TN_B_VEC 1
#define TN_X_VEC (TN_VEC / TN_MULT)
#else
#define TN_K (TN_R * TN_S * TN_C)
#endif
#define TN_M (TN_IMAGES * TN_OH * TN_OW)
#define TN_X(args) (args).in0
#define TN_B(args) (args).in1
#define TN_XS_W (TN_C * TN_GROUPS)
#define TN_XS_H (TN_W * TN_XS_W)
#define TN_XS_N (TN_H * TN_XS_H)
#define TN_A_KMAJOR 1
#define TN_B_KMAJOR 1
#define TN_B_CONST 1
#define TN_HAS_BIAS 1
TN_DEV tn_index tn_offset_b(const tn_args &, int, int n, int k) { return n * TN_K + k; }
TN_DEV void tn_load_b(const tn_args &args, int, int n, int k, float (&x)[TN_B_VEC]) {
    for (int i = 0; i < TN_B_VEC; i++) x[i] = tn_get(args.in1 + n * TN_K + k + i);
}
TN_DEV void tn_load_f(const tn_args &args, int n, int tap, float (&x)[1]) { x[0] = tn_get(args.in1 + n * TN_K + tap); }
TN_DEV void tn_load_x(const tn_args &args, int n, int h, int w, int c, float (&x)[TN_X_VEC]) {
    for (int i = 0; i < TN_X_VEC; i++) x[i] = tn_get(args.in0 + n * TN_XS_N + h * TN_XS_H + w * TN_XS_W + c + i);
}
template <int VEC> TN_DEV void tn_load_bias(const tn_args &args, int n, float (&x)[VEC]) {
    for (int i = 0; i < VEC; i++) x[i] = args.in2[n + i];
}
template <int VEC> TN_DEV void tn_epilogue(const tn_args &args, int, int m, int n, const float (&acc)[VEC]) {
    TN_UNROLL
    for (int i = 0; i < VEC; i++) args.out0[m * TN_N * TN_GROUPS + n + i] = acc[i];
}
