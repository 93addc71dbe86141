// SPDX-License-Identifier: GPL-2.0
#include <linux/module.h>

/* A kernel that unloads no modules counts no references either. */
size_t wg_helper_module_references(void)
{
#if defined(MODULE) && defined(CONFIG_MODULE_UNLOAD)
	return max(module_refcount(THIS_MODULE), 0);
#else
	return 0;
#endif
}
