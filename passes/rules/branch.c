/* branch.c: parallel linear branches that are summed become one convolution (Ding et al. 2021, RepVGG,
 * section 3.3): kernels of different sizes over one input with aligned centres, and the identity as a kernel with a
 * single one. */
#include <string.h>
#include "passes/rules/filter.h"
#include "passes/util.h"
#include "passes/rule.h"

enum { SPATIAL = 3 };

/* Where the small kernel lies inside the large one, per spatial axis. */
typedef struct overlay {
    size_t n;
    int64_t big[SPATIAL], small[SPATIAL], at[SPATIAL];
} overlay;

static bool nhwc(const tn_filter *f) {
    return f->second_last;
}

static void kernel_of(const tn_filter *f, int64_t *k) {
    size_t n = tn_val_rank(f->g, f->w) - 2;
    for (size_t i = 0; i < n; i++) tn_static_dim(f->g, f->w, (nhwc(f) ? 1 : 2) + i, &k[i]);
}

/* Does small (0: the identity, a kernel of ones' size without padding) fit into big with the same windows? */
static bool overlays(const tn_filter *big, const tn_filter *small, overlay *o) {
    const tn_attrs_conv *a = tn_node_attrs(big->g, big->node), *b = small ? tn_node_attrs(big->g, small->node) : NULL;
    o->n = tn_val_rank(big->g, big->w) - 2;
    kernel_of(big, o->big);
    for (size_t i = 0; i < o->n; i++) o->small[i] = 1;
    if (small) kernel_of(small, o->small);
    for (size_t i = 0; i < o->n; i++) {
        int64_t stride = tn_ints_at(a->strides, i, 1), other = b ? tn_ints_at(b->strides, i, 1) : 1;
        int64_t dilation = tn_ints_at(a->dilations, i, 1), od = b ? tn_ints_at(b->dilations, i, 1) : 1;
        if (stride != other || dilation != 1 || (od != 1 && o->small[i] != 1)) return false;
        o->at[i] = tn_ints_at(a->pads, i, 0) - (b ? tn_ints_at(b->pads, i, 0) : 0);
        if (o->at[i] < 0 || o->at[i] + o->small[i] > o->big[i]) return false;
    }
    return true;
}

/* The element of the big kernel over which element e of the small one lies. */
static uint64_t big_index(const tn_filter *big, const overlay *o, int64_t first, int64_t second, const int64_t *pos) {
    int64_t s = 0;
    for (size_t i = 0; i < o->n; i++) s = s * o->big[i] + o->at[i] + pos[i];
    int64_t row = first * big->second * big->spatial;
    return (uint64_t)(row + (nhwc(big) ? s * big->second + second : second * big->spatial + s));
}

static double *widened(const tn_filter *f) {
    size_t n = (size_t)(f->first * f->second * f->spatial);
    double *w = tn_alloc(tn_graph_env(f->g), n * sizeof *w);
    for (size_t e = 0; w && e < n; e++) w[e] = tn_const_get(f->g, f->w, e);
    if (!w) tn_graph_fail(f->g, TN_E_MEMORY, f->node, "", "out of memory while merging branches");
    return w;
}

static tn_val emit_merged(const tn_filter *big, double *w, const double *bias) {
    tn_graph *g = big->g;
    int64_t dims[TN_MAX_RANK];
    size_t rank = tn_val_rank(g, big->w), n = (size_t)(big->first * big->second * big->spatial);
    for (size_t k = 0; k < rank; k++) tn_static_dim(g, big->w, k, &dims[k]);
    tn_val c = tn_emit_const_f64(g, tn_val_dtype(g, big->w), rank, dims, w, NULL);
    tn_free(tn_graph_env(g), w, n * sizeof *w);
    return tn_filter_emit(big, big->x, c, bias);
}

/* ---- conv + conv ------------------------------------------------------------------------------------------------- */

/* TN_Y and TN_Z are the convolutions; puts the one with the larger kernel first. */
static bool both_filters(const tn_match *m, tn_filter *big, tn_filter *small, overlay *o) {
    if (!tn_filter_of(m->g, tn_val_def(m->g, m->v[TN_Y]), big)) return false;
    if (!tn_filter_of(m->g, tn_val_def(m->g, m->v[TN_Z]), small)) return false;
    if (big->x.i != small->x.i || big->groups != small->groups || nhwc(big) != nhwc(small)) return false;
    if (!tn_same_type(m->g, m->v[TN_Y], m->v[TN_Z]) || big->second != small->second) return false;
    if (big->spatial < small->spatial) {
        tn_filter t = *big;
        *big = *small;
        *small = t;
    }
    return overlays(big, small, o);
}

static const char *aligned(const tn_match *m) {
    tn_val x = tn_node_input(m->g, tn_val_def(m->g, m->v[TN_Y]), 0);
    if (x.i != tn_node_input(m->g, tn_val_def(m->g, m->v[TN_Z]), 0).i) return ""; /* not parallel branches */
    tn_filter big, small;
    overlay o;
    return both_filters(m, &big, &small, &o) ? NULL : "the parallel convolutions differ in stride, groups or centre";
}

