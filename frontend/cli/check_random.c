/* check_random.c: tenon check --random: a compiled model against the reference, without recorded data. */
#include <string.h>

#include "frontend/cli/suite.h"

enum { MAX_IO = 256 };

static tn_status make_inputs(cli *c, const cli_model *m, const tn_shape_override *at, tn_host_tensor *in) {
    for (size_t k = 0; k < cli_model_inputs(m); k++) {
        tn_tensor_desc d = *cli_model_input(m, k);
        if (at && !strcmp(at->input, d.name)) {
            if (at->rank != d.rank)
                return tn_fail(&c->env, TN_E_TYPE, d.name, "", "has rank %u, --at gives %u dims", d.rank, at->rank);
            memcpy(d.dims, at->dims, sizeof d.dims);
        }
        tn_status st = cli_random_tensor(c, &d, 1, 17 + k, &in[k]);
        if (st != TN_OK) return st;
    }
    return TN_OK;
}

/* One shape: 0 agreed, 1 differed, else an exit code. */
static int check_shape(cli *c, cli_model *ref, cli_model *m, const char *text, const tn_shape_override *at,
                       const check_options *o) {
    tn_host_tensor in[MAX_IO] = {{.name = ""}}, want[MAX_IO] = {{.name = ""}}, got[MAX_IO] = {{.name = ""}};
    int rc = 0;
    tn_status st = make_inputs(c, ref, at, in);
    if (st == TN_OK) st = cli_model_run(ref, in, want);
    if (st == TN_OK) st = cli_model_run(m, in, got);
    if (st != TN_OK) rc = cli_exit(c, st);
    for (size_t k = 0; st == TN_OK && k < cli_model_outputs(m); k++) {
        cli_diff d;
        char why[400];
        check_tensor(o, &got[k], &want[k], &d, why, sizeof why);
        if (*why) rc = 1;
        cli_clear_bar(c);
        printf("  %-28s %-20.60s max error %.3g  cosine %.7f  %s%s\n", text, cli_model_output(m, k)->name, d.max_abs,
               d.cosine, *why ? "WRONG: " : "ok", why);
    }
    for (size_t k = 0; k < MAX_IO; k++)
        cli_free_tensor(c, &in[k]), cli_free_tensor(c, &want[k]), cli_free_tensor(c, &got[k]);
    return rc;
}

int check_random(cli *c, const char *model, const char *const *at, const check_options *o) {
    int rc = 0;
    compile_setup plain = *o->setup;
    plain.options.precision = TN_FP32;
    cli_model *ref = cli_open_model(c, model, "reference", &plain, &rc);
    cli_model *m = ref ? cli_open_model(c, model, o->device, o->setup, &rc) : NULL;
    for (size_t k = 0; m && rc <= 1 && (k == 0 || (at && at[k])); k++) {
        char name[128];
        tn_shape_override shape;
        bool given = at && at[k];
        if (given && !cli_parse_shape(c, at[k], name, &shape, &rc)) break;
        int one = check_shape(c, ref, m, given ? at[k] : "random", given ? &shape : NULL, o);
        if (one > rc) rc = one;
    }
    if (m && rc <= 1) printf("%s: %s on %s\n", model, rc ? "FAILED" : "passed", o->device);
    cli_close_model(m);
    cli_close_model(ref);
    return rc;
}
