/* parse_scan.c: the parser's scanner: words, strings, numbers, dims and types, and errors with line and column. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ir/text/parse.h"

/* ---- errors ------------------------------------------------------------------------------------------------------ */

bool tn_parse_error(tn_parser *p, const char *fmt, ...) {
    char message[512], at[320];
    va_list args;
    if (p->failed) return false;
    p->failed = true;
    p->status = TN_E_FORMAT;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    const char *layer = p->names ? p->names->layer : "";
    snprintf(at, sizeof at, "%.255s:%u:%u", p->source, p->line, (unsigned)(p->s - p->line_start) + 1);
    tn_fail(p->g->env, TN_E_FORMAT, at, "", "%s%s%.200s", message, *layer ? ", for layer " : "", layer);
    return false;
}

/* The next token, shortened, for messages. */
static void found(tn_parser *p, char *buf, size_t size) {
    size_t n = tn_ident_length(p->s);
    if (!*p->s) {
        snprintf(buf, size, "%s", p->s < p->end ? "a zero byte" : "the end of the text");
        return;
    }
    while (n == 0 || (n < 24 && p->s[n] >= '0' && p->s[n] <= '9')) n++;
    snprintf(buf, size, "'%.*s'", (int)(n < 24 ? n : 24), p->s);
}

bool tn_parse_expected(tn_parser *p, const char *what) {
    char token[64];
    tn_parse_skip(p);
    found(p, token, sizeof token);
    return tn_parse_error(p, "expected %s, found %s", what, token);
}

void tn_parse_mark(tn_parser *p) {
    tn_parse_skip(p);
    snprintf(p->where, sizeof p->where, "%.255s:%u:%u", p->source, p->line, (unsigned)(p->s - p->line_start) + 1);
}

bool tn_parse_graph_ok(tn_parser *p) {
    if (!p->failed && p->g->status != TN_OK) {
        p->failed = true;
        p->status = p->g->status;
    }
    return !p->failed;
}

/* ---- blanks, punctuation, words ---------------------------------------------------------------------------------- */

/* Moves to s, counting lines. */
static void advance(tn_parser *p, const char *s) {
    for (; p->s < s; p->s++)
        if (*p->s == '\n') {
            p->line++;
            p->line_start = p->s + 1;
        }
}

void tn_parse_skip(tn_parser *p) {
    for (;;) {
        const char *s = p->s;
        while (*s == ' ' || *s == '\t' || *s == '\n' || *s == '\r') s++;
        if (s[0] == '/' && s[1] == '/') {
            const char *newline = strchr(s, '\n');
            s = newline ? newline : s + strlen(s);
        }
        if (s == p->s) return;
        advance(p, s);
    }
}

bool tn_parse_peek(tn_parser *p, const char *token) {
    tn_parse_skip(p);
    return !p->failed && strncmp(p->s, token, strlen(token)) == 0;
}

bool tn_parse_accept(tn_parser *p, const char *token) {
    if (!tn_parse_peek(p, token)) return false;
    p->s += strlen(token);
    return true;
}

bool tn_parse_expect(tn_parser *p, const char *token) {
    char what[32];
    snprintf(what, sizeof what, "'%s'", token);
    return tn_parse_accept(p, token) || tn_parse_expected(p, what);
}

bool tn_parse_accept_word(tn_parser *p, const char *word) {
    size_t n = strlen(word);
    if (!tn_parse_peek(p, word) || tn_ident_length(p->s) != n) return false;
    p->s += n;
    return true;
}

bool tn_parse_word(tn_parser *p, const char *what, const char **s, size_t *n) {
    tn_parse_skip(p);
    *s = p->s;
    *n = tn_ident_length(p->s);
    if (p->failed || !*n) return tn_parse_expected(p, what);
    p->s += *n;
    return true;
}

