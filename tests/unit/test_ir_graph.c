/* The graph: emitting, use lists under random mutation, the verifier, cloning, hashing, provenance, constants. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ir/ir.h"
#include "passes/pass.h"
#include "tests/unit/suite.h"

typedef struct diags {
    char first[1200];
    int n;
} diags;

static void on_diag(void *user, const tn_diag *d) {
    diags *l = user;
    if (l->n++ == 0) snprintf(l->first, sizeof l->first, "%s: %s", d->loc, d->message);
}

static tn_type f32(tn_graph *g, int64_t n) {
    return tn_type_const(g, TN_F32, 1, &n);
}

static uint64_t seed;

static uint32_t rnd(uint32_t n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

/* ---- random mutation --------------------------------------------------------------------------------------------- */

static tn_val random_visible(tn_graph *g, tn_node before) {
    tn_val pool[512];
    size_t n = 0;
    for (size_t k = 0; k < tn_graph_input_count(g); k++) pool[n++] = tn_graph_input(g, k);
    TN_FOR_NODES(g, tn_graph_body(g), m) {
        if (m.i == before.i || n >= 500) break;
        for (size_t k = 0; k < tn_node_result_count(g, m); k++) pool[n++] = tn_node_result(g, m, k);
    }
    return pool[rnd((uint32_t)n)];
}

static tn_node random_node(tn_graph *g) {
    size_t n = 0, pick;
    TN_FOR_NODES(g, tn_graph_body(g), m) n++;
    pick = rnd((uint32_t)n);
    TN_FOR_NODES(g, tn_graph_body(g), m) if (pick-- == 0) return m;
    return (tn_node){0};
}

static void emit_kernel(tn_graph *g, tn_val x) {
    tn_region r = tn_region_new(g);
    tn_val a = tn_region_add_arg(g, r, tn_val_type(g, x), "a");
    tn_cursor at = tn_set_cursor(g, tn_cursor_end(g, r));
    tn_val y = tn_unary(g, TN_OP_NEG, a);
    tn_emit(g, TN_OP_YIELD, NULL, 1, &y);
    tn_set_cursor(g, at);
    tn_emit_regions(g, TN_OP_KERNEL, &(tn_attrs_kernel){.anchor = "map", .name = "k"}, 1, &x, 1, &r);
}

static void mutate(tn_graph *g) {
    tn_node n = random_node(g), last = tn_region_last(g, tn_graph_body(g));
    bool inner = n.i != last.i;
    switch (rnd(7)) {
    case 0:
    case 1:
        tn_set_cursor(g, tn_cursor_before(g, n));
        tn_binary(g, rnd(2) ? TN_OP_ADD : TN_OP_MUL, random_visible(g, n), random_visible(g, n));
        break;
    case 2:
        tn_set_cursor(g, tn_cursor_before(g, n));
        emit_kernel(g, random_visible(g, n));
        break;
    case 3: /* uses of a result come after the node: anything visible before it may stand for it */
        if (inner && tn_node_result_count(g, n)) tn_replace(g, tn_node_result(g, n, 0), random_visible(g, n));
        break;
    case 4:
        if (tn_node_input_count(g, n))
            tn_set_input(g, n, rnd((uint32_t)tn_node_input_count(g, n)), random_visible(g, n));
        break;
    case 5:
        if (inner && !tn_val_first_use(g, tn_node_result(g, n, 0)).i) tn_erase(g, n);
        break;
    default: /* a node nobody uses may stand anywhere later */
        if (inner && !tn_val_first_use(g, tn_node_result(g, n, 0)).i)
            tn_move_before(g, n, tn_cursor_end(g, tn_graph_body(g)));
    }
}

