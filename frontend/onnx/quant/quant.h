/* quant.h: the arithmetic of quantised tensors (quant.c), for the operators of com.microsoft. */
#ifndef TENON_ONNX_QUANT_H
#define TENON_ONNX_QUANT_H

#include "frontend/onnx/import.h"

/* A scale or zero point in a shape that broadcasts to v: a scalar as it is, one number a channel along `axis`, or
 * (block > 0) one a block of `block` elements of that axis. */
tn_val tn_oi_spread(tn_oi *x, tn_val p, tn_val v, int64_t axis, int64_t block);
/* (v - zero) * scale in `t`; zero may be none, and both already broadcast to v. */
tn_val tn_oi_dequantise(tn_oi *x, tn_val v, tn_val scale, tn_val zero, tn_dtype t);
/* clamp(round(v / scale) + zero) in the integer dtype t; for floats a saturating cast of v / scale. */
tn_val tn_oi_quantise(tn_oi *x, tn_val v, tn_val scale, tn_val zero, tn_dtype t);
/* v as uint8 with one scale, (max - min) / 255 over a range that includes 0, and one zero point. */
tn_val tn_oi_dynamic_quantise(tn_oi *x, tn_val v, tn_val *scale, tn_val *zero);
/* v minus the zero point (may be none), as int32.  One zero point a row of a (axis -2), a column of b (axis -1), or an
 * output channel of a weight (axis 0). */
tn_val tn_oi_centred(tn_oi *x, tn_val v, tn_val zero, int64_t axis);
/* The matrix product of NumPy. */
tn_val tn_oi_product(tn_oi *x, tn_val a, tn_val b);
/* v, quantised as it comes, times b - which tn_oi_centred has made, and whose elements are worth `scale` each (a number, or
 * one a column) - in float32. */
tn_val tn_oi_dynamic_product(tn_oi *x, tn_val v, tn_val b, tn_val scale);

#endif
