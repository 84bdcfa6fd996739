/* matrix.c: every template over its knobs and dtypes, on small awkward shapes.
 *
 *     kernel_matrix [--device emu|cuda|both|nvrtc] [--template NAME,...] [--case NAME] [--variant TEXT] [--cover SET]
 *                   [--turn N] [--rest N] [--shard I/N] [--arch NAME,...] [--optimize] [--list] [--verbose]
 *     kernel_matrix --early [--template NAME,...] [--case NAME]
 *     kernel_matrix --headers DIR [--template NAME,...] [--case NAME]
 *     kernel_matrix --perf [--top N] [--template NAME,...] [--case NAME] [--variant TEXT]
 *
 * A case is a function of a .tn file beside this one, or a row of the tables in cases.c in one precision.  Its kernels
 * are fused and specified, and their variants enumerated.  A variant is executed on the emulated device (in an order of
 * blocks and warps of its own), on the GPU, or on both, whose results are then also compared with each other.  They are
 * held against the float64 reference within an error bound that follows from the ops, the dtypes and the length of the
 * sums (bound.h).  nvrtc executes nothing: NVRTC compiles what is legal for each --arch (otherwise sm_80, sm_89,
 * sm_90a, sm_100).
 *
 * --cover says which variants are taken.  pairs, the default: those that show something not yet seen of their template,
 * which is a pair of knob values, a knob value with the dtypes of a case, or a case.  types: also one with every legal
 * assignment of knobs and all dtypes that it is legal for, with nvrtc for each --arch.  knobs: only one of those, which
 * take turns (with nvrtc, half of the assignments rest each time; with --rest N, all but one in N of what is left):
 * --turn N (or TENON_MATRIX_TURN, which tests/run.sh sets to the number of commits) moves all on by N, so that runs
 * with N, N + 1, ... come to take what `types` does.
 * all: every assignment for every case.  --variant takes one by its whole text, or of all what has TEXT in it (LOAD=1).  The table at the end says how many assignments are legal for some case, how
 * many variants were executed or compiled, and what that covers.  --shard takes every Nth of them, from the Ith (0 to N
 * - 1) on.  Interrupted, it prints the table of what it has done.
 *
 * The variants of a kernel that are taken from one template are compiled together (batch.c), which takes a third of the
 * time.  For the emulated device they are compiled without optimization, unless TENON_EMU_FLAGS says otherwise: that
 * takes half the time, and checks more accesses; clang takes half the time of gcc (TENON_CXX).  Where results are
 * compared with a GPU's, FMAs are contracted as they are there.  NVRTC compiles with few optimizations, and one variant
 * of each large batch also as Tenon does it; with --optimize, all.
 *
 * --early looks into the machine code for sm_90a of one variant for each template, dtypes of operands, norm, number of warpgroups, and of those that share keys: one that
 * promises to ask for constants before it waits for the kernel before it does so, and wgmma's descriptors are ready before it.  Here and
 * wherever a variant is compiled as Tenon does it, its wgmmas do not wait for each other.
 *
 * --headers writes headers with which the templates' files compile as they stand (headers.c).
 *
 * --perf times variants on the GPU instead, at the sizes of real models, beside cuBLASLt (perf.c). */
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "codegen/tune/pool.h"
#include "codegen/tune/nvrtc_loader.h"
#include "passes/memory/views.h"
#include "tests/kernels/matrix.h"

enum { SLOTS = 1 << 18, MAX_TEMPLATES = 64, BATCH = 32 };
typedef enum cover { PAIRS, KNOBS, TYPES, ALL, N_COVERS } cover;
static const char *const cover_names[] = {"pairs", "knobs", "types", "all"};

/* The cases are visited to count the dtypes of each assignment (for `knobs`), to choose variants, and to execute
 * them. */
typedef enum phase { COUNT, CHOOSE, EXECUTE } phase;

