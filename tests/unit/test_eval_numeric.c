/* Numeric properties of the reference evaluation: layouts, naive loops, rounding, wrapping, 4-bit values, NaN. */
#include "semantics.h"
#include "tests/unit/suite.h"

/* ---- convolution: against seven plain loops, in both layouts ----------------------------------------------------- */

typedef struct conv_case {
    int64_t n, c, h, w, o, kh, kw, s[2], p[4], d[2], g;
} conv_case;

static const conv_case convs[] = {
    {2, 4, 7, 6, 6, 3, 3, {1, 1}, {1, 1, 1, 1}, {1, 1}, 1},    {1, 6, 9, 5, 4, 3, 2, {2, 1}, {0, 1, 2, 1}, {2, 1}, 2},
    {2, 5, 6, 6, 5, 3, 3, {2, 2}, {1, 1, 1, 1}, {1, 1}, 5},    {1, 3, 5, 5, 6, 2, 2, {1, 1}, {1, 0, 0, 1}, {1, 2}, 3},
    {1, 40, 20, 30, 8, 3, 3, {1, 1}, {1, 1, 1, 1}, {1, 1}, 1}, {3, 8, 4, 4, 3, 1, 1, {1, 1}, {0, 0, 0, 0}, {1, 1}, 1},
    {1, 2, 3, 3, 2, 5, 5, {1, 1}, {4, 4, 4, 4}, {1, 1}, 1},    {1, 2, 9, 9, 2, 1, 1, {3, 2}, {0, 0, 0, 0}, {1, 1}, 1},
};

static double conv_at(const conv_case *t, const double *x, const double *w, int64_t n, int64_t o, int64_t oh,
                      int64_t ow) {
    int64_t cg = t->c / t->g, first = o / (t->o / t->g) * cg;
    double sum = 0;
    for (int64_t c = 0; c < cg; c++)
        for (int64_t a = 0; a < t->kh; a++)
            for (int64_t b = 0; b < t->kw; b++) {
                int64_t h = oh * t->s[0] - t->p[0] + a * t->d[0], v = ow * t->s[1] - t->p[1] + b * t->d[1];
                if (h < 0 || h >= t->h || v < 0 || v >= t->w) continue;
                sum += x[((n * t->c + first + c) * t->h + h) * t->w + v] * w[((o * cg + c) * t->kh + a) * t->kw + b];
            }
    return sum;
}

static tn_val to(bench *b, tn_val v, const int64_t *perm) {
    return bench_op(b, TN_OP_TRANSPOSE, &(tn_attrs_perm){.perm = {perm, 4}}, 1, &v);
}

START_TEST(test_conv) {
    const conv_case *t = &convs[_i];
    bench b;
    bench_open(&b);
    tn_val x = bench_noise_input(&b, TN_F64, 4, DIMS(t->n, t->c, t->h, t->w), -1, 1, 1);
    tn_val w = bench_noise_input(&b, TN_F64, 4, DIMS(t->o, t->c / t->g, t->kh, t->kw), -1, 1, 2);
    tn_val bias = bench_noise_input(&b, TN_F64, 1, DIMS(t->o), -1, 1, 3);
    tn_attrs_conv a = {.strides = {t->s, 2}, .pads = {t->p, 4}, .dilations = {t->d, 2}, .groups = t->g};
    tn_val y = bench_op(&b, TN_OP_CONV, &a, 3, (tn_val[]){x, w, bias});
    a.layout = "nhwc";
    const int64_t last[] = {0, 2, 3, 1}, first[] = {0, 3, 1, 2};
    tn_val z = bench_op(&b, TN_OP_CONV, &a, 3, (tn_val[]){to(&b, x, last), to(&b, w, last), bias});
    bench_eval(&b, 2, (tn_val[]){y, to(&b, z, first)});
    bench_same(&b, 0, 1, 1e-12);
    int64_t oh = b.out[0].dims[2], ow = b.out[0].dims[3];
    for (int64_t k = 0; k < tn_tensor_numel(&b.out[0]); k++) {
        int64_t o = k / (oh * ow) % t->o;
        double want = conv_at(t, b.in[0].data, b.in[1].data, k / (oh * ow * t->o), o, k / ow % oh, k % ow) +
                      bench_get(&b.in[2], o);
        ck_assert_msg(bench_close_to(bench_get(&b.out[0], k), want, 1e-12), "element %lld", (long long)k);
    }
    bench_close(&b);
}
END_TEST

