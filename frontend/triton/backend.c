/* backend.c: the functions that Triton calls, and errors. */
#include "frontend/triton/backend.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- errors and the log ------------------------------------------------------------------------------------------ */

triton_error *error_new(const triton_functions *f, triton_code code, const char *fmt, ...) {
    char text[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return f->ErrorNew(code, text);
}

void log_text(const triton_functions *f, triton_log_level level, const char *fmt, ...) {
    char text[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    triton_error *e = f->LogMessage(level, __FILE__, __LINE__, text);
    if (e) f->ErrorDelete(e);
}

/* What was reported last on this thread.  Instances of a model run on threads of their own and share the plan's env. */
static _Thread_local char said[1536];

void model_diag(void *user, const tn_diag *d) {
    const model *m = user;
    const char *colon = *d->loc ? ": " : "";
    if (d->severity == TN_ERROR)
        snprintf(said, sizeof said, "%s%s%s%s%s%s", d->loc, colon, d->message, *d->hint ? " (" : "", d->hint,
                 *d->hint ? ")" : "");
    else
        log_text(m->f, d->severity == TN_WARNING ? TRITON_LOG_WARN : TRITON_LOG_INFO, "tenon: %s: %s%s%s", m->name,
                 d->loc, colon, d->message);
}

static triton_code code_of(tn_status s) {
    switch (s) {
    case TN_E_ARGUMENT:
    case TN_E_TYPE: return TRITON_INVALID_ARGUMENT;
    case TN_E_IO: return TRITON_NOT_FOUND;
    case TN_E_MEMORY:
    case TN_E_NO_DEVICE: return TRITON_UNAVAILABLE;
    case TN_E_ARCH:
    case TN_E_UNSUPPORTED: return TRITON_UNSUPPORTED;
    default: return TRITON_INTERNAL;
    }
}

triton_error *error_at(const model *m, tn_status s, const char *where) {
    if (s == TN_OK) return NULL;
    triton_error *e = error_new(m->f, code_of(s), "tenon: %s: %s%s%s%s%s", m->name, where, *where ? ": " : "",
                                tn_status_text(s), *said ? ": " : "", said);
    said[0] = 0;
    return e;
}

triton_error *error_of(const model *m, tn_status s) {
    return error_at(m, s, "");
}

void error_forget(void) {
    said[0] = 0;
}

/* ---- the backend ------------------------------------------------------------------------------------------------- */

#define SHOWN __attribute__((visibility("default")))
SHOWN triton_error *TRITONBACKEND_Initialize(triton_backend *handle);
SHOWN triton_error *TRITONBACKEND_Finalize(triton_backend *handle);
SHOWN triton_error *TRITONBACKEND_GetBackendAttribute(triton_backend *handle, triton_attribute *a);
SHOWN triton_error *TRITONBACKEND_ModelInitialize(triton_model *handle);
SHOWN triton_error *TRITONBACKEND_ModelFinalize(triton_model *handle);
SHOWN triton_error *TRITONBACKEND_ModelInstanceInitialize(triton_instance *handle);
SHOWN triton_error *TRITONBACKEND_ModelInstanceFinalize(triton_instance *handle);
SHOWN triton_error *TRITONBACKEND_ModelInstanceExecute(triton_instance *handle, triton_request **requests, uint32_t n);

/* The server's --backend-config=tenon,KEY=VALUE, and what it says for all backends. */
static triton_error *read_settings(backend *b, triton_backend *handle) {
    triton_message *message;
    const char *text;
    size_t size;
    TRY(b->f.BackendConfig(handle, &message)); /* Triton's */
    TRY(b->f.MessageSerializeToJson(message, &text, &size));
    json_tokener *t = json_tokener_new();
    json_object *config = t ? json_tokener_parse_ex(t, text, (int)size) : NULL, *line = NULL;
    if (t) json_tokener_free(t);
    if (config) json_object_object_get_ex(config, "cmdline", &line);
    const char *most = config_text(line, "default-max-batch-size");
    b->default_max_batch = *most ? strtoll(most, NULL, 10) : 4;
    json_object_put(config);
    return NULL;
}

/* What a linker would keep: the same for every server in the process.  Set when the backend is initialised. */
static triton_functions triton;

triton_error *TRITONBACKEND_Initialize(triton_backend *handle) {
    triton_error *e;
    triton_functions f;
    /* A Triton that cannot even make errors cannot be told of it */
    if (!triton_load(__builtin_return_address(0), &f, &e)) return NULL;
    if (e) return e;
    triton = f;
    backend *b = tn_alloc(NULL, sizeof *b);
    if (!b) return error_new(&f, TRITON_UNAVAILABLE, "tenon: out of memory");
    b->f = f;
    pthread_mutex_init(&b->lock, NULL);
    e = read_settings(b, handle);
    if (!e) e = f.BackendSetState(handle, b);
    if (e) tn_free(NULL, b, sizeof *b);
    return e;
}

/* libtenon stays open: what it made may have threads that end later. */
triton_error *TRITONBACKEND_Finalize(triton_backend *handle) {
    void *state = NULL;
    TRY(triton.BackendState(handle, &state));
    backend *b = state;
    if (b) pthread_mutex_destroy(&b->lock);
    tn_free(NULL, b, sizeof *b);
    return NULL;
}

triton_error *TRITONBACKEND_GetBackendAttribute(triton_backend *handle, triton_attribute *a) {
    (void)handle;
    return triton.BackendAttributeSetParallelModelInstanceLoading(a, true);
}

/* ---- models and instances ---------------------------------------------------------------------------------------- */

triton_error *TRITONBACKEND_ModelInitialize(triton_model *handle) {
    triton_backend *of;
    void *state = NULL;
    model *m;
    TRY(triton.ModelBackend(handle, &of));
    TRY(triton.BackendState(of, &state));
    TRY(model_new(state, handle, &m));
    triton_error *e = triton.ModelSetState(handle, m);
    if (e) model_free(m);
    return e;
}

triton_error *TRITONBACKEND_ModelFinalize(triton_model *handle) {
    void *state = NULL;
    TRY(triton.ModelState(handle, &state));
    model_free(state);
    return NULL;
}

triton_error *TRITONBACKEND_ModelInstanceInitialize(triton_instance *handle) {
    triton_model *of;
    void *state = NULL;
    instance *i;
    TRY(triton.ModelInstanceModel(handle, &of));
    TRY(triton.ModelState(of, &state));
    TRY(instance_new(state, handle, &i));
    triton_error *e = triton.ModelInstanceSetState(handle, i);
    if (e) instance_free(i);
    return e;
}

triton_error *TRITONBACKEND_ModelInstanceFinalize(triton_instance *handle) {
    void *state = NULL;
    TRY(triton.ModelInstanceState(handle, &state));
    instance_free(state);
    return NULL;
}

triton_error *TRITONBACKEND_ModelInstanceExecute(triton_instance *handle, triton_request **requests, uint32_t n) {
    void *state = NULL;
    TRY(triton.ModelInstanceState(handle, &state));
    execute(state, requests, n);
    return NULL;
}
