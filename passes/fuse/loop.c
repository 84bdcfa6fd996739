/* loop.c: loops as a device runs them: a condition that is computed before the first iteration and by each for the next.
 *
 *     loop(trips, cond, x) { (i, go, x) ... yield(c, x') }
 *
 * becomes, with the number of the iteration as one more carried value,
 *
 *     loop(none, and(cond, 0 < trips), x, 0) { (-, go, x, i) ... yield(and(c, i + 1 < trips), x', i + 1) }
 *
 * A scan output whose size is known when shapes are bound is a carried value, too: each iteration selects its slice into
 * it, or where it is large scatters it, which writes that slice alone (passes/memory). */
#include "passes/fuse/fuse.h"
#include "passes/memory/memory.h"
#include "passes/util.h"

enum { MAX_VALUES = 128, MAX_SELECTED = 1 << 19 /* bytes */ };

typedef struct loop {
    tn_graph *g;
    tn_node node;
    tn_val trips;  /* none: no limit */
    tn_dim length; /* how many iterations there are, where the shapes of the inputs tell; else none */
    size_t carried, scans;
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

static tn_val scan_result(const loop *l, size_t k) {
    return tn_node_result(l->g, l->node, l->carried + k);
}

/* What a scan output is before the first iteration. */
static tn_val no_slices(const loop *l, size_t k) {
    const tn_val out = scan_result(l, k);
    const double zero = 0;
    tn_val v = tn_emit_const_f64(l->g, tn_val_dtype(l->g, out), 0, NULL, &zero, NULL);
    return tn_emit_broadcast(l->g, v, tn_val_rank(l->g, out), tn_type_dims(l->g, tn_val_type(l->g, out)));
}

/* It is not, or need not be, rewritten in less than a launch takes. */
static bool may_be_large(tn_graph *g, tn_val v) {
    int64_t least, most;
    tn_dim_bounds(g, tn_bytes_of(g, tn_val_dtype(g, v), tn_type_numel(g, tn_val_type(g, v))), &least, &most);
    return most > MAX_SELECTED && tn_dtype_bits(tn_val_dtype(g, v)) >= 8;
}

/* The scan output with the slice of iteration i. */
static tn_val with_slice(const loop *l, tn_val all, tn_val slice, tn_val i) {
    tn_graph *g = l->g;
    const tn_dim one = tn_dim_const(g, 1), *dims = tn_type_dims(g, tn_val_type(g, all));
    const size_t rank = tn_val_rank(g, all);
    tn_dim column[TN_MAX_RANK] = {dims[0]}, row[TN_MAX_RANK] = {one};
    for (size_t k = 1; k < rank; k++) column[k] = one, row[k] = dims[k];
    if (may_be_large(g, all)) {
        const tn_val in[] = {all, tn_emit_reshape(g, i, 2, (const tn_dim[]){one, one}),
                             tn_emit_reshape(g, slice, rank, row)};
        return tn_emit1(g, TN_OP_SCATTER_ND, NULL, 3, in);
    }
    const tn_attrs_iota a = {.dtype = TN_I64, .dims = {dims, 1}};
    const tn_val here = tn_binary(g, TN_OP_EQ, tn_emit1(g, TN_OP_IOTA, &a, 0, NULL), i);
    return tn_emit_select(g, tn_emit_reshape(g, here, rank, column), tn_emit_reshape(g, slice, rank, row), all);
}

/* The condition, carried values, scan outputs, the iteration's number. */
static tn_region new_body(loop *l) {
    tn_graph *g = l->g;
    tn_region old = tn_node_subregion(g, l->node, 0), r = tn_region_new(g);
    for (size_t k = 0; k < l->carried + 2; k++) {
        tn_val v = tn_region_arg(g, old, k);
        tn_region_add_arg(g, r, tn_val_type(g, v), tn_val_name(g, v));
    }
    for (size_t k = 0; k < l->scans; k++) tn_region_add_arg(g, r, tn_val_type(g, scan_result(l, k)), "");
    tn_region_add_arg(g, r, tn_type_make(g, TN_I64, 0, NULL), "");
    return r;
}

/* Fills l->yields with what the old body yields. */
static void move_body(loop *l) {
    tn_graph *g = l->g;
    tn_region old = tn_node_subregion(g, l->node, 0);
    tn_node yield = tn_region_last(g, old);
    tn_conditions_move(g, old, l->body);
    for (tn_node n = tn_region_first(g, old), next; n.i && n.i != yield.i; n = next) {
        next = tn_node_next(g, n);
        tn_move_before(g, n, tn_cursor_end(g, l->body));
    }
    for (size_t k = 1; k < l->carried + 2; k++) tn_replace(g, tn_region_arg(g, old, k), tn_region_arg(g, l->body, k));
    tn_replace(g, tn_region_arg(g, old, 0), tn_region_arg(g, l->body, l->carried + l->scans + 2));
    for (size_t k = 0; k < l->carried + l->scans + 1; k++) l->yields[k] = tn_node_input(g, yield, k);
}

static void begin(loop *l) {
    tn_graph *g = l->g;
    const size_t last = l->carried + l->scans + 2;
    tn_set_cursor(g, tn_cursor_before(g, l->node));
    for (size_t k = 1; k < l->carried + 2; k++) l->in[k] = tn_node_input(g, l->node, k);
    for (size_t k = 0; k < l->scans; k++) l->in[2 + l->carried + k] = no_slices(l, k);
    l->in[last] = number(g, 0);
    if (l->trips.i) l->in[1] = both(g, l->in[1], tn_binary(g, TN_OP_LT, l->in[last], l->trips));
}

static void end(loop *l) {
    tn_graph *g = l->g;
    const tn_val i = tn_region_arg(g, l->body, l->carried + l->scans + 2);
    tn_cursor inside = tn_cursor_end(g, l->body);
    inside.loc = tn_node_loc(g, l->node);
    tn_set_cursor(g, inside);
    for (size_t k = 0; k < l->scans; k++) {
        tn_val *slice = &l->yields[1 + l->carried + k];
        *slice = with_slice(l, tn_region_arg(g, l->body, 2 + l->carried + k), *slice, i);
    }
    const tn_val next = tn_binary(g, TN_OP_ADD, i, number(g, 1));
    if (l->trips.i) l->yields[0] = both(g, l->yields[0], tn_binary(g, TN_OP_LT, next, l->trips));
    l->yields[l->carried + l->scans + 1] = next;
    tn_emit(g, TN_OP_YIELD, NULL, l->carried + l->scans + 2, l->yields);
}

static tn_status count(loop *l) {
    tn_graph *g = l->g;
    const size_t values = l->carried + l->scans;
    begin(l);
    l->body = new_body(l);
    move_body(l);
    end(l);
    tn_set_cursor(g, tn_cursor_before(g, l->node));
    tn_attrs_loop a = {.carried = (int64_t)values + 1, .trips = l->length};
    const tn_node now = tn_emit_regions(g, TN_OP_LOOP, &a, values + 3, l->in, 1, &l->body);
    for (size_t k = 0; now.i && k < values; k++)
        tn_replace(g, tn_node_result(g, l->node, k), tn_node_result(g, now, k));
    return now.i ? tn_erase(g, l->node) : tn_graph_status(g);
}

tn_status tn_fuse_prepare_loop(tn_graph *g, tn_node n) {
    const tn_attrs_loop *a = TN_ATTRS_OF(g, n, loop);
    loop l = {.g = g, .node = n, .trips = tn_node_input(g, n, 0), .carried = (size_t)a->carried};
    const tn_val iteration = tn_region_arg(g, tn_node_subregion(g, n, 0), 0);
    l.scans = tn_node_result_count(g, n) - l.carried;
    l.length = a->trips.i && tn_inputs_tell_all(g, a->trips) ? a->trips : (tn_dim){0};
    if (l.scans && !l.length.i)
        return tn_graph_fail(g, TN_E_UNSUPPORTED, n, "run the model with --device cpu",
                             "loop: values that every iteration adds to (scan outputs) cannot be compiled for a GPU "
                             "where only a run knows how many there are");
    if (!l.trips.i && !l.scans && !tn_val_first_use(g, iteration).i) return TN_OK;
    if (l.carried + l.scans + 3 > MAX_VALUES)
        return tn_graph_fail(g, TN_E_UNSUPPORTED, n, "", "loop: more than %d values", MAX_VALUES - 3);
    return count(&l);
}
