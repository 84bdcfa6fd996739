// conv_relu_51bc45cf: conv_direct BLOCK=128 OC=4
//
//   conv
//   %0 : f32[2,3,9,8] strides [216,72,8,1] align 16
//   %1 : f32[8,3,3,3] strides [27,9,3,1] align 16
//   %2 : f32[8] strides [1] align 16
//   %3 = conv %0, %1, %2 strides=[2,2] pads=[1,1,1,1] : f32[2,8,5,4]
//   %4 = relu %3 : f32[2,8,5,4]
//   yield %4
//   out %4 strides [160,20,4,1] align 16
#pragma once
namespace tn_step_conv_relu_51bc45cf {
#define TN_KERNEL conv_relu_51bc45cf
typedef int tn_index;

constexpr int TN_BLOCK = 128;
constexpr int TN_OC = 4;
constexpr int TN_KD = 1;
constexpr int TN_SD = 1;
constexpr int TN_PD = 0;
constexpr int TN_PD_AFTER = 0;
constexpr int TN_DD = 1;
constexpr int TN_D = 1;
constexpr int TN_OD = 1;
constexpr int TN_KH = 3;
constexpr int TN_SH = 2;
constexpr int TN_PH = 1;
constexpr int TN_PH_AFTER = 1;
constexpr int TN_DH = 1;
constexpr int TN_H = 9;
constexpr int TN_OH = 5;
constexpr int TN_KW = 3;
constexpr int TN_SW = 2;
constexpr int TN_PW = 1;
constexpr int TN_PW_AFTER = 1;
constexpr int TN_DW = 1;
constexpr int TN_W = 8;
constexpr int TN_OW = 4;
constexpr int TN_N = 2;
constexpr int TN_C = 3;
#define TN_NHWC 0
constexpr int TN_O = 8;
constexpr int TN_OG = 8;
constexpr int TN_CG = 3;
#define TN_HAS_BIAS 1

struct tn_args {
    const float *in0;
    const float *in1;
    const float *in2;
    float *out0;
};

typedef float tn_left;
typedef float tn_right;
typedef float tn_val;
typedef float tn_acc;
typedef float tn_bias;

TN_DEV void tn_load_x(const tn_args &args, tn_index n, tn_index d, tn_index h, tn_index w, tn_index c, float (&x)[1]) {
    const float v0 = tn_get(args.in0 + (n * 216 + h * 8 + w + c * 72));
    x[0] = v0;
}

TN_DEV void tn_load_w(const tn_args &args, tn_index c, tn_index d, tn_index h, tn_index w, tn_index oc, float (&x)[4]) {
    TN_UNROLL
    for (int lane = 0; lane < 4; ++lane) {
        const float v1 = tn_get(args.in1 + (lane * 27 + c * 9 + h * 3 + w + oc * 27));
        x[lane] = v1;
    }
}

TN_DEV void tn_load_bias(const tn_args &args, tn_index oc, float (&x)[4]) {
    const tn_pack<float, 4> p2_0 = tn_load<4, 4>(args.in2 + oc);
    TN_UNROLL
    for (int lane = 0; lane < 4; ++lane) {
        const float v2 = p2_0[lane];
        x[lane] = v2;
    }
}

TN_DEV void tn_epilogue(const tn_args &args, tn_index n, tn_index d, tn_index h, tn_index w, tn_index oc, const float (&acc)[4]) {
    TN_UNROLL
    for (int lane = 0; lane < 4; ++lane) {
        const float v4 = tn_max(acc[lane], (float)0); // relu
        tn_put(args.out0 + (lane * 20 + n * 160 + h * 4 + w + oc * 20), v4);
    }
}

