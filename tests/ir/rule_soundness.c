/* rule_soundness.c: every rule keeps its promise for every dtype that it names.
 *
 * Graphs are drawn from the rule's own pattern (instance.h) or, where a pattern says too little, from a seed below; the
 * rule alone is run on them; what fires is evaluated before and after on zeros of both signs, infinities, NaN,
 * extremes, subnormals and wrap-around values, and held to the rule's bound (rule.h).  The test fails for a rule that
 * breaks its promise, that fires for no instance of a dtype it names, or whose replacement does not type.
 *
 *     tn_rule_soundness [-n fired instances per rule and dtype] [-s seed] [rule ...] */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/ir/instance.h"
#include "passes/util.h"
#include "passes/rule.h"

#undef X
#undef Y
#undef Z
#undef W

enum { MAX_IO = 16, MAX_VALUES = 256, MAX_TRIES = 6000, INPUTS_PER_GRAPH = 4, SEED_TRIES = 12 };

/* Graphs for rules whose patterns are too general to be met by chance: T stands for the dtype. */
static const struct seed {
    const char *rule, *text;
} seeds[] = {
    {"concat_slices", "func @main(%x: T[4,6]) -> T[4,6] {\n"
                      "  %0 = slice %x {starts=[0,0], sizes=[1,6], steps=[1,1]}\n"
                      "  %1 = slice %x {starts=[1,0], sizes=[3,6], steps=[1,1]}\n"
                      "  %2 = concat %0, %1 {axis=0}\n  return %2\n}\n"},
    {"div_scale", "func @main(%x: T[1,2,3,3]) -> (T[1,2,3,3], T[1,2,3,3]) {\n"
                  "  %w = const [1, 2, 3, -4] : T[2,2,1,1]\n  %c = const [7] : T[]\n  %0 = div %x, %c\n"
                  "  %1 = conv %0, %w {groups=1}\n  %2 = conv %x, %w {groups=1}\n  %3 = div %2, %c\n"
                  "  return %1, %3\n}\n"},
    {"mul_of_add", "func @main(%x: T[4,6]) -> T[4,6] {\n"
                   "  %c = const [0.5] : T[]\n  %d = const [3] : T[]\n  %0 = mul %x, %c\n  %1 = add %0, %d\n"
                   "  %2 = mul %1, %d\n  return %2\n}\n"},
    {"byte_matmul", "func @main(%a: u8[4,6], %z: i8[4,1], %b: i8[6,5]) -> T[4,5] {\n"
                    "  %0 = cast %a {to=i32}\n  %1 = cast %z {to=i32}\n  %2 = sub %0, %1\n  %3 = cast %b {to=i32}\n"
                    "  %4 = matmul %2, %3\n  return %4\n}\n"},
    {"byte_conv", "func @main(%x: i8[2,2,5,5], %z: u8[]) -> T[2,3,5,5] {\n"
                  "  %w = const [1, 2, 3, 4, -128, 127] : T[3,2,1,1]\n"
                  "  %0 = cast %x {to=i32}\n  %1 = cast %z {to=i32}\n  %2 = sub %0, %1\n"
                  "  %3 = conv %2, %w\n  return %3\n}\n"},
    {"dequantised_matmul", "func @main(%a: u8[4,6], %b: i8[6,5]) -> T[4,5] {\n"
                           "  %s = const [0.3] : T[]\n  %t = const [1, -3, 0.1, 0.01, 7] : T[5]\n"
                           "  %0 = cast %a {to=f32}\n  %1 = mul %0, %s\n  %2 = cast %b {to=f32}\n  %3 = mul %2, %t\n"
                           "  %4 = matmul %1, %3\n  return %4\n}\n"},
    {"dequantised_conv", "func @main(%a: i8[2,2,5,5], %b: u8[3,2,2,2], %z: u8[], %c: T[3]) -> T[2,3,5,5] {\n"
                         "  %s = const [0.3] : T[]\n  %t = const [1, -3, 0.1] : T[3,1,1,1]\n"
                         "  %5 = cast %a {to=i32}\n  %6 = cast %z {to=i32}\n  %7 = sub %5, %6\n"
                         "  %0 = cast %7 {to=f32}\n  %1 = mul %0, %s\n  %2 = cast %b {to=f32}\n  %3 = mul %2, %t\n"
                         "  %4 = conv %1, %3, %c {pads=[1,0,0,1]}\n  return %4\n}\n"},
    {"conv_plus_conv", "func @main(%x: T[2,2,5,5]) -> T[2,2,5,5] {\n"
                       "  %w = const [1, 2, 3, 4, 5, 6, 7, 8, -1, -2, -3, -4, -5, -6, -7, -8, 9, 0, 1] : T[19]\n"
                       "  %a = slice %w {starts=[0], sizes=[4], steps=[1]}\n  %b = reshape %a {dims=[2,2,1,1]}\n"
                       "  %c = const [0.5, 1, 2, -1, 0.25, 0, 1, 3, 2, 2, 0, 1, -2, 1, 1, 0.5, 1, 2] : T[2,1,3,3]\n"
                       "  %0 = conv %x, %c {pads=[1,1,1,1], groups=2}\n"
                       "  %d = const [1, -3] : T[2,1,1,1]\n  %1 = conv %x, %d {groups=2}\n"
                       "  %2 = add %0, %1\n  return %2\n}\n"},
    {"conv_plus_scaled", "func @main(%x: T[2,2,5,5]) -> T[2,2,5,5] {\n"
                         "  %w = const [1, 2, 3, -4] : T[2,2,1,1]\n  %c = const [2, -1] : T[2,1,1]\n"
                         "  %0 = conv %x, %w {groups=1}\n  %1 = mul %x, %c\n  %2 = add %0, %1\n  return %2\n}\n"},
    {"conv_plus_input", "func @main(%x: T[2,2,5,5]) -> T[2,2,5,5] {\n"
                        "  %w = const [1, 2, 3, -4] : T[2,2,1,1]\n"
                        "  %0 = conv %x, %w {groups=1}\n  %1 = add %0, %x\n  return %1\n}\n"},
    {"matmul_norm", "func @main(%x: T[4,2]) -> T[4,3] {\n"
                    "  %w = const [1, 2, 3, -4, 0.5, 0] : T[2,3]\n  %s = const [1, 2, -1] : T[3]\n"
                    "  %b = const [0, 1, 2] : T[3]\n  %v = const [1, 4, 0.25] : T[3]\n  %0 = matmul %x, %w\n"
                    "  %1 = batch_norm %0, %s, %b, %b, %v {axis=1, eps=0.001}\n  return %1\n}\n"},
    {"rows_past_product", "func @main(%x: T[2,3,2]) -> T[2,3,2] {\n"
                          "  %w = const [1, 2, 3, 4] : T[2,2]\n  %0 = transpose %x {perm=[1,0,2]}\n"
                          "  %1 = matmul %0, %w\n  %2 = transpose %1 {perm=[1,0,2]}\n  return %2\n}\n"},
    {"rows_past_sum", "func @main(%x: T[2,3,2]) -> T[2,3,2] {\n"
                      "  %c = const [1, 0] : T[2]\n  %0 = transpose %x {perm=[1,0,2]}\n"
                      "  %1 = add %0, %c\n  %2 = transpose %1 {perm=[1,0,2]}\n  return %2\n}\n"},
    {"rows_past_part", "func @main(%x: T[2,3,4]) -> (T[2,3,2], T[2,3,2]) {\n"
                       "  %0 = transpose %x {perm=[1,0,2]}\n"
                       "  %1 = slice %0 {starts=[0,0,1], sizes=[3,2,2], steps=[1,1,1]}\n"
                       "  %2 = slice %0 {starts=[0,0,0], sizes=[3,2,2], steps=[1,1,2]}\n"
                       "  %3 = transpose %1 {perm=[1,0,2]}\n  %4 = transpose %2 {perm=[1,0,2]}\n"
                       "  return %3, %4\n}\n"},
    {"rows_before_product", "func @main(%x: T[2,3,2]) -> T[2,3,2] {\n"
                            "  %w = const [1, 2, 3, 4] : T[2,2]\n  %0 = transpose %x {perm=[1,0,2]}\n"
                            "  %1 = reshape %0 {dims=[6,2]}\n  %2 = matmul %1, %w\n"
                            "  %3 = reshape %2 {dims=[3,2,2]}\n  %4 = transpose %3 {perm=[1,0,2]}\n  return %4\n}\n"},
    {"rows_before_sum", "func @main(%x: T[2,3,2]) -> T[2,3,2] {\n"
                        "  %w = const [1, 2, 3, 4] : T[2,2]\n  %c = const [1, 2] : T[2]\n"
                        "  %0 = transpose %x {perm=[1,0,2]}\n  %1 = reshape %0 {dims=[6,2]}\n"
                        "  %2 = matmul %1, %w\n  %3 = add %2, %c\n  %4 = reshape %3 {dims=[3,2,2]}\n"
                        "  %5 = transpose %4 {perm=[1,0,2]}\n  return %5\n}\n"},
};

