/* compile_list.c: the candidates of each work: its winner where a lockfile or the cache knows it, else variants and
 * cuBLASLt's algorithms. */
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "codegen/compile.h"

enum { TUNED_CANDIDATES = 24, UNTUNED_CANDIDATES = 4 };

/* What a record must fit; of others of the driver, NVRTC and cuBLASLt it is found, but not trusted. */
static void record_key(const tn_compilation *c, const tn_work *w, bool follows, char *key, size_t size) {
    const tn_tuner_info *i = c->tuner ? tn_tuner_get_info(c->tuner) : NULL;
    char sizes[96];
    tn_spec_sizes_text(w->spec, sizes);
    snprintf(key, size, "%s|%s|%s|%d|%s|%016llx|%016llx%016llx%s%s|2", TENON_VERSION, c->arch->name,
             i ? i->gpu : "untuned", i ? i->sms : 0, c->options_text, (unsigned long long)c->templates_hash,
             (unsigned long long)w->spec->hash[0], (unsigned long long)w->spec->hash[1], sizes,
             follows ? "|follows" : "");
}

static bool read_record(tn_compilation *c, tn_work *w, const tn_lt_call *lt, const char *text) {
    w->from_cache = tn_record_read(c->env, w, c->arch, lt, text);
    if (!w->from_cache) return false;
    tn_candidate *x = &w->c[w->winner];
    const bool by_us = tn_record_is_by(text, c->versions);
    if (!by_us) x->max_abs = x->max_rel = -1;
    w->untrusted = c->tuning && x->max_abs < 0; /* or never judged, since there was no GPU */
    return true;
}

/* ---- winners in the whole network -------------------------------------------------------------------------------- */

void tn_winner_key(const tn_spec *s, char key[17]) {
    char text[160];
    char sizes[96];
    tn_spec_sizes_text(s, sizes);
    const int n = snprintf(text, sizeof text, "%016llx%016llx%s", (unsigned long long)s->hash[0],
                           (unsigned long long)s->hash[1], sizes);
    snprintf(key, 17, "%016llx", (unsigned long long)XXH3_64bits(text, (size_t)n));
}

static void winner_lock_key(const tn_compilation *c, const char *arch, const char *winner, char key[96]) {
    snprintf(key, 96, "%s %.20s:winner%s", c->program_hash, arch, winner);
}

static void winner_cache_key(const tn_compilation *c, const char *arch, const char *winner, char key[512]) {
    snprintf(key, 512, "winner|%s|%s|%s|%s|%s", c->versions, arch, tn_tuner_get_info(c->tuner)->gpu, c->program_hash,
             winner);
}

tn_status tn_remember_rival(tn_compilation *c, const tn_rival *r) {
    char key[512];
    winner_cache_key(c, c->tuned->name, r->key, key);
    tn_cache_put(c->cache, "tune", key, r->record, strlen(r->record));
    winner_lock_key(c, c->tuned->name, r->key, key);
    return tn_lockfile_put(c->lock, key, r->line);
}

/* The line of a record's winner, without its time, as lockfiles have it. */
static tn_status lock_winner(tn_compilation *c, const char *key, const tn_work *w) {
    tn_candidate x = w->c[w->winner];
    const tn_work alone = {.c = &x, .n = 1, .chosen = true};
    char *line;
    size_t size;
    x.us = 0;
    tn_status s = tn_record_write(c->env, &alone, c->versions, &line, &size);
    if (s != TN_OK) return s;
    line[strcspn(line, "\n")] = 0;
    s = tn_lockfile_put(c->lock, key, line);
    tn_free(c->env, line, size);
    return s;
}

/* What won in this program, if anything did: w->swapped. */
static tn_status recall_swapped(tn_compilation *c, tn_work *w, const tn_lt_call *lt) {
    char winner[17], key[512], lock_key[96];
    void *text = NULL;
    size_t size = 0;
    tn_winner_key(w->spec, winner);
    winner_lock_key(c, c->arch->name, winner, lock_key);
    const char *line = tn_lockfile_get(c->lock, lock_key);
    w->swapped = line && read_record(c, w, lt, line);
    if (w->swapped || !c->tuning) return TN_OK;
    winner_cache_key(c, c->arch->name, winner, key);
    if (!tn_cache_get(c->cache, "tune", key, &text, &size)) return TN_OK;
    w->swapped = read_record(c, w, lt, text);
    tn_free(c->env, text, size);
    return w->swapped ? lock_winner(c, lock_key, w) : TN_OK;
}

/* ---- all --------------------------------------------------------------------------------------------------------- */

