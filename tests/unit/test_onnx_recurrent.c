/* RNN, GRU and LSTM in all their forms, on the reference and in kernels, beside the operators' equations written down for one
 * sequence at a time. */
#include "tests/onnx/ran.h"

enum { MOST = 1 << 16 };

typedef struct layer {
    const char *op, *direction;
    int64_t hidden, inputs, steps, batch;
    const char *dims; /* of x */
    bool biases, lengths, states, peepholes, batch_first, linear, couple;
    float clip;
    const char *activations; /* NULL: the usual ones */
    bool half;
} layer;

static const layer layers[] = {
    {"RNN", "forward", 5, 3, 7, 2, "7,2,3", .biases = false},
    {"RNN", "reverse", 12, 3, 6, 3, "T,B,3", .biases = true, .lengths = true, .states = true},
    {"RNN", "bidirectional", 8, 4, 5, 2, "T,B,4", .biases = true, .activations = "Relu,Relu", .clip = 1.2f},
    {"RNN", "bidirectional", 8, 4, 5, 2, "T,B,4", .biases = true, .activations = "Tanh,Relu", .lengths = true},
    {"RNN", "bidirectional", 5, 4, 5, 2, "5,B,4", .activations = "Relu,Tanh", .lengths = true},
    {"RNN", "forward", 6, 2, 40, 1, "1,40,2", .biases = true, .batch_first = true, .states = true},
    {"RNN", "forward", 6, 2, 1, 2, "1,2,2", .biases = true, .states = true},
    {"RNN", "reverse", 6, 2, 1, 2, "T,B,2", .biases = true, .states = true},
    {"RNN", "forward", 6, 2, 0, 2, "T,B,2", .biases = true, .states = true},
    {"RNN", "forward", 6, 2, 3, 0, "T,B,2", .biases = true, .states = true},
    {"GRU", "forward", 5, 3, 6, 2, "6,2,3", .biases = false},
    {"GRU", "bidirectional", 20, 3, 5, 3, "T,B,3", .biases = true, .lengths = true, .states = true},
    {"GRU", "bidirectional", 20, 3, 5, 3, "B,T,3", .biases = true, .lengths = true, .linear = true,
     .batch_first = true},
    {"GRU", "reverse", 16, 4, 5, 9, "T,9,4", .biases = true, .linear = true, .states = true, .clip = 0.7f},
    {"GRU", "forward", 16, 4, 5, 2, "T,B,4", .linear = true, .states = true},
    {"GRU", "forward", 7, 4, 5, 2, "T,B,4", .biases = true, .linear = true, .activations = "HardSigmoid,Softsign"},
    {"GRU", "bidirectional", 32, 8, 6, 3, "T,B,8", .biases = true, .lengths = true, .linear = true, .half = true},
    {"GRU", "forward", 32, 8, 6, 3, "6,3,8", .biases = true, .half = true},
    {"GRU", "forward", 32, 8, 0, 3, "T,B,8", .biases = true, .linear = true, .states = true, .half = true},
    {"LSTM", "forward", 5, 3, 6, 2, "6,2,3", .biases = false},
    {"LSTM", "bidirectional", 11, 3, 5, 4, "T,B,3", .biases = true, .lengths = true, .states = true, .peepholes = true},
    {"LSTM", "reverse", 11, 3, 5, 4, "B,T,3", .biases = true, .lengths = true, .states = true, .batch_first = true},
    {"LSTM", "forward", 8, 3, 5, 2, "T,B,3", .biases = true, .peepholes = true, .couple = true, .clip = 0.5f},
    {"LSTM", "reverse", 8, 3, 0, 2, "T,B,3", .biases = true, .states = true, .lengths = true},
    {"LSTM", "forward", 8, 3, 5, 2, "T,B,3", .biases = true, .states = true, .activations = "HardSigmoid,Tanh,Affine"},
    {"LSTM", "bidirectional", 64, 8, 6, 3, "T,B,8", .biases = true, .lengths = true, .states = true, .half = true},
    {"LSTM", "forward", 40, 8, 5, 11, "5,11,8", .biases = true, .peepholes = true, .states = true, .half = true},
    {"LSTM", "reverse", 24, 8, 1, 2, "T,B,8", .biases = true, .states = true, .half = true},
};

/* ---- the equations ------------------------------------------------------------------------------------------------ */

static double function(const char *name, double x) {
    if (!strcmp(name, "Sigmoid")) return 1 / (1 + exp(-x));
    if (!strcmp(name, "Tanh")) return tanh(x);
    if (!strcmp(name, "Relu")) return x > 0 ? x : 0;
    if (!strcmp(name, "HardSigmoid")) return fmax(0, fmin(1, 0.2 * x + 0.5));
    if (!strcmp(name, "Softsign")) return x / (1 + fabs(x));
    ck_assert_str_eq(name, "Affine"); /* 1 x + 0 */
    return x;
}

