/* precision.c: places casts so that weights and activations are stored in the chosen dtype.
 *
 * compute f32: only tags matmul and conv with math = "tf32" where the user allows it.
 * compute f16, bf16: every f32 value gets one of two classes:
 *   low    stored in the compute dtype;
 *   wide   stays f32: results of ops that lose too much in 16 bits (exp, sums, square roots, ...), whatever is computed
 *          from them elementwise, constants that the compute dtype cannot hold, what is computed elementwise for a step
 *          (round, floor, a comparison, an integer, a cast of the model) or for a result of the graph, and masks that
 *          softmax adds.
 * Heavy ops take low operands and give low results; they accumulate in f32 by definition.  Softmax and the norms
 * compute in f32 inside, so they take what they are given and give low.  With relaxed numerics kernels are loose
 * (round.c of codegen): they compute elementwise arithmetic in f32 registers and round only when they store or where
 * the model has a cast, so the casts placed here, which are marked, cost nothing inside a fused region.
 *
 * With the option check_ranges and f16, the graph is evaluated once on random inputs; what comes near f16's largest
 * number stays f32, and so does every op that would read it.
 *
 * The graph's inputs and outputs keep their dtypes.  So do the results of branches and loops and what a loop carries, which
 * are wide: a sum over iterations is no place for 16 bits.  What stands in them is lowered as anything else; a value from
 * outside is cast outside, once for all iterations.  Values of other dtypes are untouched: integers, bool, f64 models, and
 * what a model already stores in 16 bits (a request for f32 does not widen a f16 model). */
#include <math.h>
#include <string.h>
#include "ir/eval/eval.h"
#include "passes/fuse/fuse.h"
#include "passes/precision/precision.h"
#include "passes/precision/ranges.h"
#include "passes/util.h"
#include "tenon/internal/float.h"

static tn_policy policy_of(tn_op op) {
    return tn_op_facts_of(op)->policy;
}

/* What evaluating a graph for its ranges may cost. */
static const double RANGE_FLOPS = 6e10;

typedef struct lowering {
    tn_graph *g;
    tn_dtype dtype;     /* of low values */
    uint32_t n;         /* values of the graph as it was; arrays below are indexed by those */
    tn_val *low, *wide; /* the value in each form, none until made */
    bool *is_wide;      /* its class */
    bool *from_input;   /* a float input of the graph, perhaps moved */
    uint8_t *flow;      /* tn_flow: where its uses lead */
    double *max_abs;    /* measured magnitudes; all 0 where not measured */
    uint32_t forced;    /* values that stay f32 for their magnitude */
} lowering;

/* Half of f16's largest number: leaves room for inputs other than the measured ones. */
static bool too_large(const lowering *l, tn_val v) {
    return l->dtype == TN_F16 && v.i && v.i < l->n && l->max_abs[v.i] > 32752;
}

static bool is_f32(const tn_graph *g, tn_val v) {
    return v.i && tn_val_dtype(g, v) == TN_F32;
}

/* The least number that rounds to infinity. */
static double overflow(const lowering *l) {
    return l->dtype == TN_F16 ? 65520 : 0x1.ffp127;
}

static bool overflows(const lowering *l, double x) {
    return isfinite(x) && fabs(x) >= overflow(l);
}

/* True if the compute dtype cannot hold a constant: a finite element is past its range, or the only number it has would
 * vanish. */
static bool const_is_wide(const lowering *l, tn_val v) {
    const double smallest = l->dtype == TN_F16 ? 6.1e-5 : 0;
    const unsigned char *p = tn_const_data(l->g, v);
    double num;
    if (!p) return false;
    if (tn_const_splat(l->g, v, &num) && num != 0 && fabs(num) < smallest) return true;
    size_t n = tn_blob_size(l->g, TN_ATTRS_OF(l->g, tn_val_def(l->g, v), const)->data) / sizeof(float);
    return tn_max_abs(TN_F32, p, n, true) >= overflow(l);
}

