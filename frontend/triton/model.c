/* model.c: a model: its options, its plan, and libtenon where a device needs it. */
#include "frontend/triton/backend.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- options ----------------------------------------------------------------------------------------------------- */

typedef struct reading {
    const model *m;
    options *o;
    const char *key, *value;
} reading;

static triton_error *wrong(const reading *r, const char *known) {
    return error_new(r->m->f, TRITON_INVALID_ARGUMENT, "tenon: %s: parameter %s is '%s'; write %s", r->m->name, r->key,
                     r->value, known);
}

static triton_error *set_device(reading *r) {
    static const char *const names[] = {[TN_CUDA] = "cuda", [TN_CPU] = "cpu", [TN_EMU] = "emu"};
    for (int k = 0; k < 3; k++)
        if (!strcmp(r->value, names[k])) return r->o->device = (tn_device)k, NULL;
    return wrong(r, "cpu, emu, or with KIND_MODEL cuda");
}

static triton_error *read_number(const reading *r, uint64_t *out) {
    char *end;
    errno = 0;
    *out = strtoull(r->value, &end, 10);
    return *r->value < '0' || *r->value > '9' || *end || errno ? wrong(r, "a number") : NULL;
}

static triton_error *read_flag(const reading *r, bool *out) {
    *out = !strcmp(r->value, "1");
    return *out || !strcmp(r->value, "0") ? NULL : wrong(r, "0 or 1");
}

static triton_error *set_gpu(reading *r) {
    uint64_t n;
    TRY(read_number(r, &n));
    if (n > INT32_MAX) return wrong(r, "a GPU's number");
    r->o->gpu = (int)n;
    return NULL;
}

static triton_error *set_scratch(reading *r) {
    uint64_t n;
    TRY(read_number(r, &n));
    r->o->scratch_bytes = (size_t)n;
    return NULL;
}

static triton_error *set_graph(reading *r) {
    bool on;
    TRY(read_flag(r, &on));
    r->o->no_cuda_graph = !on;
    return NULL;
}

static triton_error *set_recompile(reading *r) {
    return read_flag(r, &r->o->recompile);
}

static triton_error *set_map(reading *r) {
    return read_flag(r, &r->o->map);
}

static const struct {
    const char *name;
    triton_error *(*set)(reading *r);
} known[] = {
    {"device", set_device},       {"gpu", set_gpu}, {"cuda_graph", set_graph}, {"scratch_bytes", set_scratch},
    {"recompile", set_recompile}, {"map", set_map},
};

static triton_error *set_option(model *m, const char *key, const char *value) {
    reading r = {m, &m->o, key, value};
    char names[256] = "";
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        if (!strcmp(key, known[k].name)) return known[k].set(&r);
        const size_t at = strlen(names);
        snprintf(names + at, sizeof names - at, "%s%s", k ? ", " : "", known[k].name);
    }
    /* Triton's own are no concern of ours */
    if (!strncmp(key, "TRITON_", 7)) return NULL;
    return error_new(m->f, TRITON_INVALID_ARGUMENT, "tenon: %s: there is no parameter '%s'; there are %s", m->name, key,
                     names);
}

static triton_error *read_options(model *m, json_object *config) {
    json_object *parameters;
    triton_error *e = NULL;
    m->o = (options){.device = TN_CPU};
    if (!json_object_object_get_ex(config, "parameters", &parameters)) return NULL;
    json_object_object_foreach(parameters, key, value) if (!e) e =
        set_option(m, key, config_text(value, "string_value"));
    return e;
}

/* ---- the plan ---------------------------------------------------------------------------------------------------- */