/* True if the winner is known already, from the lockfile or from the cache. */
static bool recall(tn_compilation *c, tn_work *w, const tn_lt_call *lt) {
    const char *line = tn_lockfile_find(c->lock, w->spec, c->arch->name);
    if (line) {
        if (read_record(c, w, lt, line)) return true;
        tn_report(c->env, TN_WARNING, TN_E_FORMAT, w->spec->name,
                  "the lockfile's winner does not exist any more: \"%.80s\"", line);
    }
    if (!c->tuning) return false;
    char key[512];
    void *text = NULL;
    size_t size = 0;
    bool found = false;
    for (int follows = 0; !found && follows <= w->follows; follows++) {
        record_key(c, w, follows, key, sizeof key);
        found = tn_cache_get(c->cache, "tune", key, &text, &size);
    }
    if (!found) return false;
    w->tuned = read_record(c, w, lt, text);
    tn_free(c->env, text, size);
    return w->tuned;
}

/* w->n: it is. */
static tn_status recall_winner(tn_compilation *c, tn_work *w, const tn_lt_call *lt) {
    const tn_status s = recall_swapped(c, w, lt);
    if (s == TN_OK && !w->swapped) recall(c, w, lt);
    return s;
}

/* ---- enumerating ------------------------------------------------------------------------------------------------- */

static tn_status enumerate(const tn_compilation *c, tn_work *w) {
    const tn_status s = tn_choices_new(w->spec, c->arch, NULL, TUNED_CANDIDATES, &w->choices);
    if (s != TN_OK) return s;
    w->choices_hash = tn_choices_hash(w->choices);
    if (!c->tuning) tn_choices_select(w->choices, UNTUNED_CANDIDATES);
    tn_choices_trim(w->choices);
    return TN_OK;
}

static void run_enumerate(void *arg) {
    tn_work *w = arg;
    w->enumerate_status = enumerate(w->owner, w);
    w->enumerated = true;
}

/* Where no thread has done it before. */
static tn_status need_choices(tn_work *w) {
    if (!w->enumerated) run_enumerate(w);
    return w->enumerate_status;
}

static void drop_choices(tn_work *w) {
    tn_choices_free(w->choices);
    w->choices = NULL;
}

/* Whether it, or a special case that is compared with it, will want its choices. */
static bool is_wanted(const tn_compilation *c, size_t k) {
    return tn_is_distinct(c, k) && !c->works[k].enumerated && (!c->works[k].n || c->n_cases > c->n_buckets);
}

/* Those of works [first, end), by all threads: each works in a view of the graph, which nobody changes meanwhile. */
static tn_status enumerate_works(tn_compilation *c, size_t first, size_t end) {
    static const double SHOWN = 0.1;
    tn_status s = TN_OK;
    for (size_t k = first; s == TN_OK && k < end; k++)
        if (is_wanted(c, k)) s = tn_pool_add(c->pool, run_enumerate, &c->works[k]);
    while (s == TN_OK && !tn_pool_wait(c->pool, SHOWN)) s = tn_compile_progress(c, "plan", "", first, c->n_works);
    if (s != TN_OK) tn_pool_cancel(c->pool);
    tn_pool_wait(c->pool, -1);
    return s;
}

/* ---- listing ----------------------------------------------------------------------------------------------------- */

static tn_status add_variants(tn_compilation *c, tn_work *w) {
    tn_variant *v = NULL;
    size_t n = 0;
    tn_status s = need_choices(w);
    if (s == TN_OK) s = tn_choices_make(w->choices, &v, &n);
    if (s != TN_OK) return s;
    size_t k = 0;
    for (; k < n; k++) {
        tn_candidate *x = tn_work_add(c->env, w);
        if (!x) break;
        x->v = v[k];
        x->predicted_us = v[k].cost_us;
        snprintf(x->text, sizeof x->text, "%s", v[k].text);
    }
    s = k == n ? TN_OK : TN_E_MEMORY;
    for (; k < n; k++) tn_variant_free(c->env, &v[k]);
    tn_free(c->env, v, n * sizeof *v);
    return s;
}

/* Constants alone rarely pay: where that is all that a special case has (its candidates are those of its fallback), only
 * what wins without it is tried, at exact sizes, and on a device. */
static tn_status compare_with_fallback(tn_compilation *c, tn_work *w, bool *list) {
    const size_t k = (size_t)(w - c->works);
    tn_lt_call lt;
    *list = true;
    if (!w->fallback || w->follows) return TN_OK;
    tn_status s = need_choices(w);
    if (s == TN_OK) s = need_choices(w->fallback);
    drop_choices(w->fallback); /* it is listed */
    w->follows = s == TN_OK && w->choices_hash == w->fallback->choices_hash;
    if (tn_lt_match(w->spec, &lt) && !tn_lt_match(w->fallback->spec, &lt)) w->follows = false;
    *list = !w->follows || (c->tuning && c->cases[k / c->n_nodes].kind == TN_CASE_POINT);
    return s;
}

static tn_status list_candidates(tn_compilation *c, tn_work *w) {
    bool list;
    tn_status s = compare_with_fallback(c, w, &list);
    if (s != TN_OK || !list) return s;
    tn_lt_call lt;
    const bool has_lt = tn_lt_match(w->spec, &lt);
    if (w->fallback && !w->rejected) s = recall_winner(c, w, has_lt ? &lt : NULL);
    if (s == TN_OK && !w->n) s = add_variants(c, w);
    if (s == TN_OK && !w->from_cache && has_lt && !w->follows && c->tuning && tn_tuner_get_info(c->tuner)->has_lt)
        s = tn_tuner_lt_candidates(c->tuner, w, &lt);
    return s;
}

