/* test_conditions.c: what type rules cannot prove about sizes: which conditions they state, how these are printed,
 * settled and refused, and that a plan checks them before anything runs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ir/ir.h"
#include "passes/pass.h"
#include "tenon/compiler.h"
#include "tenon/host.h"
#include "tenon/tenon.h"
#include "tests/unit/parsed.h"
#include "tests/unit/suite.h"

/* The graph of the text, its conditions collected; NULL where it is refused. */
static tn_graph *collected(const char *text) {
    tn_graph *g = parsed_or_not(text);
    if (g) ck_assert_msg(tn_graph_collect_conditions(g) == TN_OK, "%s", message);
    return g;
}

static char *printed(const tn_graph *g) {
    char *text = NULL;
    size_t size = 0;
    ck_assert_int_eq(tn_print(g, NULL, &text, &size), TN_OK);
    return text;
}

/* ---- which ------------------------------------------------------------------------------------------------------- */

static const struct row {
    const char *args, *body, *want; /* want: the relation and its operands; NULL: no condition */
} rows[] = {
    {"%x: f32[N,4], %y: f32[M,4]", "%z = add %x, %y", "broadcast(M, N)"},
    {"%x: f32[N,4], %y: f32[7,4]", "%z = add %x, %y", "broadcast_to(N, 7)"},
    {"%x: f32[2*N,4], %y: f32[7*M,4]", "%z = add %x, %y", "equal(M*7, N*2)"}, /* neither is ever 1 */
    {"%x: f32[N,4], %y: f32[N,4]", "%z = add %x, %y", NULL},
    {"%x: f32[N], %y: f32[M]", "%z = iota {dtype=f32, dims=[2,bcast(M, N)], axis=0}", "broadcast(M, N)"},
    {"%x: f32[N]", "%z = iota {dtype=f32, dims=[2,bcast(N, min(N, 64))], axis=0}", "equal(N, min(N, 64))"},
    {"%x: f32[N], %y: f32[M]", "%z = iota {dtype=f32, dims=[bcast(N, min(N, M + 2))], axis=0}",
     "equal(N, min(N, M + 2))"},
    {"%x: f32[N], %y: f32[M]", "%z = iota {dtype=f32, dims=[bcast(N, min(N, M))], axis=0}", "broadcast(N, min(M, N))"},
    {"%x: f32[N]", "%z = iota {dtype=f32, dims=[bcast(N, min(N, 1))], axis=0}",
     NULL}, /* one of them, if there are any */
    {"%x: f32[N]", "%z = iota {dtype=f32, dims=[bcast(N - 2, max(N - 2, 0))], axis=0}", "at_least(N - 2, 0)"},
    {"%x: f32[N]", "%y = slice %x {starts=[0], sizes=[min(N,1)], steps=[1]}\n  %z = broadcast %y {dims=[N]}", NULL},
    {"%x: f32[N,4], %y: f32[1,4]", "%z = add %x, %y", NULL},
    {"%c: bool[N], %x: f32[M], %y: f32[M]", "%z = select %c, %x, %y", "broadcast(M, N)"},
    {"%x: f32[N,3], %y: f32[M]", "%z = prelu %x, %y", "broadcast_to(M, 3)"},
    {"%x: f32[2,K], %y: f32[L,3]", "%z = matmul %x, %y", "equal(K, L)"},
    {"%x: f32[B,2,3], %y: f32[C,3,4]", "%z = matmul %x, %y", "broadcast(B, C)"},
    {"%x: f32[N,3], %y: f32[M,2]", "%z = concat %x, %y {axis=1}", "equal(M, N)"},
    {"%x: f32[N]", "%z = reshape %x {dims=[N//4,4]}", "equal(N, N//4*4)"},
    {"%x: f32[N,3]", "%z = reshape %x {dims=[3]}", "equal(N*3, 3)"},
    {"%x: f32[N]", "%z = broadcast %x {dims=[5,8]}", "broadcast_to(N, 8)"},
    {"%x: f32[N]", "%z = broadcast %x {dims=[5,1]}", "equal(N, 1)"},
    {"%q: f32[S,2], %k: f32[5,2], %m: f32[M]", "%z = attention %q, %k, %k, %m", "broadcast_to(M, 5)"},
    {"%x: f32[N]", "%z, %w = split %x {axis=0, sizes=[3,4]}", "equal(N, 7)"},
    {"%x: f32[N]", "%z = slice %x {starts=[2], sizes=[3], steps=[1]}", "at_least(N - 5, 0)"},
    {"%t: f32[T,3], %i: i64[N]", "%z = gather %t, %i {axis=0}", "at_least(T, min(N, 1))"},
    {"%t: f32[T,3], %i: i64[N,3]", "%z = gather_elements %t, %i {axis=1}", "at_least(T, N)"},
    {"%t: f32[T,3]", "%i = const [1, 4] : i64[2]\n  %z = gather %t, %i {axis=0}", "at_least(T, 5)"},
    {"%t: f32[T,3]", "%i = const [1, -7] : i64[2]\n  %z = gather %t, %i {axis=0}", "at_least(T, 7)"},
    {"%t: f32[T,3]", "%i = const [0, 5] : i64[2,1]\n  %z = gather_elements %t, %i {axis=0}", "at_least(T, 6)"},
    {"%t: f32[2,T]", "%i = const [0, 5, 1, -2] : i64[2,2]\n  %z = gather_nd %t, %i", "at_least(T, 6)"},
    {"%t: f32[2,T], %u: f32[2]", "%i = const [0, 5, 1, -2] : i64[2,2]\n  %z = scatter_nd %t, %i, %u", "at_least(T, 6)"},
    {"%t: f32[T], %u: f32[1]", "%i = const [-3] : i64[1]\n  %z = scatter_elements %t, %i, %u", "at_least(T, 3)"},
    {"%x: f32[T,1,4,4], %r: f32[1,4]", "%i = const [2] : i64[1]\n  %z = roi_align %x, %r, %i {height=1, width=1}",
     "at_least(T, 3)"},
    {"%t: f32[T,3]", "%i = const [] : i64[0]\n  %z = gather %t, %i {axis=0}", NULL},
    {"%x: f32[1,C,8,8], %w: f32[4,3,3,3]", "%z = conv %x, %w", "equal(C, 3)"},
    {"%x: f32[1,4,H,8]", "%z = max_pool %x {kernel=[3,3]}", "at_least(H, 3)"},
    {"%x: f32[1,C,8]", "%z = group_norm %x {groups=4, eps=1e-5}", "multiple(C, 4)"},
    {"%x: f32[1,2,4,4], %y: f32[1,5,6,D]", "%z = grid_sample %x, %y", "equal(D, 2)"},
    {"%x: f32[N,4]", "%z = arg_max %x {axis=0}", "at_least(N, 1)"},
    {"%x: f32[N]", "%z = pad %x {before=[2], after=[0], mode=\"reflect\"}", "at_least(N, 1)"},
    {"%x: f32[N], %y: f32[M]", "%z = pad %x {before=[M], after=[0], mode=\"wrap\"}", "at_least(N, min(M + N, 1))"},
    {"%x: f32[N]", "%z = pad %x {before=[1], after=[-1], mode=\"edge\"}", NULL},
    {"%x: f32[N]", "%z = pad %x {before=[0], after=[-1], mode=\"edge\"}", "at_least(N - 1, 0)"},
    {"%x: f32[N]", "%z = pad %x {before=[-2], after=[0]}", "at_least(N - 2, 0)"},
    {"%x: f32[1,4,2*H,W]", "%z = space_to_depth %x {block=2}", "multiple(W, 2)"},
    {"%x: f32[2,D], %s: f32[E]", "%z = layer_norm %x, %s {axis=1, eps=1e-5}", "broadcast_to(E, D)"},
};

