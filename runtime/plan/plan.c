/* plan.c: loading: map, check header and manifest checksum, unpack, check every bound.  Blobs are checked when first
 * used. */
#include "runtime/plan/plan.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "runtime/plan/dims.h"
#include "runtime/plan/format.h"

/* ---- the arena that the manifest and everything derived from it live in ------------------------------------------ */

static void *arena_alloc(void *user, size_t size) {
    return tn_arena_alloc(user, size);
}

static void arena_free(void *user, void *p) {
    (void)user; /* everything goes at once */
    (void)p;
}

/* ---- descriptions of inputs and outputs -------------------------------------------------------------------------- */

static const char *dim_text(tn_plan *p, uint32_t d) {
    char buf[256];
    tn_dims_print(p->pb->n_dims, p->pb->dims, d, buf, sizeof buf);
    size_t size = strlen(buf) + 1;
    char *copy = tn_arena_alloc(&p->arena, size);
    return copy ? memcpy(copy, buf, size) : NULL;
}

static tn_tensor_desc *describe(tn_plan *p, TnPlan__Tensor *const *t, size_t n) {
    tn_tensor_desc *out = tn_arena_alloc(&p->arena, (n + 1) * sizeof *out);
    if (!out) return NULL;
    for (size_t k = 0; k < n; k++) {
        out[k].name = t[k]->name;
        out[k].dtype = (tn_dtype)t[k]->dtype;
        out[k].rank = (uint32_t)t[k]->n_dims;
        for (uint32_t i = 0; i < out[k].rank; i++) {
            const TnPlan__Dim *d = p->pb->dims[t[k]->dims[i]];
            out[k].dims[i] = d->kind == TN_PLAN__DIM__KIND__CONST ? d->value : -1;
            out[k].dim_text[i] = dim_text(p, t[k]->dims[i]);
            if (!out[k].dim_text[i]) return NULL;
        }
    }
    return out;
}

/* ---- loading ----------------------------------------------------------------------------------------------------- */

static tn_status no_memory(const tn_plan *p, const char *name) {
    return tn_fail(p->env, TN_E_MEMORY, name, "", "out of memory loading the plan");
}

static tn_status check_header(const tn_plan *p, const char *name, tn_plan_header *h) {
    static const char *const again = "copy or compile the plan again";
    if (p->size < sizeof *h)
        return tn_fail(p->env, TN_E_FORMAT, name, again, "not a plan: %zu bytes are fewer than a plan's header",
                       p->size);
    memcpy(h, p->data, sizeof *h);
    if (memcmp(h->magic, TN_PLAN_MAGIC, sizeof h->magic))
        return tn_fail(p->env, TN_E_FORMAT, name, "plans are made by tenon compile",
                       "not a plan: it does not begin with %s", TN_PLAN_MAGIC);
    if (h->version != TN_PLAN_VERSION)
        return tn_fail(p->env, TN_E_FORMAT, name, "compile the plan again with this version",
                       "the plan has format version %" PRIu32 ", this library reads version %d", h->version,
                       TN_PLAN_VERSION);
    if (h->header_size != sizeof *h || XXH3_64bits(h, offsetof(tn_plan_header, header_xxh3)) != h->header_xxh3)
        return tn_fail(p->env, TN_E_FORMAT, name, again, "the plan is damaged: its header's checksum is wrong");
    if (h->file_size != p->size)
        return tn_fail(p->env, TN_E_FORMAT, name, again,
                       "the plan is damaged: it has %zu bytes and should have %" PRIu64, p->size, h->file_size);
    if (h->manifest_offset < sizeof *h || h->manifest_offset > p->size ||
        h->manifest_size > p->size - h->manifest_offset)
        return tn_fail(p->env, TN_E_FORMAT, name, again, "the plan is damaged: its manifest lies outside the file");
    return TN_OK;
}

