/* compile.c: groups that were claimed become plans: compiled, or found in the cache, or held by an EPContext node; and nodes that
 * hold plans are written where the session asks for them. */
#include "frontend/onnxruntime/provider.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/tune/cache.h"
#include "frontend/onnx/import.h"
#include "ir/text/output.h"
#include "runtime/plan/plan.h"

static ort_status *no_memory(const ort_functions *f) {
    return f->CreateStatus(ORT_EP_FAIL, "out of memory");
}

/* ---- a group ----------------------------------------------------------------------------------------------------- */

/* What compiles one. */
typedef struct job {
    provider *p;
    const model *m;
} job;

static tn_status compile_to(const job *j, const char *path, void **data, size_t *size) {
    static const char *const emulated[] = {"sm_90a"};
    const options *o = &j->p->o;
    tn_status st;
    const tn_import_options how = {.share_buffer = o->share_buffer};
    tn_graph *g = tn_import_onnx_message(&j->p->env, j->m->proto, &how, &st);
    if (!g) return st;
    tn_compile_options c = {.precision = o->precision,
                            .exact = o->exact,
                            .cuda_device = o->cuda_device,
                            .tune_seconds = o->tune_seconds,
                            .cache_dir = o->no_cache     ? ""
                                         : *o->cache_dir ? o->cache_dir
                                                         : NULL};
    if (o->device != TN_CUDA) { /* the reference takes the graph, the emulated GPU the sources */
        c.no_gpu = c.sources_only = true;
        c.targets = emulated;
        c.n_targets = 1;
    }
    st = tn_graph_alias_rows(g);
    if (st == TN_OK) st = path ? tn_compile(g, &c, path) : tn_compile_memory(g, &c, data, size);
    tn_graph_free(g);
    return st;
}

static tn_status make_plan(void *user, const char *path) {
    return compile_to(user, path, NULL, NULL);
}

/* The plan of a model; *bytes: what it lies in, where that is no file. */
static tn_plan *plan_of(job *j, void **bytes, size_t *size, tn_status *st) {
    const options *o = &j->p->o;
    char hash[33], gpu[256] = "", key[512];
    if (o->no_cache) {
        *st = compile_to(j, NULL, bytes, size);
        return *st == TN_OK ? tn_plan_load_memory(&j->p->env, *bytes, *size, st) : NULL;
    }
    *st = o->device == TN_CUDA ? tn_gpu_key(&j->p->env, o->cuda_device, gpu, sizeof gpu) : TN_OK;
    if (*st != TN_OK) return NULL;
    model_hash(j->m, hash);
    snprintf(key, sizeof key, "onnxruntime in place %s %d %d %d %d %d %s", hash, (int)o->device, (int)o->precision,
             o->exact, o->share_buffer, o->tune_seconds >= 0, gpu);
    const tn_plan_cache cache = {.dir = *o->cache_dir ? o->cache_dir : NULL, .max_bytes = o->cache_bytes};
    return tn_cached_plan(&j->p->env, &cache, key, make_plan, j, st);
}

typedef struct lists {
    const ort_node **nodes;
    const ort_value_info **in, **out;
    size_t n_nodes, n_in, n_out;
} lists;

static void free_lists(lists *l) {
    tn_free(NULL, l->nodes, (l->n_nodes + 1) * sizeof *l->nodes);
    tn_free(NULL, l->in, (l->n_in + 1) * sizeof *l->in);
    tn_free(NULL, l->out, (l->n_out + 1) * sizeof *l->out);
}

static ort_status *read_lists(const ort_functions *f, const ort_graph *g, const ort_node *fused, lists *l) {
    TRY(f->Graph_GetNumNodes(g, &l->n_nodes));
    TRY(f->Node_GetNumInputs(fused, &l->n_in));
    TRY(f->Node_GetNumOutputs(fused, &l->n_out));
    l->nodes = tn_alloc(NULL, (l->n_nodes + 1) * sizeof *l->nodes);
    l->in = tn_alloc(NULL, (l->n_in + 1) * sizeof *l->in);
    l->out = tn_alloc(NULL, (l->n_out + 1) * sizeof *l->out);
    if (!l->nodes || !l->in || !l->out) return no_memory(f);
    if (l->n_nodes) TRY(f->Graph_GetNodes(g, l->nodes, l->n_nodes));
    if (l->n_in) TRY(f->Node_GetInputs(fused, l->in, l->n_in));
    return l->n_out ? f->Node_GetOutputs(fused, l->out, l->n_out) : NULL;
}

