/* dynamic.c: ops whose results have a size that depends on data.  tn_ev_count says how large it is; the driver gives
 * the symbol that the op's attribute names that value, so that everything after knows it. */
#include <math.h>
#include <stdlib.h>

#include "ir/eval/internal.h"

/* ---- nonzero: positions of what is not 0, in order --------------------------------------------------------------- */

static bool is_set(const tn_tensor *x, int64_t at) {
    return tn_dtype_is_float(x->dtype) ? tn_ev_get_f(x, at) != 0 : tn_ev_get_i(x, at) != 0;
}

static tn_status nonzero_count(tn_ev *c, int64_t *count) {
    int64_t n = tn_tensor_numel(&c->in[0]);
    for (int64_t k = *count = 0; k < n; k++) *count += is_set(&c->in[0], k);
    return TN_OK;
}

tn_status tn_ev_nonzero(tn_ev *c) {
    int64_t n = tn_tensor_numel(&c->in[0]), *y = c->out[0].data;
    for (int64_t k = 0; k < n; k++)
        if (is_set(&c->in[0], k)) *y++ = k;
    return TN_OK;
}

/* The ends say the same in another way. */
tn_status tn_ev_compact(tn_ev *c) {
    const int64_t n = tn_tensor_numel(&c->in[0]), room = tn_tensor_numel(&c->out[0]);
    int64_t *y = c->out[0].data, count = 0;
    for (int64_t k = 0; k < n && count < room; k++)
        if (is_set(&c->in[0], k)) y[count++] = k;
    while (count < room) y[count++] = 0;
    return TN_OK;
}

/* ---- nms: boxes by falling score, without those that overlap one that is kept ------------------------------------ */

/* Single precision throughout: whether two boxes overlap by just the threshold must be as elsewhere. */
typedef struct box {
    float lo[2], hi[2];
} box;

static box box_at(const tn_ev *c, bool center, int64_t at) {
    double v[4];
    box b;
    tn_ev_load_f(&c->in[0], 4 * at, 1, 4, v);
    for (int k = 0; k < 2; k++) {
        float p = (float)v[k], q = (float)v[2 + k];
        b.lo[k] = center ? p - q / 2 : p < q ? p : q; /* corners stand in any order */
        b.hi[k] = center ? p + q / 2 : p < q ? q : p;
    }
    return b;
}

static float area_between(const float lo[2], const float hi[2]) {
    float w = hi[0] - lo[0], h = hi[1] - lo[1];
    return w > 0 && h > 0 ? w * h : 0;
}

static bool overlap(box a, box b, float threshold) {
    float lo[2], hi[2];
    for (int k = 0; k < 2; k++) {
        lo[k] = a.lo[k] > b.lo[k] ? a.lo[k] : b.lo[k];
        hi[k] = a.hi[k] < b.hi[k] ? a.hi[k] : b.hi[k];
    }
    float common = area_between(lo, hi), p = area_between(a.lo, a.hi), q = area_between(b.lo, b.hi);
    return common > 0 && p > 0 && q > 0 && common / (p + q - common) > threshold;
}

typedef struct candidate {
    double score;
    int64_t at;
} candidate;

static int by_score(const void *a, const void *b) {
    const candidate *p = a, *q = b;
    if (p->score != q->score) return p->score > q->score ? -1 : 1;
    return p->at < q->at ? -1 : p->at > q->at;
}

/* Boxes of one batch and class that may be kept, best first. */
static int64_t candidates(const tn_ev *c, int64_t row, int64_t n, candidate *all) {
    double least = tn_ev_has(c, 4) ? tn_ev_get_f(&c->in[4], 0) : -INFINITY;
    int64_t count = 0;
    for (int64_t k = 0; k < n; k++) {
        double score = tn_ev_get_f(&c->in[1], row * n + k);
        if (score > least || (!tn_ev_has(c, 4) && !isnan(score))) all[count++] = (candidate){score, k};
    }
    qsort(all, (size_t)count, sizeof *all, by_score);
    return count;
}

