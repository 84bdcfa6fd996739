/* cmd_opt.c: tenon opt FILE: named passes over a graph, for people who write passes. */
#include "frontend/cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include "codegen/compile.h"
#include "ir/text/output.h"

static const char help[] =
    "Runs passes over a graph (.onnx, .tn, .prototxt) and prints it as text.  Without --passes it runs the standard\n"
    "pipeline.\n"
    "The verifier runs after every pass; a pass that breaks it leaves a reproducer when --reproducer is given.\n"
    "Where the output is a stream (no -o, or a pipe or a device), large constants are left out.\n\n"
    "examples:\n"
    "  tenon opt model.onnx --passes=canon,cse,dce\n"
    "  tenon opt model.onnx --print-changed --stop-after-rewrite 17   (bisect a wrong rewrite)\n"
    "  tenon opt model.onnx --passes= -o model.tn                     (convert only)\n"
    "  tenon opt --list\n";

static void list_passes(cli *c) {
    json_object *doc = c->json ? json_object_new_array() : NULL;
    for (size_t k = 0; k < tn_pass_count(); k++) {
        if (!doc) {
            printf("  %-10s %s\n", tn_pass_name(k), tn_pass_summary(k));
            continue;
        }
        json_object *o = json_object_new_object();
        cli_json_add_string(o, "name", tn_pass_name(k));
        cli_json_add_string(o, "summary", tn_pass_summary(k));
        json_object_array_add(doc, o);
    }
    if (doc) cli_print_json(c, doc);
}

/* What refused a rule, and where. */
static void show_misses(const tn_pass_ctx *ctx, const char *rule) {
    const tn_near_miss *m;
    const size_t n = tn_near_misses(ctx, &m);
    for (size_t k = 0; k < n; k++)
        if (!strcmp(m[k].rule, rule))
            fprintf(stderr, "    refused%s%s: %s\n", *m[k].loc ? " at " : "", m[k].loc, m[k].why);
}

static void show_stats(const tn_pass_ctx *ctx) {
    const tn_pass_report *r;
    const tn_rule_count *counts;
    size_t n = tn_pass_reports(ctx, &r);
    for (size_t k = 0; k < n; k++)
        fprintf(stderr, "%-10s %8.2f ms  %s  %u rewrites\n", r[k].pass, r[k].ms,
                r[k].changed ? "changed  " : "unchanged", r[k].rewrites);
    n = tn_rule_counts(ctx, &counts);
    for (size_t k = 0; k < n; k++) {
        if (!counts[k].fired && !counts[k].refused) continue;
        fprintf(stderr, "  %-28s fired %5u  refused %5u\n", counts[k].rule, counts[k].fired, counts[k].refused);
        show_misses(ctx, counts[k].rule);
    }
}

static void add_misses(json_object *to, const tn_pass_ctx *ctx, const char *rule) {
    const tn_near_miss *m;
    json_object *list = cli_json_add_array(to, "misses");
    const size_t n = tn_near_misses(ctx, &m);
    for (size_t k = 0; k < n; k++) {
        if (strcmp(m[k].rule, rule) != 0) continue;
        json_object *e = json_object_new_object();
        cli_json_add_string(e, "layers", m[k].loc);
        cli_json_add_string(e, "why", m[k].why);
        json_object_array_add(list, e);
    }
}

static json_object *stats_json(const tn_pass_ctx *ctx) {
    const tn_pass_report *r;
    const tn_rule_count *counts;
    json_object *o = json_object_new_object(), *passes = cli_json_add_array(o, "passes"),
                *rules = cli_json_add_array(o, "rules");
    size_t n = tn_pass_reports(ctx, &r);
    for (size_t k = 0; k < n; k++) {
        json_object *e = json_object_new_object();
        cli_json_add_string(e, "pass", r[k].pass);
        cli_json_add_number(e, "ms", r[k].ms);
        cli_json_add_bool(e, "changed", r[k].changed);
        cli_json_add_number(e, "rewrites", r[k].rewrites);
        json_object_array_add(passes, e);
    }
    n = tn_rule_counts(ctx, &counts);
    for (size_t k = 0; k < n; k++) {
        json_object *e = json_object_new_object();
        cli_json_add_string(e, "rule", counts[k].rule);
        cli_json_add_number(e, "fired", counts[k].fired);
        cli_json_add_number(e, "refused", counts[k].refused);
        add_misses(e, ctx, counts[k].rule);
        json_object_array_add(rules, e);
    }
    return o;
}

/* The graph goes to `out`, or into the document, or to stdout. */
static tn_status print_graph(cli *c, tn_graph *g, const tn_pass_ctx *ctx, const char *out) {
    char *text = NULL;
    size_t size = 0;
    tn_status st = out ? tn_write_file(g, out) : tn_print(g, "weights.tnw", &text, &size);
    if (st == TN_OK && c->json) {
        json_object *doc = stats_json(ctx);
        if (out) cli_json_add_string(doc, "output", out);
        if (text) cli_json_add_string(doc, "graph", text);
        cli_print_json(c, doc);
    } else if (text) {
        fwrite(text, 1, size, stdout);
    }
    if (text) tn_free(&c->env, text, size + 1);
    return st;
}

