/* cuda.c: see cuda.h. */
#include "runtime/cuda/cuda.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cuda/dl.h"

static const tn_dl_symbol symbols[] = {
#define CU(name, version, optional) {#name, version, optional, offsetof(tn_cuda, name)},
#include "runtime/cuda/cuda_fns.def"
#undef CU
};

/* cuGetProcAddress as release 12.0 has it. */
typedef CUresult (*get_proc_fn)(const char *symbol, void **fn, int version, cuuint64_t flags,
                                CUdriverProcAddressQueryResult *found);

static const char *const install_hint = "install the NVIDIA driver; the CPU device needs none";

/* Returns the first required function that the driver lacks, or NULL. */
static const char *fill(get_proc_fn get, tn_cuda *cu) {
    for (size_t k = 0; k < sizeof symbols / sizeof *symbols; k++) {
        void *fn = NULL;
        CUdriverProcAddressQueryResult found;
        if (get(symbols[k].name, &fn, symbols[k].version, CU_GET_PROC_ADDRESS_DEFAULT, &found) != CUDA_SUCCESS)
            fn = NULL;
        if (!fn && !symbols[k].optional) return symbols[k].name;
        memcpy((char *)cu + symbols[k].offset, &fn, sizeof fn);
    }
    return NULL;
}

static tn_status too_old(const tn_env *env, int found) {
    char text[64] = "one older than 11.3";
    if (found) snprintf(text, sizeof text, "%d.%d", found / 1000, found % 1000 / 10);
    return tn_fail(env, TN_E_NO_DEVICE, "", "update the NVIDIA driver",
                   "the driver supports CUDA %s; %d.%d or newer is needed", text, TN_CUDA_DRIVER_NEEDED / 1000,
                   TN_CUDA_DRIVER_NEEDED % 1000 / 10);
}

/* Asks a driver of any age for its version; 0 if it does not say. */
static int version_of(void *lib) {
    int version = 0;
    CUresult (*get_version)(int *);
    void *fn = dlsym(lib, "cuDriverGetVersion");
    memcpy(&get_version, &fn, sizeof fn);
    return fn && get_version(&version) == CUDA_SUCCESS ? version : 0;
}

static tn_status load(const tn_env *env, tn_cuda *cu) {
    cu->driver_version = version_of(cu->lib);
    void *sym = dlsym(cu->lib, "cuGetProcAddress_v2");
    if (!sym || cu->driver_version < TN_CUDA_DRIVER_NEEDED) return too_old(env, cu->driver_version);
    get_proc_fn get;
    memcpy(&get, &sym, sizeof sym);
    const char *missing = fill(get, cu);
    if (missing)
        return tn_fail(env, TN_E_NO_DEVICE, "", "update the NVIDIA driver",
                       "the driver (CUDA %d.%d) has no function %s", cu->driver_version / 1000,
                       cu->driver_version % 1000 / 10, missing);
    CUresult r = cu->cuInit(0);
    if (r == CUDA_ERROR_NO_DEVICE)
        return tn_fail(env, TN_E_NO_DEVICE, "", "check nvidia-smi and CUDA_VISIBLE_DEVICES, or use the CPU device",
                       "the driver finds no GPU");
    if (r != CUDA_SUCCESS) {
        const char *name = NULL, *text = NULL;
        cu->cuGetErrorName(r, &name);
        cu->cuGetErrorString(r, &text);
        return tn_fail(env, TN_E_NO_DEVICE, "", "check that nvidia-smi works", "the driver does not start: %s (%s)",
                       name ? name : "?", text ? text : "?");
    }
    tn_status st = TN_CU(cu, cuDeviceGetCount(&cu->device_count), "");
    if (st == TN_OK && cu->device_count == 0)
        st = tn_fail(env, TN_E_NO_DEVICE, "", "check nvidia-smi and CUDA_VISIBLE_DEVICES, or use the CPU device",
                     "the driver finds no GPU");
    return st;
}

