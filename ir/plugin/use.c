/* use.c: a plugin's op in a graph; see plugin.h. */
#include <stdio.h>
#include <string.h>

#include "ir/plugin/scope.h"

/* ---- attributes in text ------------------------------------------------------------------------------------------ */

static const tn_plugin_attr *attr_named(const tn_plugin *p, const char *s, size_t n) {
    for (uint32_t k = 0; k < p->n_attrs; k++)
        if (strlen(p->attrs[k].name) == n && !memcmp(p->attrs[k].name, s, n)) return &p->attrs[k];
    return NULL;
}

static bool parse_numbers(tn_parser *p, bool whole, tn_plugin_value *v) {
    enum { MOST = 1 << 16 };
    int64_t *is = NULL;
    double *fs = NULL;
    size_t cap = 0;
    v->kind = whole ? TN_PLUGIN_INTS : TN_PLUGIN_FLOATS;
    if (!tn_parse_expect(p, "[")) return false;
    for (v->n = 0; !tn_parse_accept(p, "]"); v->n++) {
        if (v->n == MOST) return tn_parse_error(p, "a list has more than %d elements", MOST);
        if (v->n == cap) { /* what is outgrown stays in the arena */
            void *more = tn_graph_alloc(p->g, (cap ? 2 * cap : 16) * sizeof(double));
            if (!more) return tn_parse_graph_ok(p);
            if (cap) memcpy(more, whole ? (void *)is : (void *)fs, cap * sizeof(double));
            cap = cap ? 2 * cap : 16;
            is = more;
            fs = more;
        }
        if (v->n && !tn_parse_expect(p, ",")) return false;
        if (whole ? !tn_parse_int(p, &is[v->n]) : !tn_parse_num(p, &fs[v->n])) return false;
    }
    if (whole)
        v->is = is;
    else
        v->fs = fs;
    return true;
}

static bool parse_word(tn_parser *p, tn_plugin_value *v) {
    const char *s;
    size_t n;
    if (!tn_plugin_read_quoted(p, &s, &n)) return false;
    char *own = tn_graph_alloc(p->g, n + 1);
    if (own) memcpy(own, s, n);
    v->kind = TN_PLUGIN_WORD;
    v->s = own;
    return tn_parse_graph_ok(p);
}

bool tn_plugin_parse_values(tn_parser *p, const tn_plugin *plugin, tn_plugin_value out[TN_PLUGIN_MOST], size_t *n) {
    *n = 0;
    for (tn_parse_skip(p); *p->s && *p->s != '}'; tn_parse_skip(p)) {
        const char *s;
        size_t len;
        if ((*n && !tn_parse_expect(p, ",")) || !tn_parse_word(p, "an attribute's name", &s, &len)) return false;
        const tn_plugin_attr *a = attr_named(plugin, s, len);
        if (!a || *n == TN_PLUGIN_MOST)
            return tn_parse_error(p, "plugin %s has no attribute '%.*s'", plugin->name, (int)(len < 64 ? len : 64), s);
        for (size_t k = 0; k < *n; k++)
            if (out[k].name == a->name) return tn_parse_error(p, "attribute %s is given twice", a->name);
        tn_plugin_value *v = &out[(*n)++];
        *v = (tn_plugin_value){.name = a->name};
        if (!tn_parse_expect(p, "=")) return false;
        bool ok = false;
        switch (a->kind) {
        case TN_NAME_SIZE: v->kind = TN_PLUGIN_INT, ok = tn_parse_int(p, &v->i); break;
        case TN_NAME_NUM: v->kind = TN_PLUGIN_FLOAT, ok = tn_parse_num(p, &v->f); break;
        case TN_NAME_WORD: ok = parse_word(p, v); break;
        default: ok = parse_numbers(p, a->kind == TN_NAME_INTS, v);
        }
        if (!ok) return false;
    }
    return !p->failed;
}

/* ---- the op ------------------------------------------------------------------------------------------------------ */

/* One use while it is written down. */
typedef struct use {
    tn_graph *g;
    const tn_plugin *p;
    tn_plugin_scope s;
    const tn_val *x;
    size_t n_x;
    tn_region home; /* where it is used */
    char layer[256];
} use;

static tn_plugin_tensor tensor_of(const tn_graph *g, tn_val v) {
    tn_plugin_tensor t = {.there = v.i != 0};
    if (!v.i) return t;
    t.dtype = tn_val_dtype(g, v);
    t.rank = tn_val_rank(g, v);
    for (size_t k = 0; k < t.rank; k++) t.dims[k] = tn_val_dim(g, v, k);
    return t;
}

