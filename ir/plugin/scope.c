/* scope.c: what a plugin's names stand for: attributes, sizes of operands, and what is declared of them; see plugin.h. */
#include "ir/plugin/scope.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ir/type/infer.h"

enum { NAMES = 5 * TN_PLUGIN_MOST };

/* ---- names ------------------------------------------------------------------------------------------------------- */

tn_parser tn_plugin_parser(tn_plugin_scope *s, tn_plugin_place at) {
    s->names.p = s->name;
    s->names.n = s->n;
    return (tn_parser){.g = s->g,
                       .source = s->p->source,
                       .s = at.s,
                       .end = s->p->declared + s->p->size,
                       .line_start = at.line_start,
                       .line = at.line,
                       .names = &s->names};
}

static tn_name *add(tn_plugin_scope *s, const char *name, tn_name_kind kind) {
    if (!s->name) s->name = tn_arena_alloc(&s->arena, NAMES * sizeof *s->name);
    if (!s->name || s->n == NAMES) return tn_graph_oom(s->g), s->spare = (tn_name){.s = ""}, &s->spare;
    s->name[s->n] = (tn_name){.s = name, .kind = kind};
    s->names.n = s->n + 1;
    s->names.p = s->name;
    return &s->name[s->n++];
}

bool tn_plugin_define(tn_plugin_scope *s, const char *name, int64_t value) {
    add(s, name, TN_NAME_SIZE)->size = tn_dim_const(s->g, value);
    return tn_graph_ok(s->g);
}

static tn_name *find(tn_plugin_scope *s, const char *name, size_t n) {
    return (tn_name *)(uintptr_t)tn_names_find(&s->names, name, n);
}

static tn_status fail(tn_plugin_scope *s, tn_status code, const char *hint, const char *what, const char *name) {
    return tn_graph_fail(s->g, code, (tn_node){0}, hint, "plugin %s: %s%s", s->p->name, what, name);
}

bool tn_plugin_read_quoted(tn_parser *p, const char **s, size_t *n) {
    if (!tn_parse_accept(p, "\"")) return tn_parse_expected(p, "a word in quotes");
    *s = p->s;
    *n = strcspn(p->s, "\"\\\n");
    if (p->s[*n] != '"' || !*n) return tn_parse_error(p, "a word in quotes has letters and no escapes");
    p->s += *n + 1;
    return true;
}

/* ---- attributes -------------------------------------------------------------------------------------------------- */

static tn_dims sizes_of(tn_plugin_scope *s, const int64_t *v, size_t n) {
    tn_dim *d = tn_arena_alloc(&s->arena, (n + 1) * sizeof *d);
    if (!d) return tn_graph_oom(s->g), (tn_dims){0};
    for (size_t k = 0; k < n; k++) d[k] = tn_dim_const(s->g, v[k]);
    return (tn_dims){d, (uint32_t)n};
}

static tn_nums nums_of(tn_plugin_scope *s, const double *v, const int64_t *whole, size_t n) {
    double *d = tn_arena_alloc(&s->arena, (n + 1) * sizeof *d);
    if (!d) return tn_graph_oom(s->g), (tn_nums){0};
    for (size_t k = 0; k < n; k++) d[k] = v ? v[k] : (double)whole[k];
    return (tn_nums){d, (uint32_t)n};
}

static void take_default(tn_plugin_scope *s, const tn_plugin_attr *a, tn_name *x) {
    x->size = tn_dim_const(s->g, a->size);
    x->num = a->num;
    if (a->kind == TN_NAME_WORD) x->text = a->words[a->required ? 0 : a->size];
    if (a->kind == TN_NAME_INTS) x->sizes = sizes_of(s, a->sizes, a->n);
    if (a->kind == TN_NAME_NUMS) x->nums = nums_of(s, a->nums, NULL, a->n);
}

