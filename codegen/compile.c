/* compile.c: tn_compile: passes, placements, specs, candidates, builds, tuning, plan.
 *
 * Candidates come from compile_list.c, builds run on the pool's threads (compile_build.c), and this thread tunes
 * (compile_tune.c) or takes the cost model's choice. */
#include "codegen/compile.h"
#include "codegen/buckets.h"
#include "passes/util.h"

#include <stdio.h>
#include <string.h>

#include "ir/text/output.h"
#include "runtime/cuda/arch.h"
#include "runtime/plan/plan.h"
#include "tenon/internal/arith.h"
#include "tenon/internal/memory.h"

enum { STREAMS = 4 /* that branches may use where nobody says how many */ };

tn_status tn_compile_progress(tn_compilation *c, const char *phase, const char *item, uint64_t done, uint64_t total) {
    double elapsed = tn_now() - c->start;
    double eta = done && total > done ? elapsed / (double)done * (double)(total - done) : -1;
    if (c->deadline > 0 && eta > c->deadline - tn_now()) eta = c->deadline - tn_now();
    tn_progress p = {.phase = phase, .item = item, .done = done, .total = total, .elapsed_s = elapsed, .eta_s = eta};
    if (c->env && c->env->progress && !c->env->progress(c->env->progress_user, &p)) {
        if (!c->cancelled) tn_report(c->env, TN_NOTE, TN_E_CANCELLED, "", "cancelled: nothing was written");
        c->cancelled = true;
    }
    return c->cancelled ? TN_E_CANCELLED : TN_OK;
}

/* ---- specs ---- */

/* A weight that was pruned, but is not 2:4. */
static void report_crowded(const tn_compilation *c, const tn_spec *s) {
    char loc[256], text[400];
    if (!s->sparsity.crowded) return;
    tn_loc_print(c->g, tn_node_loc(c->g, s->kernel), loc, sizeof loc);
    tn_sparsity_text(s->sparsity.name, s->sparsity.groups, s->sparsity.crowded, text, sizeof text);
    tn_report(c->env, TN_NOTE, TN_OK, loc, "%s", text);
}

static tn_status add_node(tn_compilation *c, uint32_t step) {
    const tn_node n = c->program->steps[step].node;
    tn_compiled_node *p = tn_grow(c->env, c->nodes, &c->cap_nodes, c->n_nodes + 1, sizeof *p);
    if (!p) return TN_E_MEMORY;
    c->nodes = p;
    c->nodes[c->n_nodes] = (tn_compiled_node){.node = n, .step = step};
    const tn_status s = tn_spec_make(c->g, n, &c->mem, &c->nodes[c->n_nodes].spec);
    if (s == TN_OK) report_crowded(c, c->nodes[c->n_nodes].spec);
    c->n_nodes++;
    return s;
}

tn_spec *tn_spec_of_work(const tn_compilation *c, size_t k) {
    return k < tn_first_special(c) ? c->nodes[k % c->n_nodes].spec : c->special[k - tn_first_special(c)];
}

static tn_shape shape_of_work(const tn_compilation *c, size_t k) {
    const tn_spec *s = tn_spec_of_work(c, k);
    return k < tn_first_special(c) ? tn_spec_shape(s, k / c->n_nodes) : s->typical;
}

static bool same_work(const tn_compilation *c, size_t a, size_t b) {
    const tn_spec *x = tn_spec_of_work(c, a), *y = tn_spec_of_work(c, b);
    if (memcmp(x->hash, y->hash, sizeof x->hash) != 0) return false;
    const tn_shape p = shape_of_work(c, a), q = shape_of_work(c, b);
    return p.n == q.n && tn_same_shape(&p, &q);
}

/* Fills c->same of the first n works with the help of a hash table of these, by index + 1. */
static tn_status find_same(tn_compilation *c, size_t n) {
    size_t size = 16;
    while (size < 2 * n) size *= 2;
    size_t *table = tn_alloc(c->env, size * sizeof *table);
    if (!table) return TN_E_MEMORY;
    for (size_t k = 0; k < n; k++) {
        size_t at = tn_spec_of_work(c, k)->hash[0] & (size - 1);
        while (table[at] && !same_work(c, table[at] - 1, k)) at = (at + 1) & (size - 1);
        if (!table[at]) table[at] = k + 1;
        c->same[k] = table[at] - 1;
    }
    tn_free(c->env, table, size * sizeof *table);
    return TN_OK;
}

