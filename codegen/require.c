/* require.c: a recursive-descent evaluator over intervals with divisors; see require.h. */
#include "codegen/require.h"

#include <ctype.h>
#include <string.h>

#include "codegen/index_internal.h" /* saturating arithmetic */

typedef struct parser {
    const char *p;
    tn_lookup_fn lookup;
    void *user;
    const char *error;
    int depth;
} parser;

typedef tn_known val;

static val fixed(int64_t v) {
    return (val){v, v, v, v < 0 ? -v : v};
}
static bool is_fixed(val a) {
    return a.lo == a.hi;
}
static val ternary(parser *s);

static val fail(parser *s, const char *why) {
    if (!s->error) s->error = why;
    return fixed(0);
}

static bool accept(parser *s, const char *token) {
    while (*s->p == ' ' || *s->p == '\t') ++s->p;
    if (*s->p != *token) return false; /* nearly always: each level of precedence asks for its operators */
    const size_t n = strlen(token);
    if (strncmp(s->p, token, n)) return false;
    if (n == 1 && (*token == '<' || *token == '>' || *token == '!') && s->p[1] == '=') return false;
    s->p += n;
    return true;
}

static val min_of(val a, val b, bool max) {
    val r;
    const bool av = max ? a.value > b.value : a.value < b.value;
    r.value = av ? a.value : b.value;
    r.lo = (max ? a.lo > b.lo : a.lo < b.lo) ? a.lo : b.lo;
    r.hi = (max ? a.hi > b.hi : a.hi < b.hi) ? a.hi : b.hi;
    r.divisor = tn_ix_gcd(a.divisor, b.divisor);
    return r;
}

static val name(parser *s) {
    char id[64];
    size_t n = 0;
    while (isalnum((unsigned char)*s->p) || *s->p == '_') {
        if (n + 1 < sizeof id) id[n++] = *s->p;
        ++s->p;
    }
    id[n] = 0;
    if (!strcmp(id, "min") || !strcmp(id, "max")) {
        if (!accept(s, "(")) return fail(s, "expected ( after min or max");
        const val a = ternary(s);
        if (!accept(s, ",")) return fail(s, "expected , in min or max");
        const val b = ternary(s);
        if (!accept(s, ")")) return fail(s, "expected ) after min or max");
        return min_of(a, b, id[1] == 'a');
    }
    if (!strcmp(id, "hint")) { /* of what varies: the value that tuning assumes */
        if (!accept(s, "(")) return fail(s, "expected ( after hint");
        const val a = ternary(s);
        if (!accept(s, ")")) return fail(s, "expected ) after hint");
        return fixed(a.value);
    }
    val v;
    if (!s->lookup(s->user, id, &v)) return fail(s, "unknown name");
    return v;
}

static val primary(parser *s) {
    if (++s->depth > 64) return fail(s, "nested too deeply");
    val v;
    if (accept(s, "(")) {
        v = ternary(s);
        if (!accept(s, ")")) fail(s, "expected )");
    } else if (accept(s, "!")) {
        v = primary(s); /* of what varies only a definite no is a yes */
        v = fixed(v.lo == 0 && v.hi == 0);
    } else if (accept(s, "-")) {
        v = primary(s);
        v = (val){-v.value, tn_sat_mul(v.hi, -1), tn_sat_mul(v.lo, -1), v.divisor};
    } else if (isdigit((unsigned char)*s->p)) {
        int64_t n = 0;
        for (; isdigit((unsigned char)*s->p); ++s->p) n = tn_sat_add(tn_sat_mul(n, 10), *s->p - '0');
        v = fixed(n);
    } else if (isalpha((unsigned char)*s->p) || *s->p == '_')
        v = name(s);
    else
        v = fail(s, "expected a number, a name or (");
    --s->depth;
    return v;
}

static val multiply(val a, val b) {
    val r = {tn_sat_mul(a.value, b.value), 0, 0, tn_sat_mul(a.divisor, b.divisor)};
    const int64_t c[4] = {tn_sat_mul(a.lo, b.lo), tn_sat_mul(a.lo, b.hi), tn_sat_mul(a.hi, b.lo),
                          tn_sat_mul(a.hi, b.hi)};
    r.lo = r.hi = c[0];
    for (int k = 1; k < 4; ++k) {
        if (c[k] < r.lo) r.lo = c[k];
        if (c[k] > r.hi) r.hi = c[k];
    }
    return r;
}

