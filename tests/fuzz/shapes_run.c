/* shapes_run.c: see shapes.h. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ir/eval/eval.h"
#include "runtime/plan/plan.h"
#include "tenon/compiler.h"
#include "tenon/host.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/shapes.h"
#include "tests/ir/amplify.h"

enum { MAX_IO = 8, MAX_STREAMS = 3 };

static char message[300]; /* of the last error */

static void on_diag(void *user, const tn_diag *d) {
    (void)user;
    if (d->severity == TN_ERROR) snprintf(message, sizeof message, "%s", d->message);
}

static const tn_env env = {.diag = on_diag};

#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
static void
fault(shapes_result *r, const int64_t *at, const char *fmt, ...) {
    if (r->fault.what[0]) return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(r->fault.what, sizeof r->fault.what, fmt, args);
    va_end(args);
    for (int k = 0; k < SHAPES_SYMBOLS; k++) r->fault.at[k] = at ? at[k] : -1;
}

/* ---- texts ------------------------------------------------------------------------------------------------------- */

/* Drops what is stated of results, and conditions: both are inferred from the operands. */
char *shapes_text(tn_graph *g) {
    char *p = NULL, *out = NULL;
    size_t n = 0, size = 0;
    if (tn_print(g, NULL, &p, &n) != TN_OK) return NULL;
    FILE *f = open_memstream(&out, &size);
    for (char *line = p, *next; f && *line; line = next) {
        next = strchr(line, '\n');
        next = next ? next + 1 : line + strlen(line);
        const char *stop = next, *at;
        if (!strncmp(line, "require ", 8)) continue;
        if (!strncmp(line, "func", 4) && (at = strstr(line, " -> ")) && at < next)
            fprintf(f, "%.*s {\n", (int)(at - line), line);
        else {
            if (!memmem(line, (size_t)(next - line), " = const ", 9) &&
                (at = memmem(line, (size_t)(next - line), " : ", 3)))
                stop = at;
            fprintf(f, "%.*s%s", (int)(stop - line), line, stop < next ? "\n" : "");
        }
    }
    if (f) fclose(f);
    tn_free(tn_graph_env(g), p, n + 1);
    return out;
}

/* The text with numbers in place of symbols. */
static char *bound_text(const char *text, const int64_t *at) {
    char *out = NULL;
    size_t size;
    FILE *f = open_memstream(&out, &size);
    for (const char *p = text; f && *p;) {
        int k = 0;
        if (!strncmp(p, "symbol ", 7) || !strncmp(p, "bucket ", 7)) {
            p = strchr(p, '\n') ? strchr(p, '\n') + 1 : p + strlen(p);
            continue;
        }
        while (k < SHAPES_SYMBOLS && strncmp(p, shapes_symbols[k], 2)) k++;
        if (k < SHAPES_SYMBOLS)
            fprintf(f, "%lld", (long long)at[k]), p += 2;
        else
            fputc(*p++, f);
    }
    if (f) fclose(f);
    return out;
}

/* ---- data -------------------------------------------------------------------------------------------------------- */

typedef struct io {
    tn_tensor in[MAX_IO], want[MAX_IO], got[MAX_IO];
    size_t n_in, n_out;
} io;

static void release(io *x) {
    for (size_t k = 0; k < MAX_IO; k++) {
        tn_tensor_free(&env, &x->in[k]);
        tn_tensor_free(&env, &x->want[k]);
        tn_tensor_free(&env, &x->got[k]);
    }
}

static bool static_dims(const tn_graph *g, tn_val v, int64_t *dims) {
    for (size_t i = 0; i < tn_val_rank(g, v); i++)
        if (!tn_dim_is_const(g, tn_val_dim(g, v, i), &dims[i])) return false;
    return true;
}

