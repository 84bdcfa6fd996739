/* plan_build.c: the winners of a compilation as a plan: kernels, steps, weights, IR. */
#include <stdio.h>
#include <string.h>

#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

#include "codegen/compile.h"
#include "tenon/internal/memory.h"

static uint32_t graph_bucket(tn_compilation *c, size_t bucket) {
    const size_t n = tn_sym_count(c->g);
    tn_dim *syms = tn_manifest_alloc(c->mf, (n + 1) * sizeof *syms);
    tn_size_range *r = tn_manifest_alloc(c->mf, (n + 1) * sizeof *r);
    for (size_t k = 0; syms && r && k < n; k++) {
        syms[k] = tn_sym_at(c->g, k);
        r[k] = tn_bucket_range(c->g, bucket, syms[k]);
    }
    return syms && r ? tn_manifest_bucket(c->mf, n, syms, r) : 0;
}

/* What launch policies and winners in the whole network are found by: what runs, in which order, on how many streams. */
static void hash_program(const tn_compilation *c, char out[33]) {
    XXH3_state_t h;
    XXH3_INITSTATE(&h);
    XXH3_128bits_reset(&h);
    XXH3_128bits_update(&h, &c->program->n_streams, sizeof c->program->n_streams);
    for (size_t k = 0; k < c->n_nodes; k++)
        XXH3_128bits_update(&h, c->nodes[k].spec->hash, sizeof c->nodes[k].spec->hash);
    for (size_t b = 0; b < c->n_settled; b++) {
        char sizes[400];
        tn_bucket_print(c->g, b, sizes, sizeof sizes);
        XXH3_128bits_update(&h, sizes, strlen(sizes) + 1);
    }
    const XXH128_hash_t d = XXH3_128bits_digest(&h);
    snprintf(out, 33, "%016llx%016llx", (unsigned long long)d.high64, (unsigned long long)d.low64);
}

tn_status tn_plan_begin(tn_compilation *c, size_t n_archs) {
    tn_plan__plan__init(&c->plan);
    c->mf = tn_manifest_new(c->g, &c->mem);
    c->writer = tn_plan_writer_new(c->env);
    if (!c->mf || !c->writer) return TN_E_MEMORY;
    c->plan.archs = tn_manifest_alloc(c->mf, (n_archs + 1) * sizeof *c->plan.archs);
    for (size_t b = 0; b < tn_bucket_count(c->g); b++)
        if (graph_bucket(c, b) == c->n_settled) c->n_settled++;
    hash_program(c, c->program_hash);
    return tn_manifest_status(c->mf);
}

/* ---- kernels and steps ---- */

TnPlan__Kernel *tn_plan_kernel(tn_compilation *c, const tn_candidate *x) {
    TnPlan__Kernel *k = tn_manifest_alloc(c->mf, sizeof *k);
    if (!k) return NULL;
    tn_plan__kernel__init(k);
    k->name = tn_manifest_str(c->mf, x->v.symbol);
    k->template_name = tn_manifest_str(c->mf, x->v.tpl->name);
    const char *knobs = strchr(x->text, ' ');
    k->knobs = tn_manifest_str(c->mf, knobs ? knobs + 1 : "");
    k->n_block = 3;
    k->block = tn_manifest_alloc(c->mf, 3 * sizeof *k->block);
    if (k->block) memcpy(k->block, x->v.block, 3 * sizeof *k->block);
    if (x->v.cluster[0]) {
        k->n_cluster = 3;
        k->cluster = tn_manifest_alloc(c->mf, 3 * sizeof *k->cluster);
        if (k->cluster) memcpy(k->cluster, x->v.cluster, 3 * sizeof *k->cluster);
    }
    k->together = x->v.together;
    k->smem = x->v.smem;
    k->registers = x->bin.registers;
    k->static_smem = x->bin.static_smem;
    k->local_bytes = x->bin.local_bytes;
    return k;
}

