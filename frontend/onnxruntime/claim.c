/* claim.c: which nodes Tenon takes.
 *
 * A node may be taken if its operator is in the importer's table and all its values are tensors of types that Tenon has.  Of such
 * nodes, groups are made that are as large as may be while no path leads out of a group and back into it: every node has
 * a level, which grows by one along an edge from a node that is taken to one that is not or back; those that are taken at one
 * level are a group.  Then each group is imported, on trial: a node that the importer refuses is taken out, and all
 * begins again.  So what is claimed compiles.
 *
 * Bodies of branches and loops are not looked into: a node that has some is taken with them, or stays with ONNX Runtime. */
#include "frontend/onnxruntime/provider.h"

#include <string.h>
#include <xxhash.h>

#include "codegen/compile.h"
#include "frontend/onnx/import.h"

#define NOBODY UINT32_MAX

typedef struct value {
    const char *name;
    const ort_value_info *info;
    uint32_t producer; /* NOBODY: from outside */
    bool output;       /* of the graph */
    bool constant;
    value_type type;
} value;

typedef struct node {
    const ort_node *it;
    uint32_t *in, *out; /* values; those of bodies are among `in` */
    size_t n_in, n_out;
    bool taken, context;
    int32_t level;
} node;

typedef struct view {
    provider *p;
    const ort_functions *f;
    const ort_graph *g;
    tn_arena arena;
    value *values;
    size_t n_values, cap_values;
    uint32_t *table; /* of values, by name: place + 1 */
    size_t table_size;
    node *nodes;
    size_t n;
} view;

static ort_status *no_memory(const ort_functions *f) {
    return f->CreateStatus(ORT_EP_FAIL, "out of memory");
}

/* ---- the graph ---------------------------------------------------------------------------------------------------- */

static bool grow_table(view *v) {
    const size_t size = v->table_size ? 2 * v->table_size : 256;
    uint32_t *table = tn_arena_alloc(&v->arena, size * sizeof *table);
    if (!table) return false;
    v->table = table;
    v->table_size = size;
    for (size_t k = 0; k < v->n_values; k++) {
        size_t at = XXH3_64bits(v->values[k].name, strlen(v->values[k].name)) & (size - 1);
        while (table[at]) at = (at + 1) & (size - 1);
        table[at] = (uint32_t)k + 1;
    }
    return true;
}

static ort_status *find_value(view *v, const ort_value_info *info, uint32_t *out) {
    const char *name;
    TRY(v->f->GetValueInfoName(info, &name));
    if (2 * (v->n_values + 1) > v->table_size && !grow_table(v)) return no_memory(v->f);
    size_t at = XXH3_64bits(name, strlen(name)) & (v->table_size - 1);
    for (; v->table[at]; at = (at + 1) & (v->table_size - 1))
        if (!strcmp(v->values[ *out = v->table[at] - 1].name, name)) return NULL;
    value *more = tn_grow(v->arena.env, v->values, &v->cap_values, v->n_values + 1, sizeof *more);
    if (!more) return no_memory(v->f);
    v->values = more;
    value *x = &v->values[v->n_values];
    *x = (value){.name = name, .info = info, .producer = NOBODY};
    TRY(v->f->ValueInfo_IsGraphOutput(info, &x->output));
    TRY(v->f->ValueInfo_IsConstantInitializer(info, &x->constant));
    TRY(value_type_of(v->f, info, &x->type));
    v->table[at] = *out = (uint32_t)v->n_values++;
    ++v->table[at];
    return NULL;
}

static ort_status *add_values(view *v, ort_status *(*count)(const ort_node *, size_t *),
                              ort_status *(*get)(const ort_node *, const ort_value_info **, size_t), const ort_node *it,
                              uint32_t **list, size_t *n) {
    size_t more = 0;
    TRY(count(it, &more));
    const ort_value_info **info = tn_arena_alloc(&v->arena, (more + 1) * sizeof *info);
    uint32_t *to = tn_arena_alloc(&v->arena, (*n + more + 1) * sizeof *to);
    if (!info || !to) return no_memory(v->f);
    if (*n) memcpy(to, *list, *n * sizeof *to);
    *list = to;
    if (more) TRY(get(it, info, more));
    for (size_t k = 0; k < more; k++) {
        const char *name = "";
        if (info[k]) TRY(v->f->GetValueInfoName(info[k], &name));
        if (!*name) continue; /* absent */
        TRY(find_value(v, info[k], &to[*n]));
        ++*n;
    }
    return NULL;
}

