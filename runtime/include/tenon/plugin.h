/* plugin.h: ops of a user's own (libtenon).
 *
 * A plugin is a text that declares one op, of any domain, and says what it computes: as an expansion into other ops, by CUDA
 * source where that is not fast enough, or by CUDA source alone.  examples/plugin/README.md says how one is written.  A set of plugins is given to an
 * import (tn_import_options.plugins) or to tn_build_plugin; what a graph uses, it and its plan carry with them.
 *
 * Threads: a set belongs to one thread while plugins are added; then any number may import with it.  Ownership: texts are
 * copied; graphs keep what they use, so that the set may be freed before them.  Its environment outlives them all. */
#ifndef TENON_PLUGIN_H
#define TENON_PLUGIN_H

#include "ir/ir.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tn_plugins tn_plugins;

tn_plugins *tn_plugins_new(const tn_env *env); /* NULL when out of memory */
void tn_plugins_free(tn_plugins *p);           /* NULL allowed */
/* Adds the plugin in a file.  Errors name file, line and column: E_IO, E_FORMAT, E_ARGUMENT where the set has an op of that
 * name and version already; the set is as it was then. */
tn_status tn_plugins_load(tn_plugins *p, const char *path);
/* The same of `size` bytes of text; `source` names it in errors. */
tn_status tn_plugins_add(tn_plugins *p, const char *source, const char *text, size_t size);
size_t tn_plugins_count(const tn_plugins *p);
/* "domain::op" of the k-th; valid until the set is freed. */
const char *tn_plugins_name(const tn_plugins *p, size_t k);

/* A dense, row-major tensor; types of 2 and 4 bits are packed, the low bits of a byte first. */
typedef struct tn_plugin_array {
    tn_dtype dtype;
    uint32_t rank;
    int64_t dims[8];
    void *data; /* NULL: an operand that is absent */
} tn_plugin_array;

/* What the op computes, on the CPU: fills the results from the operands, each in the order in which they are declared.  attributes is
 * text, all of them with their values: "a=1, b=[2.5]".  May be called on any thread, by several at a time. */
typedef tn_status (*tn_plugin_reference)(void *user, const char *attributes, size_t n_in, const tn_plugin_array *in,
                                         size_t n_out, const tn_plugin_array *out);
/* Of the op "domain::op" (its latest version), which has no expansion: what its kernels are compared with, instead of themselves as the
 * emulated device runs them, and what the device `cpu` runs.  Before the set is given to an import; no plan keeps it.
 * E_UNSUPPORTED: there is no such op; E_ARGUMENT: it has an expansion. */
tn_status tn_plugins_set_reference(tn_plugins *p, const char *op, tn_plugin_reference f, void *user);

typedef enum tn_plugin_kind {
    TN_PLUGIN_INT,
    TN_PLUGIN_FLOAT,
    TN_PLUGIN_WORD,
    TN_PLUGIN_INTS,
    TN_PLUGIN_FLOATS
} tn_plugin_kind;

/* The value of an attribute; of these fields the one that the attribute's type wants. */
typedef struct tn_plugin_value {
    const char *name;
    tn_plugin_kind kind;
    int64_t i;         /* INT: also for a float */
    double f;          /* FLOAT */
    const char *s;     /* WORD */
    const int64_t *is; /* INTS: n of them; also for floats */
    const double *fs;  /* FLOATS: n of them */
    size_t n;
} tn_plugin_value;

/* Appends the op (of its latest version) at the graph's cursor: operands x[0..n_x-1], none where an optional one is absent, and
 * attributes, those left out by their defaults.  Fills y with its results, of which there must be n_y.  Sticky E_UNSUPPORTED where
 * the set has no such op, E_ARGUMENT, E_FORMAT or E_TYPE, with the layer's name, where operands or attributes do not fit. */
tn_status tn_build_plugin(tn_graph *g, const tn_plugins *p, const char *op, size_t n_values,
                          const tn_plugin_value *values, size_t n_x, const tn_val *x, size_t n_y, tn_val *y);

#ifdef __cplusplus
}
#endif
#endif
