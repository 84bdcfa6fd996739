/* Memory plans of random graphs hold on tags for several shapes; chosen cases share what they should. */
#include "codegen/program/program.h"
#include "tests/unit/failing.h"
#include "tests/unit/graph_gen.h"
#include "tests/unit/suite.h"

static gen_log log_;
static const tn_env env_ = {.diag = gen_diag, .diag_user = &log_};

static void check_plan(tn_graph *g, const tn_memory *m, const char *what) {
    for (int64_t n = 1; n <= 5; n += 2) {
        tn_binding b = {"N", n};
        ck_assert_msg(tn_check_memory(g, m, &b, 1, 1 << 24) == TN_OK, "%s at N=%d: %s", what, (int)n, log_.text);
    }
}

static void random_graphs(bool symbolic, size_t steps, uint64_t first, uint64_t count) {
    for (uint64_t seed = first; seed < first + count; seed++) {
        char what[64];
        snprintf(what, sizeof what, "seed %u", (unsigned)seed);
        log_.text[0] = 0;
        tn_graph *g = gen_graph(&env_, seed, steps, symbolic);
        ck_assert_msg(g != NULL, "%s: %s", what, log_.text);
        ck_assert_msg(gen_run(&env_, g, "fuse", NULL) == TN_OK, "%s: %s", what, log_.text);
        tn_memory m;
        ck_assert_msg(tn_plan_memory(g, &m) == TN_OK, "%s: %s", what, log_.text);
        ck_assert_msg(tn_verify(g) == TN_OK, "%s: %s", what, log_.text);
        check_plan(g, &m, what);
        tn_memory_free(g, &m);
        tn_graph_free(g);
    }
}

START_TEST(static_random) {
    random_graphs(false, 24, 1, 150);
}
END_TEST
START_TEST(symbolic_random) {
    random_graphs(true, 30, 1000, 150);
}
END_TEST
START_TEST(deep_random) {
    random_graphs(true, 120, 5000, 20);
}
END_TEST

/* A small graph by hand. */
static tn_graph *parse(const char *text) {
    tn_status s;
    log_.text[0] = 0;
    tn_graph *g = tn_parse(&env_, "test", text, strlen(text), NULL, 0, true, &s);
    ck_assert_msg(g != NULL, "%s", log_.text);
    return g;
}

static tn_memory plan(tn_graph *g) {
    tn_memory m;
    ck_assert_msg(gen_run(&env_, g, "fuse", NULL) == TN_OK, "%s", log_.text);
    ck_assert_msg(tn_plan_memory(g, &m) == TN_OK, "%s", log_.text);
    check_plan(g, &m, "plan");
    return m;
}

static int64_t arena_at(const tn_graph *g, const tn_memory *m, int64_t n) {
    tn_binding b = {"N", n};
    int64_t v = -1;
    ck_assert(tn_dim_eval(g, m->arena_size, &b, 1, &v));
    return v;
}

/* Three softmaxes in a row over 4 KB: two blocks, as one is read while the other is written; the last goes to the
 * output. */
START_TEST(chain_reuses) {
    tn_graph *g = parse("func @main(%x: f32[N,1024]) -> f32[N,1024] {\n"
                        "  %a = softmax %x {axis=1} : f32[N,1024]\n  %b = softmax %a {axis=1} : f32[N,1024]\n"
                        "  %c = softmax %b {axis=1} : f32[N,1024]\n  %d = softmax %c {axis=1} : f32[N,1024]\n"
                        "  %e = softmax %d {axis=1} : f32[N,1024]\n  return %e\n}\n");
    tn_memory m = plan(g);
    ck_assert_int_eq(arena_at(g, &m, 1), 2 * 4096);
    ck_assert_int_eq(arena_at(g, &m, 7), 7 * 2 * 4096);
    tn_memory_free(g, &m);
    tn_graph_free(g);
}
END_TEST

