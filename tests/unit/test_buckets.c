/* test_buckets.c: which sizes are chosen where nobody says any, that they are said, and that a spec's candidates are
 * ranked by the sizes of its bucket. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/buckets.h"
#include "codegen/cases.h"
#include "codegen/codegen.h"
#include "codegen/program/program.h"
#include "passes/pass.h"
#include "tenon/compiler.h"
#include "tests/unit/parsed.h"
#include "tests/unit/suite.h"

/* ---- choosing ---------------------------------------------------------------------------------------------------- */

#define FUNC(args, body) "func @main(" args ") {\n  " body "\n  return %z\n}\n"
#define ELEMENTWISE(type) FUNC("%x: " type, "%z = neg %x")
#define CONV(type) FUNC("%x: " type ", %w: f32[4,3,3,3]", "%z = conv %x, %w")

static const struct row {
    const char *text, *want; /* want: the buckets, or the hints of what has one */
} rows[] = {
    /* by the axis, by what reads it, by its name */
    {ELEMENTWISE("f32[N,3]"), "N=0..2:1; N=3..:8"},
    {ELEMENTWISE("i64[N,S]"),
     "N=0..2:1, S=0..256:128; N=0..2:1, S=257..:512; N=3..:8, S=0..256:128; N=3..:8, S=257..:512"},
    {ELEMENTWISE("f32[2,S,768]"), "S=0..256:128; S=257..:512"},
    {ELEMENTWISE("f32[2,12,past_length,64]"), "past_length=0..256:128; past_length=257..:512"},
    {ELEMENTWISE("f32[SeqLen,BatchSize]"), "SeqLen=0..256:128, BatchSize=0..2:1; SeqLen=257..:512, BatchSize=0..2:1; "
                                           "SeqLen=0..256:128, BatchSize=3..:8; SeqLen=257..:512, BatchSize=3..:8"},
    {CONV("f32[1,3,H,W]"), "H=0..378:224, W=0..378:224; H=379..:640, W=379..:640"},
    {CONV("f32[N,3,2*K,64]"), "N=0..2:1; N=3..:8"},
    {ELEMENTWISE("f32[2,3,Q]"), ""}, /* nothing is known of it */
    /* three uses are too many: images are of one size */
    {FUNC("%x: f32[N,3,H,64], %w: f32[4,3,3,3], %i: i64[N,S]", "%z = conv %x, %w\n  %y = neg %i"),
     "N=0..2:1, H=0..:224, S=0..256:128; N=0..2:1, H=0..:224, S=257..:512; N=3..:8, H=0..:224, S=0..256:128; "
     "N=3..:8, H=0..:224, S=257..:512"},
    /* within ranges */
    {"symbol N in [1, 4]\n" ELEMENTWISE("f32[N,3]"), "N=1..2:1; N=3..4:4"},
    {"symbol N in [16, 64]\n" ELEMENTWISE("f32[N,3]"), "N hint 16"},
    {"symbol S in [1, 64]\n" ELEMENTWISE("i64[4,S]"), "S hint 64"},
    /* hints are kept */
    {"symbol N in [0, inf] hint 5\n" ELEMENTWISE("i64[N,S]"), "S=0..256:128; S=257..:512"},
    {"symbol N in [0, inf] hint 5\nsymbol S in [0, inf] hint 7\n" ELEMENTWISE("i64[N,S]"), "N hint 5, S hint 7"},
    {"symbol N in [0, inf] hint 5\n" FUNC("%x: f32[N,3], %y: f32[N,3]", "%z = add %x, %y"), "N hint 5"},
    /* conditions hold */
    {FUNC("%x: f32[2,S,8]", "%z = slice %x {starts=[0,0,0], sizes=[2,60,8], steps=[1,1,1]}"),
     "S=0..256:128; S=257..:512"},
    {FUNC("%x: i64[2,S], %y: i64[2,64]", "%z = add %x, %y"), "S hint 64"}, /* 64 or 1 */
    {FUNC("%x: f32[N,K], %y: f32[5,3]", "%z = matmul %x, %y"), "N=0..2:1; N=3..:8"},
    {FUNC("%x: i64[N,S], %y: i64[N,T], %w: i64[4,64]",
          "%a = concat %x, %y {axis=0}\n  %b = concat %x, %w {axis=0}\n  %z = concat %a, %b {axis=0}"),
     "N=0..2:1, T=0..:64; N=3..:8, T=0..:64"},
    /* buckets of the user keep their ranges; typical sizes that she leaves out are chosen */
    {"bucket N in [1, 4]\nbucket N in [5, 64]\nbucket N in [65, 99] hint 80\n" ELEMENTWISE("i64[N,S]"),
     "N=1..4:1, S=0..:512; N=5..64:8; N=65..99:80"},
    {"bucket N in [8, 64] hint 16 by 8\nbucket N in [1, 64]\n" ELEMENTWISE("f32[N,3]"), "N=12..64:16 by 8; N=1..11:8"},
    /* those that overlap: each size to the bucket that is more like it, along the symbol that differs most */
    {"bucket N in [1, 32] hint 1, S in [1, 512] hint 128\nbucket N in [1, 32] hint 8, S in [1, 512] hint 128\n"
     "bucket N in [1, 32] hint 32, S in [1, 512] hint 128\nbucket N in [1, 32] hint 8, S in [1, 512] hint "
     "384\n" ELEMENTWISE("i64[N,S]"),
     "N=1..2:1, S=1..512:128; N=3..16:8, S=1..221:128; N=17..32:32, S=1..512:128; N=3..16:8, S=222..512:384"},
};

