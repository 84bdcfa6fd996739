/* memory.c: checks of plain accesses and atomics; in shared memory bounds, alignment, initialisation and races. */
#include <stdio.h>
#include <string.h>

#include "runtime/emu/engine.h"

uint32_t emu_pc(const emu_run *r, const void *pc) {
    return (uint32_t)((const char *)pc - r->kernel->image);
}

/* ---- shared memory ----------------------------------------------------------------------------------------------- */

const char *emu_shared_name(const emu_block *b, uint32_t at, char *buf, size_t size) {
    for (int k = 0; k < EMU_VARIABLES; k++) {
        const emu_variable *v = &b->variables[k];
        if (!v->name || at < v->at || at >= v->at + v->bytes) continue;
        snprintf(buf, size, "'%s' + %u bytes", v->name, at - v->at);
        return buf;
    }
    snprintf(buf, size, "dynamic shared memory + %u bytes", at);
    return buf;
}

void emu_set_state(emu_block *b, uint32_t at, uint32_t bytes, int state) {
    memset(b->state + at, state, bytes);
}

static _Noreturn void bad_state(emu_run *r, emu_block *b, uint32_t at, uint32_t bytes, bool write, const void *pc) {
    char name[160];
    uint32_t k = at;
    while (k + 1 < at + bytes && (b->state[k] == EMU_READY || (write && b->state[k] == EMU_UNWRITTEN))) k++;
    emu_shared_name(b, k, name, sizeof name);
    const emu_variable *before = NULL; /* the variable that ends here */
    for (int i = 0; i < EMU_VARIABLES; i++)
        if (b->variables[i].name && b->variables[i].at <= k && (!before || b->variables[i].at > before->at))
            before = &b->variables[i];
    if (b->state[k] == EMU_NONE && before)
        emu_fault(r, TN_EMU_OUT_OF_BOUNDS, pc, "%s %u bytes of shared memory %u bytes into '%s', which has %u",
                  write ? "writes" : "reads", bytes, at - before->at, before->name, before->bytes);
    if (b->state[k] == EMU_NONE)
        emu_fault(r, TN_EMU_OUT_OF_BOUNDS, pc,
                  "%s %u bytes of shared memory at %u, outside what the block has (%u bytes)",
                  write ? "writes" : "reads", bytes, at, b->used);
    const bool in_flight = b->state[k] == EMU_IN_FLIGHT;
    emu_fault(r, write ? TN_EMU_RACE : TN_EMU_UNINITIALISED, pc, "%s %s, %s", write ? "writes" : "reads", name,
              in_flight ? "into which a copy is under way that nobody has waited for" : "which nobody has written");
}

static _Noreturn void race(emu_run *r, emu_block *b, uint32_t at, bool write, uint32_t who, const emu_event *other,
                           bool other_wrote, uint32_t pc) {
    char name[160], a[96], c[96], line[400];
    const char *image = r->kernel->image;
    emu_line(r->kernel, image + other->pc, line, sizeof line);
    emu_fault(r, TN_EMU_RACE, image + pc, "%s %s, which %s %s at %s, with no barrier between (%s is the one that %s)",
              write ? "writes" : "reads", emu_shared_name(b, at, name, sizeof name),
              emu_who(r, other->who, a, sizeof a), other_wrote ? "has written" : "has read", line,
              emu_who(r, who, c, sizeof c), write ? "writes" : "reads");
}

static void note_read(emu_run *r, emu_cell *c, emu_event e, const emu_clock *seen) {
    emu_event *slot = NULL;
    for (int k = 0; k < EMU_READERS; k++) {
        emu_event *x = &c->read[k];
        if (x->who == e.who || !x->bytes || x->time <= seen->at[x->who]) {
            slot = x;
            break;
        }
    }
    if (!slot) slot = &c->read[(r->steps ^ e.who) % EMU_READERS];
    *slot = e;
}

/* May these bytes be written, or read? */
static inline bool allows(const unsigned char *state, uint32_t bytes, bool write) {
    static const unsigned char ready[16] = {EMU_READY, EMU_READY, EMU_READY, EMU_READY, EMU_READY, EMU_READY,
                                            EMU_READY, EMU_READY, EMU_READY, EMU_READY, EMU_READY, EMU_READY,
                                            EMU_READY, EMU_READY, EMU_READY, EMU_READY};
    if (bytes == 4 && !memcmp(state, ready, 4)) return true; /* the common sizes at once */
    if (bytes == 16 && !memcmp(state, ready, 16)) return true;
    for (uint32_t k = 0; k < bytes; k++)
        if (write ? state[k] == EMU_NONE : state[k] != EMU_READY) return false;
    return true;
}