/* Of a node whose spec equals another's with the same symbols: their specs are equal in a case too, unless what is known
 * there of where values lie differs. */
static bool lie_alike(const tn_compilation *c, const tn_size_case *x, size_t a, size_t b) {
    const tn_spec *p = c->nodes[a].spec, *q = c->nodes[b].spec;
    if (p->typical.n != q->typical.n || memcmp(p->sym, q->sym, p->typical.n * sizeof *p->sym) != 0) return false;
    const tn_node m = c->nodes[a].node, n = c->nodes[b].node;
    for (uint32_t k = 0; k < p->n_in + p->n_out; k++) {
        const tn_val v = k < p->n_in ? tn_node_input(c->g, m, k) : tn_node_result(c->g, m, k - p->n_in);
        const tn_val w = k < p->n_in ? tn_node_input(c->g, n, k) : tn_node_result(c->g, n, k - p->n_in);
        if (v.i >= x->mem.n || w.i >= x->mem.n || x->mem.of[v.i].align != x->mem.of[w.i].align) return false;
    }
    return true;
}

/* Not in a branch that the case's sizes do not choose. */
static bool is_in(const tn_compilation *c, const tn_size_case *x, size_t node) {
    return tn_node_op(x->g, c->nodes[node].node) == TN_OP_KERNEL;
}

/* Most layers are like another one: in a case, too, they share its spec. */
static tn_status make_special(tn_compilation *c, size_t k) {
    const tn_size_case *x = &c->cases[c->n_buckets + k / c->n_nodes];
    const size_t node = k % c->n_nodes, first = c->same[node];
    if (!is_in(c, x, node)) {
        c->special[k] = c->nodes[node].spec;
        return TN_OK;
    }
    if (first != node && is_in(c, x, first) && lie_alike(c, x, first, node)) {
        c->special[k] = c->special[k - node + first];
        return TN_OK;
    }
    const tn_status s = tn_spec_make(x->g, c->nodes[node].node, &x->mem, &c->special[k]);
    if (s == TN_OK) c->special[k]->one_of_many = true;
    return s;
}

/* special[k] is not another node's. */
static bool owns_special(const tn_compilation *c, size_t k) {
    const size_t node = k % c->n_nodes, first = c->same[node];
    if (c->special[k] == c->nodes[node].spec) return false;
    return first == node || c->special[k] != c->special[k - node + first];
}

static tn_status make_works(tn_compilation *c) {
    c->n_buckets = tn_bucket_count(c->g) ? tn_bucket_count(c->g) : 1;
    c->n_works = c->n_cases * c->n_nodes;
    const size_t n_special = c->n_works - tn_first_special(c);
    c->sets = tn_alloc(c->env, (c->n_nodes + 1) * sizeof *c->sets);
    c->works = tn_alloc(c->env, (c->n_works + 1) * sizeof *c->works);
    c->same = tn_alloc(c->env, (c->n_works + 1) * sizeof *c->same);
    c->special = tn_alloc(c->env, (n_special + 1) * sizeof *c->special);
    tn_status s = c->works && c->same && c->special && c->sets ? TN_OK : TN_E_MEMORY;
    if (s == TN_OK) s = find_same(c, c->n_nodes);
    for (size_t k = 0; s == TN_OK && k < n_special; k++) s = make_special(c, k);
    return s == TN_OK ? find_same(c, c->n_works) : s;
}

static tn_status make_specs(tn_compilation *c) {
    tn_status s = TN_OK;
    for (uint32_t k = 0; s == TN_OK && k < c->program->n_steps; k++)
        if (c->program->steps[k].kind == TN_STEP_LAUNCH) s = add_node(c, k);
    if (s == TN_OK) s = tn_cases_make(c->g, &c->mem, c->pool, &c->cases, &c->n_cases);
    return s == TN_OK ? make_works(c) : s;
}

/* ---- works and cases ---- */

bool tn_is_distinct(const tn_compilation *c, size_t k) {
    return c->same[k] == k;
}

