// SPDX-License-Identifier: GPL-2.0
/* <linux/ptr_ring.h>, as the device-wide queue of batches uses it. */
#include <linux/ptr_ring.h>

int wg_helper_ptr_ring_init(struct ptr_ring *ring, int size, gfp_t gfp)
{
	return ptr_ring_init(ring, size, gfp);
}

void wg_helper_ptr_ring_cleanup(struct ptr_ring *ring)
{
	ptr_ring_cleanup(ring, NULL);
}

int wg_helper_ptr_ring_produce_bh(struct ptr_ring *ring, void *ptr)
{
	return ptr_ring_produce_bh(ring, ptr);
}

bool wg_helper_ptr_ring_seems_empty(struct ptr_ring *ring)
{
	return __ptr_ring_empty(ring);
}

void *wg_helper_ptr_ring_consume_bh(struct ptr_ring *ring)
{
	return ptr_ring_consume_bh(ring);
}