static void add_candidates(tn_compilation *c, const tn_work *w, TnPlan__Step *s) {
    s->candidates = tn_manifest_alloc(c->mf, (w->n + 1) * sizeof *s->candidates);
    for (size_t k = 0; s->candidates && k < w->n; k++) {
        TnPlan__Candidate *p = tn_manifest_alloc(c->mf, sizeof *p);
        if (!p) return;
        tn_plan__candidate__init(p);
        p->text = tn_manifest_str(c->mf, w->c[k].text);
        p->note = tn_manifest_str(c->mf, w->c[k].note);
        p->us = w->c[k].us;
        p->predicted_us = w->c[k].predicted_us;
        s->candidates[s->n_candidates++] = p;
    }
}

/* A place or dim of the case's graph, as the plan has it. */
static TnPlan__Arg *make_arg(tn_compilation *c, const tn_size_case *x, tn_node node, tn_arg a, const tn_packing *how) {
    if (a.kind == TN_ARG_DIM) a.dim = tn_case_dim(x, c->g, a.dim);
    return tn_manifest_arg(c->mf, node, &a, how);
}

static TnPlan__Arg *make_map(tn_compilation *c, const tn_size_case *x, tn_map m) {
    m.offset = tn_case_dim(x, c->g, m.offset);
    for (uint32_t k = 0; k < m.box.rank; k++) {
        m.dims[k] = tn_case_dim(x, c->g, m.dims[k]);
        if (k) m.strides[k] = tn_case_dim(x, c->g, m.strides[k]);
    }
    return tn_manifest_map(c->mf, &m);
}

static void add_lt(tn_compilation *c, const tn_size_case *kase, tn_node node, const tn_candidate *x, tn_lt_call call,
                   TnPlan__Step *s) {
    const tn_arg args[] = {call.a, call.b, call.c, call.d, call.bias};
    tn_dim *const dims[] = {&call.m,   &call.n,   &call.k,        &call.batch,    &call.lda,      &call.ldb,
                            &call.ldc, &call.ldd, &call.stride_a, &call.stride_b, &call.stride_c, &call.stride_d};
    for (size_t k = 0; k < sizeof dims / sizeof *dims; k++) *dims[k] = tn_case_dim(kase, c->g, *dims[k]);
    size_t n = call.has_bias ? 5 : 4;
    s->what_case = TN_PLAN__STEP__WHAT_LT;
    s->lt = tn_manifest_lt(c->mf, &call);
    s->args = tn_manifest_alloc(c->mf, n * sizeof *s->args);
    if (!s->lt || !s->args) return;
    s->lt->workspace = x->lt_workspace;
    s->lt->algo_text = tn_manifest_str(c->mf, x->text);
    s->lt->algo.len = x->algo_size;
    s->lt->algo.data = tn_manifest_alloc(c->mf, x->algo_size + 1);
    if (s->lt->algo.data) memcpy(s->lt->algo.data, x->algo, x->algo_size);
    for (; s->n_args < n; s->n_args++) s->args[s->n_args] = make_arg(c, kase, node, args[s->n_args], NULL);
}

static void add_launch(tn_compilation *c, const tn_size_case *kase, tn_node node, const tn_variant *v, uint32_t kernel,
                       TnPlan__Step *s) {
    s->what_case = TN_PLAN__STEP__WHAT_KERNEL;
    s->kernel = kernel;
    s->args = tn_manifest_alloc(c->mf, (v->n_args + 1) * sizeof *s->args);
    s->grid = tn_manifest_alloc(c->mf, 3 * sizeof *s->grid);
    if (!s->args || !s->grid) return;
    for (; s->n_args < v->n_args; s->n_args++) {
        const tn_arg *a = &v->args[s->n_args];
        s->args[s->n_args] = a->kind == TN_ARG_MAP ? make_map(c, kase, v->maps[a->index])
                                                   : make_arg(c, kase, node, *a, tn_variant_packing(v, a));
    }
    s->per_sm = v->per_sm;
    for (; s->n_grid < 3; s->n_grid++)
        s->grid[s->n_grid] = tn_manifest_dim(c->mf, tn_dim_most(c->g, tn_case_dim(kase, c->g, v->grid[s->n_grid])));
    if (!v->wide) s->reach = tn_manifest_reach(c->mf, node);
}

