// gather_add_df39b78c: map BLOCK=128 VEC=2 ITEMS=1
//
//   map
//   %0 : f16[4,9,2] strides [18,2,1] align 16
//   %1 : i32[3,2] strides [2,1] align 16
//   %2 : f16[2] strides [1] align 16
//   %3 = gather %0, %1 axis=1 : f16[4,3,2,2]
//   %4 = add %3, %2 : f16[4,3,2,2]
//   yield %4
//   out %4 strides [12,4,2,1] align 16
#pragma once
namespace tn_step_gather_add_df39b78c {
#define TN_KERNEL gather_add_df39b78c
typedef int tn_index;

constexpr int TN_BLOCK = 128;
constexpr int TN_VEC = 2;
constexpr int TN_ITEMS = 1;
constexpr int TN_N = 48;
constexpr int TN_VEC_MAX = 8;
constexpr int TN_VEC_MIN = 1;
constexpr int TN_ODD_PAIRS = 0;

struct tn_args {
    const tn_half *in0;
    const int *in1;
    const tn_half *in2;
    tn_half *out0;
};

TN_DEV void tn_map(const tn_args &args, tn_index i) {
    const tn_index q0 = i / 2;
    const tn_index r1 = q0 % 6;
    const int v1 = tn_get(args.in1 + r1);
    const tn_index at2 = (tn_index)tn_data_index((long long)v1, 9);
    const tn_index q3 = i / 12;
    const tn_pack<tn_half, 2> p0_4 = tn_load<2, 2>(args.in0 + (q3 * 18 + at2 * 2));
    const tn_pack<tn_half, 2> p2_5 = tn_load<2, 2>(args.in2 + 0);
    tn_pack<tn_half, 2> y0;
    TN_UNROLL
    for (int lane = 0; lane < 2; ++lane) {
        const float v0 = tn_to_reg(p0_4[lane]);
        const float v2 = tn_to_reg(p2_5[lane]);
        const float v4 = v0 + v2; // add
        tn_from_reg(y0[lane], v4);
    }
    tn_store<2>(args.out0 + i, y0);
}

