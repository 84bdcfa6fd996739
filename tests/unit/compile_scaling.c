/* compile_scaling.c: a compilation takes time in proportion to the model.
 *
 * Encoders of N and of 8 N equal layers, whose sizes are fixed or symbols, are compiled for fp16 without a GPU, into
 * sources: the CPU time (the least of three runs, on one thread) may grow by a factor of 12 and 100 ms: 8 would be linear,
 * 64 quadratic.
 *
 *     tn_compile_scaling [N] */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tenon/compiler.h"
#include "ir/ir.h"

typedef struct text {
    char *p;
    size_t n, cap;
} text;

__attribute__((format(printf, 2, 3))) static void put(text *t, const char *fmt, ...) {
    va_list args;
    if (t->cap - t->n < 4096) t->p = realloc(t->p, t->cap = 2 * t->cap + 8192);
    if (!t->p) exit(1);
    va_start(args, fmt);
    t->n += (size_t)vsnprintf(t->p + t->n, t->cap - t->n, fmt, args);
    va_end(args);
}

/* One line a node, %y$ being the layer's input; $ stands for the layer, B and S for the sizes. */
static const char *const layer[] = {
    "%wq$ = const splat(0.11) : f32[16,16]", "%q$ = matmul %y$, %wq$", "%q2$ = reshape %q$ {dims=[B,S,2,8]}",
    "%q3$ = transpose %q2$ {perm=[0,2,1,3]}", "%wk$ = const splat(0.12) : f32[16,16]", "%k$ = matmul %y$, %wk$",
    "%k2$ = reshape %k$ {dims=[B,S,2,8]}", "%k3$ = transpose %k2$ {perm=[0,2,3,1]}",
    "%wv$ = const splat(0.13) : f32[16,16]", "%v$ = matmul %y$, %wv$", "%v2$ = reshape %v$ {dims=[B,S,2,8]}",
    "%v3$ = transpose %v2$ {perm=[0,2,1,3]}", "%s$ = matmul %q3$, %k3$", "%p$ = softmax %s$ {axis=3}",
    "%a$ = matmul %p$, %v3$", "%a2$ = transpose %a$ {perm=[0,2,1,3]}", "%a3$ = reshape %a2$ {dims=[B,S,16]}",
    "%wo$ = const splat(0.14) : f32[16,16]", "%o$ = matmul %a3$, %wo$", "%r$ = add %o$, %y$",
    /* a layer norm as exporters write it */
    "%m$ = reduce_mean %r$ {axes=[2], keepdims=true}", "%d$ = sub %r$, %m$", "%two$ = const [2.0] : f32[]",
    "%sq$ = pow %d$, %two$", "%va$ = reduce_mean %sq$ {axes=[2], keepdims=true}", "%e$ = const [1e-5] : f32[]",
    "%ve$ = add %va$, %e$", "%sd$ = sqrt %ve$", "%n$ = div %d$, %sd$", "%g$ = const splat(1.1) : f32[16]",
    "%ng$ = mul %n$, %g$", "%wf$ = const splat(0.15) : f32[16,32]", "%f$ = matmul %ng$, %wf$", "%ge$ = gelu %f$",
    "%wp$ = const splat(0.16) : f32[32,16]", "%pr$ = matmul %ge$, %wp$", "%out$ = add %pr$, %ng$"};

static void put_line(text *t, const char *line, uint32_t k, bool symbolic) {
    put(t, "  ");
    for (const char *p = line; *p; p++) {
        if (*p == '$')
            put(t, "_%u", k);
        else if (*p == 'B' || *p == 'S')
            put(t, "%s", symbolic ? (char[2]){*p, 0} : *p == 'B' ? "2" : "6");
        else
            put(t, "%c", *p);
    }
    put(t, "\n");
}

static text encoder(uint32_t layers, bool symbolic) {
    text t = {NULL, 0, 0};
    put_line(&t, "func @main(%y$: f32[B,S,16]) -> (f32[B,S,16]) {", 0, symbolic);
    for (uint32_t k = 0; k < layers; k++) {
        for (size_t i = 0; i < sizeof layer / sizeof *layer; i++) put_line(&t, layer[i], k, symbolic);
        put(&t, "  %%y_%u = tanh %%out_%u\n", k + 1, k);
    }
    put(&t, "  return %%y_%u\n}\n", layers);
    return t;
}

static void on_diag(void *user, const tn_diag *d) {
    (void)user;
    if (d->severity != TN_NOTE) fprintf(stderr, "%s: %s %s\n", d->loc, d->message, d->hint);
}

static double cpu_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* CPU milliseconds; negative if it fails. */
static double run(const text *t) {
    static const char *const target = "sm_90a";
    const tn_env env = {.diag = on_diag};
    const tn_compile_options o = {.targets = &target,
                                  .n_targets = 1,
                                  .precision = TN_FP16,
                                  .no_gpu = true,
                                  .sources_only = true,
                                  .tune_seconds = -1,
                                  .threads = 1,
                                  .cache_dir = ""};
    const double start = cpu_ms();
    void *data = NULL;
    size_t size = 0;
    tn_status s;
    tn_graph *g = tn_parse(&env, "encoder", t->p, t->n, NULL, 0, false, &s);
    if (g) s = tn_compile_memory(g, &o, &data, &size);
    if (data) tn_free(&env, data, size);
    tn_graph_free(g);
    return s == TN_OK ? cpu_ms() - start : -1;
}

static double least(uint32_t layers, bool symbolic) {
    const text t = encoder(layers, symbolic);
    double best = run(&t);
    for (int k = 0; k < 2 && best >= 0; k++) {
        const double ms = run(&t);
        if (ms < best) best = ms;
    }
    free(t.p);
    return best;
}

int main(int argc, char **argv) {
    const uint32_t n = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 100;
    int failures = 0;
    for (int symbolic = 0; symbolic < 2; symbolic++) {
        const double small = least(n, symbolic), large = least(8 * n, symbolic);
        const bool ok = small >= 0 && large >= 0 && large <= 12 * small + 100;
        printf("%-12s %7.1f ms for %u layers, %7.1f ms for %u%s\n", symbolic ? "symbols" : "fixed sizes", small, n,
               large, 8 * n, ok ? "" : ": TOO MUCH");
        failures += !ok;
    }
    return failures ? 1 : 0;
}
