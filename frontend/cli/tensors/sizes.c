/* sizes.c: the sizes of a model's symbolic inputs, from --shape and from the shapes of the data.
 *
 * What one input tells about a symbol holds for all inputs.  A size that is given is used or refused; one that nobody
 * gives is an error, unless the caller says what to take. */
#include "frontend/cli/cli.h"
#include "tenon/internal/list.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SYMBOLS = 256, TEXT = 400 };

struct cli_sizes {
    cli *c;
    tn_graph *g; /* holds the inputs' dims as expressions */
    const tn_tensor_desc **in;
    size_t n;
    int64_t (*given)[TN_MAX_RANK]; /* by input; -1: not */
    tn_binding known[MAX_SYMBOLS];
    size_t n_known;
};

cli_sizes *cli_sizes_new(cli *c, const tn_tensor_desc *const *in, size_t n) {
    cli_sizes *z = tn_alloc(&c->env, sizeof *z);
    if (!z) return NULL;
    *z = (cli_sizes){.c = c, .n = n, .g = tn_graph_new(&c->env)};
    z->in = tn_alloc(&c->env, (n + 1) * sizeof *z->in);
    z->given = tn_alloc(&c->env, (n + 1) * sizeof *z->given);
    if (z->g && z->in && z->given) {
        if (n) memcpy(z->in, in, n * sizeof *z->in);
        memset(z->given, -1, n * sizeof *z->given);
        return z;
    }
    cli_sizes_free(z);
    return NULL;
}

void cli_sizes_free(cli_sizes *z) {
    if (!z) return;
    const tn_env *env = &z->c->env;
    tn_graph_free(z->g);
    tn_free(env, z->in, (z->n + 1) * sizeof *z->in);
    tn_free(env, z->given, (z->n + 1) * sizeof *z->given);
    tn_free(env, z, sizeof *z);
}

/* ---- expressions ------------------------------------------------------------------------------------------------- */

static tn_dim dim_of(cli_sizes *z, size_t input, size_t axis) {
    const tn_tensor_desc *d = z->in[input];
    if (d->dims[axis] >= 0) return tn_dim_const(z->g, d->dims[axis]);
    const char *end;
    tn_dim x = tn_dim_parse(z->g, d->dim_text[axis], &end);
    return x.i && !*end ? x : tn_dim_sym(z->g, d->dim_text[axis]);
}

static bool value_of(const cli_sizes *z, tn_dim d, int64_t *v) {
    return tn_dim_eval(z->g, d, z->known, z->n_known, v);
}

/* A symbol of d whose value is not known; none if there is none. */
static tn_dim open_symbol(const cli_sizes *z, tn_dim d) {
    int64_t v;
    if (value_of(z, d, &v) || tn_dim_kind_of(z->g, d) <= TN_DIM_CONST) return (tn_dim){0};
    if (tn_dim_kind_of(z->g, d) == TN_DIM_SYM) return d;
    tn_dim a = open_symbol(z, tn_dim_lhs(z->g, d));
    return a.i ? a : open_symbol(z, tn_dim_rhs(z->g, d));
}

/* d = v, for d's one open symbol, where d grows with it by the same amount each time. */
static bool solve(cli_sizes *z, tn_dim d, int64_t v) {
    tn_dim sym = open_symbol(z, d);
    int64_t f1, f2, f;
    if (!sym.i || z->n_known == MAX_SYMBOLS) return false;
    tn_binding *b = &z->known[z->n_known++];
    *b = (tn_binding){tn_dim_name(z->g, sym), 1};
    bool ok = value_of(z, d, &f1);
    b->value = 2;
    ok = ok && value_of(z, d, &f2) && f2 != f1;
    if (ok) b->value = 1 + (v - f1) / (f2 - f1);
    ok = ok && value_of(z, d, &f) && f == v;
    if (!ok) z->n_known--; /* several symbols, or no such size: whoever runs the model will say so */
    return ok;
}

static void settle(cli_sizes *z) {
    for (bool again = true; again;) {
        again = false;
        for (size_t k = 0; k < z->n; k++)
            for (size_t j = 0; j < z->in[k]->rank; j++)
                if (z->given[k][j] >= 0) again |= solve(z, dim_of(z, k, j), z->given[k][j]);
    }
}

/* ---- giving ------------------------------------------------------------------------------------------------------ */

/* "x: f32[n,3], y: f32[n]". */
static void inputs_text(const cli_sizes *z, char *buf, size_t size) {
    char item[TEXT];
    tn_list list = tn_list_of(buf, size, z->n);
    for (size_t k = 0; k < z->n; k++) {
        const tn_tensor_desc *d = z->in[k];
        size_t m = (size_t)snprintf(item, sizeof item, "%s: %s[", d->name, tn_dtype_text(d->dtype));
        for (uint32_t j = 0; j < d->rank && m < sizeof item; j++)
            m += (size_t)snprintf(item + m, sizeof item - m, "%s%s", j ? "," : "", d->dim_text[j]);
        if (m < sizeof item) snprintf(item + m, sizeof item - m, "]");
        tn_list_put(&list, item);
    }
}

