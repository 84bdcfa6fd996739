/* text.c: prints a graph in the text form (text.h) and writes the side file of its large constants. */
#include <string.h>

#include "ir/plugin/plugin.h"
#include "ir/text/text.h"

typedef struct name_of {
    uint32_t number; /* unnamed: %number; named: which of the values of that name */
} name_of;

typedef struct printer {
    const tn_graph *g;
    tn_out o;
    name_of *names;    /* by value handle; NULL: a single node is printed */
    uint64_t *offsets; /* by blob handle, in the side file; UINT64_MAX: not there */
} printer;

/* ---- names of values --------------------------------------------------------------------------------------------- */

typedef struct numbering {
    const tn_graph *g;
    name_of *names;
    uint32_t *count; /* by value handle: values so far of the name that this value had first */
    tn_table first;  /* name -> the first value that has it */
    uint32_t unnamed;
    bool failed;
} numbering;

typedef struct name_key {
    const tn_graph *g;
    const char *name;
} name_key;

static bool same_name(const void *user, uint32_t h) {
    const name_key *k = user;
    return tn_val_name(k->g, (tn_val){h}) == k->name; /* interned */
}

static void number_val(numbering *s, tn_val v) {
    const char *name = tn_val_name(s->g, v);
    if (!*name) {
        s->names[v.i].number = s->unnamed++;
        return;
    }
    const name_key key = {s->g, name};
    uint64_t hash = (uint64_t)(uintptr_t)name * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 32;
    uint32_t first = tn_table_find(&s->first, hash, same_name, &key);
    if (first)
        s->names[v.i].number = ++s->count[first];
    else if (!tn_table_add(s->g->env, &s->first, hash, v.i))
        s->failed = true;
}

static void number_region(numbering *s, tn_region r) {
    const tn_graph *g = s->g;
    for (size_t k = 0; k < tn_region_arg_count(g, r); k++) number_val(s, tn_region_arg(g, r, k));
    TN_FOR_NODES(g, r, n) {
        for (size_t k = 0; k < tn_node_subregion_count(g, n); k++) number_region(s, tn_node_subregion(g, n, k));
        for (size_t k = 0; k < tn_node_result_count(g, n); k++) number_val(s, tn_node_result(g, n, k));
    }
}

static bool number_all(const tn_graph *g, name_of *names) {
    numbering s = {g, names, tn_alloc(g->env, g->vals.n * sizeof *s.count), {0}, 0, false};
    if (!s.count) return false;
    number_region(&s, g->body);
    tn_table_free(g->env, &s.first);
    tn_free(g->env, s.count, g->vals.n * sizeof *s.count);
    return !s.failed;
}

static void out_word(tn_out *o, const char *s) {
    if (*s && tn_ident_length(s) == strlen(s))
        tn_out_str(o, s);
    else
        tn_out_quoted(o, s);
}

static void out_val(printer *p, tn_val v) {
    const char *name = tn_val_name(p->g, v);
    uint32_t number = p->names ? p->names[v.i].number : *name ? 0 : v.i;
    tn_out_str(&p->o, "%");
    if (!*name)
        tn_out_fmt(&p->o, "%u", number);
    else {
        out_word(&p->o, name);
        if (number) tn_out_fmt(&p->o, "!%u", number);
    }
}

/* ---- constants --------------------------------------------------------------------------------------------------- */

typedef enum form { INLINE, SPLAT, SIDE } form;

static uint64_t element_count(const tn_graph *g, const tn_attrs_const *a) {
    uint64_t n = 1;
    for (uint32_t k = 0; k < a->dims.n; k++) {
        int64_t d = 0;
        tn_dim_is_const(g, a->dims.p[k], &d);
        n *= (uint64_t)d;
    }
    return n;
}

