/* dims_text.c: dims as text: + - * // % with the usual precedence, min(a,b), max(a,b), bcast(a,b), ceildiv(a,b).
 * A symbol whose name is not an identifier, or is one of these words, is quoted. */
#include <string.h>

#include "ir/internal.h"
#include "ir/text/names.h"

enum { MAX_PARENS = 64, SUM = 1, PRODUCT = 2, PRIMARY = 3 };

static const struct {
    const char *text;
    tn_dim_kind kind;
} functions[] = {{"min", TN_DIM_MIN},
                 {"max", TN_DIM_MAX},
                 {"ceildiv", TN_DIM_CEILDIV},
                 {"floordiv", TN_DIM_FLOORDIV},
                 {"bcast", TN_DIM_BCAST}};

static bool is_function(const char *s, size_t n, tn_dim_kind *kind) {
    for (size_t k = 0; k < sizeof functions / sizeof *functions; k++)
        if (strlen(functions[k].text) == n && !memcmp(functions[k].text, s, n)) {
            *kind = functions[k].kind;
            return true;
        }
    return false;
}

/* ---- printing ---------------------------------------------------------------------------------------------------- */

static void print(tn_out *o, const tn_graph *g, tn_dim d, int level);

static void print_call(tn_out *o, const tn_graph *g, tn_dim d, const char *name) {
    tn_out_fmt(o, "%s(", name);
    print(o, g, tn_dim_lhs(g, d), SUM);
    tn_out_str(o, ", ");
    print(o, g, tn_dim_rhs(g, d), SUM);
    tn_out_str(o, ")");
}

/* A sign in front binds tighter than the // or % that the monomial may start with. */
static int level_behind_sign(const tn_graph *g, tn_dim mono, const char *sign) {
    while (tn_dim_kind_of(g, mono) == TN_DIM_MUL) mono = tn_dim_lhs(g, mono);
    tn_dim_kind kind = tn_dim_kind_of(g, mono);
    return sign[0] == '-' && (kind == TN_DIM_FLOORDIV || kind == TN_DIM_MOD) ? PRIMARY : PRODUCT;
}

/* Prints a negative term as its sign and magnitude; false if it is not negative. */
static bool print_negative(tn_out *o, const tn_graph *g, tn_dim d, const char *sign) {
    int64_t v = 0;
    bool constant = tn_dim_is_const(g, d, &v);
    if (!constant && (tn_dim_kind_of(g, d) != TN_DIM_MUL || !tn_dim_is_const(g, tn_dim_rhs(g, d), &v))) return false;
    if (v >= 0 || v == INT64_MIN) return false;
    tn_out_str(o, sign);
    if (!constant) print(o, g, tn_dim_lhs(g, d), level_behind_sign(g, tn_dim_lhs(g, d), sign));
    if (constant || v != -1) tn_out_fmt(o, "%s%lld", constant ? "" : "*", (long long)-v);
    return true;
}

static void print_infix(tn_out *o, const tn_graph *g, tn_dim d, const char *op) {
    print(o, g, tn_dim_lhs(g, d), PRODUCT);
    tn_out_str(o, op);
    print(o, g, tn_dim_rhs(g, d), PRIMARY);
}

static void print_sum(tn_out *o, const tn_graph *g, tn_dim d) {
    print(o, g, tn_dim_lhs(g, d), SUM);
    if (print_negative(o, g, tn_dim_rhs(g, d), " - ")) return;
    tn_out_str(o, " + ");
    print(o, g, tn_dim_rhs(g, d), PRODUCT);
}

static void print_symbol(tn_out *o, const char *name) {
    tn_dim_kind kind = TN_DIM_NONE;
    size_t n = strlen(name);
    if (n && tn_ident_length(name) == n && !is_function(name, n, &kind))
        tn_out_put(o, name, n);
    else
        tn_out_quoted(o, name);
}