/* False where it has another type. */
static bool take_value(tn_plugin_scope *s, const tn_plugin_attr *a, const tn_plugin_value *v, tn_name *x) {
    enum { MOST = 1 << 16 };
    if (v->n > MOST) return false;
    switch (a->kind) {
    case TN_NAME_SIZE: x->size = tn_dim_const(s->g, v->i); return v->kind == TN_PLUGIN_INT;
    case TN_NAME_NUM:
        x->num = v->kind == TN_PLUGIN_INT ? (double)v->i : v->f;
        return v->kind == TN_PLUGIN_INT || v->kind == TN_PLUGIN_FLOAT;
    case TN_NAME_WORD:
        for (uint32_t k = 0; v->kind == TN_PLUGIN_WORD && k < a->n_words; k++) {
            if (strcmp(a->words[k], v->s) != 0) continue;
            x->text = a->words[k];
            x->size = tn_dim_const(s->g, k);
        }
        return x->text != NULL;
    case TN_NAME_INTS:
        if (v->kind == TN_PLUGIN_INTS) x->sizes = sizes_of(s, v->is, v->n);
        return v->kind == TN_PLUGIN_INTS;
    default: {
        const bool whole = v->kind == TN_PLUGIN_INTS, fits = whole || v->kind == TN_PLUGIN_FLOATS;
        if (fits) x->nums = nums_of(s, whole ? NULL : v->fs, v->is, v->n);
        return fits;
    }
    }
}

static const char *kind_text(const tn_plugin_attr *a, char buf[200]) {
    enum { SIZE = 200 };
    static const char *const texts[] = {
        [TN_NAME_SIZE] = "an int", [TN_NAME_NUM] = "a float", [TN_NAME_INTS] = "ints", [TN_NAME_NUMS] = "floats"};
    if (a->kind != TN_NAME_WORD) return texts[a->kind];
    size_t n = 0;
    for (uint32_t k = 0; k < a->n_words && n < SIZE; k++)
        n += (size_t)snprintf(buf + n, SIZE - n, "%s\"%s\"", k ? " or " : "", a->words[k]);
    return buf;
}

/* A list of unknown length would leave what is made of it unknown, too: on trial it has some elements. */
static void make_up(tn_plugin_scope *s, const tn_plugin_attr *a, tn_name *x) {
    enum { SOME = 16 };
    const tn_dim any = tn_dim_fresh(s->g, a->name);
    x->size = any;
    x->num = 1;
    if (a->kind == TN_NAME_WORD) x->text = a->words[0];
    if (a->kind == TN_NAME_NUMS) x->nums = nums_of(s, NULL, (const int64_t[SOME]){0}, SOME);
    tn_dim *d = a->kind == TN_NAME_INTS ? tn_arena_alloc(&s->arena, SOME * sizeof *d) : NULL;
    for (size_t k = 0; d && k < SOME; k++) d[k] = tn_dim_fresh(s->g, a->name);
    if (d) x->sizes = (tn_dims){d, SOME};
}

static tn_status add_attrs(tn_plugin_scope *s, size_t n, const tn_plugin_value *values) {
    const tn_plugin *p = s->p;
    char text[300], buf[200];
    for (size_t k = 0; k < n; k++) { /* the last one of that name counts nowhere */
        uint32_t a = 0;
        while (a < p->n_attrs && strcmp(p->attrs[a].name, values[k].name) != 0) a++;
        if (a == p->n_attrs)
            return fail(s, TN_E_ARGUMENT, "declare it: attr NAME: int", "it has no attribute ", values[k].name);
    }
    for (uint32_t a = 0; a < p->n_attrs && tn_graph_ok(s->g); a++) {
        const tn_plugin_attr *attr = &p->attrs[a];
        tn_name *x = add(s, attr->name, attr->kind);
        size_t k = 0;
        while (k < n && strcmp(values[k].name, attr->name) != 0) k++;
        if (s->trial) {
            make_up(s, attr, x);
        } else if (k == n) {
            if (attr->required) return fail(s, TN_E_ARGUMENT, "", "it needs the attribute ", attr->name);
            take_default(s, attr, x);
        } else if (!take_value(s, attr, &values[k], x)) {
            snprintf(text, sizeof text, "%s, which is %s", attr->name, kind_text(attr, buf));
            return fail(s, TN_E_ARGUMENT, "", "another value is given for the attribute ", text);
        }
    }
    return tn_graph_status(s->g);
}

