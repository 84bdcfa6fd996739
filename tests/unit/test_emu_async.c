/* test_emu_async.c: bulk copies and TMA on the emulated device: what they may not do is planted once, and tensor maps
 * are refused as the driver refuses them.  What they copy is compared with a GPU by tests/kernels/micro. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/tune/build.h"
#include "runtime/emu/emu.h"
#include "runtime/emu/tma.h"
#include "tests/unit/suite.h"

enum { BYTES = 4096, THREADS = 64 };

typedef struct async_case {
    const char *name, *body;
    tn_emu_fault fault;
    const char *says;
} async_case;

#define START                                                                                                          \
    "TN_SWIZZLED_SMEM(m);\nTN_SHARED(unsigned long long, bar, [1]);\nconst int i = (int)threadIdx.x;\n"                \
    "const unsigned at = tn_smem_addr(m), b = tn_smem_addr(bar);\nconst int c[2] = {0, 0};\n"                          \
    "if (i == 0) { tn_mbarrier_init(b, 1); tn_fence_mbarrier_init(); }\n__syncthreads();\n"
#define LOAD(EXPECT, FROM, N)                                                                                          \
    START "if (i == 0) { tn_mbarrier_arrive_expect(b, " #EXPECT "); tn_bulk_load(at, " FROM ", " #N ", b); }\n"
#define BOX START "if (i == 0) { tn_mbarrier_arrive_expect(b, 1024); tn_tma_load(at, &map, c, b); }\n"
#define WAIT "tn_mbarrier_wait(b, 0);\n"
#define COPY_OUT "for (int k = i; k < 1024; k += 64) out[k] = m[k];\n"
#define FILL START "for (int k = i; k < 1024; k += 64) m[k] = in[k];\n"
#define REFILL "for (int k = i; k < 1024; k += 64) m[k] = in[k + 1];\n"
#define FENCE "tn_fence_async();\n"
#define BARRIER "__syncthreads();\n"
#define STORE "if (i == 0) { tn_bulk_store(out, at, 1024); tn_bulk_commit(); }\n"
#define STORED "if (i == 0) tn_bulk_wait<0>();\n"

static const async_case cases[] = {
    {"loads", LOAD(1024, "in", 1024) WAIT COPY_OUT, TN_EMU_OK, ""},
    {"loads a box", BOX WAIT COPY_OUT, TN_EMU_OK, ""},
    {"reads before the copy is there", LOAD(1024, "in", 1024) BARRIER COPY_OUT, TN_EMU_UNINITIALISED,
     "into which a copy is under way"},
    {"reads before the box is there", BOX BARRIER COPY_OUT, TN_EMU_UNINITIALISED, "into which a copy is under way"},
    {"expects too much", LOAD(2048, "in", 1024) WAIT COPY_OUT, TN_EMU_DIVERGENT, "wait for an mbarrier"},
    {"expects too little", LOAD(512, "in", 1024) WAIT COPY_OUT, TN_EMU_DIVERGENT, "wait for an mbarrier"},
    {"loads from behind the end", LOAD(1024, "in + 4096 - 512", 1024) WAIT, TN_EMU_OUT_OF_BOUNDS,
     "reads 1024 bytes at offset 3584 of 'in'"},
    {"loads from an odd place", LOAD(1024, "in + 8", 1024) WAIT, TN_EMU_MISALIGNED, "copies 1024 bytes"},
    {"loads over what is still read",
     START "m[i] = 1;\nm[1024 + i] = 2;\n" BARRIER "out[i] = m[63 - i];\n"
           "if (i == 0) { tn_mbarrier_arrive_expect(b, 1024); tn_bulk_load(at, in, 1024, b); }\n" WAIT,
     TN_EMU_RACE, "with no barrier between"},
    {"writes where a copy goes", LOAD(1024, "in", 1024) "if (i == 5) m[7] = 1;\n" WAIT, TN_EMU_RACE,
     "with no barrier between"},
    {"ends before its copy", LOAD(1024, "in", 1024), TN_EMU_MISUSE, "does not wait for before it ends"},
    {"an mbarrier that is initialised without the fence",
     "TN_SWIZZLED_SMEM(m);\nTN_SHARED(unsigned long long, bar, [1]);\nconst unsigned b = tn_smem_addr(bar);\n"
     "if (threadIdx.x == 0) tn_mbarrier_init(b, 1);\n" BARRIER
     "if (threadIdx.x == 0) { tn_mbarrier_arrive_expect(b, 1024); tn_bulk_load(tn_smem_addr(m), in, 1024, b); }\n" WAIT,
     TN_EMU_RACE, "with no fence.mbarrier_init since"},
    {"an mbarrier that nobody has initialised",
     "TN_SWIZZLED_SMEM(m);\nif (threadIdx.x == 0) tn_bulk_load(tn_smem_addr(m), in, 1024, tn_smem_addr(m) + 2048);\n",
     TN_EMU_MISUSE, "where none has been initialised"},
    {"stores", FILL FENCE BARRIER STORE STORED, TN_EMU_OK, ""},
    {"stores without the proxy fence", FILL BARRIER STORE STORED, TN_EMU_RACE, "with no fence.proxy.async since then"},
    {"stores without the barrier", FILL BARRIER REFILL FENCE STORE STORED, TN_EMU_RACE, "with no barrier between"},
    {"writes over what is being stored", FILL FENCE BARRIER STORE "if (i == 0) m[5] = 1;\n" STORED, TN_EMU_RACE,
     "writes"},
    {"another thread does", FILL FENCE BARRIER STORE "if (i == 40) m[5] = 1;\n" STORED, TN_EMU_RACE, "writes"},
    {"writes after it is stored", FILL FENCE BARRIER STORE STORED BARRIER "if (i == 40) m[5] = 1;\n", TN_EMU_OK, ""},
    {"ends before its store", FILL FENCE BARRIER STORE, TN_EMU_MISUSE, "does not wait for before it ends"},
    {"stores to an input", FILL FENCE BARRIER "if (i == 0) tn_bulk_store((void *)in, at, 1024);\n" STORED,
     TN_EMU_READ_ONLY, "writes 'in'"},
    {"stores a box into an input",
     FILL FENCE BARRIER "if (i == 0) { tn_tma_store(&map, c, at); tn_bulk_commit(); }\n" STORED, TN_EMU_READ_ONLY,
     "writes 'in'"},
    {"a box of other rank", START "const int c3[3] = {0, 0, 0};\nif (i == 0) tn_tma_load(at, &map, c3, b);\n",
     TN_EMU_MISUSE, "of 2 dimensions as a map of 3"},
    {"a box at an odd coordinate", START "const int c8[2] = {4, 0};\nif (i == 0) tn_tma_load(at, &map, c8, b);\n",
     TN_EMU_MISALIGNED, "8 bytes of the innermost dimension"},
    {"a store at a negative coordinate",
     FILL FENCE BARRIER "const int minus[2] = {0, -1};\n"
                        "if (i == 0) { tn_tma_store(&map, minus, at); tn_bulk_commit(); tn_bulk_wait<0>(); }\n",
     TN_EMU_OUT_OF_BOUNDS, "coordinate -1 of dimension 1"},
    {"a box at an odd place", START "if (i == 0) tn_tma_load(at + 16, &map, c, b);\n", TN_EMU_MISALIGNED,
     "shared memory at 16"},
    {"what is no map",
     START "if (i == 0) tn_tma_load(at, (const tn_tensor_map *)(in - (unsigned long long)in % 64), c, b);\n",
     TN_EMU_MISUSE, "tensor map that is none"},
};

static char message[2000];
static void keep(void *user, const tn_diag *d) {
    (void)user;
    snprintf(message, sizeof message, "%s", d->message);
}
static const tn_env env = {.diag = keep};

static CUresult tiled(CUtensorMap *map, void *at, int what) {
    cuuint64_t dims[2] = {64, 32}, strides[1] = {128};
    cuuint32_t box[2] = {64, 8}, steps[2] = {1, 1}, rank = 2;
    CUtensorMapSwizzle swizzle = CU_TENSOR_MAP_SWIZZLE_NONE;
    CUtensorMapInterleave interleave = CU_TENSOR_MAP_INTERLEAVE_NONE;
    CUtensorMapFloatOOBfill fill = CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE;
    switch (what) {
    case 1: at = (char *)at + 8; break;
    case 2: strides[0] = 136; break;
    case 3: box[0] = 60; break;
    case 4: box[1] = 257; break;
    case 5: box[1] = 0; break;
    case 6: swizzle = CU_TENSOR_MAP_SWIZZLE_64B; break;
    case 7: rank = 6; break;
    case 8: dims[1] = 0; break;
    case 9: steps[1] = 9; break;
    case 10: fill = CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA; break;
    case 11: strides[0] = 1ull << 40; break;
    case 12: interleave = CU_TENSOR_MAP_INTERLEAVE_16B; break;
    default: break;
    }
    return emu_encode_tiled(map, CU_TENSOR_MAP_DATA_TYPE_UINT16, rank, at, dims, strides, box, steps, interleave,
                            swizzle, CU_TENSOR_MAP_L2_PROMOTION_NONE, fill);
}

static char *source_of(const async_case *c) {
    static const char head[] = "#include \"tn_async.cuh\"\n#include \"tn_wgmma.cuh\"\n"
                               "extern \"C\" __global__ void test(const __grid_constant__ tn_tensor_map map, const "
                               "unsigned char *in, unsigned char *out) {\n";
    char *text = malloc(sizeof head + strlen(c->body) + 8), none[] = "", *unit;
    size_t size;
    sprintf(text, "%s%s}\n", head, c->body);
    const tn_template tpl = {.name = "test", .source = text};
    const tn_variant v = {.tpl = &tpl, .header = none};
    ck_assert_int_eq(tn_variant_source(&env, &v, &unit, &size), TN_OK);
    free(text);
    return unit;
}

static bool no_compiler(void) {
    if (system("c++ --version > /dev/null 2>&1") == 0) return false;
    printf("skipped: there is no C++ compiler\n");
    return true;
}

START_TEST(planted) {
    const async_case *c = &cases[_i];
    if (no_compiler()) return;
    char *text = source_of(c);
    unsigned char *in = aligned_alloc(64, BYTES), *out = aligned_alloc(64, BYTES);
    for (int k = 0; k < BYTES; k++) in[k] = (unsigned char)(k * 7 % 251), out[k] = 0;
    CUtensorMap map;
    ck_assert_int_eq(tiled(&map, in, 0), CUDA_SUCCESS);
    const void *params[] = {&map, &in, &out};
    const tn_emu_range ranges[] = {{in, BYTES, false, false, "in"}, {out, BYTES, true, false, "out"}};
    const tn_emu_launch l = {.grid = {1, 1, 1},
                             .block = {THREADS, 1, 1},
                             .smem = BYTES,
                             .params = params,
                             .ranges = ranges,
                             .n_ranges = 2,
                             .max_steps = 200000};
    tn_emu_module *m;
    tn_emu_kernel *k;
    tn_emu_report rep;
    ck_assert_msg(tn_emu_load(&env, c->name, text, strlen(text), &m) == TN_OK, "%s", message);
    ck_assert_msg(tn_emu_get(m, "test", &k) == TN_OK, "%s: %s", c->name, message);
    ck_assert_int_eq(tn_emu_run(k, &l, &rep), TN_OK);
    ck_assert_msg(rep.fault == c->fault && strstr(rep.text, c->says), "%s: %s", c->name, rep.text);
    if (c->fault == TN_EMU_OK) ck_assert_int_eq(memcmp(out, in, 1024), 0);
    tn_emu_unload(m);
    free(in);
    free(out);
    tn_free(&env, text, strlen(text) + 1);
}
END_TEST

START_TEST(refused_maps) {
    CUtensorMap map;
    static _Alignas(64) char memory[64 * 128];
    ck_assert_int_eq(tiled(&map, memory, 0), CUDA_SUCCESS);
    for (int what = 1; what <= 11; what++)
        ck_assert_msg(tiled(&map, memory, what) == CUDA_ERROR_INVALID_VALUE, "map %d is taken", what);
    ck_assert_int_eq(tiled(&map, memory, 12), CUDA_ERROR_NOT_SUPPORTED);
}
END_TEST

int main(void) {
    Suite *s = suite_create("emu_async");
    TCase *t = tcase_create("emu_async");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, planted, 0, (int)(sizeof cases / sizeof *cases));
    tcase_add_test(t, refused_maps);
    suite_add_tcase(s, t);
    return run_suite(s);
}
