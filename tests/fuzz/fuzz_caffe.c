/* fuzz_caffe.c: the reader of prototxt, and the importer of Caffe's nets: any text, with any weights behind a byte 0, gives
 * a graph that verifies and that the standard passes can work on, or an error. */
#include <stdio.h>
#include <string.h>

#include "frontend/caffe/caffe.pb-c.h"
#include "tenon/compiler.h"
#include "tests/fuzz/wire.h"

/* The text; the rest, without the byte between them, is weights. */
static size_t text_size(const uint8_t *data, size_t size) {
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    return end ? (size_t)(end - data) : size;
}

/* A layer that the importer does not know. */
static const char plugin[] = "plugin caffe::Plugin\n"
                             "attr i: int = 1\nattr f: float = 1\nattr is: ints = []\nattr fs: floats = []\n"
                             "attr w: \"a\" | \"b\" = \"a\"\n"
                             "input x: f32[s...]\ninput y: f32[t...] optional\noutput z: f32[s...]\n"
                             "expansion when w == \"a\" and is.len < 3 {\n  %c = const splat(f) : f32[]\n"
                             "  %z = mul %x, %c\n  yield %z\n}\nexpansion {\n  %z = neg %x\n  yield %z\n}\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const tn_env *env = fuzz_begin();
    tn_status st = TN_OK;
    const size_t text = text_size(data, size);
    const uint8_t *weights = text + 1 < size ? data + text + 1 : NULL;
    tn_plugins *set = tn_plugins_new(env);
    if (set && tn_plugins_add(set, "plugin", plugin, sizeof plugin - 1) != TN_OK) fuzz_die("%s", fuzz_error());
    tn_graph *g = tn_import_caffe_memory(env, (const char *)data, text, weights, weights ? size - text - 1 : 0,
                                         &(tn_import_options){.plugins = set}, &st);
    tn_plugins_free(set);
    fuzz_imported(env, g, st);
    fuzz_end();
    return 0;
}

static const char *const types[] = {
#define CAFFE_LAYER(type, ...) #type,
#include "frontend/caffe/caffe_layers.def"
#undef CAFFE_LAYER
};
#define PICK(list, seed) list[fuzz_below(seed, sizeof list / sizeof *list)]

/* ---- text of the schema ---- */

enum { ROOM = 4096 };

/* Now and then what does not fit. */
static long long number(bool is_signed, uint64_t *seed) {
    static const int often[] = {0, 1, 1, 2, 2, 3, 4, 5, 8}, negative[] = {-1, -1, -2, -3};
    if (fuzz_below(seed, 40) == 0) return (long long)fuzz_int(seed);
    return is_signed && fuzz_below(seed, 4) == 0 ? PICK(negative, seed) : PICK(often, seed);
}

static size_t put_fields(char *out, size_t room, const ProtobufCMessageDescriptor *d, unsigned depth, uint64_t *seed);

static size_t put_field(char *out, size_t room, const ProtobufCFieldDescriptor *f, unsigned depth, uint64_t *seed) {
    static const float floats[] = {0, 1, 0.5f, -1, 2, 1e-5f, 1e30f};
    char value[64];
    int n = 0;
    switch (f->type) {
    case PROTOBUF_C_TYPE_MESSAGE:
        if (depth > 3 || room < 256) return 0;
        n = snprintf(out, room, "%s { ", f->name);
        n += (int)put_fields(out + n, room - (size_t)n - 4, f->descriptor, depth + 1, seed);
        return (size_t)n + (size_t)snprintf(out + n, room - (size_t)n, "} ");
    case PROTOBUF_C_TYPE_ENUM: {
        const ProtobufCEnumDescriptor *e = f->descriptor;
        snprintf(value, sizeof value, "%s", e->values[fuzz_below(seed, e->n_values)].name);
        break;
    }
    case PROTOBUF_C_TYPE_BOOL: snprintf(value, sizeof value, "%s", fuzz_below(seed, 2) ? "true" : "false"); break;
    case PROTOBUF_C_TYPE_FLOAT: snprintf(value, sizeof value, "%g", (double)PICK(floats, seed)); break;
    case PROTOBUF_C_TYPE_STRING:
        snprintf(value, sizeof value, "\"%s\"", fuzz_below(seed, 2) ? "constant" : PICK(types, seed));
        break;
    case PROTOBUF_C_TYPE_BYTES: snprintf(value, sizeof value, "CAFFE"); break;
    default: {
        const bool is_signed = f->type == PROTOBUF_C_TYPE_INT32 || f->type == PROTOBUF_C_TYPE_INT64;
        snprintf(value, sizeof value, "%lld", number(is_signed, seed));
    }
    }
    if (room < 128) return 0;
    return (size_t)snprintf(out, room, "%s: %s ", f->name, value);
}

