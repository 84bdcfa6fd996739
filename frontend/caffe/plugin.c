/* plugin.c: layers that a plugin caffe::TYPE computes.
 *
 * Its inputs are the layer's bottoms, then its blobs in the weights.  Its attributes are the fields of the layer that the schema
 * does not know, and the fields of messages among them (region_param { classes: 20 }) by their own names: the last value, or
 * all values of a list.  Texts of fields have been read once, so that they are well formed. */
#include "frontend/caffe/caffe.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include "ir/text/text.h"

const tn_plugin *tn_ci_plugin_of(const tn_ci *x, const TnCaffe__LayerParameter *l) {
    return x->opts && l->type ? tn_plugins_find(x->opts->plugins, "caffe", l->type, INT64_MAX) : NULL;
}

enum { MOST = 1 << 12 /* values of a list */ };

typedef struct fields {
    tn_ci *x;
    const char *p;
    tn_plugin_value values[TN_PLUGIN_MOST];
    size_t n;
} fields;

static void skip(fields *f) {
    for (;; f->p++) {
        if (*f->p == '#') f->p += strcspn(f->p, "\n");
        if (!*f->p || !strchr(" \t\r\n\v\f,;", *f->p)) return;
    }
}

static char *copy(fields *f, const char *s, size_t n) {
    char *to = tn_ci_alloc(f->x, n + 1);
    if (to) memcpy(to, s, n);
    return to;
}

static const tn_plugin_attr *attr_of(const fields *f, const char *name) {
    const tn_plugin *p = f->x->plugin;
    for (uint32_t k = 0; k < p->n_attrs; k++)
        if (!strcmp(p->attrs[k].name, name)) return &p->attrs[k];
    return NULL;
}

static tn_plugin_value *value_of(fields *f, const char *name) {
    for (size_t k = 0; k < f->n; k++)
        if (!strcmp(f->values[k].name, name)) return &f->values[k];
    if (f->n == TN_PLUGIN_MOST) {
        tn_ci_fail(f->x, TN_E_UNSUPPORTED, "", "more than %d fields", TN_PLUGIN_MOST);
        return NULL;
    }
    f->values[f->n] = (tn_plugin_value){.name = name};
    return &f->values[f->n++];
}

/* One more element of a list, in memory for all that there may be. */
static bool append(fields *f, tn_plugin_value *v, bool whole, double num, int64_t i) {
    if (!v->fs && !v->is) {
        void *room = tn_ci_alloc(f->x, MOST * sizeof(double));
        if (whole)
            v->is = room;
        else
            v->fs = room;
    }
    if (v->n == MOST || (!v->fs && !v->is)) {
        tn_ci_fail(f->x, TN_E_UNSUPPORTED, "", "%s has more than %d values", v->name, MOST);
        return false;
    }
    v->kind = whole ? TN_PLUGIN_INTS : TN_PLUGIN_FLOATS;
    if (whole)
        ((int64_t *)(uintptr_t)v->is)[v->n++] = i;
    else
        ((double *)(uintptr_t)v->fs)[v->n++] = num;
    return true;
}

/* 20, -1.5, true, NAME or "name", as the attribute of that name wants it. */
static bool take(fields *f, const char *name) {
    const bool quoted = *f->p == '"' || *f->p == '\'';
    const char *from = f->p + quoted, *to = quoted ? strchr(from, *f->p) : from;
    while (!quoted && *to && !strchr(" \t\r\n\v\f,;]}>#", *to)) to++;
    char *text = to ? copy(f, from, (size_t)(to - from)) : NULL, *end = text;
    tn_plugin_value *v = text ? value_of(f, name) : NULL;
    if (!v) return false;
    f->p = to + quoted;
    const tn_plugin_attr *a = attr_of(f, name);
    const bool yes = !strcmp(text, "true"), flag = yes || !strcmp(text, "false");
    const int64_t whole = flag ? yes : strtoll(text, &end, 0);
    const bool is_whole = flag || (*text && !*end);
    const double num = is_whole ? (double)whole : tn_read_num(text, &end);
    const bool is_num = is_whole || (end != text && (!*end || !strcmp(end, "f")));
    if (a && a->kind == TN_NAME_INTS && is_whole) return append(f, v, true, 0, whole);
    if (a && a->kind == TN_NAME_NUMS && is_num) return append(f, v, false, num, 0);
    v->kind = is_whole ? TN_PLUGIN_INT : is_num ? TN_PLUGIN_FLOAT : TN_PLUGIN_WORD;
    if (quoted || (a && a->kind == TN_NAME_WORD)) v->kind = TN_PLUGIN_WORD;
    v->i = whole;
    v->f = num;
    v->s = text;
    return true;
}

/* Fields up to the end of the text, or of the message. */
static bool take_fields(fields *f, unsigned depth) {
    enum { DEEPEST = 32 };
    for (skip(f); *f->p && *f->p != '}' && *f->p != '>'; skip(f)) {
        const char *from = f->p;
        while (isalnum((unsigned char)*f->p) || *f->p == '_') f->p++;
        const char *name = copy(f, from, (size_t)(f->p - from));
        if (!name || f->p == from || depth == DEEPEST) return false;
        skip(f);
        if (*f->p == ':') f->p++;
        skip(f);
        if (*f->p == '{' || *f->p == '<') {
            f->p++;
            if (!take_fields(f, depth + 1) || !*f->p++) return false;
        } else if (*f->p == '[') {
            f->p++;
            for (skip(f); *f->p && *f->p != ']'; skip(f))
                if (!take(f, name)) return false;
            if (!*f->p++) return false;
        } else if (!take(f, name))
            return false;
    }
    return true;
}

void tn_ci_plugin(tn_ci *x) {
    const TnCaffe__LayerParameter *l = x->layer;
    fields *f = tn_ci_alloc(x, sizeof *f);
    tn_val in[TN_PLUGIN_MOST], out[TN_PLUGIN_MOST];
    size_t n = 0;
    if (!f) return;
    f->x = x;
    if (l->n_bottom + x->n_blobs > TN_PLUGIN_MOST || l->n_top > x->plugin->n_out) {
        tn_ci_fail(x, TN_E_ARGUMENT, "", "plugin %s has %u outputs and at most %d inputs", x->plugin->name,
                   x->plugin->n_out, TN_PLUGIN_MOST);
        return;
    }
    for (size_t k = 0; k < l->n_unread; k++) {
        f->p = l->unread[k];
        if (take_fields(f, 0)) continue;
        tn_ci_fail(x, TN_E_UNSUPPORTED, "", "the field cannot be an attribute of a plugin: %.100s", l->unread[k]);
        return;
    }
    for (size_t k = 0; k < l->n_bottom; k++) in[n++] = tn_ci_in(x, k);
    for (size_t k = 0; k < x->n_blobs; k++) in[n++] = tn_ci_blob_of(x, k);
    if (tn_ci_failed(x) || tn_plugin_emit(x->g, x->plugin, f->n, f->values, n, in, out) != TN_OK) return;
    for (size_t k = 0; k < l->n_top; k++) tn_ci_out(x, k, out[k]);
}
