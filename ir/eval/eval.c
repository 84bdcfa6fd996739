/* eval.c: the driver: executes nodes in order and frees each value with its last use. */
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "ir/eval/run.h"

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

tn_status tn_run_fail(tn_run *r, tn_node n, tn_status code, const char *fmt, ...) {
    char text[400], loc[200] = "";
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (n.i) tn_loc_print(r->g, tn_node_loc(r->g, n), loc, sizeof loc);
    return tn_fail(r->env, code, loc, "", "%s%s%s", n.i ? tn_op_text(tn_node_op(r->g, n)) : "", n.i ? ": " : "", text);
}

/* ---- slots ------------------------------------------------------------------------------------------------------- */

tn_status tn_slot_new(tn_run *r, tn_dtype storage, size_t rank, const int64_t *dims, tn_slot *out) {
    *out = (tn_slot){0};
    if (!tn_ev_shape_fits(rank, dims))
        return tn_fail(r->env, TN_E_ARGUMENT, "", "", "a tensor's size is negative or overflows");
    out->t = (tn_tensor){.dtype = storage, .rank = (uint32_t)rank};
    if (rank) memcpy(out->t.dims, dims, rank * sizeof *dims);
    out->t.bytes = tn_dtype_bytes(storage, (uint64_t)tn_tensor_numel(&out->t));
    const size_t bytes = out->t.bytes ? out->t.bytes : 1;
    out->t.data = tn_realloc(r->env, NULL, 0, bytes);
    out->buffer = out->t.data ? tn_alloc(r->env, sizeof *out->buffer) : NULL;
    if (!out->buffer) {
        if (out->t.data) tn_free(r->env, out->t.data, bytes);
        *out = (tn_slot){0};
        return tn_fail(r->env, TN_E_MEMORY, "", "", "out of memory");
    }
    *out->buffer = (tn_buffer){.refs = 1, .bytes = bytes, .data = out->t.data};
    return TN_OK;
}

tn_slot tn_slot_share(const tn_slot *s) {
    if (s->buffer) s->buffer->refs++;
    return *s;
}

void tn_slot_drop(tn_run *r, tn_slot *s) {
    if (s->buffer && --s->buffer->refs == 0) {
        if (s->buffer->data) tn_free(r->env, s->buffer->data, s->buffer->bytes);
        tn_free(r->env, s->buffer, sizeof *s->buffer);
    }
    *s = (tn_slot){0};
}

static bool borrow(const tn_tensor *t, tn_slot *out) {
    const size_t bits = tn_dtype_bits(t->dtype);
    if (!t->data || (uintptr_t)t->data % (bits > 8 ? bits / 8 : 1)) return false;
    *out = (tn_slot){.t = *t};
    return true;
}

tn_status tn_slot_import(tn_run *r, const tn_tensor *t, tn_slot *out) {
    const tn_dtype st = tn_ev_storage(&r->opts, t->dtype);
    if (st == t->dtype && borrow(t, out)) return TN_OK;
    TN_TRY(tn_slot_new(r, st, t->rank, t->dims, out));
    if (tn_tensor_numel(&out->t) > 0) tn_ev_convert(&out->t, t);
    return TN_OK;
}

tn_status tn_slot_export(tn_run *r, tn_slot *s, tn_dtype t, tn_tensor *out) {
    tn_tensor o = {.dtype = r->opts.wide && tn_dtype_is_float(t) ? TN_F64 : t, .rank = s->t.rank};
    memcpy(o.dims, s->t.dims, sizeof o.dims);
    o.bytes = tn_dtype_bytes(o.dtype, (uint64_t)tn_tensor_numel(&o));
    if (out->data) {
        if (out->bytes < o.bytes)
            return tn_fail(r->env, TN_E_ARGUMENT, "", "", "an output needs %zu bytes but its buffer has %zu", o.bytes,
                           out->bytes);
        o.data = out->data;
    } else if (s->buffer && s->buffer->refs == 1 && s->t.dtype == o.dtype &&
               s->buffer->bytes == (o.bytes ? o.bytes : 1)) {
        o.data = s->buffer->data;
        s->buffer->data = NULL;
        *out = o;
        return TN_OK;
    } else {
        o.data = tn_alloc(r->env, o.bytes ? o.bytes : 1);
        if (!o.data) return tn_fail(r->env, TN_E_MEMORY, "", "", "out of memory");
    }
    if (o.bytes) tn_ev_convert(&o, &s->t);
    *out = o;
    return TN_OK;
}

/* ---- lives ------------------------------------------------------------------------------------------------------- */

