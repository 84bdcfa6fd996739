/* launch.c: see launch.h. */
#include "runtime/cuda/launch.h"

/* Drivers from CARVEOUT_A_LAUNCH on take a carveout with each launch, older ones as the function's. */
enum { SMEM_WITHOUT_OPTING_IN = 48 << 10, PORTABLE_CLUSTER = 8, CARVEOUT_A_LAUNCH = 12080 };

tn_status tn_launch_check_args(const tn_cuda *cu, CUfunction fn, size_t args_size, const char *loc) {
    size_t offset = 0, size = 0;
    if (!cu->cuFuncGetParamInfo) return TN_OK;
    if (cu->cuFuncGetParamInfo(fn, 0, &offset, &size) != CUDA_SUCCESS) size = 0;
    if (size <= args_size) return TN_OK;
    return tn_fail(cu->env, TN_E_FORMAT, loc, "compile the plan again",
                   "the kernel takes %zu bytes of arguments, the plan gives %zu", size, args_size);
}

tn_status tn_launch_opt_in(const tn_cuda *cu, CUfunction fn, uint32_t smem, const uint32_t cluster[3],
                           const char *loc) {
    tn_status st = TN_OK;
    if (smem > SMEM_WITHOUT_OPTING_IN)
        st = TN_CU(cu, cuFuncSetAttribute(fn, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, (int)smem), loc);
    uint64_t blocks = cluster && cluster[0] ? (uint64_t)cluster[0] * cluster[1] * cluster[2] : 0;
    if (st == TN_OK && blocks > PORTABLE_CLUSTER)
        st = TN_CU(cu, cuFuncSetAttribute(fn, CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 1), loc);
    return st;
}

/* Older drivers keep a function's carveout, so it is set where the driver is to choose, too. */
static tn_status set_carveout(const tn_cuda *cu, const tn_launch *l, CUlaunchConfig *config, const char *loc) {
    if (cu->driver_version < CARVEOUT_A_LAUNCH)
        return TN_CU(
            cu, cuFuncSetAttribute(l->fn, CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, (int)l->carveout - 1),
            loc);
    if (!l->carveout) return TN_OK;
    CUlaunchAttribute *a = &config->attrs[config->numAttrs++];
    a->id = CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT;
    a->value.sharedMemCarveout = l->carveout - 1;
    return TN_OK;
}

/* attrs: room for the cluster's attribute, and for others that the caller adds. */
static CUlaunchConfig config_of(const tn_launch *l, CUlaunchAttribute *attrs) {
    CUlaunchConfig config = {
        .gridDimX = l->grid[0],
        .gridDimY = l->grid[1],
        .gridDimZ = l->grid[2],
        .blockDimX = l->block[0],
        .blockDimY = l->block[1],
        .blockDimZ = l->block[2],
        .sharedMemBytes = l->smem,
        .attrs = attrs,
    };
    if (l->cluster[0]) {
        CUlaunchAttribute *a = &attrs[config.numAttrs++];
        a->id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
        a->value.clusterDim.x = l->cluster[0];
        a->value.clusterDim.y = l->cluster[1];
        a->value.clusterDim.z = l->cluster[2];
    }
    return config;
}

void tn_launch_turns(const tn_cuda *cu, tn_launch *l, uint32_t per_sm, int sms) {
    uint64_t most = (uint64_t)per_sm * (uint32_t)(sms > 0 ? sms : 1);
    const uint64_t blocks = (uint64_t)l->cluster[0] * l->cluster[1] * l->cluster[2];
    const bool any = l->grid[0] && l->grid[1] && l->grid[2];
    CUlaunchAttribute attr;
    const CUlaunchConfig config = config_of(l, &attr);
    int clusters = 0;
    if (most && any && blocks > 1 && cu->cuOccupancyMaxActiveClusters &&
        cu->cuOccupancyMaxActiveClusters(&clusters, l->fn, &config) == CUDA_SUCCESS && clusters > 0 &&
        (uint64_t)clusters * blocks < most)
        most = (uint64_t)clusters * blocks;
    tn_grid_turns(l->grid, l->cluster[0], l->together, most);
}

tn_status tn_launch_kernel(const tn_cuda *cu, const tn_launch *l, const void *args, CUstream stream, const char *loc) {
    CUlaunchAttribute attrs[4];
    CUlaunchConfig config = config_of(l, attrs);
    config.hStream = stream;
    if (!l->grid[0] || !l->grid[1] || !l->grid[2]) return TN_OK;
    if (l->together) {
        CUlaunchAttribute *a = &attrs[config.numAttrs++];
        a->id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
        a->value.cooperative = 1;
    }
    if (l->pdl && !l->together) {
        CUlaunchAttribute *a = &attrs[config.numAttrs++];
        a->id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
        a->value.programmaticStreamSerializationAllowed = 1;
    }
    tn_status st = set_carveout(cu, l, &config, loc);
    if (st != TN_OK) return st;
    void *params[] = {(void *)(uintptr_t)args};
    return TN_CU(cu, cuLaunchKernelEx(&config, l->fn, params, NULL), loc);
}
