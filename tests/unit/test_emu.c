/* test_emu.c: the CPU emulator of kernels: each thing that it finds is planted once, beside a kernel that does it
 * right.
 *
 * Kernels are short sources of two lines and more; a report must name the fault, the line and what the case says. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/codegen.h"
#include "runtime/emu/emu.h"
#include "tests/unit/suite.h"

enum { N = 256, GUARD = 64 };

enum { TOGETHER = 99 }; /* in place of a cluster: all blocks run at the same time */

typedef struct emu_case {
    const char *name, *body; /* of a kernel with `const float *in, float *out, int n`; line 1 is the first */
    tn_emu_fault fault;
    int line;         /* of the fault; 0: not checked */
    const char *says; /* part of the report */
    uint32_t threads, blocks, cluster, smem;
    uint64_t seed;
} emu_case;

#define SHARED "TN_SHARED(float, tile, [256]);"

static const emu_case cases[] = {
    {"copies", "const int i = blockIdx.x * blockDim.x + threadIdx.x;\nif (i < n) out[i] = in[i];", TN_EMU_OK, 0, "", 64,
     4, 0, 0, 0},
    {"copies in any order", "const int i = blockIdx.x * blockDim.x + threadIdx.x;\nif (i < n) out[i] = in[i];",
     TN_EMU_OK, 0, "", 64, 4, 0, 0, 99},

    /* bounds, alignment, permission */
    {"reads behind the end", "const int i = threadIdx.x;\nout[i] = in[i + 193];", TN_EMU_OUT_OF_BOUNDS, 2,
     "thread (63,0,0) of block (0,0,0) reads 4 bytes at offset 1024 of 'in', which has 1024 bytes", 64, 1, 0, 0, 0},
    {"reads before the start", "const int i = threadIdx.x;\nout[i] = in[i - 1];", TN_EMU_OUT_OF_BOUNDS, 2,
     "offset -4 of 'in'", 64, 1, 0, 0, 0},
    {"writes behind the end", "const int i = threadIdx.x;\nout[i + n - 63] = 1;", TN_EMU_OUT_OF_BOUNDS, 2,
     "writes 4 bytes at offset 1024 of 'out'", 64, 1, 0, 0, 0},
    {"writes an input", "const int i = threadIdx.x;\n((float *)in)[i] = 1;", TN_EMU_READ_ONLY, 2, "writes 'in'", 32, 1,
     0, 0, 0},
    {"a vector that is not aligned",
     "const int i = threadIdx.x;\n*(tn_word16 *)(out + 4 * i) = *(const tn_word16 *)(in + 4 * i + 1);",
     TN_EMU_MISALIGNED, 2, "reads 16 bytes", 32, 1, 0, 0, 0},
    {"a store that is not aligned",
     "const int i = threadIdx.x;\n*(tn_bits8 *)(out + 2 * i + 1) = *(const tn_bits8 *)(in + 2 * i);", TN_EMU_MISALIGNED,
     2, "writes 8 bytes", 32, 1, 0, 0, 0},
    {"reads the table of its own library",
     "static const float table[4] = {1, 2, 3, 4};\nout[threadIdx.x] = table[threadIdx.x % 4];", TN_EMU_OK, 0, "", 32, 1,
     0, 0, 0},
    {"behind an array in shared memory",
     SHARED "\nfor (int i = 0; i < 8; i++) tile[threadIdx.x + 32 * i] = 1;\n__syncthreads();\n"
            "out[threadIdx.x] = tile[threadIdx.x + 240];",
     TN_EMU_OUT_OF_BOUNDS, 4, "reads 4 bytes of shared memory 1084 bytes into 'tile', which has 1024", 32, 1, 0, 0, 0},
    {"behind the dynamic shared memory", "TN_DYNAMIC_SMEM(m);\n((float *)m)[threadIdx.x] = 1;", TN_EMU_OUT_OF_BOUNDS, 2,
     "thread (31,0,0)", 32, 1, 0, 124, 0},

    /* shared memory and barriers */
    {"exchanges through shared memory",
     SHARED "\ntile[threadIdx.x] = in[threadIdx.x];\n__syncthreads();\nout[threadIdx.x] = tile[255 - threadIdx.x];",
     TN_EMU_OK, 0, "", 256, 1, 0, 0, 0},
    {"reads what nobody has written", SHARED "\nout[threadIdx.x] = tile[threadIdx.x];", TN_EMU_UNINITIALISED, 2,
     "reads 'tile' + 0 bytes, which nobody has written", 32, 1, 0, 0, 0},
    {"uninitialised in the next block too",
     SHARED "\nif (blockIdx.x == 0) tile[threadIdx.x] = 1;\nout[threadIdx.x] = tile[threadIdx.x];",
     TN_EMU_UNINITIALISED, 3, "block (1,0,0)", 32, 2, 0, 0, 0},
    {"a race without the barrier",
     SHARED "\ntile[threadIdx.x] = in[threadIdx.x];\nout[threadIdx.x] = tile[threadIdx.x & ~1];", TN_EMU_RACE, 3,
     "reads 'tile' + 0 bytes, which thread (0,0,0) of block (0,0,0) has written at test.cu:2", 64, 1, 0, 0, 0},
    {"a race with the next round",
     SHARED "\nfor (int k = 0; k < 2; k++) {\ntile[threadIdx.x] = in[threadIdx.x];\n__syncthreads();\n"
            "out[threadIdx.x] = tile[(threadIdx.x + 32) % 64];\n}",
     TN_EMU_RACE, 5, "has written at test.cu:3", 64, 1, 0, 0, 0},
    {"no race with two barriers",
     SHARED "\nfor (int k = 0; k < 2; k++) {\ntile[threadIdx.x] = in[threadIdx.x];\n__syncthreads();\n"
            "out[threadIdx.x] = tile[(threadIdx.x + 32) % 64];\n__syncthreads();\n}",
     TN_EMU_OK, 0, "", 64, 1, 0, 0, 7},
    {"a race of two writers", SHARED "\ntile[threadIdx.x / 2] = in[threadIdx.x];", TN_EMU_RACE, 2,
     "writes 'tile' + 0 bytes", 64, 1, 0, 0, 0},
    {"neighbouring halves are no race",
     "TN_SHARED(unsigned short, tile, [64]);\ntile[threadIdx.x] = 1;\n__syncthreads();\nout[threadIdx.x] = tile[63 - "
     "threadIdx.x];",
     TN_EMU_OK, 0, "", 64, 1, 0, 0, 0},
    {"__syncwarp orders a warp",
     SHARED "\ntile[threadIdx.x] = in[threadIdx.x];\n__syncwarp();\nout[threadIdx.x] = tile[threadIdx.x ^ 1];",
     TN_EMU_OK, 0, "", 64, 1, 0, 0, 0},
    {"__syncwarp orders no other warp",
     SHARED "\ntile[threadIdx.x] = in[threadIdx.x];\n__syncwarp();\nout[threadIdx.x] = tile[threadIdx.x ^ 32];",
     TN_EMU_UNINITIALISED, 4, "", 64, 1, 0, 0, 0},
    {"a shuffle orders no memory",
     SHARED
     "\ntile[threadIdx.x] = in[threadIdx.x];\ntn_shuffle_xor(1.0f, 1);\nout[threadIdx.x] = tile[threadIdx.x ^ 1];",
     TN_EMU_RACE, 4, "", 32, 1, 0, 0, 0},
    {"a barrier in one branch", SHARED "\nif (threadIdx.x < 32) __syncthreads();", TN_EMU_DIVERGENT, 0,
     "32 threads (thread (0,0,0) of block (0,0,0) is the first) wait for __syncthreads at test.cu:2; 32 of 64 threads "
     "have ended",
     64, 1, 0, 0, 0},
    {"a warp at two barriers", "if (threadIdx.x < 16)\n__syncthreads();\nelse\n__syncthreads();", TN_EMU_DIVERGENT, 0,
     "waits at __syncthreads in test.cu:4 while thread (15,0,0) of block (0,0,0) of the same warp waits in test.cu:2",
     32, 1, 0, 0, 0},
    {"a shuffle that half a warp misses",
     "if (threadIdx.x < 16)\nout[threadIdx.x] = tn_shuffle_xor(1.0f, 1);\n__syncthreads();", TN_EMU_DIVERGENT, 0,
     "16 threads (thread (0,0,0) of block (0,0,0) is the first) wait for a warp-wide instruction at test.cu:2", 32, 1,
     0, 0, 0},
    {"a lane outside its mask", "out[threadIdx.x] = __shfl_xor_sync(0xffffu, 1.0f, 1);", TN_EMU_MISUSE, 1,
     "thread (16,0,0)", 32, 1, 0, 0, 0},
    {"lanes that have ended are not waited for",
     "if (threadIdx.x >= 16) return;\nout[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0f, 1);", TN_EMU_OK, 0, "", 32,
     1, 0, 0, 0},

    /* cp.async */
    {"waits for its copies",
     "TN_DYNAMIC_SMEM(m);\nconst unsigned at = tn_smem_addr(m) + threadIdx.x * 16;\ntn_cp_async16(at, in + threadIdx.x "
     "* 4, true);\n"
     "tn_cp_async_commit();\ntn_cp_async_wait<0>();\n__syncthreads();\nout[threadIdx.x] = ((float *)m)[127 - "
     "threadIdx.x];",
     TN_EMU_OK, 0, "", 32, 1, 0, 512, 0},
    {"writes where a copy goes",
     "TN_DYNAMIC_SMEM(m);\nconst unsigned at = tn_smem_addr(m) + threadIdx.x * 16;\ntn_cp_async16(at, in + threadIdx.x "
     "* 4, true);\n"
     "tn_cp_async_commit();\n((float *)m)[threadIdx.x * 4 + 1] = 1;\ntn_cp_async_wait<0>();\nout[threadIdx.x] = "
     "((float *)m)[threadIdx.x * 4];",
     TN_EMU_RACE, 5, "bytes, into which a copy is under way", 32, 1, 0, 512, 0},
    {"does not wait for its copies",
     "TN_DYNAMIC_SMEM(m);\nconst unsigned at = tn_smem_addr(m) + threadIdx.x * 16;\ntn_cp_async16(at, in + threadIdx.x "
     "* 4, true);\n"
     "tn_cp_async_commit();\ntn_cp_async_wait<1>();\n__syncthreads();\nout[threadIdx.x] = ((float *)m)[127 - "
     "threadIdx.x];",
     TN_EMU_UNINITIALISED, 7, "into which a copy is under way", 32, 1, 0, 512, 0},
    {"waits for its own copies only",
     "TN_DYNAMIC_SMEM(m);\nconst unsigned at = tn_smem_addr(m) + threadIdx.x * 16;\ntn_cp_async16(at, in + threadIdx.x "
     "* 4, true);\n"
     "tn_cp_async_commit();\ntn_cp_async_wait<0>();\nout[threadIdx.x] = ((float *)m)[127 - threadIdx.x];",
     TN_EMU_UNINITIALISED, 6, "", 32, 1, 0, 512, 0},
    {"copies over what others still read",
     "TN_DYNAMIC_SMEM(m);\nfloat *f = (float *)m;\nconst unsigned at = tn_smem_addr(m) + (threadIdx.x ^ 32) * "
     "16;\nf[threadIdx.x * 4] = 1;\n"
     "__syncthreads();\nout[threadIdx.x] = f[threadIdx.x * 4];\ntn_cp_async16(at, in, true);",
     TN_EMU_UNINITIALISED, 6, "into which a copy is under way", 64, 1, 0, 1024, 0},
    {"copies from behind the end",
     "TN_DYNAMIC_SMEM(m);\ntn_cp_async16(tn_smem_addr(m) + threadIdx.x * 16, in + 132 + threadIdx.x * 4, true);",
     TN_EMU_OUT_OF_BOUNDS, 2, "thread (31,0,0)", 32, 1, 0, 512, 0},
    {"copies zeros from anywhere",
     "TN_DYNAMIC_SMEM(m);\ntn_cp_async16(tn_smem_addr(m) + threadIdx.x * 16, in - 4000, "
     "false);\ntn_cp_async_commit();\n"
     "tn_cp_async_wait<0>();\nout[threadIdx.x] = ((float *)m)[threadIdx.x * 4];",
     TN_EMU_OK, 0, "", 32, 1, 0, 512, 0},
    {"copies to an odd place", "TN_DYNAMIC_SMEM(m);\ntn_cp_async16(tn_smem_addr(m) + 8, in, true);", TN_EMU_MISALIGNED,
     2, "", 1, 1, 0, 64, 0},

    /* clusters */
    {"reads its neighbour in the cluster",
     "TN_DYNAMIC_SMEM(m);\n*(tn_bits16 *)(m + threadIdx.x * 16) = *(const tn_bits16 *)(in + threadIdx.x * "
     "4);\ntn_cluster_sync();\n"
     "out[blockIdx.x * 32 + threadIdx.x] = tn_bits_float(tn_cluster_lds16(tn_smem_addr(m) + threadIdx.x * 16, "
     "blockIdx.x ^ 1).x);\n"
     "tn_cluster_sync();",
     TN_EMU_OK, 0, "", 32, 2, 2, 512, 0},
    {"leaves before its neighbour has read",
     "TN_DYNAMIC_SMEM(m);\n*(tn_bits16 *)(m + threadIdx.x * 16) = *(const tn_bits16 *)(in + threadIdx.x * "
     "4);\ntn_cluster_sync();\n"
     "out[blockIdx.x * 32 + threadIdx.x] = tn_bits_float(tn_cluster_lds16(tn_smem_addr(m) + threadIdx.x * 16, "
     "blockIdx.x ^ 1).x);",
     TN_EMU_MISUSE, 4, "which has ended", 32, 2, 2, 512, 0},
#define ARRIVES(LAST)                                                                                                  \
    "TN_SHARED(unsigned long long, bar, [1]);\nconst unsigned at = tn_smem_addr(bar);\n"                               \
    "if (threadIdx.x == 0) tn_mbarrier_init(at, blockIdx.x ? 2 : 1), tn_fence_mbarrier_init();\ntn_cluster_sync();\n"  \
    "if (blockIdx.x == 1 && threadIdx.x == 0) tn_mbarrier_arrive_read(at, 0);\n"                                       \
    "if (blockIdx.x == 0) tn_mbarrier_wait(at, 0);\nif (blockIdx.x == 0) for (int k = 0; k < 99; k++) __syncwarp();\n" \
    "if (blockIdx.x == 0 && threadIdx.x == 0) tn_mbarrier_arrive_read(at, 1);\n"                                       \
    "out[blockIdx.x * 32 + threadIdx.x] = in[blockIdx.x * 32 + threadIdx.x];\n" LAST
    {"arrives at its neighbour's mbarrier", ARRIVES("tn_cluster_sync();"), TN_EMU_OK, 0, "", 32, 2, 2, 0, 0},
    {"leaves before its neighbour has arrived", ARRIVES(""), TN_EMU_MISUSE, 8, "which has ended", 32, 2, 2, 0, 0},
    {"reads its neighbour too early",
     "TN_DYNAMIC_SMEM(m);\n*(tn_bits16 *)(m + threadIdx.x * 16) = *(const tn_bits16 *)(in + threadIdx.x * "
     "4);\n__syncthreads();\n"
     "out[blockIdx.x * 32 + threadIdx.x] = tn_bits_float(tn_cluster_lds16(tn_smem_addr(m) + threadIdx.x * 16, "
     "0).x);\ntn_cluster_sync();",
     TN_EMU_RACE, 4, "", 32, 2, 2, 512, 0},

    /* races in global memory */
    {"two threads write one element", "out[threadIdx.x / 2] = 1;", TN_EMU_RACE, 1,
     "writes 'out' at offset 0, which thread (0,0,0) of block (0,0,0) has written", 32, 1, 0, 0, 0},
    {"two blocks write one element", "out[threadIdx.x] = 1;", TN_EMU_RACE, 1, "thread (0,0,0) of block (0,0,0)", 32, 2,
     0, 0, 0},
    {"one block after a barrier", "out[threadIdx.x] = 1;\n__syncthreads();\nout[31 - threadIdx.x] = 2;", TN_EMU_OK, 0,
     "", 32, 1, 0, 0, 0},
    {"reads what another block has written",
     "out[blockIdx.x * 32 + threadIdx.x] = 1;\nif (blockIdx.x) out[64] = out[0];", TN_EMU_RACE, 2,
     "reads 'out' at offset 0", 32, 2, 0, 0, 0},
    {"a cluster's blocks after its barrier",
     "out[blockIdx.x * 32 + threadIdx.x] = 1;\ntn_cluster_sync();\nout[(blockIdx.x ^ 1) * 32 + threadIdx.x] = 2;",
     TN_EMU_OK, 0, "", 32, 2, 2, 0, 0},
    {"a cluster's blocks without it",
     "out[blockIdx.x * 32 + threadIdx.x] = 1;\n__syncthreads();\nout[(blockIdx.x ^ 1) * 32 + threadIdx.x] = 2;",
     TN_EMU_RACE, 0, "and nothing orders the two", 32, 2, 2, 0, 0},

    /* the previous kernel */
    {"waits for the previous kernel", "TN_WAIT();\nout[threadIdx.x] = in[threadIdx.x];", TN_EMU_OK, 0, "", 32, 1, 0, 0,
     0},
    {"waits for it twice", "TN_WAIT();\nTN_WAIT();", TN_EMU_MISUSE, 2, "second time", 32, 1, 0, 0, 0},

    /* the end */
    {"makes no end", "while (atomicAdd((unsigned *)out, 0u) < 5u) {}", TN_EMU_ENDLESS, 0, "no end", 32, 1, 0, 0, 0},
    {"computes without an end", "unsigned k = threadIdx.x | 1u;\nwhile (k != n) k = k * 5u + 2u;\nout[0] = k;",
     TN_EMU_ENDLESS, 2, "no end", 32, 1, 0, 0, 0},
    {"waits for a flag of a block that runs at the same time",
     "unsigned *flag = (unsigned *)out;\nif (blockIdx.x == 19 && threadIdx.x == 0) atomicExch(flag, 7u);\n"
     "if (threadIdx.x == 0)\nwhile (atomicAdd(flag, 0u) != 7u) {}",
     TN_EMU_OK, 0, "", 32, 20, TOGETHER, 0, 0},
    {"waits for a flag of a block that runs later",
     "unsigned *flag = (unsigned *)out;\nif (blockIdx.x == 19 && threadIdx.x == 0) atomicExch(flag, 7u);\n"
     "if (threadIdx.x == 0)\nwhile (atomicAdd(flag, 0u) != 7u) {}",
     TN_EMU_ENDLESS, 0, "no end", 32, 20, 0, 0, 0},
    {"gives words to a block that runs at the same time",
     "unsigned *words = (unsigned *)out;\nconst tn_bits16 mine = {blockIdx.x + 1, 2, 3, 4};\n"
     "if (threadIdx.x == 0) tn_st_shown16(words + 4 * blockIdx.x, mine);\ntn_bits16 got = {0, 0, 0, 0};\n"
     "while (got.x == 0 || got.w == 0) got = tn_ld_shown16(words + 4 * (blockIdx.x ^ 1));\n"
     "if (got.x != (blockIdx.x ^ 1) + 1 || got.y != 2 || got.z != 3 || got.w != 4) out[n] = 1;",
     TN_EMU_OK, 0, "", 32, 4, TOGETHER, 0, 0},
    {"there is no cluster of blocks that run at the same time",
     "TN_DYNAMIC_SMEM(m);\n((float *)m)[threadIdx.x] = 1;\n__syncthreads();\n"
     "out[threadIdx.x] = tn_bits_float(tn_cluster_lds16(tn_smem_addr(m), blockIdx.x ^ 1).x);",
     TN_EMU_OUT_OF_BOUNDS, 4, "there is no cluster", 4, 2, TOGETHER, 512, 0},
    {"waits for another block's flag",
     "unsigned *flag = (unsigned *)out;\nif (blockIdx.x == 0 && threadIdx.x == 0) atomicExch(flag, 7u);\n"
     "if (threadIdx.x == 0)\nwhile (atomicAdd(flag, 0u) != 7u) {}",
     TN_EMU_OK, 0, "", 32, 2, 2, 0, 0},
};

