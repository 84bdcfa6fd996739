/* walk.c: walks over index spaces with strided operands. */
#include "ir/eval/internal.h"

/* Whether axis b (inner, next to a) continues axis a in every operand. */
static bool mergeable(const tn_walk *w, uint32_t a, int64_t dim_b, int64_t strides[TN_WALK_OPERANDS][TN_MAX_RANK],
                      size_t b) {
    for (uint32_t k = 0; k < w->operands; k++)
        if (w->strides[k][a] != strides[k][b] * dim_b) return false;
    return true;
}

void tn_walk_start(tn_walk *w, size_t rank, const int64_t *dims, size_t operands,
                   int64_t strides[TN_WALK_OPERANDS][TN_MAX_RANK]) {
    memset(w, 0, sizeof *w);
    w->operands = (uint32_t)operands;
    uint32_t r = 0;
    for (size_t i = 0; i < rank; i++) {
        if (dims[i] == 0) w->done = true;
        if (dims[i] == 1) continue;
        bool merge = r > 0 && mergeable(w, r - 1, dims[i], strides, i);
        if (!merge) w->dims[r++] = 1;
        w->dims[r - 1] *= dims[i];
        for (uint32_t k = 0; k < w->operands; k++) w->strides[k][r - 1] = strides[k][i];
    }
    w->inner = 1;
    if (r > 0) {
        r--;
        w->inner = w->dims[r];
        for (uint32_t k = 0; k < w->operands; k++) w->step[k] = w->strides[k][r];
    }
    w->rank = r;
}

void tn_walk_next(tn_walk *w) {
    for (uint32_t a = w->rank; a-- > 0;) {
        for (uint32_t k = 0; k < w->operands; k++) w->at[k] += w->strides[k][a];
        if (++w->index[a] < w->dims[a]) return;
        for (uint32_t k = 0; k < w->operands; k++) w->at[k] -= w->strides[k][a] * w->dims[a];
        w->index[a] = 0;
    }
    w->done = true;
}

#define COPY_AS(T)                                                                                                     \
    do {                                                                                                               \
        T *d = (T *)dst + w.at[0];                                                                                     \
        const T *s = (const T *)src + w.at[1];                                                                         \
        for (int64_t k = 0; k < w.inner; k++) d[k * w.step[0]] = s[k * w.step[1]];                                     \
    } while (0)

void tn_ev_copy(void *dst, const void *src, size_t element, size_t rank, const int64_t *dims,
                const int64_t *dst_strides, const int64_t *src_strides) {
    int64_t strides[TN_WALK_OPERANDS][TN_MAX_RANK];
    if (rank) {
        memcpy(strides[0], dst_strides, rank * sizeof(int64_t));
        memcpy(strides[1], src_strides, rank * sizeof(int64_t));
    }
    tn_walk w;
    for (tn_walk_start(&w, rank, dims, 2, strides); !w.done; tn_walk_next(&w)) {
        if (w.step[0] == 1 && w.step[1] == 1) {
            memcpy((char *)dst + (size_t)w.at[0] * element, (const char *)src + w.at[1] * (int64_t)element,
                   (size_t)w.inner * element);
        } else {
            switch (element) {
            case 1: COPY_AS(uint8_t); break;
            case 2: COPY_AS(uint16_t); break;
            case 4: COPY_AS(uint32_t); break;
            default: COPY_AS(uint64_t); break;
            }
        }
    }
}

bool tn_ev_broadcast_strides(const tn_tensor *t, const tn_tensor *out, int64_t *strides) {
    int64_t own[TN_MAX_RANK];
    if (t->rank > out->rank) return false;
    tn_ev_strides(t, own);
    size_t skip = out->rank - t->rank;
    for (size_t k = 0; k < out->rank; k++) {
        strides[k] = 0;
        if (k < skip || t->dims[k - skip] == 1) continue;
        if (t->dims[k - skip] != out->dims[k]) return false;
        strides[k] = own[k - skip];
    }
    return true;
}
