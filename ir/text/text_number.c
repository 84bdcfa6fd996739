/* text_number.c: numbers and attributes as text, exactly and independently of the locale. */
#include <inttypes.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ir/text/text.h"

double tn_read_num(const char *s, char **end) {
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0); /* static in libc: allocates nothing */
    double v = c ? strtod_l(s, end, c) : strtod(s, end);
    if (c) freelocale(c);
    return v;
}

static void format(char *buf, size_t size, int digits, double v) {
    snprintf(buf, size, "%.*g", digits, v);
    for (char *p = buf; *p; p++)
        if (*p == ',') *p = '.'; /* a locale's decimal point */
}

void tn_out_num(tn_out *o, double v) {
    char buf[64], *end = NULL;
    for (int digits = 6; digits <= 17; digits++) {
        format(buf, sizeof buf, digits, v);
        double back = tn_read_num(buf, &end);
        if (!memcmp(&back, &v, sizeof v)) break;
    }
    tn_out_str(o, buf);
}

void tn_out_element(tn_out *o, tn_dtype t, const void *data, uint64_t i) {
    char buf[64], *end = NULL;
    uint8_t is[TN_ELEM_BYTES] = {0}, back[TN_ELEM_BYTES] = {0};
    size_t bytes = tn_dtype_bytes(t, 1);
    uint64_t bits = 0;
    tn_store_bits(t, is, 0, tn_load_bits(t, data, i));
    if (t == TN_U64)
        tn_out_fmt(o, "%" PRIu64, (uint64_t)tn_load_int(t, data, i));
    else if (t == TN_BOOL && is[0] <= 1)
        tn_out_str(o, is[0] ? "true" : "false");
    else if (tn_dtype_is_int(t))
        tn_out_fmt(o, "%" PRId64, tn_load_int(t, data, i));
    else {
        double v = tn_load_num(t, data, i);
        for (int digits = t == TN_F64 ? 6 : 2; digits <= 17 && t != TN_BOOL; digits++) {
            format(buf, sizeof buf, digits, v);
            tn_store_num(t, back, 0, tn_read_num(buf, &end));
            if (memcmp(is, back, bytes) != 0) continue;
            tn_out_str(o, buf);
            return;
        }
        for (size_t k = 0; k < bytes; k++) bits |= (uint64_t)is[k] << (8 * k);
        tn_out_fmt(o, "bits(0x%" PRIx64 ")", bits);
    }
}

/* ---- attributes -------------------------------------------------------------------------------------------------- */

static void out_list(tn_out *o, const tn_graph *g, const tn_field *f, const void *p) {
    uint32_t n = f->kind == TN_FIELD_ints   ? ((const tn_ints *)p)->n
                 : f->kind == TN_FIELD_nums ? ((const tn_nums *)p)->n
                 : f->kind == TN_FIELD_dims ? ((const tn_dims *)p)->n
                                            : ((const tn_strs *)p)->n;
    tn_out_str(o, "[");
    for (uint32_t k = 0; k < n; k++) {
        if (k) tn_out_str(o, ",");
        if (f->kind == TN_FIELD_ints)
            tn_out_fmt(o, "%" PRId64, ((const tn_ints *)p)->p[k]);
        else if (f->kind == TN_FIELD_nums)
            tn_out_num(o, ((const tn_nums *)p)->p[k]);
        else if (f->kind == TN_FIELD_dims)
            tn_out_dim(o, g, ((const tn_dims *)p)->p[k]);
        else
            tn_out_quoted(o, ((const tn_strs *)p)->p[k] ? ((const tn_strs *)p)->p[k] : "");
    }
    tn_out_str(o, "]");
}

static void out_field(tn_out *o, const tn_graph *g, const tn_field *f, const void *p) {
    switch (f->kind) {
    case TN_FIELD_int: tn_out_fmt(o, "%" PRId64, *(const tn_attr_int *)p); break;
    case TN_FIELD_num: tn_out_num(o, *(const tn_attr_num *)p); break;
    case TN_FIELD_flag: tn_out_str(o, *(const tn_attr_flag *)p ? "true" : "false"); break;
    case TN_FIELD_str: tn_out_quoted(o, *(const tn_attr_str *)p); break;
    case TN_FIELD_dtype: tn_out_str(o, tn_dtype_text(*(const tn_attr_dtype *)p)); break;
    case TN_FIELD_dim: tn_out_dim(o, g, *(const tn_attr_dim *)p); break;
    case TN_FIELD_blob: tn_out_str(o, "?"); break; /* only const has one, and prints it itself */
    default: out_list(o, g, f, p); break;
    }
}

void tn_out_attrs(tn_out *o, const tn_graph *g, tn_op op, const void *attrs) {
    tn_op_info info = tn_op_info_of(op);
    const char *before = " {";
    if (!strcmp(info.attrs.name, "none")) return;
    for (size_t k = 0; k < info.attrs.n_fields; k++) {
        const tn_field *f = &info.attrs.fields[k];
        if (tn_field_is_default(f, attrs)) continue;
        tn_out_str(o, before);
        tn_out_str(o, f->name);
        tn_out_str(o, "=");
        out_field(o, g, f, (const char *)attrs + f->offset);
        before = ", ";
    }
    if (before[0] == ',') tn_out_str(o, "}");
}
