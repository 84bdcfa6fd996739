/* internal.h: the tuner's parts: device and checker (device.c), shapes (spec/judged.c), values (spec/draw.c) and
 * results (spec/reference.c) of one spec on the host, all of them on the device (data.c), judging (tune.c). */
#ifndef TENON_TUNE_INTERNAL_H
#define TENON_TUNE_INTERNAL_H

#include "codegen/emit/emit.h"
#include "codegen/tune/pool.h"
#include "codegen/tune/tune.h"
#include "ir/eval/eval.h"
#include "runtime/cuda/cublaslt.h"
#include "runtime/cuda/cuda.h"
#include "runtime/cuda/launch.h"
#include "runtime/cuda/lt.h"

enum { TN_GUARD = 4096, TN_MAX_COPIES = 16, TN_TUNE_WORKSPACE = 64 << 20 };
#define TN_GUARD_PATTERN 0x7fc5a5a5u /* a NaN as f32, so that an unwritten element shows */

/* What templates/check.cu calls tn_check_view and tn_check_result. */
typedef struct tn_check_view {
    CUdeviceptr data;
    int64_t dims[TN_MAX_RANK], strides[TN_MAX_RANK];
    int64_t numel;
    int32_t rank, code;
} tn_check_view;

typedef struct tn_check_result {
    uint64_t max_abs_bits, max_rel_bits, bad, first_bad;
} tn_check_result;

struct tn_tuner {
    const tn_env *env;
    tn_env quiet; /* for calls whose failure only disqualifies a candidate: keeps the text */
    char last_error[256];
    tn_cuda *cu;
    tn_device_info dev;
    const tn_arch *arch; /* whose code runs on dev */
    CUcontext ctx;
    CUstream stream;
    CUevent start, stop;
    CUmodule checker;
    CUfunction fill, compare, erase, count, step;
    double step_us; /* of tn_check_step in a chain of its own; 0: not measured yet */
    CUdeviceptr result, workspace;
    tn_cublaslt *lt; /* NULL: not there */
    cublasLtHandle_t lt_handle;
    tn_tuner_info info;
};

/* A tensor of the spec at a shape. */
typedef struct tn_placed {
    tn_dtype dtype;
    uint32_t rank;
    int64_t dims[TN_MAX_RANK], strides[TN_MAX_RANK], numel;
    size_t span; /* bytes from its first element to its last */
} tn_placed;
/* TN_E_UNSUPPORTED: too large to try. */
tn_status tn_place(const tn_spec *s, const tn_shape *at, const tn_spec_tensor *t, tn_placed *out);

/* n elements of an operand that is no constant (draw.c); false if it has no legal value.  few: integers are 0 to few - 1;
 * 0: whatever users feed. */
bool tn_draw(const tn_spec *s, const tn_shape *at, const tn_spec_tensor *t, int64_t few, void *data, int64_t n,
             uint64_t *seed);

/* What goes in at one shape, and what must come out. */
typedef struct tn_case {
    tn_shape shape;
    tn_placed in[TN_MAX_ARGS], out[TN_MAX_ARGS];
    const void *data[TN_MAX_ARGS]; /* inputs, with their strides */
    bool owned[TN_MAX_ARGS];       /* not the graph's, nor the first case's */
    bool shared[TN_MAX_ARGS];      /* the first case's */
    tn_tensor want[TN_MAX_ARGS];   /* results: dense, f64 */
    double scale[TN_MAX_ARGS];     /* of their errors: the root mean square of what is finite */
} tn_case;

struct tn_reference {
    const tn_env *env;
    const tn_spec *s;
    size_t n; /* at least 1: the typical shape, where time is taken */
    tn_case of[TN_MAX_SHAPES];
};

/* One tensor of the spec on the device. */
typedef struct tn_tune_tensor {
    tn_placed at;
    CUdeviceptr base; /* with guards before and after */
    bool shared;      /* the first shape's */
    size_t stride;    /* bytes from copy to copy (inputs that are weights) */
    uint32_t copies;
    CUdeviceptr want; /* outputs: the reference as doubles, dense */
    double scale, tolerance;
    uint64_t may_step; /* elements that may differ by more */
} tn_tune_tensor;

/* The spec's tensors at one shape. */
typedef struct tn_tune_data {
    const tn_spec *s;
    tn_shape shape;
    uint32_t n_in, n_out;
    tn_tune_tensor *in, *out;
    uint32_t copies; /* of the weights, to time with cold ones; 1 but at the first shape */
} tn_tune_data;

/* first NULL: c is the first case. */
tn_status tn_tune_data_make(tn_tuner *t, const tn_spec *s, const tn_case *c, const tn_tune_data *first,
                            tn_tune_data *d);
void tn_tune_data_free(tn_tuner *t, tn_tune_data *d);
/* Of |got - want| / (|want| + scale) for a result of this type; 0: exact. */
double tn_tolerance(const tn_spec *s, tn_dtype t);
/* Patterns over all outputs and guards before a checked run. */
tn_status tn_tune_data_poison(tn_tuner *t, const tn_tune_data *d);
/* Compares after a run: *why is "" if everything is right, else what is wrong.  Errors returned are the device's. */
tn_status tn_tune_data_judge(tn_tuner *t, const tn_tune_data *d, double *max_abs, double *max_rel, char *why,
                             size_t size);
/* A constant in the order that a candidate wants, in as many copies as the plain one. */
typedef struct tn_tune_packed {
    uint32_t in, copies;
    tn_packing how;
    CUdeviceptr memory, base;
    size_t stride;
} tn_tune_packed;
/* out->memory is freed with cuMemFree.  Errors are of memory, or the device's. */
tn_status tn_tune_pack(tn_tuner *t, const tn_tune_data *d, uint32_t in, const tn_packing *how, tn_tune_packed *out);
/* Address of an argument; copy selects among weight copies. */
CUdeviceptr tn_tune_address(const tn_tune_data *d, const tn_arg *a, uint32_t copy);

#endif
