/* spread.h: how far rounding to 16 bits can move the results of a model. */
#ifndef TENON_SPREAD_H
#define TENON_SPREAD_H

#include "frontend/cli/cli.h"

/* For each output, an array with the largest change of each element that was seen when every value that the compiled
 * model holds in 16 bits is disturbed, in float64, by up to SPREAD_UNITS unit roundoffs, SPREAD_SAMPLES times.  What is
 * no number has no spread.  Freed with cli_free_spread. */
enum { SPREAD_UNITS = 4, SPREAD_SAMPLES = 8 };
tn_status cli_spread(cli *c, const char *model, const compile_setup *s, const tn_host_tensor *in, size_t n_in,
                     size_t n_out, double **spread, uint64_t *count);
void cli_free_spread(cli *c, double **spread, const uint64_t *count, size_t n_out);

#endif
