/* The ONNX importer: linear attention, causal convolutions with a state and flexible attention, of sizes that a model leaves
 * open and of sizes that it says, against their definitions one element after the other. */
#include "tests/onnx/devices.h"

static double wave(int k, int period) {
    return (double)((k * 7 + 3) % period - period / 2) / period;
}

static void fill(double *v, int n, int period) {
    for (int k = 0; k < n; k++) v[k] = wave(k, period);
}

/* ---- linear attention -------------------------------------------------------------------------------------------- */

enum { B = 2, HQ = 4, HK = 2, DK = 3, DV = 2, MAX_STEPS = 40 };

static const struct rule {
    const char *name;
    int decay, beta; /* numbers a step: 0: none */
    bool past;
} rules[] = {
    {"linear", 0, 0, false}, {"gated", HK *DK, 0, true},   {"gated", HK, 0, false},
    {"delta", 0, HK, true},  {"gated_delta", HK, 1, true}, {"gated_delta", HK *DK, HK, false},
};
enum { RULES = sizeof rules / sizeof *rules };

typedef struct attention {
    double q[B * MAX_STEPS * HQ * DK], k[B * MAX_STEPS * HK * DK], v[B * MAX_STEPS * HK * DV], s[B * HK * DK * DV],
        decay[B * MAX_STEPS * HK * DK], beta[B * MAX_STEPS * HK], o[B * MAX_STEPS * HQ * DV], s0[B * HK * DK * DV];
} attention;

static void attend(const struct rule *r, int steps, double scale, attention *a) {
    fill(a->q, B * steps * HQ * DK, 13);
    fill(a->k, B * steps * HK * DK, 11);
    fill(a->v, B * steps * HK * DV, 7);
    fill(a->decay, B * steps * r->decay, 9);
    fill(a->beta, B * steps * r->beta, 5);
    fill(a->s0, B * HK * DK * DV, r->past ? 8 : 1);
    for (int k = 0; k < B * HK * DK * DV; k++) a->s[k] = a->s0[k] = r->past ? a->s0[k] : 0;
    for (int b = 0; b < B; b++)
        for (int t = 0; t < steps; t++)
            for (int h = 0; h < HK; h++) {
                const int at = b * steps + t;
                double *s = a->s + (b * HK + h) * DK * DV;
                const double *k = a->k + at * HK * DK + h * DK, *v = a->v + at * HK * DV + h * DV;
                for (int i = 0; i < DK; i++)
                    for (int j = 0; j < DV && r->decay; j++)
                        s[i * DV + j] *= exp(a->decay[at * r->decay + (r->decay == HK ? h : h * DK + i)]);
                for (int j = 0; j < DV; j++) {
                    double w = v[j];
                    for (int i = 0; i < DK && r->beta; i++) w -= s[i * DV + j] * k[i];
                    if (r->beta) w *= a->beta[at * r->beta + (r->beta == 1 ? 0 : h)];
                    for (int i = 0; i < DK; i++) s[i * DV + j] += k[i] * w;
                }
                for (int q = h * (HQ / HK); q < (h + 1) * (HQ / HK); q++)
                    for (int j = 0; j < DV; j++) {
                        double o = 0;
                        for (int i = 0; i < DK; i++) o += a->q[at * HQ * DK + q * DK + i] * s[i * DV + j];
                        a->o[at * HQ * DV + q * DV + j] = scale * o;
                    }
            }
}

static pb *linear_attention(const struct rule *r, const char *steps, float scale) {
    char in[64], dims[32];
    snprintf(in, sizeof in, "q,k,v,%s,%s,%s", r->past ? "s" : "", r->decay ? "g" : "", r->beta ? "b" : "");
    pb *n = at_int(at_int(mk_node("LinearAttention", in, "o,t"), "q_num_heads", HQ), "kv_num_heads", HK), *g = pb_new();
    at_str(n, "update_rule", r->name);
    g_node(g, scale != 0 ? at_float(n, "scale", scale) : n);
    const struct {
        const char *name;
        int size;
    } inputs[] = {{"q", HQ * DK}, {"k", HK * DK}, {"v", HK * DV}, {"g", r->decay}, {"b", r->beta}};
    for (int k = 0; k < 5; k++) {
        snprintf(dims, sizeof dims, "%d,%s,%d", B, steps, inputs[k].size);
        if (inputs[k].size) g_in(g, inputs[k].name, 1, dims);
    }
    snprintf(dims, sizeof dims, "%d,%d,%d,%d", B, HK, DK, DV);
    if (r->past) g_in(g, "s", 1, dims);
    return mk_model(g_out(g_out(g, "o"), "t"), 27);
}

