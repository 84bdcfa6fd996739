/* branch.c: If whose branches differ in type (one squeezes an axis of size 1), under a condition on sizes.
 *
 * Where the rest of the model can be imported behind either branch and comes to the same types, that is done: an `if` holds
 * both, each with all that follows, and a run takes the one that its sizes choose.  Else one branch is imported: that of the
 * typical sizes, if the user told them, or the one with which the rest can be imported; what decided it is a condition of the
 * graph.  Which of these can be done, trials show (tn_oi_try). */
#include "frontend/onnx/control/branch.h"

#include <string.h>

enum { MAX_SYMBOLS = 64 };

bool tn_oi_take_branch(tn_oi *x, const TnOnnx__GraphProto *sub) {
    tn_oi_value *outs[TN_OI_MAX_RESULTS];
    size_t n = 0;
    if (!tn_oi_subgraph(x, sub, TN_OI_MAX_RESULTS, outs, &n)) return false;
    for (size_t k = 0; k < n; k++) tn_oi_out_value(x, k, outs[k]);
    return true;
}

static tn_dim negated(tn_graph *g, tn_dim cond) {
    return tn_dim_sub(g, tn_dim_const(g, 1), cond);
}

bool tn_oi_is_assumed(tn_oi *x, tn_dim cond, bool *holds) {
    for (size_t k = 0; k < x->splits; k++) {
        *holds = cond.i == x->assumed[k].i;
        if (*holds || cond.i == negated(x->g, x->assumed[k]).i) return true;
    }
    return false;
}

/* ---- sizes ------------------------------------------------------------------------------------------------------- */

/* The symbols of d with the sizes that the user told.  One that she did not tell counts as 1: not its typical size, but
 * what such conditions mostly ask for, since they were written to squeeze an axis. */
static size_t told_sizes(const tn_graph *g, tn_dim d, tn_binding *b, size_t n, bool *all, int depth) {
    tn_dim_kind kind = d.i ? tn_dim_kind_of(g, d) : TN_DIM_NONE;
    if (kind == TN_DIM_NONE || kind == TN_DIM_CONST || depth > 64 || n == MAX_SYMBOLS) return n;
    if (kind == TN_DIM_SYM) {
        int64_t hint = tn_dim_hint(g, d);
        *all = *all && hint > 0;
        b[n] = (tn_binding){tn_dim_name(g, d), hint > 0 ? hint : 1};
        return n + 1;
    }
    n = told_sizes(g, tn_dim_lhs(g, d), b, n, all, depth + 1);
    return told_sizes(g, tn_dim_rhs(g, d), b, n, all, depth + 1);
}

/* The one value of the one symbol with which cond holds, among small ones; false if there are more, or other symbols. */
static bool only_value(tn_graph *g, tn_dim cond, tn_dim *symbol, int64_t *value) {
    enum { LARGEST = 256 };
    tn_binding b[MAX_SYMBOLS];
    bool all = true;
    const size_t n = told_sizes(g, cond, b, 0, &all, 0);
    size_t hits = 0;
    for (size_t k = 1; k < n; k++)
        if (strcmp(b[k].name, b[0].name) != 0) return false;
    for (int64_t v = 0, yes = 0; n && v <= LARGEST; v++) {
        tn_binding one = {b[0].name, v};
        if (!tn_dim_eval(g, cond, &one, 1, &yes)) return false;
        hits += yes != 0;
        if (yes) *value = v;
    }
    if (n) *symbol = tn_dim_sym(g, b[0].name);
    return hits == 1;
}

static tn_dim with_value(tn_graph *g, tn_dim d, tn_dim symbol, int64_t v) {
    if (d.i == symbol.i) return tn_dim_const(g, v);
    const tn_dim_kind kind = tn_dim_kind_of(g, d);
    if (kind <= TN_DIM_SYM) return d;
    return tn_dim_binary(g, kind, with_value(g, tn_dim_lhs(g, d), symbol, v),
                         with_value(g, tn_dim_rhs(g, d), symbol, v));
}

/* ---- both -------------------------------------------------------------------------------------------------------- */

/* One branch with what follows. */
typedef struct side {
    tn_region r;
    size_t n; /* outputs of the graph that it gives */
    tn_val out[TN_OI_MAX_RESULTS];
} side;

