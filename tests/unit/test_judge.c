/* test_judge.c: what kernels are judged by: the shapes and the values.  That generated kernels pass: test_judge_kernels.c. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/program/program.h"
#include "codegen/tune/build.h"
#include "codegen/tune/internal.h"
#include "passes/pass.h"
#include "runtime/emu/driver.h"
#include "tenon/compiler.h"
#include "tests/unit/failing.h"
#include "tests/unit/spec_of_text.h"

/* ---- shapes ---- */

static int64_t value_of(const tn_shape *s, const char *name) {
    for (size_t k = 0; k < s->n; k++)
        if (!strcmp(s->b[k].name, name)) return s->b[k].value;
    ck_abort_msg("no symbol %s", name);
    return 0;
}

static bool has_value(const tn_shape *s, size_t n, const char *name, bool (*is)(int64_t v)) {
    for (size_t k = 0; k < n; k++)
        if (is(value_of(&s[k], name))) return true;
    return false;
}

static bool is_one(int64_t v) {
    return v == 1;
}
static bool is_odd(int64_t v) {
    return v > 1 && v < 32 && v % 2;
}
static bool is_more_than_a_tile(int64_t v) {
    return v > 64 && v % 2;
}
static bool is_large(int64_t v) {
    return v > 200;
}
static bool is_nothing(int64_t v) {
    return v == 0;
}

START_TEST(shapes_of_every_kind) {
    kernels k = open_text("symbol M in [0, 5000]\n" FUNC(
        "%x: f32[N,M,8]", "%y: f32[M,N,8]", "%0 = relu %x\n%y = transpose %0 {perm=[1,0,2]}\nreturn %y\n"));
    tn_shape s[TN_MAX_SHAPES];
    const size_t n = tn_judged_shapes(k.s, s);
    bool (*const kinds[])(int64_t) = {is_one, is_odd, is_more_than_a_tile, is_large};
    ck_assert_int_eq(value_of(&s[0], "N"), 32); /* typical comes first */
    for (size_t j = 0; j < 4; j++) {
        ck_assert_msg(has_value(s, n, "N", kinds[j]), "kind %zu of N", j);
        ck_assert_msg(has_value(s, n, "M", kinds[j]), "kind %zu of M", j);
    }
    ck_assert(has_value(s, n, "M", is_nothing)); /* which its range allows */
    for (size_t j = 0; j < n; j++) {
        ck_assert_int_le(value_of(&s[j], "M"), 5000);
        for (size_t i = 0; i < j; i++) ck_assert(memcmp(&s[i], &s[j], sizeof s[i]) != 0);
    }
    close_kernels(&k);
}
END_TEST

START_TEST(shapes_within_ranges) {
    static const char *const text[] = {
        "symbol N in [3, 9] hint 4\n" FUNC("%x: f32[N,8]", "%y: f32[N,8]", "%y = relu %x\nreturn %y\n"),
        "symbol N in [700, 800]\n" FUNC("%x: f32[N,8]", "%y: f32[N,8]", "%y = relu %x\nreturn %y\n")};
    static const int64_t bounds[][2] = {{3, 9}, {700, 800}};
    for (int t = 0; t < 2; t++) {
        kernels k = open_text(text[t]);
        tn_shape s[TN_MAX_SHAPES];
        const size_t n = tn_judged_shapes(k.s, s);
        ck_assert_uint_ge(n, 2);
        for (size_t j = 0; j < n; j++) {
            ck_assert_int_ge(value_of(&s[j], "N"), bounds[t][0]);
            ck_assert_int_le(value_of(&s[j], "N"), bounds[t][1]);
        }
        close_kernels(&k);
    }
}
END_TEST

/* Of a size that data makes, the most is known. */
START_TEST(shapes_of_made_sizes) {
    kernels k = open_text(FUNC("%x: f32[N,M]", "%y: f32[N,M]", "%y = relu %x\nreturn %y\n"));
    tn_graph *g = k.s->g;
    const tn_dim m = tn_dim_sym(g, "M");
    ck_assert_int_eq(tn_dim_set_most(g, tn_dim_sym(g, "N"), tn_dim_mul(g, m, tn_dim_const(g, 3))), TN_OK);
    tn_shape s[TN_MAX_SHAPES];
    const size_t n = tn_judged_shapes(k.s, s);
    ck_assert_uint_ge(n, 2);
    for (size_t j = 0; j < n; j++) ck_assert_int_le(value_of(&s[j], "N"), 3 * value_of(&s[j], "M"));
    close_kernels(&k);
}
END_TEST

