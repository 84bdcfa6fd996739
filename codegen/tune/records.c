/* records.c: see records.h. */
#include "codegen/tune/records.h"

#include "codegen/emit/text.h"
#include "ir/text/output.h"
#include "tenon/internal/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add_line(tn_text *t, const tn_candidate *c, bool winner) {
    tn_text_add(t, "%s%.9g %.9g %.9g %.9g %s ", winner ? "*" : "", c->us, c->predicted_us, c->max_abs, c->max_rel,
                c->is_lt ? "lt" : "kernel");
    if (!c->algo_size) tn_text_add(t, "-");
    for (uint32_t k = 0; k < c->algo_size; k++) tn_text_add(t, "%02x", c->algo[k]);
    tn_text_add(t, " %s|%s\n", c->text, c->note);
}

static void add_versions(tn_text *t, const char *versions) {
    tn_text_add(t, "@%s ", versions);
}

/* Past the versions, if there are any. */
static const char *lines_of(const char *text) {
    if (*text != '@') return text;
    const char *end = strchr(text, ' ');
    return end ? end + 1 : "";
}

bool tn_record_is_by(const char *text, const char *versions) {
    const size_t n = strlen(versions);
    return *text == '@' && !strncmp(text + 1, versions, n) && text[n + 1] == ' ';
}

tn_status tn_record_write(const tn_env *env, const tn_work *w, const char *versions, char **out, size_t *size) {
    tn_text t = {.env = env};
    add_versions(&t, versions);
    for (size_t k = 0; k < w->n; k++) add_line(&t, &w->c[k], w->chosen && k == w->winner);
    *size = t.n + 1;
    *out = tn_text_take(&t);
    return *out ? TN_OK : TN_E_MEMORY;
}

static bool parse_algo(const char *s, size_t n, tn_candidate *c) {
    if (n == 1 && *s == '-') return true;
    if (n % 2 || n / 2 > sizeof c->algo) return false;
    for (size_t k = 0; k < n / 2; k++) {
        char hex[3] = {s[2 * k], s[2 * k + 1], 0}, *end;
        c->algo[k] = (unsigned char)strtoul(hex, &end, 16);
        if (end != hex + 2) return false;
    }
    c->algo_size = (uint32_t)(n / 2);
    return true;
}

/* Parses one line into c; false on damage.  *winner is set by a leading '*'. */
static bool parse_line(const char *line, size_t n, tn_candidate *c, bool *winner) {
    char copy[1024], kind[8], algo[2 * TN_LT_ALGO_BYTES + 2];
    int used = 0;
    if (n >= sizeof copy) return false;
    memcpy(copy, line, n);
    copy[n] = 0;
    char *p = copy;
    *winner = *p == '*';
    if (*winner) p++;
    if (sscanf(p, "%lf %lf %lf %lf %7s %129s %n", &c->us, &c->predicted_us, &c->max_abs, &c->max_rel, kind, algo,
               &used) < 6 ||
        !used)
        return false;
    c->is_lt = !strcmp(kind, "lt");
    char *bar = strchr(p + used, '|');
    if (!bar || !parse_algo(algo, strlen(algo), c)) return false;
    *bar = 0;
    snprintf(c->text, sizeof c->text, "%s", p + used);
    snprintf(c->note, sizeof c->note, "%s", bar + 1);
    return true;
}

/* Makes a winner runnable: emits its variant, or takes over the matched call. */
static bool revive(tn_work *w, const tn_arch *arch, const tn_lt_call *lt, tn_candidate *c) {
    if (c->is_lt) {
        if (!lt) return false;
        c->lt = *lt;
        c->lt_workspace = UINT64_C(32) << 20;
        return true;
    }
    char tpl[64];
    size_t n = strcspn(c->text, " ");
    if (n >= sizeof tpl) return false;
    memcpy(tpl, c->text, n);
    tpl[n] = 0;
    return tn_variant_make(w->spec, arch, tpl, c->text[n] ? c->text + n + 1 : "", &c->v) == TN_OK;
}

bool tn_record_read(const tn_env *env, tn_work *w, const tn_arch *arch, const tn_lt_call *lt, const char *text) {
    bool found = false;
    const char *s = lines_of(text);
    while (*s) {
        size_t n = strcspn(s, "\n");
        tn_candidate *c = tn_work_add(env, w);
        bool winner = false;
        if (!c || !parse_line(s, n, c, &winner)) break;
        c->out = !winner;
        if (winner) {
            if (found || !revive(w, arch, lt, c)) break;
            found = true;
            w->winner = w->n - 1;
        }
        s += n + (s[n] == '\n');
    }
    if (!*s && found) return true;
    for (size_t k = 0; k < w->n; k++) tn_candidate_free(env, &w->c[k]);
    w->n = 0;
    return false;
}

/* ---- lockfiles ---- */

enum { KEY = 176 };

typedef struct entry {
    char key[KEY]; /* "<hash> <arch>[@sizes]" */
    char *line;
    size_t size;
} entry;

struct tn_lockfile {
    const tn_env *env;
    char *path;
    entry *e;
    size_t n, cap;
    bool changed;
};

