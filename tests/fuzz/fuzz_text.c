/* fuzz_text.c: the text form: any text is parsed or refused; what is parsed verifies, is printed to text that parses
 * to the same graph and prints as the same text, and the standard passes can work on it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ir/internal.h"
#include "tests/fuzz/fuzz.h"

typedef struct bytes {
    char *p;
    size_t n;
} bytes;

static tn_status collect(void *user, const void *p, size_t n) {
    bytes *b = user;
    char *q = realloc(b->p, b->n + n + 1);
    if (!q) return TN_E_MEMORY;
    memcpy(q + b->n, p, n);
    b->p = q;
    b->n += n;
    return TN_OK;
}

/* The graph's text, its weights, and the graph that they are read back to; false when out of memory. */
static bool print(const tn_graph *g, bytes *text, bytes *weights) {
    if (tn_print(g, "side.tnw", &text->p, &text->n) != TN_OK) return false;
    return tn_print_weights(g, collect, weights) == TN_OK;
}

static void round_trip(const tn_env *env, tn_graph *g) {
    bytes a = {0}, b = {0}, wa = {0}, wb = {0};
    tn_status st = TN_OK;
    tn_graph *again = NULL;
    if (print(g, &a, &wa)) {
        again = tn_parse(env, "again", a.p, a.n, wa.p, wa.n, true, &st);
        if (!again && st != TN_E_MEMORY) fuzz_die("printed text does not parse:\n%s", a.p);
    }
    if (again && print(again, &b, &wb)) {
        if (a.n != b.n || memcmp(a.p, b.p, a.n)) fuzz_die("the text changes from\n%s\nto\n%s", a.p, b.p);
        if (wa.n != wb.n || (wa.n && memcmp(wa.p, wb.p, wa.n))) fuzz_die("the weights change");
        if (tn_graph_hash(g) != tn_graph_hash(again)) fuzz_die("the graph changes");
    }
    tn_graph_free(again);
    tn_free(env, a.p, a.n + 1);
    tn_free(env, b.p, b.n + 1);
    free(wa.p);
    free(wb.p);
}

/* Constants beyond the text's own are in a side file: some bytes for those that name it. */
static const uint8_t side[4096] = {0, 0, 0x80, 0x3f, 0, 0, 0, 0x40};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const tn_env *env = fuzz_begin();
    tn_status st = TN_OK;
    tn_graph *g = tn_parse(env, "text", (const char *)data, size, side, sizeof side, false, &st);
    if ((g == NULL) == (st == TN_OK)) fuzz_die("parsing gives no graph and no error, or both");
    if (!g && !fuzz_error()[0]) fuzz_die("parsing fails without a message: %s", tn_status_text(st));
    if (g) {
        round_trip(env, g);
        fuzz_passes(env, g);
    }
    tn_graph_free(g);
    fuzz_end();
    return 0;
}

/* ---- edits of tokens and lines ----------------------------------------------------------------------------------- */

typedef fuzz_span span;

static size_t word_length(const uint8_t *p, size_t n) {
    size_t k = 0;
    while (k < n &&
           (p[k] == '_' || p[k] == '.' || (p[k] >= '0' && p[k] <= '9') || ((p[k] | 32) >= 'a' && (p[k] | 32) <= 'z')))
        k++;
    return k;
}

static size_t token_length(const uint8_t *p, size_t n) {
    size_t k = word_length(p, n);
    if (k) return k;
    if (*p == '%' || *p == '@') return 1 + word_length(p + 1, n - 1);
    if (*p != '"') return 1;
    for (k = 1; k < n && p[k] != '"' && p[k] != '\n'; k++)
        if (p[k] == '\\') k++;
    return k < n ? k + 1 : n;
}

/* A random token (blank: of any kind; else of the kind of `like`), or line, of the text. */
static span any_token(const uint8_t *p, size_t n, int like, uint64_t *seed) {
    span found = {0, 0};
    size_t seen = 0, length;
    for (size_t at = 0; at < n; at += length) {
        length = token_length(p + at, n - at);
        const bool digit = p[at] >= '0' && p[at] <= '9', letter = !digit && word_length(p + at, 1);
        const int kind = digit ? '0' : letter ? 'a' : p[at];
        if (p[at] == ' ' || p[at] == '\n' || (like != ' ' && like != kind)) continue;
        if (fuzz_below(seed, ++seen) == 0) found = (span){at, length};
    }
    return found;
}