/* ---- operands ---------------------------------------------------------------------------------------------------- */

static const tn_plugin_type *type_named(const tn_plugin *p, const char *s, size_t n) {
    for (uint32_t k = 0; k < p->n_types; k++)
        if (strlen(p->types[k].name) == n && !memcmp(p->types[k].name, s, n)) return &p->types[k];
    return NULL;
}

/* The dtype that stands here, of an operand that is `is`: a dtype, or one of the plugin's types. */
static bool match_dtype(tn_plugin_scope *s, tn_parser *p, const char *operand, tn_dtype is) {
    const char *word;
    size_t n;
    char text[200];
    tn_parser at = *p;
    if (!tn_parse_word(p, "a type such as f32[2,3]", &word, &n)) return false;
    const tn_plugin_type *t = type_named(s->p, word, n);
    tn_name *x = find(s, word, n);
    const tn_dtype fixed = t ? TN_DTYPE_NONE : tn_dtype_parse(word, n);
    if (!t && !fixed) return tn_parse_expected(&at, "a type such as f32[2,3]");
    if (!is) is = t ? t->first : fixed; /* an operand that is absent, or nobody's */
    if (t && !x) add(s, t->name, TN_NAME_TYPE)->type = is;
    const tn_dtype want = t ? x ? x->type : is : fixed;
    if (is == want && (!t || t->may_be[is])) return true;
    if (t && !t->may_be[is])
        snprintf(text, sizeof text, "%s is %s, which %s may not be", operand, tn_dtype_text(is), t->name);
    else
        snprintf(text, sizeof text, "%s is %s instead of %s", operand, tn_dtype_text(is), tn_dtype_text(want));
    fail(s, TN_E_TYPE, "", "", text);
    return false;
}

/* How many sizes stand in the brackets at p. */
static size_t count_items(const tn_parser *p) {
    size_t n = 0;
    int depth = 0;
    for (const char *c = p->s; c < p->end; c++) {
        if (*c == '[' || *c == '(') depth++;
        if ((*c == ']' || *c == ')') && !--depth) break;
        if (depth == 1 && n == 0 && *c != '[' && *c != ' ' && *c != '\n') n = 1;
        n += depth == 1 && *c == ',';
    }
    return n;
}

/* `s...`: the sizes from `at` on. */
static void bind_rest(tn_plugin_scope *s, const char *word, size_t n, const tn_dim *from, size_t count) {
    char *name = tn_arena_alloc(&s->arena, n + 1);
    tn_dim *d = tn_arena_alloc(&s->arena, (count + 1) * sizeof *d), all = tn_dim_const(s->g, 1);
    if (!name || !d) {
        tn_graph_oom(s->g);
        return;
    }
    memcpy(name, word, n);
    for (size_t k = 0; k < count; k++) all = tn_dim_mul(s->g, all, d[k] = from[k]);
    tn_name *x = add(s, name, TN_NAME_SIZES);
    x->sizes = (tn_dims){d, (uint32_t)count};
    x->size = all;
}

/* What the sizes of an operand must be. */
static bool need(tn_plugin_scope *s, const char *operand, size_t axis, tn_dim is, tn_dim d, const char *from,
                 const char *to) {
    char of_a[96], of_b[96];
    if (!s->conditions || is.i == d.i) return true;
    while (to > from && (to[-1] == ' ' || to[-1] == '\n')) to--;
    snprintf(of_a, sizeof of_a, "axis %zu of %.40s", axis, operand);
    snprintf(of_b, sizeof of_b, "%.*s", (int)(to - from < 80 ? to - from : 80), from);
    tn_condition c = {.rel = TN_REL_EQUAL, .a = is, .b = d, .what = s->p->name, .of_a = of_a, .of_b = of_b};
    return tn_graph_require(s->g, c) == TN_OK;
}

