/* wire.c: see wire.h.  A message is looked at as a list of spots, one a field at any depth, each of which knows the
 * field that it stands in; an edit replaces bytes and then the lengths of the fields around, from the innermost out. */
#include "tests/fuzz/wire.h"

#include <string.h>

enum { MAX_SPOTS = 4096, MAX_DEPTH = 64, ROOM = 1 << 16 };
enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

typedef struct spot {
    const ProtobufCMessageDescriptor *in; /* the message that it is a field of */
    const ProtobufCFieldDescriptor *field;
    uint32_t parent; /* the field whose content is that message, plus 1; 0: the whole */
    uint32_t wire;
    size_t start, body, stop; /* key, content, end */
} spot;

typedef struct message {
    uint8_t *data;
    size_t size, max;
    spot *spots;
    size_t n;
} message;

static size_t get_varint(const uint8_t *p, size_t size, uint64_t *v) {
    *v = 0;
    for (size_t k = 0; k < size && k < 10; k++) {
        *v |= (uint64_t)(p[k] & 0x7f) << (7 * k);
        if (!(p[k] & 0x80)) return k + 1;
    }
    return 0;
}

static size_t put_varint(uint8_t *p, uint64_t v) {
    size_t n = 0;
    for (; v >= 0x80; v >>= 7) p[n++] = (uint8_t)(v | 0x80);
    p[n++] = (uint8_t)v;
    return n;
}

/* Reads the field at `at`; false where it is damaged. */
static bool read_field(const uint8_t *data, size_t at, size_t end, uint64_t *key, size_t *body, size_t *stop) {
    uint64_t v;
    size_t n = get_varint(data + at, end - at, key);
    if (!n) return false;
    *body = at + n;
    switch (*key & 7) {
    case VARINT: n = get_varint(data + *body, end - *body, &v); break;
    case FIXED64: n = 8; break;
    case FIXED32: n = 4; break;
    case BYTES:
        n = get_varint(data + *body, end - *body, &v);
        if (!n || v > end - *body - n) return false;
        *body += n;
        *stop = *body + (size_t)v;
        return true;
    default: return false;
    }
    *stop = *body + n;
    return n && n <= end - *body;
}

static void find(message *m, const ProtobufCMessageDescriptor *desc, size_t at, size_t end, uint32_t parent,
                 int depth) {
    while (at < end && m->n < MAX_SPOTS) {
        uint64_t key;
        size_t body, stop;
        if (!read_field(m->data, at, end, &key, &body, &stop)) return;
        const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field(desc, (unsigned)(key >> 3));
        m->spots[m->n++] = (spot){desc, f, parent, (uint32_t)(key & 7), at, body, stop};
        if (f && f->type == PROTOBUF_C_TYPE_MESSAGE && (key & 7) == BYTES && depth < MAX_DEPTH)
            find(m, f->descriptor, body, stop, (uint32_t)m->n, depth + 1);
        at = stop;
    }
}

