// concat_silu_871a848a: map BLOCK=128 VEC=8 ITEMS=1
//
//   map
//   %0 : f16[2,8,8] strides [64,8,1] align 16
//   %1 : f16[2,16,8] strides [128,8,1] align 16
//   %2 = concat %0, %1 axis=1 : f16[2,24,8]
//   %3 = silu %2 : f16[2,24,8]
//   yield %3
//   out %3 strides [192,8,1] align 16
#pragma once
namespace tn_step_concat_silu_871a848a {
#define TN_KERNEL concat_silu_871a848a
typedef int tn_index;

constexpr int TN_BLOCK = 128;
constexpr int TN_VEC = 8;
constexpr int TN_ITEMS = 1;
constexpr int TN_N = 384;
constexpr int TN_VEC_MAX = 8;
constexpr int TN_VEC_MIN = 1;
constexpr int TN_ODD_PAIRS = 0;

struct tn_args {
    const tn_half *in0;
    const tn_half *in1;
    tn_half *out0;
};

TN_DEV void tn_map(const tn_args &args, tn_index i) {
    const tn_index q0 = i / 8;
    const tn_index r1 = q0 % 24;
    const bool ok2 = r1 < 8;
    const tn_index q3 = i / 192;
    tn_pack<tn_half, 8> p0_4 = {};
    if (ok2) p0_4 = tn_load<8, 8>(args.in0 + (r1 * 8 + q3 * 64));
    const bool ok5 = r1 >= 8;
    tn_pack<tn_half, 8> p1_6 = {};
    if (ok5) p1_6 = tn_load<8, 8>(args.in1 + (r1 * 8 + q3 * 128 - 64));
    tn_pack<tn_half, 8> y0;
    TN_UNROLL
    for (int lane = 0; lane < 8; ++lane) {
        const float v0 = tn_to_reg(p0_4[lane]);
        const float v1 = tn_to_reg(p1_6[lane]);
        const float v2 = ok5 ? v1 : v0; // concat
        const float v3 = tn_mul(v2, tn_sigmoid(v2)); // silu
        tn_from_reg(y0[lane], v3);
    }
    tn_store<8>(args.out0 + i, y0);
}

