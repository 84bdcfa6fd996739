/* compile.c: tn_compile: passes, placements, specs, candidates, builds, tuning, plan.
 *
 * Builds run on a pool of threads while this thread tunes: first every spec's best-predicted candidate (so that a valid
 * plan exists from then on), then spec by spec the rest.  At the deadline what is not built is dropped and the untimed
 * specs take the cost model's choice. */
#include "codegen/compile.h"

#include <stdio.h>
#include <string.h>

enum { TUNED_CANDIDATES = 14, UNTUNED_CANDIDATES = 4, PROGRESS_MS = 100 };

static tn_status check_cancel(tn_compilation *c, const char *phase, const char *item, uint64_t done, uint64_t total) {
    double elapsed = tn_now() - c->start;
    double eta = done && total > done ? elapsed / (double)done * (double)(total - done) : -1;
    if (c->deadline > 0 && eta > c->deadline - tn_now()) eta = c->deadline - tn_now();
    tn_progress p = {.phase = phase, .item = item, .done = done, .total = total, .elapsed_s = elapsed, .eta_s = eta};
    if (c->env && c->env->progress && !c->env->progress(c->env->progress_user, &p)) {
        if (!c->cancelled) tn_report(c->env, TN_NOTE, TN_E_CANCELLED, "", "cancelled: nothing was written");
        c->cancelled = true;
    }
    return c->cancelled ? TN_E_CANCELLED : TN_OK;
}

/* ---- specs ---- */

static tn_status add_node(tn_compilation *c, tn_node n) {
    if (c->n_nodes == c->cap_nodes) {
        size_t cap = c->cap_nodes ? 2 * c->cap_nodes : 64;
        tn_compiled_node *p = tn_realloc(c->env, c->nodes, c->cap_nodes * sizeof *p, cap * sizeof *p);
        if (!p) return TN_E_MEMORY;
        c->nodes = p;
        c->cap_nodes = cap;
    }
    tn_compiled_node *cn = &c->nodes[c->n_nodes];
    *cn = (tn_compiled_node){.node = n};
    tn_status s = tn_spec_make(c->g, n, &c->mem, &cn->spec);
    if (s != TN_OK) return s;
    for (cn->work = 0; cn->work < c->n_nodes; cn->work++)
        if (!memcmp(c->nodes[cn->work].spec->hash, cn->spec->hash, sizeof cn->spec->hash)) break;
    c->n_nodes++;
    return TN_OK;
}

static tn_status make_specs(tn_compilation *c) {
    TN_FOR_NODES(c->g, tn_graph_body(c->g), n) {
        if (tn_node_op(c->g, n) != TN_OP_KERNEL) continue;
        tn_status s = add_node(c, n);
        if (s != TN_OK) return s;
    }
    c->works = tn_alloc(c->env, (c->n_nodes + 1) * sizeof *c->works);
    return c->works ? TN_OK : TN_E_MEMORY;
}

static bool is_distinct(const tn_compilation *c, size_t k) {
    return c->nodes[k].work == k;
}

/* ---- candidates ---- */

static void record_key(const tn_compilation *c, const tn_work *w, const tn_arch *arch, char *key, size_t size) {
    const tn_tuner_info *i = c->tuner ? tn_tuner_get_info(c->tuner) : NULL;
    snprintf(key, size, "%s|%s|%s|%d|%s|%s|%s|%s|%016llx|%016llx%016llx", TENON_VERSION, arch->name,
             i ? i->gpu : "untuned", i ? i->sms : 0, i ? i->driver : "", c->nvrtc_text, i ? i->cublaslt : "",
             c->options_text, (unsigned long long)c->templates_hash, (unsigned long long)w->spec->hash[0],
             (unsigned long long)w->spec->hash[1]);
}

/* True if the winner is known already, from the lockfile or from the cache. */
static bool recall(tn_compilation *c, tn_work *w, const tn_arch *arch, const tn_lt_call *lt) {
    const char *line = tn_lockfile_find(c->lock, w->spec->hash, arch->name);
    if (line) {
        if (tn_record_read(c->env, w, arch, lt, line)) return w->from_cache = true;
        tn_report(c->env, TN_WARNING, TN_E_FORMAT, w->spec->name,
                  "the lockfile's winner does not exist any more: \"%.80s\"", line);
    }
    if (!c->tuning) return false;
    char key[512];
    void *text;
    size_t size;
    record_key(c, w, arch, key, sizeof key);
    if (!tn_cache_get(c->cache, "tune", key, &text, &size)) return false;
    w->from_cache = w->tuned = tn_record_read(c->env, w, arch, lt, text);
    tn_free(c->env, text, size);
    return w->from_cache;
}

