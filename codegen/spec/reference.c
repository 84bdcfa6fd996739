/* reference.c: the cases that a spec's candidates are judged by, and the sets in which specs share them.
 *
 * The buckets of a kernel and their special cases differ in which sizes are typical, hardly in which they are judged at: a
 * set makes each case once, whichever spec asks first, and keeps it while memory allows.  It also keeps verdicts, so that
 * one kernel is judged at a case once, in whichever bucket it competes. */
#include <string.h>

#include "codegen/tune/internal.h"
#include "tenon/internal/memory.h"

/* ---- sets -------------------------------------------------------------------------------------------------------- */

tn_status tn_case_set_new(const tn_env *env, tn_case_set **out) {
    tn_case_set *set = *out = tn_alloc(env, sizeof *set);
    if (!set) return TN_E_MEMORY;
    *set = (tn_case_set){.env = env};
    pthread_mutex_init(&set->mutex, NULL);
    return TN_OK;
}

static void free_case(tn_case *c) {
    const tn_env *env = c->set->env;
    if (c->block) { /* else memory ended before it had arrays */
        tn_case_drop(c);
        tn_free(env, c->block, c->block_size);
    }
    tn_free(env, c, sizeof *c);
}

void tn_case_set_free(tn_case_set *set) {
    if (!set) return;
    for (size_t k = 0; k < set->n; k++) free_case(set->of[k]);
    for (size_t k = 0; k < set->n_fixed; k++)
        if (set->fixed[k])
            tn_free(set->env, set->fixed[k],
                    tn_dtype_bytes(set->fixed_at[k].dtype, (uint64_t)set->fixed_at[k].numel) + 1);
    if (set->n_fixed) {
        tn_free(set->env, set->fixed, set->n_fixed * sizeof *set->fixed);
        tn_free(set->env, set->fixed_at, set->n_fixed * sizeof *set->fixed_at);
    }
    tn_free(set->env, set->of, set->cap * sizeof *set->of);
    tn_free(set->env, set->verdict, set->cap_verdicts * sizeof *set->verdict);
    pthread_mutex_destroy(&set->mutex);
    tn_free(set->env, set, sizeof *set);
}

size_t tn_case_set_trim(tn_case_set *set) {
    size_t bytes = 0;
    for (size_t k = 0; k < set->n; k++) {
        tn_case *c = set->of[k];
        if (c->users || !c->done) continue;
        bytes += c->bytes;
        tn_case_drop(c);
    }
    return bytes;
}

tn_verdict *tn_case_set_verdict(tn_case_set *set, const uint64_t key[2]) {
    for (size_t k = 0; k < set->n_verdicts; k++)
        if (!memcmp(set->verdict[k].key, key, sizeof set->verdict[k].key)) return &set->verdict[k];
    tn_verdict *v = tn_grow(set->env, set->verdict, &set->cap_verdicts, set->n_verdicts + 1, sizeof *v);
    if (!v) return NULL;
    set->verdict = v;
    v += set->n_verdicts++;
    *v = (tn_verdict){.key = {key[0], key[1]}};
    return v;
}

/* ---- cases ------------------------------------------------------------------------------------------------------- */

static bool same_place(const tn_placed *a, const tn_placed *b) {
    return a->dtype == b->dtype && a->rank == b->rank && !memcmp(a->dims, b->dims, sizeof a->dims) &&
           !memcmp(a->strides, b->strides, sizeof a->strides);
}

/* The size that operand k tells; 0: none. */
static int64_t told(const tn_case *c, uint32_t k) {
    return c->s->in[k].tells.i ? tn_shape_value(c->s, &c->shape, c->s->in[k].tells) : 0;
}

static bool same_case(const tn_case *a, const tn_case *b) {
    bool same = a->s->n_in == b->s->n_in && a->s->n_out == b->s->n_out && a->s->loose == b->s->loose;
    for (uint32_t k = 0; same && k < a->s->n_in; k++)
        same = a->s->in[k].is_const == b->s->in[k].is_const && same_place(&a->in[k], &b->in[k]) &&
               told(a, k) == told(b, k);
    for (uint32_t k = 0; same && k < a->s->n_out; k++) same = same_place(&a->out[k], &b->out[k]);
    return same;
}

