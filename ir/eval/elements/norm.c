/* norm.c: softmax and the normalisations, evaluated directly in double (ir/graph/expand.c has their expansions). */
#include <math.h>

#include "ir/eval/internal.h"

/* ---- softmax ----------------------------------------------------------------------------------------------------- */

static void softmax_line(double *v, int64_t n, bool logarithm) {
    double top = -INFINITY, sum = 0;
    for (int64_t k = 0; k < n; k++) top = isnan(v[k]) || v[k] > top ? v[k] : top;
    for (int64_t k = 0; k < n; k++) {
        v[k] -= top;
        double e = exp(v[k]);
        sum += e;
        if (!logarithm) v[k] = e;
    }
    double shift = log(sum);
    for (int64_t k = 0; k < n; k++) v[k] = logarithm ? v[k] - shift : v[k] / sum;
}

tn_status tn_ev_softmax(tn_ev *c) {
    const tn_attrs_axis *a = c->attrs;
    const tn_tensor *x = &c->in[0];
    size_t axis = (size_t)a->axis;
    int64_t outer = tn_ev_product(x, 0, axis), n = x->dims[axis], inner = tn_ev_product(x, axis + 1, x->rank);
    if (tn_tensor_numel(x) != tn_tensor_numel(&c->out[0])) return tn_ev_fail(c, TN_E_TYPE, "the shapes differ");
    double *v = tn_ev_scratch(c, n, sizeof *v);
    if (!v) return tn_ev_no_memory(c);
    for (int64_t o = 0; o < outer * inner; o++) {
        int64_t base = o / inner * n * inner + o % inner;
        tn_ev_load_f(x, base, inner, (size_t)n, v);
        softmax_line(v, n, c->op == TN_OP_LOG_SOFTMAX);
        tn_ev_store_f(&c->out[0], base, inner, (size_t)n, v);
    }
    tn_ev_drop(c, v, n, sizeof *v);
    return TN_OK;
}

/* ---- norms ------------------------------------------------------------------------------------------------------- */

/* Subtracts the mean (if `centre`) and divides by the root of the mean square + eps. */
static void normalise(double *v, int64_t n, double eps, bool centre) {
    double mean = 0, square = 0;
    for (int64_t k = 0; centre && k < n; k++) mean += v[k];
    mean /= (double)n;
    for (int64_t k = 0; k < n; k++) {
        v[k] -= mean;
        square += v[k] * v[k];
    }
    double scale = 1 / sqrt(square / (double)n + eps);
    for (int64_t k = 0; k < n; k++) v[k] *= scale;
}

/* All of an operand as double, broadcast to x's shape from axis `from` on; NULL in *out if it is absent. */
static tn_status spread(tn_ev *c, size_t k, size_t from, double **out) {
    const tn_tensor *x = &c->in[0];
    tn_tensor view = {.rank = x->rank};
    int64_t strides[TN_WALK_OPERANDS][TN_MAX_RANK] = {{0}}, at = 0, n = tn_ev_product(x, from, x->rank);
    *out = NULL;
    if (!tn_ev_has(c, k)) return TN_OK;
    memcpy(view.dims, x->dims, sizeof view.dims);
    if (!tn_ev_broadcast_strides(&c->in[k], &view, strides[0]))
        return tn_ev_fail(c, TN_E_TYPE, "operand %zu's shape does not broadcast to x's", k);
    for (size_t i = 0; i < from; i++)
        if (strides[0][i])
            return tn_ev_fail(c, TN_E_UNSUPPORTED, "operand %zu varies along axis %zu, which is not normalised", k, i);
    *out = tn_ev_scratch(c, n, sizeof **out);
    if (!*out) return tn_ev_no_memory(c);
    int64_t inner[TN_WALK_OPERANDS][TN_MAX_RANK];
    memcpy(inner[0], strides[0] + from, (x->rank - from) * sizeof(int64_t));
    tn_walk w;
    for (tn_walk_start(&w, x->rank - from, x->dims + from, 1, inner); !w.done; tn_walk_next(&w), at += w.inner)
        tn_ev_load_f(&c->in[k], w.at[0], w.step[0], (size_t)w.inner, *out + at);
    return TN_OK;
}

