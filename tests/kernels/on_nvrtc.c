/* on_nvrtc.c: variants through NVRTC, for an architecture that need not be there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/kernels/matrix.h"

bool nvrtc_build(const tn_nvrtc *rtc, const tn_arch *arch, const tn_variant *v, tn_kernel_bin *bin) {
    char *text;
    size_t size;
    tn_cache *none = tn_cache_open(matrix_env, "");
    if (!none || tn_variant_source(matrix_env, v, &text, &size) != TN_OK) die("%s has no source", v->text);
    tn_build_source(matrix_env, rtc, none, arch->name, v->symbol, text, size, bin);
    tn_free(matrix_env, text, size + 1);
    tn_cache_close(none);
    return bin->status == TN_OK && bin->size > 0;
}

bool nvrtc_accepts(const tn_nvrtc *rtc, const tn_arch *arch, tn_variant *const *v, size_t n) {
    char arch_option[64];
    const char *options[] = {arch_option, "--std=c++17", "-minimal", "--no-cache", "--Ofast-compile=mid"};
    const int n_options = rtc->major >= 13 ? 5 : 3;
    size_t size, cubin;
    char *text = batch_source(v, n, &size);
    nvrtcProgram program;
    snprintf(arch_option, sizeof arch_option, "--gpu-architecture=%s", arch->name);
    if (rtc->nvrtcCreateProgram(&program, text, "batch.cu", 0, NULL, NULL) != NVRTC_SUCCESS) die("nvrtcCreateProgram");
    const bool ok = rtc->nvrtcCompileProgram(program, n_options, options) == NVRTC_SUCCESS &&
                    rtc->nvrtcGetCUBINSize(program, &cubin) == NVRTC_SUCCESS && cubin > 0;
    rtc->nvrtcDestroyProgram(&program);
    tn_free(matrix_env, text, size + 1);
    return ok;
}
