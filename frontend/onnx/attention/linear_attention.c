/* linear_attention.c: LinearAttention, whose state is carried from step to step, and CausalConvWithState. */
#include <math.h>
#include <string.h>

#include "frontend/onnx/control/loop.h"

/* ---- linear attention -------------------------------------------------------------------------------------------- */

/* The state S [B, H, d_k, d_v] of each step, in f32:
 *
 *     S' = decay S;   S = S' + k (beta (v - k S'));   o = q S
 *
 * where what the update rule does not name is left out. */
typedef struct linear {
    tn_oi_source q, k, v, decay, beta; /* along axis 1; decay is exp(g), and q holds the scale */
    tn_dim batch, heads, groups;       /* of keys; queries that share one of them */
    tn_dim d_k, d_v;
} linear;

enum { QUERY, KEY, VALUE, PAST, DECAY, BETA };

static void linear_step(tn_oi *x, tn_oi_loop *l, const tn_oi_value *number, const tn_oi_value *go) {
    tn_graph *g = x->g;
    const linear *a = l->user;
    if (!number || !go) return;
    const tn_dim one = tn_dim_const(g, 1), row_k[] = {a->batch, a->heads, one, a->d_k},
                 column_k[] = {a->batch, a->heads, a->d_k, one}, row_v[] = {a->batch, a->heads, one, a->d_v},
                 rows_q[] = {a->batch, a->heads, a->groups, a->d_k},
                 flat[] = {a->batch, tn_dim_mul(g, tn_dim_mul(g, a->heads, a->groups), a->d_v)};
    tn_val s = tn_oi_value_val(x, l->state[0]), k = tn_oi_slice_at(x, &a->k, number);
    tn_val v = tn_build_reshape_to(g, tn_oi_slice_at(x, &a->v, number), 4, row_v);
    const tn_val q = tn_build_reshape_to(g, tn_oi_slice_at(x, &a->q, number), 4, rows_q);
    if (a->decay.v.i) s = tn_build_mul(g, s, tn_build_unsqueeze(g, tn_oi_slice_at(x, &a->decay, number), 3));
    if (a->beta.v.i) {
        const tn_val known = tn_build_matmul(g, tn_build_reshape_to(g, k, 4, row_k), s, (tn_attrs_matmul){0});
        v = tn_build_mul(g, tn_build_unsqueeze(g, tn_oi_slice_at(x, &a->beta, number), 3), tn_build_sub(g, v, known));
    }
    s = tn_build_add(g, s, tn_build_mul(g, tn_build_reshape_to(g, k, 4, column_k), v));
    const tn_val o = tn_build_reshape_to(g, tn_build_matmul(g, q, s, (tn_attrs_matmul){0}), 2, flat);
    l->out[0] = tn_oi_copy_value(x, go);
    l->out[1] = tn_oi_new_value(x, s);
    l->out[2] = tn_oi_new_value(x, o);
}

/* Input k, [B, T, heads * size], as f32 [B, T, heads, size]. */
static tn_val by_head(tn_oi *x, size_t k, tn_dim heads, tn_dim size) {
    tn_graph *g = x->g;
    const tn_val v = tn_oi_need(x, k);
    if (tn_oi_failed(x)) return v;
    const tn_dim dims[] = {tn_val_dim(g, v, 0), tn_val_dim(g, v, 1), heads, size};
    return tn_build_cast_to(g, tn_build_reshape_to(g, v, 4, dims), TN_F32);
}

/* Whether decay or beta is given where the update rule wants it, and only there. */
static bool given_as_ruled(tn_oi *x, size_t k, const char *name, const char *rule, bool wanted) {
    if (tn_oi_has(x, k) != wanted)
        tn_oi_fail(x, TN_E_FORMAT, "check the model with onnx.checker", "the update rule '%s' %s %s", rule,
                   wanted ? "needs" : "takes no", name);
    return !tn_oi_failed(x);
}