/* ---- running ----------------------------------------------------------------------------------------------------- */

static char message[2000];
static void keep(void *user, const tn_diag *d) {
    (void)user;
    snprintf(message, sizeof message, "%s: %s", d->loc, d->message);
}
static const tn_env env = {.diag = keep};

/* The headers that templates share, then the kernel as test.cu. */
static char *source_of(const emu_case *c) {
    static const char *const wanted[] = {"tn_device.cuh", "tn_mma.cuh", "tn_async.cuh", "tn_wgmma.cuh", "tn_shown.cuh"};
    const char *const *names, *const *texts;
    size_t n = tn_template_headers(&names, &texts), size = 0;
    char *text = NULL;
    FILE *f = open_memstream(&text, &size);
    for (size_t w = 0; w < sizeof wanted / sizeof *wanted; w++)
        for (size_t k = 0; k < n; k++) {
            if (strcmp(names[k], wanted[w])) continue;
            fprintf(f, "//// %s:1\n", names[k]);
            for (const char *line = texts[k]; *line;) {
                size_t length = strcspn(line, "\n");
                if (line[0] != '#' || (!strstr(line, "#include") && strncmp(line, "#pragma", 7)) ||
                    memchr(line, '<', length) || (strncmp(line, "#include", 8) && strncmp(line, "#pragma", 7)))
                    fprintf(f, "%.*s", (int)length, line);
                fputc('\n', f);
                line += length + (line[length] == '\n');
            }
        }
    fprintf(
        f,
        "extern \"C\" __global__ void test(const float *in, float *out, int n) {\n//// test.cu:1\n%s\n//// end:1\n}\n",
        c->body);
    fclose(f);
    return text;
}