static struct {
    const char *template, *only, *variant; /* --template, --case, --variant */
    cover cover;
    phase phase;
    bool list, verbose, optimize, early, on_emu, on_nvrtc;
    const char *archs; /* --arch */
    const tn_arch *target;
    gpu *gpu; /* NULL: not wanted */
    tn_nvrtc *rtc;
    unsigned failed, top, turn;      /* turn: of the dtypes */
    unsigned rest;                   /* --rest */
    unsigned shard, shards, matched; /* matched: variants before sharding */
    bool *picks;                     /* of each variant visited, in order */
    size_t n_picks, cap_picks, at, chosen, done;
    double start;
    bool on_terminal;
    size_t alike, both; /* variants whose results are the same bits on both devices; that ran on both */
} run;

static volatile sig_atomic_t interrupted;

static void interrupt(int signal) {
    interrupted = signal;
}

/* ---- coverage ---------------------------------------------------------------------------------------------------- */

typedef struct fact {
    uint64_t hash; /* 0: an empty slot */
    unsigned times;
} fact;

typedef struct coverage {
    const tn_template *t;
    fact *facts; /* what executed variants show, and what is legal; SLOTS */
    size_t legal, executed, compiled, optimized, shown, cases, symbolic; /* symbolic: of the cases */
    double seconds;
    uint64_t steps;
} coverage;
static coverage table[MAX_TEMPLATES];

static coverage *coverage_of(const tn_template *t) {
    coverage *c = table;
    while (c->t && c->t != t) c++;
    if (!c->t) c->facts = calloc(SLOTS, sizeof *c->facts);
    if (!c->facts) die("out of memory");
    c->t = t;
    return c;
}

static uint64_t hash_of(const char *text) {
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (const char *p = text; *p; p++) h = (h ^ (unsigned char)*p) * 0x100000001b3u;
    return h | 1;
}

static fact *find(coverage *c, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const uint64_t h = hash_of(text);
    size_t at = h % SLOTS;
    while (c->facts[at].hash && c->facts[at].hash != h) at = (at + 1) % SLOTS;
    c->facts[at].hash = h;
    return &c->facts[at];
}

/* How often the fact was noted before. */
#define note(...) (find(__VA_ARGS__)->times++)

/* Of the first input and of the first output, where they differ. */
static void dtypes_of(const tn_spec *s, char *out, size_t size) {
    const tn_dtype to = s->out[0].dtype, from = s->n_in ? s->in[0].dtype : to;
    snprintf(out, size, "%s%s%s", tn_dtype_text(from), from == to ? "" : ">", from == to ? "" : tn_dtype_text(to));
}

/* Does the variant show what none before it did? */
static bool shows_something(coverage *c, const tn_spec *s, const tn_choice *v, const char *dtypes) {
    bool news = !note(c, "spec %s", s->text);
    for (uint32_t i = 0; i < v->tpl->n_knobs; i++) {
        const bool typed = !note(c, "%u=%lld %s", i, (long long)v->knob[i], dtypes);
        c->shown += typed;
        news |= typed;
        for (uint32_t j = 0; j < i; j++) {
            const bool pair = !note(c, "%u=%lld %u=%lld", i, (long long)v->knob[i], j, (long long)v->knob[j]);
            c->shown += pair;
            news |= pair;
        }
    }
    return news;
}

/* Is it this variant's turn to stand for its assignment of knobs? */
static bool is_due(coverage *c, const tn_choice *v, const char *dtypes) {
    char all[200] = "";
    for (uint32_t i = 0; i < v->tpl->n_knobs; i++)
        snprintf(all + strlen(all), sizeof all - strlen(all), " %lld", (long long)v->knob[i]);
    if (run.phase == COUNT) {
        if (!note(c, "planned%s %s %s", all, dtypes, run.target->name)) find(c, "turns of%s", all)->times++;
        return false;
    }
    if (note(c, "assignment%s %s %s", all, dtypes, run.target->name)) return run.cover == ALL;
    const unsigned turn = note(c, "turn of%s", all);
    const unsigned turns = find(c, "turns of%s", all)->times * run.rest * (run.on_nvrtc ? 2 : 1);
    c->legal += turn == 0;
    return run.cover >= TYPES || (run.cover == KNOBS && turn == (hash_of(all) / 2 + run.turn) % turns);
}

