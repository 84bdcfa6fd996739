/* filter.h: convolutions, transposed convolutions and matmuls with constant weights, seen alike: a weight element
 * belongs to one output channel and one input channel, whatever the layout.  The affine rules fold scales and shifts
 * through this view. */
#ifndef TENON_PASS_FILTER_H
#define TENON_PASS_FILTER_H

#include "ir/ir.h"

typedef struct tn_filter {
    tn_graph *g;
    tn_node node;
    tn_val x, w, b; /* b: none if absent (always for matmul) */
    bool matmul;
    size_t axis, in_axis; /* the channel axis of the result and of x */
    int64_t outs, ins;    /* channels of the result and of x */
    /* w as [first, second, spatial] or [first, spatial, second]; transposed convolutions have first = input channel */
    int64_t first, second, spatial, groups;
    bool second_last, first_is_in;
} tn_filter;

/* True if `node` is one of the three with static constant weights (and a constant bias or none). */
bool tn_filter_of(tn_graph *g, tn_node node, tn_filter *f);
/* The axis of the weights that is the result's channels. */
size_t tn_filter_outs_axis(const tn_filter *f);
/* The same op with equal attributes in one region, and weights that differ in the number of output channels at most. */
bool tn_filter_alike(const tn_filter *a, const tn_filter *b);
/* The channels that element e of w joins. */
void tn_filter_channels(const tn_filter *f, uint64_t e, int64_t *out, int64_t *in);
/* Is constant c one number, or one a channel along `axis` of a value of this rank with n channels? */
bool tn_per_channel(const tn_graph *g, tn_val c, size_t rank, size_t axis, int64_t n);
/* Its number for channel i. */
double tn_channel_num(const tn_graph *g, tn_val c, int64_t i);
/* A constant of w's dtype: element e is w[e] * out_scale[o] * in_scale[i]; NULL scales are 1.  Rounded once.  None if
 * an element would not be finite. */
tn_val tn_filter_scaled(const tn_filter *f, const double *out_scale, const double *in_scale);
/* The same with element e w[e] * out_scale[o] * in_scale[i] - out_less[o]. */
tn_val tn_filter_moved(const tn_filter *f, const double *out_scale, const double *in_scale, const double *out_less);
/* The node again with weights w and the bias: the node's own for a NULL bias, else outs numbers.  None if w is none or
 * a number would not be finite. */
tn_val tn_filter_emit(const tn_filter *f, tn_val x, tn_val w, const double *bias);
/* The present bias of channel o. */
double tn_filter_bias(const tn_filter *f, int64_t o);

#endif
