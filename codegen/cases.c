/* cases.c: see cases.h. */
#include "codegen/cases.h"
#include <string.h>

enum {
    VECTOR = 8,  /* elements of 16 bits, the narrowest that is computed with, in the widest load */
    HALVED = 32, /* divides the sizes of images, which networks halve again and again */
    MAX_SYMBOLS = 64
};

typedef struct maker {
    tn_graph *g;
    const tn_memory *m;
    size_t n;
    tn_dim sym[MAX_SYMBOLS];      /* that inputs tell: of others nobody knows the sizes when shapes are bound */
    int64_t divisor[MAX_SYMBOLS]; /* that strides need of it; 1: none */
} maker;

/* ---- what is worth assuming -------------------------------------------------------------------------------------- */

/* Something that depends on sym is divided. */
static bool is_divided(const tn_graph *g, tn_dim d, tn_dim sym) {
    const tn_dim_kind k = tn_dim_kind_of(g, d);
    if (k <= TN_DIM_SYM) return false;
    return ((k == TN_DIM_FLOORDIV || k == TN_DIM_CEILDIV) && tn_dim_mentions(g, tn_dim_lhs(g, d), sym)) ||
           is_divided(g, tn_dim_lhs(g, d), sym) || is_divided(g, tn_dim_rhs(g, d), sym);
}

/* Its rows would begin at whole vectors if the symbol were a multiple. */
static bool is_off(const maker *k, tn_val v, tn_dim sym) {
    const tn_placement *at = &k->m->of[v.i];
    if (at->space == TN_SPACE_NONE) return false;
    if (tn_dim_divisor(k->g, at->offset) % (2 * VECTOR) && tn_dim_mentions(k->g, at->offset, sym)) return true;
    for (uint32_t i = 0; i < at->rank; i++)
        if (!tn_dim_equal_const(k->g, tn_val_dim(k->g, v, i), 1) && tn_dim_divisor(k->g, at->strides[i]) % VECTOR &&
            tn_dim_mentions(k->g, at->strides[i], sym))
            return true;
    return false;
}

/* So long is what an output grows by from run to run: it is a multiple of something only now and then. */
static bool grows(const maker *k, tn_dim sym) {
    TN_FOR_NODES(k->g, tn_graph_body(k->g), n) {
        if (tn_node_op(k->g, n) != TN_OP_APPEND) continue;
        const size_t axis = (size_t)TN_ATTRS_OF(k->g, n, append)->axis;
        if (tn_dim_mentions(k->g, tn_val_dim(k->g, tn_node_input(k->g, n, 0), axis), sym)) return true;
    }
    return false;
}

static int64_t divisor_of(const maker *k, tn_dim sym) {
    bool off = false, divided = false;
    if (grows(k, sym)) return 1;
    for (tn_val v = {1}; v.i < k->m->n; v.i++) {
        if (!tn_val_type(k->g, v).i) continue;
        off = off || is_off(k, v, sym);
        for (size_t i = 0; !divided && i < tn_val_rank(k->g, v); i++)
            divided = is_divided(k->g, tn_val_dim(k->g, v, i), sym);
    }
    return !off ? 1 : divided ? HALVED : VECTOR;
}

static void find_symbols(maker *k) {
    for (size_t s = 0; s < tn_sym_count(k->g) && k->n < MAX_SYMBOLS; s++) {
        const tn_dim sym = tn_sym_at(k->g, s);
        if (!tn_inputs_tell(k->g, sym)) continue;
        k->divisor[k->n] = divisor_of(k, sym);
        k->sym[k->n++] = sym;
    }
}

/* ---- guards ------------------------------------------------------------------------------------------------------ */

/* What a guard says of symbol s; false if it cannot be made, since nobody says how large that is. */
static bool guard_size(const maker *k, size_t s, tn_size_case *c) {
    const tn_size_range r = tn_bucket_range(k->g, c->bucket, k->sym[s]);
    tn_case_size *z = &c->sizes[c->n_sizes++];
    *z = (tn_case_size){.sym = k->sym[s], .in = r};
    z->in.typical = tn_bucket_typical(k->g, c->bucket, k->sym[s]);
    if (z->in.typical < 1) return false;
    if (c->kind == TN_CASE_POINT || z->in.typical == 1) {
        z->in.lo = z->in.hi = z->in.typical;
        z->in.divisor = 0;
        return c->kind != TN_CASE_POINT || r.typical > 0;
    }
    if (r.divisor < 2) z->in.divisor = k->divisor[s];
    while (z->in.divisor > 1 && z->in.typical % z->in.divisor) z->in.divisor /= 2;
    if (z->in.divisor < 2) z->in.divisor = 0;
    return true;
}

static bool is_pinned(const tn_case_size *z) {
    return z->in.lo == z->in.hi;
}

