/* compile_settle.c: how the chosen kernels are launched, and whether others do better there (compile_rivals.c).
 *
 * What a launch costs depends on its neighbours: whether the next kernel finds room to become resident, whether an SM
 * must divide its memory anew between L1 and shared memory.  Kernels timed alone do not show that, so the plan that was
 * just made is loaded, as its users will load it, and timed whole under each policy, at the typical sizes of each
 * bucket.  On an H200 (2026-11-29, fp16) one carveout for all kernels took 5-10 % off resnet50, mobilenet_v2 and
 * googlenet at batch 1 and added 12 % at batch 32, and branches side by side took googlenet at batch 1 from 149 to 93 us: hence
 * by bucket. */
#include <stdio.h>

#include "codegen/compile.h"
#include "codegen/emit/text.h"
#include "runtime/cuda/policy.h"
#include "runtime/plan/dims.h"
#include "runtime/plan/plan.h"

enum { ROUNDS = 3, CARVEOUT = 1 /* Policy.carveout: percent plus 1 */ };
static const double TURN = 0.01;    /* seconds that a policy is timed for, a round */
static const double WORTH = 0.995;  /* of the time under the driver's choice */
static const double SLOW_US = 5000; /* launches are no matter */

typedef struct choice {
    bool plain, serial;
    uint32_t carveout;
    const char *text;
} choice;

static const choice choices[] = {
    {false, false, 0, "programmatic launches"}, /* what plans do that nobody timed */
    {false, false, CARVEOUT + 0, "programmatic launches, most of the memory as L1"},
    {false, false, CARVEOUT + 25, "programmatic launches, a quarter of the memory shared"},
    {false, false, CARVEOUT + 100, "programmatic launches, all memory shared"},
    {true, false, 0, "plain launches"},
    /* where branches can run side by side */
    {false, true, 0, "programmatic launches, one after the other"},
    {false, true, CARVEOUT + 0, "programmatic launches, one after the other, most of the memory as L1"},
    {false, true, CARVEOUT + 25, "programmatic launches, one after the other, a quarter of the memory shared"},
    {false, true, CARVEOUT + 100, "programmatic launches, one after the other, all memory shared"},
};
enum { N_CHOICES = sizeof choices / sizeof *choices };

/* ---- sizes ------------------------------------------------------------------------------------------------------- */

static int64_t typical(const TnPlan__Plan *pb, uint32_t symbol, const TnPlan__Bucket *b) {
    int64_t lo, hi;
    tn_dims_range(pb->dims[symbol], &lo, &hi);
    for (size_t k = 0; b && k < b->n_ranges; k++)
        if (b->ranges[k]->symbol == symbol && b->ranges[k]->typical) return b->ranges[k]->typical;
    return pb->dims[symbol]->hint ? pb->dims[symbol]->hint : lo > 1 ? lo : 1;
}

/* Gives the inputs their shapes at the typical sizes; *legal: the model's conditions hold there. */
static tn_status set_shapes(const tn_compilation *c, tn_context *x, const TnPlan__Bucket *b, bool *legal) {
    const TnPlan__Plan *pb = &c->plan;
    int64_t *table = tn_alloc(c->env, (pb->n_dims + 1) * sizeof *table), dims[TN_MAX_RANK];
    tn_binding *at = tn_alloc(c->env, (pb->n_dims + 1) * sizeof *at);
    tn_status st = table && at ? TN_OK : TN_E_MEMORY;
    size_t n = 0;
    for (uint32_t k = 0; st == TN_OK && k < pb->n_dims; k++) {
        if (pb->dims[k]->kind != TN_PLAN__DIM__KIND__SYM) continue;
        table[k] = typical(pb, k, b);
        at[n++] = (tn_binding){pb->dims[k]->name, table[k]};
    }
    *legal = st == TN_OK && tn_conditions_hold(c->g, at, n, false);
    if (*legal) st = tn_dims_eval(c->env, pb->n_dims, pb->dims, table);
    for (size_t k = 0; st == TN_OK && *legal && k < pb->n_inputs; k++) {
        const TnPlan__Tensor *t = pb->inputs[k];
        for (size_t i = 0; i < t->n_dims; i++) dims[i] = table[t->dims[i]];
        st = tn_context_set_shape(x, k, (uint32_t)t->n_dims, dims);
    }
    if (at) tn_free(c->env, at, (pb->n_dims + 1) * sizeof *at);
    if (table) tn_free(c->env, table, (pb->n_dims + 1) * sizeof *table);
    return st;
}

/* ---- one bucket -------------------------------------------------------------------------------------------------- */