typedef struct numbers {
    float x[MOST], w[MOST], r[MOST], b[4096], h[4096], c[4096], p[1024], y[MOST], last_h[4096], last_c[4096];
    int32_t lengths[16];
} numbers;
static numbers n;

static double cut(const layer *l, double v) {
    return l->clip > 0 ? fmax(-(double)l->clip, fmin((double)l->clip, v)) : v;
}

/* A row of m times v. */
static double share(const float *m, int64_t cols, const double *v, int64_t row) {
    double sum = 0;
    for (int64_t k = 0; k < cols; k++) sum += (double)m[row * cols + k] * v[k];
    return sum;
}

static void step(const layer *l, int64_t d, const char *const *f, const double *x, double *h, double *c) {
    const int64_t hidden = l->hidden, gates = l->op[0] == 'R' ? 1 : l->op[0] == 'G' ? 3 : 4, rows = gates * hidden;
    const float *w = n.w + d * rows * l->inputs, *r = n.r + d * rows * hidden, *b = n.b + d * 2 * rows;
    const float *p = n.p + d * 3 * hidden;
    double in[4][64], out[4][64], reset[64], next[64];
    for (int64_t k = 0; k < gates; k++)
        for (int64_t u = 0; u < hidden; u++) {
            in[k][u] = share(w, l->inputs, x, k * hidden + u) + (l->biases ? (double)b[k * hidden + u] : 0);
            out[k][u] = share(r, hidden, h, k * hidden + u) + (l->biases ? (double)b[rows + k * hidden + u] : 0);
        }
    if (gates == 1)
        for (int64_t u = 0; u < hidden; u++) next[u] = function(f[0], cut(l, in[0][u] + out[0][u]));
    if (gates == 3) {
        double z[64], q[64];
        for (int64_t u = 0; u < hidden; u++) {
            z[u] = function(f[0], cut(l, in[0][u] + out[0][u]));
            q[u] = function(f[0], cut(l, in[1][u] + out[1][u]));
            reset[u] = q[u] * h[u];
        }
        for (int64_t u = 0; u < hidden; u++) {
            const double bias = l->biases ? (double)b[rows + 2 * hidden + u] : 0;
            const double part = l->linear ? q[u] * out[2][u] : share(r, hidden, reset, 2 * hidden + u) + bias;
            next[u] = (1 - z[u]) * function(f[1], cut(l, in[2][u] + part)) + z[u] * h[u];
        }
    }
    for (int64_t u = 0; gates == 4 && u < hidden; u++) {
        double v[4];
        for (int k = 0; k < 4; k++) v[k] = in[k][u] + out[k][u];
        const double pi = l->peepholes ? (double)p[u] : 0, po = l->peepholes ? (double)p[hidden + u] : 0,
                     pf = l->peepholes ? (double)p[2 * hidden + u] : 0;
        const double i = function(f[0], cut(l, v[0] + pi * c[u]));
        const double forget = l->couple ? 1 - i : function(f[0], cut(l, v[2] + pf * c[u]));
        c[u] = forget * c[u] + i * function(f[1], cut(l, v[3]));
        next[u] = function(f[0], cut(l, v[1] + po * c[u])) * function(f[2], c[u]);
    }
    memcpy(h, next, (size_t)hidden * sizeof *h);
}

/* Of the layout: [T, B] or [B, T]; [D, B] or [B, D]. */
static int64_t at_step(const layer *l, int64_t t, int64_t b) {
    return l->batch_first ? b * l->steps + t : t * l->batch + b;
}