static void text_of(const struct row *r, char *out, size_t size) {
    snprintf(out, size, "func @main(%s) {\n  %s loc(\"the layer\")\n  return %%z\n}\n", r->args, r->body);
}

START_TEST(rules_state_what_they_need) {
    char text[512], line[256];
    text_of(&rows[_i], text, sizeof text);
    tn_graph *g = collected(text);
    ck_assert_msg(g != NULL, "%s: %s", rows[_i].body, message);
    char *out = printed(g);
    snprintf(line, sizeof line, "require %s \"", rows[_i].want ? rows[_i].want : "");
    ck_assert_msg((strstr(out, rows[_i].want ? line : "require ") != NULL) == (rows[_i].want != NULL), "%s gives\n%s",
                  rows[_i].body, out);
    if (rows[_i].want) ck_assert_ptr_nonnull(strstr(out, "loc(\"the layer\")\n"));
    /* it reads back, and stays what it is */
    tn_graph *again = collected(out);
    ck_assert_msg(again != NULL, "%s", message);
    ck_assert_uint_eq(tn_condition_count(again), tn_condition_count(g));
    ck_assert_uint_eq(tn_graph_hash(again), tn_graph_hash(g));
    tn_graph_free(again);
    free(out);
    tn_graph_free(g);
}
END_TEST

/* ---- settled by what becomes known ------------------------------------------------------------------------------- */

