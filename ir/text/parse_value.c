/* parse_value.c: attributes and constants of the text form. */
#include <string.h>

#include "ir/text/parse.h"

enum { MAX_LIST = 1 << 20 };

/* ---- attributes -------------------------------------------------------------------------------------------------- */

/* One element of a list into *elem. */
static bool parse_item(tn_parser *p, tn_field_kind kind, void *elem) {
    switch (kind) {
    case TN_FIELD_ints: return tn_parse_int(p, elem);
    case TN_FIELD_nums: return tn_parse_num(p, elem);
    case TN_FIELD_dims: return tn_parse_dim(p, elem);
    default: return tn_parse_string(p, elem);
    }
}

/* A list that is a name's. */
static bool parse_named_list(tn_parser *p, tn_field_kind kind, void *field) {
    if (kind == TN_FIELD_nums) {
        const tn_name *x = tn_parse_accept_name(p, TN_NAME_NUMS);
        if (x) *(tn_nums *)field = x->nums;
        return x != NULL;
    }
    const tn_name *x = kind == TN_FIELD_ints || kind == TN_FIELD_dims ? tn_parse_accept_name(p, TN_NAME_INTS) : NULL;
    if (x && kind == TN_FIELD_dims) *(tn_dims *)field = x->sizes;
    if (!x || kind == TN_FIELD_dims) return x != NULL;
    int64_t *v = tn_graph_alloc(p->g, (x->sizes.n + 1) * sizeof *v);
    for (uint32_t k = 0; v && k < x->sizes.n; k++) tn_dim_is_const(p->g, x->sizes.p[k], &v[k]);
    *(tn_ints *)field = (tn_ints){v, x->sizes.n};
    return tn_parse_graph_ok(p);
}

/* Elements live in the graph's arena while they are read, doubling; what is outgrown stays there unused. */
static bool parse_list(tn_parser *p, tn_field_kind kind, void *field) {
    enum { ELEM = 8 };
    _Static_assert(sizeof(int64_t) <= ELEM && sizeof(double) <= ELEM && sizeof(char *) <= ELEM, "an element fits");
    size_t elem = kind == TN_FIELD_dims ? sizeof(tn_dim) : kind == TN_FIELD_strs ? sizeof(char *) : ELEM;
    uint32_t n = 0, cap = 8;
    if (parse_named_list(p, kind, field)) return true;
    char *data = tn_graph_alloc(p->g, cap * elem);
    if (!tn_parse_graph_ok(p) || !tn_parse_expect(p, "[")) return false;
    while (!tn_parse_accept(p, "]")) {
        if (n == MAX_LIST) return tn_parse_error(p, "a list has more than %d elements", MAX_LIST);
        if (n == cap) {
            char *more = tn_graph_alloc(p->g, 2 * cap * elem);
            if (!more) return tn_parse_graph_ok(p);
            memcpy(more, data, n * elem);
            data = more;
            cap *= 2;
        }
        if (n && !tn_parse_expect(p, ",")) return false;
        const tn_name *rest = kind == TN_FIELD_dims ? tn_parse_accept_rest(p) : NULL;
        if (!rest && !parse_item(p, kind, data + n++ * elem)) return false;
        for (uint32_t k = 0; rest && k < rest->sizes.n; k++) {
            if (n == cap) return tn_parse_error(p, "a list has more than %d sizes", TN_MAX_RANK);
            ((tn_dim *)(void *)data)[n++] = rest->sizes.p[k];
        }
    }
    if (kind == TN_FIELD_ints)
        *(tn_ints *)field = (tn_ints){(const void *)data, n};
    else if (kind == TN_FIELD_nums)
        *(tn_nums *)field = (tn_nums){(const void *)data, n};
    else if (kind == TN_FIELD_dims)
        *(tn_dims *)field = (tn_dims){(const void *)data, n};
    else
        *(tn_strs *)field = (tn_strs){(const void *)data, n};
    return true;
}

static bool parse_flag(tn_parser *p, bool *v) {
    const tn_name *x = tn_parse_accept_name(p, TN_NAME_SIZE);
    if (x) return *v = !tn_dim_equal_const(p->g, x->size, 0), true;
    *v = tn_parse_accept_word(p, "true");
    return *v || tn_parse_accept_word(p, "false") || tn_parse_expected(p, "true or false");
}

