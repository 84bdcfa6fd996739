/* runner.c: the registry of passes, the standard pipeline, and the runner around each pass: verify, time, count, dump,
 * print on change, and a reproducer when one fails. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ir/text/text.h"
#include "tenon/internal/memory.h"
#include "passes/rule.h"

#define PASS(name, summary) tn_status tn_pass_##name(tn_graph *g, tn_pass_ctx *ctx);
#include "passes/passes.def"
#undef PASS

static const struct pass {
    const char *name, *summary;
    tn_pass_fn run;
} passes[] = {
#define PASS(name, summary) {#name, summary, tn_pass_##name},
#include "passes/passes.def"
#undef PASS
};
enum { N_PASSES = sizeof passes / sizeof passes[0], MAX_MISSES = 1024 };

struct tn_pass_ctx {
    const tn_env *env;
    tn_pass_options opts;
    tn_pass_report *reports;
    size_t n_reports, cap_reports;
    tn_rule_count *counts;
    size_t n_counts, cap_counts;
    tn_near_miss *misses;
    size_t n_misses, cap_misses;
    uint32_t rewrites;
};

/* Why this order:
 *   branch               what stood in branches is seen by all that follows
 *   dequantise           before fold makes floats of quantised weights
 *   canon fold cse dce   importers emit what the model says; everything after sees one spelling of it
 *   recognise            needs the canonical spelling, and must see norms and softmax before affine takes their
 *                        constants
 *   affine               folds batch norms and scales while convolutions are still float32 NCHW: one rounding, plain
 *                        shapes
 *   layout, cancel       transposes around every convolution, then as few of them as possible; cancel also runs first,
 *                        so that the model's own transposes do not stand between two convolutions
 *   integer              after layout: a convolution's padding with a zero point stands before it as it will run
 *   precision            after layout: casts sit beside heavy ops and do not separate transposes that cancel
 *   canon fold cse dce   casts and transposes of weights are folded into the weights
 *   expand               composites without a kernel become core ops: after cancel, which renames one axis of a
 *                        composite where the expansion has reshapes in its way; the last round cleans up
 *   paired               before horizontal, which would have to leave such products apart
 *   horizontal           when weights and constants have their last dtype and layout; fold puts weights side by side
 *   rotary               of the product of queries, keys and values, which horizontal makes
 *   normed               of products as they will run, whose weights are constants again; fold takes its shifts apart
 *   kmajor               of weights as they will be, which fold turns once
 *   fuse                 sees only what will run */
#define CLEAN "canon,fold,cse,dce,"
#define BEFORE CLEAN "recognise,affine,fold,cancel,"
#define AFTER "integer,precision," CLEAN "expand," CLEAN
#define LAYOUT "layout,fold,cancel,"
#define WIDE "paired,horizontal,fold,rotary,fold,normed,fold,kmajor,fold,cse,dce,"

const char *tn_standard_pipeline(const tn_pass_options *opts) {
    static const char *const pipelines[2][2] = {
        {"branch,dequantise," BEFORE AFTER WIDE "fuse", "branch,dequantise," BEFORE LAYOUT AFTER WIDE "fuse"},
        {BEFORE AFTER, BEFORE LAYOUT AFTER}};
    return pipelines[opts && opts->reference][!opts || opts->nhwc];
}

size_t tn_pass_count(void) {
    return N_PASSES;
}

const char *tn_pass_name(size_t k) {
    return k < N_PASSES ? passes[k].name : "";
}

const char *tn_pass_summary(size_t k) {
    return k < N_PASSES ? passes[k].summary : "";
}

/* ---- the context ------------------------------------------------------------------------------------------------- */

tn_pass_ctx *tn_pass_ctx_new(const tn_env *env, const tn_pass_options *opts) {
    tn_pass_ctx *ctx = tn_alloc(env, sizeof *ctx);
    if (!ctx) return NULL;
    ctx->env = env;
    if (opts) ctx->opts = *opts;
    if (ctx->opts.compute == TN_DTYPE_NONE) ctx->opts.compute = TN_F32;
    return ctx;
}

void tn_pass_ctx_free(tn_pass_ctx *ctx) {
    if (!ctx) return;
    tn_free(ctx->env, ctx->reports, ctx->cap_reports * sizeof *ctx->reports);
    tn_free(ctx->env, ctx->counts, ctx->cap_counts * sizeof *ctx->counts);
    tn_free(ctx->env, ctx->misses, ctx->cap_misses * sizeof *ctx->misses);
    tn_free(ctx->env, ctx, sizeof *ctx);
}

const tn_pass_options *tn_pass_opts(const tn_pass_ctx *ctx) {
    return &ctx->opts;
}