static ort_status *read_graph(view *v) {
    const ort_functions *f = v->f;
    TRY(f->Graph_GetNumNodes(v->g, &v->n));
    const ort_node **list = tn_arena_alloc(&v->arena, (v->n + 1) * sizeof *list);
    v->nodes = tn_arena_alloc(&v->arena, (v->n + 1) * sizeof *v->nodes);
    if (!list || !v->nodes || v->n >= NOBODY) return no_memory(f);
    if (v->n) TRY(f->Graph_GetNodes(v->g, list, v->n));
    for (size_t k = 0; k < v->n; k++) {
        node *x = &v->nodes[k];
        x->it = list[k];
        TRY(add_values(v, f->Node_GetNumInputs, f->Node_GetInputs, list[k], &x->in, &x->n_in));
        TRY(add_values(v, f->Node_GetNumImplicitInputs, f->Node_GetImplicitInputs, list[k], &x->in, &x->n_in));
        TRY(add_values(v, f->Node_GetNumOutputs, f->Node_GetOutputs, list[k], &x->out, &x->n_out));
        for (size_t i = 0; i < x->n_out; i++) v->values[x->out[i]].producer = (uint32_t)k;
    }
    return NULL;
}

/* ---- what may be taken ------------------------------------------------------------------------------------------- */

static int64_t opset_of(const view *v, const char *domain) {
    const char *domains[64];
    int64_t versions[64];
    size_t n = 0;
    ort_status *s = v->f->Graph_GetNumOperatorSets(v->g, &n);
    if (!s && n <= 64) s = v->f->Graph_GetOperatorSets(v->g, domains, versions, n);
    if (s) v->f->ReleaseStatus(s);
    const bool onnx = tn_oi_domain_is_onnx(domain);
    for (size_t k = 0; !s && n <= 64 && k < n; k++)
        if (onnx ? tn_oi_domain_is_onnx(domains[k]) : !strcmp(domains[k], domain)) return versions[k];
    return 1;
}

static bool is_ours(const view *v, const uint32_t *list, size_t n) {
    for (size_t k = 0; k < n; k++) {
        const value_type *t = &v->values[list[k]].type;
        if (!t->tensor || !tn_onnx_dtype(t->dtype) || (t->ranked && t->rank > TN_MAX_RANK)) return false;
    }
    return true;
}

static ort_status *consider(view *v, node *x) {
    const char *op, *domain, *other = NULL;
    TRY(v->f->Node_GetOperatorType(x->it, &op));
    TRY(v->f->Node_GetDomain(x->it, &domain));
    TRY(v->f->Node_GetEpName(x->it, &other));
    if (other && *other && strcmp(other, ORT_PROVIDER) != 0) return NULL; /* another provider's */
    x->context = is_context_node(v->f, x->it);
    x->taken = !x->context && is_ours(v, x->in, x->n_in) && is_ours(v, x->out, x->n_out) &&
               tn_oi_find_row(domain, op, opset_of(v, domain));
    return NULL;
}

/* ---- levels ------------------------------------------------------------------------------------------------------ */

/* Levels of what is taken are even, of all else odd.  First each as early as may be; then what is taken moves to what reads
 * it, where all of that is later: so a node that only a later group needs is in it. */
static void set_levels(view *v) {
    bool changed = true;
    for (size_t k = 0; k < v->n; k++) v->nodes[k].level = v->nodes[k].taken ? 0 : -1;
    while (changed) { /* once, and once more to see it, where nodes are in order */
        changed = false;
        for (size_t k = 0; k < v->n; k++) {
            node *x = &v->nodes[k];
            int32_t level = x->level;
            for (size_t i = 0; i < x->n_in; i++) {
                const uint32_t from = v->values[x->in[i]].producer;
                if (from == NOBODY) continue;
                const node *y = &v->nodes[from];
                const int32_t least = y->level + (y->taken != x->taken);
                if (least > level) level = least;
            }
            if (level != x->level) x->level = level, changed = true;
        }
    }
}