static form const_form(const tn_graph *g, const tn_attrs_const *a) {
    uint64_t n = element_count(g, a);
    size_t size = tn_blob_size(g, a->data), elem = tn_dtype_bits(a->dtype) / 8;
    const char *data = tn_blob_data(g, a->data);
    if (n <= TN_PRINT_INLINE || !data) return INLINE;
    if (size > TN_SPLAT_BYTES) return SIDE;
    if (elem) return memcmp(data, data + elem, size - elem) == 0 ? SPLAT : SIDE;
    for (uint64_t i = 1; i < n; i++)
        if (tn_load_bits(a->dtype, data, i) != tn_load_bits(a->dtype, data, 0)) return SIDE;
    return n % (8 / tn_dtype_bits(a->dtype)) ? SIDE : SPLAT; /* splat would not restore the rest of the last byte */
}

static void out_const(printer *p, const tn_attrs_const *a) {
    const void *data = tn_blob_data(p->g, a->data);
    uint64_t n = data ? element_count(p->g, a) : 0;
    form f = const_form(p->g, a);
    if (a->name && *a->name) {
        tn_out_str(&p->o, " ");
        tn_out_quoted(&p->o, a->name);
    }
    if (f == SPLAT) {
        tn_out_str(&p->o, " splat(");
        tn_out_element(&p->o, a->dtype, data, 0);
        tn_out_str(&p->o, ")");
    } else if (f == SIDE && p->offsets) {
        tn_out_fmt(&p->o, " {offset=%llu}", (unsigned long long)p->offsets[a->data.i]);
    } else if (f == INLINE) {
        tn_out_str(&p->o, " [");
        for (uint64_t i = 0; i < n; i++) {
            if (i) tn_out_str(&p->o, ", ");
            tn_out_element(&p->o, a->dtype, data, i);
        }
        tn_out_str(&p->o, "]");
    }
}

/* ---- nodes ------------------------------------------------------------------------------------------------------- */

static void out_region(printer *p, tn_region r, int indent);

static void newline(printer *p, int indent) {
    tn_out_fmt(&p->o, "\n%*s", indent * 2, "");
}

static void out_args(printer *p, tn_region r) {
    tn_out_str(&p->o, "(");
    for (size_t k = 0; k < tn_region_arg_count(p->g, r); k++) {
        tn_val v = tn_region_arg(p->g, r, k);
        if (k) tn_out_str(&p->o, ", ");
        out_val(p, v);
        tn_out_str(&p->o, ": ");
        tn_out_type(&p->o, p->g, tn_val_type(p->g, v));
    }
    tn_out_str(&p->o, ")");
}

static void out_operands(printer *p, tn_node n) {
    size_t count = tn_node_input_count(p->g, n);
    bool parens = tn_op_is(tn_node_op(p->g, n), TN_T_REGIONS);
    tn_out_str(&p->o, parens ? "(" : count ? " " : "");
    for (size_t k = 0; k < count; k++) {
        tn_val v = tn_node_input(p->g, n, k);
        if (k) tn_out_str(&p->o, ", ");
        if (v.i)
            out_val(p, v);
        else
            tn_out_str(&p->o, "_");
    }
    if (parens) tn_out_str(&p->o, ")");
}

static void out_loc(printer *p, tn_loc l) {
    size_t n = tn_loc_count(p->g, l);
    if (n) tn_out_str(&p->o, " loc(");
    for (size_t k = 0; k < n; k++) {
        if (k) tn_out_str(&p->o, ", ");
        tn_out_quoted(&p->o, tn_loc_at(p->g, l, k));
    }
    if (n) tn_out_str(&p->o, ")");
}

