/* wire.c: the first look at a serialised message.
 *
 * protobuf-c's unpacker recurses without a limit and copies every byte string.  Before it runs, this pass walks the
 * wire format along the schema's descriptors and writes a slimmer equivalent: nesting is limited, lengths and wire
 * types are checked, unknown fields are dropped, and long bytes (TensorProto.raw_data) are replaced by (offset, size) into the
 * source, so that unpacking costs memory in proportion to the model's structure and weights stay in the mapping. */
#include "frontend/onnx/file/reader.h"
#include "tenon/internal/memory.h"

#include <stdio.h>
#include <string.h>

enum {
    MAX_DEPTH = 128,   /* Model -> Graph -> Node -> Attribute -> Graph ...: about 40 nested graphs */
    INLINE_RAW = 64,   /* bytes below this many stay in the message */
    PADDED_LENGTH = 5, /* nested lengths are written as 5-byte varints and filled in afterwards */
    FIELD_MAPPED = 536870000
};
enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

const tn_wire_format tn_onnx_format = {.file = "an ONNX file", .message = "TensorProto", .bytes = {9}};

typedef struct walker {
    const tn_env *env;
    const tn_wire_format *format;
    const char *source;
    const uint8_t *base;
    uint8_t *out;
    size_t n, cap;
} walker;

static tn_status damaged(const walker *w, const uint8_t *at, const ProtobufCMessageDescriptor *d, const char *what) {
    char hint[128];
    snprintf(hint, sizeof hint, "the file is truncated or damaged, or not %.40s: fetch or export it again",
             w->format->file);
    return tn_fail(w->env, TN_E_FORMAT, w->source, hint, "%s in %s at byte %zu", what, d->short_name,
                   (size_t)(at - w->base));
}

static bool room(walker *w, size_t more) {
    uint8_t *p = tn_grow(w->env, w->out, &w->cap, w->n + more, 1);
    if (p) w->out = p;
    return p != NULL;
}

static bool put(walker *w, const uint8_t *p, size_t n) {
    if (!room(w, n)) return false;
    if (n) memcpy(w->out + w->n, p, n);
    w->n += n;
    return true;
}

static bool put_varint(walker *w, uint64_t v) {
    uint8_t b[10];
    size_t n = 0;
    for (; v >= 0x80; v >>= 7) b[n++] = (uint8_t)(v | 0x80);
    b[n++] = (uint8_t)v;
    return put(w, b, n);
}

/* Reads a varint of at most 64 bits; NULL when it overruns. */
static const uint8_t *get_varint(const uint8_t *p, const uint8_t *end, uint64_t *v) {
    *v = 0;
    for (unsigned shift = 0; p < end && shift < 64; shift += 7) {
        uint8_t b = *p++;
        *v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) return p;
    }
    return NULL;
}

/* The end of a field's payload that starts at p; NULL when it overruns.  *body is where a byte string's content
 * starts. */
static const uint8_t *payload(const uint8_t *p, const uint8_t *end, unsigned wire, const uint8_t **body) {
    uint64_t v;
    *body = p;
    switch (wire) {
    case WIRE_VARINT: return get_varint(p, end, &v);
    case WIRE_64: return end - p < 8 ? NULL : p + 8;
    case WIRE_32: return end - p < 4 ? NULL : p + 4;
    case WIRE_BYTES:
        p = get_varint(p, end, &v);
        if (!p || v > (uint64_t)(end - p)) return NULL;
        *body = p;
        return p + v;
    default: return NULL;
    }
}

static tn_status walk(walker *w, const ProtobufCMessageDescriptor *d, const uint8_t *p, const uint8_t *end,
                      unsigned depth);