static const char *const words[] = {"f64",
                                    "f32",
                                    "f16",
                                    "bf16",
                                    "f8e4m3",
                                    "f8e5m2",
                                    "i64",
                                    "i32",
                                    "i16",
                                    "i8",
                                    "u64",
                                    "u32",
                                    "u16",
                                    "u8",
                                    "i4",
                                    "u4",
                                    "f8e4m3fnuz",
                                    "f8e8m0",
                                    "f4e2m1",
                                    "i2",
                                    "u2",
                                    "bool",
                                    "splat",
                                    "bits(0x7fc00000)",
                                    "inf",
                                    "-inf",
                                    "nan",
                                    "true",
                                    "false",
                                    "_",
                                    "\"nhwc\"",
                                    "\"nchw\"",
                                    "\"constant\"",
                                    "\"reflect\"",
                                    "\"edge\"",
                                    "\"wrap\"",
                                    "\"linear\"",
                                    "\"cubic\"",
                                    "\"nearest\"",
                                    "\"half_pixel\"",
                                    "\"tf32\"",
                                    "\"map\"",
                                    "N",
                                    "M",
                                    "N//2",
                                    "N%3",
                                    "min(N, 4)",
                                    "max(N, M)",
                                    "ceildiv(N, 2)",
                                    "N*M",
                                    "symbol",
                                    "require equal(N, M) \"add\" of \"axis 0 of x\", \"axis 1 of y\"",
                                    "require at_least(N, 2)",
                                    "require bcast(N, M)",
                                    "hint",
                                    "in",
                                    "yield",
                                    "return",
                                    "kernel",
                                    "const",
                                    "loc(\"a\", \"b\")",
                                    "{",
                                    "}",
                                    "[",
                                    "]",
                                    "(",
                                    ")",
                                    ":",
                                    "->",
                                    "=",
                                    ",",
                                    "^"};

static size_t put_word(char *out, size_t size, uint64_t *seed) {
    const size_t what = fuzz_below(seed, 4);
    const tn_op op = (tn_op)(1 + fuzz_below(seed, TN_OP_COUNT - 1));
    const tn_op_info info = tn_op_info_of(op);
    int n;
    if (what == 0)
        n = snprintf(out, size, "%s", tn_op_text(op));
    else if (what == 1)
        n = snprintf(out, size, "%s", info.attrs.fields[fuzz_below(seed, info.attrs.n_fields)].name);
    else if (what == 2)
        n = snprintf(out, size, "%lld", (long long)fuzz_int(seed));
    else
        n = snprintf(out, size, "%s", words[fuzz_below(seed, sizeof words / sizeof *words)]);
    return (size_t)n;
}

/* A value for an attribute of this kind. */
static void put_value(FILE *f, tn_field_kind kind, uint64_t *seed) {
    static const char *const strings[] = {"nhwc",    "nchw", "constant", "reflect", "edge", "linear",
                                          "nearest", "tanh", "add",      "DCR",     ""};
    static const char *const dims[] = {"N", "M", "N*2", "N + 1", "N//2", "ceildiv(N, 2)", "min(N, 4)"};
    const bool list = kind == TN_FIELD_ints || kind == TN_FIELD_dims || kind == TN_FIELD_nums || kind == TN_FIELD_strs;
    if (list) fputc('[', f);
    for (size_t n = list ? 1 + fuzz_below(seed, 4) : 1; n; n--) {
        if (kind == TN_FIELD_flag)
            fputs(fuzz_below(seed, 2) ? "true" : "false", f);
        else if (kind == TN_FIELD_str || kind == TN_FIELD_strs)
            fprintf(f, "\"%s\"", strings[fuzz_below(seed, sizeof strings / sizeof *strings)]);
        else if (kind == TN_FIELD_dtype)
            fputs(words[fuzz_below(seed, 17)], f);
        else if ((kind == TN_FIELD_dim || kind == TN_FIELD_dims) && fuzz_below(seed, 3) == 0)
            fputs(dims[fuzz_below(seed, sizeof dims / sizeof *dims)], f);
        else
            fprintf(f, "%lld", (long long)(fuzz_below(seed, 8) ? (int64_t)fuzz_below(seed, 5) : fuzz_int(seed)));
        if (n > 1) fputc(',', f);
    }
    if (list) fputc(']', f);
}

