/* keep_archs.c: architectures that a plan holds already, carried into the plan that its graph is compiled into again.
 *
 * Kernels, sources, times and errors stay as they are; what refers to the manifest's tables (dims, constants, blobs) is
 * entered into the new ones.  A constant is found by its bytes, which are all that a kernel knows of it. */
#include <string.h>

#include "codegen/compile.h"
#include "runtime/plan/plan.h"

typedef struct keeper {
    tn_compilation *c;
    const TnPlan__Plan *pb;
    const uint8_t *weights;
    size_t weights_size;
    tn_dim *dims; /* by index in the old plan */
    tn_status status;
} keeper;

/* ---- dims -------------------------------------------------------------------------------------------------------- */

static uint32_t dim(keeper *k, uint32_t old) {
    return tn_manifest_dim(k->c->mf, k->dims[old]);
}

static uint32_t *dim_list(keeper *k, const uint32_t *old, size_t n) {
    uint32_t *out = tn_manifest_alloc(k->c->mf, (n + 1) * sizeof *out);
    for (size_t i = 0; out && i < n; i++) out[i] = dim(k, old[i]);
    return out;
}

/* ---- places ------------------------------------------------------------------------------------------------------ */

static bool has_bytes(const tn_graph *g, tn_node n, const uint8_t *data, size_t size, const tn_packing *how) {
    tn_blob b = TN_ATTRS_OF(g, n, const)->data;
    const void *own = tn_blob_data(g, b);
    if (tn_blob_size(g, b) != size) return false;
    return own == data || size == 0 || (how->element ? tn_packing_same(how, own, data) : !memcmp(own, data, size));
}

/* A constant's plain bytes, which packed ones are made into; freed with tn_free(env, *made, *size). */
static const uint8_t *plain_bytes(keeper *k, const TnPlan__Const *x, const tn_packing *how, void **made, size_t *size) {
    const uint8_t *own = k->weights + x->offset;
    uint64_t plain, packed;
    *made = NULL;
    *size = (size_t)x->size;
    if (x->offset > k->weights_size || x->size > k->weights_size - x->offset) return NULL;
    if (!x->packing) return own;
    if (!tn_packing_sizes(how, &plain, &packed)) return NULL;
    *size = (size_t)plain;
    *made = tn_alloc(k->c->env, *size);
    if (*made)
        tn_packing_unpack(how, own, *made);
    else
        k->status = TN_E_MEMORY;
    return *made;
}

static uint32_t const_of(keeper *k, uint32_t old) {
    const TnPlan__Const *x = k->pb->consts[old];
    const tn_graph *g = k->c->g;
    const tn_packing how = tn_const_packing(x);
    tn_node found = {0};
    size_t size;
    void *made;
    const uint8_t *bytes = plain_bytes(k, x, &how, &made, &size);
    for (uint32_t i = 1; bytes && !found.i && i < tn_graph_node_limit(g); i++) { /* those in branches and loops, too */
        const tn_node n = {i};
        if (tn_node_op(g, n) == TN_OP_CONST && has_bytes(g, n, bytes, size, &how)) found = n;
    }
    tn_free(k->c->env, made, size);
    if (found.i) return tn_manifest_const(k->c->mf, found, &how);
    if (k->status == TN_OK)
        k->status = tn_fail(k->c->env, TN_E_FORMAT, x->name, "compile the model again",
                            "the plan's graph lacks a constant that its kernels use");
    return 0;
}

static TnPlan__Place *place(keeper *k, const TnPlan__Place *old) {
    TnPlan__Place *p = tn_manifest_alloc(k->c->mf, sizeof *p);
    if (!p || !old) return NULL;
    *p = *old;
    if (p->space == TN_PLAN__PLACE__SPACE__CONST) p->index = const_of(k, old->index);
    p->offset = dim(k, old->offset);
    p->bytes = dim(k, old->bytes);
    return p;
}

static TnPlan__TensorMap *tensor_map(keeper *k, const TnPlan__TensorMap *old) {
    TnPlan__TensorMap *m = tn_manifest_alloc(k->c->mf, sizeof *m);
    if (!m) return NULL;
    *m = *old;
    m->offset = dim(k, old->offset);
    m->dims = dim_list(k, old->dims, old->n_dims);
    m->strides = dim_list(k, old->strides, old->n_strides);
    return m;
}

