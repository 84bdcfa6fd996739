/* compile.h: the state of one tn_compile call, shared by the files that list candidates, build, tune and write the
 * plan. */
#ifndef TENON_COMPILE_H
#define TENON_COMPILE_H

#include <pthread.h>
#include <time.h>

#include "codegen/cases.h"
#include "codegen/program/program.h"
#include "codegen/tune/pool.h"
#include "codegen/tune/records.h"
#include "codegen/tune/tune.h"
#include "runtime/cuda/policy.h"
#include "runtime/plan/write.h"
#include "tenon/compiler.h"

enum { TN_MAX_TARGETS = 16 };

typedef struct tn_compiled_node {
    tn_node node;
    uint32_t step; /* of the program */
    tn_spec *spec; /* as all sizes have it */
} tn_compiled_node;

/* Another candidate of a heavy work, that may do better in the whole network.  Its messages and bytes are the manifest's. */
typedef struct tn_rival {
    size_t bucket;  /* in whose sizes it is tried: as policies are numbered */
    size_t work;    /* of which one rival may win */
    tn_swap *swaps; /* at all places where the work's winner runs in these sizes */
    TnPlan__Step **ways;
    size_t n;
    TnPlan__Kernel *kernel; /* NULL: cuBLASLt's */
    const void *cubin, *source;
    size_t cubin_size, source_size;
    char *key, *record, *line; /* what its win is kept by: in the cache, and in a lockfile */
    const char *text, *former;
    bool kept;
} tn_rival;

/* Works are numbered case by case: that of node k in case i is i * n_nodes + k, so that the first n_nodes are those of
 * the first bucket.  Nodes and cases with equal specs and sizes share the first such work, which is real
 * (tn_is_distinct); tn_work_in finds it. */
typedef struct tn_compilation {
    const tn_env *env;
    tn_graph *g;
    const tn_compile_options *opts;
    tn_memory mem;
    tn_program *program;     /* the graph's */
    tn_compiled_node *nodes; /* the kernels of the program's steps, in their order */
    size_t n_nodes, cap_nodes;
    tn_size_case *cases;       /* first those of the buckets */
    size_t n_cases, n_buckets; /* n_buckets: of the graph, at least 1 */
    tn_spec **special;         /* by work, of cases after the buckets': the spec there */
    tn_work *works;
    size_t *same;       /* by work: the first with an equal spec and sizes */
    size_t n_works;     /* n_cases * n_nodes */
    tn_case_set **sets; /* by node: what candidates of its works are judged by */
    size_t n_settled; /* of the plan's buckets the first, which are the graph's: launch policies are chosen for these */
    const tn_arch *arch;
    tn_tuner *tuner; /* NULL without a GPU */
    bool tuning;     /* this arch is the GPU's and timing is wanted */
    tn_nvrtc *nvrtc;
    tn_cache *cache;
    tn_lockfile *lock;
    tn_pool *pool;
    uint64_t templates_hash;
    char options_text[64], nvrtc_text[16];
    char versions[160]; /* of what makes and judges kernels, for records */
    const char *precision;
    double start, deadline, settle_by; /* the last: of the architecture that is tuned */
    double candidates_s, waiting_s;    /* seconds spent: enumerating; waiting for jobs while nothing else was to do */
    uint64_t cases_begun;              /* of the architecture */
    bool cancelled, past_deadline;

    tn_env job_env; /* for jobs: the caller's without progress, which belongs to the thread that called tn_compile */
    pthread_mutex_t mutex; /* guards works[].pending and what follows */
    pthread_cond_t built_one;
    uint64_t built, to_build, cases_made;
    double build_s, reference_s; /* of all threads together */

    tn_plan *old; /* whose architectures are kept; NULL: none */
    tn_manifest *mf;
    tn_plan_writer *writer;
    TnPlan__Plan plan;
    TnPlan__Arch *tuned;   /* of the plan's, what was timed on this GPU; NULL: none */
    char program_hash[33]; /* what launch policies and winners in the whole network are found by */
    tn_rival *rivals;      /* of the architecture that was timed */
    size_t n_rivals, cap_rivals;
    size_t own_kernels, own_alternatives, own_blobs; /* the rivals' come after these while they are tried */
} tn_compilation;

/* The passes' options that a compilation with these options uses. */
tn_pass_options tn_compile_passes(const tn_compile_options *o);

/* tn_compile for a plan's own graph, which keeps what the plan holds for other architectures.  `old` outlives the
 * graph.
 */
tn_status tn_compile_again(tn_graph *g, const tn_compile_options *opts, tn_plan *old, const char *path);

/* compile.c */
static inline size_t tn_first_special(const tn_compilation *c) {
    return c->n_buckets * c->n_nodes;
}
bool tn_is_distinct(const tn_compilation *c, size_t k);      /* work k is real: others share its candidates */
tn_spec *tn_spec_of_work(const tn_compilation *c, size_t k); /* as all sizes have it, or its special case */
/* The work that a node has in a case. */
tn_work *tn_work_in(const tn_compilation *c, size_t node, size_t kase);
/* Winners that serve a node, in the order in which they count: each where its case holds, the last one everywhere. */
typedef struct tn_way {
    tn_work *work; /* of equal winners the first */
    uint32_t kase;
} tn_way;
size_t tn_ways(const tn_compilation *c, size_t node, tn_way out[TN_MAX_BUCKETS]);
/* How many times as fast as b candidate a must be to be worth a copy of the weights in an order of its own, where b is
 * there anyway: 1 where both read them in one order, or they are small. */