tn_status tn_run_init(tn_run *r, const tn_env *env, tn_graph *g, const tn_eval_opts *opts) {
    *r = (tn_run){.env = env, .g = g, .n_vals = tn_graph_val_limit(g), .n_nodes = tn_graph_node_limit(g)};
    if (opts) r->opts = *opts;
    r->slots = tn_alloc(env, r->n_vals * sizeof *r->slots);
    r->next = tn_alloc(env, r->n_vals * sizeof *r->next);
    r->order = tn_alloc(env, r->n_nodes * sizeof *r->order);
    r->head = tn_alloc(env, r->n_nodes * sizeof *r->head);
    r->started = r->reported = now();
    if (!r->slots || !r->next || !r->order || !r->head) return tn_fail(env, TN_E_MEMORY, "", "", "out of memory");
    for (size_t k = 0; k < r->opts.n_symbols; k++)
        TN_TRY(tn_run_bind(r, r->opts.symbols[k].name, r->opts.symbols[k].value));
    return TN_OK;
}

void tn_run_free(tn_run *r) {
    for (uint32_t v = 0; r->slots && v < r->n_vals; v++) tn_slot_drop(r, &r->slots[v]);
    tn_free(r->env, r->slots, r->n_vals * sizeof *r->slots);
    tn_free(r->env, r->next, r->n_vals * sizeof *r->next);
    tn_free(r->env, r->order, r->n_nodes * sizeof *r->order);
    tn_free(r->env, r->head, r->n_nodes * sizeof *r->head);
    tn_free(r->env, r->bind, r->cap_bind * sizeof *r->bind);
}

/* The node of `region` that is n or holds it; none if there is none. */
static tn_node ancestor_in(const tn_graph *g, tn_node n, tn_region region) {
    while (n.i && tn_node_region(g, n).i != region.i) n = tn_region_owner(g, tn_node_region(g, n));
    return n;
}

/* Puts v on the list of values that die with the last node of its region that uses it (or with `def` if none does). */
static void plan_death(tn_run *r, tn_region region, tn_val v, tn_node def) {
    tn_node last = def;
    for (tn_use u = tn_val_first_use(r->g, v); u.i; u = tn_use_next(r->g, u)) {
        tn_node n = ancestor_in(r->g, tn_use_node(r->g, u), region);
        if (n.i && (!last.i || r->order[n.i] > r->order[last.i])) last = n;
    }
    if (!last.i) return; /* an unused argument: dropped when the region ends */
    r->next[v.i] = r->head[last.i];
    r->head[last.i] = v.i;
}

static void plan_region(tn_run *r, tn_region region) {
    uint32_t at = 0;
    TN_FOR_NODES(r->g, region, n) {
        r->order[n.i] = at++;
        r->head[n.i] = 0;
    }
    for (size_t k = 0; k < tn_region_arg_count(r->g, region); k++)
        plan_death(r, region, tn_region_arg(r->g, region, k), (tn_node){0});
    TN_FOR_NODES(r->g, region, n)
    for (size_t k = 0; k < tn_node_result_count(r->g, n); k++) plan_death(r, region, tn_node_result(r->g, n, k), n);
}

static void drop_region_values(tn_run *r, tn_region region) {
    for (size_t k = 0; k < tn_region_arg_count(r->g, region); k++)
        tn_slot_drop(r, &r->slots[tn_region_arg(r->g, region, k).i]);
    TN_FOR_NODES(r->g, region, n)
    for (size_t k = 0; k < tn_node_result_count(r->g, n); k++) tn_slot_drop(r, &r->slots[tn_node_result(r->g, n, k).i]);
}

/* ---- nodes ------------------------------------------------------------------------------------------------------- */

static tn_status progress(tn_run *r, tn_node n) {
    if (r->depth == 1) r->done++;
    if (!r->env || !r->env->progress) return TN_OK;
    double t = now();
    if (t - r->reported < 0.1) return TN_OK;
    r->reported = t;
    char item[96] = "";
    tn_loc_print(r->g, tn_node_loc(r->g, n), item, sizeof item);
    double spent = t - r->started;
    tn_progress p = {.phase = "evaluate", .item = item, .done = r->done, .total = r->total, .elapsed_s = spent};
    p.eta_s = r->done && r->total >= r->done ? spent * (double)(r->total - r->done) / (double)r->done : -1;
    return r->env->progress(r->env->progress_user, &p) ? TN_OK : TN_E_CANCELLED;
}

/* Integers of 2 and 4 bits live in bytes: keep them in range. */
static void wrap_parts(tn_dtype t, tn_tensor *x) {
    uint8_t *p = x->data;
    if (tn_dtype_bits(t) >= 8 || !tn_dtype_is_int(t)) return;
    const unsigned mask = (1u << tn_dtype_bits(t)) - 1, sign = tn_dtype_is_unsigned(t) ? 0 : (mask + 1) / 2;
    for (size_t k = 0; k < x->bytes; k++) p[k] = (uint8_t)(((p[k] & mask) ^ sign) - sign);
}

