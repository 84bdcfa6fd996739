/* dims.c: see dims.h. */
#include "runtime/plan/dims.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool has_name(const TnPlan__Dim *d) {
    return d->kind == TN_PLAN__DIM__KIND__SYM || d->kind == TN_PLAN__DIM__KIND__MADE;
}

static bool is_binary(const TnPlan__Dim *d) {
    return d->kind != TN_PLAN__DIM__KIND__CONST && !has_name(d);
}

tn_status tn_dims_check(const tn_env *env, size_t n, TnPlan__Dim *const *dims) {
    if (n == 0 || dims[0]->kind != TN_PLAN__DIM__KIND__CONST || dims[0]->value != 0)
        return tn_fail(env, TN_E_FORMAT, "", "", "the plan's dim 0 is not the constant 0");
    for (size_t k = 0; k < n; k++) {
        const TnPlan__Dim *d = dims[k];
        if ((int)d->kind < TN_PLAN__DIM__KIND__CONST || (int)d->kind > TN_PLAN__DIM__KIND__MADE)
            return tn_fail(env, TN_E_FORMAT, "", "", "dim %zu of the plan has unknown kind %d", k, (int)d->kind);
        if ((is_binary(d) && (d->a >= k || d->b >= k)) || (d->kind == TN_PLAN__DIM__KIND__MADE && d->a >= k))
            return tn_fail(env, TN_E_FORMAT, "", "", "dim %zu of the plan uses a dim that does not come before it", k);
        if (has_name(d) && !d->name[0])
            return tn_fail(env, TN_E_FORMAT, "", "", "dim %zu of the plan is a symbol without a name", k);
    }
    return TN_OK;
}

void tn_dims_range(const TnPlan__Dim *sym, int64_t *lo, int64_t *hi) {
    *lo = sym->lo == INT64_MIN ? 0 : sym->lo;
    *hi = sym->hi;
}

/* a / b rounded down; b is not 0 and the quotient does not overflow. */
static int64_t floordiv(int64_t a, int64_t b) {
    int64_t q = a / b;
    return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}

/* False on overflow.  What is divided by 0 is 0: no tensor has elements there. */
static bool apply(TnPlan__Dim__Kind kind, int64_t a, int64_t b, int64_t *out) {
    switch (kind) {
    case TN_PLAN__DIM__KIND__ADD: return !__builtin_add_overflow(a, b, out);
    case TN_PLAN__DIM__KIND__MUL: return !__builtin_mul_overflow(a, b, out);
    case TN_PLAN__DIM__KIND__MIN: return *out = a < b ? a : b, true;
    case TN_PLAN__DIM__KIND__MAX: return *out = a > b ? a : b, true;
    case TN_PLAN__DIM__KIND__BCAST: return *out = a == 1 ? b : a, true;
    default: break;
    }
    if (b == 0) return *out = 0, true;
    if (a == INT64_MIN && b == -1) return false;
    int64_t q = floordiv(a, b);
    bool exact = a % b == 0;
    if (kind == TN_PLAN__DIM__KIND__FLOORDIV) return *out = q, true;
    if (kind == TN_PLAN__DIM__KIND__CEILDIV) return *out = exact ? q : q + 1, true;
    int64_t r = a % b; /* MOD: the sign of the divisor */
    return *out = r && (r < 0) != (b < 0) ? r + b : r, true;
}

static tn_status too_large(const tn_env *env, size_t n, TnPlan__Dim *const *dims, size_t k) {
    char text[256];
    tn_dims_print(n, dims, (uint32_t)k, text, sizeof text);
    return tn_fail(env, TN_E_ARGUMENT, "", "give smaller shapes", "%s does not fit in 64 bits at these shapes", text);
}

void tn_dims_range_text(int64_t lo, int64_t hi, char buf[TN_RANGE_TEXT]) {
    if (hi < INT64_MAX)
        snprintf(buf, TN_RANGE_TEXT, "from %" PRId64 " to %" PRId64, lo, hi);
    else
        snprintf(buf, TN_RANGE_TEXT, "at least %" PRId64, lo);
}

