/* case.h: runs an ONNX model on recorded inputs through the CPU reference and compares with recorded outputs.
 * Shared by the model tests and the conformance runner. */
#ifndef TENON_TEST_ONNX_CASE_H
#define TENON_TEST_ONNX_CASE_H

#include "ir/eval/eval.h"
#include "tenon/compiler.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CASE_MAX_IO = 64 };

typedef struct case_report {
    tn_status status; /* of import, evaluation or comparison (TN_E_MISMATCH) */
    const char *stage;
    double max_error;  /* largest |got - want| / (atol + rtol |want|), over all outputs */
    char message[512]; /* the first diagnostic */
} case_report;

static inline void case_diag(void *user, const tn_diag *d) {
    case_report *r = user;
    if (d->severity == TN_ERROR && !*r->message)
        snprintf(r->message, sizeof r->message, "%s: %s%s%s", d->loc, d->message, *d->hint ? "; " : "", d->hint);
}

static inline tn_tensor case_tensor(const tn_host_tensor *h) {
    tn_tensor t = {.dtype = h->dtype, .rank = h->rank, .data = h->data, .bytes = h->bytes};
    memcpy(t.dims, h->dims, sizeof t.dims);
    return t;
}

static inline void case_compare(case_report *r, size_t k, const tn_tensor *got, const tn_host_tensor *want, double rtol,
                                double atol) {
    uint64_t n = 1;
    bool same = got->rank == want->rank && got->dtype == want->dtype;
    for (uint32_t i = 0; i < want->rank; i++) {
        same = same && got->dims[i] == want->dims[i];
        n *= (uint64_t)want->dims[i];
    }
    r->stage = "compare";
    if (!same) {
        r->status = TN_E_MISMATCH;
        snprintf(r->message, sizeof r->message, "output %zu is %s of rank %u, not %s of rank %u, or shapes differ", k,
                 tn_dtype_text(got->dtype), got->rank, tn_dtype_text(want->dtype), want->rank);
        return;
    }
    for (uint64_t i = 0; i < n; i++) {
        double a = tn_load_num(got->dtype, got->data, i), b = tn_load_num(want->dtype, want->data, i);
        if ((a != a && b != b) || a == b) continue;
        double e = fabs(a - b) / (atol + rtol * fabs(b));
        if (!(e <= r->max_error)) r->max_error = e;
        if (!(e <= 1) && r->status == TN_OK) {
            r->status = TN_E_MISMATCH;
            snprintf(r->message, sizeof r->message, "output %zu, element %llu: %.9g, wanted %.9g", k,
                     (unsigned long long)i, a, b);
        }
    }
}

/* What of a model's inputs is fixed when importing: values, for models that take sizes or axes as inputs. */
typedef enum case_fix { CASE_FIX_NONE, CASE_FIX_INTS, CASE_FIX_SMALL } case_fix;

static inline bool case_fixes(case_fix fix, const tn_host_tensor *h) {
    uint64_t n = 1;
    for (uint32_t k = 0; k < h->rank; k++) n *= (uint64_t)h->dims[k];
    bool vector = h->rank <= 1 && n <= 64;
    return fix == CASE_FIX_SMALL ? n <= 256 : fix == CASE_FIX_INTS && vector && !tn_dtype_is_float(h->dtype);
}

/* Runs set `dir` (input_0.pb, output_0.pb, ...) of a model. */
static inline case_report case_run(const char *model, const char *dir, case_fix fix, double rtol, double atol) {
    case_report r = {.stage = "import"};
    tn_env env = {.diag = case_diag, .diag_user = &r};
    tn_host_tensor in[CASE_MAX_IO] = {{{0}, 0, 0, {0}, NULL, 0}}, want;
    tn_tensor tin[CASE_MAX_IO], out[CASE_MAX_IO] = {{0, 0, {0}, NULL, 0}};
    tn_const_input fixed[CASE_MAX_IO];
    tn_import_options opts = {.constants = fixed};
    size_t n_in = 0, n_out = 0, n_free = 0;
    char path[4096];
    for (; !r.status && n_in < CASE_MAX_IO; n_in++) {
        snprintf(path, sizeof path, "%s/input_%zu.pb", dir, n_in);
        if (access(path, R_OK) != 0) break;
        r.stage = "data";
        r.status = tn_read_tensor_pb(&env, path, &in[n_in]);
        const tn_host_tensor *h = &in[n_in];
        if (!r.status && case_fixes(fix, h)) {
            tn_const_input *c = &fixed[opts.n_constants++];
            *c = (tn_const_input){.input = h->name, .dtype = h->dtype, .rank = h->rank, .data = h->data};
            memcpy(c->dims, h->dims, sizeof c->dims);
        } else if (!r.status) {
            tin[n_free++] = case_tensor(h);
        }
    }
    tn_graph *g = NULL;
    if (r.status) { /* sequences and the like: the model's own error says more than the data file's */
        case_report again = {.stage = "import"};
        tn_env quiet = {.diag = case_diag, .diag_user = &again};
        tn_graph_free(tn_import_onnx(&quiet, model, NULL, &again.status));
        if (again.status) r = again;
    } else {
        r.stage = "import";
        g = tn_import_onnx(&env, model, &opts, &r.status);
    }
    if (g) {
        r.stage = "verify";
        r.status = tn_verify(g);
    }
    if (!r.status) {
        r.stage = "evaluate";
        n_out = tn_graph_output_count(g);
        r.status = n_out > CASE_MAX_IO ? TN_E_UNSUPPORTED : tn_eval_graph(&env, g, tin, n_free, out, n_out, NULL);
        if (r.status) n_out = 0;
    }
    for (size_t k = 0; k < n_out; k++) {
        snprintf(path, sizeof path, "%s/output_%zu.pb", dir, k);
        if (r.status == TN_OK || r.status == TN_E_MISMATCH) {
            tn_status st = tn_read_tensor_pb(&env, path, &want);
            if (st) {
                r.stage = "data";
                r.status = st;
            } else {
                case_compare(&r, k, &out[k], &want, rtol, atol);
                tn_free(&env, want.data, want.bytes);
            }
        }
        tn_tensor_free(&env, &out[k]);
    }
    for (size_t k = 0; k < n_in; k++)
        if (in[k].data) tn_free(&env, in[k].data, in[k].bytes);
    tn_graph_free(g);
    return r;
}

/* The folder of large test data, or NULL with a printed reason. */
static inline const char *case_data_dir(char *buf, size_t size) {
    const char *env = getenv("TENON_TEST_DATA");
    snprintf(buf, size, "%s", env && *env ? env : TENON_SOURCE_DIR "/../shared/data");
    if (access(buf, R_OK) == 0) return buf;
    printf("skipped: no test data in %s (set TENON_TEST_DATA)\n", buf);
    return NULL;
}

#endif