static size_t put_fields(char *out, size_t room, const ProtobufCMessageDescriptor *d, unsigned depth, uint64_t *seed) {
    size_t n = 0;
    for (size_t k = 0; k < d->n_fields; k++)
        for (size_t times = fuzz_below(seed, 3) == 0 ? 1 + fuzz_below(seed, 3) : 0; times; times--) {
            n += put_field(out + n, room - n, &d->fields[k], depth, seed);
            if (d->fields[k].label != PROTOBUF_C_LABEL_REPEATED) break;
        }
    return n;
}

/* Parameters of some layer. */
static size_t put_param(char *out, size_t room, uint64_t *seed) {
    const ProtobufCMessageDescriptor *d = &tn_caffe__layer_parameter__descriptor;
    for (unsigned tries = 0; tries < 20; tries++) {
        const ProtobufCFieldDescriptor *f = &d->fields[fuzz_below(seed, d->n_fields)];
        if (f->type == PROTOBUF_C_TYPE_MESSAGE) return put_field(out, room, f, 0, seed);
    }
    return 0;
}

/* ---- edits of text ---- */

typedef struct span {
    size_t at, n;
} span;

static bool is_digit(uint8_t c) {
    return (c >= '0' && c <= '9') || c == '-' || c == '.';
}

static bool follows(const uint8_t *p, size_t at, const char *key) {
    const size_t n = strlen(key);
    return at >= n && !memcmp(p + at - n, key, n);
}

/* Some number (no key), or some text in quotes that follows one of the keys. */
static span find(const uint8_t *p, size_t size, const char *key, const char *or_key, uint64_t *seed) {
    span found = {0, 0};
    size_t seen = 0;
    for (size_t k = 0; k < size; k++) {
        size_t n = 0;
        if (key && (p[k] == '"' || p[k] == '\'') && (follows(p, k, key) || follows(p, k, or_key))) {
            for (n = 1; k + n < size && p[k + n] != p[k] && p[k + n] != '\n';) n++;
            n++;
        } else if (!key && is_digit(p[k]) && k && p[k - 1] == ' ') {
            while (k + n < size && is_digit(p[k + n])) n++;
        }
        if (n && k + n <= size && fuzz_below(seed, ++seen) == 0) found = (span){k, n};
        if (n) k += n - 1;
    }
    return found;
}

static size_t new_layer(char *out, const uint8_t *text, size_t size, uint64_t *seed) {
    const char *type = PICK(types, seed);
    const size_t name = fuzz_below(seed, 10000);
    int n = snprintf(out, ROOM, "layer { name: \"f%zu\" type: \"%s\" top: \"f%zu\" ", name, type, name);
    for (size_t k = 1 + fuzz_below(seed, 3); k; k--) {
        const span s = find(text, size, "top: ", "input: ", seed);
        if (s.n > 100) continue;
        n += snprintf(out + n, ROOM - (size_t)n, "bottom: %.*s ", (int)s.n, s.n ? (const char *)text + s.at : "");
    }
    if (fuzz_below(seed, 4)) n += (int)put_param(out + n, ROOM - (size_t)n - 8, seed);
    return (size_t)n + (size_t)snprintf(out + n, ROOM - (size_t)n, "}\n");
}

/* The parameters of some layer, with their name and braces. */
static span find_param(const uint8_t *p, size_t size, uint64_t *seed) {
    size_t k = fuzz_below(seed, size), depth = 0;
    while (k + 6 < size && memcmp(p + k, "_param", 6) != 0) k++;
    if (k + 6 >= size) return (span){0, 0};
    size_t from = k;
    while (from && p[from - 1] != ' ' && p[from - 1] != '\n') from--;
    for (; k < size; k++) {
        depth += p[k] == '{';
        if (p[k] == '}' && --depth == 0) return (span){from, k + 1 - from};
        if (p[k] == '}' && depth > size) break;
    }
    return (span){0, 0};
}

/* A line, which is a layer in most nets here; with its end. */
static span find_line(const uint8_t *p, size_t size, uint64_t *seed) {
    size_t from = fuzz_below(seed, size), to = from;
    while (from && p[from - 1] != '\n') from--;
    while (to < size && p[to] != '\n') to++;
    return (span){from, to - from + (to < size)};
}

