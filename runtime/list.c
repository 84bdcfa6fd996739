/* list.c: names in a message. */
#include <stdio.h>
#include <string.h>

#include "tenon/internal/list.h"

/* What ", ... (+N)" may take. */
enum { MORE = 30 };

tn_list tn_list_of(char *buf, size_t size, size_t n) {
    buf[0] = 0;
    return (tn_list){.buf = buf, .size = size, .n = n};
}

void tn_list_put(tn_list *l, const char *item) {
    if (l->k == l->n) return;
    const char *comma = l->k ? ", " : "";
    const size_t left = l->size - l->at, room = l->k + 1 < l->n ? left - MORE : left;
    if (strlen(comma) + strlen(item) < room) {
        l->at += (size_t)snprintf(l->buf + l->at, left, "%s%s", comma, item);
        l->k++;
        return;
    }
    snprintf(l->buf + l->at, left, "%s... (+%zu)", comma, l->n - l->k);
    l->n = l->k;
}
