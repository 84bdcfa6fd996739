/* Plans whose kernels read weights packed: right on the reference, which makes the plain weights of the packed ones, and on
 * the emulated device; each order there once; kept when the plan is compiled for another architecture; 2:4 where they are. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "codegen/compile.h"
#include "codegen/host/ir.h"
#include "codegen/program/manifest.h"
#include "runtime/plan/plan.h"
#include "tenon/host.h"
#include "tests/unit/suite.h"

enum { K = 27, H = 100, OUT = 77, MOST = 40 };
static float w1[K * H], w2[H * OUT], x[MOST * K], want[MOST * OUT];
static char message[600], note[600];

static void keep(void *user, const tn_diag *d) {
    (void)user;
    if (d->severity == TN_ERROR) snprintf(message, sizeof message, "%s: %s", d->loc, d->message);
    if (d->severity == TN_NOTE && strstr(d->message, "2:4")) snprintf(note, sizeof note, "%s", d->message);
}
static const tn_env env = {.diag = keep};

static void fill(float *p, int n, int period) {
    for (int k = 0; k < n; k++) p[k] = (float)(k * 7 % period - period / 2) / 16;
}

/* want = relu(x w1) w2, in doubles. */
static void make_numbers(void) {
    fill(w1, K * H, 31), fill(w2, H * OUT, 29), fill(x, MOST * K, 23);
    for (int m = 0; m < MOST; m++) {
        double h[H] = {0};
        for (int n = 0; n < H; n++)
            for (int k = 0; k < K; k++) h[n] += (double)x[m * K + k] * (double)w1[k * H + n];
        for (int o = 0; o < OUT; o++) {
            double sum = 0;
            for (int n = 0; n < H; n++) sum += fmax(h[n], 0) * (double)w2[n * OUT + o];
            want[m * OUT + o] = (float)sum;
        }
    }
}

static tn_graph *network(void) {
    tn_graph *g = tn_graph_new(&env);
    const tn_dim n = tn_dim_sym(g, "N");
    tn_dim_set_range(g, n, 1, MOST);
    const tn_val in = tn_graph_add_input(g, "x", tn_type_make(g, TN_F32, 2, (tn_dim[]){n, tn_dim_const(g, K)}));
    const tn_val a = tn_const(g, tn_type_const(g, TN_F32, 2, (int64_t[]){K, H}), tn_blob_copy(g, w1, sizeof w1), "w1");
    const tn_val b =
        tn_const(g, tn_type_const(g, TN_F32, 2, (int64_t[]){H, OUT}), tn_blob_copy(g, w2, sizeof w2), "w2");
    const tn_attrs_matmul at = {0};
    tn_val y = tn_emit1(g, TN_OP_MATMUL, &at, 2, (tn_val[]){in, a});
    y = tn_unary(g, TN_OP_RELU, y);
    y = tn_emit1(g, TN_OP_MATMUL, &at, 2, (tn_val[]){y, b});
    tn_graph_set_outputs(g, 1, &y, (const char *const[]){"y"});
    return g;
}

typedef struct compiled {
    void *data;
    size_t size;
    tn_plan *plan;
} compiled;

static tn_plan *load(compiled *c) {
    tn_status st;
    c->plan = tn_plan_load_memory(&env, c->data, c->size, &st);
    ck_assert_msg(c->plan != NULL, "%s", message);
    return c->plan;
}

static tn_compile_options options(const char *const *target) {
    return (tn_compile_options){.targets = target,
                                .n_targets = 1,
                                .precision = TN_FP16,
                                .no_gpu = true,
                                .sources_only = true,
                                .cache_dir = "",
                                .threads = 1};
}

static compiled compile_graph(tn_graph *g, const char *target) {
    compiled c = {0};
    const tn_compile_options o = options(&target);
    ck_assert_msg(tn_compile_memory(g, &o, &c.data, &c.size) == TN_OK, "%s", message);
    tn_graph_free(g);
    load(&c);
    return c;
}

static compiled compile(const char *target) {
    return compile_graph(network(), target);
}

static void release(compiled *c) {
    tn_plan_free(c->plan);
    tn_free(&env, c->data, c->size);
}

