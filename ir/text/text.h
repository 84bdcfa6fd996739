/* text.h: what the printer and the parser of the text form share.
 *
 *     weights "model.tnw"                                  the side file of large constants
 *     meta "producer" = "pytorch 2.4"
 *     plugin "region.cu" "//! plugin yolo::region..."      the text of a plugin that a kernel below is of (ir/plugin)
 *     symbol N in [1, 64] hint 8                           only where range or hint differ from [0, inf]
 *     require equal(K, L) "matmul: the inner sizes" loc("fc")   a condition between sizes, checked when they are bound
 *     func @main(%x: f32[N,3,224,224]) -> (%prob: f32[N,1000]) {
 *       %w = const "conv1.weight" {offset=0} : f32[64,3,7,7]      also: [1, 2.5]  splat(0)
 *       %0 = conv %x, %w {strides=[2,2], pads=[3,3,3,3]} : f32[N,64,112,112] loc("/conv1/Conv")
 *       %1 = layer_norm %0, _, %b {axis=3} : ...                  _ is an absent operand
 *       %2, %3 = split %1 {...} : f32[..], f32[..]                result types may be left out
 *       %5 = yolo::region %x {classes=20}                          an op of a plugin that is given: its expansion, or its kernel
 *       %4 = kernel(%2, %3) {anchor="map"} : f32[..] loc("a", "b") {
 *         ^(%p: f32[..], %q: f32[..]):
 *         ...
 *         yield %r
 *       }
 *       return %4
 *     }
 *
 * A value is %name, %"any name", %name!2 (the third value of that debugging name) or %12 (unnamed).  A comment is // to
 * the end of the line, except inside a dim, where // divides. */
#ifndef TENON_IR_TEXT_H
#define TENON_IR_TEXT_H

#include "ir/internal.h"
#include "ir/text/side.h"

enum {
    TN_SPLAT_BYTES = 64 * 1024 * 1024, /* a larger constant is never written as splat(x) */
    TN_ELEM_BYTES = 8
};

/* A double as the shortest decimal that reads back the same; independent of the locale. */
void tn_out_num(tn_out *o, double v);
/* Element i of data: a number that reads back to the same bits, or bits(0x...). */
void tn_out_element(tn_out *o, tn_dtype t, const void *data, uint64_t i);
/* Reads a decimal, hexadecimal, inf or nan; independent of the locale.  *end = s if there is none. */
double tn_read_num(const char *s, char **end);
/* The attributes of op that are not default, as "{a=1, b=[2,3]}"; nothing if there are none. */
void tn_out_attrs(tn_out *o, const tn_graph *g, tn_op op, const void *attrs);

/* tn_write_file, with a first line of comment (NULL: none). */
tn_status tn_write_commented(const tn_graph *g, const char *path, const char *comment);

#endif
