/* module.h: building modules ahead of their use. */
#ifndef TENON_EMU_MODULE_H
#define TENON_EMU_MODULE_H

#include "runtime/emu/emu.h"

/* Starts the compiler if that has not been done.  E_NO_LIBRARY: there is none. */
tn_status tn_emu_start(tn_emu_module *m);
bool tn_emu_started(const tn_emu_module *m);
/* True once the compiler has ended, or was never started. */
bool tn_emu_ready(tn_emu_module *m);

#endif