/* The latest level at which node k may be, given those of its readers: INT32_MAX where nobody reads it. */
static void set_latest(view *v, int32_t *latest) {
    for (size_t k = v->n; k-- > 0;) {
        node *x = &v->nodes[k];
        if (x->taken && latest[k] != INT32_MAX && latest[k] > x->level) x->level = latest[k];
        for (size_t i = 0; i < x->n_in; i++) {
            const uint32_t from = v->values[x->in[i]].producer;
            if (from == NOBODY || from >= k) continue; /* out of order: it stays */
            const int32_t most = x->level - (v->nodes[from].taken != x->taken);
            if (most < latest[from]) latest[from] = most;
        }
        for (size_t i = 0; i < x->n_out; i++)
            if (v->values[x->out[i]].output) latest[k] = x->level;
    }
}

/* Only where nodes stand in an order in which each follows what it reads. */
static bool is_ordered(const view *v) {
    for (size_t k = 0; k < v->n; k++)
        for (size_t i = 0; i < v->nodes[k].n_in; i++) {
            const uint32_t from = v->values[v->nodes[k].in[i]].producer;
            if (from != NOBODY && from >= k) return false;
        }
    return true;
}

/* ---- groups ------------------------------------------------------------------------------------------------------ */

typedef struct group {
    size_t *member; /* places of nodes */
    const ort_node **it;
    size_t n;
    const ort_value_info **in, **out;
    size_t n_in, n_out;
} group;

static bool reads_value(const node *x, uint32_t id) {
    for (size_t i = 0; i < x->n_in; i++)
        if (x->in[i] == id) return true;
    return false;
}

static bool in_group(const view *v, uint32_t k, int32_t level) {
    return k != NOBODY && v->nodes[k].taken && v->nodes[k].level == level;
}

static bool list_has(const ort_value_info **list, size_t n, const ort_value_info *x) {
    for (size_t k = 0; k < n; k++)
        if (list[k] == x) return true;
    return false;
}

/* Whether a value is needed outside of a group. */
static bool leaves(const view *v, uint32_t id, int32_t level) {
    if (v->values[id].output) return true;
    for (size_t k = 0; k < v->n; k++)
        if (!in_group(v, (uint32_t)k, level) && reads_value(&v->nodes[k], id)) return true;
    return false;
}

/* What is taken at a level; *again: a node had to be given up. */
static ort_status *make_group(view *v, int32_t level, group *x, bool *again) {
    size_t io = 1;
    *x = (group){0};
    for (size_t k = 0; k < v->n; k++)
        if (in_group(v, (uint32_t)k, level)) x->n++, io += v->nodes[k].n_in + v->nodes[k].n_out;
    x->member = tn_arena_alloc(&v->arena, (x->n + 1) * sizeof *x->member);
    x->it = tn_arena_alloc(&v->arena, (x->n + 1) * sizeof *x->it);
    x->in = tn_arena_alloc(&v->arena, io * sizeof *x->in);
    x->out = tn_arena_alloc(&v->arena, io * sizeof *x->out);
    if (!x->member || !x->it || !x->in || !x->out) return no_memory(v->f);
    x->n = 0;
    for (size_t k = 0; k < v->n; k++) {
        node *y = &v->nodes[k];
        if (!in_group(v, (uint32_t)k, level)) continue;
        x->member[x->n] = k;
        x->it[x->n++] = y->it;
        for (size_t i = 0; i < y->n_in; i++) {
            const value *a = &v->values[y->in[i]];
            if (a->constant || in_group(v, a->producer, level) || list_has(x->in, x->n_in, a->info)) continue;
            if (!a->type.ranked) y->taken = false, *again = true; /* Tenon must know its rank */
            x->in[x->n_in++] = a->info;
        }
        for (size_t i = 0; i < y->n_out; i++)
            if (leaves(v, y->out[i], level)) x->out[x->n_out++] = v->values[y->out[i]].info;
    }
    return NULL;
}

/* Whether kernels can be made of a graph: what loops do is seen when passes have run over it. */
static tn_status try_passes(const tn_env *env, tn_graph *g) {
    const tn_compile_options standard = {0};
    const tn_pass_options o = tn_compile_passes(&standard);
    if (!tn_needs_reference(g)) return TN_OK;
    tn_pass_ctx *ctx = tn_pass_ctx_new(env, &o);
    const tn_status st = ctx ? tn_run_passes(g, NULL, ctx) : TN_E_MEMORY;
    tn_pass_ctx_free(ctx);
    return st;
}