tn_work *tn_work_in(const tn_compilation *c, size_t node, size_t kase) {
    return &c->works[c->same[kase * c->n_nodes + node]];
}

static bool same_winner(const tn_work *a, const tn_work *b) {
    const tn_candidate *x = &a->c[a->winner], *y = &b->c[b->winner];
    if (a == b) return true;
    if (x->is_lt != y->is_lt || strcmp(x->text, y->text) != 0) return false;
    if (x->is_lt) return x->algo_size == y->algo_size && !memcmp(x->algo, y->algo, x->algo_size);
    return x->source_size == y->source_size && !memcmp(x->source, y->source, x->source_size);
}

static bool reads_packed(const tn_candidate *c, const tn_packed_in *x) {
    for (uint32_t k = 0; k < c->v.n_packed; k++)
        if (c->v.packed[k].in == x->in && tn_packing_equal(&c->v.packed[k].how, &x->how)) return true;
    return false;
}

/* Bytes that a reads in an order in which b does not. */
static uint64_t own_bytes(const tn_candidate *a, const tn_candidate *b) {
    uint64_t sum = 0, plain, packed;
    for (uint32_t k = 0; k < a->v.n_packed; k++)
        if (!reads_packed(b, &a->v.packed[k]) && tn_packing_sizes(&a->v.packed[k].how, &plain, &packed)) sum += packed;
    return sum;
}

double tn_copy_worth(const tn_candidate *a, const tn_candidate *b) {
    enum { SMALL = 64 << 10 };
    static const double WORTH = 1.05;
    return own_bytes(a, b) + own_bytes(b, a) > SMALL ? WORTH : 1; /* what b alone has packed, a reads plain */
}

/* A special case has a kernel of its own only where that is faster: measured, or by the cost model where one was not. */
static bool is_worth(const tn_work *w, const tn_work *than) {
    static const double GAIN = 0.97;
    if (!w->chosen || same_winner(w, than)) return false;
    const tn_candidate *x = &w->c[w->winner], *y = &than->c[than->winner];
    const double most = GAIN / tn_copy_worth(x, y);
    if (x->us > 0 && y->us > 0) return tn_winner_us(w) < most * tn_winner_us(than);
    return !x->is_lt && !y->is_lt && x->predicted_us < most * y->predicted_us;
}

static size_t add_way(tn_way *out, size_t n, tn_work *w, size_t kase) {
    size_t k = 0;
    while (k < n && !same_winner(out[k].work, w)) k++;
    out[n] = (tn_way){k < n ? out[k].work : w, (uint32_t)kase};
    return n + 1;
}

/* The special case of a kind and bucket whose kernel is worth it; 0: none. */
static size_t special_case(const tn_compilation *c, size_t node, tn_case_kind kind, size_t bucket) {
    const tn_work *than = tn_work_in(c, node, bucket);
    size_t found = 0;
    for (size_t k = c->n_buckets; k < c->n_cases; k++) {
        if (c->cases[k].bucket != bucket || c->cases[k].kind > kind || !is_worth(tn_work_in(c, node, k), than))
            continue;
        than = tn_work_in(c, node, k);
        found = c->cases[k].kind == kind ? k : 0;
    }
    return found;
}

/* Exact sizes first; then bucket by bucket what is right within it, and what is right everywhere. */
size_t tn_ways(const tn_compilation *c, size_t node, tn_way out[TN_MAX_BUCKETS]) {
    size_t n = 0, k;
    for (size_t b = 0; b < c->n_buckets; b++)
        if ((k = special_case(c, node, TN_CASE_POINT, b)) != 0) n = add_way(out, n, tn_work_in(c, node, k), k);
    for (size_t b = 0; b < c->n_buckets; b++) {
        if ((k = special_case(c, node, TN_CASE_WITHIN, b)) != 0) n = add_way(out, n, tn_work_in(c, node, k), k);
        n = add_way(out, n, tn_work_in(c, node, b), b);
    }
    const tn_way last = out[n - 1];
    while (n > 1 && out[n - 2].work == last.work) n--;
    out[n - 1] = last;
    return n;
}

/* ---- choosing ---- */