/* Outputs of the graph that come of what follows. */
static bool is_open(const tn_oi *x, size_t k) {
    return !tn_oi_find_value(x, x->model->graph->output[k]->name);
}

/* cond: 1 where the branch is taken.  open: those outputs. */
static void import_side(tn_oi *x, const TnOnnx__GraphProto *sub, tn_dim cond, const bool *open, side *s) {
    const TnOnnx__NodeProto *node = x->node;
    const tn_oi_row *row = x->row;
    const int64_t opset = x->opset;
    const tn_dim around = x->runs;
    tn_oi_scope *outer = x->scope;
    const tn_cursor before = tn_get_cursor(x->g);
    *s = (side){.r = tn_region_new(x->g)};
    tn_cursor at = tn_cursor_end(x->g, s->r);
    at.loc = before.loc;
    tn_set_cursor(x->g, at);
    x->scope = tn_oi_scope_new(x, outer);
    x->in_region++;
    x->assumed[x->splits++] = cond;
    x->runs = around.i ? tn_dim_mul(x->g, around, cond) : cond;
    if (x->scope && tn_oi_take_branch(x, sub)) tn_oi_import_rest(x);
    x->node = node, x->row = row, x->opset = opset;
    for (size_t k = 0; k < x->model->graph->n_output && !tn_oi_failed(x); k++) {
        tn_oi_value *v = open[k] ? tn_oi_find_value(x, x->model->graph->output[k]->name) : NULL;
        if (open[k] && (!v || v->seq || v->absent))
            tn_oi_fail(x, TN_E_UNSUPPORTED, "", "the output '%s' is no tensor behind a branch",
                       x->model->graph->output[k]->name);
        else if (open[k])
            s->out[s->n++] = tn_oi_value_val(x, v);
    }
    x->runs = around;
    x->splits--;
    x->in_region--;
    x->scope = outer;
    tn_set_cursor(x->g, before);
}

/* A size that is a where the condition holds, and b where not. */
static tn_dim joined(tn_graph *g, tn_dim cond, tn_dim a, tn_dim b) {
    tn_dim symbol = {0};
    int64_t v = 0;
    if (a.i == b.i) return a;
    if (only_value(g, cond, &symbol, &v) && with_value(g, b, symbol, v).i == with_value(g, a, symbol, v).i) return b;
    const tn_dim other = negated(g, cond);
    if (only_value(g, other, &symbol, &v) && with_value(g, a, symbol, v).i == with_value(g, b, symbol, v).i) return a;
    return tn_dim_add(g, tn_dim_mul(g, a, cond), tn_dim_mul(g, b, other));
}

/* The same elements as a tensor of these sizes, which are its own where it runs. */
static tn_val written_as(tn_graph *g, tn_val v, size_t rank, const tn_dim *dims) {
    bool same = true, ones = true;
    for (size_t k = 0; k < rank; k++) {
        const tn_dim d = tn_val_dim(g, v, k);
        same = same && d.i == dims[k].i;
        ones = ones && (d.i == dims[k].i || tn_dim_equal_const(g, d, 1));
    }
    if (same) return v;
    return ones ? tn_build_broadcast_to(g, v, rank, dims) : tn_build_reshape_to(g, v, rank, dims);
}

/* Ends both sides with results of the same types. */
static void yield_alike(tn_oi *x, tn_dim cond, side s[2]) {
    tn_graph *g = x->g;
    const tn_cursor before = tn_get_cursor(g);
    for (size_t k = 0; k < s[0].n && !tn_oi_failed(x); k++) {
        const tn_val a = s[0].out[k], b = s[1].out[k];
        const size_t rank = tn_val_rank(g, a);
        tn_dim dims[TN_MAX_RANK];
        if (tn_val_rank(g, b) != rank || tn_val_dtype(g, a) != tn_val_dtype(g, b)) {
            tn_oi_fail(x, TN_E_TYPE, "", "an output is of another type behind the other branch");
            return;
        }
        for (size_t i = 0; i < rank; i++) dims[i] = joined(g, cond, tn_val_dim(g, a, i), tn_val_dim(g, b, i));
        for (int i = 0; i < 2; i++) {
            tn_set_cursor(g, tn_cursor_end(g, s[i].r));
            s[i].out[k] = written_as(g, s[i].out[k], rank, dims);
        }
    }
    for (int i = 0; i < 2 && !tn_oi_failed(x); i++) {
        tn_set_cursor(g, tn_cursor_end(g, s[i].r));
        tn_emit(g, TN_OP_YIELD, NULL, s[i].n, s[i].out);
    }
    tn_set_cursor(g, before);
}

