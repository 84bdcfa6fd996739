/* micro.c: kernels of a few instructions each, run on the GPU or on the emulated device, bit for bit.
 *
 *     micro_kernels --device emu|cuda [--write TABLE] [--compare TABLE] [--dump DIR] [--only TEXT]
 *
 * Prints a line a kernel: its name, the bytes of its output, their XXH3 hash.  --write stores that as a table with what
 * made it; --compare tells which kernels give other bits than the table says, and exits with 1 if there is one.  Both
 * devices are driven through the same tn_cuda functions; inputs come from a generator of our own. */
#include <popt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

#include "codegen/tune/build.h"
#include "runtime/cuda/cuda.h"
#include "runtime/emu/driver.h"
#include "tests/kernels/micro/cases.h"

/* the kernels' sources */
extern const char micro_values[], micro_warps[], micro_copies[], micro_mma[], micro_wgmma[], micro_tma[];
static const struct {
    const char *name, *text;
} sources[] = {{"values", micro_values}, {"warps", micro_warps}, {"copies", micro_copies},
               {"mma", micro_mma},       {"wgmma", micro_wgmma}, {"tma", micro_tma}};
enum { N_SOURCES = sizeof sources / sizeof *sources, N_CASES = sizeof cases / sizeof *cases };

typedef struct program {
    const tn_env *env;
    tn_cuda *cu;
    tn_nvrtc *nvrtc; /* NULL: emulated */
    CUcontext context;
    tn_device_info device;
    CUmodule modules[N_SOURCES]; /* loaded when first needed */
    const char *dump, *compare;
    FILE *write;
    int different, failed, unknown, run;
} program;

static void report(void *user, const tn_diag *d) {
    (void)user;
    fprintf(stderr, "%s%s%s\n", d->loc, *d->loc ? ": " : "", d->message);
}

/* ---- inputs ------------------------------------------------------------------------------------------------------ */

static uint32_t next(uint64_t *state) { /* xorshift64* (Vigna) */
    *state ^= *state >> 12, *state ^= *state << 25, *state ^= *state >> 27;
    return (uint32_t)(*state * 2685821657736338717u >> 32);
}

static const struct {
    int bytes, exponent, mantissa; /* bits; 0: integers */
} types[] = {[T_U32] = {4, 0, 0},  [T_F32] = {4, 8, 23}, [T_F16] = {2, 5, 10}, [T_BF16] = {2, 8, 7},
             [T_E4M3] = {1, 4, 3}, [T_E5M2] = {1, 5, 2}, [T_S8] = {1, 0, 0}};

static uint32_t number(gen_kind kind, gen_type type, uint64_t *state) {
    const int e_bits = types[type].exponent, m_bits = types[type].mantissa;
    const uint32_t bits = next(state);
    if (kind == G_BITS || !e_bits) return bits;
    const uint32_t top = (1u << e_bits) - 1, bias = top / 2, pick = next(state), choice = next(state) % 64;
    uint32_t e = kind == G_UNIT ? bias - 3 + pick % 4 : pick % top, m = bits & ((1u << m_bits) - 1);
    if (kind != G_UNIT && e_bits == 8) e = bias - 20 + pick % 41; /* products stay finite for the most part */
    if (kind != G_UNIT && choice < 2) e = 0;
    if (kind != G_UNIT && choice == 2) e = m = 0;
    if (kind == G_SPECIAL && choice == 3) e = top, m = pick & 1 ? m : 0;
    if (kind == G_SPECIAL && choice >= 60) e = pick % (top + 1);
    if (type == T_E4M3 && e == top && kind != G_SPECIAL && m == 7) m = 6;
    return (bits >> 31) << (e_bits + m_bits) | e << m_bits | m;
}

static void generate(const gen *g, uint64_t *state, unsigned char *out) {
    const size_t size = (size_t)types[g->type].bytes;
    for (size_t k = 0; k + size <= g->bytes; k += size) {
        const uint32_t v = number(g->kind, g->type, state);
        memcpy(out + k, &v, size); /* little endian */
    }
}

