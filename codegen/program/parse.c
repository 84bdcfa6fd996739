/* parse.c: a program from its text.  One pass over the characters, one function a line; names and dims go into a graph
 * that holds nothing else.  A step's lists are gathered first, since its arrays are made in one go. */
#include "codegen/program/words.h"
#include "tenon/internal/memory.h"

#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LIST = 1 << 16, MAX_NAME = 4096 };

typedef struct parser {
    const tn_env *env;
    const char *source, *begin, *at;
    tn_program *p;
    tn_status status;
} parser;

/* A growable list of fixed-size items. */
typedef struct list {
    void *p;
    uint32_t n, cap;
} list;

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
static bool
fail(parser *r, const char *fmt, ...) {
    char text[256], where[300];
    size_t line = 1, column = 1;
    va_list ap;
    if (r->status != TN_OK) return false;
    for (const char *c = r->begin; c < r->at; c++) {
        column = *c == '\n' ? 1 : column + 1;
        line += *c == '\n';
    }
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    snprintf(where, sizeof where, "%s:%zu:%zu", r->source, line, column);
    r->status = tn_fail(r->env, TN_E_FORMAT, where, "see codegen/program/program.h for the form", "%s", text);
    return false;
}

static bool no_memory(parser *r) {
    if (r->status == TN_OK) r->status = tn_fail(r->env, TN_E_MEMORY, "", "", "out of memory");
    return false;
}

/* ---- tokens ------------------------------------------------------------------------------------------------------ */

static void blanks(parser *r) {
    for (;;) {
        while (*r->at && strchr(" \t\r\n", *r->at)) r->at++;
        if (r->at[0] != '/' || r->at[1] != '/') return;
        while (*r->at && *r->at != '\n') r->at++;
    }
}

static bool is_word_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* Takes the word, or the characters, if they are next. */
static bool take(parser *r, const char *token) {
    const size_t n = strlen(token);
    blanks(r);
    if (strncmp(r->at, token, n) != 0 || (is_word_char(token[n - 1]) && is_word_char(r->at[n]))) return false;
    r->at += n;
    return true;
}

static bool expect(parser *r, const char *token) {
    return take(r, token) || fail(r, "'%s' is expected here", token);
}

static bool number(parser *r, uint32_t *v) {
    char *end;
    blanks(r);
    const unsigned long long x = *r->at >= '0' && *r->at <= '9' ? strtoull(r->at, &end, 10) : ULLONG_MAX;
    if (x > UINT32_MAX) return fail(r, "a number is expected here");
    r->at = end;
    *v = (uint32_t)x;
    return true;
}

static bool integer(parser *r, int64_t *v) {
    char *end;
    blanks(r);
    *v = strtoll(r->at, &end, 10);
    if (end == r->at) return fail(r, "a number is expected here");
    r->at = end;
    return true;
}

static bool dim(parser *r, tn_dim *d) {
    const char *end = r->at;
    blanks(r);
    *d = tn_dim_parse(r->p->g, r->at, &end);
    if (tn_graph_status(r->p->g) != TN_OK) return r->status = tn_graph_status(r->p->g), false;
    if (!d->i) return fail(r, "a size is expected here");
    r->at = end;
    return true;
}

static int hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool quoted(parser *r, const char **out) {
    char buf[MAX_NAME];
    size_t n = 0;
    if (!expect(r, "\"")) return false;
    while (*r->at != '"') {
        if (!*r->at || n + 1 == sizeof buf) return fail(r, "a name does not end");
        if (r->at[0] == '\\' && r->at[1] == 'x' && hex(r->at[2]) >= 0 && hex(r->at[3]) >= 0) {
            buf[n++] = (char)(hex(r->at[2]) * 16 + hex(r->at[3]));
            r->at += 4;
        } else {
            if (*r->at == '\\' && r->at[1]) r->at++;
            buf[n++] = *r->at++;
        }
    }
    r->at++;
    *out = tn_intern_n(r->p->g, buf, n);
    return *out || no_memory(r);
}

/* ---- lists ------------------------------------------------------------------------------------------------------- */