typedef struct report {
    const tn_rule *rule;
    tn_dtype t;
    uint64_t seed;
    char why[400];
} report;

/* ---- evaluation -------------------------------------------------------------------------------------------------- */

/* The original's exact values: f64 of every float value, by handle. */
typedef struct record {
    const tn_graph *g;
    tn_tensor v[MAX_VALUES];
    uint32_t n;
    bool too_many;
} record;

static void on_value(void *user, tn_val v, const tn_tensor *t) {
    record *r = user;
    if (t->dtype != TN_F64) return;
    if (v.i >= MAX_VALUES) {
        r->too_many = true;
        return;
    }
    if (tn_tensor_new(NULL, TN_F64, t->rank, t->dims, &r->v[v.i]) == TN_OK) memcpy(r->v[v.i].data, t->data, t->bytes);
    if (v.i >= r->n) r->n = v.i + 1;
}

static void free_all(tn_tensor *t, size_t n) {
    for (size_t k = 0; k < n; k++) tn_tensor_free(NULL, &t[k]);
}

static bool make_inputs(tn_graph *g, const tn_binding *b, size_t n_syms, tn_random *r, tn_tensor *in) {
    tn_flavour flavour = (tn_flavour)tn_pick(r, TN_FLAVOURS);
    for (size_t k = 0; k < tn_graph_input_count(g); k++) {
        tn_val v = tn_graph_input(g, k);
        int64_t dims[TN_MAX_RANK];
        for (size_t i = 0; i < tn_val_rank(g, v); i++)
            if (!tn_dim_eval(g, tn_val_dim(g, v, i), b, n_syms, &dims[i])) return false;
        if (tn_tensor_new(NULL, tn_val_dtype(g, v), tn_val_rank(g, v), dims, &in[k]) != TN_OK) return false;
        tn_random_fill(r, flavour, &in[k]);
    }
    return true;
}

