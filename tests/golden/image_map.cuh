// sub_transpose_9735d49b: map BLOCK=256 VEC=1 ITEMS=1
//
//   map
//   %0 : f32[s0,3,s1,s2] strides [((s1 * s2) * 3),(s1 * s2),s2,1] align 16
//   %1 : f32[3,1,1] strides [1,1,1] align 16
//   %2 = sub %0, %1 : f32[s0,3,s1,s2]
//   %3 = transpose %2 perm=[0,2,3,1] : f32[s0,s1,s2,3]
//   yield %3
//   out %3 strides [((s1 * s2) * 3),(s2 * 3),3,1] align 16
//   s0 from 0 typically 0
//   s1 from 0 typically 0
//   s2 from 0 typically 0
#pragma once
namespace tn_step_sub_transpose_9735d49b {
#define TN_KERNEL sub_transpose_9735d49b
typedef int tn_index;

constexpr int TN_BLOCK = 256;
constexpr int TN_VEC = 1;
constexpr int TN_ITEMS = 1;
#define TN_N (TN_D0 * TN_D1 * TN_D2 * 3)
constexpr int TN_VEC_MAX = 4;
constexpr int TN_VEC_MIN = 1;
constexpr int TN_ODD_PAIRS = 0;

struct tn_args {
    const float *in0;
    const float *in1;
    float *out0;
    long long d0; // N
    long long d1; // H
    long long d2; // W
};
#define TN_D0 ((tn_index)args.d0)
#define TN_D1 ((tn_index)args.d1)
#define TN_D2 ((tn_index)args.d2)

TN_DEV void tn_map(const tn_args &args, tn_index i) {
    const tn_index r0 = i % 3;
    const tn_index q1 = i / (TN_D1 * TN_D2 * 3);
    const tn_index q2 = i / 3;
    const tn_index r3 = q2 % (TN_D1 * TN_D2);
    const float v0 = tn_get(args.in0 + (TN_D1 * TN_D2 * r0 + TN_D1 * TN_D2 * q1 * 3 + r3));
    const float v1 = tn_get(args.in1 + r0);
    const float v2 = v0 - v1; // sub
    tn_put(args.out0 + i, v2);
}