/* ---- modules ----------------------------------------------------------------------------------------------------- */

static tn_status load(program *p, size_t s) {
    tn_template tpl = {.name = sources[s].name, .source = sources[s].text};
    char header[] = "";
    tn_variant v = {.tpl = &tpl, .header = header};
    char *text;
    size_t size;
    tn_status st = tn_variant_source(p->env, &v, &text, &size);
    if (st != TN_OK) return st;
    if (!p->nvrtc) {
        st = TN_CU(p->cu, cuModuleLoadDataEx(&p->modules[s], text, 0, NULL, NULL), sources[s].name);
    } else {
        char arch[32];
        tn_kernel_bin bin;
        tn_cache *none = tn_cache_open(p->env, "");
        snprintf(arch, sizeof arch, "sm_%d%s", p->device.cc, p->device.cc >= 90 ? "a" : "");
        tn_build_source(p->env, p->nvrtc, none, arch, sources[s].name, text, size, &bin);
        st = bin.status;
        if (st != TN_OK)
            fprintf(stderr, "%s.cu: %s\n", sources[s].name, bin.error);
        else if (p->cu)
            st = TN_CU(p->cu, cuModuleLoadDataEx(&p->modules[s], bin.cubin, 0, NULL, NULL), sources[s].name);
        tn_kernel_bin_free(p->env, &bin);
        tn_cache_close(none);
    }
    tn_free(p->env, text, size + 1);
    return st;
}

static tn_status find_kernel(program *p, const micro_case *c, CUfunction *f) {
    for (size_t s = 0; s < N_SOURCES; s++) {
        if (strcmp(sources[s].name, c->file)) continue;
        tn_status st = p->modules[s] ? TN_OK : load(p, s);
        if (st != TN_OK) return st;
        return TN_CU(p->cu, cuModuleGetFunction(f, p->modules[s], c->kernel), c->name);
    }
    return TN_E_INTERNAL;
}

/* ---- boxes ------------------------------------------------------------------------------------------------------- */

static uint32_t type_bytes(CUtensorMapDataType t) {
    return t == U8 ? 1 : t == U16 || t == F16 || t == BF16 ? 2 : t == F64 ? 8 : 4;
}

static gen_type type_of(CUtensorMapDataType t) {
    return t == F16 ? T_F16 : t == BF16 ? T_BF16 : type_bytes(t) == 4 && t != U32 ? T_F32 : T_U32;
}

/* Strides of dimensions 1 and up; returns the bytes of the tensor. */
static uint64_t box_strides(const box_case *b, cuuint64_t strides[5]) {
    uint64_t at = type_bytes(b->type);
    for (int i = 0; i < b->rank; i++) {
        at *= b->dims[i];
        if (i == 0) at += b->padding;
        at = (at + 15) / 16 * 16;
        strides[i] = at;
    }
    return at;
}

static uint32_t box_bytes(const box_case *b) {
    uint32_t n = type_bytes(b->type);
    if (b->im2col) return n * b->channels * b->pixels;
    for (int i = 0; i < b->rank; i++) n *= i ? (b->box[i] + b->steps[i] - 1) / b->steps[i] : b->box[i];
    return n;
}

/* Of shared memory that a box takes: rows are as far apart as the swizzle is wide. */
static uint32_t box_span(const box_case *b) {
    const uint32_t row = type_bytes(b->type) * (b->im2col ? b->channels : b->box[0]);
    return b->swizzle ? box_bytes(b) / row * (16u << b->swizzle) : box_bytes(b);
}

