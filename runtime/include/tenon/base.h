/* base.h: the vocabulary that every part of Tenon shares: status codes, dtypes, relations of sizes, the environment
 * (allocator, diagnostics, progress).  It depends on the C library only and holds no state.
 *
 * Every public call returns tn_status or a handle; detail goes to the diagnostic sink of the tn_env.  The library
 * never prints, exits or aborts.  A tn_env is read-only after set-up; one tn_env may serve many threads if its
 * callbacks may be called from many threads. */
#ifndef TENON_BASE_H
#define TENON_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TENON_VERSION_MAJOR 0
#define TENON_VERSION_MINOR 1
#define TENON_VERSION_PATCH 0
#define TENON_VERSION "0.1.0"

#define TN_MAX_RANK 8 /* deepest tensor that any part of Tenon handles */

/*        enum         exit code  text */
#define TN_STATUSES(X)                                                                                                 \
    X(OK, 0, "ok")                                                                                                     \
    X(E_ARGUMENT, 2, "bad argument")                                                                                   \
    X(E_MEMORY, 3, "out of memory")                                                                                    \
    X(E_IO, 4, "file cannot be read or written")                                                                       \
    X(E_FORMAT, 5, "file is damaged or not of this format")                                                            \
    X(E_UNSUPPORTED, 6, "not supported")                                                                               \
    X(E_TYPE, 7, "types or shapes do not fit")                                                                         \
    X(E_VERIFY, 8, "graph breaks an invariant")                                                                        \
    X(E_NO_DEVICE, 9, "no usable GPU or driver")                                                                       \
    X(E_NO_COMPILER, 10, "NVRTC cannot be opened")                                                                     \
    X(E_NO_LIBRARY, 11, "a library cannot be opened")                                                                  \
    X(E_ARCH, 12, "plan holds no code for this GPU")                                                                   \
    X(E_COMPILE, 13, "a kernel does not compile")                                                                      \
    X(E_CUDA, 14, "a CUDA call failed")                                                                                \
    X(E_MISMATCH, 15, "results differ from the reference")                                                             \
    X(E_CANCELLED, 16, "cancelled")                                                                                    \
    X(E_INTERNAL, 17, "internal error")

typedef enum tn_status {
#define X(name, exit_code, text) TN_##name,
    TN_STATUSES(X)
#undef X
        TN_STATUS_COUNT
} tn_status;

/* Returns the text of a status; never NULL. */
const char *tn_status_text(tn_status s);
/* Returns the process exit code that the tenon command uses for a status. */
int tn_status_exit_code(tn_status s);

/*        enum        text          bits  kind: f float, s float that is only stored, i signed, u unsigned, b bool
 *
 * What is only stored is moved and cast, compared with nothing and computed with by no op: ONNX and GPUs have no more for
 * these either, and without a zero, a sign or a NaN most rules of arithmetic do not hold.  Plans have the numbers: new
 * rows come last. */
#define TN_DTYPES(X)                                                                                                   \
    X(F64, "f64", 64, 'f')                                                                                             \
    X(F32, "f32", 32, 'f')                                                                                             \
    X(F16, "f16", 16, 'f')                                                                                             \
    X(BF16, "bf16", 16, 'f')                                                                                           \
    X(F8E4M3, "f8e4m3", 8, 'f')                                                                                        \
    X(F8E5M2, "f8e5m2", 8, 'f')                                                                                        \
    X(I64, "i64", 64, 'i')                                                                                             \
    X(I32, "i32", 32, 'i')                                                                                             \
    X(I16, "i16", 16, 'i')                                                                                             \
    X(I8, "i8", 8, 'i')                                                                                                \
    X(U64, "u64", 64, 'u')                                                                                             \
    X(U32, "u32", 32, 'u')                                                                                             \
    X(U16, "u16", 16, 'u')                                                                                             \
    X(U8, "u8", 8, 'u')                                                                                                \
    X(I4, "i4", 4, 'i')                                                                                                \
    X(U4, "u4", 4, 'u')                                                                                                \
    X(BOOL, "bool", 8, 'b')                                                                                            \
    X(F8E4M3FNUZ, "f8e4m3fnuz", 8, 's')                                                                                \
    X(F8E5M2FNUZ, "f8e5m2fnuz", 8, 's')                                                                                \
    X(F8E8M0, "f8e8m0", 8, 's')                                                                                        \
    X(F4E2M1, "f4e2m1", 4, 's')                                                                                        \
    X(I2, "i2", 2, 'i')                                                                                                \
    X(U2, "u2", 2, 'u')

typedef enum tn_dtype {
    TN_DTYPE_NONE,
#define X(name, text, bits, kind) TN_##name,
    TN_DTYPES(X)
#undef X
        TN_DTYPE_COUNT
} tn_dtype;