/* It says more than the symbols' own ranges do, and less than which sizes they are. */
static bool is_within(const maker *k, const tn_size_case *c) {
    bool more = false, open = false;
    for (uint32_t s = 0; s < c->n_sizes; s++) {
        int64_t lo, hi;
        tn_dim_bounds(k->g, c->sizes[s].sym, &lo, &hi);
        more |= c->sizes[s].in.lo > lo || c->sizes[s].in.hi < hi || c->sizes[s].in.divisor;
        open |= !is_pinned(&c->sizes[s]);
    }
    return more && open;
}

/* The model takes the typical sizes.  What is assumed holds there, so that no type rule can refuse it. */
static bool conditions_hold(const maker *k, const tn_size_case *c) {
    tn_binding at[MAX_SYMBOLS];
    for (uint32_t s = 0; s < c->n_sizes; s++)
        at[s] = (tn_binding){tn_dim_name(k->g, c->sizes[s].sym), c->sizes[s].in.typical};
    return tn_conditions_hold(k->g, at, c->n_sizes, true);
}

/* A bucket of the same typical sizes has it already. */
static bool is_double(const tn_size_case *c, const tn_size_case *others, size_t n) {
    for (size_t k = 0; k < n; k++) {
        bool same = others[k].kind == TN_CASE_POINT && c->kind == TN_CASE_POINT;
        for (uint32_t s = 0; same && s < c->n_sizes; s++) same = tn_same_range(others[k].sizes[s].in, c->sizes[s].in);
        if (same) return true;
    }
    return false;
}

static bool make_guard(const maker *k, tn_size_case *c) {
    for (size_t s = 0; s < k->n; s++)
        if (!guard_size(k, s, c)) return false;
    return k->n && (c->kind == TN_CASE_POINT || is_within(k, c)) && conditions_hold(k, c);
}

/* ---- the clone --------------------------------------------------------------------------------------------------- */

/* The dims of all placements, in order: strides, then the offset. */
static size_t list_dims(tn_memory *m, tn_dim *list, bool back) {
    size_t n = 0;
    for (uint32_t v = 0; v < m->n; v++) {
        tn_placement *at = &m->of[v];
        for (uint32_t i = 0; at->space != TN_SPACE_NONE && i <= at->rank; i++, n++) {
            tn_dim *d = i < at->rank ? &at->strides[i] : &at->offset;
            if (list && back) *d = list[n];
            if (list && !back) list[n] = *d;
        }
    }
    return n;
}

static tn_size_said assumed(tn_graph *g, tn_case_size *z) {
    const int64_t d = z->in.divisor;
    tn_size_said x = {.sym = z->sym, .with = z->sym, .lo = z->in.lo, .hi = z->in.hi};
    if (is_pinned(z)) {
        x.with = tn_dim_const(g, z->in.lo);
    } else if (d > 1) {
        z->part = tn_dim_fresh(g, tn_dim_name(g, z->sym));
        tn_dim_set_range(g, z->part, z->in.lo / d + (z->in.lo % d > 0),
                         z->in.hi == INT64_MAX ? INT64_MAX : z->in.hi / d);
        tn_dim_set_hint(g, z->part, z->in.typical / d);
        x.with = tn_dim_mul(g, z->part, tn_dim_const(g, d));
    } else {
        tn_dim_set_hint(g, z->sym, z->in.typical);
    }
    return x;
}

static tn_status copy_memory(const tn_env *env, const tn_memory *from, tn_memory *to) {
    *to = (tn_memory){.n = from->n};
    to->of = tn_alloc(env, from->n * sizeof *to->of);
    if (!to->of) return TN_E_MEMORY;
    memcpy(to->of, from->of, from->n * sizeof *to->of);
    return TN_OK;
}

/* A new symbol's dims are no handles of the graph that was given, so all that is held is of the clone from here on. */
static tn_status make_clone(const maker *k, tn_size_case *c) {
    const tn_env *env = tn_graph_env(k->g);
    tn_status st = copy_memory(env, k->m, &c->mem);
    c->g = tn_graph_clone_beside(k->g);
    const size_t n = st == TN_OK ? list_dims(&c->mem, NULL, false) : 0;
    tn_dim *held = tn_alloc(env, (n + 1) * sizeof *held);
    if (!c->g || !held) st = TN_E_MEMORY;
    if (st == TN_OK) {
        list_dims(&c->mem, held, false);
        tn_graph_clear_buckets(c->g);
        tn_size_said said[MAX_SYMBOLS];
        for (uint32_t s = 0; s < c->n_sizes; s++) said[s] = assumed(c->g, &c->sizes[s]);
        tn_dims_say(c->g, said, c->n_sizes, held, n);
        list_dims(&c->mem, held, true);
        for (uint32_t v = 0; v < c->mem.n; v++) tn_placed_realign(c->g, &c->mem.of[v]);
        st = tn_graph_status(c->g);
    }
    tn_free(env, held, (n + 1) * sizeof *held);
    return st;
}

