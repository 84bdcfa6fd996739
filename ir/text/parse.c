/* parse.c: the parser of the text form (text.h): header, function, regions and nodes.
 *
 * Types are inferred again from operands and attributes; a stated type that differs is an error.  Names are visible
 * from their definition to the end of their region.  A parsed graph has been verified. */
#include <stdio.h>
#include <string.h>

#include "ir/plugin/scope.h"

typedef struct name {
    const char *s; /* interned; "" for numbered values */
    uint32_t number;
} name;

typedef struct definition {
    name name;
    tn_val val;
    uint32_t next; /* in its bucket; 0: last */
} definition;

typedef struct output {
    const char *name;
    tn_type type;
} output;

typedef struct module {
    tn_parser p;
    definition *defs; /* a stack: regions pop theirs; entry 0 is unused */
    uint32_t n_defs;
    size_t cap_defs;
    uint32_t *buckets;
    uint32_t n_buckets; /* a power of two */
    output *outputs;    /* stated in the header */
    uint32_t n_outputs;
    bool has_outputs;
    unsigned depth;
    const tn_body *body; /* of a text that is one; NULL: a function */
    size_t n_results;
} module;

/* Room for element n of an array in the graph's arena; what is outgrown stays there unused. */
static void *grown(tn_parser *p, void *data, uint32_t n, size_t elem) {
    if (data && (n < 4 || (n & (n - 1)) != 0)) return data;
    void *more = tn_graph_alloc(p->g, (n < 4 ? 4 : (size_t)n * 2) * elem);
    if (more && n) memcpy(more, data, n * elem);
    tn_parse_graph_ok(p);
    return more;
}

/* ---- names of values --------------------------------------------------------------------------------------------- */

static uint32_t *bucket(module *m, name n) {
    uint64_t h = ((uint64_t)(uintptr_t)n.s + n.number * (uint64_t)0x632be59b) * 0x9e3779b97f4a7c15u;
    return &m->buckets[(uint32_t)(h >> 32) & (m->n_buckets - 1)];
}

static definition *lookup(module *m, name n) {
    for (uint32_t i = *bucket(m, n); i; i = m->defs[i].next)
        if (m->defs[i].name.s == n.s && m->defs[i].name.number == n.number) return &m->defs[i];
    return NULL;
}

static bool define_as(module *m, name n, tn_val v) {
    tn_parser *p = &m->p;
    if (lookup(m, n)) {
        if (*n.s) return tn_parse_error(p, "value %%%s is defined twice", n.s);
        return tn_parse_error(p, "value %%%u is defined twice", n.number);
    }
    definition *more = tn_grow(p->g->env, m->defs, &m->cap_defs, (size_t)m->n_defs + 1, sizeof *more);
    if (!more) return tn_graph_oom(p->g), tn_parse_graph_ok(p);
    m->defs = more;
    uint32_t *head = bucket(m, n);
    m->defs[m->n_defs] = (definition){n, v, *head};
    *head = m->n_defs++;
    return tn_parse_graph_ok(p);
}

static bool define(module *m, name n, tn_val v) {
    if (!define_as(m, n, v)) return false;
    if (*n.s && !m->body) tn_val_set_name(m->p.g, v, n.s);
    return tn_parse_graph_ok(&m->p);
}

static void pop_definitions(module *m, uint32_t to) {
    while (m->n_defs > to) {
        definition *d = &m->defs[--m->n_defs];
        *bucket(m, d->name) = d->next;
    }
}

/* %name, %"name", %name!2, %12 */
static bool parse_name(tn_parser *p, name *n) {
    uint64_t number = 0;
    const char *s = NULL;
    size_t len = 0;
    *n = (name){"", 0};
    if (!tn_parse_accept(p, "%")) return tn_parse_expected(p, "a value such as %x");
    if (*p->s >= '0' && *p->s <= '9') {
        if (!tn_parse_uint(p, &number)) return false;
    } else {
        if (*p->s == '"') {
            if (!tn_parse_string(p, &n->s)) return false;
        } else if (tn_parse_word(p, "a value's name", &s, &len))
            n->s = tn_intern_n(p->g, s, len);
        else
            return false;
        if (!*n->s) return tn_parse_graph_ok(p) && tn_parse_error(p, "a value's name is empty");
        if (*p->s == '!') {
            p->s++;
            if (!tn_parse_uint(p, &number)) return false;
        }
    }
    if (number >= UINT32_MAX) return tn_parse_error(p, "a value's number is too large");
    n->number = (uint32_t)number;
    return tn_parse_graph_ok(p);
}

