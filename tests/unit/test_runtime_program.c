/* The runtime as the interpreter of a plan's program, on a mock driver: steps on several streams become a graph with
 * just the dependencies that the plan states (the mock runs it in another order than list order wherever these allow
 * one), and steps have alternatives for buckets of sizes. */
#include "tests/unit/mock_runtime.h"

/* ---- streams ----------------------------------------------------------------------------------------------------- */

enum { SCALE, SHIFT, DOUBLE, JOIN };

/* a = x * w; b = a + 1 and c = 2 * a side by side; y[i] = b[i] * c[i % 4]. */
static void diamond(sample *s, uint32_t *first, uint32_t *join, size_t n_join) {
    const size_t mul = sample_kernel(s, "k_mul", 0), inc = sample_kernel(s, "k_inc", 0),
                 twice = sample_kernel(s, "k_twice", 0);
    ck_assert_uint_eq(sample_launch(s, "scale", mul), SCALE);
    SAMPLE_PLACE(s, SCALE, INPUT, 0, D_ZERO);
    SAMPLE_PLACE(s, SCALE, CONST, 0, D_ZERO);
    SAMPLE_PLACE(s, SCALE, ARENA, 0, D_ZERO);
    SAMPLE_DIM(s, SCALE, D_NUMEL);
    ck_assert_uint_eq(sample_launch(s, "shift", inc), SHIFT);
    SAMPLE_PLACE(s, SHIFT, ARENA, 0, D_ZERO);
    SAMPLE_PLACE(s, SHIFT, ARENA, 0, D_BYTES);
    SAMPLE_DIM(s, SHIFT, D_NUMEL);
    ck_assert_uint_eq(sample_launch(s, "double", twice), DOUBLE);
    SAMPLE_PLACE(s, DOUBLE, ARENA, 0, D_ZERO);
    SAMPLE_PLACE(s, DOUBLE, ARENA, 0, D_BYTES2);
    SAMPLE_DIM(s, DOUBLE, D_NUMEL);
    ck_assert_uint_eq(sample_launch(s, "join", mul), JOIN);
    SAMPLE_PLACE(s, JOIN, ARENA, 0, D_BYTES);
    SAMPLE_PLACE(s, JOIN, ARENA, 0, D_BYTES2);
    SAMPLE_PLACE(s, JOIN, OUTPUT, 0, D_ZERO);
    SAMPLE_DIM(s, JOIN, D_NUMEL);
    const uint32_t arena = sample_dim(s, TN_PLAN__DIM__KIND__ADD, 0, D_BYTES, D_BYTES2);
    s->plan.arena_size = arena;
    s->step[SHIFT].after = s->step[DOUBLE].after = first;
    s->step[SHIFT].n_after = s->step[DOUBLE].n_after = 1;
    s->step[DOUBLE].stream = 1;
    s->step[JOIN].after = join;
    s->step[JOIN].n_after = n_join;
    s->arch.streams = 2;
}

static bool diamond_right(const buffers *b) {
    for (size_t k = 0; k < b->n; k++) {
        const float a = b->x[k] * (float)(k % 4 + 1), c = 2 * b->x[k % 4] * (float)(k % 4 + 1);
        if (b->y[k] != (a + 1) * c) return false;
    }
    return true;
}

