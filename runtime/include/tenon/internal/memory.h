/* memory.h: what all folders need to hold things: growable arrays, and arenas.  Not installed. */
#ifndef TENON_INTERNAL_MEMORY_H
#define TENON_INTERNAL_MEMORY_H

#include "tenon/base.h"

/* The array p of *cap elements of `size` bytes with room for `need`, new ones zero; or NULL, and all as it was. */
void *tn_grow(const tn_env *env, void *p, size_t *cap, size_t need, size_t size);

/* T *p with n elements in use and room for cap, all further ones zero.  At most UINT32_MAX / 2. */
#define TN_VEC(T)                                                                                                      \
    struct {                                                                                                           \
        T *p;                                                                                                          \
        uint32_t n, cap;                                                                                               \
    }
/* Makes room for `more` elements; false, and the array as it was, when out of memory. */
#define TN_VEC_ROOM(env, v, more)                                                                                      \
    ((v)->p = tn_vec_grow((env), (v)->p, (v)->n, &(v)->cap, sizeof *(v)->p, (more)),                                   \
     (size_t)((v)->cap - (v)->n) >= (size_t)(more))
/* Makes element k one in use. */
#define TN_VEC_HAS(env, v, k)                                                                                          \
    ((k) < (v)->n || (TN_VEC_ROOM((env), (v), (size_t)(k) + 1 - (v)->n) && ((v)->n = (uint32_t)(k) + 1, true)))
#define TN_VEC_FREE(env, v) tn_free((env), (v)->p, (v)->cap * sizeof *(v)->p)
void *tn_vec_grow(const tn_env *env, void *p, uint32_t n, uint32_t *cap, size_t size, size_t more);

/* Bytes that are freed together. */
typedef struct tn_arena {
    const tn_env *env;
    struct tn_chunk *chunks;
} tn_arena;
void *tn_arena_alloc(tn_arena *a, size_t size); /* zeroed, aligned to 16; NULL when out of memory */
void tn_arena_free(tn_arena *a);

#endif
