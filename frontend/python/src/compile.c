/* compile.c: model in, plan out.  tenon/_compile.py has turned the user's words into the tuples that are read here. */
#include "module.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tenon/plan_cache.h"

/* What the library is given: arrays of its structs, whose strings are Python's. */
typedef struct job {
    py_env env;
    const tn_env *used; /* that, or of the plan that is made */
    tn_import_options import;
    tn_compile_options compile;
    tn_shape_override *shapes;
    tn_const_input *constants;
    tn_length_limit *limits;
    tn_sequence_input *sequences;
    const char **aliases, **targets;
    tn_plugins *plugins;
    const char *path, *model, *base_dir; /* a file, or size bytes */
    Py_ssize_t size;
} job;

/* Reads the items of a list, one by one, into an array of its own; NULL: raised. */
typedef bool read_item(PyObject *item, void *to);
static void *read_list(PyObject *list, size_t size, read_item *read, size_t *n) {
    const Py_ssize_t count = PyList_Size(list);
    if (count < 0) return NULL;
    char *items = PyMem_Calloc((size_t)count + 1, size);
    if (!items) return PyErr_NoMemory();
    for (Py_ssize_t k = 0; k < count; k++)
        if (!read(PyList_GetItem(list, k), items + (size_t)k * size)) {
            PyMem_Free(items);
            return NULL;
        }
    *n = (size_t)count;
    return items;
}

static bool read_text(PyObject *item, void *to) {
    return PyArg_Parse(item, "s", (const char **)to) != 0;
}

/* (name, least, most, typical) */
static bool read_shape(PyObject *item, void *to) {
    tn_shape_override *o = to;
    PyObject *lo, *hi, *typical;
    uint32_t rank;
    return PyArg_ParseTuple(item, "sOOO", &o->input, &lo, &hi, &typical) && py_read_sizes(lo, &o->rank, o->dims) &&
           py_read_sizes(hi, &rank, o->most) && py_read_sizes(typical, &rank, o->typical);
}

/* (name, dtype, dims, address) */
static bool read_constant(PyObject *item, void *to) {
    tn_const_input *o = to;
    int dtype;
    PyObject *dims;
    unsigned long long address;
    if (!PyArg_ParseTuple(item, "siOK", &o->input, &dtype, &dims, &address)) return false;
    o->dtype = (tn_dtype)dtype;
    o->data = (const void *)(uintptr_t)address;
    return py_read_sizes(dims, &o->rank, o->dims);
}

static bool read_limit(PyObject *item, void *to) {
    tn_length_limit *o = to;
    long long most;
    const bool ok = PyArg_ParseTuple(item, "sL", &o->output, &most);
    if (ok) o->most = most;
    return ok;
}

static bool read_sequence(PyObject *item, void *to) {
    tn_sequence_input *o = to;
    long long length;
    const bool ok = PyArg_ParseTuple(item, "sL", &o->input, &length);
    if (ok) o->length = length;
    return ok;
}

static bool read_plugins(job *j, PyObject *list, tn_status *s) {
    size_t n;
    const char **paths = read_list(list, sizeof *paths, read_text, &n);
    if (!paths) return false;
    if (n && !(j->plugins = tn_plugins_new(&j->env.env))) *s = TN_E_MEMORY;
    for (size_t k = 0; k < n && *s == TN_OK; k++) *s = tn_plugins_load(j->plugins, paths[k]);
    PyMem_Free(paths);
    j->import.plugins = j->plugins;
    return true;
}

/* What follows runs without the GIL: strings and bytes are held by the arguments. */

static tn_graph *import_model(job *j, tn_status *s) {
    return j->path ? tn_import_file(j->used, j->path, &j->import, s)
                   : tn_import_onnx_memory(j->used, j->model, (size_t)j->size, j->base_dir, &j->import, s);
}

static tn_status make_bytes(job *j, void **data, size_t *bytes) {
    tn_status s = TN_OK;
    tn_graph *g = import_model(j, &s);
    if (g) s = tn_compile_memory(g, &j->compile, data, bytes);
    tn_graph_free(g);
    return s;
}

static tn_status make_file(void *user, const char *path) {
    job *j = user;
    tn_status s = TN_OK;
    tn_graph *g = import_model(j, &s);
    if (g) s = tn_compile(g, &j->compile, path);
    tn_graph_free(g);
    return s;
}