static void expected(const layer *l, int64_t ds) {
    static const char *const usual[][3] = {{"Tanh"}, {"Sigmoid", "Tanh"}, {"Sigmoid", "Tanh", "Tanh"}};
    const int64_t kind = l->op[0] == 'R' ? 0 : l->op[0] == 'G' ? 1 : 2, hidden = l->hidden;
    char list[128] = "", *name = list;
    snprintf(list, sizeof list, "%s", l->activations ? l->activations : "");
    for (int64_t d = 0; d < ds; d++) {
        const char *f[3];
        for (int64_t k = 0; k <= kind; k++) {
            f[k] = l->activations ? name : usual[kind][k];
            char *comma = l->activations ? strchr(name, ',') : NULL;
            if (comma) *comma = 0, name = comma + 1;
        }
        const bool reverse = d == 1 || !strcmp(l->direction, "reverse");
        for (int64_t b = 0; b < l->batch; b++) {
            const int64_t state = (l->batch_first ? b * ds + d : d * l->batch + b) * hidden;
            const int64_t length = l->lengths ? n.lengths[b] : l->steps;
            double x[64], h[64], c[64];
            for (int64_t u = 0; u < hidden; u++) {
                h[u] = l->states ? (double)n.h[state + u] : 0;
                c[u] = l->states ? (double)n.c[state + u] : 0;
            }
            for (int64_t k = 0; k < l->steps; k++) {
                const int64_t t = reverse && k < length ? length - 1 - k : k;
                const int64_t to =
                    l->batch_first ? ((b * l->steps + t) * ds + d) * hidden : ((t * ds + d) * l->batch + b) * hidden;
                for (int64_t i = 0; i < l->inputs; i++) x[i] = (double)n.x[at_step(l, t, b) * l->inputs + i];
                if (k < length) step(l, d, f, x, h, c);
                for (int64_t u = 0; u < hidden; u++) n.y[to + u] = k < length ? (float)h[u] : 0;
            }
            for (int64_t u = 0; u < hidden; u++) {
                n.last_h[state + u] = (float)h[u];
                n.last_c[state + u] = (float)c[u];
            }
        }
    }
}

/* ---- models ------------------------------------------------------------------------------------------------------- */

static void draw(uint32_t *seed, float *to, size_t count, double size) {
    for (size_t k = 0; k < count; k++) {
        to[k] = (float)(ran_number(seed) * size);
        to[k] = ldexpf(roundf(ldexpf(to[k], 7)), -7); /* the same in 16 bits */
    }
}

static pb *node_of(const layer *l) {
    char in[64];
    snprintf(in, sizeof in, "x,w,r,%s,%s,%s,%s,%s", l->biases ? "b" : "", l->lengths ? "n" : "", l->states ? "h" : "",
             l->states && l->op[0] == 'L' ? "c" : "", l->peepholes ? "p" : "");
    for (size_t k = strlen(in); k && in[k - 1] == ','; k--) in[k - 1] = 0;
    pb *node = at_str(at_int(mk_node(l->op, in, l->op[0] == 'L' ? "y,yh,yc" : "y,yh"), "hidden_size", l->hidden),
                      "direction", l->direction);
    if (l->activations) at_strs(node, "activations", l->activations);
    if (l->clip > 0) at_float(node, "clip", l->clip);
    if (l->batch_first) at_int(node, "layout", 1);
    if (l->linear) at_int(node, "linear_before_reset", 1);
    if (l->couple) at_int(node, "input_forget", 1);
    return node;
}

static size_t weight(pb *g, const char *name, const float *data, int64_t d, int64_t rows, int64_t cols) {
    char dims[64];
    snprintf(dims, sizeof dims, cols ? "%d,%d,%d" : "%d,%d", (int)d, (int)rows, (int)cols);
    const size_t count = (size_t)(d * rows * (cols ? cols : 1));
    g_init(g, mk_tensor(name, 1, dims, data, count * sizeof *data));
    return count;
}

