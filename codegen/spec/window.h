/* window.h: the anchor seen as a window that slides over one to three spatial axes (pools and all convolutions), and as
 * an NHWC convolution with one or two of them. */
#ifndef TENON_CODEGEN_WINDOW_H
#define TENON_CODEGEN_WINDOW_H

#include "codegen/emit/emit.h"

typedef struct tn_sliding {
    tn_val x, w, bias, y;             /* w: none for pools; bias: none if absent */
    uint32_t spatial, first, channel; /* number of spatial axes of x and y, the first of them, the channel axis */
    bool nhwc, tf32;
    int64_t groups, stride[3], dilation[3], before[3], after[3], kernel[3]; /* missing leading axes have size 1 */
    tn_dim in[3], out[3];
} tn_sliding;

/* False if the anchor has no window, or one whose size is not static. */
bool tn_sliding_of(const tn_spec *s, tn_sliding *w);

typedef struct tn_window {
    tn_val x, filter, bias, out;
    tn_dtype dtype;
    bool tf32, i32; /* i32: integers of 8 bits, the filter's of filter_dtype, summed in int32 */
    tn_dtype filter_dtype;
    int64_t groups, c, n; /* input and output channels of one group */
    int64_t r, s;         /* filter height (1 for 1-D) and width */
    int64_t stride_h, stride_w, pad_h, pad_w, after_h, after_w, dilation_h, dilation_w; /* pads before, after */
    tn_dim m, h, w, oh, ow;                                                             /* m: images * oh * ow */
    tn_coord x_n, x_h, x_w, x_c;                                                        /* x_h has no axes for 1-D */
    tn_coord f_o, f_k; /* filter: output channel; (r, s, c of the group) */
    tn_coord o_m, o_n; /* result: pixel, channel */
} tn_window;

/* False if the anchor is not such a convolution or has a size that is not static where it must be (filters,
 * channels). */
bool tn_window_of(const tn_spec *s, tn_window *w);
/* M N K BATCH(=groups) GROUPS C R S STRIDE_* PAD_* DILATION_* H W OH OW */
void tn_window_constants(const tn_spec *s, const tn_window *w, tn_problem *p);

#endif
