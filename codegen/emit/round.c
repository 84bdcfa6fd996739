/* round.c: where generated code rounds to a dtype narrower than its registers, and casts.
 *
 * Floats of up to 32 bits are computed in float registers.  A value of a narrow dtype holds a value of that dtype all
 * the same: what computes it rounds, unless that changes nothing (the op picks among its operands), the value only goes
 * to memory (the store rounds), or the kernel is `loose` in that dtype: storage that the precision pass chose, where
 * f32 between loads and stores is nearer to the model.  A cast of the model always rounds, to the same bits as the
 * reference's. */
#include "codegen/emit/internal.h"
#include "tenon/internal/float.h"

#include <string.h>

/* Nearest resizing picks, other modes compute. */
static bool picks(const tn_graph *g, tn_node n) {
    const tn_op op = tn_node_op(g, n);
    if (op != TN_OP_RESIZE) return tn_op_is(op, TN_T_PICK);
    const char *mode = TN_ATTRS_OF(g, n, resize)->mode;
    return !mode || !*mode || !strcmp(mode, "nearest");
}

/* Memory is where v goes, perhaps moved. */
static bool only_stored(const tn_graph *g, tn_val v) {
    for (tn_use u = tn_val_first_use(g, v); u.i; u = tn_use_next(g, u)) {
        const tn_node n = tn_use_node(g, u);
        const tn_op op = tn_node_op(g, n);
        const bool moves = op == TN_OP_TRANSPOSE || op == TN_OP_RESHAPE || op == TN_OP_BROADCAST;
        if (op != TN_OP_YIELD && !(moves && only_stored(g, tn_node_result(g, n, 0)))) return false;
    }
    return true;
}

/* Floats that a float register holds as they are. */
static bool fits_float(tn_dtype t) {
    return t == TN_F32 || tn_round_function(t) || t == TN_I16 || t == TN_U16;
}

bool tn_spec_rounds(const tn_spec *s, tn_val v) {
    const tn_graph *g = s->g;
    const tn_dtype t = tn_val_dtype(g, v);
    const tn_node n = tn_val_def(g, v);
    if (!tn_round_function(t) || !n.i) return false;
    const tn_op op = tn_node_op(g, n);
    if (op != TN_OP_CAST) return t != s->loose && !picks(g, n) && !only_stored(g, v);
    if (t == s->loose && TN_ATTRS_OF(g, n, cast)->loose) return false;
    const tn_dtype from = tn_val_dtype(g, tn_node_input(g, n, 0));
    /* A store rounds from float: what a float cannot hold must not be rounded twice. */
    return !tn_dtype_holds(t, from) && !(only_stored(g, v) && fits_float(from));
}

/* A float that the kernel computes, and may round otherwise than the reference: not one that it loads. */
static bool is_computed(const tn_graph *g, tn_val v) {
    while (v.i && tn_dtype_is_float(tn_val_dtype(g, v))) {
        const tn_node n = tn_val_def(g, v);
        if (!n.i || tn_node_op(g, n) == TN_OP_CONST) return false;
        if (tn_node_input_count(g, n) != 1 || !tn_op_is(tn_node_op(g, n), TN_T_MOVEMENT)) return true;
        v = tn_node_input(g, n, 0);
    }
    return false;
}

static bool steps(const tn_spec *s, tn_node n) {
    const tn_graph *g = s->g;
    if (!tn_node_result_count(g, n)) return false;
    const tn_val y = tn_node_result(g, n, 0);
    const tn_op op = tn_node_op(g, n);
    bool step = op == TN_OP_CAST ? !tn_dtype_is_float(tn_val_dtype(g, y)) : tn_op_is(op, TN_T_STEP), computed = false;
    for (size_t k = 0; step && k < tn_node_input_count(g, n); k++)
        computed = computed || is_computed(g, tn_node_input(g, n, k));
    return computed || tn_spec_rounds(s, y);
}

bool tn_spec_steps(const tn_spec *s) {
    TN_FOR_NODES(s->g, s->region, n)
    if (steps(s, n)) return true;
    return false;
}

/* A float register with the nearest to x, or what rounds to a narrower float as x itself does. */
static void as_float(tn_text *out, const char *x, tn_dtype from, tn_dtype to) {
    const bool fits = fits_float(from) || from == TN_BOOL || tn_dtype_holds(to, from);
    tn_text_add(out, fits ? "(float)%s" : "tn_to_odd((double)%s)", x);
}

/* What comes before the rounding to nearest, or the store that does it: "f(" and ", y)" around the value. */
typedef struct around {
    const char *before;
    char after[32];
} around;

static around before_rounding(const tn_attrs_cast *a) {
    around r = {"", ""};
    if (a->to == TN_F8E8M0) {
        const bool directed = a->round && *a->round;
        r.before = !directed            ? (a->saturate ? "" : "tn_in_e8m0(")
                   : a->round[0] == 'u' ? "tn_up_to_e8m0("
                                        : "tn_down_to_e8m0(";
        if (*r.before) snprintf(r.after, sizeof r.after, directed ? ", %s)" : ")", a->saturate ? "true" : "false");
    } else if (a->saturate && tn_dtype_bits(a->to) == 8) {
        r.before = "tn_saturate(";
        snprintf(r.after, sizeof r.after, ", %.1ff)", tn_float_format_of(a->to)->largest);
    }
    return r;
}

void tn_cast_text(tn_text *out, const char *x, tn_dtype from, const tn_attrs_cast *a, bool rounds) {
    const tn_dtype to = a->to;
    const bool floats = tn_dtype_is_float(from);
    const char *reg = tn_register_type(to), *to_64_bits = tn_dtype_is_unsigned(to) ? "tn_to_u64" : "tn_to_i64";
    if (to == TN_BOOL)
        tn_text_add(out, "%s != 0", x);
    else if (tn_round_function(to)) {
        const around r = before_rounding(a);
        if (rounds) tn_text_add(out, "%s(", tn_round_function(to));
        tn_text_add(out, "%s", r.before);
        as_float(out, x, from, to);
        tn_text_add(out, "%s%s", r.after, rounds ? ")" : "");
    } else if (tn_dtype_bits(to) < 8) {
        tn_text_add(out, floats ? "tn_wrap_%s((long long)%s(%s))" : "tn_wrap_%s((long long)%s%s)", tn_dtype_text(to),
                    floats ? to_64_bits : "", x);
    } else if (floats && tn_dtype_is_int(to)) {
        tn_text_add(out, "(%s)%s(%s)", reg, to_64_bits, x);
    } else
        tn_text_add(out, "(%s)%s", reg, x);
}
