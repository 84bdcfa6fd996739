/* recur.c: recurrent layers.
 *
 *     y [T + 1, D, B, H] = recur x [T, B, D*G*H], r [D, G*H, H], h [D, B, H], c, bias, peepholes, lengths
 *
 * x is the input's share of G gates of D directions, all biases that are merely added included; r the recurrent weight; h
 * (and of an lstm c) the state before the first step.  Row t of y is the output of step t, 0 past a sequence's length;
 * row T is the last h; an lstm has one row more, the last c.  bias [D, H]: of gru_linear's last gate; peepholes
 * [D, 3*H]: of an lstm's i, o and f.  h is rounded to its dtype after each step, c and sums are not.
 *
 * Gates (ONNX's order): gru z r n; lstm i o f c. */
#include <string.h>

#include "ir/type/infer.h"

static const tn_cell cells[] = {
    {"rnn_tanh", 1, false, false, false},  {"rnn_relu", 1, false, false, false}, {"gru", 3, true, false, false},
    {"gru_linear", 3, false, false, true}, {"lstm", 4, false, true, false},
};

static bool is(const char *s, const char *name) {
    return s && !strcmp(s, name);
}

const tn_cell *tn_cell_find(const char *name) {
    for (size_t k = 0; name && k < sizeof cells / sizeof *cells; k++)
        if (!strcmp(cells[k].name, name)) return &cells[k];
    return NULL;
}

static tn_dim times(tn_infer_ctx *c, tn_dim d, int64_t n) {
    return tn_dim_mul(c->g, d, tn_dim_const(c->g, n));
}

/* Operand k, if there is one, has such axes. */
static tn_status expect(tn_infer_ctx *c, size_t k, size_t rank, const tn_size *sizes) {
    if (!tn_infer_has(c, k)) return TN_OK;
    if (k < 6) TN_TRY(tn_infer_same_dtype(c, 0, k));
    if (tn_infer_rank(c, k) != rank)
        return tn_infer_error(c, "%s has rank %zu; it must be %zu", TN_OPERAND_TEXT(c, k), tn_infer_rank(c, k), rank);
    for (size_t i = 0; i < rank; i++)
        if (sizes[i].d.i) TN_TRY(tn_infer_need(c, TN_REL_EQUAL, tn_size_axis(c, k, i), sizes[i]));
    return TN_OK;
}

tn_status tn_rule_recur(tn_infer_ctx *c) {
    const tn_attrs_recur *a = c->attrs;
    const tn_cell *cell = tn_cell_find(a->cell);
    const bool both = is(a->direction, "both");
    TN_TRY(tn_infer_require(c, 3));
    TN_TRY(tn_infer_float(c, 0));
    TN_TRY(tn_infer_computes(c, 0));
    if (!cell) return tn_infer_error(c, "there is no cell '%s'", a->cell ? a->cell : "");
    if (!both && !is(a->direction, "forward") && !is(a->direction, "reverse"))
        return tn_infer_error(c, "there is no direction '%s'", a->direction ? a->direction : "");
    if (!(a->clip >= 0)) return tn_infer_error(c, "clip is negative");
    if (tn_infer_has(c, 3) != cell->keeps_cell) return tn_infer_error(c, "only an lstm has a cell state, and must");
    if (tn_infer_has(c, 4) && !cell->biases_last) return tn_infer_error(c, "only gru_linear has a bias of its own");
    if ((tn_infer_has(c, 5) || a->couple) && !cell->keeps_cell)
        return tn_infer_error(c, "only an lstm has peepholes or couples its gates");
    if (tn_infer_rank(c, 0) != 3 || tn_infer_rank(c, 1) != 3)
        return tn_infer_error(c, "the gates' input and the recurrent weight must be 3-D");
    const tn_dim h = tn_infer_dim(c, 1, 2), batch = tn_infer_dim(c, 0, 1), n = tn_dim_const(c->g, both ? 2 : 1);
    const tn_size any = tn_size_text((tn_dim){0}, ""), directions = tn_size_text(n, "the number of directions"),
                  hidden = tn_size_axis(c, 1, 2), sequences = tn_size_axis(c, 0, 1),
                  gates = tn_size_text(times(c, h, cell->gates), "the gates");
    TN_TRY(expect(c, 1, 3, (tn_size[]){directions, gates, any}));
    TN_TRY(
        expect(c, 0, 3, (tn_size[]){any, any, tn_size_text(times(c, h, (both ? 2 : 1) * cell->gates), "all gates")}));
    for (size_t k = 2; k < 4; k++) TN_TRY(expect(c, k, 3, (tn_size[]){directions, sequences, hidden}));
    TN_TRY(expect(c, 4, 2, (tn_size[]){directions, hidden}));
    TN_TRY(expect(c, 5, 2, (tn_size[]){directions, tn_size_text(times(c, h, 3), "three gates")}));
    TN_TRY(expect(c, 6, 1, &sequences));
    if (tn_infer_has(c, 6)) TN_TRY(tn_infer_int(c, 6));
    const tn_dim rows = tn_dim_add(c->g, tn_infer_dim(c, 0, 0), tn_dim_const(c->g, cell->keeps_cell ? 2 : 1));
    return tn_infer_put(c, tn_infer_dtype(c, 0), 4, (const tn_dim[]){rows, n, batch, h});
}
