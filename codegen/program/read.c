/* read.c: the program of one architecture of a plan. */
#include "codegen/program/manifest.h"
#include "runtime/plan/plan.h"

#include <stdio.h>
#include <string.h>

typedef struct reader {
    tn_program *p;
    const TnPlan__Plan *pb;
    const TnPlan__Arch *arch;
    tn_dim *dims; /* by index in the plan */
    uint32_t first[TN_BUFFER_KINDS];
} reader;

static tn_dim bytes_of(const reader *r, const TnPlan__Tensor *t) {
    tn_graph *g = r->p->g;
    tn_dim n = tn_dim_const(g, 1);
    for (size_t k = 0; k < t->n_dims; k++) n = tn_dim_mul(g, n, r->dims[t->n_most ? t->most[k] : t->dims[k]]);
    return tn_bytes_of(g, (tn_dtype)t->dtype, n);
}

static void add_buffers(reader *r) {
    tn_program *p = r->p;
    const TnPlan__Plan *pb = r->pb;
    for (uint32_t k = 0; k < pb->n_inputs; k++)
        tn_program_add_buffer(p, TN_BUFFER_INPUT, k, pb->inputs[k]->name, bytes_of(r, pb->inputs[k]));
    r->first[TN_BUFFER_OUTPUT] = p->n_buffers;
    for (uint32_t k = 0; k < pb->n_outputs; k++)
        tn_program_add_buffer(p, TN_BUFFER_OUTPUT, k, pb->outputs[k]->name, bytes_of(r, pb->outputs[k]));
    r->first[TN_BUFFER_CONST] = p->n_buffers;
    for (uint32_t k = 0; k < pb->n_consts; k++) {
        const uint32_t b = tn_program_add_buffer(p, TN_BUFFER_CONST, k, pb->consts[k]->name,
                                                 tn_dim_const(p->g, (int64_t)pb->consts[k]->size));
        if (b < p->n_buffers) p->buffers[b].packing = tn_const_packing(pb->consts[k]);
    }
    r->first[TN_BUFFER_SCRATCH] = p->n_buffers;
    for (uint32_t k = 0; k < r->arch->n_buffers; k++) {
        const uint32_t b = tn_program_add_buffer(p, TN_BUFFER_SCRATCH, k, "", r->dims[r->arch->buffers[k]->bytes]);
        if (b < p->n_buffers) p->buffers[b].at = r->dims[r->arch->buffers[k]->offset];
    }
}

static tn_extent extent(const reader *r, const TnPlan__Extent *e) {
    const tn_buffer_kind kind = e->space == TN_PLAN__PLACE__SPACE__INPUT    ? TN_BUFFER_INPUT
                                : e->space == TN_PLAN__PLACE__SPACE__OUTPUT ? TN_BUFFER_OUTPUT
                                : e->space == TN_PLAN__PLACE__SPACE__CONST  ? TN_BUFFER_CONST
                                                                            : TN_BUFFER_SCRATCH;
    tn_extent out = {r->first[kind] + e->index, r->dims[e->offset], r->dims[e->bytes], {0}, {0}};
    if (tn_dim_equal_const(r->p->g, r->dims[e->pitch], 0)) return out;
    out.run = r->dims[e->run];
    out.pitch = r->dims[e->pitch];
    return out;
}

static void read_extents(const reader *r, TnPlan__Extent *const *e, uint32_t n, tn_extent *out) {
    for (uint32_t k = 0; k < n; k++) out[k] = extent(r, e[k]);
}

static void share_buffers(const reader *r) {
    tn_program *p = r->p;
    for (size_t k = 0; k < r->pb->n_aliases; k++) {
        const TnPlan__Alias *a = r->pb->aliases[k];
        const uint32_t output = r->first[TN_BUFFER_OUTPUT] + a->output;
        if (output >= p->n_buffers) return;
        p->buffers[a->input].bytes = p->buffers[output].bytes = r->dims[a->bytes];
        p->buffers[output].kept = extent(r, a->kept);
    }
}

static bool reads_const(const TnPlan__Step *step, uint32_t index) {
    for (size_t k = 0; k < step->n_reads; k++)
        if (step->reads[k]->space == TN_PLAN__PLACE__SPACE__CONST && step->reads[k]->index == index) return true;
    return false;
}

/* What the way is given that the step does not read. */
static void find_from(const reader *r, const TnPlan__Step *step, const TnPlan__Step *way, tn_prog_way *out) {
    for (size_t k = 0; k < way->n_args && out->n_from < TN_MAX_FROM; k++) {
        const TnPlan__Arg *a = way->args[k];
        if (a->kind != TN_PLAN__ARG__KIND__PLACE || a->place->space != TN_PLAN__PLACE__SPACE__CONST) continue;
        if (!reads_const(step, a->place->index)) out->from[out->n_from++] = r->first[TN_BUFFER_CONST] + a->place->index;
    }
}

static tn_prog_way way_of(const reader *r, const TnPlan__Step *step, const TnPlan__Step *m, uint32_t bucket) {
    char text[300];
    tn_prog_way out = {.bucket = bucket};
    if (step != m) find_from(r, step, m, &out);
    if (m->what_case == TN_PLAN__STEP__WHAT_LT) {
        out.text = tn_intern(r->p->g, m->lt->algo_text);
        return out;
    }
    const TnPlan__Kernel *k = r->arch->kernels[m->kernel];
    snprintf(text, sizeof text, "%s%s%s", k->template_name, *k->knobs ? " " : "", k->knobs);
    out.text = tn_intern(r->p->g, text);
    return out;
}

