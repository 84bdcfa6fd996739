/* shapes.c: what the user says of the inputs' sizes: sizes, ranges, and several shapes of an input as buckets.
 *
 * First every axis that is a symbol is looked at, so that what one input says can contradict another's; then symbols
 * are bound, narrowed and put into buckets; last come axes that are no symbol, of which only the size that they have by
 * then can be said. */
#include <stdio.h>
#include <string.h>

#include "ir/internal.h"
#include "tenon/internal/list.h"

typedef struct symbol {
    tn_dim sym;
    const char *input; /* who said it first */
    size_t axis;
    bool said[TN_MAX_GIVEN_BUCKETS];
    tn_size_range in[TN_MAX_GIVEN_BUCKETS];
} symbol;

typedef struct given {
    tn_graph *g;
    const tn_shape_override *shapes;
    size_t n, n_buckets;
    symbol *syms;
    size_t n_syms, cap;
} given;

static const char *name_of(const tn_shape_override *o) {
    return o->input ? o->input : "";
}

static bool is_one_size(tn_size_range r) {
    return r.lo == r.hi;
}

/* "8" or "1..32", with ":8" where a typical size is said. */
static const char *range_text(tn_size_range r, char buf[96]) {
    size_t n = (size_t)snprintf(buf, 96, "%lld", (long long)r.lo);
    if (r.hi == INT64_MAX)
        n += (size_t)snprintf(buf + n, 96 - n, " upward");
    else if (!is_one_size(r))
        n += (size_t)snprintf(buf + n, 96 - n, "..%lld", (long long)r.hi);
    if (r.typical && !is_one_size(r)) snprintf(buf + n, 96 - n, ":%lld", (long long)r.typical);
    return buf;
}

/* ---- which shape of which input ---------------------------------------------------------------------------------- */

/* "x: f32[n,3], y: ..." of a graph's inputs. */
static void list_inputs(const tn_graph *g, char *buf, size_t size) {
    char item[400];
    tn_list list = tn_list_of(buf, size, tn_graph_input_count(g));
    for (size_t k = 0; k < tn_graph_input_count(g); k++) {
        tn_out o = tn_out_fixed(item, sizeof item);
        tn_out_fmt(&o, "%s: ", tn_graph_input_name(g, k));
        tn_out_type(&o, g, tn_val_type(g, tn_graph_input(g, k)));
        tn_list_put(&list, item);
    }
}

static tn_val find_input(const tn_graph *g, const char *name) {
    for (size_t k = 0; k < tn_graph_input_count(g); k++)
        if (!strcmp(tn_graph_input_name(g, k), name)) return tn_graph_input(g, k);
    return (tn_val){0};
}

/* How many of the first n shapes are of this input. */
static size_t count_of(const given *s, const char *input, size_t n) {
    size_t count = 0;
    for (size_t k = 0; k < n; k++) count += !strcmp(name_of(&s->shapes[k]), input);
    return count;
}

static tn_status check_shape(given *s, const tn_shape_override *o) {
    const tn_val v = find_input(s->g, name_of(o));
    if (!v.i) {
        char inputs[400];
        list_inputs(s->g, inputs, sizeof inputs);
        return tn_graph_fail(s->g, TN_E_ARGUMENT, (tn_node){0}, "name an input",
                             "a shape is given for '%s', but the inputs are %s", name_of(o), inputs);
    }
    if (o->rank != tn_val_rank(s->g, v))
        return tn_graph_fail(s->g, TN_E_ARGUMENT, (tn_node){0}, "give one number a dimension (-1 keeps the model's)",
                             "input '%s' has rank %zu; the shape given for it has %u", o->input, tn_val_rank(s->g, v),
                             o->rank);
    s->cap += o->rank;
    return TN_OK;
}