static bool made_by_data(const use *u) {
    bool made = false;
    for (size_t k = 0; k < u->n_x; k++) made |= u->x[k].i && tn_type_is_made(u->g, tn_val_type(u->g, u->x[k]));
    return made;
}

static const tn_plugin_expansion *choose(use *u) {
    for (uint32_t k = 0; k < u->p->n_expansions; k++) {
        const tn_plugin_expansion *e = &u->p->expansions[k];
        bool holds = e->always;
        if (!holds && !tn_plugin_decide(&u->s, e->when, &holds)) {
            if (tn_graph_ok(u->g)) u->g->status = TN_E_FORMAT; /* reported */
            return NULL;
        }
        if (holds) return e;
    }
    tn_graph_fail(u->g, TN_E_UNSUPPORTED, (tn_node){0}, "add an expansion without a condition",
                  "plugin %s: the condition of no expansion holds", u->p->name);
    return NULL;
}

/* The result as declared: the same dtype, and sizes that are the same or must be. */
static bool check_result(use *u, const tn_plugin_step *step, tn_val v) {
    tn_graph *g = u->g;
    const tn_plugin_tensor *want = &u->s.out[step->index];
    char of_a[96], is[128];
    if (!v.i || tn_val_dtype(g, v) != want->dtype || tn_val_rank(g, v) != want->rank) {
        if (v.i)
            tn_type_print(g, tn_val_type(g, v), is, sizeof is);
        else
            snprintf(is, sizeof is, "absent");
        tn_graph_fail(g, TN_E_TYPE, (tn_node){0}, "",
                      "plugin %s: the expansion's result %s is %s, but %s of rank %zu is declared", u->p->name,
                      step->name, is, tn_dtype_text(want->dtype), want->rank);
        return false;
    }
    for (size_t k = 0; k < want->rank; k++) {
        snprintf(of_a, sizeof of_a, "axis %zu of the expansion's %.40s", k, step->name);
        const tn_condition c = {.rel = TN_REL_EQUAL,
                                .a = tn_val_dim(g, v, k),
                                .b = want->dims[k],
                                .what = u->p->name,
                                .of_a = of_a,
                                .of_b = "what is declared",
                                .in = u->home};
        if (tn_graph_require(g, c) != TN_OK) return false;
    }
    return true;
}

/* Writes the expansion into r; y: its results. */
static bool expand(use *u, const tn_plugin_expansion *e, tn_cursor at, const tn_val *x, tn_val *y) {
    const char *names[TN_PLUGIN_MOST] = {NULL};
    size_t n = 0;
    for (uint32_t k = 0; k < u->p->n_steps; k++)
        if (u->p->steps[k].kind == TN_PLUGIN_IN) names[u->p->steps[k].index] = u->p->steps[k].name;
    tn_parser p = tn_plugin_parser(&u->s, e->body);
    const tn_body body = {
        .at = at, .n_args = u->p->n_in, .names = names, .args = x, .results = y, .cap = TN_PLUGIN_MOST};
    if (!tn_parse_body(&p, &body, &n)) {
        if (tn_graph_ok(u->g)) u->g->status = p.status;
        return false;
    }
    if (n != u->p->n_out) {
        tn_graph_fail(u->g, TN_E_FORMAT, (tn_node){0}, "",
                      "plugin %s: the expansion yields %zu results, %u are declared", u->p->name, n, u->p->n_out);
        return false;
    }
    for (uint32_t k = 0; k < u->p->n_steps; k++) {
        const tn_plugin_step *step = &u->p->steps[k];
        if (step->kind == TN_PLUGIN_OUT && !check_result(u, step, y[step->index])) return false;
    }
    return tn_graph_ok(u->g);
}

/* "yolo_region", for the kernel's name. */
static const char *plain_name(tn_graph *g, const char *name) {
    char buf[160];
    size_t n = 0;
    for (const char *p = name; *p && n + 1 < sizeof buf; p++) {
        const bool word = (*p >= '0' && *p <= '9') || ((*p | 32) >= 'a' && (*p | 32) <= 'z');
        if (word || (n && buf[n - 1] != '_')) buf[n++] = word ? *p : '_';
    }
    buf[n] = 0;
    return tn_intern(g, buf);
}

