// resize_add_2fbad13b: map BLOCK=128 VEC=8 ITEMS=1
//
//   map
//   %0 : f16[1,4,4,16] strides [256,64,16,1] align 16
//   %1 : f16[1,8,8,16] strides [1024,128,16,1] align 16
//   %2 = resize %0 sizes=[1,8,8,16] scales=[1,2,2,1] mode=nearest coords=asymmetric nearest=floor : f16[1,8,8,16]
//   %3 = add %2, %1 : f16[1,8,8,16]
//   yield %3
//   out %3 strides [1024,128,16,1] align 16
#pragma once
namespace tn_step_resize_add_2fbad13b {
#define TN_KERNEL resize_add_2fbad13b
typedef int tn_index;

constexpr int TN_BLOCK = 128;
constexpr int TN_VEC = 8;
constexpr int TN_ITEMS = 1;
constexpr int TN_N = 1024;
constexpr int TN_VEC_MAX = 8;
constexpr int TN_VEC_MIN = 1;
constexpr int TN_ODD_PAIRS = 0;

struct tn_args {
    const tn_half *in0;
    const tn_half *in1;
    tn_half *out0;
};

TN_DEV void tn_map(const tn_args &args, tn_index i) {
    const tn_index r0 = i % 16;
    const tn_index q1 = i / 256;
    const tn_index q2 = i / 32;
    const tn_index r3 = q2 % 4;
    const tn_pack<tn_half, 8> p0_4 = tn_load<8, 8>(args.in0 + (r0 + q1 * 64 + r3 * 16));
    const tn_pack<tn_half, 8> p1_5 = tn_load<8, 8>(args.in1 + i);
    tn_pack<tn_half, 8> y0;
    TN_UNROLL
    for (int lane = 0; lane < 8; ++lane) {
        const float v0 = tn_to_reg(p0_4[lane]);
        const float v1 = tn_to_reg(p1_5[lane]);
        const float v3 = v0 + v1; // add
        tn_from_reg(y0[lane], v3);
    }
    tn_store<8>(args.out0 + i, y0);
}

