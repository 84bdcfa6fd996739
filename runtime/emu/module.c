/* module.c: from a kernel's source to a library for the CPU, by the host's C++ compiler.
 *
 * A module has a folder of its own (folder.h) with tn_emu.h, the object file of the sanitizers' hooks, the source
 * (every "//// FILE:LINE" marker turned into a #line, so that messages and debuggers name the template's lines) and the
 * library. It is compiled without debug information; a report that needs a line compiles it once more with -g, which
 * does not change the code.
 *
 *     TENON_CXX, CXX      the compiler; c++ if not set
 *     TENON_EMU_FLAGS     more flags, as words: "-O0 -g" to step through a kernel in a debugger; "-fsanitize=undefined
 *                         -fsanitize-undefined-trap-on-error"; "-fsanitize=address" with libasan preloaded
 *     TENON_EMU_PATCH     "FILE:LINE:TEXT": TEXT stands in place of that line of the source, to try a change or to
 *                         prove that a test would notice it
 *     TENON_EMU_KEEP=1    keep the folders */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/emu/engine.h"
#include "runtime/emu/folder.h"
#include "runtime/emu/module.h"

extern char **environ;
/* templates/shared/tn_emu.h, and the object file of linked/hooks.c. */
extern const unsigned char tn_emu_header[], tn_emu_hooks[];
extern const unsigned long tn_emu_header_size, tn_emu_hooks_size;

enum { MAX_KERNELS = 64, MAX_WORDS = 64, OWN_WORDS = 8 };

struct tn_emu_module {
    const tn_env *env;
    char name[160];
    tn_emu_folder folder; /* gone once the library is loaded, and made again for a report */
    char *source;
    size_t size;
    pid_t pid; /* of the compiler; 0: not started or done */
    bool started, compiled, with_lines;
    int error; /* why the compiler did not start: whoever started it ahead of time need not have listened */
    void *lib;
    tn_emu_kernel kernels[MAX_KERNELS];
    size_t n_kernels;
};

const tn_env *tn_emu_module_env(const tn_emu_module *m) {
    return m->env;
}

/* ---- the source -------------------------------------------------------------------------------------------------- */

/* Where a line of a source comes from. */
typedef struct place {
    const char *name;
    int length; /* of the name; 0: from nowhere */
    long line;
} place;

/* The text that replaces this line, or NULL. */
static const char *patch_of(const place *at) {
    const char *p = getenv("TENON_EMU_PATCH");
    if (!p || !at->length || strncmp(p, at->name, (size_t)at->length) || p[at->length] != ':') return NULL;
    char *end;
    long line = strtol(p + at->length + 1, &end, 10);
    return line == at->line && *end == ':' ? end + 1 : NULL;
}

/* Of a marker line's text: FILE:LINE. */
static place place_of(const char *p, size_t n) {
    const char *colon = memrchr(p, ':', n);
    const size_t length = colon ? (size_t)(colon - p) : n;
    return (place){p, (int)length, colon ? strtol(colon + 1, NULL, 10) : 1};
}

/* Prints the source with #lines in place of markers. */
static void print_source(FILE *f, const char *source, size_t size) {
    static const char mark[] = "//// ";
    place at = {NULL, 0, 0};
    for (const char *p = source, *end = source + size; p < end;) {
        const char *q = memchr(p, '\n', (size_t)(end - p));
        size_t n = q ? (size_t)(q - p) : (size_t)(end - p);
        if (n > sizeof mark - 1 && !memcmp(p, mark, sizeof mark - 1)) {
            at = place_of(p + sizeof mark - 1, n - (sizeof mark - 1));
            fprintf(f, "#line %ld \"%.*s\"\n", at.line, at.length, at.name);
        } else {
            const char *patch = patch_of(&at);
            if (patch)
                fputs(patch, f);
            else
                fwrite(p, 1, n, f);
            fputc('\n', f);
            at.line++;
        }
        p += n + 1;
    }
}