static void out_node(printer *p, tn_node n, int indent) {
    const tn_graph *g = p->g;
    tn_op op = tn_node_op(g, n);
    size_t results = tn_node_result_count(g, n);
    for (size_t k = 0; k < results; k++) {
        out_val(p, tn_node_result(g, n, k));
        tn_out_str(&p->o, k + 1 < results ? ", " : " = ");
    }
    tn_out_str(&p->o, tn_op_text(op));
    out_operands(p, n);
    if (op == TN_OP_CONST)
        out_const(p, TN_ATTRS_OF(g, n, const));
    else if (op == TN_OP_RETURN) /* its names are in the header */
        tn_out_attrs(&p->o, g, op, &(tn_attrs_names){.sizes = TN_ATTRS_OF(g, n, names)->sizes});
    else
        tn_out_attrs(&p->o, g, op, tn_node_attrs(g, n));
    for (size_t k = 0; k < results; k++) {
        tn_out_str(&p->o, k ? ", " : " : ");
        tn_out_type(&p->o, g, tn_val_type(g, tn_node_result(g, n, k)));
    }
    out_loc(p, tn_node_loc(g, n));
    for (size_t k = 0; p->names && k < tn_node_subregion_count(g, n); k++) {
        tn_out_str(&p->o, " {");
        newline(p, indent + 1);
        tn_out_str(&p->o, "^");
        out_args(p, tn_node_subregion(g, n, k));
        tn_out_str(&p->o, ":");
        out_region(p, tn_node_subregion(g, n, k), indent + 1);
        newline(p, indent);
        tn_out_str(&p->o, "}");
    }
}

/* require equal(K, L) "matmul" of "axis 1 of x", "axis 0 of w" loc("fc") */
static void out_condition(printer *p, const tn_condition *c) {
    const tn_graph *g = p->g;
    tn_out_fmt(&p->o, "require %s(", tn_rel_text(c->rel));
    tn_out_dim(&p->o, g, c->a);
    tn_out_str(&p->o, ", ");
    tn_out_dim(&p->o, g, c->b);
    tn_out_str(&p->o, ") ");
    tn_out_quoted(&p->o, c->what);
    if (*c->of_a || *c->of_b) {
        tn_out_str(&p->o, " of ");
        tn_out_quoted(&p->o, c->of_a);
        tn_out_str(&p->o, ", ");
        tn_out_quoted(&p->o, c->of_b);
    }
    out_loc(p, c->loc);
}

/* What the nodes of r need comes before them. */
static void out_needs(printer *p, tn_region r, int indent) {
    for (size_t k = 0; k < tn_condition_count(p->g); k++) {
        const tn_condition c = tn_condition_at(p->g, k);
        if (c.in.i != r.i) continue;
        newline(p, indent);
        out_condition(p, &c);
    }
}

/* Nesting is bounded by TN_MAX_NESTING. */
static void out_region(printer *p, tn_region r, int indent) {
    out_needs(p, r, indent);
    TN_FOR_NODES(p->g, r, n) {
        newline(p, indent);
        out_node(p, n, indent);
    }
}

/* ---- module ------------------------------------------------------------------------------------------------------ */

static void out_bound(tn_out *o, int64_t v) {
    if (v == INT64_MAX)
        tn_out_str(o, "inf");
    else if (v == INT64_MIN)
        tn_out_str(o, "-inf");
    else
        tn_out_fmt(o, "%lld", (long long)v);
}

/* N in [1, 64] hint 8 by 4 */
static void out_range(printer *p, tn_dim sym, tn_size_range r) {
    tn_out_dim(&p->o, p->g, sym);
    tn_out_str(&p->o, " in [");
    out_bound(&p->o, r.lo);
    tn_out_str(&p->o, ", ");
    out_bound(&p->o, r.hi);
    tn_out_str(&p->o, "]");
    if (r.typical) tn_out_fmt(&p->o, " hint %lld", (long long)r.typical);
    if (r.divisor > 1) tn_out_fmt(&p->o, " by %lld", (long long)r.divisor);
}

/* bucket N in [1, 8] hint 1, S in [1, 256] hint 128 */
static void out_buckets(printer *p) {
    const tn_graph *g = p->g;
    for (size_t b = 0; b < tn_bucket_count(g) && tn_sym_count(g); b++)
        for (size_t k = 0; k < tn_sym_count(g); k++) {
            tn_out_str(&p->o, k ? ", " : "bucket ");
            out_range(p, tn_sym_at(g, k), tn_bucket_range(g, b, tn_sym_at(g, k)));
            if (k + 1 == tn_sym_count(g)) tn_out_str(&p->o, "\n");
        }
}