/* Numbers whose sums and products have few digits. */
static bool make_inputs(const tn_graph *g, io *x, uint64_t seed) {
    x->n_in = tn_graph_input_count(g);
    x->n_out = tn_graph_output_count(g);
    for (size_t k = 0; k < x->n_in; k++) {
        int64_t dims[TN_MAX_RANK];
        const tn_val v = tn_graph_input(g, k);
        if (!static_dims(g, v, dims) ||
            tn_tensor_new(&env, tn_val_dtype(g, v), tn_val_rank(g, v), dims, &x->in[k]) != TN_OK)
            return false;
        const double unit = tn_dtype_is_float(x->in[k].dtype) ? 0.5 : 1;
        for (int64_t i = 0; i < tn_tensor_numel(&x->in[k]); i++)
            tn_store_num(x->in[k].dtype, x->in[k].data, (uint64_t)i, unit * ((double)fuzz_below(&seed, 9) - 4));
    }
    return true;
}

static bool is_small(const tn_graph *g) {
    static const shapes_binding none;
    for (uint32_t k = 1; k < tn_graph_val_limit(g); k++) {
        const tn_type t = tn_val_type(g, (tn_val){k});
        if (t.i && shapes_elements(g, t, none) > SHAPES_ELEMENTS) return false;
    }
    return true;
}

/* Output k on a device against the reference; a graph that makes much of rounding is measured by that (amplify.h). */
static bool same(const tn_graph *g, const io *x, size_t k, tn_amplifier **a_of, char *why, size_t size) {
    static const tn_eval_opts plain;
    const tn_tensor *got = &x->got[k], *want = &x->want[k];
    for (int64_t i = 0; i < tn_tensor_numel(want); i++) {
        const double a = tn_load_num(got->dtype, got->data, (uint64_t)i),
                     b = tn_load_num(want->dtype, want->data, (uint64_t)i);
        const bool ok = isnan(b) ? isnan(a) : a == b || (isfinite(b) && fabs(a - b) <= 1e-3 * (1 + fabs(b)));
        if (ok) continue;
        if (!*a_of) *a_of = tn_amplifier_new(g, x->in, x->n_in, x->n_out, &plain, 1);
        if (*a_of && tn_amplifies(*a_of, k, (uint64_t)i, b, a)) continue;
        snprintf(why, size, "element %lld is %g and should be %g", (long long)i, a, b);
        return false;
    }
    return true;
}

/* ---- one shape --------------------------------------------------------------------------------------------------- */

typedef struct device {
    const char *name;
    tn_context *c;
} device;

/* Runs at x->in's shapes.  False where it is refused; results are in x->got. */
static bool run_on(const device *d, io *x, const tn_plan *p) {
    const void *in[MAX_IO];
    void *out[MAX_IO];
    for (size_t k = 0; k < x->n_in; k++) {
        in[k] = x->in[k].data;
        if (tn_context_set_shape(d->c, k, x->in[k].rank, x->in[k].dims) != TN_OK) return false;
    }
    for (size_t k = 0; k < x->n_out; k++) {
        int64_t dims[TN_MAX_RANK];
        uint32_t rank;
        tn_tensor_free(&env, &x->got[k]);
        if (tn_context_output_most(d->c, k, &rank, dims) != TN_OK) return false;
        if (tn_tensor_new(&env, tn_plan_output(p, k)->dtype, rank, dims, &x->got[k]) != TN_OK) return false;
        memset(x->got[k].data, 0x5a, x->got[k].bytes);
        out[k] = x->got[k].data;
    }
    return tn_context_run(d->c, in, out) == TN_OK;
}

static void judge(shapes_result *r, const device *d, const tn_graph *g, io *x, const tn_plan *p, const int64_t *at) {
    char why[120];
    tn_amplifier *amplifier = NULL; /* made at the first difference */
    *message = 0;
    if (!run_on(d, x, p)) {
        fault(r, at, "%s refuses a legal shape: %s", d->name, message);
        return;
    }
    for (size_t k = 0; k < x->n_out; k++) {
        const tn_tensor *got = &x->got[k], *want = &x->want[k];
        if (got->dtype != want->dtype || got->rank != want->rank ||
            memcmp(got->dims, want->dims, got->rank * sizeof *got->dims))
            fault(r, at, "%s gives output %zu another shape", d->name, k);
        else if (!same(g, x, k, &amplifier, why, sizeof why))
            fault(r, at, "%s is wrong: output %zu: %s", d->name, k, why);
    }
    tn_amplifier_free(amplifier);
}

