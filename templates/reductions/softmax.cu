// softmax.cu: softmax and log-softmax along any axis; TPR threads share a row.  REGS: the row stays in registers between the
// passes; else it is read twice, the first time with a running maximum and sum.
//! kernel  softmax  y[row, :] = epilogue(softmax(x[row, :]))
//! knob    BLOCK  128 256 512
//! knob    TPR    1 8 32 128 256 512
//! knob    VEC    1 2 4 8
//! knob    REGS   0 1
//! require TPR <= 32 || TPR == BLOCK
//! require VEC == 1 || (COLS % VEC == 0 && VEC <= VEC_MAX)
//! require TPR == 1 || TPR * VEC < hint(COLS) * 2
//! require REGS == 0 || STATIC
//! require REGS == 0 || (COLS + TPR * VEC - 1) / (TPR * VEC) * VEC <= 64
#include "tn_device.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"

extern "C" __global__ void __launch_bounds__(TN_BLOCK) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_SHARED(tn_acc, scratch, [TN_BLOCK / 32]);
    TN_WAIT();
    const int lane = (int)threadIdx.x % TN_TPR;
    const tn_index row = (tn_index)blockIdx.x * (TN_BLOCK / TN_TPR) + (tn_index)threadIdx.x / TN_TPR;
    const bool live = row < TN_ROWS; // the others only take part in shuffles
    const tn_acc lowest = tn_limits<tn_acc>::lowest();
    tn_acc top = lowest, sum = 0;

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
            v[c][i] = live && col < TN_COLS ? (tn_acc)x[i] : lowest;
            top = tn_max_op::apply(top, v[c][i]);
        }
    }
    top = tn_row_reduce<tn_max_op, TN_TPR, TN_BLOCK>(top, scratch);
    TN_UNROLL
    for (int c = 0; c < CHUNKS; ++c) {
        TN_UNROLL
        for (int i = 0; i < TN_VEC; ++i) {
            const tn_acc shifted = v[c][i] - top, e = tn_exp(shifted);
            v[c][i] = TN_LOG ? shifted : e;
            sum += e; // columns behind the end are -inf and add 0
        }
    }
    sum = tn_row_reduce<tn_sum_op, TN_TPR, TN_BLOCK>(sum, scratch);
    const tn_acc scale = TN_LOG ? tn_log(sum) : 1 / sum;
    TN_UNROLL
    for (int c = 0; c < CHUNKS; ++c) {
        const tn_index col = (c * TN_TPR + lane) * TN_VEC;
        tn_val y[TN_VEC];
        TN_UNROLL
        for (int i = 0; i < TN_VEC; ++i) y[i] = (tn_val)(TN_LOG ? v[c][i] - scale : v[c][i] * scale);
        if (live && col < TN_COLS) tn_epilogue(args, row, col, y);
    }
#else
    if (live) {
        for (tn_index col = lane * TN_VEC; col < TN_COLS; col += TN_TPR * TN_VEC) {
            tn_val x[TN_VEC];
            tn_load_x(args, row, col, x);
            tn_acc now = top;
            TN_UNROLL
            for (int i = 0; i < TN_VEC; ++i) now = tn_max_op::apply(now, (tn_acc)x[i]);
            if (now != lowest) { // else all are -inf so far and the sum stays 0
                sum *= tn_exp(top - now);
                TN_UNROLL
                for (int i = 0; i < TN_VEC; ++i) sum += tn_exp((tn_acc)x[i] - now);
                top = now;
            }
        }
    }
    const tn_acc own = top;
    top = tn_row_reduce<tn_max_op, TN_TPR, TN_BLOCK>(top, scratch);
    sum = tn_row_reduce<tn_sum_op, TN_TPR, TN_BLOCK>(own == lowest ? (tn_acc)0 : sum * tn_exp(own - top), scratch);
    const tn_acc scale = TN_LOG ? tn_log(sum) : 1 / sum;
    if (live) {
        for (tn_index col = lane * TN_VEC; col < TN_COLS; col += TN_TPR * TN_VEC) {
            tn_val x[TN_VEC], y[TN_VEC];
            tn_load_x(args, row, col, x);
            TN_UNROLL
            for (int i = 0; i < TN_VEC; ++i) {
                const tn_acc shifted = (tn_acc)x[i] - top;
                y[i] = (tn_val)(TN_LOG ? shifted - scale : tn_exp(shifted) * scale);
            }
            tn_epilogue(args, row, col, y);
        }
    }
#endif
}
#include "tn_variant_end.cuh"
