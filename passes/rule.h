/* rule.h: rewrite rules as declarations, and the engine that applies them.
 *
 * A rule is one row: name, pattern, replacement, dtypes, guard, exactness.
 *
 *     static const tn_rule rules[] = {
 *         RULE(mul_one,   OP(MUL, X, NUM(1)),          X,               ANY,    NULL,     EXACT),
 *         RULE(recip_sqrt, OP(RECIP, OP(SQRT, X)),     OP(RSQRT, X),    FLOATS, NULL,     ULPS(2)),
 *         RULE(conv_pad,  OP(CONV, OP(PAD, X), W, OPT(B)), FN(pads),    ANY,    zero_pad, EXACT),
 *     };
 *     const tn_rules tn_rules_example = TN_RULES(rules);
 *
 * Patterns and replacements are static nested compound literals.  To add a rule: a row in the table of its family
 * (rules_*.c), and a case in tests/ir/<pass>/ that fires it and one that its guard refuses (a test fails without
 * both).  Another test builds graphs from the pattern for every dtype, with zeros of both signs, infinities, NaN and
 * extremes among the inputs, and holds the rule to its dtypes and its exactness.
 *
 * The engine (match.c) expands the variants of commutative patterns when it prepares a table, tries rules in table
 * order, changes nothing before pattern, guard and callback have agreed, builds the replacement on trial, and works to
 * a fixpoint.
 *
 * Include this header last: its pattern words are short macros. */
#ifndef TENON_RULE_H
#define TENON_RULE_H

#include "pass.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tn_pat tn_pat;
typedef struct tn_match tn_match;

/* Variables of a pattern.  The first occurrence binds, every later one must be the same value. */
typedef enum tn_var { TN_NO_VAR, TN_X, TN_Y, TN_Z, TN_W, TN_A, TN_B, TN_C, TN_D, TN_E, TN_F, TN_VARS } tn_var;

/* Null: the rule may fire.  Otherwise the reason for a user ("%x has a second use"); "" refuses without a note, for
 * conditions that are part of the pattern.  Must not change the graph. */
typedef const char *(*tn_guard_fn)(const tn_match *m);
/* Builds the replacement and returns it (nodes go before the root).  For a root with several results it fills m->out as
 * well.  May still refuse by returning none with m->why set; what it has emitted is taken back. */
typedef tn_val (*tn_build_fn)(tn_match *m);

typedef enum tn_pat_kind {
    TN_PAT_NONE,
    TN_PAT_VAR,   /* any value */
    TN_PAT_CONST, /* a constant */
    TN_PAT_SPLAT, /* a constant (or broadcast of one) whose elements are all equal */
    TN_PAT_NUM,   /* the same with that number, sign of zero included */
    TN_PAT_NEAR,  /* the same to five digits, or rounded to f16 or bf16 as some exporters do (tn_is_near) */
    TN_PAT_OP,    /* result of an op with these operands; operands past the last kid must be absent */
    TN_PAT_NODE,  /* result of an op, whatever its operands */
    TN_PAT_TRAIT, /* result of any op with all of these traits */
    TN_PAT_FN     /* replacement only: callback */
} tn_pat_kind;

enum { TN_PAT_KIDS = 6, TN_MATCH_NODES = 32 };

struct tn_pat {
    tn_pat_kind kind;
    tn_op op;
    tn_var var;    /* binds the value that matched */
    bool once;     /* the value must have one use */
    bool optional; /* an absent operand matches too */
    uint32_t traits;
    double num;
    tn_build_fn fn;
    const tn_pat *kid[TN_PAT_KIDS];
};

/* What a rule promises; for integers and bools every rule is exact.  The bounds are distances from the exact value of
 * the original (computed in f64), in units of the last place of the dtype, at least of its smallest normal; they hold
 * where nothing overflows, becomes subnormal or is invalid on the original's way.  NaN stays NaN (any NaN), and what an
 * infinite operand gives stays what it is. */
typedef enum tn_bound {
    TN_EXACT,      /* the same bits, always */
    TN_ZERO_SIGN,  /* the same numbers; a zero may have another sign */
    TN_ULPS,       /* within so many units of the result */
    TN_OF_LARGEST, /* within so many units of the largest number among operands, intermediate values and results */
    TN_FINITE      /* the same, for finite operands only */
} tn_bound;

typedef struct tn_rule {
    const char *name;
    const tn_pat *match, *becomes;
    uint32_t dtypes; /* set of those for which it holds: of X, or of the root's first operand if X is unbound */
    tn_guard_fn guard;
    tn_bound bound;
    double ulps;
} tn_rule;

typedef struct tn_rules {
    const tn_rule *rule;
    size_t n;
} tn_rules;

/* What guards and callbacks see. */
struct tn_match {
    tn_graph *g;
    const tn_pass_options *opts;
    tn_node root;
    tn_val v[TN_VARS]; /* by tn_var; none where unbound or absent */
    tn_val *out;       /* replacement per result of the root */
    const char *why;   /* a callback's reason for refusing */
    uint32_t n_nodes;
    tn_node nodes[TN_MATCH_NODES]; /* matched nodes, the root first */
};

/* Applies the rules of all sets to a fixpoint, in nested regions too (not inside kernels). */
tn_status tn_rewrite(tn_graph *g, tn_pass_ctx *ctx, size_t n, const tn_rules *const *sets);
/* Erases v's defining node if nothing uses its results, then its operands' defs likewise.  Effects stay. */
void tn_reap(tn_graph *g, tn_val v);