/* ---- one variant ------------------------------------------------------------------------------------------------- */

static void wrong(const problem *p, const tn_variant *v, const char *format, ...) {
    if (interrupted) return; /* the signal may have ended the compiler, too */
    char text[2600];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    run.failed++;
    printf("FAILED %s %s: %s: %s\n", p->name, p->kind, v->text, text);
    fflush(stdout);
}

/* As Tenon compiles it, for the target; the caller frees the result. */
static bool build(const problem *p, const tn_variant *v, tn_kernel_bin *bin) {
    coverage_of(v->tpl)->compiled++;
    coverage_of(v->tpl)->optimized++;
    if (!nvrtc_build(run.rtc, run.target, v, bin)) {
        wrong(p, v, "does not compile for %s: %s", run.target->name, bin->error);
        return false;
    }
    if (strstr(bin->advice, "wgmma")) wrong(p, v, "is slow on %s: %s", run.target->name, bin->advice);
    return true;
}

static void judge(problem *p, const tn_variant *v, outcome *o, const char *device) {
    coverage *c = coverage_of(v->tpl);
    c->seconds += o->seconds;
    c->steps += o->steps;
    if (!*o->why) problem_judge(p, o->why, sizeof o->why);
    if (*o->why) wrong(p, v, "%s: %s", device, o->why);
    if (run.verbose && o->steps)
        printf("    %llu steps, %u bank conflicts, predicted %.2f us\n", (unsigned long long)o->steps,
               o->bank_conflicts, v->cost_us);
}

static void execute_on_gpu(problem *p, const tn_variant *v) {
    outcome o;
    tn_kernel_bin bin;
    if (build(p, v, &bin)) {
        run_on_gpu(run.gpu, p, v, &bin, &o);
        judge(p, v, &o, "GPU");
    }
    tn_kernel_bin_free(matrix_env, &bin);
}

/* The operand of an anchor's kernel over which the memory plan may put its result; -1: none.  Maps are not asked: they are many, and
 * all do the same. */
static int overwritten(const problem *p) {
    const tn_spec *s = p->s;
    if (!s->anchor.i || s->n_out != 1) return -1;
    for (uint32_t k = 0; k < s->n_in; k++)
        if (tn_may_overwrite(p->g, s->kernel, k, tn_node_result(p->g, s->kernel, 0)) &&
            p->in[k].bytes == p->out[0].bytes && !memcmp(p->in[k].strides, p->out[0].strides, sizeof p->in[k].strides))
            return (int)k;
    return -1;
}

/* On the devices that are wanted; the outputs of both are compared bit for bit.  symbol: in the module. */
static void execute(problem *p, const tn_variant *v, tn_emu_module *module, const char *symbol) {
    char *kept[TN_MAX_ARGS] = {NULL};
    outcome o;
    const uint32_t n = p->s->n_out;
    if (run.on_emu) {
        run_on_emu(p, v, module, symbol, coverage_of(v->tpl)->executed, -1, &o);
        judge(p, v, &o, "emulated");
        if (overwritten(p) >= 0) {
            run_on_emu(p, v, module, symbol, coverage_of(v->tpl)->executed, overwritten(p), &o);
            judge(p, v, &o, "emulated, over an operand");
        }
        for (uint32_t k = 0; run.gpu && k < n; k++) {
            kept[k] = malloc(p->out[k].bytes + 1);
            if (!kept[k]) die("out of memory");
            memcpy(kept[k], p->out[k].p, p->out[k].bytes);
        }
    }
    if (run.gpu) execute_on_gpu(p, v);
    if (run.gpu && run.on_emu) {
        bool same = true;
        for (uint32_t k = 0; k < n; k++) same &= !memcmp(kept[k], p->out[k].p, p->out[k].bytes);
        run.both++;
        run.alike += same;
        if (!same && run.verbose) printf("    other bits than on the emulated device\n");
    }
    for (uint32_t k = 0; k < n; k++) free(kept[k]);
    coverage_of(v->tpl)->executed++;
}

