/* overwrite.c: whether a kernel may write a result over an operand. */
#include "passes/memory/views.h"
#include "passes/util.h"

/* True if every use of v inside the region reads it at the index that is being written: elementwise ops of one shape,
 * and scatters into it, whose kernels read an element where they write it (templates/places/scatter.cu, scatter_row.cu, put_rows.cu), up to the yield.  `budget` bounds the walk over shared subexpressions. */
static bool read_in_step(const tn_graph *g, tn_val v, tn_val shape, int *budget) {
    for (tn_use u = tn_val_first_use(g, v); u.i; u = tn_use_next(g, u)) {
        tn_node n = tn_use_node(g, u);
        if (--*budget < 0) return false;
        if (tn_node_op(g, n) == TN_OP_YIELD) continue;
        const tn_op op = tn_node_op(g, n);
        const bool scatters =
            (op == TN_OP_SCATTER_ND || op == TN_OP_SCATTER_ELEMENTS || op == TN_OP_PUT_ROWS) && tn_use_slot(g, u) == 0;
        if ((!scatters && !tn_op_is(op, TN_T_ELEMENTWISE)) || !tn_same_dims(g, tn_node_result(g, n, 0), shape))
            return false;
        if (!read_in_step(g, tn_node_result(g, n, 0), shape, budget)) return false;
    }
    return true;
}

bool tn_may_overwrite(const tn_graph *g, tn_node kernel, size_t read, tn_val r) {
    enum { USES = 256 };
    const tn_val v = tn_node_input(g, kernel, read);
    int budget = USES;
    if (*TN_ATTRS_OF(g, kernel, kernel)->plugin) return false; /* who knows in which order it reads */
    if (read + TN_ATTRS_OF(g, kernel, kernel)->sizes.n >= tn_node_input_count(g, kernel))
        return false; /* blocks ask for sizes as they start */
    return tn_val_dtype(g, v) == tn_val_dtype(g, r) && tn_same_dims(g, v, r) &&
           read_in_step(g, tn_region_arg(g, tn_node_subregion(g, kernel, 0), read), r, &budget);
}