/* `s...` once more: as many sizes, which are equal. */
static bool match_rest(tn_plugin_scope *s, tn_parser *p, const char *operand, size_t axis, const tn_name *x,
                       const tn_dim *dims, size_t count) {
    char text[160];
    if (x->kind != TN_NAME_SIZES) return tn_parse_error(p, "%s is no rest of sizes", x->s);
    if (!s->conditions) return true;
    if (count != x->sizes.n) {
        snprintf(text, sizeof text, "%.60s has %zu sizes where %.40s... are %u", operand, count, x->s, x->sizes.n);
        return fail(s, TN_E_TYPE, "", "", text), false;
    }
    const tn_dims sizes = x->sizes;
    for (size_t k = 0; k < count; k++)
        if (!need(s, operand, axis + k, dims[k], sizes.p[k], x->s, x->s + strlen(x->s))) return false;
    return true;
}

/* One item of an operand's sizes: a new name stands for the size, all else must be equal to it. */
static bool match_size(tn_plugin_scope *s, tn_parser *p, const char *operand, size_t *axis, size_t rank, size_t items,
                       const tn_dim *dims) {
    tn_parse_skip(p);
    const char *at = p->s;
    const size_t n = tn_ident_length(at);
    const char behind = at[n + strspn(at + n, " \n")];
    if (n > 3 && !memcmp(at + n - 3, "...", 3) && memchr(at, '.', n) == at + n - 3) {
        const size_t count = rank + 1 - items;
        const tn_name *x = find(s, at, n - 3);
        if (!x) bind_rest(s, at, n - 3, dims + *axis, count);
        if (x && !match_rest(s, p, operand, *axis, x, dims + *axis, count)) return false;
        p->s += n;
        *axis += count;
        return tn_parse_graph_ok(p);
    }
    if (n && !memchr(at, '.', n) && (behind == ',' || behind == ']') && !tn_names_size(s->g, &s->names, at, n).i) {
        char *name = tn_arena_alloc(&s->arena, n + 1);
        if (!name) return tn_graph_oom(s->g), false;
        memcpy(name, at, n);
        add(s, name, TN_NAME_SIZE)->size = dims[(*axis)++];
        p->s += n;
        return tn_parse_graph_ok(p);
    }
    tn_dim d;
    if (!tn_parse_dim(p, &d)) return false;
    const size_t k = (*axis)++;
    return need(s, operand, k, dims[k], d, at, p->s);
}

static bool has_rest(const tn_parser *p) {
    const char *close = strchr(p->s, ']'), *dots = strstr(p->s, "...");
    return close && dots && dots < close;
}

/* : T[n, c, s...] optional */
static bool take_input(tn_plugin_scope *s, const tn_plugin_step *step) {
    tn_parser p = tn_plugin_parser(s, step->place);
    tn_plugin_tensor *x = &s->in[step->index];
    char text[160];
    if (!tn_parse_expect(&p, ":")) return false;
    if (!match_dtype(s, &p, step->name, x->there && !s->trial ? x->dtype : TN_DTYPE_NONE)) return false;
    tn_parse_skip(&p);
    const size_t items = count_items(&p);
    const bool rest = has_rest(&p);
    if (items > TN_MAX_RANK + 1) return tn_parse_error(&p, "a type's rank is above the limit of %d", TN_MAX_RANK);
    if (s->trial || !x->there) { /* symbols, or nothing */
        x->rank = items > TN_MAX_RANK ? TN_MAX_RANK : items;
        for (size_t k = 0; k < x->rank; k++)
            x->dims[k] = s->trial ? tn_dim_fresh(s->g, step->name) : tn_dim_const(s->g, 0);
    }
    if (rest ? x->rank + 1 < items : x->rank != items) {
        snprintf(text, sizeof text, "%.60s has rank %zu instead of %s%zu", step->name, x->rank, rest ? "at least " : "",
                 rest ? items - 1 : items);
        return fail(s, TN_E_TYPE, "", "", text), false;
    }
    const bool conditions = s->conditions;
    s->conditions &= x->there;
    size_t axis = 0;
    bool ok = tn_parse_expect(&p, "[");
    for (bool first = true; ok && !tn_parse_accept(&p, "]"); first = false)
        ok = (first || tn_parse_expect(&p, ",")) && (axis < x->rank || rest || tn_parse_expected(&p, "']'")) &&
             match_size(s, &p, step->name, &axis, x->rank, items, x->dims);
    s->conditions = conditions;
    if (!ok || p.failed) return false;
    tn_parse_accept_word(&p, "optional");
    add(s, step->name, TN_NAME_INPUT)->size = tn_dim_const(s->g, x->there);
    return true;
}