static void make_key(char key[KEY], const tn_spec *s, const char *arch) {
    char sizes[96];
    tn_spec_sizes_text(s, sizes);
    snprintf(key, KEY, "%016" PRIx64 "%016" PRIx64 " %.20s%s", s->hash[0], s->hash[1], arch, sizes);
}

static tn_status add_entry(tn_lockfile *l, const char *key, size_t key_n, const char *line, size_t n) {
    entry *e = tn_grow(l->env, l->e, &l->cap, l->n + 1, sizeof *e);
    if (!e) return TN_E_MEMORY;
    l->e = e;
    e += l->n;
    e->line = tn_alloc(l->env, n + 1);
    if (!e->line) return TN_E_MEMORY;
    memcpy(e->line, line, n);
    e->size = n + 1;
    memcpy(e->key, key, key_n);
    e->key[key_n] = 0;
    l->n++;
    return TN_OK;
}

static tn_status read_lockfile(tn_lockfile *l, FILE *f) {
    char line[1400];
    int number = 0;
    while (fgets(line, sizeof line, f)) {
        number++;
        size_t n = strcspn(line, "\n");
        if (*line == '#' || n == 0) continue;
        char *sp = memchr(line, ' ', n), *sp2 = sp ? memchr(sp + 1, ' ', n - (size_t)(sp + 1 - line)) : NULL;
        if (!sp2 || sp - line != 32 || sp2 - line >= KEY)
            return tn_fail(l->env, TN_E_FORMAT, l->path, "delete the file to tune afresh", "line %d is not an entry",
                           number);
        tn_status s = add_entry(l, line, (size_t)(sp2 - line), sp2 + 1, n - (size_t)(sp2 + 1 - line));
        if (s != TN_OK) return s;
    }
    return TN_OK;
}

tn_status tn_lockfile_open(const tn_env *env, const char *path, tn_lockfile **out) {
    tn_lockfile *l = tn_alloc(env, sizeof *l);
    if (!l) return TN_E_MEMORY;
    l->env = env;
    *out = l;
    if (!path) return TN_OK;
    l->path = tn_alloc(env, strlen(path) + 1);
    if (!l->path) return TN_E_MEMORY;
    strcpy(l->path, path);
    FILE *f = fopen(path, "r");
    if (!f) return errno == ENOENT ? TN_OK : tn_fail(env, TN_E_IO, path, "", "cannot be read: %s", strerror(errno));
    tn_status s = read_lockfile(l, f);
    fclose(f);
    return s;
}

const char *tn_lockfile_get(const tn_lockfile *l, const char *key) {
    for (size_t k = 0; k < l->n; k++)
        if (!strcmp(l->e[k].key, key)) return l->e[k].line;
    return NULL;
}

const char *tn_lockfile_find(const tn_lockfile *l, const tn_spec *s, const char *arch) {
    char key[KEY];
    make_key(key, s, arch);
    return tn_lockfile_get(l, key);
}

static void remove_entry(tn_lockfile *l, const char *key) {
    for (size_t k = l->n; k-- > 0;) {
        if (strcmp(l->e[k].key, key) != 0) continue;
        tn_free(l->env, l->e[k].line, l->e[k].size);
        l->e[k] = l->e[--l->n];
    }
}

tn_status tn_lockfile_add(tn_lockfile *l, const char *arch, const tn_work *w, const char *versions) {
    char key[KEY];
    if (!l->path || !w->chosen || w->swapped) return TN_OK;
    make_key(key, w->spec, arch);
    if (w->rejected) remove_entry(l, key);
    if (tn_lockfile_get(l, key)) return TN_OK;
    tn_candidate c = w->c[w->winner];
    c.us = 0; /* times vary between runs, the winner should not */
    tn_text t = {.env = l->env};
    add_versions(&t, versions);
    add_line(&t, &c, true);
    tn_status s = t.failed ? TN_E_MEMORY : add_entry(l, key, strlen(key), t.p, t.n - 1);
    tn_text_free(&t);
    l->changed = true;
    return s;
}

tn_status tn_lockfile_put(tn_lockfile *l, const char *key, const char *line) {
    if (!l->path) return TN_OK;
    remove_entry(l, key);
    l->changed = true;
    return add_entry(l, key, strlen(key), line, strlen(line));
}

static int by_key(const void *a, const void *b) {
    return strcmp(((const entry *)a)->key, ((const entry *)b)->key);
}

tn_status tn_lockfile_save(tn_lockfile *l) {
    if (!l->path || !l->changed) return TN_OK;
    qsort(l->e, l->n, sizeof *l->e, by_key);
    tn_output o;
    tn_status s = tn_output_begin(l->env, l->path, &o);
    if (s != TN_OK) return s;
    fputs("# tenon lockfile: spec hash, architecture and sizes, winner (see `tenon compile --help`)\n", o.f);
    for (size_t k = 0; k < l->n; k++) fprintf(o.f, "%s %s\n", l->e[k].key, l->e[k].line);
    return tn_output_end(&o, s);
}

void tn_lockfile_free(tn_lockfile *l) {
    if (!l) return;
    for (size_t k = 0; k < l->n; k++) tn_free(l->env, l->e[k].line, l->e[k].size);
    tn_free(l->env, l->e, l->cap * sizeof *l->e);
    if (l->path) tn_free(l->env, l->path, strlen(l->path) + 1);
    tn_free(l->env, l, sizeof *l);
}
