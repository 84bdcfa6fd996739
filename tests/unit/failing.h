/* failing.h: an allocator that fails when it is told to, counts what is live, and checks the sizes that are given
 * back. */
#ifndef TENON_TEST_FAILING_H
#define TENON_TEST_FAILING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* Of a tn_env: .alloc = fail_alloc, .alloc_user = a failing. */
typedef struct failing {
    atomic_long left;   /* the allocation that fails: 1 is the next; below 1: none */
    bool for_good;      /* and every one after it */
    atomic_bool failed; /* one has */
    atomic_long calls, live, bytes;
} failing;

/* The n-th allocation from now fails; 0: none. */
static inline void fail_at(failing *f, long n) {
    atomic_store(&f->failed, false);
    atomic_store(&f->calls, 0);
    atomic_store(&f->left, n);
}

static inline void *fail_alloc(void *user, void *p, size_t old_size, size_t size) {
    failing *f = user;
    size_t *block = p ? (size_t *)p - 2 : NULL; /* the size stands in front of each block */
    if (p && block[0] != old_size) {
        fprintf(stderr, "a block of %zu bytes is given back as one of %zu\n", block[0], old_size);
        abort();
    }
    if (!size) {
        if (p) atomic_fetch_sub(&f->live, 1);
        if (p) atomic_fetch_sub(&f->bytes, (long)old_size);
        free(block);
        return NULL;
    }
    atomic_fetch_add(&f->calls, 1);
    if (atomic_fetch_sub(&f->left, 1) == 1) {
        atomic_store(&f->failed, true);
        return NULL;
    }
    if (f->for_good && atomic_load(&f->failed)) return NULL;
    size_t *q = realloc(block, size + 2 * sizeof *q);
    if (!q) return NULL;
    q[0] = size;
    atomic_fetch_add(&f->bytes, (long)size - (p ? (long)old_size : 0));
    if (!p) atomic_fetch_add(&f->live, 1);
    return q + 2;
}

#endif
