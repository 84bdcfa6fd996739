/* list.h: names in a message, between commas: as many as fit, and how many more there are.  Not installed. */
#ifndef TENON_INTERNAL_LIST_H
#define TENON_INTERNAL_LIST_H

#include <stddef.h>

typedef struct tn_list {
    char *buf;
    size_t size, n, k, at; /* n: items; k: those that were put; at: characters */
} tn_list;

/* Of n items, in a buffer of at least 64 characters, which is a string all along. */
tn_list tn_list_of(char *buf, size_t size, size_t n);
/* The next one; all that come behind one that does not fit are "... (+N)". */
void tn_list_put(tn_list *l, const char *item);

#endif
