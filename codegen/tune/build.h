/* build.h: variants to machine code: one translation unit, NVRTC, the cubin cache. */
#ifndef TENON_BUILD_H
#define TENON_BUILD_H

#include "codegen/tune/cache.h"
#include "codegen/codegen.h"
#include "codegen/tune/nvrtc_loader.h"

/* Starts each line that says where the following lines come from: FILE:LINE. */
#define TN_SOURCE_MARK "//// "

/* The self-contained source of a variant; *size excludes the terminating zero; freed with tn_free(env, *text, *size +
 * 1). */
tn_status tn_variant_source(const tn_env *env, const tn_variant *v, char **text, size_t *size);
/* The same of n variants with different symbols: all their kernels. */
tn_status tn_variants_source(const tn_env *env, const tn_variant *const *v, size_t n, char **text, size_t *size);

enum { TN_ADVICE = 256 };

typedef struct tn_kernel_bin {
    void *cubin;
    size_t size;
    uint32_t registers, static_smem, local_bytes, spill_bytes; /* of the kernel called as the source */
    char advice[TN_ADVICE]; /* the assembler's, on what makes the kernel slow; "" if none */
    double ms;              /* 0 on a cache hit */
    tn_status status;
    char error[512]; /* the compiler's first error when it failed */
} tn_kernel_bin;

/* Compiles a source for an arch ("sm_90a"), through the cache.  Thread-safe.  Compile errors are in out->status and
 * out->error, not reported: a candidate that fails is only disqualified. */
void tn_build_source(const tn_env *env, const tn_nvrtc *nvrtc, tn_cache *cache, const char *arch, const char *name,
                     const char *source, size_t size, tn_kernel_bin *out);
void tn_kernel_bin_free(const tn_env *env, tn_kernel_bin *b);
/* The PTX of a source, for people; freed with tn_free(env, *ptx, *size). */
tn_status tn_build_ptx(const tn_env *env, const tn_nvrtc *nvrtc, const char *arch, const char *name, const char *source,
                       char **ptx, size_t *size);

#endif
