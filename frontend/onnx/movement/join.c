/* join.c: concat of many tensors whose lengths data makes: detectors join what each of 90 classes keeps.
 *
 * Every kernel that reads the whole would take every length.  So few are joined at a time, and their sum gets a name of its own:
 * a `size` that one kernel counts.  The same lengths have the same name, so that boxes and scores stay alike. */
#include "frontend/onnx/import.h"

enum { AT_ONCE = 4 };

struct tn_oi_named {
    struct tn_oi_named *next;
    tn_dim sum, name;
};

static tn_dim name_of(tn_oi *x, tn_dim sum) {
    for (const struct tn_oi_named *n = x->named; n; n = n->next)
        if (n->sum.i == sum.i) return n->name;
    struct tn_oi_named *n = tn_oi_alloc(x, sizeof *n);
    if (!n) return (tn_dim){0};
    *n = (struct tn_oi_named){x->named, sum, tn_dim_fresh(x->g, "joined")};
    x->named = n;
    tn_build_size(x->g, tn_oi_size_value(x, sum), (tn_attrs_size){.count = n->name, .most = sum, .fits = true});
    return n->name;
}

/* v as long as a name says. */
static tn_val renamed(tn_oi *x, tn_val v, size_t axis) {
    const tn_dim have = tn_val_dim(x->g, v, axis);
    if (tn_oi_failed(x) || !tn_dim_is_made(x->g, have) || tn_dim_kind_of(x->g, have) == TN_DIM_SYM) return v;
    const tn_dim length = name_of(x, have);
    const tn_val at = tn_build_iota(x->g, TN_I64, 1, &length, 0);
    return tn_build_gather(x->g, v, at, (tn_attrs_axis){.axis = (int64_t)axis});
}

static bool many_are_made(tn_oi *x, size_t n, const tn_val *v, size_t axis) {
    size_t made = 0;
    for (size_t k = 0; k < n; k++)
        made += axis < tn_val_rank(x->g, v[k]) && tn_dim_is_made(x->g, tn_val_dim(x->g, v[k], axis));
    return made > AT_ONCE;
}

tn_val tn_oi_join(tn_oi *x, size_t n, tn_val *v, size_t axis) {
    while (!tn_oi_failed(x) && !x->in_region && many_are_made(x, n, v, axis)) {
        size_t groups = 0;
        for (size_t k = 0; k < n; k += AT_ONCE, groups++) {
            const size_t some = n - k < AT_ONCE ? n - k : AT_ONCE;
            v[groups] = renamed(x, tn_build_concat(x->g, some, v + k, (int64_t)axis), axis);
        }
        n = groups;
    }
    return tn_build_concat(x->g, n, v, (int64_t)axis);
}
