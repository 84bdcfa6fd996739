/* cublaslt.h: cuBLASLt, opened when it is first needed.  A tn_cublaslt is a table of its functions under their own
 * names; it is read-only once open and may be shared between threads. */
#ifndef TENON_RUNTIME_CUBLASLT_H
#define TENON_RUNTIME_CUBLASLT_H

#include <cublasLt.h>

#include "tenon/base.h"

typedef struct tn_cublaslt {
    const tn_env *env;
    void *lib;
    size_t version; /* 130000 for 13.0.0 */
#define LT(name, optional) __typeof__(name) *name;
#include "runtime/cuda/cublaslt_fns.def"
#undef LT
} tn_cublaslt;

/* Opens $TENON_LIBCUBLASLT if set; otherwise libcublasLt.so.13, .12 or .so by the loader's search, in lib64 and
 * lib below $CUDA_HOME, $CUDA_PATH and /usr/local/cuda.  E_NO_LIBRARY names what was looked for.  `env` must outlive
 * the table.
 */
tn_status tn_cublaslt_open(const tn_env *env, tn_cublaslt **out);
void tn_cublaslt_close(tn_cublaslt *lt); /* NULL allowed */
/* TN_OK for CUBLAS_STATUS_SUCCESS; otherwise reports E_CUDA with the call and the status' name. */
tn_status tn_cublaslt_check(const tn_env *env, const tn_cublaslt *lt, cublasStatus_t s, const char *what,
                            const char *loc);
#define TN_LT(lt, call, loc) tn_cublaslt_check((lt)->env, (lt), (lt)->call, #call, (loc))

#endif
