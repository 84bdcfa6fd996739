/* tune.h: candidates of one spec, and the tuner that judges them on a device.
 *
 * A candidate is a template variant or a cuBLASLt call.  The tuner runs each on random data between guard zones,
 * compares with the float64 reference (ir/eval, wide) and only then times it.  One tuner uses one device from one
 * thread. */
#ifndef TENON_TUNE_H
#define TENON_TUNE_H

#include "codegen/build.h"
#include "codegen/codegen.h"
#include "codegen/lt_match.h"
#include "codegen/manifest.h"

enum { TN_LT_ALGO_BYTES = 64, TN_CANDIDATE_TEXT = 200 };

typedef struct tn_candidate {
    struct tn_work *work; /* whose candidate it is, for build jobs; set when the list is complete */
    bool is_lt;
    tn_variant v;  /* templates */
    tn_lt_call lt; /* cuBLASLt */
    unsigned char algo[TN_LT_ALGO_BYTES];
    uint32_t algo_size; /* 0: ask the heuristic at run time */
    uint64_t lt_workspace;
    char text[TN_CANDIDATE_TEXT]; /* "conv_mma BM=128 ..." or "cublasLt tile=... stages=..." */
    char note[TN_CANDIDATE_TEXT]; /* why it is out; "winner" */
    double predicted_us, us;      /* us 0: not timed */
    double max_abs, max_rel;      /* against the reference; < 0: not checked */
    bool out;                     /* disqualified */
    char *source;                 /* templates: what was compiled */
    size_t source_size;
    tn_kernel_bin bin;
} tn_candidate;

/* One distinct spec of a compilation and its candidates. */
typedef struct tn_work {
    tn_spec *spec;
    tn_candidate *c;
    size_t n, cap;
    size_t winner; /* index, valid once chosen */
    bool chosen, from_cache, tuned;
    uint32_t pending; /* builds not finished; this and has_kernel are guarded by the compiler's lock */
    bool has_kernel;  /* one candidate is built */
    void *owner;      /* the compilation, for build jobs */
} tn_work;

typedef struct tn_tuner tn_tuner;

typedef struct tn_tuner_info {
    char gpu[128], driver[32], cublaslt[32];
    char arch[16]; /* "sm_90a" */
    int cc, sms;
    bool has_lt;
    double reference_s, check_s, race_s; /* spent in tn_tuner_run so far: inputs and reference, first runs, timing */
} tn_tuner_info;

/* Opens device `ordinal`.  Errors: E_NO_DEVICE, E_CUDA.  A missing cuBLASLt is a warning: candidates are then templates
 * only. */
tn_status tn_tuner_open(const tn_env *env, int ordinal, tn_tuner **out);
void tn_tuner_close(tn_tuner *t);
const tn_tuner_info *tn_tuner_get_info(const tn_tuner *t);

/* Appends the cuBLASLt heuristic's best algorithms for a matched call to the work's candidates. */
tn_status tn_tuner_lt_candidates(tn_tuner *t, tn_work *w, const tn_lt_call *call);
/* Checks and times the work's candidates (built already) until `deadline` (tn_now seconds) and fills us, max_abs,
 * max_rel, out and note of each; sets w->winner to the fastest right one.  Errors of single candidates only disqualify
 * them; an error returned here is one of the device or of memory. */
tn_status tn_tuner_run(tn_tuner *t, tn_work *w, double deadline);

void tn_candidate_free(const tn_env *env, tn_candidate *c);
/* A new zeroed candidate at the end of w->c, or NULL when out of memory. */
tn_candidate *tn_work_add(const tn_env *env, tn_work *w);

#endif