/* A word that is an attribute's, or a string. */
static bool parse_str(tn_parser *p, const char **v) {
    const tn_name *x = tn_parse_accept_name(p, TN_NAME_WORD);
    if (!x) return tn_parse_string(p, v);
    *v = tn_intern(p->g, x->text);
    return tn_parse_graph_ok(p);
}

static bool parse_field(tn_parser *p, const tn_field *f, void *field) {
    switch (f->kind) {
    case TN_FIELD_int: return tn_parse_int(p, field);
    case TN_FIELD_num: return tn_parse_num(p, field);
    case TN_FIELD_flag: return parse_flag(p, field);
    case TN_FIELD_str: return parse_str(p, field);
    case TN_FIELD_dtype: return tn_parse_dtype(p, field);
    case TN_FIELD_dim: return tn_parse_dim(p, field);
    case TN_FIELD_blob: return tn_parse_error(p, "attribute %s cannot be given in text", f->name);
    default: return parse_list(p, f->kind, field);
    }
}

bool tn_parse_attrs(tn_parser *p, tn_op op, tn_any_attrs *attrs) {
    tn_op_info info = tn_op_info_of(op);
    uint64_t given = 0;
    if (!tn_parse_accept(p, "{")) return !p->failed;
    for (bool first = true; !tn_parse_accept(p, "}"); first = false) {
        const char *s = NULL;
        size_t n = 0, k = 0;
        if ((!first && !tn_parse_expect(p, ",")) || !tn_parse_word(p, "an attribute's name", &s, &n)) return false;
        while (k < info.attrs.n_fields &&
               (strlen(info.attrs.fields[k].name) != n || memcmp(info.attrs.fields[k].name, s, n) != 0))
            k++;
        if (k == info.attrs.n_fields || !strcmp(info.attrs.name, "none"))
            return tn_parse_error(p, "%s has no attribute '%.*s'", info.text, (int)(n < 64 ? n : 64), s);
        if (given >> k & 1) return tn_parse_error(p, "attribute %s is given twice", info.attrs.fields[k].name);
        given |= (uint64_t)1 << k;
        if (!tn_parse_expect(p, "=") ||
            !parse_field(p, &info.attrs.fields[k], (char *)attrs + info.attrs.fields[k].offset))
            return false;
    }
    return true;
}

/* ---- constants --------------------------------------------------------------------------------------------------- */

/* A number in the type's own terms: integers exactly, and within its range. */
static bool parse_element(tn_parser *p, tn_dtype t, void *data, uint64_t i) {
    unsigned bits = tn_dtype_bits(t);
    if (tn_parse_accept_word(p, "bits")) {
        uint64_t v = 0;
        if (!tn_parse_expect(p, "(") || !tn_parse_expect(p, "0x")) return false;
        const char *s = p->s;
        for (; s - p->s < 17; s++) {
            int digit = *s >= '0' && *s <= '9' ? *s - '0' : *s >= 'a' && *s <= 'f' ? *s - 'a' + 10 : -1;
            if (digit < 0) break;
            v = v << 4 | (uint64_t)digit;
        }
        if (s == p->s || s - p->s > 16 || bits < 8 || (bits < 64 && v >> bits))
            return tn_parse_expected(p, "the bits of an element");
        p->s = s;
        for (size_t k = 0; k < bits / 8; k++) ((uint8_t *)data)[i * (bits / 8) + k] = (uint8_t)(v >> (8 * k) & 255);
        return tn_parse_expect(p, ")");
    }
    if (t == TN_U64) {
        uint64_t v = 0;
        if (!tn_parse_uint(p, &v)) return false;
        tn_store_int(t, data, i, (int64_t)v);
    } else if (t == TN_BOOL) {
        bool v = false;
        if (!parse_flag(p, &v)) return false;
        tn_store_int(t, data, i, v);
    } else if (tn_dtype_is_int(t)) {
        int64_t v = 0;
        if (!tn_parse_int(p, &v)) return false;
        tn_store_int(t, data, i, v);
        if (tn_load_int(t, data, i) != v)
            return tn_parse_error(p, "%lld does not fit in %s", (long long)v, tn_dtype_text(t));
    } else {
        double v = 0;
        if (!tn_parse_num(p, &v)) return false;
        tn_store_num(t, data, i, v);
    }
    return true;
}