static tn_status read_manifest(tn_plan *p, const char *name) {
    tn_plan_header h;
    tn_status st = check_header(p, name, &h);
    if (st != TN_OK) return st;
    const uint8_t *bytes = p->data + h.manifest_offset;
    if (XXH3_64bits(bytes, (size_t)h.manifest_size) != h.manifest_xxh3)
        return tn_fail(p->env, TN_E_FORMAT, name, "copy or compile the plan again",
                       "the plan is damaged: its manifest's checksum is wrong");
    p->arena.env = p->env;
    ProtobufCAllocator allocator = {arena_alloc, arena_free, &p->arena};
    p->pb = tn_plan__plan__unpack(&allocator, (size_t)h.manifest_size, bytes);
    if (!p->pb)
        return tn_fail(p->env, TN_E_FORMAT, name, "compile the plan again",
                       "the plan's manifest cannot be decoded (or memory ran out)");
    st = tn_plan_check(p->env, p->pb, p->size);
    if (st != TN_OK) return st;
    p->inputs = describe(p, p->pb->inputs, p->pb->n_inputs);
    p->outputs = describe(p, p->pb->outputs, p->pb->n_outputs);
    p->blob_ok = tn_arena_alloc(&p->arena, p->pb->n_blobs + 1);
    if (!p->inputs || !p->outputs || !p->blob_ok) return no_memory(p, name);
    return TN_OK;
}

static void destroy(tn_plan *p) {
    for (tn_plan *q; (q = p->made) != NULL;) {
        p->made = q->next_made;
        tn_plan_release(q);
    }
    if (p->lent) p->free_lent(p->lent);
    tn_free(p->env, p->owned, p->owned_size);
    if (p->mapped) munmap((void *)(uintptr_t)p->data, p->size);
    tn_arena_free(&p->arena);
    pthread_mutex_destroy(&p->device_mutex);
    pthread_mutex_destroy(&p->mutex);
    tn_free(p->env, p, sizeof *p);
}

static tn_plan *new_plan(const tn_env *env) {
    tn_plan *p = tn_alloc(env, sizeof *p);
    if (!p) return NULL;
    p->env = env;
    p->refs = 1;
    if (pthread_mutex_init(&p->mutex, NULL) == 0) {
        if (pthread_mutex_init(&p->device_mutex, NULL) == 0) return p;
        pthread_mutex_destroy(&p->mutex);
    }
    tn_free(env, p, sizeof *p);
    return NULL;
}

static tn_status map_file(tn_plan *p, const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (fd < 0) return tn_fail(p->env, TN_E_IO, path, "", "the plan cannot be opened: %s", strerror(errno));
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        close(fd);
        return tn_fail(p->env, TN_E_IO, path, "", "the plan is not a regular file");
    }
    p->size = (size_t)info.st_size;
    void *data = p->size ? mmap(NULL, p->size, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
    int error = errno;
    close(fd);
    if (data == MAP_FAILED) return tn_fail(p->env, TN_E_IO, path, "", "the plan cannot be mapped: %s", strerror(error));
    p->data = data;
    p->mapped = data != NULL;
    return TN_OK;
}

static tn_plan *finish(tn_plan *p, tn_status st, tn_status *status) {
    if (status) *status = st;
    if (st == TN_OK) return p;
    destroy(p);
    return NULL;
}

tn_plan *tn_plan_load(const tn_env *env, const char *path, tn_status *status) {
    tn_plan *p = new_plan(env);
    if (!p) {
        if (status) *status = TN_E_MEMORY;
        return NULL;
    }
    tn_status st = path ? map_file(p, path) : tn_fail(env, TN_E_ARGUMENT, "", "", "no path of a plan is given");
    if (st == TN_OK) st = read_manifest(p, path);
    return finish(p, st, status);
}

tn_plan *tn_plan_load_memory(const tn_env *env, const void *data, size_t size, tn_status *status) {
    tn_plan *p = new_plan(env);
    if (!p) {
        if (status) *status = TN_E_MEMORY;
        return NULL;
    }
    p->data = data;
    p->size = size;
    tn_status st = TN_OK;
    if (!data || (uintptr_t)data % 16)
        st = tn_fail(env, TN_E_ARGUMENT, "", "", "the plan's bytes must be 16-byte aligned");
    if (st == TN_OK) st = read_manifest(p, "");
    return finish(p, st, status);
}