static void out_header(printer *p, const char *side) {
    const tn_graph *g = p->g;
    tn_out *o = &p->o;
    if (side) {
        tn_out_str(o, "weights ");
        tn_out_quoted(o, side);
        tn_out_str(o, "\n");
    }
    for (size_t k = 0; k < tn_graph_meta_count(g); k++) {
        const char *key = NULL, *value = NULL;
        tn_graph_meta(g, k, &key, &value);
        tn_out_str(o, "meta ");
        tn_out_quoted(o, key);
        tn_out_str(o, " = ");
        tn_out_quoted(o, value);
        tn_out_str(o, "\n");
    }
    for (uint32_t k = 0; k < g->plugins.n; k++) {
        tn_out_str(o, "plugin ");
        tn_out_quoted(o, g->plugins.p[k]->source);
        tn_out_str(o, " ");
        tn_out_quoted(o, g->plugins.p[k]->text);
        tn_out_str(o, "\n");
    }
    for (size_t k = 0; k < tn_sym_count(g); k++) {
        tn_size_range r = {.typical = tn_dim_hint(g, tn_sym_at(g, k))};
        tn_dim_bounds(g, tn_sym_at(g, k), &r.lo, &r.hi);
        if (r.lo == 0 && r.hi == INT64_MAX && !r.typical && !tn_bucket_count(g)) continue; /* buckets keep the order */
        tn_out_str(o, "symbol ");
        out_range(p, tn_sym_at(g, k), r);
        tn_out_str(o, "\n");
    }
    out_buckets(p);
}

static void out_conditions(printer *p) {
    for (size_t k = 0; k < tn_condition_count(p->g); k++) {
        const tn_condition c = tn_condition_at(p->g, k);
        if (c.in.i) continue;
        out_condition(p, &c);
        tn_out_str(&p->o, "\n");
    }
}

static void out_function(printer *p) {
    const tn_graph *g = p->g;
    tn_out_str(&p->o, "func @");
    out_word(&p->o, tn_graph_name(g));
    out_args(p, g->body);
    tn_out_str(&p->o, " -> (");
    for (size_t k = 0; k < tn_graph_output_count(g); k++) {
        const char *name = tn_graph_output_name(g, k);
        if (k) tn_out_str(&p->o, ", ");
        if (*name) {
            tn_out_str(&p->o, "%");
            out_word(&p->o, name);
            tn_out_str(&p->o, ": ");
        }
        tn_out_type(&p->o, g, tn_val_type(g, tn_graph_output(g, k)));
    }
    tn_out_str(&p->o, ") {");
    out_region(p, g->body, 1);
    tn_out_str(&p->o, "\n}\n");
}

/* ---- the side file ----------------------------------------------------------------------------------------------- */

typedef struct layout {
    const tn_graph *g;
    const bool *without;                                     /* by blob handle: not written; NULL: all are */
    uint64_t *offsets;                                       /* by blob handle */
    uint64_t at;                                             /* end of the last blob */
    tn_status (*write)(void *user, const void *p, size_t n); /* NULL: only lay out */
    void *user;
} layout;

static tn_status place_blob(layout *l, tn_blob b) {
    static const char zeros[TN_SIDE_ALIGN];
    if (l->offsets[b.i] != UINT64_MAX) return TN_OK;
    if (l->without && l->without[b.i]) return l->offsets[b.i] = tn_side_elsewhere(b), TN_OK;
    size_t pad = (size_t)(TN_SIDE_ALIGN - l->at % TN_SIDE_ALIGN) % TN_SIDE_ALIGN;
    l->offsets[b.i] = l->at + pad;
    l->at += pad + tn_blob_size(l->g, b);
    if (!l->write) return TN_OK;
    tn_status st = pad ? l->write(l->user, zeros, pad) : TN_OK;
    return st == TN_OK ? l->write(l->user, tn_blob_data(l->g, b), tn_blob_size(l->g, b)) : st;
}

