/* test_rules.c: the rewrite engine, with rule tables of its own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "passes/rules/steps.h"
#include "passes/rule.h"
#include "tests/unit/suite.h"

typedef struct fixture {
    char diag[4000];
    tn_env env;
    tn_graph *g;
    tn_val x, y;
} fixture;

static void on_diag(void *user, const tn_diag *d) {
    fixture *f = user;
    size_t n = strlen(f->diag);
    snprintf(f->diag + n, sizeof f->diag - n, "[%s] %s\n", d->loc, d->message);
}

static fixture *start(tn_dtype t) {
    fixture *f = calloc(1, sizeof *f);
    ck_assert_ptr_nonnull(f);
    f->env = (tn_env){.diag = on_diag, .diag_user = f};
    f->g = tn_graph_new(&f->env);
    ck_assert_ptr_nonnull(f->g);
    int64_t dims[1] = {4};
    f->x = tn_graph_add_input(f->g, "x", tn_type_const(f->g, t, 1, dims));
    f->y = tn_graph_add_input(f->g, "y", tn_type_const(f->g, t, 1, dims));
    return f;
}

static void returns(fixture *f, tn_val v) {
    const char *name = "out";
    ck_assert_int_eq(tn_graph_set_outputs(f->g, 1, &v, &name), TN_OK);
}

static void stop(fixture *f) {
    tn_graph_free(f->g);
    free(f);
}

/* Applies one table; returns how often `rule` fired. */
static uint32_t apply(fixture *f, tn_rules set, const tn_pass_options *opts, const char *rule, uint32_t *refused) {
    const tn_rules *sets[] = {&set};
    const tn_rule_count *counts;
    uint32_t fired = 0;
    tn_pass_ctx *ctx = tn_pass_ctx_new(&f->env, opts);
    ck_assert_ptr_nonnull(ctx);
    ck_assert_int_eq(tn_rewrite(f->g, ctx, 1, sets), TN_OK);
    ck_assert_int_eq(tn_verify(f->g), TN_OK);
    size_t n = tn_rule_counts(ctx, &counts);
    if (refused) *refused = 0;
    for (size_t k = 0; k < n; k++) {
        if (strcmp(counts[k].rule, rule) != 0) continue;
        fired = counts[k].fired;
        if (refused) *refused = counts[k].refused;
    }
    tn_pass_ctx_free(ctx);
    return fired;
}

static tn_op op_of_output(const fixture *f) {
    tn_node n = tn_val_def(f->g, tn_graph_output(f->g, 0));
    return n.i ? tn_node_op(f->g, n) : TN_OP_NONE;
}

/* ---- matching ---------------------------------------------------------------------------------------------------- */

static const tn_rule nested[] = {
    RULE(nested, OP(ADD, OP(MUL, OP(NEG, X), NUM(2)), OP(ABS, Y)), OP(SUB, X, Y), ANY, NULL, EXACT)};

START_TEST(commutative_variants_at_every_level) {
    for (int order = 0; order < 4; order++) {
        fixture *f = start(TN_F32);
        tn_val two = tn_const_num(f->g, TN_F32, 2), a = tn_unary(f->g, TN_OP_NEG, f->x),
               b = tn_unary(f->g, TN_OP_ABS, f->y);
        tn_val m = order & 1 ? tn_binary(f->g, TN_OP_MUL, two, a) : tn_binary(f->g, TN_OP_MUL, a, two);
        returns(f, order & 2 ? tn_binary(f->g, TN_OP_ADD, b, m) : tn_binary(f->g, TN_OP_ADD, m, b));
        ck_assert_uint_eq(apply(f, (tn_rules)TN_RULES(nested), NULL, "nested", NULL), 1);
        ck_assert_int_eq(op_of_output(f), TN_OP_SUB);
        tn_node sub = tn_val_def(f->g, tn_graph_output(f->g, 0));
        ck_assert_uint_eq(tn_node_input(f->g, sub, 0).i, f->x.i);
        ck_assert_uint_eq(tn_node_input(f->g, sub, 1).i, f->y.i);
        stop(f);
    }
}
END_TEST

static const tn_rule twice[] = {RULE(twice, OP(SUB, X, X), OP(NEG, X), ANY, NULL, EXACT)};

