/* env.c: what the library says while it works, for Python.
 *
 * Diagnostics come from any thread, without the GIL: they are noted and told when the call is over.  A call takes the notes of
 * its own thread and those of the library's threads, which stand behind no call of theirs; so that threads which run
 * one plan hear of their own errors.  Progress comes on the thread that called: it takes the GIL, looks for Ctrl-C, and asks the
 * callback, whose exception ends the work. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "module.h"

struct py_note {
    py_note *next;
    tn_severity severity;
    tn_status code;
    pthread_t thread;
    char *loc, *message, *hint;
};

static void free_note(py_note *n) {
    if (!n) return;
    free(n->loc), free(n->message), free(n->hint), free(n);
}

static void on_diag(void *user, const tn_diag *d) {
    py_env *e = user;
    py_note *n = calloc(1, sizeof *n);
    if (!n) return;
    n->severity = d->severity, n->code = d->code, n->thread = pthread_self();
    n->loc = strdup(d->loc), n->message = strdup(d->message), n->hint = strdup(d->hint);
    if (!n->loc || !n->message || !n->hint) {
        free_note(n);
        return;
    }
    pthread_mutex_lock(&e->mutex);
    py_note **at = &e->notes;
    while (*at) at = &(*at)->next;
    *at = n;
    pthread_mutex_unlock(&e->mutex);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* False, with the exception kept, where the callback raises or says False. */
static bool ask(py_env *e, const tn_progress *p) {
    PyObject *answer = PyErr_CheckSignals() ? NULL : Py_None;
    Py_XINCREF(answer);
    if (answer && e->progress) {
        Py_DECREF(answer);
        answer = PyObject_CallFunction(e->progress, "ssKKdd", p->phase, p->item, (unsigned long long)p->done,
                                       (unsigned long long)p->total, p->elapsed_s, p->eta_s);
    }
    const bool go_on = answer && answer != Py_False;
    if (!answer && !e->raised[0])
        PyErr_Fetch(&e->raised[0], &e->raised[1], &e->raised[2]);
    else if (!answer)
        PyErr_Clear();
    Py_XDECREF(answer);
    return go_on;
}

static bool on_progress(void *user, const tn_progress *p) {
    enum { A_SECOND = 20 }; /* calls, at most, but for the last of a phase */
    py_env *e = user;
    const PyGILState_STATE gil = PyGILState_Ensure();
    const double t = now();
    bool go_on = true;
    if (t - e->last_call > 1.0 / A_SECOND || (p->total && p->done == p->total)) {
        e->last_call = t;
        go_on = ask(e, p);
    }
    PyGILState_Release(gil);
    return go_on;
}

void py_env_init(py_env *e, PyObject *progress) {
    memset(e, 0, sizeof *e);
    pthread_mutex_init(&e->mutex, NULL);
    e->env = (tn_env){.diag = on_diag, .diag_user = e, .progress = on_progress, .progress_user = e};
    e->progress = progress == Py_None ? NULL : progress;
    Py_XINCREF(e->progress);
}

void py_env_clear(py_env *e) {
    for (py_note *n = e->notes, *next; n; n = next) next = n->next, free_note(n);
    for (int k = 0; k < 3; k++) Py_CLEAR(e->raised[k]);
    Py_CLEAR(e->progress);
    pthread_mutex_destroy(&e->mutex);
}

/* The notes of this call, taken out. */
static py_note *take(py_env *e, bool errors) {
    py_note *mine = NULL, **end = &mine;
    pthread_mutex_lock(&e->mutex);
    for (py_note **at = &e->notes; *at;) {
        py_note *n = *at;
        /* another thread's error belongs to the call that failed there, unless this one did */
        if (!pthread_equal(n->thread, pthread_self()) && n->severity == TN_ERROR && !errors) {
            at = &n->next;
            continue;
        }
        *at = n->next;
        n->next = NULL;
        *end = n;
        end = &n->next;
    }
    pthread_mutex_unlock(&e->mutex);
    return mine;
}

static PyObject *as_list(py_note *notes) {
    PyObject *list = PyList_New(0);
    for (py_note *n = notes; list && n; n = n->next) {
        PyObject *t = Py_BuildValue("(iisss)", (int)n->severity, (int)n->code, n->loc, n->message, n->hint);
        if (!t || PyList_Append(list, t) < 0) Py_CLEAR(list);
        Py_XDECREF(t);
    }
    return list;
}

/* tenon._errors.FUNCTION(status, notes): what it returns. */
static PyObject *tell(const char *function, tn_status s, py_note *notes) {
    PyObject *list = as_list(notes), *module = list ? PyImport_ImportModule("tenon._errors") : NULL;
    PyObject *result = module ? PyObject_CallMethod(module, function, "iO", (int)s, list) : NULL;
    Py_XDECREF(module);
    Py_XDECREF(list);
    return result;
}

PyObject *py_env_done(py_env *e, tn_status s, PyObject *result) {
    if (s == TN_OK && !result) return NULL; /* raised by Python */
    py_note *notes = take(e, s != TN_OK);
    PyObject *told = NULL;
    if (s != TN_OK && e->raised[0]) {
        PyErr_Restore(e->raised[0], e->raised[1], e->raised[2]);
        memset(e->raised, 0, sizeof e->raised);
    } else {
        told = notes || s != TN_OK ? tell(s == TN_OK ? "tell" : "make", s, notes) : Py_None;
        if (told == Py_None) Py_INCREF(told);
        if (told && s != TN_OK) PyErr_SetObject((PyObject *)Py_TYPE(told), told);
    }
    for (py_note *next; notes; notes = next) next = notes->next, free_note(notes);
    if (s != TN_OK || !told) Py_CLEAR(result);
    Py_XDECREF(told);
    return result;
}