/* ---- a batch of variants of one template and kernel -------------------------------------------------------------- */

static void execute_batch(problem *p, tn_variant *const *v, size_t n) {
    char symbol[100];
    const double start = tn_now();
    tn_emu_module *module = run.on_emu ? emu_compile(v, n) : NULL;
    coverage_of(v[0]->tpl)->seconds += tn_now() - start;
    if (run.on_emu && !module) {
        if (n == 1) wrong(p, v[0], "emulated: %s", matrix_log);
        for (size_t k = 0; n > 1 && k < n; k++) execute_batch(p, &v[k], 1); /* which one is it? */
        return;
    }
    for (size_t k = 0; k < n && !interrupted; k++) {
        batch_symbol(v, n, k, symbol, sizeof symbol);
        execute(p, v[k], module, symbol);
    }
    tn_emu_unload(module);
}

static void build_only(const problem *p, const tn_variant *v) {
    tn_kernel_bin bin;
    build(p, v, &bin);
    tn_kernel_bin_free(matrix_env, &bin);
}

static void compile_batch(const problem *p, tn_variant *const *v, size_t n) {
    const double start = tn_now();
    coverage *c = coverage_of(v[0]->tpl);
    const unsigned failed = run.failed;
    const size_t before = c->compiled;
    if (!run.optimize && nvrtc_accepts(run.rtc, run.target, v, n)) {
        c->compiled += n - 1; /* the last is counted below */
        if (before / 16 == (before + n) / 16)
            c->compiled++;
        else
            build_only(p, v[n - 1]);
    } else {
        for (size_t k = 0; k < n && !interrupted; k++) build_only(p, v[k]);
        if (!run.optimize && run.failed == failed)
            wrong(p, v[0], "its batch does not compile for %s", run.target->name);
    }
    c->seconds += tn_now() - start;
}

static void show_progress(const tn_template *t) {
    if (!run.on_terminal) return;
    const double seconds = tn_now() - run.start;
    fprintf(stderr, "\r\033[K%s%s%zu of %zu variants, %s", run.on_nvrtc ? run.target->name : "",
            run.on_nvrtc ? ": " : "", run.done, run.chosen, t->name);
    if (run.done) fprintf(stderr, ", about %.0f s left", seconds / (double)run.done * (double)(run.chosen - run.done));
}

static void take(problem *p, tn_variant *const *v, size_t n) {
    if (!n || interrupted) return;
    show_progress(v[0]->tpl);
    for (size_t k = 0; run.verbose && k < n; k++) printf("%s %s %s\n", p->name, p->kind, v[k]->text);
    if (run.on_nvrtc)
        compile_batch(p, v, n);
    else {
        if (!p->ready) problem_prepare(p);
        execute_batch(p, v, n);
    }
    run.done += n;
}

/* The variants that were picked, BATCH at a time. */
static void take_picked(problem *p, const tn_choices *all) {
    tn_variant v[BATCH], *batch[BATCH];
    const size_t n = tn_choices_count(all);
    size_t in = 0;
    for (size_t k = 0; k < n; k++) {
        if (run.picks[run.at++] && !interrupted) {
            if (tn_choice_make(all, k, &v[in]) != TN_OK) die("%s: a variant cannot be generated", p->name);
            batch[in] = &v[in];
            in++;
        }
        if (in < BATCH && k + 1 < n) continue;
        take(p, batch, in);
        while (in) tn_variant_free(matrix_env, batch[--in]);
    }
}

/* ---- choosing ---------------------------------------------------------------------------------------------------- */

