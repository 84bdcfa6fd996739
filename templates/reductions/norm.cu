// norm.cu: layer norm and RMS norm over trailing axes; TPR threads share a row; mean and mean square in two passes.
// REGS: the row stays in registers between the passes; else it is read once a pass.
//! kernel  norm    y[row, :] = epilogue((x - mean) / sqrt(var + eps) * scale + bias)
//! knob    BLOCK  128 256 512
//! knob    TPR    8 32 128 256 512
//! knob    VEC    1 2 4 8
//! knob    REGS   0 1
//! require TPR <= 32 || TPR == BLOCK
//! require VEC % N_VEC == 0
//! require VEC == 1 || (COLS % VEC == 0 && VEC <= VEC_MAX)
//! require TPR == 8 || TPR * VEC < hint(COLS) * 2
//! require REGS == 0 || STATIC
//! require REGS == 0 || (COLS + TPR * VEC - 1) / (TPR * VEC) * VEC <= 64
#include "tn_device.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"

// (x - mean) * inv * scale + bias of VEC elements, into the epilogue.
TN_DEV void tn_finish_row(const tn_args &args, tn_index row, tn_index col, const tn_acc (&x)[TN_VEC], tn_acc mean, tn_acc inv) {
    tn_val y[TN_VEC];
#if TN_HAS_SCALE
    tn_scale scale[TN_VEC];
    tn_load_scale(args, row, col, scale);
#endif
#if TN_HAS_BIAS
    tn_bias bias[TN_VEC];
    tn_load_bias(args, row, col, bias);
#endif
    TN_UNROLL
    for (int i = 0; i < TN_VEC; ++i) {
        tn_acc v = (x[i] - mean) * inv;
#if TN_HAS_SCALE
        v *= (tn_acc)scale[i];
#endif
#if TN_HAS_BIAS
        v += (tn_acc)bias[i];
#endif
        y[i] = (tn_val)v;
    }
    tn_epilogue(args, row, col, y);
}

extern "C" __global__ void __launch_bounds__(TN_BLOCK) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_SHARED(tn_acc, scratch, [TN_BLOCK / 32]);
    TN_WAIT();
    const int lane = (int)threadIdx.x % TN_TPR;
    const tn_index row = (tn_index)blockIdx.x * (TN_BLOCK / TN_TPR) + (tn_index)threadIdx.x / TN_TPR;
    const bool live = row < TN_ROWS; // the others only take part in shuffles
    tn_acc mean = 0, square = 0;

#if TN_REGS
    constexpr int CHUNKS = (TN_COLS + TN_TPR * TN_VEC - 1) / (TN_TPR * TN_VEC);
    tn_acc v[CHUNKS][TN_VEC];
    TN_UNROLL
    for (int c = 0; c < CHUNKS; ++c) {
        const tn_index col = (c * TN_TPR + lane) * TN_VEC;
        tn_val x[TN_VEC];
        if (live && col < TN_COLS) tn_load_x(args, row, col, x);
        TN_UNROLL
        for (int i = 0; i < TN_VEC; ++i) {
            v[c][i] = live && col < TN_COLS ? (tn_acc)x[i] : (tn_acc)0;
            mean += v[c][i];
        }
    }
    mean = TN_CENTRE ? tn_row_reduce<tn_sum_op, TN_TPR, TN_BLOCK>(mean, scratch) / (tn_acc)TN_COLS : (tn_acc)0;
    TN_UNROLL
    for (int c = 0; c < CHUNKS; ++c) {
        TN_UNROLL
        for (int i = 0; i < TN_VEC; ++i) {
            const tn_acc d = v[c][i] - mean;
            if ((c * TN_TPR + lane) * TN_VEC < TN_COLS) square += d * d;
        }
    }
    square = tn_row_reduce<tn_sum_op, TN_TPR, TN_BLOCK>(square, scratch);
    const tn_acc inv = tn_rsqrt(square / (tn_acc)TN_COLS + (tn_acc)TN_EPS);
    TN_UNROLL
    for (int c = 0; c < CHUNKS; ++c) {
        const tn_index col = (c * TN_TPR + lane) * TN_VEC;
        if (live && col < TN_COLS) tn_finish_row(args, row, col, v[c], mean, inv);
    }
#else
    tn_val x[TN_VEC];
#if TN_CENTRE
    for (tn_index col = lane * TN_VEC; live && col < TN_COLS; col += TN_TPR * TN_VEC) {
        tn_load_x(args, row, col, x);
        TN_UNROLL
        for (int i = 0; i < TN_VEC; ++i) mean += (tn_acc)x[i];
    }
    mean = tn_row_reduce<tn_sum_op, TN_TPR, TN_BLOCK>(mean, scratch) / (tn_acc)TN_COLS;
#endif
    for (tn_index col = lane * TN_VEC; live && col < TN_COLS; col += TN_TPR * TN_VEC) {
        tn_load_x(args, row, col, x);
        TN_UNROLL
        for (int i = 0; i < TN_VEC; ++i) square += ((tn_acc)x[i] - mean) * ((tn_acc)x[i] - mean);
    }
    square = tn_row_reduce<tn_sum_op, TN_TPR, TN_BLOCK>(square, scratch);
    const tn_acc inv = tn_rsqrt(square / (tn_acc)TN_COLS + (tn_acc)TN_EPS);
    for (tn_index col = lane * TN_VEC; live && col < TN_COLS; col += TN_TPR * TN_VEC) {
        tn_acc v[TN_VEC];
        tn_load_x(args, row, col, x);
        TN_UNROLL
        for (int i = 0; i < TN_VEC; ++i) v[i] = (tn_acc)x[i];
        tn_finish_row(args, row, col, v, mean, inv);
    }
#endif
}
#include "tn_variant_end.cuh"
