// tn_cell.cuh: one unit of a recurrent layer's cell: from its gates' sums to its next state.
//
// TN_CELL: which; TN_CLIP: bound of what gates are functions of, 0: none; TN_COUPLE: an lstm forgets what it does not take in.
#pragma once
#include "tn_math.cuh"

enum { TN_RNN_TANH, TN_RNN_RELU, TN_GRU, TN_GRU_LINEAR, TN_LSTM };


template <typename T> TN_DEV T tn_clipped(T v) {
    const T most = (T)TN_CLIP;
    return TN_CLIP > 0 ? v > most ? most : v < -most ? -most : v : v;
}
// TN_FAST_CELL: for states of 16 bits: errors of 1e-7, however small the value.
#if defined(TN_FAST_CELL) && !defined(TN_HOST)
TN_DEV float tn_cell_sigmoid(float v) { return __fdividef(1.0f, 1.0f + __expf(-v)); }
TN_DEV float tn_cell_tanh(float v) { return 1.0f - __fdividef(2.0f, 1.0f + __expf(2.0f * v)); }
#else
template <typename T> TN_DEV T tn_cell_sigmoid(T v) { return tn_sigmoid(v); }
template <typename T> TN_DEV T tn_cell_tanh(T v) { return tn_tanh(v); }
#endif
template <typename T> TN_DEV T tn_gate(T v) { return tn_cell_sigmoid(tn_clipped(v)); }

// What a unit has for itself: a bias of its last gate's recurrent share, or an lstm's peepholes of i, o and f.
template <typename T> struct tn_unit {
    T own[3];
};

// x: the input's share of each gate, r: the recurrent one.  Gates stand in ONNX's order: z r n; i o f c.
template <typename T>
TN_DEV void tn_cell_step(const T (&x)[TN_GATES], const T (&r)[TN_GATES], const tn_unit<T> &unit, T &h, T &c) {
    if constexpr (TN_CELL == TN_RNN_TANH) {
        h = tn_cell_tanh(tn_clipped(x[0] + r[0]));
    } else if constexpr (TN_CELL == TN_RNN_RELU) {
        const T v = tn_clipped(x[0] + r[0]);
        h = v > 0 || v != v ? v : (T)0;
    } else if constexpr (TN_CELL == TN_GRU_LINEAR) {
        const T z = tn_gate(x[0] + r[0]), reset = tn_gate(x[1] + r[1]);
        const T n = tn_cell_tanh(tn_clipped(x[2] + reset * (r[2] + unit.own[0])));
        h = ((T)1 - z) * n + z * h;
    } else if constexpr (TN_CELL == TN_LSTM) {
        const T i = tn_gate(x[0] + r[0] + unit.own[0] * c);
        const T f = TN_COUPLE ? (T)1 - i : tn_gate(x[2] + r[2] + unit.own[2] * c);
        c = f * c + i * tn_cell_tanh(tn_clipped(x[3] + r[3]));
        h = tn_gate(x[1] + r[1] + unit.own[1] * c) * tn_cell_tanh(c);
    }
}

// Rounded as it is stored.
template <typename E, typename T> TN_DEV T tn_as_stored(T v) {
    E e;
    tn_from_reg(e, v);
    return tn_to_reg(e);
}

TN_DEV void tn_load_unit(const tn_args &args, tn_index d, tn_index u, tn_unit<tn_acc> &unit) {
    TN_UNROLL
    for (int k = 0; k < 3; k++) unit.own[k] = (tn_acc)0;
#if TN_HAS_OWN
    TN_UNROLL
    for (int k = 0; k < (TN_CELL == TN_LSTM ? 3 : 1); k++) {
        tn_acc v[1];
        tn_load_own(args, d, (tn_index)k * TN_H + u, v);
        unit.own[k] = v[0];
    }
#endif
}

// Sequence b goes on at step t.
TN_DEV bool tn_goes_on(const tn_args &args, tn_index b, tn_index t) {
#if TN_HAS_LENGTHS
    tn_length v[1];
    tn_load_length(args, b, v);
    return (long long)t < (long long)v[0];
#else
    return true;
#endif
}
