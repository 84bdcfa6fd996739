/* The ONNX importer: products and convolutions of quantised models, against integers summed one after the other; and that they
 * reach the kernels as products of 8-bit integers.  Scales are powers of two, so that nothing but the model rounds. */
#include "passes/pass.h"
#include "tests/onnx/devices.h"

enum { FLOAT = 1, U8 = 2, I8 = 3, I32 = 6 }; /* ONNX's numbers of dtypes */
enum { M = 5, K = 19, N = 6, C = 3, H = 6, W = 7, O = 4, R = 3 };
enum { X_ZERO = 117, Y_ZERO = 9, A_ZERO = 3, B_ZERO = 200, LOW = -100 };
static const double X_SCALE = 0.5;

/* What the models are made of. */
static struct {
    double x[C * H * W], w[O * C * R * R], bias[O], scale[O]; /* of convolutions: u8, i8, i32 */
    double a[M * K], b[K * N];                                /* of matrices: u8 or floats, u8 or i8 */
} of;

static void fill(double *v, int n, int lo, int hi) {
    for (int k = 0; k < n; k++) v[k] = lo + (k * k * 37 + k * 5 + 11) % (hi - lo + 1);
    v[0] = lo, v[n - 1] = hi;
}

static pb *constant(const char *name, int dtype, const char *dims, const double *v, size_t n) {
    static const tn_dtype dtypes[] = {[FLOAT] = TN_F32, [U8] = TN_U8, [I8] = TN_I8, [I32] = TN_I32};
    const tensor t = {dtypes[dtype], 1, DIMS((int64_t)n), v};
    void *p = tensor_bytes(&t);
    pb *out = mk_tensor(name, dtype, dims, p, tn_dtype_bytes(t.dtype, n));
    free(p);
    return out;
}

static pb *number(const char *name, int dtype, double v) {
    return constant(name, dtype, "", &v, 1);
}

/* ---- convolutions ------------------------------------------------------------------------------------------------ */

static pb *conv_constants(void) {
    static const double zeros[O];
    pb *g = pb_new();
    fill(of.x, C * H * W, 0, 255);
    fill(of.w, O * C * R * R, -128, 127);
    fill(of.bias, O, -5000, 5000);
    for (int o = 0; o < O; o++) of.scale[o] = ldexp(1, -8 - o);
    g_init(g, number("xs", FLOAT, X_SCALE));
    g_init(g, number("xz", U8, X_ZERO));
    g_init(g, constant("w", I8, "4,3,3,3", of.w, O * C * R * R));
    g_init(g, constant("ws", FLOAT, "4", of.scale, O));
    g_init(g, constant("wz", I8, "4", zeros, O));
    g_init(g, number("ys", FLOAT, 1));
    g_init(g, number("yz", U8, Y_ZERO));
    g_init(g, constant("b", I32, "4", of.bias, O));
    return g_in(g, "x", U8, "1,3,6,7");
}

static pb *conv_node(const char *op, const char *in, const char *out) {
    return at_ints(mk_node(op, in, out), "pads", "1,1,1,1");
}

static pb *qlinear_conv(void) {
    pb *g = g_node(conv_constants(), conv_node("QLinearConv", "x,xs,xz,w,ws,wz,ys,yz,b", "y"));
    return mk_model(g_out(g, "y"), 13);
}

/* The same, its bias as the float that it stands for. */
static pb *dequantised_conv(void) {
    pb *g = conv_constants();
    double bias[O];
    for (int o = 0; o < O; o++) bias[o] = of.bias[o] * X_SCALE * of.scale[o];
    g_init(g, constant("bias", FLOAT, "4", bias, O));
    g_node(g, mk_node("DequantizeLinear", "x,xs,xz", "real"));
    g_node(g, at_int(mk_node("DequantizeLinear", "w,ws,wz", "filters"), "axis", 0));
    g_node(g, conv_node("Conv", "real,filters,bias", "sum"));
    g_node(g, mk_node("QuantizeLinear", "sum,ys,yz", "y"));
    return mk_model(g_out(g, "y"), 13);
}

static double sum_at(int o, int y, int x) {
    double sum = of.bias[o];
    for (int c = 0; c < C; c++)
        for (int r = 0; r < R; r++)
            for (int s = 0; s < R; s++) {
                const int h = y + r - 1, w = x + s - 1;
                const bool inside = h >= 0 && h < H && w >= 0 && w < W;
                if (inside) sum += (of.x[(c * H + h) * W + w] - X_ZERO) * of.w[((o * C + c) * R + r) * R + s];
            }
    return sum;
}