static void run(tn_plan *p, tn_device device, int64_t n) {
    static float y[MOST * OUT];
    tn_status st;
    tn_context *c = tn_context_new(p, &(tn_context_options){.device = device, .host = tn_host_devices()}, &st);
    ck_assert_msg(c != NULL, "%s", message);
    ck_assert_int_eq(tn_context_set_shape(c, 0, 2, (int64_t[]){n, K}), TN_OK);
    memset(y, 0x7f, sizeof y);
    ck_assert_msg(tn_context_run(c, (const void *const[]){x}, (void *const[]){y}) == TN_OK, "%s", message);
    for (int64_t k = 0; k < n * OUT; k++)
        ck_assert_msg(fabs((double)y[k] - (double)want[k]) <= 0.02 * (1 + fabs((double)want[k])),
                      "device %d, N=%lld: element %lld is %g, not %g", (int)device, (long long)n, (long long)k,
                      (double)y[k], (double)want[k]);
    tn_context_free(c);
}

static void run_all(tn_plan *p) {
    static const int64_t sizes[] = {1, 5, MOST};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        run(p, TN_CPU, sizes[k]);
        run(p, TN_EMU, sizes[k]);
    }
}

/* A row of a weight as the graph has it; how often the weights have these bytes. */
static int occurrences(tn_plan *p, const float *w, int n) {
    uint16_t row[H];
    const void *bytes;
    size_t size;
    int found = 0;
    for (int k = 0; k < n; k++) tn_store_num(TN_F16, row, (uint64_t)k, (double)w[k]);
    ck_assert_int_eq(tn_plan_blob(p, p->pb->weights, &bytes, &size), TN_OK);
    for (const char *at = bytes, *end = at + size; (at = memmem(at, (size_t)(end - at), row, 2 * (size_t)n)) != NULL;
         at++)
        found++;
    return found;
}

static size_t packed_consts(const tn_plan *p) {
    size_t n = 0;
    for (size_t k = 0; k < p->pb->n_consts; k++) {
        const tn_packing how = tn_const_packing(p->pb->consts[k]);
        n += how.element != 0;
        for (size_t j = 0; how.element && j < k; j++) { /* once in each order */
            const tn_packing other = tn_const_packing(p->pb->consts[j]);
            ck_assert(strcmp(p->pb->consts[k]->name, p->pb->consts[j]->name) || !tn_packing_equal(&how, &other));
        }
    }
    return n;
}

/* Neither weight can be read in vectors as it is, so all kernels want both packed. */
START_TEST(packed_only) {
    compiled c = compile("sm_90a");
    tn_plan *p = c.plan;
    ck_assert_uint_ge(packed_consts(p), 2);
    for (size_t k = 0; k < p->pb->n_consts; k++) ck_assert(p->pb->consts[k]->packing && p->pb->consts[k]->elsewhere);
    ck_assert_int_eq(occurrences(p, w1, H), 0);
    ck_assert_int_eq(occurrences(p, w2, OUT), 0);
    run_all(p);
    release(&c);
}
END_TEST

/* The graph in the plan has the weights that the network had. */
START_TEST(graph_of_plan) {
    compiled c = compile("sm_90a");
    tn_graph *g;
    int found = 0;
    ck_assert_int_eq(tn_plan_graph(&env, c.plan, "plan", &g), TN_OK);
    TN_FOR_NODES(g, tn_graph_body(g), n) {
        if (tn_node_op(g, n) != TN_OP_CONST) continue;
        const tn_val v = tn_node_result(g, n, 0);
        const bool first = !strcmp(TN_ATTRS_OF(g, n, const)->name, "w1");
        const float *w = first ? w1 : w2;
        for (uint64_t k = 0; k < (first ? K * H : H * OUT); k++)
            ck_assert_double_eq(tn_const_get(g, v, k), (double)w[k]);
        found++;
    }
    ck_assert_int_eq(found, 2);
    tn_graph_free(g);
    release(&c);
}
END_TEST

/* What the program says is what its text says, and holds. */
START_TEST(program_of_plan) {
    compiled c = compile("sm_80");
    tn_program *p;
    char *text;
    size_t size;
    ck_assert_msg(tn_program_read(&env, c.plan->pb, c.plan->pb->archs[0], &p) == TN_OK, "%s", message);
    ck_assert_msg(tn_program_verify(p, &(tn_binding){"N", 3}, 1) == TN_OK, "%s", message);
    ck_assert_int_eq(tn_program_print(p, &text, &size), TN_OK);
    ck_assert_msg(strstr(text, "\"w1\" : ") && strstr(text, " packed \"tiles "), "%s", text);
    tn_program_free(p);
    ck_assert_msg(tn_program_parse(&env, "text", text, &p) == TN_OK, "%s\n%s", message, text);
    tn_program_free(p);
    tn_free(&env, text, size + 1);
    release(&c);
}
END_TEST

