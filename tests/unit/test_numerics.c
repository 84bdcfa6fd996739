/* Generated kernels compute what the reference computes, bit for bit, wherever arithmetic says what that is: casts
 * between all dtypes, integers that wrap, sums, products, quotients, comparisons and rounding, on values at every edge.
 * Random chains of such ops are fused into kernels and executed on the emulated device. */
#include <math.h>

#include "ir/eval/eval.h"
#include "tests/unit/graph_gen.h"
#include "tests/unit/run_graph.h"
#include "tests/unit/suite.h"

enum { N = 128, STEPS = 48, MAX_POOL = 160, MAX_OUT = 4, KINDS = 4, N_IN = 2 * KINDS };

static gen_log log_;
static const tn_env env_ = {.diag = gen_diag, .diag_user = &log_};

/* All of them; the first of a graph is a float that ops compute with. */
static const tn_dtype floats[] = {TN_F64, TN_F32, TN_F16, TN_BF16, TN_F8E4M3, TN_F8E5M2};
enum { N_FLOATS = sizeof floats / sizeof floats[0] };

typedef struct maker {
    tn_graph *g;
    uint64_t state;
    tn_dtype kind[KINDS];
    tn_val pool[MAX_POOL];
    size_t n;
} maker;

static uint64_t draw(uint64_t *s, uint64_t n) {
    *s = *s * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (*s >> 33) % n;
}

/* Ops whose results IEEE 754 or two's complement say to the last bit. */
static const struct {
    tn_op op;
    int arity;
    bool floats, ints, bools;
} ops[] = {
    {TN_OP_NEG, 1, true, true, false},      {TN_OP_ABS, 1, true, true, false},    {TN_OP_SIGN, 1, true, true, false},
    {TN_OP_FLOOR, 1, true, false, false},   {TN_OP_CEIL, 1, true, false, false},  {TN_OP_ROUND, 1, true, false, false},
    {TN_OP_SQRT, 1, true, false, false},    {TN_OP_RECIP, 1, true, false, false}, {TN_OP_RELU, 1, true, true, false},
    {TN_OP_BIT_NOT, 1, false, true, false}, {TN_OP_NOT, 1, false, false, true},   {TN_OP_ADD, 2, true, true, false},
    {TN_OP_SUB, 2, true, true, false},      {TN_OP_MUL, 2, true, true, false},    {TN_OP_DIV, 2, true, true, false},
    {TN_OP_MOD, 2, false, true, false},     {TN_OP_FMOD, 2, true, true, false},   {TN_OP_MIN, 2, true, true, false},
    {TN_OP_MAX, 2, true, true, false},      {TN_OP_AND, 2, false, true, true},    {TN_OP_OR, 2, false, true, true},
    {TN_OP_XOR, 2, false, true, true},      {TN_OP_SHL, 2, false, true, false},   {TN_OP_SHR, 2, false, true, false},
    {TN_OP_POW, 2, false, true, false},     {TN_OP_PRELU, 2, true, true, false},  {TN_OP_EQ, 2, true, true, false},
    {TN_OP_LT, 2, true, true, false},       {TN_OP_GE, 2, true, true, false},
};

static tn_val pick(maker *m, tn_dtype t) {
    for (int tries = 0; tries < 200; tries++) {
        tn_val v = m->pool[m->n - 1 - draw(&m->state, m->n < 24 ? m->n : 24)];
        if (tn_val_dtype(m->g, v) == t) return v;
    }
    for (size_t k = m->n; k-- > 0;)
        if (tn_val_dtype(m->g, m->pool[k]) == t) return m->pool[k];
    return m->pool[0];
}

static void keep(maker *m, tn_val v) {
    ck_assert_msg(v.i != 0, "%s", log_.text);
    if (m->n < MAX_POOL) m->pool[m->n++] = v;
}

static void add_cast(maker *m) {
    tn_val x = m->pool[m->n - 1 - draw(&m->state, m->n < 12 ? m->n : 12)];
    tn_attrs_cast a = {.to = m->kind[draw(&m->state, KINDS)], .saturate = draw(&m->state, 2)};
    if (a.to == TN_F8E8M0) a.round = (const char *[]){"", "up", "down"}[draw(&m->state, 3)];
    if (a.to != tn_val_dtype(m->g, x)) keep(m, tn_emit1(m->g, TN_OP_CAST, &a, 1, &x));
}

static void add_op(maker *m) {
    size_t k = draw(&m->state, sizeof ops / sizeof ops[0]);
    tn_val x = m->pool[m->n - 1 - draw(&m->state, m->n < 20 ? m->n : 20)], in[2] = {x, x};
    tn_dtype t = tn_val_dtype(m->g, x);
    if (!tn_dtype_computes(t)) return;
    if (!(t == TN_BOOL ? ops[k].bools : tn_dtype_is_float(t) ? ops[k].floats : ops[k].ints)) return;
    if (ops[k].arity == 2) in[1] = pick(m, t);
    bool divides = ops[k].op == TN_OP_DIV || ops[k].op == TN_OP_MOD || ops[k].op == TN_OP_FMOD;
    if (divides && tn_dtype_is_int(t)) { /* by anything but 0 */
        int64_t one = 1;
        tn_val bit = tn_const_ints(m->g, t, 1, &one);
        in[1] = tn_binary(m->g, TN_OP_OR, in[1], bit);
    }
    keep(m, tn_emit1(m->g, ops[k].op, NULL, (size_t)ops[k].arity, in));
}