static bool take_output(tn_plugin_scope *s, const tn_plugin_step *step) {
    tn_parser p = tn_plugin_parser(s, step->place);
    tn_plugin_tensor *y = &s->out[step->index];
    y->there = true;
    const char *word = p.s;
    if (!tn_parse_expect(&p, ":")) return false;
    tn_parse_skip(&p);
    word = p.s;
    const tn_plugin_type *t = type_named(s->p, word, tn_ident_length(word));
    if (t && !find(s, t->name, strlen(t->name))) return tn_parse_error(&p, "no input before has the type %s", t->name);
    return tn_parse_dtype(&p, &y->dtype) && tn_parse_shape(&p, y->dims, &y->rank);
}

/* ---- conditions -------------------------------------------------------------------------------------------------- */

/* a REL b, or what is known of it. */
typedef struct term {
    bool known, holds, negated; /* negated: a and b differ */
    tn_rel rel;
    tn_dim a, b;
    char of_a[96], of_b[96];
} term;

static const char *const signs[] = {"==", "!=", ">=", "<=", ">", "<"};
enum { EQ, NE, GE, LE, GT, LT, SIGNS };

static bool read_sign(tn_parser *p, int *sign) {
    for (*sign = 0; *sign < SIGNS; ++*sign)
        if (tn_parse_accept(p, signs[*sign])) return true;
    return tn_parse_expected(p, "== != >= <= > or <");
}

static bool compares(int sign, double a, double b) {
    switch (sign) {
    case EQ: return a == b;
    case NE: return a != b;
    case GE: return a >= b;
    case LE: return a <= b;
    case GT: return a > b;
    default: return a < b;
    }
}

static void span(char buf[96], const char *from, const char *to) {
    while (to > from && (to[-1] == ' ' || to[-1] == '\n')) to--;
    snprintf(buf, 96, "%.*s", (int)(to - from < 90 ? to - from : 90), from);
}

static bool read_sizes(tn_plugin_scope *s, tn_parser *p, term *t) {
    int sign;
    const tn_dim one = tn_dim_const(s->g, 1);
    tn_parse_skip(p);
    const char *from = p->s;
    if (!tn_parse_dim(p, &t->a)) return false;
    span(t->of_a, from, p->s);
    if (!read_sign(p, &sign)) return false;
    tn_parse_skip(p);
    from = p->s;
    if (!tn_parse_dim(p, &t->b)) return false;
    span(t->of_b, from, p->s);
    t->rel = sign == EQ || sign == NE ? TN_REL_EQUAL : TN_REL_AT_LEAST;
    t->negated = sign == NE;
    if (sign == GT) t->b = tn_dim_add(s->g, t->b, one);
    if (sign == LE || sign == LT) {
        const tn_dim a = t->a;
        t->a = sign == LT ? tn_dim_sub(s->g, t->b, one) : t->b;
        t->b = a;
        char of[96];
        memcpy(of, t->of_a, sizeof of);
        memcpy(t->of_a, t->of_b, sizeof of);
        memcpy(t->of_b, of, sizeof of);
    }
    const tn_relation r = tn_rel_decide(s->g, t->rel, t->a, t->b);
    t->known = r != TN_DIMS_MAYBE;
    t->holds = (r == TN_DIMS_SAME) != t->negated;
    return tn_parse_graph_ok(p);
}