/* Again from the plan, for another: what it has for the one architecture is kept, packed as it was. */
static tn_plan *compile_again(tn_plan *first, const char *target) {
    char path[] = "/tmp/tenon-packed-XXXXXX";
    const int fd = mkstemp(path);
    tn_graph *g;
    tn_compile_options o = options(&target);
    o.passes = "";
    tn_status st;
    ck_assert_int_eq(tn_plan_graph(&env, first, "plan", &g), TN_OK);
    ck_assert_msg(tn_compile_again(g, &o, first, path) == TN_OK, "%s", message);
    tn_graph_free(g);
    tn_plan *both = tn_plan_load(&env, path, &st);
    ck_assert_msg(both != NULL, "%s", message);
    ck_assert_uint_eq(both->pb->n_archs, first->pb->n_archs + 1);
    ck_assert_uint_ge(packed_consts(both), packed_consts(first));
    close(fd);
    unlink(path);
    return both;
}

START_TEST(kept) {
    compiled first = compile("sm_90a");
    tn_plan *both = compile_again(first.plan, "sm_80");
    run_all(both);
    tn_plan_free(both);
    release(&first);
}
END_TEST

/* A plan whose packed constants have too few bytes, or are packed as none can be, is refused. */
START_TEST(inconsistent) {
    compiled c = compile("sm_90a");
    TnPlan__Const *x = c.plan->pb->consts[0];
    TnPlan__Packing *how = x->packing;
    const TnPlan__Packing good = *how;
    for (int k = 0; k < 6; k++) {
        switch (k) {
        case 0: how->rows++, how->rows += 256; break;
        case 1: how->mask = 5; break;
        case 2: how->element = 16; break;
        case 3: how->tile_cols = 0; break;
        case 4: how->batch = UINT64_MAX; break;
        default: x->packing = NULL; break;
        }
        message[0] = 0;
        ck_assert_int_eq(tn_plan_check(&env, c.plan->pb, c.size), TN_E_FORMAT);
        ck_assert_msg(strstr(message, "packed"), "%s", message);
        *how = good;
        x->packing = how;
    }
    ck_assert_int_eq(tn_plan_check(&env, c.plan->pb, c.size), TN_OK);
    release(&c);
}
END_TEST

/* ---- two of four ------------------------------------------------------------------------------------------------- */

enum { SM = 24, SK = 512, SN = 256 };
static float sx[SM * SK], sw[SK * SN];

/* y = x w^T of which `crowded` groups of four along k have three elements that are not zero. */
static tn_graph *pruned_product(int crowded, bool row) {
    fill(sx, SM * SK, 23), fill(sw, SK * SN, 31);
    for (int n = 0; n < SN; n++)
        for (int k = 0; k < SK; k += 4) {
            const bool three = crowded > 0 && n % 100 == 7 && k == 8;
            crowded -= three;
            if (three) sw[n * SK + k] = sw[n * SK + k + 1] = sw[n * SK + k + 2] = 1;
            if (!three) sw[n * SK + k + (n + k / 4) % 4] = -0.0f;
            sw[n * SK + k + (three ? 3 : (n + k / 4 + 1 + n % 3) % 4)] = 0;
        }
    tn_graph *g = tn_graph_new(&env);
    const tn_val in = tn_graph_add_input(g, "x", tn_type_const(g, TN_F32, 2, (int64_t[]){SM, SK}));
    const tn_val w =
        tn_const(g, tn_type_const(g, TN_F32, 2, (int64_t[]){SN, SK}), tn_blob_copy(g, sw, sizeof sw), "fc.weight");
    const tn_attrs_matmul at = {.trans_b = true};
    tn_val y[2] = {tn_emit1(g, TN_OP_MATMUL, &at, 2, (tn_val[]){in, w})};
    if (row) {
        const tn_val one = tn_graph_add_input(g, "row", tn_type_const(g, TN_F32, 2, (int64_t[]){1, SK}));
        y[1] = tn_emit1(g, TN_OP_MATMUL, &at, 2, (tn_val[]){one, w});
    }
    tn_graph_set_outputs(g, row ? 2 : 1, y, (const char *const[]){"y", "z"});
    return g;
}

static void run_product(tn_plan *p, tn_device device) {
    static float y[SM * SN];
    tn_status st;
    tn_context *c = tn_context_new(p, &(tn_context_options){.device = device, .host = tn_host_devices()}, &st);
    ck_assert_msg(c != NULL, "%s", message);
    ck_assert_msg(tn_context_run(c, (const void *const[]){sx}, (void *const[]){y}) == TN_OK, "%s", message);
    for (int m = 0; m < SM; m++)
        for (int n = 0; n < SN; n++) {
            double sum = 0;
            for (int k = 0; k < SK; k++) sum += (double)sx[m * SK + k] * (double)sw[n * SK + k];
            const double got = tn_load_num(tn_plan_output(p, 0)->dtype, y, (uint64_t)(m * SN + n));
            ck_assert_msg(fabs(got - sum) <= 0.002 * (1 + fabs(sum)), "device %d: [%d, %d] is %g, not %g", (int)device,
                          m, n, got, sum);
        }
    tn_context_free(c);
}

