/* enumerate.c: all candidates of a spec: templates whose binding accepts it, times the knob values that satisfy the
 * template's requires, ranked by predicted cost. */
#include "codegen/bind/plugin.h"
#include "codegen/emit/emit.h"
#include "tenon/internal/memory.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define BINDING(name) extern const tn_binding_ops tn_bind_##name;
#include "codegen/bind/templates.def"
#undef BINDING

static const tn_binding_ops *const bindings[] = {
#define BINDING(name) &tn_bind_##name,
#include "codegen/bind/templates.def"
#undef BINDING
};
enum { N_BINDINGS = sizeof bindings / sizeof *bindings };

/* ---- cost -------------------------------------------------------------------------------------------------------- */

double tn_cost_us(const tn_arch *arch, const tn_load_model *m) {
    const double threads = m->threads > 32 ? m->threads : 32;
    double resident = floor(2048 / threads); /* blocks on one SM */
    if (m->smem > 0 && resident > floor(arch->smem_sm / (m->smem + 1024)))
        resident = floor(arch->smem_sm / (m->smem + 1024));
    if (resident > 32) resident = 32;
    if (resident < 1) resident = 1;
    const double blocks = m->blocks > 1 ? m->blocks : 1, slots = resident * arch->sms;
    const double waves = ceil(blocks / slots),
                 balance = blocks / (waves * slots); /* < 1 when the last wave is not full */
    const double busy = blocks < arch->sms ? blocks / arch->sms : blocks < slots ? 1 : balance;
    /* bandwidth needs loads in flight: about 512 threads a SM saturate it */
    const double in_flight = blocks * threads / (512.0 * arch->sms);
    const double l2 = m->bytes < arch->l2_mb * 0.5e6 ? arch->l2_gbs : arch->dram_gbs;
    const double mem = m->bytes / (l2 * 1e3 * m->mem_efficiency * (in_flight < 1 ? in_flight : 1));
    const double math = m->tflops > 0 ? m->flops / (m->tflops * 1e6 * m->math_efficiency * busy) : 0;
    const double launch = arch->pdl ? 1.0 : 2.0;
    return launch + (mem > math ? mem : math) + waves * m->latency_us;
}

/* ---- requires ---------------------------------------------------------------------------------------------------- */

static tn_known fixed(int64_t v) {
    return (tn_known){v, v, v, v < 0 ? -v : v};
}

static bool lookup(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const char *name, tn_known *out) {
    for (uint32_t k = 0; k < p->n; ++k) {
        const tn_const_def *d = &p->c[k];
        if (strcmp(d->name, name) != 0) continue;
        *out = fixed(d->value);
        if (d->dim.i) {
            tn_dim_bounds(s->g, d->dim, &out->lo, &out->hi);
            out->divisor = tn_dim_divisor(s->g, d->dim);
        }
        return true;
    }
    if (!strcmp(name, "CLUSTERS"))
        *out = fixed(arch->clusters);
    else if (!strcmp(name, "SMS"))
        *out = fixed(arch->sms);
    else if (!strcmp(name, "SMEM_MAX"))
        *out = fixed(arch->smem_block);
    else
        return false;
    return true;
}

/* What a template's requires may name: knobs, which differ between candidates, and then what does not. */
typedef struct scope {
    const tn_spec *s;
    const tn_template *t;
    tn_known names[TN_MAX_KNOBS + TN_REQUIRE_NAMES];
    uint64_t up_to[TN_MAX_KNOBS]; /* by knob: requires that name it or one before it, as bits */
    uint64_t open;                /* those not known to hold for the knobs as they are */
} scope;

static tn_status open_scope(const tn_spec *s, const tn_arch *arch, const tn_template *t, const tn_problem *p,
                            scope *out) {
    *out = (scope){.s = s, .t = t};
    for (uint32_t k = 0; k < t->n_requires; ++k) {
        out->open |= UINT64_C(1) << k;
        for (uint32_t j = t->requires_[k].first_knob; j < t->n_knobs; ++j) out->up_to[j] |= UINT64_C(1) << k;
    }
    for (uint32_t k = 0; k < t->n_names; ++k)
        if (!lookup(s, arch, p, t->names[k], &out->names[t->n_knobs + k]))
            return tn_fail(tn_graph_env(s->g), TN_E_INTERNAL, t->name, "", "a require names %s, which is unknown",
                           t->names[k]);
    return TN_OK;
}

