/* Outputs that grow in the buffers of inputs: a KV cache that one buffer holds while tokens are added, on the emulated GPU
 * and on the reference; what a caller must give; what no alias can be. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tenon/compiler.h"
#include "tenon/host.h"
#include "tests/unit/graph_gen.h"
#include "tests/unit/parsed.h"
#include "tests/unit/suite.h"

/* ---- plans ------------------------------------------------------------------------------------------------------- */

typedef struct model {
    void *bytes;
    size_t size;
    tn_plan *plan;
    tn_context *c;
} model;

static model open_graph(tn_graph *g, tn_precision precision, const char *alias, tn_device device) {
    static const char *const target = "sm_90a";
    model m = {0};
    const tn_compile_options o = {.targets = &target,
                                  .n_targets = 1,
                                  .precision = precision,
                                  .no_gpu = true,
                                  .sources_only = true,
                                  .cache_dir = "",
                                  .aliases = &alias,
                                  .n_aliases = alias != NULL};
    const tn_context_options co = {.device = device, .host = tn_host_devices()};
    tn_status st = tn_compile_memory(g, &o, &m.bytes, &m.size);
    ck_assert_msg(st == TN_OK, "%s", message);
    tn_graph_free(g);
    m.plan = tn_plan_load_memory(&env, m.bytes, m.size, &st);
    ck_assert_msg(m.plan != NULL, "%s", message);
    m.c = tn_context_new(m.plan, &co, &st);
    ck_assert_msg(m.c != NULL, "%s", message);
    return m;
}

static void close_model(model *m) {
    tn_context_free(m->c);
    tn_plan_free(m->plan);
    tn_free(&env, m->bytes, m->size);
}

/* One token's attention over what came before; keys are turned in halves, so that two kernels write a row each in part. */
enum { B = 2, H = 3, D = 8, TOKENS = 20, CAPACITY = 32 };
static const char attention[] =
    "symbol P in [0, 31]\n"
    "func @main(%q: f32[2,3,1,8], %k: f32[2,3,1,8], %v: f32[2,3,1,8], %past.k: f32[2,3,P,8], %past.v: f32[2,3,P,8]) {\n"
    "  %k0 = slice %k {starts=[0,0,0,0], sizes=[2,3,1,4], steps=[1,1,1,1]}\n"
    "  %k1 = slice %k {starts=[0,0,0,4], sizes=[2,3,1,4], steps=[1,1,1,1]}\n"
    "  %r0 = sin %k1\n"
    "  %r1 = exp %k0\n"
    "  %r = concat %r0, %r1 {axis=3}\n"
    "  %present.k = concat %past.k, %r {axis=2}\n"
    "  %present.v = concat %past.v, %v {axis=2}\n"
    "  %t = transpose %present.k {perm=[0,1,3,2]}\n"
    "  %s = matmul %q, %t\n"
    "  %p = softmax %s {axis=3}\n"
    "  %y = matmul %p, %present.v\n"
    "  %old = reduce_max %past.v {axes=[3], keepdims=true}\n"
    "  return %y, %present.k, %present.v, %old {names=[\"y\", \"present.k\", \"present.v\", \"old\"]}\n"
    "}\n";
enum { STEP = B * H * D, CACHE = B * H * CAPACITY * D };

static void fill(float *x, size_t n, uint64_t seed) {
    gen r = {.state = seed};
    for (size_t k = 0; k < n; k++) x[k] = ((float)gen_next(&r, 2001) - 1000) / 700;
}

static void set_past(const model *m, int64_t tokens) {
    const int64_t dims[] = {B, H, tokens, D};
    for (size_t k = 3; k < 5; k++) ck_assert_int_eq(tn_context_set_shape(m->c, k, 4, dims), TN_OK);
}

/* [B, H, n, D] of a cache as it lies in the buffer, packed. */
static void pack(const float *buffer, size_t n, float *out) {
    for (size_t r = 0; r < B * H; r++) memcpy(out + r * n * D, buffer + r * CAPACITY * D, n * D * sizeof *out);
}

typedef struct token {
    float q[STEP], k[STEP], v[STEP];
} token;