static tn_val merge_convs(tn_match *m) {
    tn_filter big, small;
    overlay o;
    both_filters(m, &big, &small, &o);
    double *w = widened(&big), *bias = tn_alloc(tn_graph_env(m->g), (size_t)big.outs * sizeof *bias);
    if (!w || !bias) {
        tn_graph_fail(m->g, TN_E_MEMORY, m->root, "", "out of memory while merging branches");
        tn_free(tn_graph_env(m->g), w, (size_t)(big.first * big.second * big.spatial) * sizeof *w);
        tn_free(tn_graph_env(m->g), bias, (size_t)big.outs * sizeof *bias);
        return (tn_val){0};
    }
    uint64_t n = (uint64_t)(small.first * small.second * small.spatial);
    for (uint64_t e = 0; e < n; e++) {
        int64_t row = small.second * small.spatial, rest = (int64_t)e % row, pos[SPATIAL] = {0};
        int64_t second = nhwc(&small) ? rest % small.second : rest / small.spatial;
        int64_t s = nhwc(&small) ? rest / small.second : rest % small.spatial;
        for (size_t i = o.n; i-- > 0; s /= o.small[i]) pos[i] = s % o.small[i];
        w[big_index(&big, &o, (int64_t)e / row, second, pos)] += tn_const_get(m->g, small.w, e);
    }
    for (int64_t k = 0; k < big.outs; k++) bias[k] = tn_filter_bias(&big, k) + tn_filter_bias(&small, k);
    tn_val y = emit_merged(&big, w, big.b.i || small.b.i ? bias : NULL);
    tn_free(tn_graph_env(m->g), bias, (size_t)big.outs * sizeof *bias);
    if (!y.i) m->why = "a weight would not be finite";
    return y;
}

/* ---- conv + identity --------------------------------------------------------------------------------------------- */

static bool identity_filter(const tn_match *m, tn_filter *f, overlay *o) {
    return tn_filter_of(m->g, tn_val_def(m->g, m->v[TN_Y]), f) && f->x.i == m->v[TN_X].i &&
           tn_same_type(m->g, m->v[TN_X], m->v[TN_Y]) && f->first == f->second * f->groups && overlays(f, NULL, o);
}

static const char *identity_fits(const tn_match *m) {
    if (tn_node_input(m->g, tn_val_def(m->g, m->v[TN_Y]), 0).i != m->v[TN_X].i) return ""; /* not parallel branches */
    tn_filter f;
    overlay o;
    if (!identity_filter(m, &f, &o)) return "the identity is no kernel of this convolution";
    tn_val c = m->v[TN_C];
    return !c.i || tn_per_channel(m->g, c, tn_val_rank(m->g, m->v[TN_X]), f.axis, f.outs)
               ? NULL
               : "the constant is not one number a channel";
}

static tn_val add_identity(tn_match *m) {
    tn_filter f;
    overlay o;
    identity_filter(m, &f, &o);
    double *w = widened(&f);
    if (!w) return (tn_val){0};
    for (int64_t k = 0; k < f.outs; k++) {
        int64_t pos[SPATIAL] = {0};
        double one = m->v[TN_C].i ? tn_channel_num(m->g, m->v[TN_C], k) : 1;
        w[big_index(&f, &o, k, k % f.second, pos)] += one;
    }
    tn_val y = emit_merged(&f, w, NULL);
    if (!y.i) m->why = "a weight would not be finite";
    return y;
}

/* ---- a shift on another branch moves to the convolution ---------------------------------------------------------- */

static const char *shift_is_bias(const tn_match *m) {
    tn_filter f;
    if (!tn_filter_of(m->g, tn_val_def(m->g, m->v[TN_Y]), &f)) return "";
    return tn_per_channel(m->g, m->v[TN_C], tn_val_rank(m->g, m->v[TN_Y]), f.axis, f.outs) ? NULL : "";
}

#define CONV_Y LET_NODE_ONCE(Y, CONV)

/* clang-format off */
static const tn_rule branch_fold[] = {
    /*   name               match                                       becomes                              dtypes  when           exactness */
    RULE(conv_plus_conv,    OP(ADD, CONV_Y, LET_NODE_ONCE(Z, CONV)),    FN(merge_convs),                     FLOATS, aligned,       FINITE(8)),
    RULE(conv_plus_scaled,  OP(ADD, CONV_Y, ONCE(MUL, X, CONSTANT(C))), FN(add_identity),                    FLOATS, identity_fits, FINITE(8)),
    RULE(conv_plus_shifted, OP(ADD, CONV_Y, ONCE(ADD, Z, CONSTANT(C))), OP(ADD, OP(ADD, VAR(Y), VAR(C)), Z), FLOATS, shift_is_bias, FINITE(8)),
    RULE(conv_plus_input,   OP(ADD, CONV_Y, X),                         FN(add_identity),                    FLOATS, identity_fits, FINITE(8)),
};
/* clang-format on */

const tn_rules tn_rules_branch_fold = TN_RULES(branch_fold);
