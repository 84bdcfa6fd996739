/* matrix.c: every template over its knobs and dtypes, on small awkward shapes.
 *
 *     kernel_matrix [--template NAME,...] [--case NAME] [--variant TEXT] [--all] [--no-nvrtc] [--perf] [--list]
 * [--verbose]
 *
 * A case is a function of a .tn file beside this one, or a row of the tables below in one precision.  Its kernels are
 * fused and specified, and their variants enumerated for sm_90a.  A variant is executed on the emulated device, in an
 * order of blocks and warps of its own, and compared with the float64 reference within an error bound that follows from
 * the ops, the dtypes and the length of the sums (bound.h); NVRTC compiles it for the four architectures in turn.
 *
 * By default a variant is taken if it shows something not yet seen of its template: a pair of knob values, or a knob
 * value with a dtype.  --all takes all and compiles for every architecture.  The table at the end says how many
 * assignments are legal for some case, how many were executed, and what that covers. */
#include <dirent.h>
#include <getopt.h>
#include <stdarg.h>
#include <time.h>

#include "codegen/pool.h"
#include "ir/eval/eval.h"
#include "runtime/emu/emu.h"
#include "runtime/nvrtc_loader.h"
#include "tests/kernels/bound.h"
#include "tests/unit/mma_cases.h"

#define CASES_DIR TENON_SOURCE_DIR "/tests/kernels"

enum { GUARD = 256, SLOTS = 1 << 17, MAX_TEMPLATES = 64 };

static struct {
    const char *template, *only, *variant; /* --template, --case, --variant */
    bool all, perf, list, verbose;
    tn_nvrtc *rtc;
    tn_cache *cache;
    unsigned failed, turn;
} run;

/* ---- coverage -----------------------------------------------------------------------------------------------------
 */

typedef struct coverage {
    const tn_template *t;
    uint64_t *seen; /* hashes of facts that some executed variant shows, and of legal assignments; SLOTS */
    size_t legal, executed, compiled, facts, cases;
    double seconds;
    uint64_t steps;
} coverage;
static coverage table[MAX_TEMPLATES];

static coverage *coverage_of(const tn_template *t) {
    coverage *c = table;
    while (c->t && c->t != t) c++;
    if (!c->t) c->seen = calloc(SLOTS, sizeof *c->seen);
    c->t = t;
    return c;
}

/* True if the fact is new. */
static bool note(coverage *c, const char *format, ...) {
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    uint64_t h = 0xcbf29ce484222325u;
    for (const char *p = text; *p; p++) h = (h ^ (unsigned char)*p) * 0x100000001b3u;
    h |= 1; /* 0: an empty slot */
    size_t at = h % SLOTS;
    while (c->seen[at] && c->seen[at] != h) at = (at + 1) % SLOTS;
    const bool news = !c->seen[at];
    c->seen[at] = h;
    return news;
}

/* What the variant shows that none before it did; counts it as a legal assignment. */
static bool shows_something(coverage *c, const tn_spec *s, const tn_variant *v, const char *kind) {
    const tn_template *t = v->tpl;
    bool news = note(c, "case %s %s", s->text, kind); /* each spec runs at least once a template */
    char all[200] = "";
    for (uint32_t i = 0; i < t->n_knobs; i++)
        snprintf(all + strlen(all), sizeof all - strlen(all), " %lld", (long long)v->knob[i]);
    c->legal += note(c, "assignment%s", all);
    for (uint32_t i = 0; i < t->n_knobs; i++) {
        const bool typed = note(c, "%u=%lld %s", i, (long long)v->knob[i], kind);
        c->facts += typed;
        news |= typed;
        for (uint32_t j = 0; j < i; j++) {
            const bool pair = note(c, "%u=%lld %u=%lld", i, (long long)v->knob[i], j, (long long)v->knob[j]);
            c->facts += pair;
            news |= pair;
        }
    }
    return news;
}

/* ---- buffers ------------------------------------------------------------------------------------------------------
 */

typedef struct buffer {
    char *block, *p; /* p: element 0 */
    size_t bytes;
    int64_t dims[TN_MAX_RANK], strides[TN_MAX_RANK];
    tn_tensor dense;
} buffer;

