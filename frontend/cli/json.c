/* json.c: documents on json-c.  With --json a command prints one document, whatever happens: its result, or the
 * errors. */
#include "frontend/cli/cli.h"

#include <math.h>

void cli_print_json(cli *c, json_object *doc) {
    c->printed = true;
    puts(json_object_to_json_string_ext(doc, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
                                                 JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(doc);
}

json_object *cli_json_number(double v) {
    if (!isfinite(v)) return NULL; /* prints null: JSON has no such numbers */
    return v == floor(v) && fabs(v) < 9e15 ? json_object_new_int64((int64_t)v) : json_object_new_double(v);
}

void cli_json_add_number(json_object *o, const char *key, double v) {
    json_object_object_add(o, key, cli_json_number(v));
}

void cli_json_add_string(json_object *o, const char *key, const char *s) {
    json_object_object_add(o, key, json_object_new_string(s ? s : ""));
}

void cli_json_add_bool(json_object *o, const char *key, bool v) {
    json_object_object_add(o, key, json_object_new_boolean(v));
}

json_object *cli_json_add_array(json_object *o, const char *key) {
    json_object *a = json_object_new_array();
    json_object_object_add(o, key, a);
    return a;
}

void cli_json_error(cli *c, const char *where, const char *message, const char *hint) {
    if (!c->json) return;
    if (!c->json_errors) c->json_errors = json_object_new_array();
    json_object *e = json_object_new_object();
    cli_json_add_string(e, "where", where);
    cli_json_add_string(e, "message", message);
    cli_json_add_string(e, "hint", hint);
    json_object_array_add(c->json_errors, e);
}

void cli_json_end(cli *c, int rc) {
    json_object *errors = c->json_errors;
    c->json_errors = NULL;
    if (!c->json || rc == 0 || c->printed) {
        json_object_put(errors);
        return;
    }
    json_object *doc = json_object_new_object();
    cli_json_add_number(doc, "exit_code", rc);
    json_object_object_add(doc, "errors", errors ? errors : json_object_new_array());
    cli_print_json(c, doc);
}