START_TEST(random_mutations_keep_every_invariant) {
    for (int round = 0; round < 40; round++) {
        diags l = {.n = 0};
        tn_env env = {.diag = on_diag, .diag_user = &l};
        tn_graph *g = tn_graph_new(&env);
        seed = (uint64_t)round + 3;
        for (int k = 0; k < 3; k++) tn_graph_add_input(g, "x", f32(g, 4));
        tn_val x = tn_graph_input(g, 0);
        tn_graph_set_outputs(g, 1, &x, (const char *const[]){"y"});
        for (int step = 0; step < 300; step++) {
            mutate(g);
            if (step % 10 == 0) ck_assert_msg(tn_verify(g) == TN_OK, "round %d step %d: %s", round, step, l.first);
        }
        ck_assert_msg(tn_graph_status(g) == TN_OK && tn_verify(g) == TN_OK, "round %d: %s", round, l.first);
        const uint64_t hash = tn_graph_hash(g);
        tn_graph *beside = tn_graph_clone_beside(g), *copy = tn_graph_clone(g);
        ck_assert_uint_eq(tn_graph_hash(beside), hash);
        for (int step = 0; step < 50; step++) mutate(beside);
        ck_assert_int_eq(tn_verify(beside), TN_OK);
        ck_assert_uint_eq(tn_graph_hash(g), hash); /* and does not notice */
        tn_graph_free(beside);
        ck_assert_int_eq(tn_verify(copy), TN_OK);
        ck_assert_uint_eq(tn_graph_hash(copy), hash);
        tn_graph_free(g); /* the copy stands alone */
        for (int step = 0; step < 50; step++) mutate(copy);
        ck_assert_int_eq(tn_verify(copy), TN_OK);
        tn_graph_free(copy);
    }
}
END_TEST

/* ---- the mutators one by one ------------------------------------------------------------------------------------- */

START_TEST(uses_follow_replace_and_set_input) {
    tn_graph *g = tn_graph_new(NULL);
    tn_val x = tn_graph_add_input(g, "x", f32(g, 4)), y = tn_graph_add_input(g, "y", f32(g, 4));
    tn_val a = tn_binary(g, TN_OP_ADD, x, x), b = tn_binary(g, TN_OP_MUL, a, x);
    tn_graph_set_outputs(g, 1, &b, NULL);
    ck_assert_uint_eq(tn_val_use_count(g, x), 3);
    ck_assert(!tn_val_has_one_use(g, x) && tn_val_has_one_use(g, a));
    ck_assert_int_eq(tn_set_input(g, tn_val_def(g, a), 1, y), TN_OK);
    ck_assert_uint_eq(tn_val_use_count(g, x), 2);
    tn_use u = tn_val_first_use(g, y);
    ck_assert_uint_eq(tn_use_node(g, u).i, tn_val_def(g, a).i);
    ck_assert_uint_eq(tn_use_slot(g, u), 1);
    ck_assert_int_eq(tn_replace(g, a, y), TN_OK);
    ck_assert_uint_eq(tn_val_use_count(g, a), 0);
    ck_assert_uint_eq(tn_val_use_count(g, y), 2);
    ck_assert_int_eq(tn_erase(g, tn_val_def(g, a)), TN_OK);
    ck_assert_uint_eq(tn_val_use_count(g, y), 1);
    ck_assert_int_eq(tn_verify(g), TN_OK);
    ck_assert_int_eq(tn_erase(g, tn_val_def(g, b)), TN_E_ARGUMENT); /* still returned; sticky from here */
    ck_assert_uint_eq(tn_unary(g, TN_OP_NEG, x).i, 0);
    tn_graph_free(g);
}
END_TEST

START_TEST(types_are_guarded) {
    diags l = {.n = 0};
    tn_env env = {.diag = on_diag, .diag_user = &l};
    tn_graph *g = tn_graph_new(&env);
    tn_val x = tn_graph_add_input(g, "x", f32(g, 4)), y = tn_graph_add_input(g, "y", f32(g, 5));
    ck_assert_int_eq(tn_replace(g, x, y), TN_E_TYPE);
    ck_assert(strstr(l.first, "f32[5]") && strstr(l.first, "f32[4]"));
    tn_graph_free(g);
    l.n = 0;
    g = tn_graph_new(&env);
    x = tn_graph_add_input(g, "x", f32(g, 4)), y = tn_graph_add_input(g, "y", f32(g, 5));
    tn_set_cursor(g, (tn_cursor){tn_graph_body(g), {0}, tn_loc_make(g, "/layer/Add")});
    ck_assert_uint_eq(tn_binary(g, TN_OP_ADD, x, y).i, 0);
    ck_assert_int_eq(tn_graph_status(g), TN_E_TYPE);
    ck_assert_int_eq(l.n, 1);
    ck_assert_msg(strstr(l.first, "/layer/Add: add: ") == l.first, "%s", l.first);
    ck_assert(strstr(l.first, "(operands f32[4], f32[5])") != NULL);
    tn_graph_free(g);
    l.n = 0;
    g = tn_graph_new(&env); /* tn_infer alone is not sticky */
    x = tn_graph_add_input(g, "x", f32(g, 4)), y = tn_graph_add_input(g, "y", f32(g, 5));
    tn_type t[2];
    size_t n = 9;
    ck_assert_int_eq(tn_infer(g, TN_OP_ADD, NULL, 2, (tn_val[]){x, y}, 0, NULL, t, 2, &n), TN_E_TYPE);
    ck_assert_int_eq(tn_infer(g, TN_OP_ADD, NULL, 2, (tn_val[]){x, x}, 0, NULL, t, 2, &n), TN_OK);
    ck_assert_uint_eq(n, 1);
    ck_assert_uint_eq(t[0].i, tn_val_type(g, x).i);
    /* a result without uses may change its type, one in use may not */
    tn_val z = tn_unary(g, TN_OP_NEG, x);
    ck_assert_int_eq(tn_set_input(g, tn_val_def(g, z), 0, y), TN_OK);
    ck_assert_uint_eq(tn_val_type(g, z).i, tn_val_type(g, y).i);
    tn_graph_set_outputs(g, 1, &z, NULL);
    ck_assert_int_eq(tn_set_input(g, tn_val_def(g, z), 0, x), TN_E_TYPE);
    tn_graph_free(g);
}
END_TEST