/* Untimed, of candidates that should be about as fast the one that reads weights as another bucket's does. */
static void prefer_one_copy(const tn_compilation *c, tn_work *w) {
    const size_t at = (size_t)(w - c->works);
    const tn_work *first = at >= c->n_nodes ? tn_work_in(c, at % c->n_nodes, 0) : w;
    if (first == w || !first->n || w->n < 2 || w->from_cache || w->fallback) return;
    const tn_candidate *there = &first->c[first->from_cache ? first->winner : 0];
    const double worth = tn_copy_worth(&w->c[0], there);
    for (size_t k = 1; worth > 1 && k < w->n; k++) {
        if (tn_copy_worth(&w->c[k], there) > 1 || w->c[k].predicted_us > worth * w->c[0].predicted_us) continue;
        const tn_candidate x = w->c[k];
        memmove(&w->c[1], &w->c[0], k * sizeof x);
        w->c[0] = x;
        return;
    }
}

/* What a special case's work falls back on: that of its bucket, or of the case within it. */
static tn_work *fallback_of(const tn_compilation *c, size_t k) {
    const size_t node = k % c->n_nodes, kase = k / c->n_nodes;
    const tn_size_case *x = &c->cases[kase];
    if (x->kind == TN_CASE_ANY) return NULL;
    tn_work *w = tn_work_in(c, node, x->bucket);
    for (size_t i = c->n_buckets; x->kind == TN_CASE_POINT && i < kase; i++)
        if (c->cases[i].bucket == x->bucket && tn_work_in(c, node, i)->n) w = tn_work_in(c, node, i);
    return w;
}

/* The spec as the work's case sees it. */
static tn_status set_spec(tn_compilation *c, size_t k) {
    tn_spec *s = tn_spec_of_work(c, k);
    const bool own = k < c->n_nodes || k >= tn_first_special(c);
    c->works[k].spec = own ? s : tn_alloc(c->env, sizeof *s);
    c->works[k].owner = c;
    if (!c->works[k].spec) return TN_E_MEMORY;
    if (!own) *c->works[k].spec = tn_spec_at(s, k / c->n_nodes);
    return TN_OK;
}

/* Winners of works that have no fallback are known before anything is enumerated. */
static tn_status begin_works(tn_compilation *c, size_t first, size_t end) {
    tn_status s = TN_OK;
    for (size_t k = first; s == TN_OK && k < end; k++) {
        tn_work *w = &c->works[k];
        tn_lt_call lt;
        if (!tn_is_distinct(c, k)) continue;
        s = set_spec(c, k);
        if (s == TN_OK && k < tn_first_special(c)) s = recall_winner(c, w, tn_lt_match(w->spec, &lt) ? &lt : NULL);
    }
    return s;
}

static tn_status list_works(tn_compilation *c, size_t first, size_t end) {
    tn_status s = TN_OK;
    for (size_t k = first; s == TN_OK && k < end; k++) {
        tn_work *w = &c->works[k];
        if (!tn_is_distinct(c, k)) continue;
        w->fallback = fallback_of(c, k);
        s = list_candidates(c, w);
        drop_choices(w);
        if (s == TN_OK && !c->tuning) prefer_one_copy(c, w);
        if (s == TN_OK) s = tn_compile_progress(c, "plan", w->spec->name, k, c->n_works);
    }
    return s;
}

tn_status tn_list_works(tn_compilation *c) {
    enum { TOGETHER = 256 }; /* whose choices are in memory at once */
    const double start = tn_now();
    tn_status s = TN_OK;
    for (size_t k = 0, end; s == TN_OK && k < c->n_works; k = end) {
        end = k + TOGETHER < c->n_works ? k + TOGETHER : c->n_works;
        s = begin_works(c, k, end);
        if (s == TN_OK) s = enumerate_works(c, k, end);
        if (s == TN_OK) s = list_works(c, k, end);
    }
    c->candidates_s = tn_now() - start;
    return s;
}

tn_status tn_relist_candidates(tn_compilation *c, tn_work *w) {
    while (w->n) tn_candidate_free(c->env, &w->c[--w->n]);
    w->from_cache = w->untrusted = w->tuned = w->chosen = w->swapped = false;
    w->rejected = true;
    w->must = w->winner = 0;
    drop_choices(w);
    w->enumerated = false;
    const tn_status s = list_candidates(c, w);
    drop_choices(w);
    return s;
}

void tn_remember(tn_compilation *c, const tn_work *w) {
    char key[512], *text;
    size_t size;
    if (w->swapped) return;
    record_key(c, w, w->follows, key, sizeof key);
    if (tn_record_write(c->env, w, c->versions, &text, &size) != TN_OK) return;
    tn_cache_put(c->cache, "tune", key, text, size - 1);
    tn_free(c->env, text, size);
}