/* Of the version that is loaded. */
static triton_error *find_plan(model *m, json_object *config) {
    const char *folder, *file = config_text(config, "default_model_filename");
    uint64_t version;
    int kind;
    TRY(m->f->ModelRepository(m->handle, &kind, &folder));
    TRY(m->f->ModelVersion(m->handle, &version));
    const int n = snprintf(m->path, sizeof m->path, "%s/%" PRIu64 "/%s", folder, version, *file ? file : "model.plan");
    if (n < 0 || (size_t)n >= sizeof m->path)
        return error_new(m->f, TRITON_INVALID_ARGUMENT, "tenon: %s: its path is too long", m->name);
    if (!access(m->path, R_OK)) return NULL;
    return error_new(m->f, TRITON_NOT_FOUND,
                     "tenon: %s: %s: %s (make it with `tenon compile MODEL -o FILE`; a name other than model.plan is "
                     "default_model_filename)",
                     m->name, m->path, strerror(errno));
}

/* A plan that is mapped must not be written to while it is served; one that was read may be. */
static tn_status read_plan(model *m) {
    struct stat st;
    size_t done = 0;
    const int fd = open(m->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) || st.st_size < 0) {
        if (fd >= 0) close(fd);
        return tn_fail(&m->env, TN_E_IO, "", "", "%s", strerror(errno));
    }
    m->size = (size_t)st.st_size;
    m->bytes = aligned_alloc(64, (m->size + 64) / 64 * 64);
    ssize_t n = m->bytes ? 1 : 0;
    while (done < m->size && n > 0) {
        n = read(fd, (char *)m->bytes + done, m->size - done);
        if (n > 0) done += (size_t)n;
    }
    close(fd);
    if (!m->bytes) return tn_fail(&m->env, TN_E_MEMORY, "", "", "out of memory");
    if (n < 0) return tn_fail(&m->env, TN_E_IO, "", "", "%s", strerror(errno));
    m->size = done; /* a file that was cut while it was read is a damaged plan */
    return TN_OK;
}

static triton_error *load_plan(model *m) {
    tn_status st = TN_OK;
    if (m->o.map) {
        m->plan = tn_plan_load(&m->env, m->path, &st);
        return error_of(m, st);
    }
    st = read_plan(m);
    if (st == TN_OK) m->plan = tn_plan_load_memory(&m->env, m->bytes, m->size, &st);
    return error_at(m, st, m->path);
}

static triton_error *describe(model *m, const tn_tensor_desc *d, const TnPlan__Tensor *t, tensor *out) {
    static const tn_dtype types[] = {
#define X(number, name, dtype) [number] = dtype,
        TRITON_TYPES(X)
#undef X
    };
    out->d = d;
    out->made = t->n_most > 0;
    for (triton_type k = 1; k < sizeof types / sizeof *types; k++)
        if (types[k] == d->dtype && types[k]) out->type = k;
    if (out->type) return NULL;
    return error_new(m->f, TRITON_UNSUPPORTED, "tenon: %s: '%s' is of type %s, which Triton does not have", m->name,
                     d->name, tn_dtype_text(d->dtype));
}

static triton_error *describe_all(model *m) {
    const TnPlan__Plan *pb = tn_plan_manifest(m->plan);
    m->n_in = tn_plan_input_count(m->plan);
    m->n_out = tn_plan_output_count(m->plan);
    m->in = tn_alloc(NULL, (m->n_in + 1) * sizeof *m->in);
    m->out = tn_alloc(NULL, (m->n_out + 1) * sizeof *m->out);
    if (!m->in || !m->out) return error_new(m->f, TRITON_UNAVAILABLE, "tenon: %s: out of memory", m->name);
    for (size_t k = 0; k < m->n_in; k++) TRY(describe(m, tn_plan_input(m->plan, k), pb->inputs[k], &m->in[k]));
    for (size_t k = 0; k < m->n_out; k++) TRY(describe(m, tn_plan_output(m->plan, k), pb->outputs[k], &m->out[k]));
    return NULL;
}

/* ---- models ------------------------------------------------------------------------------------------------------ */

static triton_error *set_up(model *m) {
    json_object *config = NULL;
    TRY(config_read(m, &config));
    triton_error *e = read_options(m, config);
    if (!e) e = find_plan(m, config);
    json_object_put(config);
    if (!e) e = load_plan(m);
    if (!e) e = describe_all(m);
    return e ? e : config_settle(m);
}