static bool parse_use(module *m, tn_val *v) {
    tn_parser *p = &m->p;
    name n;
    *v = (tn_val){0};
    if (tn_parse_accept_word(p, "_")) return true;
    tn_parse_skip(p);
    const char *at = p->s;
    if (!parse_name(p, &n)) return false;
    const definition *d = lookup(m, n);
    if (!d)
        return tn_parse_error(p, "value %.*s is not defined before its use", (int)(p->s - at < 80 ? p->s - at : 80),
                              at);
    *v = d->val;
    return true;
}

/* ---- arguments and regions --------------------------------------------------------------------------------------- */

static bool parse_node(module *m, tn_region r, bool *ended);

/* (%x: f32[2], ...) */
static bool parse_args(module *m, tn_region r) {
    tn_parser *p = &m->p;
    if (!tn_parse_expect(p, "(")) return false;
    for (bool first = true; !tn_parse_accept(p, ")"); first = false) {
        name n;
        tn_type t;
        if ((!first && !tn_parse_expect(p, ",")) || !parse_name(p, &n) || !tn_parse_expect(p, ":") ||
            !tn_parse_type(p, &t))
            return false;
        tn_val v = tn_region_add_arg(p->g, r, t, n.s);
        if (!tn_parse_graph_ok(p) || !define(m, n, v)) return false;
    }
    return true;
}

/* Nodes up to the closing brace. */
static bool parse_nodes(module *m, tn_region r) {
    tn_parser *p = &m->p;
    bool ended = false;
    while (!tn_parse_accept(p, "}")) {
        if (ended) return tn_parse_expected(p, "'}' behind the region's last node");
        if (!parse_node(m, r, &ended)) return false;
    }
    return true;
}

static bool parse_condition(tn_parser *p, tn_region in);

/* What the nodes of r need comes before them. */
static bool parse_needs(tn_parser *p, tn_region r) {
    while (tn_parse_accept_word(p, "require"))
        if (!parse_condition(p, r)) return false;
    return !p->failed;
}

static bool at_region(tn_parser *p) {
    if (!tn_parse_peek(p, "{")) return false;
    tn_parser behind = *p; /* looks past the brace */
    behind.s++;
    return tn_parse_peek(&behind, "^");
}

static bool parse_region(module *m, tn_region *r) {
    tn_parser *p = &m->p;
    uint32_t outer = m->n_defs;
    if (m->depth == TN_MAX_NESTING) return tn_parse_error(p, "regions are nested more than %d deep", TN_MAX_NESTING);
    m->depth++;
    *r = tn_region_new(p->g);
    bool ok = tn_parse_graph_ok(p) && tn_parse_expect(p, "{") && tn_parse_expect(p, "^") && parse_args(m, *r) &&
              tn_parse_expect(p, ":") && parse_needs(p, *r) && parse_nodes(m, *r);
    pop_definitions(m, outer);
    m->depth--;
    return ok;
}

/* ---- nodes ------------------------------------------------------------------------------------------------------- */

typedef struct parsed_node {
    unsigned line, column;
    tn_op op;
    tn_any_attrs attrs;
    name *names;
    tn_val *in;
    tn_type *types;
    tn_region *regions;
    const char **layers;
    uint32_t n_names, n_in, n_types, n_regions, n_layers;
} parsed_node;

#define PUSH(p, n, list, count, value_)                                                                                \
    ((n)->list = grown((p), (n)->list, (n)->count, sizeof *(n)->list),                                                 \
     !(p)->failed && ((n)->list[(n)->count++] = (value_), true))

static bool parse_results(tn_parser *p, parsed_node *n) {
    if (!tn_parse_peek(p, "%")) return !p->failed;
    do {
        name x;
        if (!parse_name(p, &x) || !PUSH(p, n, names, n_names, x)) return false;
    } while (tn_parse_accept(p, ","));
    return tn_parse_expect(p, "=");
}