static bool name_char(char c) {
    return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* The function's name after "__global__": the identifier before a parenthesis that is no attribute. */
static size_t kernel_name(const char *p, const char *end, const char **name) {
    while (p < end && *p != ';' && *p != '{') {
        if (!name_char(*p)) {
            p++;
            continue;
        }
        const char *from = p;
        while (p < end && name_char(*p)) p++;
        size_t n = (size_t)(p - from);
        while (p < end && (*p == ' ' || *p == '\n')) p++;
        if (p == end || *p != '(') continue;
        if (n != 17 || memcmp(from, "__launch_bounds__", 17)) {
            *name = from;
            return n;
        }
        int depth = 0;
        do {
            depth += *p == '(' ? 1 : *p == ')' ? -1 : 0;
            p++;
        } while (p < end && depth);
    }
    return 0;
}

/* What the generated header before p calls TN_KERNEL. */
static size_t step_name(const char *source, const char *p, const char **name) {
    static const char *const defines[] = {"#define TN_KERNEL ", "#define TN_ENTRY "};
    *name = NULL;
    for (size_t k = 0; k < 2; k++) {
        const size_t n = strlen(defines[k]);
        for (const char *at = source; (at = memmem(at, (size_t)(p - at), defines[k], n)); at += n)
            if (!*name || at + n > *name) *name = at + n;
    }
    size_t n = 0;
    while (*name && name_char((*name)[n])) n++;
    return n;
}

/* The kernels in a source, in the order in which they stand. */
static void print_entries(FILE *f, const char *source, size_t size) {
    static const char word[] = "__global__", step[] = "TN_KERNEL";
    const char *end = source + size;
    for (const char *p = source; (p = memmem(p, (size_t)(end - p), word, sizeof word - 1));) {
        const char *name;
        p += sizeof word - 1;
        size_t n = kernel_name(p, end, &name);
        if (n == sizeof step - 1 && !memcmp(name, step, n)) n = step_name(source, name, &name);
        if (n) fprintf(f, "TN_EMU_KERNEL(%.*s)\n", (int)n, name);
    }
}

static tn_status write_file(tn_emu_module *m, const char *file, const void *text, size_t size, bool is_source) {
    char path[600];
    snprintf(path, sizeof path, "%s/%s", m->folder.path, file);
    FILE *f = fopen(path, "w");
    if (!f) return tn_fail(m->env, TN_E_IO, m->name, "", "%s cannot be written: %s", path, strerror(errno));
    if (is_source) {
        fprintf(f, "#define TN_HOST 1\n#include \"tn_emu.h\"\n");
        print_source(f, text, size);
        fprintf(f, "#line 1 \"entries\"\n");
        print_entries(f, text, size);
    } else
        fwrite(text, 1, size, f);
    bool ok = !ferror(f);
    ok = fclose(f) == 0 && ok;
    return ok ? TN_OK : tn_fail(m->env, TN_E_IO, m->name, "is the disk full?", "%s cannot be written", path);
}

/* ---- the folder -------------------------------------------------------------------------------------------------- */

static tn_status make_dir(tn_emu_module *m) {
    if (*m->folder.path) return TN_OK;
    if (!tn_emu_folder_make(&m->folder))
        return tn_fail(m->env, TN_E_IO, m->name, "set TMPDIR", "no folder for the emulated kernel: %s",
                       strerror(errno));
    tn_status st = write_file(m, "tn_emu.h", tn_emu_header, tn_emu_header_size, false);
    if (st == TN_OK) st = write_file(m, "hooks.o", tn_emu_hooks, tn_emu_hooks_size, false);
    return st == TN_OK ? write_file(m, "kernel.cpp", m->source, m->size, true) : st;
}

/* ---- the compiler ------------------------------------------------------------------------------------------------ */

static const char *compiler(void) {
    const char *c = getenv("TENON_CXX");
    if (!c || !*c) c = getenv("CXX");
    return c && *c ? c : "c++";
}

static size_t split_words(char *text, char **words, size_t n) {
    for (char *save = NULL, *w = strtok_r(text, " ", &save); w && n < MAX_WORDS - OWN_WORDS;
         w = strtok_r(NULL, " ", &save))
        words[n++] = w;
    return n;
}

/* Products and sums are then contracted as NVRTC does it; without, results differ from a GPU's by a rounding. */
static bool has_fma(void) {
#if defined(__x86_64__) || defined(__i386__)
    return __builtin_cpu_supports("fma");
#else
    return false; /* needs no flag, where there is one */
#endif
}

/* The compiler's environment: its own temporary files lie in the module's folder too, and go with it. */
typedef struct environment {
    char **vars, tmpdir[sizeof "TMPDIR=" + sizeof(tn_emu_folder)];
    size_t bytes;
} environment;

static bool make_environment(const tn_emu_module *m, environment *e) {
    size_t n = 0, used = 0;
    while (environ[n]) n++;
    e->bytes = (n + 2) * sizeof *e->vars;
    e->vars = tn_alloc(m->env, e->bytes);
    if (!e->vars) return false;
    for (size_t k = 0; k < n; k++)
        if (strncmp(environ[k], "TMPDIR=", 7)) e->vars[used++] = environ[k];
    snprintf(e->tmpdir, sizeof e->tmpdir, "TMPDIR=%s", m->folder.path);
    e->vars[used] = e->tmpdir;
    return true;
}

/* Starts the compiler in the module's folder: kernel.cpp to `library`, messages to `log`. */
static int spawn(const tn_emu_module *m, bool lines, const char *library, const char *log, pid_t *pid) {
    char cxx[256], more[512], out[560], in[560], hooks[560], log_path[560], *words[MAX_WORDS];
    snprintf(cxx, sizeof cxx, "%s", compiler());
    snprintf(more, sizeof more, "%s", getenv("TENON_EMU_FLAGS") ? getenv("TENON_EMU_FLAGS") : "");
    snprintf(out, sizeof out, "%s/%s", m->folder.path, library);
    snprintf(in, sizeof in, "%s/kernel.cpp", m->folder.path);
    snprintf(hooks, sizeof hooks, "%s/hooks.o", m->folder.path);
    snprintf(log_path, sizeof log_path, "%s/%s", m->folder.path, log);
    size_t n = split_words(cxx, words, 0);
    static const char *const flags[] = {"-std=c++17",
                                        "-O1",
                                        "-fPIC",
                                        "-shared",
                                        "-nostdlib",
                                        "-fno-exceptions",
                                        "-fno-rtti",
                                        "-w",
                                        "-fno-strict-aliasing",
                                        "-fvisibility=hidden",
                                        "-ffp-contract=fast",
                                        "-fexpensive-optimizations",
                                        "-fsanitize-coverage=trace-pc"};
    for (size_t k = 0; k < sizeof flags / sizeof *flags; k++) words[n++] = (char *)(uintptr_t)flags[k];
    /* the two exclude each other; with the address sanitizer, our own checks of plain accesses are off */
    if (!strstr(more, "-fsanitize=address")) words[n++] = (char *)(uintptr_t) "-fsanitize=thread";
    if (has_fma()) words[n++] = (char *)(uintptr_t) "-mfma";
    if (lines) words[n++] = (char *)(uintptr_t) "-g";
    n = split_words(more, words, n);
    char o[] = "-o", lm[] = "-lm";
    words[n++] = o;
    words[n++] = out;
    words[n++] = in;
    words[n++] = hooks;
    words[n++] = lm;
    words[n] = NULL;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, log_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    posix_spawnattr_t group; /* of its own, so that all parts of the compiler end together */
    posix_spawnattr_init(&group);
    posix_spawnattr_setflags(&group, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setpgroup(&group, 0);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&group, &none);
    environment e;
    int rc = make_environment(m, &e) ? posix_spawnp(pid, words[0], &actions, &group, words, e.vars) : ENOMEM;
    tn_free(m->env, e.vars, e.bytes);
    posix_spawnattr_destroy(&group);
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

static bool reap(pid_t pid, bool block, bool *ok) {
    int status;
    pid_t got;
    do got = waitpid(pid, &status, block ? 0 : WNOHANG);
    while (got < 0 && errno == EINTR);
    if (got == 0) return false;
    *ok = got == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    return true;
}

static tn_status no_compiler(const tn_emu_module *m) {
    return tn_fail(m->env, TN_E_NO_LIBRARY, m->name, "install g++ or clang++, or name one in TENON_CXX",
                   "running kernels on the CPU takes a C++ compiler, and '%s' does not start: %s", compiler(),
                   strerror(m->error));
}

tn_status tn_emu_start(tn_emu_module *m) {
    if (m->started) return m->error ? no_compiler(m) : TN_OK;
    m->started = true;
    tn_status st = make_dir(m);
    if (st != TN_OK) return st;
    m->error = spawn(m, false, "kernel.so", "log", &m->pid);
    if (m->error == 0) return TN_OK;
    m->pid = 0;
    return no_compiler(m);
}

bool tn_emu_started(const tn_emu_module *m) {
    return m->started;
}

bool tn_emu_ready(tn_emu_module *m) {
    if (!m->pid) return true;
    if (!reap(m->pid, false, &m->compiled)) return false;
    m->pid = 0;
    return true;
}

/* The compiler's first error, or the end of what it said. */
static void first_error(const tn_emu_module *m, char *out, size_t size) {
    char path[600], line[600];
    snprintf(path, sizeof path, "%s/log", m->folder.path);
    snprintf(out, size, "it says nothing; is there space in %s?", m->folder.path);
    FILE *f = fopen(path, "r");
    if (!f) return;
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        snprintf(out, size, "%.500s", line);
        if (strstr(line, "error")) break;
    }
    fclose(f);
}

static tn_status load_library(tn_emu_module *m) {
    char path[600];
    snprintf(path, sizeof path, "%s/kernel.so", m->folder.path);
    m->lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!m->lib)
        return tn_fail(m->env, TN_E_COMPILE, m->name, "", "the emulated kernel cannot be loaded: %s", dlerror());
    const tn_emu_api **table = dlsym(m->lib, "tn_emu");
    if (!table) return tn_fail(m->env, TN_E_INTERNAL, m->name, "", "the emulated kernel has no table");
    *table = emu_api();
    tn_emu_folder_remove(&m->folder); /* an interrupted program leaves nothing behind */
    return TN_OK;
}

