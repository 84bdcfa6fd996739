/* memory.c: see tenon/internal/memory.h. */
#include "tenon/internal/memory.h"

#include <string.h>

void *tn_grow(const tn_env *env, void *p, size_t *cap, size_t need, size_t size) {
    enum { FIRST = 16 };
    size_t room = *cap ? *cap : FIRST;
    if (p && need <= *cap) return p;
    if (need > SIZE_MAX / 4 / size) return NULL;
    while (room < need) room *= 2;
    char *grown = tn_realloc(env, p, *cap * size, room * size);
    if (!grown) return NULL;
    memset(grown + *cap * size, 0, (room - *cap) * size);
    *cap = room;
    return grown;
}

void *tn_vec_grow(const tn_env *env, void *p, uint32_t n, uint32_t *cap, size_t size, size_t more) {
    size_t room = *cap;
    if (more <= *cap - n || more > UINT32_MAX / 2 - n) return p;
    void *grown = tn_grow(env, p, &room, n + more, size);
    if (!grown) return p;
    *cap = (uint32_t)room;
    return grown;
}

/* ---- arenas ------------------------------------------------------------------------------------------------------ */

typedef struct tn_chunk {
    struct tn_chunk *next;
    size_t size, used; /* of the bytes that follow */
    _Alignas(16) unsigned char bytes[];
} tn_chunk;

static void *take(tn_chunk *c, size_t size) {
    void *p = c->bytes + c->used;
    c->used += size;
    return p;
}

void *tn_arena_alloc(tn_arena *a, size_t size) {
    enum { ALIGN = 16, CHUNK = 64 << 10, LARGE = CHUNK / 4 };
    if (size > SIZE_MAX / 2) return NULL;
    size = size ? (size + ALIGN - 1) / ALIGN * ALIGN : ALIGN;
    tn_chunk *c = a->chunks;
    if (c && c->size - c->used >= size) return take(c, size);
    const size_t room = size > LARGE ? size : CHUNK;
    tn_chunk *fresh = tn_alloc(a->env, sizeof *fresh + room);
    if (!fresh) return NULL;
    fresh->size = room;
    if (c && room == size) { /* a large piece of its own: go on filling the current chunk */
        fresh->next = c->next;
        c->next = fresh;
    } else {
        fresh->next = c;
        a->chunks = fresh;
    }
    return take(fresh, size);
}

void tn_arena_free(tn_arena *a) {
    for (tn_chunk *c = a->chunks, *next; c; c = next) {
        next = c->next;
        tn_free(a->env, c, sizeof *c + c->size);
    }
    a->chunks = NULL;
}