/* Replaces bytes in the content of the field `parent` (0: of the whole) and sets the lengths around them. */
static void replace(message *m, uint32_t parent, size_t at, size_t old, const void *with, size_t n) {
    size_t size = fuzz_splice(m->data, m->size, m->max, at, old, with, n);
    if (size == m->size && old != n) return; /* did not fit */
    int64_t grown = (int64_t)size - (int64_t)m->size;
    m->size = size;
    for (; parent; parent = m->spots[parent - 1].parent) {
        const spot *s = &m->spots[parent - 1];
        uint8_t length[10];
        uint64_t key;
        const size_t behind_key = s->start + get_varint(m->data + s->start, m->size - s->start, &key);
        const size_t bytes = put_varint(length, (uint64_t)((int64_t)(s->stop - s->body) + grown));
        size = fuzz_splice(m->data, m->size, m->max, behind_key, s->body - behind_key, length, bytes);
        if (size == m->size && bytes != s->body - behind_key)
            return; /* full: a damaged message, which is an input too */
        grown += (int64_t)size - (int64_t)m->size;
        m->size = size;
    }
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

static uint32_t wire_of(const ProtobufCFieldDescriptor *f) {
    switch (f->type) {
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FLOAT: return FIXED32;
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_DOUBLE: return FIXED64;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE: return BYTES;
    default: return VARINT;
    }
}

/* A number as the field's type is written. */
static size_t put_number(const ProtobufCFieldDescriptor *f, uint8_t *out, uint64_t *seed) {
    static const double odd[] = {0, 1, -1, 0.5, 2, 1e-30, 1e30, 65504, 3.5e38};
    const double real = odd[fuzz_below(seed, sizeof odd / sizeof *odd)];
    const float single = (float)real;
    int64_t v = fuzz_int(seed);
    switch (f->type) {
    case PROTOBUF_C_TYPE_FLOAT: memcpy(out, &single, sizeof single); return sizeof single;
    case PROTOBUF_C_TYPE_DOUBLE: memcpy(out, &real, sizeof real); return sizeof real;
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SINT64: return put_varint(out, (uint64_t)v << 1 ^ (uint64_t)(v >> 63));
    default: break;
    }
    if (wire_of(f) == VARINT) return put_varint(out, (uint64_t)v);
    memcpy(out, &v, sizeof v);
    return wire_of(f) == FIXED32 ? 4 : 8;
}

/* The content of some string of the message, of the same field or of any. */
static const spot *any_string(const message *m, const ProtobufCFieldDescriptor *like, uint64_t *seed) {
    const spot *found = NULL;
    size_t n = 0;
    for (size_t k = 0; k < m->n; k++) {
        const spot *s = &m->spots[k];
        if (!s->field || s->field->type != PROTOBUF_C_TYPE_STRING || s->wire != BYTES || (like && s->field != like))
            continue;
        if (fuzz_below(seed, ++n) == 0) found = s;
    }
    return found;
}

/* Content for a field, at most ROOM bytes; of a message, a few fields. */
static size_t make_value(const message *m, const ProtobufCMessageDescriptor *in, const ProtobufCFieldDescriptor *f,
                         uint8_t *out, wire_word word, uint64_t *seed, int depth);

static size_t make_field(const message *m, const ProtobufCMessageDescriptor *in, const ProtobufCFieldDescriptor *f,
                         uint8_t *out, wire_word word, uint64_t *seed, int depth) {
    uint8_t value[ROOM / 4];
    const size_t n = make_value(m, in, f, value, word, seed, depth);
    size_t at = put_varint(out, (uint64_t)f->id << 3 | wire_of(f));
    if (wire_of(f) == BYTES) at += put_varint(out + at, n);
    memcpy(out + at, value, n);
    return at + n;
}

static size_t make_value(const message *m, const ProtobufCMessageDescriptor *in, const ProtobufCFieldDescriptor *f,
                         uint8_t *out, wire_word word, uint64_t *seed, int depth) {
    size_t n = 0;
    if (wire_of(f) != BYTES) return put_number(f, out, seed);
    if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
        const ProtobufCMessageDescriptor *d = f->descriptor;
        for (size_t k = fuzz_below(seed, 4) + 1; k && depth < 3 && d->n_fields; k--)
            if (n < ROOM / 16)
                n += make_field(m, d, &d->fields[fuzz_below(seed, d->n_fields)], out + n, word, seed, depth + 1);
        return n < ROOM / 4 ? n : 0;
    }
    const char *w = f->type == PROTOBUF_C_TYPE_STRING && word && fuzz_below(seed, 2) ? word(in, f, seed) : NULL;
    const spot *s = w ? NULL : any_string(m, fuzz_below(seed, 3) ? f : NULL, seed);
    const void *from = w ? (const void *)w : s ? (const void *)(m->data + s->body) : NULL;
    n = w ? strlen(w) : s ? s->stop - s->body : 0;
    if (n > ROOM / 16) n = ROOM / 16;
    if (n) memcpy(out, from, n);
    return n;
}

/* ---- edits ------------------------------------------------------------------------------------------------------- */

/* One element of a packed list, or one value. */
static void change_number(message *m, const spot *s, uint64_t *seed) {
    uint8_t value[16];
    uint64_t v;
    const size_t n = put_number(s->field, value, seed);
    if (s->wire != BYTES) {
        replace(m, s->parent, s->body, s->stop - s->body, value, n);
        return;
    }
    size_t at = s->body, length = 0, width = wire_of(s->field) == FIXED32 ? 4 : 8, k = fuzz_below(seed, 8);
    for (;; at += length, k--) {
        length = wire_of(s->field) == VARINT ? get_varint(m->data + at, s->stop - at, &v) : width;
        if (!length || length > s->stop - at || !k) break;
    }
    if (length > s->stop - at) length = 0;
    const size_t what = fuzz_below(seed, 4);
    replace(m, (uint32_t)(s - m->spots) + 1, at, what == 0 ? 0 : length, value, what == 1 ? 0 : n);
}

static void change_bytes(message *m, const spot *s) {
    uint8_t value[ROOM];
    size_t n = s->stop - s->body;
    if (n > ROOM / 2) return;
    memcpy(value, m->data + s->body, n);
    n = LLVMFuzzerMutate(value, n, n + 64);
    replace(m, (uint32_t)(s - m->spots) + 1, s->body, s->stop - s->body, value, n);
}