static void *add(parser *r, list *l, size_t size) {
    if (l->n == MAX_LIST) return fail(r, "a list of more than %d", MAX_LIST), NULL;
    l->p = tn_vec_grow(r->env, l->p, l->n, &l->cap, size, 1);
    if (l->n == l->cap) return no_memory(r), NULL;
    return (char *)l->p + size * l->n++;
}

static bool buffer(parser *r, uint32_t *b) {
    if (!expect(r, "%") || !number(r, b)) return false;
    return *b < r->p->n_buffers || fail(r, "there is no buffer %%%u above", *b);
}

static bool extent(parser *r, tn_extent *e) {
    *e = (tn_extent){0};
    if (!buffer(r, &e->buffer) || !expect(r, "[") || !dim(r, &e->offset) || !expect(r, ",") || !dim(r, &e->bytes))
        return false;
    if (take(r, ",") && (!dim(r, &e->run) || !expect(r, ",") || !dim(r, &e->pitch))) return false;
    return expect(r, "]");
}

static bool extents(parser *r, list *l) {
    do {
        tn_extent *e = add(r, l, sizeof *e);
        if (!e || !extent(r, e)) return false;
    } while (take(r, ","));
    return true;
}

static bool in_place(parser *r, list *l) {
    do {
        tn_in_place *e = add(r, l, sizeof *e);
        if (!e || !number(r, &e->write) || !number(r, &e->read)) return false;
    } while (take(r, ","));
    return true;
}

static bool after(parser *r, list *l) {
    do {
        uint32_t *e = add(r, l, sizeof *e);
        if (!e || !expect(r, "#") || !number(r, e)) return false;
    } while (take(r, ","));
    return true;
}

static bool layers(parser *r, list *l) {
    do {
        const char **e = add(r, l, sizeof *e);
        if (!e || !quoted(r, e)) return false;
    } while (take(r, ","));
    return true;
}

static bool from(parser *r, tn_prog_way *w) {
    do {
        if (w->n_from == TN_MAX_FROM) return fail(r, "at most %d constants", TN_MAX_FROM);
        if (!buffer(r, &w->from[w->n_from++])) return false;
        blanks(r);
    } while (*r->at == '%');
    return true;
}

static bool ways(parser *r, list *l) {
    do {
        tn_prog_way *e = add(r, l, sizeof *e);
        if (!e) return false;
        *e = (tn_prog_way){.bucket = TN_MAX_BUCKETS};
        if (!quoted(r, &e->text) || (take(r, "from") && !from(r, e)) || (take(r, "in") && !number(r, &e->bucket)))
            return false;
        if (e->bucket < TN_MAX_BUCKETS && e->bucket >= tn_bucket_count(r->p->g))
            return fail(r, "there is no bucket %u above", e->bucket);
    } while (take(r, ","));
    return true;
}

/* ---- lines ------------------------------------------------------------------------------------------------------- */

/* N in [1, 32], or [1, inf] */
static bool range(parser *r, tn_dim *s, int64_t *lo, int64_t *hi) {
    *hi = INT64_MAX;
    if (!dim(r, s) || !expect(r, "in") || !expect(r, "[") || !integer(r, lo) || !expect(r, ",")) return false;
    if (tn_dim_kind_of(r->p->g, *s) != TN_DIM_SYM) return fail(r, "a symbol is expected here");
    if (!take(r, "inf") && !integer(r, hi)) return false;
    if (!expect(r, "]")) return false;
    return *lo <= *hi || fail(r, "an empty range");
}

/* Before all dims, which are simplified by what is known of their symbols. */
static bool symbol(parser *r) {
    tn_dim s;
    int64_t lo, hi;
    if (r->p->n_buffers || r->p->n_steps || r->p->arena.i) return fail(r, "symbols come before the first buffer");
    if (!range(r, &s, &lo, &hi)) return false;
    tn_dim_set_range(r->p->g, s, lo, hi);
    return true;
}

static bool bucket(parser *r) {
    const size_t k = tn_bucket_count(r->p->g);
    if (k == TN_MAX_BUCKETS) return fail(r, "at most %d buckets", TN_MAX_BUCKETS);
    do {
        tn_size_range x = {0};
        tn_dim s;
        if (!range(r, &s, &x.lo, &x.hi) || (take(r, "hint") && !integer(r, &x.typical)) ||
            (take(r, "by") && !integer(r, &x.divisor)))
            return false;
        if (x.typical < 0 || x.divisor < 0) return fail(r, "a typical size is not negative, nor is a divisor");
        tn_bucket_set_range(r->p->g, k, s, x);
    } while (take(r, ","));
    return true;
}

