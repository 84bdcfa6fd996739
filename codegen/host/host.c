/* host.c: the devices that the runtime borrows from libtenon. */
#include "tenon/host.h"

#include "codegen/host/cpu.h"
#include "codegen/host/rebuild.h"
#include "codegen/host/recompile.h"
#include "runtime/emu/driver.h"
#include "runtime/host.h"

static const tn_host devices = {
    .cpu_new = tn_cpu_new,
    .cpu_free = tn_cpu_free,
    .cpu_run = tn_cpu_run,
    .emulator_open = tn_emu_driver_open,
    .rebuild = tn_rebuild,
    .can_recompile = tn_can_recompile,
    .recompile = tn_recompile,
};

const tn_host *tn_host_devices(void) {
    return &devices;
}