START_TEST(bad_handles_are_errors_not_crashes) {
    const tn_val wild = {123456};
    tn_graph *g = tn_graph_new(NULL);
    ck_assert_uint_eq(tn_val_type(g, wild).i, 0);
    ck_assert_int_eq(tn_node_op(g, (tn_node){99999}), TN_OP_NONE);
    ck_assert_uint_eq(tn_node_input(g, (tn_node){99999}, 3).i, 0);
    ck_assert_ptr_nonnull(tn_node_attrs(g, (tn_node){99999}));
    ck_assert_uint_eq(tn_val_first_use(g, wild).i, 0);
    ck_assert_uint_eq(tn_unary(g, TN_OP_NEG, wild).i, 0);
    ck_assert_int_eq(tn_graph_status(g), TN_E_ARGUMENT);
    tn_graph_free(g);
    g = tn_graph_new(NULL);
    ck_assert_uint_eq(tn_emit(g, (tn_op)9999, NULL, 0, NULL).i, 0);
    ck_assert_int_eq(tn_graph_status(g), TN_E_ARGUMENT);
    tn_graph_free(g);
    tn_graph_free(NULL);
}
END_TEST

static char traced[64];

static void on_trace(void *user, const tn_graph *g, char what, tn_node n, tn_val from, tn_val to) {
    (void)user, (void)g, (void)n, (void)from, (void)to;
    size_t k = strlen(traced);
    if (k + 1 < sizeof traced) traced[k] = what, traced[k + 1] = 0;
}

START_TEST(trace_sees_every_mutation) {
    tn_graph *g = tn_graph_new(NULL);
    traced[0] = 0;
    tn_graph_set_trace(g, on_trace, NULL);
    tn_val x = tn_graph_add_input(g, "x", f32(g, 4)), a = tn_unary(g, TN_OP_NEG, x), b = tn_unary(g, TN_OP_ABS, a);
    tn_set_input(g, tn_val_def(g, b), 0, x);
    tn_replace(g, b, a);
    tn_erase(g, tn_val_def(g, b));
    ck_assert_str_eq(traced, "eesrx");
    tn_graph_free(g);
}
END_TEST

/* Edits since *former. */
static bool edited(const tn_graph *g, uint64_t *former) {
    const uint64_t now = tn_graph_edits(g), was = *former;
    ck_assert_uint_ge(now, was);
    *former = now;
    return now != was;
}

