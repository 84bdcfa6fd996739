/* test_chosen.c: what a branch that data chooses, or a loop, needs of sizes: a model whose other branch is wrong at the sizes
 * it is given runs all the same, choosing that branch is an error that names its layer, and what the branch needs says nothing
 * of sizes outside of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ir/ir.h"
#include "tenon/compiler.h"
#include "tenon/host.h"
#include "tenon/tenon.h"
#include "tests/unit/parsed.h"
#include "tests/unit/suite.h"

enum { ROOM = 64, MAX_INPUTS = 4 };

/* ---- running ----------------------------------------------------------------------------------------------------- */

typedef struct input {
    uint32_t rank;
    int64_t dims[2];
    const void *data;
} input;

typedef struct model {
    void *data;
    size_t size;
    tn_plan *plan;
    tn_context *c;
} model;

static model compiled(const char *text, tn_device device) {
    static const char *const target = "sm_90a";
    const tn_compile_options opts = {
        .targets = &target, .n_targets = 1, .no_gpu = true, .sources_only = true, .tune_seconds = -1, .cache_dir = ""};
    model m = {0};
    tn_status st;
    tn_graph *g = parsed(text);
    ck_assert_msg(tn_compile_memory(g, &opts, &m.data, &m.size) == TN_OK, "%s", message);
    tn_graph_free(g);
    m.plan = tn_plan_load_memory(&env, m.data, m.size, &st);
    ck_assert_msg(m.plan != NULL, "%s", message);
    m.c = tn_context_new(m.plan, &(tn_context_options){.device = device, .host = tn_host_devices()}, &st);
    ck_assert_msg(m.c || st == TN_E_NO_LIBRARY, "%s", message);
    return m;
}

static void done(model *m) {
    tn_context_free(m->c);
    tn_plan_free(m->plan);
    tn_free(&env, m->data, m->size);
}

static tn_status run(model *m, const input *in, size_t n, float *out) {
    const void *data[MAX_INPUTS];
    void *outs[] = {out};
    tn_status st = TN_OK;
    message[0] = 0;
    for (size_t k = 0; k < n; k++) data[k] = in[k].data;
    for (size_t k = 0; k < n && st == TN_OK; k++) st = tn_context_set_shape(m->c, k, in[k].rank, in[k].dims);
    return st == TN_OK ? tn_context_run(m->c, data, outs) : st;
}

/* x [2,k] times y [k,3] */
static float product(const float *x, const float *y, int64_t k, int64_t row, int64_t col) {
    float sum = 0;
    for (int64_t i = 0; i < k; i++) sum += x[row * k + i] * y[i * 3 + col];
    return sum;
}

static const tn_device devices[] = {TN_CPU, TN_EMU};

/* ---- branches and loops ------------------------------------------------------------------------------------------ */

static const char branch_text[] =
    "func @main(%c: bool[], %x: f32[2,K], %y: f32[L,3], %b: f32[2,3]) -> (%z: f32[2,3]) {\n"
    "  %z = if %c {^():\n    %p = matmul %x, %y loc(\"/then/fc\")\n    yield %p\n"
    "  } {^():\n    %q = neg %b\n    yield %q\n  }\n  return %z\n}\n";

