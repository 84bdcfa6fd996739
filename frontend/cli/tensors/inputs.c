/* inputs.c: the inputs of a run, from files or drawn. */
#include "frontend/cli/cli.h"
#include "tenon/internal/list.h"

#include <string.h>

static size_t find_input(const cli_model *m, const char *name, size_t len) {
    size_t k = 0;
    while (k < cli_model_inputs(m) &&
           (strlen(cli_model_input(m, k)->name) != len || memcmp(cli_model_input(m, k)->name, name, len)))
        k++;
    return k;
}

static void names_text(const cli_model *m, char *out, size_t size) {
    tn_list list = tn_list_of(out, size, cli_model_inputs(m));
    for (size_t k = 0; k < cli_model_inputs(m); k++) tn_list_put(&list, cli_model_input(m, k)->name);
}

/* FILE.npz: every input that it has an array of. */
static bool find_in_archive(cli *c, const cli_model *m, const char *path, const char *file[CLI_MAX_IO], int *rc) {
    bool any = false, found = false;
    for (size_t k = 0; k < cli_model_inputs(m); k++) {
        const tn_status st = cli_npz_has(c, path, cli_model_input(m, k)->name, &found);
        if (st != TN_OK) return *rc = cli_exit(c, st), false;
        if (found) file[k] = path, any = true;
    }
    if (any) return true;
    char names[512] = "";
    names_text(m, names, sizeof names);
    *rc = cli_usage(c, "--input %s: it has an array of no input; the inputs are %s", path, names);
    return false;
}

bool cli_find_inputs(cli *c, const cli_model *m, const char *const *specs, const char *file[CLI_MAX_IO], int *rc) {
    size_t n = cli_model_inputs(m);
    for (; specs && *specs; specs++) {
        const char *eq = strrchr(*specs, '=');
        size_t len = eq ? (size_t)(eq - *specs) : 0, k = eq ? find_input(m, *specs, len) : n;
        if (!eq && cli_has_suffix(*specs, ".npz")) {
            if (!find_in_archive(c, m, *specs, file, rc)) return false;
            continue;
        }
        if (k == n) {
            char names[512] = "";
            names_text(m, names, sizeof names);
            *rc = eq ? cli_usage(c, "--input %s: there is no input '%.*s'; the inputs are %s", *specs, (int)len, *specs,
                                 names)
                     : cli_usage(c, "--input %s: write NAME=FILE or NAME=random; the inputs are %s", *specs, names);
            return false;
        }
        file[k] = strcmp(eq + 1, "random") ? eq + 1 : NULL;
    }
    return true;
}

static bool has_shape(const char *file) {
    return file && !cli_has_suffix(file, ".bin");
}

cli_sizes *cli_model_sizes(cli *c, const cli_model *m) {
    const tn_tensor_desc *desc[CLI_MAX_IO];
    for (size_t k = 0; k < cli_model_inputs(m); k++) desc[k] = cli_model_input(m, k);
    return cli_sizes_new(c, desc, cli_model_inputs(m));
}

/* Files that say their own shape come first, then those and the random inputs that need to be told. */
tn_status cli_make_inputs(cli *c, const cli_model *m, const char *const *file, cli_sizes *z, int64_t otherwise,
                          uint64_t seed, tn_host_tensor *in) {
    size_t n = cli_model_inputs(m);
    tn_status st = TN_OK;
    for (size_t k = 0; st == TN_OK && k < n; k++) {
        if (!has_shape(file[k])) continue;
        st = cli_read_tensor(c, file[k], cli_model_input(m, k), &in[k]);
        if (st == TN_OK) st = cli_sizes_give(z, k, in[k].rank, in[k].dims, file[k]);
    }
    for (size_t k = 0; st == TN_OK && k < n; k++) {
        tn_tensor_desc d = *cli_model_input(m, k);
        if (has_shape(file[k])) continue;
        st = cli_sizes_get(z, k, otherwise, d.dims);
        if (st == TN_OK)
            st = file[k] ? cli_read_tensor(c, file[k], &d, &in[k]) : cli_random_tensor(c, &d, seed + k, &in[k]);
    }
    return st;
}
