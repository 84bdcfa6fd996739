/* prototxt.c: text to the wire format, along the schema's descriptors.
 *
 * A message in the text becomes a message on the wire as it is read, its length filled in when it ends; protobuf-c's
 * unpacker, which knows defaults and lists, does the rest.  What is nested is limited in depth, what may occur once is
 * checked, and every error has a line and a column. */
#include "frontend/caffe/prototxt.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "ir/text/text.h"
#include "tenon/internal/memory.h"

enum {
    PADDED_LENGTH = 5, /* nested lengths are written as 5-byte varints and filled in afterwards */
    MAX_FIELDS = 256,  /* of a message of the schema */
    MAX_NAME = 100     /* of a name or number that is more than skipped */
};
enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

typedef struct bytes {
    uint8_t *p;
    size_t n, cap;
} bytes;

typedef struct reader {
    const tn_env *env;
    const char *source, *text, *p, *end;
    bytes out, word;     /* word: the string that was read last */
    bytes unknown;       /* what the innermost message that is told of it has still to be told, each ended by 0 */
    const char *counted; /* up to where lines were counted */
    size_t line;
    unsigned depth, tellers;
    tn_status status; /* sticky */
} reader;

/* ---- errors and memory ------------------------------------------------------------------------------------------- */

/* Mostly counts on from where it was asked before. */
static size_t line_of(reader *r, const char *at) {
    if (!r->counted || at < r->counted) r->counted = r->text, r->line = 1;
    for (; r->counted < at; r->counted++) r->line += *r->counted == '\n';
    return r->line;
}

__attribute__((format(printf, 3, 4))) static bool fail(reader *r, const char *at, const char *fmt, ...) {
    char message[300];
    const char *start = at;
    if (r->status) return false;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    while (start > r->text && start[-1] != '\n') start--;
    r->status = tn_fail(r->env, TN_E_FORMAT, r->source, "", "line %zu, column %zu: %s", line_of(r, at),
                        (size_t)(at - start) + 1, message);
    return false;
}

static bool put(reader *r, bytes *b, const void *p, size_t n) {
    uint8_t *more = r->status ? NULL : tn_grow(r->env, b->p, &b->cap, b->n + n, 1);
    if (!more) {
        if (!r->status) r->status = tn_fail(r->env, TN_E_MEMORY, r->source, "", "out of memory while reading");
        return false;
    }
    b->p = more;
    if (n) memcpy(b->p + b->n, p, n);
    b->n += n;
    return true;
}

static bool put_varint(reader *r, uint64_t v) {
    uint8_t b[10];
    size_t n = 0;
    for (; v >= 0x80; v >>= 7) b[n++] = (uint8_t)(v | 0x80);
    b[n++] = (uint8_t)v;
    return put(r, &r->out, b, n);
}

static bool put_key(reader *r, const ProtobufCFieldDescriptor *f, unsigned wire) {
    return put_varint(r, (uint64_t)f->id << 3 | wire);
}

/* ---- tokens ------------------------------------------------------------------------------------------------------ */

static void skip_space(reader *r) {
    for (; r->p < r->end; r->p++) {
        if (*r->p == '#')
            while (r->p < r->end && *r->p != '\n') r->p++;
        if (r->p == r->end) return;
        if (*r->p != ' ' && (*r->p < '\t' || *r->p > '\r')) return;
    }
}

static char peek(reader *r) {
    skip_space(r);
    return r->p < r->end ? *r->p : 0;
}

static bool take(reader *r, char c) {
    if (peek(r) != c || r->p == r->end) return false;
    r->p++;
    return true;
}

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* A name; NULL (an error) where there is none. */
static const char *take_name(reader *r, char name[MAX_NAME]) {
    const char c = peek(r), *at = r->p;
    if (!is_word(c) || (c >= '0' && c <= '9')) {
        fail(r, at, r->p == r->end ? "the text ends where a name is wanted" : "a name is wanted");
        return NULL;
    }
    while (r->p < r->end && is_word(*r->p)) r->p++;
    if (r->p - at >= MAX_NAME) {
        fail(r, at, "a name of more than %d characters", MAX_NAME - 1);
        return NULL;
    }
    memcpy(name, at, (size_t)(r->p - at));
    name[r->p - at] = 0;
    return name;
}