static tn_status add_variants(tn_compilation *c, tn_work *w, const tn_arch *arch) {
    tn_variant *v = NULL;
    size_t n = 0;
    tn_status s = tn_enumerate(w->spec, arch, NULL, c->tuning ? TUNED_CANDIDATES : UNTUNED_CANDIDATES, &v, &n);
    if (s != TN_OK) return s;
    size_t k = 0;
    for (; k < n; k++) {
        tn_candidate *x = tn_work_add(c->env, w);
        if (!x) break;
        x->v = v[k];
        x->predicted_us = v[k].cost_us;
        x->max_abs = x->max_rel = -1;
        snprintf(x->text, sizeof x->text, "%s", v[k].text);
    }
    s = k == n ? TN_OK : TN_E_MEMORY;
    for (; k < n; k++) tn_variant_free(c->env, &v[k]);
    tn_free(c->env, v, n * sizeof *v);
    return s;
}

static tn_status make_candidates(tn_compilation *c, tn_work *w, const tn_arch *arch) {
    tn_lt_call lt;
    bool has_lt = tn_lt_match(w->spec, &lt);
    if (recall(c, w, arch, has_lt ? &lt : NULL)) return TN_OK;
    tn_status s = add_variants(c, w, arch);
    if (s == TN_OK && has_lt && c->tuning && tn_tuner_get_info(c->tuner)->has_lt)
        s = tn_tuner_lt_candidates(c->tuner, w, &lt);
    return s;
}

/* ---- builds ---- */

static void build_candidate(tn_compilation *c, tn_candidate *x) {
    x->bin.status = tn_variant_source(c->env, &x->v, &x->source, &x->source_size);
    if (x->bin.status == TN_OK && c->opts->sources_only) {
        x->bin.cubin = tn_alloc(c->env, x->bin.size = 1); /* stands for the machine code that is missing */
        if (!x->bin.cubin) x->bin.status = TN_E_MEMORY;
    } else if (x->bin.status == TN_OK)
        tn_build_source(c->env, c->nvrtc, c->cache, c->arch->name, x->v.symbol, x->source, x->source_size, &x->bin);
    if (x->bin.status != TN_OK) {
        x->out = true;
        snprintf(x->note, sizeof x->note, "does not compile: %.150s", x->bin.error);
    }
}

/* Past the deadline a spec that has a kernel needs no other. */
static bool too_late(tn_compilation *c, tn_work *w) {
    if (!c->tuning || tn_now() < c->deadline) return false;
    pthread_mutex_lock(&c->mutex);
    bool has_kernel = w->has_kernel;
    pthread_mutex_unlock(&c->mutex);
    return has_kernel;
}

static void run_build(void *arg) {
    tn_candidate *x = arg;
    tn_work *w = x->work;
    tn_compilation *c = w->owner;
    const double start = tn_now();
    if (!too_late(c, w))
        build_candidate(c, x);
    else
        snprintf(x->note, sizeof x->note, "not built before the deadline");
    pthread_mutex_lock(&c->mutex);
    c->build_s += tn_now() - start;
    w->pending--;
    if (x->bin.cubin) w->has_kernel = true;
    c->built++;
    pthread_cond_broadcast(&c->built_one);
    pthread_mutex_unlock(&c->mutex);
}

/* The candidate itself is the job, so that a cancelled queue has nothing to free. */
static tn_status start_build(tn_compilation *c, tn_work *w, size_t k) {
    tn_candidate *x = &w->c[k];
    if (x->is_lt || x->out || x->bin.cubin) return TN_OK;
    x->work = w;
    w->owner = c;
    pthread_mutex_lock(&c->mutex);
    w->pending++;
    c->to_build++;
    pthread_mutex_unlock(&c->mutex);
    return tn_pool_add(c->pool, run_build, x);
}

/* Waits until w's builds are done (w NULL: all), showing progress. */
static tn_status wait_builds(tn_compilation *c, const tn_work *w) {
    for (;;) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += PROGRESS_MS * 1000000L;
        if (until.tv_nsec >= 1000000000L) until.tv_nsec -= 1000000000L, until.tv_sec++;
        pthread_mutex_lock(&c->mutex);
        bool done = w ? w->pending == 0 : c->built == c->to_build;
        if (!done) pthread_cond_timedwait(&c->built_one, &c->mutex, &until);
        done = w ? w->pending == 0 : c->built == c->to_build;
        uint64_t built = c->built, total = c->to_build;
        pthread_mutex_unlock(&c->mutex);
        tn_status s = check_cancel(c, c->tuning ? "tune" : "compile", w ? w->spec->name : "", built, total);
        if (s != TN_OK || done) return s;
    }
}