const char *tn_dtype_text(tn_dtype t);            /* "f32"; "?" for none */
tn_dtype tn_dtype_parse(const char *s, size_t n); /* TN_DTYPE_NONE if unknown */
unsigned tn_dtype_bits(tn_dtype t);               /* types of 2 and 4 bits are packed, the low bits of a byte first */
bool tn_dtype_is_float(tn_dtype t);
bool tn_dtype_computes(tn_dtype t); /* ops may compute with it */
bool tn_dtype_is_int(tn_dtype t);   /* signed or unsigned integer, not bool */
bool tn_dtype_is_unsigned(tn_dtype t);
/* Bytes that n elements of t occupy, packed; SIZE_MAX on overflow. */
size_t tn_dtype_bytes(tn_dtype t, uint64_t n);

/* What a model may need of two sizes a and b; plans number relations like this, too.
 *        enum      its word        what is said where it does not hold */
#define TN_RELS(X)                                                                                                     \
    X(EQUAL, "equal", "%s and %s differ")                      /* a = b */                                             \
    X(BCAST, "broadcast", "%s and %s do not broadcast")        /* a = b, or one of them is 1 */                        \
    X(BCAST_TO, "broadcast_to", "%s does not broadcast to %s") /* a = b, or a is 1 */                                  \
    X(AT_LEAST, "at_least", "%s is below %s")                  /* a >= b */                                            \
    X(MULTIPLE, "multiple", "%s is not divisible by %s")       /* b divides a */

typedef enum tn_rel {
#define X(name, text, broken) TN_REL_##name,
    TN_RELS(X)
#undef X
        TN_REL_COUNT
} tn_rel;

const char *tn_rel_text(tn_rel rel); /* its word; "" for none */
bool tn_rel_holds(tn_rel rel, int64_t a, int64_t b);
/* Says of two sizes, given as texts, that it does not hold: "axis 1 of x (K = 5) and axis 0 of w (3) differ". */
void tn_rel_print_broken(tn_rel rel, const char *a, const char *b, char *buf, size_t size);

typedef enum tn_severity { TN_NOTE, TN_WARNING, TN_ERROR } tn_severity;

/* One diagnostic.  All strings live only during the callback. */
typedef struct tn_diag {
    tn_severity severity;
    tn_status code;
    const char *loc;     /* the user's layer, file or option; "" if none */
    const char *message; /* what was wrong */
    const char *hint;    /* what to do; "" if nothing is known */
} tn_diag;

/* Progress of long work.  total is 0 while it is not known; eta_s < 0 while no estimate exists. */
typedef struct tn_progress {
    const char *phase; /* "import", "compile", "tune", ... */
    const char *item;  /* what is being worked on; "" if nothing in particular */
    uint64_t done, total;
    double elapsed_s, eta_s;
} tn_progress;

/* The caller's environment.  Zero-initialise for malloc, silence and no progress.  Must outlive all objects made with
 * it. */
typedef struct tn_env {
    /* realloc semantics: p NULL allocates, size 0 frees and returns NULL; NULL otherwise means out of memory. */
    void *(*alloc)(void *user, void *p, size_t old_size, size_t size);
    void *alloc_user;
    void (*diag)(void *user, const tn_diag *d);
    void *diag_user;
    /* Return false to cancel: the call in progress then returns TN_E_CANCELLED and leaves nothing half-written. */
    bool (*progress)(void *user, const tn_progress *p);
    void *progress_user;
    /* Told of every file that an import reads: the model, its external data, its side file. */
    void (*reads)(void *user, const char *path);
    void *reads_user;
} tn_env;

/* Helpers for code that is given a tn_env (NULL is allowed everywhere and means the zero tn_env). */
void *tn_alloc(const tn_env *env, size_t size);                                 /* zeroed */
void *tn_realloc(const tn_env *env, void *p, size_t old_size, size_t new_size); /* new tail not zeroed */
void tn_free(const tn_env *env, void *p, size_t size);
/* Sends a diagnostic (printf format, no trailing newline) and returns code, so that "return tn_fail(...)" reads
 * well. */
#if defined(__GNUC__)
__attribute__((format(printf, 5, 6)))
#endif
tn_status
tn_report(const tn_env *env, tn_severity severity, tn_status code, const char *loc, const char *fmt, ...);
/* As tn_report with TN_ERROR and a hint ("" for none). */
#if defined(__GNUC__)
__attribute__((format(printf, 5, 6)))
#endif
tn_status
tn_fail(const tn_env *env, tn_status code, const char *loc, const char *hint, const char *fmt, ...);

#ifdef __cplusplus
}
#endif
#endif
