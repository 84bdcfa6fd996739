/* tune.h: candidates of one spec, and the tuner that judges them on a device.
 *
 * A candidate is a template variant or a cuBLASLt call.  The tuner runs each on random data between guard zones,
 * compares with the float64 reference (ir/eval, wide) and only then times it.  One tuner uses one device from one
 * thread; references may be made on others.
 *
 *     tn_reference_make -> tn_tuning_begin -> tn_tuning_race, again when more candidates are built -> tn_tuning_end */
#ifndef TENON_TUNE_H
#define TENON_TUNE_H

#include "codegen/tune/build.h"
#include "codegen/codegen.h"
#include "codegen/bind/lt_match.h"
#include "codegen/program/manifest.h"

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
    double cold_us;               /* of its first run, which was checked */
    double max_abs, max_rel;      /* against the reference; < 0: not checked */
    bool wanted;                  /* templates: worth building (search.c) */
    bool out;                     /* disqualified */
    bool slow;                    /* ... for its time alone */
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
    bool untrusted;   /* from_cache, but by other versions: judged before it is chosen */
    bool rejected;    /* the record's winner was wrong */
    bool swapped;     /* from_cache: it won in the whole network, though another is faster alone */
    uint32_t pending; /* jobs not finished; guarded by the compiler's lock */
    size_t must;      /* the candidate that is built even past the deadline */
    /* Of a special case: what serves where this is not worth it, so that it needs no winner; NULL: it must have one.
     * follows: its candidates are the same, so that only what wins there is tried. */
    struct tn_work *fallback;
    bool follows;
    bool started; /* its first builds are */
    bool ended;   /* nothing more is tried */
    /* Until it is listed: what candidates it can have, and what they are compared by from then on. */
    tn_choices *choices;
    uint64_t choices_hash;
    bool enumerated;
    tn_status enumerate_status;
    void *owner; /* the compilation, for jobs */
    struct tn_reference *reference;
    tn_status reference_status;
    struct tn_tuning *tuning; /* while its candidates race */
} tn_work;

typedef struct tn_tuner tn_tuner;
typedef struct tn_reference tn_reference; /* inputs of a spec and the results that it must give, on the host */
typedef struct tn_case tn_case;           /* ... at one shape */
typedef struct tn_case_set tn_case_set;   /* cases that the specs of one kernel share, in all buckets */
typedef struct tn_tuning tn_tuning;       /* a work on the device */

typedef struct tn_tuner_info {
    char gpu[128], driver[32], cublaslt[32];
    char arch[16]; /* "sm_90a" */
    int cc, sms;
    bool has_lt;
    double upload_s, check_s, race_s; /* spent so far: inputs and references to the device, first runs, timing */
} tn_tuner_info;

/* What architecture's code device `ordinal` runs: asks the driver, and makes no context.  Errors as of tn_tuner_open. */
tn_status tn_arch_of_gpu(const tn_env *env, int ordinal, const tn_arch **out);
/* Opens device `ordinal`; cache_dir as in tn_compile_options.  Errors: E_NO_DEVICE, E_CUDA.  A missing cuBLASLt is a
 * warning: candidates are then templates only. */
tn_status tn_tuner_open(const tn_env *env, int ordinal, const char *cache_dir, tn_tuner **out);
void tn_tuner_close(tn_tuner *t);
const tn_tuner_info *tn_tuner_get_info(const tn_tuner *t);

/* Appends the cuBLASLt heuristic's best algorithms for a matched call to the work's candidates. */
tn_status tn_tuner_lt_candidates(tn_tuner *t, tn_work *w, const tn_lt_call *call);

tn_status tn_case_set_new(const tn_env *env, tn_case_set **out);
void tn_case_set_free(tn_case_set *set); /* NULL allowed; no reference holds its cases any more */
/* Frees what no reference holds; it is made again when it is asked for.  Returns the bytes. */
size_t tn_case_set_trim(tn_case_set *set);
/* Makes the cases of a spec known to its set (NULL: one of its own) and holds them; nothing is evaluated yet.  Another spec
 * of the same kernel has the same cases where its tensors lie the same.  TN_E_UNSUPPORTED: too large to be tried. */