void emu_shared_event(emu_run *r, emu_block *b, uint32_t at, uint32_t bytes, bool write, uint32_t who, uint32_t time,
                      const emu_clock *seen, uint32_t pc) {
    const void *where = r->kernel->image + pc;
    if (at >= EMU_SMEM_SPACE || bytes > EMU_SMEM_SPACE - at)
        emu_fault(r, TN_EMU_OUT_OF_BOUNDS, where, "%s %u bytes of shared memory at %u", write ? "writes" : "reads",
                  bytes, at);
    if (!allows(b->state + at, bytes, write)) bad_state(r, b, at, bytes, write, where);
    for (uint32_t word = at / 4; word <= (at + bytes - 1) / 4; word++) {
        emu_cell *c = &b->cells[word];
        uint32_t from = word * 4 < at ? at - word * 4 : 0, to = word * 4 + 4 > at + bytes ? at + bytes - word * 4 : 4;
        uint8_t mask = (uint8_t)((1u << to) - (1u << from));
        const emu_event e = {time, pc, (uint16_t)who, mask};
        if (emu_unordered(&c->write, mask, who, seen)) race(r, b, word * 4 + from, write, who, &c->write, true, pc);
        if (!write) {
            note_read(r, c, e, seen);
            continue;
        }
        for (int k = 0; k < EMU_READERS; k++) {
            if (emu_unordered(&c->read[k], mask, who, seen))
                race(r, b, word * 4 + from, write, who, &c->read[k], false, pc);
            c->read[k].bytes &= (uint8_t)~mask;
        }
        if (c->write.who == who && c->write.time == time)
            c->write.bytes |= mask;
        else
            c->write = e;
    }
}

void *emu_shared_access(emu_thread *t, emu_block *b, uint32_t at, unsigned bytes, bool write, bool aligned,
                        const void *pc) {
    emu_run *r = t->run;
    emu_step(r);
    if (aligned && at % bytes)
        emu_fault(r, TN_EMU_MISALIGNED, pc, "%s %u bytes of shared memory at %u", write ? "writes" : "reads", bytes,
                  at);
    emu_shared_event(r, b, at, bytes, write, t->id, t->own, t->seen, emu_pc(r, pc));
    if (write && memchr(b->state + at, EMU_IN_FLIGHT, bytes)) bad_state(r, b, at, bytes, true, pc);
    if (write) memset(b->state + at, EMU_READY, bytes);
    return b->smem + at;
}

void *emu_shared_of(tn_emu_view *v, unsigned address, unsigned rank) {
    const emu_thread *t = emu_of(v);
    emu_run *r = t->run;
    if (r->launch->together && rank != emu_of(v)->block->rank)
        emu_fault(r, TN_EMU_OUT_OF_BOUNDS, EMU_PC(), "reaches for block %u, and there is no cluster", rank);
    if (rank >= r->n_blocks)
        emu_fault(r, TN_EMU_OUT_OF_BOUNDS, EMU_PC(), "reaches for block %u of a cluster of %u", rank, r->n_blocks);
    if (address >= EMU_SMEM_SPACE)
        emu_fault(r, TN_EMU_OUT_OF_BOUNDS, EMU_PC(), "reaches for shared memory at %u", address);
    return r->blocks[rank].smem + address;
}

void *emu_shared_variable(tn_emu_view *v, const char *name, int id, unsigned bytes, unsigned align) {
    emu_thread *t = emu_of(v);
    emu_block *b = t->block;
    if (id < 0 || id >= EMU_VARIABLES) emu_fault(t->run, TN_EMU_MISUSE, EMU_PC(), "has too many shared variables");
    emu_variable *x = &b->variables[id];
    if (x->name) return b->smem + x->at;
    uint32_t at = (b->used + EMU_GAP + 127) / 128 * 128;
    if (at % align || at + bytes > EMU_SMEM_SPACE || bytes > EMU_SMEM_MAX)
        emu_fault(t->run, TN_EMU_MISUSE, EMU_PC(), "has more shared memory than a block may have ('%s')", name);
    *x = (emu_variable){name, at, bytes};
    b->used = at + bytes;
    memset(b->state + at, EMU_UNWRITTEN, bytes);
    memset(b->smem + at, 0xff, bytes);
    return b->smem + at;
}

void *emu_shared_dynamic(tn_emu_view *v, unsigned align) {
    (void)align; /* the space is aligned to 1024 bytes */
    return emu_of(v)->block->smem;
}

unsigned emu_shared_address(tn_emu_view *v, const void *p) {
    emu_thread *t = emu_of(v);
    const unsigned char *c = p;
    if (c < t->block->smem || c > t->block->smem + EMU_SMEM_SPACE)
        emu_fault(t->run, TN_EMU_MISUSE, EMU_PC(), "takes the shared-memory address of memory that is not shared");
    return (unsigned)(c - t->block->smem);
}

/* ---- plain accesses ---------------------------------------------------------------------------------------------- */

static bool in_block(const emu_block *b, const void *p) {
    return (const unsigned char *)p >= b->smem && (const unsigned char *)p < b->smem + EMU_SMEM_SPACE;
}

/* The block of the cluster whose shared memory p points into, or NULL. */
static emu_block *owner(emu_thread *t, const void *p) {
    if (in_block(t->block, p)) return t->block;
    for (uint32_t k = 0; k < t->run->n_blocks; k++)
        if (in_block(&t->run->blocks[k], p)) return &t->run->blocks[k];
    return NULL;
}

