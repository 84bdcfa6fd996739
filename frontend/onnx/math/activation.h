/* activation.h: activations by name, as operators, and as attributes of others (recurrent cells, fused products). */
#ifndef TENON_ONNX_ACTIVATION_H
#define TENON_ONNX_ACTIVATION_H

#include "frontend/onnx/import.h"

typedef struct tn_oi_act {
    const char *name;
    tn_val (*make)(tn_graph *g, tn_op op, tn_val v, const double *p);
    tn_op op; /* a parameter of make */
    size_t n; /* parameters that it takes: alpha, beta, gamma */
    double p[3];
} tn_oi_act;

const tn_oi_act *tn_oi_find_act(const char *name); /* of any case; NULL */
tn_val tn_oi_activate(tn_oi *x, const tn_oi_act *a, tn_val v, const double *p);

#endif
