/* folder.h: the temporary folders that kernels are compiled in.
 *
 * A folder belongs to the process that holds a lock on it, so that one whose owner was killed can be told from one in
 * use: whoever makes folders next removes it. */
#ifndef TENON_EMU_FOLDER_H
#define TENON_EMU_FOLDER_H

#include <stdbool.h>

typedef struct tn_emu_folder {
    char path[480]; /* "": none */
    int lock;
} tn_emu_folder;

/* A fresh folder below $TMPDIR; false with errno set. */
bool tn_emu_folder_make(tn_emu_folder *f);
/* Removes the folder and all that is in it; nothing where there is none.  TENON_EMU_KEEP keeps it. */
void tn_emu_folder_remove(tn_emu_folder *f);
/* Removes this user's folders whose owners are gone. */
void tn_emu_folder_sweep(void);

#endif
