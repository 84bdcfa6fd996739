/* Transforms and windows of the ONNX importer beside the sums that define them: DFT and STFT of every kind of length, Col2Im,
 * the indices of MaxPool, MaxUnpool, DeformConv. */
#include "tests/onnx/ran.h"

#define TAU 6.283185307179586476925286766559

/* ---- DFT --------------------------------------------------------------------------------------------------------- */

typedef struct dft_row {
    int64_t have, length; /* of the axis, and of the transform */
    int64_t parts;        /* 1: real */
    int inverse, onesided;
    const char *dims; /* of [2, have, 3, parts] as the model declares them */
} dft_row;

static const dft_row transforms[] = {
    {1, 1, 1, 0, 0, "2,1,3,1"},       {6, 6, 1, 0, 1, "2,6,3,1"},
    {7, 7, 2, 1, 0, "2,7,3,2"},       {9, 5, 2, 0, 0, "2,9,3,2"}, /* cut */
    {5, 12, 1, 0, 1, "B,5,3,1"},                                  /* filled up */
    {96, 96, 2, 0, 0, "2,96,C,2"},                                /* two factors */
    {130, 130, 1, 0, 1, "2,130,3,1"},                             /* 65 * 2 */
    {134, 134, 1, 0, 1, "2,134,3,1"},                             /* 67 is too large a factor: a chirp */
    {71, 71, 2, 1, 0, "2,71,3,2"},                                /* and a prime */
    {14, 14, 2, 0, 0, "2,N,3,2"},                                 /* only a run knows it */
    {11, 11, 1, 0, 1, "2,N,3,1"},     {9, 9, 2, 1, 0, "2,N,3,2"},
    {6, 10, 2, 1, 1, "2,6,3,2"}, /* to a real signal of even and odd length */
    {6, 11, 2, 1, 1, "2,6,3,2"},      {49, 96, 2, 1, 1, "2,49,3,2"},
};

/* Output element j of the transform of row (b, c). */
static void dft_sum(const dft_row *r, const float *x, int64_t b, int64_t c, int64_t j, double *re, double *im) {
    const int64_t half = r->length / 2;
    *re = *im = 0;
    for (int64_t k = 0; k < r->length; k++) {
        const bool mirrored = r->inverse && r->onesided && k > half;
        const int64_t from = mirrored ? r->length - k : k;
        if (from >= r->have) continue;
        const float *at = x + ((b * r->have + from) * 3 + c) * r->parts;
        const double p = (double)at[0], q = r->parts == 2 ? (mirrored ? -(double)at[1] : (double)at[1]) : 0;
        const double t = TAU * (double)(j * k % r->length) / (double)r->length * (r->inverse ? 1 : -1);
        *re += p * cos(t) - q * sin(t);
        *im += p * sin(t) + q * cos(t);
    }
    if (r->inverse) *re /= (double)r->length, *im /= (double)r->length;
}

START_TEST(transforms_are_sums) {
    const dft_row *r = &transforms[_i];
    const bool real = r->inverse && r->onesided;
    const int64_t out = r->onesided && !real ? r->length / 2 + 1 : r->length, axis = 1;
    static float x[2 * 134 * 3 * 2], y[2 * 134 * 3 * 2];
    uint32_t seed = (uint32_t)_i;
    for (int64_t k = 0; k < 2 * r->have * 3 * r->parts; k++) x[k] = (float)ran_number(&seed);
    for (int64_t b = 0, at = 0; b < 2; b++)
        for (int64_t j = 0; j < out; j++)
            for (int64_t c = 0; c < 3; c++) {
                double re, im;
                dft_sum(r, x, b, c, j, &re, &im);
                y[at++] = (float)re;
                if (!real) y[at++] = (float)im;
            }
    const ran_tensor in = {TN_F32, 4, {2, r->have, 3, r->parts}, x}, want = {TN_F32, 4, {2, out, 3, real ? 1 : 2}, y};
    for (int64_t opset = 17; opset <= 20; opset += 3) {
        const bool given = r->length != r->have;
        pb *node = mk_node("DFT", opset < 20 ? given ? "x,l" : "x" : given ? "x,l,a" : "x,,a", "y"), *g = pb_new();
        if (opset < 20) at_int(node, "axis", axis);
        g_node(g, at_int(at_int(node, "inverse", r->inverse), "onesided", r->onesided));
        if (given) g_init(g, mk_i64("l", "", 1, &r->length));
        if (opset >= 20) g_init(g, mk_i64("a", "", 1, &axis));
        imported *m = import_with(mk_model(g_out(g_in(g, "x", 1, r->dims), "y"), opset), NULL);
        const double tolerance = 2e-5 * sqrt((double)r->length);
        ck_assert_msg(m->g != NULL, "%s", m->r.message);
        ran_on_reference(m, 1, &in, 1, &want, tolerance);
        if (opset == 20) ran_on_kernels(m, 1, &in, 1, &want, tolerance);
        done(m);
    }
}
END_TEST

