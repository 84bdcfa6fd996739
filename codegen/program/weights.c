/* weights.c: the constants of a plan and its IR, which has them as its side file.
 *
 * Each constant is there once in each order that a kernel reads.  One that all kernels read packed is not there plain: the
 * IR says that it is elsewhere, and whoever reads that makes it of the packed bytes (host/ir.c). */
#include <string.h>
#include <xxhash.h>

#include "codegen/compile.h"
#include "ir/text/side.h"
#include "tenon/internal/memory.h"

/* What tn_print_weights wrote, and what stands behind that. */
typedef struct weights {
    tn_compilation *c;
    TN_VEC(tn_piece) pieces;
    TN_VEC(uint64_t) at; /* where each begins */
    uint64_t size;
    uint32_t *slots; /* of those with data, by hash: index + 1; n_slots, a power of two, is more than there will be */
    size_t n_slots;
} weights;

static tn_status add_piece(void *user, const void *data, size_t n, const tn_packing *how) {
    weights *w = user;
    if (!TN_VEC_ROOM(w->c->env, &w->pieces, 1) || !TN_VEC_ROOM(w->c->env, &w->at, 1)) return TN_E_MEMORY;
    w->at.p[w->at.n++] = w->size;
    w->pieces.p[w->pieces.n++] = (tn_piece){data, n, how};
    w->size += n;
    return TN_OK;
}

/* The printer's padding comes from a buffer of its own that does not outlive the call; zeros are pieces without
 * data. */
static tn_status add_printed(void *user, const void *data, size_t n) {
    const unsigned char *p = data;
    bool zero = n < TN_SIDE_ALIGN;
    for (size_t k = 0; zero && k < n; k++) zero = p[k] == 0;
    return add_piece(user, zero ? NULL : data, n, NULL);
}

static bool same_piece(const tn_piece *p, const tn_piece *x) {
    return p->data == x->data && p->size == x->size && !p->packing == !x->packing &&
           (!p->packing || tn_packing_equal(p->packing, x->packing));
}

/* The slot of a piece like x, or the empty one where it belongs. */
static uint32_t *slot_of(const weights *w, const tn_piece *x) {
    size_t at = (size_t)XXH3_64bits(&x->data, sizeof x->data) & (w->n_slots - 1);
    while (w->slots[at] && !same_piece(&w->pieces.p[w->slots[at] - 1], x)) at = (at + 1) & (w->n_slots - 1);
    return &w->slots[at];
}

/* For the pieces that there are, and two more for each of n constants. */
static tn_status index_pieces(weights *w, size_t n) {
    for (w->n_slots = 16; w->n_slots < 2 * (w->pieces.n + 2 * n);) w->n_slots *= 2;
    w->slots = tn_alloc(w->c->env, w->n_slots * sizeof *w->slots);
    if (!w->slots) return TN_E_MEMORY;
    for (uint32_t k = 0; k < w->pieces.n; k++) {
        uint32_t *slot = w->pieces.p[k].data ? slot_of(w, &w->pieces.p[k]) : NULL;
        if (slot && !*slot) *slot = k + 1;
    }
    return TN_OK;
}

/* Offset of a constant's bytes among the pieces; appends them if they are not there. */
static tn_status const_offset(weights *w, const tn_piece *x, uint64_t *offset) {
    uint32_t *slot = slot_of(w, x);
    tn_status s = TN_OK;
    if (!*slot) {
        const size_t odd = (size_t)(w->size % TN_BLOB_ALIGN);
        if (odd) s = add_piece(w, NULL, TN_BLOB_ALIGN - odd, NULL);
        if (s == TN_OK) s = add_piece(w, x->data, x->size, x->packing);
        if (s != TN_OK) return s;
        *slot = w->pieces.n;
    }
    *offset = w->at.p[*slot - 1];
    return TN_OK;
}

static tn_blob blob_of(const tn_compilation *c, const tn_manifest_entry *e) {
    return TN_ATTRS_OF(c->g, e->node, const)->data;
}

/* By blob: it is only read packed. */
static void find_absent(const tn_compilation *c, const tn_manifest_entry *e, size_t n, bool *absent) {
    for (size_t k = 0; k < n; k++)
        if (e[k].how.element) absent[blob_of(c, &e[k]).i] = true;
    for (size_t k = 0; k < n; k++)
        if (!e[k].how.element) absent[blob_of(c, &e[k]).i] = false;
}

static tn_status add_const(weights *w, const tn_manifest_entry *e, const bool *absent, tn_const_at *at) {
    const tn_compilation *c = w->c;
    const tn_blob b = blob_of(c, e);
    tn_piece x = {.data = tn_blob_data(c->g, b), .size = tn_blob_size(c->g, b)};
    uint64_t plain, packed;
    if (e->how.element) {
        tn_packing *how = tn_manifest_alloc(c->mf, sizeof *how); /* the writer borrows it */
        if (!how) return TN_E_MEMORY;
        *how = e->how;
        if (!tn_packing_sizes(how, &plain, &packed) || plain != x.size) return TN_E_INTERNAL;
        x.size = (size_t)packed;
        x.packing = how;
        if (absent[b.i]) at->elsewhere = tn_side_elsewhere(b);
    }
    return const_offset(w, &x, &at->offset);
}

static tn_status add_ir(tn_compilation *c, const bool *absent) {
    char *text;
    size_t size;
    tn_status s = tn_print_without(c->g, absent, "weights", &text, &size);
    if (s != TN_OK) return s;
    c->plan.ir = tn_plan_add_copy(c->writer, text, size, TN_BLOB_ALIGN);
    tn_free(c->env, text, size + 1);
    return TN_OK;
}

static tn_status add_all(weights *w, const bool *absent, const tn_manifest_entry *e, size_t n, tn_const_at *at) {
    tn_compilation *c = w->c;
    tn_status s = tn_print_weights_without(c->g, absent, add_printed, w);
    if (s == TN_OK) s = index_pieces(w, n);
    for (size_t k = 0; s == TN_OK && k < n; k++) s = add_const(w, &e[k], absent, &at[k]);
    if (s != TN_OK) return s;
    c->plan.weights = w->pieces.n ? tn_plan_add_pieces(c->writer, w->pieces.p, w->pieces.n, TN_BLOB_PAGE) : TN_NO_BLOB;
    return add_ir(c, absent);
}

tn_status tn_plan_add_weights(tn_compilation *c, const tn_const_at **consts) {
    weights w = {.c = c};
    const tn_manifest_entry *e;
    const size_t n = tn_manifest_consts(c->mf, &e);
    tn_const_at *at = tn_manifest_alloc(c->mf, (n + 1) * sizeof *at);
    bool *absent = tn_manifest_alloc(c->mf, (tn_blob_limit(c->g) + 1) * sizeof *absent);
    if (!at || !absent) return TN_E_MEMORY;
    find_absent(c, e, n, absent);
    const tn_status s = add_all(&w, absent, e, n, at);
    TN_VEC_FREE(c->env, &w.pieces);
    TN_VEC_FREE(c->env, &w.at);
    tn_free(c->env, w.slots, w.n_slots * sizeof *w.slots);
    *consts = at;
    return s == TN_OK ? tn_manifest_status(c->mf) : s;
}
