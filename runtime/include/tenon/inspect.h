/* inspect.h: what a loaded plan holds: where it came from, its steps with their kernels, times and errors, and the sources of
 * these (libtenon_rt).
 *
 * All pointers belong to the plan and live as long as it does.  Any thread may call this at any time. */
#ifndef TENON_INSPECT_H
#define TENON_INSPECT_H

#include "tenon/tenon.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tn_plan_info {
    const char *tenon_version; /* that compiled it */
    const char *model;         /* file name and hash of what it was compiled from */
    const char *precision;     /* "fp16" */
    const char *options;       /* that it was compiled with, as text */
    size_t weight_bytes, weight_count;
    const void *data; /* the plan itself: what a file of it holds */
    size_t size;
} tn_plan_info;
tn_plan_info tn_plan_describe(const tn_plan *p);

/* A size that inputs give: the k-th symbol; false past the last. */
typedef struct tn_symbol_desc {
    const char *name;
    int64_t lo, hi;  /* inclusive; INT64_MAX: no limit */
    int64_t typical; /* that it was tuned for; 0: not said */
} tn_symbol_desc;
bool tn_plan_symbol(const tn_plan *p, size_t k, tn_symbol_desc *out);

/* The k-th architecture (tn_plan_arch). */
typedef struct tn_arch_desc {
    const char *name;     /* "sm_90a" */
    const char *tuned_on; /* name of the GPU; "": untuned */
    const char *driver, *nvrtc, *cublaslt;
    size_t step_count, kernel_count;
} tn_arch_desc;
bool tn_plan_arch_desc(const tn_plan *p, size_t arch, tn_arch_desc *out); /* false past the last */

/* What a candidate for a step was, and why it lost. */
typedef struct tn_candidate_desc {
    const char *text;        /* template and knobs, or cuBLASLt's configuration */
    const char *note;        /* "winner", "wrong: max error ...", "does not compile", ... */
    double us, predicted_us; /* 0: not timed */
} tn_candidate_desc;

/* One step of an architecture: a kernel's launch, a cuBLASLt call, or what the driver does ("copy", "fill", "if", "while"). */
typedef struct tn_step_desc {
    const char *name;          /* unique in the plan */
    const char *template_name; /* of a kernel; else "cublasLt" or the driver's word */
    const char *knobs;         /* of a kernel; of cuBLASLt its configuration */
    const char *spec;          /* canonical text of what it computes */
    const char *const *layers; /* the user's */
    size_t layer_count;
    bool is_kernel;                        /* it has a source, and the next four fields */
    uint32_t registers, smem, local_bytes; /* a thread's registers, a block's shared memory, a thread's local memory */
    uint32_t block[3];                     /* threads */
    double us;                             /* as tuned, alone; 0: untuned */
    double flops, bytes;                   /* work at typical sizes */
    double max_abs_error, max_rel_error;   /* against the float64 reference; < 0: not checked */
    size_t alternative_count;              /* other kernels, for sizes of buckets */
    size_t candidate_count;                /* tn_plan_candidate */
} tn_step_desc;
bool tn_plan_step(const tn_plan *p, size_t arch, size_t step, tn_step_desc *out); /* false past the last */
bool tn_plan_candidate(const tn_plan *p, size_t arch, size_t step, size_t k, tn_candidate_desc *out);
/* The CUDA source of a step's kernel as it was compiled: files one behind the other, each begins with a line
 * "//// NAME:LINE".  Not terminated.  Errors: E_ARGUMENT (no such step), E_UNSUPPORTED (it is no kernel), E_FORMAT (its bytes
 * are damaged). */
tn_status tn_plan_source(tn_plan *p, size_t arch, size_t step, const char **text, size_t *size);

#ifdef __cplusplus
}
#endif
#endif
