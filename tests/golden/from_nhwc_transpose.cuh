// transpose_add_76b152f2: transpose TILE=32 ROWS=8
//
//   map
//   %0 : f16[2,6,6,33] strides [1188,198,33,1] align 16
//   %1 : f16[2,33,6,6] strides [1188,36,6,1] align 16
//   %2 = transpose %0 perm=[0,3,1,2] : f16[2,33,6,6]
//   %3 = add %2, %1 : f16[2,33,6,6]
//   yield %3
//   out %3 strides [1188,36,6,1] align 16
#pragma once
namespace tn_step_transpose_add_76b152f2 {
#define TN_KERNEL transpose_add_76b152f2
typedef int tn_index;

constexpr int TN_TILE = 32;
constexpr int TN_ROWS = 8;
constexpr int TN_B = 2;
constexpr int TN_R = 33;
constexpr int TN_C = 36;

struct tn_args {
    const tn_half *in0;
    const tn_half *in1;
    tn_half *out0;
};

typedef float tn_val;

TN_DEV void tn_load_x(const tn_args &args, tn_index b, tn_index r, tn_index c, float (&x)[1]) {
    const float v0 = tn_get(args.in0 + (b * 1188 + r + c * 33));
    x[0] = v0;
}

TN_DEV void tn_epilogue(const tn_args &args, tn_index b, tn_index r, tn_index c, const float (&acc)[1]) {
    const float v1 = tn_get(args.in1 + (b * 1188 + r * 36 + c));
    const float v3 = acc[0] + v1; // add
    tn_put(args.out0 + (b * 1188 + r * 36 + c), v3);
}

