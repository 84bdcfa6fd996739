/* cmd_bench.c: tenon bench PLAN|MODEL: how many inferences a second, how long each takes, and where the time goes. */
#include <string.h>

#include "frontend/cli/bench/bench.h"
#include "runtime/plan/plan.h"

static const char help[] =
    "Times a plan, or a model, which is compiled in memory first.  Inferences are enqueued on --infer-streams streams, "
    "two\n"
    "on each at a time, for at least --seconds and --iterations after --warm-up; told are throughput, and of latency\n"
    "(from the first byte of the input copied until the last of the output), copies, kernels and enqueues the\n"
    "percentiles.  Then, with replays of a CUDA graph on random data that stays on the device, the median of whole\n"
    "inferences, and every kernel alone (warm caches: the sum may differ from the whole).\n"
    "Sizes: --shape of a plan's inputs is one size; of a model's it may be a range with what is typical, of which\n"
    "--sizes takes the smallest, the typical and the largest, one after the other.\n\n"
    "examples:\n"
    "  tenon bench resnet50.plan --infer-streams 4 --seconds 5\n"
    "  tenon bench yunet.plan --shape input=1x3x480x640 --no-transfers --spin --json\n"
    "  tenon bench bert.onnx --precision fp16 --shape ids=1..32x128:8x128 --sizes min,typical,max\n"
    "  tenon bench model.plan --input x=x.npy --export-times t.json --export-trace trace.json --export-profile "
    "p.json\n";

typedef struct bench_args {
    char *device, *sizes, *times, *profile, *trace;
    const char **inputs;
    int lanes, no_graph, no_pdl, no_transfers, no_profile, spin;
    long iterations, seed;
    double seconds, warm_up;
} bench_args;

static void print_profile(const tn_bench_result *r) {
    printf("enqueue %.1f us on the host, the first at these shapes %.1f us\n", r->enqueue_us, r->first_enqueue_us);
    printf("median %.1f us   p10 %.1f us   p90 %.1f us   (%u runs on the device alone)\n", r->median_us, r->p10_us,
           r->p90_us, r->runs);
    double sum = 0;
    for (size_t k = 0; k < r->kernel_count; k++) sum += r->kernels[k].us;
    printf("%zu kernels, %.1f us when each is replayed alone\n", r->kernel_count, sum);
    for (size_t k = 0; k < r->kernel_count; k++)
        printf("  %8.2f us  %5.1f %%  %s\n", r->kernels[k].us, sum > 0 ? 100 * r->kernels[k].us / sum : 0,
               r->kernels[k].name);
}

static void add_profile(json_object *doc, const tn_bench_result *r) {
    cli_json_add_number(doc, "median_us", r->median_us);
    cli_json_add_number(doc, "p10_us", r->p10_us);
    cli_json_add_number(doc, "p90_us", r->p90_us);
    cli_json_add_number(doc, "runs", r->runs);
    cli_json_add_number(doc, "enqueue_us", r->enqueue_us);
    cli_json_add_number(doc, "first_enqueue_us", r->first_enqueue_us);
    json_object *list = cli_json_add_array(doc, "kernels");
    for (size_t k = 0; k < r->kernel_count; k++) {
        json_object *o = json_object_new_object();
        cli_json_add_string(o, "name", r->kernels[k].name);
        cli_json_add_number(o, "us", r->kernels[k].us);
        json_object_array_add(list, o);
    }
}

/* ---- sizes ------------------------------------------------------------------------------------------------------- */

static const char *const which[] = {"min", "typical", "max"};
enum { MIN, TYPICAL, MAX, ALL_SIZES };

/* Gives every symbol of the plan its smallest, typical or largest size; those without a bound stay open. */
static void assume(cli_sizes *z, tn_plan *p, int at) {
    const TnPlan__Plan *pb = p ? tn_plan_manifest(p) : NULL;
    for (size_t k = 0; pb && k < pb->n_dims; k++) {
        const TnPlan__Dim *d = pb->dims[k];
        if (d->kind != TN_PLAN__DIM__KIND__SYM) continue;
        const int64_t v = at == MIN ? (d->lo > 1 ? d->lo : 1) : at == MAX ? d->hi : d->hint;
        if (v > 0 && v < (int64_t)1 << 31) cli_sizes_assume(z, d->name, v);
    }
}