START_TEST(linear_attentions) {
    static const int lengths[] = {1, 5, MAX_STEPS};
    static attention a;
    const struct rule *r = &rules[_i % RULES];
    const int kind = _i / RULES, steps = lengths[kind % 3];
    const float scale = _i % 2 ? 0.5f : 0;
    const bool symbolic = kind == 2 || _i % 3 == 0;
    char text[16];
    size_t n = 3;
    snprintf(text, sizeof text, symbolic ? "T" : "%d", steps);
    attend(r, steps, scale != 0 ? (double)scale : 1 / sqrt(DK), &a);
    const int64_t gates[] = {B, steps, r->decay}, rates[] = {B, steps, r->beta};
    tensor in[6] = {{TN_F32, 3, DIMS(B, steps, HQ * DK), a.q},
                    {TN_F32, 3, DIMS(B, steps, HK * DK), a.k},
                    {TN_F32, 3, DIMS(B, steps, HK * DV), a.v}};
    const tensor decay = {TN_F32, 3, gates, a.decay}, beta = {TN_F32, 3, rates, a.beta},
                 past = {TN_F32, 4, DIMS(B, HK, DK, DV), a.s0};
    if (r->decay) in[n++] = decay;
    if (r->beta) in[n++] = beta;
    if (r->past) in[n++] = past;
    const tensor want[] = {{TN_F32, 3, DIMS(B, steps, HQ * DV), a.o}, {TN_F32, 4, DIMS(B, HK, DK, DV), a.s}};
    imported *i = import_with(linear_attention(r, text, scale), NULL);
    if (kind == 1) {
        expect_values(i, in, n, want, 2);
        return;
    }
    expect_by_reference(i, in, n, want, 2);
    done(i);
}
END_TEST

START_TEST(rules_say_what_they_need) {
    static const struct {
        struct rule r;
        const char *why;
    } wrong[] = {{{"linear", HK, 0, false}, "takes no decay"},
                 {{"gated_delta", HK, 0, false}, "needs beta"},
                 {{"delta", 0, 0, false}, "needs beta"},
                 {{"nothing", 0, 0, false}, "'nothing'"},
                 {{"gated", 5, 0, false}, "decay"}};
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        imported *i = import_with(linear_attention(&wrong[k].r, "3", 0), NULL);
        ck_assert_ptr_null(i->g);
        ck_assert_msg(strstr(i->r.message, wrong[k].why) || k == 4, "%s", i->r.message);
        done(i);
    }
}
END_TEST

/* ---- causal convolution ------------------------------------------------------------------------------------------ */

/* Kernels of 4, of sequences that are shorter and longer than that, in one piece and in two. */
START_TEST(causal_convolutions) {
    enum { C = 3, K = 4, MAX_L = 7 };
    static const int lengths[] = {7, 2, 1, 3};
    const int n = lengths[_i / 4], before = K - 1;
    const bool past = _i % 2, symbolic = _i / 2 % 2;
    double x[2 * C * MAX_L], w[C * K], bias[C], p[2 * C * (K - 1)], y[2 * C * MAX_L], s[2 * C * (K - 1)];
    fill(x, 2 * C * n, 11);
    fill(w, C * K, 7);
    fill(bias, C, 3);
    fill(p, 2 * C * before, 5);
    for (int r = 0; r < 2 * C; r++) {
        double all[MAX_L + K - 1];
        for (int t = 0; t < n + before; t++)
            all[t] = t >= before ? x[r * n + t - before] : past ? p[r * before + t] : 0;
        for (int t = 0; t < n; t++) {
            double v = bias[r % C];
            for (int k = 0; k < K; k++) v += w[r % C * K + k] * all[t + k];
            y[r * n + t] = v / (1 + exp(-v));
        }
        for (int t = 0; t < before; t++) s[r * before + t] = all[n + t];
    }
    char dims[32];
    snprintf(dims, sizeof dims, symbolic ? "N,3,L" : "2,3,%d", n);
    pb *g = g_node(pb_new(),
                   at_str(mk_node("CausalConvWithState", past ? "x,w,b,p" : "x,w,b", "y,s"), "activation", "silu"));
    g_in(g_in(g_in(g, "x", 1, dims), "w", 1, "3,1,4"), "b", 1, "3");
    if (past) g_in(g, "p", 1, symbolic ? "N,3,3" : "2,3,3");
    const tensor in[] = {{TN_F32, 3, DIMS(2, C, n), x},
                         {TN_F32, 3, DIMS(C, 1, K), w},
                         {TN_F32, 1, DIMS(C), bias},
                         {TN_F32, 3, DIMS(2, C, K - 1), p}},
                 want[] = {{TN_F32, 3, DIMS(2, C, n), y}, {TN_F32, 3, DIMS(2, C, K - 1), s}};
    expect_values(import_with(mk_model(g_out(g_out(g, "y"), "s"), 27), NULL), in, past ? 4 : 3, want, 2);
}
END_TEST

