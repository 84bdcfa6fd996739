/* dlpack.c: what a DLPack capsule describes.
 *
 * The structures are DLPack's ABI (https://dmlc.github.io/dlpack/latest/c_api.html), version 1 and the unversioned one before
 * it.  A capsule is consumed as that page says: it is renamed, and whoever holds the returned holder has the tensor, which is given
 * back when the holder is gone. */
#include <stdlib.h>

#include "module.h"

typedef struct dl_tensor {
    void *data;
    int32_t device_type, device_id;
    int32_t ndim;
    uint8_t code, bits;
    uint16_t lanes;
    int64_t *shape, *strides; /* strides, in elements, may be NULL: packed */
    uint64_t byte_offset;
} dl_tensor;

typedef struct dl_managed {
    dl_tensor tensor;
    void *manager;
    void (*deleter)(struct dl_managed *);
} dl_managed;

typedef struct dl_versioned {
    uint32_t major, minor;
    void *manager;
    void (*deleter)(struct dl_versioned *);
    uint64_t flags;
    dl_tensor tensor;
} dl_versioned;

static void give_back(PyObject *holder) {
    dl_managed *m = PyCapsule_GetPointer(holder, "tenon_held");
    if (m && m->deleter) m->deleter(m);
}

static void give_back_versioned(PyObject *holder) {
    dl_versioned *m = PyCapsule_GetPointer(holder, "tenon_held_versioned");
    if (m && m->deleter) m->deleter(m);
}

static PyObject *describe(const dl_tensor *t, PyObject *holder) {
    if (t->lanes != 1)
        return PyErr_SetString(PyExc_ValueError, "tensors of vectors (DLPack's lanes) are not taken"), NULL;
    if (t->ndim < 0 || t->ndim > TN_MAX_RANK)
        return PyErr_Format(PyExc_ValueError, "a tensor of %d axes; at most %d", (int)t->ndim, TN_MAX_RANK);
    PyObject *shape = py_sizes((uint32_t)t->ndim, t->shape), *strides = Py_None;
    if (t->strides)
        strides = py_sizes((uint32_t)t->ndim, t->strides);
    else
        Py_INCREF(strides);
    PyObject *r = NULL;
    if (shape && strides)
        r = Py_BuildValue("(KOOiiiiO)", (unsigned long long)((uintptr_t)t->data + t->byte_offset), shape, strides,
                          (int)t->code, (int)t->bits, (int)t->device_type, (int)t->device_id, holder);
    Py_XDECREF(shape);
    Py_XDECREF(strides);
    return r;
}

PyObject *py_dlpack_read(PyObject *module, PyObject *capsule) {
    (void)module;
    const dl_tensor *t = NULL;
    PyObject *holder = NULL;
    if (PyCapsule_IsValid(capsule, "dltensor_versioned")) {
        dl_versioned *m = PyCapsule_GetPointer(capsule, "dltensor_versioned");
        if (m->major != 1)
            return PyErr_Format(PyExc_ValueError, "DLPack %u.%u is not known; 1.x is", m->major, m->minor);
        t = &m->tensor;
        holder = PyCapsule_New(m, "tenon_held_versioned", give_back_versioned);
        if (holder && PyCapsule_SetName(capsule, "used_dltensor_versioned") < 0) return NULL;
    } else if (PyCapsule_IsValid(capsule, "dltensor")) {
        dl_managed *m = PyCapsule_GetPointer(capsule, "dltensor");
        t = &m->tensor;
        holder = PyCapsule_New(m, "tenon_held", give_back);
        if (holder && PyCapsule_SetName(capsule, "used_dltensor") < 0) return NULL;
    } else {
        return PyErr_SetString(PyExc_TypeError, "__dlpack__ returned no capsule of a tensor that is unused"), NULL;
    }
    PyObject *r = holder ? describe(t, holder) : NULL;
    Py_XDECREF(holder);
    return r;
}