static void layers_of(const tn_compilation *c, const tn_work *w, char *buf, size_t size) {
    tn_loc_print(c->g, tn_node_loc(c->g, w->spec->kernel), buf, size);
}

bool tn_choose_first(tn_work *w) {
    for (size_t k = 0; k < w->n && !w->chosen; k++)
        if (!w->c[k].out && !w->c[k].is_lt && w->c[k].bin.cubin) {
            w->winner = k;
            w->chosen = true;
            snprintf(w->c[k].note, sizeof w->c[k].note, "winner by the cost model, not timed");
        }
    return w->chosen;
}

tn_status tn_no_candidate(tn_compilation *c, const tn_work *w) {
    char loc[256];
    const char *why = "no candidate exists";
    for (size_t k = 0; k < w->n; k++)
        if (*w->c[k].note) why = w->c[k].note;
    layers_of(c, w, loc, sizeof loc);
    if (w->spec->plugin)
        return tn_fail(c->env, TN_E_COMPILE, loc, "mend the kernel, or its expansion or tolerance",
                       "the kernel of plugin %s (%s) is refused on %s: %s", w->spec->plugin->name,
                       w->spec->plugin->source, c->arch->name, why);
    return tn_fail(c->env, TN_E_COMPILE, loc, "please report this with the model and `tenon opt MODEL`",
                   "no kernel works for %s on %s (%zu candidates; the last: %s)", w->spec->name, c->arch->name, w->n,
                   why);
}

/* The best predicted candidate that compiles, rank by rank. */
static tn_status choose_by_rank(tn_compilation *c) {
    for (size_t rank = 0;; rank++) {
        bool any = false;
        for (size_t k = 0; k < c->n_works; k++) {
            tn_work *w = &c->works[k];
            if (!tn_is_distinct(c, k) || w->chosen || rank >= w->n) continue;
            tn_status s = tn_start_build(c, w, rank, false);
            if (s != TN_OK) return s;
            any = true;
        }
        tn_status s = tn_wait_jobs(c, NULL);
        if (s != TN_OK) return s;
        for (size_t k = 0; k < c->n_works; k++)
            if (tn_is_distinct(c, k)) tn_choose_first(&c->works[k]);
        if (!any) return TN_OK;
    }
}

static tn_status choose_untuned(tn_compilation *c) {
    tn_status s = choose_by_rank(c);
    bool again = false;
    for (size_t k = 0; s == TN_OK && k < c->n_works; k++) {
        tn_work *w = &c->works[k];
        if (!tn_is_distinct(c, k) || w->chosen || !w->from_cache) continue;
        s = tn_relist_candidates(c, w); /* a lockfile's winner that does not compile */
        again = true;
    }
    if (s == TN_OK && again) s = choose_by_rank(c);
    for (size_t k = 0; s == TN_OK && k < c->n_works; k++)
        if (tn_is_distinct(c, k) && !c->works[k].chosen && !c->works[k].fallback) s = tn_no_candidate(c, &c->works[k]);
    return s;
}

/* ---- one architecture ---- */

static void free_works(tn_compilation *c) {
    for (size_t k = 0; c->works && k < c->n_works; k++) {
        tn_tuning_end(c->works[k].tuning);
        tn_reference_free(c->works[k].reference);
    }
    for (size_t k = 0; c->sets && k < c->n_nodes; k++) { /* their cases know the works' specs */
        tn_case_set_free(c->sets[k]);
        c->sets[k] = NULL;
    }
    for (size_t k = 0; c->works && k < c->n_works; k++) {
        for (size_t j = 0; j < c->works[k].n; j++) tn_candidate_free(c->env, &c->works[k].c[j]);
        tn_free(c->env, c->works[k].c, c->works[k].cap * sizeof *c->works[k].c);
        tn_choices_free(c->works[k].choices);
        if (k >= c->n_nodes && k < tn_first_special(c)) tn_free(c->env, c->works[k].spec, sizeof *c->works[k].spec);
        memset(&c->works[k], 0, sizeof c->works[k]);
    }
}