static bool parse_op(tn_parser *p, tn_op *op) {
    const char *s = NULL;
    size_t len = 0;
    tn_parse_skip(p);
    *op = tn_op_parse(p->s, tn_ident_length(p->s));
    if (*op == TN_OP_NONE && tn_ident_length(p->s))
        return tn_parse_error(p, "there is no op '%.*s'",
                              (int)(tn_ident_length(p->s) < 64 ? tn_ident_length(p->s) : 64), p->s);
    return tn_parse_word(p, "an op", &s, &len);
}

static bool parse_operands(module *m, parsed_node *n) {
    tn_parser *p = &m->p;
    bool parens = tn_parse_accept(p, "(");
    if (parens && tn_parse_accept(p, ")")) return true;
    tn_parse_skip(p);
    if (!parens && *p->s != '%' && !(*p->s == '_' && tn_ident_length(p->s) == 1)) return !p->failed;
    do {
        tn_val v;
        if (!parse_use(m, &v) || !PUSH(p, n, in, n_in, v)) return false;
    } while (tn_parse_accept(p, ","));
    return !parens || tn_parse_expect(p, ")");
}

static bool parse_types(tn_parser *p, parsed_node *n) {
    if (!tn_parse_accept(p, ":")) return !p->failed;
    do {
        tn_type t;
        if (!tn_parse_type(p, &t) || !PUSH(p, n, types, n_types, t)) return false;
    } while (tn_parse_accept(p, ","));
    return true;
}

static bool parse_loc(tn_parser *p, parsed_node *n) {
    if (!tn_parse_accept_word(p, "loc")) return !p->failed;
    if (!tn_parse_expect(p, "(")) return false;
    do {
        const char *s = NULL;
        if (!tn_parse_string(p, &s) || !PUSH(p, n, layers, n_layers, s)) return false;
    } while (tn_parse_accept(p, ","));
    return tn_parse_expect(p, ")");
}

static bool parse_regions(module *m, parsed_node *n) {
    while (at_region(&m->p)) {
        tn_region r;
        if (!parse_region(m, &r) || !PUSH(&m->p, n, regions, n_regions, r)) return false;
    }
    return !m->p.failed;
}

static bool check_type(tn_parser *p, tn_type stated, tn_type is, const char *what, size_t k) {
    char a[256], b[256];
    if (stated.i == is.i) return true;
    tn_type_print(p->g, stated, a, sizeof a);
    tn_type_print(p->g, is, b, sizeof b);
    return tn_parse_error(p, "%s %zu is stated as %s but is %s", what, k, a, b);
}

static bool finish(module *m, parsed_node *n, const char *op, size_t results, const tn_val *vals) {
    tn_parser *p = &m->p;
    if (n->n_types && n->n_types != results)
        return tn_parse_error(p, "%s has %zu results but %u types are stated", op, results, n->n_types);
    if (n->n_names != results)
        return tn_parse_error(p, "%s has %zu results but %u names are given", op, results, n->n_names);
    for (size_t k = 0; k < results; k++) {
        if (n->n_types && !check_type(p, n->types[k], tn_val_type(p->g, vals[k]), "result", k)) return false;
        if (!define(m, n->names[k], vals[k])) return false;
    }
    return true;
}

static bool finish_node(module *m, parsed_node *n, tn_node node) {
    tn_parser *p = &m->p;
    const size_t results = tn_node_result_count(p->g, node);
    tn_val *vals = tn_graph_alloc(p->g, (results + 1) * sizeof *vals);
    for (size_t k = 0; vals && k < results; k++) vals[k] = tn_node_result(p->g, node, k);
    return tn_parse_graph_ok(p) && finish(m, n, tn_op_text(n->op), results, vals);
}

/* Where a node of r is put: with its own layers, or those of the place that the text is written for. */
static tn_cursor cursor_of(const module *m, tn_region r, const parsed_node *n) {
    tn_cursor at = {r, {0}, tn_loc_of(m->p.g, n->layers, n->n_layers)};
    if (!m->body) return at;
    if (r.i == m->body->at.region.i) at.before = m->body->at.before;
    if (!n->n_layers) at.loc = m->body->at.loc;
    return at;
}

/* ---- ops of plugins ---------------------------------------------------------------------------------------------- */