/* The launch of a node whose spec equals another's: the same kernel with this node's own dims. */
static tn_status own_variant(const tn_compilation *c, const tn_spec *spec, const tn_candidate *x, tn_variant *own) {
    const char *knobs = strchr(x->text, ' ');
    return tn_variant_make(spec, c->arch, x->v.tpl->name, knobs ? knobs + 1 : "", own);
}

/* One architecture while it is written. */
typedef struct arch_writer {
    tn_compilation *c;
    TnPlan__Arch *arch;
    uint32_t *kernel_of; /* by work: the kernel of its winner, plus 1; 0: it is not there yet */
    uint32_t *step_of;   /* by node */
} arch_writer;

static uint32_t kernel_of(arch_writer *a, const tn_work *w) {
    uint32_t *k = &a->kernel_of[w - a->c->works];
    if (*k) return *k - 1;
    const tn_candidate *x = &w->c[w->winner];
    TnPlan__Kernel *made = tn_plan_kernel(a->c, x);
    if (!made) return 0;
    made->cubin = tn_plan_add_copy(a->c->writer, x->bin.cubin, x->bin.size, TN_BLOB_PAGE);
    made->source = tn_plan_add_copy(a->c->writer, x->source, x->source_size, TN_BLOB_ALIGN);
    a->arch->kernels[a->arch->n_kernels++] = made;
    *k = (uint32_t)a->arch->n_kernels;
    return *k - 1;
}

/* Whether a work's dims are those of a node in a case: equal specs of the same symbols have the same. */
static bool has_dims_of(const tn_compilation *c, const tn_work *w, size_t node, size_t kase) {
    const tn_spec *own = tn_spec_of_work(c, kase * c->n_nodes + node);
    return own->g == w->spec->g && own->typical.n == w->spec->typical.n &&
           !memcmp(own->sym, w->spec->sym, own->typical.n * sizeof *own->sym);
}

tn_status tn_plan_set_way(tn_compilation *c, size_t node, tn_way way, const tn_candidate *x, uint32_t kernel,
                          TnPlan__Step *s) {
    const tn_work *w = way.work;
    const tn_size_case *kase = &c->cases[way.kase];
    const tn_spec *own_spec = tn_spec_of_work(c, way.kase * c->n_nodes + node);
    const tn_spec spec = kase->kind == TN_CASE_ANY ? tn_spec_at(own_spec, kase->bucket) : *own_spec;
    const bool own_dims = has_dims_of(c, w, node, way.kase);
    const tn_node n = c->nodes[node].node;
    if (x->is_lt) {
        tn_lt_call own = x->lt;
        if (!own_dims && !tn_lt_match(&spec, &own)) return TN_E_INTERNAL;
        add_lt(c, kase, n, x, own, s);
    } else if (own_dims) {
        add_launch(c, kase, n, &x->v, kernel, s);
    } else {
        tn_variant own = {0};
        tn_status st = own_variant(c, &spec, x, &own);
        if (st != TN_OK) return st;
        add_launch(c, kase, n, &own, kernel, s);
        tn_variant_free(c->env, &own);
    }
    s->flops = spec.flops;
    s->bytes = spec.bytes;
    s->us = x->us;
    s->max_abs_error = x->max_abs;
    s->max_rel_error = x->max_rel;
    add_candidates(c, w, s);
    return tn_manifest_status(c->mf);
}

/* ... what runs, its arguments and sizes: the winner. */
static tn_status set_way(arch_writer *a, size_t node, tn_way way, TnPlan__Step *s) {
    const tn_candidate *x = &way.work->c[way.work->winner];
    return tn_plan_set_way(a->c, node, way, x, x->is_lt ? 0 : kernel_of(a, way.work), s);
}

