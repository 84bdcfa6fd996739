/* module.c: tenon._tenon, what is in it. */
#include "module.h"

PyObject *py_sizes(uint32_t rank, const int64_t *dims) {
    PyObject *t = PyTuple_New((Py_ssize_t)rank);
    for (uint32_t k = 0; t && k < rank; k++) {
        PyObject *v = PyLong_FromLongLong(dims[k]);
        if (!v || PyTuple_SetItem(t, (Py_ssize_t)k, v) < 0) Py_CLEAR(t);
    }
    return t;
}

bool py_read_sizes(PyObject *sequence, uint32_t *rank, int64_t dims[TN_MAX_RANK]) {
    const Py_ssize_t n = PySequence_Size(sequence);
    if (n < 0) return false;
    if (n > TN_MAX_RANK) return PyErr_Format(PyExc_ValueError, "more than %d axes", TN_MAX_RANK), false;
    *rank = (uint32_t)n;
    for (Py_ssize_t k = 0; k < n; k++) {
        PyObject *v = PySequence_GetItem(sequence, k);
        if (!v) return false;
        dims[k] = PyLong_AsLongLong(v);
        Py_DECREF(v);
        if (dims[k] == -1 && PyErr_Occurred()) return false;
    }
    return true;
}

/* The statuses: (name, exit code, text). */
static PyObject *statuses(void) {
    static const char *const names[] = {
#define X(name, exit_code, text) #name,
        TN_STATUSES(X)
#undef X
    };
    PyObject *t = PyTuple_New(TN_STATUS_COUNT);
    for (int s = 0; t && s < TN_STATUS_COUNT; s++) {
        PyObject *v = Py_BuildValue("(sis)", names[s], tn_status_exit_code((tn_status)s), tn_status_text((tn_status)s));
        if (!v || PyTuple_SetItem(t, s, v) < 0) Py_CLEAR(t);
    }
    return t;
}

/* The element types, by number: (name, bits). */
static PyObject *dtypes(void) {
    PyObject *t = PyTuple_New(TN_DTYPE_COUNT);
    for (int d = 0; t && d < TN_DTYPE_COUNT; d++) {
        PyObject *v = Py_BuildValue("(sI)", tn_dtype_text((tn_dtype)d), tn_dtype_bits((tn_dtype)d));
        if (!v || PyTuple_SetItem(t, d, v) < 0) Py_CLEAR(t);
    }
    return t;
}

static PyObject *load(PyObject *module, PyObject *args) {
    PyObject *source;
    const char *path;
    char *data;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(args, "O", &source)) return NULL;
    if (!PyBytes_Check(source))
        return PyArg_Parse(source, "s", &path) ? py_plan_new(py_state_of(module), path, NULL, 0) : NULL;
    if (PyBytes_AsStringAndSize(source, &data, &size) < 0) return NULL;
    void *copy = tn_alloc(NULL, (size_t)size + 1); /* aligned, and of the plan's own life */
    if (!copy) return PyErr_NoMemory();
    memcpy(copy, data, (size_t)size);
    return py_plan_new(py_state_of(module), NULL, copy, (size_t)size);
}

static PyMethodDef functions[] = {
    {"compile", py_compile, METH_VARARGS, "compile(...) -> Plan; see tenon/_compile.py"},
    {"load", load, METH_VARARGS, "load(path: str | bytes) -> Plan"},
    {"context", py_context_new, METH_VARARGS, "context(plan, device, ordinal, cuda_graph) -> Context"},
    {"dlpack_read", py_dlpack_read, METH_O,
     "dlpack_read(capsule) -> (address, shape, strides, code, bits, device type, device, holder)"},
    {NULL, NULL, 0, NULL},
};

static int traverse(PyObject *module, visitproc visit, void *arg) {
    const py_state *s = PyModule_GetState(module);
    if (!s) return 0;
    Py_VISIT(s->plan_type);
    Py_VISIT(s->context_type);
    return 0;
}

static int clear(PyObject *module) {
    py_state *s = PyModule_GetState(module);
    if (!s) return 0;
    Py_CLEAR(s->plan_type);
    Py_CLEAR(s->context_type);
    return 0;
}

py_state *py_state_of(PyObject *module) {
    return PyModule_GetState(module);
}

static PyObject *add_type(PyObject *module, const char *name, PyType_Spec *spec) {
    PyObject *type = PyType_FromSpec(spec);
    if (!type) return NULL;
    Py_INCREF(type);
    if (PyModule_AddObject(module, name, type) == 0) return type;
    Py_DECREF(type);
    Py_DECREF(type);
    return NULL;
}

static int fill(PyObject *module) {
    py_state *s = py_state_of(module);
    s->plan_type = add_type(module, "Plan", &py_plan_spec);
    if (s->plan_type) s->context_type = add_type(module, "Context", &py_context_spec);
    if (!s->context_type || PyModule_AddStringConstant(module, "version", TENON_VERSION) < 0) return -1;
    PyObject *t = statuses();
    if (!t || PyModule_AddObject(module, "statuses", t) < 0) return Py_XDECREF(t), -1;
    t = dtypes();
    if (!t || PyModule_AddObject(module, "dtypes", t) < 0) return Py_XDECREF(t), -1;
    return 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, (void *)fill}, {0, NULL}};
static struct PyModuleDef module_def = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "tenon._tenon",
    .m_size = sizeof(py_state),
    .m_methods = functions,
    .m_slots = slots,
    .m_traverse = traverse,
    .m_clear = clear,
};

PyMODINIT_FUNC PyInit__tenon(void) {
    return PyModuleDef_Init(&module_def);
}