static size_t best_of(const double *us, size_t n) {
    size_t best = 0;
    for (size_t k = 1; k < n; k++)
        if (us[k] < us[best] && us[k] < WORTH * us[0]) best = k;
    return best;
}

/* The fastest choice at the context's sizes, and what the whole takes then; 0: so long that it is no matter. */
static tn_status choose(tn_compilation *c, tn_context *x, TnPlan__Policy *out, double *whole_us) {
    tn_attempt p[N_CHOICES] = {{.n_swaps = 0}};
    double us[N_CHOICES];
    const bool may_be_serial = c->tuned->streams > 1 && !c->opts->streams; /* else the user wants them side by side */
    size_t n = 0;
    for (size_t k = 0; k < N_CHOICES; k++) { /* the serial ones come last */
        if (choices[k].serial && !may_be_serial) break;
        n++;
        tn_plan__policy__init(&p[k].policy);
        p[k].policy.serial = choices[k].serial;
        p[k].policy.plain = choices[k].plain;
        p[k].policy.carveout = choices[k].carveout;
    }
    tn_status st = tn_cuda_try(x, p, n, ROUNDS, TURN, SLOW_US, us);
    *whole_us = 0;
    if (st != TN_OK || us[0] > SLOW_US) return st;
    const size_t best = best_of(us, n), other = best ? 0 : 1;
    *out = p[best].policy;
    *whole_us = us[best];
    return tn_report(c->env, TN_NOTE, TN_OK, c->tuned->name, "the whole takes %.1f us with %s, %.1f us with %s",
                     us[best], choices[best].text, us[other], choices[other].text);
}

/* A bucket at whose typical sizes the model has no meaning is left to the driver. */
static tn_status settle_bucket(tn_compilation *c, tn_context *x, size_t k, TnPlan__Policy *out) {
    bool legal;
    double whole_us;
    tn_status st = set_shapes(c, x, k < c->n_settled ? c->plan.buckets[k] : NULL, &legal);
    if (st != TN_OK || !legal) return st;
    st = choose(c, x, out, &whole_us);
    return st == TN_OK && whole_us > 0 ? tn_try_rivals(c, x, k, out, whole_us) : st;
}

/* ---- all --------------------------------------------------------------------------------------------------------- */

static TnPlan__Policy **new_policies(tn_compilation *c, size_t n) {
    TnPlan__Policy **p = tn_manifest_alloc(c->mf, n * sizeof *p);
    for (size_t k = 0; p && k < n; k++) {
        p[k] = tn_manifest_alloc(c->mf, sizeof **p);
        if (!p[k]) return NULL;
        tn_plan__policy__init(p[k]);
    }
    return p;
}

/* What nobody timed has its steps one after the other, unless the user says otherwise. */
static tn_status leave_serial(tn_compilation *c, TnPlan__Arch *a) {
    const size_t n = c->n_settled + 1;
    if (a->streams <= 1 || c->opts->streams) return TN_OK;
    a->policies = new_policies(c, n);
    if (!a->policies) return TN_E_MEMORY;
    a->n_policies = n;
    for (size_t k = 0; k < n; k++) a->policies[k]->serial = true;
    return TN_OK;
}

/* All buckets, then the sizes of none: their policy is that of the last, which has the widest range as a rule. */
static tn_status settle_all(tn_compilation *c, tn_context *x, TnPlan__Policy **p, size_t n) {
    tn_status st = TN_OK;
    for (size_t k = 0; st == TN_OK && k < n; k++) {
        if (k && k + 1 == n) {
            *p[k] = *p[k - 1];
            break;
        }
        if (tn_now() < c->settle_by) st = settle_bucket(c, x, k, p[k]);
        if (st == TN_OK) st = tn_compile_progress(c, "settle", "", k + 1, n);
    }
    return st;
}

/* ---- records ----------------------------------------------------------------------------------------------------- */

static void lock_key(const tn_compilation *c, size_t k, char key[80]) {
    snprintf(key, 80, "%s %.20s:launches", c->program_hash, c->plan.archs[k]->name);
}

static void cache_key(const tn_compilation *c, size_t k, char key[512]) {
    snprintf(key, 512, "launches|%s|%s|%s|%s", c->versions, c->plan.archs[k]->name, tn_tuner_get_info(c->tuner)->gpu,
             c->program_hash);
}

/* "0/0/26 1/0/0": plain, serial, and the carveout, for each bucket and the sizes of none.  False if the text is no such. */
static bool read_policies(const char *text, TnPlan__Policy **p, size_t n) {
    for (size_t k = 0; k < n; k++) {
        unsigned plain, serial, carveout;
        int used = 0;
        if (sscanf(text, "%1u/%1u/%3u%n", &plain, &serial, &carveout, &used) != 3 || plain > 1 || serial > 1 ||
            carveout > 101)
            return false;
        p[k]->plain = plain == 1;
        p[k]->serial = serial == 1;
        p[k]->carveout = carveout;
        text += used;
    }
    return !*text;
}