/* The inputs' shapes at which the text is illegal, from its header, which is legal. */
static tn_graph *header_only(const char *text) {
    const size_t header = strcspn(text, "{");
    char *copy = NULL;
    tn_status st;
    if (asprintf(&copy, "%.*s{\n  return\n}\n", (int)header, text) < 0) return NULL;
    tn_graph *g = tn_parse(&env, "header", copy, strlen(copy), NULL, 0, true, &st);
    free(copy);
    return g;
}

static void run_illegal(shapes_result *r, const char *text, const device *d, size_t n, const tn_plan *p,
                        const int64_t *at, uint64_t seed) {
    char rule[200];
    io x = {.n_in = 0};
    snprintf(rule, sizeof rule, "%s", message);
    tn_graph *g = header_only(text);
    if (g && !is_small(g)) {
        r->large++;
    } else if (g && make_inputs(g, &x, seed)) {
        x.n_out = tn_plan_output_count(p);
        for (size_t k = 0; k < n; k++)
            if (run_on(&d[k], &x, p)) fault(r, at, "%s runs an illegal shape: %s", d[k].name, rule);
        r->illegal++;
    } else {
        r->unsure++;
    }
    release(&x);
    tn_graph_free(g);
}

/* The name of a symbol that an input tells and that is outside its range; NULL if all are within. */
static const char *out_of_range(tn_graph *g, const int64_t *at) {
    for (size_t k = 0; k < SHAPES_SYMBOLS; k++) {
        const tn_dim s = tn_dim_sym(g, shapes_symbols[k]);
        int64_t lo, hi;
        tn_dim_bounds(g, s, &lo, &hi);
        if (tn_inputs_tell(g, s) && (at[k] < lo || at[k] > hi)) return shapes_symbols[k];
    }
    return NULL;
}

static void run_at(shapes_result *r, const char *symbolic, tn_graph *whole, const device *d, size_t n, const tn_plan *p,
                   const int64_t *at, uint64_t seed) {
    tn_status st;
    char *text = bound_text(symbolic, at);
    *message = 0;
    tn_graph *g = text ? tn_parse(&env, "bound", text, strlen(text), NULL, 0, true, &st) : NULL;
    io x = {.n_in = 0};
    const char *outside = out_of_range(whole, at);
    if (outside) snprintf(message, sizeof message, "%s is outside its range", outside);
    if (text && (!g || outside)) {
        run_illegal(r, text, d, n, p, at, seed);
    } else if (g && !is_small(g)) {
        r->large++;
    } else if (!g || !make_inputs(g, &x, seed) ||
               tn_eval_graph(&env, g, x.in, x.n_in, x.want, x.n_out, NULL) != TN_OK) {
        r->unsure++; /* an index beyond a table */
    } else {
        r->legal++;
        for (size_t k = 0; k < n; k++) judge(r, &d[k], g, &x, p, at);
    }
    release(&x);
    tn_graph_free(g);
    free(text);
}

/* ---- one graph --------------------------------------------------------------------------------------------------- */

/* Sizes of one of the plan's buckets: what is typical, one more, a multiple that is meant, or any. */
static void draw_bucket(const TnPlan__Plan *pb, int64_t *at, uint64_t *seed) {
    enum { MOST = 24 };
    const TnPlan__Bucket *b = pb->buckets[fuzz_below(seed, pb->n_buckets)];
    const size_t what = fuzz_below(seed, 4);
    for (size_t i = 0; i < b->n_ranges; i++) {
        const TnPlan__Bucket__Range *r = b->ranges[i];
        const int64_t by = r->divisor ? r->divisor : 1, hi = r->hi < MOST ? r->hi : MOST;
        int64_t v = r->typical;
        if (what > 1 && hi > r->lo) v = r->lo + (int64_t)fuzz_below(seed, (size_t)(hi - r->lo + 1));
        if (what == 2) v -= v % by;
        if (what == 1 && !fuzz_below(seed, 3)) v++;
        for (int k = 0; k < SHAPES_SYMBOLS; k++)
            if (!strcmp(shapes_symbols[k], pb->dims[r->symbol]->name)) at[k] = v;
    }
}

