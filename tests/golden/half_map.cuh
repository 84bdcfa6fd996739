// mul_add_gelu_e3197c59: map BLOCK=256 VEC=8 ITEMS=1
//
//   map
//   %0 : f16[2,16,32] strides [512,32,1] align 16
//   %1 : f16[32] strides [1] align 16
//   %2 : f16[16,1] strides [1,1] align 16
//   %3 = mul %0, %1 : f16[2,16,32]
//   %4 = add %3, %2 : f16[2,16,32]
//   %5 = gelu %4 : f16[2,16,32]
//   yield %5
//   out %5 strides [512,32,1] align 16
#pragma once
namespace tn_step_mul_add_gelu_e3197c59 {
#define TN_KERNEL mul_add_gelu_e3197c59
typedef int tn_index;

constexpr int TN_BLOCK = 256;
constexpr int TN_VEC = 8;
constexpr int TN_ITEMS = 1;
constexpr int TN_N = 1024;
constexpr int TN_VEC_MAX = 8;
constexpr int TN_VEC_MIN = 1;
constexpr int TN_ODD_PAIRS = 0;

struct tn_args {
    const tn_half *in0;
    const tn_half *in1;
    const tn_half *in2;
    tn_half *out0;
};

TN_DEV void tn_map(const tn_args &args, tn_index i) {
    const tn_pack<tn_half, 8> p0_0 = tn_load<8, 8>(args.in0 + i);
    const tn_index r1 = i % 32;
    const tn_pack<tn_half, 8> p1_2 = tn_load<8, 8>(args.in1 + r1);
    const tn_index q3 = i / 32;
    const tn_index r4 = q3 % 16;
    const float v2 = tn_get(args.in2 + r4);
    tn_pack<tn_half, 8> y0;
    TN_UNROLL
    for (int lane = 0; lane < 8; ++lane) {
        const float v0 = tn_to_reg(p0_0[lane]);
        const float v1 = tn_to_reg(p1_2[lane]);
        const float v3 = tn_round_f16(tn_mul(v0, v1)); // mul
        const float v4 = tn_round_f16(v3 + v2); // add
        const float v5 = tn_gelu(v4); // gelu
        tn_from_reg(y0[lane], v5);
    }
    tn_store<8>(args.out0 + i, y0);
}