/* Frames of 80 (two factors), every 24 of 200, with a window; the signal's length only a run knows. */
START_TEST(frames_are_transformed) {
    enum { LONG = 200, FRAME = 80, STEP = 24, FRAMES = (LONG - FRAME) / STEP + 1, HALF = FRAME / 2 + 1 };
    static float x[2 * LONG], w[FRAME], y[2 * FRAMES * HALF * 2];
    const int64_t step = STEP, length = FRAME;
    uint32_t seed = 3;
    for (int k = 0; k < 2 * LONG; k++) x[k] = (float)ran_number(&seed);
    for (int k = 0; k < FRAME; k++) w[k] = (float)ran_number(&seed);
    for (int64_t b = 0, at = 0; b < 2; b++)
        for (int64_t f = 0; f < FRAMES; f++)
            for (int64_t j = 0; j < HALF; j++) {
                double re = 0, im = 0;
                for (int64_t k = 0; k < FRAME; k++) {
                    const double v = (double)x[b * LONG + f * STEP + k] * (double)w[k],
                                 t = TAU * (double)(j * k) / FRAME;
                    re += v * cos(t);
                    im -= v * sin(t);
                }
                y[at++] = (float)re;
                y[at++] = (float)im;
            }
    pb *g = g_node(pb_new(), mk_node("STFT", "x,s,w,l", "y"));
    g_init(g_init(g, mk_i64("s", "", 1, &step)), mk_i64("l", "", 1, &length));
    g_init(g, mk_tensor("w", 1, "80", w, sizeof w));
    const ran_tensor in = {TN_F32, 3, {2, LONG, 1}, x}, want = {TN_F32, 4, {2, FRAMES, HALF, 2}, y};
    ran_with(mk_model(g_out(g_in(g, "x", 1, "B,L,1"), "y"), 17), NULL, 1, &in, 1, &want, 1e-4);
}
END_TEST

