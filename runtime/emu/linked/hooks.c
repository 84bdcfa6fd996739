/* hooks.c: what -fsanitize=thread and -fsanitize-coverage=trace-pc call in a kernel.
 *
 * Compiled with Tenon, carried as an object file, and linked into the library of every kernel (module.c): so a kernel's
 * compilation is not spent on it, and it is fast when the kernel is compiled without optimization.  The thread's own
 * stack and the emulator's own variables are not checked. */
#include <stdbool.h>

#include "templates/shared/tn_emu.h"

/* Of the kernel's library. */
extern const tn_emu_api *tn_emu;
extern tn_emu_view *tn_emu_self;

#define HOOK __attribute__((visibility("hidden"))) void

static bool unchecked(const void *p, const tn_emu_view *self) {
    const unsigned long at = (unsigned long)p;
    return at - (unsigned long)self->stack < self->stack_size || at - (unsigned long)self < sizeof *self ||
           p == (const void *)&tn_emu_self || p == (const void *)&tn_emu || at - (unsigned long)tn_emu < sizeof *tn_emu;
}

#define ACCESS(name, bytes, write, aligned)                                                                            \
    HOOK __tsan_##name(void *p);                                                                                       \
    HOOK __tsan_##name(void *p) {                                                                                      \
        tn_emu_view *const self = tn_emu_self;                                                                         \
        if (unchecked(p, self)) return;                                                                                \
        tn_emu->access(self, p, bytes, write, aligned, __builtin_return_address(0));                                   \
    }
ACCESS(read1, 1, 0, 1)
ACCESS(read2, 2, 0, 1)
ACCESS(read4, 4, 0, 1)
ACCESS(read8, 8, 0, 1)
ACCESS(read16, 16, 0, 1)
ACCESS(write1, 1, 1, 1)
ACCESS(write2, 2, 1, 1)
ACCESS(write4, 4, 1, 1)
ACCESS(write8, 8, 1, 1)
ACCESS(write16, 16, 1, 1)
ACCESS(unaligned_read2, 2, 0, 0)
ACCESS(unaligned_read4, 4, 0, 0)
ACCESS(unaligned_read8, 8, 0, 0)
ACCESS(unaligned_read16, 16, 0, 0)
ACCESS(unaligned_write2, 2, 1, 0)
ACCESS(unaligned_write4, 4, 1, 0)
ACCESS(unaligned_write8, 8, 1, 0)
ACCESS(unaligned_write16, 16, 1, 0)

HOOK tn_emu_range(const void *p, unsigned long n, int write, const void *pc);
HOOK tn_emu_range(const void *p, unsigned long n, int write, const void *pc) {
    if (n && !unchecked(p, tn_emu_self)) tn_emu->access(tn_emu_self, p, (unsigned)n, write, 0, pc);
}

HOOK __tsan_read_range(void *p, unsigned long n);
HOOK __tsan_read_range(void *p, unsigned long n) {
    tn_emu->access(tn_emu_self, p, (unsigned)n, 0, 0, __builtin_return_address(0));
}

HOOK __tsan_write_range(void *p, unsigned long n);
HOOK __tsan_write_range(void *p, unsigned long n) {
    tn_emu->access(tn_emu_self, p, (unsigned)n, 1, 0, __builtin_return_address(0));
}

HOOK __tsan_init(void);
HOOK __tsan_init(void) {}
HOOK __tsan_func_entry(void *pc);
HOOK __tsan_func_entry(void *pc) {
    (void)pc;
}
HOOK __tsan_func_exit(void);
HOOK __tsan_func_exit(void) {}

/* Every branch, so that a loop that touches no memory comes to the limit of steps, too. */
HOOK __sanitizer_cov_trace_pc(void);
HOOK __sanitizer_cov_trace_pc(void) {
    static unsigned branches;
    if (!(++branches % 4096)) tn_emu->branches(tn_emu_self, 4096, __builtin_return_address(0));
}