static void change(message *m, const spot *s, wire_word word, uint64_t *seed) {
    uint8_t value[ROOM];
    if (!s->field || s->field->type == PROTOBUF_C_TYPE_MESSAGE) return;
    if (wire_of(s->field) != BYTES)
        change_number(m, s, seed);
    else if (s->wire == BYTES && (s->field->type == PROTOBUF_C_TYPE_BYTES || fuzz_below(seed, 6) == 0))
        change_bytes(m, s);
    else if (s->wire == BYTES) {
        const size_t n = make_value(m, s->in, s->field, value, word, seed, 0);
        replace(m, (uint32_t)(s - m->spots) + 1, s->body, s->stop - s->body, value, n);
    }
}

/* A new field of some message, at its end or in front of another of its fields. */
static void insert(message *m, const ProtobufCMessageDescriptor *desc, wire_word word, uint64_t *seed) {
    uint8_t value[ROOM];
    const size_t k = fuzz_below(seed, m->n + 1);
    const spot *s = k < m->n ? &m->spots[k] : NULL;
    uint32_t parent = s ? s->parent : 0;
    size_t at = s ? s->start : m->size;
    if (s && s->field && s->field->type == PROTOBUF_C_TYPE_MESSAGE && s->wire == BYTES && fuzz_below(seed, 2))
        parent = (uint32_t)k + 1, at = s->stop;
    const ProtobufCMessageDescriptor *d = parent ? m->spots[parent - 1].field->descriptor : desc;
    if (!d->n_fields) return;
    const size_t n = make_field(m, d, &d->fields[fuzz_below(seed, d->n_fields)], value, word, seed, 0);
    replace(m, parent, at, 0, value, n);
}

/* A field of the same kind as *s of this message or of the other one. */
static const spot *alike(const message *m, const spot *s, uint64_t *seed) {
    const spot *found = NULL;
    size_t n = 0;
    for (size_t k = 0; k < m->n; k++)
        if (m->spots[k].field == s->field && &m->spots[k] != s && fuzz_below(seed, ++n) == 0) found = &m->spots[k];
    return found;
}

/* A copy of some field, over another of its kind or beside it. */
static void copy(message *m, const message *from, const spot *to, uint64_t *seed) {
    static uint8_t value[ROOM];
    const spot *s = to->field ? alike(from, to, seed) : NULL;
    if (!s) return;
    const size_t n = s->stop - s->start;
    if (n > sizeof value) return;
    memcpy(value, from->data + s->start, n);
    replace(m, to->parent, to->start, fuzz_below(seed, 2) ? to->stop - to->start : 0, value, n);
}

size_t wire_mutate(const ProtobufCMessageDescriptor *desc, uint8_t *data, size_t size, size_t max, const uint8_t *other,
                   size_t n_other, wire_word word, uint64_t seed) {
    static spot spots[MAX_SPOTS], other_spots[MAX_SPOTS];
    static uint8_t other_data[1 << 20];
    message m = {data, size, max, spots, 0}, o = {other_data, 0, 0, other_spots, 0};
    find(&m, desc, 0, size, 0, 0);
    if (other && n_other <= sizeof other_data) {
        memcpy(other_data, other, n_other);
        o.size = n_other;
        find(&o, desc, 0, n_other, 0, 0);
    }
    const spot *s = m.n ? &spots[fuzz_below(&seed, m.n)] : NULL;
    const size_t what = fuzz_below(&seed, 12);
    if (!s || what == 0)
        insert(&m, desc, word, &seed);
    else if (o.n && what < 8)
        copy(&m, &o, s, &seed);
    else if (what == 1)
        replace(&m, s->parent, s->start, s->stop - s->start, NULL, 0);
    else if (what <= 3)
        copy(&m, &m, s, &seed);
    else if (what == 4)
        insert(&m, desc, word, &seed);
    else {
        for (int tries = 0; tries < 8 && (!s->field || s->field->type == PROTOBUF_C_TYPE_MESSAGE); tries++)
            s = &spots[fuzz_below(&seed, m.n)];
        change(&m, s, word, &seed);
    }
    return m.size;
}

size_t wire_append(const ProtobufCMessageDescriptor *desc, uint8_t *data, size_t size, size_t max, uint32_t id,
                   const void *content, size_t n) {
    spot s = {.in = desc};
    uint64_t key;
    message m = {data, size, max, &s, 1};
    for (size_t at = 0; at < size && read_field(data, at, size, &key, &s.body, &s.stop); at = s.stop) {
        if (key != ((uint64_t)id << 3 | BYTES)) continue;
        s.start = at;
        replace(&m, 1, s.stop, 0, content, n);
        break;
    }
    return m.size;
}

void wire_each(uint8_t *data, size_t size, uint32_t id, void (*each)(void *user, uint8_t *body, size_t size),
               void *user) {
    uint64_t key;
    size_t body, stop;
    for (size_t at = 0; at < size && read_field(data, at, size, &key, &body, &stop); at = stop)
        if (key >> 3 == id) each(user, data + body, stop - body);
}