/* The cursor, or, where v is from outside of its region, before what owns that: all that may use v comes later. */
static tn_cursor beside(const tn_graph *g, tn_val v) {
    tn_cursor at = tn_get_cursor(g);
    const tn_region home = tn_val_arg_of(g, v).i ? tn_val_arg_of(g, v) : tn_node_region(g, tn_val_def(g, v));
    while (at.region.i != home.i && tn_region_owner(g, at.region).i)
        at = tn_cursor_before(g, tn_region_owner(g, at.region));
    return at;
}

/* v in the form asked for, cast when it is first needed. */
static tn_val version(lowering *l, tn_val v, bool wide) {
    if (!is_f32(l->g, v) || v.i >= l->n) return v;
    tn_val *slot = wide ? &l->wide[v.i] : &l->low[v.i];
    if (!slot->i) {
        const tn_attrs_cast a = {.to = wide ? TN_F32 : l->dtype, .loose = !wide};
        const tn_cursor here = tn_set_cursor(l->g, beside(l->g, v));
        *slot = tn_emit1(l->g, TN_OP_CAST, &a, 1, wide ? &l->low[v.i] : &l->wide[v.i]);
        tn_set_cursor(l->g, here);
    }
    return *slot;
}

static void set_version(lowering *l, tn_val old, tn_val now, bool wide) {
    *(wide ? &l->wide[old.i] : &l->low[old.i]) = now;
    l->is_wide[old.i] = wide;
}

/* Inputs and constants stand for themselves until somebody wants them low. */
static void set_leaf(lowering *l, tn_val v, bool wide) {
    l->wide[v.i] = v;
    l->is_wide[v.i] = wide;
}

/* Dtypes whose every value the compute dtype holds exactly. */
static bool fits_low(const lowering *l, tn_dtype t) {
    return tn_dtype_holds(l->dtype, t);
}

static bool any_wide(const lowering *l, tn_node n) {
    for (size_t k = 0; k < tn_node_input_count(l->g, n); k++) {
        tn_val v = tn_node_input(l->g, n, k);
        if (is_f32(l->g, v) && l->is_wide[v.i]) return true;
    }
    return false;
}

/* An operand or result that f16 could not hold. */
static bool out_of_range(const lowering *l, tn_node n) {
    for (size_t k = 0; k < tn_node_input_count(l->g, n); k++)
        if (too_large(l, tn_node_input(l->g, n, k))) return true;
    for (size_t k = 0; k < tn_node_result_count(l->g, n); k++)
        if (too_large(l, tn_node_result(l->g, n, k))) return true;
    return false;
}

static bool reads_input(const lowering *l, tn_node n) {
    for (size_t k = 0; k < tn_node_input_count(l->g, n); k++) {
        tn_val v = tn_node_input(l->g, n, k);
        if (is_f32(l->g, v) && v.i < l->n && l->from_input[v.i]) return true;
    }
    return false;
}

/* x * x that is only summed: a square leaves f16's range long before x does. */
static bool is_summed_square(const tn_graph *g, tn_node n) {
    if (tn_node_op(g, n) != TN_OP_MUL || tn_node_input(g, n, 0).i != tn_node_input(g, n, 1).i) return false;
    for (tn_use u = tn_val_first_use(g, tn_node_result(g, n, 0)); u.i; u = tn_use_next(g, u)) {
        tn_op op = tn_node_op(g, tn_use_node(g, u));
        if (op != TN_OP_REDUCE_SUM && op != TN_OP_REDUCE_MEAN) return false;
    }
    return true;
}

/* Whether f32 is as cheap for an elementwise or movement op, and so better. */
static bool may_as_well_be_wide(const lowering *l, tn_node n) {
    tn_val y = tn_node_result(l->g, n, 0);
    bool elementwise = tn_op_is(tn_node_op(l->g, n), TN_T_ELEMENTWISE);
    if (!is_f32(l->g, y) || y.i >= l->n) return elementwise; /* a comparison, a cast to integers */
    switch ((tn_flow)l->flow[y.i]) {
    case TN_FLOW_STEP: return true;
    case TN_FLOW_F32: return elementwise;
    case TN_FLOW_SOFTMAX: return reads_input(l, n); /* a mask, whose lowest numbers are beyond f16 */
    case TN_FLOW_STORED: break;
    }
    return elementwise && is_summed_square(l->g, n);
}