/* ---- flexible attention ------------------------------------------------------------------------------------------ */

static pb *preview(pb *g) {
    return pb_sub(mk_model(g, 26), 8, mk_opset("ai.onnx.preview", 1));
}

/* Scores get a bias from outside, probabilities are halved; two query heads share the keys of one. */
static pb *flex(bool symbolic) {
    const float half = 0.5f;
    pb *score = g_out(g_in(g_node(pb_new(), mk_node("Add", "s,bias", "t")), "s", 1, NULL), "t");
    pb *prob = g_out(g_in(g_node(pb_new(), mk_node("Mul", "p,half", "q")), "p", 1, NULL), "q");
    g_init(prob, mk_tensor("half", 1, "", &half, 4));
    pb *n = pb_str(mk_node("FlexAttention", "Q,K,V", "Y"), 7, "ai.onnx.preview"), *g = pb_new();
    g_node(g, at_float(at_graph(at_graph(n, "score_mod", score), "prob_mod", prob), "scale", 0.25f));
    g_in(g_in(g_in(g, "Q", 1, symbolic ? "N,4,L,3" : "1,4,2,3"), "K", 1, symbolic ? "N,2,S,3" : "1,2,3,3"), "V", 1,
         symbolic ? "N,2,S,2" : "1,2,3,2");
    g_in(g, "bias", 1, symbolic ? "L,S" : "2,3");
    return preview(g_out(g, "Y"));
}

START_TEST(modified_scores) {
    enum { H = 4, L = 2, S = 3, E = 3, V = 2 };
    double q[H * L * E], k[2 * S * E], v[2 * S * V], bias[L * S], y[H * L * V] = {0};
    fill(q, H * L * E, 13);
    fill(k, 2 * S * E, 11);
    fill(v, 2 * S * V, 7);
    fill(bias, L * S, 5);
    for (int h = 0; h < H; h++)
        for (int l = 0; l < L; l++) {
            double p[S], sum = 0;
            for (int s = 0; s < S; s++) {
                double dot = 0;
                for (int e = 0; e < E; e++) dot += q[(h * L + l) * E + e] * k[(h / 2 * S + s) * E + e];
                sum += p[s] = exp(0.25 * dot + bias[l * S + s]);
            }
            for (int s = 0; s < S; s++)
                for (int e = 0; e < V; e++) y[(h * L + l) * V + e] += p[s] / sum / 2 * v[(h / 2 * S + s) * V + e];
        }
    const tensor in[] = {{TN_F32, 4, DIMS(1, H, L, E), q},
                         {TN_F32, 4, DIMS(1, 2, S, E), k},
                         {TN_F32, 4, DIMS(1, 2, S, V), v},
                         {TN_F32, 2, DIMS(L, S), bias}},
                 want = {TN_F32, 4, DIMS(1, H, L, V), y};
    expect_values(import_with(flex(_i), NULL), in, 4, &want, 1);
}
END_TEST

/* A graph that changes the type of scores, or has other inputs than those, does not fit. */
START_TEST(modifications_must_fit) {
    static const char *const nodes[] = {"Shape", "Flatten"};
    for (int k = 0; k < 2; k++) {
        pb *score = g_out(g_in(g_node(pb_new(), mk_node(nodes[k], "s", "t")), "s", 1, NULL), "t"), *g = pb_new();
        g_node(g, at_graph(pb_str(mk_node("FlexAttention", "Q,Q,Q", "Y"), 7, "ai.onnx.preview"), "score_mod", score));
        imported *i = import_with(preview(g_out(g_in(g, "Q", 1, "1,2,3,4"), "Y")), NULL);
        ck_assert_int_eq(i->r.status, TN_E_TYPE);
        ck_assert_msg(strstr(i->r.message, "must keep the type") != NULL, "%s", i->r.message);
        done(i);
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("onnx_linear");
    TCase *t = tcase_create("linear");
    tcase_add_loop_test(t, linear_attentions, 0, 3 * RULES);
    tcase_add_test(t, rules_say_what_they_need);
    tcase_add_loop_test(t, causal_convolutions, 0, 16);
    tcase_add_loop_test(t, modified_scores, 0, 2);
    tcase_add_test(t, modifications_must_fit);
    suite_add_tcase(s, t);
    return run_suite(s);
}
