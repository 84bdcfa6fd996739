/* window.h: the geometry of convolutions and pools as a node's attributes give it (conv.c), for windows.c. */
#ifndef TENON_ONNX_WINDOW_H
#define TENON_ONNX_WINDOW_H

#include "frontend/onnx/import.h"

/* Limits that keep the arithmetic on sizes and attributes within 64 bits. */
enum { TN_OI_SPATIAL = TN_MAX_RANK - 2, TN_OI_MAX_ATTR = 1 << 20 };

typedef struct tn_oi_window {
    tn_val in; /* what the windows lie over, [N, C, spatial]: auto_pad wants its sizes */
    size_t n;  /* spatial axes */
    int64_t kernel[TN_OI_SPATIAL], strides[TN_OI_SPATIAL], dilations[TN_OI_SPATIAL], pads[2 * TN_OI_SPATIAL];
    tn_dim before[TN_OI_SPATIAL],
        after[TN_OI_SPATIAL]; /* pads that depend on the input's size: of the input, which then has none */
    bool sized;               /* there are such pads */
} tn_oi_window;

/* A list of n numbers, at least `low` each, or the default for each. */
bool tn_oi_list(tn_oi *x, const char *name, size_t n, int64_t otherwise, int64_t low, int64_t *out);
/* Strides, dilations and pads of a node; n, kernel and in are set. */
bool tn_oi_read_window(tn_oi *x, tn_oi_window *w);
/* Where in `in` each element of y, its max_pool, comes from: the first of its window. */
tn_val tn_oi_pool_indices(tn_oi *x, tn_val in, tn_val y, const tn_oi_window *w);

/* Axes of a tensor whose channels come last: to channels at axis 1, and back. */
tn_val tn_oi_channels_first(tn_oi *x, tn_val v);
tn_val tn_oi_channels_last(tn_oi *x, tn_val v);
/* The node's average pool of v. */
tn_val tn_oi_average_pool(tn_oi *x, tn_val v);
/* The mean over all spatial axes. */
tn_val tn_oi_global_mean(tn_oi *x, tn_val v);

#endif