triton_error *model_new(backend *b, triton_model *handle, model **out) {
    const char *name;
    TRY(b->f.ModelName(handle, &name));
    model *m = tn_alloc(NULL, sizeof *m);
    if (!m) return error_new(&b->f, TRITON_UNAVAILABLE, "tenon: %s: out of memory", name);
    m->b = b;
    m->f = &b->f;
    m->handle = handle;
    snprintf(m->name, sizeof m->name, "%s", name);
    m->env = (tn_env){.diag = model_diag, .diag_user = m};
    pthread_mutex_init(&m->lock, NULL);
    triton_error *e = set_up(m);
    if (e)
        model_free(m);
    else
        *out = m;
    return e;
}

/* ---- scratch memory that instances share --------------------------------------------------------------------------- */

typedef struct pool {
    struct pool *next;
    tn_device device;
    int gpu;
    tn_scratch_pool *p;
} pool;

triton_error *model_pool(model *m, const tn_context_options *of, tn_scratch_pool **out) {
    tn_status st = TN_OK;
    pthread_mutex_lock(&m->lock);
    pool *x = m->pools;
    while (x && (x->device != of->device || x->gpu != of->cuda_device)) x = x->next;
    if (!x && (x = tn_alloc(NULL, sizeof *x))) {
        *x = (pool){m->pools, of->device, of->cuda_device, tn_scratch_pool_new(&m->env, of, m->o.scratch_bytes, &st)};
        m->pools = x;
    } else if (!x) {
        st = TN_E_MEMORY;
    }
    *out = x ? x->p : NULL;
    if (x && !x->p) { /* not kept: the next instance tries again */
        m->pools = x->next;
        tn_free(NULL, x, sizeof *x);
    }
    pthread_mutex_unlock(&m->lock);
    return error_of(m, st);
}

void model_free(model *m) {
    if (!m) return;
    while (m->pools) {
        pool *x = m->pools;
        m->pools = x->next;
        tn_scratch_pool_free(x->p);
        tn_free(NULL, x, sizeof *x);
    }
    tn_plan_free(m->plan);
    free(m->bytes);
    tn_free(NULL, m->in, (m->n_in + 1) * sizeof *m->in);
    tn_free(NULL, m->out, (m->n_out + 1) * sizeof *m->out);
    tn_free(NULL, m->padded, (size_t)(m->max_batch + 1) * sizeof *m->padded);
    pthread_mutex_destroy(&m->lock);
    tn_free(NULL, m, sizeof *m);
}

/* ---- libtenon ------------------------------------------------------------------------------------------------------ */

/* The library is opened when the first device needs it, so that a server with GPUs need not have it. */
static const tn_host *open_host(backend *b, char *why, size_t size) {
    const tn_host *(*devices)(void);
    if (b->host) return b->host;
    if (!b->libtenon) b->libtenon = dlopen(TENON_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    void *symbol = b->libtenon ? dlsym(b->libtenon, "tn_host_devices") : NULL;
    if (!symbol) {
        const char *text = dlerror();
        snprintf(why, size, "%s", text ? text : "it has no tn_host_devices");
        return NULL;
    }
    memcpy(&devices, &symbol, sizeof devices);
    return b->host = devices();
}

triton_error *model_host(model *m, const char *what_for, const tn_host **out) {
    char why[512] = "";
    pthread_mutex_lock(&m->b->lock);
    *out = open_host(m->b, why, sizeof why);
    pthread_mutex_unlock(&m->b->lock);
    if (*out) return NULL;
    return error_new(m->f, TRITON_UNAVAILABLE,
                     "tenon: %s: %s is a part of " TENON_LIBRARY
                     ", which cannot be opened: %s (install libtenon, or put "
                     "the file beside the backend)",
                     m->name, what_for, why);
}
