/* tensors.c: tensors from and to files (.npy, .pb, .bin; npz.c has .npz), random tensors, comparison. */
#include "frontend/cli/cli.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ir/text/output.h"

bool cli_has_suffix(const char *s, const char *suffix) {
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && !strcmp(s + n - m, suffix);
}

uint64_t cli_numel(const tn_host_tensor *t) {
    uint64_t n = 1;
    for (uint32_t k = 0; k < t->rank; k++) n *= (uint64_t)t->dims[k];
    return n;
}

void cli_shape_text(uint32_t rank, const int64_t *dims, char *buf, size_t size) {
    size_t n = 0;
    for (uint32_t k = 0; k < rank && n < size; k++)
        n += (size_t)snprintf(buf + n, size - n, "%s%lld", k ? "x" : "", (long long)dims[k]);
    if (rank == 0) snprintf(buf, size, "scalar");
}

void cli_free_tensor(cli *c, tn_host_tensor *t) {
    tn_free(&c->env, t->data, t->bytes);
    memset(t, 0, sizeof *t);
}

static tn_status cannot_be_held(cli *c, uint32_t rank, const int64_t *dims) {
    char shape[160];
    cli_shape_text(rank, dims, shape, sizeof shape);
    return tn_fail(&c->env, TN_E_TYPE, "", "", "a tensor of shape %s cannot be held", shape);
}

tn_status cli_new_tensor(cli *c, tn_dtype t, uint32_t rank, const int64_t *dims, tn_host_tensor *out) {
    memset(out, 0, sizeof *out);
    if (rank > TN_MAX_RANK) return tn_fail(&c->env, TN_E_TYPE, "", "", "rank %u is above %d", rank, TN_MAX_RANK);
    uint64_t n = 1;
    bool empty = false; /* whatever its other sizes */
    for (uint32_t k = 0; k < rank; k++) empty |= dims[k] == 0;
    for (uint32_t k = 0; k < rank; k++) {
        if (dims[k] < 0 || (!empty && n > (UINT64_C(1) << 40) / (uint64_t)dims[k]))
            return cannot_be_held(c, rank, dims);
        n *= empty ? 0 : (uint64_t)dims[k];
        out->dims[k] = dims[k];
    }
    out->dtype = t;
    out->rank = rank;
    out->bytes = tn_dtype_bytes(t, n);
    out->data = tn_alloc(&c->env, out->bytes ? out->bytes : 1);
    if (!out->bytes) out->bytes = 1;
    return out->data ? TN_OK : tn_fail(&c->env, TN_E_MEMORY, "", "", "no memory for a tensor of %zu bytes", out->bytes);
}

/* ---- .npy: the format of NumPy's lib.format, versions 1 to 3 ---- */

static const struct npy_type {
    const char *descr;
    tn_dtype dtype;
} npy_types[] = {
    {"<f8", TN_F64}, {"<f4", TN_F32}, {"<f2", TN_F16}, {"<i8", TN_I64}, {"<i4", TN_I32}, {"<i2", TN_I16},
    {"|i1", TN_I8},  {"<u8", TN_U64}, {"<u4", TN_U32}, {"<u2", TN_U16}, {"|u1", TN_U8},  {"|b1", TN_BOOL},
};
enum { N_NPY = sizeof npy_types / sizeof *npy_types };

char *cli_read_file(cli *c, const char *path, size_t *size) {
    FILE *f = fopen(path, "rb");
    char *data = NULL;
    long n = -1;
    if (f && fseek(f, 0, SEEK_END) == 0 && (n = ftell(f)) >= 0 && fseek(f, 0, SEEK_SET) == 0)
        data = tn_alloc(&c->env, (size_t)n + 1);
    bool ok = data && fread(data, 1, (size_t)n, f) == (size_t)n;
    if (!ok) tn_fail(&c->env, TN_E_IO, path, "", "cannot be read: %s", errno ? strerror(errno) : "short read");
    if (f) fclose(f);
    if (!ok && data) tn_free(&c->env, data, (size_t)n + 1), data = NULL;
    *size = ok ? (size_t)n : 0;
    return data;
}

static bool npy_shape(const char *p, uint32_t *rank, int64_t dims[TN_MAX_RANK]) {
    p = strchr(p, '(');
    if (!p) return false;
    p++;
    *rank = 0;
    for (;;) {
        while (*p == ' ' || *p == ',') p++;
        if (*p == ')') return true;
        char *end;
        errno = 0;
        long long v = strtoll(p, &end, 10);
        if (end == p || v < 0 || errno || *rank == TN_MAX_RANK) return false;
        dims[(*rank)++] = v;
        p = *end == 'L' ? end + 1 : end;
    }
}