static tn_status finish(tn_emu_module *m) {
    if (m->lib) return TN_OK;
    tn_status st = tn_emu_start(m);
    if (st != TN_OK) return st;
    if (m->pid) reap(m->pid, true, &m->compiled);
    m->pid = 0;
    if (!*m->folder.path) return tn_fail(m->env, TN_E_IO, m->name, "", "the emulated kernel could not be built");
    if (m->compiled) return load_library(m);
    char why[560];
    first_error(m, why, sizeof why);
    return tn_fail(m->env, TN_E_COMPILE, m->name, "TENON_EMU_KEEP=1 keeps the source",
                   "the C++ compiler does not accept the kernel: %s", why);
}

/* ---- kernels ----------------------------------------------------------------------------------------------------- */

typedef struct image_search {
    uintptr_t base, end;
} image_search;

static int find_image(struct dl_phdr_info *info, size_t size, void *arg) {
    image_search *s = arg;
    (void)size;
    if (info->dlpi_addr != s->base) return 0;
    for (int k = 0; k < info->dlpi_phnum; k++) {
        uintptr_t end = s->base + info->dlpi_phdr[k].p_vaddr + info->dlpi_phdr[k].p_memsz;
        if (info->dlpi_phdr[k].p_type == PT_LOAD && end > s->end) s->end = end;
    }
    return 1;
}

