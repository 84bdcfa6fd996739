/* cmd_bench.c: tenon bench PLAN: graph replay on random data, and each kernel alone. */
#include "frontend/cli/cli.h"

#include "codegen/tune/pool.h"

static const char help[] = "Times a plan on the GPU: median, 10th and 90th percentile of CUDA-graph replays on random "
                           "inputs that stay on the\n"
                           "device, after 200 ms of warm-up; then every kernel replayed alone (warm caches: the sum "
                           "may differ from the whole).\n\n"
                           "examples:\n"
                           "  tenon bench resnet50.plan\n"
                           "  tenon bench yunet.plan --shape input=1x3x480x640 --seconds 2 --json\n";

static void print_text(const tn_bench_result *r, double load_ms, double context_ms) {
    printf("plan loaded in %.1f ms, context made in %.1f ms\n", load_ms, context_ms);
    printf("enqueue %.1f us on the host, the first at these shapes %.1f us\n", r->enqueue_us, r->first_enqueue_us);
    printf("median %.1f us   p10 %.1f us   p90 %.1f us   (%u runs)\n", r->median_us, r->p10_us, r->p90_us, r->runs);
    double sum = 0;
    for (size_t k = 0; k < r->kernel_count; k++) sum += r->kernels[k].us;
    printf("%zu kernels, %.1f us when each is replayed alone\n", r->kernel_count, sum);
    for (size_t k = 0; k < r->kernel_count; k++)
        printf("  %8.2f us  %5.1f %%  %s\n", r->kernels[k].us, sum > 0 ? 100 * r->kernels[k].us / sum : 0,
               r->kernels[k].name);
}

static void print_doc(cli *c, const tn_bench_result *r, double load_ms, double context_ms) {
    json_object *doc = json_object_new_object();
    cli_json_add_number(doc, "load_ms", load_ms);
    cli_json_add_number(doc, "context_ms", context_ms);
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
    cli_print_json(c, doc);
}

/* Every size is given: a figure for a size that nobody asked for says nothing. */
static tn_status set_shapes(cli *c, tn_context *x, const tn_plan *p, const compile_setup *s) {
    size_t n = tn_plan_input_count(p);
    const tn_tensor_desc **in = tn_alloc(&c->env, (n + 1) * sizeof *in);
    for (size_t k = 0; in && k < n; k++) in[k] = tn_plan_input(p, k);
    cli_sizes *z = in ? cli_sizes_new(c, in, n) : NULL;
    tn_status st = z ? cli_sizes_give_shapes(z, s) : TN_E_MEMORY;
    for (size_t k = 0; st == TN_OK && k < n; k++) {
        int64_t dims[TN_MAX_RANK];
        st = cli_sizes_get(z, k, -1, dims);
        if (st == TN_OK) st = tn_context_set_shape(x, k, in[k]->rank, dims);
    }
    cli_sizes_free(z);
    tn_free(&c->env, in, (n + 1) * sizeof *in);
    return st;
}

int cmd_bench(cli *c, int argc, const char **argv) {
    compile_args a = {.tune_seconds = CLI_TUNE_DEFAULT};
    double seconds = 1;
    int no_graph = 0, no_pdl = 0;
    const struct poptOption options[] = {
        {"shape", 's', POPT_ARG_ARGV, &a.shapes, 0, "shape of a symbolic input (may be repeated)", "NAME=1x3x480x640"},
        {"seconds", 0, POPT_ARG_DOUBLE, &seconds, 0, "how long to replay (default 1)", "S"},
        {"gpu", 0, POPT_ARG_INT, &a.device_ordinal, 0, "which GPU (default 0)", "K"},
        {"no-graph", 0, POPT_ARG_NONE, &no_graph, 0, "launch kernel by kernel", NULL},
        {"no-pdl", 0, POPT_ARG_NONE, &no_pdl, 0, "no programmatic dependent launch", NULL},
        POPT_TABLEEND,
    };
    poptContext ctx;
    const char **args;
    int rc = 0;
    if (!cli_parse(c, "bench", argc, argv, options, "PLAN [options]", help, &ctx, &args, &rc)) return rc;
    compile_setup s;
    if (!args || !args[0] || args[1]) {
        rc = cli_usage(c, "bench takes one plan (tenon bench --help)");
    } else if (cli_compile_setup(c, &a, &s, &rc)) {
        tn_status st;
        double t0 = tn_now();
        tn_plan *p = tn_plan_load(&c->env, args[0], &st);
        double t1 = tn_now();
        tn_context_options o = {.cuda_device = a.device_ordinal, .no_cuda_graph = no_graph != 0, .no_pdl = no_pdl != 0};
        tn_context *x = p ? tn_context_new(p, &o, &st) : NULL;
        double t2 = tn_now();
        if (x) st = set_shapes(c, x, p, &s);
        tn_bench_result r = {0};
        if (x && st == TN_OK) st = tn_context_bench(x, seconds, &r);
        if (st != TN_OK)
            rc = cli_exit(c, st);
        else if (c->json)
            print_doc(c, &r, 1e3 * (t1 - t0), 1e3 * (t2 - t1));
        else
            print_text(&r, 1e3 * (t1 - t0), 1e3 * (t2 - t1));
        tn_context_free(x);
        tn_plan_free(p);
    }
    cli_end(ctx, options);
    return rc;
}