static void pick(bool picked) {
    if (run.n_picks == run.cap_picks) {
        run.cap_picks = run.cap_picks ? 2 * run.cap_picks : 1024;
        run.picks = realloc(run.picks, run.cap_picks * sizeof *run.picks);
        if (!run.picks) die("out of memory");
    }
    run.picks[run.n_picks++] = picked;
    run.chosen += picked;
}

static void choose(const problem *p, const tn_choice *v) {
    coverage *c = coverage_of(v->tpl);
    char dtypes[32], text[160];
    dtypes_of(p->s, dtypes, sizeof dtypes);
    const bool due = is_due(c, v, dtypes);
    if (run.phase == COUNT) return;
    tn_knobs_text(v->tpl, v->knob, text, sizeof text);
    const bool wanted = !run.variant || strstr(text, run.variant), only = run.variant && !strcmp(text, run.variant);
    const bool news = wanted && shows_something(c, p->s, v, dtypes), matches = only || (wanted && (news || due));
    const bool picked = matches && run.matched++ % run.shards == run.shard;
    pick(picked);
    if (picked && run.list && run.verbose) printf("%s/%s %s\n", p->name, p->kind, text);
}

/* ---- constants that are asked for early -------------------------------------------------------------------------- */

/* The letter of the constant operand that its template asks for above TN_WAIT(); 0: of none. */
static char promised(const tn_variant *v) {
    for (const char *letter = "BFR"; *letter; letter++) {
        char name[16];
        const int n = snprintf(name, sizeof name, "TN_%c_CONST ", *letter);
        const char *at = strstr(v->header, name); /* a macro, or a constant that "= " gives its value */
        if (!at || at[n + (at[n] == '=' ? 2 : 0)] != '1') continue;
        if (strstr(v->text, "HOLD=0") && strstr(v->text, "KEEP=0")) continue; /* recur reads it in each step */
        return *letter;
    }
    return 0;
}

/* Loads the operand through the read-only path, from where ptxas moves loads below the wait. */
static bool may_sink(const tn_variant *v, char letter) {
    char name[32];
    snprintf(name, sizeof name, "void tn_load_%c(", letter - 'A' + 'a');
    const char *body = strstr(v->header, name), *end = body ? strstr(body, "\n}") : NULL,
               *load = body ? strstr(body, "_const") : NULL;
    return load && end && load < end;
}

static bool has_wgmma(const tn_variant *v) {
    return strstr(v->tpl->source, "wgmma") != NULL;
}

/* One variant for each kind: ptxas may move loads below the wait, and let each wgmma end before the next. */
static void check_early(const problem *p, const tn_choices *all) {
    enum { TRIES = 8 };
    const size_t n = tn_choices_count(all);
    char dtypes[200] = "";
    for (uint32_t k = 0; k < p->s->n_in && strlen(dtypes) + 16 < sizeof dtypes; k++)
        snprintf(dtypes + strlen(dtypes), 16, " %s", tn_dtype_text(p->s->in[k].dtype));
    for (size_t k = 0; k < n && !interrupted; k += 1 + n / TRIES) {
        tn_variant v;
        tn_kernel_bin bin;
        if (tn_choice_make(all, k, &v) != TN_OK) die("%s: a variant cannot be generated", p->name);
        const char letter = promised(&v);
        const char *norm = strstr(v.header, "define TN_NORM "), *groups = strstr(v.text, "WARPGROUPS="),
                   *load = strstr(v.text, "LOAD="), *share = strstr(v.text, "SHARE=");
        const bool due =
            (letter || has_wgmma(&v)) && !note(coverage_of(v.tpl), "early%s %.1s %.1s %.1s %.1s", dtypes,
                                               norm ? norm + 15 : "-", has_wgmma(&v) && groups ? groups + 11 : "-",
                                               has_wgmma(&v) && load ? load + 5 : "-", share ? share + 6 : "-");
        if (due && run.verbose) printf("%s %s %s\n", p->name, p->kind, v.text);
        if (due && build(p, &v, &bin)) {
            const bool by_one = load && load[5] == '1'; /* thread, beside others that only wait: TMA */
            if (letter && !by_one && (may_sink(&v, letter) || !nvrtc_asks_early(&bin)))
                wrong(p, &v, "may wait for the kernel before it, and only then ask for its constants");
            if (has_wgmma(&v) && !nvrtc_has_descriptors(&bin))
                wrong(p, &v, "moves descriptors to uniform registers before each wgmma");
            tn_kernel_bin_free(matrix_env, &bin);
        }
        tn_variant_free(matrix_env, &v);
        if (due) return;
    }
}