static ort_status *compile_group(provider *p, const ort_graph *g, const lists *l, ort_compute **out) {
    model m;
    void *bytes = NULL;
    size_t size = 0;
    tn_status st = TN_OK;
    ort_status *s = NULL;
    if (!model_build(&m, NULL, p->f, g, l->nodes, l->n_nodes, l->in, l->n_in, l->out, l->n_out)) {
        s = m.error ? m.error : no_memory(p->f);
        m.error = NULL;
    }
    job j = {p, &m};
    tn_plan *plan = s ? NULL : plan_of(&j, &bytes, &size, &st);
    model_free(&m);
    if (plan) return runner_new(p, plan, bytes, size, out);
    tn_free(&p->env, bytes, size);
    return s ? s : ort_of(p, st);
}

enum { END = '.' /* follows a plan in a node: whether zero bytes at a text's end are of it, versions differ */ };

/* ---- EPContext --------------------------------------------------------------------------------------------------- */

ort_status *read_text(const tn_env *env, const ort_functions *f, const ort_node *n, const char *attribute, char **out,
                      size_t *size, size_t *cap) {
    const ort_attr *a = NULL;
    size_t count = 0;
    *out = NULL;
    *size = *cap = 0;
    TRY(f->Node_GetNumAttributes(n, &count));
    const ort_attr **list = tn_alloc(env, (count + 1) * sizeof *list);
    if (!list) return no_memory(f);
    ort_status *s = count ? f->Node_GetAttributes(n, list, count) : NULL;
    for (size_t k = 0; !s && !a && k < count; k++) {
        const char *name = "";
        if (list[k]) s = f->OpAttr_GetName(list[k], &name);
        if (!s && list[k] && !strcmp(name, attribute)) a = list[k];
    }
    tn_free(env, list, (count + 1) * sizeof *list);
    if (s || !a) return s;
    s = f->ReadOpAttr(a, ORT_ATTR_STRING, NULL, 0, size);
    if (s) f->ReleaseStatus(s); /* the size is there all the same */
    if (!*size) return NULL;
    *cap = *size + 1; /* it is a string, whatever the version counts */
    *out = tn_alloc(env, *cap);
    if (!*out) return no_memory(f);
    s = f->ReadOpAttr(a, ORT_ATTR_STRING, *out, *cap - 1, size);
    if (!s && *size && !(*out)[*size - 1]) --*size; /* some versions count the zero byte that ends it */
    return s;
}

static ort_status *read_int(const ort_functions *f, const ort_node *n, const char *attribute, int64_t *out) {
    const ort_attr *a = NULL;
    size_t size = 0;
    ort_status *s = f->Node_GetAttributeByName(n, attribute, &a);
    if (s) f->ReleaseStatus(s);
    return s || !a ? NULL : f->ReadOpAttr(a, ORT_ATTR_INT, out, sizeof *out, &size);
}

bool is_context_node(const ort_functions *f, const ort_node *n) {
    const char *op = "", *domain = "";
    char *source = NULL;
    size_t size, cap = 0;
    ort_status *s = f->Node_GetOperatorType(n, &op);
    if (!s) s = f->Node_GetDomain(n, &domain);
    bool is = !s && !strcmp(op, "EPContext") && !strcmp(domain, "com.microsoft");
    if (is) s = read_text(NULL, f, n, "source", &source, &size, &cap);
    is = is && !s && source && !strcmp(source, ORT_PROVIDER);
    if (s) f->ReleaseStatus(s);
    tn_free(NULL, source, cap);
    return is;
}