START_TEST(a_variable_stands_for_one_value) {
    fixture *f = start(TN_F32);
    returns(f, tn_binary(f->g, TN_OP_SUB, f->x, f->y));
    ck_assert_uint_eq(apply(f, (tn_rules)TN_RULES(twice), NULL, "twice", NULL), 0);
    stop(f);
    f = start(TN_F32);
    returns(f, tn_binary(f->g, TN_OP_SUB, f->x, f->x));
    ck_assert_uint_eq(apply(f, (tn_rules)TN_RULES(twice), NULL, "twice", NULL), 1);
    stop(f);
}
END_TEST

static const tn_rule once[] = {RULE(once, OP(ABS, ONCE(NEG, X)), OP(ABS, X), ANY, NULL, EXACT)};

START_TEST(once_needs_a_single_use) {
    fixture *f = start(TN_F32);
    tn_val n = tn_unary(f->g, TN_OP_NEG, f->x);
    returns(f, tn_binary(f->g, TN_OP_ADD, tn_unary(f->g, TN_OP_ABS, n), n));
    ck_assert_uint_eq(apply(f, (tn_rules)TN_RULES(once), NULL, "once", NULL), 0);
    stop(f);
}
END_TEST

static const tn_rule zero[] = {RULE(zero, OP(ADD, X, NUM(0)), X, ANY, NULL, EXACT)};

START_TEST(numbers_keep_the_sign_of_zero) {
    fixture *f = start(TN_F32);
    returns(f, tn_binary(f->g, TN_OP_ADD, f->x, tn_const_num(f->g, TN_F32, -0.0)));
    ck_assert_uint_eq(apply(f, (tn_rules)TN_RULES(zero), NULL, "zero", NULL), 0);
    stop(f);
}
END_TEST

/* ---- guards ------------------------------------------------------------------------------------------------------ */

static tn_val scalar_is_transposed(tn_match *m) {
    const int64_t perm[2] = {1, 0};
    tn_attrs_perm a = {.perm = {perm, 2}};
    return tn_emit1(m->g, TN_OP_TRANSPOSE, &a, 1, (tn_val[]){tn_unary(m->g, TN_OP_EXP, m->v[TN_X])});
}
static const tn_rule untyped[] = {RULE(untyped, OP(NEG, X), FN(scalar_is_transposed), ANY, NULL, EXACT),
                                  RULE(after_untyped, OP(NEG, X), OP(ABS, X), ANY, NULL, EXACT)};

START_TEST(a_replacement_that_does_not_type_refuses_the_rule) {
    fixture *f = start(TN_F32);
    returns(f, tn_unary(f->g, TN_OP_NEG, f->x));
    uint64_t hash = tn_graph_hash(f->g);
    uint32_t misses;
    ck_assert_uint_eq(apply(f, (tn_rules){untyped, 1}, NULL, "untyped", &misses), 0);
    ck_assert_uint_eq(misses, 1);
    ck_assert(tn_graph_hash(f->g) == hash);
    ck_assert_int_eq(tn_graph_status(f->g), TN_OK);
    ck_assert_str_eq(f->diag, "");
    ck_assert_uint_eq(apply(f, (tn_rules)TN_RULES(untyped), NULL, "after_untyped", NULL), 1);
    stop(f);
}
END_TEST

static const tn_rule some[] = {RULE(some, OP(ABS, X), OP(NEG, X), SIGNED, NULL, EXACT)};

START_TEST(a_rule_fires_for_its_dtypes_only) {
    for (int t = 1; t < TN_DTYPE_COUNT; t++) {
        uint32_t misses;
        if (t == TN_BOOL || !tn_dtype_computes((tn_dtype)t)) continue; /* has no abs */
        fixture *f = start((tn_dtype)t);
        returns(f, tn_unary(f->g, TN_OP_ABS, f->x));
        uint32_t n = apply(f, (tn_rules)TN_RULES(some), NULL, "some", &misses);
        ck_assert_uint_eq(n, (SIGNED >> t) & 1);
        ck_assert_uint_eq(misses, 1 - n);
        stop(f);
    }
}
END_TEST

static const tn_rule round_trip[] = {RULE(round_trip, OP(RECIP, OP(RECIP, X)), X, FLOATS, NULL, ULPS(2)),
                                     RULE(keeps, OP(NEG, OP(NEG, X)), X, FLOATS, NULL, EXACT),
                                     RULE(zero, OP(ADD, X, NUM(0)), X, FLOATS, NULL, ZERO_SIGN)};

