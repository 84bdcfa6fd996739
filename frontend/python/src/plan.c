/* plan.c: a loaded plan, and what it says of itself. */
#include "module.h"

static py_plan *new_plan(py_state *state, PyObject *progress) {
    py_plan *p = PyObject_New(py_plan, (PyTypeObject *)state->plan_type);
    if (!p) return NULL;
    py_env_init(&p->env, progress);
    p->plan = NULL, p->bytes = NULL, p->size = 0;
    return p;
}

/* The plan that is loaded by now, or what was wrong. */
static PyObject *finish(py_plan *p, tn_status s) {
    PyObject *r = py_env_done(&p->env, s, p->plan ? (PyObject *)p : NULL);
    if (!r && !p->plan) Py_DECREF(p);
    return r;
}

PyObject *py_plan_new(py_state *state, const char *path, void *bytes, size_t size) {
    py_plan *p = new_plan(state, Py_None);
    if (!p) {
        tn_free(NULL, bytes, size);
        return NULL;
    }
    p->bytes = bytes, p->size = size;
    tn_status s = TN_OK;
    Py_BEGIN_ALLOW_THREADS;
    p->plan = path ? tn_plan_load(&p->env.env, path, &s) : tn_plan_load_memory(&p->env.env, bytes, size, &s);
    Py_END_ALLOW_THREADS;
    return finish(p, s);
}

PyObject *py_plan_find(py_state *state, py_find *find, void *user, const char *key, PyObject *progress) {
    py_plan *p = new_plan(state, progress);
    if (!p) return NULL;
    tn_status s = TN_OK;
    Py_BEGIN_ALLOW_THREADS;
    p->plan = find(&p->env.env, user, key, &s);
    Py_END_ALLOW_THREADS;
    Py_CLEAR(p->env.progress); /* of finding it */
    return finish(p, s);
}

static void dealloc(PyObject *self) {
    py_plan *p = (py_plan *)self;
    PyTypeObject *type = Py_TYPE(self);
    Py_BEGIN_ALLOW_THREADS;
    tn_plan_free(p->plan);
    tn_free(NULL, p->bytes, p->size);
    Py_END_ALLOW_THREADS;
    py_env_clear(&p->env);
    PyObject_Free(self);
    Py_DECREF(type);
}

/* (name, dtype's number, dims with -1 where symbolic, dims as texts) */
static PyObject *describe(const tn_tensor_desc *d) {
    PyObject *dims = py_sizes(d->rank, d->dims), *texts = dims ? PyTuple_New((Py_ssize_t)d->rank) : NULL;
    for (uint32_t k = 0; texts && k < d->rank; k++) {
        PyObject *v = Py_BuildValue("s", d->dim_text[k]);
        if (!v || PyTuple_SetItem(texts, (Py_ssize_t)k, v) < 0) Py_CLEAR(texts);
    }
    PyObject *r = texts ? Py_BuildValue("(siOO)", d->name, (int)d->dtype, dims, texts) : NULL;
    Py_XDECREF(dims);
    Py_XDECREF(texts);
    return r;
}

/* Appends and releases; false: raised, and the list is gone. */
static bool append(PyObject **list, PyObject *v) {
    if (!v || !*list || PyList_Append(*list, v) < 0) Py_CLEAR(*list);
    Py_XDECREF(v);
    return *list != NULL;
}

static PyObject *inputs(PyObject *self, PyObject *none) {
    (void)none;
    const tn_plan *p = ((py_plan *)self)->plan;
    PyObject *list = PyList_New(0);
    for (size_t k = 0; k < tn_plan_input_count(p); k++)
        if (!append(&list, describe(tn_plan_input(p, k)))) return NULL;
    return list;
}

static PyObject *outputs(PyObject *self, PyObject *none) {
    (void)none;
    const tn_plan *p = ((py_plan *)self)->plan;
    PyObject *list = PyList_New(0);
    for (size_t k = 0; k < tn_plan_output_count(p); k++)
        if (!append(&list, describe(tn_plan_output(p, k)))) return NULL;
    return list;
}

/* (input, output, axis, capacity) of each output that grows in an input's memory. */
static PyObject *aliases(PyObject *self, PyObject *none) {
    (void)none;
    tn_alias a;
    PyObject *list = PyList_New(0);
    for (size_t k = 0; tn_plan_alias(((py_plan *)self)->plan, k, &a); k++)
        if (!append(&list,
                    Py_BuildValue("(nnIL)", (Py_ssize_t)a.input, (Py_ssize_t)a.output, a.axis, (long long)a.capacity)))
            return NULL;
    return list;
}

static PyObject *symbols(PyObject *self, PyObject *none) {
    (void)none;
    tn_symbol_desc s;
    PyObject *list = PyList_New(0);
    for (size_t k = 0; tn_plan_symbol(((py_plan *)self)->plan, k, &s); k++)
        if (!append(&list, Py_BuildValue("(sLLL)", s.name, (long long)s.lo, (long long)s.hi, (long long)s.typical)))
            return NULL;
    return list;
}

