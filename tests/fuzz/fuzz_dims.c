/* fuzz_dims.c: dim expressions.  The bytes are a program for a stack machine that builds the same expression twice, as
 * a dim and as a tree that is evaluated as it was written.  The dim evaluates to the tree's value wherever that has
 * one, lies within its bounds and is a multiple of its divisor, reads back from its text as itself, and a plan's dims
 * give the same. */
#include <inttypes.h>
#include <string.h>

#include "codegen/program/manifest.h"
#include "runtime/plan/dims.h"
#include "tests/fuzz/fuzz.h"

enum { MAX_NODES = 200, MAX_STACK = 32, SYMBOLS = 4, BINDINGS = 12 };
static const char *const names[SYMBOLS] = {"N", "H", "W", "K"};

typedef struct written {
    tn_dim_kind kind;
    int64_t value; /* of a constant; which symbol */
    int a, b;
} written;

typedef struct program {
    written tree[MAX_NODES];
    tn_dim dim[MAX_NODES];
    int stack[MAX_STACK];
    int n, depth;
    int64_t lo[SYMBOLS], hi[SYMBOLS];
} program;

/* A node from its operands; false where it has no value: a division by 0, sizes that do not
 * broadcast, or more than 64 bits. */
static bool apply(tn_dim_kind kind, int64_t a, int64_t b, int64_t *out) {
    switch (kind) {
    case TN_DIM_ADD: return !__builtin_add_overflow(a, b, out);
    case TN_DIM_MUL: return !__builtin_mul_overflow(a, b, out);
    case TN_DIM_MIN: return *out = a < b ? a : b, true;
    case TN_DIM_MAX: return *out = a > b ? a : b, true;
    case TN_DIM_BCAST: return *out = a == 1 ? b : a, a == b || a == 1 || b == 1;
    default: break;
    }
    if (b == 0 || (a == INT64_MIN && b == -1)) return false;
    const bool exact = a % b == 0, down = !exact && (a < 0) != (b < 0);
    const int64_t q = a / b - down;
    *out = kind == TN_DIM_FLOORDIV ? q : kind == TN_DIM_CEILDIV ? q + !exact : a % b + (down ? b : 0);
    return true;
}

/* The last node as it was written; operands come before their users. */
static bool value_of(const program *p, const int64_t *symbols, int64_t *out) {
    int64_t value[MAX_NODES] = {0};
    bool has[MAX_NODES] = {false};
    for (int k = 0; k < p->n; k++) {
        const written *w = &p->tree[k];
        has[k] = true;
        if (w->kind == TN_DIM_CONST)
            value[k] = w->value;
        else if (w->kind == TN_DIM_SYM)
            value[k] = symbols[w->value];
        else
            has[k] = has[w->a] && has[w->b] && apply(w->kind, value[w->a], value[w->b], &value[k]);
    }
    return *out = value[p->n - 1], has[p->n - 1];
}

/* Runs the program; false where the dim overflows, which is an error and not a value. */
static bool build(tn_graph *g, program *p, const uint8_t *data, size_t size) {
    static const tn_dim_kind kinds[] = {TN_DIM_ADD, TN_DIM_MUL, TN_DIM_FLOORDIV, TN_DIM_CEILDIV,
                                        TN_DIM_MOD, TN_DIM_MIN, TN_DIM_MAX,      TN_DIM_BCAST};
    for (size_t at = 0; at < size && p->n < MAX_NODES; at++) {
        const uint8_t c = data[at];
        written w = {TN_DIM_CONST, (c & 0x3f) - 16, 0, 0};
        if (c >= 0xf8) {
            if (size - at <= 8) break;
            memcpy(&w.value, data + at + 1, 8);
            at += 8;
        } else if (c >= 0xc0) {
            w = (written){TN_DIM_SYM, c % SYMBOLS, 0, 0};
        } else if (c >= 0x40 && p->depth >= 2) {
            const int b = p->stack[--p->depth], a = p->stack[--p->depth];
            w = (written){kinds[c & 7], 0, a, b};
            if (c & 8) { /* both operands stay */
                p->stack[p->depth++] = a;
                p->stack[p->depth++] = b;
            }
        }
        if (p->depth == MAX_STACK) break;
        tn_dim d = w.kind == TN_DIM_CONST ? tn_dim_const(g, w.value)
                   : w.kind == TN_DIM_SYM ? tn_dim_sym(g, names[w.value])
                                          : tn_dim_binary(g, w.kind, p->dim[w.a], p->dim[w.b]);
        if (tn_graph_status(g) != TN_OK) return false;
        if (!d.i) fuzz_die("a dim is none without an error");
        p->tree[p->n] = w;
        p->dim[p->n] = d;
        p->stack[p->depth++] = p->n++;
    }
    return p->n > 0;
}

