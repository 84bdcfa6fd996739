/* loop.c: loops as a device runs them: a condition that is computed before the first iteration and by each for the next.
 *
 *     loop(trips, cond, x) { (i, go, x) ... yield(c, x') }
 *
 * becomes, with the number of the iteration as one more carried value,
 *
 *     loop(none, and(cond, 0 < trips), x, 0) { (-, go, x, i) ... yield(and(c, i + 1 < trips), x', i + 1) } */
#include "passes/fuse/fuse.h"
#include "passes/util.h"

enum { MAX_VALUES = 128 };

typedef struct loop {
    tn_graph *g;
    tn_node node;
    tn_val trips; /* none: no limit */
    size_t carried;
    tn_region body;
    tn_val in[MAX_VALUES], yields[MAX_VALUES]; /* of the new loop */
} loop;

static tn_val number(tn_graph *g, double v) {
    return tn_emit_const_f64(g, TN_I64, 0, NULL, &v, NULL);
}

/* a and b; none counts as true. */
static tn_val both(tn_graph *g, tn_val a, tn_val b) {
    return !a.i ? b : tn_binary(g, TN_OP_AND, a, b);
}

static void move_body(loop *l, tn_node yield) {
    tn_graph *g = l->g;
    tn_region old = tn_node_subregion(g, l->node, 0);
    for (tn_node n = tn_region_first(g, old), next; n.i && n.i != yield.i; n = next) {
        next = tn_node_next(g, n);
        tn_move_before(g, n, tn_cursor_end(g, l->body));
    }
    for (size_t k = 1; k < l->carried + 2; k++) tn_replace(g, tn_region_arg(g, old, k), tn_region_arg(g, l->body, k));
    tn_replace(g, tn_region_arg(g, old, 0), tn_region_arg(g, l->body, l->carried + 2));
}

static tn_region new_body(loop *l) {
    tn_graph *g = l->g;
    tn_region old = tn_node_subregion(g, l->node, 0), r = tn_region_new(g);
    for (size_t k = 0; k < l->carried + 2; k++) {
        tn_val v = tn_region_arg(g, old, k);
        tn_region_add_arg(g, r, tn_val_type(g, v), tn_val_name(g, v));
    }
    tn_region_add_arg(g, r, tn_type_make(g, TN_I64, 0, NULL), "");
    return r;
}

static tn_status count(loop *l) {
    tn_graph *g = l->g;
    tn_node yield = tn_region_last(g, tn_node_subregion(g, l->node, 0));
    const size_t n_in = l->carried + 3;
    tn_set_cursor(g, tn_cursor_before(g, l->node));
    for (size_t k = 0; k < l->carried + 2; k++) l->in[k] = tn_node_input(g, l->node, k);
    l->in[n_in - 1] = number(g, 0);
    if (l->trips.i) l->in[1] = both(g, l->in[1], tn_binary(g, TN_OP_LT, l->in[n_in - 1], l->trips));
    l->in[0] = (tn_val){0};
    l->body = new_body(l);
    for (size_t k = 0; k < l->carried + 1; k++) l->yields[k] = tn_node_input(g, yield, k);
    move_body(l, yield);
    for (size_t k = 0; k < l->carried + 1; k++) /* what move_body replaced */
        l->yields[k] = tn_node_input(g, yield, k);
    tn_cursor inside = tn_cursor_end(g, l->body);
    inside.loc = tn_node_loc(g, l->node);
    tn_set_cursor(g, inside);
    const tn_val next = tn_binary(g, TN_OP_ADD, tn_region_arg(g, l->body, l->carried + 2), number(g, 1));
    if (l->trips.i) l->yields[0] = both(g, l->yields[0], tn_binary(g, TN_OP_LT, next, l->trips));
    l->yields[l->carried + 1] = next;
    tn_emit(g, TN_OP_YIELD, NULL, l->carried + 2, l->yields);
    tn_set_cursor(g, tn_cursor_before(g, l->node));
    tn_attrs_loop a = {.carried = (int64_t)l->carried + 1};
    const tn_node now = tn_emit_regions(g, TN_OP_LOOP, &a, n_in, l->in, 1, &l->body);
    for (size_t k = 0; now.i && k < l->carried; k++)
        tn_replace(g, tn_node_result(g, l->node, k), tn_node_result(g, now, k));
    return now.i ? tn_erase(g, l->node) : tn_graph_status(g);
}

tn_status tn_fuse_prepare_loop(tn_graph *g, tn_node n) {
    loop l = {.g = g, .node = n, .trips = tn_node_input(g, n, 0), .carried = (size_t)TN_ATTRS_OF(g, n, loop)->carried};
    const tn_val iteration = tn_region_arg(g, tn_node_subregion(g, n, 0), 0);
    if (tn_node_result_count(g, n) > l.carried)
        return tn_graph_fail(g, TN_E_UNSUPPORTED, n, "run the model with --device cpu",
                             "loop: values that every iteration adds to (scan outputs) cannot be compiled for a GPU "
                             "where only a run knows how many there are");
    if (!l.trips.i && !tn_val_first_use(g, iteration).i) return TN_OK;
    if (l.carried + 3 > MAX_VALUES)
        return tn_graph_fail(g, TN_E_UNSUPPORTED, n, "", "loop: more than %d carried values", MAX_VALUES - 3);
    return count(&l);
}
