/* bound.h: how far a kernel's result may be from the float64 reference.
 *
 *     2 u(out) |w|                                   storing the result
 *   + (ulps of the ops + 4 + 2 sqrt(terms)) 2^-24 M  float32 arithmetic and sums of `terms` products
 *   + 2^-11 M for each rounding to a narrower type    operands or intermediate results of 16 or 8 bits, tf32
 *
 * where w is the reference and M the size of what was added up: the reference of the inputs' magnitudes, and no less
 * than |w| or the root mean square of the result.  Rounding errors of sums grow with the square root of their number of
 * terms (Higham and Mary 2019); ulps of functions are the maxima that the CUDA programming guide states for float32. */
#ifndef TENON_TEST_BOUND_H
#define TENON_TEST_BOUND_H

#include <math.h>

#include "codegen/codegen.h"
#include "ir/eval/eval.h"
#include "tenon/internal/float.h"

typedef struct bound_model {
    double ulps, terms; /* of float32 */
    double narrow;      /* relative error of roundings inside the kernel */
    bool is_f64;
} bound_model;

static inline double bound_ulps(tn_op op) {
    switch (op) {
    case TN_OP_EXP:
    case TN_OP_TANH:
    case TN_OP_ERF:
    case TN_OP_SIN:
    case TN_OP_COS: return 2;
    case TN_OP_LOG: return 1;
    case TN_OP_TAN:
    case TN_OP_ASIN:
    case TN_OP_ACOS:
    case TN_OP_ATAN:
    case TN_OP_SINH:
    case TN_OP_COSH:
    case TN_OP_ASINH:
    case TN_OP_ACOSH:
    case TN_OP_ATANH: return 4;
    case TN_OP_POW: return 8;
    case TN_OP_RESIZE:
    case TN_OP_GRID_SAMPLE:
    case TN_OP_ROI_ALIGN:
        return 48; /* coordinates are float32: their rounding grows with the extent, times the slope */
    case TN_OP_SOFTMAX:
    case TN_OP_GELU:
    case TN_OP_SIGMOID:
    case TN_OP_SILU:
    case TN_OP_SOFTPLUS: return 16;
    default: return 1;
    }
}

static inline double bound_unit(tn_dtype t) {
    const tn_float_format *f = tn_float_format_of(t);
    return f ? ldexp(1, -f->man_bits - 1) : 0;
}

static inline bound_model bound_model_of(const tn_spec *s, const tn_binding *b, size_t n_b, bool tf32) {
    bound_model m = {.terms = 1, .is_f64 = true};
    double in = 1;
    TN_FOR_NODES(s->g, s->region, n) {
        m.ulps += bound_ulps(tn_node_op(s->g, n));
        for (size_t k = 0; k < tn_node_result_count(s->g, n); k++) {
            const tn_dtype t = tn_val_dtype(s->g, tn_node_result(s->g, n, k));
            if (tn_dtype_is_float(t) && t != TN_F64) m.is_f64 = false;
            if (tn_dtype_is_float(t) && bound_unit(t) > m.narrow && bound_unit(t) > 0x1p-24) m.narrow = bound_unit(t);
        }
    }
    for (uint32_t k = 0; k < s->n_in; k++) {
        double n = 1;
        for (uint32_t a = 0; a < s->in[k].rank; a++) {
            int64_t d = 1;
            tn_dim_eval(s->g, s->in[k].dims[a], b, n_b, &d);
            n *= (double)d;
        }
        if (n > in) in = n;
        if (tn_dtype_is_float(s->in[k].dtype) && s->in[k].dtype != TN_F64) m.is_f64 = false;
    }
    m.terms = s->anchor.i ? in : 1; /* no sum is longer than the largest operand */
    if (tf32) m.narrow = m.narrow > 0x1p-11 ? m.narrow : 0x1p-11;
    return m;
}

static inline double bound_rms(const tn_tensor *t) {
    double sum = 0;
    const int64_t n = tn_tensor_numel(t);
    if (!tn_dtype_is_float(t->dtype)) return 0;
    for (int64_t i = 0; i < n; i++) {
        const double v = tn_load_num(t->dtype, t->data, (uint64_t)i);
        if (isfinite(v)) sum += v * v;
    }
    return n ? sqrt(sum / (double)n) : 0;
}

static inline double bound_of(const bound_model *m, tn_dtype out, double w, double scale, double rms) {
    double size = fabs(w) > rms ? fabs(w) : rms;
    if (isfinite(scale) && fabs(scale) > size) size = fabs(scale);
    const double sums = (m->ulps + 4 + 2 * sqrt(m->terms)) * (m->is_f64 ? 0x1p-53 : 0x1p-24);
    return 2 * bound_unit(out) * fabs(w) + (sums + 2 * m->narrow) * size + 1e-30;
}

#endif