/* Whether node n computes in f32. */
static bool computes_wide(const lowering *l, tn_node n) {
    tn_graph *g = l->g;
    tn_op op = tn_node_op(g, n);
    if (out_of_range(l, n)) return true;
    if (op == TN_OP_CAST && !is_f32(g, tn_node_input(g, n, 0)))
        return !fits_low(l, tn_val_dtype(g, tn_node_input(g, n, 0)));
    if (op == TN_OP_DIV && !tn_is_const(g, tn_node_input(g, n, 1))) return true;
    if ((op == TN_OP_SCATTER_ELEMENTS || op == TN_OP_SCATTER_ND) &&
        !tn_str_is(TN_ATTRS_OF(g, n, scatter)->reduction, ""))
        return true; /* many to one: sums and products */
    if (op == TN_OP_PAD && overflows(l, TN_ATTRS_OF(g, n, pad)->value)) return true;
    switch (policy_of(op)) {
    case TN_POLICY_low: return false;
    case TN_POLICY_wide:
    case TN_POLICY_inner:
    case TN_POLICY_keep: return true;
    case TN_POLICY_self: {
        tn_val x = tn_node_input(g, n, 0);
        return is_f32(g, x) && l->is_wide[x.i];
    }
    case TN_POLICY_follow: break;
    }
    if (tn_op_is(op, TN_T_ELEMENTWISE | TN_T_MOVEMENT) && may_as_well_be_wide(l, n)) return true;
    return any_wide(l, n);
}

static bool touches_f32(const tn_graph *g, tn_node n) {
    for (size_t k = 0; k < tn_node_input_count(g, n); k++)
        if (is_f32(g, tn_node_input(g, n, k))) return true;
    for (size_t k = 0; k < tn_node_result_count(g, n); k++)
        if (is_f32(g, tn_node_result(g, n, k))) return true;
    return false;
}

/* The node's own operands stay f32. */
static void keep_operands(lowering *l, tn_node n) {
    tn_graph *g = l->g;
    for (size_t k = 0; k < tn_node_input_count(g, n); k++) {
        const tn_val v = tn_node_input(g, n, k), now = version(l, v, true);
        if (now.i != v.i) tn_set_input(g, n, k, now);
    }
}

/* An attention's bias is read as it is (a mask's lowest numbers are beyond f16), as is its sink, and so are the sums of a weight's columns. */
static bool is_read_wide(tn_op op, size_t operand) {
    return (op == TN_OP_ATTENTION && (operand == 3 || operand == 6)) || (op == TN_OP_MATMUL && operand == 2) ||
           (op == TN_OP_ROW_NORM && operand == 1);
}

/* The node again on operands of its class. */
static tn_node lower_node(lowering *l, tn_node n, bool wide) {
    tn_graph *g = l->g;
    size_t count = tn_node_input_count(g, n);
    tn_val *in = tn_alloc(tn_graph_env(g), (count + 1) * sizeof *in);
    if (!in) {
        tn_graph_fail(g, TN_E_MEMORY, n, "", "out of memory");
        return (tn_node){0};
    }
    for (size_t k = 0; k < count; k++)
        in[k] = version(l, tn_node_input(g, n, k), wide || is_read_wide(tn_node_op(g, n), k));
    tn_val first;
    if (tn_node_op(g, n) == TN_OP_CAST && TN_ATTRS_OF(g, n, cast)->to == TN_F32 && !wide) {
        tn_attrs_cast a = {.to = l->dtype, .loose = true};
        first = tn_val_dtype(g, in[0]) == l->dtype ? in[0] : tn_emit1(g, TN_OP_CAST, &a, 1, in);
        set_version(l, tn_node_result(g, n, 0), first, false);
        tn_free(tn_graph_env(g), in, (count + 1) * sizeof *in);
        return (tn_node){0};
    }
    first = tn_emit_like(g, n, count, in);
    tn_free(tn_graph_env(g), in, (count + 1) * sizeof *in);
    return tn_val_def(g, first);
}

