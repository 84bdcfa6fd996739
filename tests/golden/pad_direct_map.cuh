// pad_eb05e344: map BLOCK=128 VEC=8 ITEMS=1
//
//   map
//   %0 : f16[1,4,6,8] strides [192,48,8,1] align 16
//   %1 = pad %0 before=[0,1,1,0] after=[0,1,1,0] mode=constant : f16[1,6,8,8]
//   yield %1
//   out %1 strides [384,64,8,1] align 16
#pragma once
namespace tn_step_pad_eb05e344 {
#define TN_KERNEL pad_eb05e344
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
    tn_half *out0;
};

TN_DEV void tn_map(const tn_args &args, tn_index i) {
    const tn_index q0 = i / 64;
    const bool ok1 = q0 >= 1;
    const bool ok2 = ok1 && q0 < 5;
    const tn_index q3 = i / 8;
    const tn_index r4 = q3 % 8;
    const bool ok5 = ok2 && r4 >= 1;
    const bool ok6 = ok5 && r4 < 7;
    tn_pack<tn_half, 8> p0_7 = {};
    if (ok6) p0_7 = tn_load<8, 8>(args.in0 + (r4 * 8 + q0 * 48 - 56));
    tn_pack<tn_half, 8> y0;
    TN_UNROLL
    for (int lane = 0; lane < 8; ++lane) {
        const float v0 = tn_to_reg(p0_7[lane]);
        tn_from_reg(y0[lane], v0);
    }
    tn_store<8>(args.out0 + i, y0);
}