/* ---- one kernel -------------------------------------------------------------------------------------------------- */

bool wanted_template(const char *list, const tn_template *t) {
    const size_t n = strlen(t->name);
    for (const char *p = list; p && *p; p += strcspn(p, ","), p += *p == ',')
        if (strcspn(p, ",") == n && !memcmp(p, t->name, n)) return true;
    return !list;
}

static void check_template(problem *p, const tn_template *t) {
    tn_choices *all;
    if (tn_choices_new(p->s, run.target, t, 0, &all) != TN_OK) die("%s: no variants\n%s", p->name, p->s->text);
    const size_t n = tn_choices_count(all);
    coverage *c = coverage_of(t);
    if (n && run.phase == CHOOSE && !note(c, "case %s/%s", p->name, p->kind)) {
        c->cases++;
        c->symbolic += p->s->sym[0].i != 0;
        if (run.list && !run.verbose) printf("%s %s/%s\n", t->name, p->name, p->kind);
    }
    for (size_t k = 0; k < n && run.phase != EXECUTE && !run.early; ++k) choose(p, tn_choices_at(all, k));
    if (run.phase == EXECUTE && run.early)
        check_early(p, all);
    else if (run.phase == EXECUTE && !interrupted)
        take_picked(p, all);
    tn_choices_free(all);
}

static void check_kernel(tn_graph *g, const tn_memory *m, tn_node kernel, const char *name, const char *kind) {
    problem p = {.g = g, .name = name, .kind = kind};
    *matrix_log = 0;
    if (tn_spec_make(g, kernel, m, &p.s) != TN_OK) die("%s: no spec", name);
    for (size_t k = 0; k < tn_sym_count(g) && k < 32; ++k) {
        const tn_dim d = tn_sym_at(g, k);
        int64_t lo, hi;
        tn_dim_bounds(g, d, &lo, &hi);
        p.b[p.n_b++] = (tn_binding){tn_dim_name(g, d), lo > 3 + (int64_t)k ? lo : 3 + (int64_t)k};
    }
    for (size_t k = 0; k < tn_template_count(); k++)
        if (wanted_template(run.template, tn_template_at(k))) check_template(&p, tn_template_at(k));
    if (p.ready) problem_release(&p);
    tn_spec_free(p.s);
}

/* ---- the program ------------------------------------------------------------------------------------------------- */

/* Every template is to be tried where sizes are arguments: what compiles with numbers in their place may not with these. */
static void check_symbolic(void) {
    for (const coverage *c = table; c->t; c++) {
        if (!c->cases || c->symbolic) continue;
        printf("FAILED %s: no case has symbolic sizes\n", c->t->name);
        run.failed++;
    }
}

static void print_table(double seconds) {
    printf("%-22s %6s %7s %9s %9s %8s %12s %8s\n", "template", "cases", "legal", "executed", "compiled", "facts",
           "steps", "seconds");
    size_t legal = 0, executed = 0, compiled = 0, optimized = 0;
    for (const coverage *c = table; c->t; c++) {
        if (!c->cases) continue;
        printf("%-22s %6zu %7zu %9zu %9zu %8zu %12llu %8.1f\n", c->t->name, c->cases, c->legal, c->executed,
               c->compiled, c->shown, (unsigned long long)c->steps, c->seconds);
        legal += c->legal, executed += c->executed, compiled += c->compiled, optimized += c->optimized;
    }
    printf("%zu assignments of knobs are legal for some case; ", legal);
    if (run.on_nvrtc)
        printf("%zu variants compiled by NVRTC, %zu of them with all optimizations", compiled, optimized);
    else
        printf("%zu variants executed%s%s", executed, run.gpu ? " on " : "", run.gpu ? gpu_name(run.gpu) : "");
    printf("; %u failed; %.0f s\n", run.failed, seconds);
    if (interrupted) printf("interrupted: the rest was not taken\n");
    if (run.both) printf("%zu of %zu variants gave the same bits on both devices\n", run.alike, run.both);
}