static tn_plan *compile(shapes_result *r, const char *text, uint32_t streams, void **data, size_t *size) {
    static const char *const targets[] = {"sm_90a"};
    const tn_compile_options opts = {.targets = targets,
                                     .n_targets = 1,
                                     .no_gpu = true,
                                     .sources_only = true,
                                     .tune_seconds = -1,
                                     .threads = 1,
                                     .streams = streams,
                                     .cache_dir = ""};
    tn_status st;
    tn_plan *p = NULL;
    tn_graph *g = tn_parse(&env, "text", text, strlen(text), NULL, 0, true, &st);
    if (!g) {
        fault(r, NULL, "the text does not parse: %s", message);
    } else if (tn_compile_memory(g, &opts, data, size) != TN_OK) {
        fault(r, NULL, "does not compile: %s", message);
    } else if (!(p = tn_plan_load_memory(&env, *data, *size, &st))) {
        fault(r, NULL, "the plan does not load: %s", message);
    }
    tn_graph_free(g);
    return p;
}

/* Contexts on both devices; false where there is none. */
static bool open_on(shapes_result *r, const tn_plan *p, device d[2]) {
    static const tn_device kinds[] = {TN_CPU, TN_EMU};
    tn_status st;
    for (int k = 0; p && k < 2; k++) {
        const tn_context_options opts = {.device = kinds[k], .host = tn_host_devices()};
        d[k].c = tn_context_new((tn_plan *)(uintptr_t)p, &opts, &st);
        if (!d[k].c) fault(r, NULL, "no context on %s: %s", d[k].name, message);
    }
    return d[0].c && d[1].c;
}

/* ---- a graph in a branch ----------------------------------------------------------------------------------------- */

/* The graph of the text, and what it comes to, in a branch that an input `chosen` takes; 0 otherwise.  Of one output, so that all of it
 * is needed. */
static char *chosen_text(const char *text, const tn_graph *g) {
    char *out = NULL;
    size_t size = 0;
    const char *func = strstr(text, "func "), *body = func ? strstr(func, ") {\n") : NULL,
               *last = body ? strstr(body, "\n  return %") : NULL;
    FILE *f = last && tn_graph_output_count(g) == 1 ? open_memstream(&out, &size) : NULL;
    if (!f) return NULL;
    const char *name = last + strlen("\n  return ");
    const size_t length = strcspn(name, ",\n"), rank = tn_val_rank(g, tn_graph_output(g, 0));
    fprintf(f, "%.*s, %%chosen: bool[]) {\n  %%result = if %%chosen {^():%.*s", (int)(body - text), text,
            (int)(last - body - 3), body + 3);
    fprintf(f, "\n  %%number = cast %.*s {to=f32}\n  %%most = reduce_max %%number {axes=[", (int)length, name);
    for (size_t k = 0; k < rank; k++) fprintf(f, "%s%zu", k ? "," : "", k);
    fprintf(f,
            "]}\n  yield %%most\n  } {^():\n  %%none = const [0] : f32[]\n  yield %%none\n  }\n  return %%result\n}\n");
    fclose(f);
    return out;
}

