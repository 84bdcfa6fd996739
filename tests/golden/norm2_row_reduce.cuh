// reduce_sum_mul_add_sqrt_48214c54: row_reduce BLOCK=128 TPR=32 VEC=1
//
//   reduce_sum
//   %0 : f32[5,33] strides [33,1] align 16
//   %1 : f32[5,1] strides [1,1] align 16
//   %2 = mul %0, %0 : f32[5,33]
//   %3 = reduce_sum %2 axes=[1] keepdims : f32[5,1]
//   %4 = add %3, %1 : f32[5,1]
//   %5 = sqrt %4 : f32[5,1]
//   yield %5
//   out %5 strides [1,1] align 16
#pragma once
namespace tn_step_reduce_sum_mul_add_sqrt_48214c54 {
#define TN_KERNEL reduce_sum_mul_add_sqrt_48214c54
typedef int tn_index;

constexpr int TN_BLOCK = 128;
constexpr int TN_TPR = 32;
constexpr int TN_VEC = 1;
constexpr int TN_ROWS = 5;
constexpr int TN_COLS = 33;
constexpr int TN_VEC_MAX = 4;
constexpr int TN_INNER = 1;

struct tn_args {
    const float *in0;
    const float *in1;
    float *out0;
};

typedef float tn_val;
typedef float tn_acc;
typedef tn_sum_op tn_combine;
TN_DEV tn_acc tn_finished(const tn_args &args, tn_acc acc) { return acc; }

TN_DEV void tn_load_x(const tn_args &args, tn_index row, tn_index col, float (&x)[1]) {
    const float v0 = tn_get(args.in0 + (row * 33 + col));
    const float v2 = tn_mul(v0, v0); // mul
    x[0] = v2;
}

TN_DEV void tn_epilogue(const tn_args &args, tn_index row, const float (&acc)[1]) {
    const float v1 = tn_get(args.in1 + row);
    const float v4 = acc[0] + v1; // add
    const float v5 = tn_sqrt(v4); // sqrt
    tn_put(args.out0 + row, v5);
}

