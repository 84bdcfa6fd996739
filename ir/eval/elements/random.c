/* random.c: random numbers by counting (random.h). */
#include "ir/eval/elements/random.h"

#include "ir/eval/internal.h"

void tn_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t k0 = key[0], k1 = key[1];
    memcpy(out, counter, 4 * sizeof *out);
    for (int round = 0; round < 10; round++, k0 += 0x9e3779b9u, k1 += 0xbb67ae85u) {
        const uint64_t a = (uint64_t)0xd2511f53u * out[0], b = (uint64_t)0xcd9e8d57u * out[2];
        const uint32_t next[4] = {(uint32_t)(b >> 32) ^ out[1] ^ k0, (uint32_t)b, (uint32_t)(a >> 32) ^ out[3] ^ k1,
                                  (uint32_t)a};
        memcpy(out, next, sizeof next);
    }
}

typedef struct job {
    tn_tensor *y;
    uint32_t key[2], row[2];
    bool is_f64;
} job;

static void fill(void *arg, unsigned part, size_t from, size_t n) {
    const job *j = arg;
    (void)part;
    for (size_t i = from; i < from + n;) {
        const size_t each = j->is_f64 ? 2 : 4, block = i / each;
        const uint32_t counter[4] = {(uint32_t)block, (uint32_t)((uint64_t)block >> 32), j->row[0], j->row[1]};
        uint32_t w[4];
        tn_philox(counter, j->key, w);
        double v[4];
        const size_t first = i % each, count = each - first < from + n - i ? each - first : from + n - i;
        for (size_t k = 0; k < each; k++)
            v[k] = j->is_f64 ? ((double)(w[2 * k] >> 5) * 0x1p26 + (double)(w[2 * k + 1] >> 6)) * 0x1p-53
                             : (double)(w[k] >> 8) * 0x1p-24;
        tn_ev_store_f(j->y, (int64_t)i, 1, count, v + first);
        i += count;
    }
}

tn_status tn_ev_random(tn_ev *c) {
    const tn_attrs_random *a = c->attrs;
    const uint64_t row = tn_ev_has(c, 0) ? (uint64_t)tn_ev_get_i(&c->in[0], 0) : 0;
    job j = {.y = &c->out[0],
             .key = {(uint32_t)a->seed + c->opts->draw * 0x9e3779b9u, (uint32_t)a->stream},
             .row = {(uint32_t)row, (uint32_t)(row >> 32)},
             .is_f64 = a->dtype == TN_F64};
    tn_ev_parallel((size_t)tn_tensor_numel(j.y), fill, &j);
    return TN_OK;
}