tn_status tn_run_results(tn_run *r, tn_node n, tn_slot *results, size_t n_results) {
    tn_status status = TN_OK;
    for (size_t k = 0; k < n_results; k++) {
        tn_val v = tn_node_result(r->g, n, k);
        tn_type type = tn_val_type(r->g, v);
        size_t axis = 0;
        if (status == TN_OK && results[k].t.rank != tn_type_rank(r->g, type))
            status = tn_run_fail(r, n, TN_E_INTERNAL, "result %zu has a wrong rank", k);
        if (status == TN_OK && !tn_run_unify(r, v, &results[k].t, &axis, &status) && status == TN_OK) {
            char text[160];
            tn_type_print(r->g, type, text, sizeof text);
            status = tn_run_fail(r, n, TN_E_TYPE, "result %zu is %s, but its size on axis %zu is %lld", k, text, axis,
                                 (long long)results[k].t.dims[axis]);
        }
        if (status != TN_OK) {
            tn_slot_drop(r, &results[k]);
            continue;
        }
        tn_slot_drop(r, &r->slots[v.i]);
        r->slots[v.i] = results[k];
        results[k] = (tn_slot){0};
    }
    return status;
}

/* All that use v read its elements whatever they are stored as: tables and weights may be too large to widen. */
static bool is_read_as_stored(const tn_graph *g, tn_val v) {
    tn_use u = tn_val_first_use(g, v);
    bool all = u.i != 0;
    for (; all && u.i; u = tn_use_next(g, u)) {
        const tn_op op = tn_node_op(g, tn_use_node(g, u));
        const size_t k = tn_use_slot(g, u);
        all = (op == TN_OP_MATMUL && k == 1) || (op == TN_OP_GATHER && k == 0);
    }
    return all;
}

/* A caller's tensor as the argument v of a region. */
static tn_status import_argument(tn_run *r, tn_val v, const tn_tensor *t, tn_slot *out) {
    const bool narrow =
        r->opts.wide && !r->opts.on_value && tn_dtype_is_float(t->dtype) && tn_dtype_bits(t->dtype) >= 8;
    return narrow && is_read_as_stored(r->g, v) && borrow(t, out) ? TN_OK : tn_slot_import(r, t, out);
}

static tn_status run_const(tn_run *r, tn_node n) {
    const tn_attrs_const *a = TN_ATTRS_OF(r->g, n, const);
    tn_tensor t = {.dtype = a->dtype, .rank = a->dims.n, .data = (void *)(uintptr_t)tn_blob_data(r->g, a->data)};
    for (uint32_t k = 0; k < a->dims.n; k++) tn_dim_is_const(r->g, a->dims.p[k], &t.dims[k]);
    t.bytes = tn_dtype_bytes(t.dtype, (uint64_t)tn_tensor_numel(&t));
    if (tn_blob_size(r->g, a->data) < t.bytes) return tn_run_fail(r, n, TN_E_INTERNAL, "its data is too short");
    tn_slot s = {0};
    TN_TRY(tn_slot_import(r, &t, &s));
    return tn_run_results(r, n, &s, 1);
}

/* Same bytes, other shape. */
static tn_status run_alias(tn_run *r, tn_node n) {
    const tn_slot *x = &r->slots[tn_node_input(r->g, n, 0).i];
    const tn_val y = tn_node_result(r->g, n, 0);
    tn_slot s = tn_slot_share(x);
    s.t.rank = (uint32_t)tn_val_rank(r->g, y);
    for (size_t k = 0; k < s.t.rank; k++) {
        if (tn_run_size(r, y, k, &s.t.dims[k])) continue;
        tn_slot_drop(r, &s);
        return tn_run_fail(r, n, TN_E_ARGUMENT, "the size of axis %zu is not known", k);
    }
    if (!tn_ev_shape_fits(s.t.rank, s.t.dims)) {
        tn_slot_drop(r, &s);
        return tn_run_fail(r, n, TN_E_ARGUMENT, "a size of its result is negative or overflows");
    }
    if (tn_tensor_numel(&s.t) != tn_tensor_numel(&x->t)) {
        long long want = (long long)tn_tensor_numel(&s.t);
        tn_slot_drop(r, &s);
        return tn_run_fail(r, n, TN_E_TYPE, "%lld elements cannot be reshaped to %lld",
                           (long long)tn_tensor_numel(&x->t), want);
    }
    return tn_run_results(r, n, &s, 1);
}

