/* movement.c: ops whose result elements are operand elements: strided copies and index tables. */
#include "ir/eval/internal.h"

/* Copies c->in[0], seen with `strides` from element `offset` on, to the whole of result k. */
static void copy_view(tn_ev *c, size_t k, int64_t offset, const int64_t *strides) {
    size_t e = tn_ev_size(c->out[k].dtype);
    int64_t own[TN_MAX_RANK];
    tn_ev_strides(&c->out[k], own);
    if (tn_tensor_numel(&c->out[k]) == 0) return;
    tn_ev_copy(c->out[k].data, (const char *)c->in[0].data + offset * (int64_t)e, e, c->out[k].rank, c->out[k].dims,
               own, strides);
}

tn_status tn_ev_transpose(tn_ev *c) {
    const tn_attrs_perm *a = c->attrs;
    int64_t x[TN_MAX_RANK], strides[TN_MAX_RANK];
    tn_ev_strides(&c->in[0], x);
    for (uint32_t k = 0; k < a->perm.n; k++) {
        strides[k] = x[a->perm.p[k]];
        if (c->out[0].dims[k] != c->in[0].dims[a->perm.p[k]]) return tn_ev_fail(c, TN_E_TYPE, "the shapes differ");
    }
    copy_view(c, 0, 0, strides);
    return TN_OK;
}

tn_status tn_ev_broadcast(tn_ev *c) {
    int64_t strides[TN_MAX_RANK];
    if (!tn_ev_broadcast_strides(&c->in[0], &c->out[0], strides))
        return tn_ev_fail(c, TN_E_TYPE, "the operand's shape does not broadcast to the result's");
    copy_view(c, 0, 0, strides);
    return TN_OK;
}

tn_status tn_ev_slice(tn_ev *c) {
    const tn_attrs_slice *a = c->attrs;
    int64_t strides[TN_MAX_RANK], offset = 0;
    tn_ev_strides(&c->in[0], strides);
    if (tn_tensor_numel(&c->out[0]) == 0) return TN_OK;
    for (uint32_t k = 0; k < c->in[0].rank; k++) {
        int64_t start = 0, step = tn_ints_at(a->steps, k, 1), n = c->in[0].dims[k], size = c->out[0].dims[k], span = 0,
                last = 0;
        TN_TRY(tn_ev_dim(c, a->starts.p[k], &start));
        if (start < 0 || start >= n || __builtin_mul_overflow(size - 1, step, &span) ||
            __builtin_add_overflow(start, span, &last) || last < 0 || last >= n)
            return tn_ev_fail(c, TN_E_ARGUMENT, "start %lld, size %lld, step %lld reach outside axis %u of size %lld",
                              (long long)start, (long long)size, (long long)step, k, (long long)n);
        offset += start * strides[k];
        strides[k] *= step;
    }
    copy_view(c, 0, offset, strides);
    return TN_OK;
}

tn_status tn_ev_split(tn_ev *c) {
    const tn_attrs_split *a = c->attrs;
    int64_t strides[TN_MAX_RANK], at = 0;
    tn_ev_strides(&c->in[0], strides);
    for (size_t k = 0; k < c->n_out; k++) {
        int64_t size = c->out[k].dims[a->axis];
        if (size > c->in[0].dims[a->axis] - at)
            return tn_ev_fail(c, TN_E_ARGUMENT, "the sizes exceed the %lld elements of the axis",
                              (long long)c->in[0].dims[a->axis]);
        copy_view(c, k, at * strides[a->axis], strides);
        at += size;
    }
    return at == c->in[0].dims[a->axis] ? TN_OK : tn_ev_fail(c, TN_E_ARGUMENT, "the sizes do not cover the axis");
}