START_TEST(edits_tell_of_every_change) {
    tn_graph *g = tn_graph_new(NULL);
    uint64_t e = tn_graph_edits(g);
    const tn_dim n = tn_dim_sym(g, "N"), m = tn_dim_sym(g, "M");
    const tn_val x = tn_graph_add_input(g, "x", tn_type_make(g, TN_F32, 1, &n));
    ck_assert(edited(g, &e));
    const tn_val a = tn_unary(g, TN_OP_NEG, x), b = tn_unary(g, TN_OP_ABS, a);
    ck_assert(edited(g, &e));
    tn_set_input(g, tn_val_def(g, b), 0, x);
    ck_assert(edited(g, &e));
    tn_graph_set_outputs(g, 1, &b, NULL);
    ck_assert(edited(g, &e));
    tn_replace(g, b, a);
    ck_assert(edited(g, &e));
    tn_move_before(g, tn_val_def(g, b), tn_cursor_before(g, tn_val_def(g, a)));
    ck_assert(edited(g, &e));
    tn_erase(g, tn_val_def(g, b));
    ck_assert(edited(g, &e));
    tn_trial t = tn_trial_begin(g);
    tn_unary(g, TN_OP_EXP, a);
    ck_assert(!tn_trial_end(g, t, false));
    ck_assert(edited(g, &e));
    tn_graph_require(g, (tn_condition){.rel = TN_REL_AT_LEAST, .a = m, .b = n, .what = "test"});
    ck_assert(edited(g, &e));
    ck_assert_int_eq(tn_dim_bind(g, n, tn_dim_const(g, 4)), TN_OK);
    ck_assert(edited(g, &e));
    ck_assert_int_eq(tn_verify(g), TN_OK); /* what only looks, and types and texts that nothing has */
    tn_graph_hash(g);
    f32(g, 77);
    tn_intern(g, "text");
    tn_node_set_loc(g, tn_val_def(g, a), tn_loc_make(g, "layer"));
    tn_graph_free(tn_graph_clone(g));
    ck_assert(!edited(g, &e));
    tn_graph_free(g);
}
END_TEST

START_TEST(the_cursor_places_and_stamps) {
    tn_graph *g = tn_graph_new(NULL);
    tn_val x = tn_graph_add_input(g, "x", f32(g, 4)), a = tn_unary(g, TN_OP_NEG, x);
    tn_graph_set_outputs(g, 1, &a, NULL);
    tn_val b = tn_unary(g, TN_OP_ABS, x); /* before the terminator */
    tn_node na = tn_val_def(g, a), nb = tn_val_def(g, b);
    ck_assert_uint_eq(tn_node_next(g, na).i, nb.i);
    ck_assert_int_eq(tn_node_op(g, tn_node_next(g, nb)), TN_OP_RETURN);
    tn_node_set_loc(g, na, tn_loc_make(g, "conv1"));
    tn_set_cursor(g, tn_cursor_before(g, na));
    tn_node c = tn_val_def(g, tn_unary(g, TN_OP_EXP, x));
    ck_assert_uint_eq(tn_region_first(g, tn_graph_body(g)).i, c.i);
    ck_assert_str_eq(tn_loc_at(g, tn_node_loc(g, c), 0), "conv1");
    tn_set_cursor(g, tn_cursor_before(g, nb));
    tn_erase(g, nb); /* the cursor moves on to what followed */
    tn_val d = tn_unary(g, TN_OP_LOG, x);
    ck_assert_int_eq(tn_node_op(g, tn_node_next(g, tn_val_def(g, d))), TN_OP_RETURN);
    tn_move_before(g, tn_val_def(g, d), tn_cursor_before(g, c));
    ck_assert_uint_eq(tn_region_first(g, tn_graph_body(g)).i, tn_val_def(g, d).i);
    ck_assert_int_eq(tn_verify(g), TN_OK);
    tn_move_before(g, na, tn_cursor_end(g, tn_graph_body(g)));
    ck_assert_int_eq(tn_verify(g), TN_OK);
    tn_graph_free(g);
}
END_TEST

START_TEST(the_verifier_sees_uses_before_definitions) {
    diags l = {.n = 0};
    tn_env env = {.diag = on_diag, .diag_user = &l};
    tn_graph *g = tn_graph_new(&env);
    tn_val x = tn_graph_add_input(g, "x", f32(g, 4)), a = tn_unary(g, TN_OP_NEG, x), b = tn_unary(g, TN_OP_ABS, a);
    tn_graph_set_outputs(g, 1, &b, NULL);
    tn_node_set_loc(g, tn_val_def(g, b), tn_loc_make(g, "/head/Abs"));
    tn_move_before(g, tn_val_def(g, b), tn_cursor_before(g, tn_val_def(g, a)));
    ck_assert_int_eq(tn_verify(g), TN_E_VERIFY);
    ck_assert_msg(strstr(l.first, "/head/Abs: abs") == l.first && strstr(l.first, "used before"), "%s", l.first);
    tn_graph_free(g);
    g = tn_graph_new(&env);
    tn_graph_add_input(g, "x", f32(g, 4));
    ck_assert_int_eq(tn_verify(g), TN_E_VERIFY); /* no return */
    tn_graph_free(g);
}
END_TEST

