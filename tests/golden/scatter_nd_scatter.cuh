// scatter_nd_f1d49dd6: scatter BLOCK=128 ITEMS=1
//
//   scatter_nd
//   %0 : f32[4,5,64] strides [320,64,1] align 16
//   %1 : i64[9,2] strides [2,1] align 16
//   %2 : f32[9,64] strides [64,1] align 16
//   %3 = scatter_nd %0, %1, %2 : f32[4,5,64]
//   yield %3
//   out %3 strides [320,64,1] align 16
#pragma once
namespace tn_step_scatter_nd_f1d49dd6 {
#define TN_KERNEL scatter_nd_f1d49dd6
typedef int tn_index;

constexpr int TN_BLOCK = 128;
constexpr int TN_ITEMS = 1;
constexpr int TN_N = 1280;
constexpr int TN_COLS = 64;
constexpr int TN_ROWS_STEP = 20;
constexpr int TN_UPDATES_STEP = 9;

struct tn_args {
    const float *in0;
    const long long *in1;
    const float *in2;
    float *out0;
};

typedef float tn_val;
typedef float tn_acc;
TN_DEV tn_acc tn_combine(tn_acc a, tn_acc b) { return b; }

TN_DEV void tn_load_x(const tn_args &args, tn_index row, tn_index col, float (&x)[1]) {
    const float v0 = tn_get(args.in0 + (row * 64 + col));
    x[0] = v0;
}

TN_DEV void tn_load_u(const tn_args &args, tn_index u, tn_index col, float (&x)[1]) {
    const float v2 = tn_get(args.in2 + (u * 64 + col));
    x[0] = v2;
}

TN_DEV tn_index tn_target(const tn_args &args, tn_index u) {
    const long long v1 = tn_get(args.in1 + (u * 2));
    const bool ok0 = tn_has_index((long long)v1, 4);
    const tn_index at1 = (tn_index)tn_data_index((long long)v1, 4);
    const long long v1_2 = tn_get(args.in1 + (u * 2 + 1));
    const bool ok3 = ok0 && tn_has_index((long long)v1_2, 5);
    const tn_index at4 = (tn_index)tn_data_index((long long)v1_2, 5);
    return ok3 ? at1 * 5 + at4 : -1;
}

TN_DEV void tn_epilogue(const tn_args &args, tn_index row, tn_index col, const float (&acc)[1]) {
    tn_put(args.out0 + (row * 64 + col), acc[0]);
}

