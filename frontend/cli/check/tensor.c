/* tensor.c: how near is near enough.
 *
 * An element is right within atol + rtol * |wanted|.  In 16 bits a sum whose terms cancel is off by more than that, and
 * how much depends on the model: what is outside is compared again, with what rounding alone can do to that element
 * (spread.h) allowed as well.  A result most of which needs that has no digits left, and is wrong. */
#include <math.h>
#include <string.h>

#include "frontend/cli/check/spread.h"
#include "frontend/cli/check/suite.h"

enum { FEW = 4 };

static tn_precision precision_of(const check_options *o, tn_dtype out) {
    if (out == TN_F16 && o->setup->options.precision == TN_FP32) return TN_FP16;
    return out == TN_BF16 ? TN_PREC_BF16 : o->setup->options.precision;
}

/* By the precision of the compilation or of the output itself, whichever is coarser. */
void check_tolerance(const check_options *o, tn_dtype out, double *rtol, double *atol) {
    static const double table[][2] = {[TN_FP32] = {1e-3, 1e-5},
                                      [TN_PREC_TF32] = {2e-2, 2e-3},
                                      [TN_FP16] = {2e-2, 2e-3},
                                      [TN_PREC_BF16] = {1e-1, 1e-2}};
    const double *otherwise = table[precision_of(o, out)];
    *rtol = o->rtol < 0 ? otherwise[0] : o->rtol;
    *atol = o->atol < 0 ? otherwise[1] : o->atol;
}

/* What rounding does to output k, if that is asked for and can be said. */
static const double *spread_of(cli *c, const check_options *o, check_margin *m, size_t k, uint64_t n) {
    if (!m->tried) {
        tn_env loud = c->env;
        c->env.diag = NULL; /* no spread is no error */
        m->tried = true;
        if (cli_spread(c, m->model, o->setup, m->in, m->n_in, m->n_out, m->spread, m->count) != TN_OK)
            cli_free_spread(c, m->spread, m->count, m->n_out);
        c->env = loud;
    }
    return k < m->n_out && m->count[k] == n ? m->spread[k] : NULL;
}

static void describe(const cli_diff *d, tn_precision p, char *why, size_t size) {
    size_t n = (size_t)snprintf(why, size, "%llu of %llu elements differ, first at %llu: %.9g, wanted %.9g",
                                (unsigned long long)d->bad, (unsigned long long)d->n, (unsigned long long)d->first_bad,
                                d->got, d->want);
    if (!d->lost || n >= size) return;
    n += (size_t)snprintf(why + n, size - n, "; %llu are infinite or NaN where finite numbers are wanted",
                          (unsigned long long)d->lost);
    if (n >= size) return;
    if (p == TN_FP16)
        snprintf(why + n, size - n, ": a value on the way is beyond fp16's 65504, try --precision bf16 or fp32");
    else if (p == TN_PREC_BF16)
        snprintf(why + n, size - n, ": try --precision fp32");
}

bool check_tensor(cli *c, const check_options *o, check_margin *m, size_t k, const tn_host_tensor *got,
                  const tn_host_tensor *want, cli_diff *d, char *why, size_t size) {
    double rtol, atol;
    const tn_precision p = precision_of(o, want->dtype);
    const bool given = o->rtol >= 0 || o->atol >= 0;
    *why = 0;
    check_tolerance(o, want->dtype, &rtol, &atol);
    if (!cli_compare(got, want, rtol, atol, NULL, d, why, size)) return false;
    if (d->bad && !given && (p == TN_FP16 || p == TN_PREC_BF16)) {
        const uint64_t beyond = d->bad;
        const double *spread = spread_of(c, o, m, k, d->n);
        if (spread) cli_compare(got, want, rtol, atol, spread, d, why, size);
        d->excused = beyond - d->bad;
    }
    if (d->bad)
        describe(d, p, why, size);
    else if (d->excused > FEW && d->excused > d->n / 4) {
        snprintf(why, size,
                 "rounding explains what is wrong with %llu of %llu elements: little is left of this result in %s, try "
                 "--precision fp32",
                 (unsigned long long)d->excused, (unsigned long long)d->n, p == TN_FP16 ? "fp16" : "bf16");
        d->excused = 0;
    }
    return true;
}

const char *check_excuse(const cli_diff *d, char *buf, size_t size) {
    *buf = 0;
    if (d->excused && !d->bad)
        snprintf(buf, size, " (%llu of %llu elements only within what rounding explains)",
                 (unsigned long long)d->excused, (unsigned long long)d->n);
    return buf;
}

void check_margin_free(cli *c, check_margin *m) {
    cli_free_spread(c, m->spread, m->count, m->n_out);
}