static tn_status encode(program *p, const box_case *b, CUdeviceptr tensor, CUtensorMap *map, const char *name) {
    cuuint64_t dims[5], strides[5];
    for (int i = 0; i < b->rank; i++) dims[i] = b->dims[i];
    box_strides(b, strides);
    const CUtensorMapFloatOOBfill fill =
        b->nan ? CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA : CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE;
    void *at = (void *)(uintptr_t)tensor;
    const cuuint32_t rank = (cuuint32_t)b->rank;
    if (!p->cu->cuTensorMapEncodeTiled || !p->cu->cuTensorMapEncodeIm2col) return TN_E_CUDA;
    if (b->im2col)
        return TN_CU(p->cu,
                     cuTensorMapEncodeIm2col(map, b->type, rank, at, dims, strides, b->lower, b->upper, b->channels,
                                             b->pixels, b->steps, CU_TENSOR_MAP_INTERLEAVE_NONE, b->swizzle,
                                             CU_TENSOR_MAP_L2_PROMOTION_NONE, fill),
                     name);
    return TN_CU(p->cu,
                 cuTensorMapEncodeTiled(map, b->type, rank, at, dims, strides, b->box, b->steps,
                                        CU_TENSOR_MAP_INTERLEAVE_NONE, b->swizzle, CU_TENSOR_MAP_L2_PROMOTION_NONE,
                                        fill),
                 name);
}

/* ---- one case ---------------------------------------------------------------------------------------------------- */

typedef struct buffers {
    size_t in_bytes, out_bytes, tensor_bytes;
    unsigned char *host; /* as long as the longest */
    CUdeviceptr in, out, tensor;
} buffers;

static tn_status upload(program *p, const micro_case *c, buffers *m, uint64_t *state) {
    const char *name = c->name;
    tn_status st = TN_CU(p->cu, cuMemAlloc(&m->in, m->in_bytes), name);
    if (st == TN_OK) st = TN_CU(p->cu, cuMemAlloc(&m->out, m->out_bytes), name);
    if (st == TN_OK) st = TN_CU(p->cu, cuMemAlloc(&m->tensor, m->tensor_bytes), name);
    if (st == TN_OK) st = TN_CU(p->cu, cuMemsetD8(m->out, 0, m->out_bytes), name);
    if (st != TN_OK) return st;
    if (c->box) {
        const gen g = {G_SPECIAL, type_of(c->box->type), (uint32_t)m->tensor_bytes};
        generate(&g, state, m->host);
        if (c->box->store) memset(m->host, 0, m->tensor_bytes);
        st = TN_CU(p->cu, cuMemcpyHtoD(m->tensor, m->host, m->tensor_bytes), name);
        memcpy(m->host, c->box->coords, sizeof c->box->coords);
    } else {
        generate(&c->in[0], state, m->host);
        generate(&c->in[1], state, m->host + c->in[0].bytes);
    }
    return st == TN_OK ? TN_CU(p->cu, cuMemcpyHtoD(m->in, m->host, m->in_bytes), name) : st;
}

static tn_status launch(program *p, const micro_case *c, buffers *m) {
    CUfunction f;
    tn_status st = find_kernel(p, c, &f);
    if (st != TN_OK) return st;
    CUtensorMap map;
    int n = c->box ? c->box->n : 0, bytes = c->box ? (int)box_bytes(c->box) : 0,
        span = c->box ? (int)box_span(c->box) : 0;
    if (c->box) st = encode(p, c->box, m->tensor, &map, c->name);
    void *plain[] = {&m->in, &m->out}, *boxed[] = {&map, &m->in, &m->out, &n, &bytes, &span};
    CUlaunchAttribute cluster = {.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION};
    cluster.value.clusterDim.x = c->cluster;
    cluster.value.clusterDim.y = cluster.value.clusterDim.z = 1;
    const CUlaunchConfig config = {.gridDimX = c->grid,
                                   .gridDimY = 1,
                                   .gridDimZ = 1,
                                   .blockDimX = c->block,
                                   .blockDimY = 1,
                                   .blockDimZ = 1,
                                   .sharedMemBytes = c->smem,
                                   .attrs = &cluster,
                                   .numAttrs = c->cluster ? 1 : 0};
    if (st == TN_OK && c->smem > 48 << 10)
        st =
            TN_CU(p->cu, cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, (int)c->smem), c->name);
    if (st == TN_OK) st = TN_CU(p->cu, cuLaunchKernelEx(&config, f, c->box ? boxed : plain, NULL), c->name);
    return st == TN_OK ? TN_CU(p->cu, cuCtxSynchronize(), c->name) : st;
}