static const char *side_of(const char *path, char side[TN_PATH_SIZE]) {
    return path && !cli_is_stream(path) && tn_side_path(path, side) ? side : NULL;
}

/* Dumps have names of their own: NN-pass.tn. */
static tn_status may_write(cli *c, const char *const *paths, size_t n, const char *dump) {
    tn_status st = cli_may_write(c, paths, n);
    for (size_t k = 0; st == TN_OK && dump && k < c->n_reads; k++) {
        char path[TN_PATH_SIZE];
        const char *slash = strrchr(c->reads[k], '/'), *name = slash ? slash + 1 : c->reads[k], *const only[] = {path};
        if (strspn(name, "0123456789") < 2 || name[strspn(name, "0123456789")] != '-') continue;
        snprintf(path, sizeof path, "%s/%s", dump, name);
        st = cli_may_write(c, only, 1);
    }
    return st;
}

int cmd_opt(cli *c, int argc, const char **argv) {
    compile_args a = {.tune_seconds = CLI_TUNE_DEFAULT};
    char *out = NULL, *dump = NULL, *reproducer = NULL;
    int print_changed = 0, stop_after = -1, list = 0, stats = 0;
    const struct poptOption options[] = {
        {"passes", 0, POPT_ARG_STRING, &a.passes, 0,
         "passes to run, in order (default: the standard pipeline); -a,-b: that without these", "a,b,..."},
        {"precision", 'p', POPT_ARG_STRING, &a.precision, 0, "fp32, tf32, fp16 or bf16 (default fp32)", "P"},
        {"exact", 0, POPT_ARG_NONE, &a.exact, 0, "only rewrites that keep results bit for bit", NULL},
        {"shape", 's', POPT_ARG_ARGV, &a.shapes, 0, "an input's sizes, or ranges (see compile)", "NAME=1x3x224x224"},
        IMPORT_OPTIONS(&a),
        {"print-changed", 0, POPT_ARG_NONE, &print_changed, 0, "print the graph after each pass that changed it", NULL},
        {"dump", 0, POPT_ARG_STRING, &dump, 0, "write NN-pass.tn after every pass", "DIR"},
        {"stop-after-rewrite", 0, POPT_ARG_INT, &stop_after, 0, "let rules fire N times in all (0: never)", "N"},
        {"reproducer", 0, POPT_ARG_STRING, &reproducer, 0, "where to write the input of a failing pass", "FILE"},
        {"stats", 0, POPT_ARG_NONE, &stats, 0,
         "time and rule counts of each pass, and where and why rules were refused, on stderr", NULL},
        {"list", 0, POPT_ARG_NONE, &list, 0, "list the passes", NULL},
        {"output", 'o', POPT_ARG_STRING, &out, 0, "write FILE.tn (and FILE.tnw) instead of printing", "FILE.tn"},
        POPT_TABLEEND,
    };
    poptContext ctx;
    const char **args;
    int rc = 0;
    if (!cli_parse(c, "opt", argc, argv, options, "FILE [options]", help, &ctx, &args, &rc)) return rc;
    compile_setup s;
    char side[TN_PATH_SIZE], side_of_reproducer[TN_PATH_SIZE];
    const char *const to = cli_output_path(out);
    const char *const outputs[] = {to, reproducer, side_of(to, side), side_of(reproducer, side_of_reproducer)};
    if (list) {
        list_passes(c);
    } else if (!args || !args[0] || args[1]) {
        rc = cli_usage(c, "opt takes one graph (tenon opt --help)");
    } else if (cli_compile_setup(c, &a, &s, &rc)) {
        tn_pass_options o = tn_compile_passes(&s.options);
        o.print_changed = print_changed != 0;
        o.dump_dir = dump;
        o.no_rewrites = stop_after == 0;
        o.stop_after_rewrite = stop_after > 0 ? (uint32_t)stop_after : 0;
        o.reproducer = reproducer;
        o.out = stderr;
        tn_status st;
        tn_graph *g = tn_import_file(&c->env, args[0], &s.import, &st);
        tn_pass_ctx *pc = g ? tn_pass_ctx_new(&c->env, &o) : NULL;
        if (g) st = may_write(c, outputs, 4, dump);
        if (g && st == TN_OK) st = pc ? tn_run_passes(g, a.passes, pc) : TN_E_MEMORY;
        if (pc && stats && !c->json) show_stats(pc);
        if (st == TN_OK) st = print_graph(c, g, pc, to);
        tn_pass_ctx_free(pc);
        tn_graph_free(g);
        rc = cli_exit(c, st);
    }
    cli_end(ctx, options);
    return rc;
}
