/* linalg.c: matrix products and Einsum. */
#include "frontend/onnx/import.h"

#include <string.h>

/* NumPy's rule for vectors: a row on the left, a column on the right, and the axis is dropped again. */
static tn_val matmul(tn_oi *x, tn_val a, tn_val b, tn_attrs_matmul at) {
    tn_graph *g = x->g;
    if (!a.i || !b.i) return (tn_val){0};
    bool row = tn_val_rank(g, a) == 1, col = tn_val_rank(g, b) == 1;
    if (row) a = tn_build_unsqueeze(g, a, 0);
    if (col) b = tn_build_unsqueeze(g, b, 1);
    tn_val v = tn_build_matmul(g, a, b, at);
    if (row) v = tn_build_squeeze(g, v, -2);
    if (col) v = tn_build_squeeze(g, v, -1);
    return v;
}

void tn_oi_op_matmul(tn_oi *x) {
    tn_val a = tn_oi_need(x, 0), b = tn_oi_need(x, 1);
    tn_oi_out(x, 0, matmul(x, a, b, (tn_attrs_matmul){0}));
}

static tn_val scaled(tn_oi *x, tn_val v, double by) {
    return by == 1 ? v : tn_build_scalar(x->g, TN_OP_MUL, v, by);
}

/* The first axis becomes the last but one. */
static tn_val first_to_rows(tn_oi *x, tn_val v) {
    int64_t perm[TN_MAX_RANK];
    const size_t rank = tn_oi_failed(x) ? 0 : tn_val_rank(x->g, v);
    if (rank < 3) return v;
    for (size_t k = 0; k < rank; k++) perm[k] = (int64_t)(k + 2 < rank ? k + 1 : k + 2 == rank ? 0 : k);
    return tn_build_permute(x->g, v, rank, perm);
}

/* com.microsoft.FusedMatMul */
void tn_oi_op_fused_matmul(tn_oi *x) {
    tn_val a = tn_oi_need(x, 0), b = tn_oi_need(x, 1);
    if (tn_oi_int(x, "transBatchA", 0)) a = first_to_rows(x, a);
    if (tn_oi_int(x, "transBatchB", 0)) b = first_to_rows(x, b);
    tn_attrs_matmul at = {.trans_a = tn_oi_int(x, "transA", 0), .trans_b = tn_oi_int(x, "transB", 0)};
    tn_oi_out(x, 0, scaled(x, matmul(x, a, b, at), tn_oi_num(x, "alpha", 1)));
}

/* C, which broadcasts to the product: a larger one would make a larger result. */
static tn_val fitting(tn_oi *x, tn_val c, tn_val product) {
    const size_t rank = tn_val_rank(x->g, c);
    if (rank > 2) tn_oi_fail(x, TN_E_FORMAT, "", "C has rank %zu; it must be at most 2", rank);
    for (size_t k = 0; k < rank && !tn_oi_failed(x); k++)
        tn_oi_fits(x, TN_REL_BCAST_TO, c, k, "C", tn_val_dim(x->g, product, 2 - rank + k), "the product");
    return c;
}

/* alpha A' B' + beta C */
tn_val tn_oi_gemm(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val a = tn_oi_need(x, 0), b = tn_oi_need(x, 1), c = tn_oi_in(x, 2);
    double alpha = tn_oi_num(x, "alpha", 1), beta = tn_oi_num(x, "beta", 1);
    tn_attrs_matmul at = {.trans_a = tn_oi_int(x, "transA", 0), .trans_b = tn_oi_int(x, "transB", 0)};
    tn_val v = scaled(x, tn_build_matmul(g, a, b, at), alpha);
    if (tn_oi_failed(x)) return v;
    if (c.i) c = fitting(x, c, v);
    return c.i && beta != 0 ? tn_build_add(g, v, scaled(x, c, beta)) : v;
}

void tn_oi_op_gemm(tn_oi *x) {
    tn_oi_out(x, 0, tn_oi_gemm(x));
}