/* A step that is the size of an input: one of 0 is refused. */
START_TEST(frames_of_no_step) {
    const int64_t length = 4;
    float x[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    pb *g = g_node(g_node(pb_new(), mk_node("Size", "t", "s")), mk_node("STFT", "x,s,,l", "y"));
    g_in(g_in(g_init(g, mk_i64("l", "", 1, &length)), "x", 1, "1,L"), "t", 1, "S");
    imported *i = import_with(mk_model(g_out(g, "y"), 17), NULL);
    ck_assert_msg(i->g != NULL, "%s", i->r.message);
    for (int64_t step = 0; step < 3; step++) {
        tn_tensor in[] = {{.dtype = TN_F32, .rank = 2, .dims = {1, 12}, .data = x, .bytes = sizeof x},
                          {.dtype = TN_F32, .rank = 1, .dims = {step}, .data = x, .bytes = 4 * (size_t)step}},
                  y = {0};
        ck_assert_int_eq(tn_eval_graph(&i->env, i->g, in, 2, &y, 1, NULL), step ? TN_OK : TN_E_TYPE);
        if (!step) ck_assert_msg(strstr(i->r.message, "the frame step") != NULL, "%s", i->r.message);
        if (step) ck_assert_int_eq(y.dims[1], 8 / step + 1);
        if (step) tn_tensor_free(NULL, &y);
    }
    done(i);
}
END_TEST

/* y = L >= 8 ? sum of the frames' spectrum : sum of x: what the frames need, they need where they are taken. */
START_TEST(frames_in_a_branch) {
    const int64_t length = 8, step = 4, seven = 7, one = 1;
    pb *yes = g_node(pb_new(), mk_node("STFT", "x,step,,l", "f")), *no = pb_new(), *g = pb_new();
    g_out(g_node(yes, at_int(mk_node("ReduceSum", "f", "a"), "keepdims", 0)), "a");
    g_out(g_node(no, at_int(mk_node("ReduceSum", "x", "b"), "keepdims", 0)), "b");
    g_node(g_node(g, mk_node("Shape", "x", "s")), mk_node("Gather", "s,one", "n"));
    g_node(g, mk_node("Greater", "n,seven", "c"));
    g_node(g, at_graph(at_graph(mk_node("If", "c", "y"), "then_branch", yes), "else_branch", no));
    g_init(g_init(g, mk_i64("l", "", 1, &length)), mk_i64("step", "", 1, &step));
    g_init(g_init(g, mk_i64("seven", "", 1, &seven)), mk_i64("one", "", 1, &one));
    imported *i = import_with(mk_model(g_out(g_in(g, "x", 1, "1,L"), "y"), 17), NULL);
    ck_assert_msg(i->g != NULL, "%s", i->r.message);
    ck_assert_uint_eq(nodes_of(i, TN_OP_IF), 1);
    static const float x[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    void *bytes = NULL;
    size_t size = 0;
    tn_plan *p = NULL;
    const int64_t sizes[] = {5, 12, 2, 8, 0};
    float want[5];
    for (int k = 0; k < 5; k++) {
        const ran_tensor in = {TN_F32, 2, {1, sizes[k]}, x};
        double sum = 0;
        for (int64_t at = 0; at < sizes[k]; at++) sum += sizes[k] > 7 ? 0 : (double)x[at];
        for (int64_t from = 0; sizes[k] > 7 && from + 8 <= sizes[k]; from += 4)
            for (int64_t f = 0; f < 5; f++)
                for (int64_t at = 0; at < 8; at++)
                    sum += (double)x[from + at] * (cos(TAU * (double)(f * at) / 8) - sin(TAU * (double)(f * at) / 8));
        want[k] = (float)sum;
        ran_on_reference(i, 1, &in, 1, &(ran_tensor){TN_F32, 0, {0}, &want[k]}, 1e-3);
    }
    tn_context *c = kernels_of(i, &p, &bytes, &size);
    for (int k = 0; c && k < 5; k++) {
        float y = 0;
        ck_assert_msg(tn_context_set_shape(c, 0, 2, (int64_t[]){1, sizes[k]}) == TN_OK, "%s", i->r.message);
        ck_assert_msg(tn_context_run(c, (const void *[]){x}, (void *[]){&y}) == TN_OK, "%s", i->r.message);
        ck_assert_msg(fabsf(y - want[k]) < 1e-3f, "of %lld: %g, not %g", (long long)sizes[k], (double)y,
                      (double)want[k]);
    }
    tn_context_free(c);
    tn_plan_free(p);
    tn_free(&i->env, bytes, size);
    done(i);
}
END_TEST

/* ---- windows ----------------------------------------------------------------------------------------------------- */

typedef struct window_row {
    int64_t kernel[2], stride[2], dilation[2], pad[4], in[2];
    int ceil_mode, column_major;
    const char *dims; /* of [2, 3, in] */
} window_row;

static const window_row windows[] = {
    {{2, 2}, {2, 2}, {1, 1}, {0, 0, 0, 0}, {5, 6}, 0, 0, "2,3,5,6"},
    {{3, 2}, {1, 2}, {2, 1}, {2, 0, 1, 1}, {6, 7}, 0, 1, "2,3,6,7"},
    {{3, 3}, {2, 2}, {1, 2}, {1, 1, 1, 1}, {6, 8}, 1, 0, "N,3,H,W"},
    {{1, 4}, {3, 1}, {1, 2}, {0, 3, 0, 2}, {7, 5}, 1, 1, "N,C,7,W"},
};

static int64_t places(const window_row *r, int k, bool ceil_mode) {
    const int64_t room = r->in[k] + r->pad[k] + r->pad[2 + k] - (r->kernel[k] - 1) * r->dilation[k] - 1;
    int64_t n = (ceil_mode ? (room + r->stride[k] - 1) / r->stride[k] : room / r->stride[k]) + 1;
    if (ceil_mode && (n - 1) * r->stride[k] >= r->in[k] + r->pad[k]) n--;
    return n;
}

static pb *window_node(const window_row *r, const char *op, const char *in, const char *out) {
    char text[4][64];
    snprintf(text[0], 64, "%d,%d", (int)r->stride[0], (int)r->stride[1]);
    snprintf(text[1], 64, "%d,%d", (int)r->dilation[0], (int)r->dilation[1]);
    snprintf(text[2], 64, "%d,%d,%d,%d", (int)r->pad[0], (int)r->pad[1], (int)r->pad[2], (int)r->pad[3]);
    snprintf(text[3], 64, "%d,%d", (int)r->kernel[0], (int)r->kernel[1]);
    pb *n = at_ints(at_ints(at_ints(mk_node(op, in, out), "strides", text[0]), "dilations", text[1]), "pads", text[2]);
    return strcmp(op, "Col2Im") ? at_ints(n, "kernel_shape", text[3]) : n;
}

/* Where position (i, j) of the window at place (p, q) is; false: in the padding. */
static bool sees(const window_row *r, const int64_t at[4], int64_t *row, int64_t *col) {
    *row = at[0] * r->stride[0] + at[2] * r->dilation[0] - r->pad[0];
    *col = at[1] * r->stride[1] + at[3] * r->dilation[1] - r->pad[1];
    return *row >= 0 && *row < r->in[0] && *col >= 0 && *col < r->in[1];
}

#define FOR_WINDOW(r, at)                                                                                              \
    for (at[2] = 0; at[2] < (r)->kernel[0]; at[2]++)                                                                   \
        for (at[3] = 0; at[3] < (r)->kernel[1]; at[3]++)

/* Few values, so that the first of equal ones counts, and some that compare with nothing below them. */
START_TEST(where_maxima_are) {
    const window_row *r = &windows[_i];
    const int64_t h = r->in[0], w = r->in[1], ph = places(r, 0, r->ceil_mode), pw = places(r, 1, r->ceil_mode);
    static float x[512], y[512];
    static int64_t at_y[512];
    uint32_t seed = 7;
    for (int64_t k = 0; k < 6 * h * w; k++) {
        x[k] = (float)floor(ran_number(&seed) * 3);
        if (x[k] == -3) x[k] = -INFINITY;
    }
    int64_t n = 0, at[4], row, col;
    for (int64_t plane = 0; plane < 6; plane++)
        for (at[0] = 0; at[0] < ph; at[0]++)
            for (at[1] = 0; at[1] < pw; at[1]++, n++) {
                bool any = false;
                FOR_WINDOW(r, at) {
                    if (!sees(r, at, &row, &col)) continue;
                    const float v = x[(plane * h + row) * w + col];
                    if (any && !(v > y[n])) continue;
                    any = true;
                    y[n] = v;
                    at_y[n] = plane * h * w + (r->column_major ? row + col * h : row * w + col);
                }
                ck_assert(any);
            }
    pb *node = at_int(at_int(window_node(r, "MaxPool", "x", "y,i"), "ceil_mode", r->ceil_mode), "storage_order",
                      r->column_major);
    pb *g = g_out(g_out(g_in(g_node(pb_new(), node), "x", 1, r->dims), "y"), "i");
    const ran_tensor in = {TN_F32, 4, {2, 3, h, w}, x},
                     want[] = {{TN_F32, 4, {2, 3, ph, pw}, y}, {TN_I64, 4, {2, 3, ph, pw}, at_y}};
    ran_with(mk_model(g, 12), NULL, 1, &in, 2, want, 0);
}
END_TEST

START_TEST(columns_add_up_to_an_image) {
    const window_row *r = &windows[_i];
    const int64_t h = r->in[0], w = r->in[1], ph = places(r, 0, false), pw = places(r, 1, false),
                  taps = r->kernel[0] * r->kernel[1];
    static float x[4096], y[512];
    uint32_t seed = 9;
    memset(y, 0, sizeof y);
    for (int64_t k = 0; k < 6 * taps * ph * pw; k++) x[k] = (float)ran_number(&seed);
    int64_t n = 0, at[4], row, col;
    for (int64_t plane = 0; plane < 6; plane++) FOR_WINDOW(r, at)
    for (at[0] = 0; at[0] < ph; at[0]++)
        for (at[1] = 0; at[1] < pw; at[1]++, n++)
            if (sees(r, at, &row, &col)) y[(plane * h + row) * w + col] += x[n];
    pb *g = g_node(pb_new(), window_node(r, "Col2Im", "x,i,b", "y"));
    g_init(g_init(g, mk_i64("i", NULL, 2, r->in)), mk_i64("b", NULL, 2, r->kernel));
    const ran_tensor in = {TN_F32, 3, {2, 3 * taps, ph * pw}, x}, want = {TN_F32, 4, {2, 3, h, w}, y};
    ran_with(mk_model(g_out(g_in(g, "x", 1, "N,?,?"), "y"), 18), NULL, 1, &in, 1, &want, 1e-5);
}
END_TEST

/* What a pool took, put back where it was: zeros elsewhere, and around it where a larger shape is asked for. */
START_TEST(maxima_go_back) {
    static const float x[] = {5, 6, 7, 8};
    static const int64_t at[] = {5, 7, 13, 15}, shape[] = {1, 1, 5, 6};
    float y[30] = {0}, small[16] = {0};
    for (int k = 0; k < 4; k++) small[at[k]] = y[at[k] / 4 * 6 + at[k] % 4] = x[k];
    const ran_tensor in[] = {{TN_F32, 4, {1, 1, 2, 2}, x}, {TN_I64, 4, {1, 1, 2, 2}, at}};
    const ran_tensor want[] = {{TN_F32, 4, {1, 1, 4, 4}, small}, {TN_F32, 4, {1, 1, 5, 6}, y}};
    for (int given = 0; given < 2; given++) {
        pb *node = at_ints(mk_node("MaxUnpool", given ? "x,i,s" : "x,i", "y"), "kernel_shape", "2,2");
        pb *g = g_node(pb_new(), at_ints(node, "strides", "2,2"));
        if (given) g_init(g, mk_i64("s", NULL, 4, shape));
        g_in(g_in(g, "x", 1, given ? "1,1,2,2" : "N,C,H,W"), "i", 7, given ? "1,1,2,2" : "N,C,H,W");
        ran_with(mk_model(g_out(g, "y"), given ? 9 : 22), NULL, 2, in, 1, &want[given], 0);
    }
}
END_TEST

/* ---- DeformConv -------------------------------------------------------------------------------------------------- */

/* Plane p of h x w at a fractional place: linear between neighbours, 0 outside. */
static double between(const float *p, int64_t h, int64_t w, double y, double x) {
    double sum = 0;
    for (int k = 0; k < 4; k++) {
        const double r = floor(y) + (k >> 1), c = floor(x) + (k & 1);
        if (r < 0 || c < 0 || r >= (double)h || c >= (double)w) continue;
        sum += (1 - fabs(y - r)) * (1 - fabs(x - c)) * (double)p[(int64_t)r * w + (int64_t)c];
    }
    return sum;
}

/* Four channels to four in `groups` groups, offsets for each half of the channels, with and without a mask and a bias. */
START_TEST(kernels_are_deformed) {
    enum { H = 6, W = 7, KH = 2, KW = 3, T = KH * KW, C = 4, M = 4, OG = 2 };
    const window_row r = {{KH, KW}, {1 + _i % 2, 2}, {1, 1 + _i / 2}, {1, 0, 1, 2}, {H, W}, 0, 0, NULL};
    const int64_t groups = 1 + _i % 2, oh = places(&r, 0, false), ow = places(&r, 1, false), share = C / groups;
    const bool masked = _i > 0, biased = _i != 1;
    static float x[C * H * W], w[M * C * T], off[OG * T * 2 * 64], mask[OG * T * 64], bias[M], y[M * 64];
    uint32_t seed = 21;
    for (size_t k = 0; k < sizeof x / sizeof *x; k++) x[k] = (float)ran_number(&seed);
    for (size_t k = 0; k < sizeof w / sizeof *w; k++) w[k] = (float)ran_number(&seed);
    for (size_t k = 0; k < sizeof off / sizeof *off; k++) off[k] = (float)(3 * ran_number(&seed));
    for (size_t k = 0; k < sizeof mask / sizeof *mask; k++) mask[k] = (float)ran_number(&seed);
    for (size_t k = 0; k < M; k++) bias[k] = (float)ran_number(&seed);
    for (int64_t m = 0; m < M; m++)
        for (int64_t p = 0; p < oh * ow; p++) {
            double sum = biased ? (double)bias[m] : 0;
            for (int64_t i = 0; i < share; i++)
                for (int64_t t = 0; t < T; t++) {
                    const int64_t c = m / (M / groups) * share + i, from = c / (C / OG) * T + t;
                    const double row = (double)(p / ow * r.stride[0] + t / KW * r.dilation[0] - r.pad[0]) +
                                       (double)off[(from * 2) * oh * ow + p],
                                 col = (double)(p % ow * r.stride[1] + t % KW * r.dilation[1] - r.pad[1]) +
                                       (double)off[(from * 2 + 1) * oh * ow + p];
                    sum += between(x + c * H * W, H, W, row, col) * (double)w[(m * share + i) * T + t] *
                           (masked ? (double)mask[from * oh * ow + p] : 1);
                }
            y[m * oh * ow + p] = (float)sum;
        }
    pb *node = window_node(&r, "DeformConv", masked ? biased ? "x,w,o,b,m" : "x,w,o,,m" : "x,w,o,b", "y");
    pb *g = g_node(pb_new(), at_int(at_int(node, "group", groups), "offset_group", OG));
    char dims[32];
    snprintf(dims, sizeof dims, "4,%d,2,3", (int)share);
    g_init(g, mk_tensor("w", 1, dims, w, sizeof *w * (size_t)(M * share * T)));
    if (biased) g_init(g, mk_tensor("b", 1, "4", bias, sizeof bias));
    g_in(g_in(g, "x", 1, "1,4,H,W"), "o", 1, "1,24,P,Q");
    if (masked) g_in(g, "m", 1, "1,12,P,Q");
    const ran_tensor in[] = {{TN_F32, 4, {1, C, H, W}, x},
                             {TN_F32, 4, {1, OG * T * 2, oh, ow}, off},
                             {TN_F32, 4, {1, OG * T, oh, ow}, mask}},
                     want = {TN_F32, 4, {1, M, oh, ow}, y};
    ran_with(mk_model(g_out(g, "y"), _i ? 22 : 19), NULL, masked ? 3 : 2, in, 1, &want, 1e-4);
}
END_TEST

int main(void) {
    Suite *s = suite_create("onnx_signal");
    TCase *t = tcase_create("onnx_signal");
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, transforms_are_sums, 0, (int)(sizeof transforms / sizeof *transforms));
    tcase_add_test(t, frames_are_transformed);
    tcase_add_test(t, frames_of_no_step);
    tcase_add_test(t, frames_in_a_branch);
    tcase_add_loop_test(t, where_maxima_are, 0, (int)(sizeof windows / sizeof *windows));
    tcase_add_loop_test(t, columns_add_up_to_an_image, 0, (int)(sizeof windows / sizeof *windows));
    tcase_add_test(t, maxima_go_back);
    tcase_add_loop_test(t, kernels_are_deformed, 0, 4);
    suite_add_tcase(s, t);
    return run_suite(s);
}