/* [B, T, heads * size] of each of the three, for the same batch and steps. */
static bool read_heads(tn_oi *x, linear *a, int64_t q_heads, int64_t kv_heads) {
    static const char *const names[] = {"query", "key", "value", "past_state", "decay", "beta"};
    tn_graph *g = x->g;
    if (q_heads < 1 || kv_heads < 1 || q_heads % kv_heads) {
        tn_oi_fail(x, TN_E_FORMAT, "", "q_num_heads is %lld, which is no multiple of kv_num_heads, %lld",
                   (long long)q_heads, (long long)kv_heads);
        return false;
    }
    for (size_t k = 0; k <= BETA; k++) {
        const size_t rank = k == PAST ? 4 : 3;
        if (tn_oi_has(x, k) && tn_oi_rank(x, k) != rank)
            tn_oi_fail(x, TN_E_FORMAT, "", "%s has rank %zu; it must be %zu", names[k], tn_oi_rank(x, k), rank);
        for (size_t i = 0; k && i < 2 && k != PAST && tn_oi_has(x, k) && !tn_oi_failed(x); i++)
            tn_oi_fits(x, TN_REL_EQUAL, tn_oi_need(x, k), i, names[k], tn_oi_dim(x, QUERY, i), "the query's");
    }
    a->heads = tn_dim_const(g, kv_heads);
    a->groups = tn_dim_const(g, q_heads / kv_heads);
    a->batch = tn_oi_dim(x, QUERY, 0);
    if (tn_oi_failed(x)) return false;
    a->d_k = tn_dim_floordiv(g, tn_oi_dim(x, QUERY, 2), tn_dim_const(g, q_heads));
    a->d_v = tn_dim_floordiv(g, tn_oi_dim(x, VALUE, 2), a->heads);
    const tn_dim state[] = {a->batch, a->heads, a->d_k, a->d_v};
    for (size_t i = 0; i < 4 && tn_oi_has(x, PAST); i++)
        tn_oi_fits(x, TN_REL_EQUAL, tn_oi_need(x, PAST), i, names[PAST], state[i], "what the other inputs make it");
    return !tn_oi_failed(x);
}

/* Numbers a head: as many as d_k of decay, or one; of beta one, of each head or of all. */
static tn_val read_gate(tn_oi *x, size_t k, tn_dim heads, tn_dim size) {
    const tn_dim one = tn_dim_const(x->g, 1), last = tn_oi_dim(x, k, 2);
    if (k == DECAY && tn_dims_agree(x->g, last, heads)) size = one;
    if (k == BETA && tn_dim_equal_const(x->g, last, 1)) heads = one;
    return by_head(x, k, heads, size);
}

/* What the steps read: queries with the scale in them, decay as a factor. */
static bool read_linear(tn_oi *x, linear *a, double scale, bool gated, bool delta) {
    tn_graph *g = x->g;
    int64_t size = 0;
    if (scale == 0 && (!tn_dim_is_const(g, a->d_k, &size) || size < 1)) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "give the scale", "the size of the query's heads is not known");
        return false;
    }
    const tn_val q = by_head(x, QUERY, tn_dim_mul(g, a->heads, a->groups), a->d_k);
    a->q.v = tn_build_scalar(g, TN_OP_MUL, q, scale != 0 ? scale : 1 / sqrt((double)size));
    a->k.v = by_head(x, KEY, a->heads, a->d_k);
    a->v.v = by_head(x, VALUE, a->heads, a->d_v);
    if (gated) a->decay.v = tn_build_exp(g, read_gate(x, DECAY, a->heads, a->d_k));
    if (delta) a->beta.v = read_gate(x, BETA, a->heads, tn_dim_const(g, 1));
    return !tn_oi_failed(x);
}