/* domain::op, which no op of the graph's own is called. */
static bool at_plugin(const tn_parser *p) {
    const size_t n = tn_ident_length(p->s);
    return n && !strncmp(p->s + n, "::", 2) && tn_ident_length(p->s + n + 2);
}

static const tn_plugin *plugin_named(tn_parser *p, const char *s, size_t n) {
    const tn_plugin *found = tn_plugins_named(p->side.plugins, s, n);
    for (uint32_t k = 0; !found && k < p->g->plugins.n; k++)
        if (strlen(p->g->plugins.p[k]->name) == n && !memcmp(p->g->plugins.p[k]->name, s, n))
            found = p->g->plugins.p[k];
    if (!found)
        tn_parse_error(p, "there is no plugin '%.*s': give its file with --plugin (tn_import_options.plugins)",
                       (int)(n < 80 ? n : 80), s);
    return found;
}

/* %y = yolo::region %x {classes=20} */
static bool parse_plugin(module *m, parsed_node *n, tn_region r) {
    tn_parser *p = &m->p;
    const size_t domain = tn_ident_length(p->s), length = domain + 2 + tn_ident_length(p->s + domain + 2);
    const tn_plugin *plugin = m->body ? NULL : plugin_named(p, p->s, length);
    tn_plugin_value values[TN_PLUGIN_MOST];
    tn_val y[TN_PLUGIN_MOST];
    size_t n_values = 0;
    if (m->body) return tn_parse_error(p, "an expansion is of Tenon's own ops, not of plugins'"); /* nor of itself */
    if (!plugin) return false;
    p->s += length;
    if (!parse_operands(m, n)) return false;
    if (tn_parse_accept(p, "{") && (!tn_plugin_parse_values(p, plugin, values, &n_values) || !tn_parse_expect(p, "}")))
        return false;
    if (!parse_types(p, n) || !parse_loc(p, n)) return false;
    snprintf(p->where, sizeof p->where, "%.255s:%u:%u", p->source, n->line, n->column);
    tn_set_cursor(p->g, cursor_of(m, r, n));
    tn_plugin_emit(p->g, plugin, n_values, values, n->n_in, n->in, y);
    return tn_parse_graph_ok(p) && finish(m, n, plugin->name, plugin->n_out, y);
}

/* plugin "region.cu" "the text" */
static bool parse_definition(tn_parser *p) {
    const char *source, *text;
    tn_plugin *plugin;
    if (!tn_parse_string(p, &source) || !tn_parse_string(p, &text)) return false;
    const tn_status st = tn_plugin_read(p->g->env, source, text, strlen(text), &plugin);
    if (st != TN_OK) {
        p->failed = true;
        p->status = st;
        return false;
    }
    tn_graph_use_plugin(p->g, plugin);
    tn_plugin_release(plugin);
    return tn_parse_graph_ok(p);
}

/* The names in the header are the attribute of return. */
static bool prepare_return(module *m, parsed_node *n) {
    tn_parser *p = &m->p;
    if (!m->has_outputs) return true;
    if (m->n_outputs != n->n_in)
        return tn_parse_error(p, "the function states %u outputs but returns %u", m->n_outputs, n->n_in);
    const char **names = tn_graph_alloc(p->g, n->n_in * sizeof *names);
    bool any = false;
    for (uint32_t k = 0; names && k < n->n_in; k++) {
        names[k] = m->outputs[k].name;
        any = any || *names[k];
        if (!check_type(p, m->outputs[k].type, tn_val_type(p->g, n->in[k]), "output", k)) return false;
    }
    n->attrs.of_names.names = (tn_strs){names, any ? n->n_in : 0};
    return tn_parse_graph_ok(p);
}

/* yield %a, %b: a body's results, which its caller wants. */
static bool take_results(module *m, const parsed_node *n) {
    if (n->op != TN_OP_YIELD) return tn_parse_error(&m->p, "an expansion ends with yield");
    if (n->n_in > m->body->cap) return tn_parse_error(&m->p, "more than %zu results", m->body->cap);
    if (n->n_in) memcpy(m->body->results, n->in, n->n_in * sizeof *n->in);
    m->n_results = n->n_in;
    return true;
}