/* Where the time went. */
static void report_times(const tn_compilation *c) {
    const tn_tuner_info *i = c->tuner ? tn_tuner_get_info(c->tuner) : NULL;
    tn_report(
        c->env, TN_NOTE, TN_OK, c->arch->name,
        "after %.1f s: listing candidates took %.1f s, waiting %.1f s (for %llu builds, %.1f s of all threads, and "
        "references, %.1f s), to the device %.1f s, first runs %.1f s, timing %.1f s",
        tn_now() - c->start, c->candidates_s, c->waiting_s, (unsigned long long)c->built, c->build_s, c->reference_s,
        i ? i->upload_s : 0, i ? i->check_s : 0, i ? i->race_s : 0);
}

/* Of each template the first candidate that does not compile is a warning. */
static void report_failed_builds(const tn_compilation *c) {
    uint64_t warned = 0;
    for (size_t k = 0; k < c->n_works; k++)
        for (size_t j = 0; j < c->works[k].n; j++) {
            const tn_candidate *x = &c->works[k].c[j];
            if (x->bin.status != TN_E_COMPILE) continue;
            char loc[256];
            size_t t = 0;
            while (t + 1 < tn_template_count() && tn_template_at(t) != x->v.tpl) t++;
            const uint64_t bit = UINT64_C(1) << t % 64;
            layers_of(c, &c->works[k], loc, sizeof loc);
            tn_report(c->env, warned & bit ? TN_NOTE : TN_WARNING, TN_E_COMPILE, loc,
                      "%s does not compile for %s and is left out: %s", x->text, c->arch->name, x->bin.error);
            warned |= bit;
        }
}

/* What the assembler says of kernels that go into the plan. */
static void report_advice(const tn_compilation *c) {
    for (size_t k = 0; k < c->n_works; k++) {
        const tn_work *w = &c->works[k];
        if (!w->chosen || !*w->c[w->winner].bin.advice) continue;
        char loc[256];
        layers_of(c, w, loc, sizeof loc);
        tn_report(c->env, TN_WARNING, TN_OK, loc, "kernel %s (%s) may be slow on %s: %s", w->spec->name,
                  w->c[w->winner].text, c->arch->name, w->c[w->winner].bin.advice);
    }
}

/* Without spaces: records.h. */
static void set_versions(tn_compilation *c) {
    const tn_tuner_info *i = c->tuner ? tn_tuner_get_info(c->tuner) : NULL;
    snprintf(c->versions, sizeof c->versions, "tenon=%s-%016llx,nvrtc=%s,cublaslt=%s,driver=%s", TENON_VERSION,
             (unsigned long long)c->templates_hash, c->nvrtc_text, i ? i->cublaslt : "", i ? i->driver : "");
}

static tn_status compile_arch(tn_compilation *c, const tn_arch *arch) {
    c->arch = arch;
    c->tuning = c->tuner && !strcmp(tn_tuner_get_info(c->tuner)->arch, arch->name);
    c->built = c->to_build = c->cases_made = c->cases_begun = 0;
    c->build_s = c->reference_s = c->waiting_s = 0;
    c->deadline = c->tuning ? tn_now() + (c->opts->tune_seconds > 0 ? c->opts->tune_seconds : 60) : 0;
    if (c->tuning) c->settle_by = c->deadline;
    tn_status s = tn_list_works(c);
    if (s == TN_OK) s = c->tuning ? tn_choose_tuned(c) : choose_untuned(c);
    tn_pool_cancel(c->pool);
    tn_pool_wait(c->pool, -1);
    report_failed_builds(c);
    if (s == TN_OK) report_advice(c), report_times(c);
    for (size_t k = 0; s == TN_OK && k < c->n_works; k++)
        if (tn_is_distinct(c, k) && c->works[k].chosen)
            s = tn_lockfile_add(c->lock, arch->name, &c->works[k], c->versions);
    if (s == TN_OK) s = tn_plan_add_arch(c);
    free_works(c);
    return s;
}

/* ---- the whole ---- */

tn_pass_options tn_compile_passes(const tn_compile_options *o) {
    static const tn_dtype compute[] = {
        [TN_FP32] = TN_F32, [TN_PREC_TF32] = TN_F32, [TN_FP16] = TN_F16, [TN_PREC_BF16] = TN_BF16};
    return (tn_pass_options){.compute = compute[o->precision],
                             .tf32 = o->precision == TN_PREC_TF32,
                             .numerics = o->exact ? TN_NUMERICS_EXACT : TN_NUMERICS_RELAXED,
                             .check_ranges = true,
                             .nhwc = true};
}