static bool no_compiler(void) {
    if (system("c++ --version > /dev/null 2>&1") == 0) return false;
    printf("skipped: there is no C++ compiler\n");
    return true;
}

static void run(const emu_case *c, bool activation, tn_emu_report *rep, float *out) {
    static float in[N + 2 * GUARD];
    char *text = source_of(c);
    tn_emu_module *m;
    tn_emu_kernel *k;
    for (int i = 0; i < N; i++) in[GUARD + i] = (float)i;
    float *buffer = calloc(N + 2 * GUARD + 64, sizeof *buffer), *aligned = buffer + GUARD;
    aligned += (64 - (uintptr_t)aligned % 64) / sizeof(float) % 16;
    float *input = in + GUARD;
    input += (64 - (uintptr_t)input % 64) / sizeof(float) % 16;
    for (int i = 0; i < N; i++) input[i] = (float)i;
    const void *const first = input;
    void *const second = aligned;
    const int n = N;
    const void *params[] = {&first, &second, &n};
    const tn_emu_range ranges[] = {{input, N * sizeof(float), false, activation, "in"},
                                   {aligned, N * sizeof(float), true, activation, "out"}};
    const uint32_t cluster = c->cluster == TOGETHER ? 0 : c->cluster;
    const tn_emu_launch l = {.grid = {c->blocks, 1, 1},
                             .block = {c->threads, 1, 1},
                             .cluster = {cluster, cluster ? 1 : 0, cluster ? 1 : 0},
                             .together = c->cluster == TOGETHER,
                             .smem = c->smem,
                             .params = params,
                             .ranges = ranges,
                             .n_ranges = 2,
                             .seed = c->seed,
                             .max_steps = 200000};
    ck_assert_msg(tn_emu_load(&env, c->name, text, strlen(text), &m) == TN_OK, "%s", message);
    ck_assert_msg(tn_emu_get(m, "test", &k) == TN_OK, "%s: %s", c->name, message);
    ck_assert_msg(tn_emu_run(k, &l, rep) == TN_OK, "%s: %s", c->name, message);
    if (out) memcpy(out, aligned, N * sizeof *out);
    tn_emu_unload(m);
    free(buffer);
    free(text);
}

