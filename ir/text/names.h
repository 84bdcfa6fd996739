/* names.h: what words stand for in a text that is read for given operands: sizes, attributes and element types of a plugin's
 * declaration (ir/plugin).
 *
 * Such a text is the text form in which a whole number may be any expression that is constant, a list may be a name, and
 * `name...` in a list of sizes stands for several.  Of a list `a` there are also a.len and a.0, a.1, ... */
#ifndef TENON_IR_NAMES_H
#define TENON_IR_NAMES_H

#include "ir/ir.h"

typedef enum tn_name_kind {
    TN_NAME_SIZE,  /* a whole number: size */
    TN_NAME_NUM,   /* num */
    TN_NAME_WORD,  /* one of several words: text */
    TN_NAME_TYPE,  /* type */
    TN_NAME_INTS,  /* a list of whole numbers: sizes */
    TN_NAME_NUMS,  /* nums */
    TN_NAME_SIZES, /* the rest of a tensor's sizes: sizes; alone, their product: size */
    TN_NAME_INPUT  /* an operand: size is 1 where it is there */
} tn_name_kind;

typedef struct tn_name {
    const char *s; /* terminated */
    tn_name_kind kind;
    tn_dim size;
    double num;
    const char *text;
    tn_dtype type;
    tn_dims sizes;
    tn_nums nums;
} tn_name;

typedef struct tn_names {
    const tn_name *p;
    uint32_t n;
    const char *layer; /* for whom the text is read; "" for nobody */
} tn_names;

/* NULL: there is none. */
const tn_name *tn_names_find(const tn_names *names, const char *s, size_t n);
/* The size that a word stands for; none: it stands for no size. */
tn_dim tn_names_size(tn_graph *g, const tn_names *names, const char *s, size_t n);

#endif
