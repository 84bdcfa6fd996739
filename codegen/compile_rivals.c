/* compile_rivals.c: candidates that lost alone and win in the whole network.
 *
 * A kernel alone finds its weights cold, its inputs warm and the SMs its own; in a network what overlaps with what decides.
 * So of the works that make up most of an inference, the runners-up are put into the plan that is loaded to be timed, beside
 * what won: each in all places where that runs.  What makes the whole faster is kept, by the program as launch policies are,
 * so that a build from records has it too. */
#include <stdio.h>
#include <string.h>

#include "codegen/compile.h"
#include "tenon/internal/memory.h"

enum { WORKS = 6, OF_A_WORK = 2, ROUNDS = 3, LEAST = 32 };
static const double HEAVY = 0.8;                     /* the share of an inference that is looked at */
static const double NEAR = 1.1, OTHER_KIND = 1.3;    /* times alone that are worth a trial */
static const double FASTER = 0.995, SURELY = 0.9975; /* of the whole's time: at first, and once more */
static const double TURN = 0.005;                    /* seconds, but at least LEAST inferences */
static const double BUDGET_US = 0.5e6;               /* for a bucket's trials: the heaviest come first */

/* ---- which ------------------------------------------------------------------------------------------------------- */

/* A node in the sizes of a bucket: which of its ways runs, for which work. */
typedef struct site {
    tn_way way;
    bool of_step; /* the last */
    uint32_t from;
    bool shared; /* it runs in another bucket's sizes too */
} site;

static size_t active(const tn_compilation *c, const tn_way *ways, size_t n, size_t bucket) {
    size_t k = 0;
    while (k + 1 < n && c->cases[ways[k].kase].bucket != bucket) k++;
    return k;
}

static site site_of(const tn_compilation *c, const TnPlan__Arch *arch, const uint32_t *step_of, size_t node,
                    size_t bucket) {
    tn_way ways[TN_MAX_BUCKETS];
    const size_t n = tn_ways(c, node, ways), k = active(c, ways, n, bucket);
    const TnPlan__Step *step = arch->steps[step_of[node]];
    site s = {.way = {tn_work_in(c, node, ways[k].kase), ways[k].kase}, .of_step = k + 1 == n, .from = step_of[node]};
    if (!s.of_step) s.from = step->alternatives[k];
    for (size_t b = 0; b < c->n_buckets; b++) s.shared |= b != bucket && active(c, ways, n, b) == k;
    return s;
}

/* They read the same copies of weights: a copy for a trial would stay in the plan. */
static bool same_copies(const tn_candidate *a, const tn_candidate *b) {
    bool same = a->v.n_packed == b->v.n_packed;
    for (uint32_t k = 0; same && k < a->v.n_packed; k++)
        same = a->v.packed[k].in == b->v.packed[k].in && tn_packing_equal(&a->v.packed[k].how, &b->v.packed[k].how);
    return same;
}

