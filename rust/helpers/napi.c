// SPDX-License-Identifier: GPL-2.0
/* NAPI: inlines of <linux/netdevice.h>. */
#include <linux/netdevice.h>
#include <linux/slab.h>

/*
 * Registers @napi for @dev, disabled. It is no hardware queue, so nothing can
 * busy-poll it. A reference keeps @dev until wg_helper_napi_del().
 */
void wg_helper_napi_add(struct net_device *dev, struct napi_struct *napi,
			int (*poll)(struct napi_struct *, int))
{
	dev_hold(dev);
	set_bit(NAPI_STATE_NO_BUSY_POLL, &napi->state);
	netif_napi_add(dev, napi, poll);
}

void wg_helper_napi_del(struct napi_struct *napi)
{
	struct net_device *dev = napi->dev;

	__netif_napi_del(napi);
	dev_put(dev);
}

/* From any context but hardirq; in process context the softirq runs at once. */
void wg_helper_napi_schedule(struct napi_struct *napi)
{
	local_bh_disable();
	napi_schedule(napi);
	local_bh_enable();
}

void wg_helper_napi_gro_receive(struct napi_struct *napi, struct sk_buff *skb)
{
	skb->dev = napi->dev;
	napi_gro_receive(napi, skb);
}