/* has(x), mode == "max", scale > 0.5, h >= 4 */
static bool read_term(tn_plugin_scope *s, tn_parser *p, term *t) {
    int sign;
    *t = (term){.known = true};
    if (tn_parse_accept_word(p, "has")) {
        if (!tn_parse_expect(p, "(")) return false;
        const tn_name *x = tn_parse_accept_name(p, TN_NAME_INPUT);
        if (!x) return tn_parse_expected(p, "an input that is declared before");
        t->holds = !tn_dim_equal_const(s->g, x->size, 0);
        return tn_parse_expect(p, ")");
    }
    const tn_name *word = tn_parse_accept_name(p, TN_NAME_WORD);
    if (word) {
        const char *text;
        size_t n;
        if (!read_sign(p, &sign)) return false;
        if (sign > NE) return tn_parse_error(p, "words are equal (==) or not (!=)");
        if (!tn_plugin_read_quoted(p, &text, &n)) return false;
        t->holds = (strlen(word->text) == n && !memcmp(word->text, text, n)) == (sign == EQ);
        return true;
    }
    const tn_name *num = tn_parse_accept_name(p, TN_NAME_NUM);
    if (!num) return read_sizes(s, p, t);
    double v;
    if (!read_sign(p, &sign) || !tn_parse_num(p, &v)) return false;
    t->holds = compares(sign, num->num, v);
    return true;
}

bool tn_plugin_decide(tn_plugin_scope *s, tn_plugin_place when, bool *holds) {
    tn_parser p = tn_plugin_parser(s, when);
    term t;
    *holds = true;
    do {
        if (!read_term(s, &p, &t)) return false;
        if (!t.known && !s->trial)
            return tn_parse_error(&p,
                                  "whether that holds must be known when compiling; it depends on sizes that are not");
        *holds &= t.holds;
    } while (tn_parse_accept_word(&p, "and"));
    return tn_parse_peek(&p, "{") || tn_parse_expected(&p, "and or '{'");
}

/* require h >= 4 and w >= 4, "the grid is too small" */
static bool take_require(tn_plugin_scope *s, const tn_plugin_step *step) {
    tn_parser p = tn_plugin_parser(s, step->place);
    term t[8];
    size_t n = 0;
    const char *text = s->p->name;
    char message[200];
    snprintf(message, sizeof message, "%s", text);
    do {
        if (n == 8) return tn_parse_error(&p, "more than 8 conditions in one line");
        if (!read_term(s, &p, &t[n++])) return false;
    } while (tn_parse_accept_word(&p, "and"));
    if (tn_parse_accept(&p, ",")) {
        size_t m;
        if (!tn_plugin_read_quoted(&p, &text, &m)) return false;
        snprintf(message, sizeof message, "%s: %.*s", s->p->name, (int)(m < 150 ? m : 150), text);
    }
    for (size_t k = 0; s->conditions && k < n; k++) {
        if (t[k].a.i && !t[k].negated) {
            const tn_condition c = {
                .rel = t[k].rel, .a = t[k].a, .b = t[k].b, .what = message, .of_a = t[k].of_a, .of_b = t[k].of_b};
            if (tn_graph_require(s->g, c) != TN_OK) return false;
        } else if (!t[k].known) {
            return tn_parse_error(&p, "that sizes differ cannot be required where they are not known when compiling");
        } else if (!t[k].holds) {
            char why[300];
            snprintf(why, sizeof why, "%s%.90s%s%.90s", text == s->p->name ? "what it requires does not hold" : message,
                     t[k].a.i ? ": " : "", t[k].a.i ? t[k].of_a : "", t[k].a.i ? " may not be that" : "");
            return fail(s, TN_E_TYPE, "", "", why), false;
        }
    }
    return true;
}