/* Sizes that do not exist are not proposed: N-6 elements of each row, a window of five. */
START_TEST(shapes_that_can_be_bound) {
    kernels k = open_text(FUNC("%x: f32[2,N,4]", "%y: f32[2,N-6,4]",
                               "%0 = slice %x {starts=[0,6,0], sizes=[2,N-6,4], steps=[1,1,1]}\n"
                               "%y = relu %0\nreturn %y\n"));
    tn_shape s[TN_MAX_SHAPES];
    const size_t n = tn_judged_shapes(k.s, s);
    ck_assert_uint_ge(n, 3);
    for (size_t j = 0; j < n; j++) ck_assert_int_ge(value_of(&s[j], "N"), 6);
    close_kernels(&k);
}
END_TEST

/* A part of a tensor is as dear as what lies between its first and its last element: P sizes the whole alone. */
START_TEST(shapes_of_a_part) {
    kernels k =
        open_text(FUNC("%x: f32[N,1,4], %y: f32[N,P,4]", "%z: f32[N,P+1,4]",
                       "%0 = softmax %x {axis=2}\n%1 = softmax %y {axis=2}\n%z = concat %0, %1 {axis=1}\nreturn %z\n"));
    tn_shape s[TN_MAX_SHAPES];
    TN_FOR_NODES(k.g, tn_graph_body(k.g), node) {
        tn_spec *spec;
        if (tn_node_op(k.g, node) != TN_OP_KERNEL) continue;
        ck_assert_int_eq(tn_spec_make(k.g, node, &k.mem, &spec), TN_OK);
        for (size_t j = tn_judged_shapes(spec, s); j-- > 0;)
            for (uint32_t i = 0; i < spec->n_out; i++) {
                tn_placed at;
                ck_assert_int_eq(tn_place(spec, &s[j], &spec->out[i], &at), TN_OK);
                ck_assert_uint_lt(at.span, 8 << 20);
            }
        tn_spec_free(spec);
    }
    close_kernels(&k);
}
END_TEST

/* What the graph assumes of its sizes holds at every shape: N*M elements are 16, A and B are equal. */
START_TEST(shapes_keep_conditions) {
    kernels k = open_text(FUNC("%x: f32[N,M], %a: f32[A,4], %b: f32[4,B]", "%y: f32[4,4], %z: f32[4,4]",
                               "%0 = transpose %x {perm=[1,0]}\n%1 = reshape %0 {dims=[4,4]}\n%y = relu %1\n"
                               "%z = matmul %b, %a\nreturn %y, %z\n"));
    tn_shape s[TN_MAX_SHAPES];
    int seen = 0;
    ck_assert_uint_ge(tn_condition_count(k.g), 2);
    TN_FOR_NODES(k.g, tn_graph_body(k.g), n) {
        if (tn_node_op(k.g, n) != TN_OP_KERNEL) continue;
        tn_spec *spec;
        ck_assert_int_eq(tn_spec_make(k.g, n, &k.mem, &spec), TN_OK);
        const size_t found = tn_judged_shapes(spec, s);
        ck_assert_uint_ge(found, 1);
        for (size_t j = 0; j < found; j++) {
            ck_assert_uint_eq(s[j].n, 2);
            const int64_t one = s[j].b[0].value, two = s[j].b[1].value;
            if (!strcmp(s[j].b[0].name, "N") || !strcmp(s[j].b[0].name, "M"))
                ck_assert_int_eq(one * two, 16);
            else
                ck_assert_int_eq(one, two);
        }
        seen++;
        tn_spec_free(spec);
    }
    ck_assert_int_eq(seen, 2);
    close_kernels(&k);
}
END_TEST

START_TEST(shapes_stay_cheap) {
    kernels k = open_text("symbol N in [1, 100000] hint 64\n" FUNC(
        "%x: f32[N,4096], %w: f32[4096,4096]", "%y: f32[N,4096]", "%y = matmul %x, %w\nreturn %y\n"));
    tn_shape s[TN_MAX_SHAPES];
    const size_t n = tn_judged_shapes(k.s, s);
    ck_assert_uint_ge(n, 3);
    for (size_t j = 1; j < n; j++) ck_assert_double_le(tn_spec_flops(k.s, &s[j]), tn_spec_flops(k.s, &s[0]) / 2);
    close_kernels(&k);
    k = open_text(FUNC("%x: f32[8,16]", "%y: f32[8,16]", "%y = relu %x\nreturn %y\n"));
    ck_assert_uint_eq(tn_judged_shapes(k.s, s), 1);
    close_kernels(&k);
}
END_TEST

/* ---- values ---- */