/* *skip: where not satisfied, a knob before which no knob can change that. */
static tn_status satisfied(scope *c, const int64_t *knob, bool *ok, uint32_t *skip) {
    *ok = true;
    for (uint32_t k = 0; k < c->t->n_knobs; ++k) c->names[k] = fixed(knob[k]);
    for (uint32_t k = 0; k < c->t->n_requires && *ok; ++k) {
        if (!(c->open >> k & 1)) continue;
        const tn_requirement *r = &c->t->requires_[k];
        const char *error = tn_require(r, c->names, ok);
        if (error)
            return tn_fail(tn_graph_env(c->s->g), TN_E_INTERNAL, c->t->name, "", "require %s: %s", r->text, error);
        if (*ok)
            c->open &= ~(UINT64_C(1) << k);
        else
            *skip = r->first_knob;
    }
    return TN_OK;
}

/* ---- candidates -------------------------------------------------------------------------------------------------- */

struct tn_choices {
    tn_spec own; /* the spec in a view of its graph, where bindings make dims */
    const tn_spec *s, *of;
    const tn_arch *arch;
    tn_problem problem[N_BINDINGS];
    tn_choice *c;
    size_t n, cap;
    size_t want; /* the first ones, which were selected */
};

static bool push(tn_choices *l, const tn_choice *c) {
    tn_choice *p = tn_grow(tn_graph_env(l->s->g), l->c, &l->cap, l->n + 1, sizeof *p);
    if (!p) return false;
    l->c = p;
    l->c[l->n++] = *c;
    return true;
}

