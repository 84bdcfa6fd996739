/* global.c: checks of global memory: bounds, permission, the previous kernel's end, and races.
 *
 * Each word of a writable range remembers who wrote it last.  A thread that reads or writes it must know of that write:
 * by barriers within a cluster; nothing orders different clusters.  A kernel that uses atomics on global memory may
 * order its blocks with them, so the check of races ends there. */
#include <stdlib.h>

#include "runtime/emu/engine.h"

static bool inside(const tn_emu_range *g, const char *p, unsigned bytes) {
    const char *at = g->at;
    return p >= at && (size_t)(p - at) <= g->bytes && bytes <= g->bytes - (size_t)(p - at);
}

static const tn_emu_range *find_range(emu_run *r, const char *p, unsigned bytes) {
    if (r->last_range && inside(r->last_range, p, bytes)) return r->last_range;
    for (size_t k = 0; k < r->launch->n_ranges; k++)
        if (inside(&r->launch->ranges[k], p, bytes)) return r->last_range = &r->launch->ranges[k];
    return NULL;
}

/* Parameters of the kernel, which lie in constant memory on a GPU. */
static bool is_parameter(const emu_run *r, const char *p, unsigned bytes) {
    const tn_emu_entry *e = r->kernel->entry;
    for (unsigned k = 0; k < e->n_params; k++) {
        const char *at = r->launch->params[k];
        if (p >= at && p + bytes <= at + e->param_bytes[k]) return true;
    }
    return false;
}

/* Bytes between p and a range; 0: inside. */
static size_t distance(const tn_emu_range *g, const char *p) {
    const char *at = g->at;
    return p < at ? (size_t)(at - p) : (size_t)(p - at) > g->bytes ? (size_t)(p - at) - g->bytes : 0;
}

static _Noreturn void out_of_bounds(emu_run *r, const char *p, unsigned bytes, bool write, const void *pc) {
    const tn_emu_range *near = NULL;
    for (size_t k = 0; k < r->launch->n_ranges; k++) {
        const tn_emu_range *g = &r->launch->ranges[k];
        if (!near || distance(g, p) < distance(near, p)) near = g;
    }
    const char *verb = write ? "writes" : "reads";
    if (!near || distance(near, p) > 1 << 20)
        emu_fault(r, TN_EMU_OUT_OF_BOUNDS, pc, "%s %u bytes at %p, which lie in no tensor", verb, bytes,
                  (const void *)p);
    emu_fault(r, TN_EMU_OUT_OF_BOUNDS, pc, "%s %u bytes at offset %lld of '%s', which has %zu bytes", verb, bytes,
              (long long)(p - (const char *)near->at), near->name ? near->name : "memory", near->bytes);
}

static _Noreturn void race(emu_thread *t, const tn_emu_range *g, const char *p, bool write, const emu_written *w,
                           const void *pc) {
    emu_run *r = t->run;
    char who[96], line[400];
    emu_line(r->kernel, r->kernel->image + w->event.pc, line, sizeof line);
    emu_fault(r, TN_EMU_RACE, pc, "%s '%s' at offset %lld, which %s has written at %s, and nothing orders the two",
              write ? "writes" : "reads", g->name ? g->name : "memory", (long long)(p - (const char *)g->at),
              emu_who_of(r, w->cluster, w->event.who, who, sizeof who), line);
}

/* NULL: nothing of the range has been written, and this is no write. */
static emu_written *words_of(emu_run *r, const tn_emu_range *g, bool write) {
    emu_written **w = &r->written[g - r->launch->ranges];
    if (!*w && write) *w = calloc(g->bytes / 4 + 1, sizeof **w);
    if (!*w && write) emu_no_memory(r);
    return *w;
}

static void check_order(emu_thread *t, const tn_emu_range *g, const char *p, unsigned bytes, bool write,
                        const void *pc) {
    emu_run *r = t->run;
    emu_written *words = words_of(r, g, write);
    const size_t at = (size_t)(p - (const char *)g->at);
    for (size_t word = at / 4; words && word <= (at + bytes - 1) / 4; word++) {
        emu_written *w = &words[word];
        const size_t from = word * 4 < at ? at - word * 4 : 0,
                     to = word * 4 + 4 > at + bytes ? at + bytes - word * 4 : 4;
        const uint8_t mask = (uint8_t)((1u << to) - (1u << from));
        const bool known = w->cluster == r->cluster && !emu_unordered(&w->event, mask, t->id, t->seen);
        if ((w->event.bytes & mask) && !known) race(t, g, p, write, w, pc);
        if (!write) continue;
        if (w->cluster == r->cluster && w->event.who == t->id && w->event.time == t->own)
            w->event.bytes |= mask;
        else
            *w = (emu_written){{t->own, emu_pc(r, pc), (uint16_t)t->id, mask}, r->cluster};
    }
}

void emu_global(emu_thread *t, const void *p, unsigned bytes, emu_how how, const void *pc) {
    emu_run *r = t->run;
    const bool write = how != EMU_READ;
    const tn_emu_range *g = find_range(r, p, bytes);
    if (!g) {
        const char *c = p;
        const bool table = c >= r->kernel->image && c < r->kernel->image_end; /* of constants */
        if (!write && (table || is_parameter(r, c, bytes))) return;
        out_of_bounds(r, p, bytes, write, pc);
    }
    if (write && !g->writable)
        emu_fault(r, TN_EMU_READ_ONLY, pc, "writes '%s', which is an input", g->name ? g->name : "memory");
    if (g->activation && !t->depends)
        emu_fault(r, TN_EMU_TOO_EARLY, pc, "%s '%s' before griddepcontrol.wait", write ? "writes" : "reads",
                  g->name ? g->name : "memory");
    r->orders |= how == EMU_ATOMIC;
    if (g->writable && !r->orders) check_order(t, g, p, bytes, write, pc);
}

bool emu_written_new(emu_run *r) {
    r->written = calloc(r->launch->n_ranges + 1, sizeof *r->written);
    return r->written != NULL;
}

void emu_written_free(emu_run *r) {
    for (size_t k = 0; r->written && k < r->launch->n_ranges; k++) free(r->written[k]);
    free(r->written);
}
