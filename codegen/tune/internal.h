/* internal.h: the tuner's parts: device and checker (device.c); shapes (spec/judged.c), values (spec/draw.c),
 * results (spec/case.c, of large ones some rows: spec/slice.c, spec/cut.c) and what specs share of them (spec/reference.c) on the
 * host; all of them on the device (data.c); judging (tune.c). */
#ifndef TENON_TUNE_INTERNAL_H
#define TENON_TUNE_INTERNAL_H

#include <pthread.h>

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
    CUdeviceptr lent; /* what candidates are judged on at other shapes than the typical one */
    size_t lent_size, lent_used;
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
 * 0: whatever users feed.  More than TN_DRAWN repeat the first TN_DRAWN. */
enum { TN_DRAWN = 65521 };
bool tn_draw(const tn_spec *s, const tn_shape *at, const tn_spec_tensor *t, int64_t few, void *data, int64_t n,
             uint64_t *seed);

/* Where along one axis a result is compared: the tensor is [outer, of, inner].  n 0: everywhere.  templates/check.cu calls
 * it tn_check_rows. */
enum { TN_MAX_ROWS = 16 };
typedef struct tn_case_rows {
    int64_t of, inner, n;
    int64_t at[TN_MAX_ROWS];
} tn_case_rows;

/* What goes in at one shape, and what must come out. */
struct tn_case {
    const tn_spec *s; /* that asked for it first */
    tn_shape shape;   /* of that spec's symbols */
    tn_placed *in, *out;
    const void **data; /* inputs, with their strides */
    size_t *held;      /* bytes at data[k]: less than the input's where it repeats */
    bool *owned;       /* data[k] is neither the graph's nor the set's */
    tn_tensor *want;   /* results, or their rows alone: dense, f64 */
    tn_case_rows *rows;
    double *scale; /* of their errors: the root mean square of what is finite */
    /* The set's */
    tn_case_set *set;
    size_t index, bytes;
    uint32_t users; /* references that hold it */
    bool begun;     /* somebody makes it, or has */
    bool done;      /* by another thread: under the caller's lock */
    tn_status status;
    void *owner; /* the caller's, for jobs */
    void *block;
    size_t block_size;
};

/* Judges once what several specs share: whether a kernel is right at a case. */
typedef struct tn_verdict {
    uint64_t key[2];
    uint64_t right; /* by case: a bit */
    bool wrong;
    char note[TN_CANDIDATE_TEXT];
} tn_verdict;
enum { TN_MAX_VERDICTS = 64 /* cases whose verdicts are kept */ };

struct tn_case_set {
    const tn_env *env;
    pthread_mutex_t mutex; /* guards `fixed` */
    /* Floats of an operand whose size no symbol changes: the same in all cases. */
    void **fixed;
    tn_placed *fixed_at;
    size_t n_fixed;
    tn_case **of;
    size_t n, cap;
    tn_verdict *verdict;
    size_t n_verdicts, cap_verdicts;
};

/* The verdict on a kernel, a new one if there is none; NULL when out of memory.  Valid until the next call. */
tn_verdict *tn_case_set_verdict(tn_case_set *set, const uint64_t key[2]);

struct tn_reference {
    const tn_env *env;
    const tn_spec *s;
    tn_case_set *own; /* where no set was given */
    size_t n;         /* at least 1: the typical shape, where time is taken */
    tn_shape shape[TN_MAX_SHAPES];
    tn_case *of[TN_MAX_SHAPES];
};

/* case.c: frees what was made of it. */
void tn_case_drop(tn_case *c);
/* slice.c, cut.c: rows of large results, that follow from the same rows of the operands. */
enum { TN_MAX_CUT = 64 };
typedef struct tn_slice {
    tn_dim sym;    /* whose values are the rows; none: they are those of an axis of values, */
    size_t n_cut;  /* which are listed */
    int64_t of, n; /* n 0: there is nothing to be gained */
    int64_t at[TN_MAX_ROWS];
    tn_eval_cut cut[TN_MAX_CUT];
} tn_slice;
/* Evaluates s's region: what `part` lists is cut (NULL: nothing is). */
tn_status tn_case_run(const tn_env *env, const tn_spec *s, const tn_shape *at, const tn_slice *part,
                      const tn_tensor *in, bool wide, tn_tensor *out);
/* Which part of a large case is to be evaluated, by what is known without a trial. */
void tn_case_part(const tn_case *c, tn_slice *part);
/* By what the types say. */
void tn_slice_find(const tn_spec *s, const tn_shape *at, tn_slice *out);
/* ... and by trial, at a small shape: *holds. */
tn_status tn_slice_try(const tn_env *env, const tn_spec *s, const tn_slice *slice, bool *holds);
/* cut.c: rows of an axis, of whatever size; they need no trial. */
void tn_cut_find(const tn_spec *s, const tn_shape *at, tn_slice *out);
/* slice.c: n rows of x->of: the first, the last and others between. */
void tn_choose_rows(const tn_spec *s, tn_slice *x);
/* The shape of the rows alone. */
tn_shape tn_slice_shape(const tn_spec *s, const tn_shape *at, const tn_slice *slice);
/* The rows of a tensor of s that lies as `at` says; n 0: it has none of its own. */
tn_case_rows tn_slice_rows(const tn_spec *s, const tn_slice *slice, const tn_spec_tensor *t, const tn_placed *at);
/* A tensor's rows, dense; data repeats after `held` bytes. */
tn_status tn_take_rows(const tn_env *env, const tn_case_rows *rows, const tn_placed *at, const void *data, size_t held,
                       tn_tensor *out);

/* One tensor of the spec on the device. */
typedef struct tn_tune_tensor {
    tn_placed at;
    CUdeviceptr base; /* with guards before and after */
    bool shared;      /* the first shape's */
    bool lent;        /* the tuner's, for as long as the case is judged */
    size_t stride;    /* bytes from copy to copy (inputs that are weights) */
    uint32_t copies;
    CUdeviceptr want;  /* outputs: the reference as doubles, dense */
    tn_case_rows rows; /* ... or these of it */
    double scale, tolerance;
    int64_t compared;  /* elements */
    uint64_t may_step; /* of them may differ by more */
} tn_tune_tensor;

/* The spec's tensors at one shape. */
typedef struct tn_tune_data {
    const tn_spec *s;
    const tn_case *of;
    tn_shape shape;
    uint32_t n_in, n_out;
    tn_tune_tensor *in, *out;
    uint32_t copies; /* of the weights, to time with cold ones; 1 but at the first shape */
} tn_tune_data;

/* first NULL: c is the first case; others are lent the tuner's memory for such, one at a time. */
tn_status tn_tune_data_make(tn_tuner *t, const tn_spec *s, const tn_shape *shape, const tn_case *c,
                            const tn_tune_data *first, tn_tune_data *d);
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