static PyObject *info(PyObject *self, PyObject *none) {
    (void)none;
    const tn_plan_info i = tn_plan_describe(((py_plan *)self)->plan);
    return Py_BuildValue("{sssssssssnsnsn}", "tenon_version", i.tenon_version, "model", i.model, "precision",
                         i.precision, "options", i.options, "weight_bytes", (Py_ssize_t)i.weight_bytes, "weight_count",
                         (Py_ssize_t)i.weight_count, "size", (Py_ssize_t)i.size);
}

static PyObject *archs(PyObject *self, PyObject *none) {
    (void)none;
    tn_arch_desc a;
    PyObject *list = PyList_New(0);
    for (size_t k = 0; tn_plan_arch_desc(((py_plan *)self)->plan, k, &a); k++)
        if (!append(&list, Py_BuildValue("{sssssssssssnsn}", "name", a.name, "tuned_on", a.tuned_on, "driver", a.driver,
                                         "nvrtc", a.nvrtc, "cublaslt", a.cublaslt, "steps", (Py_ssize_t)a.step_count,
                                         "kernels", (Py_ssize_t)a.kernel_count)))
            return NULL;
    return list;
}

static PyObject *step(const tn_step_desc *s) {
    PyObject *layers = PyList_New(0);
    for (size_t k = 0; k < s->layer_count; k++)
        if (!append(&layers, Py_BuildValue("s", s->layers[k]))) return NULL;
    if (!layers) return NULL;
    return Py_BuildValue(
        "{sssNsssssssOsIsIsIs(III)sdsdsdsdsdsnsn}", "name", s->name, "layers", layers, "template", s->template_name,
        "knobs", s->knobs, "spec", s->spec, "is_kernel", s->is_kernel ? Py_True : Py_False, "registers", s->registers,
        "smem", s->smem, "local_bytes", s->local_bytes, "block", s->block[0], s->block[1], s->block[2], "us", s->us,
        "flops", s->flops, "bytes", s->bytes, "max_abs_error", s->max_abs_error, "max_rel_error", s->max_rel_error,
        "alternatives", (Py_ssize_t)s->alternative_count, "candidates", (Py_ssize_t)s->candidate_count);
}

static PyObject *steps(PyObject *self, PyObject *args) {
    Py_ssize_t arch;
    tn_step_desc s;
    if (!PyArg_ParseTuple(args, "n", &arch)) return NULL;
    PyObject *list = PyList_New(0);
    for (size_t k = 0; tn_plan_step(((py_plan *)self)->plan, (size_t)arch, k, &s); k++)
        if (!append(&list, step(&s))) return NULL;
    return list;
}

static PyObject *candidates(PyObject *self, PyObject *args) {
    Py_ssize_t arch, index;
    tn_candidate_desc c;
    if (!PyArg_ParseTuple(args, "nn", &arch, &index)) return NULL;
    PyObject *list = PyList_New(0);
    for (size_t k = 0; tn_plan_candidate(((py_plan *)self)->plan, (size_t)arch, (size_t)index, k, &c); k++)
        if (!append(&list, Py_BuildValue("{sssssdsd}", "text", c.text, "note", c.note, "us", c.us, "predicted_us",
                                         c.predicted_us)))
            return NULL;
    return list;
}

static PyObject *source(PyObject *self, PyObject *args) {
    py_plan *p = (py_plan *)self;
    Py_ssize_t arch, index;
    const char *text;
    size_t size;
    if (!PyArg_ParseTuple(args, "nn", &arch, &index)) return NULL;
    const tn_status s = tn_plan_source(p->plan, (size_t)arch, (size_t)index, &text, &size);
    return py_env_done(&p->env, s, s == TN_OK ? PyUnicode_FromStringAndSize(text, (Py_ssize_t)size) : NULL);
}

static PyObject *data(PyObject *self, PyObject *none) {
    enum { READ = 0x100 }; /* PyBUF_READ, which headers of the stable ABI have from 3.11 on */
    (void)none;
    const tn_plan_info i = tn_plan_describe(((py_plan *)self)->plan);
    return PyMemoryView_FromMemory((char *)(uintptr_t)i.data, (Py_ssize_t)i.size, READ);
}

static PyMethodDef methods[] = {
    {"inputs", inputs, METH_NOARGS, "(name, dtype, dims, texts) of each"},
    {"outputs", outputs, METH_NOARGS, "(name, dtype, dims, texts) of each"},
    {"aliases", aliases, METH_NOARGS, "(input, output, axis, capacity) of each output that grows in an input's memory"},
    {"symbols", symbols, METH_NOARGS, "(name, lo, hi, typical) of each"},
    {"info", info, METH_NOARGS, "what tn_plan_info says"},
    {"archs", archs, METH_NOARGS, "what tn_arch_desc says, of each"},
    {"steps", steps, METH_VARARGS, "steps(arch): what tn_step_desc says, of each"},
    {"candidates", candidates, METH_VARARGS, "candidates(arch, step)"},
    {"source", source, METH_VARARGS, "source(arch, step) -> str"},
    {"data", data, METH_NOARGS, "the plan's bytes: a view that the plan must outlive"},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot slots[] = {
    {Py_tp_dealloc, (void *)dealloc}, {Py_tp_methods, methods}, {Py_tp_doc, "A loaded plan."}, {0, NULL}};
PyType_Spec py_plan_spec = {"tenon._tenon.Plan", sizeof(py_plan), 0, Py_TPFLAGS_DEFAULT, slots};