/* The hash that the table gives for a case; false: it has none. */
static bool recorded(const program *p, const char *name, uint64_t *hash) {
    FILE *f = fopen(p->compare, "r");
    char line[256], found[128];
    unsigned long long h, bytes;
    bool ok = false;
    while (f && !ok && fgets(line, sizeof line, f))
        ok = sscanf(line, "%127s %llu %llx", found, &bytes, &h) == 3 && !strcmp(found, name);
    if (f) fclose(f);
    *hash = ok ? h : 0;
    return ok;
}

static void dump(const program *p, const char *name, const void *data, size_t n) {
    char path[600];
    snprintf(path, sizeof path, "%s/%s.bin", p->dump, name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, n, f) != n) fprintf(stderr, "%s cannot be written\n", path);
    if (f) fclose(f);
}

static void judge(program *p, const micro_case *c, const void *data, size_t n) {
    const uint64_t hash = XXH3_64bits(data, n);
    uint64_t want = 0;
    const char *verdict = "";
    if (p->compare && !recorded(p, c->name, &want))
        verdict = "  not in the table", p->unknown++;
    else if (p->compare && want != hash)
        verdict = "  DIFFERS", p->different++;
    printf("%-28s %8zu  %016llx%s\n", c->name, n, (unsigned long long)hash, verdict);
    fflush(stdout);
    if (p->write) {
        fprintf(p->write, "%-28s %8zu  %016llx\n", c->name, n, (unsigned long long)hash);
        fflush(p->write); /* a kernel that hangs loses no results */
    }
    if (p->dump) dump(p, c->name, data, n);
}

static bool run_case(program *p, const micro_case *c) {
    cuuint64_t strides[5];
    buffers m = {.in_bytes = c->in[0].bytes + c->in[1].bytes, .out_bytes = c->out_bytes, .tensor_bytes = 256};
    if (c->box) {
        m.in_bytes = sizeof c->box->coords;
        m.out_bytes = (size_t)c->box->n * box_span(c->box);
        m.tensor_bytes = box_strides(c->box, strides);
    }
    if (!m.in_bytes) m.in_bytes = 4;
    size_t most = m.in_bytes > m.out_bytes ? m.in_bytes : m.out_bytes;
    if (m.tensor_bytes > most) most = m.tensor_bytes;
    m.host = calloc(1, most + sizeof(((box_case *)0)->coords));
    if (!m.host) return false;
    uint64_t state = XXH3_64bits(c->name, strlen(c->name)) | 1;
    tn_status st = upload(p, c, &m, &state);
    if (st == TN_OK) st = launch(p, c, &m);
    const bool tensor = c->box && c->box->store;
    const size_t n = tensor ? m.tensor_bytes : m.out_bytes;
    if (st == TN_OK) st = TN_CU(p->cu, cuMemcpyDtoH(m.host, tensor ? m.tensor : m.out, n), c->name);
    p->run++;
    if (st == TN_OK)
        judge(p, c, m.host, n);
    else
        printf("%-28s FAILED\n", c->name), p->failed++;
    p->cu->cuMemFree(m.in);
    p->cu->cuMemFree(m.out);
    p->cu->cuMemFree(m.tensor);
    free(m.host);
    return st == TN_OK;
}

/* ---- the program ------------------------------------------------------------------------------------------------- */

static tn_status open_device(program *p, bool emulated) {
    tn_status st = emulated ? tn_emu_driver_open(p->env, &p->cu) : tn_cuda_open(p->env, &p->cu);
    if (st == TN_OK && !emulated) st = tn_nvrtc_open(p->env, &p->nvrtc);
    if (st == TN_OK) st = tn_cuda_device_info(p->cu, 0, &p->device);
    if (st == TN_OK) st = TN_CU(p->cu, cuDevicePrimaryCtxRetain(&p->context, p->device.device), "");
    return st == TN_OK ? tn_cuda_enter(p->cu, p->context) : st;
}