void emu_check_alive(emu_run *r, const emu_block *b, const void *pc) {
    for (uint32_t i = 0; i < r->n_threads; i++)
        if (!b->threads[i].done) return;
    emu_fault(r, TN_EMU_MISUSE, pc, "touches the shared memory of block %u of the cluster, which has ended", b->rank);
}

void emu_access(tn_emu_view *v, const void *p, unsigned bytes, int write, int aligned, const void *pc) {
    emu_thread *t = emu_of(v);
    emu_run *r = t->run;
    const char *c = p;
    if (c >= t->stack && c < t->stack + EMU_STACK) return;
    emu_block *b = owner(t, p);
    if (b) {
        if (b != t->block) emu_check_alive(r, b, pc);
        emu_shared_access(t, b, (uint32_t)((const unsigned char *)p - b->smem), bytes, write, aligned, pc);
        return;
    }
    if (c >= r->stacks && c < r->stacks + r->stacks_size)
        emu_fault(r, TN_EMU_OUT_OF_BOUNDS, pc, "%s local memory of another thread", write ? "writes" : "reads");
    emu_step(r);
    if (aligned && (uintptr_t)p % bytes)
        emu_fault(r, TN_EMU_MISALIGNED, pc, "%s %u bytes at %p", write ? "writes" : "reads", bytes, p);
    emu_global(t, p, bytes, write ? EMU_WRITE : EMU_READ, pc);
}

/* ---- atomics ----------------------------------------------------------------------------------------------------- */

#define ATOMIC_INT(T, w)                                                                                               \
    {                                                                                                                  \
        T x = (T)v, o;                                                                                                 \
        memcpy(&o, p, sizeof o);                                                                                       \
        old = (unsigned long long)o;                                                                                   \
        T n = op == TN_EMU_ADD   ? (T)((w)o + (w)x)                                                                    \
              : op == TN_EMU_MIN ? (x < o ? x : o)                                                                     \
              : op == TN_EMU_MAX ? (x > o ? x : o)                                                                     \
              : op == TN_EMU_AND ? (o & x)                                                                             \
              : op == TN_EMU_OR  ? (o | x)                                                                             \
              : op == TN_EMU_XOR ? (o ^ x)                                                                             \
              : op == TN_EMU_CAS ? (o == (T)compare ? x : o)                                                           \
                                 : x;                                                                                  \
        memcpy(p, &n, sizeof n);                                                                                       \
    }
#define ATOMIC_FLOAT(T, U)                                                                                             \
    {                                                                                                                  \
        U bits = (U)v, o, n;                                                                                           \
        T x, y;                                                                                                        \
        memcpy(&o, p, sizeof o);                                                                                       \
        memcpy(&x, &bits, sizeof x);                                                                                   \
        memcpy(&y, &o, sizeof y);                                                                                      \
        old = o;                                                                                                       \
        if (op == TN_EMU_ADD) x = x + y;                                                                               \
        memcpy(&n, &x, sizeof n);                                                                                      \
        if (op == TN_EMU_CAS) n = o == (U)compare ? bits : o;                                                          \
        memcpy(p, &n, sizeof n);                                                                                       \
    }

/* Atomics synchronise nothing but themselves; in shared memory they are not checked for races. */
unsigned long long emu_atomic(tn_emu_view *v_, void *p, tn_emu_type type, tn_emu_atomic_op op, unsigned long long v,
                              unsigned long long compare) {
    emu_thread *t = emu_of(v_);
    emu_run *r = t->run;
    const void *pc = EMU_PC();
    static const unsigned char sizes[] = {[TN_EMU_BYTE] = 1, [TN_EMU_U32] = 4, [TN_EMU_S32] = 4, [TN_EMU_U64] = 8,
                                          [TN_EMU_S64] = 8,  [TN_EMU_F32] = 4, [TN_EMU_F64] = 8};
    const unsigned bytes = sizes[type];
    unsigned long long old = 0;
    emu_step(r);
    if ((uintptr_t)p % bytes) emu_fault(r, TN_EMU_MISALIGNED, pc, "has an atomic operation on %p", p);
    if (in_block(t->block, p)) {
        uint32_t at = (uint32_t)((unsigned char *)p - t->block->smem);
        for (uint32_t k = at; k < at + bytes; k++)
            if (t->block->state[k] != EMU_READY) bad_state(r, t->block, at, bytes, true, pc);
    } else
        emu_global(t, p, bytes, EMU_ATOMIC, pc);
    switch (type) {
    case TN_EMU_BYTE: ATOMIC_INT(uint8_t, uint8_t) break;
    case TN_EMU_U32: ATOMIC_INT(uint32_t, uint32_t) break;
    case TN_EMU_S32: ATOMIC_INT(int32_t, uint32_t) break;
    case TN_EMU_U64: ATOMIC_INT(uint64_t, uint64_t) break;
    case TN_EMU_S64: ATOMIC_INT(int64_t, uint64_t) break;
    case TN_EMU_F32: ATOMIC_FLOAT(float, uint32_t) break;
    case TN_EMU_F64: ATOMIC_FLOAT(double, uint64_t) break;
    }
    emu_wait_a_turn(t); /* others go on while this one spins */
    return old;
}