START_TEST(values_do_not_leave_their_region) {
    diags l = {.n = 0};
    tn_env env = {.diag = on_diag, .diag_user = &l};
    tn_graph *g = tn_graph_new(&env);
    tn_val x = tn_graph_add_input(g, "x", f32(g, 4));
    emit_kernel(g, x);
    tn_node k = tn_region_last(g, tn_graph_body(g));
    tn_val inside = tn_node_result(g, tn_region_first(g, tn_node_subregion(g, k, 0)), 0);
    tn_graph_set_outputs(g, 1, &inside, NULL);
    ck_assert_int_eq(tn_verify(g), TN_E_VERIFY);
    ck_assert_msg(strstr(l.first, "region that has ended") != NULL, "%s", l.first);
    tn_val out = tn_node_result(g, k, 0);
    tn_graph_set_outputs(g, 1, &out, NULL);
    ck_assert_int_eq(tn_verify(g), TN_OK);
    tn_graph_set_outputs(g, 1, &x, NULL);
    ck_assert_int_eq(tn_erase(g, k), TN_OK); /* with all that it owns */
    ck_assert_uint_eq(tn_val_use_count(g, x), 1);
    ck_assert_int_eq(tn_verify(g), TN_OK);
    tn_graph_free(g);
}
END_TEST

START_TEST(kernels_use_their_arguments_only) {
    diags l = {.n = 0};
    tn_env env = {.diag = on_diag, .diag_user = &l};
    tn_graph *g = tn_graph_new(&env);
    tn_val x = tn_graph_add_input(g, "x", f32(g, 4)), y = tn_graph_add_input(g, "y", f32(g, 4));
    emit_kernel(g, x);
    tn_node k = tn_region_last(g, tn_graph_body(g));
    tn_val out = tn_node_result(g, k, 0);
    tn_graph_set_outputs(g, 1, &out, NULL);
    ck_assert_int_eq(tn_verify(g), TN_OK);
    tn_set_input(g, tn_region_first(g, tn_node_subregion(g, k, 0)), 0, y);
    ck_assert_int_eq(tn_verify(g), TN_E_VERIFY);
    ck_assert_msg(strstr(l.first, "not defined within the kernel") != NULL, "%s", l.first);
    tn_graph_free(g);
}
END_TEST

/* ---- provenance, metadata, hash ---------------------------------------------------------------------------------- */

START_TEST(locations_are_sets) {
    tn_graph *g = tn_graph_new(NULL);
    char text[40];
    tn_loc a = tn_loc_make(g, "conv"), b = tn_loc_make(g, "bn"), ab = tn_loc_join(g, a, b);
    ck_assert_uint_eq(tn_loc_join(g, ab, b).i, ab.i);
    ck_assert_uint_eq(tn_loc_join(g, ab, (tn_loc){0}).i, ab.i);
    ck_assert_uint_eq(tn_loc_join(g, a, b).i, ab.i);
    ck_assert_uint_eq(tn_loc_count(g, ab), 2);
    ck_assert_uint_eq(tn_loc_print(g, ab, text, sizeof text), 8);
    ck_assert_str_eq(text, "conv, bn");
    tn_loc all = ab;
    for (int k = 0; k < 20; k++) {
        char name[32];
        snprintf(name, sizeof name, "layer%d", k);
        all = tn_loc_join(g, all, tn_loc_make(g, name));
    }
    ck_assert_uint_gt(tn_loc_print(g, all, text, sizeof text), sizeof text);
    ck_assert_str_eq(text, "conv, bn, ... (+20)");
    tn_graph_free(g);
}
END_TEST

START_TEST(the_hash_ignores_names_and_sees_content) {
    uint64_t h[4];
    for (int k = 0; k < 4; k++) {
        tn_graph *g = tn_graph_new(NULL);
        if (k == 1) tn_dim_sym(g, "unused"), tn_intern(g, "shifts handles");
        tn_val x = tn_graph_add_input(g, k == 1 ? "other" : "x", f32(g, 4));
        tn_val c = tn_const_num(g, TN_F32, k == 2 ? 2.0 : 1.0);
        tn_val y = tn_binary(g, k == 3 ? TN_OP_MUL : TN_OP_ADD, x, c);
        tn_graph_set_outputs(g, 1, &y, (const char *const[]){k == 1 ? "p" : "q"});
        h[k] = k == 1 ? 0 : tn_graph_hash(g);
        if (k == 1) {
            tn_dim_bind(g, tn_dim_sym(g, "unused"), tn_dim_const(g, 1));
            h[k] = tn_graph_hash(g);
        }
        tn_graph_free(g);
    }
    ck_assert_uint_eq(h[0], h[1]);
    ck_assert_uint_ne(h[0], h[2]);
    ck_assert_uint_ne(h[0], h[3]);
}
END_TEST