typedef struct bounds {
    int64_t lo, hi;
} bounds;

static bounds bounds_of(const tn_case *c, uint32_t k) {
    const tn_placed *p = &c->in[k];
    bounds b = {INT64_MAX, INT64_MIN};
    for (int64_t i = 0; i < p->numel; i++) {
        const int64_t v = tn_load_int(p->dtype, c->data[k], (uint64_t)i);
        if (v < b.lo) b.lo = v;
        if (v > b.hi) b.hi = v;
    }
    return b;
}

static tn_reference *reference(const kernels *k) {
    tn_reference *r;
    ck_assert_int_eq(tn_reference_make(NULL, k->s, &r), TN_OK);
    return r;
}

typedef struct value_case {
    const char *what, *text;
    uint32_t in; /* the input that is looked at, at the typical shape */
    int64_t lo, hi;
} value_case;

static const value_case value_cases[] = {
    {"u8", FUNC("%x: u8[4096]", "%y: u8[4096]", "%y = max %x, %x\nreturn %y\n"), 0, 0, 255},
    {"i8", FUNC("%x: i8[4096]", "%y: i8[4096]", "%y = abs %x\nreturn %y\n"), 0, -128, 127},
    {"i8 to float", FUNC("%x: i8[4096]", "%y: f32[4096]", "%y = cast %x {to=f32}\nreturn %y\n"), 0, -128, 127},
    {"bool", FUNC("%x: bool[256]", "%y: bool[256]", "%y = not %x\nreturn %y\n"), 0, 0, 1},
    {"i32 exact", FUNC("%x: i32[4096]", "%y: i32[4096]", "%y = neg %x\nreturn %y\n"), 0, INT32_MIN, INT32_MAX},
    {"i64 exact", FUNC("%x: i64[4096]", "%y: bool[4096]", "%0 = neg %x\n%y = lt %x, %0\nreturn %y\n"), 0, INT64_MIN,
     INT64_MAX},
    {"i32 to float", FUNC("%x: i32[4096]", "%y: f32[4096]", "%y = cast %x {to=f32}\nreturn %y\n"), 0, -100, 100},
    {"an index", FUNC("%x: f32[10,4], %i: i64[512]", "%y: f32[512,4]", "%y = gather %x, %i {axis=0}\nreturn %y\n"), 1,
     -10, 9},
    {"an unsigned index through a cast",
     FUNC("%x: f32[10,4], %i: u8[512]", "%y: f32[512,4]",
          "%0 = cast %i {to=i64}\n%y = gather %x, %0 {axis=0}\nreturn %y\n"),
     0, 0, 9},
    {"an index that is computed",
     FUNC("%x: f32[10,4], %i: i64[512]", "%y: f32[512,4]", "%0 = add %i, %i\n%y = gather %x, %0 {axis=0}\nreturn %y\n"),
     0, 0, 3},
    {"a shift", FUNC("%x: i32[512], %n: i32[512]", "%y: i32[512]", "%y = shl %x, %n\nreturn %y\n"), 1, 0, 3},
    {"overflow on the way", /* exp(255) is infinite in f32, and its inverse is not in double */
     FUNC("%x: u8[512]", "%y: f32[512]",
          "%0 = cast %x {to=f32}\n%1 = exp %0\n%2 = mul %1, %1\n%y = div %2, %1\nreturn %y\n"),
     0, 0, 3},
    {"a mask", /* (1 - 3) * lowest is infinite in f32 */
     FUNC("%x: i64[512]", "%y: f32[512]",
          "%0 = cast %x {to=f32}\n%1 = const [1.0] : f32[]\n%2 = sub %1, %0\n%3 = const [-3.4028234663852886e38] : "
          "f32[]\n"
          "%y = mul %2, %3\nreturn %y\n"),
     0, 0, 1},
};

START_TEST(integers_that_users_feed) {
    const value_case *c = &value_cases[_i];
    kernels k = open_text(c->text);
    tn_reference *r = reference(&k);
    const bounds b = bounds_of(r->of[0], c->in);
    ck_assert_msg(b.lo == c->lo && b.hi == c->hi, "%s: %lld to %lld, not %lld to %lld", c->what, (long long)b.lo,
                  (long long)b.hi, (long long)c->lo, (long long)c->hi);
    tn_reference_free(r);
    close_kernels(&k);
}
END_TEST

/* How many keys queries see, or which is the first: from none to more than there are, and mostly so that they see all, of which times are
 * taken. */