/* ---- choosing ---- */

/* The candidate that stands first and is built; false if none is. */
static bool choose_first(tn_work *w) {
    for (size_t k = 0; k < w->n && !w->chosen; k++)
        if (!w->c[k].out && !w->c[k].is_lt && w->c[k].bin.cubin) {
            w->winner = k;
            w->chosen = true;
            snprintf(w->c[k].note, sizeof w->c[k].note, "winner by the cost model, not timed");
        }
    return w->chosen;
}

static tn_status no_candidate(tn_compilation *c, const tn_work *w) {
    char loc[256];
    const char *why = "no candidate exists";
    for (size_t k = 0; k < w->n; k++)
        if (*w->c[k].note) why = w->c[k].note;
    tn_loc_print(c->g, tn_node_loc(c->g, w->spec->kernel), loc, sizeof loc);
    return tn_fail(c->env, TN_E_COMPILE, loc, "please report this with the model and `tenon opt MODEL`",
                   "no kernel works for %s on %s (%zu candidates; the last: %s)", w->spec->name, c->arch->name, w->n,
                   why);
}

/* The best predicted candidate that compiles, rank by rank. */
static tn_status choose_untuned(tn_compilation *c) {
    for (size_t rank = 0;; rank++) {
        bool any = false;
        for (size_t k = 0; k < c->n_nodes; k++) {
            tn_work *w = &c->works[k];
            if (!is_distinct(c, k) || w->chosen || rank >= w->n) continue;
            tn_status s = start_build(c, w, rank);
            if (s != TN_OK) return s;
            any = true;
        }
        tn_status s = wait_builds(c, NULL);
        if (s != TN_OK) return s;
        for (size_t k = 0; k < c->n_nodes; k++)
            if (is_distinct(c, k)) choose_first(&c->works[k]);
        if (!any) break;
    }
    for (size_t k = 0; k < c->n_nodes; k++)
        if (is_distinct(c, k) && !c->works[k].chosen) return no_candidate(c, &c->works[k]);
    return TN_OK;
}

static void remember(tn_compilation *c, const tn_work *w) {
    char key[512], *text;
    size_t size;
    record_key(c, w, c->arch, key, sizeof key);
    if (tn_record_write(c->env, w, &text, &size) != TN_OK) return;
    tn_cache_put(c->cache, "tune", key, text, size - 1);
    tn_free(c->env, text, size);
}

static tn_status start_all_builds(tn_compilation *c) {
    for (int round = 0; round < 2; round++)
        for (size_t k = 0; k < c->n_nodes; k++) {
            tn_work *w = &c->works[k];
            if (!is_distinct(c, k)) continue;
            size_t first = w->from_cache ? w->winner : 0, end = w->from_cache ? first + 1 : w->n;
            for (size_t r = round ? first + 1 : first; r < (round ? end : first + 1) && r < w->n; r++) {
                tn_status s = start_build(c, w, r);
                if (s != TN_OK) return s;
            }
        }
    return TN_OK;
}

static tn_status tune_work(tn_compilation *c, tn_work *w) {
    const double start = tn_now();
    tn_status s = wait_builds(c, w);
    c->waiting_s += tn_now() - start;
    if (s != TN_OK) return s;
    if (w->from_cache && !w->c[w->winner].out) {
        w->chosen = true;
        return TN_OK;
    }
    if (tn_now() < c->deadline) {
        s = tn_tuner_run(c->tuner, w, c->deadline);
        if (s != TN_OK) return s;
        if (w->chosen && w->tuned) remember(c, w);
    }
    return w->chosen || choose_first(w) ? TN_OK : no_candidate(c, w);
}

static tn_status choose_tuned(tn_compilation *c) {
    tn_status s = start_all_builds(c);
    size_t done = 0;
    for (size_t k = 0; s == TN_OK && k < c->n_nodes; k++) {
        if (!is_distinct(c, k)) continue;
        if (tn_now() > c->deadline && !c->past_deadline) {
            c->past_deadline = true;
            tn_report(c->env, TN_NOTE, TN_OK, "",
                      "tuning stopped at its deadline after %zu specs: the cost model chose the others", done);
        }
        s = tune_work(c, &c->works[k]);
        done++;
    }
    return s;
}

/* ---- one architecture ---- */

static void free_works(tn_compilation *c) {
    for (size_t k = 0; c->works && k < c->n_nodes; k++) {
        for (size_t j = 0; j < c->works[k].n; j++) tn_candidate_free(c->env, &c->works[k].c[j]);
        tn_free(c->env, c->works[k].c, c->works[k].cap * sizeof *c->works[k].c);
        memset(&c->works[k], 0, sizeof c->works[k]);
    }
}