/* ---- what the rule promises -------------------------------------------------------------------------------------- */

typedef struct judge {
    const tn_rule *rule;
    bool exact_mode;
    tn_graph *before;
    const tn_tensor *in;
    const record *rec;
} judge;

typedef struct extent {
    bool elementwise;  /* element i depends on element i of the operands only */
    double largest;    /* of what is finite, and of the products that are summed */
    double operand;    /* the largest finite operand */
    bool special;      /* an operand is NaN or infinite */
    bool invalid;      /* something on the way is */
    bool out_of_range; /* something on the way, or a sum in another order, may overflow or become subnormal */
    bool zero_operand, zero_made;
} extent;

static bool is_operand(const tn_graph *g, uint32_t v) {
    tn_node n = tn_val_def(g, (tn_val){v});
    return !n.i || tn_node_op(g, n) == TN_OP_CONST;
}

static bool sums(const tn_graph *g, uint32_t v) {
    tn_node n = tn_val_def(g, (tn_val){v});
    return n.i && tn_node_input_count(g, n) && !tn_op_is(tn_node_op(g, n), TN_T_ELEMENTWISE | TN_T_MOVEMENT);
}

static double largest_of(const judge *j, tn_val v, double otherwise) {
    double largest = 0;
    if (v.i >= j->rec->n || !j->rec->v[v.i].data) return otherwise;
    const tn_tensor *t = &j->rec->v[v.i];
    for (int64_t i = 0, n = tn_tensor_numel(t); i < n; i++)
        if (isfinite(((const double *)t->data)[i])) largest = fmax(largest, fabs(((const double *)t->data)[i]));
    return largest;
}