START_TEST(limits_of_keys) {
    enum { KEYS = 300 };
    static const char *const text[] = {
        FUNC("%q: f16[1,4,400,64], %k: f16[1,4,300,64], %v: f16[1,4,300,64], %n: i32[1,4,400,1]", "%y: f16[1,4,400,64]",
             "%y = attention %q, %k, %v, _, _, %n {scale=0.125, no_nan=true}\nreturn %y\n"),
        FUNC("%q: f16[1,4,400,64], %k: f16[1,4,300,64], %v: f16[1,4,300,64], %n: i32[1,4,400,1]", "%y: f16[1,4,400,64]",
             "%y = attention %q, %k, %v, _, _, _, _, %n {scale=0.125, no_nan=true}\nreturn %y\n")};
    kernels k = open_text(text[_i]);
    tn_reference *r = reference(&k);
    const tn_case *c = r->of[0];
    const bounds b = bounds_of(c, 3);
    int64_t all = 0;
    for (int64_t i = 0; i < c->in[3].numel; i++)
        all += tn_load_int(TN_I32, c->data[3], (uint64_t)i) == (_i ? -1 : KEYS);
    ck_assert_msg(b.lo <= 0 && b.lo >= -1 && b.hi == KEYS + 1, "%lld to %lld", (long long)b.lo, (long long)b.hi);
    ck_assert_msg(all > c->in[3].numel / 2 && all < c->in[3].numel, "%lld see all", (long long)all);
    tn_reference_free(r);
    close_kernels(&k);
}
END_TEST

/* Kernels have such numbers as literals, so that they are part of what tells specs apart. */
START_TEST(whole_numbers_tell_specs_apart) {
    static const char *const text[] = {
        FUNC("%x: i64[8]", "%y: i64[8]", "%0 = const [9007199254740993] : i64[]\n%y = add %x, %0\nreturn %y\n"),
        FUNC("%x: i64[8]", "%y: i64[8]", "%0 = const [9007199254740992] : i64[]\n%y = add %x, %0\nreturn %y\n")};
    kernels a = open_text(text[0]), b = open_text(text[1]);
    ck_assert_str_ne(a.s->text, b.s->text);
    close_kernels(&a);
    close_kernels(&b);
}
END_TEST

/* Results at every shape, against sums made here. */
START_TEST(references_at_every_shape) {
    enum { K = 24, N = 5 };
    kernels k = open_text("symbol M in [0, 100000]\n" FUNC("%x: f32[M,24], %w: f32[24,5]", "%y: f32[M,5]",
                                                           "%0 = matmul %x, %w\n%y = relu %0\nreturn %y\n"));
    tn_reference *r = reference(&k);
    bool nothing = false;
    ck_assert_uint_ge(r->n, 5);
    for (size_t j = 0; j < r->n; j++) {
        const tn_case *c = r->of[j];
        const float *x = c->data[0], *w = c->data[1];
        const double *want = c->want[0].data;
        const int64_t m = value_of(&c->shape, "M");
        nothing |= m == 0;
        ck_assert_int_eq(c->out[0].numel, m * N);
        ck_assert_ptr_eq(w, r->of[0]->data[1]); /* one copy of what is the same at every shape */
        for (int64_t i = 0; i < m; i++)
            for (int64_t o = 0; o < N; o++) {
                double sum = 0;
                for (int64_t t = 0; t < K; t++) sum += (double)x[i * K + t] * (double)w[t * N + o];
                ck_assert_double_eq_tol(want[i * N + o], sum > 0 ? sum : 0, 1e-12);
            }
    }
    ck_assert(nothing);
    tn_reference_free(r);
    close_kernels(&k);
}
END_TEST

/* Whichever allocation fails: an error, and nothing is left. */
START_TEST(references_without_memory) {
    kernels k = open_text("symbol M in [0, 1000]\n" FUNC("%x: f32[M,24], %w: f32[24,5]", "%y: f32[M,5]",
                                                         "%0 = matmul %x, %w\n%y = relu %0\nreturn %y\n"));
    failing heap = {0};
    const tn_env env = {.alloc = fail_alloc, .alloc_user = &heap};
    tn_status st = TN_E_MEMORY;
    for (long n = 1; st == TN_E_MEMORY; n++) {
        tn_reference *r = NULL;
        fail_at(&heap, n);
        st = tn_reference_make(&env, k.s, &r);
        ck_assert_int_eq(st, atomic_load(&heap.failed) ? TN_E_MEMORY : TN_OK);
        if (st == TN_OK) tn_reference_free(r);
        ck_assert_int_eq(atomic_load(&heap.live), 0);
    }
    ck_assert_int_eq(st, TN_OK);
    close_kernels(&k);
}
END_TEST