static tn_status walk_nested(walker *w, const ProtobufCFieldDescriptor *f, const uint8_t *body, const uint8_t *stop,
                             unsigned depth) {
    static const uint8_t blank[PADDED_LENGTH] = {0};
    if (!put_varint(w, (uint64_t)f->id << 3 | WIRE_BYTES) || !put(w, blank, PADDED_LENGTH)) return TN_E_MEMORY;
    size_t start = w->n;
    tn_status st = walk(w, f->descriptor, body, stop, depth + 1);
    if (st) return st;
    size_t len = w->n - start;
    if (len > INT32_MAX) return damaged(w, body, f->descriptor, "a message of more than 2 GiB");
    for (size_t k = 0; k < PADDED_LENGTH; k++)
        w->out[start - PADDED_LENGTH + k] = (uint8_t)(((len >> (7 * k)) & 0x7f) | (k + 1 < PADDED_LENGTH ? 0x80 : 0));
    return TN_OK;
}

/* A bit for each singular message field; fields of a oneof share one.  The unpacker would merge repetitions. */
static uint64_t once_bit(const ProtobufCMessageDescriptor *d, const ProtobufCFieldDescriptor *f) {
    if (f->label == PROTOBUF_C_LABEL_REPEATED) return 0;
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) return (uint64_t)1 << 63;
    return (uint64_t)1 << ((size_t)(f - d->fields) % 63);
}

static bool is_large(const walker *w, const ProtobufCMessageDescriptor *d, const ProtobufCFieldDescriptor *f,
                     ptrdiff_t size) {
    return size >= INLINE_RAW && (f->id == w->format->bytes[0] || f->id == w->format->bytes[1]) &&
           !strcmp(d->short_name, w->format->message);
}

static tn_status walk(walker *w, const ProtobufCMessageDescriptor *d, const uint8_t *p, const uint8_t *end,
                      unsigned depth) {
    if (depth > MAX_DEPTH) return damaged(w, p, d, "messages nested too deeply");
    uint64_t seen = 0;
    while (p < end) {
        const uint8_t *field = p, *body;
        uint64_t key;
        p = get_varint(p, end, &key);
        if (!p || key >> 32 || !(key >> 3)) return damaged(w, field, d, "a malformed field");
        const uint8_t *stop = payload(p, end, key & 7, &body);
        if (!stop) return damaged(w, field, d, "a field that overruns its message");
        const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field(d, (unsigned)(key >> 3));
        p = stop;
        if (!f || f->id >= FIELD_MAPPED) continue;
        if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
            if ((key & 7) != WIRE_BYTES) return damaged(w, field, d, "a field of the wrong wire type");
            uint64_t bit = once_bit(d, f);
            if (seen & bit) return damaged(w, field, d, "a field that may occur only once");
            seen |= bit;
            tn_status st = walk_nested(w, f, body, stop, depth);
            if (st) return st;
        } else if (is_large(w, d, f, stop - body)) {
            if ((key & 7) != WIRE_BYTES) return damaged(w, field, d, "a field of the wrong wire type");
            if (!put_varint(w, (uint64_t)FIELD_MAPPED << 3) || !put_varint(w, (uint64_t)(body - w->base)) ||
                !put_varint(w, (uint64_t)(FIELD_MAPPED + 1) << 3) || !put_varint(w, (uint64_t)(stop - body)))
                return TN_E_MEMORY;
        } else if (!put(w, field, (size_t)(stop - field))) {
            return TN_E_MEMORY;
        }
    }
    return TN_OK;
}

tn_status tn_onnx_strip(const tn_env *env, const char *source, const tn_wire_format *format,
                        const ProtobufCMessageDescriptor *desc, const uint8_t *data, size_t size, uint8_t **out,
                        size_t *n, size_t *cap) {
    walker w = {.env = env, .format = format, .source = source, .base = data};
    tn_status st = room(&w, 1) ? walk(&w, desc, data, data + size, 0) : TN_E_MEMORY;
    if (st) {
        tn_free(env, w.out, w.cap);
        return st == TN_E_MEMORY ? tn_fail(env, st, source, "", "out of memory while reading") : st;
    }
    *out = w.out;
    *n = w.n;
    *cap = w.cap;
    return TN_OK;
}