static TnPlan__Arg **args(keeper *k, TnPlan__Arg *const *old, size_t n) {
    TnPlan__Arg **out = tn_manifest_alloc(k->c->mf, (n + 1) * sizeof *out);
    for (size_t i = 0; out && i < n; i++) {
        TnPlan__Arg *a = out[i] = tn_manifest_alloc(k->c->mf, sizeof *a);
        if (!a) return NULL;
        *a = *old[i];
        if (a->kind == TN_PLAN__ARG__KIND__PLACE) a->place = place(k, old[i]->place);
        if (a->kind == TN_PLAN__ARG__KIND__DIM) a->dim = dim(k, old[i]->dim);
        if (a->kind == TN_PLAN__ARG__KIND__MAP) a->map = tensor_map(k, old[i]->map);
    }
    return out;
}

static TnPlan__Extent **extents(keeper *k, TnPlan__Extent *const *old, size_t n) {
    TnPlan__Extent **out = tn_manifest_alloc(k->c->mf, (n + 1) * sizeof *out);
    for (size_t i = 0; out && i < n; i++) {
        TnPlan__Extent *e = out[i] = tn_manifest_alloc(k->c->mf, sizeof *e);
        if (!e) return NULL;
        *e = *old[i];
        if (e->space == TN_PLAN__PLACE__SPACE__CONST) e->index = const_of(k, old[i]->index);
        e->offset = dim(k, old[i]->offset);
        e->bytes = dim(k, old[i]->bytes);
        e->run = dim(k, old[i]->run);
        e->pitch = dim(k, old[i]->pitch);
    }
    return out;
}

static TnPlan__Buffer **buffers(keeper *k, TnPlan__Buffer *const *old, size_t n) {
    TnPlan__Buffer **out = tn_manifest_alloc(k->c->mf, (n + 1) * sizeof *out);
    for (size_t i = 0; out && i < n; i++) {
        TnPlan__Buffer *b = out[i] = tn_manifest_alloc(k->c->mf, sizeof *b);
        if (!b) return NULL;
        *b = *old[i];
        b->bytes = dim(k, old[i]->bytes);
        b->offset = dim(k, old[i]->offset);
    }
    return out;
}

static TnPlan__Policy **policies(keeper *k, TnPlan__Policy *const *old, size_t n) {
    TnPlan__Policy **out = tn_manifest_alloc(k->c->mf, (n + 1) * sizeof *out);
    for (size_t i = 0; out && i < n; i++) {
        out[i] = tn_manifest_alloc(k->c->mf, sizeof **out);
        if (!out[i]) return NULL;
        *out[i] = *old[i];
    }
    return out;
}

/* ---- kernels and steps ------------------------------------------------------------------------------------------- */

static uint32_t blob(keeper *k, uint32_t old, size_t align) {
    const void *data;
    size_t size;
    if (old == TN_NO_BLOB || k->status != TN_OK) return TN_NO_BLOB;
    k->status = tn_plan_blob(k->c->old, old, &data, &size);
    return k->status == TN_OK ? tn_plan_add_blob(k->c->writer, data, size, align) : TN_NO_BLOB;
}

static TnPlan__Kernel *kernel(keeper *k, const TnPlan__Kernel *old) {
    TnPlan__Kernel *out = tn_manifest_alloc(k->c->mf, sizeof *out);
    if (!out) return NULL;
    *out = *old;
    out->cubin = blob(k, old->cubin, TN_BLOB_PAGE);
    out->source = blob(k, old->source, TN_BLOB_ALIGN);
    return out;
}

static TnPlan__Lt *lt(keeper *k, const TnPlan__Lt *old) {
    TnPlan__Lt *out = tn_manifest_alloc(k->c->mf, sizeof *out);
    if (!out) return NULL;
    *out = *old;
    uint32_t *const dims[] = {&out->m,   &out->n,   &out->k,        &out->batch,    &out->lda,      &out->ldb,
                              &out->ldc, &out->ldd, &out->stride_a, &out->stride_b, &out->stride_c, &out->stride_d};
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) *dims[i] = dim(k, *dims[i]);
    return out;
}