/* ---- large results: rows ---- */

/* An input's element: large ones repeat. */
static double drawn(const tn_case *c, uint32_t k, int64_t i) {
    return tn_load_num(c->in[k].dtype, c->data[k], (uint64_t)i % (c->held[k] / (tn_dtype_bits(c->in[k].dtype) / 8)));
}

/* Of a large product the first rows, the last and some between are summed; the input repeats. */
START_TEST(rows_of_a_large_product) {
    enum { M = 32, K = 256, O = 512, TYPICAL = 128 };
    kernels k = open_text("symbol N in [1, 4096] hint 128\n" FUNC(
        "%x: f32[N,32,256], %w: f32[256,512]", "%y: f32[N,32,512]", "%0 = matmul %x, %w\n%y = relu %0\nreturn %y\n"));
    tn_reference *r = reference(&k);
    const tn_case *c = r->of[0];
    const tn_case_rows *rows = &c->rows[0];
    ck_assert_int_eq(rows->of, TYPICAL);
    ck_assert_int_eq(rows->inner, M * O);
    ck_assert_int_eq(rows->n, 4);
    ck_assert_int_eq(rows->at[0], 0);
    ck_assert_int_eq(rows->at[3], TYPICAL - 1);
    ck_assert_int_lt(rows->at[1], rows->at[2]);
    ck_assert_int_lt(rows->at[2], TYPICAL - 1);
    ck_assert_int_eq(tn_tensor_numel(&c->want[0]), 4 * M * O);
    ck_assert_uint_lt(c->held[0], c->in[0].span);
    const double *want = c->want[0].data;
    for (int64_t j = 0; j < 4; j++)
        for (int64_t i = 0; i < M * O; i += 37) {
            double sum = 0;
            for (int64_t t = 0; t < K; t++)
                sum += drawn(c, 0, (rows->at[j] * M + i / O) * K + t) * drawn(c, 1, t * O + i % O);
            ck_assert_double_eq_tol(want[j * M * O + i], sum > 0 ? sum : 0, 1e-9);
        }
    tn_reference_free(r);
    close_kernels(&k);
}
END_TEST

typedef struct rows_case {
    const char *what, *text;
    int64_t of, inner; /* of the first result; 0: it is compared as a whole */
} rows_case;

#define LARGE "symbol N in [1, 100000] hint 4096\n"

static const rows_case rows_cases[] = {
    {"elements", LARGE FUNC("%x: f32[N,1024]", "%y: f32[N,1024]", "%y = relu %x\nreturn %y\n"), 4096, 1024},
    {"the last axis", LARGE FUNC("%x: f32[N,1024]", "%y: f32[1024,N]", "%y = transpose %x {perm=[1,0]}\nreturn %y\n"),
     4096, 1},
    {"rows that are merged",
     LARGE FUNC("%x: f32[N,16,64]", "%y: f32[16*N,64]", "%0 = tanh %x\n%y = reshape %0 {dims=[16*N,64]}\nreturn %y\n"),
     4096, 16 * 64},
    {"softmax of each row", LARGE FUNC("%x: f32[N,1024]", "%y: f32[N,1024]", "%y = softmax %x {axis=1}\nreturn %y\n"),
     4096, 1024},
    {"an operand without rows",
     LARGE FUNC("%x: f32[N,1024], %b: f32[1024]", "%y: f32[N,1024]", "%y = add %x, %b\nreturn %y\n"), 4096, 1024},
    {"few elements",
     "symbol N in [1, 100000] hint 64\n" FUNC("%x: f32[N,8]", "%y: f32[N,8]", "%y = relu %x\nreturn %y\n"), 0, 0},
    {"softmax over rows", LARGE FUNC("%x: f32[N,1024]", "%y: f32[N,1024]", "%y = softmax %x {axis=0}\nreturn %y\n"), 0,
     0},
    {"sums of rows", LARGE FUNC("%x: f32[N,1024]", "%y: f32[N,1024]", "%y = cumsum %x {axis=0}\nreturn %y\n"), 0, 0},
    {"rows by the row above",
     LARGE FUNC(
         "%x: f32[N,1024], %z: f32[1,1024]", "%y: f32[N,1024]",
         "%0 = slice %x {starts=[0,0], sizes=[N-1,1024], steps=[1,1]}\n%y = concat %z, %0 {axis=0}\nreturn %y\n"),
     0, 0},
    {"rows in another order",
     LARGE FUNC("%x: f32[2,N,512]", "%y: f32[2*N,512]",
                "%0 = transpose %x {perm=[1,0,2]}\n%1 = relu %0\n%y = reshape %1 {dims=[2*N,512]}\nreturn %y\n"),
     4096, 2 * 512},
    {"rows of which some are others'",
     LARGE FUNC("%x: f32[N,1024], %z: f32[N,1024]", "%y: f32[2*N,1024]",
                "%0 = concat %x, %z {axis=0}\n%y = softmax %0 {axis=1}\nreturn %y\n"),
     0, 0},
    {"where a row stands",
     LARGE FUNC("%x: f32[N,1024]", "%y: f32[N,1024]",
                "%0 = iota {dtype=f32, dims=[N,1024], axis=0}\n%y = add %x, %0\nreturn %y\n"),
     0, 0},
};