static tn_status check_pairing(given *s) {
    const char *most = "";
    for (size_t k = 0; k < s->n; k++) {
        const size_t n = count_of(s, name_of(&s->shapes[k]), s->n);
        if (n > s->n_buckets) s->n_buckets = n, most = name_of(&s->shapes[k]);
    }
    if (s->n_buckets > TN_MAX_GIVEN_BUCKETS)
        return tn_graph_fail(s->g, TN_E_ARGUMENT, (tn_node){0}, "", "input '%s' is given %zu shapes, the most are %d",
                             most, s->n_buckets, TN_MAX_GIVEN_BUCKETS);
    for (size_t k = 0; k < s->n; k++) {
        const size_t n = count_of(s, name_of(&s->shapes[k]), s->n);
        if (n != 1 && n != s->n_buckets)
            return tn_graph_fail(s->g, TN_E_ARGUMENT, (tn_node){0}, "give both as many, or one of them a single shape",
                                 "input '%s' is given %zu shapes and input '%s' %zu: the k-th shapes of all inputs "
                                 "belong together",
                                 most, s->n_buckets, name_of(&s->shapes[k]), n);
    }
    return TN_OK;
}

/* ---- symbols ----------------------------------------------------------------------------------------------------- */

/* What a shape says of an axis; false if nothing. */
static bool said_of(const given *s, const tn_shape_override *o, size_t axis, tn_dim d, tn_size_range *r) {
    *r = (tn_size_range){
        .lo = o->dims[axis], .hi = o->most[axis] ? o->most[axis] : o->dims[axis], .typical = o->typical[axis]};
    if (r->lo < 0 && r->typical) tn_dim_bounds(s->g, d, &r->lo, &r->hi); /* the model's range */
    return r->lo >= 0;
}

static tn_status check_range(given *s, const tn_shape_override *o, size_t axis, tn_size_range r) {
    char text[96];
    if (r.lo > r.hi)
        return tn_graph_fail(s->g, TN_E_ARGUMENT, (tn_node){0}, "",
                             "dim %zu of input '%s' is given from %lld to %lld: the lower bound is above the upper",
                             axis, o->input, (long long)r.lo, (long long)r.hi);
    if (r.typical < 0 || (r.typical && (r.typical < r.lo || r.typical > r.hi))) {
        const int64_t typical = r.typical;
        r.typical = 0;
        return tn_graph_fail(s->g, TN_E_ARGUMENT, (tn_node){0}, "",
                             "dim %zu of input '%s' is given as %s: the typical size %lld is outside", axis, o->input,
                             range_text(r, text), (long long)typical);
    }
    return TN_OK;
}

static symbol *symbol_of(given *s, tn_dim sym, const char *input, size_t axis) {
    for (size_t k = 0; k < s->n_syms; k++)
        if (s->syms[k].sym.i == sym.i) return &s->syms[k];
    s->syms[s->n_syms] = (symbol){.sym = sym, .input = input, .axis = axis};
    return &s->syms[s->n_syms++];
}

static tn_status contradicts(given *s, const symbol *y, size_t bucket, const char *input, size_t axis,
                             tn_size_range r) {
    char was[96], is[96];
    const tn_size_range old = y->in[bucket];
    if (is_one_size(old) && is_one_size(r))
        return tn_graph_fail(s->g, TN_E_ARGUMENT, (tn_node){0}, "inputs whose dims have one name have one size",
                             "dim %zu of input '%s' is %s; the shape given for it says %s", axis, input,
                             range_text(old, was), range_text(r, is));
    return tn_graph_fail(s->g, TN_E_ARGUMENT, (tn_node){0}, "inputs whose dims have one name have one size",
                         "dim %zu of input '%s' is %s, which is %s by dim %zu of input '%s'; the shape given for it "
                         "says %s",
                         axis, input, tn_dim_name(s->g, y->sym), range_text(old, was), y->axis, y->input,
                         range_text(r, is));
}

static tn_status say(given *s, symbol *y, size_t bucket, const char *input, size_t axis, tn_size_range r) {
    tn_size_range *in = &y->in[bucket];
    if (y->said[bucket] && (in->lo != r.lo || in->hi != r.hi || (in->typical && r.typical && in->typical != r.typical)))
        return contradicts(s, y, bucket, input, axis, r);
    if (y->said[bucket] && !r.typical) r.typical = in->typical;
    *in = r;
    y->said[bucket] = true;
    return TN_OK;
}