/* The producers of a concat write into its block: no copy, and the block is the output's own buffer. */
START_TEST(concat_in_place) {
    tn_graph *g = parse("func @main(%x: f32[N,8,16]) -> f32[N,8,32] {\n"
                        "  %a = softmax %x {axis=2} : f32[N,8,16]\n  %b = log_softmax %x {axis=2} : f32[N,8,16]\n"
                        "  %c = concat %a, %b {axis=2} : f32[N,8,32]\n  return %c\n}\n");
    tn_memory m = plan(g);
    ck_assert_uint_eq(gen_count(g, TN_OP_KERNEL), 2);
    ck_assert_int_eq(arena_at(g, &m, 4), 0);
    TN_FOR_NODES(g, tn_graph_body(g), n) {
        if (tn_node_op(g, n) != TN_OP_KERNEL) continue;
        const tn_placement *p = &m.of[tn_node_result(g, n, 0).i];
        ck_assert_int_eq(p->space, TN_SPACE_OUTPUT);
        ck_assert(tn_dim_equal_const(g, p->strides[1], 32));
        ck_assert_uint_eq(p->align, 16);
    }
    tn_memory_free(g, &m);
    tn_graph_free(g);
}
END_TEST

/* x dies in the map that adds to it: the sum takes its place. */
START_TEST(elementwise_in_place) {
    tn_graph *g = parse("func @main(%x: f32[4,1024]) -> f32[4,1] {\n"
                        "  %a = softmax %x {axis=1} : f32[4,1024]\n  %t = transpose %x {perm=[1,0]} : f32[1024,4]\n"
                        "  %s = softmax %t {axis=1} : f32[1024,4]\n  %u = transpose %s {perm=[1,0]} : f32[4,1024]\n"
                        "  %b = add %a, %u : f32[4,1024]\n  %c = softmax %b {axis=1} : f32[4,1024]\n"
                        "  %d = mul %b, %c : f32[4,1024]\n"
                        "  %e = reduce_sum %d {axes=[1], keepdims=true} : f32[4,1]\n  return %e\n}\n");
    tn_memory m = plan(g);
    ck_assert_int_le(arena_at(g, &m, 1), 3 * 16384);
    ck_assert_int_lt(arena_at(g, &m, 1), (int64_t)m.n_blocks * 16384);
    tn_memory_free(g, &m);
    tn_graph_free(g);
}
END_TEST

/* b is read through a transpose, so no element of the sum may overwrite it. */
START_TEST(transposed_is_not_in_place) {
    tn_graph *g = parse("func @main(%x: f32[64,64]) -> f32[64,1] {\n"
                        "  %b = softmax %x {axis=1} : f32[64,64]\n  %t = transpose %b {perm=[1,0]} : f32[64,64]\n"
                        "  %s = add %b, %t : f32[64,64]\n  %e = exp %s : f32[64,64]\n"
                        "  %c = softmax %e {axis=0} : f32[64,64]\n  %d = log_softmax %e {axis=1} : f32[64,64]\n"
                        "  %f = add %c, %d : f32[64,64]\n"
                        "  %r = reduce_sum %f {axes=[1], keepdims=true} : f32[64,1]\n  return %r\n}\n");
    tn_memory m = plan(g);
    TN_FOR_NODES(g, tn_graph_body(g), n) {
        if (tn_node_op(g, n) != TN_OP_KERNEL || strcmp(TN_ATTRS_OF(g, n, kernel)->anchor, "map")) continue;
        const tn_placement *in = &m.of[tn_node_input(g, n, 0).i], *out = &m.of[tn_node_result(g, n, 0).i];
        ck_assert_int_eq(in->space, TN_SPACE_ARENA);
        ck_assert_int_eq(out->space, TN_SPACE_ARENA);
        ck_assert_uint_ne(in->offset.i, out->offset.i);
    }
    tn_memory_free(g, &m);
    tn_graph_free(g);
}
END_TEST

/* An output that is an input, a constant, or the same value twice is copied into its own buffer. */
START_TEST(outputs_are_copied) {
    tn_graph *g = parse("func @main(%x: f32[N,4]) -> (f32[N,4], f32[N,4], f32[N,4]) {\n"
                        "  %a = relu %x : f32[N,4]\n  return %x, %a, %a\n}\n");
    tn_memory m = plan(g);
    ck_assert_uint_eq(gen_count(g, TN_OP_KERNEL), 3);
    tn_memory_free(g, &m);
    tn_graph_free(g);
}
END_TEST