/* In either order, and again after the error. */
START_TEST(a_branch_needs_what_it_needs_when_it_is_chosen) {
    static const int64_t sizes[][2] = {{4, 4}, {4, 5}, {5, 5}, {1, 3}};
    float x[ROOM], y[ROOM], b[6], z[6];
    for (int k = 0; k < ROOM; k++) x[k] = (float)(k % 5), y[k] = (float)(k % 7 - 3);
    for (int k = 0; k < 6; k++) b[k] = (float)k;
    model m = compiled(branch_text, devices[_i]);
    for (size_t s = 0; m.c && s < 4 * 4; s++) {
        const int64_t k = sizes[s / 4][0], l = sizes[s / 4][1];
        const bool c = s % 2 == 0, fits = k == l;
        const input in[] = {{0, {0}, &c}, {2, {2, k}, x}, {2, {l, 3}, y}, {2, {2, 3}, b}};
        for (int i = 0; i < 6; i++) z[i] = 99;
        const tn_status st = run(&m, in, 4, z);
        ck_assert_msg(st == (c && !fits ? TN_E_TYPE : TN_OK), "K=%d L=%d %d: %s", (int)k, (int)l, c, message);
        for (int i = 0; st == TN_OK && i < 6; i++) ck_assert_float_eq(z[i], c ? product(x, y, k, i / 3, i % 3) : -b[i]);
        if (st == TN_OK) continue;
        char kl[2][32];
        snprintf(kl[0], sizeof kl[0], "K = %d", (int)k);
        snprintf(kl[1], sizeof kl[1], "L = %d", (int)l);
        ck_assert_msg(!strncmp(message, "/then/fc: matmul", 16) && strstr(message, kl[0]) && strstr(message, kl[1]),
                      "%s", message);
    }
    done(&m);
}
END_TEST

/* Each branch needs what the other does not allow, inside a branch of its own. */
START_TEST(branches_may_contradict_each_other) {
    static const char text[] =
        "func @main(%c: bool[], %d: bool[], %x: f32[K]) -> (%z: f32[]) {\n"
        "  %z = if %c {^():\n    %r = if %d {^():\n"
        "      %t = reshape %x {dims=[4]} loc(\"four\")\n      %s = reduce_sum %t {axes=[0]}\n      yield %s\n"
        "    } {^():\n      %t = reshape %x {dims=[5]} loc(\"five\")\n      %s = reduce_max %t {axes=[0]}\n      yield "
        "%s\n"
        "    }\n    yield %r\n  } {^():\n    %s = reduce_min %x {axes=[0]}\n    yield %s\n  }\n  return %z\n}\n";
    const float x[] = {3, 1, 4, 1, 5, 9}, want[3][7] = {{[4] = 9}, {[5] = 5}, {3, 3, 1, 1, 1, 1, 1}};
    model m = compiled(text, devices[_i]);
    for (int64_t n = 1; m.c && n < 7; n++)
        for (int which = 0; which < 3; which++) {
            const bool c = which < 2, d = which == 0, fits = which == 2 || n == 4 + which;
            const input in[] = {{0, {0}, &c}, {0, {0}, &d}, {1, {n}, x}};
            float z = 99;
            const tn_status st = run(&m, in, 3, &z);
            ck_assert_msg(st == (fits ? TN_OK : TN_E_TYPE), "%d of %d: %s", which, (int)n, message);
            if (fits) ck_assert_float_eq(z, want[which][n]);
            if (!fits) ck_assert_msg(!strncmp(message, d ? "four: " : "five: ", 6), "%s", message);
        }
    done(&m);
}
END_TEST

/* A loop that data does not let run needs nothing. */
START_TEST(a_loop_needs_what_it_needs_when_it_runs) {
    static const char text[] =
        "func @main(%n: i64[], %x: f32[2,K], %y: f32[L,3], %b: f32[2,3]) -> (%z: f32[2,3]) {\n"
        "  %z = loop %n, _, %b {carried=1} {^(%i: i64[], %m: bool[], %a: f32[2,3]):\n"
        "    %p = matmul %x, %y loc(\"/body/fc\")\n    %s = add %a, %p\n    yield %m, %s\n  }\n  return %z\n}\n";
    float x[ROOM], y[ROOM], b[6], z[6];
    for (int k = 0; k < ROOM; k++) x[k] = (float)(k % 5), y[k] = (float)(k % 7 - 3);
    for (int k = 0; k < 6; k++) b[k] = (float)k;
    model m = compiled(text, devices[_i]);
    for (int64_t n = 0; m.c && n < 3; n++)
        for (int64_t l = 3; l < 6; l++) {
            const input in[] = {{0, {0}, &n}, {2, {2, 4}, x}, {2, {l, 3}, y}, {2, {2, 3}, b}};
            const tn_status st = run(&m, in, 4, z);
            ck_assert_msg(st == (n && l != 4 ? TN_E_TYPE : TN_OK), "%d trips, L=%d: %s", (int)n, (int)l, message);
            for (int i = 0; st == TN_OK && i < 6; i++)
                ck_assert_float_eq(z[i], b[i] + (n ? (float)n * product(x, y, 4, i / 3, i % 3) : 0));
            if (st != TN_OK) ck_assert_msg(!strncmp(message, "/body/fc: matmul", 16), "%s", message);
        }
    done(&m);
}
END_TEST