/* Every rule table, for the test that each rule has fired: row (name). */
/* clang-format off */
#define TN_RULE_TABLES(T)                                                                                              \
    T(arith) T(logic) T(clamp) T(shape) T(slice) T(reduce) T(window) T(norm_fold) T(scale_fold) T(branch_fold)         \
    T(activations) T(norms) T(transpose) T(hoist) T(integer) T(dequantise)
/* clang-format on */
#define TN_RULE_TABLE(name) extern const tn_rules tn_rules_##name;
TN_RULE_TABLES(TN_RULE_TABLE)
#undef TN_RULE_TABLE

/* Number of rewrites that may still happen before --stop-after-rewrite: false means none. */
bool tn_pass_has_budget(const tn_pass_ctx *ctx);

/* ---- the words of patterns --------------------------------------------------------------------------------------- */

#define RULE(name_, match_, becomes_, dtypes_, guard_, ...)                                                            \
    { #name_, match_, becomes_, dtypes_, guard_, __VA_ARGS__ }
#define TN_RULES(table)                                                                                                \
    { table, sizeof(table) / sizeof((table)[0]) }

/* exactness */
#define EXACT TN_EXACT, 0
#define ZERO_SIGN TN_ZERO_SIGN, 0
#define ULPS(n) TN_ULPS, n
#define OF_LARGEST(n) TN_OF_LARGEST, n
#define FINITE(n) TN_FINITE, n

/* sets of dtypes */
#define TN_SET(t) (1u << (t))
#define WIDE_FLOATS (TN_SET(TN_F64) | TN_SET(TN_F32))
/* Floats that are only stored are moved and cast, no more: they stand in ANY alone. */
#define STORED_FLOATS (TN_SET(TN_F8E4M3FNUZ) | TN_SET(TN_F8E5M2FNUZ) | TN_SET(TN_F8E8M0) | TN_SET(TN_F4E2M1))
#define FLOATS (WIDE_FLOATS | TN_SET(TN_F16) | TN_SET(TN_BF16) | TN_SET(TN_F8E4M3) | TN_SET(TN_F8E5M2))
#define FLOATS_16 (WIDE_FLOATS | TN_SET(TN_F16) | TN_SET(TN_BF16)) /* of 16 bits or more */
#define SIGNED_INTS (TN_SET(TN_I64) | TN_SET(TN_I32) | TN_SET(TN_I16) | TN_SET(TN_I8) | TN_SET(TN_I4) | TN_SET(TN_I2))
#define INTS                                                                                                           \
    (SIGNED_INTS | TN_SET(TN_U64) | TN_SET(TN_U32) | TN_SET(TN_U16) | TN_SET(TN_U8) | TN_SET(TN_U4) | TN_SET(TN_U2))
#define LONG_INTS (TN_SET(TN_I64) | TN_SET(TN_U64)) /* what the reference computes in double is not exact for them */
#define BOOLS TN_SET(TN_BOOL)
#define NUMBERS (FLOATS | INTS)
#define SIGNED (FLOATS | SIGNED_INTS)
#define COMPUTED (NUMBERS | BOOLS)
#define ANY (COMPUTED | STORED_FLOATS)

#define TN_P(...) (&(const tn_pat){__VA_ARGS__})
#define VAR(v) TN_P(.kind = TN_PAT_VAR, .var = TN_##v)
#define X TN_P(.kind = TN_PAT_VAR, .var = TN_X)
#define Y TN_P(.kind = TN_PAT_VAR, .var = TN_Y)
#define Z TN_P(.kind = TN_PAT_VAR, .var = TN_Z)
#define W TN_P(.kind = TN_PAT_VAR, .var = TN_W)
#define OPT(v) TN_P(.kind = TN_PAT_VAR, .var = TN_##v, .optional = true)
#define CONSTANT(v) TN_P(.kind = TN_PAT_CONST, .var = TN_##v)
#define OPT_CONSTANT(v) TN_P(.kind = TN_PAT_CONST, .var = TN_##v, .optional = true)
#define SPLAT(v) TN_P(.kind = TN_PAT_SPLAT, .var = TN_##v)
#define NUM(n) TN_P(.kind = TN_PAT_NUM, .num = (n))
#define NEAR(n) TN_P(.kind = TN_PAT_NEAR, .num = (n))
#define OP(o, ...) TN_P(.kind = TN_PAT_OP, .op = TN_OP_##o, .kid = {__VA_ARGS__})
#define ONCE(o, ...) TN_P(.kind = TN_PAT_OP, .op = TN_OP_##o, .once = true, .kid = {__VA_ARGS__})
#define LET(v, o, ...) TN_P(.kind = TN_PAT_OP, .op = TN_OP_##o, .var = TN_##v, .kid = {__VA_ARGS__})
#define LET_ONCE(v, o, ...) TN_P(.kind = TN_PAT_OP, .op = TN_OP_##o, .var = TN_##v, .once = true, .kid = {__VA_ARGS__})
#define NODE(o) TN_P(.kind = TN_PAT_NODE, .op = TN_OP_##o)
#define LET_NODE(v, o) TN_P(.kind = TN_PAT_NODE, .op = TN_OP_##o, .var = TN_##v)
#define LET_NODE_ONCE(v, o) TN_P(.kind = TN_PAT_NODE, .op = TN_OP_##o, .var = TN_##v, .once = true)
#define TRAIT(t) TN_P(.kind = TN_PAT_TRAIT, .traits = TN_T_##t)
#define FN(f) TN_P(.kind = TN_PAT_FN, .fn = f)

#ifdef __cplusplus
}
#endif
#endif
