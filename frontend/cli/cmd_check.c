/* cmd_check.c: tenon check: a model, or a suite of models, against recorded outputs. */
#include "frontend/cli/cli.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "frontend/cli/suite.h"

static const char help[] =
    "Runs MODEL on every test_data_set_N (input_I.pb, output_I.pb) of --data and compares: an element is right when\n"
    "|got - recorded| <= atol + rtol * |recorded|.  --data defaults to the model's folder, or the folder of the "
    "model's name.\n"
    "--suite runs every */model.onnx below DIR, each in a process of its own, and prints a table by operator.\n"
    "--device cpu evaluates the optimised graph by the reference; --device cuda compiles and runs kernels, and never "
    "falls\n"
    "back to the CPU.\n"
    "Default tolerances: fp32 1e-3/1e-5, tf32 2e-2/2e-3, fp16 2e-2/2e-3, bf16 1e-1/1e-2.  In fp16 and bf16 an element\n"
    "outside them is right within the change that rounding explains: the largest in eight evaluations in float64 with\n"
    "every value that is held in 16 bits disturbed by up to four unit roundoffs.  A result of which more than a "
    "quarter\n"
    "needs that is wrong.\n\n"
    "examples:\n"
    "  tenon check squeezenet.onnx --device cpu\n"
    "  tenon check resnet50.onnx --data testdata --device cuda --precision fp16 --rtol 0.02 --atol 0.002\n"
    "  tenon check yunet_dynamic.onnx --random --at input=1x3x320x320 --at input=1x3x256x448\n"
    "  tenon check --suite onnx/backend/test/data/node --device cpu\n";

