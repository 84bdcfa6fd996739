/* random.c: tenon check --random: a compiled model against the reference, without recorded data. */
#include <math.h>
#include <string.h>

#include "frontend/cli/check/suite.h"

enum { MAX_IO = CLI_MAX_IO };

/* Sizes that neither --at nor a file gives are 1. */
static tn_status make_inputs(cli *c, const cli_model *m, const tn_shape_override *at, const check_options *o,
                             tn_host_tensor *in, int *rc) {
    const char *file[CLI_MAX_IO] = {NULL};
    if (!cli_find_inputs(c, m, o->inputs, file, rc)) return TN_E_ARGUMENT;
    cli_sizes *z = cli_model_sizes(c, m);
    tn_status st = !z ? TN_E_MEMORY : at ? cli_sizes_give_shape(z, at) : TN_OK;
    if (st == TN_OK) st = cli_make_inputs(c, m, file, z, 1, o->seed * CLI_MAX_IO + 17, in);
    cli_sizes_free(z);
    if (st != TN_OK) *rc = cli_exit(c, st);
    return st;
}

static json_object *as_json(const char *at, const char *output, const cli_diff *d, const char *why) {
    json_object *o = json_object_new_object();
    cli_json_add_string(o, "at", at);
    cli_json_add_string(o, "output", output);
    cli_json_add_number(o, "max_abs_error", d ? d->max_abs : NAN);
    cli_json_add_number(o, "cosine", d ? d->cosine : NAN);
    cli_json_add_string(o, "why", why);
    return o;
}

/* One shape: 0 agreed, 1 differed, else an exit code. */
static int check_shape(cli *c, cli_model *ref, cli_model *m, const char *model, const char *text, size_t number,
                       const tn_shape_override *at, const check_options *o, json_object *runs) {
    tn_host_tensor in[MAX_IO] = {{.name = ""}}, want[MAX_IO] = {{.name = ""}}, got[MAX_IO] = {{.name = ""}};
    check_margin margin = {.model = model, .in = in, .n_in = cli_model_inputs(m), .n_out = cli_model_outputs(m)};
    int rc = 0;
    tn_status st = make_inputs(c, ref, at, o, in, &rc);
    if (st != TN_OK) return rc;
    st = o->peer ? check_peer(c, ref, model, in, want) : cli_model_run(ref, in, want);
    if (st == TN_OK && o->record) st = check_record(c, ref, o->record, number, in, want);
    if (st == TN_OK) st = cli_model_run(m, in, got);
    if (st != TN_OK) rc = cli_exit(c, st);
    for (size_t k = 0; st == TN_OK && k < cli_model_outputs(m); k++) {
        cli_diff d;
        char why[400], excuse[96];
        bool same = check_tensor(c, o, &margin, k, &got[k], &want[k], &d, why, sizeof why);
        if (*why) rc = 1;
        cli_clear_bar(c);
        if (runs)
            json_object_array_add(runs, as_json(text, cli_model_output(m, k)->name, same ? &d : NULL, why));
        else if (!same)
            printf("  %-28s %-20.60s WRONG: %s\n", text, cli_model_output(m, k)->name, why);
        else
            printf("  %-28s %-20.60s max error %.3g  cosine %.7f  %s%s%s\n", text, cli_model_output(m, k)->name,
                   d.max_abs, d.cosine, *why ? "WRONG: " : "ok", why, check_excuse(&d, excuse, sizeof excuse));
    }
    check_margin_free(c, &margin);
    for (size_t k = 0; k < MAX_IO; k++)
        cli_free_tensor(c, &in[k]), cli_free_tensor(c, &want[k]), cli_free_tensor(c, &got[k]);
    return rc;
}

int check_random(cli *c, const char *model, const char *const *at, const check_options *o) {
    int rc = 0;
    compile_setup plain = *o->setup;
    plain.options.precision = TN_FP32;
    json_object *doc = c->json ? json_object_new_object() : NULL;
    json_object *runs = doc ? cli_json_add_array(doc, "runs") : NULL;
    cli_model *ref = cli_open_model(c, model, "reference", &plain, &rc);
    cli_model *m = ref ? cli_open_model(c, model, o->device, o->setup, &rc) : NULL;
    for (size_t k = 0; m && rc <= 1 && (k == 0 || (at && at[k])); k++) {
        char name[128];
        tn_shape_override shape;
        bool given = at && at[k];
        if (given && !cli_parse_shape(c, at[k], name, &shape, &rc)) break;
        int one = check_shape(c, ref, m, model, given ? at[k] : "random", k, given ? &shape : NULL, o, runs);
        if (one > rc) rc = one;
    }
    if (m && rc <= 1 && doc) {
        cli_json_add_string(doc, "model", model);
        cli_json_add_string(doc, "against", o->peer ? "onnxruntime" : "reference");
        cli_json_add_string(doc, "device", o->device);
        cli_json_add_bool(doc, "passed", rc == 0);
        cli_print_json(c, doc);
    } else {
        json_object_put(doc);
        if (m && rc <= 1) printf("%s: %s on %s\n", model, rc ? "FAILED" : "passed", o->device);
    }
    cli_close_model(m);
    cli_close_model(ref);
    return rc;
}