void cli_sizes_assume(cli_sizes *z, const char *symbol, int64_t value) {
    tn_dim sym = tn_dim_sym(z->g, symbol);
    int64_t v;
    if (!value_of(z, sym, &v) && z->n_known < MAX_SYMBOLS)
        z->known[z->n_known++] = (tn_binding){tn_dim_name(z->g, sym), value};
}

tn_status cli_sizes_give(cli_sizes *z, size_t input, uint32_t rank, const int64_t *dims, const char *from) {
    const tn_tensor_desc *d = z->in[input];
    char inputs[TEXT];
    inputs_text(z, inputs, sizeof inputs);
    if (rank != d->rank)
        return tn_fail(&z->c->env, TN_E_TYPE, from, "", "%u dims for input %s, which has %u: the inputs are %s", rank,
                       d->name, d->rank, inputs);
    for (uint32_t j = 0; j < rank; j++) {
        int64_t v;
        if (dims[j] < 0) continue;
        settle(z);
        if (value_of(z, dim_of(z, input, j), &v) && v != dims[j])
            return tn_fail(&z->c->env, TN_E_TYPE, from, "",
                           "dim %u of input %s is given as %lld, but is %lld: the inputs are %s", j, d->name,
                           (long long)dims[j], (long long)v, inputs);
        z->given[input][j] = dims[j];
    }
    settle(z);
    return TN_OK;
}

tn_status cli_sizes_give_shape(cli_sizes *z, const tn_shape_override *o) {
    char inputs[TEXT];
    if (!cli_is_one_shape(o))
        return tn_fail(&z->c->env, TN_E_ARGUMENT, o->input, "give one size for each dim",
                       "a range of sizes is for compiling, not for one run");
    const bool several = strchr(o->input, '*') != NULL;
    tn_status st = TN_OK;
    size_t fit = 0;
    for (size_t k = 0; st == TN_OK && k < z->n; k++)
        if (several ? !fnmatch(o->input, z->in[k]->name, 0) : !strcmp(z->in[k]->name, o->input)) {
            st = cli_sizes_give(z, k, o->rank, o->dims, o->input);
            fit++;
        }
    if (fit) return st;
    inputs_text(z, inputs, sizeof inputs);
    return tn_fail(&z->c->env, TN_E_ARGUMENT, o->input, "name an input",
                   "a shape is given for something that is no input: the inputs are %s", inputs);
}

tn_status cli_sizes_give_shapes(cli_sizes *z, const compile_setup *s) {
    tn_status st = TN_OK;
    for (size_t k = 0; st == TN_OK && k < s->import.n_shapes; k++) {
        const tn_shape_override *o = &s->shapes[k];
        for (uint32_t j = 0; st == TN_OK && j < o->rank; j++)
            if (o->dims[j] < 0)
                st = tn_fail(&z->c->env, TN_E_ARGUMENT, o->input, "", "dim %u of the shape given for it is no size", j);
        if (st == TN_OK) st = cli_sizes_give_shape(z, o);
    }
    return st;
}

/* "--shape image=Nx1x20x20, with numbers for names". */
static void how_to_give(const tn_tensor_desc *d, char *buf, size_t size) {
    size_t m = (size_t)snprintf(buf, size, "--shape %s=", d->name);
    for (uint32_t j = 0; j < d->rank && m < size; j++)
        m += (size_t)snprintf(buf + m, size - m, "%s%s", j ? "x" : "", d->dim_text[j]);
    if (m < size) snprintf(buf + m, size - m, ", with numbers for names");
}

tn_status cli_sizes_get(cli_sizes *z, size_t input, int64_t otherwise, int64_t dims[TN_MAX_RANK]) {
    const tn_tensor_desc *d = z->in[input];
    char inputs[TEXT];
    for (uint32_t j = 0; j < d->rank; j++) {
        if (z->given[input][j] >= 0) {
            dims[j] = z->given[input][j];
            continue;
        }
        tn_dim dim = dim_of(z, input, j);
        for (tn_dim s; otherwise >= 0 && (s = open_symbol(z, dim)).i && z->n_known < MAX_SYMBOLS;)
            z->known[z->n_known++] = (tn_binding){tn_dim_name(z->g, s), otherwise};
        if (value_of(z, dim, &dims[j])) continue;
        inputs_text(z, inputs, sizeof inputs);
        char hint[256];
        how_to_give(d, hint, sizeof hint);
        return tn_fail(&z->c->env, TN_E_ARGUMENT, d->name, hint, "nobody says how large %s is: the inputs are %s",
                       d->dim_text[j], inputs);
    }
    return TN_OK;
}
