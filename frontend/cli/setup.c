/* setup.c: the options that compile, tune, run and check share, turned into the library's structures. */
#include "codegen/program/program.h"
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

/* One dim: "8" (hi is -1), "1..32", "1.." without an upper bound, or "?" or "-1", which leave it as it is.  Where it
 * ends, or NULL. */
static const char *parse_dim(const char *p, int64_t *lo, int64_t *hi) {
    char *end;
    *lo = *hi = -1;
    if (*p == '?') return p + 1;
    errno = 0;
    *lo = strtoll(p, &end, 10);
    if (end == p || errno || *lo < -1) return NULL;
    if (end[0] != '.' || end[1] != '.' || *lo < 0) return end;
    p = end + 2;
    *hi = strtoll(p, &end, 10);
    if (end == p) *hi = INT64_MAX;
    return errno || *hi < 0 ? NULL : end;
}

/* "1..32x1..512", or the typical sizes "8x128" behind it.  Where it ends, or NULL. */
static const char *parse_dims(const char *p, uint32_t *rank, int64_t lo[TN_MAX_RANK], int64_t hi[TN_MAX_RANK]) {
    *rank = 0;
    while (*p && *p != ':') {
        if (*rank == TN_MAX_RANK || !(p = parse_dim(p, &lo[*rank], &hi[*rank]))) return NULL;
        ++*rank;
        if (*p && *p != ':' && *p != 'x' && *p != ',') return NULL;
        p += *p == 'x' || *p == ',';
    }
    return p;
}

static bool is_range(const tn_shape_override *o, uint32_t k) {
    return o->most[k] && o->most[k] != o->dims[k];
}

/* NAME=1..32x3x224:8x3x224; input names may hold '=' and ':' but dims do not. */
bool cli_parse_shape(cli *c, const char *text, char name[128], tn_shape_override *out, int *rc) {
    static const char usage[] = "--shape %s: write NAME=1x3x224x224, or NAME=1..32x128 for a range, or "
                                "NAME=1..32x128:8x128 with the typical size";
    const char *eq = strrchr(text, '=');
    size_t n = eq ? (size_t)(eq - text) : 0;
    if (!n || n >= 128) return *rc = cli_usage(c, usage, text), false;
    memcpy(name, text, n);
    name[n] = 0;
    *out = (tn_shape_override){.input = name};
    int64_t hi[TN_MAX_RANK];
    const char *p = parse_dims(eq + 1, &out->rank, out->dims, hi);
    for (uint32_t k = 0; p && k < out->rank; k++) {
        if (hi[k] >= 0 && hi[k] < out->dims[k])
            return *rc = cli_usage(c, "--shape %s: the lower bound %lld is above the upper bound %lld", text,
                                   (long long)out->dims[k], (long long)hi[k]),
                   false;
        if (hi[k] > 0) out->most[k] = hi[k];
    }
    if (p && *p == ':') {
        uint32_t rank;
        p = parse_dims(p + 1, &rank, out->typical, hi);
        if (p && *p) p = NULL;
        for (uint32_t k = 0; p && k < rank; k++) {
            if (hi[k] >= 0) p = NULL;
            if (out->typical[k] < 0) out->typical[k] = 0;
        }
        if (p && rank != out->rank)
            return *rc = cli_usage(c, "--shape %s: %u dims, but %u typical sizes", text, out->rank, rank), false;
    }
    return p ? true : (*rc = cli_usage(c, usage, text), false);
}

bool cli_is_one_shape(const tn_shape_override *o) {
    for (uint32_t k = 0; k < o->rank; k++)
        if (is_range(o, k) || o->typical[k]) return false;
    return true;
}

void cli_sequence_length(compile_setup *s, const char *name, int64_t length) {
    tn_import_options *o = &s->import;
    for (size_t k = 0; k < o->n_sequences; k++)
        if (!strcmp(o->sequences[k].input, name)) return;
    if (o->n_sequences == CLI_MAX_SHAPES || strlen(name) >= sizeof *s->sequence_names) return;
    char *own = s->sequence_names[o->n_sequences];
    strcpy(own, name);
    s->sequences[o->n_sequences++] = (tn_sequence_input){own, length};
    o->sequences = s->sequences;
}