tn_status tn_emu_get(tn_emu_module *m, const char *entry, tn_emu_kernel **out) {
    tn_status st = finish(m);
    if (st != TN_OK) return st;
    for (size_t k = 0; k < m->n_kernels; k++)
        if (!strcmp(m->kernels[k].name, entry)) return *out = &m->kernels[k], TN_OK;
    char symbol[200];
    snprintf(symbol, sizeof symbol, "tn_emu_entry_%.160s", entry);
    const tn_emu_entry *e = dlsym(m->lib, symbol);
    if (!e || m->n_kernels == MAX_KERNELS)
        return tn_fail(m->env, TN_E_ARGUMENT, m->name, "", "the source has no kernel '%s'", entry);
    tn_emu_kernel *x = &m->kernels[m->n_kernels++];
    struct link_map *map = NULL;
    image_search s = {0, 0};
    if (dlinfo(m->lib, RTLD_DI_LINKMAP, &map) == 0 && map) {
        s.base = map->l_addr;
        dl_iterate_phdr(find_image, &s);
    }
    *x = (tn_emu_kernel){.module = m,
                         .entry = e,
                         .self = dlsym(m->lib, "tn_emu_self"),
                         .image = (const char *)s.base,
                         .image_end = (const char *)s.end};
    snprintf(x->name, sizeof x->name, "%s", entry);
    *out = x;
    return TN_OK;
}

