/* dft.c: Fourier transforms in double (ir/type/dft.c says what they are). */
#include "ir/eval/internal.h"
#include "ir/graph/fft.h"

typedef struct signal {
    int64_t n, have, parts, out, out_parts, rows; /* have: elements of a row of x */
    bool to_real;
} signal;

/* One row of x as n complex numbers. */
static void take(const tn_ev *c, const signal *s, int64_t row, double *v, tn_complex *x) {
    tn_ev_load_f(&c->in[0], row * s->have * s->parts, 1, (size_t)(s->have * s->parts), v);
    for (int64_t k = 0; k < s->n; k++) {
        const bool mirrored = k >= s->have;
        const int64_t at = mirrored ? s->n - k : k;
        const double im = s->parts == 2 ? v[at * 2 + 1] : 0;
        x[k] = (tn_complex){v[at * s->parts], mirrored ? -im : im};
    }
    if (s->to_real) x[0].im = 0;
    if (s->to_real && s->n % 2 == 0) x[s->n / 2].im = 0;
}

static void give(tn_ev *c, const signal *s, int64_t row, double by, const tn_complex *x, double *v) {
    for (int64_t k = 0; k < s->out; k++) {
        v[k * s->out_parts] = x[k].re * by;
        if (s->out_parts == 2) v[k * 2 + 1] = x[k].im * by;
    }
    tn_ev_store_f(&c->out[0], row * s->out * s->out_parts, 1, (size_t)(s->out * s->out_parts), v);
}

static signal signal_of(const tn_ev *c) {
    const tn_attrs_dft *a = c->attrs;
    const tn_tensor *x = &c->in[0], *y = &c->out[0];
    const size_t r = x->rank;
    signal s = {.have = x->dims[r - 2], .parts = x->dims[r - 1], .out = y->dims[r - 2], .out_parts = y->dims[r - 1]};
    s.to_real = a->inverse && a->onesided;
    s.n = s.to_real ? s.out : s.have;
    s.rows = tn_ev_product(x, 0, r - 2);
    return s;
}

tn_status tn_ev_dft(tn_ev *c) {
    const signal s = signal_of(c);
    const bool inverse = ((const tn_attrs_dft *)c->attrs)->inverse;
    if (s.to_real && s.n && s.have != s.n / 2 + 1)
        return tn_ev_fail(c, TN_E_TYPE, "%lld frequencies of a signal of %lld", (long long)s.have, (long long)s.n);
    if (s.n == 0) return memset(c->out[0].data, 0, c->out[0].bytes), TN_OK; /* sums of nothing */
    tn_fft *f = tn_fft_new(c->env, s.n, inverse ? 1 : -1);
    double *v = tn_ev_scratch(c, s.n + 1, 2 * sizeof *v);
    tn_complex *x = tn_ev_scratch(c, s.n, sizeof *x);
    const bool ok = f && v && x;
    for (int64_t row = 0; ok && row < s.rows; row++) {
        take(c, &s, row, v, x);
        tn_fft_run(f, x);
        give(c, &s, row, inverse ? 1 / (double)s.n : 1, x, v);
    }
    tn_fft_free(f);
    tn_ev_drop(c, v, s.n + 1, 2 * sizeof *v);
    tn_ev_drop(c, x, s.n, sizeof *x);
    return ok ? TN_OK : tn_ev_no_memory(c);
}
