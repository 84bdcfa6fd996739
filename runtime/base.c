/* base.c: status codes, dtypes, relations, allocation and diagnostics (base.h). */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tenon/base.h"

enum { MESSAGE_MAX = 2048 };

const char *tn_status_text(tn_status s) {
    static const char *const texts[] = {
#define X(name, exit_code, text) [TN_##name] = text,
        TN_STATUSES(X)
#undef X
    };
    return (unsigned)s < TN_STATUS_COUNT ? texts[s] : "unknown status";
}

int tn_status_exit_code(tn_status s) {
    static const int codes[] = {
#define X(name, exit_code, text) [TN_##name] = exit_code,
        TN_STATUSES(X)
#undef X
    };
    return (unsigned)s < TN_STATUS_COUNT ? codes[s] : 1;
}

/* ---- dtypes ------------------------------------------------------------------------------------------------------ */

static const struct {
    const char *text;
    unsigned bits;
    char kind;
} dtypes[TN_DTYPE_COUNT] = {[TN_DTYPE_NONE] = {"?", 0, '?'},
#define X(name, text, bits, kind) [TN_##name] = {text, bits, kind},
                            TN_DTYPES(X)
#undef X
};

static unsigned dtype_index(tn_dtype t) {
    return (unsigned)t < TN_DTYPE_COUNT ? (unsigned)t : TN_DTYPE_NONE;
}

const char *tn_dtype_text(tn_dtype t) {
    return dtypes[dtype_index(t)].text;
}
unsigned tn_dtype_bits(tn_dtype t) {
    return dtypes[dtype_index(t)].bits;
}
bool tn_dtype_is_float(tn_dtype t) {
    char k = dtypes[dtype_index(t)].kind;
    return k == 'f' || k == 's';
}

bool tn_dtype_computes(tn_dtype t) {
    return dtypes[dtype_index(t)].kind != 's';
}

bool tn_dtype_is_int(tn_dtype t) {
    char k = dtypes[dtype_index(t)].kind;
    return k == 'i' || k == 'u';
}

bool tn_dtype_is_unsigned(tn_dtype t) {
    return dtypes[dtype_index(t)].kind == 'u';
}

tn_dtype tn_dtype_parse(const char *s, size_t n) {
    for (unsigned t = TN_DTYPE_NONE + 1; t < TN_DTYPE_COUNT; t++)
        if (strlen(dtypes[t].text) == n && !memcmp(dtypes[t].text, s, n)) return (tn_dtype)t;
    return TN_DTYPE_NONE;
}

size_t tn_dtype_bytes(tn_dtype t, uint64_t n) {
    unsigned bits = tn_dtype_bits(t);
    uint64_t bytes = 0;
    if (bits && bits < 8)
        bytes = n / (8 / bits) + (n % (8 / bits) != 0);
    else if (__builtin_mul_overflow(n, (uint64_t)(bits / 8), &bytes))
        return SIZE_MAX;
    return bits == 0 ? 0 : bytes > SIZE_MAX ? SIZE_MAX : (size_t)bytes;
}

/* ---- relations --------------------------------------------------------------------------------------------------- */

const char *tn_rel_text(tn_rel rel) {
    switch (rel) {
#define X(name, text, broken)                                                                                          \
    case TN_REL_##name: return text;
        TN_RELS(X)
#undef X
    case TN_REL_COUNT: break;
    }
    return "";
}

bool tn_rel_holds(tn_rel rel, int64_t a, int64_t b) {
    switch (rel) {
    case TN_REL_EQUAL: return a == b;
    case TN_REL_BCAST: return a == b || a == 1 || b == 1;
    case TN_REL_BCAST_TO: return a == b || a == 1;
    case TN_REL_AT_LEAST: return a >= b;
    case TN_REL_MULTIPLE: return b == 0 || b == -1 || a % b == 0;
    case TN_REL_COUNT: break;
    }
    return false;
}

void tn_rel_print_broken(tn_rel rel, const char *a, const char *b, char *buf, size_t size) {
    switch (rel) {
#define X(name, text, broken)                                                                                          \
    case TN_REL_##name: snprintf(buf, size, broken, a, b); break;
        TN_RELS(X)
#undef X
    case TN_REL_COUNT: break;
    }
}

/* ---- allocation -------------------------------------------------------------------------------------------------- */

static void *env_alloc(const tn_env *env, void *p, size_t old_size, size_t size) {
    if (env && env->alloc) return env->alloc(env->alloc_user, p, old_size, size);
    if (size) return realloc(p, size);
    free(p);
    return NULL;
}

void *tn_alloc(const tn_env *env, size_t size) {
    if (!size) size = 1; /* so that NULL always means out of memory; tn_free accepts the size that was asked for */
    if (!env || !env->alloc) return calloc(1, size);
    void *p = env_alloc(env, NULL, 0, size);
    if (p) memset(p, 0, size);
    return p;
}

void *tn_realloc(const tn_env *env, void *p, size_t old_size, size_t new_size) {
    return env_alloc(env, p, p && !old_size ? 1 : old_size, new_size ? new_size : 1);
}

void tn_free(const tn_env *env, void *p, size_t size) {
    if (p) env_alloc(env, p, size ? size : 1, 0);
}

/* ---- diagnostics ------------------------------------------------------------------------------------------------- */

static void send(const tn_env *env, tn_severity severity, tn_status code, const char *loc, const char *hint,
                 const char *fmt, va_list args) {
    if (!env || !env->diag) return;
    char message[MESSAGE_MAX];
    vsnprintf(message, sizeof message, fmt, args);
    const tn_diag d = {severity, code, loc ? loc : "", message, hint ? hint : ""};
    env->diag(env->diag_user, &d);
}

tn_status tn_report(const tn_env *env, tn_severity severity, tn_status code, const char *loc, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    send(env, severity, code, loc, "", fmt, args);
    va_end(args);
    return code;
}

tn_status tn_fail(const tn_env *env, tn_status code, const char *loc, const char *hint, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    send(env, TN_ERROR, code, loc, hint, fmt, args);
    va_end(args);
    return code;
}