static bool parse_elements(tn_parser *p, tn_dtype t, uint64_t n, void *data) {
    if (!tn_parse_expect(p, "[")) return false;
    for (uint64_t i = 0; i < n; i++)
        if ((i && !tn_parse_expect(p, ",")) || !parse_element(p, t, data, i)) return false;
    return tn_parse_expect(p, "]");
}

static bool parse_splat(tn_parser *p, tn_dtype t, uint64_t n, void *data) {
    if (!tn_parse_expect(p, "(") || !parse_element(p, t, data, 0) || !tn_parse_expect(p, ")")) return false;
    for (uint64_t i = 1; i < n; i++) tn_store_bits(t, data, i, tn_load_bits(t, data, 0));
    return true;
}

/* Steps over [...] or (...) to find the type behind it. */
static bool skip_elements(tn_parser *p, const char *close) {
    const char *s = strpbrk(p->s, close[0] == ']' ? "]{}\"" : "\n{}\"");
    if (s && close[0] == ')') {
        const char *last = NULL;
        for (const char *q = p->s; q < s; q++) /* splat(bits(0x1)) : ... */
            if (*q == ')' && (last = q) && q[1] != ')') break;
        s = last;
    }
    if (!s || *s != close[0]) return tn_parse_error(p, "a constant's elements are not closed by '%s'", close);
    while (p->s < s + 1) {
        if (*p->s == '\n') {
            p->line++;
            p->line_start = p->s + 1;
        }
        p->s++;
    }
    return true;
}

/* A blob that the side file lacks. */
static bool made_blob(tn_parser *p, uint64_t offset, size_t size, tn_blob *b) {
    void *data;
    *b = tn_blob_new(p->g, size, &data);
    if (!tn_parse_graph_ok(p)) return false;
    return p->side.make(p->side.user, offset, size, data) || tn_parse_error(p, "a constant cannot be made");
}

static bool read_blob(tn_parser *p, uint64_t offset, size_t size, tn_blob *b) {
    if (p->side.make && p->side.make(p->side.user, offset, size, NULL)) return made_blob(p, offset, size, b);
    if (!p->side.p) return tn_parse_error(p, "a constant lies in a side file of weights, which was not given");
    if (offset > p->side.size || size > p->side.size - offset)
        return tn_parse_error(p, "a constant of %zu bytes at offset %llu lies outside the side file of %zu bytes", size,
                              (unsigned long long)offset, p->side.size);
    const char *at = p->side.p + offset;
    if (p->side.retain) p->side.retain(p->side.owner);
    *b = p->side.copy ? tn_blob_copy(p->g, at, size) : tn_blob_borrow(p->g, at, size, p->side.release, p->side.owner);
    return tn_parse_graph_ok(p);
}

static bool side_blob(tn_parser *p, uint64_t offset, size_t size, tn_blob *b) {
    for (size_t k = 0; k < p->n_blobs; k++)
        if (p->blobs[k].offset == offset && p->blobs[k].size == size) return *b = p->blobs[k].blob, true;
    void *more = tn_grow(p->g->env, p->blobs, &p->cap_blobs, p->n_blobs + 1, sizeof *p->blobs);
    if (!more) return tn_graph_oom(p->g), tn_parse_graph_ok(p);
    p->blobs = more;
    if (!read_blob(p, offset, size, b)) return false;
    p->blobs[p->n_blobs++] = (struct tn_parsed_blob){offset, *b, size};
    return true;
}