static void hints_text(const tn_graph *g, char *buf, size_t size) {
    size_t n = 0;
    *buf = 0;
    for (size_t k = 0; k < tn_sym_count(g) && n < size; k++)
        if (tn_dim_hint(g, tn_sym_at(g, k)))
            n += (size_t)snprintf(buf + n, size - n, "%s%s hint %lld", n ? ", " : "", tn_dim_name(g, tn_sym_at(g, k)),
                                  (long long)tn_dim_hint(g, tn_sym_at(g, k)));
}

START_TEST(sizes_are_chosen_by_use) {
    tn_graph *g = parsed(rows[_i].text);
    char got[1024] = "";
    size_t n = 0;
    const bool given = tn_bucket_count(g) > 0;
    ck_assert_msg(tn_choose_buckets(g) == TN_OK, "%s", message);
    for (size_t b = 0; b < tn_bucket_count(g) && n < sizeof got; b++) {
        n += (size_t)snprintf(got + n, sizeof got - n, "%s", b ? "; " : "");
        n += tn_bucket_print(g, b, got + n, sizeof got - n);
    }
    if (!tn_bucket_count(g)) hints_text(g, got, sizeof got);
    ck_assert_str_eq(got, rows[_i].want);
    if (tn_bucket_count(g) && !given)
        ck_assert_msg(strstr(note, got) && strstr(note, "nobody says how large"), "%s", note);
    else
        ck_assert_str_eq(note, "");
    ck_assert_int_eq(tn_verify(g), TN_OK);
    tn_graph_free(g);
}
END_TEST

/* Every size that a symbol may have is in one bucket, alone, and in none twice. */
START_TEST(chosen_buckets_cover_the_range) {
    tn_graph *g = parsed("symbol N in [1, 100]\nsymbol S in [3, 2000]\n" ELEMENTWISE("i64[N,S]"));
    ck_assert_int_eq(tn_choose_buckets(g), TN_OK);
    for (int64_t n = 1; n <= 100; n++)
        for (int64_t s = 3; s <= 2000; s++) {
            int in = 0;
            for (size_t b = 0; b < tn_bucket_count(g); b++) {
                const tn_size_range x = tn_bucket_range(g, b, tn_dim_sym(g, "N")),
                                    y = tn_bucket_range(g, b, tn_dim_sym(g, "S"));
                in += x.lo <= n && n <= x.hi && y.lo <= s && s <= y.hi;
            }
            ck_assert_int_eq(in, 1);
        }
    tn_graph_free(g);
}
END_TEST