START_TEST(conditions_outlive_their_nodes) {
    tn_graph *g = collected("func @main(%x: f32[2,K], %y: f32[L,3], %v: f32[2,3]) {\n  %z = matmul %x, %y\n"
                            "  return %z\n}\n");
    ck_assert_ptr_nonnull(g);
    tn_node product = tn_region_first(g, tn_graph_body(g));
    ck_assert_int_eq(tn_replace(g, tn_node_result(g, product, 0), tn_graph_input(g, 2)), TN_OK);
    ck_assert_int_eq(tn_erase(g, product), TN_OK);
    ck_assert_uint_eq(tn_condition_count(g), 1);
    tn_graph *copy = tn_graph_clone(g);
    ck_assert_uint_eq(tn_condition_count(copy), 1);
    ck_assert_int_eq(tn_dim_bind(copy, tn_dim_sym(copy, "L"), tn_dim_sym(copy, "K")), TN_OK);
    ck_assert_uint_eq(tn_condition_count(copy), 0); /* K = K */
    tn_graph_free(copy);
    ck_assert_int_eq(tn_dim_bind(g, tn_dim_sym(g, "K"), tn_dim_const(g, 5)), TN_OK);
    ck_assert_int_eq(tn_dim_bind(g, tn_dim_sym(g, "L"), tn_dim_const(g, 6)), TN_E_TYPE);
    ck_assert_msg(strstr(message, "axis 1 of x (5) and axis 0 of y (6) differ") != NULL, "%s", message);
    tn_graph_free(g);
}
END_TEST

/* An index that folding reveals says what is wrong with it. */
static const struct index_row {
    const char *args, *body, *want;
} index_rows[] = {
    {"%t: f32[4,3]", "%z = gather %t, %j {axis=0}", "index 6 is out of range for axis 0 of t, whose size is 4"},
    {"%t: f32[3,N]", "%k = neg %j\n  %z = gather %t, %k {axis=0}",
     "index -6 is out of range for axis 0 of t, whose size is 3"},
    {"%t: f32[N,4], %i: i64[1]", "%z = gather %t, %j {axis=1}",
     "index 6 is out of range for axis 1 of t, whose size is 4"},
    {"%t: f32[4]", "%z = gather_elements %t, %j {axis=0}", "index 6 is out of range for axis 0"},
    {"%t: f32[N,4]",
     "%k = const [0, 0] : i64[2]\n  %l = concat %k, %j {axis=0}\n  %m = reshape %l {dims=[2,2]}\n"
     "  %z = gather_nd %t, %m",
     "index 4 is out of range for axis 1 of t, whose size is 4"},
    {"%t: f32[4], %u: f32[2]", "%k = reshape %j {dims=[2,1]}\n  %z = scatter_nd %t, %k, %u", "index 6 is out of range"},
    {"%t: f32[4], %u: f32[2]", "%z = scatter_elements %t, %j, %u", "index 6 is out of range for axis 0"},
    {"%t: f32[9,1,4,4], %r: f32[2,4]", "%k = neg %j\n  %z = roi_align %t, %r, %k {height=1, width=1}",
     "index -6 is out of range for axis 0"},
};

START_TEST(an_index_that_becomes_known_is_checked) {
    const struct index_row *r = &index_rows[_i];
    char text[512];
    tn_status st;
    snprintf(text, sizeof text,
             "func @main(%s) {\n  %%i0 = const [3, 2] : i64[2]\n  %%j = add %%i0, %%i0\n  %s loc(\"the layer\")\n"
             "  return %%z\n}\n",
             r->args, r->body);
    message[0] = 0;
    tn_graph *g = tn_parse(&env, "text", text, strlen(text), NULL, 0, true, &st);
    ck_assert_msg(g != NULL, "%s", message);
    tn_pass_ctx *ctx = tn_pass_ctx_new(&env, NULL);
    ck_assert_int_eq(tn_run_passes(g, NULL, ctx), TN_E_TYPE);
    ck_assert_msg(strstr(message, r->want) && !strncmp(message, "the layer: ", 11), "%s", message);
    tn_pass_ctx_free(ctx);
    tn_graph_free(g);
}
END_TEST

/* What no output needs is erased before it could run. */
START_TEST(layers_that_nobody_needs_need_nothing) {
    tn_graph *g = collected("func @main(%x: f32[2,K], %y: f32[L,3], %c: bool[]) {\n"
                            "  %z = matmul %x, %y\n  %a = relu %z\n  %b = exp %a\n"
                            "  %w = relu %x\n  return %w\n}\n");
    ck_assert_msg(g != NULL, "%s", message);
    ck_assert_uint_eq(tn_condition_count(g), 0);
    tn_graph_free(g);
    g = collected("func @main(%x: f32[2,K], %y: f32[L,3], %c: bool[]) {\n"
                  "  %z = matmul %x, %y\n"
                  "  %r = if(%c) {\n    ^():\n    %a = relu %z\n    yield %a\n  } {\n    ^():\n    %b = exp %z\n    "
                  "yield %b\n  }\n"
                  "  return %r\n}\n");
    ck_assert_msg(g != NULL, "%s", message);
    ck_assert_uint_eq(tn_condition_count(g), 1); /* a branch uses it */
    tn_graph_free(g);
}
END_TEST

