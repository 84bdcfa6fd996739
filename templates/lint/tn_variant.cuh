// tn_variant.cuh: the stand-in that editors and linters see in place of a generated header: with it, templates compile as they
// stand (nvcc -Itemplates/shared -Itemplates/lint -arch=sm_90a -c map.cu).  It defines everything that any template of plain kernels
// asks for, with arbitrary values; templates on tensor cores have macros of their own.
#pragma once
#include "tn_device.cuh"

namespace tn_step_lint_kernel {
#define TN_KERNEL lint_kernel
typedef int tn_index;
struct tn_args {
    const tn_half *in0;
    tn_half *out0;
};
typedef float tn_val;
typedef float tn_left;
typedef float tn_right;
typedef float tn_acc;
typedef float tn_scale;
typedef float tn_bias;
typedef tn_sum_op tn_combine;
TN_DEV tn_acc tn_finished(const tn_args &args, tn_acc acc) { return acc; }

// knobs
#define TN_BLOCK 128
#define TN_VEC 4
#define TN_ITEMS 2
#define TN_TPR 32
#define TN_REGS 1
#define TN_BX 32
#define TN_BY 4
#define TN_OC 4
#define TN_BM 32
#define TN_BN 32
#define TN_T 2
#define TN_TILE 32
#define TN_ROWS 8 // also a constant of reductions

// problem constants
#define TN_COLS 256
#define TN_INNER 256
#define TN_OUTER 2
#define TN_R 64
#define TN_M 64
#define TN_K 64
#define TN_N 64
#define TN_C 64
#define TN_CG 64
#define TN_O 64
#define TN_OG 64
#define TN_NHWC 1
#define TN_MEAN 1
#define TN_COUNT_PAD 0
#define TN_LOG 0
#define TN_MAX 1
#define TN_LAST 0
#define TN_EXCLUSIVE 0
#define TN_REVERSE 0
#define TN_CENTRE 1
#define TN_EPS 1e-5
#define TN_HAS_SCALE 1
#define TN_HAS_BIAS 1
#define TN_A_KINNER 1
#define TN_B_KINNER 0
#define TN_KD 1
#define TN_KH 3
#define TN_KW 3
#define TN_SD 1
#define TN_SH 1
#define TN_SW 1
#define TN_PD 0
#define TN_PH 1
#define TN_PW 1
#define TN_PD_AFTER 0
#define TN_PH_AFTER 1
#define TN_PW_AFTER 1
#define TN_DD 1
#define TN_DH 1
#define TN_DW 1
#define TN_D 1
#define TN_H 8
#define TN_W 8
#define TN_OD 1
#define TN_OH 8
#define TN_OW 8

// the region's functions, for any coordinates and vector width
TN_DEV void tn_map(const tn_args &args, tn_index i) { tn_put(args.out0 + i, tn_get(args.in0 + i)); }
template <int N> TN_DEV void lint_load(const tn_args &args, tn_index at, float (&x)[N]) {
    for (int i = 0; i < N; ++i) x[i] = tn_get(args.in0 + at + i);
}
template <typename V, int N> TN_DEV void lint_store(const tn_args &args, tn_index at, const V (&acc)[N]) {
    for (int i = 0; i < N; ++i) tn_put(args.out0 + at + i, (float)acc[i]);
}
#define LINT_LOAD(name)                                                                                                \
    template <int N> TN_DEV void name(const tn_args &args, tn_index a, float (&x)[N]) { lint_load(args, a, x); }       \
    template <int N> TN_DEV void name(const tn_args &args, tn_index a, tn_index b, float (&x)[N]) { lint_load(args, a + b, x); } \
    template <int N> TN_DEV void name(const tn_args &args, tn_index a, tn_index b, tn_index c, float (&x)[N]) {        \
        lint_load(args, a + b + c, x);                                                                                 \
    }                                                                                                                  \
    template <int N>                                                                                                   \
    TN_DEV void name(const tn_args &args, tn_index a, tn_index b, tn_index c, tn_index d, tn_index e, float (&x)[N]) { \
        lint_load(args, a + b + c + d + e, x);                                                                         \
    }
LINT_LOAD(tn_load_x)
LINT_LOAD(tn_load_w)
LINT_LOAD(tn_load_a)
LINT_LOAD(tn_load_b)
LINT_LOAD(tn_load_scale)
LINT_LOAD(tn_load_bias)
template <typename V, int N> TN_DEV void tn_epilogue(const tn_args &args, tn_index a, const V (&acc)[N]) { lint_store(args, a, acc); }
template <typename V, int N> TN_DEV void tn_epilogue(const tn_args &args, tn_index a, tn_index b, const V (&acc)[N]) {
    lint_store(args, a + b, acc);
}
template <typename V, int N> TN_DEV void tn_epilogue(const tn_args &args, tn_index a, tn_index b, tn_index c, const V (&acc)[N]) {
    lint_store(args, a + b + c, acc);
}
template <typename V, int N>
TN_DEV void tn_epilogue(const tn_args &args, tn_index a, tn_index b, tn_index c, tn_index d, tn_index e, const V (&acc)[N]) {
    lint_store(args, a + b + c + d + e, acc);
}
