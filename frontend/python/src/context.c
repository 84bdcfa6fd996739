/* context.c: a context of a plan on a device.  Addresses come from Python, which keeps what is there alive. */
#include "module.h"

typedef struct py_context {
    PyObject_HEAD py_plan *plan;
    tn_context *ctx;
    bool busy;
} py_context;

PyObject *py_context_new(PyObject *module, PyObject *args) {
    py_state *state = py_state_of(module);
    PyObject *plan;
    int device, ordinal, cuda_graph;
    if (!PyArg_ParseTuple(args, "Oiip", &plan, &device, &ordinal, &cuda_graph)) return NULL;
    if ((PyObject *)Py_TYPE(plan) != state->plan_type) return PyErr_SetString(PyExc_TypeError, "this is no plan"), NULL;
    py_context *c = PyObject_New(py_context, (PyTypeObject *)state->context_type);
    if (!c) return NULL;
    Py_INCREF(plan);
    c->plan = (py_plan *)plan;
    c->ctx = NULL;
    c->busy = false;
    tn_status s = TN_OK;
    const tn_context_options o = {
        .device = (tn_device)device, .cuda_device = ordinal, .no_cuda_graph = !cuda_graph, .host = tn_host_devices()};
    Py_BEGIN_ALLOW_THREADS;
    c->ctx = tn_context_new(c->plan->plan, &o, &s);
    Py_END_ALLOW_THREADS;
    PyObject *r = py_env_done(&c->plan->env, s, c->ctx ? (PyObject *)c : NULL);
    if (!r && !c->ctx) Py_DECREF(c);
    return r;
}

static void dealloc(PyObject *self) {
    py_context *c = (py_context *)self;
    PyTypeObject *type = Py_TYPE(self);
    Py_BEGIN_ALLOW_THREADS;
    tn_context_free(c->ctx);
    Py_END_ALLOW_THREADS;
    Py_DECREF(c->plan);
    PyObject_Free(self);
    Py_DECREF(type);
}

/* A context is one thread's at a time. */
static py_context *enter(PyObject *self) {
    py_context *c = (py_context *)self;
    if (c->busy) return PyErr_SetString(PyExc_RuntimeError, "another thread is using this context"), NULL;
    c->busy = true;
    return c;
}

static PyObject *leave(py_context *c, tn_status s, PyObject *result) {
    c->busy = false;
    return py_env_done(&c->plan->env, s, result);
}

static PyObject *nothing(void) {
    Py_INCREF(Py_None);
    return Py_None;
}

static PyObject *set_shape(PyObject *self, PyObject *args) {
    Py_ssize_t input;
    PyObject *sizes;
    uint32_t rank;
    int64_t dims[TN_MAX_RANK];
    if (!PyArg_ParseTuple(args, "nO", &input, &sizes) || !py_read_sizes(sizes, &rank, dims)) return NULL;
    py_context *c = enter(self);
    return c ? leave(c, tn_context_set_shape(c->ctx, (size_t)input, rank, dims), nothing()) : NULL;
}

typedef tn_status shape_of(tn_context *c, size_t output, uint32_t *rank, int64_t *dims);
static PyObject *shape(PyObject *self, PyObject *args, shape_of *of) {
    Py_ssize_t output;
    uint32_t rank;
    int64_t dims[TN_MAX_RANK];
    if (!PyArg_ParseTuple(args, "n", &output)) return NULL;
    py_context *c = enter(self);
    if (!c) return NULL;
    const tn_status s = of(c->ctx, (size_t)output, &rank, dims);
    return leave(c, s, s == TN_OK ? py_sizes(rank, dims) : NULL);
}

static PyObject *output_most(PyObject *self, PyObject *args) {
    return shape(self, args, tn_context_output_most);
}
static PyObject *output_shape(PyObject *self, PyObject *args) {
    return shape(self, args, tn_context_output_shape);
}

/* Addresses from a tuple of integers; NULL: raised.  Freed with PyMem_Free. */
static void **addresses(PyObject *tuple, size_t n) {
    if (!PyTuple_Check(tuple) || (size_t)PyTuple_Size(tuple) != n)
        return PyErr_Format(PyExc_ValueError, "a tuple of %zu addresses is wanted", n), NULL;
    void **p = PyMem_Malloc((n + 1) * sizeof *p);
    if (!p) return (void **)PyErr_NoMemory();
    for (size_t k = 0; k < n; k++) {
        p[k] = PyLong_AsVoidPtr(PyTuple_GetItem(tuple, (Py_ssize_t)k));
        if (!p[k] && PyErr_Occurred()) {
            PyMem_Free(p);
            return NULL;
        }
    }
    return p;
}