/* <conv(x, w), y> = <x, conv_transpose(y, w)>: transposed convolution is the adjoint; and both layouts agree. */
START_TEST(test_conv_transpose_adjoint) {
    const int64_t s[] = {2, 1}, p[] = {1, 0, 1, 2}, d[] = {1, 2}, last[] = {0, 2, 3, 1}, first[] = {0, 3, 1, 2};
    bench b;
    bench_open(&b);
    tn_val x = bench_noise_input(&b, TN_F64, 4, DIMS(1, 4, 7, 8), -1, 1, 1);
    tn_val w = bench_noise_input(&b, TN_F64, 4, DIMS(6, 2, 3, 3), -1, 1, 2);
    tn_attrs_conv a = {.strides = {s, 2}, .pads = {p, 4}, .dilations = {d, 2}, .groups = 2};
    tn_val y = bench_op(&b, TN_OP_CONV, &a, 2, (tn_val[]){x, w});
    tn_attrs_conv_transpose at = {.strides = {s, 2}, .pads = {p, 4}, .dilations = {d, 2}, .groups = 2};
    tn_val back = bench_op(&b, TN_OP_CONV_TRANSPOSE, &at, 2, (tn_val[]){y, w});
    at.layout = "nhwc";
    tn_val back2 = bench_op(&b, TN_OP_CONV_TRANSPOSE, &at, 2, (tn_val[]){to(&b, y, last), to(&b, w, last)});
    bench_eval(&b, 3, (tn_val[]){y, back, to(&b, back2, first)});
    bench_same(&b, 1, 2, 1e-12);
    double yy = 0, xx = 0;
    for (int64_t k = 0; k < tn_tensor_numel(&b.out[0]); k++) yy += bench_get(&b.out[0], k) * bench_get(&b.out[0], k);
    for (int64_t k = 0; k < tn_tensor_numel(&b.out[1]); k++) xx += bench_get(&b.out[1], k) * bench_get(&b.in[0], k);
    ck_assert_int_eq(tn_tensor_numel(&b.out[1]), tn_tensor_numel(&b.in[0]));
    ck_assert_double_eq_tol(xx, yy, 1e-9);
    bench_close(&b);
}
END_TEST

START_TEST(test_pool_layouts) {
    const int64_t k[] = {3, 2}, s[] = {2, 2}, p[] = {1, 0, 1, 1}, last[] = {0, 2, 3, 1}, first[] = {0, 3, 1, 2};
    bench b;
    bench_open(&b);
    tn_val x = bench_noise_input(&b, TN_F32, 4, DIMS(2, 3, 7, 8), -1, 1, 1);
    tn_attrs_pool a = {.kernel = {k, 2}, .strides = {s, 2}, .pads = {p, 4}, .ceil_mode = true}, h = a;
    h.layout = "nhwc";
    tn_val xt = to(&b, x, last);
    bench_eval(
        &b, 4,
        (tn_val[]){bench_op(&b, TN_OP_MAX_POOL, &a, 1, &x), to(&b, bench_op(&b, TN_OP_MAX_POOL, &h, 1, &xt), first),
                   bench_op(&b, TN_OP_AVG_POOL, &a, 1, &x), to(&b, bench_op(&b, TN_OP_AVG_POOL, &h, 1, &xt), first)});
    bench_same(&b, 0, 1, 0);
    bench_same(&b, 2, 3, 0);
    bench_close(&b);
}
END_TEST

/* ---- matmul ------------------------------------------------------------------------------------------------------ */