/* Storage for a result, shaped by its type. */
static tn_status new_result(tn_run *r, tn_node n, size_t k, tn_slot *out) {
    const tn_val v = tn_node_result(r->g, n, k);
    tn_type type = tn_val_type(r->g, v);
    int64_t dims[TN_MAX_RANK];
    size_t rank = tn_type_rank(r->g, type);
    for (size_t i = 0; i < rank; i++) {
        char text[96];
        tn_dim d = tn_type_dims(r->g, type)[i];
        if (tn_run_size(r, v, i, &dims[i]) && dims[i] >= 0) continue;
        tn_dim_print(r->g, d, text, sizeof text);
        return tn_run_fail(r, n, TN_E_ARGUMENT, "the size %s of its result is unknown or negative", text);
    }
    return tn_slot_new(r, tn_ev_storage(&r->opts, tn_type_dtype(r->g, type)), rank, dims, out);
}

static bool dies_with(const tn_run *r, tn_val v, tn_node n) {
    for (uint32_t k = r->head[n.i]; k; k = r->next[k])
        if (k == v.i) return true;
    return false;
}

/* An elementwise result takes the place of an operand that nobody needs afterwards: fresh memory costs more than the
 * arithmetic.  False: none can give it. */
static bool take_place(tn_run *r, tn_node n, tn_slot *out) {
    if (!tn_op_is(tn_node_op(r->g, n), TN_T_ELEMENTWISE)) return false;
    const tn_val y = tn_node_result(r->g, n, 0);
    const tn_dtype storage = tn_ev_storage(&r->opts, tn_val_dtype(r->g, y));
    for (size_t k = 0; k < tn_node_input_count(r->g, n); k++) {
        const tn_val v = tn_node_input(r->g, n, k);
        const tn_slot *x = v.i ? &r->slots[v.i] : NULL;
        if (!x || !x->buffer || x->buffer->refs != 1 || x->t.dtype != storage || !dies_with(r, v, n)) continue;
        bool fits = x->t.rank == tn_val_rank(r->g, y);
        for (size_t i = 0; fits && i < x->t.rank; i++) {
            int64_t d;
            fits = tn_run_size(r, y, i, &d) && d == x->t.dims[i];
        }
        if (!fits) continue;
        *out = tn_slot_share(x);
        return true;
    }
    return false;
}

/* The data says how large something is: its symbol gets that value. */
static tn_status learn(tn_run *r, tn_node n, int64_t count) {
    const tn_dim symbol = tn_node_makes(r->g, n);
    const char *name = tn_dim_name(r->g, symbol);
    int64_t known;
    if (!tn_run_dim(r, symbol, &known)) return tn_run_bind(r, name, count);
    if (known == count) return TN_OK;
    return tn_run_fail(r, n, TN_E_ARGUMENT, "%s is %lld, but the data makes it %lld", name, (long long)known,
                       (long long)count);
}

static tn_status learn_count(tn_run *r, tn_ev *c) {
    int64_t count = 0;
    TN_TRY(tn_ev_count(c, &count));
    return learn(r, c->node, count);
}

/* The operand is the size, as it stands. */
static tn_status run_size(tn_run *r, tn_node n) {
    const int64_t count = tn_load_int(TN_I64, r->slots[tn_node_input(r->g, n, 0).i].t.data, 0);
    int64_t most;
    if (count < 0 || (tn_run_dim(r, TN_ATTRS_OF(r->g, n, size)->most, &most) && count > most)) {
        char text[96];
        tn_dim_print(r->g, TN_ATTRS_OF(r->g, n, size)->most, text, sizeof text);
        return tn_run_fail(r, n, TN_E_ARGUMENT, "%s is %lld, but must be from 0 to %s",
                           tn_dim_name(r->g, tn_node_makes(r->g, n)), (long long)count, text);
    }
    TN_TRY(learn(r, n, count));
    return run_alias(r, n);
}

/* Operands and results of a node are few: room for most on the stack. */
enum { FEW = 16 };