/* Sizes with different symbols still share slots. */
START_TEST(slots_of_two_symbols) {
    tn_graph *g =
        parse("func @main(%x: f32[H,64], %y: f32[W,64]) -> (f32[H,64], f32[W,64]) {\n"
              "  %a = softmax %x {axis=1} : f32[H,64]\n  %b = softmax %a {axis=1} : f32[H,64]\n"
              "  %c = softmax %y {axis=1} : f32[W,64]\n  %d = softmax %c {axis=1} : f32[W,64]\n  return %b, %d\n}\n");
    tn_memory m;
    ck_assert_msg(gen_run(&env_, g, "fuse", NULL) == TN_OK, "%s", log_.text);
    ck_assert_msg(tn_plan_memory(g, &m) == TN_OK, "%s", log_.text);
    for (int64_t h = 1; h < 20; h += 6)
        for (int64_t w = 1; w < 20; w += 5) {
            tn_binding b[2] = {{"H", h}, {"W", w}};
            ck_assert_msg(tn_check_memory(g, &m, b, 2, 1 << 20) == TN_OK, "%s", log_.text);
            int64_t size = 0;
            ck_assert(tn_dim_eval(g, m.arena_size, b, 2, &size));
            ck_assert_int_eq(size, 256 * (h > w ? h : w));
        }
    tn_memory_free(g, &m);
    tn_graph_free(g);
}
END_TEST

/* Values that change places, one that never changes, views that are yielded, branches within a loop within a branch. */
static const char *const controls[] = {
    "func @main(%x: f32[N,4], %y: f32[N,4], %c: bool[]) -> (f32[N,4], f32[N,4], f32[N,4], f32[N,4]) {\n"
    "  %a, %b, %d = loop _, %c, %x, %y, %x {carried=3} {\n"
    "    ^(%i: i64[], %go: bool[], %p: f32[N,4], %q: f32[N,4], %r: f32[N,4]):\n"
    "    %m = reduce_max %p {axes=[0,1]}\n    %k = const [5] : f32[]\n    %on = lt %m, %k\n    %s = softmax %q "
    "{axis=1}\n"
    "    yield %on, %q, %s, %r\n  }\n  %z = sub %a, %b\n  return %a, %b, %d, %z\n}\n",
    "func @main(%x: f32[N,4], %c: bool[], %d: bool[]) -> (f32[N,8], f32[4,N], f32[N,4]) {\n"
    "  %e = softmax %x {axis=1}\n"
    "  %a, %b = if %c {\n    ^():\n    %p = softmax %e {axis=0}\n    %q = exp %e\n    %t = concat %p, %q {axis=1}\n"
    "    %u = transpose %q {perm=[1,0]}\n    yield %t, %u\n  } {\n    ^():\n    %t = concat %e, %x {axis=1}\n"
    "    %l = loop _, %d, %e {carried=1} {\n      ^(%i: i64[], %go: bool[], %v: f32[N,4]):\n"
    "      %w = if %d { ^(): %f = softmax %v {axis=1} yield %f } { ^(): yield %v }\n      %h = add %w, %e\n"
    "      yield %d, %h\n    }\n    %u = reshape %l {dims=[4,N]}\n    yield %t, %u\n  }\n"
    "  %z = neg %e\n  return %a, %b, %z\n}\n"};

START_TEST(branches_and_loops) {
    size_t noticed = 0, moved = 0;
    for (size_t k = 0; k < sizeof controls / sizeof *controls; k++) {
        tn_graph *g = parse(controls[k]);
        tn_memory m = plan(g);
        check_plan(g, &m, "control");
        const tn_binding b = {"N", 3};
        for (uint32_t v = 0; v < m.n; v++) { /* each value of the arena at its start */
            const tn_dim at = m.of[v].offset;
            int64_t offset = 0;
            if (m.of[v].space != TN_SPACE_ARENA || !tn_dim_eval(g, at, &b, 1, &offset) || !offset) continue;
            m.of[v].offset = tn_dim_const(g, 0);
            noticed += tn_check_memory(g, &m, &b, 1, 1 << 20) == TN_E_VERIFY;
            moved++;
            m.of[v].offset = at;
        }
        tn_memory_free(g, &m);
        tn_graph_free(g);
    }
    ck_assert_msg(noticed && 2 * noticed >= moved, "%zu of %zu", noticed,
                  moved); /* at the start nothing may be, then */
}
END_TEST