static bool packing(parser *r, tn_packing *p) {
    const char *text;
    return quoted(r, &text) && (tn_packing_parse(text, p) || fail(r, "this is no way to pack a constant"));
}

static bool buffer_line(parser *r, tn_buffer_kind kind) {
    uint32_t k, index = 0;
    const char *name = "";
    tn_dim bytes;
    if (!expect(r, "%") || !number(r, &k)) return false;
    if (k != r->p->n_buffers) return fail(r, "this is buffer %%%u", r->p->n_buffers);
    if (kind != TN_BUFFER_SCRATCH && !quoted(r, &name)) return false;
    for (uint32_t i = 0; i < k; i++) index += r->p->buffers[i].kind == kind;
    if (!expect(r, ":") || !dim(r, &bytes)) return false;
    tn_program_add_buffer(r->p, kind, index, name, bytes);
    if (r->p->n_buffers != k + 1) return no_memory(r);
    if (take(r, "at") && !dim(r, &r->p->buffers[k].at)) return false;
    if (take(r, "packed") && !packing(r, &r->p->buffers[k].packing)) return false;
    return !take(r, "over") || extent(r, &r->p->buffers[k].kept);
}

typedef struct step_lists {
    list reads, writes, in_place, after, layers, ways;
    tn_region needs[2];
    uint32_t stream, body[2], word;
    tn_dim sizes;
    double us;
} step_lists;

/* first equal(K, L) "add" of "axis 0 of x", "axis 0 of y" layers "/add" */
static bool condition(parser *r, tn_region needs[2]) {
    tn_graph *g = r->p->g;
    tn_condition c = {.rel = TN_REL_EQUAL};
    list on = {0};
    const int body = take(r, tn_body_words[1]);
    if (!body && !expect(r, tn_body_words[0])) return false;
    while (c.rel < TN_REL_COUNT && !take(r, tn_rel_text(c.rel))) c.rel++;
    if (c.rel == TN_REL_COUNT) return fail(r, "a relation between sizes is expected here");
    bool ok = expect(r, "(") && dim(r, &c.a) && expect(r, ",") && dim(r, &c.b) && expect(r, ")") && quoted(r, &c.what);
    if (ok && take(r, "of")) ok = quoted(r, &c.of_a) && expect(r, ",") && quoted(r, &c.of_b);
    if (ok && take(r, "layers")) ok = layers(r, &on);
    if (ok) {
        if (!needs[body].i) needs[body] = tn_region_new(g);
        c.in = needs[body];
        c.loc = tn_program_layers(r->p, on.n, on.p);
        tn_graph_require(g, c);
    }
    tn_free(r->env, on.p, on.cap * sizeof(const char *));
    return ok;
}

static bool step_clauses(parser *r, step_lists *s) {
    for (;;) {
        bool ok = true;
        char *end;
        if (take(r, "reads"))
            ok = extents(r, &s->reads);
        else if (take(r, "writes"))
            ok = extents(r, &s->writes);
        else if (take(r, "in_place"))
            ok = in_place(r, &s->in_place);
        else if (take(r, "after"))
            ok = after(r, &s->after);
        else if (take(r, "layers"))
            ok = layers(r, &s->layers);
        else if (take(r, "runs"))
            ok = ways(r, &s->ways);
        else if (take(r, "require"))
            ok = condition(r, s->needs);
        else if (take(r, "body"))
            ok = number(r, &s->body[0]) && number(r, &s->body[1]);
        else if (take(r, "where"))
            ok = dim(r, &s->sizes);
        else if (take(r, "with"))
            ok = number(r, &s->word);
        else if (take(r, "stream"))
            ok = number(r, &s->stream);
        else if (take(r, "us"))
            s->us = strtod(r->at, &end), ok = end != r->at || fail(r, "a time is expected here"), r->at = end;
        else
            return true;
        if (!ok) return false;
    }
}

static void copy(void *to, const list *l, size_t size) {
    if (l->n) memcpy(to, l->p, l->n * size);
}