/* The model's own range holds, whatever is given. */
static tn_status check_model(given *s, tn_dim sym, const char *input, size_t axis, tn_size_range r) {
    tn_size_range own = {0};
    char want[96], got[96];
    tn_dim_bounds(s->g, sym, &own.lo, &own.hi);
    if (r.lo >= own.lo && r.hi <= own.hi) return TN_OK;
    return tn_graph_fail(s->g, TN_E_ARGUMENT, (tn_node){0}, "",
                         "dim %zu of input '%s' is %s, which is %s in the model; the shape given for it says %s", axis,
                         input, tn_dim_name(s->g, sym), range_text(own, want), range_text(r, got));
}

static tn_status say_symbols(given *s, size_t k) {
    const tn_shape_override *o = &s->shapes[k];
    const tn_val v = find_input(s->g, o->input);
    const bool all = count_of(s, o->input, s->n) == 1;
    const size_t first = all ? 0 : count_of(s, o->input, k), end = all ? s->n_buckets : first + 1;
    tn_status st = TN_OK;
    for (size_t axis = 0; st == TN_OK && axis < o->rank; axis++) {
        const tn_dim d = tn_val_dim(s->g, v, axis);
        tn_size_range r;
        if (!said_of(s, o, axis, d, &r)) continue;
        st = check_range(s, o, axis, r);
        if (st != TN_OK || tn_dim_kind_of(s->g, d) != TN_DIM_SYM) continue;
        if (is_one_size(r)) r.typical = r.lo;
        st = check_model(s, d, o->input, axis, r);
        symbol *y = symbol_of(s, d, o->input, axis);
        for (size_t b = first; st == TN_OK && b < end; b++) st = say(s, y, b, o->input, axis, r);
    }
    return st;
}

/* In buckets that say nothing of a symbol it has its own range. */
static void complete(given *s) {
    for (size_t k = 0; k < s->n_syms; k++)
        for (size_t b = 0; b < s->n_buckets; b++) {
            tn_size_range *r = &s->syms[k].in[b];
            if (!s->syms[k].said[b]) tn_dim_bounds(s->g, s->syms[k].sym, &r->lo, &r->hi);
        }
}

/* Drops buckets that are like an earlier one. */
static void drop_doubles(given *s) {
    size_t n = 0;
    for (size_t b = 0; b < s->n_buckets; b++) {
        bool twice = false;
        for (size_t a = 0; a < n && !twice; a++) {
            twice = true;
            for (size_t k = 0; k < s->n_syms && twice; k++) twice = tn_same_range(s->syms[k].in[a], s->syms[k].in[b]);
        }
        if (twice) continue;
        for (size_t k = 0; k < s->n_syms; k++) s->syms[k].in[n] = s->syms[k].in[b];
        n++;
    }
    s->n_buckets = n;
}

/* One size everywhere, or the range that spans those of all buckets. */
static void narrow(given *s, const symbol *y) {
    tn_size_range all = y->in[0];
    for (size_t b = 1; b < s->n_buckets; b++) {
        if (y->in[b].lo < all.lo) all.lo = y->in[b].lo;
        if (y->in[b].hi > all.hi) all.hi = y->in[b].hi;
    }
    if (is_one_size(all))
        tn_dim_bind(s->g, y->sym, tn_dim_const(s->g, all.lo));
    else
        tn_dim_set_range(s->g, y->sym, all.lo, all.hi);
}

static void set_buckets(given *s) {
    bool typical = false;
    for (size_t k = 0; k < s->n_syms; k++) typical |= s->syms[k].in[0].typical && !is_one_size(s->syms[k].in[0]);
    if (s->n_buckets < 2 && !typical) return;
    for (size_t b = 0; b < s->n_buckets; b++)
        for (size_t k = 0; k < s->n_syms; k++) {
            int64_t lo, hi;
            tn_dim_bounds(s->g, s->syms[k].sym, &lo, &hi);
            if (lo == hi) continue;
            tn_bucket_set_range(s->g, b, s->syms[k].sym, s->syms[k].in[b]);
            if (b == 0 && s->syms[k].in[b].typical) tn_dim_set_hint(s->g, s->syms[k].sym, s->syms[k].in[b].typical);
        }
}