START_TEST(test_matmul_naive) {
    enum { M = 37, K = 129, N = 70 };
    bench b;
    bench_open(&b);
    b.opts.fast = _i == 1;
    tn_val x = bench_noise_input(&b, TN_F32, 2, DIMS(M, K), -1, 1, 1),
           w = bench_noise_input(&b, TN_F32, 2, DIMS(K, N), -1, 1, 2);
    bench_eval(&b, 1, (tn_val[]){bench_op(&b, TN_OP_MATMUL, NULL, 2, (tn_val[]){x, w})});
    for (int64_t i = 0; i < M; i++)
        for (int64_t j = 0; j < N; j++) {
            double sum = 0;
            for (int64_t k = 0; k < K; k++) sum += bench_get(&b.in[0], i * K + k) * bench_get(&b.in[1], k * N + j);
            double got = bench_get(&b.out[0], i * N + j);
            if (b.opts.fast)
                ck_assert_double_eq_tol(got, sum, 1e-4);
            else
                ck_assert_msg(got == (double)(float)sum || bench_close_to(got, sum, 1e-7), "%g %g", got, sum);
        }
    bench_close(&b);
}
END_TEST

/* 0 and a product that is -0, or becomes it, are 0: of a column by a row, which BLAS's fused kernels give as the product. */
START_TEST(test_zeros_of_products) {
    enum { M = 16, N = 12 };
    static const double some[] = {-1e-200, 0, 1e-200, -0.0, -3};
    double xs[M], ws[N];
    bench b;
    bench_open(&b);
    for (int k = 0; k < M; k++) xs[k] = some[k % 5];
    for (int k = 0; k < N; k++) ws[k] = some[(k + 1) % 5];
    const int64_t m = _i / 2 + 1;
    const tn_attrs_matmul a = {.trans_b = _i % 2};
    const tn_val x = bench_input(&b, TN_F64, 2, DIMS(m, 1), xs),
                 w = bench_input(&b, TN_F64, 2, _i % 2 ? DIMS(N, 1) : DIMS(1, N), ws);
    bench_eval(&b, 1, (tn_val[]){bench_op(&b, TN_OP_MATMUL, &a, 2, (tn_val[]){x, w})});
    for (int64_t i = 0; i < m * N; i++) {
        const double y = bench_get(&b.out[0], i);
        ck_assert_msg(y == xs[i / N] * ws[i % N] && !(y == 0 && signbit(y)), "%d: %g", (int)i, y);
    }
    bench_close(&b);
}
END_TEST

/* Of u8 and i8 in i32, where sums wrap: 80000 products of 255 and -128. */
START_TEST(test_products_of_bytes) {
    enum { K = 80000 };
    bench b;
    bench_open(&b);
    const tn_attrs_matmul m = {.math = tn_intern(b.g, "i32")};
    static double as[K], bs[K];
    for (int k = 0; k < K; k++) as[k] = 255, bs[k] = k < 2 ? 127 : -128;
    const tn_val x = bench_input(&b, TN_U8, 2, DIMS(1, K), as), y = bench_input(&b, TN_I8, 2, DIMS(K, 1), bs);
    bench_eval(&b, 1, (tn_val[]){bench_op(&b, TN_OP_MATMUL, &m, 2, (tn_val[]){x, y})});
    const int64_t sum = (int64_t)255 * (2 * 127 - (K - 2) * 128);
    bench_expect(&b, 0, 2, DIMS(1, 1), NUMS((double)(int32_t)(uint32_t)(uint64_t)sum), 0);
    bench_close(&b);
}
END_TEST

/* A sum that float accumulation loses: 2^24 + 1 - 2^24. */
START_TEST(test_sums_accumulate_in_double) {
    bench b;
    bench_open(&b);
    tn_val x = bench_input(&b, TN_F32, 2, DIMS(1, 3), NUMS(16777216, 1, -16777216));
    tn_val ones = bench_input(&b, TN_F32, 2, DIMS(3, 1), NUMS(1, 1, 1));
    tn_val sum = bench_op(&b, TN_OP_REDUCE_SUM, &(tn_attrs_reduce){.axes = INTS(1)}, 1, &x);
    bench_eval(&b, 2, (tn_val[]){bench_op(&b, TN_OP_MATMUL, NULL, 2, (tn_val[]){x, ones}), sum});
    bench_expect(&b, 0, 2, DIMS(1, 1), NUMS(1), 0);
    bench_expect(&b, 1, 1, DIMS(1), NUMS(1), 0);
    bench_close(&b);
}
END_TEST

