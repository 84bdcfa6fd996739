/* convert.c: elements of any dtype to and from blocks of double or int64. */
#include <math.h>

#include "ir/eval/internal.h"

static double bf16_to_double(uint16_t h) {
    uint32_t bits = (uint32_t)h << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return (double)f;
}

/* All dtypes that plain C types hold: X(dtype, C type). */
#define INT_TYPES(X)                                                                                                   \
    X(I64, int64_t)                                                                                                    \
    X(I32, int32_t) X(I16, int16_t) X(I8, int8_t) X(U64, uint64_t) X(U32, uint32_t) X(U16, uint16_t) X(U8, uint8_t)

/* The loop is written for stride 1 too, so that compilers vectorise it. */
#define LOOP(expr_1, expr_s)                                                                                           \
    if (stride == 1)                                                                                                   \
        for (size_t k = 0; k < n; k++) expr_1;                                                                         \
    else                                                                                                               \
        for (size_t k = 0; k < n; k++) expr_s;                                                                         \
    return

void tn_ev_load_f(const tn_tensor *t, int64_t at, int64_t stride, size_t n, double *dst) {
#define S ((int64_t)k * stride)
    switch (t->dtype) {
    case TN_F64: {
        const double *p = (const double *)t->data + at;
        LOOP(dst[k] = p[k], dst[k] = p[S]);
    }
    case TN_F32: {
        const float *p = (const float *)t->data + at;
        LOOP(dst[k] = (double)p[k], dst[k] = (double)p[S]);
    }
    case TN_F16: tn_ev_widen_f16((const uint16_t *)t->data + at, stride, n, dst); return;
    case TN_BF16: {
        const uint16_t *p = (const uint16_t *)t->data + at;
        LOOP(dst[k] = bf16_to_double(p[k]), dst[k] = bf16_to_double(p[S]));
    }
#define X(id, T)                                                                                                       \
    case TN_##id: {                                                                                                    \
        const T *p = (const T *)t->data + at;                                                                          \
        LOOP(dst[k] = (double)p[k], dst[k] = (double)p[S]);                                                            \
    }
        INT_TYPES(X)
#undef X
    case TN_BOOL: {
        const uint8_t *p = (const uint8_t *)t->data + at;
        LOOP(dst[k] = p[k] ? 1 : 0, dst[k] = p[S] ? 1 : 0);
    }
    default:
        for (size_t k = 0; k < n; k++) dst[k] = tn_load_num(t->dtype, t->data, (uint64_t)(at + S));
    }
}

void tn_ev_load_i(const tn_tensor *t, int64_t at, int64_t stride, size_t n, int64_t *dst) {
    switch (t->dtype) {
#define X(id, T)                                                                                                       \
    case TN_##id: {                                                                                                    \
        const T *p = (const T *)t->data + at;                                                                          \
        LOOP(dst[k] = (int64_t)p[k], dst[k] = (int64_t)p[S]);                                                          \
    }
        INT_TYPES(X)
#undef X
    case TN_BOOL: {
        const uint8_t *p = (const uint8_t *)t->data + at;
        LOOP(dst[k] = p[k] ? 1 : 0, dst[k] = p[S] ? 1 : 0);
    }
    default:
        for (size_t k = 0; k < n; k++)
            dst[k] = tn_dtype_is_float(t->dtype)
                         ? tn_float_to_int(tn_load_num(t->dtype, t->data, (uint64_t)(at + S)), false)
                         : tn_load_int(t->dtype, t->data, (uint64_t)(at + S));
    }
}

