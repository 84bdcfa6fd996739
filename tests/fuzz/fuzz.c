/* fuzz.c: see fuzz.h. */
#include "tests/fuzz/fuzz.h"

#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "ir/eval/eval.h"
#include "passes/pass.h"

static atomic_size_t held; /* evaluation allocates on several threads */
static char last_error[1024];

void fuzz_die(const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fprintf(stderr, "\n(the last error was: %s)\n", last_error);
    abort();
}

/* ---- the environment --------------------------------------------------------------------------------------------- */

static void *counting_alloc(void *user, void *p, size_t old_size, size_t size) {
    (void)user;
    if (size > FUZZ_MEMORY || held - old_size + size > FUZZ_MEMORY) return NULL;
    void *q = NULL;
    if (size) {
        q = realloc(p, size);
        if (!q) return NULL;
    } else {
        free(p);
    }
    held += size - (p ? old_size : 0);
    return q;
}

static void on_diag(void *user, const tn_diag *d) {
    (void)user;
    if (d->severity == TN_ERROR) snprintf(last_error, sizeof last_error, "%s: %s [%s]", d->loc, d->message, d->hint);
}

static void out_of_time(int number) {
    (void)number;
    static const char text[] = "the input takes too long\n";
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0) _exit(1);
    abort();
}

const tn_env *fuzz_begin(void) {
    static const tn_env env = {.alloc = counting_alloc, .diag = on_diag};
    const struct itimerval clock = {.it_value.tv_sec = FUZZ_SECONDS};
    signal(SIGVTALRM, out_of_time);
    setitimer(ITIMER_VIRTUAL, &clock, NULL);
    last_error[0] = 0;
    held = 0;
    return &env;
}

void fuzz_end(void) {
    const struct itimerval off = {0};
    setitimer(ITIMER_VIRTUAL, &off, NULL);
    if (held) fuzz_die("%zu bytes were not freed, or freed with another size than they were allocated with", held);
}

const char *fuzz_error(void) {
    return last_error;
}

/* ---- mutation ---------------------------------------------------------------------------------------------------- */

