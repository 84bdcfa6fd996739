/* table.c: open-addressing table from 64-bit hashes to handles, and growable arrays of the graph. */
#include <string.h>

#include "ir/internal.h"

uint32_t tn_table_find(const tn_table *t, uint64_t hash, bool (*same)(const void *user, uint32_t handle),
                       const void *user) {
    if (!t->cap) return 0;
    for (size_t i = hash & (t->cap - 1); t->slots[i].handle; i = (i + 1) & (t->cap - 1))
        if (t->slots[i].hash == hash && same(user, t->slots[i].handle)) return t->slots[i].handle;
    return 0;
}

static void insert(struct tn_table_slot *slots, size_t cap, uint64_t hash, uint32_t handle) {
    size_t i = hash & (cap - 1);
    while (slots[i].handle) i = (i + 1) & (cap - 1);
    slots[i] = (struct tn_table_slot){hash, handle};
}

static bool grow(const tn_env *env, tn_table *t) {
    size_t cap = t->cap ? t->cap * 2 : 64;
    struct tn_table_slot *slots = tn_alloc(env, cap * sizeof *slots);
    if (!slots) return false;
    for (size_t i = 0; i < t->cap; i++)
        if (t->slots[i].handle) insert(slots, cap, t->slots[i].hash, t->slots[i].handle);
    tn_free(env, t->slots, t->cap * sizeof *slots);
    t->slots = slots;
    t->cap = cap;
    return true;
}

bool tn_table_add(const tn_env *env, tn_table *t, uint64_t hash, uint32_t handle) {
    if ((t->n + 1) * 4 > t->cap * 3 && !grow(env, t)) return false;
    insert(t->slots, t->cap, hash, handle);
    t->n++;
    return true;
}

void tn_table_free(const tn_env *env, tn_table *t) {
    tn_free(env, t->slots, t->cap * sizeof *t->slots);
    *t = (tn_table){0};
}
