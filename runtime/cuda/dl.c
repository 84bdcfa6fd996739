/* dl.c: see dl.h. */
#include "runtime/cuda/dl.h"

#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Libraries stay mapped once opened: those of CUDA keep threads and thread-local data that do not survive unloading. */
static void *open_one(const char *path, char *why, size_t why_size) {
    void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    const char *error = lib ? NULL : dlerror();
    if (error && !why[0]) snprintf(why, why_size, "%s", error);
    return lib;
}

static void *open_in(const char *dir, const char *sub, const char *name, char *why, size_t why_size) {
    char path[PATH_MAX];
    if (!dir || !dir[0]) return NULL;
    int n = snprintf(path, sizeof path, "%s%s/%s", dir, sub, name);
    return n > 0 && (size_t)n < sizeof path ? open_one(path, why, why_size) : NULL;
}

/* A toolkit keeps its libraries in lib64, NVIDIA's wheels in lib. */
static void *open_below(const char *home, const char *name, char *why, size_t why_size) {
    void *lib = open_in(home, "/lib64", name, why, why_size);
    return lib ? lib : open_in(home, "/lib", name, why, why_size);
}

void *tn_dl_open(const char *override, const char *const *names, char *why, size_t why_size) {
    why[0] = '\0';
    if (override && override[0]) return open_one(override, why, why_size);
    for (const char *const *name = names; *name; name++) {
        void *lib = open_one(*name, why, why_size);
        if (!lib) lib = open_below(getenv("CUDA_HOME"), *name, why, why_size);
        if (!lib) lib = open_below(getenv("CUDA_PATH"), *name, why, why_size);
        if (!lib) lib = open_below("/usr/local/cuda", *name, why, why_size);
        if (lib) return lib;
    }
    return NULL;
}

static bool open_in_folder_of(const char *file, const char *name) {
    char dir[PATH_MAX], why[1] = "";
    const char *slash = strrchr(file, '/');
    if (!slash || (size_t)(slash - file) >= sizeof dir) return false;
    memcpy(dir, file, (size_t)(slash - file));
    dir[slash - file] = '\0';
    void *lib = open_in(dir, "", name, why, sizeof why);
    if (lib) dlclose(lib); /* it stays mapped */
    return lib;
}

bool tn_dl_open_beside(void *lib, const char *name) {
    const struct link_map *map = NULL;
    char real[PATH_MAX];
    if (dlinfo(lib, RTLD_DI_LINKMAP, &map) || !map) return false;
    return open_in_folder_of(map->l_name, name) || (realpath(map->l_name, real) && open_in_folder_of(real, name));
}

const char *tn_dl_fill(void *lib, const tn_dl_symbol *symbols, size_t n, void *table) {
    for (size_t k = 0; k < n; k++) {
        void *fn = dlsym(lib, symbols[k].name);
        if (!fn && !symbols[k].optional) return symbols[k].name;
        memcpy((char *)table + symbols[k].offset, &fn, sizeof fn);
    }
    return NULL;
}

void tn_dl_close(void *lib) {
    if (lib) dlclose(lib);
}
