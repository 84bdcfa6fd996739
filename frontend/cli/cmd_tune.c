/* cmd_tune.c: tenon tune PLAN: finishes an untuned plan on this machine's GPU. */
#include "frontend/cli/cli.h"

#include <string.h>
#include "codegen/compile.h"
#include "codegen/host/ir.h"
#include "runtime/plan/plan.h"

static const char help[] = "Tunes a plan's kernels on this machine's GPU: the fused graph inside the plan is taken as "
                           "it is, candidates are made\n"
                           "for the GPU's architecture, checked against the reference and timed.  What the plan holds "
                           "for other architectures\n"
                           "stays.  The result replaces PLAN, or goes to -o FILE.\n\n"
                           "examples:\n"
                           "  tenon tune model.plan --tune-seconds 30\n"
                           "  tenon tune model.plan -o model-h200.plan --lockfile model.lock\n";

static tn_status retune(cli *c, const char *path, const char *out, compile_setup *s) {
    tn_status st;
    tn_graph *g = NULL;
    tn_plan *p = tn_plan_load(&c->env, path, &st);
    if (!p) return st;
    tn_options_of_plan(tn_plan_manifest(p), &s->options);
    st = tn_plan_graph(&c->env, p, path, &g);
    if (st == TN_OK) st = tn_compile_again(g, &s->options, p, out);
    tn_graph_free(g);
    tn_plan_free(p);
    return st;
}

static void report(cli *c, const char *path) {
    if (c->json) {
        json_object *doc = json_object_new_object();
        cli_json_add_string(doc, "plan", path);
        cli_print_json(c, doc);
    } else if (!c->quiet && !cli_is_stream(path)) {
        printf("tuned %s\n", path);
    }
}

int cmd_tune(cli *c, int argc, const char **argv) {
    compile_args a = {.tune_seconds = CLI_TUNE_DEFAULT};
    char *out = NULL;
    const struct poptOption options[] = {
        {"output", 'o', POPT_ARG_STRING, &out, 0, "where to write (default: PLAN itself)", "FILE"},
        {"tune-seconds", 0, POPT_ARG_DOUBLE, &a.tune_seconds, 0, "deadline (default 60)", "S"},
        {"threads", 'j', POPT_ARG_INT, &a.threads, 0, "compile threads (default: all cores)", "N"},
        {"gpu", 0, POPT_ARG_INT, &a.device_ordinal, 0, "which GPU (default 0)", "K"},
        {"cache", 0, POPT_ARG_STRING, &a.cache, 0, "cache folder; an empty name means none", "DIR"},
        {"lockfile", 0, POPT_ARG_STRING, &a.lockfile, 0, "winners to use, written if absent", "FILE"},
        POPT_TABLEEND,
    };
    poptContext ctx;
    const char **args;
    int rc = 0;
    if (!cli_parse(c, "tune", argc, argv, options, "PLAN [options]", help, &ctx, &args, &rc)) return rc;
    compile_setup s;
    if (!args || !args[0] || args[1]) {
        rc = cli_usage(c, "tune takes one plan (tenon tune --help)");
    } else if (cli_compile_setup(c, &a, &s, &rc)) {
        const char *to = out ? cli_output_path(out) : args[0];
        const char *const outputs[] = {a.lockfile, cli_is_stream(to) ? to : NULL};
        cli_reads(c, args[0]);
        tn_status st = cli_may_write(c, outputs, 2);
        if (st == TN_OK) st = retune(c, args[0], to, &s);
        rc = cli_exit(c, st);
        if (!rc) report(c, to);
    }
    cli_end(ctx, options);
    return rc;
}