START_TEST(planted) {
    const emu_case *c = &cases[_i];
    tn_emu_report rep;
    char place[32];
    if (no_compiler()) return;
    run(c, false, &rep, NULL);
    ck_assert_msg(rep.fault == c->fault, "%s: %s instead of %s: %s", c->name, tn_emu_fault_name(rep.fault),
                  tn_emu_fault_name(c->fault), rep.text);
    ck_assert_msg(strstr(rep.text, c->says) != NULL, "%s: the report does not say \"%s\": %s", c->name, c->says,
                  rep.text);
    snprintf(place, sizeof place, ": test.cu:%d", c->line);
    ck_assert_msg(!c->line || strstr(rep.text, place), "%s: the report does not name%s: %s", c->name, place, rep.text);
}
END_TEST

START_TEST(activations_wait_for_the_previous_kernel) {
    const emu_case early = {"early", "out[threadIdx.x] = in[threadIdx.x];", TN_EMU_OK, 0, "", 32, 1, 0, 0, 0};
    const emu_case late = {"late", "TN_WAIT();\nout[threadIdx.x] = in[threadIdx.x];", TN_EMU_OK, 0, "", 32, 1, 0, 0, 0};
    tn_emu_report rep;
    if (no_compiler()) return;
    run(&early, true, &rep, NULL);
    ck_assert_msg(rep.fault == TN_EMU_TOO_EARLY && strstr(rep.text, "reads 'in' before griddepcontrol.wait"), "%s",
                  rep.text);
    run(&late, true, &rep, NULL);
    ck_assert_msg(rep.fault == TN_EMU_OK, "%s", rep.text);
}
END_TEST

