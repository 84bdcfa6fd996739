/* compile.h: the state of one tn_compile call, shared by compile.c (choosing kernels) and plan_build.c (writing the
 * plan). */
#ifndef TENON_COMPILE_H
#define TENON_COMPILE_H

#include <pthread.h>
#include <time.h>

#include "codegen/pool.h"
#include "codegen/records.h"
#include "codegen/tune.h"
#include "passes/memory.h"
#include "runtime/plan_write.h"
#include "tenon/compiler.h"

enum { TN_MAX_TARGETS = 16 };

/* A kernel node; nodes with equal specs share the work of the first. */
typedef struct tn_compiled_node {
    tn_node node;
    tn_spec *spec;
    size_t work; /* index of the first node with this spec */
} tn_compiled_node;

typedef struct tn_compilation {
    const tn_env *env;
    tn_graph *g;
    const tn_compile_options *opts;
    tn_memory mem;
    tn_compiled_node *nodes;
    size_t n_nodes, cap_nodes;
    tn_work *works; /* parallel to nodes; only those of distinct specs are used */
    const tn_arch *arch;
    tn_tuner *tuner; /* NULL without a GPU */
    bool tuning;     /* this arch is the GPU's and timing is wanted */
    tn_nvrtc *nvrtc;
    tn_cache *cache;
    tn_lockfile *lock;
    tn_pool *pool;
    uint64_t templates_hash;
    char options_text[64], nvrtc_text[16];
    const char *precision;
    double start, deadline;
    double candidates_s, waiting_s; /* seconds spent: enumerating; waiting for builds while nothing else was to do */
    bool cancelled, past_deadline;

    pthread_mutex_t mutex; /* guards works[].pending, built, to_build */
    pthread_cond_t built_one;
    uint64_t built, to_build;
    double build_s; /* of all threads together */

    tn_manifest *mf;
    tn_plan_writer *writer;
    TnPlan__Plan plan;
    uint64_t *const_offsets;
    size_t n_const_offsets;
} tn_compilation;

/* The passes' options that a compilation with these options uses. */
tn_pass_options tn_compile_passes(const tn_compile_options *o);

/* plan_build.c: the plan's messages. */
tn_status tn_plan_begin(tn_compilation *c, size_t n_archs);
/* Adds the current arch with the winners of all works. */
tn_status tn_plan_add_arch(tn_compilation *c);
/* Weights, IR, inputs, outputs. */
tn_status tn_plan_end(tn_compilation *c);

#endif