/* Every symbol at the size that speed is judged at, or as near as it may be: that judges nothing empty.  Where the model
 * has no meaning at these sizes, they say nothing of the program either. */
static tn_status verify_at_typical(tn_compilation *c) {
    const size_t n = tn_sym_count(c->g);
    tn_binding *b = tn_alloc(c->env, (n + 1) * sizeof *b);
    if (!b) return TN_E_MEMORY;
    for (size_t k = 0; k < n; k++) {
        const tn_dim s = tn_sym_at(c->g, k);
        int64_t lo, hi;
        tn_dim_bounds(c->g, s, &lo, &hi);
        b[k] = (tn_binding){tn_dim_name(c->g, s), tn_clamp(tn_dim_typical(c->g, s), lo, hi)};
    }
    const bool legal = tn_conditions_hold_in(c->g, tn_graph_body(c->g), b, n, false);
    tn_status st = legal ? tn_program_verify(c->program, b, n) : TN_OK;
    tn_free(c->env, b, (n + 1) * sizeof *b);
    return st;
}

static tn_status make_program(tn_compilation *c) {
    tn_status s = tn_place_values(c->g, &c->mem);
    if (s == TN_OK) s = tn_graph_collect_all_conditions(c->g); /* what fused kernels assume, too */
    if (s == TN_OK) s = tn_program_of_graph(c->g, &c->mem, &c->program);
    /* Whether several pay is timed on a GPU, or was. */
    const bool timed = c->tuner || c->opts->lockfile;
    const tn_program_options po = {.streams = c->opts->streams ? c->opts->streams : timed ? STREAMS : 1};
    if (s == TN_OK) s = tn_program_run(c->program, NULL, &po);
    if (s == TN_OK) s = verify_at_typical(c);
    if (s != TN_OK) return s;
    tn_program_place(c->program, &c->mem);
    return tn_graph_status(c->g);
}

/* What passes measure is in the cache. */
static void measured_key(const char *key, char *out, size_t size) {
    snprintf(out, size, "tenon=%s %s", TENON_VERSION, key);
}

enum { MEASURED_KEY = 2048 };

static bool get_measured(void *user, const char *key, void **data, size_t *size) {
    const tn_compilation *c = user;
    char full[MEASURED_KEY];
    measured_key(key, full, sizeof full);
    return tn_cache_get(c->cache, "measured", full, data, size);
}

static void put_measured(void *user, const char *key, const void *data, size_t size) {
    const tn_compilation *c = user;
    char full[MEASURED_KEY];
    measured_key(key, full, sizeof full);
    tn_cache_put(c->cache, "measured", full, data, size);
}

static tn_status run_passes(tn_compilation *c) {
    const tn_pass_memo memo = {get_measured, put_measured, c};
    tn_pass_options po = tn_compile_passes(c->opts);
    po.memo = &memo;
    tn_pass_ctx *ctx = tn_pass_ctx_new(c->env, &po);
    tn_status s = ctx ? tn_run_passes(c->g, c->opts->passes, ctx) : TN_E_MEMORY;
    tn_pass_ctx_free(ctx);
    return s == TN_OK ? make_program(c) : s;
}

/* The architecture of that name, or the nearest one whose code runs there. */
static const tn_arch *find_target(const tn_compilation *c, const char *name) {
    const tn_arch *a = tn_arch_find(name);
    if (a) return a;
    a = tn_arch_for(tn_arch_cc(name));
    if (a) {
        tn_report(c->env, TN_NOTE, TN_OK, name, "code for %s serves it", a->name);
        return a;
    }
    char known[128];
    tn_arch_names(known, sizeof known);
    tn_fail(c->env, TN_E_ARGUMENT, name ? name : "", "", "unknown architecture; code can be made for %s", known);
    return NULL;
}

