/* stress.c: many threads that run one plan, each through a context of its own, at sizes drawn from ranges, with scratch
 * memory from one capped pool: every output has the bits that one thread alone gets, and the pool stays below its cap.
 *
 *     tn_stress PLAN [--device cuda|emu] [--threads 32] [--seconds 60] [SYMBOL=LO..HI ...]
 *
 * Symbols that are not named are drawn from 1..4.  Sizes at which the plan's conditions do not hold are drawn again. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

#include "tenon/host.h"
#include "tenon/tenon.h"

enum {
    SETS = 24,
    MAX_TENSORS = 64,
    MAX_SYMBOLS = 16,
    POOLED = 4 /* of the threads may have the largest memory at once */
};

typedef struct symbol {
    char name[64];
    int64_t lo, hi, at;
} symbol;

/* One choice of sizes: inputs, and the hash of what one thread alone makes of them. */
typedef struct set {
    int64_t dims[MAX_TENSORS][TN_MAX_RANK];
    size_t out_bytes[MAX_TENSORS];
    void *in[MAX_TENSORS];
    uint64_t want;
} set;

static const tn_env quiet;
static tn_plan *plan;
static tn_context_options opts = {.device = TN_CUDA};
static symbol symbols[MAX_SYMBOLS];
static size_t n_symbols, n_in, n_out, cap;
static set sets[SETS];
static double until;
static atomic_long runs, wrong, over;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void die(const char *what) {
    fprintf(stderr, "tn_stress: %s\n", what);
    exit(1);
}