/* "yolo::region@1" */
static const char *table_name(tn_graph *g, const tn_plugin *p) {
    char buf[200];
    snprintf(buf, sizeof buf, "%s@%lld", p->name, (long long)p->since);
    return tn_intern(g, buf);
}

/* The operands of a kernel node: those that are there, and the names of the others behind the attributes. */
typedef struct operands {
    tn_val in[TN_PLUGIN_MOST], args[TN_PLUGIN_MOST]; /* args: in the region, by number of the input */
    const char *given[TN_PLUGIN_MOST + 1];
    uint32_t n, n_given;
} operands;

static void take_operands(const use *u, tn_region r, operands *o) {
    tn_graph *g = u->g;
    *o = (operands){.given = {tn_plugin_given(g, &u->s)}, .n_given = 1};
    for (uint32_t k = 0; k < u->p->n_steps; k++) {
        const tn_plugin_step *step = &u->p->steps[k];
        if (step->kind != TN_PLUGIN_IN) continue;
        if (!u->s.in[step->index].there) {
            o->given[o->n_given++] = tn_intern(g, step->name);
            continue;
        }
        const tn_val v = u->x[step->index];
        o->in[o->n++] = v;
        o->args[step->index] = tn_region_add_arg(g, r, tn_val_type(g, v), step->name);
    }
}

/* What stands for results that the kernel alone defines. */
static bool hide(const use *u, const operands *o, tn_region r, tn_cursor at, tn_val *y) {
    tn_val args[TN_PLUGIN_MOST];
    for (uint32_t k = 0; k < o->n; k++) args[k] = tn_region_arg(u->g, r, k);
    tn_set_cursor(u->g, at);
    for (uint32_t k = 0; k < u->p->n_out; k++) {
        const tn_plugin_tensor *t = &u->s.out[k];
        const tn_attrs_opaque a = {.dtype = t->dtype, .dims = {t->dims, (uint32_t)t->rank}, .index = k};
        y[k] = tn_emit1(u->g, TN_OP_OPAQUE, &a, o->n, args);
    }
    return tn_graph_ok(u->g);
}

/* What kernels will be compared with, once a graph. */
static void say_reference(const use *u) {
    if (u->p->reference)
        tn_report(tn_graph_env(u->g), TN_NOTE, TN_OK, u->layer,
                  "plugin %s has no expansion: its kernels are compared with the reference that the caller gave",
                  u->p->name);
    else
        tn_report(
            tn_graph_env(u->g), TN_WARNING, TN_OK, u->layer,
            "plugin %s has no expansion: its kernels are compared with its own source as the emulated device runs it, "
            "which "
            "shows races, bounds and what a GPU does otherwise, but not whether the source computes what it should",
            u->p->name);
}

/* A kernel node that owns the expansion; e NULL: there is none. */
static tn_status emit_kernel(use *u, const tn_plugin_expansion *e, tn_val *y) {
    tn_graph *g = u->g;
    const tn_cursor at = tn_get_cursor(g);
    const tn_region r = tn_region_new(g);
    tn_val results[TN_PLUGIN_MOST];
    operands o;
    take_operands(u, r, &o);
    if (!tn_graph_ok(g)) return tn_graph_status(g);
    const tn_cursor inside = {r, {0}, at.loc};
    const bool ok = e ? expand(u, e, inside, o.args, results) : hide(u, &o, r, inside, results);
    tn_set_cursor(g, (tn_cursor){r, {0}, at.loc});
    if (ok) tn_emit(g, TN_OP_YIELD, NULL, u->p->n_out, results);
    tn_set_cursor(g, at);
    if (ok && !e && !tn_graph_plugin(g, table_name(g, u->p))) say_reference(u);
    if (!ok || tn_graph_use_plugin(g, u->p) != TN_OK) return tn_graph_status(g);
    const tn_attrs_kernel a = {.anchor = tn_intern(g, "plugin"),
                               .name = plain_name(g, u->p->name),
                               .plugin = table_name(g, u->p),
                               .given = {o.given, o.n_given}};
    const tn_node node = tn_emit_regions(g, TN_OP_KERNEL, &a, o.n, o.in, 1, &r);
    for (uint32_t k = 0; k < u->p->n_out; k++) y[k] = tn_node_result(g, node, k);
    return tn_graph_status(g);
}

