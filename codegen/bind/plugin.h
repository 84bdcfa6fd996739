/* plugin.h: kernels of plugins. */
#ifndef TENON_CODEGEN_PLUGIN_H
#define TENON_CODEGEN_PLUGIN_H

#include "codegen/codegen.h"

/* Its source and knobs as a template; the same for every use of the plugin.  NULL when out of memory. */
const tn_template *tn_plugin_template(const tn_plugin *p);
extern const tn_binding_ops tn_bind_plugin;

#endif