/* ---- strings, numbers -------------------------------------------------------------------------------------------- */

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes the escape behind a backslash at s; returns the bytes read, 0 if it is none. */
static size_t escape(const char *s, char *c) {
    *c = s[0] == 'n' ? '\n' : s[0] == 't' ? '\t' : s[0];
    if (s[0] == 'n' || s[0] == 't' || s[0] == '"' || s[0] == '\\') return 1;
    if (s[0] != 'x' || hex_digit(s[1]) < 0 || hex_digit(s[2]) < 0) return 0;
    *c = (char)(hex_digit(s[1]) * 16 + hex_digit(s[2]));
    return *c ? 3 : 0;
}

bool tn_parse_string(tn_parser *p, const char **out) {
    *out = "";
    if (!tn_parse_peek(p, "\"")) return tn_parse_expected(p, "a string");
    const char *close = p->s + 1;
    while (*close && *close != '"' && *close != '\n') close += *close == '\\' && close[1] ? 2 : 1;
    if (*close != '"') return tn_parse_error(p, "a string is not closed on its line");
    size_t size = (size_t)(close - p->s), n = 0;
    char *buf = tn_alloc(p->g->env, size);
    if (!buf) return tn_graph_oom(p->g), tn_parse_graph_ok(p);
    bool ok = true;
    for (const char *s = p->s + 1; ok && s < close;) {
        char c = *s++;
        if (c == '\\') {
            size_t used = escape(s, &c);
            ok = used > 0;
            s += used;
        }
        buf[n++] = c;
    }
    if (ok) *out = tn_intern_n(p->g, buf, n);
    tn_free(p->g->env, buf, size);
    if (!ok) return tn_parse_error(p, "a string has an unknown escape (known: \\\" \\\\ \\n \\t \\xHH)");
    p->s = close + 1;
    return tn_parse_graph_ok(p);
}

bool tn_parse_uint(tn_parser *p, uint64_t *v) {
    tn_parse_skip(p);
    const char *s = p->s;
    *v = 0;
    if (p->failed || *s < '0' || *s > '9') return tn_parse_expected(p, "a whole number");
    for (; *s >= '0' && *s <= '9'; s++)
        if (__builtin_mul_overflow(*v, (uint64_t)10, v) || __builtin_add_overflow(*v, (uint64_t)(*s - '0'), v))
            return tn_parse_error(p, "a number does not fit in 64 bits");
    p->s = s;
    return true;
}

/* An expression over names that has one value. */
static bool parse_known(tn_parser *p, int64_t *v) {
    tn_dim d;
    *v = 0;
    tn_parse_skip(p);
    const char *at = p->s;
    if (!tn_parse_dim(p, &d)) return false;
    return tn_dim_is_const(p->g, d, v) ||
           tn_parse_error(p, "'%.*s' must be known when compiling", (int)(p->s - at < 80 ? p->s - at : 80), at);
}

bool tn_parse_int(tn_parser *p, int64_t *v) {
    if (p->names) return parse_known(p, v);
    uint64_t u = 0;
    bool negative = tn_parse_accept(p, "-");
    *v = 0;
    if (!tn_parse_uint(p, &u)) return false;
    if (u > (uint64_t)INT64_MAX + negative) return tn_parse_error(p, "a number does not fit in 64 bits");
    *v = negative ? (int64_t)(0 - u) : (int64_t)u;
    return true;
}

/* A name's number: of an attribute, or a size that is known. */
static bool parse_named_num(tn_parser *p, double *v) {
    const bool negative = tn_parse_accept(p, "-");
    const tn_name *x = tn_parse_accept_name(p, TN_NAME_NUM);
    int64_t whole = 0;
    if (!x && !parse_known(p, &whole)) return false;
    *v = x ? x->num : (double)whole;
    if (negative) *v = -*v;
    return true;
}

bool tn_parse_num(tn_parser *p, double *v) {
    char *end = NULL;
    tn_parse_skip(p);
    const char *word = p->s + (*p->s == '-');
    if (p->names && tn_ident_length(word) && strncmp(word, "inf", 3) && strncmp(word, "nan", 3))
        return parse_named_num(p, v);
    const char *s = p->s + (*p->s == '-' || *p->s == '+');
    bool starts = (*s >= '0' && *s <= '9') || *s == '.' || !strncmp(s, "inf", 3) || !strncmp(s, "nan", 3);
    *v = p->failed || !starts ? 0 : tn_read_num(p->s, &end);
    if (!end || end == p->s) return tn_parse_expected(p, "a number");
    p->s = end;
    return true;
}