/* One inference: enqueued on a stream, or run and waited for. */
static PyObject *infer(PyObject *self, PyObject *in, PyObject *out, bool enqueue, void *stream) {
    py_context *c = (py_context *)self;
    tn_status s = TN_OK;
    void **pi = addresses(in, tn_plan_input_count(c->plan->plan));
    void **po = pi ? addresses(out, tn_plan_output_count(c->plan->plan)) : NULL;
    PyObject *r = NULL;
    if (po && enter(self)) {
        Py_BEGIN_ALLOW_THREADS;
        s = enqueue ? tn_context_enqueue(c->ctx, (const void *const *)pi, po, stream)
                    : tn_context_run(c->ctx, (const void *const *)pi, po);
        Py_END_ALLOW_THREADS;
        r = leave(c, s, nothing());
    }
    PyMem_Free(pi);
    PyMem_Free(po);
    return r;
}

static PyObject *run(PyObject *self, PyObject *args) {
    PyObject *in, *out;
    return PyArg_ParseTuple(args, "OO", &in, &out) ? infer(self, in, out, false, NULL) : NULL;
}

static PyObject *enqueue(PyObject *self, PyObject *args) {
    PyObject *in, *out;
    unsigned long long stream;
    return PyArg_ParseTuple(args, "OOK", &in, &out, &stream) ? infer(self, in, out, true, (void *)(uintptr_t)stream)
                                                             : NULL;
}

static PyObject *wait(PyObject *self, PyObject *args) {
    unsigned long long stream;
    if (!PyArg_ParseTuple(args, "K", &stream)) return NULL;
    py_context *c = enter(self);
    tn_status s;
    if (!c) return NULL;
    Py_BEGIN_ALLOW_THREADS;
    s = tn_context_hand_over(c->ctx, (void *)(uintptr_t)stream);
    Py_END_ALLOW_THREADS;
    return leave(c, s, nothing());
}

static PyObject *times(const tn_bench_result *b) {
    PyObject *list = PyList_New(0);
    for (size_t k = 0; list && k < b->kernel_count; k++) {
        PyObject *v = Py_BuildValue("(sd)", b->kernels[k].name, b->kernels[k].us);
        if (!v || PyList_Append(list, v) < 0) Py_CLEAR(list);
        Py_XDECREF(v);
    }
    return list ? Py_BuildValue("{sdsdsdsIsdsdsN}", "median_us", b->median_us, "p10_us", b->p10_us, "p90_us", b->p90_us,
                                "runs", b->runs, "first_enqueue_us", b->first_enqueue_us, "enqueue_us", b->enqueue_us,
                                "kernels", list)
                : NULL;
}

static PyObject *bench(PyObject *self, PyObject *args) {
    double seconds;
    tn_bench_result b;
    tn_status s;
    if (!PyArg_ParseTuple(args, "d", &seconds)) return NULL;
    py_context *c = enter(self);
    if (!c) return NULL;
    Py_BEGIN_ALLOW_THREADS;
    s = tn_context_bench(c->ctx, seconds, &b);
    Py_END_ALLOW_THREADS;
    return leave(c, s, s == TN_OK ? times(&b) : NULL);
}

static PyMethodDef methods[] = {
    {"set_shape", set_shape, METH_VARARGS, "set_shape(input, dims)"},
    {"output_most", output_most, METH_VARARGS, "output_most(output) -> dims: what to have room for"},
    {"output_shape", output_shape, METH_VARARGS, "output_shape(output) -> dims"},
    {"run", run, METH_VARARGS, "run(inputs, outputs): addresses of the host's memory"},
    {"enqueue", enqueue, METH_VARARGS, "enqueue(inputs, outputs, stream): addresses of the device's memory"},
    {"wait", wait, METH_VARARGS, "wait(stream): for what was enqueued there"},
    {"bench", bench, METH_VARARGS, "bench(seconds) -> dict"},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot slots[] = {
    {Py_tp_dealloc, (void *)dealloc}, {Py_tp_methods, methods}, {Py_tp_doc, "A context."}, {0, NULL}};
PyType_Spec py_context_spec = {"tenon._tenon.Context", sizeof(py_context), 0, Py_TPFLAGS_DEFAULT, slots};