/* A tensor that the branch makes would have fewer than no elements, and lies in memory before others. */
START_TEST(what_is_wrong_moves_no_other_memory) {
    static const char text[] =
        "func @main(%c: bool[], %x: f32[N,8], %w: f32[8,8]) -> (%z: f32[8,8]) {\n"
        "  %u = matmul %w, %w\n  %v = matmul %u, %w\n"
        "  %r = if %c {^():\n    %t = slice %x {starts=[3,0], sizes=[N-3,8], steps=[1,1]} loc(\"tail\")\n"
        "    %k = transpose %t {perm=[1,0]}\n    %p = matmul %k, %t\n    %q = matmul %p, %u\n    yield %q\n"
        "  } {^():\n    %q = matmul %v, %u\n    yield %q\n  }\n"
        "  %s = matmul %r, %v\n  %z = add %s, %u\n  return %z\n}\n";
    float x[8 * 8], w[64], z[64], want[64];
    for (int k = 0; k < 64; k++) x[k] = (float)(k % 3), w[k] = k % 9 == 0 ? 2.0f : k % 9 == 4 ? 1.0f : 0.0f;
    model m = compiled(text, devices[_i]);
    for (int64_t n = 8; m.c && n > 0; n--) { /* of 8 rows the first time */
        const bool c = false, yes = true;
        const input in[] = {{0, {0}, &c}, {2, {n, 8}, x}, {2, {8, 8}, w}};
        const input wrong[] = {{0, {0}, &yes}, {2, {n, 8}, x}, {2, {8, 8}, w}};
        ck_assert_msg(run(&m, in, 3, n == 8 ? want : z) == TN_OK, "%d rows: %s", (int)n, message);
        if (n < 8) ck_assert(!memcmp(z, want, sizeof z));
        ck_assert_int_eq(run(&m, wrong, 3, z), n < 3 ? TN_E_TYPE : TN_OK);
        if (n < 3) ck_assert_msg(!strncmp(message, "tail: slice", 11), "%s", message);
    }
    done(&m);
}
END_TEST

/* What passes make simpler ops of (a composite, here) was needed before. */
START_TEST(passes_lose_nothing) {
    static const char text[] = "func @main(%c: bool[], %x: f32[1,K,2]) -> (%z: f32[1,K,2]) {\n"
                               "  %z = if %c {^():\n    %g = group_norm %x {groups=2, eps=0.001} loc(\"/then/norm\")\n"
                               "    yield %g\n  } {^():\n    %n = neg %x\n    yield %n\n  }\n  return %z\n}\n";
    const float x[] = {1, 2, 3, 4, 5, 6, 7, 8};
    model m = compiled(text, devices[_i]);
    for (int64_t k = 1; m.c && k < 5; k++)
        for (int which = 0; which < 2; which++) {
            const bool c = which == 1;
            const void *data[] = {&c, x};
            float z[8];
            void *outs[] = {z};
            ck_assert_int_eq(tn_context_set_shape(m.c, 1, 3, (int64_t[]){1, k, 2}), TN_OK);
            const tn_status st = tn_context_run(m.c, data, outs);
            ck_assert_msg(st == (c && k % 2 ? TN_E_TYPE : TN_OK), "%d of %d: %s", c, (int)k, message);
            if (st != TN_OK) ck_assert_msg(!strncmp(message, "/then/norm: group_norm", 22), "%s", message);
            if (!c) ck_assert_float_eq(z[0], -1);
        }
    done(&m);
}
END_TEST