static size_t edit_text(uint8_t *data, size_t size, size_t max, uint64_t *seed) {
    char fresh[ROOM];
    const size_t text = text_size(data, size);
    span s = {text, 0}, by;
    size_t n = 0;
    switch (fuzz_below(seed, 7)) {
    case 0: /* a number */
        s = find(data, text, NULL, NULL, seed);
        n = (size_t)snprintf(fresh, sizeof fresh, "%lld", number(fuzz_below(seed, 4) == 0, seed));
        break;
    case 1: /* a name by another of the text */
        s = find(data, text, "bottom: ", "top: ", seed);
        by = find(data, text, "top: ", "input: ", seed);
        if (by.n > sizeof fresh) return size;
        memcpy(fresh, data + by.at, n = by.n);
        break;
    case 2: /* a text by a type */
        s = find(data, text, "type: ", "type: ", seed);
        n = (size_t)snprintf(fresh, sizeof fresh, "\"%s\"", PICK(types, seed));
        break;
    case 3: n = new_layer(fresh, data, text, seed); break;
    case 4: /* other parameters */
        s = find_param(data, text, seed);
        if (s.n) n = put_param(fresh, sizeof fresh, seed);
        break;
    case 5: s = find_line(data, text, seed); break; /* less */
    default:                                        /* one again, elsewhere */
        by = find_line(data, text, seed);
        if (by.n > sizeof fresh) return size;
        memcpy(fresh, data + by.at, n = by.n);
        s = find_line(data, text, seed);
        s.n = 0;
    }
    return fuzz_splice(data, size, max, s.at, s.n, fresh, n);
}

/* ---- nets whose names fit ---- */

/* The next text in quotes behind a key, from `at` on; none: n is 0. */
static span next_of(const uint8_t *p, size_t at, size_t end, const char *key, const char *or_key) {
    for (size_t k = at; k < end; k++)
        if ((p[k] == '"' || p[k] == '\'') && (follows(p, k, key) || follows(p, k, or_key))) {
            size_t n = 1;
            while (k + n < end && p[k + n] != p[k] && p[k + n] != '\n') n++;
            if (k + n < end) return (span){k, n + 1};
        }
    return (span){0, 0};
}

static bool among(const uint8_t *p, size_t from, size_t to, span s, const char *key, const char *or_key) {
    for (span t = next_of(p, from, to, key, or_key); t.n; t = next_of(p, t.at + t.n, to, key, or_key))
        if (t.n == s.n && !memcmp(p + t.at + 1, p + s.at + 1, s.n - 2)) return true;
    return false;
}

/* Bottoms that no layer above has made become some that one has, tops that are made twice get names of their own. */
static size_t repair(uint8_t *data, size_t size, size_t max, uint64_t *seed) {
    size_t line = 0, at = 0;
    for (unsigned k = 0; k < 100; k++) {
        const size_t text = text_size(data, size);
        const span s = next_of(data, at, text, "bottom: ", "top: ");
        if (!s.n) break;
        for (size_t i = at; i < s.at; i++)
            if (data[i] == '\n') line = i + 1;
        at = s.at + s.n;
        const bool bottom = follows(data, s.at, "bottom: "), made = among(data, 0, s.at, s, "top: ", "input: ");
        char fresh[64];
        size_t n = 0;
        if (bottom && !made) {
            const span by = find(data, line, "top: ", "input: ", seed);
            if (by.n && by.n < sizeof fresh) memcpy(fresh, data + by.at, n = by.n);
        } else if (!bottom && made && !among(data, line, s.at, s, "bottom: ", "bottom: ")) {
            n = (size_t)snprintf(fresh, sizeof fresh, "\"g%zu\"", fuzz_below(seed, 10000));
        }
        if (n) size = fuzz_splice(data, size, max, s.at, s.n, fresh, n);
        if (n) at = s.at + n;
    }
    return size;
}

static size_t edit_weights(uint8_t *data, size_t size, size_t max, uint64_t *seed) {
    const size_t text = text_size(data, size);
    if (text == size) return size;
    const size_t from = text + 1;
    return from + wire_mutate(&tn_caffe__weights_net__descriptor, data + from, size - from, max - from, NULL, 0, NULL,
                              fuzz_random(seed));
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed) {
    uint64_t s = seed;
    if (fuzz_below(&s, 50) == 0) return LLVMFuzzerMutate(data, size, max);
    for (size_t edits = 1 + fuzz_below(&s, 2); edits; edits--)
        size = fuzz_below(&s, 8) ? edit_text(data, size, max, &s) : edit_weights(data, size, max, &s);
    return fuzz_below(&s, 8) ? repair(data, size, max, &s) : size;
}

/* A line of one net in the other. */
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t n_a, const uint8_t *b, size_t n_b, uint8_t *out, size_t max,
                                 unsigned seed) {
    uint64_t s = seed;
    const span line = find_line(b, text_size(b, n_b), &s), at = find_line(a, text_size(a, n_a), &s);
    if (n_a > max) return 0;
    memcpy(out, a, n_a);
    return repair(out, fuzz_splice(out, n_a, max, at.at, 0, b + line.at, line.n), max, &s);
}
