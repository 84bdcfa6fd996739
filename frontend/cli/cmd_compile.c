/* cmd_compile.c: tenon compile MODEL -o PLAN. */
#include "frontend/cli/cli.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include "codegen/tune/pool.h"
#include "frontend/cli/depfile.h"
#include "frontend/cli/emit_c.h"

static const char help[] =
    "Compiles MODEL (.onnx, .tn, or a Caffe .prototxt with --weights) into a plan: tuned kernels, weights and a "
    "schedule in\n"
    "one file.\n"
    "With a GPU, candidates are checked against the reference and timed until --tune-seconds have passed; without one\n"
    "(--no-gpu) the cost model chooses, kernels are still compiled, and `tenon tune` finishes the plan on a device.\n"
    "--shape gives an input's sizes.  A range (1..32) keeps a symbolic size symbolic, with sizes after a colon that "
    "it\n"
    "typically has.  Several --shape of one input are buckets: kernels are chosen for each, at its typical sizes; the\n"
    "first --shape of one input belongs to the first of another; one * in a name is any text.  Sizes outside all "
    "ranges are refused.\n"
    "--alias lets an output grow in an input's buffer: a KV cache then costs a token what the token adds.  The output "
    "must\n"
    "be a concatenation that begins with the input, whose axis needs a largest size (a range) where it is not the "
    "first,\nor be the input with rows that a run gives places (GroupQueryAttention, where the cache has all rows from "
    "the beginning).\n"
    "Caches that are named as exporters do, past_key_values.0.key and present.0.key, are so paired without it.\n"
    "The plan is written atomically: on an error or Ctrl-C no file is left.  -o - is the standard output.\n\n"
    "examples:\n"
    "  tenon compile resnet50.onnx -o resnet50.plan --precision fp16 --shape input=32x3x224x224\n"
    "  tenon compile model.onnx -o model.plan --target sm_80,sm_90a --no-gpu\n"
    "  tenon compile deploy.prototxt --weights net.caffemodel -o net.plan\n"
    "  tenon compile bert.onnx -o bert.plan --shape ids=1..4x1..512:1x128 --shape ids=5..32x1..512:8x384\n"
    "  tenon compile decoder.onnx -o decoder.plan --shape 'past_key_values.*=1x8x0..2047x64:1x8x1024x64' \\\n"
    "      --shape 'past_key_values.*=1x8x0..2047x64:1x8x0x64' --shape input_ids=1x1..512:1x1 --shape "
    "input_ids=1x1..512:1x512\n";

/* Of a stream there is nothing to look at, and it may be the standard output. */
static int report(cli *c, const char *path, double import_s, double compile_s) {
    tn_status s;
    bool stream = cli_is_stream(path);
    if (stream && !c->json) return 0;
    tn_plan *p = stream ? NULL : tn_plan_load(&c->env, path, &s);
    if (!p && !stream) return cli_exit(c, s);
    struct stat st = {0};
    stat(path, &st);
    if (c->json) {
        json_object *doc = json_object_new_object(), *archs = cli_json_add_array(doc, "archs");
        cli_json_add_string(doc, "plan", path);
        cli_json_add_number(doc, "bytes", p ? (double)st.st_size : NAN);
        cli_json_add_number(doc, "import_s", import_s);
        cli_json_add_number(doc, "compile_s", compile_s);
        for (size_t k = 0; p && tn_plan_arch(p, k); k++)
            json_object_array_add(archs, json_object_new_string(tn_plan_arch(p, k)));
        cli_print_json(c, doc);
    } else if (!c->quiet) {
        printf("%s: %.1f MB for", path, (double)st.st_size / 1e6);
        for (size_t k = 0; tn_plan_arch(p, k); k++) printf(" %s", tn_plan_arch(p, k));
        printf("  (import %.2f s, compile %.2f s)\n", import_s, compile_s);
        const size_t grow = tn_plan_alias_count(p);
        if (grow)
            printf("%zu output%s in the buffers of inputs, as tenon inspect shows (--no-alias keeps KV caches apart)\n",
                   grow, grow == 1 ? " grows" : "s grow");
    }
    tn_plan_free(p);
    return 0;
}

int cmd_compile(cli *c, int argc, const char **argv) {
    compile_args a = {.tune_seconds = CLI_TUNE_DEFAULT};
    char *out = NULL, *emit_c = NULL, *depfile_path = NULL;
    int no_alias = 0;
    const struct poptOption options[] = {
        {"output", 'o', POPT_ARG_STRING, &out, 0, "the plan to write", "PLAN"},
        {"emit-c", 0, POPT_ARG_STRING, &emit_c, 0, "also write PREFIX.h and PREFIX.c that link the plan into a program",
         "PREFIX"},
        {"depfile", 0, POPT_ARG_STRING, &depfile_path, 0, "also write the files that the model was read from, for make",
         "FILE"},
        {"no-alias", 0, POPT_ARG_NONE, &no_alias, 0, "KV caches come and go in buffers of their own, but for --alias",
         NULL},
        COMPILE_OPTIONS(&a),
        POPT_TABLEEND,
    };
    poptContext ctx;
    const char **args;
    int rc = 0;
    if (!cli_parse(c, "compile", argc, argv, options, "MODEL -o PLAN [options]", help, &ctx, &args, &rc)) return rc;
    compile_setup s;
    char header[1100], source[1100];
    const char *plan = cli_output_path(out);
    snprintf(header, sizeof header, "%s.h", emit_c ? emit_c : "");
    snprintf(source, sizeof source, "%s.c", emit_c ? emit_c : "");
    const char *const outputs[] = {plan, a.lockfile, emit_c ? header : NULL, emit_c ? source : NULL, depfile_path};
    if (!args || !args[0] || args[1]) {
        rc = cli_usage(c, "compile takes one model (tenon compile --help)");
    } else if (!out) {
        rc = cli_usage(c, "compile needs -o PLAN");
    } else if (emit_c && cli_is_stream(plan)) {
        rc = cli_usage(c, "--emit-c needs a plan in a file");
    } else if (cli_compile_setup(c, &a, &s, &rc)) {
        tn_status st;
        double t0 = tn_now();
        tn_graph *g = tn_import_file(&c->env, args[0], &s.import, &st);
        double t1 = tn_now();
        if (g) st = cli_may_write(c, outputs, sizeof outputs / sizeof *outputs);
        s.options.caches = !no_alias;
        if (g && st == TN_OK) st = tn_compile(g, &s.options, plan);
        if (st == TN_OK && emit_c) st = cli_emit_c(c, plan, emit_c);
        if (st == TN_OK && depfile_path) st = cli_depfile_write(c, plan, depfile_path);
        if (st == TN_E_NO_DEVICE)
            tn_report(&c->env, TN_WARNING, st, "", "without a GPU, name the target: --no-gpu --target sm_90a");
        double t2 = tn_now();
        tn_graph_free(g);
        cli_clear_bar(c);
        rc = st == TN_OK ? report(c, plan, t1 - t0, t2 - t1) : cli_exit(c, st);
    }
    cli_end(ctx, options);
    return rc;
}
