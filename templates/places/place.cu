// place.cu: elements at places that are a permutation; one a thread.
//! kernel  place  y[at[k]] = x[k]
//! knob    BLOCK  128 256 512
#include "tn_device.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"

extern "C" __global__ void __launch_bounds__(TN_BLOCK) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_WAIT();
    const tn_index k = (tn_index)blockIdx.x * TN_BLOCK + (tn_index)threadIdx.x;
    if (k >= TN_N) return;
    tn_val x[1];
    tn_at at[1];
    tn_load_x(args, k, x);
    tn_load_at(args, k, at);
    const long long to = (long long)at[0];
    if (to >= 0 && to < TN_N) tn_epilogue(args, (tn_index)to, x);
}
#include "tn_variant_end.cuh"