/* A node that sums: the products of its operands, and their sum in any order. */
static void look_at_sum(const judge *j, extent *e, uint32_t v, tn_float_limits l) {
    const tn_graph *g = j->before;
    tn_node n = tn_val_def(g, (tn_val){v});
    tn_val x = tn_node_input(g, n, 0), w = tn_node_input(g, n, 1);
    double product = largest_of(j, x, 0) * largest_of(j, w, 1);
    double terms = x.i < j->rec->n && j->rec->v[x.i].data ? (double)tn_tensor_numel(&j->rec->v[x.i]) : 1;
    e->largest = fmax(e->largest, product);
    e->out_of_range |= product * terms > l.largest;
}

static void look_at(extent *e, double v, bool operand, double largest, tn_float_limits l) {
    if (!isfinite(v)) {
        e->special |= operand;
        e->invalid |= !operand;
        return;
    }
    e->largest = fmax(e->largest, fabs(v));
    *(operand ? &e->zero_operand : &e->zero_made) |= v == 0;
    if (operand)
        e->operand = fmax(e->operand, fabs(v));
    else
        e->out_of_range |= fabs(v) > largest || (v != 0 && fabs(v) < l.smallest);
}

/* What the values say on which element i of an output depends: their element i in an elementwise graph where they have
 * the output's shape, else all. */
static extent extent_of(const judge *j, const tn_tensor *out, int64_t i) {
    extent e = {.elementwise = true};
    tn_float_limits l = tn_limits_of(out->dtype);
    double largest = l.largest * (1 - fmin(0.5, j->rule->ulps * l.eps)); /* what is nearer may round to infinity */
    TN_FOR_NODES(j->before, tn_graph_body(j->before), n) {
        tn_op op = tn_node_op(j->before, n);
        e.elementwise &= tn_op_is(op, TN_T_ELEMENTWISE | TN_T_TERMINATOR) || op == TN_OP_CONST || op == TN_OP_BROADCAST;
    }
    for (uint32_t v = 1; v < j->rec->n; v++) {
        const tn_tensor *t = &j->rec->v[v];
        if (!t->data) continue;
        bool operand = is_operand(j->before, v);
        bool alike = e.elementwise && t->rank == out->rank && !memcmp(t->dims, out->dims, t->rank * sizeof t->dims[0]);
        int64_t from = alike ? i : 0, to = alike ? i + 1 : tn_tensor_numel(t);
        for (int64_t k = from; k < to; k++) look_at(&e, ((const double *)t->data)[k], operand, largest, l);
        if (sums(j->before, v)) look_at_sum(j, &e, v, l);
    }
    /* nothing is more exact than f64 to show that a product vanished */
    if (out->dtype == TN_F64 && e.zero_made && !e.zero_operand) e.out_of_range = true;
    return e;
}

static bool same_class(double x, double y) {
    if (isnan(x) || isnan(y)) return isnan(x) && isnan(y);
    return (!isinf(x) && !isinf(y)) || x == y;
}

/* x before, y after, exact the original's value in f64. */
static bool keeps_promise(const judge *j, const tn_tensor *out, int64_t i, double x, double y, double exact) {
    enum { MODERATE = 100 };
    if (isnan(x) && isnan(y)) return true;
    if (x == y && signbit(x) == signbit(y)) return true;
    if (j->rule->bound == TN_EXACT || j->exact_mode) return false;
    if (x == y) return true;
    if (j->rule->bound == TN_ZERO_SIGN) return false;
    extent e = extent_of(j, out, i);
    tn_float_limits l = tn_limits_of(out->dtype);
    if (e.out_of_range) return true;
    if (e.special) {
        /* whether a large operand or an infinite one made an element of a sum is not known */
        if (j->rule->bound == TN_FINITE || (!e.elementwise && e.operand > MODERATE)) return true;
        if (!same_class(x, y)) return false;
        if (!isfinite(x)) return true;
    } else if (e.invalid &&
               (isnan(x) == isnan(y) || j->rule->bound != TN_ULPS || out->dtype == TN_F8E4M3 || out->dtype == TN_F64)) {
        return true; /* f8e4m3 has no infinity: what 1 / 0 gives is NaN; in f64 an overflow looks like 1 / 0 */
    }
    if (isnan(x) != isnan(y)) return false;
    double scale = j->rule->bound == TN_ULPS ? fabs(exact) : e.largest;
    return fabs(y - exact) <= j->rule->ulps * l.eps * fmax(scale, l.smallest);
}