static tn_status remember(tn_compilation *c, size_t k) {
    const TnPlan__Arch *a = c->plan.archs[k];
    char key[512];
    tn_text t = {.env = c->env};
    for (size_t i = 0; i < a->n_policies; i++)
        tn_text_add(&t, "%s%d/%d/%u", i ? " " : "", a->policies[i]->plain, a->policies[i]->serial,
                    a->policies[i]->carveout);
    tn_status st = t.failed ? TN_E_MEMORY : TN_OK;
    if (st == TN_OK) {
        cache_key(c, k, key);
        tn_cache_put(c->cache, "tune", key, t.p, t.n);
        lock_key(c, k, key);
        st = tn_lockfile_put(c->lock, key, t.p);
    }
    tn_text_free(&t);
    return st;
}

/* On random data a loop may not end. */
static bool holds_loop(const tn_program *p) {
    for (uint32_t k = 0; k < p->n_steps; k++)
        if (p->steps[k].kind == TN_STEP_WHILE) return true;
    return false;
}

bool tn_must_settle(const tn_compilation *c) {
    return c->tuned && !c->tuned->n_policies && !holds_loop(c->program);
}

tn_status tn_recall_policies(tn_compilation *c, size_t k) {
    TnPlan__Arch *a = c->plan.archs[k];
    const size_t n = c->n_settled + 1;
    TnPlan__Policy **p = new_policies(c, n);
    char key[512];
    void *cached;
    size_t size;
    if (!p) return TN_E_MEMORY;
    lock_key(c, k, key);
    const char *text = tn_lockfile_get(c->lock, key);
    if (text && read_policies(text, p, n)) return a->policies = p, a->n_policies = n, TN_OK;
    if (a != c->tuned || holds_loop(c->program)) return leave_serial(c, a);
    cache_key(c, k, key);
    if (!tn_cache_get(c->cache, "tune", key, &cached, &size)) return TN_OK;
    if (read_policies(cached, p, n)) a->policies = p, a->n_policies = n;
    tn_free(c->env, cached, size);
    return a->n_policies ? remember(c, k) : TN_OK;
}

/* ---- the tuned architecture --------------------------------------------------------------------------------------- */

static tn_status settle(tn_compilation *c, tn_plan *plan) {
    const size_t n = c->n_settled + 1;
    const tn_context_options o = {.device = TN_CUDA, .cuda_device = c->opts->cuda_device};
    TnPlan__Policy **p = new_policies(c, n);
    tn_status st = TN_OK;
    tn_context *x = p ? tn_context_new(plan, &o, &st) : NULL;
    if (!p) st = TN_E_MEMORY;
    if (st == TN_OK) st = settle_all(c, x, p, n);
    tn_context_free(x);
    c->tuned->policies = p;
    c->tuned->n_policies = p && st == TN_OK ? n : 0;
    return st;
}

/* Too little memory is no error here. */
static void tell(void *user, const tn_diag *d) {
    const tn_env *env = user;
    if (d->code != TN_E_MEMORY && env && env->diag) env->diag(env->diag_user, d);
}

static tn_status settle_loaded(tn_compilation *c, const char *path, const void *data, size_t size) {
    tn_status st = TN_OK;
    tn_env env = c->env ? *c->env : (tn_env){0};
    env.diag = tell;
    env.diag_user = (void *)(uintptr_t)c->env;
    tn_plan *plan = path ? tn_plan_load(&env, path, &st) : tn_plan_load_memory(&env, data, size, &st);
    if (plan) st = settle(c, plan);
    tn_plan_free(plan);
    size_t k = 0;
    while (c->plan.archs[k] != c->tuned) k++;
    if (c->tuned->n_policies && st == TN_OK) st = remember(c, k);
    if (st != TN_E_MEMORY) return st;
    return tn_report(c->env, TN_WARNING, TN_OK, "",
                     "too little memory is left to time the whole network: how its kernels are launched is not tuned");
}

tn_status tn_settle(tn_compilation *c, const char *path, const void *data, size_t size, bool *changed) {
    tn_status st = tn_now() > c->settle_by ? TN_OK : settle_loaded(c, path, data, size);
    if (st == TN_OK && !c->tuned->n_policies) st = leave_serial(c, c->tuned);
    if (st == TN_OK) st = tn_settle_rivals(c);
    *changed = c->tuned->n_policies > 0 || c->n_rivals > 0;
    return st == TN_OK ? tn_lockfile_save(c->lock) : st;
}