/* ---- specs ------------------------------------------------------------------------------------------------------- */

typedef struct kernels {
    tn_graph *g;
    tn_memory mem;
    tn_spec *s; /* of the first kernel */
} kernels;

static kernels open_text(const char *text) {
    kernels k = {.g = parsed(text)};
    const tn_pass_options o = {.compute = TN_F16, .nhwc = true};
    tn_pass_ctx *ctx = tn_pass_ctx_new(NULL, &o);
    ck_assert_int_eq(tn_run_passes(k.g, "fuse", ctx), TN_OK);
    ck_assert_int_eq(tn_plan_memory(k.g, &k.mem), TN_OK);
    tn_pass_ctx_free(ctx);
    TN_FOR_NODES(k.g, tn_graph_body(k.g), n) {
        if (tn_node_op(k.g, n) == TN_OP_KERNEL && !k.s) ck_assert_int_eq(tn_spec_make(k.g, n, &k.mem, &k.s), TN_OK);
    }
    return k;
}

static void close_kernels(kernels *k) {
    tn_spec_free(k->s);
    tn_memory_free(k->g, &k->mem);
    tn_graph_free(k->g);
}

static const char product[] = "bucket N in [1, 4] hint 1, M in [1, 9] hint 3\n"
                              "bucket N in [5, 9999] hint 4096, M in [1, 9] hint 3\n"
                              "func @main(%x: f16[N,4096], %w: f16[4096,4096]) -> (%y: f16[N,4096]) {\n"
                              "  %y = matmul %x, %w\n  return %y\n}\n";

START_TEST(a_spec_in_each_bucket) {
    kernels k = open_text(product);
    const tn_spec second = tn_spec_at(k.s, 1);
    char text[96];
    ck_assert_uint_eq(k.s->typical.n, 1);
    ck_assert_int_eq(k.s->typical.b[0].value, 1);
    ck_assert_int_eq(second.typical.b[0].value, 4096);
    ck_assert_double_eq_tol(second.flops / k.s->flops, 4096, 1e-9);
    ck_assert_double_gt(second.bytes, 2 * k.s->bytes);
    ck_assert_ptr_nonnull(strstr(k.s->text, "typically 1, 4096"));
    tn_spec_sizes_text(k.s, text);
    ck_assert_str_eq(text, "@1");
    tn_spec_sizes_text(&second, text);
    ck_assert_str_eq(text, "@4096");
    close_kernels(&k);
    k = open_text("func @main(%x: f16[N,8]) -> (%y: f16[N,8]) {\n  %y = neg %x\n  return %y\n}\n");
    tn_spec_sizes_text(k.s, text);
    ck_assert_str_eq(text, "");
    close_kernels(&k);
}
END_TEST

/* The cost model sees a few rows in one bucket and a large product in the other. */
START_TEST(candidates_are_ranked_by_bucket) {
    kernels k = open_text(product);
    const tn_arch *arch = tn_arch_find("sm_90a");
    double cost[2];
    char best[2][160];
    for (size_t b = 0; b < 2; b++) {
        const tn_spec s = tn_spec_at(k.s, b);
        tn_choices *l;
        ck_assert_int_eq(tn_choices_new(&s, arch, NULL, 8, &l), TN_OK);
        const tn_choice *c = tn_choices_at(l, 0);
        tn_knobs_text(c->tpl, c->knob, best[b], sizeof best[b]);
        cost[b] = c->cost_us;
        tn_choices_free(l);
    }
    ck_assert_str_ne(best[0], best[1]);
    ck_assert_double_gt(cost[1], 5 * cost[0]);
    close_kernels(&k);
}
END_TEST

