// add_add_relu_e3755f95: map BLOCK=256 VEC=4 ITEMS=1
//
//   map
//   %0 : f32[4,6,8] strides [48,8,1] align 16
//   %1 : f32[4,6,8] strides [48,8,1] align 16
//   %2 : f32[6,1] strides [1,1] align 16
//   %3 = add %0, %1 : f32[4,6,8]
//   %4 = add %3, %2 : f32[4,6,8]
//   %5 = relu %4 : f32[4,6,8]
//   yield %5
//   out %5 strides [48,8,1] align 16
#pragma once
namespace tn_step_add_add_relu_e3755f95 {
#define TN_KERNEL add_add_relu_e3755f95
typedef int tn_index;

constexpr int TN_BLOCK = 256;
constexpr int TN_VEC = 4;
constexpr int TN_ITEMS = 1;
constexpr int TN_N = 192;
constexpr int TN_VEC_MAX = 4;
constexpr int TN_VEC_MIN = 1;
constexpr int TN_ODD_PAIRS = 0;

struct tn_args {
    const float *in0;
    const float *in1;
    const float *in2;
    float *out0;
};

TN_DEV void tn_map(const tn_args &args, tn_index i) {
    const tn_pack<float, 4> p0_0 = tn_load<4, 4>(args.in0 + i);
    const tn_pack<float, 4> p1_1 = tn_load<4, 4>(args.in1 + i);
    const tn_index q2 = i / 8;
    const tn_index r3 = q2 % 6;
    const float v2 = tn_get(args.in2 + r3);
    tn_pack<float, 4> y0;
    TN_UNROLL
    for (int lane = 0; lane < 4; ++lane) {
        const float v0 = p0_0[lane];
        const float v1 = p1_1[lane];
        const float v3 = v0 + v1; // add
        const float v4 = v3 + v2; // add
        const float v5 = tn_max(v4, (float)0); // relu
        y0[lane] = v5;
    }
    tn_store<4>(args.out0 + i, y0);
}