tn_status tn_reference_new(const tn_env *env, tn_case_set *set, const tn_spec *s, tn_reference **out);
/* The k-th case; NULL: there are no more. */
tn_case *tn_reference_case(const tn_reference *r, size_t k);
/* True, once, if a case is still to be made; *bytes: about what it occupies.  `owner` is for the caller's jobs. */
bool tn_case_begin(tn_case *c, void *owner, size_t *bytes);
void *tn_case_owner(const tn_case *c);
/* Evaluates it; may run on any thread while nobody changes the spec's graph. */
void tn_case_make(const tn_env *env, tn_case *c);
/* Nobody will: it is not judged. */
void tn_case_give_up(tn_case *c);
/* Set and read under a lock of the caller's. */
void tn_case_set_done(tn_case *c);
bool tn_reference_is_done(const tn_reference *r);
/* When all cases are done: drops those that cannot be judged.  TN_E_UNSUPPORTED: there is no other. */
tn_status tn_reference_finish(tn_reference *r);
/* All of the above at once. */
tn_status tn_reference_make(const tn_env *env, const tn_spec *s, tn_reference **out);
void tn_reference_free(tn_reference *r); /* NULL allowed */

/* Puts the work's data on the device; the reference is needed until the end.  quiet: the caller will try again, so an
 * error is not told. */
tn_status tn_tuning_begin(tn_tuner *t, tn_work *w, tn_reference *r, bool quiet, tn_tuning **out);
/* Checks candidate k alone, which is out if it is not right. */
tn_status tn_tuning_check(tn_tuning *x, size_t k);
/* Checks the candidates that are built and not checked yet, then times them beside those still in the race, until
 * `deadline` (tn_now seconds); fills us, cold_us, max_abs, max_rel, out and note of each.  Errors of single candidates
 * only disqualify them; an error returned here is one of the device or of memory. */
tn_status tn_tuning_race(tn_tuning *x, double deadline);
/* Sets w->winner to the fastest right candidate, if there is one and none was chosen, and frees x (NULL allowed). */
void tn_tuning_end(tn_tuning *x);

/* search.c: marks as wanted the candidates to build and judge first: of each template that may win the best predicted,
 * then the best predicted of all; `most` together.  Returns how many. */
size_t tn_search_first(tn_work *w, size_t most);
/* Marks up to `most` others that should be within `factor` of the fastest so far, by their predictions and by how far
 * off those of the candidates most like them were.  Returns how many. */
size_t tn_search_more(tn_work *w, size_t most, double factor);

/* Marks what to build first where `guide`, the same kernel at other sizes, was raced: up to `most` that should be within
 * `factor` of the best, by what was measured there, and the best of each template that was not tried there and is predicted
 * to be faster than these.  Returns how many; 0: nothing was measured. */
size_t tn_search_guided(tn_work *w, const tn_work *guide, size_t most, double factor);
bool tn_search_knows(const tn_work *guide, const tn_template *t); /* a kernel of t was tried */
/* w's candidate that x is in another work; NULL: none. */
tn_candidate *tn_candidate_like(const tn_work *w, const tn_candidate *x);

/* Microseconds alone of what is taken, or of what it stands in for: swapped. */
double tn_winner_us(const tn_work *w);
#define TN_NOTE_SWAPPED "winner in the whole network"
#define TN_NOTE_FASTEST "fastest alone, but not in the whole network"
/* Microseconds of the fastest right candidate so far; 0: there is none. */
const tn_candidate *tn_fastest(const tn_work *w); /* of those that are measured and not out; NULL: none is */
double tn_best_us(const tn_work *w);
void tn_candidate_free(const tn_env *env, tn_candidate *c);
/* A new zeroed candidate at the end of w->c, or NULL when out of memory. */
tn_candidate *tn_work_add(const tn_env *env, tn_work *w);

#endif
