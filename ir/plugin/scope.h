/* scope.h: what the files of ir/plugin share. */
#ifndef TENON_IR_PLUGIN_SCOPE_H
#define TENON_IR_PLUGIN_SCOPE_H

#include "ir/plugin/plugin.h"
#include "ir/text/parse.h"

/* A parser of the declaration from a place on, in which names stand for what the scope says.  It ends before the scope. */
tn_parser tn_plugin_parser(tn_plugin_scope *s, tn_plugin_place at);
/* "..." as it stands in the text. */
bool tn_plugin_read_quoted(tn_parser *p, const char **s, size_t *n);
/* A declaration with symbols for sizes and attributes: everything in it that can be evaluated, is. */
tn_status tn_plugin_try(tn_graph *g, const tn_plugin *p, tn_plugin_scope *out);
/* A condition that attributes and known sizes decide: *holds. */
bool tn_plugin_decide(tn_plugin_scope *s, tn_plugin_place when, bool *holds);

/* name=value, name=value up to the end of the text or a '}'; the values live as long as the graph. */
bool tn_plugin_parse_values(tn_parser *p, const tn_plugin *plugin, tn_plugin_value out[TN_PLUGIN_MOST], size_t *n);

#endif