/* The best that is no winner: of the winner's kind, or of the other. */
static tn_candidate *runner_up(const tn_work *w, bool same_kind) {
    const tn_candidate *won = &w->c[w->winner];
    tn_candidate *best = NULL;
    for (size_t k = 0; k < w->n; k++) {
        tn_candidate *x = &w->c[k];
        const bool ready = x->us > 0 && (!x->out || x->slow) && (x->is_lt || (x->bin.cubin && x->source));
        if (x == won || !ready || !same_copies(x, won) || (x->is_lt == won->is_lt) != same_kind) continue;
        if (x->us <= (same_kind ? NEAR : OTHER_KIND) * won->us && (!best || x->us < best->us)) best = x;
    }
    return best;
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

static char *take_text(tn_compilation *c, char *text, size_t size) {
    char *p = tn_manifest_str(c->mf, text);
    tn_free(c->env, text, size);
    return p;
}

static tn_status make_records(tn_compilation *c, const tn_work *w, size_t k, tn_rival *r) {
    tn_work would = *w;
    tn_candidate alone = w->c[k];
    const tn_work winner = {.c = &alone, .n = 1, .chosen = true};
    char key[17], *text;
    size_t size;
    would.winner = k;
    alone.us = 0; /* times vary between runs */
    tn_winner_key(w->spec, key);
    r->key = tn_manifest_str(c->mf, key);
    tn_status s = tn_record_write(c->env, &would, c->versions, &text, &size);
    if (s == TN_OK) r->record = take_text(c, text, size);
    if (s == TN_OK) s = tn_record_write(c->env, &winner, c->versions, &text, &size);
    if (s == TN_OK) r->line = take_text(c, text, size);
    if (r->line) r->line[strcspn(r->line, "\n")] = 0;
    return s;
}

static void *copy(tn_compilation *c, const void *data, size_t size) {
    void *p = tn_manifest_alloc(c->mf, size + 1);
    if (p) memcpy(p, data, size);
    return p;
}

/* In all places of the work. */
static tn_status make_ways(tn_compilation *c, TnPlan__Arch *arch, const uint32_t *step_of, const tn_work *w,
                           const tn_candidate *x, tn_rival *r) {
    tn_status s = TN_OK;
    r->swaps = tn_manifest_alloc(c->mf, (c->n_nodes + 1) * sizeof *r->swaps);
    r->ways = tn_manifest_alloc(c->mf, (c->n_nodes + 1) * sizeof *r->ways);
    if (!r->swaps || !r->ways) return TN_E_MEMORY;
    for (size_t node = 0; s == TN_OK && node < c->n_nodes; node++) {
        const site at = site_of(c, arch, step_of, node, r->bucket);
        if (at.way.work != w) continue;
        TnPlan__Step *way = tn_manifest_alloc(c->mf, sizeof *way);
        if (!way) return TN_E_MEMORY;
        tn_plan__step__init(way);
        way->bucket = at.of_step ? 0 : arch->alternatives[at.from]->bucket;
        s = tn_plan_set_way(c, node, at.way, x, 0, way);
        r->swaps[r->n] = (tn_swap){.of_step = at.of_step, .from = at.from};
        r->ways[r->n++] = way;
    }
    return s;
}

static tn_status make_rival(tn_compilation *c, TnPlan__Arch *arch, const uint32_t *step_of, size_t bucket, tn_work *w,
                            tn_candidate *x) {
    tn_rival *r = tn_grow(c->env, c->rivals, &c->cap_rivals, c->n_rivals + 1, sizeof *r);
    tn_candidate *won = &w->c[w->winner];
    char note[TN_CANDIDATE_TEXT], former[TN_CANDIDATE_TEXT];
    if (!r) return TN_E_MEMORY;
    c->rivals = r;
    r += c->n_rivals++;
    *r = (tn_rival){.bucket = bucket, .work = (size_t)(w - c->works)};
    r->text = tn_manifest_str(c->mf, x->text);
    r->former = tn_manifest_str(c->mf, won->text);
    memcpy(note, x->note, sizeof note);
    memcpy(former, won->note, sizeof former);
    snprintf(x->note, sizeof x->note, TN_NOTE_SWAPPED);
    snprintf(won->note, sizeof won->note, TN_NOTE_FASTEST);
    tn_status s = make_ways(c, arch, step_of, w, x, r);
    if (s == TN_OK) s = make_records(c, w, (size_t)(x - w->c), r);
    memcpy(x->note, note, sizeof note);
    memcpy(won->note, former, sizeof former);
    if (s == TN_OK && !x->is_lt) {
        r->kernel = tn_plan_kernel(c, x);
        r->cubin = copy(c, x->bin.cubin, r->cubin_size = x->bin.size);
        r->source = copy(c, x->source, r->source_size = x->source_size);
    }
    return s == TN_OK ? tn_manifest_status(c->mf) : s;
}

/* By work: what it takes in the bucket's sizes, and whether it can be swapped there alone. */
static double weigh(const tn_compilation *c, const TnPlan__Arch *arch, const uint32_t *step_of, size_t bucket,
                    double *us, bool *shared) {
    double total = 0;
    for (size_t node = 0; node < c->n_nodes; node++) {
        const site at = site_of(c, arch, step_of, node, bucket);
        const size_t k = (size_t)(at.way.work - c->works);
        const double t = at.way.work->c[at.way.work->winner].us;
        us[k] += t;
        total += t;
        shared[k] |= at.shared;
    }
    return total;
}

static tn_status list_bucket(tn_compilation *c, TnPlan__Arch *arch, const uint32_t *step_of, size_t bucket, double *us,
                             bool *shared) {
    memset(us, 0, (c->n_works + 1) * sizeof *us);
    memset(shared, 0, (c->n_works + 1) * sizeof *shared);
    const double total = weigh(c, arch, step_of, bucket, us, shared);
    tn_status s = TN_OK;
    double seen = 0;
    for (size_t n = 0; s == TN_OK && n < WORKS && seen < HEAVY * total; n++) {
        size_t k = 0;
        for (size_t j = 1; j < c->n_works; j++)
            if (us[j] > us[k]) k = j;
        tn_work *w = &c->works[k];
        seen += us[k];
        if (us[k] <= 0) break;
        us[k] = 0;
        for (int kind = 0; s == TN_OK && !shared[k] && !w->from_cache && kind < OF_A_WORK; kind++) {
            tn_candidate *x = runner_up(w, kind == 0);
            if (x) s = make_rival(c, arch, step_of, bucket, w, x);
        }
    }
    return s;
}

tn_status tn_list_rivals(tn_compilation *c, TnPlan__Arch *arch, const uint32_t *step_of) {
    double *us = tn_alloc(c->env, (c->n_works + 1) * sizeof *us);
    bool *shared = tn_alloc(c->env, (c->n_works + 1) * sizeof *shared);
    tn_status s = us && shared ? TN_OK : TN_E_MEMORY;
    const size_t n = c->n_settled ? c->n_settled : 1;
    /* where two buckets are one, nobody can tell whose sizes a policy is for */
    for (size_t b = 0; s == TN_OK && n == c->n_buckets && b < n; b++) s = list_bucket(c, arch, step_of, b, us, shared);
    tn_free(c->env, us, (c->n_works + 1) * sizeof *us);
    tn_free(c->env, shared, (c->n_works + 1) * sizeof *shared);
    return s;
}

/* ---- in the plan ------------------------------------------------------------------------------------------------- */

static void *longer(tn_compilation *c, void *list, size_t n, size_t more) {
    void **p = tn_manifest_alloc(c->mf, (n + more + 1) * sizeof *p);
    if (p && n) memcpy(p, list, n * sizeof *p);
    return p;
}

/* Its kernel, with blobs of its own, at the end of the architecture's. */
static void add_kernel(tn_compilation *c, tn_rival *r) {
    TnPlan__Arch *a = c->tuned;
    if (!r->kernel) return;
    r->kernel->cubin = tn_plan_add_copy(c->writer, r->cubin, r->cubin_size, TN_BLOB_PAGE);
    r->kernel->source = tn_plan_add_copy(c->writer, r->source, r->source_size, TN_BLOB_ALIGN);
    for (size_t k = 0; k < r->n; k++) r->ways[k]->kernel = (uint32_t)a->n_kernels;
    a->kernels[a->n_kernels++] = r->kernel;
}

tn_status tn_add_rivals(tn_compilation *c) {
    TnPlan__Arch *a = c->tuned;
    size_t ways = 0;
    c->own_blobs = tn_plan_blob_count(c->writer);
    if (tn_now() > c->settle_by) c->n_rivals = 0;
    for (size_t k = 0; k < c->n_rivals; k++) ways += c->rivals[k].n;
    c->own_kernels = a->n_kernels;
    c->own_alternatives = a->n_alternatives;
    if (!c->n_rivals) return TN_OK;
    a->kernels = longer(c, a->kernels, a->n_kernels, c->n_rivals);
    a->alternatives = longer(c, a->alternatives, a->n_alternatives, ways);
    if (!a->kernels || !a->alternatives) return TN_E_MEMORY;
    for (size_t k = 0; k < c->n_rivals; k++) {
        tn_rival *r = &c->rivals[k];
        add_kernel(c, r);
        for (size_t i = 0; i < r->n; i++) {
            r->swaps[i].to = (uint32_t)a->n_alternatives;
            a->alternatives[a->n_alternatives++] = r->ways[i];
        }
    }
    return TN_OK;
}

/* What runs there from now on; which sizes it is for, its name and its place stay. */
static void take_place(TnPlan__Step *at, const TnPlan__Step *way) {
    at->what_case = way->what_case;
    if (way->what_case == TN_PLAN__STEP__WHAT_LT)
        at->lt = way->lt;
    else
        at->kernel = way->kernel;
    at->n_args = way->n_args;
    at->args = way->args;
    at->n_grid = way->n_grid;
    at->grid = way->grid;
    at->per_sm = way->per_sm;
    at->reach = way->reach;
    at->us = way->us;
    at->max_abs_error = way->max_abs_error;
    at->max_rel_error = way->max_rel_error;
    at->n_candidates = way->n_candidates;
    at->candidates = way->candidates;
}

/* Kernels that nothing runs any more are left out. */
static tn_status drop_unused(tn_compilation *c) {
    TnPlan__Arch *a = c->tuned;
    uint32_t *now = tn_manifest_alloc(c->mf, (a->n_kernels + 1) * sizeof *now); /* new index plus 1; 0: unused */
    uint32_t n = 0;
    if (!now) return TN_E_MEMORY;
    const size_t all = a->n_steps + a->n_alternatives;
    for (size_t k = 0; k < all; k++) {
        const TnPlan__Step *s = k < a->n_steps ? a->steps[k] : a->alternatives[k - a->n_steps];
        if (s->what_case == TN_PLAN__STEP__WHAT_KERNEL) now[s->kernel] = 1;
    }
    for (size_t k = 0; k < a->n_kernels; k++)
        if (now[k]) {
            a->kernels[n] = a->kernels[k];
            now[k] = ++n;
        }
    for (size_t k = 0; k < all; k++) {
        TnPlan__Step *s = k < a->n_steps ? a->steps[k] : a->alternatives[k - a->n_steps];
        if (s->what_case == TN_PLAN__STEP__WHAT_KERNEL) s->kernel = now[s->kernel] - 1;
    }
    a->n_kernels = n;
    return TN_OK;
}

tn_status tn_settle_rivals(tn_compilation *c) {
    TnPlan__Arch *a = c->tuned;
    tn_status s = TN_OK;
    bool any = false;
    if (!c->n_rivals) return TN_OK;
    a->n_kernels = c->own_kernels;
    a->n_alternatives = c->own_alternatives;
    tn_plan_forget_blobs(c->writer, c->own_blobs);
    for (size_t k = 0; s == TN_OK && k < c->n_rivals; k++) {
        tn_rival *r = &c->rivals[k];
        if (!r->kept) continue;
        any = true;
        add_kernel(c, r);
        for (size_t i = 0; i < r->n; i++)
            take_place(r->swaps[i].of_step ? a->steps[r->swaps[i].from] : a->alternatives[r->swaps[i].from],
                       r->ways[i]);
        s = tn_remember_rival(c, r);
    }
    return s == TN_OK && any ? drop_unused(c) : s;
}

/* ---- trials ------------------------------------------------------------------------------------------------------ */

/* The swaps of some rivals together, in the manifest's memory. */
static tn_status join(tn_compilation *c, tn_rival *const *rivals, size_t n, tn_attempt *t) {
    size_t all = 0;
    for (size_t k = 0; k < n; k++) all += rivals[k]->n;
    tn_swap *s = tn_manifest_alloc(c->mf, (all + 1) * sizeof *s);
    t->swaps = s;
    t->n_swaps = 0;
    if (!s) return TN_E_MEMORY;
    for (size_t k = 0; k < n; k++) {
        memcpy(s + t->n_swaps, rivals[k]->swaps, rivals[k]->n * sizeof *s);
        t->n_swaps += rivals[k]->n;
    }
    return TN_OK;
}

static tn_status tell(tn_compilation *c, const tn_rival *r, double us, double former) {
    return tn_report(c->env, TN_NOTE, TN_OK, c->tuned->name,
                     "the whole takes %.1f us with %s at %zu steps, %.1f us with %s, which is faster alone", us,
                     r->text, r->n, former, r->former);
}

/* Those that seem faster, fastest first, one of a work; us is parallel to them and goes along. */
static size_t choose_faster(tn_rival **list, double *us, size_t n, double than) {
    size_t kept = 0;
    for (size_t k = 1; k < n; k++) /* a few: insertion */
        for (size_t j = k; j > 0 && us[j] < us[j - 1]; j--) {
            tn_rival *r = list[j];
            const double t = us[j];
            list[j] = list[j - 1], us[j] = us[j - 1];
            list[j - 1] = r, us[j - 1] = t;
        }
    for (size_t k = 0; k < n && us[k] < FASTER * than; k++) {
        bool twice = false;
        for (size_t j = 0; j < kept; j++) twice |= list[j]->work == list[k]->work;
        if (!twice) list[kept++] = list[k];
    }
    return kept;
}

/* All that seemed faster together, and the best alone, once more beside what was. */
static tn_status confirm(tn_compilation *c, tn_context *x, const TnPlan__Policy *policy, tn_rival **list, size_t n) {
    enum { WAS, BEST, ALL, N };
    tn_attempt t[N] = {{.policy = *policy}, {.policy = *policy}, {.policy = *policy}};
    double us[N];
    tn_status s = join(c, list, 1, &t[BEST]);
    if (s == TN_OK) s = join(c, list, n, &t[ALL]);
    if (s == TN_OK) s = tn_cuda_try(x, t, n > 1 ? N : ALL, ROUNDS, TURN, 1e9, us);
    if (s != TN_OK) return s;
    const bool all = n > 1 && us[ALL] < us[BEST];
    const double now = us[all ? ALL : BEST];
    for (size_t k = 0; s == TN_OK && now < SURELY * us[WAS] && k < (all ? n : 1); k++) {
        list[k]->kept = true;
        s = tell(c, list[k], now, us[WAS]);
    }
    return s;
}

/* A trial that the device refuses disqualifies the rivals, and nothing else. */
static tn_status after_trial(tn_compilation *c, tn_status s) {
    if (s != TN_E_CUDA) return s;
    for (size_t k = 0; k < c->n_rivals; k++) c->rivals[k].kept = false;
    return tn_report(c->env, TN_WARNING, TN_OK, c->tuned->name,
                     "runners-up could not be timed in the whole network: what is fastest alone stays");
}

tn_status tn_try_rivals(tn_compilation *c, tn_context *x, size_t bucket, const TnPlan__Policy *policy,
                        double whole_us) {
    enum { MOST = WORKS * OF_A_WORK };
    tn_rival *list[MOST];
    tn_attempt t[MOST + 1] = {{.policy = *policy}};
    double us[MOST + 1];
    size_t n = 0;
    for (size_t k = 0; k < c->n_rivals && n < MOST; k++) {
        if (c->rivals[k].bucket != bucket || (double)(n + 1) * ROUNDS * LEAST * whole_us > BUDGET_US) continue;
        list[n++] = &c->rivals[k];
        t[n] = (tn_attempt){.policy = *policy, .swaps = c->rivals[k].swaps, .n_swaps = c->rivals[k].n};
    }
    if (!n || tn_now() > c->settle_by) return TN_OK;
    const tn_status s = tn_cuda_try(x, t, n + 1, ROUNDS, TURN, 1e9, us);
    if (s != TN_OK) return after_trial(c, s);
    const size_t faster = choose_faster(list, us + 1, n, us[0]);
    return faster ? after_trial(c, confirm(c, x, policy, list, faster)) : TN_OK;
}
