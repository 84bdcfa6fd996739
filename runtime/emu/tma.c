/* tma.c: tensor maps, and the boxes that TMA copies between tensors and shared memory.
 *
 * A box is walked row by row, a row being the elements along the innermost dimension (channels of an im2col map).
 * Tiled: the rows of a box of at most five dimensions.  im2col: `pixels` positions of a bounding box, walked with the
 * element strides as steps, W first; each is moved by the instruction's offsets.  Rows follow each other in shared
 * memory without gaps, or are as far apart as the swizzle is wide; it exchanges 16-byte chunks by address bits.  What
 * the manuals leave open is as an H200 does it (tests/kernels/micro). */
#include <string.h>

#include "runtime/emu/engine.h"
#include "runtime/emu/tma.h"

enum { MAX_RANK = 5, MAGIC = 0x746e6d70 };

typedef struct emu_tensor_map {
    uint32_t magic;
    uint8_t type, rank, swizzle, im2col, nan_fill, element_strides[MAX_RANK];
    uint16_t box[MAX_RANK];
    uint16_t channels, pixels;
    int16_t lower[3], upper[3];
    uint64_t address;
    uint32_t last[MAX_RANK];    /* dims - 1 */
    uint64_t strides[MAX_RANK]; /* bytes */
} emu_tensor_map;
_Static_assert(sizeof(emu_tensor_map) <= sizeof(CUtensorMap), "fits into the opaque bytes");

static uint32_t type_bytes(CUtensorMapDataType t) {
    switch (t) {
    case CU_TENSOR_MAP_DATA_TYPE_UINT8: return 1;
    case CU_TENSOR_MAP_DATA_TYPE_UINT16:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT16:
    case CU_TENSOR_MAP_DATA_TYPE_BFLOAT16: return 2;
    case CU_TENSOR_MAP_DATA_TYPE_UINT32:
    case CU_TENSOR_MAP_DATA_TYPE_INT32:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT32:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT32_FTZ:
    case CU_TENSOR_MAP_DATA_TYPE_TFLOAT32:
    case CU_TENSOR_MAP_DATA_TYPE_TFLOAT32_FTZ: return 4;
    case CU_TENSOR_MAP_DATA_TYPE_UINT64:
    case CU_TENSOR_MAP_DATA_TYPE_INT64:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT64: return 8;
    default: return 0;
    }
}

static bool is_float(CUtensorMapDataType t) {
    return t == CU_TENSOR_MAP_DATA_TYPE_FLOAT16 || t == CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 ||
           (type_bytes(t) >= 4 && t >= CU_TENSOR_MAP_DATA_TYPE_FLOAT16 && t != CU_TENSOR_MAP_DATA_TYPE_INT32 &&
            t != CU_TENSOR_MAP_DATA_TYPE_INT64);
}

/* ---- encoding ---------------------------------------------------------------------------------------------------- */

/* What both kinds of map have; `inner` bytes of a row in shared memory. */
static CUresult encode(emu_tensor_map *m, CUtensorMapDataType type, cuuint32_t rank, void *address,
                       const cuuint64_t *dims, const cuuint64_t *strides, const cuuint32_t *element_strides,
                       CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle, CUtensorMapFloatOOBfill fill) {
    if (interleave != CU_TENSOR_MAP_INTERLEAVE_NONE || (unsigned)swizzle > CU_TENSOR_MAP_SWIZZLE_128B)
        return CUDA_ERROR_NOT_SUPPORTED;
    const uint32_t bytes = type_bytes(type);
    if (!bytes || !address || (uintptr_t)address % 16 || rank < 1 || rank > MAX_RANK || !dims || !element_strides ||
        (rank > 1 && !strides))
        return CUDA_ERROR_INVALID_VALUE;
    if (fill != CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE && !is_float(type)) return CUDA_ERROR_INVALID_VALUE;
    memset(m, 0, sizeof *m);
    m->magic = MAGIC;
    m->type = (uint8_t)type;
    m->rank = (uint8_t)rank;
    m->swizzle = (uint8_t)swizzle;
    m->nan_fill = fill != CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE;
    m->address = (uint64_t)(uintptr_t)address;
    for (uint32_t i = 0; i < rank; i++) {
        if (dims[i] < 1 || dims[i] > 1ull << 32 || element_strides[i] < 1 || element_strides[i] > 8)
            return CUDA_ERROR_INVALID_VALUE;
        if (i && (strides[i - 1] % 16 || strides[i - 1] >= 1ull << 40)) return CUDA_ERROR_INVALID_VALUE;
        m->last[i] = (uint32_t)(dims[i] - 1);
        m->strides[i] = i ? strides[i - 1] : bytes;
        m->element_strides[i] = (uint8_t)(i ? element_strides[i] : 1); /* there is none along the innermost */
    }
    return CUDA_SUCCESS;
}

