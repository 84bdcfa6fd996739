// matmul_transpose_transpose_transpose_394bce5a: matmul_direct BM=16 BN=16 T=1
//
//   matmul
//   %0 : f16[2,9,4,16] strides [576,64,16,1] align 16
//   %1 : f16[2,9,4,16] strides [576,64,16,1] align 16
//   %2 = transpose %0 perm=[0,2,1,3] : f16[2,4,9,16]
//   %3 = transpose %1 perm=[0,2,1,3] : f16[2,4,9,16]
//   %4 = matmul %2, %3 trans_b : f16[2,4,9,9]
//   %5 = transpose %4 perm=[0,2,1,3] : f16[2,9,4,9]
//   yield %5
//   out %5 strides [324,36,9,1] align 16
#pragma once
namespace tn_step_matmul_transpose_transpose_transpose_394bce5a {
#define TN_KERNEL matmul_transpose_transpose_transpose_394bce5a
typedef int tn_index;

constexpr int TN_BM = 16;
constexpr int TN_BN = 16;
constexpr int TN_T = 1;
constexpr int TN_M = 9;
constexpr int TN_N = 9;
constexpr int TN_K = 16;
constexpr int TN_BATCH = 8;
constexpr int TN_A_KINNER = 1;
constexpr int TN_B_KINNER = 1;

struct tn_args {
    const tn_half *in0;
    const tn_half *in1;
    tn_half *out0;
};

typedef float tn_left;
typedef float tn_right;
typedef float tn_val;
typedef float tn_acc;

TN_DEV void tn_load_a(const tn_args &args, tn_index b, tn_index m, tn_index k, float (&x)[1]) {
    const tn_index r0 = b % 4;
    const tn_index q1 = b / 4;
    const float v0 = tn_get(args.in0 + (m * 64 + k + r0 * 16 + q1 * 576));
    x[0] = v0;
}

TN_DEV void tn_load_b(const tn_args &args, tn_index b, tn_index n, tn_index k, float (&x)[1]) {
    const tn_index r0 = b % 4;
    const tn_index q1 = b / 4;
    const float v1 = tn_get(args.in1 + (n * 64 + k + r0 * 16 + q1 * 576));
    x[0] = v1;
}

TN_DEV void tn_epilogue(const tn_args &args, tn_index b, tn_index m, tn_index n, const float (&acc)[1]) {
    const tn_index r0 = b % 4;
    const tn_index q1 = b / 4;
    tn_put(args.out0 + (r0 * 9 + q1 * 324 + m * 36 + n), acc[0]);
}

