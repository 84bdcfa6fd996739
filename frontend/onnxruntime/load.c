/* load.c: the slots of ONNX Runtime's tables, checked against the version that it says it is. */
#include "frontend/onnxruntime/abi.h"

#include <stdio.h>
#include <string.h>

typedef void (*function)(void);

/* A table of functions is read as one of pointers: function pointers are of one size here (POSIX). */
static function at(const void *table, size_t slot) {
    function f;
    memcpy(&f, (const char *)table + slot * sizeof f, sizeof f);
    return f;
}

static ort_status *refuse(const ort_base *base, const char *version) {
    char message[160];
    ort_status *(*create)(ort_error, const char *);
    const void *api = base->GetApi(1); /* whose first function has always been this one */
    if (!api) return NULL;
    function f = at(api, 0);
    memcpy(&create, &f, sizeof create);
    snprintf(message, sizeof message, "Tenon's provider needs ONNX Runtime 1.%d or later; this is %s", ORT_VERSION,
             version);
    return create(ORT_NOT_IMPLEMENTED, message);
}

ort_status *ort_load(const ort_base *base, ort_functions *f) {
    int major = 0, minor = 0;
    const char *version = base->GetVersionString();
    const bool reads = version && sscanf(version, "%d.%d", &major, &minor) == 2;
    if (!reads || major != 1 || minor < ORT_VERSION) return refuse(base, version ? version : "of no version");
    const void *api = base->GetApi(ORT_VERSION), *ep, *editor;
    function get_ep = at(api, 317), get_editor = at(api, 291);
    const void *(*get)(void);
    memcpy(&get, &get_ep, sizeof get);
    ep = get();
    memcpy(&get, &get_editor, sizeof get);
    editor = get();
    if (!ep || !editor) return refuse(base, "a build without execution providers");
    function slot;
    *f = (ort_functions){0};
#define SLOT(table, number, name, result, args) slot = at(table, number), memcpy(&f->name, &slot, sizeof slot);
#define SLOT24(table, number, name, result, args)                                                                      \
    if (minor >= 24) slot = at(table, number), memcpy(&f->name, &slot, sizeof slot);
#include "frontend/onnxruntime/slots.def"
#undef SLOT
#undef SLOT24
    return NULL;
}