/* How often a rule fires on f(f(x)) or x + 0 with `behind` behind an exp and a maximum. */
static uint32_t fires_before(tn_op op, tn_op behind, const char *rule) {
    fixture *f = start(TN_F32);
    tn_val v = op == TN_OP_ADD ? tn_binary(f->g, op, f->x, tn_const_num(f->g, TN_F32, 0))
                               : tn_unary(f->g, op, tn_unary(f->g, op, f->x));
    v = tn_binary(f->g, TN_OP_MAX, tn_unary(f->g, TN_OP_EXP, v), f->y);
    const tn_attrs_cast to = {.to = TN_I32};
    const tn_attrs_arg arg = {.axis = 0};
    const tn_attrs_top_k top = {.k = tn_dim_const(f->g, 1)};
    const void *attrs = behind == TN_OP_CAST      ? (const void *)&to
                        : behind == TN_OP_ARG_MAX ? (const void *)&arg
                        : behind == TN_OP_TOP_K   ? (const void *)&top
                                                  : NULL;
    const tn_val in[] = {v, f->y};
    const bool two = behind == TN_OP_LT || behind == TN_OP_MOD;
    const tn_val last = tn_emit1(f->g, behind, attrs, two ? 2 : 1, in);
    ck_assert_uint_ne(last.i, 0);
    returns(f, last);
    uint32_t n = apply(f, (tn_rules)TN_RULES(round_trip), NULL, rule, NULL);
    stop(f);
    return n;
}

START_TEST(a_step_behind_keeps_the_last_place) {
    static const tn_op steps[] = {TN_OP_FLOOR, TN_OP_ROUND, TN_OP_LT,      TN_OP_CAST,
                                  TN_OP_SIGN,  TN_OP_MOD,   TN_OP_ARG_MAX, TN_OP_TOP_K};
    for (size_t k = 0; k < sizeof steps / sizeof steps[0]; k++) {
        ck_assert_uint_eq(fires_before(TN_OP_RECIP, steps[k], "round_trip"), 0);
        ck_assert_uint_eq(fires_before(TN_OP_NEG, steps[k], "keeps"), 1);
        ck_assert_uint_eq(fires_before(TN_OP_ADD, steps[k], "zero"), 1);
    }
    ck_assert_uint_eq(fires_before(TN_OP_RECIP, TN_OP_TANH, "round_trip"), 1);
}
END_TEST

/* How often the round trip fires with `n` residual additions between it and `behind`. */
static uint32_t fires_far_before(uint32_t n, tn_op behind) {
    fixture *f = start(TN_F32);
    tn_val v = tn_unary(f->g, TN_OP_RECIP, tn_unary(f->g, TN_OP_RECIP, f->x));
    for (uint32_t k = 0; k < n; k++) v = tn_binary(f->g, TN_OP_ADD, tn_unary(f->g, TN_OP_TANH, v), v);
    returns(f, tn_unary(f->g, behind, v));
    const uint32_t fired = apply(f, (tn_rules)TN_RULES(round_trip), NULL, "round_trip", NULL);
    stop(f);
    return fired;
}

START_TEST(a_step_is_seen_from_any_distance) {
    for (uint32_t n = 1; n <= 10000; n *= 10) {
        ck_assert_uint_eq(fires_far_before(n, TN_OP_TANH), 1);
        ck_assert_uint_eq(fires_far_before(n, TN_OP_FLOOR), 0);
    }
}
END_TEST

/* What uses lead to, followed one by one. */
static bool leads_to_step(const tn_graph *g, tn_val v) {
    for (tn_use u = tn_val_first_use(g, v); u.i; u = tn_use_next(g, u)) {
        const tn_node n = tn_use_node(g, u);
        const tn_op op = tn_node_op(g, n);
        if (tn_op_is(op, TN_T_STEP)) return true;
        if (tn_op_is(op, TN_T_SMOOTH) && leads_to_step(g, tn_node_result(g, n, 0))) return true;
    }
    return false;
}

static uint32_t check_steps(tn_steps *s, bool exactly) {
    uint32_t n = 0;
    for (uint32_t k = 1; k < tn_graph_val_limit(s->g); k++) {
        const bool want = leads_to_step(s->g, (tn_val){k}), have = tn_reaches_step(s, (tn_val){k});
        ck_assert_msg(have == want || (have && !exactly), "value %u of %u", k, tn_graph_val_limit(s->g));
        n += want;
    }
    return n;
}