START_TEST(layers_of_all_forms) {
    if (!in_turn((size_t)_i, 2)) return;
    const layer *l = &layers[_i];
    const int64_t ds = strcmp(l->direction, "bidirectional") ? 1 : 2,
                  gates = l->op[0] == 'R'   ? 1
                          : l->op[0] == 'G' ? 3
                                            : 4,
                  rows = gates * l->hidden;
    uint32_t seed = 77;
    pb *g = g_in(g_node(pb_new(), node_of(l)), "x", 1, l->dims);
    draw(&seed, n.x, (size_t)(l->steps * l->batch * l->inputs), 1);
    draw(&seed, n.w, (size_t)(ds * rows * l->inputs), 0.8);
    draw(&seed, n.r, (size_t)(ds * rows * l->hidden), 1.5 / sqrt((double)l->hidden));
    draw(&seed, n.b, (size_t)(ds * 2 * rows), 0.5);
    draw(&seed, n.h, (size_t)(ds * l->batch * l->hidden), 1);
    draw(&seed, n.c, (size_t)(ds * l->batch * l->hidden), 1);
    draw(&seed, n.p, (size_t)(ds * 3 * l->hidden), 0.7);
    weight(g, "w", n.w, ds, rows, l->inputs);
    weight(g, "r", n.r, ds, rows, l->hidden);
    if (l->biases) weight(g, "b", n.b, ds, 2 * rows, 0);
    if (l->peepholes) weight(g, "p", n.p, ds, 3 * l->hidden, 0);
    for (int64_t b = 0; b < l->batch; b++)
        n.lengths[b] = (int32_t)(b % 3 == 0 ? l->steps : b % 3 == 1 ? l->steps / 2 : 0);
    expected(l, ds);
    ran_tensor in[4] = {{TN_F32, 3, {l->steps, l->batch, l->inputs}, n.x}};
    const int64_t p = l->batch_first ? l->batch : ds, q = l->batch_first ? ds : l->batch;
    size_t n_in = 1;
    if (l->batch_first) in[0].dims[0] = l->batch, in[0].dims[1] = l->steps;
    char dims[64];
    snprintf(dims, sizeof dims, l->batch_first ? "B,%d,%d" : "%d,B,%d", (int)ds, (int)l->hidden);
    if (l->lengths) g_in(g, "n", 6, "B"), in[n_in++] = (ran_tensor){TN_I32, 1, {l->batch}, n.lengths};
    if (l->states) g_in(g, "h", 1, dims), in[n_in++] = (ran_tensor){TN_F32, 3, {p, q, l->hidden}, n.h};
    if (l->states && gates == 4) g_in(g, "c", 1, dims), in[n_in++] = (ran_tensor){TN_F32, 3, {p, q, l->hidden}, n.c};
    g_out(g_out(g, "y"), "yh");
    if (gates == 4) g_out(g, "yc");
    ran_tensor want[] = {{TN_F32, 4, {l->steps, ds, l->batch, l->hidden}, n.y},
                         {TN_F32, 3, {p, q, l->hidden}, n.last_h},
                         {TN_F32, 3, {p, q, l->hidden}, n.last_c}};
    if (l->batch_first) want[0].dims[0] = l->batch, want[0].dims[1] = l->steps, want[0].dims[2] = ds;
    imported *i = import_with(mk_model(g, 14), NULL);
    ck_assert_msg(i->g != NULL, "%s", i->r.message);
    ran_on_reference(i, n_in, in, gates == 4 ? 3 : 2, want, 1e-5);
    if (l->half)
        ran_on_kernels_in(i, TN_FP16, n_in, in, gates == 4 ? 3 : 2, want, 6e-3);
    else
        ran_on_kernels(i, n_in, in, gates == 4 ? 3 : 2, want, 1e-5);
    done(i);
}
END_TEST

/* Blocks of a whole grid give each other the state through the result: what the run before has left there must not be taken for it. */
START_TEST(a_grid_of_blocks_runs_twice) {
    enum { H = 1024, T = 16, IN = 8 };
    static float r[H * H], w[H * IN], x[T * IN], y[T * H];
    uint32_t seed = 5;
    void *bytes = NULL, *out = y;
    size_t size = 0;
    tn_plan *p = NULL;
    draw(&seed, w, H * IN, 0.8);
    for (size_t k = 0; k < H * H; k++) r[k] = (float)(ran_number(&seed) / 32);
    pb *g = g_in(g_node(pb_new(), at_int(mk_node("RNN", "x,w,r", "y"), "hidden_size", H)), "x", 1, "16,1,8");
    weight(g, "w", w, 1, H, IN);
    weight(g, "r", r, 1, H, H);
    imported *i = import_with(mk_model(g_out(g, "y"), 14), NULL);
    ck_assert_msg(i->g != NULL, "%s", i->r.message);
    tn_context *c = kernels_in(i, TN_FP16, &p, &bytes, &size);
    for (int run = 0; c && run < 3; run++) {
        double h[H] = {0}, next[H];
        draw(&seed, x, T * IN, 1);
        const void *in = x;
        ck_assert_msg(tn_context_run(c, &in, &out) == TN_OK, "%s", i->r.message);
        for (int t = 0; t < T; t++) {
            for (int u = 0; u < H; u++) {
                next[u] = share(r, H, h, u);
                for (int k = 0; k < IN; k++) next[u] += (double)w[u * IN + k] * (double)x[t * IN + k];
            }
            for (int u = 0; u < H; u++) {
                h[u] = tanh(next[u]);
                ck_assert_msg(fabs(h[u] - (double)y[t * H + u]) < 6e-3, "run %d: step %d has %g, not %g in unit %d",
                              run, t, (double)y[t * H + u], h[u], u);
            }
        }
    }
    tn_context_free(c);
    tn_plan_free(p);
    tn_free(&i->env, bytes, size);
    done(i);
}
END_TEST

int main(void) {
    Suite *s = suite_create("onnx_recurrent");
    TCase *t = tcase_create("recurrent");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, layers_of_all_forms, 0, (int)(sizeof layers / sizeof *layers));
    tcase_add_test(t, a_grid_of_blocks_runs_twice);
    suite_add_tcase(s, t);
    return run_suite(s);
}
