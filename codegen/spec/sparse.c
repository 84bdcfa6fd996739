/* sparse.c: weights of products of which at most two of each four elements along k are not zero (2:4). */
#include "codegen/spec/contraction.h"
#include "codegen/spec/window.h"
#include "runtime/plan/two_of_four.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct weight {
    uint32_t in;
    tn_packing how; /* where its elements are: rows of k */
    const char *data;
} weight;

/* Operand B of a product, or a convolution's filters, as rows of what is summed over. */
static tn_val matrix_of(const tn_spec *s, tn_coord *batch, tn_coord *row, tn_coord *col) {
    tn_contraction c;
    tn_window w;
    if (tn_contraction_of(s, &c)) {
        *batch = c.b_batch, *row = c.b_n, *col = c.b_k;
        return c.b;
    }
    if (!tn_window_of(s, &w)) return (tn_val){0};
    *batch = (tn_coord){"b", 0, 0, 0}, *row = w.f_o, *col = w.f_k;
    return w.filter;
}

/* Where it is a constant of 16-bit floats. */
static bool weight_of(const tn_spec *s, weight *w) {
    tn_coord batch, row, col;
    const tn_val b = matrix_of(s, &batch, &row, &col);
    const tn_dtype t = b.i ? tn_val_dtype(s->g, b) : TN_DTYPE_NONE;
    if ((t != TN_F16 && t != TN_BF16) || !tn_spec_packs(s, b, &batch, &row, &col, &w->in, &w->how)) return false;
    w->data = tn_const_data(s->g, tn_node_input(s->g, s->kernel, w->in));
    return w->data != NULL;
}

static bool is_zero(const char *x, uint64_t element) {
    uint16_t bits;
    memcpy(&bits, x + 2 * element, sizeof bits); /* of a file, which may have it anywhere */
    return tn_is_zero16(bits);
}

/* Up to four elements, `step` apart, of n columns side by side: in how many more than two are not zero. */
static uint64_t crowded_columns(const char *x, uint64_t step, uint64_t n, uint64_t elements) {
    uint64_t found = 0;
    for (uint64_t i = 0; elements > 2 && i < n; i++) {
        unsigned set = 0;
        for (uint64_t k = 0; k < elements; k++) set += !is_zero(x, k * step + i);
        found += set > 2;
    }
    return found;
}

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* Crowded groups of lines [0, end) of all matrices: rows of k; `turned`: fours of columns. */
static uint64_t crowded(const weight *w, uint64_t end) {
    const uint64_t rows = w->how.rows, cols = w->how.cols;
    const uint64_t per_matrix = w->how.turned ? (cols + 3) / 4 : rows;
    uint64_t found = 0;
    for (uint64_t line = 0; line < end; line++) {
        const char *matrix = w->data + 2 * (line / per_matrix * rows * cols);
        const uint64_t at = line % per_matrix;
        if (w->how.turned)
            found += crowded_columns(matrix + 2 * (at * 4 * rows), rows, rows, least(4, cols - at * 4));
        else
            for (uint64_t c = 0; c < cols; c += 4)
                found += crowded_columns(matrix + 2 * (at * cols + c), 1, 1, least(4, cols - c));
    }
    return found;
}

static uint64_t lines_of(const weight *w) {
    return w->how.batch * (w->how.turned ? (w->how.cols + 3) / 4 : w->how.rows);
}

/* A weight that nobody pruned is told by its first lines: of each four random elements all are there. */
void tn_find_sparsity(tn_spec *s) {
    enum { FIRST = 8, MANY = 4 /* a crowded group among as many */ };
    weight w;
    if (!weight_of(s, &w) || w.how.cols < 4) return; /* fewer need no pruning */
    const uint64_t lines = lines_of(&w), first = least(FIRST, lines);
    const uint64_t per_line = w.how.turned ? w.how.rows : (w.how.cols + 3) / 4;
    if (crowded(&w, first) > first * per_line / MANY) return;
    const char *name = TN_ATTRS_OF(s->g, tn_val_def(s->g, tn_node_input(s->g, s->kernel, w.in)), const)->name;
    s->sparsity = (tn_sparsity){w.in, name ? name : "", lines * per_line, crowded(&w, lines)};
}

/* "1,048,576" */
static void with_commas(uint64_t n, char buf[32]) {
    char digits[24];
    const int len = snprintf(digits, sizeof digits, "%" PRIu64, n);
    for (int k = 0; k < len; k++) {
        *buf++ = digits[k];
        if (k + 1 < len && (len - 1 - k) % 3 == 0) *buf++ = ',';
    }
    *buf = 0;
}

void tn_sparsity_text(const char *name, uint64_t groups, uint64_t crowded, char *buf, size_t size) {
    char some[32], all[32];
    const int n = snprintf(buf, size, "weight '%s' is %s2:4 along k", name, crowded ? "not " : "");
    if (!crowded || n < 0 || (size_t)n >= size) return;
    with_commas(crowded, some), with_commas(groups, all);
    snprintf(buf + n, size - (size_t)n, ": %s of %s groups of four have more than two elements that are not zero", some,
             all);
}
