/* parsed.h: what tests of graphs from text share: the last error ("layer: message [hint]") and note, and the graph. */
#ifndef TENON_TEST_PARSED_H
#define TENON_TEST_PARSED_H

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "ir/ir.h"

static char message[2048], note[1024];

static inline void keep_message(void *user, const tn_diag *d) {
    (void)user;
    if (d->severity == TN_ERROR) snprintf(message, sizeof message, "%s: %s [%s]", d->loc, d->message, d->hint);
    if (d->severity == TN_NOTE) snprintf(note, sizeof note, "%s", d->message);
}

static const tn_env env = {.diag = keep_message};

/* NULL where the text is refused. */
static inline tn_graph *parsed_or_not(const char *text) {
    tn_status st;
    message[0] = note[0] = 0;
    return tn_parse(&env, "text", text, strlen(text), NULL, 0, true, &st);
}

static inline tn_graph *parsed(const char *text) {
    tn_graph *g = parsed_or_not(text);
    ck_assert_msg(g != NULL, "%s", message);
    return g;
}

#endif
