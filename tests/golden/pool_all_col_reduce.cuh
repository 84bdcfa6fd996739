// reduce_mean_d0f938b9: col_reduce BX=32 BY=4 VEC=2
//
//   reduce_mean
//   %0 : f16[2,7,7,64] strides [3136,448,64,1] align 16
//   %1 = reduce_mean %0 axes=[1,2] keepdims : f16[2,1,1,64]
//   yield %1
//   out %1 strides [64,64,64,1] align 16
#pragma once
namespace tn_step_reduce_mean_d0f938b9 {
#define TN_KERNEL reduce_mean_d0f938b9
typedef int tn_index;

constexpr int TN_BX = 32;
constexpr int TN_BY = 4;
constexpr int TN_VEC = 2;
constexpr int TN_OUTER = 2;
constexpr int TN_ROWS = 49;
constexpr int TN_COLS = 49;
constexpr int TN_INNER = 64;
constexpr int TN_VEC_MAX = 8;

struct tn_args {
    const tn_half *in0;
    tn_half *out0;
};

typedef float tn_val;
typedef float tn_acc;
typedef tn_sum_op tn_combine;
TN_DEV tn_acc tn_finished(const tn_args &args, tn_acc acc) { return acc / (tn_acc)TN_COLS; }

TN_DEV void tn_load_x(const tn_args &args, tn_index o, tn_index r, tn_index n, float (&x)[2]) {
    const tn_pack<tn_half, 2> p0_0 = tn_load<2, 2>(args.in0 + (o * 3136 + r * 64 + n));
    TN_UNROLL
    for (int lane = 0; lane < 2; ++lane) {
        const float v0 = tn_to_reg(p0_0[lane]);
        x[lane] = v0;
    }
}

TN_DEV void tn_epilogue(const tn_args &args, tn_index o, tn_index n, const float (&acc)[2]) {
    tn_pack<tn_half, 2> y0;
    TN_UNROLL
    for (int lane = 0; lane < 2; ++lane) {
        tn_from_reg(y0[lane], acc[lane]);
    }
    tn_store<2>(args.out0 + (o * 64 + n), y0);
}