static tn_status make_inputs(cli *c, cli_model *m, const char *const *file, const compile_setup *s, bool is_plan,
                             int at, long seed, tn_host_tensor *in) {
    cli_sizes *z = cli_model_sizes(c, m);
    tn_status st = z ? TN_OK : TN_E_MEMORY;
    for (size_t k = 0; st == TN_OK && k < s->import.n_shapes; k++)
        if (is_plan || cli_is_one_shape(&s->shapes[k])) st = cli_sizes_give_shape(z, &s->shapes[k]);
    /* a figure for a size that nobody asked for says nothing: a plan's are asked for by --sizes alone */
    if (st == TN_OK && (!is_plan || at != ALL_SIZES)) assume(z, cli_model_plan(m), at == ALL_SIZES ? TYPICAL : at);
    if (st == TN_OK) st = cli_make_inputs(c, m, file, z, -1, (uint64_t)seed * CLI_MAX_IO + 1, in);
    cli_sizes_free(z);
    return st;
}

static void shapes_text(const cli_model *m, const tn_host_tensor *in, char *out, size_t size) {
    *out = 0;
    for (size_t k = 0, at = 0; k < cli_model_inputs(m) && at < size; k++) {
        char shape[160];
        cli_shape_text(in[k].rank, in[k].dims, shape, sizeof shape);
        at += (size_t)snprintf(out + at, size - at, "%s%s=%s", k ? " " : "", cli_model_input(m, k)->name, shape);
    }
}

/* ---- one run ----------------------------------------------------------------------------------------------------- */

/* Kernel by kernel; what *r names is *x's. */
static tn_status profile(cli_model *m, const tn_host_tensor *in, const bench_options *o, tn_context **x,
                         tn_bench_result *r) {
    tn_status st = TN_OK;
    const tn_context_options c = {.cuda_device = o->gpu, .no_cuda_graph = o->no_cuda_graph, .no_pdl = o->no_pdl};
    *x = tn_context_new(cli_model_plan(m), &c, &st);
    for (size_t k = 0; st == TN_OK && k < cli_model_inputs(m); k++)
        st = tn_context_set_shape(*x, k, in[k].rank, in[k].dims);
    return st == TN_OK ? tn_context_bench(*x, o->seconds, r) : st;
}

/* A file for each of several sizes: trace.json becomes trace.min.json. */
static void file_of(const char *path, int at, char *out, size_t size) {
    const char *dot = strrchr(path, '.');
    if (at == ALL_SIZES || !dot || strchr(dot, '/'))
        snprintf(out, size, "%s%s%s", path, at == ALL_SIZES ? "" : ".", at == ALL_SIZES ? "" : which[at]);
    else
        snprintf(out, size, "%.*s.%s%s", (int)(dot - path), path, which[at], dot);
}

static tn_status write_files(cli *c, const bench_args *a, const bench_run *r, const tn_bench_result *p, bool gpu,
                             int at) {
    char path[1024];
    tn_status st = TN_OK;
    if (a->times) file_of(a->times, at, path, sizeof path), st = bench_export_times(c, path, r);
    if (st == TN_OK && a->trace) file_of(a->trace, at, path, sizeof path), st = bench_export_trace(c, path, r, gpu);
    if (st == TN_OK && a->profile && p)
        file_of(a->profile, at, path, sizeof path), st = bench_export_profile(c, path, p);
    return st;
}

