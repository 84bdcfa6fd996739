/* drawn.c: whether recorded random numbers, which another generator drew, and a device's can be of one distribution.
 *
 * The model itself says which: the reference evaluates the imported graph CHECK_DRAWS times, each time with other random
 * numbers.  Whatever is drawn and whatever is done to it, a tensor of the same distribution is then as any of these draws
 * are, in what is computed of it: its sum, the sum of its squares, and how many of its elements are values that no (other) draw
 * has there.  A tensor is wrong where one of these lies outside what the draws have by more than half as far as the farthest two
 * of them are apart: of a normal distribution, by 4.7 standard deviations in all. */
#include <math.h>
#include <string.h>

#include "codegen/host/opaque.h"
#include "frontend/cli/check/suite.h"
#include "ir/eval/eval.h"

enum { FEW = 4, MOST_LOOKED_AT = 4096 };

void check_draws_free(cli *c, check_draws *d) {
    for (size_t i = 0; i < CHECK_DRAWS && d->draw[i]; i++) {
        for (size_t k = 0; k < d->n_out; k++) cli_free_tensor(c, &d->draw[i][k]);
        tn_free(&c->env, d->draw[i], d->n_out * sizeof *d->draw[i]);
    }
}

static tn_status draw_once(cli *c, check_draws *d, tn_graph *g, const tn_tensor *in, uint32_t draw) {
    const tn_eval_opts opts = {.fast = true, .opaque = tn_run_opaque, .draw = draw};
    tn_tensor out[CHECK_MAX_IO] = {{0}};
    tn_host_tensor *to = d->draw[draw - 1] = tn_alloc(&c->env, d->n_out * sizeof *to);
    if (!to) return tn_fail(&c->env, TN_E_MEMORY, "", "", "out of memory");
    tn_status st = tn_eval_graph(&c->env, g, in, d->n_in, out, d->n_out, &opts);
    for (size_t k = 0; st == TN_OK && k < d->n_out; k++) {
        to[k] = (tn_host_tensor){.name = "",
                                 .dtype = out[k].dtype,
                                 .rank = out[k].rank,
                                 .data = out[k].data,
                                 .bytes = out[k].bytes ? out[k].bytes : 1};
        memcpy(to[k].dims, out[k].dims, sizeof to[k].dims);
    }
    return st;
}

static tn_status draw_all(cli *c, const check_options *o, check_draws *d) {
    tn_tensor in[CHECK_MAX_IO];
    tn_status st = TN_OK;
    if (d->draw[0]) return TN_OK;
    tn_graph *g = tn_import_file(&c->env, d->model, &o->setup->import, &st);
    for (size_t k = 0; g && k < d->n_in; k++) {
        in[k] =
            (tn_tensor){.dtype = d->in[k].dtype, .rank = d->in[k].rank, .data = d->in[k].data, .bytes = d->in[k].bytes};
        memcpy(in[k].dims, d->in[k].dims, sizeof in[k].dims);
    }
    for (uint32_t i = 1; st == TN_OK && i <= CHECK_DRAWS; i++) st = draw_once(c, d, g, in, i);
    tn_graph_free(g);
    return st;
}

/* Output k of all draws. */
typedef struct draws {
    const tn_host_tensor *of[CHECK_DRAWS];
    double rtol, atol;
} draws;

static double element(const tn_host_tensor *t, uint64_t i) {
    return tn_load_num(t->dtype, t->data, i);
}

static bool near(const draws *d, double a, double b) {
    return a == b || (isnan(a) && isnan(b)) || fabs(a - b) <= d->atol + d->rtol * fabs(b);
}

/* Whether a draw other than t has about t's element i or, where there are more than a few values, some lie on both sides. */
static bool is_seen(const draws *d, const tn_host_tensor *t, uint64_t i) {
    const double v = element(t, i);
    double kind[FEW];
    size_t kinds = 0;
    bool below = false, above = false;
    for (size_t k = 0; k < CHECK_DRAWS; k++) {
        if (d->of[k] == t) continue;
        const double other = element(d->of[k], i);
        if (near(d, v, other)) return true;
        below |= other < v;
        above |= other > v;
        size_t same = 0;
        while (same < kinds && same < FEW && !near(d, kind[same], other)) same++;
        if (same == kinds && kinds < FEW) kind[kinds] = other;
        kinds += same == kinds;
    }
    return kinds > FEW && below && above;
}

static double unseen(const draws *d, const tn_host_tensor *t) {
    const uint64_t n = cli_numel(t), step = 1 + n / MOST_LOOKED_AT;
    double count = 0;
    for (uint64_t i = 0; i < n; i += step) count += !is_seen(d, t, i);
    return count;
}

static double sum(const draws *d, const tn_host_tensor *t) {
    double s = 0;
    (void)d;
    for (uint64_t i = 0, n = cli_numel(t); i < n; i++) s += isfinite(element(t, i)) ? element(t, i) : 0;
    return s;
}

static double sum_of_squares(const draws *d, const tn_host_tensor *t) {
    double s = 0;
    (void)d;
    for (uint64_t i = 0, n = cli_numel(t); i < n; i++) s += isfinite(element(t, i)) ? element(t, i) * element(t, i) : 0;
    return s;
}

static const struct statistic {
    const char *name;
    double (*of)(const draws *d, const tn_host_tensor *t);
} statistics[] = {
    {"the number of values that are in no draw", unseen}, {"the sum", sum}, {"the sum of squares", sum_of_squares}};

static void judge(const draws *d, const struct statistic *s, const tn_host_tensor *const tensor[2], char *why,
                  size_t size) {
    static const char *const names[] = {"it draws", "those recorded are"};
    double low = INFINITY, high = -INFINITY;
    for (size_t k = 0; k < CHECK_DRAWS; k++) {
        const double v = s->of(d, d->of[k]);
        low = fmin(low, v);
        high = fmax(high, v);
    }
    const double far = (high - low) / 2 + d->atol + d->rtol * fmax(fabs(low), fabs(high));
    for (int k = 0; k < 2 && !*why; k++) {
        const double v = s->of(d, tensor[k]);
        if (!(v >= low - far && v <= high + far))
            snprintf(why, size,
                     "random numbers of another distribution: %s of what %s is %.6g, and from %.6g to %.6g in %d draws "
                     "of the reference",
                     s->name, names[k], v, low, high, CHECK_DRAWS);
    }
}

static bool of_one_type(const tn_host_tensor *a, const tn_host_tensor *b) {
    return a->dtype == b->dtype && a->rank == b->rank && !memcmp(a->dims, b->dims, a->rank * sizeof *a->dims);
}

tn_status check_drawn(cli *c, const check_options *o, check_draws *all, size_t k, const tn_host_tensor *got,
                      const tn_host_tensor *want, char *why, size_t size) {
    draws d;
    const tn_host_tensor *const both[] = {got, want};
    *why = 0;
    tn_status st = draw_all(c, o, all);
    if (st != TN_OK) return st;
    check_tolerance(o, want->dtype, &d.rtol, &d.atol);
    for (size_t i = 0; i < CHECK_DRAWS; i++) {
        d.of[i] = &all->draw[i][k];
        if (of_one_type(d.of[i], want)) continue;
        snprintf(why, size, "random numbers of which some draw has another shape than those recorded");
        return TN_OK;
    }
    for (size_t i = 0; i < sizeof statistics / sizeof *statistics && !*why; i++)
        judge(&d, &statistics[i], both, why, size);
    return TN_OK;
}
