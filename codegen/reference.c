/* reference.c: what candidates of one spec are given and what they must give, on the host.
 *
 * Inputs are random (constants that are not one repeated number keep their values, integer constants always); the
 * reference is the region evaluated in float64, or, if it has steps, rounded after every op as kernels round.  A large
 * layer takes a second of one core, so the compiler makes these beside the builds; nothing here touches the device or
 * changes the graph. */
#include <math.h>
#include <string.h>

#include "codegen/tune_internal.h"

static uint64_t next_random(uint64_t *x) { /* xorshift64*, Vigna 2016 */
    *x ^= *x >> 12, *x ^= *x << 25, *x ^= *x >> 27;
    return *x * UINT64_C(2685821657736338717);
}

/* The smallest extent of x's axes from..to-1. */
static int64_t least_extent(const tn_spec *s, tn_val x, size_t from, size_t to) {
    int64_t least = INT64_MAX;
    for (size_t k = from; k < to; k++) {
        int64_t d = tn_spec_hint(s, tn_val_dim(s->g, x, k));
        if (d < least) least = d;
    }
    return least;
}

/* What bounds operand `slot` of n as an index; 0: it is none. */
static int64_t indexed_extent(const tn_spec *s, tn_node n, size_t slot) {
    tn_graph *g = s->g;
    tn_op op = tn_node_op(g, n);
    if (slot != (op == TN_OP_ROI_ALIGN ? 2u : 1u)) return 0;
    tn_val x = tn_node_input(g, n, 0), i = tn_node_input(g, n, 1);
    size_t axis = 0, count = 1;
    int64_t len = 0;
    switch (op) {
    case TN_OP_GATHER:
    case TN_OP_GATHER_ELEMENTS: axis = (size_t)TN_ATTRS_OF(g, n, axis)->axis; break;
    case TN_OP_SCATTER_ELEMENTS: axis = (size_t)TN_ATTRS_OF(g, n, scatter)->axis; break;
    case TN_OP_GATHER_ND:
    case TN_OP_SCATTER_ND:
        if (op == TN_OP_GATHER_ND) axis = (size_t)TN_ATTRS_OF(g, n, gather_nd)->batch_dims;
        if (!tn_dim_is_const(g, tn_val_dim(g, i, tn_val_rank(g, i) - 1), &len)) return 1;
        count = (size_t)len;
        break;
    case TN_OP_ROI_ALIGN: break;
    default: return 0;
    }
    return least_extent(s, x, axis, axis + count);
}

/* Exclusive bound of the values that an integer input may take: the extent of what it indexes, followed through casts
 * and movement. */
static int64_t index_bound(const tn_spec *s, tn_val v, int depth) {
    int64_t bound = 4;
    for (tn_use u = tn_val_first_use(s->g, v); u.i && depth < 8; u = tn_use_next(s->g, u)) {
        tn_node n = tn_use_node(s->g, u);
        tn_op op = tn_node_op(s->g, n);
        int64_t extent = indexed_extent(s, n, tn_use_slot(s->g, u));
        if (extent) {
            if (extent < bound || bound == 4) bound = extent;
        } else if (op == TN_OP_CAST || tn_op_is(op, TN_T_MOVEMENT)) {
            int64_t inner = index_bound(s, tn_node_result(s->g, n, 0), depth + 1);
            if (inner != 4) bound = inner;
        }
    }
    return bound;
}

/* True if an integer input divides: 0 is no divisor. */
static bool divides(const tn_spec *s, tn_val v, int depth) {
    for (tn_use u = tn_val_first_use(s->g, v); u.i && depth < 8; u = tn_use_next(s->g, u)) {
        tn_node n = tn_use_node(s->g, u);
        tn_op op = tn_node_op(s->g, n);
        if ((op == TN_OP_DIV || op == TN_OP_MOD || op == TN_OP_FMOD) && tn_use_slot(s->g, u) == 1) return true;
        if ((op == TN_OP_CAST || tn_op_is(op, TN_T_MOVEMENT)) && divides(s, tn_node_result(s->g, n, 0), depth + 1))
            return true;
    }
    return false;
}

/* Large tensors repeat one block, whose odd length no extent of a network divides: drawing numbers takes most of the
 * time. */
