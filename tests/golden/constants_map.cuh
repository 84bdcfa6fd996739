// mul_add_61cb0119: map BLOCK=128 VEC=1 ITEMS=1
//
//   map
//   %0 : f32[4,16] strides [16,1] align 16
//   %1 : f32[16] strides [1] align 256 const
//   %2 = const data=c98dd7ed5d5dfd9b : f32[]
//   %3 = mul %0, %2 : f32[4,16]
//   %4 = add %3, %1 : f32[4,16]
//   yield %4
//   out %4 strides [16,1] align 16
#pragma once
namespace tn_step_mul_add_61cb0119 {
#define TN_KERNEL mul_add_61cb0119
typedef int tn_index;

constexpr int TN_BLOCK = 128;
constexpr int TN_VEC = 1;
constexpr int TN_ITEMS = 1;
constexpr int TN_N = 64;
constexpr int TN_VEC_MAX = 4;
constexpr int TN_VEC_MIN = 1;
constexpr int TN_ODD_PAIRS = 0;

struct tn_args {
    const float *in0;
    const float *in1; // constant
    float *out0;
};

TN_DEV void tn_map(const tn_args &args, tn_index i) {
    const float v0 = tn_get(args.in0 + i);
    const float v3 = tn_mul(v0, 0.5f); // mul
    const tn_index r0 = i % 16;
    const float v1 = tn_get_const(args.in1 + r0);
    const float v4 = v3 + v1; // add
    tn_put(args.out0 + i, v4);
}