/* ---- Einsum ------------------------------------------------------------------------------------------------------ */

/* An operand: one label an axis.  Axes of an ellipsis have labels below 'A', counted from the last. */
typedef struct term {
    tn_val v;
    size_t n;
    char label[TN_MAX_RANK];
} term;

static bool has_label(const term *t, char c) {
    return memchr(t->label, c, t->n) != NULL;
}

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Reads labels up to ',', '-' or the end.  rank SIZE_MAX: the output, whose ellipsis has `dots` axes. */
static const char *read_term(tn_oi *x, const char *s, size_t rank, size_t *dots, term *t) {
    const char *end = s;
    size_t letters = 0;
    bool ellipsis = false;
    for (; *end && *end != ',' && *end != '-'; end++) letters += is_letter(*end) ? 1 : 0;
    if (rank != SIZE_MAX && letters > rank) return NULL;
    size_t width = rank == SIZE_MAX ? *dots : rank - letters;
    t->n = 0;
    for (; s < end; s++) {
        if (*s == ' ') continue;
        if (*s == '.') {
            if (ellipsis || end - s < 3 || s[1] != '.' || s[2] != '.' || t->n + width > TN_MAX_RANK) return NULL;
            ellipsis = true;
            for (size_t k = 0; k < width; k++) t->label[t->n++] = (char)(width - k);
            if (rank != SIZE_MAX && width > *dots) *dots = width;
            s += 2;
        } else if (is_letter(*s) && t->n < TN_MAX_RANK) {
            t->label[t->n++] = *s;
        } else {
            return NULL;
        }
    }
    (void)x;
    return rank == SIZE_MAX || t->n == rank ? end : NULL;
}

/* Sums t over axis k. */
static void sum_axis(tn_oi *x, term *t, size_t k) {
    int64_t axis = (int64_t)k;
    t->v = tn_build_reduce(x->g, TN_OP_REDUCE_SUM, t->v, 1, &axis, false);
    memmove(t->label + k, t->label + k + 1, t->n - k - 1);
    t->n--;
}

/* A label that occurs twice takes the diagonal: everything else is masked to 0 and summed away. */
static void diagonals(tn_oi *x, term *t) {
    tn_graph *g = x->g;
    for (size_t i = 0; i < t->n; i++)
        for (size_t j = i + 1; j < t->n;) {
            if (t->label[i] != t->label[j]) {
                j++;
                continue;
            }
            tn_dim dims[TN_MAX_RANK];
            for (size_t k = 0; k < t->n; k++) dims[k] = tn_val_dim(g, t->v, k);
            tn_oi_fits(x, TN_REL_EQUAL, t->v, j, "an operand", dims[i], "the axis that has its label, too");
            tn_val a = tn_build_iota(g, TN_I64, t->n, dims, (int64_t)i),
                   b = tn_build_iota(g, TN_I64, t->n, dims, (int64_t)j);
            tn_val zero = tn_const_num(g, tn_val_dtype(g, t->v), 0);
            t->v = tn_build_select(g, tn_build_eq(g, a, b), t->v, zero);
            sum_axis(x, t, j);
        }
}

/* Puts t's axes into the order of `order` (n labels; those that t lacks become axes of size 1). */
static tn_val arrange(tn_oi *x, const term *t, size_t n, const char *order) {
    tn_graph *g = x->g;
    int64_t perm[TN_MAX_RANK];
    tn_dim dims[TN_MAX_RANK];
    size_t m = 0;
    for (size_t k = 0; k < n; k++) {
        const char *at = t->n ? memchr(t->label, order[k], t->n) : NULL;
        dims[k] = at ? tn_val_dim(g, t->v, (size_t)(at - t->label)) : tn_dim_const(g, 1);
        if (at) perm[m++] = at - t->label;
    }
    return tn_build_reshape_to(g, tn_build_permute(g, t->v, m, perm), n, dims);
}