START_TEST(results) {
    const emu_case c = {
        "reverses",
        SHARED
        "\ntile[threadIdx.x] = in[threadIdx.x];\n__syncthreads();\nout[threadIdx.x] = 2 * tile[255 - threadIdx.x];",
        TN_EMU_OK,
        0,
        "",
        256,
        1,
        0,
        0,
        0};
    tn_emu_report rep;
    float out[N];
    if (no_compiler()) return;
    run(&c, false, &rep, out);
    for (int i = 0; i < N; i++) ck_assert_double_eq((double)out[i], 2.0 * (255 - i));
}
END_TEST

/* A product of two tiles of ones: 64 in every place.  The macros stand for the lines that a case leaves out. */
#define WGMMA_(FENCE, BARRIER, REGISTERS, AFTER, WAIT)                                                                 \
    "TN_SWIZZLED_SMEM(m);\nconst unsigned a = tn_smem_addr(m), b = a + TN_PANEL;\n"                                    \
    "const tn_bits16 ones = {0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u};\n"                                   \
    "for (int i = threadIdx.x; i < 64 * 8; i += 128) tn_sts16(tn_panel_chunk(a, i / 8, i % 8), ones);\n"               \
    "for (int i = threadIdx.x; i < 32 * 8; i += 128) tn_sts16(tn_panel_chunk(b, i / 8, i % 8), ones);\n" FENCE         \
    "\n" BARRIER "\nfloat d[16];\nfor (int i = 0; i < 16; i++) d[i] = 0;\n" REGISTERS "\n"                             \
    "for (int k = 0; k < 4; k++) tn_wgmma<false, false>(d, tn_wgmma_step<true>(tn_wgmma_tile(a), k), "                 \
    "tn_wgmma_step<true>(tn_wgmma_tile(b), k), tn_half(), tn_half());\ntn_wgmma_commit();\n" AFTER "\n" WAIT           \
    "\nout[threadIdx.x] = d[threadIdx.x % 16];\ntn_wgmma_wait<0>();"