uint64_t fuzz_random(uint64_t *seed) { /* splitmix64, Steele et al. 2014 */
    uint64_t z = (*seed += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

size_t fuzz_below(uint64_t *seed, size_t n) {
    return n ? (size_t)(fuzz_random(seed) % n) : 0;
}

int64_t fuzz_int(uint64_t *seed) {
    static const int64_t odd[] = {-1,  INT64_MAX, INT64_MIN, INT32_MAX, INT32_MIN, (int64_t)UINT32_MAX,
                                  127, 128,       255,       65536};
    switch (fuzz_below(seed, 8)) {
    case 0: return odd[fuzz_below(seed, sizeof odd / sizeof *odd)];
    case 1: return (int64_t)(UINT64_C(1) << fuzz_below(seed, 63)) - (int64_t)fuzz_below(seed, 3) + 1;
    case 2: return -(int64_t)fuzz_below(seed, 10);
    case 3: return (int64_t)fuzz_below(seed, 300);
    default: return (int64_t)fuzz_below(seed, 9);
    }
}

size_t fuzz_splice(uint8_t *data, size_t size, size_t max, size_t at, size_t old, const void *with, size_t n) {
    if (at > size || old > size - at || n > max || size - old > max - n) return size;
    memmove(data + at + n, data + at + old, size - at - old);
    if (n) memcpy(data + at, with, n);
    return size - old + n;
}

fuzz_span fuzz_any_line(const uint8_t *p, size_t n, uint64_t *seed) {
    fuzz_span found = {0, 0};
    size_t seen = 0, length;
    for (size_t at = 0; at < n; at += length) {
        const uint8_t *end = memchr(p + at, '\n', n - at);
        length = end ? (size_t)(end - p) - at + 1 : n - at;
        if (fuzz_below(seed, ++seen) == 0) found = (fuzz_span){at, length};
    }
    return found;
}

size_t fuzz_cross_lines(const uint8_t *a, size_t n_a, const uint8_t *b, size_t n_b, uint8_t *out, size_t max,
                        unsigned seed) {
    uint64_t s = seed;
    if (n_a > max) return 0;
    memcpy(out, a, n_a);
    const fuzz_span from = fuzz_any_line(b, n_b, &s), to = fuzz_any_line(a, n_a, &s);
    return fuzz_splice(out, n_a, max, to.at, fuzz_below(&s, 2) ? to.n : 0, b + from.at, from.n);
}

/* ---- passes ------------------------------------------------------------------------------------------------------ */

enum { MAX_IO = 8, MAX_SYMBOLS = 16, SIZE = 2 /* of every symbol */ };

/* Values for the symbols of a graph; false where there are too many. */
static bool bind(const tn_graph *g, tn_binding *b, size_t *n) {
    *n = tn_sym_count(g);
    for (size_t k = 0; k < *n && k < MAX_SYMBOLS; k++) b[k] = (tn_binding){tn_dim_name(g, tn_sym_at(g, k)), SIZE};
    return *n <= MAX_SYMBOLS;
}

/* Work is in proportion to what the graph says, not to its own size. */
bool fuzz_is_small(const tn_graph *g) {
    enum { MAX_NODES = 300, MAX_BYTES = 1 << 16 };
    tn_binding b[MAX_SYMBOLS];
    size_t n;
    if (tn_graph_node_limit(g) > MAX_NODES || !bind(g, b, &n)) return false;
    for (uint32_t k = 1; k < tn_graph_val_limit(g); k++) {
        const tn_type t = tn_val_type(g, (tn_val){k});
        size_t bytes = 8;
        for (size_t i = 0; t.i && i < tn_type_rank(g, t); i++) {
            int64_t d;
            if (!tn_dim_eval(g, tn_type_dims(g, t)[i], b, n, &d) || d <= 0) continue;
            if ((uint64_t)d > MAX_BYTES / bytes) return false;
            bytes *= (size_t)d;
        }
    }
    return true;
}

/* The reference on zeros gives results or an error. */
static void evaluate(const tn_env *env, tn_graph *g) {
    tn_tensor in[MAX_IO] = {{0}}, out[MAX_IO] = {{0}};
    tn_binding b[MAX_SYMBOLS];
    const size_t n_in = tn_graph_input_count(g), n_out = tn_graph_output_count(g);
    size_t n;
    if (n_in > MAX_IO || n_out > MAX_IO || !bind(g, b, &n)) return;
    tn_status st = TN_OK;
    for (size_t k = 0; st == TN_OK && k < n_in; k++) {
        const tn_val v = tn_graph_input(g, k);
        int64_t dims[TN_MAX_RANK];
        for (size_t i = 0; st == TN_OK && i < tn_val_rank(g, v); i++)
            if (!tn_dim_eval(g, tn_val_dim(g, v, i), b, n, &dims[i])) st = TN_E_ARGUMENT;
        if (st == TN_OK) st = tn_tensor_new(env, tn_val_dtype(g, v), tn_val_rank(g, v), dims, &in[k]);
    }
    const tn_eval_opts opts = {.symbols = b, .n_symbols = n};
    if (st == TN_OK) st = tn_eval_graph(env, g, in, n_in, out, n_out, &opts);
    if (st == TN_E_INTERNAL || st == TN_E_VERIFY) fuzz_die("the evaluation fails: %s", tn_status_text(st));
    for (size_t k = 0; k < MAX_IO; k++) {
        tn_tensor_free(env, &in[k]);
        tn_tensor_free(env, &out[k]);
    }
}

/* Folding may find what such a size is, and that it breaks a condition. */
static bool has_made_size(const tn_graph *g) {
    size_t k = 0;
    while (k < tn_sym_count(g) && !tn_dim_is_made(g, tn_sym_at(g, k))) k++;
    return k < tn_sym_count(g);
}

void fuzz_passes(const tn_env *env, tn_graph *g) {
    if (tn_verify(g) != TN_OK) fuzz_die("a graph that was read does not verify");
    if (!fuzz_is_small(g)) return;
    evaluate(env, g);
    if (tn_graph_collect_conditions(g) != TN_OK) return; /* they contradict each other */
    static const tn_dtype computes[] = {TN_F32, TN_F16, TN_BF16};
    const uint32_t draw = tn_graph_val_limit(g);
    const bool made = has_made_size(g);
    const tn_pass_options opts = {.compute = computes[draw % 3], .nhwc = draw & 1, .numerics = draw % 5 == 0};
    tn_pass_ctx *ctx = tn_pass_ctx_new(env, &opts);
    const tn_status st = ctx ? tn_run_passes(g, NULL, ctx) : TN_E_MEMORY;
    const bool refused = (made && st == TN_E_TYPE) ||
                         strstr(fuzz_error(), "does not fit in 64 bits") || /* products of sizes that may only be 0 */
                         strstr(fuzz_error(), "is out of range for axis");  /* a constant index */
    if (st == TN_OK ? tn_verify(g) != TN_OK : st != TN_E_MEMORY && st != TN_E_UNSUPPORTED && !refused)
        fuzz_die("the standard passes fail: %s", tn_status_text(st));
    tn_pass_ctx_free(ctx);
}

void fuzz_imported(const tn_env *env, tn_graph *g, tn_status st) {
    if ((g == NULL) == (st == TN_OK)) fuzz_die("an import gives no graph and no error, or both");
    if (!g && !fuzz_error()[0]) fuzz_die("an import fails without a message: %s", tn_status_text(st));
    if (g) fuzz_passes(env, g);
    tn_graph_free(g);
}