tn_status cli_parse_npy(cli *c, const char *path, const char *data, size_t size, tn_host_tensor *out) {
    const unsigned char *u = (const unsigned char *)data;
    size_t start = 10, head = 0;
    if (size < 12 || memcmp(data, "\x93NUMPY", 6)) return tn_fail(&c->env, TN_E_FORMAT, path, "", "not a .npy file");
    head = (size_t)u[8] | (size_t)u[9] << 8;
    if (u[6] >= 2) head |= (size_t)u[10] << 16 | (size_t)u[11] << 24, start = 12;
    if (head > size - start || head > 65536) return tn_fail(&c->env, TN_E_FORMAT, path, "", "the header is damaged");
    char *text = tn_alloc(&c->env, head + 1);
    if (!text) return TN_E_MEMORY;
    memcpy(text, data + start, head);
    const char *descr = strstr(text, "'descr'"), *order = strstr(text, "'fortran_order'"),
               *shape = strstr(text, "'shape'");
    tn_status s = TN_OK;
    tn_dtype type = TN_DTYPE_NONE;
    uint32_t rank = 0;
    int64_t dims[TN_MAX_RANK];
    if (!descr || !order || !shape || !npy_shape(shape, &rank, dims)) {
        s = tn_fail(&c->env, TN_E_FORMAT, path, "", "the header is damaged");
    } else {
        const char *v = strchr(descr + 7, '\'');
        for (int k = 0; v && k < N_NPY; k++)
            if (!strncmp(v + 1, npy_types[k].descr, 3) || (v[1] == '=' && !strncmp(v + 2, npy_types[k].descr + 1, 2)))
                type = npy_types[k].dtype;
        const char *comma = strchr(order + 15, ',');
        const char *yes = strstr(order, "True");
        if (type == TN_DTYPE_NONE)
            s = tn_fail(&c->env, TN_E_UNSUPPORTED, path, "save it little-endian as a plain number type",
                        "element type '%.*s' is not supported", v ? (int)strcspn(v + 1, "'") : 0, v ? v + 1 : "");
        else if (yes && comma && yes < comma)
            s = tn_fail(&c->env, TN_E_UNSUPPORTED, path, "np.save(np.ascontiguousarray(x))", "Fortran order");
    }
    tn_free(&c->env, text, head + 1);
    if (s == TN_OK) s = cli_new_tensor(c, type, rank, dims, out);
    if (s != TN_OK) return s;
    size_t want = tn_dtype_bytes(type, cli_numel(out));
    if (want != size - start - head) {
        cli_free_tensor(c, out);
        return tn_fail(&c->env, TN_E_FORMAT, path, "", "holds %zu bytes of data, its shape needs %zu",
                       size - start - head, want);
    }
    memcpy(out->data, data + start + head, want);
    return TN_OK;
}

tn_status cli_print_npy(cli *c, FILE *f, const tn_host_tensor *t) {
    const char *descr = NULL;
    tn_host_tensor wide = *t;
    for (int k = 0; k < N_NPY; k++)
        if (npy_types[k].dtype == t->dtype) descr = npy_types[k].descr;
    if (!descr) { /* NumPy has no such type: bf16, fp8 as f32, packed integers as i8 */
        tn_dtype to = tn_dtype_is_float(t->dtype) ? TN_F32 : TN_I8;
        descr = to == TN_F32 ? "<f4" : "|i1";
        tn_status s = cli_new_tensor(c, to, t->rank, t->dims, &wide);
        if (s != TN_OK) return s;
        for (uint64_t i = 0, n = cli_numel(t); i < n; i++)
            tn_store_num(to, wide.data, i, tn_load_num(t->dtype, t->data, i));
    }
    char head[256], shape[160] = "";
    size_t m = 0;
    for (uint32_t k = 0; k < t->rank; k++)
        m += (size_t)snprintf(shape + m, sizeof shape - m, "%lld, ", (long long)t->dims[k]);
    int n = snprintf(head, sizeof head, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, shape);
    int padded = (10 + n + 1 + 63) / 64 * 64 - 10;
    unsigned char pre[10] = {
        0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (unsigned char)(padded & 255), (unsigned char)(padded >> 8)};
    fwrite(pre, 1, 10, f);
    fprintf(f, "%-*s\n", padded - 1, head);
    if (wide.data) fwrite(wide.data, 1, tn_dtype_bytes(wide.dtype, cli_numel(&wide)), f);
    if (wide.data != t->data) cli_free_tensor(c, &wide);
    return TN_OK;
}