static tn_graph *make_graph(uint64_t seed) {
    maker m = {.g = tn_graph_new(&env_), .state = seed * 77 + 5};
    for (size_t k = 0; k < KINDS; k++)
        m.kind[k] = k ? (tn_dtype)(1 + draw(&m.state, TN_DTYPE_COUNT - 1)) : floats[seed % N_FLOATS];
    for (size_t k = 0; k < N_IN; k++) {
        char name[16];
        snprintf(name, sizeof name, "x%zu", k);
        keep(&m, tn_graph_add_input(m.g, name, tn_type_const(m.g, m.kind[k / 2], 1, (int64_t[]){N})));
    }
    for (int k = 0; k < STEPS; k++) {
        if (draw(&m.state, 4) == 0)
            add_cast(&m);
        else
            add_op(&m);
    }
    tn_val out[MAX_OUT];
    size_t n = 0;
    for (size_t k = m.n; k-- > N_IN && n < MAX_OUT;) out[n++] = m.pool[k];
    tn_graph_set_outputs(m.g, n, out, NULL);
    ck_assert_msg(tn_graph_status(m.g) == TN_OK, "%s", log_.text);
    return m.g;
}

/* Edges of the dtype, random bits, and small numbers, so that ops meet every kind. */
static void fill(tn_tensor *t, uint64_t *s) {
    static const double edges[] = {
        0,      -0.0,     1,    -1,       0.5,          -0.5,       1.5,        2.5,       127,       128,     -128,
        255,    256,      448,  449,      32767,        32768,      57344,      65504,     65519,     65520,   65535,
        -65536, 1e-8,     6e-8, 3e9,      -3e9,         1e19,       -1e19,      2e19,      1e38,      -3.4e38, 1e-40,
        2049,   16777217, 257,  0x1p-127, 0x1.8p-127,   0x1.8p-126, 0x1.fp-128, 0x1p127,   0x1.1p127, 240,     248,
        249,    5,        7,    0.75,     2147483648.0, 9.3e18,     INFINITY,   -INFINITY, NAN};
    for (int64_t i = 0; i < N; i++) {
        uint64_t kind = draw(s, 3);
        if (t->dtype == TN_BOOL)
            tn_store_int(TN_BOOL, t->data, (uint64_t)i, (int64_t)draw(s, 2));
        else if (kind == 0)
            tn_store_num(t->dtype, t->data, (uint64_t)i, edges[draw(s, sizeof edges / sizeof edges[0])]);
        else if (kind == 1)
            tn_store_num(t->dtype, t->data, (uint64_t)i, (double)draw(s, 64) / 4 - 8);
        else
            tn_store_bits(t->dtype, t->data, (uint64_t)i,
                          draw(s, 1 << 30) << 34 ^ draw(s, 1 << 30) << 17 ^ draw(s, 1 << 30));
    }
}

static bool same(tn_dtype t, const void *a, const void *b, uint64_t i) {
    if (tn_dtype_is_int(t)) return tn_load_int(t, a, i) == tn_load_int(t, b, i);
    double x = tn_load_num(t, a, i), y = tn_load_num(t, b, i);
    return x == y || (isnan(x) && isnan(y));
}

static void run_on_emu(tn_graph *g, const tn_tensor *in, const tn_tensor *want, size_t n_out, uint64_t seed) {
    const void *pi[N_IN];
    void *po[MAX_OUT];
    static uint64_t room[MAX_OUT][N];
    for (size_t k = 0; k < N_IN; k++) pi[k] = in[k].data;
    for (size_t k = 0; k < n_out; k++) po[k] = room[k];
    char what[32];
    snprintf(what, sizeof what, "seed %llu", (unsigned long long)seed);
    if (!run_graph(&env_, what, log_.text, g, "fuse", true, TN_EMU, pi, po)) return;
    for (size_t k = 0; k < n_out; k++)
        for (uint64_t i = 0; i < N; i++)
            ck_assert_msg(same(want[k].dtype, room[k], want[k].data, i),
                          "seed %llu: output %zu (%s), element %llu is %.17g, the reference has %.17g",
                          (unsigned long long)seed, k, tn_dtype_text(want[k].dtype), (unsigned long long)i,
                          tn_load_num(want[k].dtype, room[k], i), tn_load_num(want[k].dtype, want[k].data, i));
}

static void check_seed(uint64_t seed) {
    log_.text[0] = 0;
    tn_graph *g = make_graph(seed);
    size_t n_out = tn_graph_output_count(g);
    tn_tensor in[N_IN], want[MAX_OUT] = {{0}};
    uint64_t s = seed;
    for (size_t k = 0; k < N_IN; k++) {
        ck_assert_int_eq(tn_tensor_new(&env_, tn_val_dtype(g, tn_graph_input(g, k)), 1, (int64_t[]){N}, &in[k]), TN_OK);
        fill(&in[k], &s);
    }
    ck_assert_msg(tn_eval_graph(&env_, g, in, N_IN, want, n_out, NULL) == TN_OK, "%s", log_.text);
    run_on_emu(g, in, want, n_out, seed);
    for (size_t k = 0; k < N_IN; k++) tn_tensor_free(&env_, &in[k]);
    for (size_t k = 0; k < n_out; k++) tn_tensor_free(&env_, &want[k]);
    tn_graph_free(g);
}

/* TENON_NUMERICS_SEEDS=N tries N of them. */
START_TEST(random_chains) {
    const char *more = getenv("TENON_NUMERICS_SEEDS");
    uint64_t n = more ? strtoull(more, NULL, 10) : 12;
    for (uint64_t seed = 1; seed <= n; seed++) check_seed(seed);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("numerics");
    TCase *tc = tcase_create("numerics");
    tcase_set_timeout(tc, 3600);
    tcase_add_test(tc, random_chains);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