static void randomise(const tn_spec *s, const tn_spec_tensor *t, void *data, int64_t n, uint64_t *seed) {
    enum { BLOCK = 65521 };
    const int64_t bound = t->dtype == TN_BOOL ? 2 : index_bound(s, t->arg, 0);
    const bool divisor = tn_dtype_is_int(t->dtype) && divides(s, t->arg, 0);
    const size_t size = tn_dtype_bits(t->dtype) / 8;
    const int64_t drawn = size && n > BLOCK ? BLOCK : n;
    for (int64_t i = 0; i < drawn; i++) {
        uint64_t r = next_random(seed);
        if (tn_dtype_is_float(t->dtype))
            tn_store_num(t->dtype, data, (uint64_t)i, (double)(r >> 11) * 0x1p-52 - 1.0);
        else
            tn_store_int(t->dtype, data, (uint64_t)i, bound > 0 ? (int64_t)(r % (uint64_t)bound) + divisor : 0);
    }
    for (int64_t i = drawn; i < n; i += BLOCK)
        memcpy((char *)data + (size_t)i * size, data, (size_t)(n - i < BLOCK ? n - i : BLOCK) * size);
}

/* A constant operand's own bytes: kernels may have them as literals, and integer ones are indices. */
static const void *const_values(const tn_spec *s, uint32_t k) {
    return s->in[k].is_const ? tn_const_data(s->g, tn_node_input(s->g, s->kernel, k)) : NULL;
}

tn_status tn_place(const tn_spec *s, const tn_spec_tensor *t, tn_placed *out) {
    int64_t last = 0;
    *out = (tn_placed){.rank = t->rank, .dtype = t->dtype, .numel = 1};
    for (uint32_t k = 0; k < t->rank; k++) {
        out->dims[k] = tn_spec_hint(s, t->dims[k]);
        out->strides[k] = tn_spec_hint(s, t->strides[k]);
        out->numel *= out->dims[k];
        last += (out->dims[k] - 1) * out->strides[k];
    }
    if (out->numel < 0 || last < 0 || last > (INT64_C(1) << 36)) return TN_E_UNSUPPORTED;
    out->span = tn_dtype_bytes(t->dtype, (uint64_t)last + 1);
    return TN_OK;
}

static int64_t offset_of(const tn_placed *t, int64_t i) {
    int64_t at = 0;
    for (uint32_t k = t->rank; k-- > 0;) {
        at += i % t->dims[k] * t->strides[k];
        i /= t->dims[k];
    }
    return at;
}

static bool is_dense(const tn_placed *t) {
    int64_t want = 1;
    if (tn_dtype_bits(t->dtype) < 8) return true; /* 4-bit types are only ever dense */
    for (uint32_t k = t->rank; k-- > 0; want *= t->dims[k])
        if (t->dims[k] != 1 && t->strides[k] != want) return false;
    return true;
}

/* From a dense tensor to the input's strides. */
static void to_strides(const tn_placed *t, const void *dense, void *strided) {
    const size_t size = tn_dtype_bits(t->dtype) / 8;
    if (is_dense(t)) {
        memcpy(strided, dense, t->span);
        return;
    }
    for (int64_t i = 0; i < t->numel; i++)
        memcpy((char *)strided + (size_t)offset_of(t, i) * size, (const char *)dense + (size_t)i * size, size);
}

static tn_status make_inputs(tn_reference *r, const tn_spec *s, tn_tensor *dense) {
    uint64_t seed = 0x9e3779b97f4a7c15u;
    for (uint32_t k = 0; k < s->n_in; k++) {
        tn_placed *p = &r->in[k];
        tn_status st = tn_place(s, &s->in[k], p);
        if (st == TN_OK) st = tn_tensor_new(r->env, p->dtype, p->rank, p->dims, &dense[k]);
        if (st != TN_OK) return st;
        const void *own = const_values(s, k);
        if (own)
            memcpy(dense[k].data, own, tn_dtype_bytes(p->dtype, (uint64_t)p->numel));
        else
            randomise(s, &s->in[k], dense[k].data, p->numel, &seed);
        r->data[k] = tn_alloc(r->env, p->span + 1);
        if (!r->data[k]) return TN_E_MEMORY;
        if (p->numel > 0) to_strides(p, dense[k].data, r->data[k]);
    }
    return TN_OK;
}