/* The knobs' next assignment; false after the last. */
static bool next_assignment(const tn_template *t, uint32_t at[TN_MAX_KNOBS]) {
    for (uint32_t k = 0; k < t->n_knobs; k++) {
        if (++at[k] < t->knobs[k].n) return true;
        at[k] = 0;
    }
    return false;
}

/* Tried one by one, those are as many. */
static size_t count_fitting(const tn_spec *s, const tn_arch *arch, const tn_template *t) {
    uint32_t at[TN_MAX_KNOBS] = {0};
    size_t n = 0;
    do {
        int64_t knob[TN_MAX_KNOBS] = {0};
        char text[160];
        tn_variant v;
        for (uint32_t k = 0; k < t->n_knobs; k++) knob[k] = t->knobs[k].values[at[k]];
        tn_knobs_text(t, knob, text, sizeof text);
        if (tn_variant_make(s, arch, t->name, strchr(text, ' '), &v) != TN_OK) continue;
        n++;
        tn_variant_free(&env, &v);
    } while (next_assignment(t, at));
    return n;
}

START_TEST(choices_are_all_that_fit) {
    static const char *const texts[] = {
        "func @main(%x: f16[256,512], %w: f16[512,384]) -> (%y: f16[256,384]) {\n  %y = matmul %x, %w\n  return "
        "%y\n}\n",
        "symbol N in [1, 64] hint 2\nfunc @main(%x: f16[N,512], %w: f16[512,384]) -> (%y: f16[N,384]) {\n"
        "  %y = matmul %x, %w\n  return %y\n}\n",
        "symbol N in [1, 64] hint 8\nfunc @main(%x: f32[N,70]) -> (%y: f32[N,70]) {\n"
        "  %y = softmax %x {axis=1}\n  return %y\n}\n",
        "func @main(%x: f32[6,70]) -> (%y: f32[6,70]) {\n  %y = exp %x\n  return %y\n}\n"};
    enum { MOST = 3000 /* assignments that are tried */ };
    size_t fitting = 0, tried = 0;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        kernels k = open_text(texts[i]);
        const tn_arch *arch = tn_arch_find("sm_90a");
        for (size_t j = 0; j < tn_template_count(); j++) {
            const tn_template *t = tn_template_at(j);
            size_t all = 1;
            tn_choices *l;
            for (uint32_t q = 0; q < t->n_knobs; q++) all *= t->knobs[q].n;
            ck_assert_int_eq(tn_choices_new(k.s, arch, t, 0, &l), TN_OK);
            const size_t n = tn_choices_count(l);
            tn_choices_free(l);
            if (!n || all > MOST) continue;
            ck_assert_msg(n == count_fitting(k.s, arch, t), "%s has %zu variants", t->name, n);
            fitting += n;
            tried += all;
        }
        close_kernels(&k);
    }
    ck_assert(fitting > 50 && tried > 3 * fitting);
}
END_TEST

/* What is selected does not depend on what was selected before, and stays when the rest goes. */
START_TEST(choices_are_selected_anew) {
    kernels k = open_text(product);
    const tn_spec s = tn_spec_at(k.s, 1);
    tn_choices *a, *b;
    ck_assert_int_eq(tn_choices_new(&s, tn_arch_find("sm_90a"), NULL, 4, &a), TN_OK);
    ck_assert_int_eq(tn_choices_new(&s, tn_arch_find("sm_90a"), NULL, 24, &b), TN_OK);
    ck_assert(tn_choices_hash(a) != tn_choices_hash(b));
    tn_choices_select(b, 4);
    ck_assert(tn_choices_hash(a) == tn_choices_hash(b));
    tn_choices_trim(b);
    ck_assert(tn_choices_hash(a) == tn_choices_hash(b));
    for (size_t i = 0; i < 4; i++)
        ck_assert_int_eq(memcmp(tn_choices_at(a, i), tn_choices_at(b, i), sizeof(tn_choice)), 0);
    tn_variant *v;
    size_t n;
    ck_assert_int_eq(tn_choices_make(b, &v, &n), TN_OK);
    ck_assert_uint_eq(n, 4);
    for (size_t i = 0; i < n; i++) {
        ck_assert_ptr_eq(v[i].tpl, tn_choices_at(a, i)->tpl);
        tn_variant_free(&env, &v[i]);
    }
    tn_free(&env, v, n * sizeof *v);
    tn_choices_free(a);
    tn_choices_free(b);
    close_kernels(&k);
}
END_TEST

