// SPDX-License-Identifier: GPL-2.0

#include <linux/if_arp.h>
#include <linux/inetdevice.h>
#include <linux/netdevice.h>
#include <net/addrconf.h>

struct net *wg_helper_dev_net(const struct net_device *dev)
{
	return dev_net(dev);
}

struct net *wg_helper_dev_net_rcu(const struct net_device *dev)
{
	return dev_net_rcu(dev);
}

/*
 * The fields that are bitfields or sit in a macro, in one call per device. The
 * bitfields are among others', and offsetof() can't tell the bindings where.
 */
void wg_helper_netdev_init(struct net_device *dev, const struct net_device_ops *ops,
			   const struct device_type *type)
{
	dev->netdev_ops = ops;
	dev->pcpu_stat_type = NETDEV_PCPU_STAT_TSTATS;
	dev->lltx = true;
	dev->needs_free_netdev = true;
	/* netpoll would transmit with interrupts off, and out of them. */
	dev->priv_flags |= IFF_DISABLE_NETPOLL;
	SET_NETDEV_DEVTYPE(dev, type);
}

/* A bitfield as well. */
void wg_helper_netdev_set_no_queue(struct net_device *dev)
{
	dev->priv_flags |= IFF_NO_QUEUE;
}

void wg_helper_netif_keep_dst(struct net_device *dev)
{
	netif_keep_dst(dev);
}

/* Some NAPI instance of @dev that was added and not deleted. */
struct napi_struct *wg_helper_netdev_first_napi(struct net_device *dev)
{
	return list_first_entry_or_null(&dev->napi_list, struct napi_struct,
					dev_list);
}

/* For each packet: inlines only. */
void wg_helper_netdev_rx_add(struct net_device *dev, u64 packets, u64 bytes)
{
	struct pcpu_sw_netstats *stats;

	local_bh_disable();
	stats = this_cpu_ptr(dev->tstats);
	u64_stats_update_begin(&stats->syncp);
	u64_stats_add(&stats->rx_packets, packets);
	u64_stats_add(&stats->rx_bytes, bytes);
	u64_stats_update_end(&stats->syncp);
	local_bh_enable();
}

/* One function per counter would be eight; the numbers are `enum Counter`. */
void wg_helper_netdev_count(struct net_device *dev, unsigned int counter, unsigned long n)
{
	switch (counter) {
	case 0:
		DEV_STATS_ADD(dev, tx_dropped, n);
		break;
	case 1:
		DEV_STATS_ADD(dev, tx_errors, n);
		break;
	case 2:
		DEV_STATS_ADD(dev, rx_dropped, n);
		break;
	case 3:
		DEV_STATS_ADD(dev, rx_errors, n);
		break;
	case 4:
		DEV_STATS_ADD(dev, rx_frame_errors, n);
		break;
	case 5:
		DEV_STATS_ADD(dev, rx_length_errors, n);
		break;
	case 6:
		DEV_STATS_ADD(dev, rx_crc_errors, n);
		break;
	case 7:
		DEV_STATS_ADD(dev, tx_aborted_errors, n);
		break;
	}
}

/*
 * A point-to-point tunnel has nobody to redirect and no link-local address to
 * make up. Macros on structures that a kernel without IPv6 does not have.
 */
void wg_helper_netdev_no_redirects_no_addrgen(struct net_device *dev)
{
	struct in_device *in_dev = __in_dev_get_rtnl(dev);
	struct inet6_dev *in6_dev = __in6_dev_get(dev);

	if (in_dev) {
		IN_DEV_CONF_SET(in_dev, SEND_REDIRECTS, false);
		IPV4_DEVCONF_ALL(dev_net(dev), SEND_REDIRECTS) = false;
	}
	if (in6_dev)
		in6_dev->cnf.addr_gen_mode = IN6_ADDR_GEN_MODE_NONE;
}