/* A result as doubles, and the scale of its errors. */
static tn_status take_result(tn_reference *r, const tn_spec *s, uint32_t k, tn_tensor *t) {
    tn_status st = tn_place(s, &s->out[k], &r->out[k]);
    if (st == TN_OK && tn_tensor_numel(t) != r->out[k].numel)
        st = tn_fail(r->env, TN_E_INTERNAL, s->name, "",
                     "the reference gives %lld elements for result %u, its type has %lld",
                     (long long)tn_tensor_numel(t), k, (long long)r->out[k].numel);
    if (st != TN_OK) return st;
    if (t->dtype == TN_F64) {
        r->want[k] = *t;
        *t = (tn_tensor){0};
    } else {
        st = tn_tensor_new(r->env, TN_F64, t->rank, t->dims, &r->want[k]);
        for (int64_t i = 0; st == TN_OK && i < r->out[k].numel; i++)
            ((double *)r->want[k].data)[i] = tn_load_num(t->dtype, t->data, (uint64_t)i);
    }
    const double *w = r->want[k].data;
    double sum = 0;
    int64_t n = 0;
    for (int64_t i = 0; st == TN_OK && i < r->out[k].numel; i++)
        if (isfinite(w[i])) sum += w[i] * w[i], n++;
    r->scale[k] = n ? sqrt(sum / (double)n) : 0;
    return st;
}

static tn_status evaluate(tn_reference *r, const tn_spec *s, const tn_tensor *in) {
    tn_tensor out[TN_MAX_ARGS] = {{0}};
    tn_binding bind[64];
    size_t n_bind = 0;
    for (size_t k = 0; k < tn_sym_count(s->g) && k < 64; k++) {
        const tn_dim sym = tn_sym_at(s->g, k);
        bind[n_bind++] = (tn_binding){tn_dim_name(s->g, sym), tn_spec_hint(s, sym)};
    }
    const tn_eval_opts opts = {
        .wide = !tn_spec_steps(s), .loose = s->loose, .total = true, .symbols = bind, .n_symbols = n_bind};
    tn_status st = tn_eval_region(r->env, s->g, s->region, in, s->n_in, out, s->n_out, &opts);
    if (st != TN_OK) return st;
    for (uint32_t k = 0; k < s->n_out; k++) {
        if (st == TN_OK) st = take_result(r, s, k, &out[k]);
        tn_tensor_free(r->env, &out[k]);
    }
    return st;
}

tn_status tn_reference_make(const tn_env *env, const tn_spec *s, tn_reference **out) {
    tn_tensor dense[TN_MAX_ARGS] = {{0}};
    *out = NULL;
    if (s->n_in > TN_MAX_ARGS || s->n_out > TN_MAX_ARGS) return TN_E_UNSUPPORTED;
    tn_reference *r = tn_alloc(env, sizeof *r);
    if (!r) return TN_E_MEMORY;
    r->env = env;
    r->n_in = s->n_in;
    r->n_out = s->n_out;
    tn_status st = make_inputs(r, s, dense);
    if (st == TN_OK) st = evaluate(r, s, dense);
    for (uint32_t k = 0; k < s->n_in; k++) tn_tensor_free(env, &dense[k]);
    if (st == TN_OK)
        *out = r;
    else
        tn_reference_free(r);
    return st;
}

void tn_reference_free(tn_reference *r) {
    if (!r) return;
    for (uint32_t k = 0; k < r->n_in; k++)
        if (r->data[k]) tn_free(r->env, r->data[k], r->in[k].span + 1);
    for (uint32_t k = 0; k < r->n_out; k++) tn_tensor_free(r->env, &r->want[k]);
    tn_free(r->env, r, sizeof *r);
}

size_t tn_reference_bytes(const tn_spec *s) {
    double bytes = 0;
    tn_placed p;
    for (uint32_t k = 0; k < s->n_in + s->n_out; k++) {
        const tn_spec_tensor *t = k < s->n_in ? &s->in[k] : &s->out[k - s->n_in];
        if (tn_place(s, t, &p) == TN_OK) bytes += (double)p.numel * (k < s->n_in ? 4 : 2 * sizeof(double));
    }
    return bytes < 1e18 ? (size_t)bytes : (size_t)1e18;
}