static bool may_split(const tn_oi *x) {
    return x->rest && x->splits < TN_OI_MAX_SPLITS && x->in_region == x->splits &&
           x->model->graph->n_output <= TN_OI_MAX_RESULTS;
}

static void split(tn_oi *x, tn_dim cond, const TnOnnx__GraphProto *yes, const TnOnnx__GraphProto *no) {
    tn_graph *g = x->g;
    const TnOnnx__GraphProto *all = x->model->graph;
    side s[2];
    bool open[TN_OI_MAX_RESULTS] = {false};
    const tn_val c = tn_build_reshape_to(g, tn_oi_need(x, 0), 0, NULL);
    for (size_t k = 0; k < all->n_output; k++) open[k] = is_open(x, k);
    import_side(x, yes, cond, open, &s[0]);
    if (!tn_oi_failed(x)) import_side(x, no, negated(g, cond), open, &s[1]);
    if (!tn_oi_failed(x)) yield_alike(x, cond, s);
    if (tn_oi_failed(x)) return;
    const tn_region r[] = {s[0].r, s[1].r};
    const tn_node n = tn_emit_regions(g, TN_OP_IF, &(tn_attrs_branch){.sizes = cond}, 1, &c, 2, r);
    for (size_t k = 0, at = 0; n.i && k < all->n_output; k++)
        if (open[k]) tn_oi_define_as(x, all->output[k]->name, tn_oi_new_value(x, tn_node_result(g, n, at++)));
    x->rest->next = x->rest->n;
}

/* ---- one --------------------------------------------------------------------------------------------------------- */

/* Of sizes that nobody told: what the model imports with, first what such conditions mostly ask for.  A failure of both is
 * reported by the import itself. */
static tn_oi_way choose(tn_oi *x, bool likely, bool told) {
    tn_oi_choices *c = &x->choices;
    const size_t k = c->met++;
    const tn_oi_way first = likely ? TN_OI_TAKE_YES : TN_OI_TAKE_NO, second = likely ? TN_OI_TAKE_NO : TN_OI_TAKE_YES;
    if (k < c->known) return c->way[k];
    if (may_split(x) && tn_oi_try(x, TN_OI_TAKE_BOTH)) return TN_OI_TAKE_BOTH;
    if (!told && !tn_oi_failed(x) && tn_oi_try(x, first)) return first;
    if (!told && !tn_oi_failed(x) && tn_oi_try(x, second)) return second;
    if (c->known < TN_OI_MAX_CHOICES) c->way[c->known++] = first;
    return first;
}

static bool specialise(tn_oi *x, tn_dim cond, bool yes, const TnOnnx__GraphProto *sub) {
    tn_graph *g = x->g;
    int64_t only = 0;
    tn_condition c = {.rel = TN_REL_EQUAL,
                      .a = cond,
                      .b = tn_dim_const(g, yes),
                      .what = "the size that decides which branch is compiled in (--shape compiles the other)"};
    tn_dim symbol = {0};
    /* to require one value is to require more than the condition, in words that say what to do */
    if (yes && only_value(g, cond, &symbol, &only)) c.a = symbol, c.b = tn_dim_const(g, only);
    tn_oi_require(x, c);
    tn_graph_set_meta(g, "specialised", "a branch was chosen by typical sizes");
    return tn_oi_take_branch(x, sub);
}

bool tn_oi_branch_by_sizes(tn_oi *x, tn_dim cond, const TnOnnx__GraphProto *yes, const TnOnnx__GraphProto *no) {
    tn_binding b[MAX_SYMBOLS];
    int64_t v = 0;
    bool told = true;
    const size_t n = told_sizes(x->g, cond, b, 0, &told, 0);
    if (!tn_dim_eval(x->g, cond, b, n, &v)) return false;
    const tn_oi_way way = choose(x, v != 0, told);
    if (tn_oi_failed(x)) return false;
    if (way == TN_OI_TAKE_BOTH) return split(x, cond, yes, no), !tn_oi_failed(x);
    return specialise(x, cond, way == TN_OI_TAKE_YES, way == TN_OI_TAKE_YES ? yes : no);
}