static val divide(parser *s, val a, val b, bool mod) {
    if (!is_fixed(b) || b.value == 0) return fail(s, "division by 0 or by something that varies");
    const int64_t c = b.value;
    if (is_fixed(a)) return fixed(mod ? a.value % c : a.value / c);
    if (mod) { /* 0 where c always divides a, else anything */
        if (c > 0 && a.divisor % c == 0) return fixed(0);
        return (val){a.value % c ? a.value % c : 1, 1, c - 1 > 1 ? c - 1 : 1, 1};
    }
    if (c < 0) return fail(s, "division by a negative number");
    val r = {a.value / c, a.lo == INT64_MIN ? a.lo : a.lo / c, a.hi == INT64_MAX ? a.hi : a.hi / c, 1};
    if (a.divisor % c == 0) r.divisor = a.divisor / c;
    return r;
}

static val product(parser *s) {
    val a = primary(s);
    for (;;) {
        if (accept(s, "*"))
            a = multiply(a, primary(s));
        else if (accept(s, "/"))
            a = divide(s, a, primary(s), false);
        else if (accept(s, "%"))
            a = divide(s, a, primary(s), true);
        else
            return a;
    }
}

static val sum(parser *s) {
    val a = product(s);
    for (;;) {
        const bool minus = accept(s, "-");
        if (!minus && !accept(s, "+")) return a;
        const val b = product(s);
        if (minus)
            a = (val){a.value - b.value, tn_sat_add(a.lo, tn_sat_mul(b.hi, -1)), tn_sat_add(a.hi, tn_sat_mul(b.lo, -1)),
                      tn_ix_gcd(a.divisor, b.divisor)};
        else
            a = (val){a.value + b.value, tn_sat_add(a.lo, b.lo), tn_sat_add(a.hi, b.hi),
                      tn_ix_gcd(a.divisor, b.divisor)};
        if (is_fixed(a)) a = fixed(a.lo);
    }
}

static val compare(parser *s) {
    val a = sum(s);
    for (;;) { /* true only if true for all values */
        val b;
        if (accept(s, "<="))
            a = fixed((b = sum(s), a.hi <= b.lo && a.hi != INT64_MAX));
        else if (accept(s, ">="))
            a = fixed((b = sum(s), a.lo >= b.hi && b.hi != INT64_MAX));
        else if (accept(s, "=="))
            a = fixed((b = sum(s), is_fixed(a) && is_fixed(b) && a.lo == b.lo));
        else if (accept(s, "!="))
            a = fixed((b = sum(s), a.hi < b.lo || a.lo > b.hi));
        else if (accept(s, "<"))
            a = fixed((b = sum(s), a.hi < b.lo));
        else if (accept(s, ">"))
            a = fixed((b = sum(s), a.lo > b.hi));
        else
            return a;
    }
}

static bool truth(val a) {
    return a.lo > 0 || a.hi < 0;
}

static val both(parser *s) {
    val a = compare(s);
    while (accept(s, "&&")) {
        const val b = compare(s);
        a = fixed(truth(a) && truth(b));
    }
    return a;
}

static val either(parser *s) {
    val a = both(s);
    while (accept(s, "||")) {
        const val b = both(s);
        a = fixed(truth(a) || truth(b));
    }
    return a;
}

static val ternary(parser *s) {
    if (++s->depth > 64) return fail(s, "nested too deeply");
    val a = either(s);
    if (accept(s, "?")) {
        const val yes = ternary(s);
        if (!accept(s, ":")) fail(s, "expected :");
        const val no = ternary(s);
        a = truth(a) ? yes : no;
    }
    --s->depth;
    return a;
}

bool tn_require(const char *expr, tn_lookup_fn lookup, void *user, bool *result, const char **error) {
    parser s = {.p = expr, .lookup = lookup, .user = user};
    const val v = ternary(&s);
    while (isspace((unsigned char)*s.p)) ++s.p;
    if (!s.error && *s.p) s.error = "unexpected text after the expression";
    *result = !s.error && truth(v);
    if (error) *error = s.error;
    return !s.error;
}
