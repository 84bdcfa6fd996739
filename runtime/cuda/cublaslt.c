/* cublaslt.c: see cublaslt.h. */
#include "runtime/cuda/cublaslt.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/cuda/dl.h"

static const tn_dl_symbol symbols[] = {
#define LT(name, optional) {#name, 0, optional, offsetof(tn_cublaslt, name)},
#include "runtime/cuda/cublaslt_fns.def"
#undef LT
};

static tn_status load(const tn_env *env, tn_cublaslt *lt) {
    static const char *const names[] = {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so", NULL};
    static const char *const hint = "install cuBLAS (12 or 13), or set CUDA_HOME or TENON_LIBCUBLASLT to where it is";
    char why[512];
    lt->lib = tn_dl_open(getenv("TENON_LIBCUBLASLT"), names, why, sizeof why);
    if (!lt->lib) return tn_fail(env, TN_E_NO_LIBRARY, "", hint, "cuBLASLt cannot be opened: %s", why);
    const char *missing = tn_dl_fill(lt->lib, symbols, sizeof symbols / sizeof *symbols, lt);
    if (missing)
        return tn_fail(env, TN_E_NO_LIBRARY, "", hint, "the cuBLASLt that was found is too old: it has no %s", missing);
    lt->version = lt->cublasLtGetVersion();
    return TN_OK;
}

tn_status tn_cublaslt_open(const tn_env *env, tn_cublaslt **out) {
    *out = NULL;
    tn_cublaslt *lt = tn_alloc(env, sizeof *lt);
    if (!lt) return tn_fail(env, TN_E_MEMORY, "", "", "out of memory");
    lt->env = env;
    tn_status st = load(env, lt);
    if (st != TN_OK) {
        tn_cublaslt_close(lt);
        return st;
    }
    *out = lt;
    return TN_OK;
}

void tn_cublaslt_close(tn_cublaslt *lt) {
    if (!lt) return;
    tn_dl_close(lt->lib);
    tn_free(lt->env, lt, sizeof *lt);
}

tn_status tn_cublaslt_check(const tn_env *env, const tn_cublaslt *lt, cublasStatus_t s, const char *what,
                            const char *loc) {
    if (s == CUBLAS_STATUS_SUCCESS) return TN_OK;
    const char *name = lt->cublasLtGetStatusName ? lt->cublasLtGetStatusName(s) : "status";
    return tn_fail(env, s == CUBLAS_STATUS_ALLOC_FAILED ? TN_E_MEMORY : TN_E_CUDA, loc, "", "%.*s: %s (%d)",
                   (int)strcspn(what, "("), what, name, (int)s);
}