static bool parse_node(module *m, tn_region r, bool *ended) {
    tn_parser *p = &m->p;
    parsed_node n = {0};
    tn_val constant = {0};
    tn_parse_skip(p);
    n.line = p->line;
    n.column = (unsigned)(p->s - p->line_start) + 1;
    if (!parse_results(p, &n)) return false;
    tn_parse_skip(p);
    if (at_plugin(p)) return parse_plugin(m, &n, r);
    if (!parse_op(p, &n.op)) return false;
    tn_parse_mark(p);
    tn_set_cursor(p->g, cursor_of(m, r, &n));
    if (n.op == TN_OP_CONST) {
        if (!tn_parse_const(p, &constant) || !parse_loc(p, &n)) return false;
        tn_node_set_loc(p->g, tn_val_def(p->g, constant), cursor_of(m, r, &n).loc);
        return tn_parse_graph_ok(p) && finish_node(m, &n, tn_val_def(p->g, constant));
    }
    if (!parse_operands(m, &n) || (!at_region(p) && !tn_parse_attrs(p, n.op, &n.attrs)) || !parse_types(p, &n) ||
        !parse_loc(p, &n) || !parse_regions(m, &n))
        return false;
    if (n.op == TN_OP_RETURN && m->depth == 0 && !prepare_return(m, &n)) return false;
    snprintf(p->where, sizeof p->where, "%.255s:%u:%u", p->source, n.line, n.column);
    if (m->body && m->depth == 0 && tn_op_is(n.op, TN_T_TERMINATOR)) return *ended = true, take_results(m, &n);
    tn_set_cursor(p->g, cursor_of(m, r, &n));
    tn_node node = tn_emit_regions(p->g, n.op, &n.attrs, n.n_in, n.in, n.n_regions, n.regions);
    *ended = tn_op_is(n.op, TN_T_TERMINATOR);
    return tn_parse_graph_ok(p) && finish_node(m, &n, node);
}

/* ---- header and function ----------------------------------------------------------------------------------------- */

static bool parse_bound(tn_parser *p, int64_t *v) {
    if (tn_parse_accept_word(p, "inf")) return *v = INT64_MAX, true;
    if (tn_parse_accept(p, "-inf")) return *v = INT64_MIN, true;
    return tn_parse_int(p, v);
}

/* N in [1, 64] hint 8; *has: of range and hint */
static bool parse_range(tn_parser *p, tn_dim *d, tn_size_range *r, bool *has) {
    *r = (tn_size_range){0};
    if (!tn_parse_dim(p, d)) return false;
    if (tn_dim_kind_of(p->g, *d) != TN_DIM_SYM)
        return tn_parse_error(p, "a symbol's name is expected, not an expression");
    *has = tn_parse_accept_word(p, "in");
    if (*has && (!tn_parse_expect(p, "[") || !parse_bound(p, &r->lo) || !tn_parse_expect(p, ",") ||
                 !parse_bound(p, &r->hi) || !tn_parse_expect(p, "]")))
        return false;
    if (r->lo > r->hi) return tn_parse_error(p, "a symbol's lower bound is above its upper bound");
    return !tn_parse_accept_word(p, "hint") || tn_parse_int(p, &r->typical);
}

/* symbol N in [1, 64] hint 8 */
static bool parse_symbol(tn_parser *p) {
    tn_dim d;
    tn_size_range r;
    bool has;
    if (!parse_range(p, &d, &r, &has)) return false;
    if (r.typical < 0) return tn_parse_error(p, "a typical size is not negative");
    if (has) tn_dim_set_range(p->g, d, r.lo, r.hi);
    if (r.typical) tn_dim_set_hint(p->g, d, r.typical);
    return tn_parse_graph_ok(p);
}

/* bucket N in [1, 8] hint 1, S in [1, 256] hint 128 by 8 */
static bool parse_bucket(tn_parser *p) {
    const size_t bucket = tn_bucket_count(p->g);
    if (bucket == TN_MAX_GIVEN_BUCKETS)
        return tn_parse_error(p, "there are more than %d buckets", TN_MAX_GIVEN_BUCKETS);
    do {
        tn_dim d;
        tn_size_range r;
        bool has;
        if (!parse_range(p, &d, &r, &has)) return false;
        if (tn_parse_accept_word(p, "by") && !tn_parse_int(p, &r.divisor)) return false;
        if (!has || r.typical < 0 || r.divisor < 0)
            return tn_parse_error(p, "a bucket gives a symbol a range and a size");
        tn_bucket_set_range(p->g, bucket, d, r);
    } while (tn_parse_accept(p, ","));
    return tn_parse_graph_ok(p);
}