static tn_status find_targets(tn_compilation *c, const tn_arch **out, size_t *n) {
    const tn_compile_options *o = c->opts;
    *n = 0;
    if (o->sources_only && !o->no_gpu)
        return tn_fail(c->env, TN_E_ARGUMENT, "", "set no_gpu", "sources without machine code cannot be tuned");
    if (o->no_gpu && !o->n_targets)
        return tn_fail(c->env, TN_E_ARGUMENT, "", "--target sm_90a, say", "without a GPU the target must be named");
    const bool timed = !o->no_gpu && o->tune_seconds >= 0; /* only then is more of the GPU needed than its name */
    tn_status s = timed ? tn_tuner_open(c->env, o->cuda_device, o->cache_dir, &c->tuner) : TN_OK;
    if (s == TN_OK && !o->n_targets) {
        *n = 1;
        s = tn_arch_of_gpu(c->env, o->cuda_device, &out[0]);
    }
    if (s != TN_OK) return s;
    for (size_t k = 0; k < o->n_targets; k++) {
        const tn_arch *a = find_target(c, o->targets[k]);
        if (!a) return TN_E_ARGUMENT;
        bool is_there = false;
        for (size_t j = 0; j < *n; j++) is_there |= out[j] == a;
        if (!is_there && *n < TN_MAX_TARGETS) out[(*n)++] = a;
    }
    return TN_OK;
}

static tn_status prepare(tn_compilation *c) {
    const tn_compile_options *o = c->opts;
    tn_status s = o->sources_only ? TN_OK : tn_nvrtc_open(c->env, &c->nvrtc);
    if (s != TN_OK) return s;
    if (c->nvrtc) snprintf(c->nvrtc_text, sizeof c->nvrtc_text, "%d.%d", c->nvrtc->major, c->nvrtc->minor);
    c->cache = tn_cache_open(c->env, o->cache_dir);
    c->pool = tn_pool_new(c->env, o->threads);
    if (!c->cache || !c->pool) return TN_E_MEMORY;
    for (size_t k = 0; k < tn_template_count(); k++)
        c->templates_hash = c->templates_hash * 31 + tn_template_at(k)->hash;
    set_versions(c);
    static const char *const precisions[] = {"fp32", "tf32", "fp16", "bf16"};
    snprintf(c->options_text, sizeof c->options_text, "precision=%s%s", precisions[o->precision],
             o->exact ? " exact" : "");
    c->precision = precisions[o->precision];
    return tn_lockfile_open(c->env, o->lockfile, &c->lock);
}

static void finish(tn_compilation *c) {
    if (c->pool) tn_pool_cancel(c->pool), tn_pool_wait(c->pool, -1);
    tn_pool_free(c->pool);
    free_works(c);
    const size_t n_special = c->special ? c->n_works - tn_first_special(c) : 0;
    for (size_t k = 0; c->same && k < n_special; k++)
        if (owns_special(c, k)) tn_spec_free(c->special[k]);
    tn_free(c->env, c->special, (n_special + 1) * sizeof *c->special);
    tn_free(c->env, c->sets, (c->n_nodes + 1) * sizeof *c->sets);
    tn_free(c->env, c->same, (c->n_works + 1) * sizeof *c->same);
    tn_free(c->env, c->works, (c->n_works + 1) * sizeof *c->works);
    tn_cases_free(c->env, c->cases, c->n_cases);
    for (size_t k = 0; k < c->n_nodes; k++) tn_spec_free(c->nodes[k].spec);
    tn_free(c->env, c->nodes, c->cap_nodes * sizeof *c->nodes);
    tn_free(c->env, c->rivals, c->cap_rivals * sizeof *c->rivals);
    tn_manifest_free(c->mf);
    tn_plan_writer_free(c->writer);
    tn_memory_free(c->g, &c->mem);
    tn_lockfile_free(c->lock);
    tn_cache_close(c->cache);
    tn_tuner_close(c->tuner);
    tn_nvrtc_close(c->nvrtc);
    pthread_cond_destroy(&c->built_one);
    pthread_mutex_destroy(&c->mutex);
}