/* Kernels of one bucket are judged at the sizes of the others that cost less. */
START_TEST(other_buckets_are_judged) {
    static const char text[] = "bucket N in [1, 9] hint 5\nbucket N in [10, 999] hint 600\n"
                               "func @main(%x: f32[N,70]) -> (%y: f32[N,70]) {\n  %y = exp %x\n  return %y\n}\n";
    kernels k = open_text(text);
    for (size_t b = 0; b < 2; b++) {
        tn_shape shapes[TN_MAX_SHAPES];
        const tn_spec s = tn_spec_at(k.s, b);
        const size_t n = tn_judged_shapes(&s, shapes);
        ck_assert_uint_ge(n, 4);
        ck_assert_int_eq(shapes[0].b[0].value, b ? 600 : 5);
        ck_assert_int_eq(shapes[1].b[0].value, b ? 5 : 600);
    }
    close_kernels(&k);
}
END_TEST

/* ---- cases ------------------------------------------------------------------------------------------------------- */

static const char case_buckets[] =
    "symbol B in [1, 8]\nsymbol S in [1, 64]\nbucket B in [1, 8] hint 1, S in [1, 64] hint 16\n"
    "bucket B in [1, 8] hint 4, S in [9, 64] hint 24\n";

/* Attention and a concatenation, with these sizes. */
static kernels open_attention(const char *buckets, const char *b, const char *s) {
    char text[1000];
    snprintf(text, sizeof text,
             "%sfunc @main(%%x: f16[%s,%s,32]) {\n  %%t = transpose %%x {perm=[0,2,1]}\n  %%s = matmul %%x, %%t\n"
             "  %%p = softmax %%s {axis=2}\n  %%y = matmul %%p, %%x\n  %%u = transpose %%s {perm=[0,2,1]}\n"
             "  %%z = concat %%s, %%u {axis=1}\n  return %%y, %%z\n}\n",
             buckets, b, s);
    return open_text(text);
}

static int64_t value_at(tn_graph *g, tn_dim d, const tn_binding *b, size_t n) {
    int64_t v = -1;
    ck_assert(tn_dim_eval(g, d, b, n, &v));
    return v;
}

/* Where a value lies and how large it is, in the case as in the graph, at sizes of the case's guard. */
static void check_same(const kernels *k, const tn_size_case *c, tn_val v, int64_t rows, int64_t cols) {
    const tn_placement *in = &c->mem.of[v.i], *out = &k->mem.of[v.i];
    const tn_binding own[] = {{"B", rows}, {"S", cols}};
    ck_assert_int_eq(in->space, out->space);
    ck_assert_uint_ge(in->align, out->align);
    if (in->space == TN_SPACE_NONE) return;
    tn_binding there[3] = {{"B", rows}, {"S", cols}};
    for (uint32_t s = 0; s < c->n_sizes; s++)
        if (c->sizes[s].part.i)
            there[2] = (tn_binding){tn_dim_name(c->g, c->sizes[s].part), cols / c->sizes[s].in.divisor};
    const size_t n = there[2].name ? 3 : 2;
    ck_assert_int_eq(value_at(c->g, in->offset, there, n), value_at(k->g, out->offset, own, 2));
    ck_assert_int_eq(value_at(k->g, tn_case_dim(c, k->g, in->offset), own, 2), value_at(k->g, out->offset, own, 2));
    ck_assert_int_eq(value_at(k->g, out->offset, own, 2) % in->align, 0);
    for (uint32_t i = 0; i < in->rank; i++) {
        const tn_dim d = tn_val_dim(c->g, v, i);
        ck_assert_int_eq(value_at(c->g, in->strides[i], there, n), value_at(k->g, out->strides[i], own, 2));
        ck_assert_int_eq(value_at(c->g, d, there, n), value_at(k->g, tn_val_dim(k->g, v, i), own, 2));
        ck_assert_int_eq(value_at(k->g, tn_case_dim(c, k->g, d), own, 2), value_at(c->g, d, there, n));
    }
}