static uint32_t draw(uint32_t *seed) {
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

static symbol *symbol_of(const char *name, size_t n) {
    for (size_t k = 0; k < n_symbols; k++)
        if (strlen(symbols[k].name) == n && !strncmp(symbols[k].name, name, n)) return &symbols[k];
    if (n_symbols == MAX_SYMBOLS || n >= sizeof symbols->name) die("too many symbols, or too long a name");
    symbol *s = &symbols[n_symbols++];
    *s = (symbol){.lo = 1, .hi = 4};
    memcpy(s->name, name, n);
    return s;
}

static size_t bytes_of(const tn_tensor_desc *t, const int64_t *dims) {
    uint64_t n = tn_dtype_bits(t->dtype);
    for (uint32_t k = 0; k < t->rank; k++) n *= (uint64_t)dims[k];
    return (size_t)(n / 8);
}

/* Small integers, floats below 1: legal as indices, lengths and masks alike. */
static void *fill(const tn_tensor_desc *t, size_t bytes, uint32_t *seed) {
    uint8_t *p = calloc(1, bytes + 1);
    const size_t size = tn_dtype_bits(t->dtype) / 8;
    if (!p) die("out of memory");
    for (size_t at = 0; size && at + size <= bytes; at += size) {
        const uint32_t r = draw(seed);
        const float f = (float)(r & 1023) / 1024;
        if (t->dtype == TN_F32)
            memcpy(p + at, &f, sizeof f);
        else if (t->dtype == TN_F16 || t->dtype == TN_BF16)
            p[at + 1] = (uint8_t)(0x30 | (r & 7)), p[at] = (uint8_t)(r >> 8);
        else
            p[at] = r & 1;
    }
    return p;
}

static bool give_shapes(tn_context *c, const set *s) {
    bool ok = true;
    for (size_t k = 0; k < n_in; k++)
        ok &= tn_context_set_shape(c, k, tn_plan_input(plan, k)->rank, s->dims[k]) == TN_OK;
    return ok;
}

/* The hash of all outputs. */
static uint64_t run(tn_context *c, const set *s, void *const *out) {
    XXH3_state_t h;
    XXH3_INITSTATE(&h);
    XXH3_64bits_reset(&h);
    if (!give_shapes(c, s) || tn_context_run(c, (const void *const *)s->in, out) != TN_OK) return 0;
    for (size_t k = 0; k < n_out; k++) XXH3_64bits_update(&h, out[k], s->out_bytes[k]);
    return XXH3_64bits_digest(&h);
}

/* Room for any set's outputs. */
static void outputs(void *out[MAX_TENSORS]) {
    for (size_t k = 0; k < n_out; k++) {
        size_t most = 1;
        for (size_t j = 0; j < SETS; j++)
            if (sets[j].out_bytes[k] > most) most = sets[j].out_bytes[k];
        if (!(out[k] = malloc(most))) die("out of memory");
    }
}

static void free_outputs(void *out[MAX_TENSORS]) {
    for (size_t k = 0; k < n_out; k++) free(out[k]);
}

static bool draw_set(tn_context *c, set *s, uint32_t *seed) {
    for (size_t k = 0; k < n_symbols; k++)
        symbols[k].at = symbols[k].lo + (int64_t)(draw(seed) % (uint64_t)(symbols[k].hi - symbols[k].lo + 1));
    for (size_t k = 0; k < n_in; k++)
        for (uint32_t i = 0; i < tn_plan_input(plan, k)->rank; i++) {
            const tn_tensor_desc *t = tn_plan_input(plan, k);
            s->dims[k][i] = t->dims[i] >= 0 ? t->dims[i] : symbol_of(t->dim_text[i], strlen(t->dim_text[i]))->at;
        }
    size_t scratch;
    if (!give_shapes(c, s) || tn_context_scratch_size(c, &scratch) != TN_OK) return false;
    if (scratch > cap) cap = scratch;
    for (size_t k = 0; k < n_out; k++) {
        int64_t dims[TN_MAX_RANK];
        uint32_t rank;
        if (tn_context_output_most(c, k, &rank, dims) != TN_OK) return false;
        s->out_bytes[k] = bytes_of(tn_plan_output(plan, k), dims);
    }
    for (size_t k = 0; k < n_in; k++)
        s->in[k] = fill(tn_plan_input(plan, k), bytes_of(tn_plan_input(plan, k), s->dims[k]), seed);
    return true;
}

static void draw_sets(void) {
    tn_status st;
    uint32_t seed = 1;
    void *out[MAX_TENSORS];
    tn_context *c = tn_context_new(plan, &opts, &st);
    if (!c) die(tn_status_text(st));
    for (int k = 0, tries = 0; k < SETS; k += draw_set(c, &sets[k], &seed))
        if (tries++ > 100 * SETS) die("the plan takes hardly any of the sizes");
    outputs(out);
    for (int k = 0; k < SETS; k++)
        if (!(sets[k].want = run(c, &sets[k], out))) die("a run alone failed");
    free_outputs(out);
    tn_context_free(c);
}

static void *work(void *arg) {
    uint32_t seed = (uint32_t)(uintptr_t)arg;
    void *out[MAX_TENSORS];
    tn_status st;
    tn_context *c = tn_context_new(plan, &opts, &st);
    outputs(out);
    while (c && now() < until) {
        const set *s = &sets[draw(&seed) % SETS];
        wrong += run(c, s, out) != s->want;
        over += tn_scratch_pool_bytes(opts.scratch) > POOLED * cap;
        runs++;
    }
    wrong += !c;
    tn_context_free(c);
    free_outputs(out);
    return NULL;
}

int main(int argc, char **argv) {
    int threads = 32;
    double seconds = 60;
    tn_status st;
    opts.host = tn_host_devices();
    if (argc < 2) die("tn_stress PLAN [--device cuda|emu] [--threads N] [--seconds S] [SYMBOL=LO..HI ...]");
    for (int k = 2; k < argc; k++) {
        long long lo, hi;
        const char *eq = strchr(argv[k], '=');
        if (eq && sscanf(eq, "=%lld..%lld", &lo, &hi) == 2) {
            symbol *s = symbol_of(argv[k], (size_t)(eq - argv[k]));
            s->lo = lo, s->hi = hi;
        } else if (k + 1 == argc) {
            die("an option lacks its value");
        } else if (!strcmp(argv[k], "--device")) {
            opts.device = !strcmp(argv[++k], "emu") ? TN_EMU : TN_CUDA;
        } else if (!strcmp(argv[k], "--threads")) {
            threads = atoi(argv[++k]);
        } else if (!strcmp(argv[k], "--seconds")) {
            seconds = atof(argv[++k]);
        } else {
            die("unknown option");
        }
    }
    if (!(plan = tn_plan_load(&quiet, argv[1], &st))) die(tn_status_text(st));
    n_in = tn_plan_input_count(plan), n_out = tn_plan_output_count(plan);
    if (n_in > MAX_TENSORS || n_out > MAX_TENSORS || threads < 1 || threads > 256) die("too many");
    draw_sets();
    if (!(opts.scratch = tn_scratch_pool_new(&quiet, &opts, POOLED * cap, &st))) die(tn_status_text(st));
    pthread_t t[256];
    until = now() + seconds;
    for (int k = 0; k < threads; k++) pthread_create(&t[k], NULL, work, (void *)(uintptr_t)(k + 1));
    for (int k = 0; k < threads; k++) pthread_join(t[k], NULL);
    printf("%d threads, %.0f s, %d choices of sizes: %ld runs, %ld wrong; pool %.2f MB of at most %.2f, %ld times "
           "above it\n",
           threads, seconds, SETS, atomic_load(&runs), atomic_load(&wrong),
           (double)tn_scratch_pool_bytes(opts.scratch) / 1e6, POOLED * (double)cap / 1e6, atomic_load(&over));
    tn_scratch_pool_free(opts.scratch);
    tn_plan_free(plan);
    for (int k = 0; k < SETS; k++)
        for (size_t i = 0; i < n_in; i++) free(sets[k].in[i]);
    return wrong || over || !runs;
}
