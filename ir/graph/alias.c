/* alias.c: outputs in the buffers of inputs: from pairs of names, given or by convention, to append nodes (what grows) and put_rows in place
 * (a buffer that has all rows from the beginning), and what those share. */
#include <stdio.h>
#include <string.h>

#include "ir/internal.h"

enum { MAX_CAPACITY = INT32_MAX, PUT_AXIS = 2 };

/* What rows are put into, in its buffer, to make y, a node's result or a kernel's; none. */
static tn_val put_into(const tn_graph *g, tn_val y) {
    tn_node def = tn_val_def(g, y);
    const tn_node kernel = def.i && tn_node_op(g, def) == TN_OP_KERNEL ? def : (tn_node){0};
    const char *anchor = kernel.i ? TN_ATTRS_OF(g, kernel, kernel)->anchor : NULL;
    if (kernel.i && (!anchor || strcmp(anchor, tn_op_text(TN_OP_PUT_ROWS)))) return (tn_val){0};
    if (kernel.i) {
        const tn_node yield = tn_region_last(g, tn_node_subregion(g, kernel, 0));
        if (!yield.i || tn_val_index(g, y) >= tn_node_input_count(g, yield)) return (tn_val){0};
        def = tn_val_def(g, tn_node_input(g, yield, tn_val_index(g, y)));
    }
    if (!def.i || tn_node_op(g, def) != TN_OP_PUT_ROWS || !TN_ATTRS_OF(g, def, put_rows)->shared) return (tn_val){0};
    const tn_val x = tn_node_input(g, def, 0);
    if (!kernel.i) return x;
    return tn_val_arg_of(g, x).i ? tn_node_input(g, kernel, tn_val_index(g, x)) : (tn_val){0};
}

static const tn_attrs_append *append_attrs(const tn_graph *g, tn_val y) {
    const tn_node def = tn_val_def(g, y);
    return def.i && tn_node_op(g, def) == TN_OP_APPEND ? TN_ATTRS_OF(g, def, append) : NULL;
}

bool tn_shared_of(const tn_graph *g, tn_val y, tn_shared *out) {
    const tn_attrs_append *a = append_attrs(g, y);
    const tn_val x = a ? tn_node_input(g, tn_val_def(g, y), 0) : put_into(g, y);
    if (!x.i) return false;
    size_t in = 0, result = 0;
    while (in < tn_graph_input_count(g) && tn_graph_input(g, in).i != x.i) in++;
    while (result < tn_graph_output_count(g) && tn_graph_output(g, result).i != y.i) result++;
    *out = (tn_shared){.input = (uint32_t)in, .output = (uint32_t)result, .axis = PUT_AXIS};
    if (a) out->axis = (uint32_t)a->axis, out->capacity = a->capacity;
    return in < tn_graph_input_count(g) && result < tn_graph_output_count(g);
}

tn_dim tn_shared_strides(tn_graph *g, tn_val y, tn_dim out[TN_MAX_RANK]) {
    const tn_attrs_append *a = append_attrs(g, y);
    tn_dim step = tn_dim_const(g, 1);
    for (size_t k = tn_val_rank(g, y); k-- > 0;) {
        const bool grows = a && a->capacity && k == (size_t)a->axis;
        out[k] = step;
        step = tn_dim_mul(g, step, grows ? tn_dim_const(g, a->capacity) : tn_val_dim(g, y, k));
    }
    return step;
}

/* ---- by name ----------------------------------------------------------------------------------------------------- */

const char *tn_match_name(const char *pattern, size_t n, const char *name, size_t *length) {
    const char *star = memchr(pattern, '*', n);
    const size_t head = star ? (size_t)(star - pattern) : n, tail = star ? n - head - 1 : 0, size = strlen(name);
    *length = 0;
    if (!star) return size == n && !memcmp(pattern, name, n) ? name : NULL;
    if (size < head + tail || memcmp(pattern, name, head) || memcmp(star + 1, name + size - tail, tail)) return NULL;
    *length = size - head - tail;
    return name + head;
}

static tn_status bad_pair(tn_graph *g, const char *pair, const char *why) {
    return tn_graph_fail(g, TN_E_ARGUMENT, (tn_node){0}, "write INPUT=OUTPUT, or one * on both sides",
                         "the alias '%s' %s", pair, why);
}

static size_t find_output(const tn_graph *g, const char *name) {
    size_t k = 0;
    while (k < tn_graph_output_count(g) && strcmp(tn_graph_output_name(g, k), name)) k++;
    return k;
}

/* ---- from concat to append --------------------------------------------------------------------------------------- */

typedef struct pair {
    tn_graph *g;
    size_t input, output;
} pair;

/* What stands in the way: text, the layer, and what to do. */
typedef struct obstacle {
    char why[240];
    const char *hint;
    tn_node at;
} obstacle;

static tn_status refuse(const pair *p, const obstacle *o) {
    return tn_graph_fail(p->g, TN_E_ARGUMENT, o->at, o->hint, "output '%s' cannot grow in the buffer of input '%s': %s",
                         tn_graph_output_name(p->g, p->output), tn_graph_input_name(p->g, p->input), o->why);
}

