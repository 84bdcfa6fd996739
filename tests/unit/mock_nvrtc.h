/* mock_nvrtc.h: what a test can set and see of the mock NVRTC (mock_nvrtc.c): every source compiles, at once, to a few
 * bytes that the mock driver takes, unless the test says otherwise. */
#ifndef TENON_TEST_MOCK_NVRTC_H
#define TENON_TEST_MOCK_NVRTC_H

#include <stdatomic.h>

typedef struct mock_nvrtc {
    int major, minor;
    const char *broken; /* sources with this text do not compile */
    const char *slow;   /* the assembler has advice on sources with this text */
    atomic_int compiled, failed;
    char target[32]; /* of the last program */
} mock_nvrtc;

typedef mock_nvrtc *(*mock_nvrtc_get_fn)(void); /* exported as mock_nvrtc_get */

#endif
