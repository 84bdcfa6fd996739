// tn_finish.cuh: from an accumulator to the region's epilogue: adds the convolution's own bias operand if there is one.
// Included after tn_variant.cuh.
#pragma once

// x: VEC consecutive elements at (b, m, n) of the anchor's result; n is a multiple of VEC and all are in range.
template <int VEC, class T> TN_DEV void tn_finish(const tn_args &args, int b, int m, int n, T (&x)[VEC]) {
#if TN_HAS_BIAS
    T bias[VEC];
    tn_load_bias(args, n, bias);
    TN_UNROLL
    for (int i = 0; i < VEC; i++) x[i] = tn_add(x[i], bias[i]);
#endif
    tn_epilogue(args, b, m, n, x);
}
