/* fuzz_plugin.c: plugins.  An input is a plugin's text and, behind a byte 0, a graph in the text form that uses it.  A plugin
 * is read or refused with a message; a graph of it prints as a text that reads back as itself, alone; the passes and
 * the reference take it; and a kernel's header is generated or refused. */
#include <string.h>

#include "codegen/codegen.h"
#include "ir/text/side.h"
#include "passes/pass.h"
#include "tests/fuzz/fuzz.h"
#include "tenon/plugin.h"

static void reads_back(const tn_env *env, tn_graph *g) {
    char *text, *again;
    size_t size, size_again;
    tn_status st;
    if (tn_print(g, NULL, &text, &size) != TN_OK) return; /* out of memory */
    tn_graph *h = tn_parse(env, "printed", text, size, NULL, 0, true, &st);
    if (!h && st != TN_E_MEMORY) fuzz_die("does not read back: %s\n%s", fuzz_error(), text);
    if (h && tn_print(h, NULL, &again, &size_again) == TN_OK) {
        if (size != size_again || memcmp(text, again, size)) fuzz_die("reads back as another:\n%s\n%s", text, again);
        tn_free(env, again, size_again + 1);
    }
    tn_graph_free(h);
    tn_free(env, text, size + 1);
}

static void generate(tn_graph *g) {
    const tn_env *env = tn_graph_env(g);
    TN_FOR_NODES(g, tn_graph_body(g), n) {
        tn_spec *s;
        tn_variant *v = NULL;
        size_t count = 0;
        if (!tn_node_plugin(g, n) || tn_spec_make(g, n, NULL, &s) != TN_OK) continue;
        if (tn_enumerate(s, tn_arch_find("sm_90a"), NULL, 3, &v, &count) != TN_OK && !*fuzz_error())
            fuzz_die("refused without a message");
        for (size_t k = 0; k < count; k++) tn_variant_free(env, &v[k]);
        tn_free(env, v, count * sizeof *v);
        tn_spec_free(s);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const tn_env *env = fuzz_begin();
    const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
    const size_t own = zero ? (size_t)(zero - data) : size;
    tn_plugins *set = tn_plugins_new(env);
    if (set) {
        const tn_status st = tn_plugins_add(set, "fuzzed.cu", (const char *)data, own);
        if (st != TN_OK && !*fuzz_error()) fuzz_die("refused without a message");
        if ((st == TN_OK) != (tn_plugins_count(set) == 1)) fuzz_die("the set does not have what was added");
    }
    if (zero && tn_plugins_count(set)) {
        const tn_side side = {.copy = true, .plugins = set};
        tn_status st;
        tn_graph *g = tn_parse_side(env, "fuzzed.tn", (const char *)zero + 1, size - own - 1, &side, &st);
        tn_plugins_free(set); /* graphs keep what they use */
        set = NULL;
        if (g && fuzz_is_small(g)) reads_back(env, g), generate(g);
        fuzz_imported(env, g, st);
    }
    tn_plugins_free(set);
    fuzz_end();
    return 0;
}

/* ---- edits ------------------------------------------------------------------------------------------------------- */

typedef fuzz_span span;

static bool is_word(uint8_t c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '%';
}

/* A word or a character from somewhere on. */
static span any_token(const uint8_t *data, size_t size, uint64_t *seed) {
    span s = {fuzz_below(seed, size), 0};
    while (s.at > 0 && is_word(data[s.at]) && is_word(data[s.at - 1])) s.at--;
    while (s.at + s.n < size && is_word(data[s.at + s.n])) s.n++;
    if (!s.n && s.at < size) s.n = 1;
    return s;
}

static size_t edit(uint8_t *data, size_t size, size_t max, uint64_t *seed) {
    static const char *const words[] = {
        "attr",   "input", "output",   "let",    "require", "expansion", "when",     "knob",    "kernel",    "type",
        "has(",   "and",   "==",       ">=",     "!=",      "//",        "ceildiv(", "s...",    ".len",      ".0",
        "f16",    "i64",   "optional", "shared", "grid",    "block",     "yield",    "softmax", "const",     "splat(",
        "floats", "ints",  "{",        "}",      "[",       "]",         "\"max\"",  "_",       "loc(\"a\")"};
    char with[1000];
    const bool line = fuzz_below(seed, 3) == 0;
    const span a = line ? fuzz_any_line(data, size, seed) : any_token(data, size, seed),
               b = line ? fuzz_any_line(data, size, seed) : any_token(data, size, seed);
    const char *word = words[fuzz_below(seed, sizeof words / sizeof *words)];
    switch (fuzz_below(seed, 5)) {
    case 0: return fuzz_splice(data, size, max, a.at, a.n, NULL, 0);
    case 1: return fuzz_splice(data, size, max, a.at, fuzz_below(seed, 2) ? a.n : 0, word, strlen(word));
    case 2:
        return fuzz_splice(data, size, max, a.at, a.n, with,
                           (size_t)snprintf(with, sizeof with, "%lld", (long long)fuzz_int(seed)));
    default:
        if (b.n > sizeof with) return size;
        memcpy(with, data + b.at, b.n);
        return fuzz_splice(data, size, max, a.at, fuzz_below(seed, 4) ? a.n : 0, with, b.n);
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed) {
    return fuzz_mutate(data, size, max, seed, edit);
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t n_a, const uint8_t *b, size_t n_b, uint8_t *out, size_t max,
                                 unsigned seed) {
    return fuzz_cross_lines(a, n_a, b, n_b, out, max, seed);
}