tn_status cli_write_npy(cli *c, const char *path, const tn_host_tensor *t) {
    tn_output o;
    tn_status s = tn_output_begin(&c->env, path, &o);
    return s == TN_OK ? tn_output_end(&o, cli_print_npy(c, o.f, t)) : s;
}

tn_status cli_read_tensor(cli *c, const char *path, const tn_tensor_desc *expected, tn_host_tensor *out) {
    memset(out, 0, sizeof *out);
    if (cli_has_suffix(path, ".pb")) return tn_read_tensor_pb(&c->env, path, out);
    if (cli_has_suffix(path, ".npz")) return cli_read_npz(c, path, expected ? expected->name : "", out);
    size_t size;
    char *data = cli_read_file(c, path, &size);
    if (!data) return TN_E_IO;
    tn_status s;
    if (cli_has_suffix(path, ".npy")) {
        s = cli_parse_npy(c, path, data, size, out);
    } else if (!cli_has_suffix(path, ".bin")) {
        s = tn_fail(&c->env, TN_E_ARGUMENT, path, "use .npy, .npz, .pb or .bin", "unknown kind of tensor file");
    } else if (!expected) {
        s = tn_fail(&c->env, TN_E_ARGUMENT, path, "use .npy or .pb", "raw bytes have no shape of their own here");
    } else {
        int64_t dims[TN_MAX_RANK];
        memcpy(dims, expected->dims, sizeof dims);
        s = cli_new_tensor(c, expected->dtype, expected->rank, dims, out);
        if (s == TN_OK && tn_dtype_bytes(out->dtype, cli_numel(out)) != size) {
            s = tn_fail(&c->env, TN_E_TYPE, path, "", "holds %zu bytes, input %s needs %zu", size, expected->name,
                        tn_dtype_bytes(out->dtype, cli_numel(out)));
            cli_free_tensor(c, out);
        } else if (s == TN_OK) {
            memcpy(out->data, data, size);
        }
    }
    tn_free(&c->env, data, size + 1);
    return s;
}

static uint64_t next_random(uint64_t *state) { /* splitmix64, Steele et al. 2014 */
    uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

tn_status cli_random_tensor(cli *c, const tn_tensor_desc *d, uint64_t seed, tn_host_tensor *out) {
    tn_status s = cli_new_tensor(c, d->dtype, d->rank, d->dims, out);
    for (uint64_t i = 0, n = s == TN_OK ? cli_numel(out) : 0; i < n; i++) {
        uint64_t r = next_random(&seed);
        if (tn_dtype_is_float(d->dtype))
            tn_store_num(d->dtype, out->data, i, (double)(r >> 11) * 0x1p-52 - 1.0);
        else
            tn_store_int(d->dtype, out->data, i, (int64_t)(r % (d->dtype == TN_BOOL ? 2 : 4)));
    }
    return s;
}

bool cli_compare(const tn_host_tensor *got, const tn_host_tensor *want, double rtol, double atol, const double *spread,
                 cli_diff *d, char *message, size_t size) {
    memset(d, 0, sizeof *d);
    bool same = got->rank == want->rank && got->dtype == want->dtype;
    for (uint32_t k = 0; same && k < got->rank; k++) same = got->dims[k] == want->dims[k];
    if (!same) {
        char a[160], b[160];
        cli_shape_text(got->rank, got->dims, a, sizeof a);
        cli_shape_text(want->rank, want->dims, b, sizeof b);
        snprintf(message, size, "is %s %s, recorded is %s %s", tn_dtype_text(got->dtype), a, tn_dtype_text(want->dtype),
                 b);
        return false;
    }
    double dot = 0, gg = 0, ww = 0;
    d->n = cli_numel(got);
    for (uint64_t i = 0; i < d->n; i++) {
        double g = tn_load_num(got->dtype, got->data, i), w = tn_load_num(want->dtype, want->data, i);
        double e = fabs(g - w);
        bool bad;
        if (isnan(g) || isnan(w))
            bad = isnan(g) != isnan(w), e = bad ? INFINITY : 0;
        else if (isinf(g) || isinf(w))
            bad = g != w, e = bad ? INFINITY : 0;
        else
            bad = e > atol + rtol * fabs(w) + (spread ? spread[i] : 0), dot += g * w, gg += g * g, ww += w * w;
        if (e > d->max_abs) d->max_abs = e;
        if (fabs(w) > 0 && e / fabs(w) > d->max_rel) d->max_rel = e / fabs(w);
        if (bad && !d->bad++) d->first_bad = i, d->got = g, d->want = w;
        d->lost += bad && !isfinite(g) && isfinite(w);
    }
    d->cosine = gg > 0 && ww > 0 ? dot / sqrt(gg * ww) : (gg == ww ? 1 : 0);
    return true;
}