double tn_copy_worth(const tn_candidate *a, const tn_candidate *b);
/* Shows progress; TN_E_CANCELLED once the caller wants no more. */
tn_status tn_compile_progress(tn_compilation *c, const char *phase, const char *item, uint64_t done, uint64_t total);
/* The candidate that stands first and is built; false if none is. */
bool tn_choose_first(tn_work *w);
tn_status tn_no_candidate(tn_compilation *c, const tn_work *w); /* the error */

/* compile_list.c: the candidates of all works, for c->arch. */
tn_status tn_list_works(tn_compilation *c);
/* Of one again, whatever records say: their winner is no good. */
tn_status tn_relist_candidates(tn_compilation *c, tn_work *w);
void tn_remember(tn_compilation *c, const tn_work *w); /* the tuned work, in the cache */
/* What a winner in the whole network is kept by: 16 hexadecimal digits, then zero. */
void tn_winner_key(const tn_spec *s, char key[17]);
/* Keeps a rival that won, in the cache and in the lockfile. */
tn_status tn_remember_rival(tn_compilation *c, const tn_rival *r);

/* compile_build.c: jobs; `first`: before all others.  References read the graph, which nobody may change then. */
tn_status tn_start_build(tn_compilation *c, tn_work *w, size_t k, bool first);
tn_status tn_start_case(tn_compilation *c, tn_case *x);
/* Until none reads the graph any more. */
void tn_wait_cases(tn_compilation *c);
/* Waits for w's jobs and cases (w NULL: for all builds), showing progress. */
tn_status tn_wait_jobs(tn_compilation *c, const tn_work *w);
/* Are they done? */
bool tn_jobs_done(tn_compilation *c, const tn_work *w);
/* How many jobs have ended, of all works; and waits until that is not `seen` any more, showing progress as w's. */
uint64_t tn_jobs_ended(tn_compilation *c);
tn_status tn_wait_more(tn_compilation *c, const tn_work *w, uint64_t seen);

/* compile_order.c: the works that are real and have candidates, in the order in which they are tuned; freed with
 * tn_free(env, *out, (c->n_works + 1) * sizeof **out). */
tn_status tn_tuning_order(const tn_compilation *c, size_t **out, size_t *n);

/* compile_tune.c: when all works are listed, chooses every one's winner. */
tn_status tn_choose_tuned(tn_compilation *c);

/* compile_settle.c: the last phase of tuning.  Takes the launch policies of the plan's k-th architecture from the lockfile
 * or the cache, if they are there. */
tn_status tn_recall_policies(tn_compilation *c, size_t k);
/* They are to be found by timing, once the plan is written. */
bool tn_must_settle(const tn_compilation *c);
/* Then sets those of c->tuned from timings of the whole network, which is loaded from the plan that was written at `path`,
 * or lies in memory (path NULL), and saves the lockfile.  *changed: the manifest says something new. */
tn_status tn_settle(tn_compilation *c, const char *path, const void *data, size_t size, bool *changed);

/* compile_rivals.c.  Once the architecture that was timed is in the plan, while its candidates live: lists those that are
 * worth a trial.  arch->steps[step_of[k]] is the step of node k. */
tn_status tn_list_rivals(tn_compilation *c, TnPlan__Arch *arch, const uint32_t *step_of);
/* Adds them to the plan that is loaded to be timed. */
tn_status tn_add_rivals(tn_compilation *c);
/* Tries those of a bucket under a policy, in a context at its sizes, where an inference takes about whole_us. */
tn_status tn_try_rivals(tn_compilation *c, tn_context *x, size_t bucket, const TnPlan__Policy *policy, double whole_us);
/* Takes them from the plan again; what won is in the places of what it won against, and remembered. */
tn_status tn_settle_rivals(tn_compilation *c);

/* program/plan_build.c: the plan's messages. */
tn_status tn_plan_begin(tn_compilation *c, size_t n_archs);
/* How a candidate of way.work does a node's work, as `kernel` of the architecture. */
tn_status tn_plan_set_way(tn_compilation *c, size_t node, tn_way way, const tn_candidate *x, uint32_t kernel,
                          TnPlan__Step *s);
TnPlan__Kernel *tn_plan_kernel(tn_compilation *c, const tn_candidate *x); /* without its blobs */
/* Adds the current arch with the winners of all works. */
tn_status tn_plan_add_arch(tn_compilation *c);
/* program/keep_archs.c: adds the architectures of c->old that c does not compile for. */
tn_status tn_plan_keep_archs(tn_compilation *c);
/* program/weights.c: weights and IR; *consts, parallel to the manifest's constants, lives as long as that. */
tn_status tn_plan_add_weights(tn_compilation *c, const tn_const_at **consts);
/* Weights, IR, inputs, outputs. */
tn_status tn_plan_end(tn_compilation *c);

#endif