static void print(tn_out *o, const tn_graph *g, tn_dim d, int level) {
    int64_t v = 0;
    tn_dim_kind kind = tn_dim_kind_of(g, d);
    int own = kind == TN_DIM_ADD                                                    ? SUM
              : kind == TN_DIM_MUL || kind == TN_DIM_FLOORDIV || kind == TN_DIM_MOD ? PRODUCT
                                                                                    : PRIMARY;
    if (own < level) tn_out_str(o, "(");
    switch (kind) {
    case TN_DIM_NONE: tn_out_str(o, "?"); break;
    case TN_DIM_CONST:
        tn_dim_is_const(g, d, &v);
        tn_out_fmt(o, "%lld", (long long)v);
        break;
    case TN_DIM_VAR:
    case TN_DIM_SYM: print_symbol(o, tn_dim_name(g, d)); break;
    case TN_DIM_ADD: print_sum(o, g, d); break;
    case TN_DIM_MUL:
        if (!print_negative(o, g, d, "-")) print_infix(o, g, d, "*");
        break;
    case TN_DIM_FLOORDIV: print_infix(o, g, d, "//"); break;
    case TN_DIM_MOD: print_infix(o, g, d, "%"); break;
    case TN_DIM_CEILDIV: print_call(o, g, d, "ceildiv"); break;
    case TN_DIM_MIN: print_call(o, g, d, "min"); break;
    case TN_DIM_MAX: print_call(o, g, d, "max"); break;
    case TN_DIM_BCAST: print_call(o, g, d, "bcast"); break;
    }
    if (own < level) tn_out_str(o, ")");
}

void tn_out_dim(tn_out *o, const tn_graph *g, tn_dim d) {
    print(o, g, d, SUM);
}

size_t tn_dim_print(const tn_graph *g, tn_dim d, char *buf, size_t size) {
    tn_out o = tn_out_fixed(buf, size);
    print(&o, g, d, SUM);
    return o.n;
}

/* ---- parsing ----------------------------------------------------------------------------------------------------- */

typedef struct dim_parser {
    tn_graph *g;
    const char *s; /* stays where the error is */
    int depth;
    const tn_names *names; /* NULL: words are symbols */
} dim_parser;

static tn_dim parse_sum(dim_parser *p);

static void skip_space(dim_parser *p) {
    while (*p->s == ' ' || *p->s == '\t' || *p->s == '\n' || *p->s == '\r') p->s++;
}

static bool accept(dim_parser *p, const char *token) {
    skip_space(p);
    size_t n = strlen(token);
    if (strncmp(p->s, token, n) != 0) return false;
    p->s += n;
    return true;
}

static tn_dim parse_number(dim_parser *p, bool negative) {
    uint64_t v = 0, limit = (uint64_t)INT64_MAX + negative;
    const char *start = p->s;
    for (; *p->s >= '0' && *p->s <= '9'; p->s++) {
        uint64_t digit = (uint64_t)(*p->s - '0');
        if (v > (limit - digit) / 10) {
            p->s = start;
            return (tn_dim){0};
        }
        v = v * 10 + digit;
    }
    return tn_dim_const(p->g, negative ? (int64_t)(0 - v) : (int64_t)v);
}

static bool never_fit(tn_graph *g, tn_dim a, tn_dim b) {
    return tn_dim_never_one(g, a) && tn_dim_never_one(g, b) && (tn_dim_less(g, a, b) > 0 || tn_dim_less(g, b, a) > 0);
}