/* ---- rounding and wrapping --------------------------------------------------------------------------------------- */

/* Half-precision results round once, to nearest even. */
START_TEST(test_rounding) {
    bench b;
    bench_open(&b);
    tn_val h = bench_input(&b, TN_F16, 1, DIMS(4), NUMS(2048, 2050, 65504, 1));
    tn_val hi = bench_input(&b, TN_F16, 1, DIMS(4), NUMS(1, 1, 16, 0.00048828125));
    tn_val f = bench_input(&b, TN_BF16, 1, DIMS(3), NUMS(256, 258, 1));
    tn_val g = bench_input(&b, TN_BF16, 1, DIMS(3), NUMS(1, 1, 0.00390625));
    bench_eval(&b, 2, (tn_val[]){tn_binary(b.g, TN_OP_ADD, h, hi), tn_binary(b.g, TN_OP_ADD, f, g)});
    bench_expect(&b, 0, 1, DIMS(4), NUMS(2048, 2052, INFINITY, 1), 0);
    bench_expect(&b, 1, 1, DIMS(3), NUMS(256, 260, 1), 0);
    bench_close(&b);
}
END_TEST

START_TEST(test_wide_does_not_round) {
    bench b;
    bench_open(&b);
    b.opts.wide = true;
    tn_val h = bench_input(&b, TN_F16, 1, DIMS(1), NUMS(2048)), one = bench_input(&b, TN_F16, 1, DIMS(1), NUMS(1));
    bench_eval(&b, 1, (tn_val[]){tn_binary(b.g, TN_OP_SUB, tn_binary(b.g, TN_OP_ADD, h, one), h)});
    ck_assert_int_eq(b.out[0].dtype, TN_F64);
    ck_assert_double_eq(*(double *)b.out[0].data, 1);
    bench_close(&b);
}
END_TEST

START_TEST(test_integers_wrap) {
    bench b;
    bench_open(&b);
    b.opts.total = true;
    tn_val x = bench_input(&b, TN_I8, 1, DIMS(4), NUMS(127, -128, 100, -1)),
           y = bench_input(&b, TN_I8, 1, DIMS(4), NUMS(1, -1, 100, 0));
    tn_val u = bench_input(&b, TN_U8, 1, DIMS(3), NUMS(250, 3, 7)),
           v = bench_input(&b, TN_U8, 1, DIMS(3), NUMS(10, 5, 0));
    bench_eval(&b, 7,
               (tn_val[]){tn_binary(b.g, TN_OP_ADD, x, y), tn_binary(b.g, TN_OP_MUL, x, y),
                          tn_binary(b.g, TN_OP_DIV, x, y), tn_unary(b.g, TN_OP_NEG, x), tn_binary(b.g, TN_OP_ADD, u, v),
                          tn_binary(b.g, TN_OP_SUB, u, v), tn_binary(b.g, TN_OP_DIV, u, v)});
    bench_expect(&b, 0, 1, DIMS(4), NUMS(-128, 127, -56, -1), 0);
    bench_expect(&b, 1, 1, DIMS(4), NUMS(127, -128, 16, 0), 0);
    bench_expect(&b, 2, 1, DIMS(4), NUMS(127, -128, 1, 0), 0); /* -128 / -1 wraps; x / 0 is 0 */
    bench_expect(&b, 3, 1, DIMS(4), NUMS(-127, -128, -100, 1), 0);
    bench_expect(&b, 4, 1, DIMS(3), NUMS(4, 8, 7), 0);
    bench_expect(&b, 5, 1, DIMS(3), NUMS(240, 254, 7), 0);
    bench_expect(&b, 6, 1, DIMS(3), NUMS(25, 0, 0), 0);
    bench_close(&b);
}
END_TEST

