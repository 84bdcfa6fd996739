/* fuzz_program.c: the text form of programs: any text is parsed or refused; what is parsed is printed to text that parses
 * and prints as the same, the passes work on it, and the verifier says what it thinks of it. */
#include <stdio.h>
#include <string.h>

#include "codegen/program/program.h"
#include "tests/fuzz/fuzz.h"

/* NUL-terminated; NULL when out of memory. */
static char *print(const tn_program *p, size_t *size) {
    char *text = NULL;
    return tn_program_print(p, &text, size) == TN_OK ? text : NULL;
}

static void round_trip(const tn_env *env, const tn_program *p) {
    size_t n = 0, m = 0;
    tn_program *again = NULL;
    char *a = print(p, &n), *b = NULL;
    const tn_status st = a ? tn_program_parse(env, "again", a, &again) : TN_OK;
    if (st != TN_OK && st != TN_E_MEMORY) fuzz_die("printed text does not parse: %s\n%s", fuzz_error(), a);
    if (again) b = print(again, &m);
    if (b && (n != m || memcmp(a, b, n))) fuzz_die("the text changes from\n%s\nto\n%s", a, b);
    tn_program_free(again);
    if (a) tn_free(env, a, n + 1);
    if (b) tn_free(env, b, m + 1);
}

static void verify(const tn_program *p) {
    enum { CAP = 16 };
    tn_binding b[CAP];
    size_t n = tn_sym_count(p->g);
    if (n > CAP) n = CAP;
    for (int64_t v = 0; v < 4; v += 3) {
        for (size_t k = 0; k < n; k++) b[k] = (tn_binding){tn_dim_name(p->g, tn_sym_at(p->g, k)), v};
        const tn_status st = tn_program_verify(p, b, n);
        if (st != TN_OK && st != TN_E_VERIFY && st != TN_E_ARGUMENT && st != TN_E_MEMORY)
            fuzz_die("the verifier says %s", tn_status_text(st));
    }
}

/* Owners within owners are walked twice at every level: not too many of them. */
static bool is_small(const tn_program *p) {
    uint32_t loops = 0;
    for (uint32_t k = 0; k < p->n_steps; k++) loops += p->steps[k].kind == TN_STEP_WHILE;
    return loops < 8 && p->n_steps < 200;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const tn_env *env = fuzz_begin();
    tn_program *p = NULL;
    char *text = tn_alloc(env, size + 1);
    if (text && size) memcpy(text, data, size);
    const tn_status st = text ? tn_program_parse(env, "text", text, &p) : TN_E_MEMORY;
    if ((p == NULL) == (st == TN_OK)) fuzz_die("parsing gives no program and no error, or both");
    if (!p && !fuzz_error()[0]) fuzz_die("parsing fails without a message: %s", tn_status_text(st));
    if (p) {
        const tn_program_options o = {.streams = 1 + (uint32_t)(size % 4)};
        round_trip(env, p);
        if (is_small(p)) verify(p);
        if (is_small(p) && tn_program_run(p, NULL, &o) == TN_OK) {
            round_trip(env, p);
            verify(p);
        }
    }
    tn_program_free(p);
    tn_free(env, text, size + 1);
    fuzz_end();
    return 0;
}

/* ---- edits of words and lines ---------------------------------------------------------------------------------------- */

static bool is_word(uint8_t c) {
    return c == '_' || (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
}

typedef fuzz_span span;

static span any_word(const uint8_t *p, size_t n, uint64_t *seed) {
    span found = {0, 0};
    size_t seen = 0;
    for (size_t at = 0, k; at < n; at += k) {
        k = 1;
        if (!is_word(p[at])) continue;
        while (at + k < n && is_word(p[at + k])) k++;
        if (fuzz_below(seed, ++seen) == 0) found = (span){at, k};
    }
    return found;
}

static size_t put_word(char *out, size_t size, uint64_t *seed) {
    static const char *const words[] = {"launch",   "lt",       "copy",   "fill",   "if",      "while",
                                        "body 1 0", "body 1 1", "reads",  "with",   "after",   "writes",
                                        "in_place", "stream",   "layers", "runs",   "in",      "us",
                                        "N*4",      "N//3",     "bucket", "symbol", "scratch", "arena"};
    int n;
    if (fuzz_below(seed, 3) == 0)
        n = snprintf(out, size, "%s", words[fuzz_below(seed, sizeof words / sizeof *words)]);
    else if (fuzz_below(seed, 8))
        n = snprintf(out, size, "%zu", fuzz_below(seed, 9));
    else
        n = snprintf(out, size, "%lld", (long long)fuzz_int(seed));
    return n > 0 ? (size_t)n : 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed) {
    uint64_t s = seed;
    char text[4096];
    const size_t what = fuzz_below(&s, 4);
    if (what < 2) {
        const span w = any_word(data, size, &s);
        return fuzz_splice(data, size, max, w.at, w.n, text, put_word(text, sizeof text, &s));
    }
    const span a = fuzz_any_line(data, size, &s), b = fuzz_any_line(data, size, &s);
    if (a.n > sizeof text) return LLVMFuzzerMutate(data, size, max);
    memcpy(text, data + a.at, a.n);
    return fuzz_splice(data, size, max, b.at, what == 2 ? b.n : 0, text, what == 2 && fuzz_below(&s, 3) == 0 ? 0 : a.n);
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t n_a, const uint8_t *b, size_t n_b, uint8_t *out, size_t max,
                                 unsigned seed) {
    uint64_t s = seed;
    const span to = fuzz_any_line(a, n_a, &s), from = fuzz_any_line(b, n_b, &s);
    if (n_a > max) return 0;
    memcpy(out, a, n_a);
    return fuzz_splice(out, n_a, max, to.at, 0, b + from.at, from.n);
}