/* The same bits; in 16 bits only near, since the plain plan rounds what it stores and the cache keeps its dtype. */
static void check_same(const float *a, const float *b, size_t n, double off) {
    for (size_t k = 0; k < n; k++)
        ck_assert_msg(fabs((double)a[k] - (double)b[k]) <= off, "%zu: %g, %g", k, a[k], b[k]);
}

static void run_tokens(tn_device device, tn_precision precision) {
    const double off = precision == TN_FP16 ? 4e-3 : 0;
    model plain = open_graph(parsed(attention), precision, NULL, device);
    model grows = open_graph(parsed(attention), precision, "past.*=present.*", device);
    static float keys[CACHE], values[CACHE], packed[4][CACHE], next[2][CACHE], was[2][CACHE];
    ck_assert_uint_eq(tn_plan_alias_count(plain.plan), 0);
    ck_assert_uint_eq(tn_plan_alias_count(grows.plan), 2);
    tn_alias first;
    ck_assert(tn_plan_alias(grows.plan, 0, &first) && first.axis == 2 && first.capacity == CAPACITY && !first.bytes);
    ck_assert(!tn_plan_alias(grows.plan, 2, &first));
    fill(keys, CACHE, 1); /* what is behind the tokens is nobody's */
    fill(values, CACHE, 2);
    for (size_t t = 0; t < TOKENS; t++) {
        token x;
        float y[STEP], want[STEP], old[B * H * TOKENS], want_old[B * H * TOKENS];
        fill(x.q, STEP, 10 + t), fill(x.k, STEP, 50 + t), fill(x.v, STEP, 90 + t);
        set_past(&plain, (int64_t)t);
        set_past(&grows, (int64_t)t);
        const void *const in[] = {x.q, x.k, x.v, packed[0], packed[1]};
        void *const out[] = {want, next[0], next[1], want_old};
        ck_assert_msg(tn_context_run(plain.c, in, out) == TN_OK, "%s", message);
        const void *const grow_in[] = {x.q, x.k, x.v, keys, values};
        void *const grow_out[] = {y, keys, values, old};
        memcpy(was[0], keys, sizeof keys);
        memcpy(was[1], values, sizeof values);
        ck_assert_msg(tn_context_enqueue(grows.c, grow_in, grow_out, NULL) == TN_OK, "%s", message);
        check_same(y, want, STEP, off);
        check_same(old, want_old, B * H * t, off);
        pack(keys, t + 1, packed[2]);
        pack(values, t + 1, packed[3]);
        check_same(packed[2], next[0], STEP * (t + 1), off);
        check_same(packed[3], next[1], STEP * (t + 1), off);
        for (size_t k = 0; k < CACHE; k++) { /* and nothing else is touched */
            if (k % (CAPACITY * D) / D == t) continue;
            ck_assert(keys[k] == was[0][k] && values[k] == was[1][k]);
        }
        memcpy(packed[0], next[0], sizeof next[0]);
        memcpy(packed[1], next[1], sizeof next[1]);
    }
    close_model(&plain);
    close_model(&grows);
}

START_TEST(tokens_emulated) {
    run_tokens(TN_EMU, TN_FP32);
}
END_TEST
START_TEST(tokens_emulated_half) {
    run_tokens(TN_EMU, TN_FP16);
}
END_TEST
START_TEST(tokens_on_cpu) {
    run_tokens(TN_CPU, TN_FP32);
}
END_TEST

/* A cache that has all rows from the beginning (GroupQueryAttention): of each batch as many as it has tokens, a prompt of uneven lengths first.
 * In place as apart, bit for bit, and nothing but the new rows is written. */
