/* dft.c: discrete Fourier transforms along the axis before the last, whose elements are real (1) or complex (2: real and imaginary part).
 *
 *     y [..., n, 2]           = dft x [..., n, 1 or 2]                     y[k] = sum x[j] exp(-2 pi i jk / n)
 *     y [..., n / 2 + 1, 2]   = dft x [..., n, 1] {onesided}               the frequencies that tell the others of a real signal
 *     y [..., n, 2]           = dft x [..., n, 1 or 2] {inverse}           y[j] = 1 / n sum x[k] exp(2 pi i jk / n)
 *     y [..., n, 1]           = dft x [..., n / 2 + 1, 2] {inverse, onesided, length=n}      back to a real signal
 *
 * Of frequency 0, and n / 2 of an even n, a real signal sees the real part alone. */
#include "ir/type/infer.h"

tn_dim tn_dft_half(tn_graph *g, tn_dim n) {
    return tn_dim_add(g, tn_dim_floordiv(g, n, tn_dim_const(g, 2)), tn_dim_const(g, 1));
}

int64_t tn_dft_points(int64_t n, bool real) {
    const int64_t points = real && n >= 4 && n % 2 == 0 ? n / 2 : n;
    int64_t rest = points;
    for (int64_t p = 2; p <= TN_DFT_PRIME; p++)
        while (rest > 1 && rest % p == 0) rest /= p;
    return points > 1 && rest == 1 ? points : 0;
}

tn_status tn_rule_dft(tn_infer_ctx *c) {
    const tn_attrs_dft *a = c->attrs;
    tn_dim dims[TN_MAX_RANK];
    int64_t parts = 0, length;
    const size_t r = tn_infer_rank(c, 0);
    const bool to_real = a->inverse && a->onesided;
    TN_TRY(tn_infer_require(c, 1));
    TN_TRY(tn_infer_float(c, 0));
    TN_TRY(tn_infer_computes(c, 0));
    if (r < 2) return tn_infer_error(c, "x has rank %zu; it needs 2 or more", r);
    if (!tn_dim_is_const(c->g, tn_infer_dim(c, 0, r - 1), &parts) || parts < 1 || parts > 2)
        return tn_infer_error(c, "the last axis of x is not 1 (real) or 2 (complex)");
    if (a->onesided && (parts == 2) != to_real)
        return tn_infer_error(c, to_real ? "half a spectrum is complex" : "a onesided transform of a complex signal");
    if (to_real != (a->length.i != 0))
        return tn_infer_error(c, to_real ? "length is missing" : "length is for onesided inverses alone");
    for (size_t k = 0; k < r; k++) dims[k] = tn_infer_dim(c, 0, k);
    if (to_real)
        TN_TRY(tn_infer_need(c, TN_REL_EQUAL, tn_size_axis(c, 0, r - 2),
                             tn_size_text(tn_dft_half(c->g, a->length), "half the length and 1")));
    const tn_dim n = to_real ? a->length : dims[r - 2];
    if (tn_dim_is_const(c->g, n, &length) && length > TN_DFT_LONGEST)
        return tn_infer_error(c, "a transform of length %lld; %d is the most", (long long)length, TN_DFT_LONGEST);
    if (a->onesided) dims[r - 2] = to_real ? a->length : tn_dft_half(c->g, dims[r - 2]);
    dims[r - 1] = tn_dim_const(c->g, to_real ? 1 : 2);
    return tn_infer_put(c, tn_infer_dtype(c, 0), r, dims);
}
