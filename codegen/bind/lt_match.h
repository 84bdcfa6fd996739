/* lt_match.h: a spec seen as one cuBLASLt call. */
#ifndef TENON_LT_MATCH_H
#define TENON_LT_MATCH_H

#include "codegen/codegen.h"

/* D = act(op(A) op(B) + beta * C + bias), column-major as the library sees it: a row-major product Y[M,N] = X[M,K]
 * W[K,N] is the column-major Y^T = W^T X^T, so A is the weight side, m = N and n = M. */
typedef struct tn_lt_call {
    tn_dim m, n, k, batch;
    bool trans_a, trans_b, tf32, has_bias, relu;
    tn_dtype type_a, type_b, type_c, type_d;
    tn_dim lda, ldb, ldc, ldd;
    tn_dim stride_a, stride_b, stride_c, stride_d;
    float beta;
    tn_arg a, b, c, d, bias; /* c.kind is TN_ARG_OUT (the same as d) when beta is 0 */
} tn_lt_call;

/* True if the whole spec is such a call: a matmul, or a 1x1 stride-1 NHWC convolution without groups, followed by at
 * most: + per-column bias, + a tensor of the result's shape, relu, casts to the result's dtype; one result. */
bool tn_lt_match(const tn_spec *s, tn_lt_call *call);

#endif
