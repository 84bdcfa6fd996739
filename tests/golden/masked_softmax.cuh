// softmax_mul_add_2ece1291: softmax BLOCK=128 TPR=8 VEC=1 REGS=1
//
//   softmax
//   %0 : f16[2,4,8,8] strides [256,64,8,1] align 16
//   %1 : f16[2,1,1,8] strides [8,8,8,1] align 16
//   %2 = const data=0458f8e5e7f11c30 : f16[]
//   %3 = mul %0, %2 : f16[2,4,8,8]
//   %4 = add %3, %1 : f16[2,4,8,8]
//   %5 = softmax %4 axis=3 : f16[2,4,8,8]
//   yield %5
//   out %5 strides [256,64,8,1] align 16
#pragma once
namespace tn_step_softmax_mul_add_2ece1291 {
#define TN_KERNEL softmax_mul_add_2ece1291
typedef int tn_index;

constexpr int TN_BLOCK = 128;
constexpr int TN_TPR = 8;
constexpr int TN_VEC = 1;
#define TN_REGS 1
constexpr int TN_ROWS = 64;
constexpr int TN_COLS = 8;
constexpr int TN_STATIC = 1;
constexpr int TN_VEC_MAX = 8;
constexpr int TN_INNER = 1;
constexpr int TN_LOG = 0;

struct tn_args {
    const tn_half *in0;
    const tn_half *in1;
    tn_half *out0;
};

typedef float tn_val;
typedef float tn_acc;

TN_DEV void tn_load_x(const tn_args &args, tn_index row, tn_index col, float (&x)[1]) {
    const float v0 = tn_get(args.in0 + (row * 8 + col));
    const float v3 = tn_round_f16(tn_mul(v0, 0.25f)); // mul
    const tn_index q0 = row / 32;
    const float v1 = tn_get(args.in1 + (q0 * 8 + col));
    const float v4 = tn_round_f16(v3 + v1); // add
    x[0] = v4;
}

TN_DEV void tn_epilogue(const tn_args &args, tn_index row, tn_index col, const float (&acc)[1]) {
    tn_put(args.out0 + (row * 8 + col), acc[0]);
}