/* A line with some op over values that the text names; returned, now and then, instead of what was. */
static size_t add_node(uint8_t *data, size_t size, size_t max, uint64_t *seed) {
    const tn_op op = (tn_op)(1 + fuzz_below(seed, TN_OP_COUNT - 1));
    const tn_op_info info = tn_op_info_of(op);
    const unsigned id = (unsigned)fuzz_below(seed, 100000);
    char line[1000];
    FILE *f = fmemopen(line, sizeof line, "w");
    if (!f) return size;
    fprintf(f, "  %%f%u = %s", id, info.text);
    for (int n = info.lo + (int)fuzz_below(seed, (size_t)(info.hi < 0 ? 3 : info.hi - info.lo) + 1), k = 0; k < n;
         k++) {
        const span s = any_token(data, size, '%', seed);
        if (s.n > 60) continue;
        fprintf(f, "%s%.*s", k ? ", " : " ", (int)s.n, (const char *)data + s.at);
    }
    const char *open = " {";
    for (size_t k = 0; k < info.attrs.n_fields; k++) {
        if (info.attrs.fields[k].kind == TN_FIELD_blob || !strcmp(info.attrs.name, "none") || fuzz_below(seed, 3) == 0)
            continue;
        fprintf(f, "%s%s=", open, info.attrs.fields[k].name);
        put_value(f, info.attrs.fields[k].kind, seed);
        open = ", ";
    }
    fputs(*open == ',' ? "}\n" : "\n", f);
    if (fuzz_below(seed, 3)) fprintf(f, "  return %%f%u\n}\n", id);
    const long n = ftell(f);
    fclose(f);
    const uint8_t *last = NULL;
    for (size_t at = 0; at + 8 < size; at++)
        if (!memcmp(data + at, "  return", 8)) last = data + at;
    if (n <= 0 || (size_t)n >= sizeof line || !last) return size;
    const size_t at = (size_t)(last - data);
    const bool ends = line[n - 2] == '}' && line[n - 3] == '\n';
    size = fuzz_splice(data, size, max, at, ends ? size - at : 0, line, (size_t)n);
    uint8_t *arrow = ends ? memmem(data, size, " -> ", 4) : NULL,
            *brace = arrow ? memchr(arrow, '{', size - (size_t)(arrow - data)) : NULL;
    return brace ? fuzz_splice(data, size, max, (size_t)(arrow - data), (size_t)(brace - arrow), " ", 1) : size;
}

/* Stated types and locations hinder other edits: drops what is behind " :" of a line. */
static size_t drop_types(uint8_t *data, size_t size, size_t max, uint64_t *seed) {
    const span s = fuzz_any_line(data, size, seed);
    const uint8_t *p = memmem(data + s.at, s.n, " : ", 3);
    if (!p || memmem(data + s.at, s.n, "const", 5)) return size;
    const size_t at = (size_t)(p - data);
    return fuzz_splice(data, size, max, at, s.at + s.n - at - 1, NULL, 0);
}

static size_t edit(uint8_t *data, size_t size, size_t max, uint64_t *seed) {
    char with[1000];
    span a = any_token(data, size, ' ', seed), b, line = fuzz_any_line(data, size, seed);
    switch (fuzz_below(seed, 9)) {
    case 0: return fuzz_splice(data, size, max, a.at, a.n, NULL, 0);
    case 1: return fuzz_splice(data, size, max, line.at, line.n, NULL, 0);
    case 2: return drop_types(data, size, max, seed);
    case 3:
        return fuzz_splice(data, size, max, a.at, fuzz_below(seed, 4) ? a.n : 0, with,
                           put_word(with, sizeof with, seed));
    case 4: /* a token by one of its kind */
        b = any_token(data, size, word_length(data + a.at, a.n) ? (data[a.at] <= '9' ? '0' : 'a') : data[a.at], seed);
        break;
    case 5: /* a line again, somewhere */
        a = (span){fuzz_any_line(data, size, seed).at, 0};
        b = line;
        break;
    case 6:
        a = any_token(data, size, '0', seed);
        return fuzz_splice(data, size, max, a.at, a.n, with,
                           (size_t)snprintf(with, sizeof with, "%lld", (long long)fuzz_int(seed)));
    default: return add_node(data, size, max, seed);
    }
    if (b.n > sizeof with) return size;
    memcpy(with, data + b.at, b.n);
    return fuzz_splice(data, size, max, a.at, a.n, with, b.n);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed) {
    return fuzz_mutate(data, size, max, seed, edit);
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t n_a, const uint8_t *b, size_t n_b, uint8_t *out, size_t max,
                                 unsigned seed) {
    return fuzz_cross_lines(a, n_a, b, n_b, out, max, seed);
}
