/* npz.c: arrays in a .npz: a ZIP archive of .npy files, stored or deflated, as numpy.savez and savez_compressed write them.
 *
 * The archive's directory at its end says where each member is; what comes from a file is checked against its size and the
 * member's checksum.  Archives above 4 GB (ZIP64) are refused. */
#include "frontend/cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "ir/text/output.h"

enum { END_SIZE = 22, ENTRY_SIZE = 46, LOCAL_SIZE = 30, STORED = 0, DEFLATED = 8 };
static const uint32_t END = 0x06054b50, ENTRY = 0x02014b50, LOCAL = 0x04034b50, NONE = 0xffffffff;

static uint32_t get(const unsigned char *p, int bytes) {
    uint32_t v = 0;
    for (int k = 0; k < bytes; k++) v |= (uint32_t)p[k] << 8 * k;
    return v;
}

typedef struct archive {
    cli *c;
    const char *path;
    const unsigned char *data;
    size_t size;
    size_t at; /* of the next entry of the directory */
    uint32_t left;
} archive;

typedef struct member {
    const char *name; /* not ended by a zero */
    size_t name_size;
    uint32_t method, crc, packed, size, local;
} member;

static tn_status damaged(const archive *a) {
    return tn_fail(&a->c->env, TN_E_FORMAT, a->path, "", "damaged, or no .npz file");
}

static tn_status open_archive(cli *c, const char *path, archive *a) {
    *a = (archive){.c = c, .path = path};
    a->data = (const unsigned char *)cli_read_file(c, path, &a->size);
    if (!a->data) return TN_E_IO;
    size_t end = a->size < END_SIZE ? 0 : a->size - END_SIZE;
    const size_t last = end > 65535 ? end - 65535 : 0;
    while (end > last && get(a->data + end, 4) != END) end--;
    if (a->size < END_SIZE || get(a->data + end, 4) != END) return damaged(a);
    a->left = get(a->data + end + 10, 2);
    a->at = get(a->data + end + 16, 4);
    if (a->at == NONE) return tn_fail(&c->env, TN_E_UNSUPPORTED, path, "use .npy files", "a ZIP64 archive (over 4 GB)");
    return TN_OK;
}

static void close_archive(archive *a) {
    if (a->data) tn_free(&a->c->env, (void *)(uintptr_t)a->data, a->size + 1);
}

/* The next member; false at the end, or where the directory is damaged (*st). */
static bool next_member(archive *a, member *m, tn_status *st) {
    if (!a->left) return false;
    const unsigned char *p = a->data + a->at;
    if (a->at > a->size || a->size - a->at < ENTRY_SIZE || get(p, 4) != ENTRY) return *st = damaged(a), false;
    const size_t name = get(p + 28, 2), rest = get(p + 30, 2) + get(p + 32, 2);
    *m = (member){(const char *)p + ENTRY_SIZE,
                  name,
                  get(p + 10, 2),
                  get(p + 16, 4),
                  get(p + 20, 4),
                  get(p + 24, 4),
                  get(p + 42, 4)};
    if (a->size - a->at - ENTRY_SIZE < name + rest) return *st = damaged(a), false;
    a->at += ENTRY_SIZE + name + rest;
    a->left--;
    return true;
}

static bool is_named(const member *m, const char *name) {
    const size_t n = strlen(name);
    return m->name_size == n + 4 && !memcmp(m->name, name, n) && !memcmp(m->name + n, ".npy", 4);
}

static bool inflate_all(const unsigned char *in, size_t n_in, unsigned char *out, size_t n_out) {
    z_stream z = {.next_in = (Bytef *)(uintptr_t)in, .avail_in = (uInt)n_in, .next_out = out, .avail_out = (uInt)n_out};
    if (inflateInit2(&z, -MAX_WBITS) != Z_OK) return false;
    const int rc = inflate(&z, Z_FINISH);
    const bool ok = rc == Z_STREAM_END && z.total_out == n_out;
    inflateEnd(&z);
    return ok;
}

static tn_status read_member(const archive *a, const member *m, tn_host_tensor *out) {
    if (m->packed == NONE || m->size == NONE || m->local == NONE)
        return tn_fail(&a->c->env, TN_E_UNSUPPORTED, a->path, "use .npy files", "a ZIP64 archive (over 4 GB)");
    const unsigned char *p = a->data + m->local;
    if (m->local > a->size || a->size - m->local < LOCAL_SIZE || get(p, 4) != LOCAL) return damaged(a);
    const size_t head = LOCAL_SIZE + (size_t)get(p + 26, 2) + get(p + 28, 2);
    if (a->size - m->local < head || a->size - m->local - head < m->packed) return damaged(a);
    if (m->method != STORED && m->method != DEFLATED)
        return tn_fail(&a->c->env, TN_E_UNSUPPORTED, a->path, "save it with numpy.savez",
                       "a way of compression (%u) other than deflate", m->method);
    if ((m->method == STORED && m->packed != m->size) || m->size / 1200 > m->packed)
        return damaged(a); /* deflate's best is 1032 */
    unsigned char *data = tn_alloc(&a->c->env, (size_t)m->size + 1);
    if (!data) return tn_fail(&a->c->env, TN_E_MEMORY, a->path, "", "out of memory");
    bool ok = true;
    if (m->method == STORED)
        memcpy(data, p + head, m->size);
    else
        ok = inflate_all(p + head, m->packed, data, m->size);
    ok = ok && crc32(0, data, m->size) == m->crc;
    tn_status st = ok ? cli_parse_npy(a->c, a->path, (const char *)data, m->size, out) : damaged(a);
    tn_free(&a->c->env, data, (size_t)m->size + 1);
    return st;
}