/* Where the time went. */
static void report_times(const tn_compilation *c) {
    const tn_tuner_info *i = c->tuner ? tn_tuner_get_info(c->tuner) : NULL;
    tn_report(c->env, TN_NOTE, TN_OK, c->arch->name,
              "after %.1f s: listing candidates took %.1f s, waiting for builds %.1f s (%llu builds, %.1f s of all "
              "threads), references %.1f s, first runs %.1f s, timing %.1f s",
              tn_now() - c->start, c->candidates_s, c->waiting_s, (unsigned long long)c->built, c->build_s,
              i ? i->reference_s : 0, i ? i->check_s : 0, i ? i->race_s : 0);
}

static tn_status compile_arch(tn_compilation *c, const tn_arch *arch) {
    c->arch = arch;
    c->tuning = c->tuner && c->opts->tune_seconds >= 0 && !strcmp(tn_tuner_get_info(c->tuner)->arch, arch->name);
    c->built = c->to_build = 0;
    c->build_s = c->candidates_s = c->waiting_s = 0;
    c->deadline = c->tuning ? tn_now() + (c->opts->tune_seconds > 0 ? c->opts->tune_seconds : 60) : 0;
    tn_status s = TN_OK;
    for (size_t k = 0; s == TN_OK && k < c->n_nodes; k++) {
        if (!is_distinct(c, k)) continue;
        c->works[k].spec = c->nodes[k].spec;
        const double start = tn_now();
        s = make_candidates(c, &c->works[k], arch);
        c->candidates_s += tn_now() - start;
        if (s == TN_OK) s = check_cancel(c, "plan", c->nodes[k].spec->name, k, c->n_nodes);
    }
    if (s == TN_OK) s = c->tuning ? choose_tuned(c) : choose_untuned(c);
    tn_pool_cancel(c->pool);
    tn_pool_wait(c->pool, -1);
    if (s == TN_OK) report_times(c);
    for (size_t k = 0; s == TN_OK && k < c->n_nodes; k++)
        if (is_distinct(c, k)) s = tn_lockfile_add(c->lock, c->nodes[k].spec->hash, arch->name, &c->works[k]);
    if (s == TN_OK) s = tn_plan_add_arch(c);
    free_works(c);
    return s;
}

/* ---- the whole ---- */

tn_pass_options tn_compile_passes(const tn_compile_options *o) {
    static const tn_dtype compute[] = {
        [TN_FP32] = TN_F32, [TN_PREC_TF32] = TN_F32, [TN_FP16] = TN_F16, [TN_PREC_BF16] = TN_BF16};
    return (tn_pass_options){.compute = compute[o->precision],
                             .tf32 = o->precision == TN_PREC_TF32,
                             .numerics = o->exact ? TN_NUMERICS_EXACT : TN_NUMERICS_RELAXED,
                             .check_ranges = true,
                             .nhwc = true};
}

static tn_status run_passes(tn_compilation *c) {
    const tn_pass_options po = tn_compile_passes(c->opts);
    tn_pass_ctx *ctx = tn_pass_ctx_new(c->env, &po);
    tn_status s = ctx ? tn_run_passes(c->g, c->opts->passes, ctx) : TN_E_MEMORY;
    tn_pass_ctx_free(ctx);
    return s == TN_OK ? tn_plan_memory(c->g, &c->mem) : s;
}

static tn_status find_targets(tn_compilation *c, const tn_arch **out, size_t *n) {
    const tn_compile_options *o = c->opts;
    *n = 0;
    if (o->sources_only && !o->no_gpu)
        return tn_fail(c->env, TN_E_ARGUMENT, "", "set no_gpu", "sources without machine code cannot be tuned");
    if (!o->no_gpu) {
        tn_status s = tn_tuner_open(c->env, o->cuda_device, &c->tuner);
        if (s != TN_OK) {
            tn_report(c->env, TN_WARNING, s, "", "without a GPU, name the target: --no-gpu --target sm_90a");
            return s;
        }
    } else if (!o->n_targets) {
        return tn_fail(c->env, TN_E_ARGUMENT, "", "--target sm_90a, say", "without a GPU the target must be named");
    }
    if (!o->n_targets) {
        out[0] = tn_arch_find(tn_tuner_get_info(c->tuner)->arch);
        *n = 1;
        return out[0] ? TN_OK
                      : tn_fail(c->env, TN_E_UNSUPPORTED, tn_tuner_get_info(c->tuner)->gpu, "",
                                "architecture %s is not known", tn_tuner_get_info(c->tuner)->arch);
    }
    for (size_t k = 0; k < o->n_targets; k++) {
        const tn_arch *a = tn_arch_find(o->targets[k]);
        if (!a) {
            char known[256] = "";
            for (size_t j = 0, m = 0; j < tn_arch_count() && m < sizeof known; j++)
                m += (size_t)snprintf(known + m, sizeof known - m, "%s%s", j ? ", " : "", tn_arch_at(j)->name);
            return tn_fail(c->env, TN_E_ARGUMENT, o->targets[k], "", "unknown architecture; known: %s", known);
        }
        if (*n < TN_MAX_TARGETS) out[(*n)++] = a;
    }
    return TN_OK;
}

