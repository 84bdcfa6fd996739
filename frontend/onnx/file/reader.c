/* reader.c: mapped files and unpacked messages. */
#include "frontend/onnx/file/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct tn_onnx_file {
    const tn_env *env;
    atomic_size_t refs;
    void *data;
    size_t size;
};

tn_onnx_file *tn_onnx_file_map(const tn_env *env, const char *path, tn_status *status) {
    tn_onnx_file *f = tn_alloc(env, sizeof *f);
    if (!f) {
        *status = tn_fail(env, TN_E_MEMORY, path, "", "out of memory");
        return NULL;
    }
    f->env = env;
    atomic_init(&f->refs, 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat sb;
    if (fd < 0 || fstat(fd, &sb) != 0) {
        *status = tn_fail(env, TN_E_IO, path, "", "cannot open: %s", strerror(errno));
    } else if (!S_ISREG(sb.st_mode)) {
        *status = tn_fail(env, TN_E_IO, path, "", "not a regular file");
    } else if ((f->size = (size_t)sb.st_size) > 0 &&
               (f->data = mmap(NULL, f->size, PROT_READ, MAP_PRIVATE, fd, 0)) == MAP_FAILED) {
        *status = tn_fail(env, TN_E_IO, path, "", "cannot map: %s", strerror(errno));
    } else {
        close(fd);
        if (env && env->reads) env->reads(env->reads_user, path);
        return f;
    }
    if (fd >= 0) close(fd);
    tn_free(env, f, sizeof *f);
    return NULL;
}

void tn_onnx_file_ref(tn_onnx_file *f) {
    atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
}

void tn_onnx_file_unref(void *p) {
    tn_onnx_file *f = p;
    if (!f || atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) != 1) return;
    if (f->size) munmap(f->data, f->size);
    tn_free(f->env, f, sizeof *f);
}

const uint8_t *tn_onnx_file_data(const tn_onnx_file *f) {
    return f->data;
}
size_t tn_onnx_file_size(const tn_onnx_file *f) {
    return f->size;
}

/* protobuf-c frees without a size and tn_free wants one: each block carries its size in front. */
enum { PREFIX = 16 };

static void *message_alloc(void *user, size_t size) {
    tn_onnx_message *m = user;
    uint8_t *p = size <= SIZE_MAX - PREFIX ? tn_realloc(m->env, NULL, 0, size + PREFIX) : NULL;
    if (!p) {
        m->out_of_memory = true;
        return NULL;
    }
    memcpy(p, &size, sizeof size);
    return p + PREFIX;
}

static void message_free(void *user, void *pointer) {
    tn_onnx_message *m = user;
    if (!pointer) return;
    uint8_t *p = (uint8_t *)pointer - PREFIX;
    size_t size;
    memcpy(&size, p, sizeof size);
    tn_free(m->env, p, size + PREFIX);
}

tn_status tn_onnx_unpack(tn_onnx_message *m, const tn_env *env, const char *source, const tn_wire_format *format,
                         const ProtobufCMessageDescriptor *desc, size_t n, const uint8_t *bytes) {
    m->env = env;
    m->allocator = (ProtobufCAllocator){message_alloc, message_free, m};
    m->msg = protobuf_c_message_unpack(desc, &m->allocator, n, bytes);
    if (m->msg) return TN_OK;
    if (m->out_of_memory) return tn_fail(env, TN_E_MEMORY, source, "", "out of memory while reading");
    char hint[128];
    snprintf(hint, sizeof hint, "the file is damaged or not %.40s: fetch or export it again", format->file);
    return tn_fail(env, TN_E_FORMAT, source, hint, "not a valid %s message", desc->short_name);
}

tn_status tn_wire_open(tn_onnx_message *m, const tn_env *env, const char *source, const tn_wire_format *format,
                       const ProtobufCMessageDescriptor *desc, const uint8_t *data, size_t size) {
    uint8_t *slim;
    size_t n, cap;
    if (!size)
        return tn_fail(env, TN_E_FORMAT, source, "the download or export that wrote it did not finish",
                       "the file is empty");
    tn_status st = tn_onnx_strip(env, source, format, desc, data, size, &slim, &n, &cap);
    if (st) return st;
    m->data = data;
    m->size = size;
    st = tn_onnx_unpack(m, env, source, format, desc, n, slim);
    tn_free(env, slim, cap);
    return st;
}

tn_status tn_onnx_open(tn_onnx_message *m, const tn_env *env, const char *source,
                       const ProtobufCMessageDescriptor *desc, const uint8_t *data, size_t size) {
    return tn_wire_open(m, env, source, &tn_onnx_format, desc, data, size);
}
