// SPDX-License-Identifier: GPL-2.0
#include <linux/module.h>

#include "version.h"

/* For modinfo and /sys/module. (The macro of crate kernel has no field for it.) */
MODULE_VERSION(WGK_VERSION);

/* A kernel that unloads no modules counts no references either. */
size_t wg_helper_module_references(void)
{
#if defined(MODULE) && defined(CONFIG_MODULE_UNLOAD)
	return max(module_refcount(THIS_MODULE), 0);
#else
	return 0;
#endif
}