/* A symbol that expressions told. */
static tn_status outside(const tn_env *env, const TnPlan__Dim *d, int64_t value) {
    char range[TN_RANGE_TEXT];
    int64_t lo, hi;
    tn_dims_range(d, &lo, &hi);
    tn_dims_range_text(lo, hi, range);
    return tn_fail(env, TN_E_ARGUMENT, d->name, "give shapes within the range that the plan was compiled for",
                   "of the shapes given follows that %s is %" PRId64 ", but it is %s", d->name, value, range);
}

tn_status tn_dims_eval(const tn_env *env, size_t n, TnPlan__Dim *const *dims, int64_t *table) {
    for (size_t k = 0; k < n; k++) {
        const TnPlan__Dim *d = dims[k];
        int64_t lo, hi;
        if (d->kind == TN_PLAN__DIM__KIND__CONST) {
            table[k] = d->value;
        } else if (d->kind == TN_PLAN__DIM__KIND__SYM) {
            tn_dims_range(d, &lo, &hi);
            if (table[k] < lo || table[k] > hi) return outside(env, d, table[k]);
        } else if (d->kind == TN_PLAN__DIM__KIND__MADE) {
            table[k] = table[d->a];
        } else if (!apply(d->kind, table[d->a], table[d->b], &table[k])) {
            return too_large(env, n, dims, k);
        }
    }
    return TN_OK;
}

tn_status tn_dims_tell(const tn_env *env, size_t n, TnPlan__Dim *const *dims, size_t first, const int64_t *told,
                       int64_t *table) {
    for (size_t k = 0; k < n; k++) {
        const TnPlan__Dim *d = dims[k];
        const int64_t v = d->kind == TN_PLAN__DIM__KIND__MADE ? told[d->output - first] : 0;
        if (d->kind == TN_PLAN__DIM__KIND__MADE && (v < 0 || v > table[k]))
            return tn_fail(env, TN_E_ARGUMENT, d->name, "compile the model with a larger one",
                           "%s is %" PRId64 ", but there is memory for %" PRId64 " at most", d->name, v, table[k]);
        if (d->kind == TN_PLAN__DIM__KIND__MADE) table[k] = v;
        if (is_binary(d) && !apply(d->kind, table[d->a], table[d->b], &table[k])) return too_large(env, n, dims, k);
    }
    return TN_OK;
}

/* Value of an entry if it depends on known symbols only. */
static bool value_of(TnPlan__Dim *const *dims, uint32_t d, const int64_t *table, const bool *known, unsigned depth,
                     int64_t *out) {
    const TnPlan__Dim *x = dims[d];
    if (x->kind == TN_PLAN__DIM__KIND__CONST) return *out = x->value, true;
    if (has_name(x)) return *out = table[d], known[d];
    int64_t a, b;
    return depth && value_of(dims, x->a, table, known, depth - 1, &a) &&
           value_of(dims, x->b, table, known, depth - 1, &b) && apply(x->kind, a, b, out);
}

bool tn_dims_solve(size_t n, TnPlan__Dim *const *dims, uint32_t d, int64_t value, int64_t *table, bool *known) {
    enum { DEPTH = 8 }; /* expressions of input shapes are shallow; deeper ones are only checked */
    for (int level = 0; level < DEPTH && d < n; level++) {
        const TnPlan__Dim *x = dims[d];
        if (x->kind == TN_PLAN__DIM__KIND__SYM) {
            if (known[d]) return false;
            table[d] = value;
            return known[d] = true;
        }
        if (x->kind != TN_PLAN__DIM__KIND__ADD && x->kind != TN_PLAN__DIM__KIND__MUL) return false;
        int64_t side;
        uint32_t rest;
        if (value_of(dims, x->a, table, known, DEPTH, &side))
            rest = x->b;
        else if (value_of(dims, x->b, table, known, DEPTH, &side))
            rest = x->a;
        else
            return false;
        if (x->kind == TN_PLAN__DIM__KIND__ADD) {
            if (__builtin_sub_overflow(value, side, &value)) return false;
        } else {
            if (side == 0 || (side == -1 && value == INT64_MIN) || value % side != 0) return false;
            value /= side;
        }
        d = rest;
    }
    return false;
}