size_t tn_pass_reports(const tn_pass_ctx *ctx, const tn_pass_report **reports) {
    *reports = ctx->reports;
    return ctx->n_reports;
}

size_t tn_rule_counts(const tn_pass_ctx *ctx, const tn_rule_count **counts) {
    *counts = ctx->counts;
    return ctx->n_counts;
}

size_t tn_near_misses(const tn_pass_ctx *ctx, const tn_near_miss **misses) {
    *misses = ctx->misses;
    return ctx->n_misses;
}

/* Where there is no memory a report is lost, not the compilation. */
static void add_report(tn_pass_ctx *ctx, tn_pass_report report) {
    tn_pass_report *p = tn_grow(ctx->env, ctx->reports, &ctx->cap_reports, ctx->n_reports + 1, sizeof *p);
    if (!p) return;
    ctx->reports = p;
    ctx->reports[ctx->n_reports++] = report;
}

static tn_rule_count *count_of(tn_pass_ctx *ctx, const char *rule) {
    for (size_t k = 0; k < ctx->n_counts; k++)
        if (ctx->counts[k].rule == rule || !strcmp(ctx->counts[k].rule, rule)) return &ctx->counts[k];
    tn_rule_count *p = tn_grow(ctx->env, ctx->counts, &ctx->cap_counts, ctx->n_counts + 1, sizeof *p);
    if (!p) return NULL;
    ctx->counts = p;
    ctx->counts[ctx->n_counts] = (tn_rule_count){.rule = rule};
    return &ctx->counts[ctx->n_counts++];
}

bool tn_pass_has_budget(const tn_pass_ctx *ctx) {
    if (ctx->opts.no_rewrites) return false;
    return ctx->opts.stop_after_rewrite == 0 || ctx->rewrites < ctx->opts.stop_after_rewrite;
}

bool tn_pass_may_rewrite(tn_pass_ctx *ctx, const char *rule) {
    if (!tn_pass_has_budget(ctx)) return false;
    ctx->rewrites++;
    tn_rule_count *c = count_of(ctx, rule);
    if (c) c->fired++;
    return true;
}

void tn_pass_skipped(tn_pass_ctx *ctx, const char *rule, uint32_t n) {
    tn_rule_count *c = n ? count_of(ctx, rule) : NULL;
    if (c) c->skipped += n;
}

void tn_pass_refused(tn_pass_ctx *ctx, const char *rule, const tn_graph *g, tn_node at, const char *why) {
    tn_rule_count *c = count_of(ctx, rule);
    if (c) c->refused++;
    if (ctx->n_misses >= MAX_MISSES) return;
    tn_near_miss miss = {rule, why, ""};
    tn_loc_print(g, tn_node_loc(g, at), miss.loc, sizeof miss.loc);
    for (size_t k = ctx->n_misses; k-- > 0;) {
        const tn_near_miss *m = &ctx->misses[k];
        if (m->rule == rule && m->why == why && !strcmp(m->loc, miss.loc)) return;
    }
    tn_near_miss *p = tn_grow(ctx->env, ctx->misses, &ctx->cap_misses, ctx->n_misses + 1, sizeof *p);
    if (!p) return;
    ctx->misses = p;
    ctx->misses[ctx->n_misses++] = miss;
}

/* ---- reproducer, dumps ------------------------------------------------------------------------------------------- */

/* The graph that a pass was given, under a header that says which pass. */
static tn_status write_reproducer(const tn_graph *g, const char *path, const char *pass) {
    char comment[128];
    snprintf(comment, sizeof comment, "passes: %s", pass);
    tn_status s = tn_write_commented(g, path, comment);
    if (s == TN_OK) tn_report(tn_graph_env(g), TN_NOTE, TN_OK, path, "wrote the input of the failing pass %s", pass);
    return s;
}

static tn_status print_graph(const tn_graph *g, const char *pass, FILE *out) {
    char *text = NULL;
    size_t size = 0;
    tn_status s = tn_print(g, "weights", &text, &size);
    if (s != TN_OK) return s;
    fprintf(out, "// after %s\n%.*s\n", pass, (int)size, text);
    tn_free(tn_graph_env(g), text, size + 1);
    return TN_OK;
}