/* Some tensor begins at a larger multiple than it does at all sizes. */
static bool is_aligned_more(const tn_spec *own, const tn_spec *at_all) {
    bool more = false;
    for (uint32_t k = 0; k < own->n_in; k++) more |= own->in[k].align > at_all->in[k].align;
    for (uint32_t k = 0; k < own->n_out; k++) more |= own->out[k].align > at_all->out[k].align;
    return more;
}

static bool mentions(const tn_spec *s, tn_dim sym) {
    for (size_t k = 0; k < s->typical.n; k++)
        if (s->sym[k].i == sym.i) return true;
    return false;
}

/* The guard of a node's kernel: of a special case what is said of the symbols that the kernel knows.  A step of decoding, where the
 * cache has another length each time, so keeps its products. */
static uint32_t case_bucket(tn_compilation *c, size_t node, size_t kase) {
    const tn_size_case *x = &c->cases[kase];
    if (x->kind == TN_CASE_ANY) return graph_bucket(c, x->bucket);
    const tn_spec *at_all = c->nodes[node].spec, *own = tn_spec_of_work(c, kase * c->n_nodes + node);
    const bool all = is_aligned_more(own, at_all);
    tn_dim *syms = tn_manifest_alloc(c->mf, (x->n_sizes + 1) * sizeof *syms);
    tn_size_range *r = tn_manifest_alloc(c->mf, (x->n_sizes + 1) * sizeof *r);
    uint32_t n = 0;
    for (uint32_t k = 0; syms && r && k < x->n_sizes; k++)
        if (all || mentions(at_all, x->sizes[k].sym)) syms[n] = x->sizes[k].sym, r[n++] = x->sizes[k].in;
    return syms && r ? tn_manifest_bucket(c->mf, n, syms, r) : 0;
}

/* A way of some sizes only, as an alternative of s. */
static tn_status add_alternative(arch_writer *a, size_t node, tn_way way, TnPlan__Step *s) {
    TnPlan__Step *x = tn_manifest_alloc(a->c->mf, sizeof *x);
    if (!x) return TN_E_MEMORY;
    tn_plan__step__init(x);
    x->bucket = case_bucket(a->c, node, way.kase);
    s->alternatives[s->n_alternatives++] = (uint32_t)a->arch->n_alternatives;
    a->arch->alternatives[a->arch->n_alternatives++] = x;
    return set_way(a, node, way, x);
}

static tn_status add_step(arch_writer *a, size_t node) {
    tn_compilation *c = a->c;
    const tn_compiled_node *cn = &c->nodes[node];
    tn_way ways[TN_MAX_BUCKETS];
    char name[96];
    const size_t n = tn_ways(c, node, ways);
    TnPlan__Step *s = tn_manifest_step(c->mf, cn->spec, cn->node);
    if (!s) return TN_E_MEMORY;
    snprintf(name, sizeof name, "%u:%s", cn->step, cn->spec->name);
    s->name = tn_manifest_str(c->mf, name);
    const tn_candidate *last = &ways[n - 1].work->c[ways[n - 1].work->winner];
    tn_manifest_order(c->mf, c->program, &c->program->steps[cn->step], last->is_lt ? NULL : &last->v, s);
    a->step_of[node] = (uint32_t)a->arch->n_steps;
    a->arch->steps[a->arch->n_steps++] = s;
    s->alternatives = tn_manifest_alloc(c->mf, n * sizeof *s->alternatives);
    if (!s->alternatives) return TN_E_MEMORY;
    tn_status st = set_way(a, node, ways[n - 1], s);
    for (size_t k = 0; st == TN_OK && k + 1 < n; k++) st = add_alternative(a, node, ways[k], s);
    return st;
}