/* A number with its sign, or a name ("inf", "true"). */
static bool take_scalar(reader *r, char text[MAX_NAME]) {
    size_t n = 0;
    skip_space(r);
    const char *at = r->p;
    if (r->p < r->end && *r->p == '-') {
        text[n++] = '-';
        r->p++;
        skip_space(r);
    }
    while (r->p < r->end && n + 1 < MAX_NAME &&
           (is_word(*r->p) || *r->p == '.' || ((*r->p == '+' || *r->p == '-') && (r->p[-1] == 'e' || r->p[-1] == 'E'))))
        text[n++] = *r->p++;
    text[n] = 0;
    if (n + 1 == MAX_NAME) return fail(r, at, "a number or name of more than %d characters", MAX_NAME - 2);
    return n && strcmp(text, "-") != 0 ? true : fail(r, at, "a value is wanted");
}

static int digit_of(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : 99;
}

static bool take_escape(reader *r) {
    static const char names[] = "abfnrtv\\'\"?", values[] = "\a\b\f\n\r\t\v\\'\"?";
    const char *at = r->p - 1, *known;
    uint8_t c;
    if (r->p == r->end) return fail(r, at, "the text ends in a string");
    if ((known = strchr(names, *r->p)) && *r->p) {
        c = (uint8_t)values[known - names];
        r->p++;
    } else {
        const int base = *r->p == 'x' || *r->p == 'X' ? 16 : 8;
        const char *from = r->p += base == 16;
        int v = 0;
        while (r->p < r->end && r->p - from < (base == 16 ? 2 : 3) && digit_of(*r->p) < base)
            v = v * base + digit_of(*r->p++);
        if (r->p == from || v > 255) return fail(r, at, "an escape that does not exist");
        c = (uint8_t)v;
    }
    return put(r, &r->word, &c, 1);
}