/* The folder of a path, with its slash; "" for none. */
static void folder_of(const char *path, char *out, size_t size) {
    const char *slash = strrchr(path, '/');
    snprintf(out, size, "%.*s", slash ? (int)(slash + 1 - path) : 0, path);
}

static ort_status *load_context(provider *p, const ort_graph *g, const ort_node *n, ort_compute **out) {
    char *text = NULL, folder[1024], path[TN_PATH_SIZE];
    const char *model_path = "";
    size_t size, cap = 0;
    int64_t embedded = 1;
    tn_status st = TN_OK;
    tn_plan *plan = NULL;
    if (p->o.context)
        return p->f->CreateStatus(ORT_INVALID_ARGUMENT,
                                  ORT_PROVIDER ": this model holds plans already: give the one it was "
                                               "compiled from, or leave ep.context_enable away");
    TRY(read_int(p->f, n, "embed_mode", &embedded));
    TRY(p->f->Graph_GetModelPath(g, &model_path));
    ort_status *s = read_text(&p->env, p->f, n, "ep_cache_context", &text, &size, &cap);
    if (!s && !size) s = p->f->CreateStatus(ORT_INVALID_ARGUMENT, ORT_PROVIDER ": an EPContext node holds no plan");
    if (!s && embedded && text[size - 1] != END)
        s = p->f->CreateStatus(ORT_INVALID_ARGUMENT, ORT_PROVIDER ": the plan in an EPContext node is damaged");
    if (!s && embedded) {
        plan = tn_plan_load_memory(&p->env, text, size - 1, &st);
    } else if (!s) {
        folder_of(model_path ? model_path : "", folder, sizeof folder);
        if (strchr(text, '/')) /* beside the model, and nowhere else */
            s = ort_error_of(p->f, ORT_INVALID_ARGUMENT, "%s: the plan %s of an EPContext node is not beside the model",
                             ORT_PROVIDER, text);
        snprintf(path, sizeof path, "%s%s", folder, text);
        if (!s) plan = tn_plan_load(&p->env, path, &st);
    }
    const bool keeps = plan && embedded;
    if (!keeps) tn_free(&p->env, text, cap);
    if (plan) return runner_new(p, plan, keeps ? text : NULL, keeps ? cap : 0, out);
    return s ? s : ort_of(p, st);
}

/* Writes a plan beside the model that will refer to it; *name: its file there. */
static ort_status *write_beside(provider *p, const ort_graph *g, const char *fused, const void *data, size_t size,
                                char *name, size_t name_size) {
    char folder[1024], path[TN_PATH_SIZE];
    const char *model_path = NULL;
    TRY(p->f->Graph_GetModelPath(g, &model_path));
    const char *at = *p->o.context_path ? p->o.context_path : model_path ? model_path : "";
    const char *slash = strrchr(at, '/'), *base = slash ? slash + 1 : at;
    folder_of(at, folder, sizeof folder);
    const int n = snprintf(name, name_size, "%s.%s.plan", *base ? base : "model", fused);
    const int m = snprintf(path, sizeof path, "%s%s", folder, name);
    if (n < 0 || (size_t)n >= name_size || m < 0 || (size_t)m >= sizeof path)
        return p->f->CreateStatus(ORT_INVALID_ARGUMENT,
                                  ORT_PROVIDER ": the name of a plan beside the model is too long");
    tn_output o;
    tn_status st = tn_output_begin(&p->env, path, &o);
    if (st != TN_OK) return ort_of(p, st);
    fwrite(data, 1, size, o.f);
    return ort_of(p, tn_output_end(&o, TN_OK));
}

static char **copy_names(const ort_functions *f, const ort_value_info **v, size_t n) {
    char **names = tn_alloc(NULL, (n + 1) * sizeof *names);
    for (size_t k = 0; names && k < n; k++) {
        const char *name = "";
        ort_status *s = v[k] ? f->GetValueInfoName(v[k], &name) : NULL;
        if (s) f->ReleaseStatus(s);
        names[k] = (char *)(uintptr_t)name; /* the graph's */
    }
    return names;
}

