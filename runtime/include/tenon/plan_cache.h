/* plan_cache.h: plans that are compiled once and then found, by all processes that share a folder (libtenon).
 *
 *     tn_plan_cache cache = {.max_bytes = 4ull << 30};
 *     tn_plan *plan = tn_cached_model(&env, &cache, "model.onnx", NULL, &options, &status);
 *
 * Of processes and threads that want the same plan at the same time one compiles, the others wait for it (env's progress
 * is called meanwhile, and may cancel).  Plans appear whole or not at all, a damaged one is compiled again, and those that
 * were not used for longest go when there are too many: a plan that some process has loaded stays loaded. */
#ifndef TENON_PLAN_CACHE_H
#define TENON_PLAN_CACHE_H

#include "tenon/compiler.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tn_plan_cache {
    const char *dir;    /* NULL: the folder that tn_compile keeps its results in (tn_compile_options.cache_dir) */
    uint64_t max_bytes; /* of all plans in it; the one asked for is kept even if it is larger.  0: 16 GiB */
} tn_plan_cache;

/* What a plan for this GPU of the machine depends on, for a key: its model and driver, a line of less than 200 bytes.
 * Errors: E_NO_DEVICE. */
tn_status tn_gpu_key(const tn_env *env, int ordinal, char *out, size_t size);

/* The plan of a key, which says all that the plan depends on; versions of Tenon are told apart anyway.  `make` writes the
 * plan to a path (tn_compile does), and is called where the cache has no such plan.  Thread-safe.  NULL with *status set on
 * failure: of `make`, or E_IO (the folder cannot be written), E_CANCELLED, E_MEMORY. */
tn_plan *tn_cached_plan(const tn_env *env, const tn_plan_cache *cache, const char *key,
                        tn_status (*make)(void *user, const char *path), void *user, tn_status *status);

/* The plan of a model: its file, and the files that it refers to, are read again, but nothing is imported or compiled, where
 * the cache has their plan.  With a GPU (options->no_gpu is false) plans are of one GPU model and driver.
 * Errors: as tn_import_file, tn_compile and tn_cached_plan. */
tn_plan *tn_cached_model(const tn_env *env, const tn_plan_cache *cache, const char *path,
                         const tn_import_options *import, const tn_compile_options *options, tn_status *status);

/* A model that runs with what there is, and is tuned while nobody waits.  It belongs to one thread at a time. */
typedef struct tn_jit tn_jit;

/* The tuned plan if the cache has it, else one whose kernels the cost model chooses, which takes a fraction of the time.  What the
 * arguments point to (but for `cache` and `options` themselves) must stay until tn_jit_free.  Errors: as tn_cached_model. */
tn_jit *tn_jit_new(const tn_env *env, const tn_plan_cache *cache, const char *path, const tn_import_options *import,
                   const tn_compile_options *options, tn_status *status);
void tn_jit_free(tn_jit *j); /* NULL allowed; its plan goes with its last context */
/* The best plan so far; it is j's, until the next tn_tune_step. */
tn_plan *tn_jit_plan(tn_jit *j);
/* Nothing is left to tune (or without a GPU there never was). */
bool tn_jit_tuned(const tn_jit *j);
/* Tunes for about so many seconds (an import and the compilation of what is left come on top; each step that leaves something to
 * tune makes the next one longer by half) on the GPU, which should have little else to do.  *better: tn_jit_plan has changed, and new contexts are faster than old ones, which go on to run.
 * Processes that share the cache share what they timed.  On an error (E_CANCELLED, and as tn_compile) the plan is what it was. */
tn_status tn_tune_step(tn_jit *j, double seconds, bool *better);

#ifdef __cplusplus
}
#endif
#endif