static tn_status prepare(tn_compilation *c) {
    const tn_compile_options *o = c->opts;
    tn_status s = o->sources_only ? TN_OK : tn_nvrtc_open(c->env, &c->nvrtc);
    if (s != TN_OK) return s;
    if (c->nvrtc) snprintf(c->nvrtc_text, sizeof c->nvrtc_text, "%d.%d", c->nvrtc->major, c->nvrtc->minor);
    c->cache = tn_cache_open(c->env, o->cache_dir);
    c->pool = tn_pool_new(c->env, o->threads);
    if (!c->cache || !c->pool) return TN_E_MEMORY;
    for (size_t k = 0; k < tn_template_count(); k++)
        c->templates_hash = c->templates_hash * 31 + tn_template_at(k)->hash;
    static const char *const precisions[] = {"fp32", "tf32", "fp16", "bf16"};
    snprintf(c->options_text, sizeof c->options_text, "precision=%s%s", precisions[o->precision],
             o->exact ? " exact" : "");
    c->precision = precisions[o->precision];
    return tn_lockfile_open(c->env, o->lockfile, &c->lock);
}

static void finish(tn_compilation *c) {
    if (c->pool) tn_pool_cancel(c->pool), tn_pool_wait(c->pool, -1);
    tn_pool_free(c->pool);
    free_works(c);
    tn_free(c->env, c->works, (c->n_nodes + 1) * sizeof *c->works);
    for (size_t k = 0; k < c->n_nodes; k++) tn_spec_free(c->nodes[k].spec);
    tn_free(c->env, c->nodes, c->cap_nodes * sizeof *c->nodes);
    tn_manifest_free(c->mf);
    tn_plan_writer_free(c->writer);
    tn_memory_free(c->g, &c->mem);
    tn_lockfile_free(c->lock);
    tn_cache_close(c->cache);
    tn_tuner_close(c->tuner);
    tn_nvrtc_close(c->nvrtc);
    pthread_cond_destroy(&c->built_one);
    pthread_mutex_destroy(&c->mutex);
}

/* Everything up to the plan's messages; the caller writes them out. */
static tn_status compile(tn_compilation *c) {
    const tn_arch *arch[TN_MAX_TARGETS];
    size_t n = 0;
    tn_status s = tn_graph_status(c->g);
    if (s == TN_OK) s = find_targets(c, arch, &n);
    if (s == TN_OK) s = prepare(c);
    if (s == TN_OK) s = check_cancel(c, "rewrite", "", 0, 0);
    if (s == TN_OK) s = run_passes(c);
    if (s == TN_OK) s = make_specs(c);
    if (s == TN_OK) s = tn_plan_begin(c, n);
    for (size_t k = 0; s == TN_OK && k < n; k++) s = compile_arch(c, arch[k]);
    if (s == TN_OK) s = tn_plan_end(c);
    if (s == TN_OK) s = tn_lockfile_save(c->lock);
    return s;
}

static void begin(tn_compilation *c, tn_graph *g, const tn_compile_options *opts) {
    *c = (tn_compilation){.env = tn_graph_env(g), .g = g, .opts = opts, .start = tn_now()};
    pthread_mutex_init(&c->mutex, NULL);
    pthread_cond_init(&c->built_one, NULL);
}

tn_status tn_compile(tn_graph *g, const tn_compile_options *opts, const char *path) {
    tn_compilation c;
    begin(&c, g, opts);
    tn_status s = compile(&c);
    if (s == TN_OK) s = tn_plan_write(c.writer, &c.plan, path);
    finish(&c);
    return s;
}

tn_status tn_compile_memory(tn_graph *g, const tn_compile_options *opts, void **data, size_t *size) {
    tn_compilation c;
    begin(&c, g, opts);
    tn_status s = compile(&c);
    if (s == TN_OK) s = tn_plan_write_memory(c.writer, &c.plan, data, size);
    finish(&c);
    return s;
}