/* An attribute's list as the elements of a constant. */
static bool fill_named(tn_parser *p, const tn_name *x, tn_dtype t, uint64_t n, tn_blob *b) {
    const uint32_t count = x->kind == TN_NAME_NUMS ? x->nums.n : x->sizes.n;
    void *data = NULL;
    if (count != n) return tn_parse_error(p, "%s has %u elements, the type %llu", x->s, count, (unsigned long long)n);
    *b = tn_blob_new(p->g, tn_dtype_bytes(t, n), &data);
    if (!tn_parse_graph_ok(p)) return false;
    for (uint32_t k = 0; k < count; k++) {
        int64_t v = 0;
        if (x->kind == TN_NAME_NUMS)
            tn_store_num(t, data, k, x->nums.p[k]);
        else if (tn_dim_is_const(p->g, x->sizes.p[k], &v) && tn_dtype_is_int(t))
            tn_store_int(t, data, k, v);
        else
            tn_store_num(t, data, k, (double)v);
    }
    return true;
}

static bool element_count(tn_parser *p, tn_type t, uint64_t *n) {
    *n = 1;
    for (size_t k = 0; k < tn_type_rank(p->g, t); k++) {
        int64_t d = 0;
        if (!tn_dim_is_const(p->g, tn_type_dims(p->g, t)[k], &d) || d < 0)
            return tn_parse_error(p, "a constant's shape must be made of plain sizes");
        if (__builtin_mul_overflow(*n, (uint64_t)d, n)) return tn_parse_error(p, "a constant is too large");
    }
    if (tn_dtype_bytes(tn_type_dtype(p->g, t), *n) > SIZE_MAX / 4) return tn_parse_error(p, "a constant is too large");
    return true;
}

/* Elements are read once their number and type are known: the position goes back to them and forth again. */
static bool fill(tn_parser *p, const tn_parsed_const *c, tn_parser at, tn_type t, uint64_t n, tn_blob *b) {
    tn_dtype dtype = tn_type_dtype(p->g, t);
    size_t size = tn_dtype_bytes(dtype, n);
    void *data = NULL;
    if (c->list) return fill_named(p, c->list, dtype, n, b);
    if (!c->elements) return side_blob(p, c->offset, size, b);
    if (c->splat && (n == 0 || size > TN_SPLAT_BYTES))
        return tn_parse_error(p, "splat makes 1 to %d bytes", TN_SPLAT_BYTES);
    if (!c->splat && n > (uint64_t)(p->end - c->elements)) return tn_parse_error(p, "fewer elements than the type has");
    *b = tn_blob_new(p->g, size, &data);
    if (!tn_parse_graph_ok(p)) return false;
    const char *s = p->s, *line_start = p->line_start;
    unsigned line = p->line;
    p->s = c->elements;
    p->line = at.line;
    p->line_start = at.line_start;
    bool ok = c->splat ? parse_splat(p, dtype, n, data) : parse_elements(p, dtype, n, data);
    if (!ok) return false;
    p->s = s;
    p->line = line;
    p->line_start = line_start;
    return true;
}

bool tn_parse_const(tn_parser *p, tn_val *v) {
    tn_parsed_const c = {.name = ""};
    tn_type t = {0};
    tn_blob b = {0};
    uint64_t n = 0;
    if (tn_parse_peek(p, "\"") && !tn_parse_string(p, &c.name)) return false;
    tn_parse_skip(p);
    tn_parser at = *p;
    if ((c.list = tn_parse_accept_name(p, TN_NAME_NUMS)) || (c.list = tn_parse_accept_name(p, TN_NAME_INTS))) {
        /* its elements are known */
    } else if (tn_parse_accept_word(p, "splat")) {
        tn_parse_skip(p);
        at = *p;
        c.splat = true;
        c.elements = p->s;
        if (!skip_elements(p, ")")) return false;
    } else if (tn_parse_peek(p, "[")) {
        c.elements = p->s;
        if (!skip_elements(p, "]")) return false;
    } else if (!tn_parse_expect(p, "{") || !tn_parse_accept_word(p, "offset") || !tn_parse_expect(p, "=") ||
               !tn_parse_uint(p, &c.offset) || !tn_parse_expect(p, "}")) {
        return tn_parse_expected(p, "[elements], splat(element) or {offset=N}");
    }
    if (!tn_parse_expect(p, ":") || !tn_parse_type(p, &t) || !element_count(p, t, &n) || !fill(p, &c, at, t, n, &b))
        return false;
    *v = tn_const(p->g, t, b, c.name);
    return tn_parse_graph_ok(p);
}