static const char usage[] =
    "usage: kernel_matrix [--device emu|cuda|both|nvrtc] [--template NAME,...] [--case NAME] [--variant TEXT]\n"
    "                     [--cover pairs|knobs|types|all] [--turn N] [--rest N] [--shard I/N] [--arch NAME,...]\n"
    "                     [--optimize] [--list] [--verbose]\n"
    "       kernel_matrix --early [--template NAME,...] [--case NAME]\n"
    "       kernel_matrix --headers DIR [--template NAME,...] [--case NAME]\n"
    "       kernel_matrix --perf [--top N] [--template NAME,...] [--case NAME] [--variant TEXT]\n";

static bool skip(int *rc, const char *why) {
    fprintf(stderr, "skipped: %s", *matrix_log ? matrix_log : why);
    *rc = 77;
    return false;
}

/* False: an exit code is in *rc. */
static bool open_devices(const char *device, int *rc) {
    const bool emu = !strcmp(device, "emu"), cuda = !strcmp(device, "cuda"), both = !strcmp(device, "both");
    run.on_nvrtc = !strcmp(device, "nvrtc");
    run.on_emu = emu || both;
    *rc = 2;
    if (!emu && !cuda && !both && !run.on_nvrtc) {
        fprintf(stderr, "there is no device '%s'\n%s", device, usage);
        return false;
    }
    if (run.list) return true;
    if (run.on_emu && !emu_has_compiler()) return skip(rc, "there is no C++ compiler\n");
    if (emu) {
        setenv("TENON_EMU_FLAGS", "-O0", 0);
        return true;
    }
    if (tn_nvrtc_open(matrix_env, &run.rtc) != TN_OK) return skip(rc, "");
    if (run.on_nvrtc) return true;
    run.gpu = gpu_open();
    return run.gpu || skip(rc, "there is no GPU that Tenon knows\n");
}

static void visit_target(const tn_arch *target, phase from, phase to) {
    run.target = target;
    run.n_picks = run.at = run.chosen = run.done = run.matched = 0;
    run.start = tn_now();
    for (run.phase = from; run.phase <= to; run.phase++) each_case(false, run.only, check_kernel);
    if (run.on_terminal) fprintf(stderr, "\r\033[K");
}

static void visit_archs(phase from, phase to) {
    for (const char *p = run.archs; *p; p += strcspn(p, ","), p += *p == ',') {
        char name[32];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(p, ","), p);
        const tn_arch *target = tn_arch_find(name);
        if (!target) die("there is no architecture '%s'", name);
        visit_target(target, from, to);
    }
}

static void visit_targets(void) {
    const phase last = run.list ? CHOOSE : EXECUTE;
    if (run.on_nvrtc) {
        if (run.cover == KNOBS) visit_archs(COUNT, COUNT);
        visit_archs(CHOOSE, last);
    } else
        visit_target(run.gpu ? gpu_arch(run.gpu) : tn_arch_find("sm_90a"), run.cover == KNOBS ? COUNT : CHOOSE, last);
}