/* Strings that stand beside each other are one; it is left in r->word. */
static bool take_string(reader *r) {
    r->word.n = 0;
    char quote = peek(r);
    if (quote != '"' && quote != '\'') return fail(r, r->p, "a string in quotes is wanted");
    for (; quote == '"' || quote == '\''; quote = peek(r)) {
        const char *at = r->p++;
        while (r->p < r->end && *r->p != quote && *r->p != '\n')
            if (*r->p++ == '\\' ? !take_escape(r) : !put(r, &r->word, r->p - 1, 1)) return false;
        if (r->p == r->end || *r->p == '\n') return fail(r, at, "a string that does not end on its line");
        r->p++;
    }
    return true;
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

/* Of whole numbers: decimal, 0x or 0 in front. */
static bool parse_int(const char *text, bool *negative, uint64_t *v) {
    char *end;
    *negative = *text == '-';
    text += *negative;
    if (*text < '0' || *text > '9') return false;
    errno = 0;
    *v = strtoull(text, &end, 0);
    return !*end && !errno;
}

static bool put_int(reader *r, const ProtobufCFieldDescriptor *f, const char *at, const char *text) {
    const bool is_signed = f->type == PROTOBUF_C_TYPE_INT32 || f->type == PROTOBUF_C_TYPE_INT64,
               narrow = f->type == PROTOBUF_C_TYPE_INT32 || f->type == PROTOBUF_C_TYPE_UINT32;
    bool negative;
    uint64_t v;
    if (!parse_int(text, &negative, &v)) return fail(r, at, "'%s' is no whole number, which %s wants", text, f->name);
    const uint64_t most = narrow ? (is_signed ? INT32_MAX : UINT32_MAX) : (is_signed ? INT64_MAX : UINT64_MAX);
    if (negative && !is_signed && v) return fail(r, at, "%s cannot be negative", f->name);
    if (v > most + (uint64_t)(negative && is_signed)) return fail(r, at, "%s is out of range for %s", text, f->name);
    return put_key(r, f, WIRE_VARINT) && put_varint(r, negative ? 0 - v : v);
}

static bool put_float(reader *r, const ProtobufCFieldDescriptor *f, const char *at, const char *text) {
    char *end, number[MAX_NAME];
    const size_t n = strlen(text);
    const bool hex = strstr(text, "0x") || strstr(text, "0X");
    memcpy(number, text, n + 1);
    if (n > 1 && !hex && (number[n - 1] == 'f' || number[n - 1] == 'F') &&
        (digit_of(number[n - 2]) < 10 || number[n - 2] == '.'))
        number[n - 1] = 0; /* 1.5f */
    const float v = (float)tn_read_num(number, &end);
    if (hex || *end || end == number) return fail(r, at, "'%s' is no number, which %s wants", text, f->name);
    return put_key(r, f, WIRE_32) && put(r, &r->out, &v, sizeof v);
}

static bool put_bool(reader *r, const ProtobufCFieldDescriptor *f, const char *at, const char *text) {
    static const char *const words[] = {"false", "true", "False", "True", "f", "t", "0", "1"};
    for (size_t k = 0; k < sizeof words / sizeof *words; k++)
        if (!strcmp(text, words[k])) return put_key(r, f, WIRE_VARINT) && put_varint(r, k & 1);
    return fail(r, at, "'%s' is neither true nor false, one of which %s wants", text, f->name);
}

/* Tells the innermost message that wants to know; false (an error) where none does. */
static bool tell(reader *r, const char *at, const char *what) {
    char note[MAX_NAME * 2 + 32];
    if (!r->tellers) return fail(r, at, "there is no '%s' here", what);
    const int n = snprintf(note, sizeof note, "%s (line %zu)", what, line_of(r, at));
    return put(r, &r->unknown, note, (size_t)n + 1);
}

static bool put_enum(reader *r, const ProtobufCFieldDescriptor *f, const char *at, const char *text) {
    const ProtobufCEnumDescriptor *e = f->descriptor;
    const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value_by_name(e, text);
    bool negative;
    uint64_t n;
    char what[MAX_NAME * 2];
    if (!v && parse_int(text, &negative, &n) && n <= INT32_MAX)
        v = protobuf_c_enum_descriptor_get_value(e, negative ? -(int)n : (int)n);
    if (v) return put_key(r, f, WIRE_VARINT) && put_varint(r, (uint64_t)(int64_t)v->value);
    snprintf(what, sizeof what, "%.90s: %.99s", f->name, text);
    return tell(r, at, what);
}

/* Bytes may also be a word: an enumerator that the schema does not name. */
static bool put_text(reader *r, const ProtobufCFieldDescriptor *f) {
    char name[MAX_NAME];
    const char *at = r->p;
    if (f->type == PROTOBUF_C_TYPE_BYTES && is_word(peek(r))) {
        if (!take_name(r, name)) return false;
        r->word.n = 0;
        if (!put(r, &r->word, name, strlen(name))) return false;
    } else {
        if (!take_string(r)) return false;
        if (r->word.n && memchr(r->word.p, 0, r->word.n)) return fail(r, at, "a character 0 in %s", f->name);
    }
    return put_key(r, f, WIRE_BYTES) && put_varint(r, r->word.n) && put(r, &r->out, r->word.p, r->word.n);
}

static bool put_value(reader *r, const ProtobufCFieldDescriptor *f) {
    char text[MAX_NAME];
    skip_space(r);
    const char *at = r->p;
    if (f->type == PROTOBUF_C_TYPE_STRING || f->type == PROTOBUF_C_TYPE_BYTES) return put_text(r, f);
    if (!take_scalar(r, text)) return false;
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_UINT64: return put_int(r, f, at, text);
    case PROTOBUF_C_TYPE_FLOAT: return put_float(r, f, at, text);
    case PROTOBUF_C_TYPE_BOOL: return put_bool(r, f, at, text);
    case PROTOBUF_C_TYPE_ENUM: return put_enum(r, f, at, text);
    default: return fail(r, at, "%s cannot be given in a text", f->name);
    }
}