/* Imports a group for nothing; where that fails the node that is named (or all, where none is) is given up. */
static ort_status *try_group(view *v, const group *x, bool *again) {
    model m;
    tn_status st;
    if (!model_build(&m, v->arena.env, v->f, v->g, x->it, x->n, x->in, x->n_in, x->out, x->n_out)) {
        ort_status *s = m.error ? m.error : no_memory(v->f);
        m.error = NULL;
        model_free(&m);
        return s;
    }
    v->p->loc[0] = 0;
    tn_graph *g = tn_import_onnx_message(&v->p->env, m.proto, NULL, &st);
    if (g) st = try_passes(&v->p->env, g);
    tn_graph_free(g);
    if (st == TN_E_MEMORY) {
        model_free(&m);
        return no_memory(v->f);
    }
    if (st != TN_OK) {
        const size_t at = model_find(&m, v->p->loc);
        ort_log(v->p, ORT_LOG_INFO, "left to other providers: %s: %s", v->p->loc, v->p->error);
        for (size_t k = 0; k < x->n; k++)
            if (at == SIZE_MAX || at == k) v->nodes[x->member[k]].taken = false;
        *again = true;
    }
    model_free(&m);
    return NULL;
}

static ort_status *claim_group(view *v, const group *x, ort_support *out) {
    const ort_fusion_options o = {.version = ORT_VERSION, .drop_constants = true};
    if (x->n < v->p->o.min_nodes || !x->n_out) return NULL;
    return v->f->EpGraphSupportInfo_AddNodesToFuse(out, x->it, x->n, &o);
}

static ort_status *make_groups(view *v, ort_support *out) {
    bool again = true;
    int32_t last = 0;
    while (again) {
        again = false;
        set_levels(v);
        if (is_ordered(v)) {
            int32_t *latest = tn_arena_alloc(&v->arena, (v->n + 1) * sizeof *latest);
            if (!latest) return no_memory(v->f);
            for (size_t k = 0; k < v->n; k++) latest[k] = INT32_MAX;
            set_latest(v, latest);
        }
        last = 0;
        for (size_t k = 0; k < v->n; k++)
            if (v->nodes[k].level > last) last = v->nodes[k].level;
        for (int32_t level = 0; level <= last && !again; level += 2) {
            group x;
            TRY(make_group(v, level, &x, &again));
            if (x.n && !again) TRY(try_group(v, &x, &again));
        }
    }
    for (int32_t level = 0; level <= last; level += 2) {
        group x;
        TRY(make_group(v, level, &x, &again));
        if (x.n) TRY(claim_group(v, &x, out));
    }
    return NULL;
}

/* 1.23 does not tell the parent of a body: there it is one if it reads what is outside. */
static ort_status *is_body(const view *v, bool *is) {
    for (size_t k = 0; !v->f->TensorTypeAndShape_HasShape && !*is && k < v->n_values; k++)
        TRY(v->f->ValueInfo_IsFromOuterScope(v->values[k].info, is));
    return NULL;
}

static ort_status *claim(view *v, ort_support *out) {
    const ort_node *parent = NULL;
    TRY(v->f->Graph_GetParentNode(v->g, &parent));
    if (parent) return NULL;
    TRY(read_graph(v));
    bool body = false;
    TRY(is_body(v, &body));
    if (body) return NULL;
    for (size_t k = 0; k < v->n; k++) TRY(consider(v, &v->nodes[k]));
    for (size_t k = 0; k < v->n; k++) {
        const ort_fusion_options o = {.version = ORT_VERSION, .drop_constants = true};
        if (v->nodes[k].context) TRY(v->f->EpGraphSupportInfo_AddNodesToFuse(out, &v->nodes[k].it, 1, &o));
    }
    return make_groups(v, out);
}

ort_status *provider_claim(ort_ep *self, const ort_graph *g, ort_support *out) {
    provider *p = (provider *)self;
    view v = {.p = p, .f = p->f, .g = g, .arena.env = NULL};
    ort_status *s = claim(&v, out);
    tn_free(NULL, v.values, v.cap_values * sizeof *v.values);
    tn_arena_free(&v.arena);
    return s;
}