typedef struct label_set {
    size_t n;
    char c[2 * TN_MAX_RANK];
} label_set;

static void add_label(label_set *s, char c) {
    s->c[s->n++] = c;
}

static tn_dim label_dim(tn_oi *x, const term *t, char c) {
    const char *at = memchr(t->label, c, t->n);
    return at ? tn_val_dim(x->g, t->v, (size_t)(at - t->label)) : tn_dim_const(x->g, 1);
}

/* a times b, summed over the labels that nothing later wants. */
static bool contract(tn_oi *x, term *a, term *b, const label_set *wanted, term *out) {
    tn_graph *g = x->g;
    label_set batch = {0}, only_a = {0}, only_b = {0}, inner = {0}, all = {0};
    for (size_t k = a->n; k-- > 0;)
        if (!has_label(b, a->label[k]) && !memchr(wanted->c, a->label[k], wanted->n)) sum_axis(x, a, k);
    for (size_t k = b->n; k-- > 0;)
        if (!has_label(a, b->label[k]) && !memchr(wanted->c, b->label[k], wanted->n)) sum_axis(x, b, k);
    for (size_t k = 0; k < a->n; k++) {
        char c = a->label[k];
        add_label(!has_label(b, c) ? &only_a : memchr(wanted->c, c, wanted->n) ? &batch : &inner, c);
    }
    for (size_t k = 0; k < b->n; k++)
        if (!has_label(a, b->label[k])) add_label(&only_b, b->label[k]);
    for (size_t k = 0; k < batch.n; k++) add_label(&all, batch.c[k]);
    for (size_t k = 0; k < only_a.n; k++) add_label(&all, only_a.c[k]);
    for (size_t k = 0; k < only_b.n; k++) add_label(&all, only_b.c[k]);
    if (all.n > TN_MAX_RANK || batch.n + 2 > TN_MAX_RANK) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "split the equation", "an intermediate of rank %zu", all.n);
        return false;
    }
    out->n = all.n;
    memcpy(out->label, all.c, all.n);
    if (!inner.n) {
        out->v = tn_build_mul(g, arrange(x, a, all.n, all.c), arrange(x, b, all.n, all.c));
        return true;
    }
    char order[2 * TN_MAX_RANK];
    tn_dim da[TN_MAX_RANK], db[TN_MAX_RANK], full[TN_MAX_RANK], one = tn_dim_const(g, 1);
    da[batch.n] = da[batch.n + 1] = db[batch.n] = db[batch.n + 1] = one;
    for (size_t k = 0; k < batch.n; k++) {
        da[k] = label_dim(x, a, batch.c[k]);
        db[k] = label_dim(x, b, batch.c[k]);
        full[k] = tn_oi_broadcast_dim(x, da[k], db[k]);
    }
    for (size_t k = 0; k < only_a.n; k++) {
        full[batch.n + k] = label_dim(x, a, only_a.c[k]);
        da[batch.n] = tn_dim_mul(g, da[batch.n], full[batch.n + k]);
    }
    for (size_t k = 0; k < only_b.n; k++) {
        full[batch.n + only_a.n + k] = label_dim(x, b, only_b.c[k]);
        db[batch.n + 1] = tn_dim_mul(g, db[batch.n + 1], full[batch.n + only_a.n + k]);
    }
    for (size_t k = 0; k < inner.n; k++) {
        da[batch.n + 1] = tn_dim_mul(g, da[batch.n + 1], label_dim(x, a, inner.c[k]));
        db[batch.n] = tn_dim_mul(g, db[batch.n], label_dim(x, b, inner.c[k]));
    }
    memcpy(order, batch.c, batch.n);
    memcpy(order + batch.n, only_a.c, only_a.n);
    memcpy(order + batch.n + only_a.n, inner.c, inner.n);
    tn_val va = tn_build_reshape_to(g, arrange(x, a, batch.n + only_a.n + inner.n, order), batch.n + 2, da);
    memcpy(order + batch.n, inner.c, inner.n);
    memcpy(order + batch.n + inner.n, only_b.c, only_b.n);
    tn_val vb = tn_build_reshape_to(g, arrange(x, b, batch.n + inner.n + only_b.n, order), batch.n + 2, db);
    out->v = tn_build_reshape_to(g, tn_build_matmul(g, va, vb, (tn_attrs_matmul){0}), all.n, full);
    return true;
}