typedef struct problem { /* a spec with a value for every symbol */
    tn_graph *g;
    tn_spec *s;
    tn_binding b[32];
    size_t n_b;
    const char *name, *kind;
    buffer in[TN_MAX_ARGS], out[TN_MAX_ARGS];
    tn_tensor want[TN_MAX_ARGS], scale[TN_MAX_ARGS]; /* scale: the same of the inputs' magnitudes */
    bound_model model;
} problem;

static void die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n%s", log_text);
    exit(1);
}

static int64_t value_of(const problem *p, tn_dim d) {
    int64_t v = 0;
    if (!tn_dim_eval(p->g, d, p->b, p->n_b, &v)) die("%s: a dim has no value", p->name);
    return v;
}

static unsigned next_random(void) {
    static unsigned s = 12345;
    s = s * 1664525u + 1013904223u;
    return s >> 8;
}

static void fill_random(tn_tensor *t) {
    const int64_t n = tn_tensor_numel(t);
    for (int64_t i = 0; i < n; ++i) {
        const int r = (int)(next_random() % 65) - 32;
        if (t->dtype == TN_BOOL)
            tn_store_int(t->dtype, t->data, (uint64_t)i, r & 1);
        else if (tn_dtype_is_float(t->dtype))
            tn_store_num(t->dtype, t->data, (uint64_t)i, r / 16.0);
        else
            tn_store_int(t->dtype, t->data, (uint64_t)i,
                         t->dtype == TN_U8 || t->dtype == TN_U4 || t->dtype >= TN_U64 ? (r + 32) % 4 : r % 4);
    }
}

/* Element i of a strided buffer (row-major index i). */
static int64_t element(const buffer *b, int64_t i) {
    int64_t at = 0;
    for (uint32_t k = b->dense.rank; k-- > 0; i /= b->dims[k]) at += i % b->dims[k] * b->strides[k];
    return at;
}

static void make_buffer(const problem *p, const tn_spec_tensor *t, buffer *b) {
    int64_t span = 1;
    for (uint32_t k = 0; k < t->rank; ++k) {
        b->dims[k] = value_of(p, t->dims[k]);
        b->strides[k] = value_of(p, t->strides[k]);
        if (b->dims[k] > 1) span += (b->dims[k] - 1) * b->strides[k];
    }
    if (tn_tensor_new(&env, t->dtype, t->rank, b->dims, &b->dense) != TN_OK) die("out of memory");
    b->bytes = tn_dtype_bytes(t->dtype, (uint64_t)span);
    b->block = malloc(b->bytes + 3 * GUARD);
    memset(b->block, 0xa5, b->bytes + 3 * GUARD);
    b->p = b->block + GUARD;
    b->p += (256 - (uintptr_t)b->p % 256) % 256;
    if (t->align < 256) b->p += t->align; /* aligned as promised and no better */
}

static void scatter(buffer *b) {
    const int64_t n = tn_tensor_numel(&b->dense);
    const tn_dtype t = b->dense.dtype;
    for (int64_t i = 0; i < n; ++i) {
        const uint64_t at = (uint64_t)element(b, i);
        if (tn_dtype_bits(t) == 4)
            tn_store_int(t, b->p, at, tn_load_int(t, b->dense.data, (uint64_t)i));
        else
            memcpy(b->p + at * tn_dtype_size(t), (char *)b->dense.data + (uint64_t)i * tn_dtype_size(t),
                   tn_dtype_size(t));
    }
}

static void magnitude(tn_tensor *t) {
    for (int64_t i = 0; tn_dtype_is_float(t->dtype) && i < tn_tensor_numel(t); i++)
        tn_store_num(t->dtype, t->data, (uint64_t)i, fabs(tn_load_num(t->dtype, t->data, (uint64_t)i)));
}

