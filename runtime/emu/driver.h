/* driver.h: the emulator as a CUDA driver. */
#ifndef TENON_EMU_DRIVER_H
#define TENON_EMU_DRIVER_H

#include "runtime/cuda/cuda.h"
#include "runtime/emu/emu.h"

/* A tn_cuda that works on the CPU, closed with tn_cuda_close.  cuModuleLoadDataEx takes a kernel's source text,
 * zero-terminated; builds run in the background until a kernel is launched.  TENON_EMU_SEED shuffles blocks and warps;
 * TENON_EMU_STEPS limits a launch. */
tn_status tn_emu_driver_open(const tn_env *env, tn_cuda **out);

#endif
