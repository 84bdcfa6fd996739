/* suite.h: checking one model and checking a tree of them. */
#ifndef TENON_SUITE_H
#define TENON_SUITE_H

#include "frontend/cli/cli.h"

typedef struct check_options {
    const char *device, *data;
    double rtol, atol;
    const compile_setup *setup;
    bool peer;                 /* of check_random: against ONNX Runtime */
    const char *record;        /* of check_random: the folder that the references are written to; NULL: none */
    uint64_t seed;             /* of random inputs */
    const char *const *inputs; /* of check_random: files, as of `tenon run` */
    double test_seconds;       /* that a test of a suite may take; 0: a default, and what tuning may take */
    bool fix_inputs;           /* sizes and axes that are inputs become constants where that is needed to compile */
} check_options;

typedef struct check_result {
    bool silent;
    int sets, compared;     /* data sets; outputs of the right type */
    double max_abs, cosine; /* the worst of those */
    char why[400];          /* "" when everything agreed */
    char drawn[400];        /* which output is random numbers, judged by what they can be; "": none is */
} check_result;

/* 0 agreed, 1 differed (r->why), else the exit code of an error that the diagnostics explain. */
int check_model(cli *c, const char *model, const check_options *o, check_result *r);
/* Random inputs instead of recorded ones: the model on the device against the reference evaluation, in float32, of the
 * graph as it was imported, or ONNX Runtime; one run for each shape of `at` (NAME=1x3x224x224, NULL-terminated; NULL: symbolic dims are
 * 1). */
int check_random(cli *c, const char *model, const char *const *at, const check_options *o);
/* against.c: what ONNX Runtime makes of inputs. */
tn_status check_peer(cli *c, const cli_model *m, const char *model, const tn_host_tensor *in, tn_host_tensor *out);
/* Writes inputs and outputs as DIR/test_data_set_N. */
tn_status check_record(cli *c, const cli_model *m, const char *dir, size_t set, const tn_host_tensor *in,
                       const tn_host_tensor *out);
/* What rounding may do to the outputs of one run: found when it is first needed. */
enum { CHECK_MAX_IO = 256 };
typedef struct check_margin {
    const char *model;
    const tn_host_tensor *in;
    size_t n_in, n_out;
    bool tried;
    double *spread[CHECK_MAX_IO];
    uint64_t count[CHECK_MAX_IO];
} check_margin;
void check_margin_free(cli *c, check_margin *m);

/* Compares output k within the options' tolerances, or the defaults for its precision and what rounding explains.  why
 * is
 * "" if it agrees, else says what differs; false if dtypes or shapes do, and d is zero then. */
bool check_tensor(cli *c, const check_options *o, check_margin *m, size_t k, const tn_host_tensor *got,
                  const tn_host_tensor *want, cli_diff *d, char *why, size_t size);
/* What the options leave out of these, for outputs of that dtype. */
void check_tolerance(const check_options *o, tn_dtype out, double *rtol, double *atol);
/* drawn.c: what else a model that draws random numbers could have drawn: found when it is first needed. */
enum { CHECK_DRAWS = 64 };
typedef struct check_draws {
    const char *model;
    const tn_host_tensor *in;
    size_t n_in, n_out;
    tn_host_tensor *draw[CHECK_DRAWS]; /* each with n_out tensors */
} check_draws;
void check_draws_free(cli *c, check_draws *d);
/* Random numbers of output k beside recorded ones, which other generators drew: why is "" where both can be of the distribution
 * that the model describes. */
tn_status check_drawn(cli *c, const check_options *o, check_draws *d, size_t k, const tn_host_tensor *got,
                      const tn_host_tensor *want, char *why, size_t size);
/* " (3 of 80 elements only within what rounding explains)", or "". */
const char *check_excuse(const cli_diff *d, char *buf, size_t size);
/* ---- suites ---- */
enum { NAME_SIZE = 160, WHY_SIZE = 512 };
typedef enum verdict { NONE, PASSED, FAILED, SKIPPED, VERDICTS } verdict;
typedef struct suite_test {
    char name[NAME_SIZE], model[NAME_SIZE + 16]; /* the model below the suite's folder */
    char op[64], why[WHY_SIZE];                  /* why one that passed was judged otherwise than others are */
    verdict verdict;                             /* NONE: it has not ended */
} suite_test;

/* Every DIR/NAME/model.onnx, and every model DIR/NAME.onnx with a folder DIR/NAME (filter: whose name holds that text), up to
 * `jobs` at a time.  Failures with reasons, a table by operator, and the line "N passed, N failed, N skipped", which says
 * ", N not reached" too where the run was cut short.  0 if none failed, 1 if one did or some were not reached. */
int check_suite(cli *c, const char *dir, const char *filter, int jobs, const check_options *o);

#endif
