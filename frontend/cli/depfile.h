/* depfile.h: `tenon compile --depfile FILE`: what a plan was made from, as a rule that make, Ninja and CMake read. */
#ifndef TENON_DEPFILE_H
#define TENON_DEPFILE_H

#include "frontend/cli/cli.h"

/* Zero-initialise. */
typedef struct depfile {
    tn_env env; /* the command's own */
    char *text; /* the paths as the rule's prerequisites */
    size_t size;
    tn_status status;
} depfile;

/* From here on c's environment notes in d every file that is read. */
void cli_depfile_begin(cli *c, depfile *d);
/* Writes "target: ..." to path. */
tn_status cli_depfile_write(cli *c, depfile *d, const char *target, const char *path);
void cli_depfile_end(cli *c, depfile *d);

#endif