static tn_status place_region(layout *l, tn_region r) {
    const tn_graph *g = l->g;
    tn_status st = TN_OK;
    TN_FOR_NODES(g, r, n) {
        if (tn_node_op(g, n) == TN_OP_CONST && const_form(g, TN_ATTRS_OF(g, n, const)) == SIDE)
            st = place_blob(l, TN_ATTRS_OF(g, n, const)->data);
        for (size_t k = 0; st == TN_OK && k < tn_node_subregion_count(g, n); k++)
            st = place_region(l, tn_node_subregion(g, n, k));
        if (st != TN_OK) break;
    }
    return st;
}

static tn_status lay_out(const tn_graph *g, layout *l) {
    l->offsets = tn_alloc(g->env, g->blobs.n * sizeof *l->offsets);
    if (!l->offsets) return tn_fail(g->env, TN_E_MEMORY, "", "", "out of memory while printing");
    memset(l->offsets, 0xff, g->blobs.n * sizeof *l->offsets);
    return place_region(l, g->body);
}

size_t tn_blob_limit(const tn_graph *g) {
    return g->blobs.n;
}

tn_status tn_print_weights(const tn_graph *g, tn_status (*write)(void *user, const void *p, size_t n), void *user) {
    return tn_print_weights_without(g, NULL, write, user);
}

tn_status tn_print_weights_without(const tn_graph *g, const bool *without,
                                   tn_status (*write)(void *user, const void *p, size_t n), void *user) {
    layout l = {.g = g, .without = without, .write = write, .user = user};
    tn_status st = lay_out(g, &l);
    tn_free(g->env, l.offsets, g->blobs.n * sizeof *l.offsets);
    return st;
}

/* ---- entry points ------------------------------------------------------------------------------------------------ */

tn_status tn_print(const tn_graph *g, const char *side, char **text, size_t *size) {
    return tn_print_without(g, NULL, side, text, size);
}

tn_status tn_print_without(const tn_graph *g, const bool *without, const char *side, char **text, size_t *size) {
    layout l = {.g = g, .without = without};
    printer p = {.g = g, .o = {.env = g->env, .grows = true}};
    size_t names_size = g->vals.n * sizeof *p.names;
    tn_status st = lay_out(g, &l);
    *text = NULL;
    *size = 0;
    p.names = tn_alloc(g->env, names_size);
    p.offsets = l.offsets;
    if (st == TN_OK && p.names && number_all(g, p.names)) {
        out_header(&p, l.at ? side : NULL);
        out_conditions(&p);
        out_function(&p);
    } else
        p.o.failed = true;
    tn_free(g->env, p.names, names_size);
    tn_free(g->env, l.offsets, g->blobs.n * sizeof *l.offsets);
    if (st == TN_OK && p.o.failed) st = tn_fail(g->env, TN_E_MEMORY, "", "", "out of memory while printing");
    char *exact =
        st == TN_OK ? tn_realloc(g->env, p.o.p, p.o.cap, p.o.n + 1) : NULL; /* the caller frees *size + 1 bytes */
    if (!exact) {
        tn_free(g->env, p.o.p, p.o.cap);
        return st == TN_OK ? tn_fail(g->env, TN_E_MEMORY, "", "", "out of memory while printing") : st;
    }
    *text = exact;
    *size = p.o.n;
    return TN_OK;
}

size_t tn_print_node(const tn_graph *g, tn_node n, char *buf, size_t size) {
    printer p = {.g = g, .o = tn_out_fixed(buf, size)};
    if (tn_node_op(g, n) != TN_OP_NONE) out_node(&p, n, 0);
    return p.o.n;
}
