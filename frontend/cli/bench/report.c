/* report.c: what a benchmark says: percentiles, and files for other tools. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/cli/bench/bench.h"
#include "ir/text/output.h"

/* What is told of an inference. */
enum { LATENCY, COPY_IN, COMPUTE, COPY_OUT, ENQUEUE, PARTS };
static const char *const names[PARTS] = {"latency", "copy in", "compute", "copy out", "enqueue"};
static const char *const keys[PARTS] = {"latency_ms", "copy_in_ms", "compute_ms", "copy_out_ms", "enqueue_ms"};

static double part_of(const bench_sample *s, int part) {
    switch (part) {
    case LATENCY: return s->end - s->begin;
    case COPY_IN: return s->compute - s->begin;
    case COMPUTE: return s->computed - s->compute;
    case COPY_OUT: return s->end - s->computed;
    default: return s->enqueue;
    }
}

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The smallest value that so many percent do not exceed. */
static double percentile(const double *sorted, size_t n, double percent) {
    const size_t rank = (size_t)ceil(percent / 100 * (double)n);
    return sorted[rank ? rank - 1 : 0];
}

typedef struct summary {
    double min, mean, max, p50, p90, p95, p99;
} summary;

static summary summarise(const bench_run *r, int part) {
    summary s = {0};
    double *v = r->n ? malloc(r->n * sizeof *v) : NULL;
    if (!v) return (summary){NAN, NAN, NAN, NAN, NAN, NAN, NAN};
    for (size_t k = 0; k < r->n; k++) s.mean += (v[k] = part_of(&r->samples[k], part)) / (double)r->n;
    qsort(v, r->n, sizeof *v, compare);
    s.min = v[0], s.max = v[r->n - 1];
    s.p50 = percentile(v, r->n, 50), s.p90 = percentile(v, r->n, 90);
    s.p95 = percentile(v, r->n, 95), s.p99 = percentile(v, r->n, 99);
    free(v);
    return s;
}

static bool tells(const bench_options *o, int part, bool gpu) {
    return part == LATENCY || (gpu && (o->transfers || (part != COPY_IN && part != COPY_OUT)));
}

void bench_print(const bench_run *r, const bench_options *o, bool gpu) {
    printf("throughput %.6g inferences/s: %zu in %.3f s on %u stream%s%s\n", (double)r->n / r->wall_s, r->n, r->wall_s,
           o->lanes, o->lanes == 1 ? "" : "s",
           !gpu           ? ""
           : o->transfers ? ", inputs and outputs copied from and to the host"
                          : ", inputs and outputs on the device");
    printf("%-10s %9s %9s %9s %9s %9s %9s %9s\n", "ms", "min", "mean", "p50", "p90", "p95", "p99", "max");
    for (int part = 0; part < PARTS; part++) {
        if (!tells(o, part, gpu)) continue;
        const summary s = summarise(r, part);
        printf("%-10s %9.4f %9.4f %9.4f %9.4f %9.4f %9.4f %9.4f\n", names[part], s.min, s.mean, s.p50, s.p90, s.p95,
               s.p99, s.max);
    }
}

void bench_document(const bench_run *r, const bench_options *o, json_object *doc) {
    cli_json_add_number(doc, "throughput", (double)r->n / r->wall_s);
    cli_json_add_number(doc, "inferences", (double)r->n);
    cli_json_add_number(doc, "wall_s", r->wall_s);
    cli_json_add_number(doc, "infer_streams", o->lanes);
    cli_json_add_bool(doc, "transfers", o->transfers);
    for (int part = 0; part < PARTS; part++) {
        const summary s = summarise(r, part);
        json_object *x = json_object_new_object();
        cli_json_add_number(x, "min", s.min);
        cli_json_add_number(x, "mean", s.mean);
        cli_json_add_number(x, "p50", s.p50);
        cli_json_add_number(x, "p90", s.p90);
        cli_json_add_number(x, "p95", s.p95);
        cli_json_add_number(x, "p99", s.p99);
        cli_json_add_number(x, "max", s.max);
        json_object_object_add(doc, keys[part], x);
    }
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static tn_status write_json(cli *c, const char *path, json_object *doc) {
    const char *const paths[] = {path};
    tn_output o;
    tn_status st = cli_may_write(c, paths, 1);
    if (st == TN_OK) st = tn_output_begin(&c->env, cli_output_path(path), &o);
    if (st == TN_OK) {
        fprintf(o.f, "%s\n", json_object_to_json_string_ext(doc, JSON_C_TO_STRING_NOSLASHESCAPE));
        st = tn_output_end(&o, TN_OK);
    }
    json_object_put(doc);
    if (st == TN_OK && !c->json && !c->quiet) printf("wrote %s\n", path);
    return st;
}

tn_status bench_export_times(cli *c, const char *path, const bench_run *r) {
    json_object *list = json_object_new_array();
    for (size_t k = 0; k < r->n; k++) {
        const bench_sample *s = &r->samples[k];
        json_object *x = json_object_new_object();
        cli_json_add_number(x, "stream", s->lane);
        cli_json_add_number(x, "begin_ms", s->begin);
        for (int part = 0; part < PARTS; part++) cli_json_add_number(x, keys[part], part_of(s, part));
        json_object_array_add(list, x);
    }
    return write_json(c, path, list);
}

tn_status bench_export_profile(cli *c, const char *path, const tn_bench_result *r) {
    json_object *list = json_object_new_array();
    double sum = 0;
    for (size_t k = 0; k < r->kernel_count; k++) sum += r->kernels[k].us;
    for (size_t k = 0; k < r->kernel_count; k++) {
        json_object *x = json_object_new_object();
        cli_json_add_string(x, "name", r->kernels[k].name);
        cli_json_add_number(x, "us", r->kernels[k].us);
        cli_json_add_number(x, "percent", sum > 0 ? 100 * r->kernels[k].us / sum : 0);
        json_object_array_add(list, x);
    }
    return write_json(c, path, list);
}

/* A bar of the trace. */
static void add_bar(json_object *list, const char *name, const char *process, uint32_t lane, double begin, double end) {
    json_object *x = json_object_new_object();
    cli_json_add_string(x, "name", name);
    cli_json_add_string(x, "ph", "X");
    cli_json_add_string(x, "pid", process);
    cli_json_add_number(x, "tid", lane);
    cli_json_add_number(x, "ts", 1e3 * begin);
    cli_json_add_number(x, "dur", 1e3 * (end - begin));
    json_object_array_add(list, x);
}

tn_status bench_export_trace(cli *c, const char *path, const bench_run *r, bool gpu) {
    json_object *doc = json_object_new_object(), *list = cli_json_add_array(doc, "traceEvents");
    cli_json_add_string(doc, "displayTimeUnit", "ms");
    for (size_t k = 0; k < r->n; k++) {
        const bench_sample *s = &r->samples[k];
        add_bar(list, gpu ? "enqueue" : "inference", "host", s->lane, s->host, s->host + s->enqueue);
        if (!gpu) continue;
        if (s->compute > s->begin) add_bar(list, "copy in", "GPU", s->lane, s->begin, s->compute);
        add_bar(list, "compute", "GPU", s->lane, s->compute, s->computed);
        if (s->end > s->computed) add_bar(list, "copy out", "GPU", s->lane, s->computed, s->end);
    }
    return write_json(c, path, doc);
}