/* ---- what is skipped --------------------------------------------------------------------------------------------- */

static bool skip_fields(reader *r, char close);

static bool skip_one(reader *r) {
    char text[MAX_NAME];
    const char c = peek(r);
    if (c == '{' || c == '<') {
        r->p++;
        return skip_fields(r, c == '{' ? '}' : '>');
    }
    return c == '"' || c == '\'' ? take_string(r) : take_scalar(r, text);
}

/* What follows a name. */
static bool skip_value(reader *r) {
    const bool colon = take(r, ':');
    const char c = peek(r);
    if (!colon && c != '{' && c != '<') return fail(r, r->p, "a colon is wanted");
    if (!take(r, '[')) return skip_one(r);
    if (take(r, ']')) return true;
    do
        if (!skip_one(r)) return false;
    while (take(r, ','));
    return take(r, ']') ? true : fail(r, r->p, "a list wants , or ]");
}

static bool skip_fields(reader *r, char close) {
    char name[MAX_NAME];
    if (++r->depth > TN_PROTOTXT_DEPTH) return fail(r, r->p, "messages nested more than %d deep", TN_PROTOTXT_DEPTH);
    while (!take(r, close)) {
        if (!take_name(r, name) || !skip_value(r)) return false;
        if (!take(r, ',')) take(r, ';');
    }
    r->depth--;
    return true;
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

static bool read_fields(reader *r, const ProtobufCMessageDescriptor *d, char close);

static bool read_message(reader *r, const ProtobufCFieldDescriptor *f) {
    static const uint8_t blank[PADDED_LENGTH] = {0};
    const char c = peek(r), *at = r->p;
    if (c != '{' && c != '<') return fail(r, at, "%s is a message, which begins with {", f->name);
    r->p++;
    if (!put_key(r, f, WIRE_BYTES) || !put(r, &r->out, blank, PADDED_LENGTH)) return false;
    const size_t start = r->out.n;
    if (!read_fields(r, f->descriptor, c == '{' ? '}' : '>')) return false;
    const size_t len = r->out.n - start;
    if (len > INT32_MAX) return fail(r, at, "a message of more than 2 GiB");
    for (size_t k = 0; k < PADDED_LENGTH; k++)
        r->out.p[start - PADDED_LENGTH + k] = (uint8_t)(((len >> (7 * k)) & 0x7f) | (k + 1 < PADDED_LENGTH ? 0x80 : 0));
    return true;
}

static bool read_one(reader *r, const ProtobufCFieldDescriptor *f) {
    return f->type == PROTOBUF_C_TYPE_MESSAGE ? read_message(r, f) : put_value(r, f);
}

static bool read_field(reader *r, const ProtobufCFieldDescriptor *f) {
    const bool colon = take(r, ':');
    if (!colon && f->type != PROTOBUF_C_TYPE_MESSAGE) return fail(r, r->p, "a colon is wanted behind %s", f->name);
    if (f->label != PROTOBUF_C_LABEL_REPEATED || !colon || !take(r, '[')) return read_one(r, f);
    if (take(r, ']')) return true;
    do
        if (!read_one(r, f)) return false;
    while (take(r, ','));
    return take(r, ']') ? true : fail(r, r->p, "a list wants , or ]");
}

/* NAME, or NAME_ where protobuf-c has taken the name itself. */
static const ProtobufCFieldDescriptor *field_of(const ProtobufCMessageDescriptor *d, const char *name) {
    char taken[MAX_NAME + 1];
    const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field_by_name(d, name);
    snprintf(taken, sizeof taken, "%s_", name);
    return f ? f : protobuf_c_message_descriptor_get_field_by_name(d, taken);
}

static const ProtobufCFieldDescriptor *teller_of(const ProtobufCMessageDescriptor *d) {
    return protobuf_c_message_descriptor_get_field_by_name(d, "unknown");
}

static const ProtobufCFieldDescriptor *keeper_of(const ProtobufCMessageDescriptor *d) {
    return protobuf_c_message_descriptor_get_field_by_name(d, "unread");
}

/* A field that is not known: told, skipped, and kept as it stands where the message keeps such. */
static bool pass_over(reader *r, const ProtobufCFieldDescriptor *keeper, const char *at, const char *name) {
    if (!tell(r, at, name) || !skip_value(r)) return false;
    const size_t n = (size_t)(r->p - at);
    if (!keeper || memchr(at, 0, n)) return true;
    return put_key(r, keeper, WIRE_BYTES) && put_varint(r, n) && put(r, &r->out, at, n);
}

/* What was found unknown since `from` in the list. */
static bool put_unknown(reader *r, const ProtobufCFieldDescriptor *f, size_t from) {
    for (size_t at = from; at < r->unknown.n;) {
        const char *note = (const char *)r->unknown.p + at;
        const size_t n = strlen(note);
        if (!put_key(r, f, WIRE_BYTES) || !put_varint(r, n) || !put(r, &r->out, note, n)) return false;
        at += n + 1;
    }
    r->unknown.n = from;
    return true;
}

/* Up to `close`, or the end of the text (0). */
static bool read_fields(reader *r, const ProtobufCMessageDescriptor *d, char close) {
    uint64_t seen[MAX_FIELDS / 64] = {0};
    char name[MAX_NAME];
    const ProtobufCFieldDescriptor *teller = teller_of(d), *keeper = keeper_of(d);
    const size_t told = r->unknown.n;
    if (d->n_fields > MAX_FIELDS || ++r->depth > TN_PROTOTXT_DEPTH)
        return fail(r, r->p, "messages nested more than %d deep", TN_PROTOTXT_DEPTH);
    r->tellers += teller != NULL;
    while (close ? !take(r, close) : peek(r) || r->p < r->end) {
        skip_space(r);
        const char *at = r->p;
        if (!take_name(r, name)) return false;
        const ProtobufCFieldDescriptor *f = field_of(d, name);
        if (!f || f == teller || f == keeper) {
            if (!pass_over(r, keeper, at, name)) return false;
        } else {
            const size_t k = (size_t)(f - d->fields);
            const bool again = seen[k / 64] >> (k % 64) & 1;
            seen[k / 64] |= (uint64_t)1 << (k % 64);
            if (again && f->label != PROTOBUF_C_LABEL_REPEATED) return fail(r, at, "%s is given twice", name);
            if (!read_field(r, f)) return false;
        }
        if (!take(r, ',')) take(r, ';');
    }
    if (teller && !put_unknown(r, teller, told)) return false;
    r->tellers -= teller != NULL;
    r->depth--;
    return true;
}

tn_status tn_prototxt_read(const tn_env *env, const char *source, const ProtobufCMessageDescriptor *desc,
                           const char *text, size_t size, uint8_t **out, size_t *n, size_t *cap) {
    reader r = {.env = env, .source = source, .text = text, .p = text, .end = text + size};
    if (size > TN_PROTOTXT_BYTES)
        return tn_fail(env, TN_E_FORMAT, source, "weights belong into a .caffemodel (--weights)",
                       "a text of %zu bytes; the most is %d", size, TN_PROTOTXT_BYTES);
    if (size >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) r.p += 3; /* a byte order mark */
    if (put(&r, &r.out, NULL, 0)) read_fields(&r, desc, 0);
    tn_free(env, r.word.p, r.word.cap);
    tn_free(env, r.unknown.p, r.unknown.cap);
    if (r.status) {
        tn_free(env, r.out.p, r.out.cap);
        return r.status;
    }
    *out = r.out.p;
    *n = r.out.n;
    *cap = r.out.cap;
    return TN_OK;
}