START_TEST(what_only_empty_tensors_would_satisfy_is_refused) {
    ck_assert_ptr_null(collected("func @main(%x: f32[N,6]) {\n  %z = reshape %x {dims=[N,5]}\n  return %z\n}\n"));
    ck_assert_ptr_nonnull(strstr(message, "cannot become"));
    ck_assert_ptr_null(collected("func @main(%x: f32[2*N], %y: f32[3*N]) {\n  %z = add %x, %y\n  return %z\n}\n"));
    ck_assert_ptr_null(collected("symbol N in [0, 0]\nfunc @main(%x: f32[4,N + 1]) {\n"
                                 "  %z = group_norm %x {groups=2, eps=1e-5}\n  return %z\n}\n"));
    ck_assert_msg(strstr(message, "not divisible by the number of groups (2)") != NULL, "%s", message);
    ck_assert_ptr_null(collected("require equal(4, 5) \"sizes\"\nfunc @main(%x: f32[N]) {\n  return %x\n}\n"));
    ck_assert_ptr_null(collected("require like(N, 5) \"sizes\"\nfunc @main(%x: f32[N]) {\n  return %x\n}\n"));
    ck_assert_ptr_nonnull(strstr(message, "relation"));
}
END_TEST

static const struct hint_row {
    const char *body;
    int64_t n, m; /* hints of N and M; 0: none is needed */
} hint_rows[] = {
    {"func @main(%x: f32[N,M]) {\n  %y = relu %x\n  return %y\n}\n", 0, 0},
    {"func @main(%x: f32[N,4], %y: f32[M,4]) {\n  %z = add %x, %y\n  return %z\n}\n", 0, 0},
    {"func @main(%x: f32[N,M]) {\n  %y = reshape %x {dims=[N//48,48,M]}\n  return %y\n}\n", 48, 0},
    {"func @main(%x: f32[2,N], %y: f32[5,M]) {\n  %z = matmul %x, %y\n  return %z\n}\n", 5, 0},
    {"func @main(%x: f32[1,1,N,M]) {\n  %y = max_pool %x {kernel=[33,5]}\n  return %y\n}\n", 48, 0},
    {"func @main(%x: f32[N], %y: f32[M]) {\n  %a = slice %x {starts=[40], sizes=[2], steps=[1]}\n"
     "  %b = broadcast %y {dims=[N]}\n  return %a, %b\n}\n",
     48, 48},
    {"func @main(%x: f32[8], %y: f32[N,M]) {\n  %z = slice %x {starts=[0], sizes=[N], steps=[1]}\n  return %z\n}\n", 1,
     0},
};

/* No shape is left where one size would have to be two numbers: the graph is refused, with both layers. */
START_TEST(contradictions_are_refused) {
    static const char *const texts[] = {
        "func @main(%x: f32[2,C,3], %s: f32[7], %b: f32[4], %m: f32[4], %v: f32[4]) {\n"
        "  %0 = batch_norm %x, %s, %b, %m, %v {axis=1} loc(\"bn\")\n  return %0\n}\n",
        "func @main(%x: f32[2,C], %v: f32[7,3], %w: f32[4,3]) {\n  %0 = matmul %x, %v loc(\"fc\")\n"
        "  %1 = matmul %x, %w loc(\"bn\")\n  return %0, %1\n}\n"};
    static const char *const want[] = {"C) cannot be 4: it must be 7 for batch_norm of bn",
                                       "C) cannot be 4: it must be 7 for matmul of fc"};
    tn_status st;
    tn_graph *g = tn_parse(&env, "text", texts[_i], strlen(texts[_i]), NULL, 0, true, &st);
    ck_assert_ptr_nonnull(g);
    ck_assert_int_eq(tn_graph_collect_conditions(g), TN_E_TYPE);
    ck_assert_msg(strstr(message, want[_i]) && !strncmp(message, "bn: ", 4), "%s", message);
    tn_graph_free(g);
}
END_TEST