static void lower_results(lowering *l, tn_node n, tn_node now, bool wide) {
    tn_graph *g = l->g;
    tn_policy p = policy_of(tn_node_op(g, n));
    for (size_t k = 0; now.i && k < tn_node_result_count(g, n); k++) {
        tn_val old = tn_node_result(g, n, k), val = tn_node_result(g, now, k);
        if (!is_f32(g, old)) {
            tn_replace(g, old, val);
            continue;
        }
        set_version(l, old, val, wide);
        l->from_input[old.i] = tn_op_is(tn_node_op(g, n), TN_T_MOVEMENT) && reads_input(l, n);
        if (too_large(l, old))
            l->forced++;
        else if (wide && (p == TN_POLICY_self || p == TN_POLICY_inner || p == TN_POLICY_low)) {
            version(l, old, false);
            l->is_wide[old.i] = false;
        }
    }
}

/* Nesting is bounded by TN_MAX_NESTING. */
static void lower_region(lowering *l, tn_region r) {
    tn_graph *g = l->g;
    for (tn_node n = tn_region_first(g, r), next; n.i && tn_graph_status(g) == TN_OK; n = next) {
        next = tn_node_next(g, n);
        const tn_op op = tn_node_op(g, n);
        const bool simple = policy_of(op) != TN_POLICY_keep && !tn_op_is(op, TN_T_TERMINATOR);
        if (simple && !touches_f32(g, n)) continue;
        for (size_t k = 0; op != TN_OP_KERNEL && k < tn_node_subregion_count(g, n);
             k++) { /* a plugin's stays as it is */
            const tn_region inner = tn_node_subregion(g, n, k);
            for (size_t i = 0; i < tn_region_arg_count(g, inner); i++) set_leaf(l, tn_region_arg(g, inner, i), true);
            lower_region(l, inner);
        }
        tn_set_cursor(g, tn_cursor_before(g, n));
        if (op == TN_OP_CONST) {
            set_leaf(l, tn_node_result(g, n, 0), const_is_wide(l, tn_node_result(g, n, 0)));
        } else if (!simple) {
            keep_operands(l, n);
            const bool wide =
                op != TN_OP_APPEND && op != TN_OP_PUT_ROWS; /* as wide as the input in whose buffer they are */
            for (size_t k = 0; k < tn_node_result_count(g, n); k++) set_leaf(l, tn_node_result(g, n, k), wide);
        } else {
            bool wide = computes_wide(l, n);
            tn_node now = lower_node(l, n, wide);
            lower_results(l, n, now, wide);
        }
    }
}

/* What a region uses is in use until its dead nodes are gone. */
static void erase_dead(tn_graph *g, tn_region r) {
    for (tn_node n = tn_region_last(g, r), prev; n.i && tn_graph_status(g) == TN_OK; n = prev) {
        prev = tn_node_prev(g, n);
        for (size_t k = 0; k < tn_node_subregion_count(g, n); k++) erase_dead(g, tn_node_subregion(g, n, k));
        tn_fuse_erase_dead(g, n);
    }
}

static tn_status lower_body(lowering *l) {
    tn_graph *g = l->g;
    for (size_t k = 0; k < tn_graph_input_count(g); k++) {
        set_leaf(l, tn_graph_input(g, k), false);
        l->from_input[tn_graph_input(g, k).i] = true;
    }
    lower_region(l, tn_graph_body(g));
    erase_dead(g, tn_graph_body(g));
    return tn_graph_status(g);
}

