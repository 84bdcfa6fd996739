/* window.h: the geometry that convolutions and pools share, normalised to three spatial axes (missing leading ones have
 * size 1) and to strides, so that neither rank nor layout matters further on. */
#ifndef TENON_EVAL_WINDOW_H
#define TENON_EVAL_WINDOW_H

#include "ir/eval/internal.h"

typedef struct tn_plane {
    int64_t size[3], n, channels;               /* n: batch */
    int64_t batch_stride, channel_stride, step; /* elements; spatial positions are `step` apart in row-major order */
} tn_plane;

typedef struct tn_window {
    size_t rank; /* spatial axes of the op */
    int64_t kernel[3], stride[3], dilation[3], before[3], after[3];
    tn_plane x, y;
} tn_window;

/* Fills all but the kernel's size. */
void tn_window_init(tn_window *w, const tn_tensor *x, const tn_tensor *y, const char *layout, tn_ints strides,
                    tn_ints pads, tn_ints dilations);
static inline int64_t tn_volume(const int64_t v[3]) {
    return v[0] * v[1] * v[2];
}
static inline bool tn_is_nhwc(const char *layout) {
    return layout && !strcmp(layout, "nhwc");
}

#endif