static int released;
static void on_release(void *user) {
    released += *(int *)user;
}

/* What is folded away is given back while the graph lives, unless a clone still has it. */
START_TEST(folded_constants_are_given_back) {
    static float w[4] = {1, 2, 3, 4};
    int one = 1;
    for (int cloned = 0; cloned < 2; cloned++) {
        released = 0;
        tn_graph *g = tn_graph_new(NULL);
        const tn_val c = tn_const(g, f32(g, 4), tn_blob_borrow(g, w, sizeof w, on_release, &one), "w");
        const tn_val y = tn_unary(g, TN_OP_NEG, c);
        tn_graph_set_outputs(g, 1, &y, NULL);
        tn_graph *copy = cloned ? tn_graph_clone(g) : NULL;
        tn_pass_ctx *ctx = tn_pass_ctx_new(NULL, NULL);
        ck_assert_int_eq(tn_run_passes(g, "fold", ctx), TN_OK);
        tn_pass_ctx_free(ctx);
        ck_assert_int_eq(released, !cloned);
        ck_assert(tn_const_get(g, tn_graph_output(g, 0), 2) == -3.0);
        if (copy)
            ck_assert(tn_const_get(copy, tn_node_input(copy, tn_val_def(copy, tn_graph_output(copy, 0)), 0), 2) == 3.0);
        tn_graph_free(tn_graph_clone(g));
        tn_graph_free(copy);
        ck_assert_int_eq(released, 1);
        tn_graph_free(g);
        ck_assert_int_eq(released, 1);
    }
}
END_TEST

START_TEST(clones_share_borrowed_constants) {
    static float w[4] = {1, 2, 3, 4};
    int one = 1;
    released = 0;
    tn_graph *g = tn_graph_new(NULL);
    tn_val c = tn_const(g, f32(g, 4), tn_blob_borrow(g, w, sizeof w, on_release, &one), "w");
    tn_graph_set_outputs(g, 1, &c, NULL);
    tn_graph *copy = tn_graph_clone(g);
    tn_graph_free(g);
    ck_assert_int_eq(released, 0);
    ck_assert_ptr_eq(tn_const_data(copy, tn_graph_output(copy, 0)), w);
    ck_assert(tn_const_get(copy, tn_graph_output(copy, 0), 2) == 3.0);
    tn_graph_free(copy);
    ck_assert_int_eq(released, 1);
}
END_TEST

typedef struct meter {
    size_t bytes, most;
} meter;

static void *metered(void *user, void *p, size_t old_size, size_t size) {
    meter *m = user;
    m->bytes += size - old_size;
    if (m->bytes > m->most) m->most = m->bytes;
    if (size) return realloc(p, size);
    free(p);
    return NULL;
}

/* Large weights are folded: what that makes is in memory once. */
START_TEST(folding_copies_no_results) {
    enum { N = 1 << 20 };
    static float w[N];
    meter m = {0, 0};
    const tn_env env = {.alloc = metered, .alloc_user = &m};
    tn_graph *g = tn_graph_new(&env);
    const tn_val c = tn_const(g, f32(g, N), tn_blob_borrow(g, w, sizeof w, NULL, NULL), "w");
    const tn_val y = tn_unary(g, TN_OP_EXP, c);
    tn_graph_set_outputs(g, 1, &y, NULL);
    tn_pass_ctx *ctx = tn_pass_ctx_new(&env, NULL);
    ck_assert_int_eq(tn_run_passes(g, "fold", ctx), TN_OK);
    tn_pass_ctx_free(ctx);
    ck_assert(tn_const_get(g, tn_graph_output(g, 0), N - 1) == 1.0);
    tn_graph_free(g);
    ck_assert_uint_ge(m.most, sizeof w);
    ck_assert_uint_lt(m.most, sizeof w / 2 * 3);
    ck_assert_uint_eq(m.bytes, 0);
}
END_TEST