tn_status tn_plugin_emit(tn_graph *g, const tn_plugin *p, size_t n_values, const tn_plugin_value *values, size_t n_x,
                         const tn_val *x, tn_val *y) {
    use u = {.g = g, .p = p, .x = x, .n_x = n_x, .home = tn_get_cursor(g).region};
    tn_plugin_tensor in[TN_PLUGIN_MOST] = {{0}};
    tn_val all[TN_PLUGIN_MOST] = {{0}};
    const tn_cursor at = tn_get_cursor(g);
    tn_loc_print(g, at.loc, u.layer, sizeof u.layer);
    memset(y, 0, TN_PLUGIN_MOST * sizeof *y);
    if (!tn_graph_ok(g)) return tn_graph_status(g);
    for (size_t k = 0; k < n_x && k < TN_PLUGIN_MOST; k++) {
        in[k] = tensor_of(g, x[k]);
        all[k] = x[k];
    }
    if (n_x > TN_PLUGIN_MOST)
        return tn_graph_fail(g, TN_E_ARGUMENT, (tn_node){0}, "", "plugin %s: %zu inputs are too many", p->name, n_x);
    tn_status st = tn_plugin_open(g, p, u.layer, n_values, values, NULL, n_x, in, true, &u.s);
    u.x = all;
    const tn_plugin_expansion *e = st == TN_OK && p->n_expansions ? choose(&u) : NULL;
    if (st == TN_OK && !p->n_expansions && made_by_data(&u))
        tn_graph_fail(g, TN_E_UNSUPPORTED, (tn_node){0}, "add an expansion, which is what runs at such sizes",
                      "plugin %s: a size of its operands depends on data, and it has a kernel alone", p->name);
    else if (st == TN_OK && !p->n_expansions)
        emit_kernel(&u, NULL, y);
    else if (e && p->has_kernel && !made_by_data(&u))
        emit_kernel(&u, e, y);
    else if (e)
        expand(&u, e, at, all, y);
    tn_plugin_close(&u.s);
    tn_set_cursor(g, at);
    return tn_graph_status(g);
}

tn_status tn_plugin_open_kernel(tn_graph *g, tn_node kernel, tn_plugin_scope *out) {
    const tn_plugin *p = tn_node_plugin(g, kernel);
    const tn_attrs_kernel *a = TN_ATTRS_OF(g, kernel, kernel);
    const tn_region r = tn_node_subregion(g, kernel, 0);
    tn_plugin_tensor in[TN_PLUGIN_MOST] = {{0}};
    size_t at = 0;
    memset(out, 0, sizeof *out);
    if (!p || !a->given.n)
        return tn_graph_fail(g, TN_E_FORMAT, kernel, "", "the kernel's plugin %s is not there", a->plugin);
    for (uint32_t k = 0; k < p->n_steps; k++) {
        const tn_plugin_step *step = &p->steps[k];
        bool there = step->kind == TN_PLUGIN_IN;
        for (uint32_t i = 1; there && i < a->given.n; i++) there = strcmp(a->given.p[i], step->name) != 0;
        if (there && at < tn_region_arg_count(g, r)) in[step->index] = tensor_of(g, tn_region_arg(g, r, at++));
    }
    return tn_plugin_open(g, p, "", 0, NULL, a->given.p[0], p->n_in, in, false, out);
}

/* ---- the builder ------------------------------------------------------------------------------------------------- */

tn_status tn_build_plugin(tn_graph *g, const tn_plugins *set, const char *op, size_t n_values,
                          const tn_plugin_value *values, size_t n_x, const tn_val *x, size_t n_y, tn_val *y) {
    const tn_plugin *p = tn_plugins_named(set, op, strlen(op));
    tn_val all[TN_PLUGIN_MOST];
    if (n_y) memset(y, 0, n_y * sizeof *y);
    if (!tn_graph_ok(g)) return tn_graph_status(g);
    if (!p)
        return tn_graph_fail(g, TN_E_UNSUPPORTED, (tn_node){0}, "load its file with tn_plugins_load",
                             "there is no plugin %s", op);
    if (n_y != p->n_out)
        return tn_graph_fail(g, TN_E_ARGUMENT, (tn_node){0}, "", "plugin %s has %u results, not %zu", op, p->n_out,
                             n_y);
    const tn_status st = tn_plugin_emit(g, p, n_values, values, n_x, x, all);
    if (st == TN_OK) memcpy(y, all, n_y * sizeof *y);
    return st;
}