START_TEST(hints_are_sizes_at_which_the_graph_runs) {
    const struct hint_row *r = &hint_rows[_i];
    tn_graph *g = collected(r->body);
    ck_assert_msg(g != NULL, "%s", message);
    tn_graph_choose_hints(g);
    ck_assert_int_eq(tn_dim_hint(g, tn_dim_sym(g, "N")), r->n);
    ck_assert_int_eq(tn_dim_hint(g, tn_dim_sym(g, "M")), r->m);
    for (size_t k = 0; k < tn_condition_count(g); k++) {
        const tn_condition c = tn_condition_at(g, k);
        ck_assert(tn_rel_holds(c.rel, tn_dim_typical(g, c.a), tn_dim_typical(g, c.b)));
    }
    tn_graph_free(g);
}
END_TEST

/* ---- used -------------------------------------------------------------------------------------------------------- */

#define HALF "%a = slice %x {starts=[0,0], sizes=[2,(N+1)//2], steps=[1,2]}\n  "
#define QUARTER "%b = slice %a {starts=[0,0], sizes=[2,(N+3)//4], steps=[1,2]}\n  "
#define TWICE "%c = concat %b, %b {axis=1}\n  "
#define CUT(n) "%a = slice %x {starts=[0,0], sizes=[2,min(N," n ")], steps=[1,1]}\n  "
#define KEYS "%t = slice %b {starts=[0], sizes=[min(N + 1,8)], steps=[1]}\n  "
#define LAST "%a = slice %b {starts=[min(N,8)], sizes=[min(N + 1,8) - min(N,8)], steps=[1]}\n  "

static const struct used_row {
    const char *args, *body;
    int64_t n;        /* of N, bound afterwards; 0: none */
    const char *want; /* the type of %a */
} used_rows[] = {
    {"%x: f32[2,N]", HALF QUARTER TWICE "%z = concat %a, %c {axis=0}", 0, "f32[2,(N + 3)//4*2]"},
    {"%x: f32[2,N]", HALF QUARTER TWICE "%z = concat %a, %c {axis=0}", 8, "f32[2,4]"},
    {"%x: f32[2,N]", HALF QUARTER TWICE "%z = add %a, %c", 0, "f32[2,(N + 1)//2]"}, /* or a is 1 */
    {"%x: f32[2,N]",
     HALF "%y = slice %a {starts=[0,1], sizes=[2,1], steps=[1,1]}\n  " QUARTER TWICE "%d = add %a, %c\n  "
          "%z = add %d, %y",
     0, "f32[2,(N + 3)//4*2]"}, /* the slice wants two */
    {"%x: f32[2,N], %y: f32[2,(N + 1)//2]",
     HALF QUARTER TWICE "%z = concat %y, %c {axis=0}\n  %u = concat %z, %a {axis=0}", 0,
     "f32[2,(N + 1)//2]"}, /* an input says so */
    {"%x: f32[2,N], %y: f32[2,M]", HALF "%z = concat %a, %y {axis=0}", 0, "f32[2,M]"},
    {"%x: f32[2,N]", HALF "%z = matmul %a, %w", 0, "f32[2,7]"},
    {"%x: f32[2,N], %y: f32[2,M]",
     HALF "%b = slice %y {starts=[0,0], sizes=[2,((N+1)//2 + M)//3], steps=[1,1]}\n  "
          "%z = concat %a, %b {axis=0}",
     0, "f32[2,(N + 1)//2]"},
    {"%x: f32[2,N], %y: f32[2,M]",
     HALF "%b = slice %y {starts=[0,0], sizes=[2,M//2], steps=[1,1]}\n  "
          "%c = slice %y {starts=[0,0], sizes=[2,M//3], steps=[1,1]}\n  "
          "%d = concat %a, %b {axis=0}\n  %z = concat %d, %c {axis=0}",
     0, "f32[2,M//3]"},
    {"%x: f32[2,N]", CUT("64") "%z = add %x, %a", 0, "f32[2,N]"}, /* a table's length is long enough */
    {"%x: f32[2,N]", CUT("64") "%z = add %x, %a", 64, "f32[2,64]"},
    {"%x: f32[N + 1], %b: f32[8]", KEYS LAST "%m = add %x, %t\n  %z = concat %m, %a {axis=0}", 0, "f32[1]"}, /* N < 8 */
    {"%x: f32[N + 1], %b: f32[8]", KEYS LAST "%m = add %x, %t\n  %z = concat %m, %a {axis=0}", 7, "f32[1]"},
    {"%x: f32[N + 1], %b: f32[8]", KEYS LAST "%z = concat %t, %a {axis=0}", 0, "f32[-min(N, 8) + min(N + 1, 8)]"},
    {"%x: f32[2,3*N]",
     "%y = slice %x {starts=[0,0], sizes=[2,min(N*3,8)], steps=[1,1]}\n  " CUT(
         "2") "%m = add %x, %y\n  %z = concat %m, %a {axis=1}",
     0, "f32[2,N]"},
    {"%x: f32[2,3*N]",
     "%y = slice %x {starts=[0,0], sizes=[2,min(N*3,9)], steps=[1,1]}\n  " CUT(
         "2") "%m = add %x, %y\n  %z = concat %m, %a {axis=1}",
     0, "f32[2,min(N, 2)]"}, /* 3 fits, too */
};