/* ---- lines ------------------------------------------------------------------------------------------------------- */

/* "path/tn_tile.cuh:88 (discriminator 2)" -> "tn_tile.cuh:88" */
static void shorten(char *line) {
    line[strcspn(line, " \n")] = 0;
    char *slash = strrchr(line, '/');
    if (slash) memmove(line, slash + 1, strlen(slash + 1) + 1);
}

/* addr2line's answer is a line for each inlined call, innermost first; told from the template inwards. */
static bool ask(const char *path, unsigned long offset, char *buf, size_t size) {
    char command[700], line[512], chain[512] = "", longer[512];
    snprintf(command, sizeof command, "addr2line -i -e '%s' 0x%lx 2>/dev/null", path, offset);
    FILE *f = popen(command, "r");
    if (!f) return false;
    while (fgets(line, sizeof line, f)) {
        shorten(line);
        if (strchr(line, '?') || strstr(line, "tn_emu.h") || strstr(line, "entries:")) continue;
        int n = snprintf(longer, sizeof longer, "%s%s%s", line, *chain ? " > " : "", chain);
        if (n > 0 && (size_t)n < sizeof longer) memcpy(chain, longer, sizeof longer);
    }
    pclose(f);
    if (*chain) snprintf(buf, size, "%s", chain);
    return *chain != 0;
}

const char *emu_line(const tn_emu_kernel *k, const void *pc, char *buf, size_t size) {
    tn_emu_module *m = k->module;
    const unsigned long offset = (unsigned long)((const char *)pc - k->image);
    char path[600];
    snprintf(buf, size, "%s+0x%lx", k->name, offset);
    if (!m->with_lines) {
        pid_t pid;
        bool ok = false;
        if (make_dir(m) == TN_OK && spawn(m, true, "lines.so", "lines.log", &pid) == 0) reap(pid, true, &ok);
        m->with_lines = true;
    }
    snprintf(path, sizeof path, "%s/lines.so", m->folder.path);
    if (access(path, R_OK) == 0) ask(path, offset - 1, buf, size); /* pc is where the call returns to */
    return buf;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

tn_status tn_emu_load(const tn_env *env, const char *name, const char *source, size_t size, tn_emu_module **out) {
    tn_emu_module *m = tn_alloc(env, sizeof *m);
    if (!m) return tn_fail(env, TN_E_MEMORY, name, "", "out of memory");
    m->env = env;
    m->size = size;
    m->source = tn_alloc(env, size + 1);
    if (!m->source) {
        tn_free(env, m, sizeof *m);
        return tn_fail(env, TN_E_MEMORY, name, "", "out of memory");
    }
    memcpy(m->source, source, size);
    snprintf(m->name, sizeof m->name, "%s", name);
    *out = m;
    return TN_OK;
}

void tn_emu_unload(tn_emu_module *m) {
    if (!m) return;
    if (m->pid) {
        bool ok;
        kill(-m->pid, SIGKILL);
        reap(m->pid, true, &ok);
    }
    if (m->lib) dlclose(m->lib);
    tn_emu_folder_remove(&m->folder);
    tn_free(m->env, m->source, m->size + 1);
    tn_free(m->env, m, sizeof *m);
}
