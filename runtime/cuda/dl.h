/* dl.h: opens a shared library and fills a table of function pointers from it.  A table is a struct of pointers made
 * from a .def file with one row a function; the same file makes the list of names and offsets given here. */
#ifndef TENON_RUNTIME_DL_H
#define TENON_RUNTIME_DL_H

#include "tenon/base.h"

typedef struct tn_dl_symbol {
    const char *name;
    int version; /* what cuGetProcAddress is asked for; 0 for other libraries */
    bool optional;
    size_t offset; /* of the pointer in the table */
} tn_dl_symbol;

/* Opens `override` if it is set and not empty (and nothing else), otherwise the first of `names` (NULL-terminated) that
 * opens: by the loader's own search, then in lib64 and lib below $CUDA_HOME, $CUDA_PATH and /usr/local/cuda.  NULL if
 * none does; then `why` holds the loader's first message. */
void *tn_dl_open(const char *override, const char *const *names, char *why, size_t why_size);
/* Maps library `name` from the folder that `lib` lies in (or that lib's symbolic link points into), for good, so that
 * `lib` finds it under its bare name whatever the loader's search path.  False if it is not there. */
bool tn_dl_open_beside(void *lib, const char *name);
/* Fills the table by dlsym; returns the name of the first missing function that is not optional, or NULL. */
const char *tn_dl_fill(void *lib, const tn_dl_symbol *symbols, size_t n, void *table);
void tn_dl_close(void *lib); /* NULL allowed */

#endif