/* A row of shared memory is whole chunks and no wider than the swizzle. */
static bool good_row(const emu_tensor_map *m, uint32_t elements) {
    const uint32_t bytes = elements * type_bytes((CUtensorMapDataType)m->type);
    return bytes % 16 == 0 && (!m->swizzle || bytes <= 16u << m->swizzle);
}

CUresult emu_encode_tiled(CUtensorMap *map, CUtensorMapDataType type, cuuint32_t rank, void *address,
                          const cuuint64_t *dims, const cuuint64_t *strides, const cuuint32_t *box,
                          const cuuint32_t *element_strides, CUtensorMapInterleave interleave,
                          CUtensorMapSwizzle swizzle, CUtensorMapL2promotion l2, CUtensorMapFloatOOBfill fill) {
    emu_tensor_map m;
    (void)l2;
    if (!map || !box) return CUDA_ERROR_INVALID_VALUE;
    CUresult e = encode(&m, type, rank, address, dims, strides, element_strides, interleave, swizzle, fill);
    if (e != CUDA_SUCCESS) return e;
    for (uint32_t i = 0; i < rank; i++) {
        if (box[i] < 1 || box[i] > 256) return CUDA_ERROR_INVALID_VALUE;
        m.box[i] = (uint16_t)box[i];
    }
    if (!good_row(&m, box[0])) return CUDA_ERROR_INVALID_VALUE;
    memset(map, 0, sizeof *map);
    memcpy(map, &m, sizeof m);
    return CUDA_SUCCESS;
}

CUresult emu_encode_im2col(CUtensorMap *map, CUtensorMapDataType type, cuuint32_t rank, void *address,
                           const cuuint64_t *dims, const cuuint64_t *strides, const int *lower, const int *upper,
                           cuuint32_t channels, cuuint32_t pixels, const cuuint32_t *element_strides,
                           CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle, CUtensorMapL2promotion l2,
                           CUtensorMapFloatOOBfill fill) {
    static const int corner_bits[MAX_RANK + 1] = {[3] = 15, [4] = 7, [5] = 4};
    emu_tensor_map m;
    (void)l2;
    if (!map || !lower || !upper || rank < 3) return CUDA_ERROR_INVALID_VALUE;
    CUresult e = encode(&m, type, rank, address, dims, strides, element_strides, interleave, swizzle, fill);
    if (e != CUDA_SUCCESS) return e;
    if (channels < 1 || channels > 256 || pixels < 1 || pixels > 1024 || !good_row(&m, channels))
        return CUDA_ERROR_INVALID_VALUE;
    m.im2col = 1;
    m.channels = (uint16_t)channels;
    m.pixels = (uint16_t)pixels;
    const int range = 1 << corner_bits[rank];
    for (uint32_t i = 0; i < rank - 2; i++) {
        if (lower[i] < -range || lower[i] >= range || upper[i] < -range || upper[i] >= range)
            return CUDA_ERROR_INVALID_VALUE;
        m.lower[i] = (int16_t)lower[i];
        m.upper[i] = (int16_t)upper[i];
    }
    memset(map, 0, sizeof *map);
    memcpy(map, &m, sizeof m);
    return CUDA_SUCCESS;
}

/* ---- boxes ------------------------------------------------------------------------------------------------------- */

static const emu_tensor_map *map_of(const emu_bulk *c) {
    return (const emu_tensor_map *)(const void *)c->map;
}

/* Elements of a box along dimension i; one along each that the tensor does not have. */
static uint32_t box_count(const emu_tensor_map *m, int i) {
    return i >= m->rank ? 1 : (m->box[i] + m->element_strides[i] - 1u) / m->element_strides[i];
}

static uint32_t box_bytes(const emu_tensor_map *m) {
    uint32_t n = type_bytes((CUtensorMapDataType)m->type);
    if (m->im2col) return n * m->channels * m->pixels;
    for (int i = 0; i < m->rank; i++) n *= box_count(m, i);
    return n;
}