enum { MOST = 3 };
static const char fixed[] =
    "symbol S in [1, 3]\n"
    "func @main(%q: f32[2,3,S,8], %k: f32[2,3,S,8], %v: f32[2,3,S,8], %past.k: f32[2,3,32,8], %past.v: f32[2,3,32,8], "
    "%first: i64[2], %n: i64[2]) {\n"
    "  %present.k = put_rows %past.k, %k, %first, %n\n"
    "  %r = neg %v\n"
    "  %present.v = put_rows %past.v, %r, %first, %n\n"
    "  %t = transpose %present.k {perm=[0,1,3,2]}\n"
    "  %s = matmul %q, %t\n"
    "  %p = softmax %s {axis=3}\n"
    "  %y = matmul %p, %present.v\n"
    "  return %y, %present.k, %present.v {names=[\"y\", \"present.k\", \"present.v\"]}\n"
    "}\n";

static bool is_put(size_t k, const int64_t *first, const int64_t *n) {
    const size_t b = k / (H * CAPACITY * D);
    const int64_t row = (int64_t)(k % (CAPACITY * D) / D);
    return row >= first[b] && row < first[b] + n[b];
}

static void run_fixed(tn_device device) {
    model plain = open_graph(parsed(fixed), TN_FP32, NULL, device);
    model shared = open_graph(parsed(fixed), TN_FP32, "past.*=present.*", device);
    static float in_place[2][CACHE], apart[2][CACHE], next[2][CACHE];
    tn_alias how;
    ck_assert_uint_eq(tn_plan_alias_count(plain.plan), 0);
    ck_assert(tn_plan_alias(shared.plan, 1, &how) && !how.capacity && how.input == 4 && how.output == 2);
    for (size_t k = 0; k < 2; k++) {
        fill(apart[k], CACHE, 1 + k);
        memcpy(in_place[k], apart[k], sizeof apart[k]);
    }
    int64_t first[B] = {0}, n[B] = {3, 1}; /* the second prompt has two rows that do not count */
    for (size_t t = 0; first[0] < CAPACITY; t++) {
        const int64_t steps = t ? 1 : MOST, dims[] = {B, H, steps, D};
        float x[3][MOST * STEP], y[MOST * STEP], want[MOST * STEP];
        for (size_t k = 0; k < 3; k++) fill(x[k], MOST * STEP, 10 + 3 * t + k);
        for (size_t k = 0; k < 3; k++) {
            ck_assert_int_eq(tn_context_set_shape(plain.c, k, 4, dims), TN_OK);
            ck_assert_int_eq(tn_context_set_shape(shared.c, k, 4, dims), TN_OK);
        }
        const void *const in[] = {x[0], x[1], x[2], apart[0], apart[1], first, n};
        void *const out[] = {want, next[0], next[1]};
        ck_assert_msg(tn_context_run(plain.c, in, out) == TN_OK, "%s", message);
        const void *const same_in[] = {x[0], x[1], x[2], in_place[0], in_place[1], first, n};
        void *const same_out[] = {y, in_place[0], in_place[1]};
        ck_assert_msg(tn_context_enqueue(shared.c, same_in, same_out, NULL) == TN_OK, "%s", message);
        check_same(y, want, (size_t)steps * STEP, 0);
        for (size_t k = 0; k < CACHE; k++)
            for (size_t i = 0; i < 2; i++)
                ck_assert(in_place[i][k] == next[i][k] && (is_put(k, first, n) || next[i][k] == apart[i][k]));
        memcpy(apart, next, sizeof next);
        for (size_t b = 0; b < B; b++) first[b] += n[b], n[b] = 1;
    }
    close_model(&plain);
    close_model(&shared);
}

START_TEST(fixed_emulated) {
    run_fixed(TN_EMU);
}
END_TEST
START_TEST(fixed_on_cpu) {
    run_fixed(TN_CPU);
}
END_TEST