/* The plan has 9/16 of the weight's bytes, and once; the graph in it has the weight. */
START_TEST(two_of_four) {
    compiled c = compile_graph(pruned_product(0, false), "sm_80");
    const TnPlan__Plan *pb = c.plan->pb;
    ck_assert_uint_eq(pb->n_consts, 1);
    ck_assert(pb->consts[0]->packing && pb->consts[0]->packing->two_of_four && pb->consts[0]->elsewhere);
    ck_assert_uint_eq(pb->consts[0]->size, 2 * SK * SN * 9 / 16);
    const TnPlan__Step *s = pb->archs[0]->steps[pb->archs[0]->n_steps - 1];
    ck_assert_msg(strstr(s->spec, "const two of four\n"), "%s", s->spec);
    ck_assert(s->sparsity && s->sparsity->groups == SK * SN / 4 && !s->sparsity->crowded);
    ck_assert_str_eq(s->sparsity->weight, "fc.weight");
    ck_assert_str_eq(note, "");
    pb->consts[0]->packing->two_of_four = false; /* as if it had all of its bytes */
    ck_assert_int_eq(tn_plan_check(&env, pb, c.size), TN_E_FORMAT);
    pb->consts[0]->packing->two_of_four = true;
    ck_assert_int_eq(tn_plan_check(&env, pb, c.size), TN_OK);
    tn_graph *g;
    ck_assert_int_eq(tn_plan_graph(&env, c.plan, "plan", &g), TN_OK);
    TN_FOR_NODES(g, tn_graph_body(g), n) {
        const tn_val v = tn_node_result(g, n, 0);
        for (uint64_t k = 0; tn_node_op(g, n) == TN_OP_CONST && k < SK * SN; k++)
            ck_assert_double_eq(tn_const_get(g, v, k), (double)sw[k]);
    }
    tn_graph_free(g);
    run_product(c.plan, TN_CPU);
    run_product(c.plan, TN_EMU);
    release(&c);
}
END_TEST

/* Also where another kernel, of a single row, has the weight as it is, with zeros of both signs. */
START_TEST(kept_two_of_four) {
    compiled first = compile_graph(pruned_product(0, true), "sm_80");
    ck_assert_uint_eq(first.plan->pb->n_consts, 2);
    for (size_t k = 0; k < 2; k++) ck_assert(!first.plan->pb->consts[k]->elsewhere);
    tn_plan *both = compile_again(first.plan, "sm_89");
    tn_plan_free(both);
    release(&first);
}
END_TEST

/* One group of three, and the weight is dense; the user is told. */
START_TEST(crowded) {
    for (int k = 1; k < 3; k++) {
        compiled c = compile_graph(pruned_product(k, false), "sm_80");
        const TnPlan__Plan *pb = c.plan->pb;
        for (size_t j = 0; j < pb->n_consts; j++)
            ck_assert(!pb->consts[j]->packing || !pb->consts[j]->packing->two_of_four);
        const TnPlan__Step *s = pb->archs[0]->steps[pb->archs[0]->n_steps - 1];
        ck_assert(!strstr(s->spec, "two of four"));
        ck_assert(s->sparsity && s->sparsity->groups == SK * SN / 4 && s->sparsity->crowded == (uint64_t)k);
        char want_note[200];
        snprintf(
            want_note, sizeof want_note,
            "weight 'fc.weight' is not 2:4 along k: %d of 32,768 groups of four have more than two elements that are "
            "not zero",
            k);
        ck_assert_str_eq(note, want_note);
        run_product(c.plan, TN_EMU);
        release(&c);
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("packed");
    TCase *t = tcase_create("all");
    make_numbers();
    tcase_set_timeout(t, 300);
    tcase_add_test(t, packed_only);
    tcase_add_test(t, graph_of_plan);
    tcase_add_test(t, program_of_plan);
    tcase_add_test(t, kept);
    tcase_add_test(t, inconsistent);
    tcase_add_test(t, two_of_four);
    tcase_add_test(t, crowded);
    tcase_add_test(t, kept_two_of_four);
    suite_add_tcase(s, t);
    return run_suite(s);
}