/* key says all that the plan depends on but the GPU, which is added. */
static tn_plan *find_or_make(const tn_env *env, void *user, const char *key, tn_status *s) {
    job *j = user;
    const tn_plan_cache cache = {.dir = j->compile.cache_dir};
    const bool of_gpu = !j->compile.no_gpu && !j->compile.n_targets;
    char gpu[256] = "";
    const size_t size = strlen(key) + sizeof gpu;
    char *whole = malloc(size);
    tn_plan *p = NULL;
    j->used = env;
    *s = whole ? TN_OK : TN_E_MEMORY;
    if (*s == TN_OK && of_gpu) *s = tn_gpu_key(env, j->compile.cuda_device, gpu, sizeof gpu);
    if (*s == TN_OK) {
        snprintf(whole, size, "%s%s", key, gpu);
        p = tn_cached_plan(env, &cache, whole, make_file, j, s);
    }
    free(whole);
    return p;
}

/* The lists of an import and of a compilation; false: raised, or *s says what. */
static bool read_lists(job *j, PyObject *const list[7], tn_status *s) {
    tn_import_options *i = &j->import;
    tn_compile_options *c = &j->compile;
    return (i->shapes = j->shapes = read_list(list[0], sizeof *j->shapes, read_shape, &i->n_shapes)) &&
           (i->constants = j->constants = read_list(list[1], sizeof *j->constants, read_constant, &i->n_constants)) &&
           (i->limits = j->limits = read_list(list[2], sizeof *j->limits, read_limit, &i->n_limits)) &&
           (i->sequences = j->sequences = read_list(list[3], sizeof *j->sequences, read_sequence, &i->n_sequences)) &&
           (c->aliases = j->aliases = read_list(list[4], sizeof *j->aliases, read_text, &c->n_aliases)) &&
           (c->targets = j->targets = read_list(list[5], sizeof *j->targets, read_text, &c->n_targets)) &&
           read_plugins(j, list[6], s);
}

static void free_job(job *j) {
    tn_plugins_free(j->plugins);
    PyMem_Free(j->shapes);
    PyMem_Free(j->constants);
    PyMem_Free(j->limits);
    PyMem_Free(j->sequences);
    PyMem_Free(j->aliases);
    PyMem_Free(j->targets);
    py_env_clear(&j->env);
}

PyObject *py_compile(PyObject *module, PyObject *args) {
    job j = {0};
    PyObject *source, *progress, *list[7];
    const char *key;
    char *model = NULL;
    int caches, precision, exact, no_gpu, sources_only;
    if (!PyArg_ParseTuple(args, "OzzO!O!O!O!O!pO!O!ipppidIIzzzOz", &source, &j.base_dir, &j.import.weights,
                          &PyList_Type, &list[0], &PyList_Type, &list[1], &PyList_Type, &list[2], &PyList_Type,
                          &list[3], &PyList_Type, &list[4], &caches, &PyList_Type, &list[5], &PyList_Type, &list[6],
                          &precision, &exact, &no_gpu, &sources_only, &j.compile.cuda_device, &j.compile.tune_seconds,
                          &j.compile.threads, &j.compile.streams, &j.compile.cache_dir, &j.compile.lockfile,
                          &j.compile.passes, &progress, &key))
        return NULL;
    if (PyBytes_Check(source) ? PyBytes_AsStringAndSize(source, &model, &j.size) < 0
                              : !PyArg_Parse(source, "s", &j.path))
        return NULL;
    j.model = model;
    j.compile.precision = (tn_precision)precision;
    j.compile.caches = caches, j.compile.exact = exact, j.compile.no_gpu = no_gpu,
    j.compile.sources_only = sources_only;
    py_env_init(&j.env, progress);
    j.used = &j.env.env;
    void *data = NULL;
    size_t bytes = 0;
    tn_status s = TN_OK;
    PyObject *plan = NULL;
    if (read_lists(&j, list, &s)) {
        if (s == TN_OK && key) {
            plan = py_plan_find(py_state_of(module), find_or_make, &j, key, progress);
        } else if (s == TN_OK) {
            Py_BEGIN_ALLOW_THREADS;
            s = make_bytes(&j, &data, &bytes);
            Py_END_ALLOW_THREADS;
            if (s == TN_OK) plan = py_plan_new(py_state_of(module), NULL, data, bytes);
        }
        plan = py_env_done(&j.env, s, plan);
    }
    free_job(&j);
    return plan;
}