static tn_status dump_graph(const tn_graph *g, const char *dir, size_t number, const char *pass) {
    char path[1024];
    if ((size_t)snprintf(path, sizeof path, "%s/%02zu-%s.tn", dir, number, pass) >= sizeof path)
        return tn_fail(tn_graph_env(g), TN_E_ARGUMENT, dir, "use a shorter path",
                       "the dump directory's path is too long");
    return tn_write_file(g, path);
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

static const struct pass *find_pass(const char *name, size_t n) {
    for (size_t k = 0; k < N_PASSES; k++)
        if (strlen(passes[k].name) == n && !memcmp(passes[k].name, name, n)) return &passes[k];
    return NULL;
}

static tn_status unknown_pass(const tn_env *env, const char *name, size_t n) {
    char known[512] = "";
    size_t len = 0;
    for (size_t k = 0; k < N_PASSES && len < sizeof known; k++) {
        int w = snprintf(known + len, sizeof known - len, "%s%s", k ? ", " : "", passes[k].name);
        len += w > 0 ? (size_t)w : 0;
    }
    char hint[600];
    snprintf(hint, sizeof hint, "passes are %s", known);
    return tn_fail(env, TN_E_ARGUMENT, "", hint, "unknown pass '%.*s'", (int)(n > 64 ? 64 : n), name);
}

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* What has not changed was verified before. */
static tn_status run_one(tn_graph *g, tn_pass_ctx *ctx, const struct pass *p, uint64_t *hash) {
    tn_graph *before = ctx->opts.reproducer ? tn_graph_clone(g) : NULL;
    uint32_t rewrites = ctx->rewrites;
    const size_t conditions = tn_condition_count(g);
    const uint64_t edits = tn_graph_edits(g);
    double start = now_ms();
    tn_status s = p->run(g, ctx);
    if (s == TN_OK) s = tn_graph_status(g);
    double ms = now_ms() - start;
    if (s == TN_OK) {
        if (tn_graph_edits(g) != edits) s = tn_verify(g);
        if (s != TN_OK)
            tn_fail(ctx->env, s, p->name, "this is a bug of the pass", "pass %s left a broken graph", p->name);
    } else {
        tn_report(ctx->env, TN_NOTE, s, p->name, "pass %s failed", p->name);
    }
    if (s == TN_OK && tn_condition_count(g) != conditions) {
        tn_graph_choose_hints(g);
        s = tn_graph_use_conditions(g);
    }
    if (s != TN_OK && before) write_reproducer(before, ctx->opts.reproducer, p->name);
    tn_graph_free(before);
    if (s != TN_OK) return s;
    const uint64_t after = tn_graph_edits(g) != edits ? tn_graph_hash(g) : *hash;
    add_report(ctx, (tn_pass_report){p->name, ms, after != *hash, ctx->rewrites - rewrites});
    if (after != *hash && ctx->opts.print_changed && ctx->opts.out) s = print_graph(g, p->name, ctx->opts.out);
    if (s == TN_OK && ctx->opts.dump_dir) s = dump_graph(g, ctx->opts.dump_dir, ctx->n_reports, p->name);
    *hash = after;
    return s;
}

/* Calls fn for each name between commas. */
static tn_status each_name(const char *names, tn_status (*fn)(void *user, const char *name, size_t n), void *user) {
    tn_status s = TN_OK;
    while (s == TN_OK && *names) {
        names += strspn(names, ", \t");
        size_t n = strcspn(names, ", \t");
        if (n) s = fn(user, names, n);
        names += n;
    }
    return s;
}

typedef struct run_state {
    tn_graph *g;
    tn_pass_ctx *ctx;
    uint64_t hash;
    bool without;           /* the names are of passes that do not run: each has a '-' before it */
    bool skipped[N_PASSES]; /* they */
} run_state;

static tn_status check_name(void *user, const char *name, size_t n) {
    run_state *r = user;
    const bool skips = r->without && *name == '-';
    const struct pass *p = find_pass(name + skips, n - skips);
    if (!p || skips != r->without) return unknown_pass(r->ctx->env, name, n);
    if (skips) r->skipped[p - passes] = true;
    return TN_OK;
}

static tn_status run_name(void *user, const char *name, size_t n) {
    run_state *r = user;
    const struct pass *p = find_pass(name, n);
    return r->skipped[p - passes] ? TN_OK : run_one(r->g, r->ctx, p, &r->hash);
}

tn_status tn_run_passes(tn_graph *g, const char *names, tn_pass_ctx *ctx) {
    if (!g || !ctx) return TN_E_ARGUMENT;
    if (!names) names = tn_standard_pipeline(&ctx->opts);
    run_state r = {.g = g, .ctx = ctx, .without = *names == '-'};
    tn_status s = each_name(names, check_name, &r);
    if (s != TN_OK) return s;
    if (r.without) names = tn_standard_pipeline(&ctx->opts);
    if (tn_graph_status(g) != TN_OK) return tn_graph_status(g);
    s = tn_verify(g);
    if (s == TN_OK) s = tn_graph_collect_conditions(g);
    if (s == TN_OK) tn_graph_choose_hints(g);
    if (s != TN_OK) return s;
    r.hash = tn_graph_hash(g);
    return each_name(names, run_name, &r);
}