enum { SUM = 1, PRODUCT = 2, CALL = 3 }; /* how tightly a form binds */

typedef struct text {
    char *p;
    size_t size, used;
} text;

static void put(text *t, const char *s) {
    while (*s && t->used + 1 < t->size) t->p[t->used++] = *s++;
    t->p[t->used] = '\0';
}

static void print(TnPlan__Dim *const *dims, uint32_t d, unsigned depth, int level, text *t);

/* -1 times something, or a constant below 0: prints what is behind the sign. */
static bool print_negative(TnPlan__Dim *const *dims, uint32_t d, unsigned depth, text *t) {
    const TnPlan__Dim *x = dims[d];
    const TnPlan__Dim *factor = x->kind == TN_PLAN__DIM__KIND__MUL ? dims[x->b] : x;
    char number[32];
    if (factor->kind != TN_PLAN__DIM__KIND__CONST || factor->value >= 0 || factor->value == INT64_MIN) return false;
    put(t, " - ");
    if (x != factor) print(dims, x->a, depth - 1, PRODUCT, t);
    if (x == factor || factor->value != -1) {
        snprintf(number, sizeof number, "%s%" PRId64, x == factor ? "" : "*", -factor->value);
        put(t, number);
    }
    return true;
}

/* As ir/ prints them: + * // % with the usual precedence, the others as calls. */
static void print(TnPlan__Dim *const *dims, uint32_t d, unsigned depth, int level, text *t) {
    static const struct {
        const char *name;
        int level;
    } forms[] = {[TN_PLAN__DIM__KIND__ADD] = {" + ", SUM},          [TN_PLAN__DIM__KIND__MUL] = {"*", PRODUCT},
                 [TN_PLAN__DIM__KIND__FLOORDIV] = {"//", PRODUCT},  [TN_PLAN__DIM__KIND__MOD] = {"%", PRODUCT},
                 [TN_PLAN__DIM__KIND__CEILDIV] = {"ceildiv", CALL}, [TN_PLAN__DIM__KIND__MIN] = {"min", CALL},
                 [TN_PLAN__DIM__KIND__MAX] = {"max", CALL},         [TN_PLAN__DIM__KIND__BCAST] = {"bcast", CALL}};
    const TnPlan__Dim *x = dims[d];
    char number[32];
    if (!depth || t->used + 1 >= t->size) {
        put(t, "...");
    } else if (x->kind == TN_PLAN__DIM__KIND__CONST) {
        snprintf(number, sizeof number, "%" PRId64, x->value);
        put(t, number);
    } else if (has_name(x)) {
        put(t, x->name);
    } else if (forms[x->kind].level == CALL) {
        put(t, forms[x->kind].name);
        put(t, "(");
        print(dims, x->a, depth - 1, SUM, t);
        put(t, ", ");
        print(dims, x->b, depth - 1, SUM, t);
        put(t, ")");
    } else {
        const int own = forms[x->kind].level;
        put(t, own < level ? "(" : "");
        print(dims, x->a, depth - 1, own, t);
        if (own != SUM || !print_negative(dims, x->b, depth, t)) {
            put(t, forms[x->kind].name);
            print(dims, x->b, depth - 1, own == SUM ? PRODUCT : CALL, t);
        }
        put(t, own < level ? ")" : "");
    }
}

void tn_dims_print(size_t n, TnPlan__Dim *const *dims, uint32_t d, char *buf, size_t size) {
    enum { DEPTH = 12 };
    if (!size) return;
    buf[0] = '\0';
    text t = {buf, size, 0};
    if (d < n) print(dims, d, DEPTH, SUM, &t);
}