#define WGMMA(FENCE, BARRIER, AFTER, WAIT) WGMMA_(FENCE, BARRIER, "tn_wgmma_fence();", AFTER, WAIT)

/* Four times the products of ones, of which half are there: 64 again. */
#define MMA_SP(PLACES)                                                                                                 \
    "const unsigned one = 0x3c003c00u, a[4] = {one, one, one, one}, b[4] = {one, one, one, one};\n"                    \
    "float c[4] = {0, 0, 0, 0};\nfor (int i = 0; i < 4; i++) tn_mma_sp_f16(c, a, b, " PLACES ");\n"                    \
    "out[threadIdx.x] = c[threadIdx.x % 4];"

static const emu_case products[] = {
    {"a product", WGMMA("tn_fence_wgmma_operands();", "__syncthreads();", "", "tn_wgmma_wait<0>();"), TN_EMU_OK, 0, "",
     128, 1, 0, 16384, 0},
    {"without the proxy fence", WGMMA("", "__syncthreads();", "", "tn_wgmma_wait<0>();"), TN_EMU_RACE, 11,
     "with no fence.proxy.async since then", 128, 1, 0, 16384, 0},
    {"without the barrier", WGMMA("tn_fence_wgmma_operands();", "", "", "tn_wgmma_wait<0>();"), TN_EMU_RACE, 11,
     "with no barrier between", 128, 1, 0, 16384, 0},
    {"without the fence of its registers",
     WGMMA_("tn_fence_wgmma_operands();", "__syncthreads();", "", "", "tn_wgmma_wait<0>();"), TN_EMU_MISUSE, 11,
     "with no wgmma.fence since it had them", 128, 1, 0, 16384, 0},
    {"over its operands",
     WGMMA("tn_fence_wgmma_operands();", "__syncthreads();", "if (threadIdx.x == 5) tn_sts16(a, ones);",
           "tn_wgmma_wait<0>();"),
     TN_EMU_RACE, 11, "thread (5,0,0) of block (0,0,0) has written at test.cu:13", 128, 1, 0, 16384, 0},
    {"in half a warpgroup",
     WGMMA("tn_fence_wgmma_operands();", "__syncthreads();\nif (threadIdx.x >= 64) return;", "", "tn_wgmma_wait<0>();"),
     TN_EMU_DIVERGENT, 0, "wait for a warpgroup's instruction", 128, 1, 0, 16384, 0},
    {"with too few threads", WGMMA("tn_fence_wgmma_operands();", "__syncthreads();", "", "tn_wgmma_wait<0>();"),
     TN_EMU_MISUSE, 0, "is not whole", 64, 1, 0, 16384, 0},
    {"two of four", MMA_SP("0x49dec8e9u"), TN_EMU_OK, 0, "", 128, 1, 0, 0, 0},
    {"one of four twice", MMA_SP("threadIdx.x == 33 ? 0x44444044u : 0x44444444u"), TN_EMU_MISUSE, 0,
     "has mma.sp take elements 0 and 0 of four", 128, 1, 0, 0, 0},
    {"two of four in disorder", MMA_SP("0x14444444u"), TN_EMU_MISUSE, 0, "take elements 1 and 0 of four", 128, 1, 0, 0,
     0},
};