static bool add_ways(const reader *r, const TnPlan__Step *m, tn_prog_step *s) {
    s->ways = tn_graph_alloc(r->p->g, tn_step_ways(m) * sizeof *s->ways);
    for (size_t k = 1; s->ways && k < tn_step_ways(m); k++) {
        const TnPlan__Step *way = tn_step_way(r->arch, m, k);
        s->ways[s->n_ways++] = way_of(r, m, way, way->bucket);
    }
    if (s->ways) s->ways[s->n_ways++] = way_of(r, m, m, TN_MAX_BUCKETS);
    return s->ways != NULL;
}

static void add_buckets(const reader *r) {
    for (size_t k = 0; k < r->pb->n_buckets && k < TN_MAX_BUCKETS; k++)
        for (size_t i = 0; i < r->pb->buckets[k]->n_ranges; i++) {
            const TnPlan__Bucket__Range *x = r->pb->buckets[k]->ranges[i];
            tn_bucket_set_range(r->p->g, k, r->dims[x->symbol], (tn_size_range){x->lo, x->hi, x->typical, x->divisor});
        }
}

static tn_step_kind kind_of(const TnPlan__Step *m) {
    static const tn_step_kind builtins[] = {[TN_PLAN__BUILTIN__KIND__COPY] = TN_STEP_COPY,
                                            [TN_PLAN__BUILTIN__KIND__FILL] = TN_STEP_FILL,
                                            [TN_PLAN__BUILTIN__KIND__IF] = TN_STEP_IF,
                                            [TN_PLAN__BUILTIN__KIND__WHILE] = TN_STEP_WHILE};
    if (m->what_case == TN_PLAN__STEP__WHAT_BUILTIN) return builtins[m->builtin->kind];
    return m->what_case == TN_PLAN__STEP__WHAT_LT ? TN_STEP_LT : TN_STEP_LAUNCH;
}

/* A region of its own for the conditions of a body. */
static tn_region needs_of(const reader *r, size_t n, const uint32_t *conditions) {
    tn_graph *g = r->p->g;
    const tn_region in = n ? tn_region_new(g) : (tn_region){0};
    for (size_t k = 0; in.i && k < n; k++) {
        const TnPlan__Condition *c = r->pb->conditions[conditions[k]];
        tn_graph_require(g, (tn_condition){.rel = (tn_rel)c->rel,
                                           .a = r->dims[c->a],
                                           .b = r->dims[c->b],
                                           .what = c->what,
                                           .of_a = c->of_a,
                                           .of_b = c->of_b,
                                           .loc = tn_program_layers(r->p, c->n_layers, (const char *const *)c->layers),
                                           .in = in});
    }
    return in;
}

static bool add_step(reader *r, const TnPlan__Step *m) {
    const tn_step_kind kind = kind_of(m);
    tn_prog_step *s = tn_program_add_step(r->p, kind, m->name, (uint32_t)m->n_reads, (uint32_t)m->n_writes,
                                          (uint32_t)m->n_in_place / 2, (uint32_t)m->n_layers);
    if (!s) return false;
    read_extents(r, m->reads, s->n_reads, s->reads);
    read_extents(r, m->writes, s->n_writes, s->writes);
    for (uint32_t k = 0; k < s->n_in_place; k++)
        s->in_place[k] = (tn_in_place){m->in_place[2 * k], m->in_place[2 * k + 1]};
    for (uint32_t k = 0; k < s->n_layers; k++) s->layers[k] = tn_intern(r->p->g, m->layers[k]);
    s->after = tn_graph_alloc(r->p->g, (m->n_after + 1) * sizeof *s->after);
    if (!s->after) return false;
    if (m->n_after) memcpy(s->after, m->after, m->n_after * sizeof *s->after);
    s->n_after = (uint32_t)m->n_after;
    s->stream = m->stream;
    s->us = m->us;
    if (kind <= TN_STEP_LT) return add_ways(r, m, s);
    s->body[0] = m->builtin->first;
    s->body[1] = m->builtin->second;
    s->needs[0] = needs_of(r, m->builtin->n_first_needs, m->builtin->first_needs);
    s->needs[1] = needs_of(r, m->builtin->n_second_needs, m->builtin->second_needs);
    if (m->builtin->sizes) s->sizes = r->dims[m->builtin->sizes];
    s->word = m->builtin->word;
    return true;
}

static bool read_all(reader *r) {
    bool ok = true;
    tn_dims_of_plan(r->p->g, r->pb, r->dims);
    add_buckets(r);
    add_buffers(r);
    share_buffers(r);
    for (size_t k = 0; ok && k < r->arch->n_steps; k++) ok = add_step(r, r->arch->steps[k]);
    r->p->arena = r->dims[r->pb->arena_size];
    r->p->n_streams = r->arch->streams ? r->arch->streams : 1;
    return ok && tn_graph_status(r->p->g) == TN_OK;
}

tn_status tn_program_read(const tn_env *env, const TnPlan__Plan *pb, const TnPlan__Arch *arch, tn_program **out) {
    tn_graph *g = tn_graph_new(env);
    reader r = {.p = g ? tn_program_new(g, pb->model) : NULL, .pb = pb, .arch = arch};
    r.dims = g ? tn_graph_alloc(g, (pb->n_dims + 1) * sizeof *r.dims) : NULL;
    const bool ok = r.p && r.dims && read_all(&r);
    tn_status st = ok ? tn_program_check(r.p) : g ? tn_graph_status(g) : TN_E_MEMORY;
    if (!ok && st == TN_OK) st = TN_E_MEMORY;
    if (st == TN_OK)
        *out = r.p;
    else
        tn_graph_free(g);
    if (st == TN_E_MEMORY) tn_fail(env, st, "", "", "out of memory");
    return st;
}
