/* cmd_run.c: tenon run PLAN|MODEL: one inference, outputs shown or written. */
#include "frontend/cli/cli.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

static const char help[] =
    "Runs one inference.  Inputs come from files (.npy, .npz, .pb, .bin) or are random (the default for inputs not "
    "named);\n"
    "--input FILE.npz takes every input of which it has an array.\n"
    "Symbolic sizes come from --shape and from the files; what one input says holds for all.  --output DIR writes "
    "every\n"
    "output as DIR/NAME.npy, --output FILE.npz all into one file, -o - the only output to the standard output.  `run` "
    "of a plan never compiles; `run` of a\n"
    "model compiles it in memory first.\n\n"
    "examples:\n"
    "  tenon run digits.plan --device cpu --input image=digit_7.npy --output out\n"
    "  tenon run model.onnx --input ids=ids.npy --input mask=random --shape mask=1x128\n"
    "  tenon run model.onnx --input inputs.npz --seed 3 --output outputs.npz\n";

enum { MAX_IO = CLI_MAX_IO };

/* Output names may hold '/' and other characters that file names should not; two that become equal get numbers. */
static void file_name(const char *dir, const char *name, char *out, size_t size) {
    int n = snprintf(out, size, "%s/", dir);
    size_t k = n < 0 ? 0 : (size_t)n;
    for (; *name && k + 5 < size; name++) out[k++] = strchr("/\\:*?\"<>| ", *name) ? '_' : *name;
    snprintf(out + k, size - k, ".npy");
}

static void show(const tn_host_tensor *t, const char *name) {
    char shape[160];
    cli_shape_text(t->rank, t->dims, shape, sizeof shape);
    uint64_t n = cli_numel(t), arg = 0;
    double lo = INFINITY, hi = -INFINITY, sum = 0;
    for (uint64_t i = 0; i < n; i++) {
        double v = tn_load_num(t->dtype, t->data, i);
        if (v > hi) hi = v, arg = i;
        if (v < lo) lo = v;
        sum += v;
    }
    if (n == 0) {
        printf("%s: %s %s  no elements\n", name, tn_dtype_text(t->dtype), shape);
        return;
    }
    printf("%s: %s %s  min %.6g  max %.6g (at %llu)  mean %.6g\n ", name, tn_dtype_text(t->dtype), shape, lo, hi,
           (unsigned long long)arg, sum / (double)n);
    for (uint64_t i = 0; i < n && i < 10; i++) printf(" %.6g", tn_load_num(t->dtype, t->data, i));
    puts(n > 10 ? " ..." : "");
}

static json_object *as_json(const tn_host_tensor *t, const char *name) {
    json_object *o = json_object_new_object(), *dims = cli_json_add_array(o, "shape");
    cli_json_add_string(o, "name", name);
    cli_json_add_string(o, "dtype", tn_dtype_text(t->dtype));
    for (uint32_t k = 0; k < t->rank; k++) json_object_array_add(dims, cli_json_number((double)t->dims[k]));
    json_object *values = cli_json_add_array(o, "first_values");
    for (uint64_t i = 0, n = cli_numel(t); i < n && i < 1024; i++)
        json_object_array_add(values, cli_json_number(tn_load_num(t->dtype, t->data, i)));
    return o;
}

static void output_path(const cli_model *m, size_t k, const char *dir, char *out, size_t size) {
    char other[1024];
    file_name(dir, cli_model_output(m, k)->name, out, size);
    for (size_t j = 0; j < cli_model_outputs(m); j++) {
        file_name(dir, cli_model_output(m, j)->name, other, sizeof other);
        if (j == k || strcmp(out, other)) continue;
        snprintf(out + strlen(out) - strlen(".npy"), size - strlen(out), "-%zu.npy", k);
        return;
    }
}

static tn_status write_outputs(cli *c, cli_model *m, const tn_host_tensor *out, const char *dir) {
    if (mkdir(dir, 0777) && errno != EEXIST)
        return tn_fail(&c->env, TN_E_IO, dir, "", "cannot be made: %s", strerror(errno));
    for (size_t k = 0; k < cli_model_outputs(m); k++) {
        char path[1024];
        const char *const paths[] = {path};
        output_path(m, k, dir, path, sizeof path);
        tn_status st = cli_may_write(c, paths, 1);
        if (st == TN_OK) st = cli_write_npy(c, path, &out[k]);
        if (st != TN_OK) return st;
        if (!c->json && !c->quiet) printf("wrote %s\n", path);
    }
    return TN_OK;
}