/* Its arrays, in one block. */
static bool take_arrays(tn_case *c, const tn_env *env) {
    const size_t in = c->s->n_in, out = c->s->n_out;
    c->block_size = (in + out) * sizeof *c->in + in * (sizeof *c->data + sizeof *c->held + sizeof *c->owned) +
                    out * (sizeof *c->want + sizeof *c->rows + sizeof *c->scale) + 1;
    char *p = c->block = tn_alloc(env, c->block_size);
    if (!p) return false;
    c->in = (void *)p, p += in * sizeof *c->in;
    c->out = (void *)p, p += out * sizeof *c->out;
    c->want = (void *)p, p += out * sizeof *c->want;
    c->rows = (void *)p, p += out * sizeof *c->rows;
    c->scale = (void *)p, p += out * sizeof *c->scale;
    c->data = (void *)p, p += in * sizeof *c->data;
    c->held = (void *)p, p += in * sizeof *c->held;
    c->owned = (void *)p;
    return true;
}

static tn_status new_case(tn_case_set *set, const tn_spec *s, const tn_shape *at, tn_case **out) {
    tn_case *c = *out = tn_alloc(set->env, sizeof *c);
    if (!c) return TN_E_MEMORY;
    *c = (tn_case){.s = s, .shape = *at, .set = set};
    tn_status st = take_arrays(c, set->env) ? TN_OK : TN_E_MEMORY;
    for (uint32_t k = 0; st == TN_OK && k < s->n_in; k++) st = tn_place(s, at, &s->in[k], &c->in[k]);
    for (uint32_t k = 0; st == TN_OK && k < s->n_out; k++) st = tn_place(s, at, &s->out[k], &c->out[k]);
    if (st == TN_OK) return TN_OK;
    free_case(c);
    *out = NULL;
    return st;
}

/* About what it occupies while it is made. */
static size_t bytes_of(const tn_case *c) {
    double bytes = 0, out = 0;
    tn_slice slice;
    tn_case_part(c, &slice);
    for (uint32_t k = 0; k < c->s->n_in; k++)
        if (!c->s->in[k].is_const && !tn_slice_rows(c->s, &slice, &c->s->in[k], &c->in[k]).n)
            bytes += 4 * (double)c->in[k].numel;
    for (uint32_t k = 0; k < c->s->n_out; k++) out += 2 * sizeof(double) * (double)c->out[k].numel;
    bytes += slice.n ? 2 * out * (double)slice.n / (double)slice.of : out;
    return bytes < 1e18 ? (size_t)bytes : (size_t)1e18;
}

/* The set's own, which takes the new one if it has none alike. */
static tn_status settle_case(tn_case_set *set, tn_case **c) {
    for (size_t k = 0; k < set->n; k++)
        if (same_case(set->of[k], *c)) {
            free_case(*c);
            *c = set->of[k];
            return TN_OK;
        }
    tn_case **of = tn_grow(set->env, set->of, &set->cap, set->n + 1, sizeof *of);
    if (!of) {
        free_case(*c);
        return TN_E_MEMORY;
    }
    set->of = of;
    (*c)->index = set->n;
    (*c)->bytes = bytes_of(*c);
    of[set->n++] = *c;
    return TN_OK;
}

bool tn_case_begin(tn_case *c, void *owner, size_t *bytes) {
    if (c->begun) return false;
    c->begun = true;
    c->owner = owner;
    *bytes = c->bytes;
    return true;
}

void *tn_case_owner(const tn_case *c) {
    return c->owner;
}

void tn_case_give_up(tn_case *c) {
    c->status = TN_E_UNSUPPORTED;
}

void tn_case_set_done(tn_case *c) {
    c->done = true;
}

/* ---- references -------------------------------------------------------------------------------------------------- */