static tn_val value_of(const tn_graph *g, const char *name) {
    TN_FOR_NODES(g, tn_graph_body(g), n)
    if (!strcmp(tn_val_name(g, tn_node_result(g, n, 0)), name)) return tn_node_result(g, n, 0);
    return (tn_val){0};
}

/* Sizes that must be equal are written alike; the condition stays, and the graph means the same when it is read back. */
START_TEST(what_conditions_say_is_used) {
    const struct used_row *r = &used_rows[_i];
    char text[1024], type[128];
    snprintf(text, sizeof text, "func @main(%s, %%w: f32[7,3]) {\n  %s loc(\"the layer\")\n  return %%z\n}\n", r->args,
             r->body);
    tn_graph *g = collected(text);
    ck_assert_msg(g != NULL, "%s", message);
    const size_t conditions = tn_condition_count(g);
    ck_assert_uint_gt(conditions, 0);
    char *out = printed(g);
    tn_graph *again = collected(out);
    ck_assert_msg(again != NULL, "%s", message);
    ck_assert_uint_eq(tn_graph_hash(again), tn_graph_hash(g));
    ck_assert_uint_eq(tn_condition_count(again), conditions);
    tn_graph *copy = tn_graph_clone(again);
    if (r->n) ck_assert_int_eq(tn_dim_bind(copy, tn_dim_sym(copy, "N"), tn_dim_const(copy, r->n)), TN_OK);
    ck_assert_int_eq(tn_verify(copy), TN_OK);
    tn_type_print(copy, tn_val_type(copy, value_of(copy, "a")), type, sizeof type);
    ck_assert_msg(!strcmp(type, r->want), "%s: %s has type %s", r->body, "a", type);
    tn_graph_free(copy);
    tn_graph_free(again);
    free(out);
    tn_graph_free(g);
}
END_TEST

/* A bucket's multiples are another symbol in a clone: what was equal is equal there. */
START_TEST(what_was_used_is_used_when_a_symbol_is_bound) {
    tn_graph *g =
        collected("func @main(%x: f32[2,N]) {\n  " HALF QUARTER TWICE "%z = concat %a, %c {axis=0}\n  return %z\n}\n");
    ck_assert_msg(g != NULL, "%s", message);
    const tn_dim part = tn_dim_fresh(g, "N");
    char type[128];
    ck_assert_int_eq(
        tn_dim_bind(g, tn_dim_sym(g, "N"), tn_dim_add(g, tn_dim_mul(g, part, tn_dim_const(g, 2)), tn_dim_const(g, 1))),
        TN_OK);
    tn_type_print(g, tn_val_type(g, value_of(g, "a")), type, sizeof type);
    ck_assert_str_eq(type, "f32[2,N_0//2*2 + 2]");
    ck_assert_int_eq(tn_dim_bind(g, part, tn_dim_const(g, 2)), TN_E_TYPE); /* N = 5: 3 and 4 */
    ck_assert_msg(strstr(message, "concat") != NULL, "%s", message);
    tn_graph_free(g);
}
END_TEST

/* Two levels of a feature pyramid. */
static const char pyramid[] =
    "symbol H in [32, 1440] hint 320\nsymbol W in [32, 2560] hint 320\n"
    "func @main(%x: f32[1,4,H,W], %w: f32[4,4,3,3], %v: f32[8,4,1,1]) {\n"
    "  %c1 = conv %x, %w {strides=[2,2], pads=[1,1,1,1]}\n  %r1 = relu %c1\n"
    "  %c2 = conv %r1, %w {strides=[2,2], pads=[1,1,1,1]}\n  %r2 = relu %c2\n"
    "  %l1 = conv %r1, %v\n  %l2 = conv %r2, %v\n"
    "  %up = resize %l2 {sizes=[1,8,(H+3)//4*2,(W+3)//4*2], scales=[1,1,2,2], mode=\"nearest\", coords=\"asymmetric\","
    " nearest=\"floor\"}\n"
    "  %sum = add %l1, %up loc(\"sum\")\n  %o = relu %sum\n  return %o\n}\n";