static int64_t between(uint64_t *seed, int64_t lo, int64_t hi) {
    int64_t v = fuzz_below(seed, 3) ? lo + (int64_t)fuzz_below(seed, 20) : lo;
    return v < lo || v > hi ? hi : v;
}

/* Ranges of the symbols from the first bytes. */
static void set_ranges(tn_graph *g, program *p, const uint8_t *data) {
    static const int64_t ends[] = {0, 1, 2, 3, 8, 64, 1000, INT64_MAX};
    for (int k = 0; k < SYMBOLS; k++) {
        p->lo[k] = ends[data[k] & 3] * ((data[k] & 0xc0) == 0xc0 ? -1 : 1);
        p->hi[k] = ends[data[k] >> 3 & 7];
        if (p->hi[k] < p->lo[k]) p->hi[k] = p->lo[k];
        tn_dim_set_range(g, tn_dim_sym(g, names[k]), p->lo[k], p->hi[k]);
    }
}

/* A coefficient so large that what would simplify a sum may not fit: then one of its forms is kept, by the order in
 * which it was made. */
static bool is_near_overflow(const char *text) {
    enum { DIGITS = 16 };
    for (size_t n = 0; *text; text++) {
        n = *text >= '0' && *text <= '9' ? n + 1 : 0;
        if (n >= DIGITS) return true;
    }
    return false;
}

static void same_values(const tn_graph *g, const program *p, tn_dim a, tn_dim b, const char *text) {
    uint64_t seed = 1;
    for (int round = 0; round < BINDINGS; round++) {
        tn_binding at[SYMBOLS];
        int64_t x, y;
        for (int k = 0; k < SYMBOLS; k++) at[k] = (tn_binding){names[k], between(&seed, p->lo[k], p->hi[k])};
        if (tn_dim_eval(g, a, at, SYMBOLS, &x) && tn_dim_eval(g, b, at, SYMBOLS, &y) && x != y)
            fuzz_die("%s reads back with other values", text);
    }
}

/* A dim reads back from its text as itself.  A long text may be nested more deeply than text may be; and since sums of
 * products of min and max have no normal form, what was simplified step by step while it was built may be simplified
 * further, or otherwise, when it is read in one go: then the values are the same. */
static void check_text(tn_graph *g, const program *p, tn_dim d) {
    enum { LONG = 400, NESTED = 60 /* characters that hold min or max */ };
    static char text[1 << 20];
    const char *end = NULL;
    const size_t n = tn_dim_print(g, d, text, sizeof text);
    if (n >= sizeof text) return;
    const tn_dim again = tn_dim_parse(g, text, &end);
    const bool nested = n >= NESTED && (strstr(text, "min(") || strstr(text, "max("));
    const bool loose = n >= LONG || nested || is_near_overflow(text);
    if (!again.i ? n < LONG && !is_near_overflow(text) : *end || (again.i != d.i && !loose))
        fuzz_die("%s does not read back as itself", text);
    if (again.i && again.i != d.i) same_values(g, p, d, again, text);
}