/* require equal(K, L) "matmul" of "axis 1 of x", "axis 0 of w" loc("fc") */
static bool parse_condition(tn_parser *p, tn_region in) {
    tn_condition c = {.rel = TN_REL_EQUAL, .what = "", .in = in};
    const char *s = NULL;
    size_t n = 0;
    parsed_node layers = {0};
    if (!tn_parse_word(p, "a relation such as equal", &s, &n)) return false;
    while (c.rel < TN_REL_COUNT && (strlen(tn_rel_text(c.rel)) != n || memcmp(tn_rel_text(c.rel), s, n) != 0)) c.rel++;
    if (c.rel == TN_REL_COUNT)
        return tn_parse_error(p, "there is no relation '%.*s' between sizes", (int)(n < 64 ? n : 64), s);
    if (!tn_parse_expect(p, "(") || !tn_parse_dim(p, &c.a) || !tn_parse_expect(p, ",") || !tn_parse_dim(p, &c.b) ||
        !tn_parse_expect(p, ")") || !tn_parse_string(p, &c.what))
        return false;
    if (tn_parse_accept_word(p, "of") &&
        (!tn_parse_string(p, &c.of_a) || !tn_parse_expect(p, ",") || !tn_parse_string(p, &c.of_b)))
        return false;
    if (!parse_loc(p, &layers)) return false;
    c.loc = tn_loc_of(p->g, layers.layers, layers.n_layers);
    tn_graph_require(p->g, c);
    return tn_parse_graph_ok(p);
}

static bool parse_header(tn_parser *p) {
    const char *key = NULL, *value = NULL;
    for (;;) {
        if (tn_parse_accept_word(p, "weights")) {
            if (!tn_parse_string(p, &key)) return false; /* the caller has opened it */
        } else if (tn_parse_accept_word(p, "meta")) {
            if (!tn_parse_string(p, &key) || !tn_parse_expect(p, "=") || !tn_parse_string(p, &value)) return false;
            tn_graph_set_meta(p->g, key, value);
        } else if (tn_parse_accept_word(p, "symbol")) {
            if (!parse_symbol(p)) return false;
        } else if (tn_parse_accept_word(p, "bucket")) {
            if (!parse_bucket(p)) return false;
        } else if (tn_parse_accept_word(p, "require")) {
            if (!parse_condition(p, tn_graph_body(p->g))) return false;
        } else if (tn_parse_accept_word(p, "plugin")) {
            if (!parse_definition(p)) return false;
        } else
            return tn_parse_graph_ok(p);
    }
}

static bool parse_output(module *m) {
    tn_parser *p = &m->p;
    output o = {"", {0}};
    if (tn_parse_peek(p, "%")) {
        name n;
        if (!parse_name(p, &n) || !tn_parse_expect(p, ":")) return false;
        o.name = n.s;
    }
    return tn_parse_type(p, &o.type) && PUSH(p, m, outputs, n_outputs, o);
}

static bool parse_outputs(module *m) {
    tn_parser *p = &m->p;
    m->has_outputs = tn_parse_accept(p, "->");
    if (!m->has_outputs) return !p->failed;
    if (!tn_parse_accept(p, "(")) return parse_output(m);
    for (bool first = true; !tn_parse_accept(p, ")"); first = false)
        if ((!first && !tn_parse_expect(p, ",")) || !parse_output(m)) return false;
    return true;
}