/* The first spec says how many operands there are. */
static tn_status open_set(tn_case_set *set, const tn_spec *s) {
    if (set->n_fixed || !s->n_in) return TN_OK;
    set->fixed = tn_alloc(set->env, s->n_in * sizeof *set->fixed);
    set->fixed_at = tn_alloc(set->env, s->n_in * sizeof *set->fixed_at);
    if (set->fixed && set->fixed_at) return set->n_fixed = s->n_in, TN_OK;
    tn_free(set->env, set->fixed, s->n_in * sizeof *set->fixed);
    tn_free(set->env, set->fixed_at, s->n_in * sizeof *set->fixed_at);
    set->fixed = NULL;
    set->fixed_at = NULL;
    return TN_E_MEMORY;
}

/* What is too large is left out, unless it is all there is. */
static tn_status hold_cases(tn_reference *r, tn_case_set *set) {
    tn_shape shapes[TN_MAX_SHAPES];
    const size_t n = tn_judged_shapes(r->s, shapes);
    tn_status st = open_set(set, r->s);
    for (size_t k = 0; st == TN_OK && k < n; k++) {
        tn_case *c;
        st = new_case(set, r->s, &shapes[k], &c);
        if (st == TN_OK) st = settle_case(set, &c);
        if (st == TN_OK) {
            r->shape[r->n] = shapes[k];
            r->of[r->n++] = c;
            c->users++;
        } else if (st == TN_E_UNSUPPORTED)
            st = TN_OK;
    }
    return st == TN_OK && !r->n ? TN_E_UNSUPPORTED : st;
}

tn_status tn_reference_new(const tn_env *env, tn_case_set *set, const tn_spec *s, tn_reference **out) {
    *out = NULL;
    if (s->n_in > TN_MAX_ARGS || s->n_out > TN_MAX_ARGS) return TN_E_UNSUPPORTED;
    tn_reference *r = tn_alloc(env, sizeof *r);
    if (!r) return TN_E_MEMORY;
    *r = (tn_reference){.env = env, .s = s};
    tn_status st = set ? TN_OK : tn_case_set_new(env, &r->own);
    if (st == TN_OK) st = hold_cases(r, set ? set : r->own);
    if (st == TN_OK)
        *out = r;
    else
        tn_reference_free(r);
    return st;
}

void tn_reference_free(tn_reference *r) {
    if (!r) return;
    for (size_t k = 0; k < r->n; k++) r->of[k]->users--;
    tn_case_set_free(r->own);
    tn_free(r->env, r, sizeof *r);
}

tn_case *tn_reference_case(const tn_reference *r, size_t k) {
    return k < r->n ? r->of[k] : NULL;
}

bool tn_reference_is_done(const tn_reference *r) {
    for (size_t k = 0; k < r->n; k++)
        if (!r->of[k]->done) return false;
    return true;
}

tn_status tn_reference_finish(tn_reference *r) {
    const size_t all = r->n;
    tn_status st = TN_OK, first = r->of[0]->status;
    size_t n = 0;
    for (size_t k = 0; k < all; k++) {
        if (r->of[k]->status == TN_E_MEMORY) st = TN_E_MEMORY;
        if (r->of[k]->status != TN_OK) {
            r->of[k]->users--;
            continue;
        }
        r->shape[n] = r->shape[k];
        r->of[n++] = r->of[k];
    }
    r->n = n;
    if (st != TN_OK || n) return st;
    if (all == 1 && !r->s->one_of_many) return first;
    return tn_report(r->env, TN_NOTE, TN_E_UNSUPPORTED, r->s->name,
                     "no shape is known at which this kernel could be judged");
}

tn_status tn_reference_make(const tn_env *env, const tn_spec *s, tn_reference **out) {
    size_t bytes;
    tn_status st = tn_reference_new(env, NULL, s, out);
    if (st != TN_OK) return st;
    for (size_t k = 0; k < (*out)->n; k++) {
        tn_case *c = (*out)->of[k];
        if (!tn_case_begin(c, NULL, &bytes)) continue;
        tn_case_make(env, c);
        tn_case_set_done(c);
    }
    st = tn_reference_finish(*out);
    if (st == TN_OK) return TN_OK;
    tn_reference_free(*out);
    *out = NULL;
    return st;
}
