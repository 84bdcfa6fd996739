/* upgrade.c: the layers of a net in today's form, and of them those that a deployed net has.
 *
 * Nets were written in three forms: `layer`, `layers` with types as enumerators (V1), and `layers` that hold a `layer`
 * with all parameters side by side (V0). */
#include "frontend/caffe/caffe.h"

#include <string.h>

/* ---- rules for phases -------------------------------------------------------------------------------------------- */

static bool has_stage(const TnCaffe__NetState *s, const char *stage) {
    for (size_t k = 0; s && k < s->n_stage; k++)
        if (!strcmp(s->stage[k], stage)) return true;
    return false;
}

static bool rule_holds(const tn_ci *x, const TnCaffe__NetStateRule *r) {
    const TnCaffe__NetState *s = x->net->state;
    const int32_t level = s ? s->level : 0;
    bool holds = !r->has_phase || r->phase == TN_CAFFE__PHASE__TEST;
    holds = holds && (!r->has_min_level || level >= r->min_level) && (!r->has_max_level || level <= r->max_level);
    for (size_t k = 0; k < r->n_stage; k++) holds = holds && has_stage(s, r->stage[k]);
    for (size_t k = 0; k < r->n_not_stage; k++) holds = holds && !has_stage(s, r->not_stage[k]);
    return holds;
}

static bool any_holds(const tn_ci *x, size_t n, TnCaffe__NetStateRule **rules) {
    for (size_t k = 0; k < n; k++)
        if (rule_holds(x, rules[k])) return true;
    return false;
}

static bool is_deployed(tn_ci *x, const TnCaffe__LayerParameter *l) {
    if (l->n_include && l->n_exclude) {
        tn_graph_fail(x->g, TN_E_FORMAT, (tn_node){0}, "", "layer '%.100s' has rules to include and to exclude it",
                      l->name ? l->name : "");
        return false;
    }
    return l->n_include ? any_holds(x, l->n_include, l->include) : !any_holds(x, l->n_exclude, l->exclude);
}

/* ---- V1 ---------------------------------------------------------------------------------------------------------- */

/* clang-format off */
#define V1_PARAMS(P)                                                                                                   \
    P(concat_param) P(convolution_param) P(dropout_param) P(inner_product_param) P(lrn_param) P(pooling_param)         \
    P(power_param) P(memory_data_param) P(argmax_param) P(eltwise_param) P(threshold_param) P(dummy_data_param)        \
    P(relu_param) P(slice_param) P(mvn_param) P(tanh_param) P(sigmoid_param) P(softmax_param) P(exp_param)
/* clang-format on */

static void from_v1(const TnCaffe__V1LayerParameter *v, TnCaffe__LayerParameter *l) {
    const tn_ci_row *row = tn_ci_find_v1(v->has_type ? (int)v->type : 0);
    const ProtobufCEnumValue *e = protobuf_c_enum_descriptor_get_value(
        &tn_caffe__v1_layer_parameter__layer_type__descriptor, v->has_type ? (int)v->type : 0);
    l->name = v->name;
    if (row) l->type = (char *)(uintptr_t)row->type;
    if (!row && v->has_type && e) l->type = (char *)(uintptr_t)e->name;
#define P(param) l->param = v->param;
    V1_PARAMS(P)
#undef P
}

/* ---- V0 ---------------------------------------------------------------------------------------------------------- */

/* All parameters that a layer could have. */
typedef struct v0_params {
    TnCaffe__ConvolutionParameter conv;
    TnCaffe__InnerProductParameter product;
    TnCaffe__PoolingParameter pool;
    TnCaffe__LRNParameter lrn;
    TnCaffe__ConcatParameter concat;
    uint32_t pad, kernel, stride;
} v0_params;

static bool from_v0(tn_ci *x, const TnCaffe__V0LayerParameter *v, TnCaffe__LayerParameter *l) {
    v0_params *p = tn_ci_alloc(x, sizeof *p);
    const tn_ci_row *row = v->type ? tn_ci_find_v0(v->type) : NULL;
    if (!p) return false;
    l->name = v->name;
    l->type = row ? (char *)(uintptr_t)row->type : v->type;
    if (v->n_unknown) { /* else those around it */
        l->n_unknown = v->n_unknown;
        l->unknown = v->unknown;
    }
    p->pad = v->pad;
    p->kernel = v->kernelsize;
    p->stride = v->stride;
    tn_caffe__convolution_parameter__init(&p->conv);
    p->conv.has_num_output = v->has_num_output;
    p->conv.num_output = v->num_output;
    p->conv.bias_term = v->biasterm;
    p->conv.group = v->group;
    p->conv.n_pad = p->conv.n_stride = 1;
    p->conv.n_kernel_size = v->has_kernelsize ? 1 : 0;
    p->conv.pad = &p->pad;
    p->conv.kernel_size = &p->kernel;
    p->conv.stride = &p->stride;
    l->convolution_param = &p->conv;
    tn_caffe__inner_product_parameter__init(&p->product);
    p->product.has_num_output = v->has_num_output;
    p->product.num_output = v->num_output;
    p->product.bias_term = v->biasterm;
    l->inner_product_param = &p->product;
    tn_caffe__pooling_parameter__init(&p->pool);
    p->pool.pool = v->pool;
    p->pool.has_kernel_size = v->has_kernelsize;
    p->pool.kernel_size = v->kernelsize;
    p->pool.stride = v->stride;
    p->pool.pad = v->pad;
    l->pooling_param = &p->pool;
    tn_caffe__lrnparameter__init(&p->lrn);
    p->lrn.local_size = v->local_size;
    p->lrn.alpha = v->alpha;
    p->lrn.beta = v->beta;
    p->lrn.k = v->k;
    l->lrn_param = &p->lrn;
    tn_caffe__concat_parameter__init(&p->concat);
    p->concat.has_concat_dim = true;
    p->concat.concat_dim = v->concat_dim;
    l->concat_param = &p->concat;
    return true;
}

/* ---- all --------------------------------------------------------------------------------------------------------- */

static const TnCaffe__LayerParameter *upgraded(tn_ci *x, const TnCaffe__V1LayerParameter *v) {
    TnCaffe__LayerParameter *l = tn_ci_alloc(x, sizeof *l);
    if (!l) return NULL;
    tn_caffe__layer_parameter__init(l);
    l->n_bottom = v->n_bottom;
    l->bottom = v->bottom;
    l->n_top = v->n_top;
    l->top = v->top;
    l->n_include = v->n_include;
    l->include = v->include;
    l->n_exclude = v->n_exclude;
    l->exclude = v->exclude;
    l->n_unknown = v->n_unknown;
    l->unknown = v->unknown;
    if (!v->layer)
        from_v1(v, l);
    else if (!from_v0(x, v->layer, l))
        return NULL;
    return l;
}

void tn_ci_collect_layers(tn_ci *x) {
    const TnCaffe__NetParameter *n = x->net;
    const size_t all = n->n_layer + n->n_layers;
    if (n->n_layer && n->n_layers) {
        tn_graph_fail(x->g, TN_E_FORMAT, (tn_node){0}, "write all layers in one form",
                      "the net has `layer` and, of an older form, `layers`");
        return;
    }
    x->layers = tn_ci_alloc(x, (all + 1) * sizeof *x->layers);
    for (size_t k = 0; k < all && !tn_ci_failed(x); k++) {
        const TnCaffe__LayerParameter *l = k < n->n_layer ? n->layer[k] : upgraded(x, n->layers[k - n->n_layer]);
        if (l && is_deployed(x, l)) x->layers[x->n_layers++] = l;
    }
}
