/* names.c: looks words up; see names.h. */
#include "ir/text/names.h"

#include <string.h>

const tn_name *tn_names_find(const tn_names *names, const char *s, size_t n) {
    for (uint32_t k = 0; names && k < names->n; k++)
        if (strlen(names->p[k].s) == n && !memcmp(names->p[k].s, s, n)) return &names->p[k];
    return NULL;
}

/* Behind the point of "list.len", "list.3". */
static tn_dim part_of_list(tn_graph *g, const tn_name *list, const char *s, size_t n) {
    const uint32_t count = list->kind == TN_NAME_NUMS ? list->nums.n : list->sizes.n;
    uint32_t k = 0;
    if (n == 3 && !memcmp(s, "len", 3)) return tn_dim_const(g, count);
    if (!n || list->kind == TN_NAME_NUMS) return (tn_dim){0};
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9' || k > count) return (tn_dim){0};
        k = k * 10 + (uint32_t)(s[i] - '0');
    }
    return k < count ? list->sizes.p[k] : (tn_dim){0};
}

tn_dim tn_names_size(tn_graph *g, const tn_names *names, const char *s, size_t n) {
    const tn_name *x = tn_names_find(names, s, n);
    const char *point = x ? NULL : memchr(s, '.', n);
    if (x && (x->kind == TN_NAME_SIZE || x->kind == TN_NAME_SIZES)) return x->size;
    if (!point) return (tn_dim){0};
    x = tn_names_find(names, s, (size_t)(point - s));
    const bool list = x && (x->kind == TN_NAME_INTS || x->kind == TN_NAME_NUMS || x->kind == TN_NAME_SIZES);
    return list ? part_of_list(g, x, point + 1, n - (size_t)(point + 1 - s)) : (tn_dim){0};
}