START_TEST(rows_of_large_results) {
    const rows_case *x = &rows_cases[_i];
    kernels k = open_text(x->text);
    tn_reference *r = reference(&k);
    const tn_case_rows *rows = &r->of[0]->rows[0];
    ck_assert_msg((rows->n > 0) == (x->of > 0), "%s", x->what);
    if (x->of) {
        ck_assert_msg(rows->of == x->of && rows->inner == x->inner, "%s: %lld of %lld", x->what, (long long)rows->inner,
                      (long long)rows->of);
        ck_assert_int_eq(rows->at[0], 0);
        ck_assert_int_eq(rows->at[rows->n - 1], x->of - 1);
    }
    tn_reference_free(r);
    close_kernels(&k);
}
END_TEST

/* ---- large results: rows of axes of fixed size ---- */

typedef struct cut_case {
    const char *what, *text;
    int64_t of, inner; /* of the first result; 0: nothing is cut */
} cut_case;

#define QKV(s) "%q: f16[2,2," s ",16], %k: f16[2,2,48,16], %v: f16[2,2,48,16]"

static const cut_case cut_cases[] = {
    {"queries", FUNC(QKV("64"), "%y: f16[2,2,64,16]", "%y = attention %q, %k, %v {scale=0.25}\nreturn %y\n"), 64, 16},
    {"queries that see what is before them",
     FUNC(QKV("40"), "%y: f16[2,2,40,16]", "%y = attention %q, %k, %v {scale=0.25, causal=true}\nreturn %y\n"), 40, 16},
    {"queries with a sink each",
     FUNC(QKV("64") ", %n: f32[2,64,1]", "%y: f16[2,2,64,16]",
          "%y = attention %q, %k, %v, _, _, _, %n {scale=0.25}\nreturn %y\n"),
     64, 16},
    {"queries with a sink of their head",
     FUNC(QKV("64") ", %n: f32[2,1,1]", "%y: f16[2,2,64,16]",
          "%y = attention %q, %k, %v, _, _, _, %n {scale=0.25}\nreturn %y\n"),
     64, 16},
    {"queries with a bias and a mask, a residual, and heads that are merged",
     FUNC(QKV("64") ", %b: f16[2,64,48], %m: bool[2,1,1,48], %x: f16[2,64,32]", "%y: f16[128,32]",
          "%0 = attention %q, %k, %v, %b, %m {scale=0.25, fill=-10000}\n%1 = transpose %0 {perm=[0,2,1,3]}\n"
          "%2 = reshape %1 {dims=[2,64,32]}\n%3 = add %2, %x\n%y = reshape %3 {dims=[128,32]}\nreturn %y\n"),
     64, 32},
    {"rows of a product, beside a bias",
     FUNC("%x: f32[96,40], %w: f32[40,24], %b: f32[24]", "%y: f32[96,24]",
          "%0 = matmul %x, %w\n%1 = add %0, %b\n%y = relu %1\nreturn %y\n"),
     96, 24},
    {"matrices of a product",
     FUNC("%x: f32[64,8,40], %w: f32[64,40,8]", "%y: f32[64,64]",
          "%0 = matmul %x, %w\n%y = reshape %0 {dims=[64,64]}\nreturn %y\n"),
     64, 64},
    {"a product that takes its rows as columns",
     FUNC("%x: f32[40,96], %w: f32[40,24]", "%y: f32[96,24]", "%y = matmul %x, %w {trans_a=true}\nreturn %y\n"), 96,
     24},
    {"columns of a result",
     FUNC("%x: f32[96,24]", "%y: f32[24,96]", "%0 = exp %x\n%y = transpose %0 {perm=[1,0]}\nreturn %y\n"), 96, 1},
    {"images", FUNC("%x: f32[32,3,8,8], %w: f32[4,3,3,3]", "%y: f32[32,4,6,6]", "%y = conv %x, %w\nreturn %y\n"), 32,
     4 * 36},
    {"softmax of each row", FUNC("%x: f32[64,32]", "%y: f32[64,32]", "%y = softmax %x {axis=1}\nreturn %y\n"), 64, 32},
    {"softmax over the longest axis: the other",
     FUNC("%x: f32[64,32]", "%y: f32[64,32]", "%y = softmax %x {axis=0}\nreturn %y\n"), 32, 1},
    {"few rows", FUNC("%x: f32[8,8]", "%y: f32[8,8]", "%y = relu %x\nreturn %y\n"), 0, 0},
    {"sums of rows", FUNC("%x: f32[64]", "%y: f32[64]", "%y = cumsum %x {axis=0}\nreturn %y\n"), 0, 0},
    {"where a row stands",
     FUNC("%x: f32[64]", "%y: f32[64]", "%0 = iota {dtype=f32, dims=[64], axis=0}\n%y = add %x, %0\nreturn %y\n"), 0,
     0},
    {"a matrix with its transpose",
     FUNC("%x: f32[64,64]", "%y: f32[64,64]", "%0 = transpose %x {perm=[1,0]}\n%y = add %x, %0\nreturn %y\n"), 0, 0},
};