void tn_oi_op_linear_attention(tn_oi *x) {
    tn_graph *g = x->g;
    const int64_t batch_first[] = {1, 0, 2};
    const char *rule = tn_oi_str(x, "update_rule", "gated_delta");
    const bool gated = !strcmp(rule, "gated") || !strcmp(rule, "gated_delta"),
               delta = !strcmp(rule, "delta") || !strcmp(rule, "gated_delta");
    linear a = {.q = {.axis = 1}, .k = {.axis = 1}, .v = {.axis = 1}, .decay = {.axis = 1}, .beta = {.axis = 1}};
    if (!gated && !delta && strcmp(rule, "linear") != 0)
        tn_oi_fail(x, TN_E_UNSUPPORTED, "", "the update rule '%s'", rule);
    if (tn_oi_failed(x) || !given_as_ruled(x, DECAY, "decay", rule, gated) ||
        !given_as_ruled(x, BETA, "beta", rule, delta) ||
        !read_heads(x, &a, tn_oi_int(x, "q_num_heads", 0), tn_oi_int(x, "kv_num_heads", 0)) ||
        !read_linear(x, &a, tn_oi_num(x, "scale", 0), gated, delta))
        return;
    const tn_dim state[] = {a.batch, a.heads, a.d_k, a.d_v};
    const tn_dtype t = tn_oi_dtype(x, QUERY), kept = tn_oi_has(x, PAST) ? tn_oi_dtype(x, PAST) : t;
    const tn_val s0 =
        tn_oi_has(x, PAST) ? tn_build_cast_to(g, tn_oi_need(x, PAST), TN_F32) : tn_build_full(g, TN_F32, 4, state, 0);
    tn_oi_loop l = {
        .carried = 1, .scans = 1, .wanted = {true}, .unroll = TN_OI_UNROLL, .body = linear_step, .user = &a};
    l.state[0] = tn_oi_new_value(x, s0);
    l.trips = tn_oi_known(x, TN_I64, tn_oi_dim(x, QUERY, 1));
    if (!l.trips || !l.state[0]) return;
    tn_oi_run_loop(x, &l);
    if (tn_oi_failed(x)) return;
    tn_oi_out(x, 0, tn_build_cast_to(g, tn_build_permute(g, l.scan[0], 3, batch_first), t));
    tn_oi_out(x, 1, tn_build_cast_to(g, tn_oi_value_val(x, l.state[0]), kept));
}

/* ---- causal convolution ------------------------------------------------------------------------------------------ */

/* The sequence with what came before it: k - 1 elements, zeros unless they are given. */
static tn_val with_past(tn_oi *x, tn_val v, int64_t before) {
    tn_graph *g = x->g;
    const tn_dim zero = tn_dim_const(g, 0), front[] = {zero, zero, tn_dim_const(g, before)},
                 none[] = {zero, zero, zero};
    const tn_attrs_pad a = {.before = {front, 3}, .after = {none, 3}, .mode = "constant"};
    if (tn_oi_has(x, 3)) return tn_build_concat(g, 2, (const tn_val[]){tn_oi_need(x, 3), v}, 2);
    return before ? tn_build_pad(g, v, a) : v;
}

void tn_oi_op_causal_conv(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val v = tn_oi_need(x, 0), w = tn_oi_need(x, 1);
    const tn_val bias = tn_oi_in(x, 2);
    const char *act = tn_oi_str(x, "activation", "none");
    const bool silu = !strcmp(act, "silu") || !strcmp(act, "swish");
    int64_t channels = 0, kernel = 0;
    if (tn_oi_failed(x)) return;
    if (tn_val_rank(g, v) != 3 || tn_val_rank(g, w) != 3 || (tn_oi_has(x, 3) && tn_oi_rank(x, 3) != 3)) {
        tn_oi_fail(x, TN_E_FORMAT, "", "input, weight and past state must have rank 3");
        return;
    }
    if (!silu && strcmp(act, "none") != 0) tn_oi_fail(x, TN_E_UNSUPPORTED, "", "the activation '%s'", act);
    if (!tn_dim_is_const(g, tn_val_dim(g, w, 0), &channels) || !tn_dim_is_const(g, tn_val_dim(g, w, 2), &kernel) ||
        channels < 1 || kernel < 1)
        tn_oi_fail(x, TN_E_UNSUPPORTED, "give the weight's shape with --shape", "the weight's shape is not known");
    if (tn_oi_failed(x)) return;
    const tn_dim state[] = {tn_val_dim(g, v, 0), tn_dim_const(g, channels), tn_dim_const(g, kernel - 1)};
    tn_oi_fits(x, TN_REL_EQUAL, v, 1, "input", tn_dim_const(g, channels), "the weight's channels");
    for (size_t k = 0; k < 3 && tn_oi_has(x, 3); k++)
        tn_oi_fits(x, TN_REL_EQUAL, tn_oi_need(x, 3), k, "past_state", state[k], "what the other inputs make it");
    const tn_val all = with_past(x, v, kernel - 1);
    static const int64_t one[] = {1}, none[] = {0, 0};
    const tn_attrs_conv a = {.strides = {one, 1}, .pads = {none, 2}, .dilations = {one, 1}, .groups = channels};
    const tn_val y = tn_build_conv(g, all, w, bias, a);
    tn_oi_out(x, 0, silu ? tn_build_silu(g, y) : y);
    tn_oi_out(x, 1, tn_build_slice_axis(g, all, 2, tn_val_dim(g, v, 2), state[2]));
}