static tn_status lower_graph(tn_graph *g, const tn_pass_options *o) {
    const tn_dtype dtype = o->compute;
    uint32_t n = tn_graph_val_limit(g);
    const tn_env *env = tn_graph_env(g);
    lowering l = {.g = g, .dtype = dtype, .n = n};
    l.low = tn_alloc(env, n * sizeof *l.low);
    l.wide = tn_alloc(env, n * sizeof *l.wide);
    l.is_wide = tn_alloc(env, n * sizeof *l.is_wide);
    l.from_input = tn_alloc(env, n * sizeof *l.from_input);
    l.flow = tn_alloc(env, n * sizeof *l.flow);
    l.max_abs = tn_alloc(env, n * sizeof *l.max_abs);
    tn_status s = l.low && l.wide && l.is_wide && l.from_input && l.flow && l.max_abs ? TN_OK : TN_E_MEMORY;
    if (s == TN_OK) tn_precision_flow(g, l.flow, n);
    if (s == TN_OK && o->check_ranges && dtype == TN_F16) tn_measure_ranges(g, RANGE_FLOPS, o->memo, l.max_abs, n);
    if (s == TN_OK) s = lower_body(&l);
    if (l.forced)
        tn_report(env, TN_WARNING, TN_OK, "precision",
                  "%u values are too large for f16 on random inputs and stay f32 (bf16 would hold them)", l.forced);
    if (s == TN_E_MEMORY) tn_graph_fail(g, s, (tn_node){0}, "", "out of memory");
    tn_free(env, l.low, n * sizeof *l.low);
    tn_free(env, l.wide, n * sizeof *l.wide);
    tn_free(env, l.is_wide, n * sizeof *l.is_wide);
    tn_free(env, l.from_input, n * sizeof *l.from_input);
    tn_free(env, l.flow, n * sizeof *l.flow);
    tn_free(env, l.max_abs, n * sizeof *l.max_abs);
    return s;
}

/* The node again with math = "tf32". */
static void tag_tf32(tn_graph *g, tn_pass_ctx *ctx, tn_node n) {
    tn_op op = tn_node_op(g, n);
    tn_attrs_matmul m;
    tn_attrs_conv c;
    const void *attrs;
    const char **math;
    if (op == TN_OP_MATMUL) {
        m = *TN_ATTRS_OF(g, n, matmul);
        attrs = &m;
        math = &m.math;
    } else {
        c = *TN_ATTRS_OF(g, n, conv);
        attrs = &c;
        math = &c.math;
    }
    if (tn_str_is(*math, "tf32") || !tn_pass_may_rewrite(ctx, "tf32")) return;
    *math = tn_intern(g, "tf32");
    tn_val in[3];
    size_t count = tn_node_input_count(g, n);
    for (size_t k = 0; k < count && k < 3; k++) in[k] = tn_node_input(g, n, k);
    tn_set_cursor(g, tn_cursor_before(g, n));
    tn_val v = tn_emit1(g, op, attrs, count, in);
    tn_replace(g, tn_node_result(g, n, 0), v);
    tn_erase(g, n);
}

static void tag_region(tn_graph *g, tn_pass_ctx *ctx, tn_region r) {
    for (tn_node n = tn_region_first(g, r), next; n.i; n = next) {
        next = tn_node_next(g, n);
        const tn_op op = tn_node_op(g, n);
        if (op == TN_OP_KERNEL) continue; /* a plugin's */
        for (size_t k = 0; k < tn_node_subregion_count(g, n); k++) tag_region(g, ctx, tn_node_subregion(g, n, k));
        if ((op == TN_OP_MATMUL || op == TN_OP_CONV) && is_f32(g, tn_node_result(g, n, 0))) tag_tf32(g, ctx, n);
    }
}

tn_status tn_pass_precision(tn_graph *g, tn_pass_ctx *ctx) {
    const tn_pass_options *o = tn_pass_opts(ctx);
    tn_cursor saved = tn_get_cursor(g);
    if (o->compute == TN_F16 || o->compute == TN_BF16) {
        if (tn_pass_may_rewrite(ctx, "precision")) lower_graph(g, o);
    } else if (o->tf32) {
        tag_region(g, ctx, tn_graph_body(g));
    }
    tn_set_cursor(g, saved);
    return tn_graph_status(g);
}
