/* emit.c: the emitter's life: defines, types, argument struct, and the header that is put together from them. */
#include "codegen/emit/internal.h"
#include "passes/util.h"
#include "runtime/plan/format.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- types ------------------------------------------------------------------------------------------------------- */

/* Storage type, register type, bytes; of floats that registers hold as wider ones: the function that rounds to it, and
 * of what has bits in another form than registers: the function that gives them, and the value of bits %s. */
static const struct {
    const char *storage, *reg;
    uint32_t size;
    const char *round, *bits, *value;
} types[TN_DTYPE_COUNT] = {
    [TN_DTYPE_NONE] = {"void", "void", 1, NULL, NULL, NULL},
    [TN_F64] = {"double", "double", 8, NULL, "tn_double_bits", "tn_bits_double((unsigned long long)%s)"},
    [TN_F32] = {"float", "float", 4, NULL, "tn_float_bits", "tn_bits_float((unsigned)%s)"},
    [TN_F16] = {"tn_half", "float", 2, "tn_round_f16", "tn_float_to_half", "tn_half_to_float((unsigned short)%s)"},
    [TN_BF16] = {"tn_bf16", "float", 2, "tn_round_bf16", "tn_float_to_bf16",
                 "tn_bits_float((unsigned)(unsigned short)%s << 16)"},
#define SMALL(name)                                                                                                    \
    { "tn_" name, "float", 1, "tn_round_" name, "tn_float_to_" name, "tn_" name "_to_float((unsigned char)%s)" }
    [TN_F8E4M3] = SMALL("e4m3"),
    [TN_F8E5M2] = SMALL("e5m2"),
    [TN_F8E4M3FNUZ] = SMALL("e4m3fnuz"),
    [TN_F8E5M2FNUZ] = SMALL("e5m2fnuz"),
    [TN_F8E8M0] = SMALL("e8m0"),
    [TN_F4E2M1] = {"unsigned char", "float", 1, "tn_round_e2m1", "tn_float_to_e2m1", "tn_e2m1_to_float(%s)"},
#undef SMALL
    [TN_I64] = {"long long", "long long", 8, NULL, NULL, NULL},
    [TN_I32] = {"int", "int", 4, NULL, NULL, NULL},
    [TN_I16] = {"short", "short", 2, NULL, NULL, NULL},
    [TN_I8] = {"signed char", "signed char", 1, NULL, NULL, NULL},
    [TN_U64] = {"unsigned long long", "unsigned long long", 8, NULL, NULL, NULL},
    [TN_U32] = {"unsigned", "unsigned", 4, NULL, NULL, NULL},
    [TN_U16] = {"unsigned short", "unsigned short", 2, NULL, NULL, NULL},
    [TN_U8] = {"unsigned char", "unsigned char", 1, NULL, NULL, NULL},
    [TN_I4] = {"unsigned char", "signed char", 1, NULL, NULL, "tn_wrap_i4(%s)"},
    [TN_U4] = {"unsigned char", "unsigned char", 1, NULL, NULL, "tn_wrap_u4(%s)"},
    [TN_I2] = {"unsigned char", "signed char", 1, NULL, NULL, "tn_wrap_i2(%s)"},
    [TN_U2] = {"unsigned char", "unsigned char", 1, NULL, NULL, "tn_wrap_u2(%s)"},
    [TN_BOOL] = {"tn_bool", "bool", 1, NULL, NULL, NULL},
};

const char *tn_storage_type(tn_dtype t) {
    return types[t].storage;
}
const char *tn_register_type(tn_dtype t) {
    return types[t].reg;
}
uint32_t tn_dtype_size(tn_dtype t) {
    return types[t].size;
}
const char *tn_round_function(tn_dtype t) {
    return types[t].round;
}

void tn_bits_text(char *out, size_t size, tn_dtype t, const char *x) {
    snprintf(out, size, types[t].bits ? "%s(%s)" : "%s%s", types[t].bits ? types[t].bits : "", x);
}