START_TEST(cases_of_buckets) {
    static const struct {
        tn_case_kind kind;
        uint32_t bucket;
        tn_size_range b, s;
    } want[] = {{TN_CASE_ANY, 0, {0}, {0}},
                {TN_CASE_ANY, 1, {0}, {0}},
                {TN_CASE_WITHIN, 0, {1, 1, 1, 0}, {1, 64, 16, 8}},
                {TN_CASE_POINT, 0, {1, 1, 1, 0}, {16, 16, 16, 0}},
                {TN_CASE_WITHIN, 1, {1, 8, 4, 0}, {9, 64, 24, 8}},
                {TN_CASE_POINT, 1, {4, 4, 4, 0}, {24, 24, 24, 0}}};
    kernels k = open_attention(case_buckets, "B", "S");
    tn_size_case *c;
    size_t n;
    ck_assert_msg(tn_cases_make(k.g, &k.mem, NULL, &c, &n) == TN_OK, "%s", message);
    ck_assert_uint_eq(n, sizeof want / sizeof *want);
    for (size_t i = 0; i < n; i++) {
        ck_assert_int_eq(c[i].kind, want[i].kind);
        ck_assert_uint_eq(c[i].bucket, want[i].bucket);
        if (c[i].kind == TN_CASE_ANY) continue;
        ck_assert_uint_eq(c[i].n_sizes, 2);
        ck_assert(tn_same_range(c[i].sizes[0].in, want[i].b));
        ck_assert(tn_same_range(c[i].sizes[1].in, want[i].s));
        ck_assert_int_eq(tn_verify(c[i].g), TN_OK);
        const int64_t by = want[i].s.divisor ? want[i].s.divisor : want[i].s.lo;
        for (int64_t rows = want[i].b.lo; rows <= want[i].b.hi; rows++)
            for (int64_t cols = (want[i].s.lo + by - 1) / by * by; cols <= want[i].s.hi; cols += by)
                for (uint32_t v = 1; v < k.mem.n; v++) check_same(&k, &c[i], (tn_val){v}, rows, cols);
    }
    tn_cases_free(&env, c, n);
    close_kernels(&k);
}
END_TEST

/* Exactly typical sizes: the same text as of a graph that has no other, so the same candidates and records. */
START_TEST(a_point_is_a_static_graph) {
    kernels k = open_attention(case_buckets, "B", "S"), fixed = open_attention("", "4", "24");
    tn_size_case *c;
    size_t n, compared = 0;
    ck_assert_int_eq(tn_cases_make(k.g, &k.mem, NULL, &c, &n), TN_OK);
    tn_node other = tn_region_first(fixed.g, tn_graph_body(fixed.g));
    TN_FOR_NODES(k.g, tn_graph_body(k.g), node) {
        if (tn_node_op(k.g, node) != TN_OP_KERNEL) continue;
        while (tn_node_op(fixed.g, other) != TN_OP_KERNEL) other = tn_node_next(fixed.g, other);
        tn_spec *a, *b;
        ck_assert_int_eq(tn_spec_make(c[n - 1].g, node, &c[n - 1].mem, &a), TN_OK);
        ck_assert_int_eq(tn_spec_make(fixed.g, other, &fixed.mem, &b), TN_OK);
        ck_assert_str_eq(a->text, b->text);
        tn_spec_free(a);
        tn_spec_free(b);
        other = tn_node_next(fixed.g, other);
        compared++;
    }
    ck_assert_uint_ge(compared, 3);
    tn_cases_free(&env, c, n);
    close_kernels(&fixed);
    close_kernels(&k);
}
END_TEST