tn_plan *tn_plan_load_owned(const tn_env *env, void *data, size_t size, tn_status *status) {
    tn_plan *p = tn_plan_load_memory(env, data, size, status);
    if (!p) {
        tn_free(env, data, size);
        return NULL;
    }
    p->owned = data;
    p->owned_size = size;
    return p;
}

void tn_plan_retain(tn_plan *p) {
    pthread_mutex_lock(&p->mutex);
    p->refs++;
    pthread_mutex_unlock(&p->mutex);
}

void tn_plan_release(tn_plan *p) {
    pthread_mutex_lock(&p->mutex);
    unsigned left = --p->refs;
    pthread_mutex_unlock(&p->mutex);
    if (!left) destroy(p);
}

void tn_plan_free(tn_plan *p) {
    if (p) tn_plan_release(p);
}

/* ---- queries ----------------------------------------------------------------------------------------------------- */

size_t tn_plan_input_count(const tn_plan *p) {
    return p->pb->n_inputs;
}
size_t tn_plan_output_count(const tn_plan *p) {
    return p->pb->n_outputs - p->pb->told;
}
const tn_tensor_desc *tn_plan_input(const tn_plan *p, size_t k) {
    return k < p->pb->n_inputs ? &p->inputs[k] : NULL;
}
const tn_tensor_desc *tn_plan_output(const tn_plan *p, size_t k) {
    return k < tn_plan_output_count(p) ? &p->outputs[k] : NULL;
}

static size_t find_tensor(const tn_tensor_desc *list, size_t n, const char *name) {
    for (size_t k = 0; k < n; k++)
        if (!strcmp(list[k].name, name)) return k;
    return TN_NOT_FOUND;
}

size_t tn_plan_find_input(const tn_plan *p, const char *name) {
    return find_tensor(p->inputs, p->pb->n_inputs, name);
}

size_t tn_plan_find_output(const tn_plan *p, const char *name) {
    return find_tensor(p->outputs, tn_plan_output_count(p), name);
}

const char *tn_plan_arch(const tn_plan *p, size_t k) {
    return k < p->pb->n_archs ? p->pb->archs[k]->name : NULL;
}
const TnPlan__Plan *tn_plan_manifest(const tn_plan *p) {
    return p->pb;
}

tn_status tn_plan_blob(tn_plan *p, uint32_t index, const void **data, size_t *size) {
    if (index >= p->pb->n_blobs) return tn_fail(p->env, TN_E_ARGUMENT, "", "", "the plan has no blob %" PRIu32, index);
    const TnPlan__Blob *b = p->pb->blobs[index];
    pthread_mutex_lock(&p->mutex);
    if (!p->blob_ok[index]) p->blob_ok[index] = XXH3_64bits(p->data + b->offset, (size_t)b->size) == b->xxh3;
    bool ok = p->blob_ok[index];
    pthread_mutex_unlock(&p->mutex);
    if (!ok)
        return tn_fail(p->env, TN_E_FORMAT, "", "copy or compile the plan again",
                       "the plan is damaged: the checksum of blob %" PRIu32 " (%" PRIu64 " bytes at %" PRIu64
                       ") is wrong",
                       index, b->size, b->offset);
    *data = p->data + b->offset;
    *size = (size_t)b->size;
    return TN_OK;
}

tn_packing tn_const_packing(const TnPlan__Const *c) {
    const TnPlan__Packing *p = c->packing;
    if (!p) return (tn_packing){0};
    return (tn_packing){.element = p->element,
                        .turned = p->turned,
                        .two_of_four = p->two_of_four,
                        .batch = p->batch,
                        .rows = p->rows,
                        .cols = p->cols,
                        .tile_rows = p->tile_rows,
                        .tile_cols = p->tile_cols,
                        .shift = p->shift,
                        .mask = p->mask};
}

void tn_step_text(const TnPlan__Step *s, char *buf, size_t size) {
    int n = snprintf(buf, size, "%s", s->name);
    size_t used = n > 0 ? (size_t)n : 0;
    for (size_t k = 0; k < s->n_layers && used < size; k++) {
        n = snprintf(buf + used, size - used, "%s%s", k ? ", " : " (", s->layers[k]);
        used += n > 0 ? (size_t)n : 0;
    }
    if (s->n_layers && used < size) snprintf(buf + used, size - used, ")");
}