static int by_cost(const void *a, const void *b) {
    const tn_choice *x = a, *y = b;
    if (x->cost_us != y->cost_us) return x->cost_us < y->cost_us ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

static size_t count_template(const tn_choice *c, size_t n, const tn_template *t) {
    size_t count = 0;
    for (size_t k = 0; k < n; ++k) count += c[k].tpl == t;
    return count;
}

/* The model errs more between templates than within one: of the first `want` places, up to half go to the best
 * candidates of templates that would otherwise be left out. */
static void spread(tn_choices *l, size_t want) {
    for (size_t k = want; k < l->n; ++k) {
        if (count_template(l->c, want, l->c[k].tpl)) continue;
        size_t place = want; /* the last one whose template keeps another */
        while (place > (want + 1) / 2 && count_template(l->c, want, l->c[place - 1].tpl) < 2) --place;
        if (place <= (want + 1) / 2) break;
        const tn_choice lost = l->c[place - 1];
        l->c[place - 1] = l->c[k];
        l->c[k] = lost;
    }
    qsort(l->c, want, sizeof *l->c, by_cost);
}

/* Every knob assignment of one template, as a mixed-radix counter; a require that fails skips all assignments that
 * differ only in knobs before the ones it names. */
static tn_status assignments(tn_choices *l, uint32_t binding) {
    const tn_spec *s = l->s;
    const tn_binding_ops *b = bindings[binding];
    const tn_problem *p = &l->problem[binding];
    const tn_template *t = s->plugin ? tn_plugin_template(s->plugin) : tn_template_find(b->name);
    if (!t && s->plugin) return TN_E_MEMORY;
    if (!t)
        return tn_fail(tn_graph_env(s->g), TN_E_INTERNAL, b->name, "",
                       "templates.def names a template that is not in templates/");
    uint32_t at[TN_MAX_KNOBS] = {0};
    scope sc;
    tn_status st = open_scope(s, l->arch, t, p, &sc);
    while (st == TN_OK) {
        tn_choice c = {.tpl = t, .binding = binding, .order = (uint32_t)l->n};
        for (uint32_t k = 0; k < t->n_knobs; ++k) c.knob[k] = t->knobs[k].values[at[k]];
        bool ok;
        uint32_t k = 0;
        st = satisfied(&sc, c.knob, &ok, &k);
        if (st != TN_OK) return st;
        if (ok) {
            c.cost_us = b->cost(s, l->arch, p, c.knob);
            if (isnan(c.cost_us)) c.cost_us = 0; /* 0 / 0: there is nothing to do */
            if (isfinite(c.cost_us) && !push(l, &c)) return TN_E_MEMORY;
        }
        for (uint32_t j = 0; j < k && j < t->n_knobs; ++j) at[j] = 0;
        while (k < t->n_knobs && ++at[k] == t->knobs[k].n) at[k++] = 0;
        if (k >= t->n_knobs) return TN_OK;
        sc.open |= sc.up_to[k];
    }
    return st;
}

/* Enumerating and generating adds nothing to the graph: it happens in a view. */
static bool enter(const tn_spec *s, tn_spec *own) {
    *own = *s;
    own->g = tn_graph_view(s->g);
    return own->g != NULL;
}

tn_status tn_variant_take(tn_graph *g, const tn_graph *view, tn_variant *v) {
    for (int k = 0; k < 3; ++k) v->grid[k] = tn_dim_take(g, view, v->grid[k]);
    for (uint32_t k = 0; k < v->n_args; ++k) v->args[k].dim = tn_dim_take(g, view, v->args[k].dim);
    for (uint32_t k = 0; k < v->n_maps; ++k) {
        tn_map *m = &v->maps[k];
        m->offset = tn_dim_take(g, view, m->offset);
        for (uint32_t i = 0; i < TN_MAP_RANK; ++i) {
            m->dims[i] = tn_dim_take(g, view, m->dims[i]);
            m->strides[i] = tn_dim_take(g, view, m->strides[i]);
        }
    }
    return tn_graph_status(g);
}

static tn_status emit(const tn_spec *s, const tn_spec *of, const tn_arch *arch, const tn_binding_ops *b,
                      const tn_template *t, const tn_problem *p, const int64_t *knob, double cost, tn_variant *v) {
    *v = (tn_variant){.tpl = t, .cost_us = cost};
    memcpy(v->knob, knob, t->n_knobs * sizeof *knob);
    tn_status st = b->emit(s, arch, p, v);
    if (st == TN_OK) st = tn_graph_status(s->g);
    if (st == TN_OK) st = tn_variant_take(of->g, s->g, v);
    if (st != TN_OK) tn_variant_free(tn_graph_env(s->g), v);
    return st;
}

static void where_of(const tn_spec *s, char *buf, size_t size) {
    tn_loc_print(s->g, tn_node_loc(s->g, s->kernel), buf, size);
}

/* Assignments of one template that differ in one knob only are usually about as fast as each other, unless it is a switch. */
static bool alike(const tn_choice *a, const tn_choice *b) {
    uint32_t differ = 0;
    for (uint32_t k = 0; a->tpl == b->tpl && k < a->tpl->n_knobs; ++k)
        if (a->knob[k] != b->knob[k]) differ += a->tpl->knobs[k].is_switch ? 2 : 1;
    return a->tpl == b->tpl && differ < 2;
}

/* Moves `cap` candidates of the sorted list to its front, in order: the cheapest of those that are unlike each other,
 * then the cheapest of the rest. */
static void select_diverse(tn_choices *l, size_t cap) {
    size_t n = 0;
    for (size_t k = 0; k < l->n && n < cap; ++k) {
        bool fresh = true;
        for (size_t j = 0; j < n && fresh; ++j) fresh = !alike(&l->c[j], &l->c[k]);
        if (!fresh) continue;
        const tn_choice c = l->c[k];
        memmove(&l->c[n + 1], &l->c[n], (k - n) * sizeof c);
        l->c[n++] = c;
    }
    if (n < cap) n = cap;
    qsort(l->c, n < l->n ? n : l->n, sizeof *l->c, by_cost);
}

void tn_choices_free(tn_choices *l) {
    if (!l) return;
    const tn_env *env = tn_graph_env(l->of->g);
    tn_graph_free(l->own.g);
    tn_free(env, l->c, l->cap * sizeof *l->c);
    tn_free(env, l, sizeof *l);
}

size_t tn_choices_count(const tn_choices *l) {
    return l->want;
}

const tn_choice *tn_choices_at(const tn_choices *l, size_t k) {
    return &l->c[k];
}

void tn_choices_select(tn_choices *l, size_t cap) {
    if (l->n) qsort(l->c, l->n, sizeof *l->c, by_cost);
    if (cap && cap < l->n) select_diverse(l, cap);
    l->want = cap && cap < l->n ? cap : l->n;
    if (l->want < l->n) spread(l, l->want);
}

void tn_choices_trim(tn_choices *l) {
    enum { SPARE = 8 }; /* where some cannot be generated */
    const tn_env *env = tn_graph_env(l->s->g);
    const size_t n = l->n < l->want + SPARE ? l->n : l->want + SPARE;
    tn_choice *c = n ? tn_realloc(env, l->c, l->cap * sizeof *c, n * sizeof *c) : NULL;
    if (!c) return;
    l->c = c;
    l->n = l->cap = n;
}

uint64_t tn_choices_hash(const tn_choices *l) {
    uint64_t h = l->want;
    for (size_t k = 0; k < l->want; ++k) {
        const tn_choice *c = &l->c[k];
        h = XXH3_64bits_withSeed(c->knob, c->tpl->n_knobs * sizeof *c->knob, h + c->binding);
    }
    return h;
}

/* A plugin's kernel is the plugin's alone. */
static bool is_for(const tn_binding_ops *b, const tn_spec *s) {
    return (b == &tn_bind_plugin) == (s->plugin != NULL);
}

static tn_status no_choice(const tn_choices *l) {
    const tn_plugin *p = l->s->plugin;
    char where[128];
    where_of(l->s, where, sizeof where);
    if (!p)
        return tn_fail(tn_graph_env(l->s->g), TN_E_INTERNAL, where, "report this model",
                       "no template can compute kernel %s", l->s->name);
    return tn_fail(tn_graph_env(l->s->g), TN_E_UNSUPPORTED, where, "give its knobs other values",
                   "plugin %s (%s): a block of %s has 1 to 1024 threads and at most %d bytes of shared memory; with no "
                   "value of its knobs that is so",
                   p->name, p->source, l->arch->name, l->arch->smem_block);
}

static tn_status fill(tn_choices *l, const tn_template *only, size_t cap) {
    tn_status st = TN_OK;
    for (uint32_t k = 0; k < N_BINDINGS && st == TN_OK; ++k) {
        if ((only && strcmp(bindings[k]->name, only->name) != 0) || !is_for(bindings[k], l->s)) continue;
        if (bindings[k]->accepts(l->s, l->arch, &l->problem[k])) st = assignments(l, k);
    }
    if (st == TN_OK) st = tn_graph_status(l->s->g); /* accepts() makes dims: out of memory is not "cannot compute" */
    if (st == TN_OK && !l->n && !only) st = no_choice(l);
    tn_choices_select(l, cap);
    return st;
}

tn_status tn_choices_new(const tn_spec *s, const tn_arch *arch, const tn_template *only, size_t cap, tn_choices **out) {
    tn_choices *l = tn_alloc(tn_graph_env(s->g), sizeof *l);
    *out = NULL;
    if (!l) return TN_E_MEMORY;
    l->of = s;
    l->s = &l->own;
    l->arch = arch;
    const tn_status st = enter(s, &l->own) ? fill(l, only, cap) : TN_E_MEMORY;
    if (st == TN_OK)
        *out = l;
    else
        tn_choices_free(l);
    return st;
}

tn_status tn_choice_make(const tn_choices *l, size_t k, tn_variant *out) {
    const tn_choice *c = &l->c[k];
    return emit(l->s, l->of, l->arch, bindings[c->binding], c->tpl, &l->problem[c->binding], c->knob, c->cost_us, out);
}

tn_status tn_choices_make(const tn_choices *l, tn_variant **out, size_t *n) {
    const tn_env *env = tn_graph_env(l->s->g);
    *out = NULL;
    *n = 0;
    if (!l->n) return TN_OK;
    tn_variant *v = tn_alloc(env, l->want * sizeof *v);
    tn_status st = v ? TN_OK : TN_E_MEMORY;
    size_t made = 0;
    for (size_t k = 0; st == TN_OK && k < l->n && made < l->want; ++k) {
        const tn_status one = tn_choice_make(l, k, &v[made]);
        if (one == TN_OK)
            ++made;
        else if (one == TN_E_MEMORY)
            st = one; /* any other failure was reported and costs one candidate */
    }
    if (st == TN_OK && !made) {
        char where[128];
        where_of(l->s, where, sizeof where);
        st = tn_fail(env, TN_E_INTERNAL, where, "report this model", "no variant of kernel %s could be generated",
                     l->s->name);
    }
    tn_variant *fit = st == TN_OK ? tn_realloc(env, v, l->want * sizeof *v, made * sizeof *v) : NULL;
    if (fit) {
        *out = fit;
        *n = made;
        return TN_OK;
    }
    if (st == TN_OK) st = TN_E_MEMORY;
    for (size_t k = 0; v && k < made; ++k) tn_variant_free(env, &v[k]);
    tn_free(env, v, l->want * sizeof *v);
    return st;
}

tn_status tn_enumerate(const tn_spec *s, const tn_arch *arch, const tn_template *only, size_t cap, tn_variant **out,
                       size_t *n) {
    tn_choices *l;
    tn_status st = tn_choices_new(s, arch, only, cap, &l);
    *out = NULL;
    *n = 0;
    if (st == TN_OK) st = tn_choices_make(l, out, n);
    tn_choices_free(l);
    return st;
}

/* "BLOCK=256 VEC=8" (an optional template name in front is skipped): every knob must be given a value that it has. */
static bool parse_knobs(const tn_template *t, const char *text, int64_t *knob) {
    uint32_t seen = 0;
    for (const char *p = text; *p;) {
        while (*p == ' ') ++p;
        const size_t len = strcspn(p, "= ");
        if (p[len] == '=') {
            char *end;
            const int64_t v = strtoll(p + len + 1, &end, 10);
            bool found = false;
            for (uint32_t k = 0; k < t->n_knobs; ++k) {
                if (strlen(t->knobs[k].name) != len || strncmp(t->knobs[k].name, p, len)) continue;
                for (uint32_t j = 0; j < t->knobs[k].n; ++j) found |= t->knobs[k].values[j] == v;
                knob[k] = v;
                seen |= 1u << k;
            }
            if (!found) return false;
            p = end;
        } else
            p += len;
        if (*p && *p != ' ') return false;
    }
    return seen == (1u << t->n_knobs) - 1;
}

tn_status tn_variant_make(const tn_spec *s, const tn_arch *arch, const char *tpl, const char *knobs, tn_variant *out) {
    const tn_env *env = tn_graph_env(s->g);
    const tn_template *t = s->plugin ? tn_plugin_template(s->plugin) : tn_template_find(tpl);
    const tn_binding_ops *b = s->plugin ? &tn_bind_plugin : NULL;
    int64_t knob[TN_MAX_KNOBS] = {0};
    char where[128];
    where_of(s, where, sizeof where);
    *out = (tn_variant){0};
    for (size_t k = 0; k < N_BINDINGS; ++k)
        if (!strcmp(bindings[k]->name, tpl)) b = bindings[k];
    if (!t || !b) return tn_fail(env, TN_E_ARGUMENT, where, "", "there is no template %s", tpl);
    if (!parse_knobs(t, knobs, knob))
        return tn_fail(env, TN_E_ARGUMENT, where, "", "template %s has no variant \"%s\"", tpl, knobs);
    tn_spec own;
    tn_problem *p = tn_alloc(env, sizeof *p);
    if (!p || !enter(s, &own)) {
        tn_free(env, p, sizeof *p);
        return TN_E_MEMORY;
    }
    tn_status st = TN_OK;
    bool ok = b->accepts(&own, arch, p);
    scope sc;
    uint32_t skip = 0;
    if (ok) st = open_scope(&own, arch, t, p, &sc);
    if (ok && st == TN_OK) st = satisfied(&sc, knob, &ok, &skip);
    if (st == TN_OK && !ok)
        st = tn_fail(env, TN_E_ARGUMENT, where, "", "template %s %s does not fit kernel %s", tpl, knobs, s->name);
    if (st == TN_OK) st = emit(&own, s, arch, b, t, p, knob, b->cost(&own, arch, p, knob), out);
    tn_graph_free(own.g);
    tn_free(env, p, sizeof *p);
    return st;
}