void tn_value_text(char *out, size_t size, tn_dtype t, const char *bits) {
    const char *form = types[t].value, *hole = form ? strstr(form, "%s") : NULL;
    if (hole)
        snprintf(out, size, "%.*s%s%s", (int)(hole - form), form, bits, hole + 2);
    else
        snprintf(out, size, "(%s)%s", types[t].reg, bits);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

/* True if every offset into the spec's tensors fits 31 bits.  A symbol without an upper bound is taken to keep it so:
 * the runtime refuses larger tensors (TnPlan__Step.reach). */
static bool fits_31_bits(const tn_spec *s, const tn_spec_tensor *t) {
    int64_t last = 0;
    for (uint32_t k = 0; k < t->rank; ++k) {
        int64_t lo, hi, slo, shi;
        tn_dim_bounds(s->g, t->dims[k], &lo, &hi);
        tn_dim_bounds(s->g, t->strides[k], &slo, &shi);
        if (hi == INT64_MAX) hi = tn_spec_hint(s, t->dims[k]);
        if (shi == INT64_MAX) shi = tn_spec_hint(s, t->strides[k]);
        int64_t step;
        if (hi > 0 && (__builtin_mul_overflow(hi - 1, shi, &step) || __builtin_add_overflow(last, step, &last)))
            return false;
    }
    return last < TN_INDEX32_END;
}

static bool counts_31_bits(const tn_spec *s, tn_val v) {
    int64_t n = 1;
    for (size_t k = 0; k < tn_val_rank(s->g, v); ++k) {
        int64_t lo, hi;
        tn_dim_bounds(s->g, tn_val_dim(s->g, v, k), &lo, &hi);
        if (hi == INT64_MAX) hi = tn_spec_hint(s, tn_val_dim(s->g, v, k));
        if (__builtin_mul_overflow(n, hi, &n)) return false;
    }
    return n < TN_INDEX32_END;
}

tn_emitter *tn_emitter_new(const tn_spec *s, const tn_arch *arch, tn_variant *v) {
    const tn_env *env = tn_graph_env(s->g);
    tn_emitter *e = tn_alloc(env, sizeof *e);
    if (!e) return NULL;
    *e = (tn_emitter){.s = s, .g = s->g, .env = env, .arch = arch, .v = v};
    e->asked = tn_ask_begin(e->g);
    e->order.env = env;
    e->defines.env = e->lines.env = e->functions.env = env;
    for (uint32_t k = 0; k < s->n_in; ++k) e->wide |= !fits_31_bits(s, &s->in[k]);
    for (uint32_t k = 0; k < s->n_out; ++k) e->wide |= !fits_31_bits(s, &s->out[k]);
    TN_FOR_NODES(s->g, s->region, n) /* what is in no memory has coordinates, too */
    for (size_t k = 0; k < tn_node_result_count(s->g, n); ++k)
        e->wide |= !counts_31_bits(s, tn_node_result(s->g, n, k));
    /* symbols in the order of the operands, not of their names: see tn_spec's text */
    for (uint32_t k = 0; k < s->n_in; ++k)
        for (uint32_t j = 0; j < s->in[k].rank; ++j)
            if (tn_dim_kind_of(s->g, s->in[k].dims[j]) == TN_DIM_SYM && !tn_index_meet(&e->order, s->in[k].dims[j]))
                tn_emit_fail(e, TN_E_MEMORY, "out of memory");
    return e;
}

void tn_emit_fail(tn_emitter *e, tn_status code, const char *fmt, ...) {
    if (!e || e->status != TN_OK) return;
    e->status = code;
    if (e->dry) return;
    char what[256], where[128];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    tn_loc_print(e->g, tn_node_loc(e->g, e->s->kernel), where, sizeof where);
    tn_fail(e->env, code, where, "", "kernel %s: %s", e->s->name, what);
}

void tn_emit_error(tn_emitter *e, const char *fmt, ...) {
    char what[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    tn_emit_fail(e, TN_E_ARGUMENT, "%s", what);
}

bool tn_emit_ok(const tn_emitter *e) {
    return e && e->status == TN_OK && tn_graph_status(e->g) == TN_OK;
}

uint32_t tn_emit_dim_arg(tn_emitter *e, tn_dim d) {
    for (uint32_t k = 0; k < e->n_dims; ++k)
        if (e->dims[k].i == d.i) return k;
    if (e->s->n_in + e->s->n_out + e->n_dims + TN_MAX_MAPS + 1 >= TN_MAX_ARGS) {
        tn_emit_fail(e, TN_E_UNSUPPORTED, "more than %d arguments", TN_MAX_ARGS);
        return 0;
    }
    e->dims[e->n_dims] = d;
    return e->n_dims++;
}

/* ---- constants, types, lines ------------------------------------------------------------------------------------- */

/* The template's preprocessor reads TN_<name>. */
static bool is_tested(const tn_template *t, const char *name) {
    uint32_t k = 0;
    while (t->tested && t->tested[k] && strcmp(t->tested[k], name) != 0) ++k;
    return !t->tested || t->tested[k];
}

void tn_emit_define(tn_emitter *e, const char *name, int64_t value) {
    if (!tn_emit_ok(e)) return;
    const bool is_long = value > INT32_MAX || value < -INT32_MAX, macro = is_tested(e->v->tpl, name);
    if (macro)
        tn_text_add(&e->defines, "#define TN_%s %" PRId64 "%s\n", name, value, is_long ? "LL" : "");
    else
        tn_text_add(&e->defines, "constexpr %s TN_%s = %" PRId64 ";\n", is_long ? "long long" : "int", name, value);
}

void tn_emit_define_real(tn_emitter *e, const char *name, double value) {
    if (tn_emit_ok(e)) tn_text_add(&e->defines, "constexpr double TN_%s = %.17g;\n", name, value);
}

const char *tn_emit_size_name(tn_emitter *e, tn_dim d) {
    const uint32_t k = tn_emit_dim_arg(e, d);
    if (!e->size_name[k][0]) snprintf(e->size_name[k], sizeof *e->size_name, "TN_D%u", k);
    return e->size_name[k];
}

static const char *size_name(void *user, tn_dim d) {
    return tn_emit_size_name(user, d);
}

void tn_emit_define_dim(tn_emitter *e, const char *name, tn_dim d) {
    if (!tn_emit_ok(e)) return;
    int64_t v;
    if (tn_dim_is_const(e->g, d, &v)) {
        tn_emit_define(e, name, v);
        return;
    }
    char text[512];
    tn_index_sum sum;
    if (!tn_index_sum_of(e->g, &e->order, d, &sum) ||
        tn_index_print(&sum, true, size_name, e, text, sizeof text) >= sizeof text)
        snprintf(text, sizeof text, "%s", tn_emit_size_name(e, d)); /* an argument that the host computes */
    tn_text_add(&e->defines, "#define TN_%s %s\n", name, text);
}

void tn_emit_problem(tn_emitter *e, const tn_problem *p) {
    if (!tn_emit_ok(e)) return;
    const tn_template *t = e->v->tpl;
    for (uint32_t k = 0; k < t->n_knobs; ++k) tn_emit_define(e, t->knobs[k].name, e->v->knob[k]);
    for (uint32_t k = 0; k < p->n; ++k) {
        if (p->c[k].dim.i)
            tn_emit_define_dim(e, p->c[k].name, p->c[k].dim);
        else
            tn_emit_define(e, p->c[k].name, p->c[k].value);
    }
}

void tn_emit_type(tn_emitter *e, const char *name, tn_dtype t) {
    tn_emit_line(e, "typedef %s %s;", tn_storage_type(t), name);
}
void tn_emit_reg_type(tn_emitter *e, const char *name, tn_dtype t) {
    tn_emit_line(e, "typedef %s %s;", tn_register_type(t), name);
}

void tn_emit_line(tn_emitter *e, const char *fmt, ...) {
    if (!tn_emit_ok(e)) return;
    va_list ap;
    va_start(ap, fmt);
    tn_text_add_list(&e->lines, fmt, ap);
    va_end(ap);
    tn_text_put(&e->lines, "\n", 1);
}

/* ---- the header -------------------------------------------------------------------------------------------------- */

static void add_arg(tn_variant *v, tn_arg_kind kind, uint32_t index, tn_dim d) {
    if (v->n_args < TN_MAX_ARGS) v->args[v->n_args++] = (tn_arg){kind, index, d};
}

/* A comment line for each line of text, cut so that no line continues the comment by accident. */
static void comment(tn_text *t, const char *text) {
    for (const char *p = text; *p;) {
        const char *end = strchr(p, '\n');
        const size_t n = end ? (size_t)(end - p) : strlen(p);
        tn_text_put(t, "//   ", 5);
        for (size_t k = 0; k < n; ++k) tn_text_put(t, p[k] == '\\' || p[k] == '?' ? "/" : p + k, 1);
        tn_text_put(t, "\n", 1);
        p += n + (end != NULL);
    }
}

void tn_emit_pointer(tn_emitter *e, const char *fn, tn_arg_kind kind, uint32_t index) {
    tn_emit_line(e, "TN_DEV auto %s(const tn_args &args) { return args.%s%u; }", fn, kind == TN_ARG_IN ? "in" : "out",
                 index);
}

void tn_emit_tensor_map(tn_emitter *e, const char *fn, const tn_map *m) {
    static const char signature[] = "TN_DEV const tn_tensor_map *";
    if (!tn_emit_ok(e)) return;
    tn_variant *v = e->v;
    if (!m)
        tn_emit_line(e, "%s%s(const tn_args &) { return 0; }", signature, fn);
    else if (v->n_maps == TN_MAX_MAPS)
        tn_emit_fail(e, TN_E_UNSUPPORTED, "more than %d tensor maps", TN_MAX_MAPS);
    else {
        tn_emit_line(e, "%s%s(const tn_args &args) { return &args.map%u; }", signature, fn, v->n_maps);
        v->maps[v->n_maps++] = *m;
    }
}

tn_status tn_variant_args(const tn_variant *v, const tn_cuda *cu, const tn_arg_values *x, uint64_t *words) {
    const uint32_t plain = v->n_args - v->n_maps;
    tn_status st = TN_OK;
    for (uint32_t k = 0; k < plain; ++k)
        words[k] = v->args[k].kind == TN_ARG_DIM ? (uint64_t)x->dim(x->user, v->args[k].dim)
                                                 : x->address(x->user, &v->args[k]);
    for (uint32_t k = 0; st == TN_OK && k < v->n_maps; ++k) {
        const tn_map *m = &v->maps[k];
        int64_t dims[TN_MAP_RANK], strides[TN_MAP_RANK];
        for (uint32_t i = 0; i < m->box.rank; ++i) {
            dims[i] = x->dim(x->user, m->dims[i]);
            strides[i] = i ? x->dim(x->user, m->strides[i]) : 0;
        }
        st = tn_tensor_map_encode(cu, &m->box, dims, strides, words[m->of] + (uint64_t)x->dim(x->user, m->offset),
                                  words + tn_args_map(plain, k), v->symbol);
    }
    return st;
}

static void write_in(const tn_emitter *e, tn_text *t, uint32_t k) {
    const tn_spec_tensor *x = &e->s->in[k];
    const tn_packing *p = tn_variant_packing(e->v, &(tn_arg){.kind = TN_ARG_IN, .index = k});
    char how[TN_PACKING_TEXT];
    tn_text_add(t, "    const %s *in%u;%s", tn_storage_type(x->dtype), k, x->is_const ? " // constant" : "");
    if (p) tn_packing_print(p, how), tn_text_add(t, ", packed: %s", how);
    tn_text_add(t, "\n");
}

static void add_field(const tn_emitter *e, uint32_t k, tn_text *t) {
    char text[96];
    tn_dim_print(e->g, e->dims[k], text, sizeof text);
    tn_text_add(t, "    long long d%u; // %s\n", k, text);
}

/* A size as C text over what the host passes, where some of it is an operand. */
static void put_told(tn_emitter *e, tn_dim d, tn_text *t) {
    static const char *const names[] = {
        [TN_DIM_FLOORDIV] = "tn_size_floordiv", [TN_DIM_CEILDIV] = "tn_size_ceildiv", [TN_DIM_MOD] = "tn_size_mod",
        [TN_DIM_MIN] = "tn_size_min",           [TN_DIM_MAX] = "tn_size_max",         [TN_DIM_BCAST] = "tn_size_bcast"};
    const tn_dim_kind k = tn_dim_kind_of(e->g, d);
    int64_t v;
    if (tn_dim_is_const(e->g, d, &v)) {
        tn_text_add(t, "%" PRId64 "LL", v);
    } else if (!tn_dim_is_made(e->g, d)) {
        tn_text_add(t, "given.d%u", tn_emit_dim_arg(e, d));
    } else if (k == TN_DIM_SYM) {
        uint32_t at = 0;
        while (at < e->s->n_in && e->s->in[at].tells.i != d.i) ++at;
        if (at == e->s->n_in) tn_emit_fail(e, TN_E_INTERNAL, "no operand tells the size %s", tn_dim_name(e->g, d));
        tn_text_add(t, "*given.in%u", at);
    } else {
        const bool call = k != TN_DIM_ADD && k != TN_DIM_MUL;
        tn_text_add(t, "%s(", call ? names[k] : "");
        put_told(e, tn_dim_lhs(e->g, d), t);
        tn_text_add(t, "%s", call ? ", " : k == TN_DIM_ADD ? " + " : " * ");
        put_told(e, tn_dim_rhs(e->g, d), t);
        tn_text_add(t, ")");
    }
}

/* What the host passes: pointers, then the sizes that it knows. */
static void write_struct(tn_emitter *e, const char *name, tn_text *t) {
    const tn_spec *s = e->s;
    tn_variant *v = e->v;
    const tn_dim none = {0};
    v->n_args = 0;
    tn_text_add(t, "struct %s {\n", name);
    for (uint32_t k = 0; k < s->n_in; ++k) {
        write_in(e, t, k);
        add_arg(v, TN_ARG_IN, k, none);
    }
    for (uint32_t k = 0; k < s->n_out; ++k) {
        tn_text_add(t, "    %s *out%u;\n", tn_storage_type(s->out[k].dtype), k);
        add_arg(v, TN_ARG_OUT, k, none);
    }
    for (uint32_t k = 0; k < e->n_dims; ++k) {
        if (tn_dim_is_made(e->g, e->dims[k])) continue;
        add_field(e, k, t);
        add_arg(v, TN_ARG_DIM, k, e->dims[k]);
    }
    for (uint32_t k = 0; k < v->n_maps; ++k) {
        tn_text_add(t, "    tn_tensor_map map%u; // of %s%u\n", k, v->maps[k].of < s->n_in ? "in" : "out",
                    v->maps[k].of < s->n_in ? v->maps[k].of : v->maps[k].of - s->n_in);
        add_arg(v, TN_ARG_MAP, k, none);
    }
    tn_text_add(t, "};\n");
}

/* A kernel that is told sizes by operands: what the host passes is completed by them before the template's code runs, in
 * the blocks that there would be if the host knew them. */
static void write_told(tn_emitter *e, tn_text *t) {
    tn_text body = {.env = e->env};
    for (uint32_t k = 0; k < e->n_dims; ++k) { /* what these are made of may be further arguments */
        if (!tn_dim_is_made(e->g, e->dims[k])) continue;
        tn_text_add(&body, "        args.d%u = ", k);
        put_told(e, e->dims[k], &body);
        tn_text_add(&body, "; \\\n");
    }
    tn_text_add(&body, "        if (1");
    for (uint32_t k = 0; k < 3; ++k) {
        if (!e->v->grid[k].i || !tn_dim_is_made(e->g, e->v->grid[k])) continue;
        tn_text_add(&body, " && (long long)blockIdx.%c < ", "xyz"[k]);
        put_told(e, e->v->grid[k], &body);
    }
    tn_text_add(&body, ") tn_body(args); \\\n");
    write_struct(e, "tn_given", t);
    tn_text_add(t, "struct tn_args : tn_given {\n");
    for (uint32_t k = 0; k < e->n_dims; ++k)
        if (tn_dim_is_made(e->g, e->dims[k])) add_field(e, k, t);
    tn_text_add(t, "};\nTN_DEV void tn_body(const tn_args &args);\n");
    tn_text_add(t, "TN_DEV void TN_WAIT() {} // has been done\n");
    tn_text_add(t, "#define TN_ENTRY %s\n", e->v->symbol);
    tn_text_add(t, "#define TN_KERNEL(parameter) \\\n    TN_ENTRY(const __grid_constant__ tn_given given) { \\\n");
    tn_text_add(t, "        ::TN_WAIT(); \\\n        tn_args args; \\\n        (tn_given &)args = given; \\\n");
    tn_text_put(t, body.p ? body.p : "", body.n);
    tn_text_add(t, "    } \\\n    TN_DEV void tn_body(const tn_args &args)\n");
    t->failed |= body.failed;
    tn_text_free(&body);
}

static void write_args(tn_emitter *e, tn_text *t) {
    if (e->s->n_told)
        write_told(e, t);
    else
        write_struct(e, "tn_args", t);
    for (uint32_t k = 0; k < e->n_dims; ++k) tn_text_add(t, "#define TN_D%u ((tn_index)args.d%u)\n", k, k);
}

static void write_header(tn_emitter *e, tn_text *t) {
    char where[200];
    tn_loc_print(e->g, tn_node_loc(e->g, e->s->kernel), where, sizeof where);
    for (char *p = where; *p; ++p)
        if (*p == '\\' || *p == '\n' || *p == '?') *p = '/';
    tn_text_add(t, "// %s: %s\n", e->s->name, e->v->text[0] ? e->v->text : e->v->tpl->name);
    if (where[0]) tn_text_add(t, "// layers: %s\n", where);
    tn_text_add(t, "//\n");
    comment(t, e->s->text);
    tn_text_add(t, "#pragma once\nnamespace tn_step_%s {\n", e->v->symbol);
    if (!e->s->n_told) tn_text_add(t, "#define TN_KERNEL %s\n", e->v->symbol);
    tn_text_add(t, "typedef %s tn_index;\n\n", e->wide ? "long long" : "int");
    tn_text_put(t, e->defines.p ? e->defines.p : "", e->defines.n);
    tn_text_add(t, "\n");
    write_args(e, t);
    tn_text_add(t, "\n");
    if (e->lines.n) {
        tn_text_put(t, e->lines.p, e->lines.n);
        tn_text_add(t, "\n");
    }
    if (e->functions.n) tn_text_put(t, e->functions.p, e->functions.n);
}

void tn_variant_end(const tn_variant *v, tn_text *t) {
    if (!v->header) return; /* the tuner's own kernels have none */
    tn_text_add(t, "} // namespace tn_step_%s\nusing tn_step_%s::%s;\n", v->symbol, v->symbol, v->symbol);
    static const char define[] = "#define ";
    for (const char *p = v->header; (p = strstr(p, define)); p += sizeof define - 1) {
        if (p != v->header && p[-1] != '\n') continue;
        const char *name = p + sizeof define - 1;
        tn_text_add(t, "#undef %.*s\n", (int)strcspn(name, " (\n"), name);
    }
}

void tn_knobs_text(const tn_template *t, const int64_t *knob, char *buf, size_t size) {
    size_t n = (size_t)snprintf(buf, size, "%s", t->name);
    for (uint32_t k = 0; k < t->n_knobs && n < size; ++k)
        n += (size_t)snprintf(buf + n, size - n, " %s=%" PRId64, t->knobs[k].name, knob[k]);
}

tn_status tn_emitter_finish(tn_emitter *e) {
    if (!e) return TN_E_MEMORY;
    tn_variant *v = e->v;
    const tn_env *env = e->env;
    tn_text header = {.env = env};
    const tn_status found = tn_graph_status(e->g);
    if (e->order.failed) tn_emit_fail(e, TN_E_MEMORY, "out of memory");
    if (tn_ask_failed(e->g, e->asked) && found != TN_E_MEMORY)
        tn_emit_fail(e, TN_E_UNSUPPORTED, "an index expression is too complex");
    else if (e->status == TN_OK)
        e->status = found; /* reported already */
    if (e->status == TN_OK && !e->dry) {
        snprintf(v->symbol, sizeof v->symbol, "%s", e->s->name);
        tn_knobs_text(v->tpl, v->knob, v->text, sizeof v->text);
        v->wide = e->wide;
        write_header(e, &header);
        header.failed |= e->defines.failed || e->lines.failed || e->functions.failed;
        v->header = tn_text_take(&header); /* freed by tn_variant_free with its length */
        if (!v->header) tn_emit_fail(e, TN_E_MEMORY, "out of memory");
    }
    const tn_status st = e->status;
    tn_text_free(&e->defines);
    tn_text_free(&e->lines);
    tn_text_free(&e->functions);
    tn_free(env, e->order.met, e->order.cap * sizeof *e->order.met);
    if (e->own.g) tn_graph_free(e->own.g);
    tn_free(env, e, sizeof *e);
    return st;
}

const tn_packing *tn_variant_packing(const tn_variant *v, const tn_arg *a) {
    for (uint32_t k = 0; k < v->n_packed; ++k)
        if (a->kind == TN_ARG_IN && v->packed[k].in == a->index) return &v->packed[k].how;
    return NULL;
}

void tn_emit_packed(tn_emitter *e, uint32_t in, const tn_packing *how) {
    uint64_t plain, packed;
    if (!tn_emit_ok(e)) return;
    if (e->v->n_packed == TN_MAX_PACKED || !tn_packing_sizes(how, &plain, &packed)) {
        tn_emit_fail(e, TN_E_INTERNAL, "an operand cannot be packed as it should");
        return;
    }
    e->v->packed[e->v->n_packed++] = (tn_packed_in){in, *how};
}

/* Elements of the axes that a coordinate runs over; 0 where the plan does not know it. */
static uint64_t extent_of(const tn_spec *s, tn_val val, const tn_coord *c) {
    int64_t n;
    return tn_dim_is_const(s->g, tn_spec_product(s, val, c->axis, c->n_axes), &n) && n > 0 ? (uint64_t)n : 0;
}

static bool is_dense(const tn_spec *s, const tn_spec_tensor *t) {
    tn_dim step = tn_dim_const(s->g, 1);
    for (uint32_t k = t->rank; k-- > 0; step = tn_dim_mul(s->g, step, t->dims[k]))
        if (!tn_dim_equal_const(s->g, t->dims[k], 1) && t->strides[k].i != step.i) return false;
    return true;
}

bool tn_spec_packs(const tn_spec *s, tn_val val, const tn_coord *batch, const tn_coord *row, const tn_coord *col,
                   uint32_t *in, tn_packing *how) {
    double splat;
    uint32_t k = 0;
    while (k < s->n_in && s->in[k].arg.i != val.i) ++k;
    if (k == s->n_in || !s->in[k].is_const || !is_dense(s, &s->in[k])) return false;
    const tn_use use = tn_val_first_use(s->g, val);
    if (!use.i || tn_use_next(s->g, use).i || tn_dtype_bits(s->in[k].dtype) < 8) return false;
    const tn_val own = tn_node_input(s->g, s->kernel, k);
    if (!tn_const_data(s->g, own) || tn_const_splat(s->g, own, &splat)) return false; /* a literal */
    const bool turned = row->axis > col->axis;
    const tn_coord *outer = turned ? col : row, *inner = turned ? row : col;
    if ((batch->n_axes && batch->axis) || outer->axis != batch->n_axes || inner->axis != outer->axis + outer->n_axes ||
        inner->axis + inner->n_axes != s->in[k].rank)
        return false;
    *in = k;
    *how = (tn_packing){.element = tn_dtype_size(s->in[k].dtype),
                        .turned = turned,
                        .batch = extent_of(s, val, batch),
                        .rows = extent_of(s, val, row),
                        .cols = extent_of(s, val, col)};
    uint64_t plain, packed;
    tn_packing one = *how; /* in tiles of any size */
    one.tile_rows = 1, one.tile_cols = TN_PACKING_CHUNK;
    return tn_packing_sizes(&one, &plain, &packed) &&
           plain == tn_blob_size(s->g, TN_ATTRS_OF(s->g, tn_val_def(s->g, own), const)->data);
}

void tn_variant_free(const tn_env *env, tn_variant *v) {
    if (!v) return;
    if (v->header) tn_free(env, v->header, strlen(v->header) + 1);
    v->header = NULL;
}

/* ---- problem constants ------------------------------------------------------------------------------------------- */

void tn_problem_add(const tn_spec *s, tn_problem *p, const char *name, tn_dim d) {
    if (p->n == TN_MAX_CONSTS) return;
    const bool fixed = tn_dim_is_const(s->g, d, NULL);
    p->c[p->n++] = (tn_const_def){name, tn_spec_hint(s, d), fixed ? (tn_dim){0} : d};
}

void tn_problem_add_int(tn_problem *p, const char *name, int64_t v) {
    if (p->n < TN_MAX_CONSTS) p->c[p->n++] = (tn_const_def){name, v, {0}};
}

int64_t tn_problem_get(const tn_problem *p, const char *name) {
    for (uint32_t k = 0; k < p->n; ++k)
        if (!strcmp(p->c[k].name, name)) return p->c[k].value;
    return 0;
}

int64_t tn_knob_get(const tn_template *t, const int64_t *knobs, const char *name) {
    for (uint32_t k = 0; k < t->n_knobs; ++k)
        if (!strcmp(t->knobs[k].name, name)) return knobs[k];
    return 0;
}

tn_dim tn_spec_product(const tn_spec *s, tn_val val, uint32_t axis, uint32_t n) {
    tn_dim d = tn_dim_const(s->g, 1);
    for (uint32_t k = axis; k < axis + n && k < tn_val_rank(s->g, val); ++k)
        d = tn_dim_mul(s->g, d, tn_val_dim(s->g, val, k));
    return d;
}

bool tn_spec_alike(const tn_spec *s, tn_val a, tn_val b) {
    return tn_same_sizes(s->g, a, b);
}

bool tn_spec_as_many(const tn_spec *s, tn_val a, tn_val b) {
    return tn_spec_alike(s, a, b) || tn_spec_product(s, a, 0, TN_MAX_RANK).i == tn_spec_product(s, b, 0, TN_MAX_RANK).i;
}

int64_t tn_spec_hint(const tn_spec *s, tn_dim d) {
    return tn_shape_value(s, &s->typical, d);
}
