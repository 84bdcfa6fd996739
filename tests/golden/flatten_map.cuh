// relu_transpose_1bacd326: map BLOCK=256 VEC=4 ITEMS=1
//
//   map
//   %0 : f32[s0,4,s1,s2] strides [((s1 * s2) * 4),(s1 * s2),s2,1] align 16
//   %1 = relu %0 : f32[s0,4,s1,s2]
//   %2 = transpose %1 perm=[0,2,3,1] : f32[s0,s1,s2,4]
//   yield %2
//   out %2 strides [((s1 * s2) * 4),(s2 * 4),4,1] align 16
//   s0 from 0 typically 0
//   s1 from 0 typically 0
//   s2 from 0 typically 0
#pragma once
namespace tn_step_relu_transpose_1bacd326 {
#define TN_KERNEL relu_transpose_1bacd326
typedef int tn_index;

constexpr int TN_BLOCK = 256;
constexpr int TN_VEC = 4;
constexpr int TN_ITEMS = 1;
#define TN_N (TN_D0 * TN_D1 * TN_D2 * 4)
constexpr int TN_VEC_MAX = 4;
constexpr int TN_VEC_MIN = 1;
constexpr int TN_ODD_PAIRS = 0;

struct tn_args {
    const float *in0;
    float *out0;
    long long d0; // N
    long long d1; // H
    long long d2; // W
};
#define TN_D0 ((tn_index)args.d0)
#define TN_D1 ((tn_index)args.d1)
#define TN_D2 ((tn_index)args.d2)

TN_DEV void tn_map(const tn_args &args, tn_index i) {
    const tn_index q0 = i / (TN_D1 * TN_D2 * 4);
    const tn_index q1 = i / 4;
    const tn_index r2 = q1 % (TN_D1 * TN_D2);
    tn_pack<float, 4> y0;
    TN_UNROLL
    for (int lane = 0; lane < 4; ++lane) {
        const float v0 = tn_get(args.in0 + (TN_D1 * TN_D2 * lane + TN_D1 * TN_D2 * q0 * 4 + r2));
        const float v1 = tn_max(v0, (float)0); // relu
        y0[lane] = v1;
    }
    tn_store<4>(args.out0 + i, y0);
}