/* Of an alternative.  Buckets that special cases made need not be those of now. */
static uint32_t bucket(keeper *k, uint32_t old) {
    const TnPlan__Bucket *b = k->pb->buckets[old];
    tn_dim *syms = tn_manifest_alloc(k->c->mf, (b->n_ranges + 1) * sizeof *syms);
    tn_size_range *r = tn_manifest_alloc(k->c->mf, (b->n_ranges + 1) * sizeof *r);
    for (size_t i = 0; syms && r && i < b->n_ranges; i++) {
        const TnPlan__Bucket__Range *x = b->ranges[i];
        syms[i] = k->dims[x->symbol];
        r[i] = (tn_size_range){x->lo, x->hi, x->typical, x->divisor};
    }
    return syms && r ? tn_manifest_bucket(k->c->mf, b->n_ranges, syms, r) : 0;
}

static TnPlan__Step *step(keeper *k, const TnPlan__Step *old) {
    TnPlan__Step *out = tn_manifest_alloc(k->c->mf, sizeof *out);
    if (!out) return NULL;
    *out = *old;
    if (out->what_case == TN_PLAN__STEP__WHAT_LT) out->lt = lt(k, old->lt);
    out->args = args(k, old->args, old->n_args);
    out->grid = dim_list(k, old->grid, old->n_grid);
    out->reach = dim(k, old->reach);
    out->reads = extents(k, old->reads, old->n_reads);
    out->writes = extents(k, old->writes, old->n_writes);
    return out;
}

static TnPlan__Arch *arch(keeper *k, const TnPlan__Arch *old) {
    tn_manifest *mf = k->c->mf;
    TnPlan__Arch *out = tn_manifest_alloc(mf, sizeof *out);
    if (!out) return NULL;
    *out = *old;
    out->kernels = tn_manifest_alloc(mf, (old->n_kernels + 1) * sizeof *out->kernels);
    out->steps = tn_manifest_alloc(mf, (old->n_steps + 1) * sizeof *out->steps);
    for (size_t i = 0; out->kernels && i < old->n_kernels; i++) out->kernels[i] = kernel(k, old->kernels[i]);
    for (size_t i = 0; out->steps && i < old->n_steps; i++) out->steps[i] = step(k, old->steps[i]);
    out->alternatives = tn_manifest_alloc(mf, (old->n_alternatives + 1) * sizeof *out->alternatives);
    for (size_t i = 0; out->alternatives && i < old->n_alternatives; i++)
        if ((out->alternatives[i] = step(k, old->alternatives[i])) != NULL)
            out->alternatives[i]->bucket = bucket(k, old->alternatives[i]->bucket);
    out->buffers = buffers(k, old->buffers, old->n_buffers);
    out->policies = policies(k, old->policies, old->n_policies);
    return out;
}

/* ---- all --------------------------------------------------------------------------------------------------------- */

static TnPlan__Arch *compiled(const tn_compilation *c, const char *name, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!strcmp(c->plan.archs[i]->name, name)) return c->plan.archs[i];
    return NULL;
}

tn_status tn_plan_keep_archs(tn_compilation *c) {
    const TnPlan__Plan *pb = tn_plan_manifest(c->old);
    keeper k = {.c = c, .pb = pb};
    const void *weights = NULL;
    if (pb->weights != TN_NO_BLOB) k.status = tn_plan_blob(c->old, pb->weights, &weights, &k.weights_size);
    k.weights = weights;
    k.dims = tn_manifest_alloc(c->mf, (pb->n_dims + 1) * sizeof *k.dims);
    if (k.dims) tn_dims_of_plan(c->g, pb, k.dims);
    const size_t fresh = c->plan.n_archs;
    for (size_t i = 0; k.dims && k.status == TN_OK && i < pb->n_archs; i++)
        if (!compiled(c, pb->archs[i]->name, fresh)) c->plan.archs[c->plan.n_archs++] = arch(&k, pb->archs[i]);
    if (k.dims) c->mem.arena_size = tn_dim_max(c->g, c->mem.arena_size, k.dims[pb->arena_size]);
    if (k.status == TN_OK) k.status = tn_graph_status(c->g);
    return k.status == TN_OK ? tn_manifest_status(c->mf) : k.status;
}