static void expect_conv(pb *model) {
    double y[O * H * W];
    for (int k = 0; k < O * H * W; k++) {
        const int o = k / (H * W);
        const double v = rint(sum_at(o, k / W % H, k % W) * X_SCALE * of.scale[o]) + Y_ZERO;
        y[k] = fmin(fmax(v, 0), 255);
    }
    const tensor x = {TN_U8, 4, DIMS(1, C, H, W), of.x}, want = {TN_U8, 4, DIMS(1, O, H, W), y};
    expect_values(import_with(model, NULL), &x, 1, &want, 1);
}

/* ---- matrix products --------------------------------------------------------------------------------------------- */

static pb *matmul_of(bool b_is_input) {
    pb *g = g_in(pb_new(), "a", U8, "M,19");
    fill(of.a, M * K, 0, 255);
    fill(of.b, K * N, 0, 255);
    g_init(g, number("az", U8, A_ZERO));
    g_init(g, number("bz", U8, B_ZERO));
    if (b_is_input)
        g_in(g, "b", U8, "19,6");
    else
        g_init(g, constant("b", U8, "19,6", of.b, K * N));
    g_node(g, mk_node("MatMulInteger", "a,b,az,bz", "y"));
    return mk_model(g_out(g, "y"), 13);
}

static pb *matmul_integer(void) {
    return matmul_of(false);
}

static pb *matmul_of_inputs(void) {
    return matmul_of(true);
}

/* The zero point, of a, is -LOW, which only its numbers tell; the scale is X_SCALE. */
static pb *dynamic_matmul(void) {
    pb *g = pb_new();
    fill(of.a, M * K, LOW, LOW + 255);
    fill(of.b, K * N, -127, 127);
    for (int k = 0; k < M * K; k++) of.a[k] *= X_SCALE;
    g_init(g, constant("b", I8, "19,6", of.b, K * N));
    g_node(g_in(g, "a", FLOAT, "M,19"), mk_node("DynamicQuantizeLinear", "a", "q,s,z"));
    g_node(g, mk_node("MatMulInteger", "q,b,z", "y"));
    return mk_model(g_out(g, "y"), 13);
}

static void expect_matmul(pb *model, tn_dtype dtype, double a_zero, double b_zero, double scale, bool b_is_input) {
    double y[M * N] = {0};
    for (int i = 0; i < M; i++)
        for (int j = 0; j < N; j++)
            for (int k = 0; k < K; k++) y[i * N + j] += (of.a[i * K + k] / scale - a_zero) * (of.b[k * N + j] - b_zero);
    const tensor in[2] = {{dtype, 2, DIMS(M, K), of.a}, {TN_U8, 2, DIMS(K, N), of.b}},
                 want = {TN_I32, 2, DIMS(M, N), y};
    expect_values(import_with(model, NULL), in, b_is_input ? 2 : 1, &want, 1);
}

/* ---- the tests --------------------------------------------------------------------------------------------------- */

START_TEST(convolutions) {
    expect_conv(qlinear_conv());
    expect_conv(dequantised_conv());
}
END_TEST

START_TEST(matrix_products) {
    expect_matmul(matmul_integer(), TN_U8, A_ZERO, B_ZERO, 1, false);
    expect_matmul(matmul_of_inputs(), TN_U8, A_ZERO, B_ZERO, 1, true);
    expect_matmul(dynamic_matmul(), TN_F32, 0, 0, X_SCALE, false);
}
END_TEST

static size_t times(const char *text, const char *what) {
    size_t n = 0;
    while ((text = strstr(text, what))) n++, text += strlen(what);
    return n;
}

/* The one product of each model is of 8-bit integers. */
START_TEST(products_of_bytes) {
    pb *(*const models[])(void) = {qlinear_conv, dequantised_conv, matmul_integer, matmul_of_inputs, dynamic_matmul};
    const tn_pass_options options = {.nhwc = true};
    imported *i = import_with(models[_i](), NULL);
    char *text;
    size_t size;
    tn_pass_ctx *ctx = tn_pass_ctx_new(&i->env, &options);
    ck_assert_msg(tn_run_passes(i->g, NULL, ctx) == TN_OK, "%s", i->r.message);
    tn_pass_ctx_free(ctx);
    ck_assert_int_eq(tn_print(i->g, NULL, &text, &size), TN_OK);
    ck_assert_msg(times(text, "= matmul ") + times(text, "= conv ") == 1, "%s", text);
    ck_assert_msg(times(text, "math=\"i32\"") == 1, "%s", text);
    tn_free(&i->env, text, size + 1);
    done(i);
}
END_TEST

int main(void) {
    Suite *s = suite_create("onnx_quantised");
    TCase *t = tcase_create("quantised");
    tcase_add_test(t, convolutions);
    tcase_add_test(t, matrix_products);
    tcase_add_loop_test(t, products_of_bytes, 0, 5);
    suite_add_tcase(s, t);
    return run_suite(s);
}