/* Random graphs in which values give way to new and old ones. */
START_TEST(what_reaches_a_step_is_known_after_rewrites) {
    static const tn_op ops[] = {TN_OP_TANH, TN_OP_NEG, TN_OP_FLOOR, TN_OP_ADD, TN_OP_MUL};
    uint32_t reached = 0, values = 0, state = 1;
    for (int round = 0; round < 200; round++) {
        fixture *f = start(TN_F32);
        tn_val v[60] = {f->x, f->y};
        tn_steps s = {.g = f->g};
        uint32_t n = 2;
        for (; n < 40; n++) {
            const uint32_t r = state = state * 1664525 + 1013904223, op = r >> 24;
            const tn_val a = v[(r >> 4) % n], b = v[(r >> 14) % n];
            const tn_op which = op < 24 ? TN_OP_FLOOR : ops[op % 2 ? op / 2 % 2 : 3 + op / 2 % 2];
            v[n] = which == TN_OP_ADD || which == TN_OP_MUL ? tn_binary(f->g, which, a, b) : tn_unary(f->g, which, a);
        }
        returns(f, v[n - 1]);
        reached += check_steps(&s, true);
        values += n;
        for (int k = 0; k < 20; k++, n++) { /* in front of a value, another one of what comes before that */
            const uint32_t r = state = state * 1664525 + 1013904223, at = 3 + (r >> 8) % 36;
            const uint32_t first_new = tn_graph_node_limit(f->g);
            const tn_val old = v[at], a = v[(r >> 14) % at];
            if (!tn_val_first_use(f->g, old).i) continue;
            tn_set_cursor(f->g, tn_cursor_before(f->g, tn_val_def(f->g, old)));
            const tn_val now = r >> 31 ? tn_unary(f->g, ops[(r >> 26) % 3], a) : a;
            tn_steps_replace(&s, old, now);
            tn_replace(f->g, old, now);
            tn_steps_add(&s, first_new);
            if (now.i != a.i) v[at] = now;
            check_steps(&s, false);
        }
        s.known = false;
        check_steps(&s, true);
        tn_steps_free(&s);
        stop(f);
    }
    ck_assert_uint_gt(reached, values / 8);
    ck_assert_uint_lt(reached, values / 8 * 7);
}
END_TEST

static const char *never(const tn_match *m) {
    (void)m;
    return "not today";
}
static const tn_rule refused[] = {RULE(refused, OP(NEG, OP(NEG, X)), X, ANY, never, EXACT)};

START_TEST(a_refused_rule_changes_nothing_and_is_recorded) {
    fixture *f = start(TN_F32);
    tn_cursor at = tn_get_cursor(f->g);
    at.loc = tn_loc_make(f->g, "layer7");
    tn_set_cursor(f->g, at);
    returns(f, tn_unary(f->g, TN_OP_NEG, tn_unary(f->g, TN_OP_NEG, f->x)));
    uint64_t hash = tn_graph_hash(f->g);
    uint32_t limit = tn_graph_node_limit(f->g);
    tn_rules set = TN_RULES(refused);
    const tn_rules *sets[] = {&set};
    const tn_near_miss *misses;
    tn_pass_ctx *ctx = tn_pass_ctx_new(&f->env, NULL);
    ck_assert_int_eq(tn_rewrite(f->g, ctx, 1, sets), TN_OK);
    ck_assert_uint_eq(tn_near_misses(ctx, &misses), 1);
    ck_assert_str_eq(misses[0].rule, "refused");
    ck_assert_str_eq(misses[0].why, "not today");
    ck_assert_str_eq(misses[0].loc, "layer7");
    ck_assert(tn_graph_hash(f->g) == hash);
    ck_assert_uint_eq(tn_graph_node_limit(f->g), limit);
    tn_pass_ctx_free(ctx);
    stop(f);
}
END_TEST

/* ---- replacements ------------------------------------------------------------------------------------------------ */

static tn_val wrong_type(tn_match *m) {
    return tn_const_num(m->g, TN_I64, 3);
}
static const tn_rule wrong[] = {RULE(wrong, OP(NEG, X), FN(wrong_type), ANY, NULL, EXACT)};