/* Layer norm and RMS norm: the axes from attrs.axis on. */
tn_status tn_ev_trailing_norm(tn_ev *c) {
    const tn_attrs_norm *a = c->attrs;
    const tn_tensor *x = &c->in[0];
    size_t axis = (size_t)a->axis;
    int64_t rows = tn_ev_product(x, 0, axis), n = tn_ev_product(x, axis, x->rank);
    double *scale = NULL, *bias = NULL, *v = tn_ev_scratch(c, n, sizeof *v);
    tn_status status = v ? TN_OK : tn_ev_no_memory(c);
    if (status == TN_OK) status = spread(c, 1, axis, &scale);
    if (status == TN_OK) status = spread(c, 2, axis, &bias);
    for (int64_t r = 0; status == TN_OK && n && r < rows; r++) {
        tn_ev_load_f(x, r * n, 1, (size_t)n, v);
        normalise(v, n, a->eps, c->op == TN_OP_LAYER_NORM);
        for (int64_t k = 0; scale && k < n; k++) v[k] *= scale[k];
        for (int64_t k = 0; bias && k < n; k++) v[k] += bias[k];
        tn_ev_store_f(&c->out[0], r * n, 1, (size_t)n, v);
    }
    tn_ev_drop(c, v, n, sizeof *v);
    tn_ev_drop(c, scale, n, sizeof *scale);
    tn_ev_drop(c, bias, n, sizeof *bias);
    return status;
}

/* The mean of a row of n elements (0: it is not taken away) and the mean square of what is left: of its elements, or of the sums of its
 * parts and of their squares. */
static void row_of_elements(const double *v, int64_t n, bool layer, double *mean, double *square) {
    for (int64_t k = 0; layer && k < n; k++) *mean += v[k] / (double)n;
    for (int64_t k = 0; k < n; k++) *square += (v[k] - *mean) * (v[k] - *mean) / (double)n;
}

static void row_of_sums(const double *v, int64_t parts, int64_t n, bool layer, double *mean, double *square) {
    for (int64_t k = 0; k < parts; k++) {
        if (layer) *mean += v[k] / (double)n;
        *square += v[parts + k] / (double)n;
    }
    *square = fmax(0, *square - *mean * *mean);
}

/* By row: what it is multiplied with, and what is added then. */
tn_status tn_ev_row_norm(tn_ev *c) {
    const tn_attrs_row_norm *a = c->attrs;
    const tn_tensor *x = &c->in[0], *sums = tn_ev_has(c, 1) ? &c->in[1] : NULL;
    const int64_t n = x->dims[x->rank - 1], rows = tn_ev_product(x, 0, x->rank - 1);
    const int64_t parts = sums ? sums->dims[0] : 0, held = sums ? parts * 2 : n;
    const bool layer = !strcmp(a->norm, "layer");
    double *v = tn_ev_scratch(c, held, sizeof *v);
    if (!v) return tn_ev_no_memory(c);
    for (int64_t r = 0; r < rows; r++) {
        double mean = 0, square = 0;
        for (int64_t k = 0; sums && k < 2; k++) tn_ev_load_f(sums, r * 2 + k, rows * 2, (size_t)parts, v + k * parts);
        if (!sums) tn_ev_load_f(x, r * n, 1, (size_t)n, v);
        if (sums)
            row_of_sums(v, parts, n, layer, &mean, &square);
        else
            row_of_elements(v, n, layer, &mean, &square);
        const double scale = 1 / sqrt(square + a->eps), out[2] = {scale, -mean * scale};
        tn_ev_store_f(&c->out[0], r * 2, 1, 2, out);
    }
    tn_ev_drop(c, v, held, sizeof *v);
    return TN_OK;
}

tn_status tn_ev_row_sums(tn_ev *c) {
    const tn_attrs_row_sums *a = c->attrs;
    const tn_tensor *x = &c->in[0];
    const int64_t n = a->of, parts = x->dims[x->rank - 1] / n, rows = tn_ev_product(x, 0, x->rank - 1);
    double *v = tn_ev_scratch(c, n, sizeof *v);
    if (!v) return tn_ev_no_memory(c);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t p = 0; p < parts; p++) {
            double out[2] = {0, 0};
            tn_ev_load_f(x, (r * parts + p) * n, 1, (size_t)n, v);
            for (int64_t k = 0; k < n; k++) out[0] += v[k], out[1] += v[k] * v[k];
            tn_ev_store_f(&c->out[0], (p * rows + r) * 2, 1, 2, out);
        }
    tn_ev_drop(c, v, n, sizeof *v);
    return TN_OK;
}