static bool take_let(tn_plugin_scope *s, const tn_plugin_step *step) {
    tn_parser p = tn_plugin_parser(s, step->place);
    tn_dim d;
    if (!tn_parse_expect(&p, "=") || !tn_parse_dim(&p, &d)) return false;
    add(s, step->name, TN_NAME_SIZE)->size = d;
    return tn_graph_ok(s->g);
}

/* ---- the scope --------------------------------------------------------------------------------------------------- */

static bool take_steps(tn_plugin_scope *s) {
    static bool (*const take[])(tn_plugin_scope * s, const tn_plugin_step *step) = {[TN_PLUGIN_IN] = take_input,
                                                                                    [TN_PLUGIN_OUT] = take_output,
                                                                                    [TN_PLUGIN_LET] = take_let,
                                                                                    [TN_PLUGIN_REQUIRE] = take_require};
    for (uint32_t k = 0; k < s->p->n_steps; k++)
        if (!take[s->p->steps[k].kind](s, &s->p->steps[k])) return false;
    return tn_graph_ok(s->g);
}

/* A fault of the text has been reported. */
static tn_status settle(tn_plugin_scope *s, bool ok) {
    if (!ok && tn_graph_ok(s->g)) s->g->status = TN_E_FORMAT;
    return tn_graph_status(s->g);
}

static void begin(tn_graph *g, const tn_plugin *p, const char *layer, tn_plugin_scope *out) {
    memset(out, 0, sizeof *out);
    out->g = g;
    out->p = p;
    out->arena.env = tn_graph_env(g);
    out->names.layer = layer;
}

tn_status tn_plugin_try(tn_graph *g, const tn_plugin *p, tn_plugin_scope *out) {
    begin(g, p, "", out);
    out->trial = true;
    for (uint32_t k = 0; k < p->n_in; k++) out->in[k].there = true;
    bool ok = add_attrs(out, 0, NULL) == TN_OK && take_steps(out), holds;
    for (uint32_t k = 0; ok && k < p->n_expansions; k++)
        ok = p->expansions[k].always || tn_plugin_decide(out, p->expansions[k].when, &holds);
    for (uint32_t k = 0; ok && k < p->n_knobs; k++)
        add(out, p->knobs[k].name, TN_NAME_SIZE)->size = tn_dim_fresh(g, p->knobs[k].name);
    return settle(out, ok);
}

/* "a=1, b=[2.5]" */
static bool read_given(tn_plugin_scope *s, const char *given, tn_plugin_value *values, size_t *n) {
    tn_parser p = {
        .g = s->g, .source = s->p->name, .s = given, .end = given + strlen(given), .line_start = given, .line = 1};
    return tn_plugin_parse_values(&p, s->p, values, n);
}

tn_status tn_plugin_open(tn_graph *g, const tn_plugin *p, const char *layer, size_t n_values,
                         const tn_plugin_value *values, const char *given, size_t n_in, const tn_plugin_tensor *in,
                         bool conditions, tn_plugin_scope *out) {
    tn_plugin_value own[TN_PLUGIN_MOST];
    begin(g, p, layer, out);
    out->conditions = conditions;
    if (!tn_graph_ok(g)) return tn_graph_status(g);
    if (given) {
        if (!read_given(out, given, own, &n_values)) return settle(out, false);
        values = own;
    }
    char text[120];
    uint32_t least = 0;
    for (uint32_t k = 0; k < p->n_steps; k++) {
        const tn_plugin_step *step = &p->steps[k];
        if (step->kind != TN_PLUGIN_IN) continue;
        const bool there = step->index < n_in && in[step->index].there;
        if (there) out->in[step->index] = in[step->index];
        if (!step->optional) least = step->index + 1;
        if (!there && !step->optional) return fail(out, TN_E_ARGUMENT, "", "it needs the input ", step->name);
    }
    if (n_in > p->n_in) {
        snprintf(text, sizeof text, "it takes %s%u inputs, not %zu", least < p->n_in ? "at most " : "", p->n_in, n_in);
        return fail(out, TN_E_ARGUMENT, "", text, "");
    }
    return settle(out, add_attrs(out, n_values, values) == TN_OK && take_steps(out));
}