/* Unless asked to do as a GPU does, the reference refuses what has no value. */
START_TEST(test_integer_divided_by_zero) {
    static const tn_op ops[] = {TN_OP_DIV, TN_OP_MOD, TN_OP_FMOD};
    tn_tensor out[1] = {{0}};
    bench b;
    bench_open(&b);
    tn_val x = bench_input(&b, TN_I32, 1, DIMS(2), NUMS(7, 8)), y = bench_input(&b, TN_I32, 1, DIMS(2), NUMS(2, 0));
    tn_val v = tn_binary(b.g, ops[_i], x, y);
    tn_graph_set_outputs(b.g, 1, &v, NULL);
    ck_assert_int_eq(tn_eval_graph(&b.env, b.g, b.in, b.n_in, out, 1, NULL), TN_E_ARGUMENT);
    ck_assert_int_eq(tn_eval_graph(&b.env, b.g, b.in, b.n_in, out, 1, &(tn_eval_opts){.total = true}), TN_OK);
    tn_tensor_free(&b.env, out);
    bench_close(&b);
}
END_TEST

/* 64-bit integers keep all their bits: double has too few. */
START_TEST(test_big_integers) {
    bench b;
    bench_open(&b);
    tn_val x = bench_input(&b, TN_I64, 1, DIMS(1), NULL), y = bench_input(&b, TN_U64, 1, DIMS(2), NULL);
    *(int64_t *)b.in[0].data = INT64_C(9007199254740993);
    ((uint64_t *)b.in[1].data)[0] = UINT64_MAX;
    ((uint64_t *)b.in[1].data)[1] = 1;
    tn_val top = bench_op(&b, TN_OP_REDUCE_MAX, &(tn_attrs_reduce){.axes = INTS(0)}, 1, &y);
    bench_eval(&b, 3,
               (tn_val[]){tn_binary(b.g, TN_OP_ADD, x, x), top,
                          bench_op(&b, TN_OP_CAST, &(tn_attrs_cast){.to = TN_F64}, 1, &y)});
    ck_assert_int_eq(*(int64_t *)b.out[0].data, INT64_C(18014398509481986));
    ck_assert_uint_eq(*(uint64_t *)b.out[1].data, UINT64_MAX);
    bench_expect(&b, 2, 1, DIMS(2), NUMS(18446744073709551616.0, 1), 0);
    bench_close(&b);
}
END_TEST

START_TEST(test_int4) {
    bench b;
    bench_open(&b);
    tn_val x = bench_input(&b, TN_I4, 1, DIMS(5), NUMS(-8, 7, 3, -1, 5)),
           y = bench_input(&b, TN_I4, 1, DIMS(5), NUMS(-1, 1, 4, 1, 5));
    tn_val sum = tn_binary(b.g, TN_OP_ADD, x, y);
    tn_dim d[] = {tn_dim_const(b.g, 1), tn_dim_const(b.g, 3)};
    tn_val part = bench_op(&b, TN_OP_SLICE, &(tn_attrs_slice){.starts = {d, 1}, .sizes = {d + 1, 1}}, 1, &sum);
    tn_val f = bench_op(&b, TN_OP_CAST, &(tn_attrs_cast){.to = TN_F32}, 1, &sum);
    bench_eval(&b, 3, (tn_val[]){sum, part, f});
    ck_assert_uint_eq(b.out[0].bytes, 3);
    bench_expect(&b, 0, 1, DIMS(5), NUMS(7, -8, 7, 0, -6), 0);
    bench_expect(&b, 1, 1, DIMS(3), NUMS(-8, 7, 0), 0);
    bench_expect(&b, 2, 1, DIMS(5), NUMS(7, -8, 7, 0, -6), 0);
    bench_close(&b);
}
END_TEST