int main(int argc, char **argv) {
    enum { DEVICE, TEMPLATE, CASE, VARIANT, COVER, SHARD, TURN, REST, ARCH };
    enum { OPTIMIZE = ARCH + 1, EARLY, HEADERS, PERF, TOP, LIST, VERBOSE };
    static const struct option options[] = {{"device", 1, NULL, DEVICE},
                                            {"template", 1, NULL, TEMPLATE},
                                            {"case", 1, NULL, CASE},
                                            {"variant", 1, NULL, VARIANT},
                                            {"cover", 1, NULL, COVER},
                                            {"shard", 1, NULL, SHARD},
                                            {"turn", 1, NULL, TURN},
                                            {"rest", 1, NULL, REST},
                                            {"arch", 1, NULL, ARCH},
                                            {"optimize", 0, NULL, OPTIMIZE},
                                            {"early", 0, NULL, EARLY},
                                            {"headers", 1, NULL, HEADERS},
                                            {"perf", 0, NULL, PERF},
                                            {"top", 1, NULL, TOP},
                                            {"list", 0, NULL, LIST},
                                            {"verbose", 0, NULL, VERBOSE},
                                            {0}};
    bool perf = false;
    const char *device = "emu", *headers = NULL, *cover = "pairs", *shard = "0/1";
    char name[64];
    run.top = 4;
    run.rest = 1;
    run.archs = "sm_80,sm_89,sm_90a,sm_100";
    if (getenv("TENON_MATRIX_TURN")) run.turn = (unsigned)strtoul(getenv("TENON_MATRIX_TURN"), NULL, 10);
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) >= 0;) switch (o) {
        case DEVICE: device = optarg; break;
        case TEMPLATE: run.template = optarg; break;
        case CASE: run.only = optarg; break;
        case VARIANT: run.variant = optarg; break;
        case COVER: cover = optarg; break;
        case SHARD: shard = optarg; break;
        case TURN: run.turn = (unsigned)strtoul(optarg, NULL, 10); break;
        case REST: run.rest = (unsigned)strtoul(optarg, NULL, 10); break;
        case ARCH: run.archs = optarg; break;
        case OPTIMIZE: run.optimize = true; break;
        case EARLY: run.early = true, device = "nvrtc", run.archs = "sm_90a"; break;
        case HEADERS: headers = optarg; break;
        case PERF: perf = true; break;
        case TOP: run.top = (unsigned)strtoul(optarg, NULL, 10); break;
        case LIST: run.list = true; break;
        case VERBOSE: run.verbose = true; break;
        default: fputs(usage, stderr); return 2;
        }
    while (run.cover < N_COVERS && strcmp(cover, cover_names[run.cover]) != 0) run.cover++;
    if (run.cover == N_COVERS) {
        fprintf(stderr, "--cover takes pairs, knobs, types or all, not '%s'\n", cover);
        return 2;
    }
    if (run.rest < 1) {
        fprintf(stderr, "--rest takes a number from 1 on\n");
        return 2;
    }
    char more;
    if (sscanf(shard, "%u/%u%c", &run.shard, &run.shards, &more) != 2 || run.shard >= run.shards) {
        fprintf(stderr, "--shard takes I/N with I from 0 to N - 1, not '%s'\n", shard);
        return 2;
    }
    for (const char *p = run.template; p && *p; p += strcspn(p, ","), p += *p == ',') {
        snprintf(name, sizeof name, "%.*s", (int)strcspn(p, ","), p);
        if (!tn_template_find(name)) die("there is no template '%s'", name);
    }
    if (headers) return headers_write(headers, run.template, run.only);
    if (perf) return perf_run(run.template, run.only, run.variant, run.top);
    signal(SIGINT, interrupt);
    signal(SIGTERM, interrupt);
    int rc;
    const double start = tn_now();
    run.on_terminal = isatty(2);
    if (open_devices(device, &rc)) {
        tn_eval_single_threaded(true); /* small references: threads would spin in vain */
        visit_targets();
        if (!run.template && !run.only && !run.variant && !interrupted) check_symbolic();
        tn_eval_single_threaded(false);
        if (!run.list) print_table(tn_now() - start);
        rc = interrupted ? 128 + interrupted : run.failed != 0;
    }
    gpu_close(run.gpu);
    tn_nvrtc_close(run.rtc);
    for (coverage *c = table; c->t; c++) free(c->facts);
    free(run.picks);
    return rc;
}