static tn_status run_function(tn_run *r, tn_node n, tn_ev_fn fn) {
    tn_tensor few_t[2 * FEW] = {0};
    tn_slot few_s[FEW] = {0};
    size_t n_in = tn_node_input_count(r->g, n), n_out = tn_node_result_count(r->g, n);
    bool many = n_in > FEW || n_out > FEW;
    size_t t_bytes = (n_in + n_out) * sizeof(tn_tensor), s_bytes = n_out * sizeof(tn_slot);
    tn_tensor *t = many ? tn_alloc(r->env, t_bytes) : few_t;
    tn_slot *s = many ? tn_alloc(r->env, s_bytes) : few_s;
    tn_status status = t && s ? TN_OK : tn_run_fail(r, n, TN_E_MEMORY, "out of memory");
    for (size_t k = 0; status == TN_OK && k < n_in; k++) {
        tn_val v = tn_node_input(r->g, n, k);
        if (v.i) t[k] = r->slots[v.i].t;
        if (v.i && t[k].dtype == TN_DTYPE_NONE)
            status = tn_run_fail(r, n, TN_E_INTERNAL, "operand %zu has no value yet", k);
    }
    tn_ev c = {.env = r->env,
               .opts = &r->opts,
               .g = r->g,
               .node = n,
               .op = tn_node_op(r->g, n),
               .attrs = tn_node_attrs(r->g, n),
               .n_in = n_in,
               .n_out = n_out,
               .in = t,
               .out = t ? t + n_in : NULL};
    if (status == TN_OK && tn_op_is(c.op, TN_T_DYNAMIC)) status = learn_count(r, &c);
    for (size_t k = 0; status == TN_OK && k < n_out; k++) {
        if (n_out > 1 || !take_place(r, n, &s[k])) status = new_result(r, n, k, &s[k]);
        t[n_in + k] = s[k].t;
    }
    c.bind = r->bind;
    c.n_bind = r->n_bind;
    if (status == TN_OK) status = fn(&c);
    for (size_t k = 0; status == TN_OK && k < n_out; k++)
        wrap_parts(tn_val_dtype(r->g, tn_node_result(r->g, n, k)), &s[k].t);
    if (status == TN_OK) status = tn_run_results(r, n, s, n_out);
    for (size_t k = 0; s && k < n_out; k++) tn_slot_drop(r, &s[k]);
    if (many) {
        tn_free(r->env, t, t_bytes);
        tn_free(r->env, s, s_bytes);
    }
    return status;
}

static tn_status run_node(tn_run *r, tn_node n) {
    tn_op op = tn_node_op(r->g, n);
    switch (op) {
    case TN_OP_CONST: return run_const(r, n);
    case TN_OP_RESHAPE:
    case TN_OP_BARRIER: return run_alias(r, n);
    case TN_OP_SIZE: return run_size(r, n);
    case TN_OP_KERNEL: return tn_run_kernel(r, n);
    case TN_OP_IF: return tn_run_if(r, n);
    case TN_OP_LOOP: return tn_run_loop(r, n);
    default: break;
    }
    tn_ev_fn fn = tn_ev_function(op);
    if (!fn) return tn_run_fail(r, n, TN_E_UNSUPPORTED, "has no reference evaluation");
    return run_function(r, n, fn);
}

static void watch(tn_run *r, tn_node n) {
    for (size_t k = 0; r->opts.on_value && k < tn_node_result_count(r->g, n); k++) {
        tn_val v = tn_node_result(r->g, n, k);
        r->opts.on_value(r->opts.user, v, &r->slots[v.i].t);
    }
}

/* Executes the region's nodes up to its terminator. */
static tn_status run_body(tn_run *r, tn_region region, tn_node *end) {
    *end = (tn_node){0};
    TN_FOR_NODES(r->g, region, n) {
        if (tn_op_is(tn_node_op(r->g, n), TN_T_TERMINATOR)) {
            *end = n;
            return TN_OK;
        }
        TN_TRY(run_node(r, n));
        watch(r, n);
        for (uint32_t v = r->head[n.i]; v; v = r->next[v]) tn_slot_drop(r, &r->slots[v]);
        TN_TRY(progress(r, n));
    }
    return tn_fail(r->env, TN_E_VERIFY, "", "", "a region has no terminator");
}

tn_status tn_run_region(tn_run *r, tn_region region, tn_slot *args, size_t n_args, tn_slot *results, size_t n_results) {
    tn_status status = TN_OK;
    tn_node end = {0};
    for (size_t k = 0; k < n_results; k++) results[k] = (tn_slot){0};
    if (n_args != tn_region_arg_count(r->g, region))
        status = tn_fail(r->env, TN_E_ARGUMENT, "", "", "a region of %zu arguments is given %zu",
                         tn_region_arg_count(r->g, region), n_args);
    else if (r->depth >= TN_RUN_MAX_DEPTH)
        status = tn_fail(r->env, TN_E_UNSUPPORTED, "", "", "regions are nested too deeply");
    for (size_t k = 0; k < n_args; k++) {
        if (status == TN_OK)
            r->slots[tn_region_arg(r->g, region, k).i] = args[k];
        else
            tn_slot_drop(r, &args[k]);
        args[k] = (tn_slot){0};
    }
    if (status != TN_OK) return status;
    r->depth++;
    plan_region(r, region);
    status = run_body(r, region, &end);
    if (status == TN_OK && tn_node_input_count(r->g, end) != n_results)
        status = tn_run_fail(r, end, TN_E_ARGUMENT, "gives %zu values; %zu are wanted", tn_node_input_count(r->g, end),
                             n_results);
    for (size_t k = 0; status == TN_OK && k < n_results; k++) {
        const tn_slot *s = &r->slots[tn_node_input(r->g, end, k).i];
        if (s->t.dtype == TN_DTYPE_NONE)
            status = tn_run_fail(r, end, TN_E_INTERNAL, "value %zu is not computed", k);
        else
            results[k] = tn_slot_share(s);
    }
    drop_region_values(r, region);
    r->depth--;
    for (size_t k = 0; status != TN_OK && k < n_results; k++) tn_slot_drop(r, &results[k]);
    return status;
}

