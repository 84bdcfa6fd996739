/* load.c: Triton's functions, found in the server that loads the backend, and its version.
 *
 * The server may be the program, or a library of any name that somebody (an application that serves in its own process)
 * opened for itself alone: so what is not global is looked for in the object whose code calls us. */
#include "frontend/triton/abi.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

typedef struct object {
    void *handle, *opened;
} object;

static object object_of(const void *caller) {
    Dl_info info;
    object o = {RTLD_DEFAULT, NULL};
    if (dlsym(o.handle, "TRITONSERVER_ErrorNew") || !dladdr(caller, &info) || !info.dli_fname) return o;
    o.opened = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    if (o.opened) o.handle = o.opened;
    return o;
}

bool triton_load(const void *caller, triton_functions *f, triton_error **error) {
    const object from = object_of(caller);
    const char *missing = NULL;
    uint32_t major = 0, minor = 0;
    char text[256];
    *error = NULL;
    void *found;
#define CALL(group, name, result, args)                                                                                \
    found = dlsym(from.handle, "TRITON" #group "_" #name);                                                             \
    memcpy(&f->name, &found, sizeof found);                                                                            \
    if (!found && !missing) missing = "TRITON" #group "_" #name;
#include "frontend/triton/calls.def"
#undef CALL
    if (from.opened) dlclose(from.opened); /* it stays: it calls us */
    if (!f->ErrorNew) return false;
    if (f->ApiVersion) *error = f->ApiVersion(&major, &minor);
    if (*error || (major == TRITON_MAJOR && !missing)) return true;
    snprintf(text, sizeof text,
             "Tenon's backend needs version %d of Triton's backend interface; this Triton has %u.%u%s%s", TRITON_MAJOR,
             major, minor, missing ? ", which lacks " : "", missing ? missing : "");
    *error = f->ErrorNew(TRITON_UNSUPPORTED, text);
    return true;
}
