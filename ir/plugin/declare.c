/* declare.c: a plugin's text -> what it declares; see plugin.h.
 *
 * The declaration is the text's lines that begin with //! or, where there are none, the whole text.  It is read in place, so
 * that line and column in errors are those of the file.  Expressions are evaluated on trial, with symbols for sizes and
 * attributes: what is misspelt is told when the plugin is loaded.  Expansions are only read when the op is used. */
#include "ir/plugin/plugin.h"
#include "ir/plugin/scope.h"

#include <ctype.h>
#include <string.h>
#include <xxhash.h>

enum { MAX_TEXT = 1 << 20 };

typedef struct reader {
    tn_parser p;
    tn_plugin *d;
    size_t cap_attrs, cap_types, cap_steps, cap_expansions;
    bool has_name;
} reader;

/* ---- life -------------------------------------------------------------------------------------------------------- */

tn_plugin *tn_plugin_retain(const tn_plugin *p) {
    tn_plugin *q = (tn_plugin *)(uintptr_t)p;
    __atomic_add_fetch(&q->refs, 1, __ATOMIC_RELAXED);
    return q;
}

void tn_plugin_release(const tn_plugin *p) {
    tn_plugin *q = (tn_plugin *)(uintptr_t)p;
    if (!q || __atomic_sub_fetch(&q->refs, 1, __ATOMIC_ACQ_REL)) return;
    const tn_env *env = q->env;
    if (q->made) tn_free(env, q->made, q->made_size);
    tn_arena_free(&q->arena);
    tn_free(env, q, sizeof *q);
}