static bool add_step(parser *r, tn_step_kind kind, const char *name, const step_lists *l) {
    tn_prog_step *s = tn_program_add_step(r->p, kind, name, l->reads.n, l->writes.n, l->in_place.n, l->layers.n);
    if (!s) return no_memory(r);
    s->after = tn_graph_alloc(r->p->g, (l->after.n + 1) * sizeof *s->after);
    s->ways = tn_graph_alloc(r->p->g, (l->ways.n + 1) * sizeof *s->ways);
    if (!s->after || !s->ways) return no_memory(r);
    copy(s->ways, &l->ways, sizeof *s->ways);
    s->n_ways = l->ways.n;
    copy(s->reads, &l->reads, sizeof *s->reads);
    copy(s->writes, &l->writes, sizeof *s->writes);
    copy(s->in_place, &l->in_place, sizeof *s->in_place);
    copy(s->after, &l->after, sizeof *s->after);
    copy(s->layers, &l->layers, sizeof *s->layers);
    s->n_after = l->after.n;
    s->stream = l->stream;
    memcpy(s->body, l->body, sizeof s->body);
    memcpy(s->needs, l->needs, sizeof s->needs);
    s->word = l->word;
    s->sizes = l->sizes;
    s->us = l->us;
    if (s->stream >= TN_MAX_STREAMS) return fail(r, "at most %d streams", TN_MAX_STREAMS);
    if (s->stream >= r->p->n_streams) r->p->n_streams = s->stream + 1;
    return true;
}

static bool step_line(parser *r) {
    uint32_t k, kind = 0;
    const char *name;
    step_lists l = {0};
    if (!number(r, &k)) return false;
    if (k != r->p->n_steps) return fail(r, "this is step #%u", r->p->n_steps);
    while (kind < TN_STEP_KINDS && !take(r, tn_step_words[kind])) kind++;
    if (kind == TN_STEP_KINDS) return fail(r, "a kind of step is expected here");
    bool ok = quoted(r, &name) && step_clauses(r, &l) && add_step(r, (tn_step_kind)kind, name, &l);
    tn_free(r->env, l.reads.p, l.reads.cap * sizeof(tn_extent));
    tn_free(r->env, l.writes.p, l.writes.cap * sizeof(tn_extent));
    tn_free(r->env, l.in_place.p, l.in_place.cap * sizeof(tn_in_place));
    tn_free(r->env, l.after.p, l.after.cap * sizeof(uint32_t));
    tn_free(r->env, l.layers.p, l.layers.cap * sizeof(const char *));
    tn_free(r->env, l.ways.p, l.ways.cap * sizeof(tn_prog_way));
    return ok;
}

static bool lines(parser *r) {
    const char *name;
    if (!expect(r, "program") || !quoted(r, &name) || !expect(r, "{")) return false;
    r->p->name = name;
    while (!take(r, "}")) {
        uint32_t kind = 0;
        while (kind < TN_BUFFER_KINDS && !take(r, tn_buffer_words[kind])) kind++;
        bool ok = kind < TN_BUFFER_KINDS ? buffer_line(r, (tn_buffer_kind)kind)
                  : take(r, "bucket")    ? bucket(r)
                  : take(r, "symbol")    ? symbol(r)
                  : take(r, "#")         ? step_line(r)
                  : take(r, "arena")     ? dim(r, &r->p->arena)
                                         : fail(r, "a buffer, a step or } is expected here");
        if (!ok) return false;
    }
    blanks(r);
    return !*r->at || fail(r, "nothing is expected here");
}

tn_status tn_program_parse(const tn_env *env, const char *source, const char *text, tn_program **out) {
    parser r = {.env = env, .source = source, .begin = text, .at = text};
    tn_graph *g = tn_graph_new(env);
    *out = NULL;
    r.p = g ? tn_program_new(g, "") : NULL;
    if (!r.p)
        no_memory(&r);
    else if (lines(&r))
        r.status = tn_program_check(r.p);
    if (r.status == TN_OK && tn_graph_status(g) != TN_OK) r.status = tn_graph_status(g);
    if (r.status == TN_OK)
        *out = r.p;
    else
        tn_graph_free(g);
    return r.status;
}
