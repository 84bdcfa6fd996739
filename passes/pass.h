/* pass.h: passes, their registry and the runner.
 *
 * One identifier everywhere: a row PASS(canon, ...) in passes.def is the function tn_pass_canon, the name in
 * --passes=canon,cse, the tests in tests/ir/canon/ and the dump 03-canon.tn.  A pass reads options from tn_pass_ctx,
 * changes the graph through the mutators, and keeps no state. */
#ifndef TENON_PASS_H
#define TENON_PASS_H

#include <stdio.h>
#include "../ir/ir.h" /* relative: the installed headers lie below tenon/ */

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tn_numerics { TN_NUMERICS_RELAXED, TN_NUMERICS_EXACT } tn_numerics;

/* Where what was measured on a graph is found again by whoever measures on an equal one: texts as keys. */
typedef struct tn_pass_memo {
    bool (*get)(void *user, const char *key, void **data,
                size_t *size); /* the caller frees it: tn_free(env, *data, *size) */
    void (*put)(void *user, const char *key, const void *data, size_t size);
    void *user;
} tn_pass_memo;

typedef struct tn_pass_options {
    tn_dtype compute;         /* TN_F32, TN_F16 or TN_BF16: what heavy ops and activations are stored in */
    bool tf32;                /* f32 matmul and conv may use tf32 tensor cores */
    bool check_ranges;        /* f16: measure magnitudes on random inputs and keep f32 what f16 cannot hold */
    const tn_pass_memo *memo; /* for what is measured; NULL: none */
    tn_numerics numerics;
    bool nhwc;                   /* convolutions in NHWC (the standard pipeline sets it) */
    bool reference;              /* for the reference: branches stay, and nothing is wrapped into kernels */
    bool print_changed;          /* print the graph to `out` after each pass that changed it */
    const char *dump_dir;        /* write NN-pass.tn after each pass; NULL: no */
    uint32_t stop_after_rewrite; /* rules fire at most this often in all (bisection); 0: no limit */
    bool no_rewrites;            /* rules never fire */
    const char *reproducer;      /* file for the input of a failing pass under a "// passes: ..." header; NULL: none */
    FILE *out;                   /* for print_changed; NULL: nothing is printed */
} tn_pass_options;

/* Counts per rule, and where and why one whose pattern matches was refused. */
typedef struct tn_rule_count {
    const char *rule;
    uint32_t fired, refused;
    uint32_t skipped; /* refused for a condition that is part of the pattern: nothing that a user would ask about */
} tn_rule_count;
typedef struct tn_near_miss {
    const char *rule, *why;
    char loc[96];
} tn_near_miss;
typedef struct tn_pass_report {
    const char *pass;
    double ms;
    bool changed;
    uint32_t rewrites;
} tn_pass_report;

typedef struct tn_pass_ctx tn_pass_ctx; /* options, counters, near misses: passes/runner.c */
const tn_pass_options *tn_pass_opts(const tn_pass_ctx *ctx);

typedef tn_status (*tn_pass_fn)(tn_graph *g, tn_pass_ctx *ctx);

/* Runs "a,b,c" (NULL: the standard pipeline for the options; "-a,-b": that without these).  Verifies after every pass that changed something.  Unknown
 * names are an error that lists the known ones.  `ctx` collects reports; make it with tn_pass_ctx_new. */
tn_pass_ctx *tn_pass_ctx_new(const tn_env *env, const tn_pass_options *opts);
void tn_pass_ctx_free(tn_pass_ctx *ctx);
tn_status tn_run_passes(tn_graph *g, const char *names, tn_pass_ctx *ctx);
size_t tn_pass_count(void);
const char *tn_pass_name(size_t k);
const char *tn_pass_summary(size_t k);
const char *tn_standard_pipeline(const tn_pass_options *opts);
/* Whether only the reference can run the graph as it is: it has branches, loops or sizes that depend on data. */
bool tn_needs_reference(const tn_graph *g);
size_t tn_pass_reports(const tn_pass_ctx *ctx, const tn_pass_report **reports);
size_t tn_rule_counts(const tn_pass_ctx *ctx, const tn_rule_count **counts);
size_t tn_near_misses(const tn_pass_ctx *ctx, const tn_near_miss **misses);
/* For passes and rules: count a rewrite; false once --stop-after-rewrite is reached (then do not rewrite). */
bool tn_pass_may_rewrite(tn_pass_ctx *ctx, const char *rule);
void tn_pass_refused(tn_pass_ctx *ctx, const char *rule, const tn_graph *g, tn_node at, const char *why);
void tn_pass_skipped(tn_pass_ctx *ctx, const char *rule, uint32_t n);

#ifdef __cplusplus
}
#endif
#endif