/* What cannot be assumed of other sizes: rows of whole vectors, a softmax's row in registers. */
START_TEST(cases_have_more_candidates) {
    kernels k = open_attention(case_buckets, "B", "S");
    const tn_arch *arch = tn_arch_find("sm_90a");
    tn_size_case *c;
    size_t n, most[3] = {0}; /* by kind of case, over all kernels */
    ck_assert_int_eq(tn_cases_make(k.g, &k.mem, NULL, &c, &n), TN_OK);
    TN_FOR_NODES(k.g, tn_graph_body(k.g), node) {
        if (tn_node_op(k.g, node) != TN_OP_KERNEL) continue;
        for (size_t i = 0; i < n; i++) {
            tn_spec *s;
            tn_choices *l;
            ck_assert_int_eq(tn_spec_make(c[i].g, node, c[i].kind == TN_CASE_ANY ? &k.mem : &c[i].mem, &s), TN_OK);
            ck_assert_int_eq(tn_choices_new(s, arch, NULL, 0, &l), TN_OK);
            if (c[i].bucket == 0) most[c[i].kind] += tn_choices_count(l);
            tn_choices_free(l);
            tn_spec_free(s);
        }
    }
    ck_assert_uint_gt(most[TN_CASE_WITHIN], most[TN_CASE_ANY]);
    ck_assert_uint_ge(most[TN_CASE_POINT], most[TN_CASE_WITHIN]);
    tn_cases_free(&env, c, n);
    close_kernels(&k);
}
END_TEST

/* No case assumes sizes that the model does not take, or that nobody said. */
START_TEST(cases_that_cannot_be) {
    static const struct {
        const char *text;
        size_t n;
    } rows[] = {
        {"func @main(%x: f16[N,8]) {\n  %z = neg %x\n  return %z\n}\n", 1}, /* no buckets */
        {"symbol N in [1, 64]\nbucket N in [1, 64] hint 9\nfunc @main(%x: f16[N,8]) {\n  %z = neg %x\n  return %z\n}\n",
         2},
        {"bucket N in [0, 64]\nfunc @main(%x: f16[N,M]) {\n  %z = neg %x\n  return %z\n}\n", 2}, /* M has no size */
        {"bucket N in [1, 64] hint 9\nfunc @main(%x: f16[N,8], %y: f16[6,8]) {\n  %z = add %x, %y\n  return %z\n}\n",
         1}, /* 6 or 1 */
    };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        kernels k = open_text(rows[r].text);
        tn_size_case *c;
        size_t n;
        ck_assert_int_eq(tn_graph_collect_conditions(k.g), TN_OK);
        ck_assert_int_eq(tn_cases_make(k.g, &k.mem, NULL, &c, &n), TN_OK);
        ck_assert_msg(n == rows[r].n, "%zu: %zu cases", r, n);
        tn_cases_free(&env, c, n);
        close_kernels(&k);
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("buckets");
    TCase *t = tcase_create("buckets");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, sizes_are_chosen_by_use, 0, (int)(sizeof rows / sizeof *rows));
    tcase_add_test(t, chosen_buckets_cover_the_range);
    tcase_add_test(t, a_spec_in_each_bucket);
    tcase_add_test(t, candidates_are_ranked_by_bucket);
    tcase_add_test(t, choices_are_all_that_fit);
    tcase_add_test(t, choices_are_selected_anew);
    tcase_add_test(t, other_buckets_are_judged);
    tcase_add_test(t, cases_of_buckets);
    tcase_add_test(t, a_point_is_a_static_graph);
    tcase_add_test(t, cases_have_more_candidates);
    tcase_add_test(t, cases_that_cannot_be);
    suite_add_tcase(s, t);
    return run_suite(s);
}
