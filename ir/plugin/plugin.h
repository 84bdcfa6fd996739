/* plugin.h: a plugin as the compiler sees it.
 *
 *     declare.c   text -> tn_plugin: what is declared, checked; nothing of it is evaluated
 *     scope.c     a tn_plugin, attributes and operands' sizes -> what its names stand for
 *     use.c       the op in a graph: its expansion, or a `kernel` node that owns it
 *     set.c       tn_plugins, and the plugins of a graph
 *
 * There is no op for plugins in the graph.  Where a plugin has no kernel of its own, its expansion stands in its place.  Else
 * it is a `kernel` node from the start, as fusion makes them: its region is the expansion, hence its reference, its types
 * and its meaning to every device (where there is none, `opaque` nodes stand for the results); its attributes `plugin` and `given` say which kernel computes it (codegen/bind/plugin.c).
 * No pass changes it, but it stands where sizes may still be bound.
 *
 * A tn_plugin never changes once it is read, and is counted: sets, graphs and their clones share it, on any thread. */
#ifndef TENON_IR_PLUGIN_H
#define TENON_IR_PLUGIN_H

#include "ir/text/names.h"
#include "tenon/internal/memory.h"
#include "tenon/plugin.h"

enum { TN_PLUGIN_KNOBS = 6, TN_PLUGIN_VALUES = 16, TN_PLUGIN_MOST = 64 }; /* of attributes, operands, ... each */

/* Where something stands in the text. */
typedef struct tn_plugin_place {
    const char *s, *line_start;
    unsigned line;
} tn_plugin_place;

typedef struct tn_plugin_attr {
    const char *name;
    tn_name_kind kind; /* SIZE NUM WORD INTS NUMS */
    bool required;
    int64_t size; /* defaults */
    double num;
    const char *const *words; /* WORD: all of them; `size` is the number of the default one */
    uint32_t n_words;
    const int64_t *sizes;
    const double *nums;
    uint32_t n; /* of these */
} tn_plugin_attr;

typedef struct tn_plugin_type {
    const char *name;
    bool may_be[TN_DTYPE_COUNT];
    tn_dtype first;
} tn_plugin_type;

/* What is evaluated in order, when operands are there. */
typedef enum tn_plugin_step_kind { TN_PLUGIN_IN, TN_PLUGIN_OUT, TN_PLUGIN_LET, TN_PLUGIN_REQUIRE } tn_plugin_step_kind;
typedef struct tn_plugin_step {
    tn_plugin_step_kind kind;
    const char *name;
    bool optional;         /* IN */
    uint32_t index;        /* of the operand or result */
    tn_plugin_place place; /* behind the name */
} tn_plugin_step;

typedef struct tn_plugin_expansion {
    bool always;
    tn_plugin_place when, body; /* the condition; the opening brace */
} tn_plugin_expansion;

typedef struct tn_plugin_knob {
    const char *name;
    int64_t values[TN_PLUGIN_VALUES];
    uint32_t n;
} tn_plugin_knob;

typedef struct tn_plugin {
    const tn_env *env;
    uint32_t refs; /* atomic */
    tn_arena arena;
    const char *source, *text; /* the file's name and text */
    size_t size;
    const char *declared; /* as long as the text: what is no part of the declaration is blank */
    const char *name;     /* "domain::op" */
    int64_t since;
    uint64_t hash; /* of the text */
    tn_plugin_attr *attrs;
    tn_plugin_type *types;
    tn_plugin_step *steps;
    tn_plugin_expansion *expansions;
    tn_plugin_knob knobs[TN_PLUGIN_KNOBS];
    uint32_t n_attrs, n_types, n_steps, n_expansions, n_knobs, n_in, n_out;
    bool has_kernel;
    tn_plugin_place launch;        /* behind `kernel` */
    double tolerance;              /* 0: that of the result's type */
    tn_plugin_reference reference; /* of one without expansions; NULL: there is none */
    void *reference_user;
    void *made; /* atomic: what code generation made of it, once */
    size_t made_size;
} tn_plugin;