/* ---- all --------------------------------------------------------------------------------------------------------- */

static void free_case(const tn_env *env, tn_size_case *c) {
    tn_free(env, c->sizes, MAX_SYMBOLS * sizeof *c->sizes);
    tn_free(env, c->mem.of, c->mem.n * sizeof *c->mem.of);
    if (c->kind != TN_CASE_ANY) tn_graph_free(c->g);
    *c = (tn_size_case){0};
}

void tn_cases_free(const tn_env *env, tn_size_case *c, size_t n) {
    for (size_t k = 0; c && k < n; k++) free_case(env, &c[k]);
    tn_free(env, c, TN_MAX_BUCKETS * sizeof *c);
}

/* *made: it is worth having.  Its clone is still to be made. */
static tn_status make_special(const maker *k, tn_case_kind kind, size_t bucket, tn_size_case *all, size_t n,
                              bool *made) {
    tn_size_case *c = &all[n];
    *c = (tn_size_case){.kind = kind, .bucket = (uint32_t)bucket};
    c->sizes = tn_alloc(tn_graph_env(k->g), MAX_SYMBOLS * sizeof *c->sizes);
    *made = c->sizes && make_guard(k, c) && !is_double(c, all, n);
    const tn_status st = c->sizes ? TN_OK : TN_E_MEMORY;
    if (!*made) free_case(tn_graph_env(k->g), c);
    return st;
}

typedef struct job {
    const maker *k;
    tn_size_case *c;
    tn_status status;
} job;

static void run_clone(void *arg) {
    job *j = arg;
    j->status = make_clone(j->k, j->c);
}

/* They read the graph, which nobody changes meanwhile. */
static tn_status make_clones(const maker *k, tn_pool *pool, tn_size_case *c, size_t n) {
    job jobs[TN_MAX_BUCKETS];
    tn_status st = TN_OK;
    size_t begun = 0;
    for (; st == TN_OK && begun < n; begun++) {
        jobs[begun] = (job){k, &c[begun], TN_OK};
        if (pool)
            st = tn_pool_add(pool, run_clone, &jobs[begun]);
        else
            run_clone(&jobs[begun]);
    }
    if (pool) tn_pool_wait(pool, -1);
    for (size_t i = 0; st == TN_OK && i < n; i++) st = jobs[i].status;
    return st;
}

tn_status tn_cases_make(tn_graph *g, const tn_memory *m, tn_pool *pool, tn_size_case **out, size_t *n) {
    static const tn_case_kind special[] = {TN_CASE_WITHIN, TN_CASE_POINT};
    const size_t buckets = tn_bucket_count(g), general = buckets ? buckets : 1;
    maker k = {.g = g, .m = m};
    tn_status st = TN_OK;
    tn_size_case *c = *out = tn_alloc(tn_graph_env(g), TN_MAX_BUCKETS * sizeof *c);
    *n = 0;
    if (!c) return TN_E_MEMORY;
    for (size_t b = 0; b < general; b++) c[(*n)++] = (tn_size_case){.bucket = (uint32_t)b, .g = g};
    if (buckets) find_symbols(&k);
    for (size_t b = 0; b < buckets; b++)
        for (size_t i = 0; st == TN_OK && i < sizeof special / sizeof *special && *n < TN_MAX_BUCKETS; i++) {
            bool made;
            st = make_special(&k, special[i], b, c, *n, &made);
            *n += st == TN_OK && made;
        }
    return st == TN_OK ? make_clones(&k, pool, c + general, *n - general) : st;
}

tn_dim tn_case_dim(const tn_size_case *c, tn_graph *g, tn_dim d) {
    const tn_dim_kind kind = tn_dim_kind_of(c->g, d);
    int64_t v;
    if (c->kind == TN_CASE_ANY || kind == TN_DIM_NONE) return d;
    if (tn_dim_is_const(c->g, d, &v)) return tn_dim_const(g, v);
    if (kind != TN_DIM_SYM)
        return tn_dim_binary(g, kind, tn_case_dim(c, g, tn_dim_lhs(c->g, d)), tn_case_dim(c, g, tn_dim_rhs(c->g, d)));
    for (uint32_t s = 0; s < c->n_sizes; s++)
        if (c->sizes[s].part.i == d.i)
            return tn_dim_floordiv(g, c->sizes[s].sym, tn_dim_const(g, c->sizes[s].in.divisor));
    return tn_dim_sym(g, tn_dim_name(c->g, d));
}
