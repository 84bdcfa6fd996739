/* module.h: the C half of `import tenon`, in terms of the public headers.  It is thin: it holds plans and contexts, turns
 * statuses and diagnostics into exceptions, and lets go of the GIL while the library works.  What arguments mean, and all that
 * concerns arrays, is in Python (the package beside), which hands over addresses that it keeps alive during the call.
 *
 * It is written for the stable ABI of Python 3.9.  Objects with the buffer protocol can be read only from that of 3.11 on, hence the
 * addresses: of NumPy arrays by __array_interface__, of all else by DLPack. */
#ifndef TENON_PYTHON_MODULE_H
#define TENON_PYTHON_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <pthread.h>

#include "tenon/compiler.h"
#include "tenon/host.h"
#include "tenon/inspect.h"

/* ---- env.c: diagnostics and progress of the library ---- */

typedef struct py_note py_note;
/* An environment for the library's calls.  Several threads may be in calls with it. */
typedef struct py_env {
    tn_env env;
    pthread_mutex_t mutex; /* of notes; no GIL is held */
    py_note *notes;
    PyObject *progress; /* a callable or NULL; what it raised; both under the GIL */
    PyObject *raised[3];
    double last_call;
} py_env;
void py_env_init(py_env *e, PyObject *progress);
void py_env_clear(py_env *e);
/* Tells Python what was noted during a call: an error is raised (and NULL returned), else warnings and notes are passed on, and
 * `result` is returned, or released where passing on raises. */
PyObject *py_env_done(py_env *e, tn_status s, PyObject *result);

/* ---- plan.c, context.c ---- */

typedef struct py_plan {
    PyObject_HEAD py_env env;
    tn_plan *plan;
    void *bytes; /* that it owns */
    size_t size;
} py_plan;
extern PyType_Spec py_plan_spec, py_context_spec;

typedef struct py_state {
    PyObject *plan_type, *context_type;
} py_state;
py_state *py_state_of(PyObject *module);

/* A plan from a file, or from bytes which it then owns (tn_alloc's; freed also on failure). */
PyObject *py_plan_new(py_state *state, const char *path, void *bytes, size_t size);
/* A plan from `find`, which is called without the GIL and with an environment that the plan keeps. */
typedef tn_plan *py_find(const tn_env *env, void *user, const char *key, tn_status *status);
PyObject *py_plan_find(py_state *state, py_find *find, void *user, const char *key, PyObject *progress);
PyObject *py_context_new(PyObject *module, PyObject *args);
PyObject *py_compile(PyObject *module, PyObject *args);

/* Sizes as a tuple, and from a sequence of at most TN_MAX_RANK (false: raised). */
PyObject *py_sizes(uint32_t rank, const int64_t *dims);
bool py_read_sizes(PyObject *sequence, uint32_t *rank, int64_t dims[TN_MAX_RANK]);

/* ---- dlpack.c ---- */
PyObject *py_dlpack_read(PyObject *module, PyObject *capsule);

#endif