/* ---- dims, types ------------------------------------------------------------------------------------------------- */

const tn_name *tn_parse_accept_name(tn_parser *p, tn_name_kind kind) {
    tn_parse_skip(p);
    const size_t n = p->names && !p->failed ? tn_ident_length(p->s) : 0;
    const tn_name *x = n ? tn_names_find(p->names, p->s, n) : NULL;
    if (!x || x->kind != kind) return NULL;
    p->s += n;
    return x;
}

const tn_name *tn_parse_accept_rest(tn_parser *p) {
    tn_parse_skip(p);
    const size_t n = p->names && !p->failed ? tn_ident_length(p->s) : 0;
    if (n < 4 || memcmp(p->s + n - 3, "...", 3) != 0) return NULL;
    const tn_name *x = tn_names_find(p->names, p->s, n - 3);
    if (!x || (x->kind != TN_NAME_SIZES && x->kind != TN_NAME_INTS)) return NULL;
    p->s += n;
    return x;
}

bool tn_parse_dim(tn_parser *p, tn_dim *d) {
    const char *end = NULL;
    char what[120] = "a size (a number, a symbol or an expression that fits in 64 bits)";
    tn_parse_mark(p); /* for sizes that overflow */
    *d = (tn_dim){0};
    if (p->failed) return false;
    *d = tn_dim_parse_named(p->g, p->s, p->names, &end);
    if (!tn_parse_graph_ok(p)) return false;
    advance(p, end);
    if (p->names) snprintf(what, sizeof what, "a whole number, an attribute or a size that is named before");
    return d->i || tn_parse_expected(p, what);
}

bool tn_parse_shape(tn_parser *p, tn_dim *dims, size_t *rank) {
    *rank = 0;
    if (!tn_parse_expect(p, "[")) return false;
    for (bool first = true; !tn_parse_accept(p, "]"); first = false) {
        if (!first && !tn_parse_expect(p, ",")) return false;
        const tn_name *rest = tn_parse_accept_rest(p);
        const size_t more = rest ? rest->sizes.n : 1;
        if (*rank + more > TN_MAX_RANK) return tn_parse_error(p, "a type's rank is above the limit of %d", TN_MAX_RANK);
        if (rest && more) memcpy(&dims[*rank], rest->sizes.p, more * sizeof *dims);
        if (!rest && !tn_parse_dim(p, &dims[*rank])) return false;
        *rank += more;
    }
    return true;
}

bool tn_parse_dtype(tn_parser *p, tn_dtype *t) {
    const char *s = NULL;
    size_t n = 0;
    const tn_name *x = tn_parse_accept_name(p, TN_NAME_TYPE);
    tn_parse_skip(p);
    *t = x ? x->type : tn_dtype_parse(p->s, tn_ident_length(p->s));
    return x || (*t != TN_DTYPE_NONE ? tn_parse_word(p, "a dtype", &s, &n) : tn_parse_expected(p, "a dtype"));
}

bool tn_parse_type(tn_parser *p, tn_type *t) {
    size_t rank = 0;
    tn_dim dims[TN_MAX_RANK];
    tn_dtype dtype;
    *t = (tn_type){0};
    tn_parse_skip(p);
    const size_t n = tn_ident_length(p->s);
    const tn_name *x = p->names ? tn_names_find(p->names, p->s, n) : NULL;
    if (!(x && x->kind == TN_NAME_TYPE) && tn_dtype_parse(p->s, n) == TN_DTYPE_NONE)
        return tn_parse_expected(p, "a type such as f32[2,3]");
    if (!tn_parse_dtype(p, &dtype) || !tn_parse_shape(p, dims, &rank)) return false;
    *t = tn_type_make(p->g, dtype, rank, dims);
    return tn_parse_graph_ok(p);
}