static bool is_dir(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The folder that holds test_data_set_0 for a model: FOLDER/NAME for FOLDER/NAME.onnx, else FOLDER. */
static bool find_data(const char *model, char *out, size_t size) {
    char set[1200];
    const char *dot = strrchr(model, '.'), *slash = strrchr(model, '/');
    snprintf(out, size, "%.*s", (int)(dot ? dot - model : (long)strlen(model)), model);
    snprintf(set, sizeof set, "%s/test_data_set_0", out);
    if (is_dir(set)) return true;
    snprintf(out, size, "%.*s", slash ? (int)(slash - model) : 1, slash ? model : ".");
    snprintf(set, sizeof set, "%s/test_data_set_0", out);
    return is_dir(set);
}

enum { MAX_IO = 256 };

/* Reads STEM_0.pb, STEM_1.pb, ... until one is missing. */
static tn_status read_set(cli *c, const char *dir, const char *stem, size_t *n, tn_host_tensor out[MAX_IO]) {
    for (*n = 0; *n < MAX_IO; ++*n) {
        char path[1300];
        snprintf(path, sizeof path, "%s/%s_%zu.pb", dir, stem, *n);
        if (access(path, R_OK)) return TN_OK;
        tn_status st = tn_read_tensor_pb(&c->env, path, &out[*n]);
        if (st != TN_OK) return st;
    }
    return TN_OK;
}

static void free_set(cli *c, tn_host_tensor t[MAX_IO]) {
    for (size_t k = 0; k < MAX_IO; k++) cli_free_tensor(c, &t[k]);
}

/* The recorded inputs in the order of the model's: by name where the files have names, else by position. */
static tn_status order_inputs(cli *c, const cli_model *m, const char *dir, const tn_host_tensor *file, size_t n,
                              tn_host_tensor *in) {
    for (size_t k = 0; k < cli_model_inputs(m); k++) {
        const char *name = cli_model_input(m, k)->name;
        size_t at = 0;
        while (at < n && strcmp(file[at].name, name)) at++;
        if (at == n && n == cli_model_inputs(m)) at = k;
        if (at == n) return tn_fail(&c->env, TN_E_IO, dir, "", "holds no input_N.pb for input %s", name);
        in[k] = file[at];
    }
    return TN_OK;
}

/* Compares all outputs of one data set; prints a line each unless the result is a document. */
static tn_status check_set(cli *c, cli_model *m, const char *model, const char *dir, const check_options *o,
                           check_result *r) {
    tn_host_tensor file[MAX_IO] = {{.name = ""}}, in[MAX_IO], want[MAX_IO] = {{.name = ""}},
                   got[MAX_IO] = {{.name = ""}};
    size_t n_in = 0, n_want = 0, n_out = cli_model_outputs(m);
    check_margin margin = {.model = model, .in = in, .n_in = cli_model_inputs(m), .n_out = n_out};
    tn_status st = read_set(c, dir, "input", &n_in, file);
    if (st == TN_OK) st = order_inputs(c, m, dir, file, n_in, in);
    if (st == TN_OK) st = read_set(c, dir, "output", &n_want, want);
    if (st == TN_OK && n_want < n_out)
        st = tn_fail(&c->env, TN_E_IO, dir, "", "holds %zu of %zu recorded outputs", n_want, n_out);
    if (st == TN_OK) st = cli_model_run(m, in, got);
    for (size_t k = 0; st == TN_OK && k < n_out; k++) {
        cli_diff d;
        char why[400], excuse[96];
        bool same = check_tensor(c, o, &margin, k, &got[k], &want[k], &d, why, sizeof why);
        r->compared += same;
        if (same && d.max_abs > r->max_abs) r->max_abs = d.max_abs;
        if (same && d.cosine < r->cosine) r->cosine = d.cosine;
        if (*why && !*r->why)
            snprintf(r->why, sizeof r->why, "output %.60s: %.300s", cli_model_output(m, k)->name, why);
        cli_clear_bar(c);
        if (!r->silent && !same)
            printf("  %-24.60s WRONG: %s\n", cli_model_output(m, k)->name, why);
        else if (!r->silent)
            printf("  %-24.60s max error %.3g  cosine %.7f  %s%s%s\n", cli_model_output(m, k)->name, d.max_abs,
                   d.cosine, *why ? "WRONG: " : "ok", why, check_excuse(&d, excuse, sizeof excuse));
    }
    check_margin_free(c, &margin);
    free_set(c, file);
    free_set(c, want);
    free_set(c, got);
    return st;
}

/* Opens a model that takes sizes or axes as inputs: small integer inputs, and where that is not enough (scales are floats)
 * all small vectors, become constants with their recorded values. */
static cli_model *open_fixed(cli *c, const char *model, const check_options *o, const char *set, bool floats, int *rc) {
    tn_host_tensor file[MAX_IO] = {{.name = ""}};
    tn_const_input fixed[MAX_IO];
    compile_setup setup = *o->setup;
    size_t n = 0;
    cli_model *m = NULL;
    tn_status st = read_set(c, set, "input", &n, file);
    for (size_t k = 0; st == TN_OK && k < n; k++) {
        const tn_host_tensor *h = &file[k];
        if ((!floats && !tn_dtype_is_int(h->dtype)) || h->rank > 1 || cli_numel(h) > 64 || !*h->name) continue;
        tn_const_input *f = &fixed[setup.import.n_constants++];
        *f = (tn_const_input){.input = h->name, .dtype = h->dtype, .rank = h->rank, .data = h->data};
        memcpy(f->dims, h->dims, sizeof f->dims);
    }
    setup.import.constants = fixed;
    setup.options.targets = o->setup->options.targets ? setup.targets : NULL;
    setup.import.shapes = setup.shapes;
    if (st == TN_OK && setup.import.n_constants) m = cli_open_model(c, model, o->device, &setup, rc);
    free_set(c, file);
    return m;
}

/* Opens the model for the sizes of one data set. */
static cli_model *open_sized(cli *c, const char *model, const cli_model *any, const check_options *o, const char *set,
                             int *rc) {
    tn_host_tensor file[MAX_IO] = {{.name = ""}}, in[MAX_IO];
    compile_setup setup = *o->setup;
    size_t n = 0;
    cli_model *m = NULL;
    tn_status st = read_set(c, set, "input", &n, file);
    if (st == TN_OK) st = order_inputs(c, any, set, file, n, in);
    setup.options.targets = o->setup->options.targets ? setup.targets : NULL;
    setup.import.shapes = setup.shapes;
    setup.import.n_shapes = 0; /* what was given is no size of this run */
    for (size_t k = 0; st == TN_OK && k < cli_model_inputs(any) && setup.import.n_shapes < CLI_MAX_SHAPES; k++) {
        tn_shape_override *s = &setup.shapes[setup.import.n_shapes++];
        *s = (tn_shape_override){.input = cli_model_input(any, k)->name, .rank = in[k].rank};
        memcpy(s->dims, in[k].dims, sizeof s->dims);
    }
    if (st == TN_OK)
        m = cli_open_model(c, model, o->device, &setup, rc);
    else
        *rc = cli_exit(c, st);
    free_set(c, file);
    return m;
}

int check_model(cli *c, const char *model, const check_options *o, check_result *r) {
    char data[1024], set[1200];
    r->cosine = 1;
    if (access(model, R_OK))
        return cli_exit(c, tn_fail(&c->env, TN_E_IO, model, "", "cannot be read: %s", strerror(errno)));
    if (o->data)
        snprintf(data, sizeof data, "%s", o->data);
    else if (!find_data(model, data, sizeof data))
        return cli_exit(c,
                        tn_fail(&c->env, TN_E_IO, model, "name the folder with --data, or check with --random inputs",
                                "no test_data_set_0 beside the model"));
    int rc = 0;
    cli_model *m = cli_open_model(c, model, o->device, o->setup, &rc);
    for (int floats = 0; !m && floats < 2 && o->fix_inputs && rc == tn_status_exit_code(TN_E_UNSUPPORTED); floats++) {
        snprintf(set, sizeof set, "%s/test_data_set_0", data);
        m = open_fixed(c, model, o, set, floats, &rc);
        if (m) rc = 0;
    }
    if (!m) return rc;
    for (size_t k = 0;; k++) {
        snprintf(set, sizeof set, "%s/test_data_set_%zu", data, k);
        if (!is_dir(set)) break;
        r->sets++;
        cli_model *sized = cli_model_is_specialised(m) ? open_sized(c, model, m, o, set, &rc) : NULL;
        if (rc) break;
        tn_status st = check_set(c, sized ? sized : m, model, set, o, r);
        cli_close_model(sized);
        if (st != TN_OK) {
            rc = cli_exit(c, st);
            break;
        }
    }
    cli_close_model(m);
    if (!rc && !r->sets) rc = cli_exit(c, tn_fail(&c->env, TN_E_IO, data, "", "holds no test_data_set_0"));
    return rc ? rc : *r->why ? 1 : 0;
}

static int check_one(cli *c, const char *model, const check_options *o) {
    check_result r = {.silent = c->json};
    int rc = check_model(c, model, o, &r);
    if (rc > 1) return rc;
    if (c->json) {
        json_object *doc = json_object_new_object();
        cli_json_add_string(doc, "model", model);
        cli_json_add_string(doc, "device", o->device);
        cli_json_add_bool(doc, "passed", rc == 0);
        cli_json_add_number(doc, "max_abs_error", r.compared ? r.max_abs : NAN);
        cli_json_add_number(doc, "cosine", r.compared ? r.cosine : NAN);
        cli_json_add_string(doc, "why", r.why);
        cli_print_json(c, doc);
    } else {
        printf("%s: %s on %s (%d data set%s)\n", model, rc ? "FAILED" : "passed", o->device, r.sets,
               r.sets == 1 ? "" : "s");
    }
    return rc;
}

int cmd_check(cli *c, int argc, const char **argv) {
    compile_args a = {.tune_seconds = CLI_TUNE_DEFAULT};
    char *device = NULL, *suite = NULL, *filter = NULL;
    double rtol = -1, atol = -1;
    int jobs = 1, fix_inputs = 0, random = 0;
    const char **at = NULL;
    check_options o = {0};
    char *data = NULL;
    const struct poptOption options[] = {
        {"device", 'd', POPT_ARG_STRING, &device, 0,
         "cuda (default), cpu or emu: the kernels, executed and checked on the CPU", "D"},
        {"data", 0, POPT_ARG_STRING, &data, 0, "folder of test_data_set_N (default: the model's)", "DIR"},
        {"suite", 0, POPT_ARG_STRING, &suite, 0, "check every */model.onnx below DIR", "DIR"},
        {"filter", 0, POPT_ARG_STRING, &filter, 0, "only tests of the suite whose name holds TEXT", "TEXT"},
        {"random", 0, POPT_ARG_NONE, &random, 0,
         "random inputs, against the reference evaluation of the imported graph", NULL},
        {"at", 0, POPT_ARG_ARGV, &at, 0, "with --random: one run at this shape (may be repeated)", "NAME=1x3x480x640"},
        {"fix-inputs", 0, POPT_ARG_NONE, &fix_inputs, 0,
         "a model that needs the values of sizes or axes to compile gets the recorded ones as constants", NULL},
        {"jobs", 0, POPT_ARG_INT, &jobs, 0, "tests of the suite at a time (default 1)", "N"},
        {"rtol", 0, POPT_ARG_DOUBLE, &rtol, 0, "relative tolerance", "R"},
        {"atol", 0, POPT_ARG_DOUBLE, &atol, 0, "absolute tolerance", "A"},
        COMPILE_OPTIONS(&a),
        POPT_TABLEEND,
    };
    poptContext ctx;
    const char **args;
    int rc = 0;
    if (!cli_parse(c, "check", argc, argv, options, "MODEL.onnx | --suite DIR [options]", help, &ctx, &args, &rc))
        return rc;
    compile_setup s;
    bool one = args && args[0] && !args[1];
    if (one == (suite != NULL)) {
        rc = cli_usage(c, "check takes one model, or --suite DIR (tenon check --help)");
    } else if (cli_compile_setup(c, &a, &s, &rc)) {
        o = (check_options){.device = device ? device : "cuda",
                            .data = data,
                            .rtol = rtol,
                            .atol = atol,
                            .setup = &s,
                            .fix_inputs = fix_inputs || suite};
        rc = one && random ? check_random(c, args[0], at, &o)
             : one         ? check_one(c, args[0], &o)
                           : check_suite(c, suite, filter, jobs < 1 ? 1 : jobs, &o);
    }
    cli_end(ctx, options);
    return rc;
}