/* tn_context_run takes and gives packed tensors, whatever the plan. */
START_TEST(packed) {
    static const tn_device devices[] = {TN_EMU, TN_CPU};
    for (size_t d = 0; d < 2; d++) {
        enum { PAST = 5 };
        model grows = open_graph(parsed(attention), TN_FP32, "past.*=present.*", devices[d]);
        token x;
        static float past[2][STEP * PAST], out[2][STEP * (PAST + 1)];
        float y[STEP], old[B * H * PAST];
        fill(x.q, STEP, 1), fill(x.k, STEP, 2), fill(x.v, STEP, 3);
        fill(past[0], STEP * PAST, 4), fill(past[1], STEP * PAST, 5);
        const void *const in[] = {x.q, x.k, x.v, past[0], past[1]};
        void *const to[] = {y, out[0], out[1], old};
        set_past(&grows, PAST);
        ck_assert_msg(tn_context_run(grows.c, in, to) == TN_OK, "%s", message);
        for (size_t r = 0; r < B * H; r++) {
            const float *row = out[1] + r * (PAST + 1) * D;
            ck_assert_mem_eq(row, past[1] + r * PAST * D, PAST * D * sizeof *row);
            ck_assert_mem_eq(row + PAST * D, x.v + r * D, D * sizeof *row);
        }
        close_model(&grows);
    }
}
END_TEST

/* ---- one row: the elements are dense, and there need be no largest size ------------------------------------------- */

START_TEST(one_row) {
    static const tn_device devices[] = {TN_EMU, TN_CPU};
    static const char text[] = "func @main(%x: f32[1,S,4], %past: f32[1,P,4]) {\n"
                               "  %n = neg %x\n"
                               "  %all = concat %past, %n {axis=1}\n"
                               "  %sum = reduce_sum %all {axes=[1], keepdims=false}\n"
                               "  return %sum, %all {names=[\"sum\", \"all\"]}\n"
                               "}\n";
    for (size_t d = 0; d < 2; d++) {
        model m = open_graph(parsed(text), TN_FP32, "past=all", devices[d]);
        float buffer[100], x[12], sum[4], want[4] = {0};
        size_t n = 0;
        for (size_t k = 0; k < 100; k++) buffer[k] = 77;
        for (int64_t s = 1; s <= 3; s++) {
            const int64_t new_dims[] = {1, s, 4}, past_dims[] = {1, (int64_t)n, 4};
            tn_alias a;
            fill(x, 12, (uint64_t)s);
            for (int64_t k = 0; k < 4 * s; k++) want[k % 4] -= x[k];
            ck_assert_int_eq(tn_context_set_shape(m.c, 0, 3, new_dims), TN_OK);
            ck_assert_int_eq(tn_context_set_shape(m.c, 1, 3, past_dims), TN_OK);
            ck_assert_int_eq(tn_context_alias(m.c, 0, &a), TN_OK);
            ck_assert(a.input == 1 && a.output == 1 && a.axis == 1 && a.capacity == 0);
            ck_assert_uint_eq(a.bytes, 16 * (n + (size_t)s));
            const void *const in[] = {x, buffer};
            void *const out[] = {sum, buffer};
            ck_assert_msg(tn_context_enqueue(m.c, in, out, NULL) == TN_OK, "%s", message);
            for (int64_t k = 0; k < 4 * s; k++) ck_assert(buffer[4 * n + (size_t)k] == -x[k]);
            n += (size_t)s;
            for (size_t k = 0; k < 4; k++) ck_assert(fabsf(sum[k] - want[k]) < 1e-5f);
            for (size_t k = 4 * n; k < 100; k++) ck_assert(buffer[k] == 77);
        }
        close_model(&m);
    }
}
END_TEST

/* ---- what a caller must give ------------------------------------------------------------------------------------- */