static bool stops(obstacle *o, tn_node at, const char *hint, const char *why) {
    snprintf(o->why, sizeof o->why, "%s", why);
    o->at = at, o->hint = hint;
    return false;
}

/* The buffer's size along the axis; 0 where it does not matter. */
static bool choose_capacity(tn_graph *g, tn_node concat, size_t axis, int64_t *capacity, obstacle *o) {
    const tn_val y = tn_node_result(g, concat, 0);
    bool one_row = true;
    int64_t lo, hi;
    for (size_t k = 0; k < axis; k++) one_row &= tn_dim_equal_const(g, tn_val_dim(g, y, k), 1);
    *capacity = 0;
    if (one_row) return true;
    tn_dim_bounds(g, tn_val_dim(g, y, axis), &lo, &hi);
    if (hi > 0 && hi <= MAX_CAPACITY) return *capacity = hi, true;
    stops(o, concat, "give the input's axis a range: --shape INPUT=1x8x0..2047x64", "");
    snprintf(o->why, sizeof o->why,
             "axis %zu, along which it grows, has no largest size, and rows before it are that far apart", axis);
    return false;
}

/* What is appended: the concat's other operands. */
static tn_val appended(tn_graph *g, tn_node concat) {
    const size_t n = tn_node_input_count(g, concat) - 1;
    if (n == 1) return tn_node_input(g, concat, 1);
    tn_val *in = tn_graph_alloc(g, n * sizeof *in);
    for (size_t k = 0; in && k < n; k++) in[k] = tn_node_input(g, concat, k + 1);
    return in ? tn_emit1(g, TN_OP_CONCAT, tn_node_attrs(g, concat), n, in) : (tn_val){0};
}

static bool is_taken(const tn_graph *g, tn_val input) {
    for (tn_use u = tn_val_first_use(g, input); u.i; u = tn_use_next(g, u))
        if (tn_node_op(g, tn_use_node(g, u)) == TN_OP_APPEND && tn_use_slot(g, u) == 0) return true;
    return false;
}

/* Nothing is in the way of making the concat an append, or it is one; *a says how. */
static bool may_alias(const pair *p, tn_attrs_append *a, obstacle *o) {
    tn_graph *g = p->g;
    const tn_val x = tn_graph_input(g, p->input), y = tn_graph_output(g, p->output);
    const tn_node def = tn_val_def(g, y);
    const tn_op op = tn_node_op(g, def);
    const bool begins = def.i && tn_node_input_count(g, def) > 1 && tn_node_input(g, def, 0).i == x.i;
    if (begins && (op == TN_OP_APPEND || (op == TN_OP_PUT_ROWS && TN_ATTRS_OF(g, def, put_rows)->shared))) return true;
    if (!begins || (op != TN_OP_CONCAT && op != TN_OP_PUT_ROWS)) {
        stops(o, def, "", "");
        snprintf(o->why, sizeof o->why, "it is not a concatenation that begins with the input, but %s",
                 !def.i               ? "an input itself"
                 : op == TN_OP_CONCAT ? "one that begins with something else, or has nothing more"
                                      : tn_op_text(op));
        return false;
    }
    for (size_t k = 0; k < tn_graph_output_count(g); k++)
        if (k != p->output && tn_graph_output(g, k).i == y.i)
            return stops(o, def, "alias that output alone", "the same value is another output too");
    if (is_taken(g, x)) return stops(o, def, "give each output an input of its own", "another output grows there");
    if (tn_dtype_bits(tn_val_dtype(g, x)) % 8) return stops(o, def, "", "its elements have less than a byte");
    if (op == TN_OP_PUT_ROWS)
        return tn_val_has_one_use(g, x) ||
               stops(o, def, "", "something else reads the input, of which rows are replaced");
    *a = (tn_attrs_append){.axis = TN_ATTRS_OF(g, def, axis)->axis};
    return choose_capacity(g, def, (size_t)a->axis, &a->capacity, o);
}

static tn_val append(const pair *p, tn_node concat, const tn_attrs_append *a) {
    const tn_val in[] = {tn_graph_input(p->g, p->input), appended(p->g, concat)};
    return tn_emit1(p->g, TN_OP_APPEND, a, 2, in);
}

static tn_val put_in_place(tn_graph *g, tn_node put) {
    tn_val in[4];
    for (size_t k = 0; k < 4; k++) in[k] = tn_node_input(g, put, k);
    return tn_emit1(g, TN_OP_PUT_ROWS, &(tn_attrs_put_rows){.shared = true}, 4, in);
}