/* ---- declare.c --------------------------------------------------------------------------------------------------- */

tn_status tn_plugin_read(const tn_env *env, const char *source, const char *text, size_t size, tn_plugin **out);
tn_plugin *tn_plugin_retain(const tn_plugin *p);
void tn_plugin_release(const tn_plugin *p); /* NULL allowed */
/* What `make` makes of it in `size` bytes, the first time; NULL when out of memory.  It is freed with the plugin. */
const void *tn_plugin_made(const tn_plugin *p, size_t size, void (*make)(const tn_plugin *p, void *to));

/* ---- scope.c ----------------------------------------------------------------------------------------------------- */

/* What names stand for with given attributes and operands. */
typedef struct tn_plugin_tensor {
    bool there;
    tn_dtype dtype;
    size_t rank;
    tn_dim dims[TN_MAX_RANK];
} tn_plugin_tensor;

typedef struct tn_plugin_scope {
    tn_graph *g;
    const tn_plugin *p;
    tn_arena arena;
    tn_name *name, spare;
    uint32_t n;
    tn_names names; /* these, for parsers */
    bool conditions, trial;
    tn_plugin_tensor in[TN_PLUGIN_MOST], out[TN_PLUGIN_MOST];
} tn_plugin_scope;

/* Evaluates the declaration; what it requires of sizes becomes conditions of the graph with `conditions`.  Attributes are
 * values, or the text that tn_plugin_given makes of them (NULL: by `values`).  Adds no type and no string to the graph, which may
 * be a view.  The scope is closed also where this fails; failures are sticky. */
tn_status tn_plugin_open(tn_graph *g, const tn_plugin *p, const char *layer, size_t n_values,
                         const tn_plugin_value *values, const char *given, size_t n_in, const tn_plugin_tensor *in,
                         bool conditions, tn_plugin_scope *out);
void tn_plugin_close(tn_plugin_scope *s);
/* A further name, of a knob. */
bool tn_plugin_define(tn_plugin_scope *s, const char *name, int64_t value);
/* The values as text, "a=1, b=[2.5]", interned; the same for equal ones.  NULL (sticky) when out of memory. */
const char *tn_plugin_given(tn_graph *g, const tn_plugin_scope *s);

typedef struct tn_plugin_launch {
    tn_dim grid[3];
    int64_t block[3], shared;
} tn_plugin_launch;
tn_status tn_plugin_launch_of(tn_plugin_scope *s, tn_plugin_launch *out);

/* ---- use.c ------------------------------------------------------------------------------------------------------- */

/* The op at the graph's cursor.  y has room for TN_PLUGIN_MOST results. */
tn_status tn_plugin_emit(tn_graph *g, const tn_plugin *p, size_t n_values, const tn_plugin_value *values, size_t n_x,
                         const tn_val *x, tn_val *y);
/* What a kernel node of a plugin, or its spec, is computed by: the scope of its attributes and its operands' types now. */
tn_status tn_plugin_open_kernel(tn_graph *g, tn_node kernel, tn_plugin_scope *out);
/* ---- set.c ------------------------------------------------------------------------------------------------------- */

const tn_plugin *tn_plugins_at(const tn_plugins *set, size_t k);
/* The latest version that is not above `version`; NULL: there is none. */
const tn_plugin *tn_plugins_find(const tn_plugins *set, const char *domain, const char *op, int64_t version);
const tn_plugin *tn_plugins_named(const tn_plugins *set, const char *name, size_t n); /* "domain::op", the latest */
/* Of a graph, by the hash of the text. */
tn_status tn_graph_use_plugin(tn_graph *g, const tn_plugin *p);
const tn_plugin *tn_graph_plugin(const tn_graph *g, const char *name); /* NULL: it has none */
/* Of a kernel node; NULL: it is none of a plugin. */
const tn_plugin *tn_node_plugin(const tn_graph *g, tn_node n);

#endif
