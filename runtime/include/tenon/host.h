/* host.h: the devices TN_CPU and TN_EMU, which are programs of libtenon, and for TN_CUDA the compiler that makes code for
 * a GPU which a plan has none for (tn_context_new):
 *
 *     tn_context_options o = {.device = TN_CPU, .host = tn_host_devices()};
 *
 * libtenon_rt alone knows only the GPU, and only those that a plan holds code for. */
#ifndef TENON_HOST_H
#define TENON_HOST_H

#include "tenon/tenon.h"

#ifdef __cplusplus
extern "C" {
#endif

/* For tn_context_options.host.  Never NULL; read-only, for every thread. */
const tn_host *tn_host_devices(void);

#ifdef __cplusplus
}
#endif
#endif
