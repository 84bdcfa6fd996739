// pool.cu: max and average pooling over one to three spatial axes, in either layout; one output position a thread, VEC
// neighbouring channels of it where channels are innermost.
//! kernel  pool    y[n, o, c] = epilogue(max or mean of the window of x at o)
//! knob    BLOCK  64 128 256
//! knob    VEC    1 2 4 8
//! require VEC == 1 || (NHWC && C % VEC == 0 && VEC <= VEC_MAX)
#include "tn_device.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"

#if TN_KD * TN_KH * TN_KW <= 32
#define TN_WINDOW_LOOP TN_UNROLL
#else
#define TN_WINDOW_LOOP _Pragma("unroll 1")
#endif

extern "C" __global__ void __launch_bounds__(TN_BLOCK) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_WAIT();
    tn_index i = (tn_index)blockIdx.x * TN_BLOCK + (tn_index)threadIdx.x;
    if (i >= (tn_index)TN_N * TN_OD * TN_OH * TN_OW * (TN_C / TN_VEC)) return;
#if TN_NHWC
    const tn_index c = i % (TN_C / TN_VEC) * TN_VEC;
    i /= TN_C / TN_VEC;
#endif
    const tn_index ow = i % TN_OW;
    i /= TN_OW;
    const tn_index oh = i % TN_OH;
    i /= TN_OH;
    const tn_index od = i % TN_OD;
    i /= TN_OD;
#if !TN_NHWC
    const tn_index c = i % TN_C;
    i /= TN_C;
#endif
    const tn_index n = i;
    tn_acc acc[TN_VEC];
    TN_UNROLL
    for (int v = 0; v < TN_VEC; ++v) acc[v] = tn_combine::identity<tn_acc>();
    int count = 0; // taps on the input, or on the input and its padding
    TN_WINDOW_LOOP
    for (int kd = 0; kd < TN_KD; ++kd) {
        TN_WINDOW_LOOP
        for (int kh = 0; kh < TN_KH; ++kh) {
            TN_WINDOW_LOOP
            for (int kw = 0; kw < TN_KW; ++kw) {
                const tn_index d = od * TN_SD - TN_PD + kd * TN_DD, h = oh * TN_SH - TN_PH + kh * TN_DH,
                               w = ow * TN_SW - TN_PW + kw * TN_DW;
                const bool inside = d >= 0 && d < TN_D && h >= 0 && h < TN_H && w >= 0 && w < TN_W;
#if TN_COUNT_PAD
                count += d < TN_D + TN_PD_AFTER && h < TN_H + TN_PH_AFTER && w < TN_W + TN_PW_AFTER;
#else
                count += inside;
#endif
                if (inside) {
                    tn_val x[TN_VEC];
                    tn_load_x(args, n, d, h, w, c, x);
                    TN_UNROLL
                    for (int v = 0; v < TN_VEC; ++v) acc[v] = tn_combine::apply(acc[v], (tn_acc)x[v]);
                }
            }
        }
    }
    tn_val y[TN_VEC];
    TN_UNROLL
    for (int v = 0; v < TN_VEC; ++v) y[v] = (tn_val)(TN_MEAN ? acc[v] / (tn_acc)(count > 0 ? count : 1) : acc[v]);
    tn_epilogue(args, n, od, oh, ow, c, y);
}
#undef TN_WINDOW_LOOP
#include "tn_variant_end.cuh"