/* Names of the kernels that the graph becomes, in order. */
static void list_kernels(bool fixed, char *out, size_t size) {
    tn_graph *g = collected(pyramid);
    ck_assert_msg(g != NULL, "%s", message);
    if (fixed) {
        const tn_shape_override at = {"x", 4, {1, 4, 320, 320}, {0}, {0}};
        ck_assert_int_eq(tn_graph_give_shapes(g, &at, 1), TN_OK);
    }
    const tn_pass_options opts = {.compute = TN_F16, .nhwc = true};
    tn_pass_ctx *ctx = tn_pass_ctx_new(&env, &opts);
    ck_assert_msg(tn_run_passes(g, NULL, ctx) == TN_OK, "%s", message);
    size_t n = 0;
    TN_FOR_NODES(g, tn_graph_body(g), k)
    if (tn_node_op(g, k) == TN_OP_KERNEL)
        n += (size_t)snprintf(out + n, size - n, "%s ", TN_ATTRS_OF(g, k, kernel)->name);
    tn_pass_ctx_free(ctx);
    tn_graph_free(g);
}

START_TEST(a_pyramid_of_any_size_becomes_the_kernels_of_one_size) {
    char any[512] = "", one[512] = "";
    list_kernels(false, any, sizeof any);
    list_kernels(true, one, sizeof one);
    ck_assert_msg(strstr(one, "resize_add") != NULL, "%s", one);
    ck_assert_str_eq(any, one);
}
END_TEST

/* ---- in a plan --------------------------------------------------------------------------------------------------- */

static tn_status run_at(const char *body, const int64_t x[2], const int64_t y[2], float *out) {
    static const char *const target = "sm_90a";
    const tn_compile_options opts = {
        .targets = &target, .n_targets = 1, .no_gpu = true, .sources_only = true, .tune_seconds = -1, .cache_dir = ""};
    float a[64], b[64];
    const void *in[] = {a, b};
    void *outs[] = {out}, *data;
    size_t size;
    tn_status st;
    for (int k = 0; k < 64; k++) a[k] = (float)k, b[k] = (float)(100 * k);
    tn_graph *g = collected(body);
    ck_assert_msg(g && tn_compile_memory(g, &opts, &data, &size) == TN_OK, "%s", message);
    tn_graph_free(g);
    tn_plan *p = tn_plan_load_memory(&env, data, size, &st);
    ck_assert_msg(p != NULL, "%s", message);
    tn_context *c = tn_context_new(p, &(tn_context_options){.device = TN_CPU, .host = tn_host_devices()}, &st);
    ck_assert_msg(c != NULL, "%s", message);
    st = tn_context_set_shape(c, 0, 2, x);
    if (st == TN_OK) st = tn_context_set_shape(c, 1, 2, y);
    if (st == TN_OK) st = tn_context_run(c, in, outs);
    tn_context_free(c);
    tn_plan_free(p);
    tn_free(&env, data, size);
    return st;
}

START_TEST(a_plan_checks_them_before_it_runs) {
    static const char *const add = "func @main(%x: f32[N,H], %y: f32[M,W]) -> (%z: f32[bcast(N, M),bcast(H, W)]) {\n"
                                   "  %z = add %x, %y loc(\"residual\")\n  return %z\n}\n";
    float out[64] = {-1};
    ck_assert_msg(run_at(add, (int64_t[]){2, 3}, (int64_t[]){1, 3}, out) == TN_OK, "%s", message);
    for (int k = 0; k < 6; k++) ck_assert_float_eq(out[k], (float)(k + 100 * (k % 3)));
    ck_assert_msg(run_at(add, (int64_t[]){1, 3}, (int64_t[]){2, 1}, out) == TN_OK, "%s", message);
    for (int k = 0; k < 6; k++) ck_assert_float_eq(out[k], (float)(k % 3 + 100 * (k / 3)));
    ck_assert_msg(run_at(add, (int64_t[]){0, 3}, (int64_t[]){1, 3}, out) == TN_OK, "%s", message);
    out[0] = -1;
    ck_assert_int_eq(run_at(add, (int64_t[]){2, 3}, (int64_t[]){2, 4}, out), TN_E_TYPE);
    ck_assert_float_eq(out[0], -1); /* nothing has run */
    ck_assert_msg(strstr(message, "residual: add") && strstr(message, "H = 3") && strstr(message, "W = 4"), "%s",
                  message);
}
END_TEST

