/* build.c: NVRTC and the cubin cache; see build.h. */
#include "codegen/tune/build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define XXH_STATIC_LINKING_ONLY /* the hash state on the stack */
#include <xxhash.h>

#include "codegen/tune/pool.h"

/* Payload of a cubin cache entry: this head, then the cubin. */
typedef struct cached_head {
    uint32_t registers, static_smem, local_bytes, spill_bytes;
    char advice[TN_ADVICE];
} cached_head;

enum { MAX_OPTIONS = 8 };

static size_t options_for(const tn_nvrtc *nvrtc, const char *arch, char arch_option[64], const char *o[MAX_OPTIONS]) {
    size_t n = 0;
    snprintf(arch_option, 64, "--gpu-architecture=%s", arch);
    o[n++] = arch_option;
    o[n++] = "--std=c++17";
    o[n++] = "--diag-suppress=177"; /* unused functions of shared headers */
    o[n++] = "-minimal";
    o[n++] = "-lineinfo";
    if (nvrtc->major >= 13) o[n++] = "--no-cache"; /* a hit in NVRTC's own cache has no log */
    o[n++] = "--ptxas-options=-v";                 /* registers and spills come from the log */
    return n;
}

/* Behind `what` and then `name` in a log, or NULL. */
static const char *find_after(const char *log, const char *what, const char *name, const char *end) {
    char text[160];
    const int n = snprintf(text, sizeof text, "%s%s%s", what, name, end);
    const char *p = log && (size_t)n < sizeof text ? strstr(log, text) : NULL;
    return p ? p + n : NULL;
}

/* The number before `unit` in the line at p ("Used 32 registers, used 1 barriers, 16 bytes smem"). */
static uint32_t number_before(const char *p, const char *unit) {
    const char *u = p ? strstr(p, unit) : NULL;
    if (!u || u > p + strcspn(p, "\n")) return 0;
    while (u > p && u[-1] >= '0' && u[-1] <= '9') u--;
    return (uint32_t)strtoul(u, NULL, 10);
}

/* ptxas -v says, kernel after kernel, which entry it compiles, its stack, and what it uses.  Advisories stand anywhere
 * and speak of registers too. */
static void read_log(const char *log, const char *name, tn_kernel_bin *out) {
    const char *entry = find_after(log, "Compiling entry function '", name, "'");
    const char *stack = find_after(entry, "Function properties for ", name, "\n");
    const char *used = find_after(entry, ": Used ", "", "");
    out->registers = number_before(used, " registers");
    out->static_smem = number_before(used, " bytes smem");
    out->local_bytes = number_before(stack, " bytes stack frame");
    out->spill_bytes = number_before(stack, " bytes spill stores") + number_before(stack, " bytes spill loads");
    const char *advice = find_after(log, "Potential Performance Loss: ", "", "");
    if (advice) snprintf(out->advice, sizeof out->advice, "%.*s", (int)strcspn(advice, "\n"), advice);
}

static char *program_log(const tn_env *env, const tn_nvrtc *n, nvrtcProgram prog, size_t *size) {
    *size = 0;
    if (n->nvrtcGetProgramLogSize(prog, size) != NVRTC_SUCCESS || *size == 0) return NULL;
    char *log = tn_alloc(env, *size + 1);
    if (log && n->nvrtcGetProgramLog(prog, log) != NVRTC_SUCCESS) *log = 0;
    return log;
}

/* Where line `number` of a unit comes from: the file that is named before it, and the line there. */
static const char *origin(const char *source, unsigned long number, int *file_size, unsigned long *line) {
    const char *file = NULL;
    const size_t mark = strlen(TN_SOURCE_MARK);
    for (const char *p = source; number > 1 && *p; number--) {
        const size_t n = strcspn(p, "\n");
        const char *colon = n > mark && !memcmp(p, TN_SOURCE_MARK, mark) ? memrchr(p, ':', n) : NULL;
        ++*line;
        if (colon && colon > p + mark) {
            file = p + mark;
            *file_size = (int)(colon - file);
            *line = strtoul(colon + 1, NULL, 10);
        }
        p += n + (p[n] == '\n');
    }
    return file;
}

