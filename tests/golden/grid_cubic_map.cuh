// grid_sample_relu_50cd9278: map BLOCK=128 VEC=1 ITEMS=1
//
//   map
//   %0 : f32[2,3,7,9] strides [189,63,9,1] align 16
//   %1 : f32[2,4,5,2] strides [40,10,2,1] align 16
//   %2 = grid_sample %0, %1 mode=cubic padding=reflection align_corners : f32[2,3,4,5]
//   %3 = relu %2 : f32[2,3,4,5]
//   yield %3
//   out %3 strides [60,20,5,1] align 16
#pragma once
namespace tn_step_grid_sample_relu_50cd9278 {
#define TN_KERNEL grid_sample_relu_50cd9278
typedef int tn_index;

constexpr int TN_BLOCK = 128;
constexpr int TN_VEC = 1;
constexpr int TN_ITEMS = 1;
constexpr int TN_N = 120;
constexpr int TN_VEC_MAX = 4;
constexpr int TN_VEC_MIN = 1;
constexpr int TN_ODD_PAIRS = 0;

struct tn_args {
    const float *in0;
    const float *in1;
    float *out0;
};

TN_DEV void tn_map(const tn_args &args, tn_index i) {
    const tn_index q0 = i / 60;
    const tn_index r1 = i % 20;
    const float v1 = tn_get(args.in1 + (q0 * 40 + r1 * 2 + 1));
    const float g2 = tn_grid_coordinate<false, true, TN_PAD_REFLECTION>((float)v1, (float)7);
    const float first2 = tn_floor(g2) - 1;
    const tn_index i3 = tn_grid_index<true, TN_PAD_REFLECTION, tn_index>(first2 + 0, 7);
    const float w2_0 = tn_cubic_weight<float>(first2 + 0 - g2, -0.75);
    const tn_index i4 = tn_grid_index<true, TN_PAD_REFLECTION, tn_index>(first2 + 1, 7);
    const float w2_1 = tn_cubic_weight<float>(first2 + 1 - g2, -0.75);
    const tn_index i5 = tn_grid_index<true, TN_PAD_REFLECTION, tn_index>(first2 + 2, 7);
    const float w2_2 = tn_cubic_weight<float>(first2 + 2 - g2, -0.75);
    const tn_index i6 = tn_grid_index<true, TN_PAD_REFLECTION, tn_index>(first2 + 3, 7);
    const float w2_3 = tn_cubic_weight<float>(first2 + 3 - g2, -0.75);
    const float v1_7 = tn_get(args.in1 + (q0 * 40 + r1 * 2));
    const float g8 = tn_grid_coordinate<false, true, TN_PAD_REFLECTION>((float)v1_7, (float)9);
    const float first8 = tn_floor(g8) - 1;
    const tn_index i9 = tn_grid_index<true, TN_PAD_REFLECTION, tn_index>(first8 + 0, 9);
    const float w8_0 = tn_cubic_weight<float>(first8 + 0 - g8, -0.75);
    const tn_index i10 = tn_grid_index<true, TN_PAD_REFLECTION, tn_index>(first8 + 1, 9);
    const float w8_1 = tn_cubic_weight<float>(first8 + 1 - g8, -0.75);
    const tn_index i11 = tn_grid_index<true, TN_PAD_REFLECTION, tn_index>(first8 + 2, 9);
    const float w8_2 = tn_cubic_weight<float>(first8 + 2 - g8, -0.75);
    const tn_index i12 = tn_grid_index<true, TN_PAD_REFLECTION, tn_index>(first8 + 3, 9);
    const float w8_3 = tn_cubic_weight<float>(first8 + 3 - g8, -0.75);
    const tn_index q13 = i / 20;
    const float v0 = tn_get(args.in0 + (q13 * 63 + i3 * 9 + i9));
    const float v0_14 = tn_get(args.in0 + (q13 * 63 + i3 * 9 + i10));
    const float v0_15 = tn_get(args.in0 + (q13 * 63 + i3 * 9 + i11));
    const float v0_16 = tn_get(args.in0 + (q13 * 63 + i3 * 9 + i12));
    const float v0_17 = tn_get(args.in0 + (q13 * 63 + i4 * 9 + i9));
    const float v0_18 = tn_get(args.in0 + (q13 * 63 + i4 * 9 + i10));
    const float v0_19 = tn_get(args.in0 + (q13 * 63 + i4 * 9 + i11));
    const float v0_20 = tn_get(args.in0 + (q13 * 63 + i4 * 9 + i12));
    const float v0_21 = tn_get(args.in0 + (q13 * 63 + i5 * 9 + i9));
    const float v0_22 = tn_get(args.in0 + (q13 * 63 + i5 * 9 + i10));
    const float v0_23 = tn_get(args.in0 + (q13 * 63 + i5 * 9 + i11));
    const float v0_24 = tn_get(args.in0 + (q13 * 63 + i5 * 9 + i12));
    const float v0_25 = tn_get(args.in0 + (q13 * 63 + i6 * 9 + i9));
    const float v0_26 = tn_get(args.in0 + (q13 * 63 + i6 * 9 + i10));
    const float v0_27 = tn_get(args.in0 + (q13 * 63 + i6 * 9 + i11));
    const float v0_28 = tn_get(args.in0 + (q13 * 63 + i6 * 9 + i12));
    const float v2 = (float)(tn_tap(w8_0 * w2_0, (float)v0) + tn_tap(w8_1 * w2_0, (float)v0_14) + tn_tap(w8_2 * w2_0, (float)v0_15) + tn_tap(w8_3 * w2_0, (float)v0_16) + tn_tap(w8_0 * w2_1, (float)v0_17) + tn_tap(w8_1 * w2_1, (float)v0_18) + tn_tap(w8_2 * w2_1, (float)v0_19) + tn_tap(w8_3 * w2_1, (float)v0_20) + tn_tap(w8_0 * w2_2, (float)v0_21) + tn_tap(w8_1 * w2_2, (float)v0_22) + tn_tap(w8_2 * w2_2, (float)v0_23) + tn_tap(w8_3 * w2_2, (float)v0_24) + tn_tap(w8_0 * w2_3, (float)v0_25) + tn_tap(w8_1 * w2_3, (float)v0_26) + tn_tap(w8_2 * w2_3, (float)v0_27) + tn_tap(w8_3 * w2_3, (float)v0_28)); // grid_sample
    const float v3 = tn_max(v2, (float)0); // relu
    tn_put(args.out0 + i, v3);
}