/* Inputs of small numbers, and the rows of them that are cut. */
static void cut_inputs(const tn_spec *s, const tn_slice *x, tn_tensor *in, tn_tensor *part) {
    for (uint32_t k = 0; k < s->n_in; k++) {
        tn_placed at;
        ck_assert_int_eq(tn_place(s, &s->typical, &s->in[k], &at), TN_OK);
        ck_assert_int_eq(tn_tensor_new(NULL, at.dtype, at.rank, at.dims, &in[k]), TN_OK);
        for (int64_t i = 0; i < at.numel; i++) {
            const int64_t number = (i * 7919 + k * 31 + i * i % 13) % 23;
            if (at.dtype == TN_BOOL)
                tn_store_int(TN_BOOL, in[k].data, (uint64_t)i, number > 6);
            else
                tn_store_num(at.dtype, in[k].data, (uint64_t)i, (double)(number - 11) / 8);
        }
        const tn_case_rows rows = tn_slice_rows(s, x, &s->in[k], &at);
        if (!rows.n)
            part[k] = in[k];
        else
            ck_assert_int_eq(tn_take_rows(NULL, &rows, &at, in[k].data, in[k].bytes, &part[k]), TN_OK);
    }
}

/* Rows evaluated alone are what they are among the others. */
START_TEST(rows_of_fixed_sizes) {
    const cut_case *x = &cut_cases[_i];
    kernels k = open_text(x->text);
    const tn_spec *s = k.s;
    tn_slice slice;
    tn_placed at;
    tn_tensor in[8] = {{0}}, part[8] = {{0}}, all = {0}, some = {0};
    tn_cut_find(s, &s->typical, &slice);
    ck_assert_msg((slice.n > 0) == (x->of > 0), "%s", x->what);
    if (slice.n) {
        ck_assert_int_eq(tn_place(s, &s->typical, &s->out[0], &at), TN_OK);
        const tn_case_rows rows = tn_slice_rows(s, &slice, &s->out[0], &at);
        ck_assert_msg(rows.of == x->of && rows.inner == x->inner, "%s: %lld of %lld", x->what, (long long)rows.inner,
                      (long long)rows.of);
        cut_inputs(s, &slice, in, part);
        ck_assert_int_eq(tn_case_run(NULL, s, &s->typical, NULL, in, true, &all), TN_OK);
        ck_assert_int_eq(tn_case_run(NULL, s, &s->typical, &slice, part, true, &some), TN_OK);
        ck_assert_int_eq(tn_tensor_numel(&some), at.numel / rows.of * rows.n);
        for (int64_t i = 0; i < tn_tensor_numel(&some); i++) {
            const int64_t row = i / rows.inner,
                          from = (row / rows.n * rows.of + rows.at[row % rows.n]) * rows.inner + i % rows.inner;
            ck_assert_double_eq_tol(((double *)some.data)[i], ((double *)all.data)[from], 1e-12);
        }
        for (uint32_t i = 0; i < s->n_in; i++) {
            if (part[i].data != in[i].data) tn_free(NULL, part[i].data, part[i].bytes + 1);
            tn_tensor_free(NULL, &in[i]);
        }
        tn_tensor_free(NULL, &all);
        tn_tensor_free(NULL, &some);
    }
    close_kernels(&k);
}
END_TEST

