/* known.c: contents of what is computed from constants alone, whatever computes it.
 *
 * Exporters trace arithmetic on sizes of fixed inputs through any operator (torchvision's transforms take the maximum of
 * float lists); what symbolic.c does not follow is evaluated by the reference where somebody asks for contents.  What
 * was evaluated is a constant from then on; what depends on data is remembered, so that each value is looked at once. */
#include <string.h>

#include "frontend/onnx/value.h"
#include "ir/eval/eval.h"

enum {
    MAX_ELEMENTS = 1 << 14, /* of what lies between the constants and the value */
    MAX_CONSTANT = 1 << 20, /* elements of a constant that is read */
    MAX_DEPTH = 200
};

static bool is_small(const tn_graph *g, tn_val v, int64_t most) {
    int64_t n = 1, d = 0;
    for (size_t k = 0; k < tn_val_rank(g, v); k++) {
        if (!tn_dim_is_const(g, tn_val_dim(g, v, k), &d) || d < 0 || (d && n > most / d)) return false;
        n *= d;
    }
    return n <= most;
}

static bool is_const(const tn_graph *g, tn_val v) {
    const tn_node n = tn_val_def(g, v);
    return n.i && tn_node_op(g, n) == TN_OP_CONST;
}

/* Remembered of v: data decides it.  NULL when out of memory. */
static unsigned char *mark_of(tn_oi *x, tn_val v) {
    if (v.i >= x->n_by_data) {
        const uint32_t n = tn_graph_val_limit(x->g) * 2;
        unsigned char *p = tn_oi_alloc(x, n);
        if (!p) return NULL;
        if (x->by_data) memcpy(p, x->by_data, x->n_by_data);
        x->by_data = p;
        x->n_by_data = n;
    }
    return &x->by_data[v.i];
}

static bool may_evaluate(const tn_graph *g, tn_node n) {
    const tn_op op = tn_node_op(g, n);
    if (op == TN_OP_RANDOM || op == TN_OP_SIZE || tn_op_is(op, TN_T_EFFECT | TN_T_REGIONS)) return false;
    for (size_t k = 0; k < tn_node_result_count(g, n); k++)
        if (!is_small(g, tn_node_result(g, n, k), MAX_ELEMENTS)) return false;
    return tn_node_result_count(g, n) <= 8;
}

/* The node's results become constants in front of it; *made is the one of v. */
static bool evaluate(tn_oi *x, tn_node n, tn_val v, tn_val *made) {
    tn_graph *g = x->g;
    tn_tensor out[8] = {{0}};
    const size_t count = tn_node_result_count(g, n);
    if (!x->folder) {
        if (x->env) x->quiet = *x->env;
        x->quiet.diag = NULL; /* the model's own run says what is wrong */
        x->folder = tn_folder_new(&x->quiet, g);
    }
    if (!x->folder || tn_folder_eval(x->folder, n, out, count) != TN_OK) return false;
    const tn_cursor former = tn_set_cursor(g, tn_cursor_before(g, n));
    for (size_t k = 0; k < count; k++) {
        const size_t bytes = out[k].bytes;
        const tn_val old = tn_node_result(g, n, k),
                     c = tn_const(g, tn_val_type(g, old), tn_blob_adopt(g, out[k].data, bytes, bytes ? bytes : 1),
                                  NULL);
        if (c.i) tn_replace(g, old, c);
        if (old.i == v.i) *made = c;
    }
    tn_set_cursor(g, former);
    return tn_graph_status(g) == TN_OK;
}

static bool by_constants(tn_oi *x, tn_val v, unsigned depth, tn_val *made);

static bool operands_are_known(tn_oi *x, tn_node n, unsigned depth) {
    bool known = true;
    for (size_t k = 0; known && k < tn_node_input_count(x->g, n); k++) {
        const tn_val v = tn_node_input(x->g, n, k);
        tn_val ignored;
        if (!v.i) continue;
        known = is_const(x->g, v) ? is_small(x->g, v, MAX_CONSTANT) : by_constants(x, v, depth + 1, &ignored);
    }
    return known;
}

static bool by_constants(tn_oi *x, tn_val v, unsigned depth, tn_val *made) {
    const tn_node n = tn_val_def(x->g, v);
    unsigned char *mark = mark_of(x, v);
    if (!mark || *mark) return false;
    if (n.i && depth < MAX_DEPTH && may_evaluate(x->g, n) && operands_are_known(x, n, depth) && evaluate(x, n, v, made))
        return true;
    mark = mark_of(x, v);
    if (mark) *mark = 1;
    return false;
}

tn_oi_sym *tn_oi_sym_known(tn_oi *x, tn_val v) {
    tn_val c = v;
    if (!is_small(x->g, v, TN_OI_MAX_SYM) || !tn_oi_sym_dtype(tn_val_dtype(x->g, v))) return NULL;
    return is_const(x->g, v) || by_constants(x, v, 0, &c) ? tn_oi_sym_from_const(x, c) : NULL;
}
