// transpose_reshape_neg_610e55cf: map BLOCK=128 VEC=1 ITEMS=1
//
//   map
//   %0 : f32[1,3,4,2,4,2] strides [192,64,16,8,2,1] align 16
//   %1 = transpose %0 perm=[0,2,4,3,5,1] : f32[1,4,4,2,2,3]
//   %2 = reshape %1 dims=[1,4,4,12] : f32[1,4,4,12]
//   %3 = neg %2 : f32[1,4,4,12]
//   yield %3
//   out %3 strides [192,48,12,1] align 16
#pragma once
namespace tn_step_transpose_reshape_neg_610e55cf {
#define TN_KERNEL transpose_reshape_neg_610e55cf
typedef int tn_index;

constexpr int TN_BLOCK = 128;
constexpr int TN_VEC = 1;
constexpr int TN_ITEMS = 1;
constexpr int TN_N = 192;
constexpr int TN_VEC_MAX = 4;
constexpr int TN_VEC_MIN = 1;
constexpr int TN_ODD_PAIRS = 0;

struct tn_args {
    const float *in0;
    float *out0;
};

TN_DEV void tn_map(const tn_args &args, tn_index i) {
    const tn_index q0 = i / 12;
    const tn_index r1 = q0 % 4;
    const tn_index q2 = i / 48;
    const tn_index r3 = i % 3;
    const tn_index q4 = i / 3;
    const tn_index r5 = q4 % 2;
    const tn_index q6 = i / 6;
    const tn_index r7 = q6 % 2;
    const float v0 = tn_get(args.in0 + (r1 * 2 + q2 * 16 + r3 * 64 + r5 + r7 * 8));
    const float v3 = -v0; // neg
    tn_put(args.out0 + i, v3);
}

