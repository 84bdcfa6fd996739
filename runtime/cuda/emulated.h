/* emulated.h: what an emulated device is told beside what CUDA's interface says. */
#ifndef TENON_RUNTIME_EMULATED_H
#define TENON_RUNTIME_EMULATED_H

#include <stdbool.h>
#include <stddef.h>

/* Memory that a launch may touch. */
typedef struct tn_emu_range {
    const void *at;
    size_t bytes;
    bool writable;
    bool activation; /* may be touched only after griddepcontrol.wait */
    const char *name;
} tn_emu_range;

#endif