static tn_status bench_at(cli *c, cli_model *m, const char *const *file, const compile_setup *s, const bench_args *a,
                          bool is_plan, int at, json_object *doc) {
    const bool gpu = !strcmp(a->device ? a->device : "cuda", "cuda");
    const bench_options o = {.lanes = (uint32_t)a->lanes,
                             .iterations = (uint64_t)a->iterations,
                             .seconds = a->seconds,
                             .warm_up = a->warm_up,
                             .transfers = !a->no_transfers,
                             .spin = a->spin != 0,
                             .no_cuda_graph = a->no_graph != 0,
                             .no_pdl = a->no_pdl != 0,
                             .gpu = s->options.cuda_device};
    tn_host_tensor in[CLI_MAX_IO] = {{.name = ""}};
    tn_bench_result p = {0};
    bench_run r = {0};
    tn_context *x = NULL;
    char shapes[1024];
    tn_status st = make_inputs(c, m, file, s, is_plan, at, a->seed, in);
    if (st == TN_OK) shapes_text(m, in, shapes, sizeof shapes);
    if (st == TN_OK) st = gpu ? bench_gpu(c, m, in, &o, &r) : bench_host(c, m, in, &o, &r);
    const bool profiled = gpu && !a->no_profile;
    if (st == TN_OK && profiled) st = profile(m, in, &o, &x, &p);
    cli_clear_bar(c);
    if (st == TN_OK && doc) {
        cli_json_add_string(doc, "shapes", shapes);
        bench_document(&r, &o, doc);
        if (profiled) add_profile(doc, &p);
    } else if (st == TN_OK) {
        printf("%s%s%s\n", at == ALL_SIZES ? "" : which[at], at == ALL_SIZES ? "" : ": ", shapes);
        bench_print(&r, &o, gpu);
        if (profiled) print_profile(&p);
    }
    if (st == TN_OK) st = write_files(c, a, &r, profiled ? &p : NULL, gpu, at);
    tn_context_free(x);
    bench_free(c, &r);
    for (size_t k = 0; k < CLI_MAX_IO; k++) cli_free_tensor(c, &in[k]);
    return st;
}

/* "min,max": which of them; false on a usage error. */
static bool parse_sizes(cli *c, const char *text, bool take[3], int *rc) {
    for (const char *p = text; p && *p;) {
        const size_t n = strcspn(p, ",");
        int k = 0;
        while (k < 3 && (strlen(which[k]) != n || memcmp(which[k], p, n) != 0)) k++;
        if (k == 3) return *rc = cli_usage(c, "--sizes %s: write min, typical and max, with commas", text), false;
        take[k] = true;
        p += n + (p[n] == ',');
    }
    return true;
}

static bool check_args(cli *c, const bench_args *a, bool take[3], int *rc) {
    const bool gpu = !a->device || !strcmp(a->device, "cuda");
    if (!parse_sizes(c, a->sizes, take, rc)) return false;
    if (a->lanes < 1 || a->lanes > 64) return *rc = cli_usage(c, "--infer-streams %d: 1 to 64", a->lanes), false;
    if (!gpu && a->lanes > 1) return *rc = cli_usage(c, "--infer-streams: several are for --device cuda"), false;
    if (!gpu && a->profile) return *rc = cli_usage(c, "--export-profile: kernels are timed with --device cuda"), false;
    if (a->profile && a->no_profile)
        return *rc = cli_usage(c, "--export-profile and --no-profile exclude each other"), false;
    if (a->iterations < 1 || a->seconds < 0 || a->warm_up < 0)
        return *rc = cli_usage(c, "--iterations is at least 1, --seconds and --warm-up not negative"), false;
    return true;
}

static tn_status bench_all(cli *c, cli_model *m, const char *const *file, const compile_setup *s, const bench_args *a,
                           bool is_plan, const bool take[3]) {
    double load, context;
    json_object *doc = c->json ? json_object_new_object() : NULL;
    tn_status st = TN_OK;
    cli_model_times(m, &load, &context);
    if (doc && is_plan) cli_json_add_number(doc, "load_ms", load), cli_json_add_number(doc, "context_ms", context);
    if (!doc && is_plan) printf("plan loaded in %.1f ms, context made in %.1f ms\n", load, context);
    if (!take[0] && !take[1] && !take[2]) {
        st = bench_at(c, m, file, s, a, is_plan, ALL_SIZES, doc);
    } else {
        json_object *list = doc ? cli_json_add_array(doc, "sizes") : NULL;
        for (int k = 0; st == TN_OK && k < 3; k++) {
            json_object *one = doc && take[k] ? json_object_new_object() : NULL;
            if (one) cli_json_add_string(one, "sizes", which[k]), json_object_array_add(list, one);
            if (take[k]) st = bench_at(c, m, file, s, a, is_plan, k, one);
        }
    }
    if (doc && st == TN_OK)
        cli_print_json(c, doc);
    else
        json_object_put(doc);
    return st;
}

