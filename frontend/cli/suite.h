/* suite.h: checking one model and checking a tree of them. */
#ifndef TENON_SUITE_H
#define TENON_SUITE_H

#include "frontend/cli/cli.h"

typedef struct check_options {
    const char *device, *data;
    double rtol, atol;
    const compile_setup *setup;
    bool fix_inputs; /* sizes and axes that are inputs become constants where that is needed to compile */
} check_options;

typedef struct check_result {
    bool silent;
    int sets;
    double max_abs, cosine;
    char why[400]; /* "" when everything agreed */
} check_result;

/* 0 agreed, 1 differed (r->why), else the exit code of an error that the diagnostics explain. */
int check_model(cli *c, const char *model, const check_options *o, check_result *r);
/* Table by operator, failures with reasons, and the line "N passed, N failed, N skipped". */
int check_suite(cli *c, const char *dir, const char *filter, int jobs, const check_options *o);

#endif
