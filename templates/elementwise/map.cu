// map.cu: elementwise and movement ops: results are functions of operands' elements, VEC neighbours a thread.
//! kernel  map     y[i] = f(x[g(i)], ...), any number of operands and results
//! knob    BLOCK   128 256 512
//! knob    VEC     1 2 4 8 16
//! knob    ITEMS   1 2 4
//! require VEC == 1 || (N % VEC == 0 && VEC <= VEC_MAX) || (ODD_PAIRS && VEC == VEC_MIN)
//! require VEC >= VEC_MIN
//! require ITEMS == 1 || hint(N) >= BLOCK * VEC * ITEMS * SMS
#include "tn_device.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"

extern "C" __global__ void __launch_bounds__(TN_BLOCK) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_WAIT();
    tn_index i = ((tn_index)blockIdx.x * (TN_BLOCK * TN_ITEMS) + (tn_index)threadIdx.x) * TN_VEC;
    TN_UNROLL
    for (int k = 0; k < TN_ITEMS; ++k, i += TN_BLOCK * TN_VEC)
        if (i < TN_N) tn_map(args, i);
}
#include "tn_variant_end.cuh"