const void *tn_plugin_made(const tn_plugin *p, size_t size, void (*make)(const tn_plugin *p, void *to)) {
    tn_plugin *q = (tn_plugin *)(uintptr_t)p;
    void *made = __atomic_load_n(&q->made, __ATOMIC_ACQUIRE);
    if (made) return made;
    void *mine = tn_alloc(q->env, size);
    if (!mine) return NULL;
    make(p, mine);
    q->made_size = size; /* whoever makes it, makes it as large */
    if (__atomic_compare_exchange_n(&q->made, &made, mine, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) return mine;
    tn_free(q->env, mine, size);
    return made;
}

/* ---- memory and words -------------------------------------------------------------------------------------------- */

static bool out_of_memory(reader *r) {
    tn_graph_oom(r->p.g);
    return tn_parse_graph_ok(&r->p);
}

static const char *copy(reader *r, const char *s, size_t n) {
    char *to = tn_arena_alloc(&r->d->arena, n + 1);
    if (to) memcpy(to, s, n);
    return to ? to : (out_of_memory(r), "");
}

/* Room for one more element of a list in the arena. */
static void *grown(reader *r, void *list, uint32_t n, size_t size) {
    if (n == TN_PLUGIN_MOST) return tn_parse_error(&r->p, "there are more than %d of these", TN_PLUGIN_MOST), NULL;
    if (list) return list;
    list = tn_arena_alloc(&r->d->arena, TN_PLUGIN_MOST * size);
    if (!list) out_of_memory(r);
    return list;
}

#define PUSH(r, list, count)                                                                                           \
    ((list) = grown((r), (list), (count), sizeof *(list)), (list) && !(r)->p.failed ? &(list)[(count)++] : NULL)

static bool same_word(const char *a, const char *b, size_t n) {
    for (size_t k = 0; k < n; k++)
        if (!a[k] || toupper((unsigned char)a[k]) != toupper((unsigned char)b[k])) return false;
    return !a[n];
}

/* Names are macros of the kernel, in capitals. */
static bool is_taken(const tn_plugin *d, const char *s, size_t n) {
    bool taken = false;
    for (uint32_t k = 0; k < d->n_attrs; k++) taken |= same_word(d->attrs[k].name, s, n);
    for (uint32_t k = 0; k < d->n_types; k++) taken |= same_word(d->types[k].name, s, n);
    for (uint32_t k = 0; k < d->n_knobs; k++) taken |= same_word(d->knobs[k].name, s, n);
    for (uint32_t k = 0; k < d->n_steps; k++) taken |= d->steps[k].name && same_word(d->steps[k].name, s, n);
    return taken;
}

static bool read_name(reader *r, const char *what, const char **name) {
    const char *s;
    size_t n;
    tn_parse_skip(&r->p);
    tn_parser at = r->p;
    if (!tn_parse_word(&r->p, what, &s, &n)) return false;
    if (memchr(s, '.', n) || n > 40)
        return tn_parse_error(&at, "a name has letters, digits and _, at most 40"), r->p = at, false;
    if (is_taken(r->d, s, n))
        return tn_parse_error(&at, "the name '%.*s' is taken already", (int)n, s), r->p = at, false;
    *name = copy(r, s, n);
    return !r->p.failed;
}

static tn_plugin_place place(reader *r) {
    tn_parse_skip(&r->p);
    return (tn_plugin_place){r->p.s, r->p.line_start, r->p.line};
}

/* To the next of these, outside of brackets that open on the way; the end of the line with a newline among them. */
static bool skip_to(reader *r, const char *ends) {
    int depth = 0;
    for (tn_parser *p = &r->p; p->s < p->end; p->s++) {
        const char c = *p->s;
        if (c == '"') {
            const char *close = memchr(p->s + 1, '"', (size_t)(p->end - p->s - 1));
            if (!close) return tn_parse_error(p, "a string is not closed");
            p->s = close;
            continue;
        }
        if (!depth && strchr(ends, c)) return true;
        depth += c == '[' || c == '(' || c == '{' ? 1 : c == ']' || c == ')' || c == '}' ? -1 : 0;
        if (depth < 0) break;
        if (c == '\n') p->line++, p->line_start = p->s + 1;
    }
    return strchr(ends, '\n') ? true : tn_parse_error(&r->p, "expected one of '%s'", ends);
}

/* ---- statements -------------------------------------------------------------------------------------------------- */

/* plugin yolo::region since 1 */
static bool read_plugin(reader *r) {
    const char *s, *op;
    size_t n, m;
    int64_t since = 1;
    if (!tn_parse_word(&r->p, "the domain, as in domain::op", &s, &n) || !tn_parse_expect(&r->p, "::") ||
        !tn_parse_word(&r->p, "the op's name, as in domain::op", &op, &m))
        return false;
    if (n + m > 120) return tn_parse_error(&r->p, "the name of the op is too long");
    char *name = tn_arena_alloc(&r->d->arena, n + m + 3);
    if (!name) return out_of_memory(r);
    memcpy(name, s, n);
    memcpy(name + n, "::", 2);
    memcpy(name + n + 2, op, m);
    r->d->name = name;
    if (tn_parse_accept_word(&r->p, "since") && !tn_parse_int(&r->p, &since)) return false;
    if (since < 1) return tn_parse_error(&r->p, "versions begin with 1");
    r->d->since = since;
    return r->has_name = true;
}

/* type T in f32, f16, bf16 */
static bool read_type(reader *r) {
    const char *name;
    if (!read_name(r, "the name of a type", &name)) return false;
    if (!tn_parse_accept_word(&r->p, "in")) return tn_parse_expected(&r->p, "in, and the types that it may be");
    tn_plugin_type *t = PUSH(r, r->d->types, r->d->n_types);
    if (!t) return false;
    t->name = name;
    do {
        tn_dtype one;
        if (!tn_parse_dtype(&r->p, &one)) return false;
        t->may_be[one] = true;
        if (!t->first) t->first = one;
    } while (tn_parse_accept(&r->p, ","));
    return true;
}

/* "avg" | "max" */
static bool read_words(reader *r, tn_plugin_attr *a) {
    const char **words = tn_arena_alloc(&r->d->arena, TN_PLUGIN_VALUES * sizeof *words);
    if (!words) return out_of_memory(r);
    a->kind = TN_NAME_WORD;
    a->words = words;
    do {
        const char *s;
        size_t n;
        if (a->n_words == TN_PLUGIN_VALUES) return tn_parse_error(&r->p, "more than %d words", TN_PLUGIN_VALUES);
        if (!tn_plugin_read_quoted(&r->p, &s, &n)) return false;
        words[a->n_words++] = copy(r, s, n);
    } while (tn_parse_accept(&r->p, "|"));
    return !r->p.failed;
}

static bool read_default_word(reader *r, tn_plugin_attr *a) {
    const char *s;
    size_t n;
    if (!tn_plugin_read_quoted(&r->p, &s, &n)) return false;
    for (a->size = 0; a->size < a->n_words; a->size++)
        if (strlen(a->words[a->size]) == n && !memcmp(a->words[a->size], s, n)) return true;
    return tn_parse_error(&r->p, "the default is none of the words");
}

static bool read_default_list(reader *r, tn_plugin_attr *a) {
    int64_t *sizes = tn_arena_alloc(&r->d->arena, TN_PLUGIN_MOST * sizeof *sizes);
    double *nums = tn_arena_alloc(&r->d->arena, TN_PLUGIN_MOST * sizeof *nums);
    if (!sizes || !nums) return out_of_memory(r);
    a->sizes = sizes;
    a->nums = nums;
    if (!tn_parse_expect(&r->p, "[")) return false;
    for (; !tn_parse_accept(&r->p, "]"); a->n++) {
        if (a->n == TN_PLUGIN_MOST) return tn_parse_error(&r->p, "a default has at most %d elements", TN_PLUGIN_MOST);
        if (a->n && !tn_parse_expect(&r->p, ",")) return false;
        if (a->kind == TN_NAME_INTS ? !tn_parse_int(&r->p, &sizes[a->n]) : !tn_parse_num(&r->p, &nums[a->n]))
            return false;
    }
    return true;
}

/* attr classes: int = 20 */
static bool read_attr(reader *r) {
    static const struct {
        const char *word;
        tn_name_kind kind;
    } kinds[] = {{"int", TN_NAME_SIZE}, {"float", TN_NAME_NUM}, {"ints", TN_NAME_INTS}, {"floats", TN_NAME_NUMS}};
    const char *name;
    if (!read_name(r, "the name of an attribute", &name) || !tn_parse_expect(&r->p, ":")) return false;
    tn_plugin_attr *a = PUSH(r, r->d->attrs, r->d->n_attrs);
    if (!a) return false;
    a->name = name;
    size_t k = 0;
    if (tn_parse_peek(&r->p, "\"")) {
        if (!read_words(r, a)) return false;
    } else {
        while (k < 4 && !tn_parse_accept_word(&r->p, kinds[k].word)) k++;
        if (k == 4) return tn_parse_expected(&r->p, "int, float, ints, floats or words in quotes");
        a->kind = kinds[k].kind;
    }
    a->required = !tn_parse_accept(&r->p, "=");
    if (a->required) return !r->p.failed;
    switch (a->kind) {
    case TN_NAME_SIZE: return tn_parse_int(&r->p, &a->size);
    case TN_NAME_NUM: return tn_parse_num(&r->p, &a->num);
    case TN_NAME_WORD: return read_default_word(r, a);
    default: return read_default_list(r, a);
    }
}

static tn_plugin_step *add_step(reader *r, tn_plugin_step_kind kind, const char *name) {
    tn_plugin_step *s = PUSH(r, r->d->steps, r->d->n_steps);
    if (!s) return NULL;
    s->kind = kind;
    s->name = name;
    s->place = place(r);
    return s;
}

/* input x: T[n, c, s...] optional */
static bool read_input(reader *r) {
    const char *name;
    if (!read_name(r, "the name of an input", &name)) return false;
    tn_plugin_step *s = add_step(r, TN_PLUGIN_IN, name);
    if (!s || !skip_to(r, "[") || !skip_to(r, "\n")) return false;
    const char *end = r->p.s;
    while (end > s->place.s && isspace((unsigned char)end[-1])) end--;
    s->optional = end - s->place.s > 8 && !memcmp(end - 8, "optional", 8);
    s->index = r->d->n_in++;
    return true;
}

static bool read_output(reader *r) {
    const char *name;
    if (!read_name(r, "the name of an output", &name)) return false;
    tn_plugin_step *s = add_step(r, TN_PLUGIN_OUT, name);
    if (!s) return false;
    s->index = r->d->n_out++;
    return skip_to(r, "\n");
}

static bool read_let(reader *r) {
    const char *name;
    return read_name(r, "the name of a size", &name) && add_step(r, TN_PLUGIN_LET, name) && skip_to(r, "\n");
}

static bool read_require(reader *r) {
    return add_step(r, TN_PLUGIN_REQUIRE, NULL) && skip_to(r, "\n");
}

static bool read_tolerance(reader *r) {
    if (!tn_parse_num(&r->p, &r->d->tolerance)) return false;
    return (r->d->tolerance > 0 && r->d->tolerance < 1e9) || tn_parse_error(&r->p, "a tolerance is positive");
}

/* expansion when mode == "max" { ... } */
static bool read_expansion(reader *r) {
    tn_plugin_expansion *e = PUSH(r, r->d->expansions, r->d->n_expansions);
    if (!e) return false;
    e->always = !tn_parse_accept_word(&r->p, "when");
    if (e->always && !tn_parse_peek(&r->p, "{")) return tn_parse_expected(&r->p, "when or '{'");
    e->when = place(r);
    if (!skip_to(r, "{")) return false;
    e->body = place(r);
    r->p.s++;
    if (!skip_to(r, "}")) return tn_parse_error(&r->p, "an expansion is not closed by '}'");
    r->p.s++;
    return true;
}

/* knob BLOCK 128 256 */
static bool read_knob(reader *r) {
    const char *name;
    if (!read_name(r, "the name of a knob", &name)) return false;
    if (r->d->n_knobs == TN_PLUGIN_KNOBS) return tn_parse_error(&r->p, "more than %d knobs", TN_PLUGIN_KNOBS);
    tn_plugin_knob *k = &r->d->knobs[r->d->n_knobs++];
    k->name = name;
    do {
        if (k->n == TN_PLUGIN_VALUES) return tn_parse_error(&r->p, "more than %d values", TN_PLUGIN_VALUES);
        if (!tn_parse_int(&r->p, &k->values[k->n++])) return false;
        tn_parse_skip(&r->p);
    } while (isdigit((unsigned char)*r->p.s) || *r->p.s == '-');
    return true;
}

static bool read_kernel(reader *r) {
    if (r->d->has_kernel) return tn_parse_error(&r->p, "there is one kernel");
    r->d->has_kernel = true;
    r->d->launch = place(r);
    return skip_to(r, "\n");
}

static const struct {
    const char *word;
    bool (*read)(reader *r);
} statements[] = {
    {"type", read_type}, {"attr", read_attr},       {"input", read_input},         {"output", read_output},
    {"let", read_let},   {"require", read_require}, {"tolerance", read_tolerance}, {"expansion", read_expansion},
    {"knob", read_knob}, {"kernel", read_kernel}};
enum { STATEMENTS = sizeof statements / sizeof *statements };

static bool read_statements(reader *r) {
    if (!tn_parse_accept_word(&r->p, "plugin")) return tn_parse_expected(&r->p, "plugin domain::op");
    if (!read_plugin(r)) return false;
    for (tn_parse_skip(&r->p); r->p.s < r->p.end; tn_parse_skip(&r->p)) {
        size_t k = 0;
        while (k < STATEMENTS && !tn_parse_accept_word(&r->p, statements[k].word)) k++;
        if (k == STATEMENTS)
            return tn_parse_expected(&r->p,
                                     "type, attr, input, output, let, require, tolerance, expansion, knob or kernel");
        if (!statements[k].read(r)) return false;
    }
    return true;
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

static bool is_marked(const char *line, const char *end) {
    while (line < end && (*line == ' ' || *line == '\t')) line++;
    return end - line >= 3 && !memcmp(line, "//!", 3);
}

static bool any_marked(const char *text, size_t size) {
    for (const char *p = text, *end = text + size; p < end; p++) {
        const char *newline = memchr(p, '\n', (size_t)(end - p)), *stop = newline ? newline : end;
        if (is_marked(p, stop)) return true;
        p = stop;
    }
    return false;
}

/* Blanks what is no declaration, and comments from # on. */
static void blank(char *to, size_t size, bool marked) {
    for (char *p = to, *end = to + size; p < end; p++) {
        char *newline = memchr(p, '\n', (size_t)(end - p)), *stop = newline ? newline : end;
        char *from = marked ? strstr(p, "//!") : NULL;
        bool quoted = false;
        if (marked && !is_marked(p, stop)) memset(p, ' ', (size_t)(stop - p));
        if (from && from < stop) memset(from, ' ', 3);
        for (char *q = p; q < stop; q++) {
            quoted ^= *q == '"';
            if (*q == '#' && !quoted) memset(q, ' ', (size_t)(stop - q));
        }
        p = stop;
    }
}

static bool check_whole(reader *r, bool marked) {
    const tn_plugin *d = r->d;
    tn_parser *p = &r->p;
    if (!d->n_out) return tn_parse_error(p, "the plugin declares no output");
    if (!d->n_expansions && !d->has_kernel)
        return tn_parse_error(p, "the plugin has no expansion and no kernel: one of them says what the op computes");
    if (d->n_knobs && !d->has_kernel) return tn_parse_error(p, "knobs are a kernel's, but no kernel is declared");
    if (d->has_kernel && !marked)
        return tn_parse_error(
            p, "a kernel is CUDA source: begin the lines of the declaration with //! and write it below");
    if (d->has_kernel && (!strstr(d->text, "TN_KERNEL") || !strstr(d->text, "\"tn_variant.cuh\"")))
        return tn_parse_error(
            p, "the kernel is `extern \"C\" __global__ void TN_KERNEL(const __grid_constant__ tn_args args)`, "
               "after #include \"tn_variant.cuh\"");
    if (!d->has_kernel && strstr(d->text, "__global__"))
        return tn_parse_error(p, "there is CUDA source, but no line `kernel grid [...] block [...]`");
    return true;
}

/* Sizes, conditions and the launch, with symbols for all that is not known yet. */
static bool try_out(reader *r) {
    tn_plugin_scope s;
    tn_plugin_launch l;
    tn_status st = tn_plugin_try(r->p.g, r->d, &s);
    if (st == TN_OK && r->d->has_kernel) st = tn_plugin_launch_of(&s, &l);
    tn_plugin_close(&s);
    return st == TN_OK;
}

static tn_status read_all(reader *r, const char *text, size_t size) {
    tn_plugin *d = r->d;
    const bool marked = any_marked(text, size);
    d->text = copy(r, text, size);
    char *declared = (char *)(uintptr_t)copy(r, text, size);
    if (r->p.failed) return r->p.status;
    blank(declared, size, marked);
    d->declared = declared;
    d->size = size;
    d->hash = XXH3_64bits(text, size);
    r->p.s = r->p.line_start = declared;
    r->p.end = declared + size;
    r->p.line = 1;
    if (!read_statements(r) || !check_whole(r, marked)) return r->p.status;
    return try_out(r) ? TN_OK : tn_graph_status(r->p.g);
}

tn_status tn_plugin_read(const tn_env *env, const char *source, const char *text, size_t size, tn_plugin **out) {
    *out = NULL;
    if (size > MAX_TEXT || memchr(text, 0, size))
        return tn_fail(env, TN_E_FORMAT, source, "", "a plugin is text of at most %d bytes, without zero bytes",
                       MAX_TEXT);
    reader r = {.p = {.g = tn_graph_new(env), .source = source}, .d = tn_alloc(env, sizeof *r.d)};
    tn_status st = TN_E_MEMORY;
    if (r.d) *r.d = (tn_plugin){.env = env, .refs = 1, .arena = {.env = env}};
    if (r.p.g && r.d) {
        r.d->source = copy(&r, source, strlen(source));
        st = r.p.failed ? TN_E_MEMORY : read_all(&r, text, size);
    } else
        tn_fail(env, TN_E_MEMORY, source, "", "out of memory");
    tn_graph_free(r.p.g);
    if (st == TN_OK)
        *out = r.d;
    else if (r.d)
        tn_plugin_release(r.d);
    return st;
}
