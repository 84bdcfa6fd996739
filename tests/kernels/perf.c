/* perf.c: times on a GPU, at the sizes of real models: for each kernel the variants of each template that the cost
 * model likes best, and cuBLASLt's.  The tuner checks and times them as it does in a compilation (tune.h), so a line
 * here is what a plan would get; it also shows how far the cost model is off. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/tune/pool.h"
#include "codegen/tune/tune.h"
#include "tests/kernels/matrix.h"

static struct {
    const char *templates, *variant;
    unsigned top, wrong;
    tn_tuner *tuner;
    tn_nvrtc *rtc;
    tn_cache *cache;
    tn_pool *pool;
    const tn_arch *arch;
} perf;

static void build(void *candidate) {
    tn_candidate *c = candidate;
    c->bin.status = tn_variant_source(matrix_env, &c->v, &c->source, &c->source_size);
    if (c->bin.status != TN_OK) return;
    tn_build_source(matrix_env, perf.rtc, perf.cache, perf.arch->name, c->v.symbol, c->source, c->source_size, &c->bin);
}

/* Moves the first variants of each wanted template into the work; frees the others. */
static void choose(tn_work *w, tn_variant *v, size_t n) {
    for (size_t k = 0; k < n; k++) {
        unsigned same = 0;
        for (size_t j = 0; j < w->n; j++) same += w->c[j].v.tpl == v[k].tpl;
        tn_candidate *c = same < perf.top && wanted_template(perf.templates, v[k].tpl) &&
                                  (!perf.variant || strstr(v[k].text, perf.variant))
                              ? tn_work_add(matrix_env, w)
                              : NULL;
        if (!c) {
            tn_variant_free(matrix_env, &v[k]);
            continue;
        }
        c->v = v[k];
        c->predicted_us = v[k].cost_us;
        snprintf(c->text, sizeof c->text, "%s", v[k].text);
    }
    tn_free(matrix_env, v, n * sizeof *v);
}

/* Out only because others are faster; `us` is then of the round in which it left, the first a single cold run. */
static bool is_slow(const tn_candidate *c) {
    return c->out && strstr(c->note, "x the best");
}

static double time_of(const tn_candidate *c) {
    return c->us <= 0 || (c->out && !is_slow(c)) ? 1e30 : c->us;
}

static int by_time(const void *a, const void *b) {
    const double s = time_of(a), t = time_of(b);
    return (s > t) - (s < t);
}

static void print(const tn_work *w, const char *name, const char *kind) {
    const tn_spec *s = w->spec;
    double floor_us = s->bytes / (perf.arch->dram_gbs * 1e3), math_us = s->flops / (perf.arch->f16_tflops * 1e6);
    if (math_us > floor_us) floor_us = math_us;
    printf("%s/%s: %.3g GFLOP, %.3g MB\n", name, kind, s->flops * 1e-9, s->bytes * 1e-6);
    for (size_t k = 0; k < w->n; k++) {
        const tn_candidate *c = &w->c[k];
        if (time_of(c) < 1e30) {
            printf(
                "  %9.2f us %7.0f GB/s %7.1f TFLOP/s %5.1f %% of the roof  predicted %8.2f us  error %8.2g  %s%s%s\n",
                c->us, s->bytes / c->us * 1e-3, s->flops / c->us * 1e-6, 100 * floor_us / c->us, c->predicted_us,
                c->max_rel, c->text, is_slow(c) ? ": " : "", is_slow(c) ? c->note : "");
            continue;
        }
        printf("  %s: %s\n", c->text, c->bin.status != TN_OK ? c->bin.error : c->note);
        perf.wrong += !c->is_lt;
    }
    fflush(stdout);
}

static tn_status tune(tn_work *w) {
    tn_reference *r;
    tn_tuning *x = NULL;
    tn_status st = tn_reference_make(matrix_env, w->spec, &r);
    if (st == TN_OK) st = tn_tuning_begin(perf.tuner, w, r, false, &x);
    if (st == TN_OK) st = tn_tuning_race(x, tn_now() + 20);
    tn_tuning_end(x);
    tn_reference_free(r);
    return st;
}

static void time_kernel(tn_graph *g, const tn_memory *m, tn_node kernel, const char *name, const char *kind) {
    tn_work w = {0};
    tn_variant *v;
    size_t n;
    *matrix_log = 0;
    if (tn_spec_make(g, kernel, m, &w.spec) != TN_OK) die("%s: no spec", name);
    if (tn_enumerate(w.spec, perf.arch, NULL, 0, &v, &n) != TN_OK) die("%s: no variants", name);
    choose(&w, v, n);
    tn_lt_call lt;
    if (w.n && !perf.templates && tn_lt_match(w.spec, &lt)) tn_tuner_lt_candidates(perf.tuner, &w, &lt);
    for (size_t k = 0; k < w.n; k++)
        if (!w.c[k].is_lt && tn_pool_add(perf.pool, build, &w.c[k]) != TN_OK) die("out of memory");
    tn_pool_wait(perf.pool, -1);
    if (w.n && tune(&w) != TN_OK) {
        printf("FAILED %s/%s: %s\n", name, kind, matrix_log);
        perf.wrong++;
    }
    qsort(w.c, w.n, sizeof *w.c, by_time);
    if (w.n) print(&w, name, kind);
    for (size_t k = 0; k < w.n; k++) tn_candidate_free(matrix_env, &w.c[k]);
    tn_free(matrix_env, w.c, w.cap * sizeof *w.c);
    tn_spec_free(w.spec);
}

int perf_run(const char *templates, const char *only, const char *variant, unsigned top) {
    perf.templates = templates;
    perf.variant = variant;
    perf.top = top;
    if (tn_nvrtc_open(matrix_env, &perf.rtc) != TN_OK || tn_tuner_open(matrix_env, 0, "", &perf.tuner) != TN_OK) {
        fprintf(stderr, "skipped: times need a GPU and NVRTC: %s", matrix_log);
        tn_nvrtc_close(perf.rtc);
        return 77;
    }
    const tn_tuner_info *info = tn_tuner_get_info(perf.tuner);
    perf.arch = tn_arch_find(info->arch);
    perf.cache = tn_cache_open(matrix_env, "");
    perf.pool = tn_pool_new(matrix_env, 0);
    printf("%s, driver %s, cuBLASLt %s\n", info->gpu, info->driver, info->cublaslt);
    each_case(true, only, time_kernel);
    tn_pool_free(perf.pool);
    tn_cache_close(perf.cache);
    tn_tuner_close(perf.tuner);
    tn_nvrtc_close(perf.rtc);
    return perf.wrong != 0;
}