/* The first line of a compiler log that tells an error; "name.cu(123): error" becomes "file:line: error". */
static void first_error(const char *log, const char *source, char *out, size_t size) {
    const char *p = log ? strstr(log, "error") : NULL;
    if (!p) p = log && *log ? log : "no log";
    while (p > log && p[-1] != '\n') p--;
    const int n = (int)strcspn(p, "\n");
    const char *paren = memchr(p, '(', (size_t)n), *close = paren ? strchr(paren, ')') : NULL;
    unsigned long line = 0;
    int file_size = 0;
    const char *file = close ? origin(source, strtoul(paren + 1, NULL, 10), &file_size, &line) : NULL;
    if (file && close < p + n)
        snprintf(out, size, "%.*s:%lu%.*s", file_size, file, line, n - (int)(close + 1 - p), close + 1);
    else
        snprintf(out, size, "%.*s", n, p);
    for (char *q = out; *q; q++)
        if (*q == '|') *q = ' '; /* ends a note in a record */
}

static void compile_now(const tn_env *env, const tn_nvrtc *n, const char *arch, const char *name, const char *source,
                        tn_kernel_bin *out) {
    nvrtcProgram prog;
    const char *o[MAX_OPTIONS];
    char arch_option[64], file[100];
    size_t n_options = options_for(n, arch, arch_option, o), log_size = 0;
    snprintf(file, sizeof file, "%s.cu", name);
    nvrtcResult r = n->nvrtcCreateProgram(&prog, source, file, 0, NULL, NULL);
    if (r != NVRTC_SUCCESS) {
        out->status = TN_E_COMPILE;
        snprintf(out->error, sizeof out->error, "nvrtcCreateProgram: %s", n->nvrtcGetErrorString(r));
        return;
    }
    r = n->nvrtcCompileProgram(prog, (int)n_options, o);
    char *log = program_log(env, n, prog, &log_size);
    if (r == NVRTC_SUCCESS) {
        read_log(log, name, out);
        r = n->nvrtcGetCUBINSize(prog, &out->size);
        out->cubin = r == NVRTC_SUCCESS ? tn_alloc(env, out->size) : NULL;
        out->status = !out->cubin                                           ? TN_E_MEMORY
                      : n->nvrtcGetCUBIN(prog, out->cubin) == NVRTC_SUCCESS ? TN_OK
                                                                            : TN_E_COMPILE;
    } else {
        out->status = TN_E_COMPILE;
        first_error(log, source, out->error, sizeof out->error);
    }
    tn_free(env, log, log_size + 1);
    n->nvrtcDestroyProgram(&prog);
}

static bool from_cache(const tn_env *env, tn_cache *cache, const char *key, tn_kernel_bin *out) {
    void *data;
    size_t size;
    cached_head h;
    if (!tn_cache_get(cache, "cubin", key, &data, &size)) return false;
    bool ok = size > sizeof h + 1;
    if (ok) {
        memcpy(&h, data, sizeof h);
        out->size = size - 1 - sizeof h;
        out->cubin = tn_alloc(env, out->size);
        ok = out->cubin != NULL;
    }
    if (ok) {
        memcpy(out->cubin, (char *)data + sizeof h, out->size);
        out->registers = h.registers, out->static_smem = h.static_smem;
        out->local_bytes = h.local_bytes, out->spill_bytes = h.spill_bytes;
        memcpy(out->advice, h.advice, sizeof h.advice - 1);
        out->status = TN_OK;
    }
    tn_free(env, data, size);
    return ok;
}

static void to_cache(const tn_env *env, tn_cache *cache, const char *key, const tn_kernel_bin *b) {
    size_t size = sizeof(cached_head) + b->size;
    char *data = tn_alloc(env, size);
    if (!data) return;
    cached_head h = {b->registers, b->static_smem, b->local_bytes, b->spill_bytes, ""};
    memcpy(h.advice, b->advice, sizeof h.advice);
    memcpy(data, &h, sizeof h);
    memcpy(data + sizeof h, b->cubin, b->size);
    tn_cache_put(cache, "cubin", key, data, size);
    tn_free(env, data, size);
}

/* Past a comment, or a literal, that begins at p (before end); p where neither does. */
static const char *past_comment(const char *p, const char *end) {
    if (end - p < 2 || p[0] != '/') return p;
    if (p[1] == '/') {
        while (p < end && (*p != '\n' || p[-1] == '\\')) p++;
    } else if (p[1] == '*') {
        for (p += 2; end - p >= 2 && (p[0] != '*' || p[1] != '/'); p++) {
        }
        p = end - p >= 2 ? p + 2 : end;
    }
    return p;
}