/* Moves those that are kept to the front. */
static int64_t keep(const tn_ev *c, int64_t batch, int64_t n, int64_t most, candidate *all, int64_t count) {
    const float threshold = (float)tn_ev_get_f(&c->in[3], 0);
    const bool center = ((const tn_attrs_nms *)c->attrs)->center;
    int64_t kept = 0;
    for (int64_t k = 0; k < count && kept < most; k++) {
        box b = box_at(c, center, batch * n + all[k].at);
        bool free = true;
        for (int64_t j = 0; free && j < kept; j++)
            free = !overlap(box_at(c, center, batch * n + all[j].at), b, threshold);
        if (free) all[kept++] = all[k];
    }
    return kept;
}

/* Counts them, and writes batch, class and box of each to y if there is one. */
static tn_status nms(tn_ev *c, int64_t *y, int64_t *total) {
    const int64_t batches = c->in[0].dims[0], n = c->in[0].dims[1], classes = c->in[1].dims[1];
    const int64_t most = tn_ev_get_i(&c->in[2], 0);
    if (c->in[0].dims[2] != 4 || c->in[1].dims[0] != batches || c->in[1].dims[2] != n)
        return tn_ev_fail(c, TN_E_TYPE, "%lld x %lld boxes have %lld x %lld scores", (long long)batches, (long long)n,
                          (long long)c->in[1].dims[0], (long long)c->in[1].dims[2]);
    candidate *all = tn_ev_scratch(c, n, sizeof *all);
    if (!all) return tn_ev_no_memory(c);
    *total = 0;
    for (int64_t row = 0; row < batches * classes; row++) {
        int64_t kept = keep(c, row / classes, n, most, all, candidates(c, row, n, all));
        *total += kept;
        for (int64_t k = 0; y && k < kept; k++) {
            *y++ = row / classes;
            *y++ = row % classes;
            *y++ = all[k].at;
        }
    }
    tn_ev_drop(c, all, n, sizeof *all);
    return TN_OK;
}

tn_status tn_ev_nms(tn_ev *c) {
    int64_t total;
    return nms(c, c->out[0].data, &total);
}

/* The same for candidates in an order that is given; an index that is out of range is cut to the boxes. */
tn_status tn_ev_nms_keep(tn_ev *c) {
    const tn_tensor *order = &c->in[1];
    const bool center = ((const tn_attrs_nms_keep *)c->attrs)->center;
    const int64_t n = order->dims[2], rows = order->dims[0] * order->dims[1], most = tn_ev_get_i(&c->in[3], 0);
    const float threshold = (float)tn_ev_get_f(&c->in[4], 0);
    uint8_t *y = c->out[0].data;
    if (c->in[0].dims[0] != order->dims[0] || c->in[0].dims[1] != n || c->in[0].dims[2] != 4)
        return tn_ev_fail(c, TN_E_TYPE, "the boxes do not fit their order");
    box *kept = tn_ev_scratch(c, n, sizeof *kept);
    if (!kept) return tn_ev_no_memory(c);
    for (int64_t r = 0; r < rows; r++) {
        int64_t count = 0;
        for (int64_t k = 0; k < n; k++) {
            const int64_t i = tn_ev_get_i(order, r * n + k), at = i < 0 ? 0 : i >= n ? n - 1 : i;
            const box b = box_at(c, center, r / order->dims[1] * n + at);
            bool free = is_set(&c->in[2], r * n + k) && count < most;
            for (int64_t j = 0; free && j < count; j++) free = !overlap(kept[j], b, threshold);
            if (free) kept[count++] = b;
            y[r * n + k] = free;
        }
    }
    tn_ev_drop(c, kept, n, sizeof *kept);
    return TN_OK;
}

/* ---- how many there will be -------------------------------------------------------------------------------------- */

tn_status tn_ev_count(tn_ev *c, int64_t *count) {
    switch (c->op) {
    case TN_OP_NONZERO: return nonzero_count(c, count);
    case TN_OP_NMS: return nms(c, NULL, count);
    default: return tn_ev_fail(c, TN_E_INTERNAL, "has no count");
    }
}