static bool compare(const judge *j, size_t k, const tn_tensor *a, const tn_tensor *b, const tn_tensor *w, char *why,
                    size_t size) {
    bool same = a->dtype == b->dtype && a->rank == b->rank && !memcmp(a->dims, b->dims, a->rank * sizeof a->dims[0]);
    if (!same) {
        snprintf(why, size, "output %zu has another type", k);
        return false;
    }
    for (int64_t i = 0, n = tn_tensor_numel(a); i < n; i++) {
        if (!tn_dtype_is_float(a->dtype)) {
            int64_t x = tn_load_int(a->dtype, a->data, (uint64_t)i), y = tn_load_int(b->dtype, b->data, (uint64_t)i);
            if (x == y) continue;
            snprintf(why, size, "output %zu element %lld was %lld and is %lld", k, (long long)i, (long long)x,
                     (long long)y);
            return false;
        }
        double x = tn_load_num(a->dtype, a->data, (uint64_t)i), y = tn_load_num(b->dtype, b->data, (uint64_t)i);
        double exact = ((const double *)w->data)[i];
        if (keeps_promise(j, a, i, x, y, exact)) continue;
        extent e = extent_of(j, a, i);
        snprintf(why, size, "output %zu element %lld was %.9g and is %.9g (exactly %.12g, largest %.6g%s)", k,
                 (long long)i, x, y, exact, e.largest, e.special ? ", special operands" : "");
        return false;
    }
    return true;
}

/* The original with its composites expanded, so that their intermediate values are seen. */
static tn_graph *expanded(const tn_env *env, const tn_graph *g) {
    tn_graph *e = tn_graph_clone(g);
    tn_pass_ctx *ctx = tn_pass_ctx_new(env, NULL);
    if (e && ctx) tn_run_passes(e, "expand", ctx);
    tn_pass_ctx_free(ctx);
    return e;
}

/* Evaluates both graphs on one set of inputs.  TN_OK: the promise is kept, or the original cannot be evaluated. */
static void on_diag(void *user, const tn_diag *d) {
    snprintf(user, 200, "%s", d->message);
}

static bool same_meaning(const tn_rule *rule, bool exact_mode, tn_graph *before, tn_graph *wide, tn_graph *after,
                         tn_random *r, uint32_t *evaluated, char *why, size_t size) {
    tn_tensor in[MAX_IO] = {{0}}, a[MAX_IO] = {{0}}, b[MAX_IO] = {{0}}, w[MAX_IO] = {{0}};
    record *rec = calloc(1, sizeof *rec);
    tn_binding bind[MAX_IO];
    size_t n_in = tn_graph_input_count(before), n_out = tn_graph_output_count(before), n_syms = tn_sym_count(before);
    char said[200] = "";
    const tn_env env_ = {.diag = on_diag, .diag_user = said}, *env = &env_;
    bool ok = true, ready = rec && n_in <= MAX_IO && n_out <= MAX_IO && n_syms <= MAX_IO;
    for (size_t k = 0; ready && k < n_syms; k++) {
        const char *name = tn_dim_name(before, tn_sym_at(before, k));
        bind[k] = (tn_binding){name, atoi(name + 1)};
    }
    ready = ready && make_inputs(before, bind, n_syms, r, in);
    if (ready && tn_eval_graph(env, before, in, n_in, a, n_out,
                               &(tn_eval_opts){.symbols = bind, .n_symbols = n_syms}) == TN_OK) {
        tn_eval_opts opts = {.wide = true, .on_value = on_value, .user = rec, .symbols = bind, .n_symbols = n_syms};
        (*evaluated)++;
        ok = tn_eval_graph(env, wide, in, n_in, w, n_out, &opts) == TN_OK;
        for (size_t k = 0; k < n_in && tn_graph_input(wide, k).i < MAX_VALUES; k++) {
            tn_val v = tn_graph_input(wide, k);
            if (!tn_dtype_is_float(in[k].dtype)) continue;
            tn_tensor_new(NULL, TN_F64, in[k].rank, in[k].dims, &rec->v[v.i]);
            for (int64_t i = 0; i < tn_tensor_numel(&in[k]); i++)
                ((double *)rec->v[v.i].data)[i] = tn_load_num(in[k].dtype, in[k].data, (uint64_t)i);
            if (v.i >= rec->n) rec->n = v.i + 1;
        }
        opts = (tn_eval_opts){.symbols = bind, .n_symbols = n_syms};
        ok = ok && !rec->too_many && tn_eval_graph(env, after, in, n_in, b, n_out, &opts) == TN_OK;
        if (!ok) snprintf(why, size, "cannot be evaluated any more: %s", said);
        judge j = {rule, exact_mode, wide, in, rec};
        for (size_t k = 0; ok && k < n_out; k++) ok = compare(&j, k, &a[k], &b[k], &w[k], why, size);
    }
    free_all(in, MAX_IO);
    free_all(a, MAX_IO);
    free_all(b, MAX_IO);
    free_all(w, MAX_IO);
    if (rec) free_all(rec->v, MAX_VALUES);
    free(rec);
    return ok;
}