static tn_status settle(given *s) {
    complete(s);
    drop_doubles(s);
    for (size_t k = 0; tn_graph_ok(s->g) && k < s->n_syms; k++) narrow(s, &s->syms[k]);
    if (tn_graph_ok(s->g)) set_buckets(s);
    return tn_graph_status(s->g);
}

/* ---- axes that are no symbol ------------------------------------------------------------------------------------- */

static tn_status check_axis(given *s, const tn_shape_override *o, size_t axis, tn_dim d) {
    tn_size_range r;
    char is[64], says[96];
    if (tn_dim_kind_of(s->g, d) == TN_DIM_SYM || !said_of(s, o, axis, d, &r)) return TN_OK;
    if (is_one_size(r) && tn_dim_equal_const(s->g, d, r.lo)) return TN_OK;
    tn_dim_print(s->g, d, is, sizeof is);
    if (!is_one_size(r) || r.typical)
        return tn_graph_fail(s->g, TN_E_ARGUMENT, (tn_node){0}, "only dims that have a name can be given a range",
                             "dim %zu of input '%s' is %s in the model; the shape given for it says %s", axis, o->input,
                             is, range_text(r, says));
    return tn_graph_fail(
        s->g, TN_E_ARGUMENT, (tn_node){0}, "the model says so, or another input whose dim has the same name",
        "dim %zu of input '%s' is %s; the shape given for it says %s", axis, o->input, is, range_text(r, says));
}

static tn_status check_others(given *s) {
    tn_status st = TN_OK;
    for (size_t k = 0; st == TN_OK && k < s->n; k++) {
        const tn_val v = find_input(s->g, s->shapes[k].input);
        for (size_t axis = 0; st == TN_OK && axis < s->shapes[k].rank; axis++)
            st = check_axis(s, &s->shapes[k], axis, tn_val_dim(s->g, v, axis));
    }
    return st;
}

/* ---- all --------------------------------------------------------------------------------------------------------- */

static tn_status give(tn_graph *g, const tn_shape_override *shapes, size_t n) {
    given s = {.g = g, .shapes = shapes, .n = n};
    tn_status st = TN_OK;
    for (size_t k = 0; st == TN_OK && k < n; k++) st = check_shape(&s, &shapes[k]);
    if (st == TN_OK) st = check_pairing(&s);
    s.syms = tn_alloc(tn_graph_env(g), (s.cap + 1) * sizeof *s.syms);
    if (!s.syms) return tn_graph_oom(g);
    for (size_t k = 0; st == TN_OK && k < n; k++) st = say_symbols(&s, k);
    if (st == TN_OK) tn_graph_clear_buckets(g);
    if (st == TN_OK) st = settle(&s);
    if (st == TN_OK) st = check_others(&s);
    tn_free(tn_graph_env(g), s.syms, (s.cap + 1) * sizeof *s.syms);
    return st;
}

/* Shapes of names with a '*' become one of each input that fits, in room for all; a name that fits none stays. */
static size_t written_out(const tn_graph *g, const tn_shape_override *shapes, size_t n, tn_shape_override *out) {
    size_t all = 0, length;
    for (size_t k = 0; k < n; k++) {
        const char *name = name_of(&shapes[k]);
        const size_t before = all;
        for (size_t i = 0; strchr(name, '*') && i < tn_graph_input_count(g); i++)
            if (tn_match_name(name, strlen(name), tn_graph_input_name(g, i), &length)) {
                out[all] = shapes[k];
                out[all++].input = tn_graph_input_name(g, i);
            }
        if (all == before) out[all++] = shapes[k];
    }
    return all;
}

tn_status tn_graph_give_shapes(tn_graph *g, const tn_shape_override *shapes, size_t n) {
    const tn_status st = tn_graph_status(g);
    if (st != TN_OK || !n) return st;
    tn_shape_override *all = tn_alloc(tn_graph_env(g), n * (tn_graph_input_count(g) + 1) * sizeof *all);
    if (!all) return tn_graph_oom(g);
    const tn_status given = give(g, all, written_out(g, shapes, n, all));
    tn_free(tn_graph_env(g), all, n * (tn_graph_input_count(g) + 1) * sizeof *all);
    return given;
}