static bool parse_function(module *m) {
    tn_parser *p = &m->p;
    const char *s = NULL;
    size_t n = 0;
    if (!tn_parse_accept_word(p, "func")) return tn_parse_expected(p, "func, symbol, bucket, meta or weights");
    if (!tn_parse_expect(p, "@")) return false;
    if (tn_parse_peek(p, "\"")) {
        if (!tn_parse_string(p, &s)) return false;
        tn_graph_set_name(p->g, s);
    } else {
        if (!tn_parse_word(p, "the function's name", &s, &n)) return false;
        tn_graph_set_name(p->g, tn_intern_n(p->g, s, n));
    }
    if (!parse_args(m, p->g->body)) return false;
    tn_equals_find(p->g); /* the types that follow were written so */
    if (!parse_outputs(m) || !tn_parse_expect(p, "{") || !parse_nodes(m, p->g->body)) return false;
    tn_parse_skip(p);
    return p->s == p->end || tn_parse_expected(p, "the end of the text");
}

static void release(module *m, char *text, size_t size) {
    const tn_env *env = m->p.g->env;
    tn_free(env, text, size);
    tn_free(env, m->defs, m->cap_defs * sizeof *m->defs);
    tn_free(env, m->buckets, m->n_buckets * sizeof *m->buckets);
    tn_free(env, m->p.blobs, m->p.cap_blobs * sizeof *m->p.blobs);
}

static bool parse_body(module *m) {
    tn_parser *p = &m->p;
    const tn_body *b = m->body;
    for (size_t k = 0; k < b->n_args; k++)
        if (!define_as(m, (name){tn_intern(p->g, b->names[k]), 0}, b->args[k])) return false;
    if (!tn_parse_expect(p, "{") || !parse_nodes(m, b->at.region)) return false;
    return m->n_results || tn_parse_error(p, "an expansion ends with yield and its results");
}

bool tn_parse_body(tn_parser *p, const tn_body *b, size_t *n_results) {
    enum { BUCKETS = 64 };
    tn_graph *g = p->g;
    const char *outer = g->where;
    module m = {.p = *p, .body = b, .n_buckets = BUCKETS, .n_defs = 1};
    m.buckets = tn_alloc(g->env, BUCKETS * sizeof *m.buckets);
    if (!m.buckets) tn_graph_oom(g);
    tn_parse_mark(&m.p);
    g->where = m.p.where;
    const bool ok = tn_parse_graph_ok(&m.p) && parse_body(&m);
    g->where = outer;
    p->failed = m.p.failed;
    p->status = m.p.status;
    *n_results = m.n_results;
    release(&m, NULL, 0);
    return ok;
}

static tn_status parse_module(module *m, const char *text, size_t size) {
    tn_parser *p = &m->p;
    tn_graph *g = p->g;
    for (m->n_buckets = 64; m->n_buckets < size / 64 && m->n_buckets < 1u << 16;) m->n_buckets *= 2;
    m->buckets = tn_alloc(g->env, m->n_buckets * sizeof *m->buckets);
    char *copy = size < SIZE_MAX ? tn_alloc(g->env, size + 1) : NULL;
    tn_status st = TN_E_MEMORY;
    m->n_defs = 1;
    if (m->buckets && copy) {
        if (size) memcpy(copy, text, size);
        p->s = p->line_start = copy;
        p->end = copy + size;
        p->line = 1;
        g->where = p->where;
        tn_parse_mark(p);
        st = parse_header(p) && parse_function(m) ? TN_OK : p->status;
        tn_set_cursor(g, (tn_cursor){g->body, {0}, {0}});
        snprintf(p->where, sizeof p->where, "%.255s", p->source);
        if (st == TN_OK) st = tn_verify(g);
        g->where = NULL;
    } else
        tn_graph_oom(g);
    release(m, copy, size + 1);
    return st;
}

tn_graph *tn_parse_side(const tn_env *env, const char *source, const char *text, size_t size, const tn_side *side,
                        tn_status *status) {
    module m = {.p = {.source = source ? source : "", .side = *side}};
    m.p.g = tn_graph_new(env);
    tn_status st =
        m.p.g ? parse_module(&m, text, size) : tn_fail(env, TN_E_MEMORY, source, "", "out of memory while parsing");
    if (status) *status = st;
    if (st == TN_OK) return m.p.g;
    tn_graph_free(m.p.g);
    return NULL;
}

tn_graph *tn_parse(const tn_env *env, const char *source, const char *text, size_t size, const void *weights,
                   size_t weights_size, bool copy, tn_status *status) {
    return tn_parse_side(env, source, text, size, &(tn_side){.p = weights, .size = weights_size, .copy = copy}, status);
}
