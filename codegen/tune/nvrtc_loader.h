/* nvrtc_loader.h: NVRTC, opened when it is first needed.  A tn_nvrtc is a table of its functions under their own names;
 * it is read-only once open and may be shared between threads (different programs may be compiled at the same time). */
#ifndef TENON_CODEGEN_NVRTC_LOADER_H
#define TENON_CODEGEN_NVRTC_LOADER_H

#include <nvrtc.h>

#include "tenon/base.h"

typedef struct tn_nvrtc {
    const tn_env *env;
    void *lib;
    int major, minor; /* 13, 0 */
#define NVRTC(name, optional) __typeof__(name) *name;
#include "codegen/tune/nvrtc_fns.def"
#undef NVRTC
} tn_nvrtc;

/* Opens $TENON_LIBNVRTC if set; otherwise libnvrtc.so.13, .12 or .so by the loader's search, in lib64 and lib below
 * $CUDA_HOME, $CUDA_PATH and /usr/local/cuda.  E_NO_COMPILER names what was looked for and how to install it.  `env`
 * must outlive the table. */
tn_status tn_nvrtc_open(const tn_env *env, tn_nvrtc **out);
void tn_nvrtc_close(tn_nvrtc *rtc); /* NULL allowed */
/* TN_OK for NVRTC_SUCCESS; otherwise reports E_COMPILE with the call and its error's text. */
tn_status tn_nvrtc_check(const tn_env *env, const tn_nvrtc *rtc, nvrtcResult r, const char *what, const char *loc);

#endif
