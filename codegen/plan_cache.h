/* plan_cache.h: what the files of the plan cache share: plan_cache.c has plans by key, model_cache.c plans of models. */
#ifndef TENON_CODEGEN_PLAN_CACHE_H
#define TENON_CODEGEN_PLAN_CACHE_H

#include "ir/text/output.h"
#include "tenon/plan_cache.h"

/* DIR/plan-<hash of key and version>.KIND, of the cache's folder, which is made.  Errors: E_IO. */
tn_status tn_plan_cache_path(const tn_env *env, const tn_plan_cache *cache, const char *key, const char *kind,
                             char out[TN_PATH_SIZE]);
/* Puts a plan in the place of the one that the cache has for the key, if any; `make` as for tn_cached_plan.  Others that wait
 * for that plan wait. */
tn_plan *tn_cache_replace(const tn_env *env, const tn_plan_cache *cache, const char *key,
                          tn_status (*make)(void *user, const char *path), void *user, tn_status *status);
/* The plan if it is there, else NULL. */
tn_plan *tn_cache_find(const tn_env *env, const tn_plan_cache *cache, const char *key, tn_status *status);

#endif
