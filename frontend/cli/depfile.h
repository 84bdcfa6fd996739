/* depfile.h: `tenon compile --depfile FILE`: what a plan was made from, as a rule that make, Ninja and CMake read. */
#ifndef TENON_DEPFILE_H
#define TENON_DEPFILE_H

#include "frontend/cli/cli.h"

/* Writes "target: ..." with the files that c has read to path. */
tn_status cli_depfile_write(cli *c, const char *target, const char *path);

#endif