static tn_status concat(tn_ev *c, int64_t axis) {
    tn_tensor *y = &c->out[0];
    size_t e = tn_ev_size(y->dtype);
    int64_t ys[TN_MAX_RANK], at = 0;
    tn_ev_strides(y, ys);
    for (size_t k = 0; k < c->n_in; k++) {
        const tn_tensor *x = &c->in[k];
        int64_t xs[TN_MAX_RANK];
        bool fits = tn_ev_has(c, k) && x->rank == y->rank && x->dims[axis] <= y->dims[axis] - at;
        for (uint32_t i = 0; fits && i < y->rank; i++) fits = i == axis || x->dims[i] == y->dims[i];
        if (!fits) return tn_ev_fail(c, TN_E_TYPE, "operand %zu's shape does not fit the others", k);
        tn_ev_strides(x, xs);
        if (tn_tensor_numel(x))
            tn_ev_copy((char *)y->data + (size_t)(at * ys[axis]) * e, x->data, e, x->rank, x->dims, ys, xs);
        at += x->dims[axis];
    }
    return at == y->dims[axis] ? TN_OK : tn_ev_fail(c, TN_E_TYPE, "the operands do not fill the result");
}

tn_status tn_ev_concat(tn_ev *c) {
    return concat(c, ((const tn_attrs_axis *)c->attrs)->axis);
}

tn_status tn_ev_append(tn_ev *c) {
    return concat(c, ((const tn_attrs_append *)c->attrs)->axis);
}

/* ---- pad --------------------------------------------------------------------------------------------------------- */

typedef enum pad_mode { PAD_CONSTANT, PAD_REFLECT, PAD_EDGE, PAD_WRAP } pad_mode;

static pad_mode mode_of(const char *s) {
    if (!s || !*s) return PAD_CONSTANT;
    return !strcmp(s, "reflect") ? PAD_REFLECT
           : !strcmp(s, "edge")  ? PAD_EDGE
           : !strcmp(s, "wrap")  ? PAD_WRAP
                                 : PAD_CONSTANT;
}

/* The operand's index that index i (counted from the operand's first element) takes; -1: the fill value. */
static int64_t padded_index(pad_mode m, int64_t i, int64_t n) {
    if (i >= 0 && i < n) return i;
    if (n == 0 || m == PAD_CONSTANT) return -1;
    if (m == PAD_EDGE) return i < 0 ? 0 : n - 1;
    int64_t period = m == PAD_WRAP ? n : n > 1 ? 2 * (n - 1) : 1;
    i %= period;
    if (i < 0) i += period;
    return i < n ? i : period - i;
}

tn_status tn_ev_pad(tn_ev *c) {
    const tn_attrs_pad *a = c->attrs;
    const tn_tensor *x = &c->in[0];
    tn_tensor *y = &c->out[0];
    int64_t xs[TN_MAX_RANK], before[TN_MAX_RANK], index[TN_MAX_RANK] = {0}, n = tn_tensor_numel(y);
    size_t e = tn_ev_size(y->dtype);
    uint64_t fill = 0;
    pad_mode mode = mode_of(a->mode);
    tn_tensor one = {.dtype = y->dtype, .data = &fill, .bytes = sizeof fill};
    tn_ev_store_f(&one, 0, 1, 1, &a->value);
    tn_ev_strides(x, xs);
    for (uint32_t k = 0; k < x->rank; k++) {
        const int64_t far = (int64_t)1 << 60;
        TN_TRY(tn_ev_dim(c, a->before.p[k], &before[k]));
        if (before[k] < -far || before[k] > far)
            return tn_ev_fail(c, TN_E_ARGUMENT, "pad %lld on axis %u", (long long)before[k], k);
    }
    if (y->rank == 0) {
        memcpy(y->data, x->data, e);
        return TN_OK;
    }
    uint32_t last = y->rank - 1;
    for (int64_t row = 0; row < n; row += y->dims[last]) {
        int64_t base = 0;
        bool inside = true;
        for (uint32_t k = 0; k < last; k++) {
            int64_t i = padded_index(mode, index[k] - before[k], x->dims[k]);
            inside = inside && i >= 0;
            base += i * xs[k];
        }
        for (int64_t j = 0; j < y->dims[last]; j++) {
            int64_t i = inside ? padded_index(mode, j - before[last], x->dims[last]) : -1;
            const char *from = i < 0 ? (const char *)&fill : (const char *)x->data + (size_t)(base + i) * e;
            memcpy((char *)y->data + (size_t)(row + j) * e, from, e);
        }
        for (uint32_t k = last; k-- > 0;) {
            if (++index[k] < y->dims[k]) break;
            index[k] = 0;
        }
    }
    return TN_OK;
}