START_TEST(test_clamp) {
    bench b;
    bench_open(&b);
    tn_val f = bench_input(&b, TN_F32, 1, DIMS(3), NUMS(-3, 0.5, 9)),
           i = bench_input(&b, TN_I32, 1, DIMS(3), NUMS(-3, 1, 9));
    tn_val u = bench_input(&b, TN_U8, 1, DIMS(3), NUMS(0, 3, 255));
    tn_attrs_clamp a = {.lo = -1.5, .hi = 4.5}, top = {.lo = -INFINITY, .hi = 6};
    bench_eval(&b, 4,
               (tn_val[]){bench_op(&b, TN_OP_CLAMP, &a, 1, &f), bench_op(&b, TN_OP_CLAMP, &a, 1, &i),
                          bench_op(&b, TN_OP_CLAMP, &a, 1, &u), bench_op(&b, TN_OP_CLAMP, &top, 1, &u)});
    bench_expect(&b, 0, 1, DIMS(3), NUMS(-1.5, 0.5, 4.5), 0);
    bench_expect(&b, 1, 1, DIMS(3), NUMS(-1, 1, 4), 0);
    bench_expect(&b, 2, 1, DIMS(3), NUMS(0, 3, 4), 0);
    bench_expect(&b, 3, 1, DIMS(3), NUMS(0, 3, 6), 0);
    bench_close(&b);
}
END_TEST

START_TEST(test_logic_and_shape) {
    bench b;
    bench_open(&b);
    tn_val p = bench_input(&b, TN_BOOL, 1, DIMS(2), NUMS(1, 0)), x = bench_input(&b, TN_F32, 1, DIMS(2), NUMS(4, NAN));
    tn_dim d[] = {tn_dim_const(b.g, 2), tn_dim_const(b.g, 2)};
    tn_val wide = bench_op(&b, TN_OP_BROADCAST, &(tn_attrs_shape){.dims = {d, 2}}, 1, &x);
    bench_eval(&b, 5,
               (tn_val[]){tn_unary(b.g, TN_OP_NOT, p), tn_binary(b.g, TN_OP_NE, x, x), tn_unary(b.g, TN_OP_RSQRT, x),
                          wide, tn_unary(b.g, TN_OP_BARRIER, x)});
    bench_expect(&b, 0, 1, DIMS(2), NUMS(0, 1), 0);
    bench_expect(&b, 1, 1, DIMS(2), NUMS(0, 1), 0);
    bench_expect(&b, 2, 1, DIMS(2), NUMS(0.5, NAN), 0);
    bench_expect(&b, 3, 2, DIMS(2, 2), NUMS(4, NAN, 4, NAN), 0);
    bench_expect(&b, 4, 1, DIMS(2), NUMS(4, NAN), 0);
    bench_close(&b);
}
END_TEST

START_TEST(test_nan) {
    bench b;
    bench_open(&b);
    tn_val x = bench_input(&b, TN_F32, 1, DIMS(3), NUMS(1, NAN, 3)),
           y = bench_input(&b, TN_F32, 1, DIMS(3), NUMS(2, 2, NAN));
    tn_attrs_reduce r = {.axes = INTS(0)};
    bench_eval(&b, 6,
               (tn_val[]){tn_binary(b.g, TN_OP_MAX, x, y), tn_binary(b.g, TN_OP_MIN, x, y),
                          bench_op(&b, TN_OP_REDUCE_MAX, &r, 1, &x), tn_unary(b.g, TN_OP_RELU, x),
                          bench_op(&b, TN_OP_CAST, &(tn_attrs_cast){.to = TN_I32}, 1, &x),
                          bench_op(&b, TN_OP_ARG_MAX, &(tn_attrs_arg){.axis = 0}, 1, &x)});
    bench_expect(&b, 0, 1, DIMS(3), NUMS(2, NAN, NAN), 0);
    bench_expect(&b, 1, 1, DIMS(3), NUMS(1, NAN, NAN), 0);
    bench_expect(&b, 2, 0, NULL, NUMS(NAN), 0);
    bench_expect(&b, 3, 1, DIMS(3), NUMS(1, NAN, 3), 0);
    bench_expect(&b, 4, 1, DIMS(3), NUMS(1, 0, 3), 0);
    bench_expect(&b, 5, 0, NULL, NUMS(1), 0);
    bench_close(&b);
}
END_TEST