tn_status tn_cuda_open_from(const tn_env *env, const char *path, tn_cuda **out) {
    static const char *const names[] = {"libcuda.so.1", NULL};
    char why[512];
    *out = NULL;
    tn_cuda *cu = tn_alloc(env, sizeof *cu);
    if (!cu) return tn_fail(env, TN_E_MEMORY, "", "", "out of memory");
    cu->env = env;
    cu->lib = tn_dl_open(path ? path : getenv("TENON_LIBCUDA"), names, why, sizeof why);
    tn_status st = cu->lib
                       ? load(env, cu)
                       : tn_fail(env, TN_E_NO_DEVICE, "", install_hint, "the CUDA driver cannot be opened: %s", why);
    if (st != TN_OK) {
        tn_cuda_close(cu);
        return st;
    }
    *out = cu;
    return TN_OK;
}

tn_status tn_cuda_open(const tn_env *env, tn_cuda **out) {
    return tn_cuda_open_from(env, NULL, out);
}

void tn_cuda_close(tn_cuda *cu) {
    if (!cu) return;
    tn_dl_close(cu->lib);
    tn_free(cu->env, cu, sizeof *cu);
}

tn_status tn_cuda_check(const tn_env *env, const tn_cuda *cu, CUresult r, const char *what, const char *loc) {
    if (r == CUDA_SUCCESS) return TN_OK;
    const char *name = NULL, *text = NULL;
    cu->cuGetErrorName(r, &name);
    cu->cuGetErrorString(r, &text);
    int call = (int)strcspn(what, "(");
    const char *hint = r == CUDA_ERROR_OUT_OF_MEMORY     ? "free device memory, or use a smaller batch"
                       : r == CUDA_ERROR_ILLEGAL_ADDRESS ? "run under compute-sanitizer to find the access"
                                                         : "";
    return tn_fail(env, r == CUDA_ERROR_OUT_OF_MEMORY ? TN_E_MEMORY : TN_E_CUDA, loc, hint, "%.*s: %s (%s)", call, what,
                   name ? name : "unknown error", text ? text : "?");
}

typedef struct attribute {
    CUdevice_attribute attribute;
    size_t offset;
} attribute;

#define FIELD(a, f)                                                                                                    \
    { CU_DEVICE_ATTRIBUTE_##a, offsetof(tn_device_info, f) }
static const attribute attributes[] = {
    FIELD(MULTIPROCESSOR_COUNT, sms),
    FIELD(MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, smem_block),
    FIELD(MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, smem_sm),
    FIELD(MAX_REGISTERS_PER_MULTIPROCESSOR, regs_sm),
    FIELD(L2_CACHE_SIZE, l2_bytes),
    FIELD(CLOCK_RATE, clock_khz),
    FIELD(MEMORY_CLOCK_RATE, memory_clock_khz),
    FIELD(GLOBAL_MEMORY_BUS_WIDTH, memory_bus_bits),
};

tn_status tn_cuda_device_info(const tn_cuda *cu, int ordinal, tn_device_info *out) {
    memset(out, 0, sizeof *out);
    if (ordinal < 0 || ordinal >= cu->device_count)
        return tn_fail(cu->env, TN_E_NO_DEVICE, "", "GPUs are numbered from 0",
                       "there is no GPU %d: the driver finds %d", ordinal, cu->device_count);
    out->ordinal = ordinal;
    out->driver_version = cu->driver_version;
    int major = 0, minor = 0;
    tn_status st = TN_CU(cu, cuDeviceGet(&out->device, ordinal), "");
    if (st == TN_OK) st = TN_CU(cu, cuDeviceGetName(out->name, (int)sizeof out->name - 1, out->device), "");
    if (st == TN_OK) st = TN_CU(cu, cuDeviceTotalMem(&out->memory_bytes, out->device), "");
    if (st == TN_OK)
        st = TN_CU(cu, cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, out->device), "");
    if (st == TN_OK)
        st = TN_CU(cu, cuDeviceGetAttribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, out->device), "");
    if (st != TN_OK) return st;
    out->cc = major * 10 + minor;
    for (size_t k = 0; k < sizeof attributes / sizeof *attributes; k++) {
        int value = 0; /* the clocks are not told everywhere */
        if (cu->cuDeviceGetAttribute(&value, attributes[k].attribute, out->device) != CUDA_SUCCESS) value = 0;
        memcpy((char *)out + attributes[k].offset, &value, sizeof value);
    }
    return TN_OK;
}

tn_status tn_cuda_enter(const tn_cuda *cu, CUcontext ctx) {
    return TN_CU(cu, cuCtxPushCurrent(ctx), "");
}

void tn_cuda_leave(const tn_cuda *cu) {
    CUcontext old;
    cu->cuCtxPopCurrent(&old);
}
