/* compile_list.c: the candidates of one spec: its winner where a lockfile or the cache knows it, else variants and
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

static tn_status add_variants(tn_compilation *c, tn_work *w) {
    tn_variant *v = NULL;
    size_t n = 0;
    tn_status s = tn_enumerate(w->spec, c->arch, NULL, c->tuning ? TUNED_CANDIDATES : UNTUNED_CANDIDATES, &v, &n);
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

/* Whether the candidates of two specs are the same at the same sizes, so that neither has any that the other lacks. */
static tn_status compare(const tn_compilation *c, const tn_spec *a, const tn_spec *b, bool *alike) {
    tn_choices *x = NULL, *y = NULL;
    tn_status s = tn_choices_new(a, c->arch, NULL, TUNED_CANDIDATES, &x);
    if (s == TN_OK) s = tn_choices_new(b, c->arch, NULL, TUNED_CANDIDATES, &y);
    const size_t n = s == TN_OK ? tn_choices_count(x) : 0;
    *alike = s == TN_OK && n == tn_choices_count(y);
    for (size_t k = 0; *alike && k < n; k++) {
        const tn_choice *p = tn_choices_at(x, k), *q = tn_choices_at(y, k);
        *alike = p->tpl == q->tpl && !memcmp(p->knob, q->knob, p->tpl->n_knobs * sizeof *p->knob);
    }
    tn_choices_free(x);
    tn_choices_free(y);
    return s;
}

/* Constants alone rarely pay: where that is all that a special case has, only what wins without it is tried, at exact
 * sizes, and on a device. */
static tn_status compare_with_fallback(tn_compilation *c, tn_work *w, bool *list) {
    const size_t k = (size_t)(w - c->works);
    tn_lt_call lt;
    *list = true;
    if (!w->fallback || w->follows) return TN_OK;
    tn_status s = compare(c, w->spec, w->fallback->spec, &w->follows);
    if (tn_lt_match(w->spec, &lt) && !tn_lt_match(w->fallback->spec, &lt)) w->follows = false;
    *list = !w->follows || (c->tuning && c->cases[k / c->n_nodes].kind == TN_CASE_POINT);
    return s;
}

tn_status tn_list_candidates(tn_compilation *c, tn_work *w) {
    bool list;
    const tn_status st = compare_with_fallback(c, w, &list);
    if (st != TN_OK || !list) return st;
    tn_lt_call lt;
    bool has_lt = tn_lt_match(w->spec, &lt);
    tn_status s = w->rejected ? TN_OK : recall_swapped(c, w, has_lt ? &lt : NULL);
    if (s != TN_OK || w->swapped || (!w->rejected && recall(c, w, has_lt ? &lt : NULL))) return s;
    s = add_variants(c, w);
    if (s == TN_OK && has_lt && !w->follows && c->tuning && tn_tuner_get_info(c->tuner)->has_lt)
        s = tn_tuner_lt_candidates(c->tuner, w, &lt);
    return s;
}

tn_status tn_relist_candidates(tn_compilation *c, tn_work *w) {
    while (w->n) tn_candidate_free(c->env, &w->c[--w->n]);
    w->from_cache = w->untrusted = w->tuned = w->chosen = w->swapped = false;
    w->rejected = true;
    w->must = w->winner = 0;
    return tn_list_candidates(c, w);
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
