/* require.c: evaluates requirements over intervals with divisors; see require.h. */
#include "codegen/bind/require.h"
#include "tenon/internal/arith.h"

#include <stddef.h>

typedef tn_known val;

static val fixed(int64_t v) {
    return (val){v, v, v, v < 0 ? -v : v};
}
static bool is_fixed(val a) {
    return a.lo == a.hi;
}
static bool truth(val a) {
    return a.lo > 0 || a.hi < 0;
}

static val min_of(val a, val b, bool max) {
    if (is_fixed(a) && is_fixed(b)) return (max ? a.lo > b.lo : a.lo < b.lo) ? a : b;
    val r;
    const bool av = max ? a.value > b.value : a.value < b.value;
    r.value = av ? a.value : b.value;
    r.lo = (max ? a.lo > b.lo : a.lo < b.lo) ? a.lo : b.lo;
    r.hi = (max ? a.hi > b.hi : a.hi < b.hi) ? a.hi : b.hi;
    r.divisor = tn_gcd(a.divisor, b.divisor);
    return r;
}

static val negate(val a) {
    return (val){-a.value, tn_sat_mul(a.hi, -1), tn_sat_mul(a.lo, -1), a.divisor};
}

static val multiply(val a, val b) {
    val r = {tn_sat_mul(a.value, b.value), 0, 0, tn_sat_mul(a.divisor, b.divisor)};
    if (is_fixed(a) && is_fixed(b)) return r.lo = r.hi = r.value, r; /* as nearly all are */
    const int64_t c[4] = {tn_sat_mul(a.lo, b.lo), tn_sat_mul(a.lo, b.hi), tn_sat_mul(a.hi, b.lo),
                          tn_sat_mul(a.hi, b.hi)};
    r.lo = r.hi = c[0];
    for (int k = 1; k < 4; ++k) {
        if (c[k] < r.lo) r.lo = c[k];
        if (c[k] > r.hi) r.hi = c[k];
    }
    return r;
}

static val divide(val a, val b, bool mod, const char **error) {
    const int64_t c = b.value;
    if (!is_fixed(b) || c == 0 || (c < 0 && !mod && !is_fixed(a))) {
        *error = "division by 0, by a negative number or by something that varies";
        return fixed(0);
    }
    if (is_fixed(a)) return fixed(mod ? a.value % c : a.value / c);
    if (mod) { /* 0 where c always divides a, else anything */
        const int64_t most = (c < 0 ? -c : c) - 1;
        return a.divisor % c == 0 ? fixed(0) : (val){a.value % c, a.lo < 0 ? -most : 0, most, 1};
    }
    val r = {a.value / c, a.lo == INT64_MIN ? a.lo : a.lo / c, a.hi == INT64_MAX ? a.hi : a.hi / c, 1};
    if (a.divisor % c == 0) r.divisor = a.divisor / c;
    return r;
}

static val add(val a, val b) {
    val r = {a.value + b.value, tn_bound_add(a.lo, b.lo, true), tn_bound_add(a.hi, b.hi, false), 0};
    if (is_fixed(r)) return fixed(r.lo);
    r.divisor = tn_gcd(a.divisor, b.divisor);
    return r;
}

/* a < b for all their values */
static val less(val a, val b) {
    return fixed(a.hi < b.lo);
}

static val apply(tn_require_op op, const val *x, const char **error) {
    switch (op) {
    case TN_RQ_NOT: return fixed(x[0].lo == 0 && x[0].hi == 0); /* of what varies only a definite no is a yes */
    case TN_RQ_NEGATE: return negate(x[0]);
    case TN_RQ_HINT: return fixed(x[0].value);
    case TN_RQ_MULTIPLY: return multiply(x[0], x[1]);
    case TN_RQ_DIVIDE: return divide(x[0], x[1], false, error);
    case TN_RQ_MODULO: return divide(x[0], x[1], true, error);
    case TN_RQ_ADD: return add(x[0], x[1]);
    case TN_RQ_SUBTRACT: return add(x[0], negate(x[1]));
    case TN_RQ_LESS: return less(x[0], x[1]);
    case TN_RQ_GREATER: return less(x[1], x[0]);
    case TN_RQ_LESS_EQUAL: return fixed(x[0].hi <= x[1].lo && x[0].hi != INT64_MAX);
    case TN_RQ_GREATER_EQUAL: return fixed(x[0].lo >= x[1].hi && x[1].hi != INT64_MAX);
    case TN_RQ_EQUAL: return fixed(is_fixed(x[0]) && is_fixed(x[1]) && x[0].lo == x[1].lo);
    case TN_RQ_UNEQUAL: return fixed(x[0].hi < x[1].lo || x[0].lo > x[1].hi);
    case TN_RQ_AND: return fixed(truth(x[0]) && truth(x[1]));
    case TN_RQ_OR: return fixed(truth(x[0]) || truth(x[1]));
    case TN_RQ_MIN: return min_of(x[0], x[1], false);
    case TN_RQ_MAX: return min_of(x[0], x[1], true);
    case TN_RQ_CHOOSE: return truth(x[0]) ? x[1] : x[2];
    case TN_RQ_NUMBER:
    case TN_RQ_NAME: break;
    }
    return fixed(0);
}

const char *tn_require(const tn_requirement *r, const tn_known *names, bool *result) {
    static const uint8_t operands[] = {
#define RQ(id, n) n,
        TN_REQUIRE_OPS(RQ)
#undef RQ
    };
    val stack[TN_REQUIRE_STACK];
    uint32_t n = 0;
    const char *error = NULL;
    for (uint32_t k = 0; k < r->n_code; ++k) {
        const tn_require_step *s = &r->code[k];
        val v;
        if (s->op == TN_RQ_NUMBER)
            v = fixed(s->v);
        else if (s->op == TN_RQ_NAME)
            v = names[s->v];
        else
            v = apply((tn_require_op)s->op, &stack[n -= operands[s->op]], &error);
        stack[n++] = v;
    }
    *result = !error && truth(stack[0]);
    return error;
}
