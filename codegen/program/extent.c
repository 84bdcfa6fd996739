/* extent.c: whether two extents can have a byte in common. */
#include "codegen/program/program.h"

/* a <= b for all values of the symbols. */
static bool at_most(tn_graph *g, tn_dim a, tn_dim b) {
    int64_t x, y, lo, hi;
    if (tn_dim_is_const(g, a, &x) && tn_dim_is_const(g, b, &y)) return x <= y;
    tn_dim_bounds(g, tn_dim_sub(g, b, a), &lo, &hi);
    return lo >= 0;
}

static tn_dim end_of(tn_graph *g, tn_dim from, tn_dim n) {
    return tn_dim_add(g, from, n);
}

/* In rows of one pitch: the columns of a end before those of b begin, and neither leaves its row. */
static bool left_of(tn_graph *g, const tn_extent *a, const tn_extent *b) {
    const tn_dim x = tn_dim_mod(g, a->offset, a->pitch), y = tn_dim_mod(g, b->offset, b->pitch);
    return at_most(g, end_of(g, x, a->run), y) && at_most(g, end_of(g, y, b->run), b->pitch);
}

uint32_t tn_program_memory_of(const tn_program *p, uint32_t buffer) {
    const tn_prog_buffer *b = &p->buffers[buffer];
    return b->kept.bytes.i ? b->kept.buffer : buffer;
}

bool tn_extents_meet(const tn_program *p, const tn_extent *a, const tn_extent *b) {
    tn_graph *g = p->g;
    if (tn_program_memory_of(p, a->buffer) != tn_program_memory_of(p, b->buffer)) return false;
    if (tn_dim_equal_const(g, a->bytes, 0) || tn_dim_equal_const(g, b->bytes, 0)) return false;
    if (at_most(g, end_of(g, a->offset, a->bytes), b->offset)) return false;
    if (at_most(g, end_of(g, b->offset, b->bytes), a->offset)) return false;
    if (!a->pitch.i || a->pitch.i != b->pitch.i) return true;
    return !left_of(g, a, b) && !left_of(g, b, a);
}

bool tn_extent_is_whole(const tn_program *p, const tn_extent *e) {
    return tn_dim_equal_const(p->g, e->offset, 0) && !e->pitch.i && e->bytes.i == p->buffers[e->buffer].bytes.i;
}