START_TEST(a_replacement_of_another_type_is_refused_by_name) {
    fixture *f = start(TN_F32);
    returns(f, tn_unary(f->g, TN_OP_NEG, f->x));
    uint64_t hash = tn_graph_hash(f->g);
    ck_assert_uint_eq(apply(f, (tn_rules)TN_RULES(wrong), NULL, "wrong", NULL), 0);
    ck_assert_ptr_nonnull(strstr(f->diag, "internal error: rule wrong"));
    ck_assert(tn_graph_hash(f->g) == hash);
    stop(f);
}
END_TEST

static tn_val emits_and_refuses(tn_match *m) {
    tn_unary(m->g, TN_OP_EXP, m->v[TN_X]);
    m->why = "too late";
    return (tn_val){0};
}
static const tn_rule late[] = {RULE(late, OP(NEG, X), FN(emits_and_refuses), ANY, NULL, EXACT)};

START_TEST(a_callback_may_refuse_after_it_has_emitted) {
    fixture *f = start(TN_F32);
    returns(f, tn_unary(f->g, TN_OP_NEG, f->x));
    uint64_t hash = tn_graph_hash(f->g);
    uint32_t misses;
    ck_assert_uint_eq(apply(f, (tn_rules)TN_RULES(late), NULL, "late", &misses), 0);
    ck_assert_uint_eq(misses, 1);
    ck_assert_str_eq(f->diag, "");
    ck_assert(tn_graph_hash(f->g) == hash);
    stop(f);
}
END_TEST

static const tn_rule one[] = {RULE(one, OP(MUL, X, NUM(1)), X, ANY, NULL, EXACT)};

START_TEST(a_narrower_replacement_is_broadcast) {
    fixture *f = start(TN_F32);
    int64_t dims[2] = {3, 4};
    float ones[12];
    for (int k = 0; k < 12; k++) ones[k] = 1;
    tn_val c = tn_const(f->g, tn_type_const(f->g, TN_F32, 2, dims), tn_blob_copy(f->g, ones, sizeof ones), NULL);
    returns(f, tn_binary(f->g, TN_OP_MUL, f->x, c));
    tn_type want = tn_val_type(f->g, tn_graph_output(f->g, 0));
    ck_assert_uint_eq(apply(f, (tn_rules)TN_RULES(one), NULL, "one", NULL), 1);
    ck_assert_int_eq(op_of_output(f), TN_OP_BROADCAST);
    ck_assert_uint_eq(tn_val_type(f->g, tn_graph_output(f->g, 0)).i, want.i);
    stop(f);
}
END_TEST

static const tn_rule fuse[] = {RULE(fuse, OP(NEG, ONCE(SUB, X, Y)), OP(SUB, Y, X), ANY, NULL, EXACT)};

START_TEST(provenance_of_all_matched_nodes_is_joined) {
    fixture *f = start(TN_F32);
    tn_cursor at = tn_get_cursor(f->g);
    at.loc = tn_loc_make(f->g, "first");
    tn_set_cursor(f->g, at);
    tn_val s = tn_binary(f->g, TN_OP_SUB, f->x, f->y);
    at.loc = tn_loc_make(f->g, "second");
    tn_set_cursor(f->g, at);
    returns(f, tn_unary(f->g, TN_OP_NEG, s));
    ck_assert_uint_eq(apply(f, (tn_rules)TN_RULES(fuse), NULL, "fuse", NULL), 1);
    tn_loc loc = tn_node_loc(f->g, tn_val_def(f->g, tn_graph_output(f->g, 0)));
    ck_assert_uint_eq(tn_loc_count(f->g, loc), 2);
    stop(f);
}
END_TEST

/* ---- termination, budgets, numerics ------------------------------------------------------------------------------ */

static const tn_rule cycle[] = {RULE(to_sub, OP(ADD, X, Y), OP(SUB, X, OP(NEG, Y)), ANY, NULL, EXACT),
                                RULE(to_add, OP(SUB, X, OP(NEG, Y)), OP(ADD, X, Y), ANY, NULL, EXACT)};

START_TEST(rules_that_undo_each_other_are_stopped_and_named) {
    fixture *f = start(TN_F32);
    returns(f, tn_binary(f->g, TN_OP_ADD, f->x, f->y));
    uint32_t n = apply(f, (tn_rules)TN_RULES(cycle), NULL, "to_sub", NULL);
    ck_assert_uint_gt(n, 0);
    ck_assert_uint_le(n, 64);
    ck_assert_ptr_nonnull(strstr(f->diag, "to_sub"));
    ck_assert_ptr_nonnull(strstr(f->diag, "to_add"));
    stop(f);
}
END_TEST

