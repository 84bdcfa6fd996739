/* arch.c: see arch.h. */
#include "runtime/cuda/arch.h"

#include <stdlib.h>
#include <string.h>

/* "sm_90a" -> 90 and 'a'; false if the name is not of that form. */
static bool parse(const char *name, int *cc, char *letter) {
    enum { MOST = 999 };
    char *end;
    if (!name || strncmp(name, "sm_", 3) || name[3] < '1' || name[3] > '9') return false;
    const long v = strtol(name + 3, &end, 10);
    *cc = (int)v;
    *letter = end[0];
    return v >= 10 && v <= MOST && (!end[0] || (end[0] == 'a' && !end[1]));
}

int tn_arch_cc(const char *name) {
    int cc;
    char letter;
    return parse(name, &cc, &letter) ? cc : 0;
}

int tn_arch_fit(const char *name, int cc) {
    int have;
    char letter;
    if (!parse(name, &have, &letter) || have / 10 != cc / 10 || have > cc || (letter && have != cc)) return 0;
    return 1 + 2 * (have % 10) + (letter ? 1 : 0);
}

bool tn_cc_has_pdl(int cc) {
    return cc >= 90;
}