/* Inputs, reference, and the reference of the inputs' magnitudes, which says how large the terms of sums are. */
static void prepare(problem *p) {
    tn_tensor in[TN_MAX_ARGS];
    const tn_spec *s = p->s;
    for (uint32_t k = 0; k < s->n_in; ++k) {
        make_buffer(p, &s->in[k], &p->in[k]);
        const void *data = tn_const_data(p->g, tn_node_input(p->g, s->kernel, k));
        if (data)
            memcpy(p->in[k].dense.data, data, p->in[k].dense.bytes);
        else
            fill_random(&p->in[k].dense);
        scatter(&p->in[k]);
        in[k] = p->in[k].dense;
    }
    for (uint32_t k = 0; k < s->n_out; ++k) make_buffer(p, &s->out[k], &p->out[k]);
    const tn_eval_opts opts = {.wide = true, .symbols = p->b, .n_symbols = p->n_b};
    if (tn_eval_region(&env, p->g, s->region, in, s->n_in, p->want, s->n_out, &opts) != TN_OK)
        die("%s: the reference fails", p->name);
    for (uint32_t k = 0; k < s->n_in; ++k) magnitude(&p->in[k].dense);
    if (tn_eval_region(&env, p->g, s->region, in, s->n_in, p->scale, s->n_out, &opts) != TN_OK)
        die("%s: the reference fails on magnitudes", p->name);
    p->model = bound_model_of(s, p->b, p->n_b, !strcmp(p->kind, "tf32"));
}

static void release_problem(problem *p) {
    for (uint32_t k = 0; k < p->s->n_in; ++k) {
        tn_tensor_free(&env, &p->in[k].dense);
        free(p->in[k].block);
    }
    for (uint32_t k = 0; k < p->s->n_out; ++k) {
        tn_tensor_free(&env, &p->out[k].dense);
        tn_tensor_free(&env, &p->want[k]);
        tn_tensor_free(&env, &p->scale[k]);
        free(p->out[k].block);
    }
}

/* ---- one variant --------------------------------------------------------------------------------------------------
 */