static tn_dim parse_call(dim_parser *p, tn_dim_kind kind) {
    tn_dim a = parse_sum(p);
    if (!a.i || !accept(p, ",")) return (tn_dim){0};
    tn_dim b = parse_sum(p);
    if (kind == TN_DIM_BCAST && b.i && never_fit(p->g, a, b)) return (tn_dim){0}; /* no size */
    return b.i && accept(p, ")") ? tn_dim_binary(p->g, kind, a, b) : (tn_dim){0};
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Reads "..." at p->s into buf; false if it is not closed or does not fit. */
static bool parse_quoted(dim_parser *p, char *buf, size_t size) {
    size_t n = 0;
    const char *s = p->s + 1;
    for (; *s && *s != '"'; s++) {
        char c = *s;
        if (c == '\\') {
            c = *++s;
            if (c == 'n')
                c = '\n';
            else if (c == 't')
                c = '\t';
            else if (c == 'x' && hex_digit(s[1]) >= 0 && hex_digit(s[2]) >= 0) {
                c = (char)(hex_digit(s[1]) * 16 + hex_digit(s[2]));
                s += 2;
            } else if (c != '"' && c != '\\')
                return false;
        }
        if (!c || n + 1 >= size) return false;
        buf[n++] = c;
    }
    if (*s != '"' || n == 0) return false;
    buf[n] = 0;
    p->s = s + 1;
    return true;
}

static tn_dim parse_primary(dim_parser *p) {
    char name[512];
    tn_dim_kind kind = TN_DIM_NONE;
    skip_space(p);
    if (*p->s >= '0' && *p->s <= '9') return parse_number(p, false);
    if (*p->s == '"' && !p->names) return parse_quoted(p, name, sizeof name) ? tn_dim_sym(p->g, name) : (tn_dim){0};
    if (accept(p, "(")) {
        tn_dim d = parse_sum(p);
        return d.i && accept(p, ")") ? d : (tn_dim){0};
    }
    size_t n = tn_ident_length(p->s);
    if (!n || n >= sizeof name) return (tn_dim){0};
    const char *start = p->s;
    p->s += n;
    if (is_function(start, n, &kind) && accept(p, "(")) return parse_call(p, kind);
    if (p->names) {
        const tn_dim d = tn_names_size(p->g, p->names, start, n);
        if (!d.i) p->s = start;
        return d;
    }
    memcpy(name, start, n);
    name[n] = 0;
    return tn_dim_sym(p->g, name);
}

/* Signs and a primary; *sign takes the signs, but for that of a number. */
static tn_dim parse_factor(dim_parser *p, int64_t *sign) {
    for (skip_space(p); *p->s == '-'; skip_space(p)) {
        p->s++;
        if (*p->s >= '0' && *p->s <= '9') return parse_number(p, true);
        *sign = -*sign;
    }
    return parse_primary(p);
}

/* What * connects is multiplied at once (tn_dim_product), then by its signs. */
static tn_dim parse_factors(dim_parser *p, tn_dim first) {
    enum { MOST = TN_MONO_DEGREE + 1 }; /* and a coefficient */
    tn_dim factors[MOST] = {first};
    int64_t sign = 1;
    size_t n = first.i ? 1 : 0;
    do {
        tn_dim d = parse_factor(p, &sign);
        if (!d.i || n == MOST) return (tn_dim){0};
        factors[n++] = d;
    } while (accept(p, "*"));
    tn_dim d = tn_dim_product(p->g, factors, n);
    return sign < 0 ? tn_dim_mul(p->g, d, tn_dim_const(p->g, sign)) : d;
}

static tn_dim parse_product(dim_parser *p) {
    tn_dim d = parse_factors(p, (tn_dim){0});
    while (d.i) {
        if (accept(p, "*")) {
            d = parse_factors(p, d);
            continue;
        }
        tn_dim_kind kind = accept(p, "//") ? TN_DIM_FLOORDIV : accept(p, "%") ? TN_DIM_MOD : TN_DIM_NONE;
        if (kind == TN_DIM_NONE) break;
        int64_t sign = 1;
        tn_dim by = parse_factor(p, &sign);
        if (sign < 0) by = tn_dim_mul(p->g, by, tn_dim_const(p->g, sign));
        d = by.i ? tn_dim_binary(p->g, kind, d, by) : by;
    }
    return d;
}

static tn_dim parse_sum(dim_parser *p) {
    if (++p->depth > MAX_PARENS) return (tn_dim){0};
    tn_dim d = parse_product(p);
    while (d.i) {
        bool plus = accept(p, "+");
        if (!plus && !accept(p, "-")) break;
        tn_dim rhs = parse_product(p);
        d = rhs.i ? (plus ? tn_dim_add : tn_dim_sub)(p->g, d, rhs) : rhs;
    }
    p->depth--;
    return d;
}

tn_dim tn_dim_parse(tn_graph *g, const char *s, const char **end) {
    return tn_dim_parse_named(g, s, NULL, end);
}

tn_dim tn_dim_parse_named(tn_graph *g, const char *s, const tn_names *names, const char **end) {
    dim_parser p = {g, s, 0, names};
    tn_status before = g->status;
    tn_dim d = before == TN_OK ? parse_sum(&p) : (tn_dim){0};
    if (before == TN_OK && g->status != TN_E_MEMORY)
        g->status = TN_OK; /* what overflows is a bad number, not a bad graph */
    if (end) *end = p.s;
    return d;
}
