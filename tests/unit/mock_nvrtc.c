/* mock_nvrtc.c: see mock_nvrtc.h.  Loaded through TENON_LIBNVRTC; any thread may compile. */
#include <nvrtc.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/mock_nvrtc.h"

#define API __attribute__((visibility("default")))

static mock_nvrtc m = {.major = 13, .minor = 0};

API mock_nvrtc *mock_nvrtc_get(void);
mock_nvrtc *mock_nvrtc_get(void) {
    return &m;
}

struct _nvrtcProgram {
    bool broken, slow;
    char name[128], log[1000];
};
static const char machine_code[64] = "machine code"; /* as long as the least that is loaded */

API nvrtcResult nvrtcVersion(int *major, int *minor) {
    return *major = m.major, *minor = m.minor, NVRTC_SUCCESS;
}
API const char *nvrtcGetErrorString(nvrtcResult r) {
    return r == NVRTC_SUCCESS ? "NVRTC_SUCCESS" : "NVRTC_ERROR_COMPILATION";
}
API nvrtcResult nvrtcGetNumSupportedArchs(int *n) {
    return *n = 0, NVRTC_SUCCESS;
}
API nvrtcResult nvrtcGetSupportedArchs(int *archs) {
    return (void)archs, NVRTC_SUCCESS;
}

API nvrtcResult nvrtcCreateProgram(nvrtcProgram *p, const char *source, const char *name, int n, const char *const *h,
                                   const char *const *names) {
    (void)n, (void)h, (void)names;
    *p = calloc(1, sizeof **p);
    if (!*p) return NVRTC_ERROR_OUT_OF_MEMORY;
    (*p)->broken = m.broken && strstr(source, m.broken);
    (*p)->slow = m.slow && strstr(source, m.slow);
    snprintf((*p)->name, sizeof(*p)->name, "%.*s", (int)strcspn(name, "."), name);
    return NVRTC_SUCCESS;
}
API nvrtcResult nvrtcDestroyProgram(nvrtcProgram *p) {
    free(*p);
    return *p = NULL, NVRTC_SUCCESS;
}

static void ends_the_process(int sig) {
    (void)sig;
    _exit(4);
}

/* What NVRTC 13.0 does while it compiles, and a Ctrl-C (MOCK_NVRTC_INTERRUPT) at its worst moments: one that is ignored
 * before anyone takes it, one that finds the handler. */
static void interrupt_here(const char *when) {
    static atomic_flag once = ATOMIC_FLAG_INIT;
    if (atomic_flag_test_and_set(&once)) return;
    if (!strcmp(when, "before")) kill(getpid(), SIGINT);
    if (signal(SIGINT, SIG_IGN) != SIG_IGN) signal(SIGINT, ends_the_process);
    signal(SIGTERM, ends_the_process);
    if (!strcmp(when, "within")) kill(getpid(), SIGINT), usleep(100000);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
}

API nvrtcResult nvrtcCompileProgram(nvrtcProgram p, int n, const char *const *options) {
    static const char target[] = "--gpu-architecture=";
    for (int k = 0; k < n; k++)
        if (!strncmp(options[k], target, sizeof target - 1))
            snprintf(m.target, sizeof m.target, "%s", options[k] + sizeof target - 1);
    if (getenv("MOCK_NVRTC_INTERRUPT")) interrupt_here(getenv("MOCK_NVRTC_INTERRUPT"));
    if (p->broken) {
        atomic_fetch_add(&m.failed, 1);
        snprintf(p->log, sizeof p->log,
                 "%s.cu(3): warning #177-D: unused\n%s.cu(7): error: as the test asked\n    x = ;\n        ^\n",
                 p->name, p->name);
        return NVRTC_ERROR_COMPILATION;
    }
    atomic_fetch_add(&m.compiled, 1);
    snprintf(p->log, sizeof p->log,
             "ptxas info    : (C7519) warpgroup.arrive is injected to allow use of registers in GMMA\n%s"
             "ptxas info    : 8 bytes gmem\nptxas info    : Compiling entry function '%s' for 'sm_90a'\n"
             "ptxas info    : Function properties for %s\n"
             "ptxas         .     16 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads\n"
             "ptxas info    : Used 42 registers, used 1 barriers, 1024 bytes smem\n",
             p->slow ? "ptxas info    : (C7511) Potential Performance Loss: instructions are serialized\n" : "",
             p->name, p->name);
    return NVRTC_SUCCESS;
}
API nvrtcResult nvrtcGetProgramLogSize(nvrtcProgram p, size_t *n) {
    return *n = strlen(p->log) + 1, NVRTC_SUCCESS;
}
API nvrtcResult nvrtcGetProgramLog(nvrtcProgram p, char *log) {
    return strcpy(log, p->log), NVRTC_SUCCESS;
}
API nvrtcResult nvrtcGetCUBINSize(nvrtcProgram p, size_t *n) {
    return (void)p, *n = sizeof machine_code, NVRTC_SUCCESS;
}
API nvrtcResult nvrtcGetCUBIN(nvrtcProgram p, char *code) {
    return (void)p, memcpy(code, machine_code, sizeof machine_code), NVRTC_SUCCESS;
}
API nvrtcResult nvrtcGetPTXSize(nvrtcProgram p, size_t *n) {
    return nvrtcGetCUBINSize(p, n);
}
API nvrtcResult nvrtcGetPTX(nvrtcProgram p, char *code) {
    return nvrtcGetCUBIN(p, code);
}