static void wrong(const problem *p, const tn_variant *v, const char *format, ...) {
    char text[2400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    run.failed++;
    printf("FAILED %s %s: %s: %s\n", p->name, p->kind, v->text, text);
    fflush(stdout);
}

static bool guards_are_whole(const buffer *b) {
    for (const char *q = b->block; q < b->p; q++)
        if (*q != (char)0xa5) return false;
    for (const char *q = b->p + b->bytes; q < b->block + b->bytes + 3 * GUARD; q++)
        if (*q != (char)0xa5) return false;
    return true;
}

static void compare(const problem *p, const tn_variant *v, uint32_t k) {
    const buffer *b = &p->out[k];
    const tn_dtype t = b->dense.dtype;
    const tn_tensor *want = &p->want[k];
    const double rms = bound_rms(want);
    for (int64_t i = 0, n = tn_tensor_numel(&b->dense); i < n; ++i) {
        const uint64_t at = (uint64_t)element(b, i);
        if (!tn_dtype_is_float(t)) {
            const int64_t got = tn_load_int(t, b->p, at), w = tn_load_int(want->dtype, want->data, (uint64_t)i);
            if (got == w) continue;
            wrong(p, v, "output %u[%lld] is %lld, not %lld", k, (long long)i, (long long)got, (long long)w);
            return;
        }
        const double got = tn_load_num(t, b->p, at), w = tn_load_num(want->dtype, want->data, (uint64_t)i);
        const double bound =
            bound_of(&p->model, t, w, tn_load_num(p->scale[k].dtype, p->scale[k].data, (uint64_t)i), rms);
        if (got == w || (isnan(got) && isnan(w)) || fabs(got - w) <= bound) continue;
        wrong(p, v, "output %u[%lld] is %.9g, not %.9g: off by %.3g, the bound is %.3g", k, (long long)i, got, w,
              fabs(got - w), bound);
        return;
    }
    if (!guards_are_whole(b)) wrong(p, v, "output %u: the guard zone was written", k);
}

static void execute(problem *p, const tn_variant *v, const char *text, size_t size, coverage *c) {
    const tn_spec *s = p->s;
    uint64_t args[TN_MAX_ARGS];
    tn_emu_range ranges[TN_MAX_ARGS];
    const void *params[] = {args};
    tn_emu_launch l = {.smem = v->smem, .params = params, .ranges = ranges, .seed = c->executed};
    for (uint32_t k = 0; k < s->n_out; ++k) memset(p->out[k].block, 0xa5, p->out[k].bytes + 3 * GUARD);
    for (uint32_t k = 0; k < v->n_args; ++k) {
        const tn_arg *a = &v->args[k];
        if (a->kind == TN_ARG_DIM) {
            args[k] = (uint64_t)value_of(p, a->dim);
            continue;
        }
        if (a->kind == TN_ARG_WORKSPACE) {
            wrong(p, v, "wants a workspace, which no case gives");
            return;
        }
        const bool is_in = a->kind == TN_ARG_IN;
        const buffer *b = is_in ? &p->in[a->index] : &p->out[a->index];
        args[k] = (uint64_t)(uintptr_t)b->p;
        ranges[l.n_ranges++] = (tn_emu_range){b->p, b->bytes, !is_in, !is_in || !s->in[a->index].is_const,
                                              is_in ? "an input" : "an output"};
    }
    for (int k = 0; k < 3; ++k) {
        l.grid[k] = v->grid[k].i ? (uint32_t)value_of(p, v->grid[k]) : 1;
        l.block[k] = v->block[k] ? v->block[k] : 1;
        l.cluster[k] = v->cluster[k];
    }
    tn_emu_module *module = NULL;
    tn_emu_kernel *kernel;
    tn_emu_report rep = {TN_EMU_OK, "", 0, 0};
    log_text[0] = 0;
    const double start = tn_now();
    tn_status st = tn_emu_load(&env, v->text, text, size, &module);
    if (st == TN_OK) st = tn_emu_get(module, v->symbol, &kernel);
    if (st == TN_OK) st = tn_emu_run(kernel, &l, &rep);
    tn_emu_unload(module);
    c->seconds += tn_now() - start;
    c->steps += rep.steps;
    if (run.perf)
        printf("%-90s %10llu steps %6u bank conflicts  predicted %8.2f us\n", v->text, (unsigned long long)rep.steps,
               rep.bank_conflicts, v->cost_us);
    if (st != TN_OK)
        wrong(p, v, "%s", log_text);
    else if (rep.fault)
        wrong(p, v, "%s", rep.text);
    else if (rep.bank_conflicts)
        wrong(p, v, "ldmatrix has %u bank conflicts", rep.bank_conflicts);
    else
        for (uint32_t k = 0; k < s->n_out; ++k) compare(p, v, k);
}

static const char *const archs[] = {"sm_80", "sm_89", "sm_90a", "sm_100"};

/* Through NVRTC for one architecture, another one each time, or for all; those that take Hopper only for Hopper. */
static void compile(const problem *p, const tn_variant *v, const char *text, size_t size, coverage *c) {
    const bool hopper = strstr(v->tpl->name, "wgmma") != NULL;
    for (unsigned a = 0; run.rtc && a < 4; ++a) {
        if (hopper ? strcmp(archs[a], "sm_90a") != 0 : !run.all && a != run.turn % 4) continue;
        tn_kernel_bin bin = {0};
        tn_build_source(&env, run.rtc, run.cache, archs[a], v->symbol, text, size, &bin);
        if (bin.status != TN_OK || bin.size == 0) wrong(p, v, "does not compile for %s: %s", archs[a], bin.error);
        tn_kernel_bin_free(&env, &bin);
        c->compiled++;
    }
    run.turn++;
}

static void try_variant(problem *p, const tn_variant *v, bool can_execute) {
    coverage *c = coverage_of(v->tpl);
    const bool news = shows_something(c, p->s, v, p->kind);
    if (run.variant ? strcmp(run.variant, v->text) != 0 : !news && !run.all) return;
    char *text;
    size_t size;
    if (tn_variant_source(&env, v, &text, &size) != TN_OK) die("%s has no source", v->text);
    if (run.verbose) printf("%s %s %s\n", p->name, p->kind, v->text), fflush(stdout);
    compile(p, v, text, size, c);
    if (can_execute) execute(p, v, text, size, c);
    c->executed += can_execute;
    tn_free(&env, text, size + 1);
}

/* --template takes names separated by commas. */
static bool wanted_template(const tn_template *t) {
    const size_t n = strlen(t->name);
    for (const char *p = run.template; p && *p; p += strcspn(p, ","), p += *p == ',')
        if (strcspn(p, ",") == n && !memcmp(p, t->name, n)) return true;
    return !run.template;
}

static void check_kernel(tn_graph *g, const tn_memory *m, tn_node kernel, const char *name, const char *kind) {
    static int has_compiler = -1;
    if (has_compiler < 0) {
        has_compiler = system("c++ --version > /dev/null 2>&1") == 0;
        if (!has_compiler && !run.list) printf("skipped: no C++ compiler, so nothing is executed\n");
    }
    problem p = {.g = g, .name = name, .kind = kind};
    log_text[0] = 0;
    if (tn_spec_make(g, kernel, m, &p.s) != TN_OK) die("%s: no spec", name);
    for (size_t k = 0; k < tn_sym_count(g) && k < 32; ++k) {
        const tn_dim d = tn_sym_at(g, k);
        int64_t lo, hi;
        tn_dim_bounds(g, d, &lo, &hi);
        p.b[p.n_b++] = (tn_binding){tn_dim_name(g, d), lo > 3 + (int64_t)k ? lo : 3 + (int64_t)k};
    }
    tn_variant *v;
    size_t n;
    if (tn_enumerate(p.s, tn_arch_find("sm_90a"), 0, &v, &n) != TN_OK) die("%s: no variants\n%s", name, p.s->text);
    bool any = false;
    for (size_t k = 0; k < n; ++k) {
        if (!wanted_template(v[k].tpl)) continue;
        coverage *c = coverage_of(v[k].tpl);
        if (note(c, "listed %s %s", name, kind)) {
            c->cases++;
            if (run.list && !run.verbose) printf("%s %s/%s\n", v[k].tpl->name, name, kind);
        }
        if (run.list) {
            if (run.verbose && shows_something(c, p.s, &v[k], kind)) printf("%s/%s %s\n", name, kind, v[k].text);
            continue;
        }
        if (!any) prepare(&p);
        any = true;
        try_variant(&p, &v[k], has_compiler);
    }
    for (size_t k = 0; k < n; ++k) tn_variant_free(&env, &v[k]);
    tn_free(&env, v, n * sizeof *v);
    if (any) release_problem(&p);
    tn_spec_free(p.s);
}

/* ---- cases --------------------------------------------------------------------------------------------------------
 */

static void check_graph(tn_graph *g, const char *passes, const tn_pass_options *o, const char *name, const char *kind) {
    char full[160];
    snprintf(full, sizeof full, "%s/%s", name, kind);
    tn_memory m;
    log_text[0] = 0;
    if (run.only && strcmp(run.only, full) != 0) {
        tn_graph_free(g);
        return;
    }
    tn_pass_ctx *ctx = tn_pass_ctx_new(&env, o);
    if (tn_run_passes(g, passes, ctx) != TN_OK || tn_plan_memory(g, &m) != TN_OK) die("%s: the passes fail", full);
    tn_pass_ctx_free(ctx);
    TN_FOR_NODES(g, tn_graph_body(g), n)
    if (tn_node_op(g, n) == TN_OP_KERNEL) check_kernel(g, &m, n, name, kind);
    tn_memory_free(g, &m);
    tn_graph_free(g);
}

/* The functions of a file, each named FILE:FUNCTION. */
static void check_file(const char *file) {
    char path[512], name[128];
    snprintf(path, sizeof path, "%s/%s", CASES_DIR, file);
    FILE *f = fopen(path, "rb");
    char *text = calloc(1, 1 << 20);
    if (!f || !text) die("%s cannot be read", path);
    text[fread(text, 1, (1 << 20) - 1, f)] = 0;
    fclose(f);
    const tn_pass_options o = {.compute = TN_F32};
    for (char *p = text; *p;) {
        char *end = strstr(p, "// -----"), *at = strstr(p, "func @");
        const size_t size = end ? (size_t)(end - p) : strlen(p);
        if (at && at < p + size) {
            snprintf(name, sizeof name, "%.*s:%.*s", (int)strcspn(file, "."), file, (int)strcspn(at + 6, "("), at + 6);
            tn_status st;
            tn_graph *g = tn_parse(&env, name, p, size, NULL, 0, true, &st);
            if (!g) die("%s does not parse", name);
            check_graph(g, "fuse", &o, name, "text");
        }
        p += size + (end ? strlen("// -----") : 0);
    }
    free(text);
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void check_files(void) {
    char *names[128];
    size_t n = 0;
    DIR *d = opendir(CASES_DIR);
    if (!d) die("%s cannot be opened", CASES_DIR);
    for (struct dirent *e; (e = readdir(d)) && n < 128;) {
        const char *dot = strrchr(e->d_name, '.');
        if (dot && !strcmp(dot, ".tn")) names[n++] = strdup(e->d_name);
    }
    closedir(d);
    qsort(names, n, sizeof *names, by_name);
    for (size_t k = 0; k < n; k++) {
        check_file(names[k]);
        free(names[k]);
    }
}

static const struct {
    const char *name;
    const tn_pass_options *o;
} precisions[] = {{"f16", &half}, {"bf16", &brain}, {"tf32", &tf32}, {"f32", &full}};

static const struct {
    const char *name;
    conv_case c;
} convs[] = {
    /*                        n   c   h   w   o   k  s  p  g   bias   relu   residual scaled */
    {"conv_3x3", {1, 16, 9, 10, 24, 3, 1, 1, 1, true, true, true, false}},
    {"conv_strided", {2, 24, 11, 12, 40, 3, 2, 1, 1, false, true, false, false}},
    {"conv_strided_1x1", {1, 64, 8, 8, 40, 1, 2, 0, 1, true, false, false, false}},
    {"conv_grouped", {1, 32, 7, 7, 64, 3, 1, 1, 4, true, true, false, false}},
    {"conv_stem", {1, 3, 18, 20, 32, 7, 2, 3, 1, true, true, false, false}},
    {"conv_odd_channels", {0, 5, 9, 9, 13, 3, 1, 1, 1, true, true, false, false}},
    {"conv_one_pixel", {1, 7, 1, 1, 3, 1, 1, 0, 1, true, false, false, false}},
    {"conv_two_groups", {1, 6, 9, 9, 20, 3, 1, 1, 2, true, true, true, false}},
    {"conv_pointwise", {1, 64, 5, 7, 48, 1, 1, 0, 1, true, true, true, false}},
    {"conv_scaled", {2, 24, 6, 7, 40, 1, 1, 0, 1, true, false, true, true}},
    {"conv_deep", {1, 136, 5, 5, 72, 3, 1, 1, 1, false, false, false, false}},
    {"depthwise_3x3", {2, 24, 9, 11, 24, 3, 1, 1, 24, true, true, false, false}},
    {"depthwise_strided", {0, 16, 12, 11, 16, 5, 2, 2, 16, true, false, false, false}},
    {"depthwise_multiplier", {1, 8, 7, 7, 16, 3, 1, 1, 8, false, true, false, false}},
    {"depthwise_wide", {1, 136, 5, 9, 136, 3, 1, 1, 136, true, true, false, false}},
    {"conv_rows", {2, 64, 9, 10, 72, 3, 1, 1, 1, true, true, true, false}},
    {"conv_narrow", {1, 24, 11, 12, 136, 3, 2, 1, 1, false, true, false, false}},
    {"conv_batch", {0, 128, 18, 16, 96, 1, 2, 0, 1, true, false, false, false}},
    {"conv_pointwise_wide", {1, 256, 9, 11, 200, 1, 1, 0, 1, true, true, true, false}},
};

static const struct {
    const char *name;
    gemm_case c;
} gemms[] = {
    /*                batch m   n   k    ta     tb     weight gelu */
    {"gemm_weight", {1, 70, 48, 136, false, false, true, true}},
    {"gemm_tall", {3, 20, 48, 64, false, true, true, true}},
    {"gemm_batched", {3, 40, 24, 64, false, true, false, false}},
    {"gemm_trans_a", {2, 40, 24, 72, true, false, false, false}},
    {"gemm_odd", {2, 0, 33, 77, false, false, false, false}},
    {"gemm_prime", {1, 131, 67, 37, false, true, true, false}},
    {"gemm_long", {1, 17, 9, 1040, false, false, true, false}},
    {"gemv_row", {1, 1, 77, 520, false, true, true, true}},
    {"gemv_rows", {1, 6, 30, 264, false, true, true, false}},
    {"gemv_column", {1, 3, 136, 2056, false, true, true, false}},
    {"gemm_wide", {1, 70, 192, 264, false, false, true, true}},
    {"gemm_wide_batched", {2, 40, 24, 136, false, true, false, false}},
    {"gemm_wide_trans_a", {2, 136, 72, 80, true, false, false, false}},
    {"gemm_large", {1, 264, 272, 320, false, true, true, false}},
};

/* Batch axes that broadcast against each other: a is [2, 1, m, k], b is [3, k, n]. */
static tn_graph *mixed_batch_graph(void) {
    tn_graph *g = tn_graph_new(&env);
    tn_val in[2] = {tn_graph_add_input(g, "a", tn_type_const(g, TN_F32, 4, (int64_t[]){2, 1, 20, 24})),
                    tn_graph_add_input(g, "b", tn_type_const(g, TN_F32, 3, (int64_t[]){3, 24, 16}))};
    tn_val y = tn_emit1(g, TN_OP_MATMUL, NULL, 2, in);
    tn_graph_set_outputs(g, 1, &y, (const char *const[]){"y"});
    return g;
}

static void check_tables(void) {
    for (size_t p = 0; p < sizeof precisions / sizeof *precisions; p++) {
        for (size_t k = 0; k < sizeof convs / sizeof *convs; k++)
            check_graph(conv_graph(&convs[k].c), NULL, precisions[p].o, convs[k].name, precisions[p].name);
        for (size_t k = 0; k < sizeof gemms / sizeof *gemms; k++)
            check_graph(gemm_graph(&gemms[k].c), NULL, precisions[p].o, gemms[k].name, precisions[p].name);
        check_graph(views_graph(), NULL, precisions[p].o, "views", precisions[p].name);
        check_graph(mixed_batch_graph(), NULL, precisions[p].o, "mixed_batch", precisions[p].name);
    }
}

/* ---- the program --------------------------------------------------------------------------------------------------
 */

static void print_table(double seconds) {
    printf("%-22s %6s %7s %9s %9s %8s %12s %8s\n", "template", "cases", "legal", "executed", "compiled", "facts",
           "steps", "seconds");
    size_t legal = 0, executed = 0, compiled = 0;
    for (const coverage *c = table; c->t; c++) {
        printf("%-22s %6zu %7zu %9zu %9zu %8zu %12llu %8.1f\n", c->t->name, c->cases, c->legal, c->executed,
               c->compiled, c->facts, (unsigned long long)c->steps, c->seconds);
        legal += c->legal, executed += c->executed, compiled += c->compiled;
    }
    printf(
        "%zu assignments of knobs are legal for some case; %zu variants executed, %zu compiled by NVRTC%s; %u failed; "
        "%.0f s\n",
        legal, executed, compiled, run.rtc ? "" : " (skipped: it cannot be opened)", run.failed, seconds);
}

int main(int argc, char **argv) {
    enum { TEMPLATE, CASE, VARIANT, ALL, NO_NVRTC, PERF, LIST, VERBOSE };
    static const struct option options[] = {
        {"template", 1, NULL, TEMPLATE}, {"case", 1, NULL, CASE},         {"variant", 1, NULL, VARIANT},
        {"all", 0, NULL, ALL},           {"no-nvrtc", 0, NULL, NO_NVRTC}, {"perf", 0, NULL, PERF},
        {"list", 0, NULL, LIST},         {"verbose", 0, NULL, VERBOSE},   {0}};
    bool nvrtc = true;
    char name[64];
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) >= 0;) switch (o) {
        case TEMPLATE: run.template = optarg; break;
        case CASE: run.only = optarg; break;
        case VARIANT: run.variant = optarg; break;
        case ALL: run.all = true; break;
        case NO_NVRTC: nvrtc = false; break;
        case PERF: run.perf = true; break;
        case LIST: run.list = true; break;
        case VERBOSE: run.verbose = true; break;
        default:
            fprintf(stderr, "usage: kernel_matrix [--template NAME] [--case NAME] [--variant TEXT] [--all] "
                            "[--no-nvrtc] [--perf] [--list] "
                            "[--verbose]\n");
            return 2;
        }
    for (const char *p = run.template; p && *p; p += strcspn(p, ","), p += *p == ',') {
        snprintf(name, sizeof name, "%.*s", (int)strcspn(p, ","), p);
        if (!tn_template_find(name)) die("there is no template '%s'", name);
    }
    run.cache = tn_cache_open(&env, "");
    if (nvrtc && !run.list && tn_nvrtc_open(&env, &run.rtc) != TN_OK) run.rtc = NULL;
    const double start = tn_now();
    check_files();
    check_tables();
    if (!run.list) print_table(tn_now() - start);
    tn_nvrtc_close(run.rtc);
    tn_cache_close(run.cache);
    for (coverage *c = table; c->t; c++) free(c->seen);
    return run.failed != 0;
}
