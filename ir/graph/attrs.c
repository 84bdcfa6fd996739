/* attrs.c: the op table and the attribute structs, driven by field tables that ops.def generates.
 *
 * Whatever is done to "an attribute struct" (copying, comparing, hashing, printing, parsing, binding symbols) walks its
 * field table; a new struct or field in ops.def needs no code. */
#include <string.h>
#include <xxhash.h>

#include "ir/internal.h"

typedef enum struct_id {
#define STRUCT(name) STRUCT_##name,
    TN_ATTRS(STRUCT)
#undef STRUCT
} struct_id;

/* One table of fields per struct.  The local typedef lets the field macro name the struct it stands in. */
static tn_struct_info struct_info(struct_id id) {
    switch (id) {
#define FIELD(kind, name) {#name, TN_FIELD_##kind, offsetof(self, name)},
#define STRUCT(name)                                                                                                   \
    case STRUCT_##name: {                                                                                              \
        typedef tn_attrs_##name self;                                                                                  \
        static const tn_field fields[] = {TN_ATTRS_##name(FIELD)};                                                     \
        return (tn_struct_info){#name, sizeof(self), sizeof fields / sizeof *fields, fields};                          \
    }
        TN_ATTRS(STRUCT)
#undef STRUCT
#undef FIELD
    }
    return (tn_struct_info){"none", 0, 0, NULL};
}

tn_op_info tn_op_info_of(tn_op op) {
    switch (op) {
#define OP(id, text, lo, hi, results, traits, cost, values, policy, role, attrs, rule)                                 \
    case TN_OP_##id: return (tn_op_info){text, lo, hi, results, struct_info(STRUCT_##attrs)};
        TN_OPS(OP)
#undef OP
    case TN_OP_NONE:
    case TN_OP_COUNT: break;
    }
    return (tn_op_info){"none", 0, -1, -1, struct_info(STRUCT_none)};
}

const char *tn_op_text(tn_op op) {
    static const char *const texts[TN_OP_COUNT] = {[TN_OP_NONE] = "none",
#define OP(id, text, ...) [TN_OP_##id] = text,
                                                   TN_OPS(OP)
#undef OP
    };
    return (unsigned)op < TN_OP_COUNT ? texts[op] : "none";
}

/* Traits that the columns imply. */
enum {
    ROLE_none = 0,
    ROLE_inline = TN_T_INLINE,
    ROLE_sample = TN_T_SAMPLE,
    ROLE_bare = TN_T_ANCHOR,
    ROLE_cheap = TN_T_ANCHOR,
    ROLE_any = TN_T_ANCHOR,
    VALUES_pick = TN_T_PICK | TN_T_SMOOTH,
    VALUES_near = TN_T_SMOOTH,
    VALUES_snap = TN_T_PICK | TN_T_STEP,
    VALUES_step = TN_T_STEP,
    VALUES_blur = 0
};

const tn_op_facts *tn_op_facts_of(tn_op op) {
    static const tn_op_facts facts[TN_OP_COUNT] = {
#define OP(id, text, lo, hi, results, traits, cost, values, policy, role, attrs, rule)                                 \
    [TN_OP_##id] = {(traits) | ROLE_##role | VALUES_##values, (cost), TN_POLICY_##policy, TN_ROLE_##role},
        TN_OPS(OP)
#undef OP
    };
    return &facts[(unsigned)op < TN_OP_COUNT ? op : TN_OP_NONE];
}

/* What the columns must agree on. */
#define OP(id, text, lo, hi, results, traits, cost, values, policy, role, attrs, rule)                                 \
    _Static_assert(!((traits) & (TN_T_ELEMENTWISE | TN_T_MOVEMENT)) || TN_ROLE_##role == TN_ROLE_inline,               \
                   text " can be computed anywhere");                                                                  \
    _Static_assert(!((traits)&TN_T_COMPARE) || (VALUES_##values & TN_T_STEP), text " tells neighbours apart");
TN_OPS(OP)
#undef OP

tn_op tn_op_parse(const char *s, size_t n) {
    for (unsigned op = TN_OP_NONE + 1; op < TN_OP_COUNT; op++) {
        const char *text = tn_op_text((tn_op)op);
        if (!strncmp(text, s, n) && !text[n]) return (tn_op)op;
    }
    return TN_OP_NONE;
}

/* ---- fields ------------------------------------------------------------------------------------------------------ */

/* Lists share one layout: a pointer and a count.  Reads both through the list's own type. */
static const void *list_of(const tn_field *f, const void *p, uint32_t *n, size_t *elem) {
#define LIST(kind, T)                                                                                                  \
    case TN_FIELD_##kind:                                                                                              \
        *n = ((const tn_##kind *)p)->n;                                                                                \
        *elem = sizeof(T);                                                                                             \
        return ((const tn_##kind *)p)->p;
    switch (f->kind) {
        LIST(ints, int64_t)
        LIST(nums, double)
        LIST(dims, tn_dim)
        LIST(strs, const char *)
    default:
        *n = 0;
        *elem = 0;
        return NULL;
    }
#undef LIST
}

static void set_list(const tn_field *f, void *p, const void *data, uint32_t n) {
#define LIST(kind)                                                                                                     \
    case TN_FIELD_##kind: *(tn_##kind *)p = (tn_##kind){data, n}; break;
    switch (f->kind) {
        LIST(ints)
        LIST(nums)
        LIST(dims)
        LIST(strs)
    default: break;
    }
#undef LIST
}

static bool is_list(const tn_field *f) {
    return f->kind >= TN_FIELD_ints && f->kind <= TN_FIELD_strs;
}

static const char *text_or_empty(const char *s) {
    return s ? s : "";
}

/* Bytes of a scalar field that decide whether two are equal (strings apart). */
static size_t scalar_size(const tn_field *f) {
    switch (f->kind) {
    case TN_FIELD_int: return sizeof(tn_attr_int);
    case TN_FIELD_num: return sizeof(tn_attr_num);
    case TN_FIELD_flag: return sizeof(tn_attr_flag);
    case TN_FIELD_dtype: return sizeof(tn_attr_dtype);
    case TN_FIELD_dim: return sizeof(tn_attr_dim);
    case TN_FIELD_blob: return sizeof(tn_attr_blob);
    default: return 0;
    }
}

bool tn_field_is_default(const tn_field *f, const void *attrs) {
    static const char zeros[16];
    const char *p = (const char *)attrs + f->offset;
    uint32_t n = 0;
    size_t elem = 0;
    if (f->kind == TN_FIELD_str) return !*text_or_empty(*(const tn_attr_str *)(const void *)p);
    if (is_list(f)) return list_of(f, p, &n, &elem), n == 0;
    return !memcmp(p, zeros, scalar_size(f));
}

/* ---- copies ------------------------------------------------------------------------------------------------------ */

void tn_attrs_flat(tn_op op, const void *attrs, tn_any_attrs *out) {
    tn_op_info info = tn_op_info_of(op);
    memset(out, 0, sizeof *out);
    if (attrs) memcpy(out, attrs, info.attrs.size);
    for (size_t k = 0; k < info.attrs.n_fields; k++) {
        if (info.attrs.fields[k].kind != TN_FIELD_str) continue;
        tn_attr_str *s = (tn_attr_str *)(void *)((char *)out + info.attrs.fields[k].offset);
        *s = text_or_empty(*s);
    }
}

static bool copy_list(tn_graph *g, const tn_field *f, void *p) {
    uint32_t n = 0;
    size_t elem = 0;
    const void *from = list_of(f, p, &n, &elem);
    if (!n || !from) {
        set_list(f, p, NULL, 0);
        return true;
    }
    void *copy = tn_graph_alloc(g, n * elem);
    if (!copy) return false;
    memcpy(copy, from, n * elem);
    if (f->kind == TN_FIELD_strs)
        for (uint32_t i = 0; i < n; i++) ((const char **)copy)[i] = tn_intern(g, ((const char *const *)from)[i]);
    if (f->kind == TN_FIELD_dims)
        for (uint32_t i = 0; i < n; i++) ((tn_dim *)copy)[i] = tn_dim_reduced(g, ((const tn_dim *)from)[i]);
    set_list(f, p, copy, n);
    return tn_graph_ok(g);
}

const void *tn_attrs_copy(tn_graph *g, tn_op op, const void *attrs) {
    static const tn_attrs_none none;
    tn_op_info info = tn_op_info_of(op);
    if (!strcmp(info.attrs.name, "none")) return &none; /* has no field that means anything */
    tn_any_attrs flat;
    tn_attrs_flat(op, attrs, &flat);
    for (size_t k = 0; k < info.attrs.n_fields; k++) {
        const tn_field *f = &info.attrs.fields[k];
        void *p = (char *)&flat + f->offset;
        if (f->kind == TN_FIELD_str)
            *(tn_attr_str *)p = tn_intern(g, *(tn_attr_str *)p);
        else if (f->kind == TN_FIELD_dim)
            *(tn_dim *)p = tn_dim_reduced(g, *(tn_dim *)p);
        else if (is_list(f) && !copy_list(g, f, p))
            return NULL;
    }
    void *copy = tn_graph_alloc(g, info.attrs.size);
    if (!copy || !tn_graph_ok(g)) return NULL;
    memcpy(copy, &flat, info.attrs.size);
    return copy;
}

/* ---- comparison, hash -------------------------------------------------------------------------------------------- */

static bool same_field(const tn_field *f, const void *a, const void *b) {
    uint32_t na = 0, nb = 0;
    size_t elem = 0;
    if (f->kind == TN_FIELD_str)
        return !strcmp(text_or_empty(*(const tn_attr_str *)a), text_or_empty(*(const tn_attr_str *)b));
    if (!is_list(f)) return !memcmp(a, b, scalar_size(f));
    const void *pa = list_of(f, a, &na, &elem), *pb = list_of(f, b, &nb, &elem);
    if (na != nb) return false;
    if (f->kind != TN_FIELD_strs) return !na || !memcmp(pa, pb, na * elem);
    for (uint32_t i = 0; i < na; i++)
        if (strcmp(text_or_empty(((const char *const *)pa)[i]), text_or_empty(((const char *const *)pb)[i])))
            return false;
    return true;
}

bool tn_attrs_equal(tn_op op, const void *a, const void *b) {
    tn_op_info info = tn_op_info_of(op);
    if (a == b) return true;
    for (size_t k = 0; k < info.attrs.n_fields; k++) {
        const tn_field *f = &info.attrs.fields[k];
        if (!same_field(f, (const char *)a + f->offset, (const char *)b + f->offset)) return false;
    }
    return true;
}

static uint64_t mix(uint64_t h, uint64_t x) {
    return XXH3_64bits_withSeed(&x, sizeof x, h);
}
static uint64_t mix_str(uint64_t h, const char *s) {
    return XXH3_64bits_withSeed(text_or_empty(s), strlen(text_or_empty(s)), h);
}

static uint64_t hash_field(tn_graph *g, const tn_field *f, const void *p, uint64_t h) {
    uint32_t n = 0;
    size_t elem = 0;
    const void *list = list_of(f, p, &n, &elem);
    switch (f->kind) {
    case TN_FIELD_str: return mix_str(h, *(const tn_attr_str *)p);
    case TN_FIELD_dim: return mix(h, tn_dim_hash(g, *(const tn_dim *)p));
    case TN_FIELD_blob: return mix(h, tn_blob_hash(g, *(const tn_blob *)p));
    case TN_FIELD_dims:
        for (uint32_t i = 0; i < n; i++) h = mix(h, tn_dim_hash(g, ((const tn_dim *)list)[i]));
        return mix(h, n);
    case TN_FIELD_strs:
        for (uint32_t i = 0; i < n; i++) h = mix_str(h, ((const char *const *)list)[i]);
        return mix(h, n);
    case TN_FIELD_ints:
    case TN_FIELD_nums: return mix(n ? XXH3_64bits_withSeed(list, n * elem, h) : h, n);
    default: return XXH3_64bits_withSeed(p, scalar_size(f), h);
    }
}

uint64_t tn_attrs_hash(tn_graph *g, tn_op op, const void *attrs) {
    tn_op_info info = tn_op_info_of(op);
    uint64_t h = mix(0, (uint64_t)op);
    for (size_t k = 0; k < info.attrs.n_fields; k++)
        h = hash_field(g, &info.attrs.fields[k], (const char *)attrs + info.attrs.fields[k].offset, h);
    return h;
}