/* ---- the public calls -------------------------------------------------------------------------------------------- */

/* Checks a caller's tensor against a value's type and binds the symbols that it tells. */
static tn_status fit(tn_run *r, tn_val v, const char *what, size_t k, const tn_tensor *t) {
    tn_type type = tn_val_type(r->g, v);
    tn_dtype want = tn_type_dtype(r->g, type);
    char text[160], name[120];
    size_t axis = 0;
    tn_status status = TN_OK;
    const char *own = tn_val_name(r->g, v);
    if (own && *own)
        snprintf(name, sizeof name, "%s '%s'", what, own);
    else
        snprintf(name, sizeof name, "%s %zu", what, k);
    tn_type_print(r->g, type, text, sizeof text);
    bool wide_f64 = r->opts.wide && t->dtype == TN_F64 && tn_dtype_is_float(want);
    if (t->dtype != want && !wide_f64)
        return tn_fail(r->env, TN_E_ARGUMENT, "", "", "%s is %s but must be %s", name, tn_dtype_text(t->dtype), text);
    if (t->rank != tn_type_rank(r->g, type))
        return tn_fail(r->env, TN_E_ARGUMENT, "", "", "%s has rank %u but must be %s", name, t->rank, text);
    if (!tn_ev_shape_fits(t->rank, t->dims))
        return tn_fail(r->env, TN_E_ARGUMENT, "", "", "%s has a size that is negative or overflows", name);
    if (!tn_run_unify(r, v, t, &axis, &status)) {
        if (status != TN_OK) return status;
        tn_dim d = tn_type_dims(r->g, type)[axis];
        int64_t is = 0;
        char dim[96];
        tn_dim_print(r->g, d, dim, sizeof dim);
        if (tn_run_dim(r, d, &is) && !tn_dim_is_const(r->g, d, NULL))
            return tn_fail(r->env, TN_E_TYPE, "", "give inputs whose sizes fit together",
                           "%s takes %s: axis %zu is given as %lld, but %s is %lld", name, text, axis,
                           (long long)t->dims[axis], dim, (long long)is);
        int64_t lo, hi;
        tn_dim_bounds(r->g, d, &lo, &hi);
        if (tn_dim_kind_of(r->g, d) == TN_DIM_SYM && hi < INT64_MAX)
            return tn_fail(r->env, TN_E_ARGUMENT, "", "give shapes within the range",
                           "%s takes %s: axis %zu is given as %lld, but %s is from %lld to %lld", name, text, axis,
                           (long long)t->dims[axis], dim, (long long)lo, (long long)hi);
        if (tn_dim_kind_of(r->g, d) == TN_DIM_SYM)
            return tn_fail(r->env, TN_E_ARGUMENT, "", "give shapes within the range",
                           "%s takes %s: axis %zu is given as %lld, but %s is at least %lld", name, text, axis,
                           (long long)t->dims[axis], dim, (long long)lo);
        return tn_fail(r->env, TN_E_TYPE, "", "", "%s takes %s: axis %zu cannot be %lld", name, text, axis,
                       (long long)t->dims[axis]);
    }
    size_t need = tn_dtype_bytes(t->dtype, (uint64_t)tn_tensor_numel(t));
    if (need && (!t->data || t->bytes < need))
        return tn_fail(r->env, TN_E_ARGUMENT, "", "", "%s has %zu bytes, too few for its shape", name, t->bytes);
    return TN_OK;
}

/* Exports results; on failure frees those that it allocated. */
static tn_status give(tn_run *r, tn_slot *results, const tn_dtype *dtypes, tn_tensor *out, size_t n, tn_status status) {
    size_t k = 0;
    bool *own = tn_alloc(r->env, n + 1);
    if (!own && status == TN_OK) status = tn_fail(r->env, TN_E_MEMORY, "", "", "out of memory");
    for (; status == TN_OK && k < n; k++) {
        own[k] = !out[k].data;
        status = tn_slot_export(r, &results[k], dtypes[k], &out[k]);
        if (status != TN_OK) break;
    }
    for (size_t i = 0; status != TN_OK && own && i < k; i++)
        if (own[i]) tn_tensor_free(r->env, &out[i]);
    for (size_t i = 0; i < n; i++) tn_slot_drop(r, &results[i]);
    tn_free(r->env, own, n + 1);
    return status;
}