/* What iterations add lies in one block, where each writes its own slice over nothing else. */
START_TEST(slices_of_a_loop) {
    tn_graph *g =
        parse("func @main(%x: f32[256], %s: f32[256]) -> f32[600,256] {\n  %n = const [600] : i64[]\n"
              "  %0, %1 = loop %n, _, %x {carried=1, trips=600} {\n    ^(%i: i64[], %m: bool[], %p: f32[256]):\n"
              "    %q = softmax %p {axis=0}\n    %r = add %q, %s\n    yield %m, %r, %r\n  }\n  return %1\n}\n");
    tn_memory m;
    ck_assert_msg(gen_run(&env_, g, "fuse", NULL) == TN_OK, "%s", log_.text);
    ck_assert_msg(tn_plan_memory(g, &m) == TN_OK, "%s", log_.text);
    size_t found = 0;
    for (uint32_t k = 1; k < tn_graph_node_limit(g); k++) {
        const tn_node n = {k};
        if (tn_node_op(g, n) != TN_OP_KERNEL || strcmp(TN_ATTRS_OF(g, n, kernel)->anchor, "scatter_nd") != 0) continue;
        const tn_placement *x = &m.of[tn_node_input(g, n, 0).i], *y = &m.of[tn_node_result(g, n, 0).i];
        ck_assert(x->space == TN_SPACE_OUTPUT && y->space == x->space && y->index == x->index);
        ck_assert(y->offset.i == x->offset.i);
        found++;
    }
    ck_assert_uint_eq(found, 1);
    tn_memory_free(g, &m);
    tn_graph_free(g);
}
END_TEST

/* The checker itself notices a plan that is wrong. */
START_TEST(checker_finds_overlap) {
    tn_graph *g = parse("func @main(%x: f32[2,64]) -> f32[2,64] {\n"
                        "  %a = softmax %x {axis=1} : f32[2,64]\n  %b = log_softmax %x {axis=1} : f32[2,64]\n"
                        "  %t = transpose %a {perm=[1,0]} : f32[64,2]\n  %u = softmax %t {axis=1} : f32[64,2]\n"
                        "  %v = transpose %u {perm=[1,0]} : f32[2,64]\n  %c = mul %v, %b : f32[2,64]\n"
                        "  %d = softmax %c {axis=1} : f32[2,64]\n  return %d\n}\n");
    tn_memory m = plan(g);
    for (uint32_t k = 0; k < m.n; k++)
        if (m.of[k].space == TN_SPACE_ARENA) m.of[k].offset = tn_dim_const(g, 0);
    ck_assert_int_eq(tn_check_memory(g, &m, NULL, 0, 1 << 20), TN_E_VERIFY);
    tn_memory_free(g, &m);
    tn_graph_free(g);
}
END_TEST

START_TEST(out_of_memory) {
    bool done = false;
    for (int n = 0; n < 6000 && !done; n += n < 100 ? 1 : 17) {
        failing f = {.for_good = true};
        tn_env env = {.alloc = fail_alloc, .alloc_user = &f};
        tn_graph *g = gen_graph(&env, 11, 30, true);
        ck_assert(g != NULL);
        ck_assert_int_eq(gen_run(&env, g, "fuse", NULL), TN_OK);
        fail_at(&f, n + 1);
        tn_memory m;
        tn_status s = tn_plan_memory(g, &m);
        ck_assert(s == TN_OK || s == TN_E_MEMORY);
        done = s == TN_OK;
        if (done) tn_memory_free(g, &m);
        tn_graph_free(g);
        ck_assert_int_eq(f.live, 0);
    }
    ck_assert(done);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("memory");
    TCase *tc = tcase_create("memory");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, static_random);
    tcase_add_test(tc, symbolic_random);
    tcase_add_test(tc, deep_random);
    tcase_add_test(tc, chain_reuses);
    tcase_add_test(tc, concat_in_place);
    tcase_add_test(tc, elementwise_in_place);
    tcase_add_test(tc, transposed_is_not_in_place);
    tcase_add_test(tc, outputs_are_copied);
    tcase_add_test(tc, slots_of_two_symbols);
    tcase_add_test(tc, out_of_memory);
    tcase_add_test(tc, branches_and_loops);
    tcase_add_test(tc, slices_of_a_loop);
    tcase_add_test(tc, checker_finds_overlap);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