START_TEST(buffers) {
    static const tn_device devices[] = {TN_EMU, TN_CPU};
    for (size_t d = 0; d < 2; d++) {
        model m = open_graph(parsed(attention), TN_FP32, "past.*=present.*", devices[d]);
        static float keys[CACHE], values[CACHE], other[CACHE], x[STEP];
        tn_alias a;
        const void *const in[] = {x, x, x, keys, values};
        void *const out[] = {other, keys, other, other};
        ck_assert_int_eq(tn_context_alias(m.c, 0, &a), TN_E_ARGUMENT); /* no shape yet */
        set_past(&m, 4);
        ck_assert_int_eq(tn_context_enqueue(m.c, in, out, NULL), TN_E_ARGUMENT);
        ck_assert_str_eq(message,
                         "present.v: output 'present.v' grows in the buffer of input 'past.v', but is given another "
                         "one [give both the same pointer (tn_context_alias says how large the buffer is), or "
                         "compile the model without the alias]");
        for (size_t k = 0; k < 2; k++) {
            ck_assert_int_eq(tn_context_alias(m.c, k, &a), TN_OK);
            ck_assert(a.input == 3 + k && a.output == 1 + k && a.axis == 2);
            ck_assert_int_eq(a.capacity, CAPACITY);
            ck_assert_uint_eq(a.bytes, sizeof keys);
            ck_assert_uint_eq(a.pitch, CAPACITY * D * sizeof *keys);
        }
        ck_assert_int_eq(tn_context_alias(m.c, 2, &a), TN_E_ARGUMENT);
        ck_assert_ptr_nonnull(strstr(message, "there is no alias 2: the plan has 2"));
        const int64_t full[] = {B, H, CAPACITY, D};
        tn_status st = tn_context_set_shape(m.c, 3, 4, full);
        if (st == TN_OK) st = tn_context_set_shape(m.c, 4, 4, full);
        ck_assert_int_eq(st == TN_OK ? tn_context_alias(m.c, 0, &a) : st, TN_E_ARGUMENT);
        ck_assert_msg(strstr(message, "P is from 0 to 31"), "%s", message);
        close_model(&m);
    }
}
END_TEST

/* ---- what no alias can be ---------------------------------------------------------------------------------------- */

#define FUNC(args, body, result) "func @main(" args ") {\n" body "  return " result "\n}\n"
#define TWO "%x: f32[2,P,4], %z: f32[2,1,4]"
#define JOIN "  %y = concat %x, %z {axis=1}\n"
#define PUT "%x: f32[2,3,9,4], %r: f32[2,3,1,4], %i: i64[2]"
#define Y "%y {names=[\"y\"]}"

static const struct {
    const char *text, *pair, *want;
} illegal[] = {
    {FUNC(TWO, JOIN, Y), "x", "the alias 'x' is no pair"},
    {FUNC(TWO, JOIN, Y), "=y", "the alias '=y' is no pair"},
    {FUNC(TWO, JOIN, Y), "x=", "the alias 'x=' is no pair"},
    {FUNC(TWO, JOIN, Y), "*=y", "the alias '*=y' has not one * on both sides"},
    {FUNC(TWO, JOIN, Y), "**=*", "the alias '**=*' has not one * on both sides"},
    {FUNC(TWO, JOIN, Y), "w=y", "the alias 'w=y' names no input of the model"},
    {FUNC(TWO, JOIN, Y), "x=z", "the alias 'x=z': there is no output 'z'"},
    {FUNC(TWO, JOIN, Y), "*=*", "the alias '*=*': there is no output 'x'"},
    {FUNC(TWO, JOIN, Y), "x=y",
     "output 'y' cannot grow in the buffer of input 'x': axis 1, along which it grows, has no largest size, and rows "
     "before "
     "it are that far apart [give the input's axis a range: --shape INPUT=1x8x0..2047x64]"},
    {"symbol P in [0, 7]\n" FUNC(TWO, JOIN, Y), "z=y",
     "output 'y' cannot grow in the buffer of input 'z': it is not a concatenation that begins with the input, but one "
     "that "
     "begins with something else, or has nothing more"},
    {FUNC(TWO, "  %y = neg %x\n", Y), "x=y",
     "output 'y' cannot grow in the buffer of input 'x': it is not a concatenation that begins with the input, but "
     "neg"},
    {FUNC(TWO, "", "%x {names=[\"y\"]}"), "x=y", "but an input itself"},
    {"symbol P in [0, 7]\n" FUNC(TWO, JOIN, "%y, %y {names=[\"y\", \"z\"]}"), "x=y",
     "the same value is another output too"},
    {"symbol P in [0, 7]\n" FUNC(TWO, JOIN "  %w = concat %x, %x {axis=1}\n", "%y, %w {names=[\"y\", \"w\"]}"),
     "x=y,x=w", "output 'w' cannot grow in the buffer of input 'x': another output grows there"},
    {FUNC(PUT, "  %y = put_rows %x, %r, %i, %i\n  %w = neg %x\n", "%y, %w {names=[\"y\", \"w\"]}"), "x=y",
     "output 'y' cannot grow in the buffer of input 'x': something else reads the input, of which rows are replaced"},
    {"symbol P in [0, 7]\n" FUNC("%x: i4[2,P,4], %z: i4[2,1,4]", JOIN, Y), "x=y", "its elements have less than a byte"},
};