void tn_ev_store_f(tn_tensor *t, int64_t at, int64_t stride, size_t n, const double *src) {
    switch (t->dtype) {
    case TN_F64: {
        double *p = (double *)t->data + at;
        LOOP(p[k] = src[k], p[S] = src[k]);
    }
    case TN_F32: {
        float *p = (float *)t->data + at;
        LOOP(p[k] = (float)src[k], p[S] = (float)src[k]);
    }
#define X(id, T)                                                                                                       \
    case TN_##id: {                                                                                                    \
        T *p = (T *)t->data + at;                                                                                      \
        bool u = (T)-1 > 0;                                                                                            \
        LOOP(p[k] = (T)tn_float_to_int(src[k], u), p[S] = (T)tn_float_to_int(src[k], u));                              \
    }
        INT_TYPES(X)
#undef X
    case TN_BOOL: {
        uint8_t *p = (uint8_t *)t->data + at;
        LOOP(p[k] = src[k] != 0, p[S] = src[k] != 0);
    }
    case TN_F16:
    case TN_BF16:
        if (stride == 1)
            tn_ev_narrow_f64(t->dtype, src, (uint16_t *)t->data + at, n);
        else
            for (size_t k = 0; k < n; k++) tn_store_num(t->dtype, t->data, (uint64_t)(at + S), src[k]);
        return;
    default:
        for (size_t k = 0; k < n; k++) tn_store_num(t->dtype, t->data, (uint64_t)(at + S), src[k]);
    }
}

void tn_ev_store_i(tn_tensor *t, int64_t at, int64_t stride, size_t n, const int64_t *src) {
    switch (t->dtype) {
#define X(id, T)                                                                                                       \
    case TN_##id: {                                                                                                    \
        T *p = (T *)t->data + at;                                                                                      \
        LOOP(p[k] = (T)src[k], p[S] = (T)src[k]);                                                                      \
    }
        INT_TYPES(X)
#undef X
    case TN_BOOL: {
        uint8_t *p = (uint8_t *)t->data + at;
        LOOP(p[k] = src[k] != 0, p[S] = src[k] != 0);
    }
    default:
        for (size_t k = 0; k < n; k++) {
            if (tn_dtype_is_float(t->dtype))
                tn_store_num(t->dtype, t->data, (uint64_t)(at + S), (double)src[k]);
            else
                tn_store_int(t->dtype, t->data, (uint64_t)(at + S), src[k]);
        }
    }
#undef S
}

void tn_ev_convert(tn_tensor *dst, const tn_tensor *src) {
    int64_t n = tn_tensor_numel(src);
    if (dst->dtype == src->dtype) {
        size_t bytes = tn_dtype_bytes(src->dtype, (uint64_t)n);
        if (bytes && dst->data != src->data) memcpy(dst->data, src->data, bytes);
        return;
    }
    if (src->dtype == TN_F32 && (dst->dtype == TN_F16 || dst->dtype == TN_BF16)) { /* a model's weights */
        tn_ev_narrow_f32(dst->dtype, src->data, dst->data, (size_t)n);
        return;
    }
    bool floats = tn_dtype_is_float(src->dtype);
    for (int64_t at = 0; at < n; at += 512) {
        size_t m = n - at < 512 ? (size_t)(n - at) : 512;
        double f[512];
        int64_t i[512];
        if (floats) {
            tn_ev_load_f(src, at, 1, m, f);
            tn_ev_store_f(dst, at, 1, m, f);
        } else if (src->dtype == TN_U64 && dst->dtype == TN_F32) { /* straight: a double between would round twice */
            for (size_t k = 0; k < m; k++)
                ((float *)dst->data)[at + (int64_t)k] = (float)((const uint64_t *)src->data)[at + (int64_t)k];
        } else if (src->dtype == TN_U64 && tn_dtype_is_float(dst->dtype)) {
            tn_ev_load_f(src, at, 1, m, f);
            tn_ev_store_f(dst, at, 1, m, f);
        } else {
            tn_ev_load_i(src, at, 1, m, i);
            tn_ev_store_i(dst, at, 1, m, i);
        }
    }
}

/* ---- of constants ---- */

void tn_load_floats(tn_dtype t, const void *data, uint64_t at, size_t n, double *v) {
    const tn_tensor x = {.dtype = t, .data = (void *)(uintptr_t)data};
    tn_ev_load_f(&x, (int64_t)at, 1, n, v);
}

void tn_store_floats(tn_dtype t, void *data, uint64_t at, size_t n, const double *v) {
    tn_tensor x = {.dtype = t, .data = data};
    tn_ev_store_f(&x, (int64_t)at, 1, n, v);
}