/* Attention of thousands of tokens would take a minute. */
START_TEST(rows_of_large_attention) {
    kernels k =
        open_text(FUNC("%q: f16[1,8,4096,64], %k: f16[1,8,4096,64], %v: f16[1,8,4096,64]", "%y: f16[1,8,4096,64]",
                       "%y = attention %q, %k, %v {scale=0.125, causal=true}\nreturn %y\n"));
    tn_reference *r = reference(&k);
    const tn_case_rows *rows = &r->of[0]->rows[0];
    ck_assert_int_eq(rows->of, 4096);
    ck_assert_int_eq(rows->n, 8);
    ck_assert_int_eq(rows->at[0], 0);
    ck_assert_int_eq(rows->at[7], 4095);
    const double *want = r->of[0]->want[0].data; /* the first query sees the first key alone */
    for (int64_t e = 0; e < 64; e++) ck_assert_double_eq_tol(want[e], drawn(r->of[0], 2, e), 1e-12);
    tn_reference_free(r);
    close_kernels(&k);
}
END_TEST

/* ---- sets ---- */

/* Two buckets' specs share all cases but their own typical shapes, of which each is the other's too where it is cheap. */
START_TEST(buckets_share_cases) {
    kernels k =
        open_text("symbol N in [1, 5000] hint 4\nbucket N in [1, 15] hint 4\nbucket N in [16, 5000] hint 64\n" FUNC(
            "%x: f32[N,8]", "%y: f32[N,8]", "%0 = tanh %x\n%y = neg %0\nreturn %y\n"));
    tn_case_set *set;
    tn_reference *a, *b;
    tn_spec other = tn_spec_at(k.s, 1);
    size_t bytes, begun = 0;
    ck_assert_int_eq(tn_case_set_new(NULL, &set), TN_OK);
    ck_assert_int_eq(tn_reference_new(NULL, set, k.s, &a), TN_OK);
    ck_assert_int_eq(tn_reference_new(NULL, set, &other, &b), TN_OK);
    ck_assert_int_eq(value_of(&a->shape[0], "N"), 4);
    ck_assert_int_eq(value_of(&b->shape[0], "N"), 64);
    ck_assert_uint_ge(a->n, 6);
    ck_assert_uint_le(set->n, a->n + 1); /* the largest that is cheap differs */
    for (size_t j = 0; j < a->n; j++) begun += tn_case_begin(a->of[j], NULL, &bytes);
    ck_assert_uint_eq(begun, a->n);
    for (size_t j = 0; j < b->n; j++) begun += tn_case_begin(b->of[j], NULL, &bytes);
    ck_assert_uint_eq(begun, set->n);
    for (size_t j = 0; j < set->n; j++) {
        tn_case_make(NULL, set->of[j]);
        tn_case_set_done(set->of[j]);
    }
    ck_assert_int_eq(tn_reference_finish(a), TN_OK);
    ck_assert_uint_eq(tn_case_set_trim(set), 0); /* all are held */
    tn_reference_free(a);
    tn_reference_free(b);
    ck_assert_uint_gt(tn_case_set_trim(set), 0);
    ck_assert(tn_case_begin(set->of[0], NULL, &bytes)); /* as if it were new */
    tn_case_set_free(set);
    close_kernels(&k);
}
END_TEST

int main(void) {
    Suite *s = suite_create("judge");
    TCase *t = tcase_create("judge");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, shapes_of_every_kind);
    tcase_add_test(t, shapes_within_ranges);
    tcase_add_test(t, shapes_of_made_sizes);
    tcase_add_test(t, shapes_that_can_be_bound);
    tcase_add_test(t, shapes_of_a_part);
    tcase_add_test(t, shapes_keep_conditions);
    tcase_add_test(t, shapes_stay_cheap);
    tcase_add_loop_test(t, integers_that_users_feed, 0, (int)(sizeof value_cases / sizeof *value_cases));
    tcase_add_test(t, whole_numbers_tell_specs_apart);
    tcase_add_test(t, references_at_every_shape);
    tcase_add_test(t, references_without_memory);
    tcase_add_test(t, rows_of_a_large_product);
    tcase_add_loop_test(t, rows_of_large_results, 0, (int)(sizeof rows_cases / sizeof *rows_cases));
    tcase_add_loop_test(t, rows_of_fixed_sizes, 0, (int)(sizeof cut_cases / sizeof *cut_cases));
    tcase_add_loop_test(t, limits_of_keys, 0, 2);
    tcase_add_test(t, rows_of_large_attention);
    tcase_add_test(t, buckets_share_cases);
    suite_add_tcase(s, t);
    return run_suite(s);
}