START_TEST(planted_products) {
    const emu_case *c = &products[_i];
    tn_emu_report rep;
    float out[N];
    char place[32];
    if (no_compiler()) return;
    run(c, false, &rep, out);
    ck_assert_msg(rep.fault == c->fault && strstr(rep.text, c->says), "%s: %s", c->name, rep.text);
    snprintf(place, sizeof place, ": test.cu:%d", c->line);
    ck_assert_msg(!c->line || strstr(rep.text, place), "%s: the report does not name%s: %s", c->name, place, rep.text);
    for (int i = 0; c->fault == TN_EMU_OK && i < 128; i++) ck_assert_double_eq((double)out[i], 64.0);
}
END_TEST

START_TEST(products_arrive_when_they_are_waited_for) {
    const emu_case early = {
        "early", WGMMA("tn_fence_wgmma_operands();", "__syncthreads();", "", ""), TN_EMU_OK, 0, "", 128, 1, 0, 16384,
        0};
    tn_emu_report rep;
    float out[N];
    if (no_compiler()) return;
    run(&early, false, &rep, out);
    ck_assert_msg(rep.fault == TN_EMU_OK, "%s", rep.text);
    for (int i = 0; i < 128; i++) ck_assert(isnan(out[i]));
}
END_TEST

START_TEST(impossible_launches) {
    const emu_case c = {"nothing", "", TN_EMU_OK, 0, "", 32, 1, 0, 0, 0};
    tn_emu_module *m;
    tn_emu_kernel *k;
    tn_emu_report rep;
    if (no_compiler()) return;
    char *text = source_of(&c);
    ck_assert_int_eq(tn_emu_load(&env, "nothing", text, strlen(text), &m), TN_OK);
    ck_assert_int_eq(tn_emu_get(m, "absent", &k), TN_E_ARGUMENT);
    ck_assert_int_eq(tn_emu_get(m, "test", &k), TN_OK);
    tn_emu_launch l = {.grid = {1, 1, 1}, .block = {1025, 1, 1}};
    ck_assert_int_eq(tn_emu_run(k, &l, &rep), TN_E_ARGUMENT);
    l.block[0] = 32;
    l.cluster[0] = l.cluster[1] = l.cluster[2] = 2;
    ck_assert_int_eq(tn_emu_run(k, &l, &rep), TN_E_ARGUMENT);
    l.cluster[0] = l.cluster[1] = l.cluster[2] = 0;
    l.together = true;
    l.grid[0] = 200;
    ck_assert_int_eq(tn_emu_run(k, &l, &rep), TN_E_ARGUMENT);
    l.grid[0] = 2;
    l.cluster[0] = 2, l.cluster[1] = l.cluster[2] = 1;
    ck_assert_int_eq(tn_emu_run(k, &l, &rep), TN_E_ARGUMENT);
    l.cluster[0] = l.cluster[1] = l.cluster[2] = 0;
    ck_assert_int_eq(tn_emu_run(k, &l, &rep), TN_OK);
    l.together = false;
    l.smem = 300000;
    ck_assert_int_eq(tn_emu_run(k, &l, &rep), TN_E_ARGUMENT);
    tn_emu_unload(m);
    free(text);
}
END_TEST