static const char *past_literal(const char *p, const char *end) {
    const char quote = *p;
    if (quote != '"' && quote != '\'') return p;
    for (p++; p < end && *p != quote && *p != '\n'; p++)
        if (*p == '\\' && p + 1 < end) p++;
    return p < end ? p + 1 : p;
}

/* Everything that the machine code follows from: not comments, which name layers and sizes as the model's export calls
 * them; a comment of several lines counts with their number, which debuggers are told. */
static void cache_key(const tn_nvrtc *nvrtc, const char *arch, const char *name, const char *source, size_t size,
                      char *key, size_t n) {
    XXH3_state_t h;
    XXH3_INITSTATE(&h);
    XXH3_128bits_reset(&h);
    const char *from = source, *end = source + size;
    for (const char *p = source; p < end;) {
        const char *behind = past_comment(p, end);
        if (behind == p) {
            const char *q = past_literal(p, end);
            p = q > p ? q : p + 1;
            continue;
        }
        XXH3_128bits_update(&h, from, (size_t)(p - from));
        for (; p < behind; p++)
            if (*p == '\n') XXH3_128bits_update(&h, p, 1);
        XXH3_128bits_update(&h, " ", 1);
        from = p;
    }
    XXH3_128bits_update(&h, from, (size_t)(end - from));
    const XXH128_hash_t d = XXH3_128bits_digest(&h);
    snprintf(key, n, "%s|%.80s|%d.%d|%016llx%016llx|lineinfo 2", arch, name, nvrtc->major, nvrtc->minor,
             (unsigned long long)d.high64, (unsigned long long)d.low64);
}

void tn_build_source(const tn_env *env, const tn_nvrtc *nvrtc, tn_cache *cache, const char *arch, const char *name,
                     const char *source, size_t size, tn_kernel_bin *out) {
    memset(out, 0, sizeof *out);
    char key[256];
    cache_key(nvrtc, arch, name, source, size, key, sizeof key);
    tn_cache_claim claim;
    tn_cache_hold(cache, key, &claim); /* several buckets may want one variant at the same time */
    if (!from_cache(env, cache, key, out)) {
        const double t0 = tn_now();
        compile_now(env, nvrtc, arch, name, source, out);
        out->ms = 1e3 * (tn_now() - t0);
        if (out->status == TN_OK) to_cache(env, cache, key, out);
    }
    tn_cache_release(cache, &claim);
}

void tn_kernel_bin_free(const tn_env *env, tn_kernel_bin *b) {
    tn_free(env, b->cubin, b->size);
    memset(b, 0, sizeof *b);
}

tn_status tn_build_ptx(const tn_env *env, const tn_nvrtc *n, const char *arch, const char *name, const char *source,
                       char **ptx, size_t *size) {
    nvrtcProgram prog;
    char arch_option[64], virtual_arch[32];
    const char *o[MAX_OPTIONS];
    snprintf(virtual_arch, sizeof virtual_arch, "compute_%s", strncmp(arch, "sm_", 3) ? arch : arch + 3);
    size_t n_options = options_for(n, virtual_arch, arch_option, o) - 1; /* no ptxas here */
    nvrtcResult r = n->nvrtcCreateProgram(&prog, source, name, 0, NULL, NULL);
    if (r != NVRTC_SUCCESS) return tn_nvrtc_check(env, n, r, "nvrtcCreateProgram", name);
    r = n->nvrtcCompileProgram(prog, (int)n_options, o);
    if (r == NVRTC_SUCCESS) r = n->nvrtcGetPTXSize(prog, size);
    *ptx = r == NVRTC_SUCCESS ? tn_alloc(env, *size) : NULL;
    tn_status s = r == NVRTC_SUCCESS && !*ptx ? TN_E_MEMORY : tn_nvrtc_check(env, n, r, "nvrtcCompileProgram", name);
    if (s == TN_OK) s = tn_nvrtc_check(env, n, n->nvrtcGetPTX(prog, *ptx), "nvrtcGetPTX", name);
    if (s != TN_OK && *ptx) tn_free(env, *ptx, *size), *ptx = NULL;
    n->nvrtcDestroyProgram(&prog);
    return s;
}