/* ---- what it says of sizes elsewhere ----------------------------------------------------------------------------- */

#define HALF "%a = slice %x {starts=[0], sizes=[(N+1)//2], steps=[2]}\n"
#define WHOLE(condition, what)                                                                                         \
    "func @main(%c: bool[], %x: f32[N]) -> (%z: f32[(N+1)//2], %s: f32[]) {\n  " HALF "  " condition                   \
    "    %q = slice %x {starts=[0], sizes=[(N+3)//4], steps=[4]}\n    %t = concat %q, %q {axis=0}\n"                   \
    "    %u = add %t, %a loc(\"halves\")\n    %v = concat %u, %a {axis=0}\n"                                           \
    "    %w = reshape %v {dims=[(N+3)//4, 4]}\n    %r = reduce_sum %w {axes=[0,1]}\n" what                             \
    "  %z = neg %a\n  return %z, %s\n}\n"

/* In the body it is known from then on that half of N is twice its quarter; from a branch nobody learns that. */
START_TEST(a_branch_tells_nothing_of_sizes_outside) {
    static const char always[] = WHOLE("", "    %s = neg %r\n"),
                      chosen[] =
                          WHOLE("%s = if %c {^():\n",
                                "    yield %r\n  } {^():\n    %r = reduce_max %x {axes=[0]}\n    yield %r\n  }\n");
    const char *const texts[] = {always, chosen};
    for (int k = 0; k < 2; k++) {
        tn_graph *g = parsed(texts[k]);
        char type[64];
        ck_assert_int_eq(tn_graph_collect_all_conditions(g), TN_OK);
        ck_assert_uint_gt(tn_condition_count(g), 0);
        tn_type_print(g, tn_val_type(g, tn_graph_output(g, 0)), type, sizeof type);
        ck_assert_str_eq(type, k ? "f32[(N + 1)//2]" : "f32[(N + 3)//4*2]");
        for (size_t i = 0; i < tn_condition_count(g); i++) {
            const tn_condition c = tn_condition_at(g, i);
            if (!strcmp(c.what, "slice") && tn_condition_always(g, &c)) continue; /* the first one */
            ck_assert(tn_condition_always(g, &c) == !k);
            ck_assert(k == 0 || !tn_dims_agree(g, c.a, c.b));
        }
        tn_graph_free(g);
    }
    for (size_t d = 0; d < 2; d++) {
        model m = compiled(chosen, devices[d]);
        const float x[] = {1, 2, 3, 4, 5, 6, 7, 8};
        for (int64_t n = 1; m.c && n <= 8; n++) {
            float z[4], s = 0;
            void *outs[] = {z, &s};
            const bool no = false, yes = true;
            const void *in[] = {&no, x}, *wrong[] = {&yes, x};
            ck_assert_int_eq(tn_context_set_shape(m.c, 1, 1, &n), TN_OK);
            ck_assert_msg(tn_context_run(m.c, in, outs) == TN_OK, "%s", message);
            ck_assert_float_eq(s, (float)n);
            for (int64_t k = 0; k < (n + 1) / 2; k++) ck_assert_float_eq(z[k], -x[2 * k]);
            const bool fits = (n + 1) / 2 == (n + 3) / 4 * 2;
            ck_assert_msg(tn_context_run(m.c, wrong, outs) == (fits ? TN_OK : TN_E_TYPE), "%d: %s", (int)n, message);
        }
        done(&m);
    }
}
END_TEST

/* ---- in text ------------------------------------------------------------------------------------------------------ */

static char *printed(const tn_graph *g) {
    char *text = NULL;
    size_t size = 0;
    ck_assert_int_eq(tn_print(g, NULL, &text, &size), TN_OK);
    return text;
}