START_TEST(splats_are_seen_through_movement) {
    tn_graph *g = tn_graph_new(NULL);
    double v = 0;
    tn_val c = tn_const_ints(g, TN_I4, 3, (int64_t[]){-3, -3, -3}), one = tn_const_num(g, TN_F16, 0.1);
    ck_assert(tn_const_splat(g, c, &v) && v == -3.0);
    tn_dim dims[] = {tn_dim_sym(g, "N"), tn_dim_const(g, 2)};
    tn_val wide = tn_emit1(g, TN_OP_BROADCAST, &(tn_attrs_shape){{dims, 2}}, 1, &one);
    ck_assert(tn_const_splat(g, wide, &v) && fabs(v - 0.1) < 1e-4);
    ck_assert(!tn_const_splat(g, tn_const_ints(g, TN_I64, 2, (int64_t[]){1, 2}), &v));
    tn_graph_free(g);
}
END_TEST

START_TEST(binding_reinfers_types_and_refuses_what_no_longer_fits) {
    diags l = {.n = 0};
    tn_env env = {.diag = on_diag, .diag_user = &l};
    for (int k = 0; k < 2; k++) {
        tn_graph *g = tn_graph_new(&env);
        tn_dim n = tn_dim_sym(g, "N"), four = tn_dim_const(g, 4);
        tn_val x = tn_graph_add_input(g, "x", tn_type_make(g, TN_F32, 1, &n));
        tn_val y = tn_graph_add_input(g, "y", tn_type_make(g, TN_F32, 1, &four));
        tn_set_cursor(g, (tn_cursor){tn_graph_body(g), {0}, tn_loc_make(g, "sum")});
        tn_val z = tn_binary(g, TN_OP_ADD, x, y);
        tn_graph_set_outputs(g, 1, &z, NULL);
        ck_assert_int_eq(tn_dim_bind(g, n, tn_dim_const(g, k ? 3 : 4)), k ? TN_E_TYPE : TN_OK);
        if (!k)
            ck_assert_int_eq(tn_verify(g), TN_OK);
        else
            ck_assert_msg(strstr(l.first, "sum: add") == l.first, "%s", l.first);
        tn_graph_free(g);
    }
}
END_TEST

/* 4000 nodes in a few milliseconds (generous bound: the machine may be busy and sanitizers on). */
START_TEST(building_is_linear) {
    clock_t start = clock();
    tn_graph *g = tn_graph_new(NULL);
    tn_val x = tn_graph_add_input(g, "x", f32(g, 4)), v = x;
    for (int k = 0; k < 40000; k++) v = k % 2 ? tn_binary(g, TN_OP_ADD, v, x) : tn_unary(g, TN_OP_NEG, v);
    tn_graph_set_outputs(g, 1, &v, NULL);
    ck_assert_int_eq(tn_verify(g), TN_OK);
    ck_assert_uint_eq(tn_val_use_count(g, x), 20001);
    tn_graph_free(g);
    ck_assert_msg((double)(clock() - start) / CLOCKS_PER_SEC < 2.0, "40000 nodes took %.2f s",
                  (double)(clock() - start) / CLOCKS_PER_SEC);
}
END_TEST

int main(void) {
    Suite *s = suite_create("ir graph");
    TCase *t = tcase_create("graph");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, random_mutations_keep_every_invariant);
    tcase_add_test(t, uses_follow_replace_and_set_input);
    tcase_add_test(t, types_are_guarded);
    tcase_add_test(t, bad_handles_are_errors_not_crashes);
    tcase_add_test(t, trace_sees_every_mutation);
    tcase_add_test(t, edits_tell_of_every_change);
    tcase_add_test(t, the_cursor_places_and_stamps);
    tcase_add_test(t, the_verifier_sees_uses_before_definitions);
    tcase_add_test(t, values_do_not_leave_their_region);
    tcase_add_test(t, kernels_use_their_arguments_only);
    tcase_add_test(t, locations_are_sets);
    tcase_add_test(t, the_hash_ignores_names_and_sees_content);
    tcase_add_test(t, clones_share_borrowed_constants);
    tcase_add_test(t, folded_constants_are_given_back);
    tcase_add_test(t, folding_copies_no_results);
    tcase_add_test(t, splats_are_seen_through_movement);
    tcase_add_test(t, binding_reinfers_types_and_refuses_what_no_longer_fits);
    tcase_add_test(t, building_is_linear);
    suite_add_tcase(s, t);
    return run_suite(s);
}