/* ---- space and depth --------------------------------------------------------------------------------------------- */

/* Both directions are one copy between 6-D views [N, C, b, b, H, W] of the two tensors, where [C*b*b, H, W] is the deep
 * side and [C, H*b, W*b] the wide one. */
tn_status tn_ev_space_depth(tn_ev *c) {
    const tn_attrs_depth *a = c->attrs;
    bool to_depth = c->op == TN_OP_SPACE_TO_DEPTH, crd = a->mode && !strcmp(a->mode, "CRD");
    const tn_tensor *deep = to_depth ? &c->out[0] : &c->in[0], *wide = to_depth ? &c->in[0] : &c->out[0];
    int64_t b = a->block, n = wide->dims[0], ch = wide->dims[1], h = deep->dims[2], w = deep->dims[3], hw = h * w;
    bool fits = wide->dims[2] == h * b && wide->dims[3] == w * b && deep->dims[1] == ch * b * b && deep->dims[0] == n;
    if (!fits) return tn_ev_fail(c, TN_E_ARGUMENT, "the sizes are not divisible by the block size %lld", (long long)b);
    int64_t dims[6] = {n, ch, b, b, h, w};
    /* Depth order: DCR puts the block axes before the channel, CRD after it. */
    int64_t deep_strides[6] = {
        ch * b * b * hw, crd ? b * b * hw : hw, crd ? b * hw : b * ch * hw, crd ? hw : ch * hw, w, 1};
    int64_t wide_strides[6] = {ch * b * b * hw, b * b * hw, w * b, 1, b * w * b, b};
    if (n * ch * hw == 0) return TN_OK;
    tn_ev_copy(c->out[0].data, c->in[0].data, tn_ev_size(c->out[0].dtype), 6, dims,
               to_depth ? deep_strides : wide_strides, to_depth ? wide_strides : deep_strides);
    return TN_OK;
}

/* ---- iota, trilu ------------------------------------------------------------------------------------------------- */

tn_status tn_ev_iota(tn_ev *c) {
    const tn_attrs_iota *a = c->attrs;
    tn_tensor *y = &c->out[0];
    size_t axis = (size_t)a->axis;
    int64_t outer = tn_ev_product(y, 0, axis), n = y->dims[axis], inner = tn_ev_product(y, axis + 1, y->rank), at = 0;
    bool floats = tn_dtype_is_float(y->dtype);
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < n; i++)
            for (int64_t k = 0; k < inner; k++, at++) {
                double v = (double)i;
                if (floats)
                    tn_ev_store_f(y, at, 1, 1, &v);
                else
                    tn_ev_store_i(y, at, 1, 1, &i);
            }
    return TN_OK;
}

/* Keeps the elements on one side of the k-th diagonal, zeroes the rest. */
tn_status tn_ev_trilu(tn_ev *c) {
    const tn_attrs_trilu *a = c->attrs;
    tn_tensor *y = &c->out[0];
    int64_t k = tn_ev_has(c, 1) ? tn_ev_get_i(&c->in[1], 0) : 0;
    int64_t rows = y->dims[y->rank - 2], cols = y->dims[y->rank - 1], n = tn_tensor_numel(y);
    size_t e = tn_ev_size(y->dtype);
    if (n == 0) return TN_OK;
    if (tn_tensor_numel(&c->in[0]) != n) return tn_ev_fail(c, TN_E_TYPE, "the shapes differ");
    k = k < -rows ? -rows : k > cols ? cols : k;
    memcpy(y->data, c->in[0].data, (size_t)n * e);
    for (int64_t row = 0; row < n / cols; row++)
        for (int64_t j = 0; j < cols; j++) {
            int64_t d = j - row % rows - k; /* > 0: above the diagonal */
            if (a->upper ? d < 0 : d > 0) memset((char *)y->data + (size_t)(row * cols + j) * e, 0, e);
        }
    return TN_OK;
}