/* Parameters with one element a channel. */
static tn_status channels_fit(tn_ev *c, int64_t channels) {
    for (size_t k = 1; k < c->n_in; k++)
        if (tn_ev_has(c, k) && tn_tensor_numel(&c->in[k]) != channels)
            return tn_ev_fail(c, TN_E_TYPE, "operand %zu has %lld elements but x has %lld channels", k,
                              (long long)tn_tensor_numel(&c->in[k]), (long long)channels);
    return TN_OK;
}

static double param(const tn_ev *c, size_t k, int64_t channel, double def) {
    return tn_ev_has(c, k) ? tn_ev_get_f(&c->in[k], channel) : def;
}

tn_status tn_ev_group_norm(tn_ev *c) {
    const tn_attrs_norm *a = c->attrs;
    const tn_tensor *x = &c->in[0];
    int64_t groups = a->groups ? a->groups : 1, channels = x->dims[1], inner = tn_ev_product(x, 2, x->rank);
    TN_TRY(channels_fit(c, channels));
    if (channels % groups)
        return tn_ev_fail(c, TN_E_ARGUMENT, "%lld channels in %lld groups", (long long)channels, (long long)groups);
    int64_t per = channels / groups, n = per * inner;
    double *v = tn_ev_scratch(c, n, sizeof *v);
    if (!v) return tn_ev_no_memory(c);
    for (int64_t r = 0; n && r < x->dims[0] * groups; r++) {
        tn_ev_load_f(x, r * n, 1, (size_t)n, v);
        normalise(v, n, a->eps, true);
        for (int64_t k = 0; k < n; k++) {
            int64_t channel = r % groups * per + k / inner;
            v[k] = v[k] * param(c, 1, channel, 1) + param(c, 2, channel, 0);
        }
        tn_ev_store_f(&c->out[0], r * n, 1, (size_t)n, v);
    }
    tn_ev_drop(c, v, n, sizeof *v);
    return TN_OK;
}

/* y = (x - mean) * scale / sqrt(var + eps) + bias, per channel. */
tn_status tn_ev_batch_norm(tn_ev *c) {
    const tn_attrs_norm *a = c->attrs;
    const tn_tensor *x = &c->in[0];
    size_t axis = (size_t)a->axis;
    int64_t outer = tn_ev_product(x, 0, axis), n = x->dims[axis], inner = tn_ev_product(x, axis + 1, x->rank);
    enum { BLOCK = 512 };
    TN_TRY(channels_fit(c, n));
    for (int64_t r = 0; inner && r < outer * n; r++) {
        int64_t channel = r % n;
        double scale = param(c, 1, channel, 1) / sqrt(param(c, 4, channel, 1) + a->eps);
        double bias = param(c, 2, channel, 0), mean = param(c, 3, channel, 0);
        for (int64_t at = 0; at < inner; at += BLOCK) {
            double v[BLOCK];
            size_t m = inner - at < BLOCK ? (size_t)(inner - at) : BLOCK;
            tn_ev_load_f(x, r * inner + at, 1, m, v);
            for (size_t k = 0; k < m; k++) v[k] = (v[k] - mean) * scale + bias;
            tn_ev_store_f(&c->out[0], r * inner + at, 1, m, v);
        }
    }
    return TN_OK;
}

/* y = x / (bias + alpha/size * sum of squares over `size` neighbours along the axis)^beta */
tn_status tn_ev_lrn(tn_ev *c) {
    const tn_attrs_lrn *a = c->attrs;
    const tn_tensor *x = &c->in[0];
    size_t axis = (size_t)a->axis;
    int64_t outer = tn_ev_product(x, 0, axis), n = x->dims[axis], inner = tn_ev_product(x, axis + 1, x->rank);
    int64_t before = (a->size - 1) / 2, after = a->size - 1 - before;
    double *v = tn_ev_scratch(c, 2 * n, sizeof *v);
    if (!v) return tn_ev_no_memory(c);
    for (int64_t o = 0; o < outer * inner; o++) {
        int64_t base = o / inner * n * inner + o % inner;
        tn_ev_load_f(x, base, inner, (size_t)n, v);
        for (int64_t k = 0; k < n; k++) {
            int64_t lo = k > before ? k - before : 0, hi = n - 1 - k > after ? k + after : n - 1;
            double sum = 0;
            for (int64_t j = lo; j <= hi; j++) sum += v[j] * v[j];
            v[n + k] = v[k] / pow(a->bias + a->alpha / (double)a->size * sum, a->beta);
        }
        tn_ev_store_f(&c->out[0], base, inner, (size_t)n, v + n);
    }
    tn_ev_drop(c, v, 2 * n, sizeof *v);
    return TN_OK;
}
