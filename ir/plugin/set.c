/* set.c: sets of plugins: a user's, and a graph's own; see plugin.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ir/internal.h"
#include "ir/plugin/plugin.h"

struct tn_plugins {
    const tn_env *env;
    TN_VEC(tn_plugin *) of;
};

tn_plugins *tn_plugins_new(const tn_env *env) {
    tn_plugins *p = tn_alloc(env, sizeof *p);
    if (p) p->env = env;
    return p;
}

void tn_plugins_free(tn_plugins *p) {
    if (!p) return;
    for (uint32_t k = 0; k < p->of.n; k++) tn_plugin_release(p->of.p[k]);
    TN_VEC_FREE(p->env, &p->of);
    tn_free(p->env, p, sizeof *p);
}

tn_status tn_plugins_add(tn_plugins *p, const char *source, const char *text, size_t size) {
    tn_plugin *one;
    tn_status st = tn_plugin_read(p->env, source, text, size, &one);
    if (st != TN_OK) return st;
    for (uint32_t k = 0; st == TN_OK && k < p->of.n; k++)
        if (!strcmp(p->of.p[k]->name, one->name) && p->of.p[k]->since == one->since)
            st = tn_fail(p->env, TN_E_ARGUMENT, source, "give one of them", "%s (since %lld) is also declared in %s",
                         one->name, (long long)one->since, p->of.p[k]->source);
    if (st == TN_OK && !TN_VEC_ROOM(p->env, &p->of, 1)) st = tn_fail(p->env, TN_E_MEMORY, source, "", "out of memory");
    if (st == TN_OK)
        p->of.p[p->of.n++] = one;
    else
        tn_plugin_release(one);
    return st;
}

/* The file's bytes, freed with tn_free(env, *text, *size + 1). */
static tn_status read_file(const tn_env *env, const char *path, char **text, size_t *size) {
    enum { MOST = 1 << 20 };
    FILE *f = fopen(path, "rb");
    *text = f ? tn_alloc(env, MOST + 1) : NULL;
    if (f && !*text) return fclose(f), tn_fail(env, TN_E_MEMORY, path, "", "out of memory");
    if (f) *size = fread(*text, 1, MOST, f);
    const bool ok = f && !ferror(f), whole = ok && feof(f);
    const int error = errno;
    if (f) fclose(f);
    if (whole) {
        if (env && env->reads) env->reads(env->reads_user, path);
        return TN_OK;
    }
    if (f) tn_free(env, *text, MOST + 1);
    *text = NULL;
    if (ok) return tn_fail(env, TN_E_FORMAT, path, "", "a plugin is text of at most %d bytes", MOST);
    return tn_fail(env, TN_E_IO, path, "check the path", "cannot be read: %s", strerror(error));
}

tn_status tn_plugins_load(tn_plugins *p, const char *path) {
    enum { ROOM = (1 << 20) + 1 };
    char *text;
    size_t size = 0;
    tn_status st = read_file(p->env, path, &text, &size);
    if (st != TN_OK) return st;
    st = tn_plugins_add(p, path, text, size);
    tn_free(p->env, text, ROOM);
    return st;
}

tn_status tn_plugins_set_reference(tn_plugins *p, const char *op, tn_plugin_reference f, void *user) {
    tn_plugin *found = NULL;
    for (uint32_t k = 0; k < p->of.n; k++)
        if (p->of.p[k] == tn_plugins_named(p, op, strlen(op))) found = p->of.p[k];
    if (!found)
        return tn_fail(p->env, TN_E_UNSUPPORTED, "", "load its file with tn_plugins_load", "there is no plugin %s", op);
    if (found->n_expansions)
        return tn_fail(p->env, TN_E_ARGUMENT, found->source, "", "plugin %s has an expansion, which is its reference",
                       op);
    found->reference = f;
    found->reference_user = user;
    return TN_OK;
}

size_t tn_plugins_count(const tn_plugins *p) {
    return p ? p->of.n : 0;
}

const tn_plugin *tn_plugins_at(const tn_plugins *p, size_t k) {
    return k < tn_plugins_count(p) ? p->of.p[k] : NULL;
}

const char *tn_plugins_name(const tn_plugins *p, size_t k) {
    return k < tn_plugins_count(p) ? p->of.p[k]->name : "";
}

/* The latest of that name up to a version. */
static const tn_plugin *latest(const tn_plugins *set, int64_t version, const char *a, size_t n, const char *b,
                               size_t m) {
    const tn_plugin *best = NULL;
    for (uint32_t k = 0; set && k < set->of.n; k++) {
        const tn_plugin *p = set->of.p[k];
        const bool same = strlen(p->name) == n + 2 + m && !memcmp(p->name, a, n) && !memcmp(p->name + n, "::", 2) &&
                          !memcmp(p->name + n + 2, b, m);
        if (same && p->since <= version && (!best || p->since > best->since)) best = p;
    }
    return best;
}

const tn_plugin *tn_plugins_find(const tn_plugins *set, const char *domain, const char *op, int64_t version) {
    const char *own = *domain ? domain : "ai.onnx";
    return latest(set, version, own, strlen(own), op, strlen(op));
}

const tn_plugin *tn_plugins_named(const tn_plugins *set, const char *name, size_t n) {
    for (size_t k = 0; k + 2 < n; k++)
        if (!memcmp(name + k, "::", 2)) return latest(set, INT64_MAX, name, k, name + k + 2, n - k - 2);
    return NULL;
}

/* ---- of a graph -------------------------------------------------------------------------------------------------- */

tn_status tn_graph_use_plugin(tn_graph *g, const tn_plugin *p) {
    for (uint32_t k = 0; k < g->plugins.n; k++) {
        const tn_plugin *q = g->plugins.p[k];
        if (strcmp(q->name, p->name) != 0 || q->since != p->since) continue;
        if (q->hash == p->hash) return TN_OK;
        return tn_graph_fail(g, TN_E_ARGUMENT, (tn_node){0}, "give one of them",
                             "there are two plugins %s, in %s and in %s", p->name, q->source, p->source);
    }
    if (TN_RESERVE(g, plugins, 1)) g->plugins.p[g->plugins.n++] = tn_plugin_retain(p);
    return tn_graph_status(g);
}

const tn_plugin *tn_graph_plugin(const tn_graph *g, const char *name) {
    const char *at = name ? strrchr(name, '@') : NULL;
    for (uint32_t k = 0; at && k < g->plugins.n; k++) {
        const tn_plugin *p = g->plugins.p[k];
        char since[24];
        snprintf(since, sizeof since, "%lld", (long long)p->since);
        const size_t n = (size_t)(at - name);
        if (strlen(p->name) == n && !memcmp(p->name, name, n) && !strcmp(since, at + 1)) return p;
    }
    return NULL;
}

const tn_plugin *tn_node_plugin(const tn_graph *g, tn_node n) {
    const char *name = tn_node_op(g, n) == TN_OP_KERNEL ? TN_ATTRS_OF(g, n, kernel)->plugin : NULL;
    return name && *name ? tn_graph_plugin(g, name) : NULL;
}
