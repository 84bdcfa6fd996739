/* bench.h: inferences of which many are timed, in a row and side by side. */
#ifndef TENON_CLI_BENCH_H
#define TENON_CLI_BENCH_H

#include "frontend/cli/cli.h"

typedef struct bench_options {
    uint32_t lanes;          /* contexts, each on a stream of its own */
    uint64_t iterations;     /* at least, of all lanes together */
    double seconds, warm_up; /* at least */
    bool transfers;          /* inputs go to the device and outputs come back in each inference */
    bool spin;               /* the host does not sleep while it waits */
    bool no_cuda_graph, no_pdl;
    int gpu;
} bench_options;

/* One inference, in milliseconds since the first one was enqueued.  On a GPU the device's clock says when the input began to be
 * copied, kernels began, ended, and the output was there; without transfers, and on the CPU, copies take no time. */
typedef struct bench_sample {
    uint32_t lane;
    double host, enqueue; /* when the host enqueued it, and how long that took */
    double begin, compute, computed, end;
} bench_sample;

typedef struct bench_run {
    bench_sample *samples;
    size_t n, cap;
    double wall_s; /* from the first enqueue to the last end */
} bench_run;

/* Runs a model on the CPU (one lane), or a plan on the GPU; in: on the host.  Samples are freed by bench_free. */
tn_status bench_host(cli *c, cli_model *m, const tn_host_tensor *in, const bench_options *o, bench_run *r);
tn_status bench_gpu(cli *c, cli_model *m, const tn_host_tensor *in, const bench_options *o, bench_run *r);
void bench_free(cli *c, bench_run *r);
/* A sample more; false when out of memory. */
bool bench_add(cli *c, bench_run *r, bench_sample s);
/* Whether another inference is to begin, `seconds` after the first. */
bool bench_goes_on(const bench_options *o, uint64_t begun, double seconds);

/* report.c: what is said of a run. */
void bench_print(const bench_run *r, const bench_options *o, bool gpu);
/* Adds throughput and times to a document. */
void bench_document(const bench_run *r, const bench_options *o, json_object *doc);
/* Every inference's times, or a trace for chrome://tracing and Perfetto, as JSON files. */
tn_status bench_export_times(cli *c, const char *path, const bench_run *r);
tn_status bench_export_trace(cli *c, const char *path, const bench_run *r, bool gpu);
tn_status bench_export_profile(cli *c, const char *path, const tn_bench_result *r);

#endif