static void close_device(program *p) {
    for (size_t s = 0; s < N_SOURCES; s++)
        if (p->modules[s]) p->cu->cuModuleUnload(p->modules[s]);
    if (p->context) {
        tn_cuda_leave(p->cu);
        p->cu->cuDevicePrimaryCtxRelease(p->device.device);
    }
    tn_nvrtc_close(p->nvrtc);
    tn_cuda_close(p->cu);
}

/* Compiles all kernels for an arch without a GPU. */
static int compile_only(program *p, int cc) {
    p->device.cc = cc;
    int failed = tn_nvrtc_open(p->env, &p->nvrtc) != TN_OK;
    for (size_t s = 0; !failed && s < N_SOURCES; s++) failed = load(p, s) != TN_OK;
    tn_nvrtc_close(p->nvrtc);
    return failed;
}

static void head_of_table(program *p) {
    char date[32];
    const time_t now = time(NULL);
    struct tm t;
    gmtime_r(&now, &t);
    strftime(date, sizeof date, "%Y-%m-%d", &t);
    fprintf(p->write,
            "# Outputs of tests/kernels/micro on %s, driver %d.%d, %s: name, bytes, XXH3-64.  Made by "
            "tests/kernels/micro.sh.\n",
            p->device.name, p->device.driver_version / 1000, p->device.driver_version % 1000 / 10, date);
}

typedef struct options {
    char *device, *write, *compare, *dump, *only; /* popt's, freed by main */
    int arch;
} options;

/* -1: run; otherwise the exit code. */
static int parse(options *o, int argc, const char **argv) {
    const struct poptOption table[] = {
        {"device", 'd', POPT_ARG_STRING, &o->device, 0, "emu (the default) or cuda", "DEVICE"},
        {"write", 'w', POPT_ARG_STRING, &o->write, 0, "store the hashes", "TABLE"},
        {"compare", 'c', POPT_ARG_STRING, &o->compare, 0, "tell which hashes differ from a table's", "TABLE"},
        {"dump", 0, POPT_ARG_STRING, &o->dump, 0, "store outputs in an existing folder", "DIR"},
        {"only", 0, POPT_ARG_STRING, &o->only, 0, "kernels whose name contains TEXT", "TEXT"},
        {"compile-only", 0, POPT_ARG_INT, &o->arch, 0, "compile for compute capability CC (90) and run nothing", "CC"},
        POPT_AUTOHELP POPT_TABLEEND};
    poptContext args = poptGetContext("micro_kernels", argc, argv, table, 0);
    const int rc = poptGetNextOpt(args);
    const bool bad = rc < -1 || poptGetArg(args);
    if (bad) fprintf(stderr, "%s; see --help\n", rc < -1 ? poptStrerror(rc) : "no arguments are taken");
    poptFreeContext(args);
    if (bad || !o->compare) return bad ? 2 : -1;
    FILE *f = fopen(o->compare, "r");
    if (!f) {
        fprintf(stderr, "%s cannot be read\n", o->compare);
        return 2;
    }
    fclose(f);
    return -1;
}

static int run_all(program *p, const options *o) {
    int failed = open_device(p, !o->device || !strcmp(o->device, "emu")) != TN_OK;
    if (!failed && o->write) failed = !(p->write = fopen(o->write, "w"));
    if (p->write) head_of_table(p);
    for (size_t k = 0; !failed && k < N_CASES; k++)
        if (!o->only || strstr(cases[k].name, o->only)) run_case(p, &cases[k]);
    if (p->write) failed |= fclose(p->write) != 0;
    if (!failed && p->compare)
        printf("%d micro-kernels, %d differ, %d failed, %d not in the table\n", p->run, p->different, p->failed,
               p->unknown);
    if (p->cu) close_device(p);
    return failed || p->different || p->failed || p->unknown;
}

int main(int argc, const char **argv) {
    const tn_env env = {.diag = report};
    options o = {.arch = 0};
    int rc = parse(&o, argc, argv);
    program p = {.env = &env, .dump = o.dump, .compare = o.compare};
    if (rc < 0) rc = o.arch ? compile_only(&p, o.arch) : run_all(&p, &o);
    free(o.device), free(o.write), free(o.compare), free(o.dump), free(o.only);
    return rc;
}