/* Bytes from one row to the next in shared memory. */
static uint32_t row_pitch(const emu_tensor_map *m, uint32_t elements) {
    return m->swizzle ? 16u << m->swizzle : elements * type_bytes((CUtensorMapDataType)m->type);
}

/* Bytes from the box's first in shared memory to behind its last, before they are swizzled. */
static uint32_t box_span(const emu_tensor_map *m) {
    const uint32_t n = m->im2col ? m->channels : box_count(m, 0);
    return box_bytes(m) / (n * type_bytes((CUtensorMapDataType)m->type)) * row_pitch(m, n);
}

static uint32_t swizzled(const emu_tensor_map *m, uint32_t at) {
    return m->swizzle ? at ^ ((at >> 7 & ((1u << m->swizzle) - 1)) << 4) : at;
}

/* One row: x[0] is its first element's coordinate.  A store writes 16-byte chunks: also the bytes behind the tensor's
 * row in the chunk where that ends. */
static void walk_row(emu_run *r, const emu_bulk *c, emu_block *b, emu_element_fn *each, const int64_t *x, uint32_t n,
                     uint32_t at) {
    const emu_tensor_map *m = map_of(c);
    const uint32_t bytes = type_bytes((CUtensorMapDataType)m->type);
    const int64_t chunk = c->is_store ? 16 / bytes : 1, end = (m->last[0] + chunk) / chunk * chunk;
    bool inside = true;
    char *row = (char *)(uintptr_t)m->address;
    for (int i = 1; i < m->rank; i++) {
        inside &= x[i] >= 0 && x[i] <= m->last[i];
        if (inside) row += (uint64_t)x[i] * m->strides[i];
    }
    for (uint32_t j = 0; j < n; j++) {
        const int64_t e = x[0] + j;
        each(r, c, b, swizzled(m, at + j * bytes), inside && e >= 0 && e < end ? row + (uint64_t)e * bytes : NULL);
    }
}

static void walk_tile(emu_run *r, const emu_bulk *c, emu_block *b, emu_element_fn *each) {
    const emu_tensor_map *m = map_of(c);
    const uint32_t n = box_count(m, 0), pitch = row_pitch(m, n);
    uint32_t i[MAX_RANK] = {0}, at = c->shared;
    for (;;) {
        int64_t x[MAX_RANK];
        for (int k = 0; k < m->rank; k++) x[k] = (int64_t)c->coords[k] + i[k] * m->element_strides[k];
        walk_row(r, c, b, each, x, n, at);
        at += pitch;
        int k = 1;
        while (k < m->rank && ++i[k] == box_count(m, k)) i[k++] = 0;
        if (k >= m->rank) return;
    }
}

static void walk_pixels(emu_run *r, const emu_bulk *c, emu_block *b, emu_element_fn *each) {
    const emu_tensor_map *m = map_of(c);
    const int spatial = m->rank - 2;
    const uint32_t pitch = row_pitch(m, m->channels);
    int64_t p[MAX_RANK];
    for (int k = 0; k < m->rank; k++) p[k] = c->coords[k];
    for (uint32_t i = 0; i < m->pixels; i++) {
        int64_t x[MAX_RANK];
        memcpy(x, p, sizeof x);
        for (int k = 0; k < spatial; k++) x[k + 1] += c->offsets[k];
        walk_row(r, c, b, each, x, m->channels, c->shared + i * pitch);
        int k = 1;
        while (k <= spatial) {
            p[k] += m->element_strides[k];
            if (p[k] <= (int64_t)m->last[k] + m->upper[k - 1]) break;
            p[k] = m->lower[k - 1];
            k++;
        }
        if (k > spatial) p[k]++;
    }
}

void emu_tensor_walk(emu_run *r, const emu_bulk *c, emu_block *b, emu_element_fn *each) {
    (map_of(c)->im2col ? walk_pixels : walk_tile)(r, c, b, each);
}

/* What a load makes of an element: tf32 is rounded on the way, to even, and its NaNs become one.  Denormals stay, also
 * where the type's name says that they are flushed. */
static void convert(const emu_tensor_map *m, unsigned char *e) {
    const CUtensorMapDataType t = (CUtensorMapDataType)m->type;
    uint32_t u;
    if (t != CU_TENSOR_MAP_DATA_TYPE_TFLOAT32 && t != CU_TENSOR_MAP_DATA_TYPE_TFLOAT32_FTZ) return;
    memcpy(&u, e, 4);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        u = 0x7fffe000u;
    else
        u = (u + 0xfffu + (u >> 13 & 1)) & ~0x1fffu;
    memcpy(e, &u, 4);
}