START_TEST(refused) {
    for (size_t k = 0; k < sizeof illegal / sizeof *illegal; k++) {
        tn_graph *g = parsed(illegal[k].text);
        char text[64];
        const char *pairs[4];
        size_t n = 0;
        strcpy(text, illegal[k].pair);
        for (char *p = strtok(text, ","); p; p = strtok(NULL, ",")) pairs[n++] = p;
        ck_assert_msg(tn_graph_alias(g, pairs, n) == TN_E_ARGUMENT, "%s", illegal[k].pair);
        ck_assert_msg(strstr(message, illegal[k].want), "%s: %s", illegal[k].pair, message);
        tn_graph_free(g);
    }
}
END_TEST

/* What is so already stays so, also through text. */
START_TEST(again) {
    static const char *const pair = "past.*=present.*";
    tn_graph *g = parsed(_i ? fixed : attention);
    char *text, *second;
    size_t size, second_size;
    for (int k = 0; k < 2; k++) ck_assert_msg(tn_graph_alias(g, &pair, 1) == TN_OK, "%s", message);
    ck_assert_uint_eq(gen_count(g, TN_OP_APPEND), _i ? 0 : 2);
    ck_assert_int_eq(tn_verify(g), TN_OK);
    ck_assert_int_eq(tn_print(g, NULL, &text, &size), TN_OK);
    tn_graph *h = parsed(text);
    ck_assert_int_eq(tn_graph_alias(h, &pair, 1), TN_OK);
    ck_assert_int_eq(tn_print(h, NULL, &second, &second_size), TN_OK);
    ck_assert_str_eq(text, second);
    tn_free(&env, text, size + 1);
    tn_free(&env, second, second_size + 1);
    tn_graph_free(g);
    tn_graph_free(h);
}
END_TEST