START_TEST(side_by_side) {
    uint32_t first[] = {SCALE}, join[] = {SHIFT, DOUBLE};
    sample s;
    sample_init(&s);
    diamond(&s, first, join, 2);
    tn_plan *p = load(&s);
    tn_context *c = open_context(p, (tn_context_options){0});
    buffers b = make_buffers(4), d = make_buffers(4);
    ck_assert_int_eq(set_rows(c, 4), TN_OK);
    for (int k = 0; k < 2; k++) {
        ck_assert_int_eq(enqueue(c, &b, NULL), TN_OK);
        ck_assert(diamond_right(&b));
        ck_assert_str_eq(mock->ran, "k_mul k_inc+p k_twice+p k_mul+p"); /* one by one, in list order */
    }
    for (int k = 0; k < 4; k++) {
        buffers *to = k % 2 ? &d : &b;
        memset(to->y, 0xFF, to->n * sizeof(float));
        ck_assert_int_eq(enqueue(c, to, NULL), TN_OK);
        ck_assert_str_eq(mock->ran, "k_mul k_twice+p k_inc+p k_mul"); /* the join has two predecessors to wait for */
        ck_assert_msg(diamond_right(to), "run %d", k);
    }
    ck_assert_str_eq(mock->violation, "");
    ck_assert_int_eq(mock->instantiations, 1);
    free_buffers(&b);
    free_buffers(&d);
    tn_context_free(c);
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

/* The graph has no other dependencies than the plan's: without the edge that the join needs, it runs too early. */
START_TEST(missing_edge) {
    uint32_t first[] = {SCALE}, join[] = {DOUBLE};
    sample s;
    sample_init(&s);
    diamond(&s, first, join, 1);
    s.step[SHIFT].stream = 1;
    s.step[DOUBLE].stream = 0;
    tn_plan *p = load(&s);
    tn_context *c = open_context(p, (tn_context_options){0});
    buffers b = make_buffers(4);
    ck_assert_int_eq(set_rows(c, 4), TN_OK);
    for (int k = 0; k < 3; k++) ck_assert_int_eq(enqueue(c, &b, NULL), TN_OK);
    ck_assert_str_eq(mock->ran, "k_mul k_twice+p k_mul+p k_inc+p");
    free_buffers(&b);
    tn_context_free(c);
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

/* Without the driver's call (before CUDA 12.3) there are no graphs, and list order is right as well. */
START_TEST(old_driver) {
    uint32_t first[] = {SCALE}, join[] = {SHIFT, DOUBLE};
    mock->driver_version = 12020;
    sample s;
    sample_init(&s);
    diamond(&s, first, join, 2);
    tn_plan *p = load(&s);
    tn_context *c = open_context(p, (tn_context_options){0});
    buffers b = make_buffers(4);
    ck_assert_int_eq(set_rows(c, 4), TN_OK);
    for (int k = 0; k < 3; k++) {
        ck_assert_int_eq(enqueue(c, &b, NULL), TN_OK);
        ck_assert(diamond_right(&b));
    }
    free_buffers(&b);
    tn_context_free(c);
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

/* ---- alternatives ------------------------------------------------------------------------------------------------ */

typedef struct choice {
    TnPlan__Bucket bucket[4], *buckets[4];
    TnPlan__Bucket__Range range[4], *ranges[4][1];
    TnPlan__Step way[4], *ways[4];
    uint32_t which[4];
} choice;

/* y = x + 1, but for N in [1, 4] 2 * x, and for N in [3, 8] x * w; then for N = 24 2 * x, and for other multiples of 6 up
 * to 60 x * w; the first that holds counts. */
static void five_ways(sample *s, choice *x) {
    static const int64_t lo[] = {1, 3, 24, 0}, hi[] = {4, 8, 24, 60};
    static const uint32_t divisor[] = {0, 1, 0, 6};
    const size_t inc = sample_kernel(s, "k_inc", 0), twice = sample_kernel(s, "k_twice", 0),
                 mul = sample_kernel(s, "k_mul", 0), a = sample_launch(s, "choose", inc);
    SAMPLE_PLACE(s, a, INPUT, 0, D_ZERO);
    SAMPLE_PLACE(s, a, OUTPUT, 0, D_ZERO);
    SAMPLE_DIM(s, a, D_NUMEL);
    /* the second way takes one more argument, the weights: room of a step that does not run */
    SAMPLE_PLACE(s, 1, INPUT, 0, D_ZERO);
    SAMPLE_PLACE(s, 1, CONST, 0, D_ZERO);
    SAMPLE_PLACE(s, 1, OUTPUT, 0, D_ZERO);
    SAMPLE_DIM(s, 1, D_NUMEL);
    memset(x, 0, sizeof *x);
    for (size_t k = 0; k < 4; k++) {
        tn_plan__bucket__init(&x->bucket[k]);
        tn_plan__bucket__range__init(&x->range[k]);
        x->range[k].symbol = D_N;
        x->range[k].lo = lo[k], x->range[k].hi = hi[k], x->range[k].divisor = divisor[k];
        x->ranges[k][0] = &x->range[k];
        x->bucket[k].ranges = x->ranges[k];
        x->bucket[k].n_ranges = 1;
        x->buckets[k] = &x->bucket[k];
        x->way[k] = s->step[a];
        x->way[k].kernel = (uint32_t)(k % 2 ? mul : twice);
        x->way[k].bucket = (uint32_t)k;
        x->ways[k] = &x->way[k];
        x->which[k] = (uint32_t)k;
    }
    x->way[1].args = x->way[3].args = s->args[1];
    x->way[1].n_args = x->way[3].n_args = 4;
    s->plan.buckets = x->buckets;
    s->plan.n_buckets = 4;
    s->arch.alternatives = x->ways;
    s->arch.n_alternatives = 4;
    s->step[a].alternatives = x->which;
    s->step[a].n_alternatives = 4;
}

START_TEST(first_bucket_that_holds) {
    static const struct {
        int64_t rows;
        const char *kernel;
    } cases[] = {{1, "k_twice"}, {4, "k_twice"}, {5, "k_mul"},    {8, "k_mul"},  {9, "k_inc"},
                 {3, "k_twice"}, {900, "k_inc"}, {24, "k_twice"}, {30, "k_mul"}, {12, "k_mul"},
                 {25, "k_inc"},  {60, "k_mul"},  {66, "k_inc"}};
    sample s;
    choice x;
    sample_init(&s);
    five_ways(&s, &x);
    tn_plan *p = load(&s);
    tn_context *c = open_context(p, (tn_context_options){0});
    for (int again = 0; again < 2; again++)
        for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
            buffers b = make_buffers(cases[k].rows);
            ck_assert_int_eq(set_rows(c, cases[k].rows), TN_OK);
            ck_assert_msg(enqueue(c, &b, NULL) == TN_OK, "%s", log_.text);
            ck_assert_str_eq(mock->ran, cases[k].kernel);
            ck_assert_float_eq(b.y[7], !strcmp(cases[k].kernel, "k_twice") ? 2 * b.x[7]
                                       : !strcmp(cases[k].kernel, "k_mul") ? 4 * b.x[7]
                                                                           : b.x[7] + 1);
            free_buffers(&b);
        }
    ck_assert_str_eq(mock->violation, "");
    tn_context_free(c);
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

int main(void) {
    const TTest *const tests[] = {side_by_side, missing_edge, old_driver, first_bucket_that_holds};
    return run_all("a plan's program on a mock driver", tests, sizeof tests / sizeof *tests);
}
