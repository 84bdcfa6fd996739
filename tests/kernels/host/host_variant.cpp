// host_variant.cpp: one variant for the CPU: -DTEMPLATE="map.cu", with its tn_variant.cuh on the include path.
#include "host_shim.h"
#include TEMPLATE
#ifndef HOST_HAS_MMA
inline tn_bits16 tn_ldg16(const void *p) { return *(const tn_bits16 *)p; }
inline tn_bits8 tn_ldg8(const void *p) { return *(const tn_bits8 *)p; }
#endif

extern "C" void host_kernel(const void *args) { TN_KERNEL(*(const tn_args *)args); }