/* Without "->": the ellipsis, then the letters that occur once, sorted. */
static void implicit_output(const char *eq, size_t dots, term *out) {
    size_t count[128] = {0};
    out->n = 0;
    for (size_t k = 0; k < dots; k++) out->label[out->n++] = (char)(dots - k);
    for (; *eq; eq++)
        if (is_letter(*eq)) count[(unsigned char)*eq]++;
    for (char c = 'A'; c <= 'z'; c++)
        if (count[(unsigned char)c] == 1 && out->n < TN_MAX_RANK) out->label[out->n++] = c;
}

enum { MAX_TERMS = 16 };

void tn_oi_op_einsum(tn_oi *x) {
    const char *eq = tn_oi_str(x, "equation", ""), *s = eq;
    size_t n = tn_oi_input_count(x), dots = 0;
    term t[MAX_TERMS], out = {0};
    if (!n || n > MAX_TERMS) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "", "%zu operands", n);
        return;
    }
    for (size_t k = 0; k < n && s; k++) {
        t[k].v = tn_oi_need(x, k);
        if (tn_oi_failed(x)) return;
        s = read_term(x, s, tn_val_rank(x->g, t[k].v), &dots, &t[k]);
        if (s && k + 1 < n) s = *s == ',' ? s + 1 : NULL;
    }
    if (s && s[0] == '-' && s[1] == '>')
        s = read_term(x, s + 2, SIZE_MAX, &dots, &out);
    else if (s && !*s)
        implicit_output(eq, dots, &out);
    else
        s = NULL;
    if (!s || *s) {
        tn_oi_fail(x, TN_E_FORMAT, "", "the equation '%.100s' does not fit its operands", eq);
        return;
    }
    for (size_t k = 0; k < n; k++) diagonals(x, &t[k]);
    term acc = t[0];
    for (size_t k = 1; k < n && !tn_oi_failed(x); k++) {
        label_set wanted = {0};
        for (char c = 1; c < 127; c++) { /* every label of the output and of the operands still to come */
            bool later = has_label(&out, c);
            for (size_t j = k + 1; j < n; j++) later = later || has_label(&t[j], c);
            bool here = has_label(&acc, c) || has_label(&t[k], c);
            if (later && here) add_label(&wanted, c);
        }
        term next;
        if (!contract(x, &acc, &t[k], &wanted, &next)) return;
        acc = next;
    }
    for (size_t k = acc.n; k-- > 0;)
        if (!has_label(&out, acc.label[k])) sum_axis(x, &acc, k);
    for (size_t k = 0; k < out.n; k++)
        if (!has_label(&acc, out.label[k])) {
            tn_oi_fail(x, TN_E_FORMAT, "", "the equation '%.100s' has an output label that no operand has", eq);
            return;
        }
    if (acc.n != out.n) tn_oi_fail(x, TN_E_FORMAT, "", "the equation '%.100s' repeats an output label", eq);
    if (!tn_oi_failed(x)) tn_oi_out(x, 0, arrange(x, &acc, out.n, out.label));
}

/* Halves are eliminated in f32. */
void tn_oi_op_det(tn_oi *x) {
    const tn_val v = tn_oi_need(x, 0);
    const tn_dtype t = tn_val_dtype(x->g, v);
    if (tn_oi_failed(x)) return;
    tn_oi_out(x, 0, tn_build_cast_to(x->g, tn_build_det(x->g, tn_build_cast_to(x->g, v, t == TN_F64 ? t : TN_F32)), t));
}