void cli_shape_of(compile_setup *s, const tn_host_tensor *t) {
    tn_import_options *o = &s->import;
    for (size_t k = 0; k < o->n_shapes; k++)
        if (!strcmp(o->shapes[k].input, t->name)) return;
    if (o->n_shapes == CLI_MAX_SHAPES) return;
    char *own = s->names[o->n_shapes];
    memcpy(own, t->name, sizeof *s->names);
    tn_shape_override *shape = &s->shapes[o->n_shapes++];
    *shape = (tn_shape_override){.input = own, .rank = t->rank};
    memcpy(shape->dims, t->dims, sizeof shape->dims);
    o->shapes = s->shapes;
}

/* NAME=3, or NAME=none. */
static bool parse_sequence(const char *text, compile_setup *s) {
    const char *eq = strrchr(text, '=');
    char name[128], *end;
    if (!eq || eq == text || eq - text >= 128) return false;
    memcpy(name, text, (size_t)(eq - text));
    name[eq - text] = 0;
    errno = 0;
    const bool none = !strcmp(eq + 1, "none");
    const int64_t n = none ? -1 : strtoll(eq + 1, &end, 10);
    if (!none && (eq[1] < '0' || eq[1] > '9' || *end || errno)) return false;
    cli_sequence_length(s, name, n);
    return true;
}

/* NAME=1000; names may hold any character. */
static bool parse_limit(const char *text, char name[128], tn_length_limit *out) {
    const char *eq = strrchr(text, '=');
    char *end;
    if (!eq || eq == text || eq - text >= 128 || eq[1] < '0' || eq[1] > '9') return false;
    memcpy(name, text, (size_t)(eq - text));
    name[eq - text] = 0;
    errno = 0;
    *out = (tn_length_limit){name, strtoll(eq + 1, &end, 10)};
    return !*end && !errno;
}

bool cli_load_plugins(cli *c, const char *const *paths, int *rc) {
    if (!paths) return true;
    tn_status st = c->plugins || (c->plugins = tn_plugins_new(&c->env)) ? TN_OK : TN_E_MEMORY;
    for (; st == TN_OK && *paths; paths++) st = tn_plugins_load(c->plugins, *paths);
    if (st != TN_OK) *rc = cli_exit(c, st);
    return st == TN_OK;
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
    if (!cli_load_plugins(c, a->plugins, rc)) return false;
    s->import.plugins = c->plugins;
    s->import.shapes = s->shapes;
    s->import.weights = a->weights;
    for (size_t k = 0; a->limits && a->limits[k]; k++) {
        if (k == CLI_MAX_SHAPES) return *rc = cli_usage(c, "too many --most options"), false;
        if (!parse_limit(a->limits[k], s->limited[k], &s->limits[k]))
            return *rc = cli_usage(c, "--most %s: a name and a number of elements, as in NAME=1000", a->limits[k]),
                   false;
        s->import.n_limits = k + 1;
    }
    s->import.limits = s->limits;
    for (size_t k = 0; a->sequences && a->sequences[k]; k++) {
        if (k == CLI_MAX_SHAPES) return *rc = cli_usage(c, "too many --sequence options"), false;
        if (!parse_sequence(a->sequences[k], s))
            return *rc = cli_usage(c, "--sequence %s: a name and a number of tensors, as in NAME=3, or NAME=none",
                                   a->sequences[k]),
                   false;
    }
    o->aliases = a->aliases;
    for (; a->aliases && a->aliases[o->n_aliases]; o->n_aliases++) {
    }
    s->compiles = a->target      ? "--target"
                  : a->aliases   ? "--alias"
                  : a->precision ? "--precision"
                  : a->weights   ? "--weights"
                  : a->plugins   ? "--plugin"
                  : a->passes    ? "--passes"
                  : a->lockfile  ? "--lockfile"
                  : a->exact     ? "--exact"
                  : a->no_gpu    ? "--no-gpu"
                                 : NULL;
    o->no_gpu = a->no_gpu != 0;
    if (a->streams < 0 || a->streams > TN_MAX_STREAMS)
        return *rc = cli_usage(c, "--streams %d: 1 to %d", a->streams, TN_MAX_STREAMS), false;
    o->streams = (uint32_t)a->streams;
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