START_TEST(test_float8_saturates) {
    bench b;
    bench_open(&b);
    tn_val x = bench_input(&b, TN_F32, 1, DIMS(3), NUMS(1000, -1000, 3));
    tn_val y = bench_op(&b, TN_OP_CAST, &(tn_attrs_cast){.to = TN_F8E4M3, .saturate = true}, 1, &x);
    bench_eval(&b, 1, &y);
    bench_expect(&b, 0, 1, DIMS(3), NUMS(448, -448, 3), 0);
    bench_close(&b);
}
END_TEST

START_TEST(test_bitcast) {
    bench b;
    bench_open(&b);
    b.opts.wide = _i == 1;
    tn_val x = bench_input(&b, TN_F32, 1, DIMS(2), NUMS(1, -2));
    tn_val y = bench_op(&b, TN_OP_BITCAST, &(tn_attrs_cast){.to = TN_U32}, 1, &x);
    tn_val z = bench_op(&b, TN_OP_BITCAST, &(tn_attrs_cast){.to = TN_F32}, 1, &y);
    bench_eval(&b, 2, (tn_val[]){y, z});
    bench_expect(&b, 0, 1, DIMS(2), NUMS(0x3f800000, 0xc0000000), 0);
    bench_expect(&b, 1, 1, DIMS(2), NUMS(1, -2), 0);
    bench_close(&b);
}
END_TEST

/* Empty tensors go through every family. */
START_TEST(test_empty) {
    bench b;
    bench_open(&b);
    tn_val x = bench_input(&b, TN_F32, 2, DIMS(0, 3), NULL),
           w = bench_input(&b, TN_F32, 2, DIMS(3, 2), NUMS(1, 2, 3, 4, 5, 6));
    tn_attrs_reduce r0 = {.axes = INTS(0)}, r1 = {.axes = INTS(1)};
    bench_eval(&b, 6,
               (tn_val[]){tn_unary(b.g, TN_OP_EXP, x), bench_op(&b, TN_OP_MATMUL, NULL, 2, (tn_val[]){x, w}),
                          bench_op(&b, TN_OP_REDUCE_SUM, &r0, 1, &x), bench_op(&b, TN_OP_REDUCE_MAX, &r1, 1, &x),
                          bench_op(&b, TN_OP_CONCAT, &(tn_attrs_axis){.axis = 0}, 2, (tn_val[]){x, x}),
                          bench_op(&b, TN_OP_SOFTMAX, &(tn_attrs_axis){.axis = 1}, 1, &x)});
    bench_expect(&b, 0, 2, DIMS(0, 3), NULL, 0);
    bench_expect(&b, 1, 2, DIMS(0, 2), NULL, 0);
    bench_expect(&b, 2, 1, DIMS(3), NUMS(0, 0, 0), 0);
    bench_expect(&b, 3, 1, DIMS(0), NULL, 0);
    bench_expect(&b, 4, 2, DIMS(0, 3), NULL, 0);
    bench_close(&b);
}
END_TEST

int main(void) {
    Suite *s = suite_create("eval_numeric");
    TCase *c = tcase_create("numeric");
    tcase_add_loop_test(c, test_conv, 0, (int)(sizeof convs / sizeof *convs));
    tcase_add_test(c, test_conv_transpose_adjoint);
    tcase_add_test(c, test_pool_layouts);
    tcase_add_loop_test(c, test_matmul_naive, 0, 2);
    tcase_add_loop_test(c, test_zeros_of_products, 0, 32);
    tcase_add_test(c, test_products_of_bytes);
    tcase_add_test(c, test_sums_accumulate_in_double);
    tcase_add_test(c, test_rounding);
    tcase_add_test(c, test_wide_does_not_round);
    tcase_add_test(c, test_integers_wrap);
    tcase_add_loop_test(c, test_integer_divided_by_zero, 0, 3);
    tcase_add_test(c, test_big_integers);
    tcase_add_test(c, test_int4);
    tcase_add_test(c, test_clamp);
    tcase_add_test(c, test_logic_and_shape);
    tcase_add_test(c, test_nan);
    tcase_add_test(c, test_float8_saturates);
    tcase_add_loop_test(c, test_bitcast, 0, 2);
    tcase_add_test(c, test_empty);
    suite_add_tcase(s, c);
    return run_suite(s);
}
