/* on_nvrtc.c: variants through NVRTC, for an architecture that need not be there. */
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/kernels/matrix.h"

bool nvrtc_build(const tn_nvrtc *rtc, const tn_arch *arch, const tn_variant *v, tn_kernel_bin *bin) {
    char *text;
    size_t size;
    tn_cache *none = tn_cache_open(matrix_env, "");
    if (!none || tn_variant_source(matrix_env, v, &text, &size) != TN_OK) die("%s has no source", v->text);
    tn_build_source(matrix_env, rtc, none, arch->name, v->symbol, text, size, bin);
    tn_free(matrix_env, text, size + 1);
    tn_cache_close(none);
    return bin->status == TN_OK && bin->size > 0;
}

/* An instruction for sm_90 is 16 bytes, whose low 12 bits say what it does; nvdisasm's names. */
static bool asks_early(const uint64_t *code, size_t n) {
    enum { OPERATION = 0xfff, LDG = 0x981, LDGSTS = 0xfae, UTMALDG = 0x5b4, ACQBULK = 0x82e };
    for (size_t k = 0; k + 1 < n; k += 2) {
        const uint64_t operation = code[k] & OPERATION;
        if (operation == LDG || operation == LDGSTS || operation == UTMALDG) return true;
        if (operation == ACQBULK) return false;
    }
    return true; /* it waits for nobody */
}

/* The kernel's instructions, of two words each. */
static const uint64_t *code_of(const tn_kernel_bin *bin, size_t *n) {
    const char *base = bin->cubin;
    const Elf64_Ehdr *head = bin->cubin;
    if (bin->size < sizeof *head || memcmp(head->e_ident, ELFMAG, SELFMAG) != 0) die("a cubin is no ELF file");
    const Elf64_Shdr *section = (const Elf64_Shdr *)(const void *)(base + head->e_shoff);
    const char *names = base + section[head->e_shstrndx].sh_offset;
    for (size_t k = 0; k < head->e_shnum; k++)
        if (!strncmp(names + section[k].sh_name, ".text.", 6))
            return *n = section[k].sh_size / 8, (const uint64_t *)(const void *)(base + section[k].sh_offset);
    die("a cubin has no code");
    return NULL;
}

bool nvrtc_asks_early(const tn_kernel_bin *bin) {
    size_t n;
    const uint64_t *code = code_of(bin, &n);
    return asks_early(code, n);
}

bool nvrtc_has_descriptors(const tn_kernel_bin *bin) {
    enum { OPERATION = 0xfff, R2UR = 0x2ca, HGMMA = 0x9f0, IGMMA = 0x9f1 };
    size_t n, moves = 0, since = 0, products = 0;
    const uint64_t *code = code_of(bin, &n);
    for (size_t k = 0; k + 1 < n; k += 2) {
        const uint64_t operation = code[k] & OPERATION;
        since += operation == R2UR;
        if (operation != HGMMA && operation != IGMMA) continue;
        if (products++) moves += since;
        since = 0;
    }
    return moves <= 2 * products;
}

bool nvrtc_accepts(const tn_nvrtc *rtc, const tn_arch *arch, tn_variant *const *v, size_t n) {
    char arch_option[64];
    const char *options[] = {arch_option, "--std=c++17", "-minimal", "--no-cache", "--Ofast-compile=mid"};
    const int n_options = rtc->major >= 13 ? 5 : 3;
    size_t size, cubin;
    char *text = batch_source(v, n, &size);
    nvrtcProgram program;
    snprintf(arch_option, sizeof arch_option, "--gpu-architecture=%s", arch->name);
    if (rtc->nvrtcCreateProgram(&program, text, "batch.cu", 0, NULL, NULL) != NVRTC_SUCCESS) die("nvrtcCreateProgram");
    const bool ok = rtc->nvrtcCompileProgram(program, n_options, options) == NVRTC_SUCCESS &&
                    rtc->nvrtcGetCUBINSize(program, &cubin) == NVRTC_SUCCESS && cubin > 0;
    rtc->nvrtcDestroyProgram(&program);
    tn_free(matrix_env, text, size + 1);
    return ok;
}
