/* emit_c.h: a plan as C source. */
#ifndef TENON_EMIT_C_H
#define TENON_EMIT_C_H

#include "frontend/cli/cli.h"

/* Writes PREFIX.h (typed declarations) and PREFIX.c (the bytes, taken from the plan file when that is assembled); the
 * last part of PREFIX names the plan in C. */
tn_status cli_emit_c(cli *c, const char *plan, const char *prefix);

#endif
