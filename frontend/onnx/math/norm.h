/* norm.h: statistics that normalisations give, too (norm.c). */
#ifndef TENON_ONNX_NORM_H
#define TENON_ONNX_NORM_H

#include "frontend/onnx/import.h"

/* Mean and 1 / sqrt(variance + eps) over axes axis..rank-1, in float32 or wider. */
void tn_oi_statistics(tn_oi *x, tn_val v, int64_t axis, double eps, tn_val *mean, tn_val *inv);
/* 1 / sqrt(mean(v^2) + eps) over these axes. */
tn_val tn_oi_inverse_rms(tn_oi *x, tn_val v, int64_t axis, double eps);

#endif
