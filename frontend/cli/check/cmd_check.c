/* cmd_check.c: tenon check: a model, or a suite of models, against recorded outputs. */
#include "frontend/cli/cli.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "codegen/host/ir.h"
#include "frontend/cli/check/suite.h"
#include "runtime/plan/plan.h"

static const char help[] =
    "Runs MODEL on every test_data_set_N (input_I.pb, output_I.pb) of --data and compares: an element is right when\n"
    "|got - recorded| <= atol + rtol * |recorded|.  --data defaults to the model's folder, or the folder of the "
    "model's name.\n"
    "A PLAN is checked likewise; its precision says how near is near enough.  --random, --input and --against take "
    "random or\n"
    "given inputs instead: the results are compared with the reference evaluation of the imported graph, or with ONNX\n"
    "Runtime in python3 (or $TENON_PYTHON), and --write-references keeps inputs and expected outputs for later.\n"
    "Random numbers, which every generator draws otherwise, must be of the recorded shape and type, the same in a "
    "second\n"
    "inference, and both they and those recorded of the distribution that 64 other draws by the reference show.\n"
    "--suite runs every */model.onnx below DIR, and every model there that has a folder of its name with data sets, "
    "in\n"
    "--jobs processes, of which one that crashes or takes longer than --test-seconds fails its test only, and prints a "
    "table\n"
    "by operator.\n"
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
    "  tenon check model.onnx --device cpu --against onnxruntime --at ids=2x64 --write-references testdata\n"
    "  tenon check model.plan --data testdata\n"
    "  tenon check --suite onnx/backend/test/data/node --device cpu\n"
    "  tenon check --suite onnx/backend/test/data/node --tune-seconds 0 --jobs 8\n";

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

/* What the model declares its inputs and outputs to be; nothing where it is no ONNX model: then all are tensors. */
typedef struct declared {
    tn_onnx_io *io;
    size_t n;
} declared;

static tn_onnx_io io_of(const declared *d, bool output, size_t k) {
    for (size_t i = 0; i < d->n; i++)
        if (d->io[i].output == output && !k--) return d->io[i];
    return (tn_onnx_io){.output = output};
}

/* Reads STEM_0.pb, STEM_1.pb, ... until one is missing: of sequences all tensors.  lengths (or NULL): those of values that
 * are no tensors. */
