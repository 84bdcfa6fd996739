// conv_depthwise.cu: depthwise NHWC convolution (1-D or 2-D): every input channel has its own MULT filters.
//
// A thread computes a TH x TW patch of output pixels for VEC consecutive output channels in float32: each input position is loaded once
// and used for every output pixel of the patch that it belongs to.  Neighbouring threads take neighbouring channel vectors (CB of
// them a block), then neighbouring patches.  The block's filters stand in shared memory as [tap][channel], transposed from
// [channel][tap] while waiting for the predecessor.
//
//! kernel  conv_depthwise  direct depthwise convolution, NHWC
//! knob    VEC      1 2 4 8
//! knob    TW       1 2 4 8
//! knob    TH       1 2
//! knob    CB       4 8 16 32
//! knob    THREADS  64 128 256
//! require N_TOTAL % VEC == 0 && VEC % MULT == 0 && VEC * ELT <= 16 && VEC / MULT <= C_VEC
//! require VEC * TW * TH <= 64 && R * S * VEC * TW * TH <= 4096
//! require TW / 2 < hint(OW) && TH / 2 < hint(OH) && CB / 2 * VEC < N_TOTAL
//! require R * S * CB * VEC * 4 <= SMEM_MAX
#include "tn_mma.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"
#include "tn_finish.cuh"

constexpr int VEC = TN_VEC, TW = TN_TW, TH = TN_TH, CB = TN_CB, THREADS = TN_THREADS;
constexpr int R = TN_R, S = TN_S, TAPS = R * S, BLOCK_C = CB * VEC, PATCHES = THREADS / CB;
constexpr int IN_VEC = VEC / TN_MULT;
constexpr int IN_H = (TH - 1) * TN_STRIDE_H + (R - 1) * TN_DILATION_H + 1; // input positions under a patch
constexpr int IN_W = (TW - 1) * TN_STRIDE_W + (S - 1) * TN_DILATION_W + 1;

// The tap that reads input position `in` of the patch for output position `out`; -1 if none does.
TN_DEV constexpr int tap_of(int in, int out, int stride, int dilation, int taps) {
    const int d = in - out * stride;
    return d >= 0 && d % dilation == 0 && d / dilation < taps ? d / dilation : -1;
}
TN_DEV constexpr bool any_tap(int in, int outs, int stride, int dilation, int taps) {
    for (int o = 0; o < outs; o++)
        if (tap_of(in, o, stride, dilation, taps) >= 0) return true;
    return false;
}

TN_DEV void load_filters(const tn_args &args, int channel0, float *filters) {
    for (int i = (int)threadIdx.x; i < BLOCK_C * TAPS; i += THREADS) {
        const int c = i / TAPS, tap = i % TAPS;
        float w[1] = {0.0f};
        if (channel0 + c < TN_N_TOTAL) tn_load_f(args, channel0 + c, tap, w);
        filters[tap * BLOCK_C + c] = w[0];
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_DYNAMIC_SMEM(memory);
    float *filters = (float *)memory;
    const int channel0 = (int)blockIdx.y * BLOCK_C;
    if (!TN_F_CONST) TN_WAIT();
    load_filters(args, channel0, filters);
    if (TN_F_CONST) TN_WAIT();
    __syncthreads();

    const int lane = (int)threadIdx.x % CB, channel = channel0 + lane * VEC;
    const int patch = (int)blockIdx.x * PATCHES + (int)threadIdx.x / CB;
    const int across = ((int)TN_OW + TW - 1) / TW, down = ((int)TN_OH + TH - 1) / TH;
    const int row = patch / across, image = row / down;
    if (channel >= TN_N_TOTAL || image >= (int)TN_IMAGES) return;
    const int oh = (row - image * down) * TH, ow = (patch - row * across) * TW;

    float acc[TH][TW][VEC];
    TN_UNROLL
    for (int i = 0; i < TH; i++)
        TN_UNROLL
        for (int j = 0; j < TW; j++)
            TN_UNROLL
            for (int v = 0; v < VEC; v++) acc[i][j][v] = 0.0f;

    TN_UNROLL
    for (int y = 0; y < IN_H; y++) {
        if (!any_tap(y, TH, TN_STRIDE_H, TN_DILATION_H, R)) continue;
        const int ih = oh * TN_STRIDE_H - TN_PAD_H + y;
        TN_UNROLL
        for (int x = 0; x < IN_W; x++) {
            if (!any_tap(x, TW, TN_STRIDE_W, TN_DILATION_W, S)) continue;
            const int iw = ow * TN_STRIDE_W - TN_PAD_W + x;
            float in[IN_VEC];
            TN_UNROLL
            for (int v = 0; v < IN_VEC; v++) in[v] = 0.0f;
            if ((unsigned)ih < (unsigned)TN_H && (unsigned)iw < (unsigned)TN_W)
                tn_load_x(args, image, ih, iw, channel / TN_MULT, in);
            TN_UNROLL
            for (int i = 0; i < TH; i++) {
                const int r = tap_of(y, i, TN_STRIDE_H, TN_DILATION_H, R);
                TN_UNROLL
                for (int j = 0; j < TW; j++) {
                    const int s = tap_of(x, j, TN_STRIDE_W, TN_DILATION_W, S);
                    if (r < 0 || s < 0) continue;
                    const float *w = filters + (r * S + s) * BLOCK_C + lane * VEC;
                    TN_UNROLL
                    for (int v = 0; v < VEC; v++) acc[i][j][v] += in[v / TN_MULT] * w[v];
                }
            }
        }
    }

    TN_UNROLL
    for (int i = 0; i < TH; i++) {
        TN_UNROLL
        for (int j = 0; j < TW; j++) {
            if (oh + i < (int)TN_OH && ow + j < (int)TN_OW)
                tn_finish(args, 0, (image * (int)TN_OH + oh + i) * (int)TN_OW + ow + j, channel, acc[i][j]);
        }
    }
}
#include "tn_variant_end.cuh"