/* ---- one instance ------------------------------------------------------------------------------------------------ */

typedef enum outcome { FAULT, MISSED, FIRED } outcome;

static uint32_t fired_by(const tn_pass_ctx *ctx, const char *rule) {
    const tn_rule_count *counts;
    uint32_t n = 0;
    for (size_t count = tn_rule_counts(ctx, &counts), k = 0; k < count; k++)
        if (!strcmp(counts[k].rule, rule)) n += counts[k].fired;
    return n;
}

static bool misfit(const tn_pass_ctx *ctx) {
    const tn_near_miss *miss;
    for (size_t n = tn_near_misses(ctx, &miss), k = 0; k < n; k++)
        if (!strcmp(miss[k].why, "its replacement does not fit here")) return true;
    return false;
}

static void show(const tn_graph *before, const tn_graph *after) {
    const tn_graph *gs[2] = {before, after};
    for (int k = 0; k < 2; k++) {
        char *text = NULL;
        size_t size = 0;
        if (tn_print(gs[k], "side", &text, &size) != TN_OK) continue;
        printf("%s%.*s", k ? "->\n" : "", (int)size, text);
        tn_free(NULL, text, size + 1);
    }
}

static outcome try_graph(const tn_rule *rule, tn_graph *g, tn_random *r, uint32_t *evaluated, char *why, size_t size) {
    const tn_env quiet = {0};
    tn_pass_options opts = {.compute = TN_F32, .numerics = tn_chance(r, 30) ? TN_NUMERICS_EXACT : TN_NUMERICS_RELAXED};
    tn_graph *after = tn_graph_clone(g), *wide = expanded(&quiet, g);
    tn_pass_ctx *ctx = tn_pass_ctx_new(&quiet, &opts);
    const tn_rules set = {rule, 1}, *sets[] = {&set};
    outcome o = MISSED;
    if (!after || !wide || !ctx) {
        snprintf(why, size, "out of memory");
        o = FAULT;
    } else if (tn_rewrite(after, ctx, 1, sets) != TN_OK || tn_verify(after) != TN_OK) {
        snprintf(why, size, "the rewritten graph is broken");
        o = FAULT;
    } else if (misfit(ctx)) {
        snprintf(why, size, "the replacement does not type: the guard should say so");
        o = FAULT;
    } else if (fired_by(ctx, rule->name)) {
        o = FIRED;
    }
    for (int k = 0; k < INPUTS_PER_GRAPH && o == FIRED; k++)
        if (!same_meaning(rule, opts.numerics == TN_NUMERICS_EXACT, g, wide, after, r, evaluated, why, size)) o = FAULT;
    if (o == FAULT && after) show(g, after);
    tn_pass_ctx_free(ctx);
    tn_graph_free(after);
    tn_graph_free(wide);
    return o;
}

