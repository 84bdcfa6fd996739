/* parse.h: what the parser's files share: the scanner, errors with positions, and the reading of attributes and
 * constants.
 *
 * The text is outside input.  It is scanned in a terminated copy; every reader returns false after the first error,
 * which has then been reported with line, column, what was expected and what was found. */
#ifndef TENON_IR_PARSE_H
#define TENON_IR_PARSE_H

#include "ir/text/names.h"
#include "ir/text/text.h"
#include "tenon/internal/memory.h"

typedef struct tn_parser {
    tn_graph *g;
    const char *source; /* names the text in diagnostics */
    const char *s, *end;
    const char *line_start;
    unsigned line;
    bool failed;
    tn_status status;      /* of the failure */
    char where[320];       /* "source:line:column" of the node being read, for errors of type inference */
    const tn_names *names; /* NULL: words in sizes are symbols, and numbers are written out */
    tn_side side;
    struct tn_parsed_blob {
        uint64_t offset;
        tn_blob blob;
        size_t size;
    } * blobs; /* already made of the side file's bytes */
    size_t n_blobs, cap_blobs;
} tn_parser;

/* ---- scanning (parse_scan.c) ------------------------------------------------------------------------------------- */

/* Reports the first error, at the present position; returns false. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
bool tn_parse_error(tn_parser *p, const char *fmt, ...);
bool tn_parse_expected(tn_parser *p, const char *what); /* "expected WHAT, found ..." */
void tn_parse_skip(tn_parser *p);                       /* blanks and comments */
bool tn_parse_peek(tn_parser *p, const char *token);
bool tn_parse_accept(tn_parser *p, const char *token);     /* punctuation */
bool tn_parse_accept_word(tn_parser *p, const char *word); /* a whole identifier */
bool tn_parse_expect(tn_parser *p, const char *token);
bool tn_parse_word(tn_parser *p, const char *what, const char **s, size_t *n); /* an identifier */
bool tn_parse_string(tn_parser *p, const char **s);                            /* "...", interned */
bool tn_parse_int(tn_parser *p, int64_t *v);
bool tn_parse_uint(tn_parser *p, uint64_t *v);
bool tn_parse_num(tn_parser *p, double *v);
bool tn_parse_dim(tn_parser *p, tn_dim *d);
bool tn_parse_type(tn_parser *p, tn_type *t);
bool tn_parse_dtype(tn_parser *p, tn_dtype *t);
/* [N, 3*H], at most TN_MAX_RANK. */
bool tn_parse_shape(tn_parser *p, tn_dim *dims, size_t *rank);
/* The name behind which list... is taken apart, where it stands here; else NULL. */
const tn_name *tn_parse_accept_rest(tn_parser *p);
/* A name of that kind, where it stands here; else NULL. */
const tn_name *tn_parse_accept_name(tn_parser *p, tn_name_kind kind);
void tn_parse_mark(tn_parser *p); /* sets where */
/* Turns a failure of the graph (out of memory, inference), which has been reported, into the parser's. */
bool tn_parse_graph_ok(tn_parser *p);

/* ---- nodes (parse.c) --------------------------------------------------------------------------------------------- */

/* { nodes, and a yield that gives results }, at a place of the graph.  Arguments are known by their names; an absent one is
 * none.  Nodes have the place's provenance. */
typedef struct tn_body {
    tn_cursor at;
    size_t n_args;
    const char *const *names;
    const tn_val *args;
    tn_val *results; /* room for cap */
    size_t cap;
} tn_body;
bool tn_parse_body(tn_parser *p, const tn_body *b, size_t *n_results);

/* ---- attributes and constants (parse_value.c) -------------------------------------------------------------------- */

/* Reads {name=value, ...} if it is there. */
bool tn_parse_attrs(tn_parser *p, tn_op op, tn_any_attrs *attrs);

/* What stands between `const` and its type. */
typedef struct tn_parsed_const {
    const char *name;
    const char *elements; /* where [ or ( begins; NULL: {offset=...} */
    bool splat;
    const tn_name *list; /* whose elements are these; or NULL */
    uint64_t offset;
} tn_parsed_const;

/* Reads a constant up to its type, emits it with that type. */
bool tn_parse_const(tn_parser *p, tn_val *v);

#endif