/* What is not chosen need not be legal: sizes in their ranges alone are; what is chosen runs where the graph does. */
static void run_chosen_at(shapes_result *r, const char *symbolic, tn_graph *whole, const device *d, const tn_plan *p,
                          const int64_t *at, uint64_t seed) {
    char *text = bound_text(symbolic, at);
    tn_status st;
    tn_graph *g = text ? tn_parse(&env, "bound", text, strlen(text), NULL, 0, true, &st) : NULL;
    tn_graph *header = text ? header_only(text) : NULL;
    const bool within = !out_of_range(whole, at);
    io x = {.n_in = 0}, reference = {.n_in = 0};
    if (header && is_small(header) && (!g || is_small(g)) && make_inputs(header, &x, seed) && x.n_in + 1 < MAX_IO) {
        const bool sure = !g || (make_inputs(g, &reference, seed) &&
                                 tn_eval_graph(&env, g, x.in, x.n_in, reference.want, reference.n_out, NULL) == TN_OK);
        tn_tensor *chosen = &x.in[x.n_in++];
        bool ok = tn_tensor_new(&env, TN_BOOL, 0, NULL, chosen) == TN_OK;
        x.n_out = 1;
        for (int yes = 0; ok && yes < (sure ? 2 : 1); yes++)
            for (int k = 0; k < 2; k++) {
                const bool legal = within && (!yes || g);
                *(bool *)chosen->data = yes;
                *message = 0;
                const bool ran = run_on(&d[k], &x, p);
                if (ran != legal)
                    fault(r, at, "%s %s a branch that is %schosen at %s shape: %s", d[k].name, ran ? "runs" : "refuses",
                          yes ? "" : "not ", legal ? "a legal" : "an illegal", message);
                if (ran && !yes && *(float *)x.got[0].data != 0) fault(r, at, "%s runs the other branch", d[k].name);
            }
    }
    release(&x);
    release(&reference);
    tn_graph_free(header);
    tn_graph_free(g);
    free(text);
}

static void run_chosen(const char *text, tn_graph *g, uint64_t seed, shapes_binding at[SHAPES_BINDINGS],
                       shapes_result *r) {
    void *data = NULL;
    size_t size = 0;
    device d[] = {{"cpu", NULL}, {"emu", NULL}};
    char *inside = chosen_text(text, g);
    tn_plan *p = inside ? compile(r, inside, 1, &data, &size) : NULL;
    const bool open = open_on(r, p, d);
    for (int k = 0; open && k < SHAPES_BINDINGS && !r->fault.what[0]; k++)
        run_chosen_at(r, text, g, d, p, at[k], seed + (uint64_t)k);
    for (int k = 0; k < 2; k++) tn_context_free(d[k].c);
    tn_plan_free(p);
    if (data) tn_free(&env, data, size);
    free(inside);
}

void shapes_run(const char *text, uint64_t seed, shapes_result *r) {
    enum { CHOSEN = 4 }; /* of so many graphs one is also put into a branch */
    void *data = NULL;
    size_t size = 0;
    shapes_binding at[SHAPES_BINDINGS];
    device d[] = {{"cpu", NULL}, {"emu", NULL}};
    tn_status st;
    tn_graph *g = tn_parse(&env, "text", text, strlen(text), NULL, 0, true, &st);
    tn_plan *p = compile(r, text, 1 + (uint32_t)(seed % MAX_STREAMS), &data, &size);
    open_on(r, p, d);
    r->compiled = p != NULL;
    if (p && tn_plan_manifest(p)->n_archs) {
        r->kernels = (int)tn_plan_manifest(p)->archs[0]->n_steps;
        r->streams = tn_plan_manifest(p)->archs[0]->streams > 1;
        r->ways = (int)tn_plan_manifest(p)->archs[0]->n_alternatives;
    }
    if (g) shapes_draw(g, seed, at);
    for (int k = 0; g && d[0].c && d[1].c && k < SHAPES_BINDINGS && !r->fault.what[0]; k++)
        run_at(r, text, g, d, 2, p, at[k], seed + (uint64_t)k);
    for (int k = 0; g && d[0].c && d[1].c && k < SHAPES_IN_BUCKETS && !r->fault.what[0]; k++) {
        if (!tn_plan_manifest(p)->n_buckets) break;
        draw_bucket(tn_plan_manifest(p), at[k], &seed);
        run_at(r, text, g, d, 2, p, at[k], seed);
    }
    for (int k = 0; k < 2; k++) tn_context_free(d[k].c);
    tn_plan_free(p);
    if (g && p && seed % CHOSEN == 0 && !r->fault.what[0]) run_chosen(text, g, seed, at, r);
    tn_graph_free(g);
    if (data) tn_free(&env, data, size);
}