static tn_status run_and_give(tn_run *r, tn_region region, const char *what, const tn_tensor *in, size_t n_in,
                              tn_tensor *out, size_t n_out) {
    tn_node end = tn_region_last(r->g, region);
    size_t n_args = tn_region_arg_count(r->g, region);
    if (!end.i || !tn_op_is(tn_node_op(r->g, end), TN_T_TERMINATOR) || tn_node_input_count(r->g, end) != n_out ||
        n_in != n_args)
        return tn_fail(r->env, TN_E_ARGUMENT, "", "", "%zu inputs and %zu outputs are given; it has %zu and %zu", n_in,
                       n_out, n_args, end.i ? tn_node_input_count(r->g, end) : 0);
    size_t bytes = (n_in + n_out) * sizeof(tn_slot), d_bytes = n_out * sizeof(tn_dtype);
    tn_slot *slots = tn_alloc(r->env, bytes ? bytes : 1);
    tn_dtype *dtypes = tn_alloc(r->env, d_bytes ? d_bytes : 1);
    tn_status status = slots && dtypes ? TN_OK : tn_fail(r->env, TN_E_MEMORY, "", "", "out of memory");
    /* Two rounds: a later argument may tell the symbol that an earlier one's size is made of. */
    for (size_t k = 0; status == TN_OK && k < 2 * n_in; k++)
        status = fit(r, tn_region_arg(r->g, region, k % n_in), what, k % n_in, &in[k % n_in]);
    /* A fused kernel's region is also evaluated at sizes at which the graph is never run. */
    if (status == TN_OK && region.i == tn_graph_body(r->g).i) status = tn_run_check_conditions(r, region);
    for (size_t k = 0; status == TN_OK && k < n_in; k++)
        status = import_argument(r, tn_region_arg(r->g, region, k), &in[k], &slots[k]);
    for (size_t k = 0; status == TN_OK && k < n_out; k++) dtypes[k] = tn_val_dtype(r->g, tn_node_input(r->g, end, k));
    if (status == TN_OK) {
        status = tn_run_region(r, region, slots, n_in, slots + n_in, n_out);
        status = give(r, slots + n_in, dtypes, out, n_out, status);
    }
    for (size_t k = 0; slots && k < n_in; k++) tn_slot_drop(r, &slots[k]);
    tn_free(r->env, slots, bytes ? bytes : 1);
    tn_free(r->env, dtypes, d_bytes ? d_bytes : 1);
    return status;
}

tn_status tn_eval_region(const tn_env *env, tn_graph *g, tn_region region, const tn_tensor *in, size_t n_in,
                         tn_tensor *out, size_t n_out, const tn_eval_opts *opts) {
    tn_run r;
    tn_status status = tn_run_init(&r, env, g, opts);
    TN_FOR_NODES(g, region, n) r.total++;
    if (status == TN_OK)
        status = run_and_give(&r, region, region.i == tn_graph_body(g).i ? "input" : "argument", in, n_in, out, n_out);
    tn_run_free(&r);
    return status;
}

tn_status tn_eval_graph(const tn_env *env, tn_graph *g, const tn_tensor *in, size_t n_in, tn_tensor *out, size_t n_out,
                        const tn_eval_opts *opts) {
    TN_TRY(tn_graph_status(g));
    if (!tn_graph_has_conditions(g)) TN_TRY(tn_graph_collect_conditions(g));
    return tn_eval_region(env, g, tn_graph_body(g), in, n_in, out, n_out, opts);
}

static tn_status eval_node(tn_run *r, tn_node n, const tn_tensor *in, size_t n_in, tn_tensor *out, size_t n_out) {
    enum { MAX_RESULTS = 256 };
    tn_slot results[MAX_RESULTS];
    tn_dtype dtypes[MAX_RESULTS];
    if (n_in != tn_node_input_count(r->g, n) || n_out != tn_node_result_count(r->g, n) || n_out > MAX_RESULTS)
        return tn_run_fail(r, n, TN_E_ARGUMENT, "is given %zu operands and %zu results", n_in, n_out);
    for (size_t k = 0; k < 2 * n_in; k++) {
        tn_val v = tn_node_input(r->g, n, k % n_in);
        if (v.i) TN_TRY(fit(r, v, "operand", k % n_in, &in[k % n_in]));
    }
    for (size_t k = 0; k < n_in; k++) {
        tn_val v = tn_node_input(r->g, n, k);
        if (v.i && r->slots[v.i].t.dtype == TN_DTYPE_NONE) TN_TRY(tn_slot_import(r, &in[k], &r->slots[v.i]));
    }
    TN_TRY(run_node(r, n));
    for (size_t k = 0; k < n_out; k++) {
        tn_val v = tn_node_result(r->g, n, k);
        results[k] = r->slots[v.i]; /* not shared, so that its memory can be handed over */
        r->slots[v.i] = (tn_slot){0};
        dtypes[k] = tn_val_dtype(r->g, v);
    }
    return give(r, results, dtypes, out, n_out, TN_OK);
}

