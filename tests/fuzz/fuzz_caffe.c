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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const tn_env *env = fuzz_begin();
    tn_status st = TN_OK;
    const size_t text = text_size(data, size);
    const uint8_t *weights = text < size ? data + text + 1 : NULL;
    tn_graph *g =
        tn_import_caffe_memory(env, (const char *)data, text, weights, weights ? size - text - 1 : 0, NULL, &st);
    if ((g == NULL) == (st == TN_OK)) fuzz_die("an import gives no graph and no error, or both");
    if (!g && !fuzz_error()[0]) fuzz_die("an import fails without a message: %s", tn_status_text(st));
    if (g) fuzz_passes(env, g);
    tn_graph_free(g);
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

static int small(uint64_t *seed) {
    static const int often[] = {0, 1, 1, 2, 2, 3, 4, 5, 8, -1, -2};
    return PICK(often, seed);
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
    default:
        if (fuzz_below(seed, 8))
            snprintf(value, sizeof value, "%d", small(seed));
        else
            snprintf(value, sizeof value, "%lld", (long long)fuzz_int(seed));
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

/* Some number (quoted false) or some text in quotes. */
static span find(const uint8_t *p, size_t size, bool quoted, uint64_t *seed) {
    span found = {0, 0};
    size_t seen = 0;
    for (size_t k = 0; k < size; k++) {
        size_t n = 0;
        if (quoted && p[k] == '"') {
            for (n = 1; k + n < size && p[k + n] != '"' && p[k + n] != '\n';) n++;
            n++;
        } else if (!quoted && is_digit(p[k]) && k && p[k - 1] == ' ') {
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
    int n = snprintf(out, ROOM, "\nlayer { name: \"f%zu\" type: \"%s\" top: \"f%zu\" ", name, type, name);
    for (size_t k = 1 + fuzz_below(seed, 3); k; k--) {
        const span s = find(text, size, true, seed);
        if (s.n > 100) continue;
        n += snprintf(out + n, ROOM - (size_t)n, "bottom: %.*s ", (int)s.n, s.n ? (const char *)text + s.at : "");
    }
    if (fuzz_below(seed, 4)) n += (int)put_param(out + n, ROOM - (size_t)n - 8, seed);
    return (size_t)n + (size_t)snprintf(out + n, ROOM - (size_t)n, "}\n");
}

static size_t edit_text(uint8_t *data, size_t size, size_t max, uint64_t *seed) {
    char fresh[ROOM];
    const size_t text = text_size(data, size), what = fuzz_below(seed, 7);
    span s = {text, 0};
    size_t n = 0;
    switch (what) {
    case 0: /* a number */
        s = find(data, text, false, seed);
        n = fuzz_below(seed, 6) ? (size_t)snprintf(fresh, sizeof fresh, "%d", small(seed))
                                : (size_t)snprintf(fresh, sizeof fresh, "%lld", (long long)fuzz_int(seed));
        break;
    case 1: { /* a name by another of the text */
        s = find(data, text, true, seed);
        const span by = find(data, text, true, seed);
        if (by.n > 200) return size;
        memcpy(fresh, data + by.at, n = by.n);
        break;
    }
    case 2: /* a text by a type */
        s = find(data, text, true, seed);
        n = (size_t)snprintf(fresh, sizeof fresh, "\"%s\"", PICK(types, seed));
        break;
    case 3: n = new_layer(fresh, data, text, seed); break;
    case 4: /* parameters where a layer has some already */
        for (size_t k = fuzz_below(seed, text); k + 6 < text; k++)
            if (!memcmp(data + k, "_param", 6)) {
                while (k && data[k - 1] != ' ' && data[k - 1] != '\n') k--;
                s.at = k;
                break;
            }
        n = put_param(fresh, sizeof fresh, seed);
        break;
    case 5: { /* a line less */
        size_t from = fuzz_below(seed, text), to = from;
        while (from && data[from - 1] != '\n') from--;
        while (to < text && data[to] != '\n') to++;
        s = (span){from, to - from};
        break;
    }
    default: /* part of the text again */
        s.at = fuzz_below(seed, text);
        n = fuzz_below(seed, text - s.at);
        if (n > sizeof fresh) n = sizeof fresh;
        memcpy(fresh, data + s.at, n);
    }
    return fuzz_splice(data, size, max, s.at, s.n, fresh, n);
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
    for (size_t edits = 1 + fuzz_below(&s, 3); edits; edits--)
        size = fuzz_below(&s, 5) ? edit_text(data, size, max, &s) : edit_weights(data, size, max, &s);
    return size;
}

/* The layers of one net behind those of the other. */
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t n_a, const uint8_t *b, size_t n_b, uint8_t *out, size_t max,
                                 unsigned seed) {
    uint64_t s = seed;
    const size_t text = text_size(a, n_a), other = text_size(b, n_b), from = fuzz_below(&s, other);
    if (n_a > max) return 0;
    memcpy(out, a, n_a);
    return fuzz_splice(out, n_a, max, text, 0, b + from, fuzz_below(&s, other - from));
}