START_TEST(what_does_not_compile) {
    const emu_case c = {"broken", "this is no kernel;", TN_EMU_OK, 0, "", 32, 1, 0, 0, 0};
    tn_emu_module *m;
    tn_emu_kernel *k;
    if (no_compiler()) return;
    char *text = source_of(&c);
    ck_assert_int_eq(tn_emu_load(&env, "broken", text, strlen(text), &m), TN_OK);
    ck_assert_int_eq(tn_emu_get(m, "test", &k), TN_E_COMPILE);
    ck_assert_msg(strstr(message, "test.cu:1") != NULL, "%s", message);
    tn_emu_unload(m);
    setenv("TENON_CXX", "/no/such/compiler", 1);
    ck_assert_int_eq(tn_emu_load(&env, "broken", text, strlen(text), &m), TN_OK);
    ck_assert_int_eq(tn_emu_get(m, "test", &k), TN_E_NO_LIBRARY);
    ck_assert_msg(strstr(message, "/no/such/compiler") != NULL, "%s", message);
    tn_emu_unload(m);
    free(text);
}
END_TEST

int main(void) {
    Suite *s = suite_create("emu");
    TCase *t = tcase_create("emu");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, planted, 0, (int)(sizeof cases / sizeof *cases));
    tcase_add_loop_test(t, planted_products, 0, (int)(sizeof products / sizeof *products));
    tcase_add_test(t, products_arrive_when_they_are_waited_for);
    tcase_add_test(t, activations_wait_for_the_previous_kernel);
    tcase_add_test(t, results);
    tcase_add_test(t, impossible_launches);
    tcase_add_test(t, what_does_not_compile);
    suite_add_tcase(s, t);
    return run_suite(s);
}
