/* side.h: a graph's text and its side file, for those who keep some of its constants elsewhere. */
#ifndef TENON_IR_SIDE_H
#define TENON_IR_SIDE_H

#include "ir/ir.h"

enum { TN_SIDE_ALIGN = 64 /* of blobs in the side file */ };

/* A graph whose side file lacks some blobs (`without`, by handle; NULL: none), which their readers have elsewhere
 * (tn_side.make): these are printed at offsets of their own.  Else as tn_print and tn_print_weights. */
tn_status tn_print_without(const tn_graph *g, const bool *without, const char *side, char **text, size_t *size);
tn_status tn_print_weights_without(const tn_graph *g, const bool *without,
                                   tn_status (*write)(void *user, const void *p, size_t n), void *user);
static inline uint64_t tn_side_elsewhere(tn_blob b) {
    return (UINT64_C(1) << 48) + (uint64_t)b.i * TN_SIDE_ALIGN;
}
size_t tn_blob_limit(const tn_graph *g); /* beyond the handles of its blobs */

/* The bytes of a side file.  Constants that are not copied keep `owner` alive: retain and release are called for each
 * (NULL: the bytes outlive all graphs). */
typedef struct tn_side {
    const char *p;
    size_t size;
    bool copy;
    void (*retain)(void *owner), (*release)(void *owner);
    void *owner;
    /* Fills `to` (NULL: does not) with a blob that the side file lacks; false: there is none of that size at that offset.
     * NULL: there are none. */
    bool (*make)(void *user, uint64_t offset, size_t size, void *to);
    void *user;
    const struct tn_plugins *plugins; /* that the text may name; NULL: only its own */
} tn_side;
tn_graph *tn_parse_side(const tn_env *env, const char *source, const char *text, size_t size, const tn_side *side,
                        tn_status *status);

#endif