int cmd_bench(cli *c, int argc, const char **argv) {
    compile_args a = {.tune_seconds = CLI_TUNE_DEFAULT};
    bench_args b = {.lanes = 1, .iterations = 10, .seconds = 1, .warm_up = 0.2};
    const struct poptOption options[] = {
        {"device", 'd', POPT_ARG_STRING, &b.device, 0, "cuda (default), cpu or emu", "D"},
        {"input", 'i', POPT_ARG_ARGV, &b.inputs, 0, "an input's data (may be repeated)", "NAME=FILE|random|FILE.npz"},
        {"seed", 0, POPT_ARG_LONG, &b.seed, 0, "of random inputs (default 0)", "N"},
        {"sizes", 0, POPT_ARG_STRING, &b.sizes, 0, "which sizes of ranges to time", "min,typical,max"},
        {"seconds", 0, POPT_ARG_DOUBLE, &b.seconds, 0, "how long at least (default 1)", "S"},
        {"iterations", 0, POPT_ARG_LONG, &b.iterations, 0, "how many inferences at least (default 10)", "N"},
        {"warm-up", 0, POPT_ARG_DOUBLE, &b.warm_up, 0, "how long before that (default 0.2)", "S"},
        {"infer-streams", 0, POPT_ARG_INT, &b.lanes, 0, "inferences side by side (default 1)", "N"},
        {"no-transfers", 0, POPT_ARG_NONE, &b.no_transfers, 0, "inputs and outputs stay on the device", NULL},
        {"spin", 0, POPT_ARG_NONE, &b.spin, 0, "the host spins while it waits, for latency", NULL},
        {"no-profile", 0, POPT_ARG_NONE, &b.no_profile, 0, "do not time kernels one by one", NULL},
        {"no-graph", 0, POPT_ARG_NONE, &b.no_graph, 0, "launch kernel by kernel", NULL},
        {"no-pdl", 0, POPT_ARG_NONE, &b.no_pdl, 0, "no programmatic dependent launch", NULL},
        {"export-times", 0, POPT_ARG_STRING, &b.times, 0, "each inference's times, as JSON", "FILE"},
        {"export-trace", 0, POPT_ARG_STRING, &b.trace, 0, "a trace for Chrome or Perfetto", "FILE"},
        {"export-profile", 0, POPT_ARG_STRING, &b.profile, 0, "each kernel's time, as JSON", "FILE"},
        COMPILE_OPTIONS(&a),
        POPT_TABLEEND,
    };
    poptContext ctx;
    const char **args, *file[CLI_MAX_IO] = {NULL};
    bool take[3] = {false};
    int rc = 0;
    if (!cli_parse(c, "bench", argc, argv, options, "PLAN|MODEL [options]", help, &ctx, &args, &rc)) return rc;
    compile_setup s;
    cli_model *m = NULL;
    if (!args || !args[0] || args[1])
        rc = cli_usage(c, "bench takes one plan or model (tenon bench --help)");
    else if (check_args(c, &b, take, &rc) && cli_compile_setup(c, &a, &s, &rc))
        m = cli_open_model(c, args[0], b.device ? b.device : "cuda", &s, &rc);
    if (m && b.sizes && !cli_model_plan(m))
        rc = cli_usage(c, "--sizes: on the CPU give a plan, which knows its ranges");
    else if (m && cli_find_inputs(c, m, b.inputs, file, &rc))
        rc = cli_exit(c, bench_all(c, m, file, &s, &b, !cli_is_model(args[0]), take));
    cli_close_model(m);
    cli_end(ctx, options);
    return rc;
}