/* A seed's graph with T replaced by the dtype. */
static tn_graph *seed_graph(const tn_env *env, const char *text, tn_dtype t) {
    char buf[4096];
    size_t n = 0;
    tn_status st;
    for (; *text && n + 16 < sizeof buf; text++) {
        bool here = *text == 'T' && (text[-1] == ' ' || text[-1] == '(');
        n += (size_t)snprintf(buf + n, sizeof buf - n, "%.*s", here ? 15 : 1, here ? tn_dtype_text(t) : text);
    }
    return tn_parse(env, "seed", buf, n, NULL, 0, true, &st);
}

/* ---- all rules --------------------------------------------------------------------------------------------------- */

typedef struct totals {
    uint64_t instances, fired, evaluated;
    uint32_t faults, wanted;
    uint64_t seed;
} totals;

/* Tries instances of one rule and dtype until enough have fired. */
static const char *seed_text(const char *rule) {
    for (size_t k = 0; k < sizeof seeds / sizeof seeds[0]; k++)
        if (!strcmp(seeds[k].rule, rule)) return seeds[k].text;
    return NULL;
}

static void try_rule(totals *all, const tn_rule *rule, tn_dtype t) {
    const tn_env quiet = {0};
    uint32_t fired = 0, evaluated = 0, tries = 0, faults = 0;
    for (; tries < MAX_TRIES && fired < all->wanted && faults < 2; tries++) {
        char why[400] = "";
        tn_random r = {all->seed + ((uint64_t)t << 32) + tries};
        const char *text = tries < SEED_TRIES ? seed_text(rule->name) : NULL;
        tn_graph *g = text ? seed_graph(&quiet, text, t) : tn_instance(&quiet, rule->match, t, &r);
        outcome o = g ? try_graph(rule, g, &r, &evaluated, why, sizeof why) : MISSED;
        if (o == FAULT) printf("%s, %s, try %u: %s\n", rule->name, tn_dtype_text(t), tries, why);
        fired += o == FIRED;
        faults += o == FAULT;
        tn_graph_free(g);
    }
    if (!faults && (!fired || !evaluated)) {
        printf("%s, %s: no instance of %u %s\n", rule->name, tn_dtype_text(t), tries,
               fired ? "can be evaluated" : "fires");
        faults++;
    }
    all->instances += tries;
    all->fired += fired;
    all->evaluated += evaluated;
    all->faults += faults;
}

static bool wanted(const char *name, char **names, int n) {
    for (int k = 0; k < n; k++)
        if (!strcmp(names[k], name)) return true;
    return n == 0;
}

int main(int argc, char **argv) {
    const char *turn = getenv("TENON_MATRIX_TURN"); /* CI's commit number: other graphs every time */
    totals all = {.wanted = 4, .seed = (turn ? strtoull(turn, NULL, 10) : 0) << 40};
    int at = 1;
    for (; at + 1 < argc && argv[at][0] == '-'; at += 2) {
        if (argv[at][1] == 'n') all.wanted = (uint32_t)strtoul(argv[at + 1], NULL, 10);
        if (argv[at][1] == 's') all.seed = strtoull(argv[at + 1], NULL, 10) << 40;
    }
#define TN_RULE_TABLE(name) &tn_rules_##name,
    const tn_rules *const tables[] = {TN_RULE_TABLES(TN_RULE_TABLE)};
#undef TN_RULE_TABLE
    for (size_t k = 0; k < sizeof tables / sizeof tables[0]; k++)
        for (size_t i = 0; i < tables[k]->n; i++) {
            const tn_rule *rule = &tables[k]->rule[i];
            if (!wanted(rule->name, argv + at, argc - at)) continue;
            for (int t = 1; t < TN_DTYPE_COUNT; t++)
                if (rule->dtypes >> t & 1) try_rule(&all, rule, (tn_dtype)t);
        }
    printf("%llu instances, %llu fired, %llu evaluations, %u faults\n", (unsigned long long)all.instances,
           (unsigned long long)all.fired, (unsigned long long)all.evaluated, all.faults);
    return all.faults || !all.fired ? 1 : 0;
}
