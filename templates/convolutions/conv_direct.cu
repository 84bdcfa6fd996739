// conv_direct.cu: convolution of any rank, layout, grouping, dilation and dtype: one output position and OC neighbouring
// output channels a thread.  The kernel that is always there; tensor-core and tiled ones are faster where they apply.
//! kernel  conv_direct  y[n, o, oc] = epilogue(bias + sum of x * w)
//! knob    BLOCK  64 128 256
//! knob    OC     1 2 4 8
//! require OC == 1 || OG % OC == 0
#include "tn_device.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"

extern "C" __global__ void __launch_bounds__(TN_BLOCK) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_WAIT();
    tn_index i = (tn_index)blockIdx.x * TN_BLOCK + (tn_index)threadIdx.x;
    if (i >= (tn_index)TN_N * TN_OD * TN_OH * TN_OW * (TN_O / TN_OC)) return;
#if TN_NHWC
    const tn_index oc = i % (TN_O / TN_OC) * TN_OC;
    i /= TN_O / TN_OC;
#endif
    const tn_index ow = i % TN_OW;
    i /= TN_OW;
    const tn_index oh = i % TN_OH;
    i /= TN_OH;
    const tn_index od = i % TN_OD;
    i /= TN_OD;
#if !TN_NHWC
    const tn_index oc = i % (TN_O / TN_OC) * TN_OC;
    i /= TN_O / TN_OC;
#endif
    const tn_index n = i, first = oc / TN_OG * TN_CG; // of the group's input channels
    tn_acc acc[TN_OC];
    TN_UNROLL
    for (int j = 0; j < TN_OC; ++j) acc[j] = (tn_acc)0;
    for (int kd = 0; kd < TN_KD; ++kd) {
        const tn_index d = od * TN_SD - TN_PD + kd * TN_DD;
        if (d < 0 || d >= TN_D) continue;
        for (int kh = 0; kh < TN_KH; ++kh) {
            const tn_index h = oh * TN_SH - TN_PH + kh * TN_DH;
            if (h < 0 || h >= TN_H) continue;
            for (int kw = 0; kw < TN_KW; ++kw) {
                const tn_index w = ow * TN_SW - TN_PW + kw * TN_DW;
                if (w < 0 || w >= TN_W) continue;
                _Pragma("unroll 4")
                for (tn_index c = 0; c < TN_CG; ++c) {
                    tn_left x[1];
                    tn_right f[TN_OC];
                    tn_load_x(args, n, d, h, w, first + c, x);
                    tn_load_w(args, c, kd, kh, kw, oc, f);
                    TN_UNROLL
                    for (int j = 0; j < TN_OC; ++j) acc[j] = tn_mad((tn_acc)x[0], (tn_acc)f[j], acc[j]);
                }
            }
        }
    }
#if TN_HAS_BIAS
    tn_bias bias[TN_OC];
    tn_load_bias(args, oc, bias);
    TN_UNROLL
    for (int j = 0; j < TN_OC; ++j) acc[j] = tn_add(acc[j], (tn_acc)bias[j]);
#endif
    tn_val y[TN_OC];
    TN_UNROLL
    for (int j = 0; j < TN_OC; ++j) y[j] = (tn_val)acc[j];
    tn_epilogue(args, n, od, oh, ow, oc, y);
}
#include "tn_variant_end.cuh"
