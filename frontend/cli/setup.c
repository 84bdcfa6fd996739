/* setup.c: the options that compile, tune, run and check share, turned into the library's structures. */
#include "frontend/cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    tn_precision value;
} precisions[] = {{"fp32", TN_FP32}, {"tf32", TN_PREC_TF32}, {"fp16", TN_FP16}, {"bf16", TN_PREC_BF16}};

static bool parse_precision(cli *c, const char *text, tn_precision *out, int *rc) {
    for (size_t k = 0; k < sizeof precisions / sizeof *precisions; k++)
        if (!strcmp(text, precisions[k].name)) return *out = precisions[k].value, true;
    *rc = cli_usage(c, "--precision %s: use fp32, tf32, fp16 or bf16", text);
    return false;
}

/* NAME=1x3x224x224; "?" or "-1" leaves a dim as it is; input names may hold '=' and ':' but dims do not. */
bool cli_parse_shape(cli *c, const char *text, char name[128], tn_shape_override *out, int *rc) {
    const char *eq = strrchr(text, '=');
    size_t n = eq ? (size_t)(eq - text) : 0;
    if (!n || n >= 128) return *rc = cli_usage(c, "--shape %s: write NAME=1x3x224x224", text), false;
    memcpy(name, text, n);
    name[n] = 0;
    out->input = name;
    out->rank = 0;
    for (const char *p = eq + 1; *p;) {
        char *end = (char *)(uintptr_t)p;
        long long v = -1;
        errno = 0;
        if (*p == '?')
            end++;
        else
            v = strtoll(p, &end, 10);
        if (end == p || errno || v < -1 || out->rank == TN_MAX_RANK || (*end && *end != 'x' && *end != ','))
            return *rc = cli_usage(c, "--shape %s: write NAME=1x3x224x224", text), false;
        out->dims[out->rank++] = v;
        p = *end ? end + 1 : end;
    }
    return true;
}

bool cli_compile_setup(cli *c, const compile_args *a, compile_setup *s, int *rc) {
    memset(s, 0, sizeof *s);
    tn_compile_options *o = &s->options;
    if (a->precision && !parse_precision(c, a->precision, &o->precision, rc)) return false;
    if (a->target) {
        if (strlen(a->target) >= sizeof s->target_text) return *rc = cli_usage(c, "--target is too long"), false;
        strcpy(s->target_text, a->target);
        for (char *p = strtok(s->target_text, ","); p; p = strtok(NULL, ",")) {
            bool again = false;
            for (size_t k = 0; k < o->n_targets; k++) again |= !strcmp(s->targets[k], p);
            if (again) continue;
            if (o->n_targets == CLI_MAX_TARGETS) return *rc = cli_usage(c, "too many targets"), false;
            s->targets[o->n_targets++] = p;
        }
        o->targets = s->targets;
    }
    for (size_t k = 0; a->shapes && a->shapes[k]; k++) {
        if (k == CLI_MAX_SHAPES) return *rc = cli_usage(c, "too many --shape options"), false;
        if (!cli_parse_shape(c, a->shapes[k], s->names[k], &s->shapes[k], rc)) return false;
        s->import.n_shapes = k + 1;
    }
    s->import.shapes = s->shapes;
    s->compiles = a->target      ? "--target"
                  : a->precision ? "--precision"
                  : a->passes    ? "--passes"
                  : a->lockfile  ? "--lockfile"
                  : a->exact     ? "--exact"
                  : a->no_gpu    ? "--no-gpu"
                                 : NULL;
    o->no_gpu = a->no_gpu != 0;
    o->exact = a->exact != 0;
    o->threads = a->threads > 0 ? (uint32_t)a->threads : 0;
    o->cuda_device = a->device_ordinal;
    o->tune_seconds = a->tune_seconds == 0 ? -1 : a->tune_seconds; /* 0 on the command line: the cost model chooses */
    if (a->tune_seconds == CLI_TUNE_DEFAULT) o->tune_seconds = 0;
    o->cache_dir = a->cache;
    o->lockfile = a->lockfile;
    o->passes = a->passes;
    return true;
}