/* Everything up to the plan's messages; the caller writes them out. */
static tn_status compile(tn_compilation *c) {
    const tn_arch *arch[TN_MAX_TARGETS];
    size_t n = 0;
    tn_status s = tn_graph_give_shapes(c->g, c->opts->shapes, c->opts->n_shapes);
    if (s == TN_OK) s = tn_graph_alias(c->g, c->opts->aliases, c->opts->n_aliases);
    if (s == TN_OK && c->opts->caches) s = tn_graph_alias_caches(c->g);
    if (s == TN_OK) s = find_targets(c, arch, &n);
    if (s == TN_OK) s = prepare(c);
    if (s == TN_OK) s = tn_compile_progress(c, "rewrite", "", 0, 0);
    if (s == TN_OK && !c->old) s = tn_choose_buckets(c->g);
    if (s == TN_OK) s = run_passes(c);
    if (s == TN_OK) s = make_specs(c);
    if (s == TN_OK) s = tn_plan_begin(c, n + (c->old ? tn_plan_manifest(c->old)->n_archs : 0));
    for (size_t k = 0; s == TN_OK && k < n; k++) s = compile_arch(c, arch[k]);
    if (s == TN_OK && c->old) s = tn_plan_keep_archs(c);
    if (s == TN_OK) s = tn_plan_end(c);
    for (size_t k = 0; s == TN_OK && k < n; k++) s = tn_recall_policies(c, k);
    if (s == TN_OK && !tn_must_settle(c)) return tn_lockfile_save(c->lock);
    return s == TN_OK ? tn_add_rivals(c) : s;
}

static void begin(tn_compilation *c, tn_graph *g, const tn_compile_options *opts) {
    *c = (tn_compilation){.env = tn_graph_env(g), .g = g, .opts = opts, .start = tn_now()};
    if (c->env) c->job_env = *c->env;
    c->job_env.progress = NULL;
    pthread_mutex_init(&c->mutex, NULL);
    pthread_cond_init(&c->built_one, NULL);
}

/* The plan in memory, settled. */
static tn_status write_memory(tn_compilation *c, void **data, size_t *size) {
    bool changed = false;
    tn_status s = tn_plan_write_memory(c->writer, &c->plan, data, size);
    if (s != TN_OK || !tn_must_settle(c)) return s;
    s = tn_settle(c, NULL, *data, *size, &changed);
    if (s == TN_OK && !changed) return s;
    tn_free(c->env, *data, *size);
    *data = NULL;
    return s == TN_OK ? tn_plan_write_memory(c->writer, &c->plan, data, size) : s;
}

/* What is written to a stream cannot be loaded. */
static tn_status write_stream(tn_compilation *c, FILE *f) {
    void *data;
    size_t size;
    tn_status s = write_memory(c, &data, &size);
    if (s != TN_OK) return s;
    if (fwrite(data, 1, size, f) != size) s = TN_E_IO;
    tn_free(c->env, data, size);
    return s;
}

static tn_status write_file(tn_compilation *c, const tn_output *o) {
    char path[TN_PATH_SIZE];
    bool changed = false;
    tn_status s = tn_plan_write(c->writer, &c->plan, o->f);
    if (s != TN_OK || !tn_must_settle(c)) return s;
    s = tn_settle(c, tn_output_written(o, path), NULL, 0, &changed);
    return s == TN_OK && changed ? tn_plan_rewrite(c->writer, &c->plan, c->own_blobs, o->f) : s;
}

static tn_status write_plan(tn_compilation *c, const char *path) {
    tn_output o;
    tn_status s = tn_output_begin(c->env, path, &o);
    if (s != TN_OK) return s;
    return tn_output_end(&o, o.stream && tn_must_settle(c) ? write_stream(c, o.f) : write_file(c, &o));
}

tn_status tn_compile_again(tn_graph *g, const tn_compile_options *opts, tn_plan *old, const char *path) {
    tn_compilation c;
    begin(&c, g, opts);
    c.old = old;
    tn_status s = compile(&c);
    if (s == TN_OK) s = write_plan(&c, path);
    finish(&c);
    return s;
}

tn_status tn_compile(tn_graph *g, const tn_compile_options *opts, const char *path) {
    return tn_compile_again(g, opts, NULL, path);
}

tn_status tn_compile_memory(tn_graph *g, const tn_compile_options *opts, void **data, size_t *size) {
    tn_compilation c;
    begin(&c, g, opts);
    tn_status s = compile(&c);
    if (s == TN_OK) s = write_memory(&c, data, size);
    finish(&c);
    return s;
}