/* The dim at these symbols by a plan's table; false where that overflows. */
static bool plan_value(const tn_env *env, const tn_manifest *mf, uint32_t index, const int64_t *symbols, int64_t *out) {
    static int64_t table[1 << 16];
    TnPlan__Dim *const *dims;
    const size_t n = tn_manifest_dims(mf, &dims);
    if (n > sizeof table / sizeof *table) return false;
    for (size_t k = 0; k < n; k++)
        for (int s = 0; s < SYMBOLS && dims[k]->kind == TN_PLAN__DIM__KIND__SYM; s++)
            if (!strcmp(dims[k]->name, names[s])) table[k] = symbols[s];
    if (tn_dims_check(env, n, dims) != TN_OK) fuzz_die("a plan's dims are refused");
    if (tn_dims_eval(env, n, dims, table) != TN_OK) {
        if (strstr(fuzz_error(), "range")) fuzz_die("a value within a symbol's range is refused");
        return false;
    }
    *out = table[index];
    return true;
}

static void check(const tn_env *env, tn_graph *g, const program *p, uint64_t seed) {
    const int root = p->n - 1;
    tn_manifest *mf = tn_manifest_new(g, NULL);
    const uint32_t index = mf ? tn_manifest_dim(mf, p->dim[root]) : 0;
    const bool plan = mf && tn_manifest_status(mf) == TN_OK;
    const tn_dim d = p->dim[root];
    char text[2000];
    int64_t lo, hi;
    const int64_t divisor = tn_dim_divisor(g, d);
    tn_dim_bounds(g, d, &lo, &hi);
    tn_dim_print(g, d, text, sizeof text);
    for (int round = 0; round < BINDINGS; round++) {
        int64_t symbols[SYMBOLS], want, got, planned;
        tn_binding b[SYMBOLS];
        for (int k = 0; k < SYMBOLS; k++) {
            symbols[k] = between(&seed, p->lo[k], p->hi[k]);
            b[k] = (tn_binding){names[k], symbols[k]};
        }
        if (!value_of(p, symbols, &want)) continue;
        if (!tn_dim_eval(g, d, b, SYMBOLS, &got)) continue; /* it may overflow where the tree as written does not */
        if (got != want)
            fuzz_die("%s is %" PRId64 " and should be %" PRId64 " at N=%" PRId64 " H=%" PRId64 " W=%" PRId64
                     " K=%" PRId64,
                     text, got, want, symbols[0], symbols[1], symbols[2], symbols[3]);
        if (plan && plan_value(env, mf, index, symbols, &planned) && planned != want)
            fuzz_die("a plan says %" PRId64 " for %s = %" PRId64, planned, text, want);
        if (want < lo || want > hi)
            fuzz_die("%s = %" PRId64 " is outside [%" PRId64 ", %" PRId64 "]", text, want, lo, hi);
        if (divisor == 0 ? want != 0 : want % divisor != 0)
            fuzz_die("%" PRId64 " does not divide %s = %" PRId64, divisor, text, want);
    }
    tn_manifest_free(mf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static program p;
    if (size < SYMBOLS + 1) return 0;
    const tn_env *env = fuzz_begin();
    tn_graph *g = tn_graph_new(env);
    memset(&p, 0, sizeof p);
    if (g) {
        set_ranges(g, &p, data);
        if (build(g, &p, data + SYMBOLS, size - SYMBOLS)) {
            check(env, g, &p, data[0] + 256u * data[size - 1]);
            check_text(g, &p, p.dim[p.n - 1]);
        }
    }
    tn_graph_free(g);
    fuzz_end();
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed) {
    uint64_t s = seed;
    const uint8_t byte = (uint8_t)fuzz_random(&s);
    if (fuzz_below(&s, 2)) return LLVMFuzzerMutate(data, size, max);
    if (fuzz_below(&s, 4) == 0 && size) return data[fuzz_below(&s, size)] = byte, size;
    return fuzz_splice(data, size, max, fuzz_below(&s, size + 1), 0, &byte, 1);
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t n_a, const uint8_t *b, size_t n_b, uint8_t *out, size_t max,
                                 unsigned seed) {
    uint64_t s = seed;
    const size_t cut = fuzz_below(&s, n_a + 1), from = fuzz_below(&s, n_b + 1);
    if (cut + n_b - from > max) return 0;
    if (cut) memcpy(out, a, cut);
    if (n_b > from) memcpy(out + cut, b + from, n_b - from);
    return cut + n_b - from;
}