START_TEST(a_plan_that_uses_them_refuses_other_sizes) {
    static const char *const text = "func @main(%x: f32[2,N], %y: f32[1,2]) {\n  " HALF QUARTER TWICE
                                    "%z = concat %a, %c {axis=0} loc(\"beside\")\n  return %z\n}\n";
    float out[64];
    for (int64_t n = 0; n < 13; n++) {
        const int64_t half = (n + 1) / 2, quarter = (n + 3) / 4;
        out[0] = -1;
        const tn_status st = run_at(text, (int64_t[]){2, n}, (int64_t[]){1, 2}, out);
        ck_assert_msg((st == TN_OK) == (half == 2 * quarter), "%d: %s", (int)n, message);
        if (st != TN_OK) {
            ck_assert_float_eq(out[0], -1);
            ck_assert_msg(st == TN_E_TYPE && !strncmp(message, "beside: concat", 14), "%s", message);
        }
        for (int64_t k = 0; st == TN_OK && k < 4 * half; k++) {
            const int64_t row = k / half, col = k % half;
            const int64_t at = row < 2 ? row * n + 2 * col : (row - 2) * n + 4 * (col % quarter);
            ck_assert_float_eq(out[k], (float)at);
        }
    }
}
END_TEST

/* What a loop's nodes need of sizes they need where it runs: of an axis as long as there are iterations, nothing. */
static const struct {
    const char *args, *loop, *want; /* want: as for a node outside; NULL: nothing */
} loop_rows[] = {
    {"%n: i64[], %t: f32[T,3], %x: f32[3]", "loop %n, _, %x {carried=1, trips=T}", NULL},
    {"%n: i64[], %t: f32[T,3], %x: f32[3], %u: f32[U]", "loop %n, _, %x {carried=1, trips=U}",
     "at_least(T, min(U, 1))"},
    {"%n: i64[], %t: f32[T,3], %x: f32[3]", "loop %n, _, %x {carried=1}", "at_least(T, 1)"},
    {"%n: i64[], %t: f32[T,3], %x: f32[3]", "loop %n, _, %x {carried=1, trips=K}",
     "at_least(T, 1)"}, /* nobody tells K */
};

START_TEST(what_does_not_run_needs_no_elements) {
    char text[512], is[80] = "";
    snprintf(text, sizeof text,
             "func @main(%s) -> f32[3] {\n  %%r = %s { ^(%%i: i64[], %%m: bool[], %%p: f32[3]):\n"
             "    %%q = gather %%t, %%i {axis=0}\n    %%s = add %%q, %%p\n    yield %%m, %%s }\n  return %%r\n}\n",
             loop_rows[_i].args, loop_rows[_i].loop);
    tn_graph *g = parsed_or_not(text);
    ck_assert_msg(g != NULL, "%s", message);
    ck_assert_int_eq(tn_graph_collect_conditions(g), TN_OK);
    ck_assert_int_eq(tn_graph_collect_all_conditions(g), TN_OK);
    ck_assert_uint_eq(tn_condition_count(g), loop_rows[_i].want != NULL);
    if (loop_rows[_i].want) {
        const tn_condition c = tn_condition_at(g, 0);
        ck_assert(!tn_condition_always(g, &c)); /* it may not run */
        char a[32], b[32];
        tn_dim_print(g, c.a, a, sizeof a);
        tn_dim_print(g, c.b, b, sizeof b);
        snprintf(is, sizeof is, "at_least(%s, %s)", a, b);
        ck_assert_str_eq(is, loop_rows[_i].want);
    }
    tn_graph_free(g);
}
END_TEST

int main(void) {
    Suite *s = suite_create("conditions");
    TCase *t = tcase_create("conditions");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, rules_state_what_they_need, 0, (int)(sizeof rows / sizeof *rows));
    tcase_add_test(t, conditions_outlive_their_nodes);
    tcase_add_loop_test(t, an_index_that_becomes_known_is_checked, 0, sizeof index_rows / sizeof *index_rows);
    tcase_add_test(t, layers_that_nobody_needs_need_nothing);
    tcase_add_loop_test(t, contradictions_are_refused, 0, 2);
    tcase_add_test(t, what_only_empty_tensors_would_satisfy_is_refused);
    tcase_add_loop_test(t, hints_are_sizes_at_which_the_graph_runs, 0, (int)(sizeof hint_rows / sizeof *hint_rows));
    tcase_add_loop_test(t, what_conditions_say_is_used, 0, (int)(sizeof used_rows / sizeof *used_rows));
    tcase_add_test(t, what_was_used_is_used_when_a_symbol_is_bound);
    tcase_add_test(t, a_pyramid_of_any_size_becomes_the_kernels_of_one_size);
    tcase_add_loop_test(t, what_does_not_run_needs_no_elements, 0, (int)(sizeof loop_rows / sizeof *loop_rows));
    tcase_add_test(t, a_plan_checks_them_before_it_runs);
    tcase_add_test(t, a_plan_that_uses_them_refuses_other_sizes);
    suite_add_tcase(s, t);
    return run_suite(s);
}