static tn_status read_set(cli *c, const declared *d, const char *dir, bool output, size_t *n,
                          tn_host_tensor out[MAX_IO], compile_setup *lengths) {
    *n = 0;
    for (size_t k = 0; *n < MAX_IO; k++) {
        const tn_onnx_io io = io_of(d, output, k);
        char path[1300];
        int64_t length = 0;
        snprintf(path, sizeof path, "%s/%s_%zu.pb", dir, output ? "output" : "input", k);
        if (access(path, R_OK)) return TN_OK;
        tn_status st = io.sequence || io.optional ? tn_read_value_pb(&c->env, path, &io, MAX_IO - *n, out + *n, &length)
                                                  : tn_read_tensor_pb(&c->env, path, &out[*n]);
        if (st != TN_OK) return st;
        if (lengths && (io.sequence || (io.optional && length < 0))) cli_sequence_length(lengths, io.name, length);
        for (int64_t i = 0; lengths && io.sequence && !io.ranked && i < length; i++)
            cli_shape_of(lengths, &out[*n + (size_t)i]);
        *n += io.sequence || io.optional ? (size_t)(length > 0 ? length : 0) : 1;
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

/* The first difference. */
static void note(char text[400], const char *output, const char *why) {
    if (*why && !*text) snprintf(text, 400, "output %.60s: %.300s", output, why);
}

/* One data set: what goes in, what is recorded, and what the model makes of it. */
typedef struct data_set {
    const tn_host_tensor *in;
    tn_host_tensor want[MAX_IO], got[MAX_IO];
    check_margin margin;
    check_draws draws;
} data_set;

/* Compares output k, random numbers by what they can be. */
static tn_status check_output(cli *c, cli_model *m, const check_options *o, data_set *s, size_t k, check_result *r) {
    const char *name = cli_model_output(m, k)->name;
    cli_diff diff;
    char why[400], excuse[96];
    const bool same = check_tensor(c, o, &s->margin, k, &s->got[k], &s->want[k], &diff, why, sizeof why);
    const bool drawn = *why && same && cli_model_draws(m, k);
    const tn_status st = drawn ? check_drawn(c, o, &s->draws, k, &s->got[k], &s->want[k], why, sizeof why) : TN_OK;
    if (st != TN_OK) return st;
    r->compared += same;
    if (same && !drawn && diff.max_abs > r->max_abs) r->max_abs = diff.max_abs;
    if (same && !drawn && diff.cosine < r->cosine) r->cosine = diff.cosine;
    if (drawn) note(r->drawn, name, "random numbers, judged by shape, type and distribution");
    note(r->why, name, why);
    cli_clear_bar(c);
    if (r->silent)
        return TN_OK;
    else if (*why && (!same || drawn))
        printf("  %-24.60s WRONG: %s\n", name, why);
    else if (drawn)
        printf("  %-24.60s random numbers: shape, type and distribution ok\n", name);
    else
        printf("  %-24.60s max error %.3g  cosine %.7f  %s%s%s\n", name, diff.max_abs, diff.cosine,
               *why ? "WRONG: " : "ok", why, check_excuse(&diff, excuse, sizeof excuse));
    return TN_OK;
}

static bool same_bits(const tn_host_tensor *a, const tn_host_tensor *b) {
    const uint64_t n = cli_numel(a);
    return n == cli_numel(b) && !memcmp(a->data, b->data, tn_dtype_bytes(a->dtype, n));
}

/* Random numbers are the same in every inference. */
static tn_status draw_again(cli *c, cli_model *m, const data_set *s, check_result *r) {
    tn_host_tensor again[MAX_IO] = {{.name = ""}};
    const tn_status st = cli_model_run(m, s->in, again);
    for (size_t k = 0; st == TN_OK && k < cli_model_outputs(m); k++)
        if (cli_model_draws(m, k) && !same_bits(&again[k], &s->got[k]))
            note(r->why, cli_model_output(m, k)->name, "draws other numbers in a second inference");
    free_set(c, again);
    return st;
}

/* Compares all outputs of one data set; prints a line each unless the result is a document. */
static tn_status check_set(cli *c, cli_model *m, const char *model, const declared *d, const char *dir,
                           const check_options *o, check_result *r) {
    tn_host_tensor file[MAX_IO] = {{.name = ""}}, in[MAX_IO];
    const size_t n_in = cli_model_inputs(m), n_out = cli_model_outputs(m);
    size_t n = 0;
    data_set s = {.in = in,
                  .margin = {.model = model, .in = in, .n_in = n_in, .n_out = n_out},
                  .draws = {.model = model, .in = in, .n_in = n_in, .n_out = n_out}};
    tn_status st = read_set(c, d, dir, false, &n, file, NULL);
    if (st == TN_OK) st = order_inputs(c, m, dir, file, n, in);
    if (st == TN_OK) st = read_set(c, d, dir, true, &n, s.want, NULL);
    if (st == TN_OK && n < n_out)
        st = tn_fail(&c->env, TN_E_IO, dir, "", "holds %zu of %zu recorded outputs", n, n_out);
    if (st == TN_OK) st = cli_model_run(m, in, s.got);
    for (size_t k = 0; st == TN_OK && k < n_out; k++) st = check_output(c, m, o, &s, k, r);
    if (st == TN_OK && *r->drawn && !*r->why) st = draw_again(c, m, &s, r);
    check_margin_free(c, &s.margin);
    check_draws_free(c, &s.draws);
    free_set(c, file);
    free_set(c, s.want);
    free_set(c, s.got);
    return st;
}

static bool has_shape(const tn_import_options *o, const char *name) {
    for (size_t k = 0; k < o->n_shapes; k++)
        if (!strcmp(o->shapes[k].input, name)) return true;
    return false;
}

/* Small integer and boolean inputs, or all small ones (scales are floats), become constants with their recorded values. */
static void fix_values(const tn_host_tensor *file, size_t n, bool floats, tn_const_input fixed[MAX_IO],
                       tn_import_options *o) {
    o->n_constants = 0;
    for (size_t k = 0; k < n; k++) {
        const tn_host_tensor *h = &file[k];
        if ((!floats && tn_dtype_is_float(h->dtype)) || h->rank > 1 || cli_numel(h) > 64 || !*h->name ||
            has_shape(o, h->name))
            continue;
        tn_const_input *f = &fixed[o->n_constants++];
        *f = (tn_const_input){.input = h->name, .dtype = h->dtype, .rank = h->rank, .data = h->data};
        memcpy(f->dims, h->dims, sizeof f->dims);
    }
    o->constants = fixed;
}

/* What a run makes as long as it likes is no longer than it was recorded to be. */
static void limit_lengths(const tn_host_tensor *file, size_t n, tn_length_limit most[MAX_IO], tn_import_options *o) {
    if (o->n_limits) return; /* the user's hold */
    for (size_t k = 0; k < n; k++) {
        if (!*file[k].name) continue;
        tn_length_limit *l = &most[o->n_limits++];
        *l = (tn_length_limit){file[k].name, 0};
        for (uint32_t i = 0; i < file[k].rank; i++)
            if (file[k].dims[i] > l->most && file[k].dims[i] <= INT32_MAX) l->most = file[k].dims[i];
    }
    o->limits = most;
}

static void copy_setup(compile_setup *to, const compile_setup *from) {
    *to = *from;
    if (from->options.targets) to->options.targets = to->targets;
    if (from->import.shapes == from->shapes) to->import.shapes = to->shapes;
    if (from->import.sequences == from->sequences) to->import.sequences = to->sequences;
}

/* Opens a model that takes lengths, sizes or axes as inputs, with what is recorded of these: how long results are, or
 * the inputs' values. */
static cli_model *open_fixed(cli *c, const char *model, const declared *d, const check_options *o, const char *set,
                             int *rc) {
    tn_host_tensor file[MAX_IO] = {{.name = ""}}, results[MAX_IO] = {{.name = ""}};
    tn_const_input fixed[MAX_IO];
    tn_length_limit most[MAX_IO];
    compile_setup setup;
    size_t n = 0, n_results = 0;
    cli_model *m = NULL;
    copy_setup(&setup, o->setup);
    tn_status st = read_set(c, d, set, false, &n, file, NULL);
    if (st == TN_OK) st = read_set(c, d, set, true, &n_results, results, NULL);
    limit_lengths(results, st == TN_OK ? n_results : 0, most, &setup.import);
    if (st == TN_OK && setup.import.n_limits) m = cli_open_model(c, model, o->device, &setup, rc);
    for (int floats = 0; st == TN_OK && !m && floats < 2; floats++) {
        fix_values(file, n, floats, fixed, &setup.import);
        if (setup.import.n_constants) m = cli_open_model(c, model, o->device, &setup, rc);
        if (!m && *rc != tn_status_exit_code(TN_E_UNSUPPORTED)) break;
    }
    free_set(c, file);
    free_set(c, results);
    return m;
}

/* Opens the model for the sizes of one data set. */
static cli_model *open_sized(cli *c, const char *model, const declared *d, const cli_model *any, const check_options *o,
                             const char *set, int *rc) {
    tn_host_tensor file[MAX_IO] = {{.name = ""}}, in[MAX_IO];
    compile_setup setup;
    size_t n = 0;
    cli_model *m = NULL;
    tn_status st = read_set(c, d, set, false, &n, file, NULL);
    if (st == TN_OK) st = order_inputs(c, any, set, file, n, in);
    copy_setup(&setup, o->setup);
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

/* Opens the model, and again with what is recorded where it needs to know more. */
static cli_model *open_model(cli *c, const char *model, const declared *d, const check_options *o, const char *data,
                             int *rc) {
    char set[1200];
    snprintf(set, sizeof set, "%s/test_data_set_0", data);
    cli_model *m = cli_open_model(c, model, o->device, o->setup, rc);
    if (m || !o->fix_inputs || *rc != tn_status_exit_code(TN_E_UNSUPPORTED)) return m;
    m = open_fixed(c, model, d, o, set, rc);
    if (m) *rc = 0;
    return m;
}

/* The lengths of the sequences that the model takes, as recorded. */
static tn_status know_sequences(cli *c, const declared *d, const char *data, compile_setup *setup) {
    tn_host_tensor file[MAX_IO] = {{.name = ""}};
    char set[1200];
    size_t n = 0;
    bool any = false;
    for (size_t k = 0; k < d->n; k++) any |= !d->io[k].output && (d->io[k].sequence || d->io[k].optional);
    if (!any) return TN_OK;
    snprintf(set, sizeof set, "%s/test_data_set_0", data);
    tn_status st = read_set(c, d, set, false, &n, file, setup);
    free_set(c, file);
    return st;
}

/* Checks every data set of the open model. */
static int check_sets(cli *c, cli_model *m, const char *model, const declared *d, const char *data,
                      const check_options *o, check_result *r) {
    char set[1200];
    int rc = 0;
    for (size_t k = 0;; k++) {
        snprintf(set, sizeof set, "%s/test_data_set_%zu", data, k);
        if (!is_dir(set)) break;
        r->sets++;
        cli_model *sized = cli_model_is_specialised(m) ? open_sized(c, model, d, m, o, set, &rc) : NULL;
        if (rc) break;
        tn_status st = check_set(c, sized ? sized : m, model, d, set, o, r);
        cli_close_model(sized);
        if (st != TN_OK) {
            rc = cli_exit(c, st);
            break;
        }
    }
    if (!rc && !r->sets) rc = cli_exit(c, tn_fail(&c->env, TN_E_IO, data, "", "holds no test_data_set_0"));
    return rc;
}

int check_model(cli *c, const char *model, const check_options *options, check_result *r) {
    char data[1024];
    compile_setup setup;
    check_options o = *options;
    declared d = {0};
    copy_setup(&setup, options->setup);
    o.setup = &setup;
    r->cosine = 1;
    if (access(model, R_OK))
        return cli_exit(c, tn_fail(&c->env, TN_E_IO, model, "", "cannot be read: %s", strerror(errno)));
    if (o.data)
        snprintf(data, sizeof data, "%s", o.data);
    else if (!find_data(model, data, sizeof data))
        return cli_exit(c,
                        tn_fail(&c->env, TN_E_IO, model, "name the folder with --data, or check with --random inputs",
                                "no test_data_set_0 beside the model"));
    tn_status st = cli_has_suffix(model, ".onnx") ? tn_list_onnx_io(&c->env, model, &d.io, &d.n) : TN_OK;
    if (st == TN_OK) st = know_sequences(c, &d, data, &setup);
    int rc = st == TN_OK ? 0 : cli_exit(c, st);
    cli_model *m = rc ? NULL : open_model(c, model, &d, &o, data, &rc);
    if (m && !cli_is_model(model)) tn_options_of_plan(tn_plan_manifest(cli_model_plan(m)), &setup.options);
    if (m) rc = check_sets(c, m, model, &d, data, &o, r);
    if (m) cli_close_model(m);
    if (d.io) tn_free(&c->env, d.io, (d.n + 1) * sizeof *d.io);
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
    double rtol = -1, atol = -1, test_seconds = 0;
    int jobs = 1, fix_inputs = 0, random = 0;
    long seed = 0;
    char *against = NULL, *record = NULL;
    const char **at = NULL, **inputs = NULL;
    check_options o = {0};
    char *data = NULL;
    const struct poptOption options[] = {
        {"device", 'd', POPT_ARG_STRING, &device, 0,
         "cuda (default), cpu or emu: the kernels, executed and checked on the CPU", "D"},
        {"data", 0, POPT_ARG_STRING, &data, 0, "folder of test_data_set_N (default: the model's)", "DIR"},
        {"suite", 0, POPT_ARG_STRING, &suite, 0, "check every test below DIR", "DIR"},
        {"filter", 0, POPT_ARG_STRING, &filter, 0, "only tests of the suite whose name holds TEXT", "TEXT"},
        {"random", 0, POPT_ARG_NONE, &random, 0,
         "random inputs, against the reference evaluation of the imported graph", NULL},
        {"at", 0, POPT_ARG_ARGV, &at, 0, "with --random: one run at this shape (may be repeated)", "NAME=1x3x480x640"},
        {"input", 'i', POPT_ARG_ARGV, &inputs, 0, "with --random: an input's data", "NAME=FILE|random|FILE.npz"},
        {"seed", 0, POPT_ARG_LONG, &seed, 0, "of random inputs (default 0)", "N"},
        {"against", 0, POPT_ARG_STRING, &against, 0, "with --random: what to compare with (default reference)",
         "reference|onnxruntime"},
        {"write-references", 0, POPT_ARG_STRING, &record, 0, "with --random: keep inputs and expected outputs", "DIR"},
        {"fix-inputs", 0, POPT_ARG_NONE, &fix_inputs, 0,
         "a model that needs the values of sizes or axes to compile gets the recorded ones as constants", NULL},
        {"jobs", 0, POPT_ARG_INT, &jobs, 0, "tests of the suite at a time (default 1)", "N"},
        {"test-seconds", 0, POPT_ARG_DOUBLE, &test_seconds, 0,
         "what a test of the suite may take (default 120, and twice what tuning may)", "S"},
        {"rtol", 0, POPT_ARG_DOUBLE, &rtol, 0, "relative tolerance", "R"},
        {"atol", 0, POPT_ARG_DOUBLE, &atol, 0, "absolute tolerance", "A"},
        COMPILE_OPTIONS(&a),
        POPT_TABLEEND,
    };
    poptContext ctx;
    const char **args;
    int rc = 0;
    if (!cli_parse(c, "check", argc, argv, options, "MODEL | PLAN | --suite DIR [options]", help, &ctx, &args, &rc))
        return rc;
    compile_setup s;
    bool one = args && args[0] && !args[1];
    random |= against || record || inputs || at;
    if (one == (suite != NULL)) {
        rc = cli_usage(c, "check takes one model or plan, or --suite DIR (tenon check --help)");
    } else if (against && strcmp(against, "reference") && strcmp(against, "onnxruntime")) {
        rc = cli_usage(c, "--against %s: use reference or onnxruntime", against);
    } else if (one && random && !cli_is_model(args[0])) {
        rc = cli_usage(c, "%s: a plan is checked with --data; make some from its model with --write-references",
                       args[0]);
    } else if (cli_compile_setup(c, &a, &s, &rc)) {
        o = (check_options){.device = device ? device : "cuda",
                            .data = data,
                            .rtol = rtol,
                            .atol = atol,
                            .setup = &s,
                            .peer = against && !strcmp(against, "onnxruntime"),
                            .record = record,
                            .seed = (uint64_t)seed,
                            .inputs = inputs,
                            .test_seconds = test_seconds,
                            .fix_inputs = fix_inputs || suite};
        rc = one && random ? check_random(c, args[0], at, &o)
             : one         ? check_one(c, args[0], &o)
                           : check_suite(c, suite, filter, jobs < 1 ? 1 : jobs, &o);
    }
    cli_end(ctx, options);
    return rc;
}