static tn_status add_builtin(arch_writer *a, uint32_t step) {
    TnPlan__Step *s = tn_manifest_builtin(a->c->mf, a->c->program, step);
    if (s) a->arch->steps[a->arch->n_steps++] = s;
    return s ? TN_OK : TN_E_MEMORY;
}

static TnPlan__Arch *new_arch(tn_compilation *c) {
    const tn_tuner_info *info = c->tuner ? tn_tuner_get_info(c->tuner) : NULL;
    TnPlan__Arch *a = tn_manifest_alloc(c->mf, sizeof *a);
    if (!a) return NULL;
    tn_plan__arch__init(a);
    a->name = tn_manifest_str(c->mf, c->arch->name);
    a->nvrtc = tn_manifest_str(c->mf, c->nvrtc_text);
    a->tuned_on = tn_manifest_str(c->mf, c->tuning ? info->gpu : "");
    a->driver = tn_manifest_str(c->mf, c->tuning ? info->driver : "");
    a->cublaslt = tn_manifest_str(c->mf, c->tuning ? info->cublaslt : "");
    a->kernels = tn_manifest_alloc(c->mf, (c->n_works + 1) * sizeof *a->kernels);
    a->steps = tn_manifest_alloc(c->mf, (c->program->n_steps + 1) * sizeof *a->steps);
    a->alternatives = tn_manifest_alloc(c->mf, (c->n_works + 1) * sizeof *a->alternatives);
    tn_manifest_buffers(c->mf, c->program, a);
    return a;
}

tn_status tn_plan_add_arch(tn_compilation *c) {
    const size_t size = (c->n_works + c->n_nodes + 1) * sizeof(uint32_t);
    arch_writer a = {.c = c, .arch = new_arch(c), .kernel_of = tn_alloc(c->env, size)};
    tn_status s = a.arch && a.kernel_of ? tn_manifest_status(c->mf) : TN_E_MEMORY;
    if (s == TN_OK) a.step_of = a.kernel_of + c->n_works;
    for (uint32_t k = 0, node = 0; s == TN_OK && k < c->program->n_steps; k++)
        s = c->program->steps[k].kind == TN_STEP_LAUNCH ? add_step(&a, node++) : add_builtin(&a, k);
    if (s == TN_OK && c->tuning) s = tn_list_rivals(c, a.arch, a.step_of);
    tn_free(c->env, a.kernel_of, size);
    if (!a.arch) return s;
    c->plan.archs[c->plan.n_archs++] = a.arch;
    if (c->tuning) c->tuned = a.arch;
    return s;
}

static void add_meta(tn_compilation *c) {
    size_t n = tn_graph_meta_count(c->g);
    c->plan.meta = tn_manifest_alloc(c->mf, (n + 1) * sizeof *c->plan.meta);
    for (size_t k = 0; c->plan.meta && k < n; k++) {
        const char *key, *value;
        TnPlan__Plan__MetaEntry *e = tn_manifest_alloc(c->mf, sizeof *e);
        if (!e) return;
        tn_plan__plan__meta_entry__init(e);
        tn_graph_meta(c->g, k, &key, &value);
        e->key = tn_manifest_str(c->mf, key);
        e->value = tn_manifest_str(c->mf, value);
        c->plan.meta[c->plan.n_meta++] = e;
    }
}

tn_status tn_plan_end(tn_compilation *c) {
    const tn_const_at *consts;
    tn_status s = tn_plan_add_weights(c, &consts);
    if (s != TN_OK) return s;
    add_meta(c);
    tn_manifest_aliases(c->mf, c->program, &c->plan);
    c->plan.tenon_version = tn_manifest_str(c->mf, TENON_VERSION);
    c->plan.model = tn_manifest_str(c->mf, tn_graph_name(c->g));
    c->plan.precision = tn_manifest_str(c->mf, c->precision);
    c->plan.options = tn_manifest_str(c->mf, c->options_text);
    return tn_manifest_finish(c->mf, consts, &c->plan);
}