void emu_element_load(emu_run *r, const emu_bulk *c, emu_block *b, uint32_t shared, char *global) {
    const emu_tensor_map *m = map_of(c);
    const uint32_t bytes = type_bytes((CUtensorMapDataType)m->type);
    unsigned char *to = b->smem + shared;
    (void)r;
    if (global) {
        memcpy(to, global, bytes);
        convert(m, to);
        return;
    }
    for (uint32_t i = 0; i < bytes; i++) to[i] = !m->nan_fill ? 0 : i % 2 ? 0x7f : 0xf7; /* a NaN of any type */
}

void emu_element_store(emu_run *r, const emu_bulk *c, emu_block *b, uint32_t shared, char *global) {
    (void)r;
    if (global) memcpy(global, b->smem + shared, type_bytes((CUtensorMapDataType)map_of(c)->type));
}

void emu_element_check(emu_run *r, const emu_bulk *c, emu_block *b, uint32_t shared, char *global) {
    (void)b, (void)shared;
    if (global)
        emu_global(c->thread, global, type_bytes((CUtensorMapDataType)map_of(c)->type),
                   c->is_store ? EMU_WRITE : EMU_READ, r->kernel->image + c->pc);
}

/* ---- instructions ------------------------------------------------------------------------------------------------ */

static void start(emu_thread *t, emu_bulk *c, const void *map, const int *coords, int rank, const void *pc) {
    emu_run *r = t->run;
    emu_step(r);
    if ((uintptr_t)map % 64) emu_fault(r, TN_EMU_MISALIGNED, pc, "gives TMA a tensor map at %p", map);
    memcpy(c->map, map, sizeof c->map);
    const emu_tensor_map *m = map_of(c);
    if (m->magic != MAGIC) emu_fault(r, TN_EMU_MISUSE, pc, "gives TMA a tensor map that is none");
    if (m->rank != rank || m->im2col != c->im2col)
        emu_fault(r, TN_EMU_MISUSE, pc, "uses %s of %d dimensions as %s of %d", m->im2col ? "an im2col map" : "a map",
                  m->rank, c->im2col ? "an im2col map" : "a map", rank);
    if (c->shared % 128) emu_fault(r, TN_EMU_MISALIGNED, pc, "has a TMA box in shared memory at %u", c->shared);
    const int inner = coords[0] * (int)type_bytes((CUtensorMapDataType)m->type);
    if (inner % 16) /* not in the manuals: an H200 calls it an illegal instruction */
        emu_fault(r, TN_EMU_MISALIGNED, pc,
                  "has a TMA box at %d bytes of the innermost dimension, not a multiple of 16", inner);
    for (int k = 0; c->is_store && k < rank; k++)
        if (coords[k] < 0) /* nor this */
            emu_fault(r, TN_EMU_OUT_OF_BOUNDS, pc, "stores a TMA box at coordinate %d of dimension %d", coords[k], k);
    memcpy(c->coords, coords, (size_t)rank * sizeof *coords);
    c->is_tensor = true;
    c->bytes = box_bytes(m);
    c->span = box_span(m);
    const emu_bulk *queued = emu_bulk_start(t, c, pc);
    emu_tensor_walk(r, queued, t->block, emu_element_check);
}

void emu_tma_load(tn_emu_view *v, unsigned dst, const void *map, const int *coords, int rank,
                  const unsigned short *offsets, unsigned mbarrier, unsigned multicast) {
    emu_bulk c = {.shared = dst,
                  .mbarrier = mbarrier,
                  .multicast = multicast ? multicast : 1u << v->rank,
                  .im2col = offsets != NULL};
    for (int k = 0; offsets && k < rank - 2; k++) c.offsets[k] = offsets[k];
    if (multicast >> v->cluster_size)
        emu_fault(emu_of(v)->run, TN_EMU_OUT_OF_BOUNDS, EMU_PC(), "loads into blocks %x of a cluster of %u", multicast,
                  v->cluster_size);
    start(emu_of(v), &c, map, coords, rank, EMU_PC());
}

void emu_tma_store(tn_emu_view *v, const void *map, const int *coords, int rank, unsigned src) {
    emu_bulk c = {.is_store = true, .shared = src};
    start(emu_of(v), &c, map, coords, rank, EMU_PC());
}
