// SPDX-License-Identifier: GPL-2.0
/* NAPI: inlines of <linux/netdevice.h>. */
#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <net/gro.h>
#include <net/netdev_lock.h>

static DEFINE_MUTEX(wg_napis);

void wg_helper_napis_lock(void)
{
	mutex_lock(&wg_napis);
}

void wg_helper_napis_unlock(void)
{
	mutex_unlock(&wg_napis);
}

/*
 * Adds @napi to @dev, and enables it. It is no hardware queue, so nothing can
 * busy-poll it. All under one hold of the device's lock: who switches "threaded"
 * off waits, under it, until each instance of the device is idle, which one that
 * is not enabled is not.
 */
void wg_helper_napi_add(struct net_device *dev, struct napi_struct *napi,
			int (*poll)(struct napi_struct *, int))
{
	set_bit(NAPI_STATE_NO_BUSY_POLL, &napi->state);
	netdev_lock(dev);
	netif_napi_add_locked(dev, napi, poll);
	napi_enable_locked(napi);
	netdev_unlock(dev);
}

void wg_helper_napi_del(struct napi_struct *napi)
{
	__netif_napi_del(napi);
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

/* What remains, and is not merged, is passed on when the poll has returned. */
void wg_helper_napi_flush(struct napi_struct *napi)
{
	napi_gro_flush(napi, false);
}