/* It is written where it belongs, and read back there; a region that goes takes it along, one that is taken gives it up. */
START_TEST(a_region_keeps_what_it_needs) {
    tn_graph *g = parsed(branch_text);
    ck_assert_int_eq(tn_graph_collect_all_conditions(g), TN_OK);
    ck_assert_uint_eq(tn_condition_count(g), 1);
    char *text = printed(g);
    ck_assert_msg(strstr(text, "^():\n    require equal(K, L) \"matmul\""), "%s", text);
    tn_graph *again = parsed(text);
    ck_assert_uint_eq(tn_graph_hash(again), tn_graph_hash(g));
    tn_graph *copy = tn_graph_clone(again);
    tn_node branch = tn_region_first(copy, tn_graph_body(copy));
    tn_condition c = tn_condition_at(copy, 0);
    ck_assert(tn_condition_region(copy, &c).i == tn_node_subregion(copy, branch, 0).i);
    for (int which = 0; which < 2; which++) {
        tn_graph *taken = tn_graph_clone(copy);
        tn_take_region(taken, branch, (size_t)which);
        ck_assert_uint_eq(tn_condition_count(taken), which ? 0 : 1);
        c = tn_condition_at(taken, 0);
        if (!which) ck_assert(tn_condition_always(taken, &c));
        tn_graph_free(taken);
    }
    tn_graph_free(copy);
    tn_graph_free(again);
    free(text);
    tn_graph_free(g);
}
END_TEST

/* Of the graph's body what can never hold is an error; of a branch it is one when that is chosen. */
START_TEST(a_size_that_is_given_may_rule_a_branch_out) {
    tn_graph *g = parsed(branch_text);
    ck_assert_int_eq(tn_graph_collect_all_conditions(g), TN_OK);
    tn_dim K = tn_dim_sym(g, "K"), L = tn_dim_sym(g, "L");
    tn_graph_require(g, (tn_condition){.rel = TN_REL_EQUAL, .a = L, .b = tn_dim_const(g, 5), .what = "test"});
    ck_assert_msg(tn_graph_status(g) == TN_OK, "%s", message);
    const tn_binding wrong[] = {{"K", 4}, {"L", 5}}, never[] = {{"K", 4}, {"L", 4}}, fits[] = {{"K", 5}, {"L", 5}};
    const tn_region body = tn_graph_body(g), first = tn_node_subregion(g, tn_region_first(g, body), 0);
    ck_assert(tn_conditions_hold_in(g, body, wrong, 2, false) && !tn_conditions_hold_in(g, first, wrong, 2, false));
    ck_assert(!tn_conditions_hold_in(g, body, never, 2, false) && !tn_conditions_hold_in(g, first, never, 2, false));
    ck_assert(tn_conditions_hold_in(g, first, fits, 2, false) && tn_conditions_hold(g, fits, 2, false));
    ck_assert(!tn_conditions_hold(g, wrong, 2, false) && K.i != L.i);
    tn_graph_free(g);
}
END_TEST

int main(void) {
    Suite *s = suite_create("chosen");
    TCase *t = tcase_create("chosen");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, a_branch_needs_what_it_needs_when_it_is_chosen, 0, 2);
    tcase_add_loop_test(t, branches_may_contradict_each_other, 0, 2);
    tcase_add_loop_test(t, a_loop_needs_what_it_needs_when_it_runs, 0, 2);
    tcase_add_loop_test(t, what_is_wrong_moves_no_other_memory, 0, 2);
    tcase_add_loop_test(t, passes_lose_nothing, 0, 2);
    tcase_add_test(t, a_branch_tells_nothing_of_sizes_outside);
    tcase_add_test(t, a_region_keeps_what_it_needs);
    tcase_add_test(t, a_size_that_is_given_may_rule_a_branch_out);
    suite_add_tcase(s, t);
    return run_suite(s);
}