static tn_status alias(const pair *p, const tn_attrs_append *a) {
    tn_graph *g = p->g;
    const tn_val y = tn_graph_output(g, p->output);
    const tn_node def = tn_val_def(g, y);
    if (tn_node_op(g, def) == TN_OP_APPEND) return TN_OK;
    const tn_cursor saved = tn_get_cursor(g);
    tn_set_cursor(g, tn_cursor_before(g, def));
    const tn_val grown = tn_node_op(g, def) == TN_OP_PUT_ROWS ? put_in_place(g, def) : append(p, def, a);
    tn_set_cursor(g, saved);
    if (tn_graph_status(g) != TN_OK) return tn_graph_status(g);
    tn_val_set_name(g, grown, tn_val_name(g, y));
    tn_replace(g, y, grown);
    return tn_erase(g, def);
}

/* Input k, if the pair is of it. */
static tn_status try_input(tn_graph *g, const char *text, const char *eq, size_t k, size_t *found) {
    char name[1024];
    size_t n;
    const char *stands = tn_match_name(text, (size_t)(eq - text), tn_graph_input_name(g, k), &n);
    const char *right = eq + 1, *star = strchr(right, '*');
    if (!stands) return TN_OK;
    ++*found;
    const int size =
        star ? snprintf(name, sizeof name, "%.*s%.*s%s", (int)(star - right), right, (int)n, stands, star + 1)
             : snprintf(name, sizeof name, "%s", right);
    const pair p = {g, k, size < (int)sizeof name ? find_output(g, name) : SIZE_MAX};
    if (p.output >= tn_graph_output_count(g))
        return tn_graph_fail(g, TN_E_ARGUMENT, (tn_node){0}, "", "the alias '%s': there is no output '%s'", text, name);
    tn_attrs_append a;
    obstacle o;
    return may_alias(&p, &a, &o) ? alias(&p, &a) : refuse(&p, &o);
}

tn_status tn_graph_alias(tn_graph *g, const char *const *pairs, size_t n) {
    tn_status st = tn_graph_status(g);
    for (size_t i = 0; st == TN_OK && i < n; i++) {
        const char *eq = strchr(pairs[i], '=');
        size_t found = 0;
        if (!eq || eq == pairs[i] || !eq[1]) return bad_pair(g, pairs[i], "is no pair");
        const char *left = memchr(pairs[i], '*', (size_t)(eq - pairs[i])), *right = strchr(eq, '*');
        if (!left != !right || (left && memchr(left + 1, '*', (size_t)(eq - left - 1))) ||
            (right && strchr(right + 1, '*')))
            return bad_pair(g, pairs[i], "has not one * on both sides");
        for (size_t k = 0; st == TN_OK && k < tn_graph_input_count(g); k++) st = try_input(g, pairs[i], eq, k, &found);
        if (st == TN_OK && !found) return bad_pair(g, pairs[i], "names no input of the model");
    }
    return st;
}

/* ---- by convention ------------------------------------------------------------------------------------------------ */

/* How exporters name a cache that comes in, and as it goes out. */
static const char *const conventions[][2] = {
    {"past_key_values", "present"}, {"past_key_values", "present_key_values"}, {"past", "present"}};

/* The output that input k becomes, by its name; as many as there are if there is none. */
static size_t find_present(const tn_graph *g, size_t k) {
    const char *input = tn_graph_input_name(g, k);
    char name[1024];
    for (size_t i = 0; i < sizeof conventions / sizeof *conventions; i++) {
        const size_t n = strlen(conventions[i][0]);
        if (strncmp(input, conventions[i][0], n) || strlen(input) - n + strlen(conventions[i][1]) >= sizeof name)
            continue;
        snprintf(name, sizeof name, "%s%s", conventions[i][1], input + n);
        const size_t output = find_output(g, name);
        if (output < tn_graph_output_count(g)) return output;
    }
    return tn_graph_output_count(g);
}

tn_status tn_graph_alias_caches(tn_graph *g) {
    tn_status st = tn_graph_status(g);
    for (size_t k = 0; st == TN_OK && k < tn_graph_input_count(g); k++) {
        const pair p = {g, k, find_present(g, k)};
        tn_attrs_append a;
        obstacle o;
        if (p.output == tn_graph_output_count(g)) continue;
        if (may_alias(&p, &a, &o))
            st = alias(&p, &a);
        else
            tn_report(tn_graph_env(g), TN_NOTE, TN_OK, tn_graph_input_name(g, k), "output '%s' does not grow in it: %s",
                      tn_graph_output_name(g, p.output), o.why);
    }
    return st;
}

tn_status tn_graph_alias_rows(tn_graph *g) {
    tn_status st = tn_graph_status(g);
    for (size_t k = 0; st == TN_OK && k < tn_graph_output_count(g); k++) {
        const tn_node put = tn_val_def(g, tn_graph_output(g, k));
        tn_attrs_append a;
        obstacle o;
        if (!put.i || tn_node_op(g, put) != TN_OP_PUT_ROWS) continue;
        const tn_val x = tn_node_input(g, put, 0);
        if (tn_val_arg_of(g, x).i != tn_graph_body(g).i) continue;
        const pair p = {g, tn_val_index(g, x), k};
        if (may_alias(&p, &a, &o)) st = alias(&p, &a);
    }
    return st;
}