void tn_plugin_close(tn_plugin_scope *s) {
    tn_arena_free(&s->arena);
}

const char *tn_plugin_given(tn_graph *g, const tn_plugin_scope *s) {
    tn_out o = {.env = tn_graph_env(g), .grows = true};
    for (uint32_t k = 0; k < s->p->n_attrs; k++) {
        const tn_name *x = &s->name[k];
        int64_t v = 0;
        tn_out_fmt(&o, "%s%s=", k ? ", " : "", x->s);
        if (x->kind == TN_NAME_WORD) tn_out_quoted(&o, x->text);
        if (x->kind == TN_NAME_SIZE) tn_out_dim(&o, g, x->size);
        if (x->kind == TN_NAME_NUM) tn_out_num(&o, x->num);
        if (x->kind != TN_NAME_INTS && x->kind != TN_NAME_NUMS) continue;
        tn_out_str(&o, "[");
        for (uint32_t i = 0; i < x->sizes.n; i++) {
            tn_dim_is_const(g, x->sizes.p[i], &v);
            tn_out_fmt(&o, "%s%" PRId64, i ? "," : "", v);
        }
        for (uint32_t i = 0; i < x->nums.n; i++) {
            tn_out_str(&o, i ? "," : "");
            tn_out_num(&o, x->nums.p[i]);
        }
        tn_out_str(&o, "]");
    }
    const char *text = o.failed ? NULL : tn_intern_n(g, o.n ? o.p : "", o.n);
    if (o.failed) tn_graph_oom(g);
    if (o.p) tn_free(o.env, o.p, o.cap);
    return text;
}

/* grid [n * ceildiv(h*w, BLOCK), 1] block [BLOCK] shared 4*BLOCK */
static bool read_launch(tn_plugin_scope *s, tn_parser *p, tn_plugin_launch *out) {
    tn_dim block[TN_MAX_RANK], grid[TN_MAX_RANK];
    size_t n_block, n_grid;
    if (!tn_parse_accept_word(p, "grid")) return tn_parse_expected(p, "grid [...] block [...]");
    if (!tn_parse_shape(p, grid, &n_grid)) return false;
    if (!tn_parse_accept_word(p, "block")) return tn_parse_expected(p, "block [...]");
    if (!tn_parse_shape(p, block, &n_block)) return false;
    if (!n_grid || n_grid > 3 || !n_block || n_block > 3)
        return tn_parse_error(p, "grid and block have one to three sizes");
    tn_dim shared = tn_dim_const(s->g, 0);
    if (tn_parse_accept_word(p, "shared") && !tn_parse_dim(p, &shared)) return false;
    for (size_t k = 0; k < 3; k++) {
        out->grid[k] = k < n_grid ? grid[k] : tn_dim_const(s->g, 1);
        out->block[k] = 1;
        if (k < n_block && !tn_dim_is_const(s->g, block[k], &out->block[k]) && !s->trial)
            return tn_parse_error(p, "a block's size must be known when compiling: of knobs, attributes and numbers");
    }
    if (!tn_dim_is_const(s->g, shared, &out->shared) && !s->trial)
        return tn_parse_error(p, "the bytes of shared memory must be known when compiling");
    return true;
}

tn_status tn_plugin_launch_of(tn_plugin_scope *s, tn_plugin_launch *out) {
    tn_parser p = tn_plugin_parser(s, s->p->launch);
    memset(out, 0, sizeof *out);
    return settle(s, read_launch(s, &p, out));
}