/* Finds a member by its name, or the only one. */
static tn_status find(archive *a, const char *name, bool only, member *out, bool *found) {
    tn_status st = TN_OK;
    const bool one = only && a->left == 1;
    *found = false;
    for (member m; !*found && next_member(a, &m, &st);)
        if (one || is_named(&m, name)) *out = m, *found = true;
    return st;
}

tn_status cli_read_npz(cli *c, const char *path, const char *name, tn_host_tensor *out) {
    archive a;
    member m;
    bool found = false;
    memset(out, 0, sizeof *out);
    tn_status st = open_archive(c, path, &a);
    if (st == TN_OK) st = find(&a, name, true, &m, &found);
    if (st == TN_OK && !found) st = tn_fail(&c->env, TN_E_ARGUMENT, path, "", "it has no array '%s'", name);
    if (st == TN_OK) st = read_member(&a, &m, out);
    close_archive(&a);
    return st;
}

tn_status cli_npz_has(cli *c, const char *path, const char *name, bool *found) {
    archive a;
    member m;
    *found = false;
    tn_status st = open_archive(c, path, &a);
    if (st == TN_OK) st = find(&a, name, false, &m, found);
    close_archive(&a);
    return st;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static void put(FILE *f, uint32_t v, int bytes) {
    for (int k = 0; k < bytes; k++) fputc((int)(v >> 8 * k & 255), f);
}

typedef struct written {
    uint32_t crc, size, at;
} written;

static void put_common(FILE *f, const written *w, size_t name) {
    put(f, 20, 2), put(f, 0, 2), put(f, STORED, 2); /* version, flags, method */
    put(f, 0, 2), put(f, 0x21, 2); /* midnight of the first day that ZIP knows: files are reproducible */
    put(f, w->crc, 4), put(f, w->size, 4), put(f, w->size, 4);
    put(f, (uint32_t)name + 4, 2), put(f, 0, 2);
}

static tn_status write_member(cli *c, const char *path, FILE *f, const char *name, const tn_host_tensor *t, written *w,
                              uint64_t *at) {
    char *bytes = NULL;
    size_t n = 0;
    FILE *memory = open_memstream(&bytes, &n);
    tn_status st = memory ? cli_print_npy(c, memory, t) : TN_E_MEMORY;
    if (memory && fclose(memory)) st = TN_E_MEMORY;
    const size_t size = strlen(name);
    if (st == TN_OK && (n >= NONE || *at + n + size + LOCAL_SIZE + 4 >= NONE || size > 60000))
        st = tn_fail(&c->env, TN_E_UNSUPPORTED, path, "write a folder of .npy files", "more than 4 GB in one .npz");
    if (st == TN_OK) {
        *w = (written){(uint32_t)crc32_z(0, (const Bytef *)bytes, n), (uint32_t)n, (uint32_t)*at};
        put(f, LOCAL, 4);
        put_common(f, w, size);
        fprintf(f, "%s.npy", name);
        fwrite(bytes, 1, n, f);
        *at += LOCAL_SIZE + size + 4 + n;
    }
    free(bytes);
    return st;
}

static void put_directory(FILE *f, size_t n, const char *const *names, const written *w, uint64_t at) {
    uint32_t size = 0;
    for (size_t k = 0; k < n; k++) {
        put(f, ENTRY, 4), put(f, 20, 2);
        put_common(f, &w[k], strlen(names[k]));
        put(f, 0, 2), put(f, 0, 2), put(f, 0, 2), put(f, 0, 4), put(f, w[k].at, 4);
        fprintf(f, "%s.npy", names[k]);
        size += ENTRY_SIZE + (uint32_t)strlen(names[k]) + 4;
    }
    put(f, END, 4), put(f, 0, 4), put(f, (uint32_t)n, 2), put(f, (uint32_t)n, 2);
    put(f, size, 4), put(f, (uint32_t)at, 4), put(f, 0, 2);
}

tn_status cli_write_npz(cli *c, const char *path, size_t n, const char *const *names, const tn_host_tensor *t) {
    tn_output o;
    uint64_t at = 0;
    written *w = tn_alloc(&c->env, (n + 1) * sizeof *w);
    if (!w) return tn_fail(&c->env, TN_E_MEMORY, path, "", "out of memory");
    tn_status st = tn_output_begin(&c->env, path, &o);
    if (st == TN_OK) {
        for (size_t k = 0; st == TN_OK && k < n; k++) st = write_member(c, path, o.f, names[k], &t[k], &w[k], &at);
        if (st == TN_OK) put_directory(o.f, n, names, w, at);
        st = tn_output_end(&o, st);
    }
    tn_free(&c->env, w, (n + 1) * sizeof *w);
    return st;
}