static void show_outputs(cli *c, cli_model *m, const tn_host_tensor *out) {
    json_object *doc = c->json ? json_object_new_object() : NULL;
    json_object *list = doc ? cli_json_add_array(doc, "outputs") : NULL;
    for (size_t k = 0; k < cli_model_outputs(m); k++) {
        if (doc)
            json_object_array_add(list, as_json(&out[k], cli_model_output(m, k)->name));
        else if (!c->quiet)
            show(&out[k], cli_model_output(m, k)->name);
    }
    if (doc) cli_print_json(c, doc);
}

/* All outputs into one file, under their own names. */
static tn_status write_archive(cli *c, cli_model *m, const tn_host_tensor *out, const char *path) {
    const char *names[MAX_IO], *const paths[] = {path};
    for (size_t k = 0; k < cli_model_outputs(m); k++) names[k] = cli_model_output(m, k)->name;
    tn_status st = cli_may_write(c, paths, 1);
    if (st == TN_OK) st = cli_write_npz(c, path, cli_model_outputs(m), names, out);
    if (st == TN_OK && !c->json && !c->quiet) printf("wrote %s\n", path);
    return st;
}

static tn_status make_inputs(cli *c, const cli_model *m, const char *const *file, const compile_setup *s, bool is_plan,
                             uint64_t seed, tn_host_tensor *in) {
    cli_sizes *z = cli_model_sizes(c, m);
    tn_status st = z ? TN_OK : TN_E_MEMORY;
    if (st == TN_OK && is_plan) st = cli_sizes_give_shapes(z, s); /* a model was imported with them */
    if (st == TN_OK) st = cli_make_inputs(c, m, file, z, -1, seed * CLI_MAX_IO + 1, in);
    cli_sizes_free(z);
    return st;
}

static tn_status run_model(cli *c, cli_model *m, const char *const *file, const compile_setup *s, const char *path,
                           uint64_t seed, const char *dir) {
    tn_host_tensor in[MAX_IO] = {{.name = ""}}, out[MAX_IO] = {{.name = ""}};
    bool to_stdout = dir && !strcmp(dir, "-");
    tn_status st = TN_OK;
    if (to_stdout && (c->json || cli_model_outputs(m) != 1))
        st = tn_fail(&c->env, TN_E_ARGUMENT, "-o -", "give a folder",
                     c->json ? "--json wants the standard output for itself" : "there are several outputs");
    if (st == TN_OK) st = make_inputs(c, m, file, s, !cli_is_model(path), seed, in);
    if (st == TN_OK) st = cli_model_run(m, in, out);
    cli_clear_bar(c);
    if (st == TN_OK && to_stdout)
        st = cli_write_npy(c, cli_output_path(dir), &out[0]);
    else if (st == TN_OK && dir && cli_has_suffix(dir, ".npz"))
        st = write_archive(c, m, out, dir);
    else if (st == TN_OK && dir)
        st = write_outputs(c, m, out, dir);
    if (st == TN_OK && !to_stdout) show_outputs(c, m, out);
    for (size_t k = 0; k < MAX_IO; k++) cli_free_tensor(c, &in[k]), cli_free_tensor(c, &out[k]);
    return st;
}

int cmd_run(cli *c, int argc, const char **argv) {
    compile_args a = {.tune_seconds = CLI_TUNE_DEFAULT};
    char *dir = NULL, *device = NULL;
    const char **inputs = NULL;
    long seed = 0;
    const struct poptOption options[] = {
        {"device", 'd', POPT_ARG_STRING, &device, 0,
         "cuda (default), cpu or emu: the kernels, executed and checked on the CPU", "D"},
        {"input", 'i', POPT_ARG_ARGV, &inputs, 0, "an input's data (may be repeated)", "NAME=FILE|random|FILE.npz"},
        {"seed", 0, POPT_ARG_LONG, &seed, 0, "of random inputs (default 0)", "N"},
        {"output", 'o', POPT_ARG_STRING, &dir, 0, "write every output as DIR/NAME.npy, or all into one .npz",
         "DIR|FILE.npz"},
        COMPILE_OPTIONS(&a),
        POPT_TABLEEND,
    };
    poptContext ctx;
    const char **args;
    int rc = 0;
    if (!cli_parse(c, "run", argc, argv, options, "PLAN|MODEL [options]", help, &ctx, &args, &rc)) return rc;
    compile_setup s;
    cli_model *m = NULL;
    if (!args || !args[0] || args[1])
        rc = cli_usage(c, "run takes one plan or model (tenon run --help)");
    else if (cli_compile_setup(c, &a, &s, &rc))
        m = cli_open_model(c, args[0], device ? device : "cuda", &s, &rc);
    const char *file[MAX_IO] = {NULL};
    if (m && cli_find_inputs(c, m, inputs, file, &rc))
        rc = cli_exit(c, run_model(c, m, file, &s, args[0], (uint64_t)seed, dir));
    cli_close_model(m);
    cli_end(ctx, options);
    return rc;
}
