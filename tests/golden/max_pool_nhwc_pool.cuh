// max_pool_16528c47: pool BLOCK=128 VEC=8
//
//   max_pool
//   %0 : f16[2,9,9,16] strides [1296,144,16,1] align 16
//   %1 = max_pool %0 kernel=[3,3] strides=[2,2] pads=[1,1,1,1] layout=nhwc : f16[2,5,5,16]
//   yield %1
//   out %1 strides [400,80,16,1] align 16
#pragma once
namespace tn_step_max_pool_16528c47 {
#define TN_KERNEL max_pool_16528c47
typedef int tn_index;

constexpr int TN_BLOCK = 128;
constexpr int TN_VEC = 8;
#define TN_KD 1
constexpr int TN_SD = 1;
constexpr int TN_PD = 0;
constexpr int TN_PD_AFTER = 0;
constexpr int TN_DD = 1;
constexpr int TN_D = 1;
constexpr int TN_OD = 1;
#define TN_KH 3
constexpr int TN_SH = 2;
constexpr int TN_PH = 1;
constexpr int TN_PH_AFTER = 1;
constexpr int TN_DH = 1;
constexpr int TN_H = 9;
constexpr int TN_OH = 5;
#define TN_KW 3
constexpr int TN_SW = 2;
constexpr int TN_PW = 1;
constexpr int TN_PW_AFTER = 1;
constexpr int TN_DW = 1;
constexpr int TN_W = 9;
constexpr int TN_OW = 5;
constexpr int TN_N = 2;
constexpr int TN_C = 16;
#define TN_NHWC 1
constexpr int TN_MEAN = 0;
#define TN_COUNT_PAD 0
constexpr int TN_VEC_MAX = 8;

struct tn_args {
    const tn_half *in0;
    tn_half *out0;
};

typedef float tn_val;
typedef float tn_acc;
typedef tn_max_op tn_combine;

TN_DEV void tn_load_x(const tn_args &args, tn_index n, tn_index d, tn_index h, tn_index w, tn_index c, float (&x)[8]) {
    const tn_pack<tn_half, 8> p0_0 = tn_load<8, 8>(args.in0 + (n * 1296 + h * 144 + w * 16 + c));
    TN_UNROLL
    for (int lane = 0; lane < 8; ++lane) {
        const float v0 = tn_to_reg(p0_0[lane]);
        x[lane] = v0;
    }
}

TN_DEV void tn_epilogue(const tn_args &args, tn_index n, tn_index d, tn_index h, tn_index w, tn_index c, const float (&acc)[8]) {
    tn_pack<tn_half, 8> y0;
    TN_UNROLL
    for (int lane = 0; lane < 8; ++lane) {
        tn_from_reg(y0[lane], acc[lane]);
    }
    tn_store<8>(args.out0 + (n * 400 + h * 80 + w * 16 + c), y0);
}