/* ---- folding ----------------------------------------------------------------------------------------------------- */

struct tn_folder {
    tn_run r; /* empty between nodes; its arrays have room for more than the graph has */
};

tn_folder *tn_folder_new(const tn_env *env, tn_graph *g) {
    tn_folder *f = tn_alloc(env, sizeof *f);
    if (f) f->r = (tn_run){.env = env, .g = g, .started = now(), .reported = now()};
    return f;
}

void tn_folder_free(tn_folder *f) {
    if (!f) return;
    const tn_env *env = f->r.env;
    tn_run_free(&f->r);
    tn_free(env, f, sizeof *f);
}

/* p with room for `want` elements, the new ones zero; or NULL and p as it was. */
static void *widened(const tn_env *env, void *p, uint32_t have, uint32_t want, size_t size) {
    char *q = tn_realloc(env, p, have * size, want * size);
    if (q) memset(q + have * size, 0, (want - have) * size);
    return q;
}

/* Slots for all values; of the lives only `head`, all zero: a single node's operands do not die with it. */
static tn_status make_room(tn_run *r) {
    uint32_t vals = tn_graph_val_limit(r->g), nodes = tn_graph_node_limit(r->g);
    if (vals > r->n_vals) {
        uint32_t want = vals + vals / 2 + 64;
        tn_slot *p = widened(r->env, r->slots, r->n_vals, want, sizeof *p);
        if (!p) return TN_E_MEMORY;
        r->slots = p;
        r->n_vals = want;
    }
    if (nodes > r->n_nodes) {
        uint32_t want = nodes + nodes / 2 + 64;
        uint32_t *p = widened(r->env, r->head, r->n_nodes, want, sizeof *p);
        if (!p) return TN_E_MEMORY;
        r->head = p;
        r->n_nodes = want;
    }
    return TN_OK;
}

/* The bytes of a constant, borrowed; TN_E_ARGUMENT without a diagnostic if v is none: folding just asks. */
static tn_status constant_tensor(const tn_graph *g, tn_val v, tn_tensor *out) {
    const void *data = tn_const_data(g, v);
    tn_type t = tn_val_type(g, v);
    *out = (tn_tensor){
        .dtype = tn_type_dtype(g, t), .rank = (uint32_t)tn_type_rank(g, t), .data = (void *)(uintptr_t)data};
    for (size_t i = 0; i < out->rank; i++) tn_dim_is_const(g, tn_type_dims(g, t)[i], &out->dims[i]);
    out->bytes = tn_dtype_bytes(out->dtype, (uint64_t)tn_tensor_numel(out));
    return data || !out->bytes ? TN_OK : TN_E_ARGUMENT;
}

tn_status tn_folder_eval(tn_folder *f, tn_node n, tn_tensor *out, size_t n_out) {
    tn_run *r = &f->r;
    tn_graph *g = r->g;
    size_t n_in = tn_node_input_count(g, n), bytes = n_in * sizeof(tn_tensor);
    if (tn_node_subregion_count(g, n)) return TN_E_UNSUPPORTED;
    tn_tensor *in = tn_alloc(r->env, bytes ? bytes : 1);
    tn_status status = in ? make_room(r) : TN_E_MEMORY;
    if (status == TN_E_MEMORY) tn_fail(r->env, TN_E_MEMORY, "", "", "out of memory");
    for (size_t k = 0; status == TN_OK && k < n_in; k++)
        if (tn_node_input(g, n, k).i) status = constant_tensor(g, tn_node_input(g, n, k), &in[k]);
    if (status == TN_OK) status = eval_node(r, n, in, n_in, out, n_out);
    for (size_t k = 0; r->slots && k < n_in; k++)
        if (tn_node_input(g, n, k).i < r->n_vals) tn_slot_drop(r, &r->slots[tn_node_input(g, n, k).i]);
    for (size_t k = 0; r->slots && k < tn_node_result_count(g, n); k++)
        if (tn_node_result(g, n, k).i < r->n_vals) tn_slot_drop(r, &r->slots[tn_node_result(g, n, k).i]);
    tn_free(r->env, in, bytes ? bytes : 1);
    return status;
}