/* An append that is no output, or not of an input, is no legal graph; nor one that does not fit. */
START_TEST(invalid_graphs) {
    static const struct {
        const char *text, *want;
    } cases[] = {
        {FUNC(TWO, "  %a = append %x, %z {axis=1, capacity=8}\n  %y = neg %a\n", Y),
         "is not an output of the function that begins with one of its inputs"},
        {FUNC(TWO, "  %n = neg %x\n  %y = append %n, %z {axis=1, capacity=8}\n", Y),
         "is not an output of the function that begins with one of its inputs"},
        {FUNC(TWO, "  %y = append %x, %z {axis=1, capacity=8}\n  %w = append %x, %x {axis=1, capacity=8}\n",
              "%y, %w {names=[\"y\", \"w\"]}"),
         "is not the only one in its input's buffer"},
        {FUNC(PUT, "  %p = put_rows %x, %r, %i, %i {shared=true}\n  %y = neg %p\n", Y),
         "is not an output of the function that has the rows of one of its inputs"},
        {FUNC(PUT, "  %p = neg %x\n  %y = put_rows %p, %r, %i, %i {shared=true}\n", Y),
         "is not an output of the function that has the rows of one of its inputs"},
        {FUNC(PUT, "  %y = put_rows %x, %r, %i, %i {shared=true}\n  %w = neg %x\n", "%y, %w {names=[\"y\", \"w\"]}"),
         "is not the only one that reads its input's buffer"},
        {FUNC("%x: f32[2,5,4], %z: f32[2,4,4]", "  %y = append %x, %z {axis=1, capacity=8}\n", Y), "capacity"},
        {FUNC("%x: f32[2,5,4], %z: f32[2,4,4]", "  %y = append %x, %z {axis=1, capacity=-1}\n", Y),
         "negative capacity"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        tn_status st;
        message[0] = 0;
        tn_graph *g = tn_parse(&env, "text", cases[k].text, strlen(cases[k].text), NULL, 0, true, &st);
        if (g) st = tn_verify(g);
        ck_assert_msg(st != TN_OK && strstr(message, cases[k].want), "%zu: %s", k, message);
        tn_graph_free(g);
    }
}
END_TEST

/* ---- random graphs ----------------------------------------------------------------------------------------------- */

/* In one buffer as apart, bit for bit. */
START_TEST(random_graphs) {
    for (uint64_t seed = 40; seed < 43; seed++) {
        tn_graph *g = gen_growing_graph(&env, seed, 8, true);
        ck_assert_msg(g != NULL, "seed %u: %s", (unsigned)seed, message);
        size_t n_out = tn_graph_output_count(g);
        model m = open_graph(g, TN_FP32, NULL, TN_EMU);
        tn_alias a;
        float *in[3], *apart[16], *together[16];
        const void *run_in[3], *enqueue_in[3];
        void *enqueue_out[16];
        for (int64_t n = 1; n <= 2; n++) {
            const int64_t image[] = {n, 4, 4, 6}, rows[] = {n, 8}, past = 1 + (int64_t)seed % 3;
            ck_assert_int_eq(tn_context_set_shape(m.c, 0, 4, image), TN_OK);
            ck_assert_int_eq(tn_context_set_shape(m.c, 1, 2, rows), TN_OK);
            int64_t dims[] = {n, 4, 4, 6};
            const tn_tensor_desc *t = tn_plan_input(m.plan, 2);
            for (uint32_t k = 0; k < 4; k++)
                if (!strcmp(t->dim_text[k], "P")) dims[k] = past;
            ck_assert_int_eq(tn_context_set_shape(m.c, 2, 4, dims), TN_OK);
            ck_assert_msg(tn_context_alias(m.c, 0, &a) == TN_OK, "%s", message);
            const size_t elements[] = {(size_t)n * 96, (size_t)n * 8, (size_t)(dims[0] * dims[1] * dims[2] * dims[3])};
            for (size_t k = 0; k < 3; k++) {
                run_in[k] = enqueue_in[k] = in[k] = malloc(elements[k] * sizeof(float));
                fill(in[k], elements[k], seed + k);
            }
            for (size_t k = 0; k < n_out; k++) {
                apart[k] = calloc(1 << 16, sizeof(float));
                enqueue_out[k] = together[k] = calloc(1 << 16, sizeof(float));
            }
            ck_assert_msg(tn_context_run(m.c, run_in, (void *const *)apart) == TN_OK, "%s", message);
            float *buffer = calloc(1, a.bytes);
            const size_t run = a.capacity ? elements[2] / ((size_t)a.bytes / a.pitch) : elements[2];
            for (size_t k = 0; k * run < elements[2]; k++)
                memcpy((char *)buffer + k * (a.capacity ? a.pitch : 0), in[2] + k * run, run * sizeof(float));
            enqueue_in[2] = enqueue_out[a.output] = buffer;
            ck_assert_msg(tn_context_enqueue(m.c, enqueue_in, enqueue_out, NULL) == TN_OK, "%s", message);
            for (size_t k = 0; k < n_out; k++)
                if (k != a.output) ck_assert_mem_eq(apart[k], together[k], (1 << 16) * sizeof(float));
            for (size_t k = 0; k < 3; k++) free(in[k]);
            for (size_t k = 0; k < n_out; k++) free(apart[k]), free(together[k]);
            free(buffer);
        }
        close_model(&m);
    }
}
END_TEST

int main(void) {
    const TTest *const tests[] = {
        tokens_emulated, tokens_emulated_half, tokens_on_cpu, fixed_emulated, fixed_on_cpu, packed, one_row, buffers,
        refused,         invalid_graphs,       random_graphs};
    Suite *s = suite_create("alias");
    TCase *t = tcase_create("alias");
    tcase_set_timeout(t, 240);
    for (size_t k = 0; k < sizeof tests / sizeof *tests; k++) tcase_add_test(t, tests[k]);
    tcase_add_loop_test(t, again, 0, 2);
    suite_add_tcase(s, t);
    return run_suite(s);
}