static ort_status *make_context(provider *p, const ort_graph *g, const ort_node *fused, const lists *l,
                                const tn_plan *plan, bool main, ort_node **out) {
    const ort_functions *f = p->f;
    const char *name = "";
    char file[1024];
    TRY(f->Node_GetName(fused, &name));
    const void *data = plan->data;
    char *ended = NULL;
    size_t size = plan->size;
    if (p->o.embed && size >= INT32_MAX)
        return ort_error_of(f, ORT_INVALID_ARGUMENT,
                            "%s: a plan of %zu bytes does not fit into a model: use "
                            "ep.context_embed_mode=0",
                            ORT_PROVIDER, size);
    if (!p->o.embed) {
        TRY(write_beside(p, g, name, data, size, file, sizeof file));
        data = file;
        size = strlen(file);
    } else {
        ended = tn_alloc(&p->env, size + 1);
        if (!ended) return no_memory(f);
        memcpy(ended, data, size);
        ended[size++] = END;
        data = ended;
    }
    const int64_t embed = p->o.embed, is_main = main;
    const struct {
        const char *name;
        const void *data;
        size_t size;
        int type;
    } rows[] = {{"ep_cache_context", data, size, ORT_ATTR_STRING},
                {"main_context", &is_main, 1, ORT_ATTR_INT},
                {"embed_mode", &embed, 1, ORT_ATTR_INT},
                {"ep_sdk_version", TENON_VERSION, strlen(TENON_VERSION), ORT_ATTR_STRING},
                {"partition_name", name, strlen(name), ORT_ATTR_STRING},
                {"source", ORT_PROVIDER, strlen(ORT_PROVIDER), ORT_ATTR_STRING}};
    enum { ROWS = sizeof rows / sizeof *rows };
    ort_attr *attrs[ROWS] = {NULL};
    ort_status *s = NULL;
    for (size_t k = 0; !s && k < ROWS; k++)
        s = f->CreateOpAttr(rows[k].name, rows[k].data, (int)rows[k].size, rows[k].type, &attrs[k]);
    char **in = copy_names(f, l->in, l->n_in), **outs = copy_names(f, l->out, l->n_out);
    if (!s && (!in || !outs)) s = no_memory(f);
    if (!s)
        s = f->CreateNode("EPContext", "com.microsoft", name, (const char *const *)in, l->n_in,
                          (const char *const *)outs, l->n_out, attrs, ROWS, out);
    for (size_t k = 0; k < ROWS; k++)
        if (attrs[k]) f->ReleaseOpAttr(attrs[k]);
    tn_free(&p->env, ended, size);
    tn_free(NULL, in, (l->n_in + 1) * sizeof *in);
    tn_free(NULL, outs, (l->n_out + 1) * sizeof *outs);
    return s;
}

/* ---- all of them ------------------------------------------------------------------------------------------------- */

static ort_status *compile_one(provider *p, const ort_graph *g, const ort_node *fused, const lists *l, bool main,
                               ort_compute **out, ort_node **context) {
    if (l->n_nodes == 1 && is_context_node(p->f, l->nodes[0]))
        TRY(load_context(p, g, l->nodes[0], out));
    else
        TRY(compile_group(p, g, l, out));
    TRY(runner_bind(*out, l->in, l->n_in, l->out, l->n_out));
    return p->o.context ? make_context(p, g, fused, l, runner_plan(*out), main, context) : NULL;
}

ort_status *provider_compile(ort_ep *self, const ort_graph **graphs, const ort_node **fused, size_t n,
                             ort_compute **out, ort_node **contexts) {
    provider *p = (provider *)self;
    ort_status *s = NULL;
    for (size_t k = 0; !s && k < n; k++) {
        lists l = {0};
        s = read_lists(p->f, graphs[k], fused[k], &l);
        if (!s) s = compile_one(p, graphs[k], fused[k], &l, k == 0, &out[k], contexts ? &contexts[k] : NULL);
        free_lists(&l);
    }
    return s;
}

void provider_release(ort_ep *self, ort_compute **c, size_t n) {
    (void)self;
    for (size_t k = 0; k < n; k++) runner_free(c[k]);
}
