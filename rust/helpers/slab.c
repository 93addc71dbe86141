// SPDX-License-Identifier: GPL-2.0
#include <linux/slab.h>

/* Both are macros. */
struct kmem_cache *wg_helper_slab_create(const char *name, unsigned int size,
					 unsigned int align)
{
	return kmem_cache_create(name, size, align, 0, NULL);
}

void *wg_helper_slab_alloc(struct kmem_cache *cache, gfp_t flags)
{
	return kmem_cache_alloc(cache, flags);
}
