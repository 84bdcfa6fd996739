/* nvrtc_loader.c: see nvrtc_loader.h. */
#include "codegen/tune/nvrtc_loader.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/cuda/dl.h"

static const tn_dl_symbol symbols[] = {
#define NVRTC(name, optional) {#name, 0, optional, offsetof(tn_nvrtc, name)},
#include "codegen/tune/nvrtc_fns.def"
#undef NVRTC
};

/* NVRTC opens its builtins by their bare name, which the loader does not look for in NVRTC's own folder.  Where they
 * are not beside it, they may still be in the loader's search path. */
static void open_builtins(const tn_nvrtc *rtc) {
    char name[64];
    snprintf(name, sizeof name, "libnvrtc-builtins.so.%d.%d", rtc->major, rtc->minor);
    tn_dl_open_beside(rtc->lib, name);
}

static tn_status load(const tn_env *env, tn_nvrtc *rtc) {
    static const char *const names[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so", NULL};
    static const char *const hint =
        "install the CUDA toolkit's NVRTC (12 or 13), or set CUDA_HOME or TENON_LIBNVRTC to where it is";
    char why[512];
    rtc->lib = tn_dl_open(getenv("TENON_LIBNVRTC"), names, why, sizeof why);
    if (!rtc->lib) return tn_fail(env, TN_E_NO_COMPILER, "", hint, "NVRTC cannot be opened: %s", why);
    const char *missing = tn_dl_fill(rtc->lib, symbols, sizeof symbols / sizeof *symbols, rtc);
    if (missing)
        return tn_fail(env, TN_E_NO_COMPILER, "", hint, "the NVRTC that was found is too old: it has no %s", missing);
    tn_status st = tn_nvrtc_check(env, rtc, rtc->nvrtcVersion(&rtc->major, &rtc->minor), "nvrtcVersion", "");
    if (st == TN_OK) open_builtins(rtc);
    return st;
}

/* NVRTC 13.0 reads beyond a buffer where the working directory has been removed. */
static bool is_nowhere(void) {
    char dir[4096];
    return !getcwd(dir, sizeof dir) && errno == ENOENT;
}

tn_status tn_nvrtc_open(const tn_env *env, tn_nvrtc **out) {
    *out = NULL;
    if (is_nowhere())
        return tn_fail(env, TN_E_IO, "", "change to a folder that exists",
                       "NVRTC needs a working directory, and this one has been removed");
    tn_nvrtc *rtc = tn_alloc(env, sizeof *rtc);
    if (!rtc) return tn_fail(env, TN_E_MEMORY, "", "", "out of memory");
    rtc->env = env;
    tn_status st = load(env, rtc);
    if (st != TN_OK) {
        tn_nvrtc_close(rtc);
        return st;
    }
    *out = rtc;
    return TN_OK;
}

void tn_nvrtc_close(tn_nvrtc *rtc) {
    if (!rtc) return;
    tn_dl_close(rtc->lib);
    tn_free(rtc->env, rtc, sizeof *rtc);
}

tn_status tn_nvrtc_check(const tn_env *env, const tn_nvrtc *rtc, nvrtcResult r, const char *what, const char *loc) {
    if (r == NVRTC_SUCCESS) return TN_OK;
    tn_status code = r == NVRTC_ERROR_OUT_OF_MEMORY ? TN_E_MEMORY : TN_E_COMPILE;
    return tn_fail(env, code, loc, "", "%.*s: %s", (int)strcspn(what, "("), what, rtc->nvrtcGetErrorString(r));
}