static const tn_rule negs[] = {RULE(exp_to_abs, OP(EXP, X), OP(ABS, X), ANY, NULL, EXACT)};

START_TEST(stop_after_bounds_the_rewrites_exactly) {
    for (uint32_t limit = 1; limit <= 5; limit++) {
        fixture *f = start(TN_F32);
        tn_val v = f->x;
        for (int k = 0; k < 4; k++) v = tn_unary(f->g, TN_OP_EXP, v);
        returns(f, v);
        tn_pass_options o = {.stop_after_rewrite = limit};
        ck_assert_uint_eq(apply(f, (tn_rules)TN_RULES(negs), &o, "exp_to_abs", NULL), limit < 4 ? limit : 4);
        stop(f);
    }
}
END_TEST

static const tn_rule modes[] = {RULE(exact, OP(NEG, X), OP(ABS, X), ANY, NULL, EXACT),
                                RULE(ulps, OP(RELU, X), OP(ABS, X), NUMBERS, NULL, ULPS(2)),
                                RULE(zeros, OP(SIGN, X), OP(ABS, X), NUMBERS, NULL, ZERO_SIGN)};

static uint32_t fires(tn_dtype t, tn_op op, tn_numerics mode, const char *rule) {
    fixture *f = start(t);
    returns(f, tn_unary(f->g, op, f->x));
    tn_pass_options o = {.numerics = mode};
    uint32_t n = apply(f, (tn_rules)TN_RULES(modes), &o, rule, NULL);
    stop(f);
    return n;
}

START_TEST(numerics_decide_which_rules_run) {
    ck_assert_uint_eq(fires(TN_F32, TN_OP_NEG, TN_NUMERICS_EXACT, "exact"), 1);
    ck_assert_uint_eq(fires(TN_F32, TN_OP_RELU, TN_NUMERICS_EXACT, "ulps"), 0);
    ck_assert_uint_eq(fires(TN_F32, TN_OP_RELU, TN_NUMERICS_RELAXED, "ulps"), 1);
    ck_assert_uint_eq(fires(TN_I32, TN_OP_RELU, TN_NUMERICS_EXACT, "ulps"), 1);
    ck_assert_uint_eq(fires(TN_F32, TN_OP_SIGN, TN_NUMERICS_EXACT, "zeros"), 0);
    ck_assert_uint_eq(fires(TN_F32, TN_OP_SIGN, TN_NUMERICS_RELAXED, "zeros"), 1);
    ck_assert_uint_eq(fires(TN_I32, TN_OP_SIGN, TN_NUMERICS_EXACT, "zeros"), 1);
}
END_TEST

int main(void) {
    Suite *s = suite_create("rules");
    TCase *t = tcase_create("engine");
    tcase_add_test(t, commutative_variants_at_every_level);
    tcase_add_test(t, a_variable_stands_for_one_value);
    tcase_add_test(t, once_needs_a_single_use);
    tcase_add_test(t, numbers_keep_the_sign_of_zero);
    tcase_add_test(t, a_refused_rule_changes_nothing_and_is_recorded);
    tcase_add_test(t, a_replacement_of_another_type_is_refused_by_name);
    tcase_add_test(t, a_callback_may_refuse_after_it_has_emitted);
    tcase_add_test(t, a_narrower_replacement_is_broadcast);
    tcase_add_test(t, provenance_of_all_matched_nodes_is_joined);
    tcase_add_test(t, rules_that_undo_each_other_are_stopped_and_named);
    tcase_add_test(t, stop_after_bounds_the_rewrites_exactly);
    tcase_add_test(t, numerics_decide_which_rules_run);
    tcase_add_test(t, a_replacement_that_does_not_type_refuses_the_rule);
    tcase_add_test(t, a_rule_fires_for_its_dtypes_only);
    tcase_add_test(t, a_step_behind_keeps_the_last_place);
    tcase_add_test(t, a_step_is_seen_from_any_distance);
    tcase_add_test(t, what_reaches_a_step_is_known_after_rewrites);
    suite_add_tcase(s, t);
    return run_suite(s);
}
