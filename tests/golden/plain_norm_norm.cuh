// layer_norm_d3d067ab: norm BLOCK=128 TPR=8 VEC=4 REGS=1
//
//   layer_norm
//   %0 : f32[6,32] strides [32,1] align 16
//   %1 = layer_norm %0 axis=1 eps=1.0000000000000001e-05 : f32[6,32]
//   yield %1
//   out %1 strides [32,1] align 16
#pragma once
namespace tn_step_layer_norm_d3d067ab {
#define TN_KERNEL layer_norm_d3d067ab
typedef int tn_index;

constexpr int TN_BLOCK = 128;
constexpr int TN_TPR = 8;
constexpr int TN_VEC = 4;
#define TN_REGS 1
constexpr int TN_ROWS = 6;
constexpr int TN_COLS = 32;
constexpr int TN_STATIC = 1;
constexpr int TN_VEC_MAX = 4;
constexpr int TN_INNER = 1;
constexpr int TN_N_VEC = 1;
#define TN_CENTRE 1
#define TN_HAS_SCALE 0
#define TN_HAS_BIAS 0
constexpr double TN_EPS = 1.0000000000000001e-05;

struct tn_args {
    const float *in0;
    float *out0;
};

typedef float tn_val;
typedef float tn_acc;

TN_DEV void tn_load_x(const tn_args &args, tn_index row, tn_index col, float (&x)[4]) {
    const tn_pack<float, 4> p0_0 = tn_load<4, 4>(args.in0 + (row * 32 + col));
    TN_UNROLL
    for (int lane = 0; lane < 4; ++lane) {
        const float v0 = p0_0[lane];
        x[lane] = v0;
    }
}

TN_DEV void tn_epilogue(const tn_args &args, tn_index row, tn_index col, const float (&acc)[4]) {
    tn_pack<float, 4> y0;
    TN_UNROLL
    for (int lane = 0; lane < 4; ++lane) {
        y0[lane] = acc[lane];
    }
    tn_store<4>(args.out0 + (row * 32 + col), y0);
}

