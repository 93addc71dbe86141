// SPDX-License-Identifier: GPL-2.0
/* UDP tunnel sockets, routes and sending: inlines of <net/udp_tunnel.h> & co. */
#include <linux/net.h>
#include <linux/netdevice.h>
#include <linux/percpu.h>
#include <net/addrconf.h>
#include <net/dst_cache.h>
#include <net/gro.h>
#include <net/ip6_route.h>
#include <net/ip_fib.h>
#include <net/ipv6.h>
#include <net/l3mdev.h>
#include <net/route.h>
#include <net/sch_generic.h>
#include <net/sock.h>
#include <net/udp_tunnel.h>
#include <net/xfrm.h>

bool wg_helper_ipv6_enabled(void)
{
	return IS_ENABLED(CONFIG_IPV6) && ipv6_mod_enabled();
}

int wg_helper_udp_sock_create(struct net *net, struct udp_port_cfg *cfg,
			      struct socket **sock)
{
	return udp_sock_create(net, cfg, sock);
}

struct net *wg_helper_sk_net(const struct sock *sk)
{
	return sock_net(sk);
}

/* Whether the namespace of @sk is not going yet. Then, under RCU, it stays. */
bool wg_helper_sk_net_alive(const struct sock *sk)
{
	return check_net(sock_net(sk));
}

/* Whether what @sk sends may leave by the device @oif (0: any). */
bool wg_helper_sk_takes_scope(struct sock *sk, int oif)
{
	return !oif || sk_dev_equal_l3scope(sk, oif);
}

/* A route's destination: the table that it is of, and how many bits of it count. */
struct wg_fib {
	u32 table;
	u32 bits;
};

/*
 * Whether @by, a way by the device @oif, may be taken instead of @best, which does
 * without that wish: it is to the same destination, and not a wider one from which
 * @best makes an exception; and rules chose the table, and still do. Or it is in
 * the table of the VRF which the device is in. Never into a tunnel of ours: a peer
 * in there could call in another's name, or have its tunnel end in itself.
 */
static bool wg_may_answer(struct net *net, struct wg_fib by, struct wg_fib best,
			  int oif)
{
	const struct net_device *dev = dev_get_by_index_rcu(net, oif);

	if (!dev || (dev->rtnl_link_ops &&
		     !strcmp(dev->rtnl_link_ops->kind, "wireguard")))
		return false;
	if (by.table == best.table)
		return by.bits == best.bits;
	return by.table == l3mdev_fib_table_rcu(dev);
}

static struct wg_fib wg_fib4(const struct fib_result *res)
{
	return (struct wg_fib) { res->table->tb_id, res->prefixlen };
}

/* Whether there is a way to where @fl4 goes by the device @oif, which may be gone. Under RCU. */
bool wg_helper_route4_has(struct net *net, const struct flowi4 *fl4, int oif)
{
	struct flowi4 best = *fl4, by = *fl4;
	struct fib_result first, second;

	by.flowi4_oif = oif;
	return !fib_lookup(net, &best, &first, 0) && first.type == RTN_UNICAST &&
	       !fib_lookup(net, &by, &second, 0) && second.type == RTN_UNICAST &&
	       wg_may_answer(net, wg_fib4(&second), wg_fib4(&first), oif);
}

/* Whether @dst leaves by a device that is in the VRF @ifindex. Under RCU. */
bool wg_helper_dst_in_l3mdev(const struct dst_entry *dst, int ifindex)
{
	return l3mdev_master_ifindex_rcu(dst_dev_rcu(dst)) == ifindex;
}

void *wg_helper_sk_user_data(const struct sock *sk)
{
	return rcu_dereference_sk_user_data(sk);
}

/*
 * GRO makes aggregates of datagrams to @sk, which takes them whole: with
 * udp_gro_complete() below.
 */
void wg_helper_udp_take_aggregates(struct sock *sk)
{
	udp_set_bit(GRO_ENABLED, sk);
	udp_set_bit(ACCEPT_L4, sk);
}

/* Whether what GRO made @skb of is for this host. */
static bool wg_gro_local(const struct sk_buff *skb)
{
	struct net *net = dev_net(skb->dev);

	if (skb->protocol == htons(ETH_P_IP))
		return inet_addr_type_dev_table(net, skb->dev,
						ip_hdr(skb)->daddr) == RTN_LOCAL;
#if IS_ENABLED(CONFIG_IPV6)
	if (skb->protocol == htons(ETH_P_IPV6))
		return ipv6_chk_addr(net, &ipv6_hdr(skb)->daddr, NULL, 0);
#endif
	return false;
}

/*
 * What GRO makes @skb for the tunnel around the datagrams whose UDP header is at
 * @uh, from the packet's data on; 0 if there is none around them. Read anew: by
 * now, udp_gro_complete() has overwritten what the tunnel's layer had set.
 */
static unsigned int wg_gro_tunnel(const struct sk_buff *skb, int uh)
{
	int at = NAPI_GRO_CB(skb)->network_offset;
	const struct iphdr *iph = (void *)(skb->data + at);
	const struct ipv6hdr *ip6h = (void *)iph;
	bool v4 = iph->version == 4;
	__be16 fragment;
	u8 proto;

	if (v4) {
		proto = iph->protocol;
		at += iph->ihl * 4;
	} else {
		proto = ip6h->nexthdr;
		at = ipv6_skip_exthdr(skb, at + sizeof(*ip6h), &proto, &fragment);
	}
	if (at == uh)
		return 0;
	switch (proto) {
	case IPPROTO_GRE:
		return SKB_GSO_GRE;
	case IPPROTO_IPIP:
	case IPPROTO_IPV6:
		return v4 ? SKB_GSO_IPXIP4 : SKB_GSO_IPXIP6;
	default:
		if (at > 0 && !((struct udphdr *)(skb->data + at))->check)
			return SKB_GSO_UDP_TUNNEL;
		return SKB_GSO_UDP_TUNNEL_CSUM;
	}
}

/*
 * Called as the end of GRO for an aggregate of datagrams to our port, which
 * udp_gro_complete() has made a packet of a tunnel by now. It is none, but for
 * the bit by which the UDP layer lets aggregates through to sockets like ours:
 * that only for what goes there, and not on its way through this host, where
 * drivers would see it. Datagrams in a tunnel are somebody else's.
 */
int wg_helper_udp_gro_complete(struct sock *sk, struct sk_buff *skb, int nhoff)
{
	struct udphdr *uh = (struct udphdr *)(skb->data + nhoff) - 1;
	struct skb_shared_info *shinfo = skb_shinfo(skb);
	unsigned int tunnel = wg_gro_tunnel(skb, nhoff - sizeof(*uh));

	skb->csum_start = (unsigned char *)uh - skb->head;
	skb->csum_offset = offsetof(struct udphdr, check);
	skb->ip_summed = CHECKSUM_PARTIAL;
	shinfo->gso_segs = NAPI_GRO_CB(skb)->count;
	shinfo->gso_type = SKB_GSO_UDP_L4 | tunnel;
	if (tunnel) {
		skb->inner_transport_header = skb->transport_header;
		return 0;
	}
	skb->encapsulation = 0;
	/*
	 * A firewall may still send it on. With the other bit, which no device
	 * has, it is cut in software then: a driver would take it for a tunnel's.
	 */
	if (wg_gro_local(skb))
		shinfo->gso_type |= SKB_GSO_UDP_TUNNEL_CSUM |
				    SKB_GSO_TUNNEL_REMCSUM;
	return 0;
}

/*
 * Whether @skb, which stands for several datagrams and is for this host, goes to
 * a socket like ours, and may be marked: nobody else looks at it. Under RCU.
 */
bool wg_helper_udp_takes_whole(struct sk_buff *skb, bool v6)
{
	const struct udphdr *uh;
	struct udphdr room;
	struct sock *sk;

	/* One that was chosen by others would not be found. */
	if (skb->sk || skb_cloned(skb) || skb->encapsulation ||
	    skb->pkt_type != PACKET_HOST || !skb_dst(skb))
		return false;
	if (!v6) {
		const struct iphdr *iph = ip_hdr(skb);

		if (iph->protocol != IPPROTO_UDP ||
		    skb_rtable(skb)->rt_flags & (RTCF_BROADCAST | RTCF_MULTICAST))
			return false;
		uh = skb_header_pointer(skb, skb_network_offset(skb) + iph->ihl * 4,
					sizeof(room), &room);
		sk = uh ? __udp4_lib_lookup(dev_net(skb->dev), iph->saddr, uh->source,
					    iph->daddr, uh->dest, inet_iif(skb),
					    inet_sdif(skb), skb) : NULL;
#if IS_ENABLED(CONFIG_IPV6)
	} else {
		const struct ipv6hdr *ip6h = ipv6_hdr(skb);

		if (ip6h->nexthdr != IPPROTO_UDP || ipv6_addr_is_multicast(&ip6h->daddr))
			return false;
		uh = skb_header_pointer(skb, skb_network_offset(skb) + sizeof(*ip6h),
					sizeof(room), &room);
		sk = uh ? __udp6_lib_lookup(dev_net(skb->dev), &ip6h->saddr, uh->source,
					    &ip6h->daddr, uh->dest, inet6_iif(skb),
					    inet6_sdif(skb), skb) : NULL;
#else
	} else {
		return false;
#endif
	}
	return sk && READ_ONCE(udp_sk(sk)->gro_complete) == wg_helper_udp_gro_complete;
}

/* How deep this CPU is in sections that send, all of them with bottom halves off. */
static DEFINE_PER_CPU(unsigned int, wg_sending);

void wg_helper_udp_send_begin(void)
{
	rcu_read_lock_bh();
	this_cpu_inc(wg_sending);
}

void wg_helper_udp_send_end(void)
{
	this_cpu_dec(wg_sending);
	rcu_read_unlock_bh();
}

/*
 * Whether a rule of tc sends what comes here. The queue that has the rule may be
 * locked, and be what a packet of ours is for. (With PREEMPT_RT not asked.)
 */
static bool wg_mirred(void)
{
#if IS_ENABLED(CONFIG_NET_ACT_MIRRED) && !defined(CONFIG_PREEMPT_RT)
	return this_cpu_read(softnet_data.xmit.sched_mirred_nest);
#else
	return false;
#endif
}

/*
 * Whether a packet that comes out of @xmits devices' ndo_start_xmit may be worked
 * on there and then, with bottom halves off. Not in a section of ours that sends,
 * nor under a rule of tc: its caller may hold a lock that is wanted here, too. Not
 * inside of more devices' xmit, as far as that is counted (a device with a queue is
 * not): stacks are for so much. Not with interrupts off, where bottom halves can't
 * be switched on again. Not on a CPU that is isolated: our work stays off it, whoever
 * sends. With PREEMPT_RT bottom halves off are no section of a CPU, and a task's
 * priority is not for our work: never.
 */
bool wg_helper_udp_may_work_here(int xmits)
{
	return !IS_ENABLED(CONFIG_PREEMPT_RT) && !irqs_disabled() &&
	       dev_recursion_level() <= xmits && !this_cpu_read(wg_sending) &&
	       !wg_mirred() &&
	       !(wg_cpus_isolated() && wg_this_cpu_isolated());
}

void wg_helper_flow4_classify(struct sock *sk, struct flowi4 *fl)
{
	security_sk_classify_flow(sk, flowi4_to_flowi_common(fl));
}

/*
 * Whether the queue of @dev hands packets on as they are. Shapers cut GSO packets
 * when they are queued, by their segments' size, and then have the first owner
 * think that all was sent. What is passed by while it is empty does not, nor does
 * fq; of several queues the first is looked at.
 */
static bool wg_queue_keeps(const struct net_device *dev)
{
	const struct Qdisc *q =
		rcu_dereference(netdev_get_tx_queue(dev, 0)->qdisc);

	return !q->enqueue || q->flags & TCQ_F_CAN_BYPASS ||
	       !strcmp(q->ops->id, "fq");
}

static int wg_queue_cuts(struct net_device *dev, struct netdev_nested_priv *priv)
{
	return !wg_queue_keeps(dev);
}

/*
 * The same of all the queues on the way: a bridge, a bond, a VLAN have none of
 * their own, but what is below them may. Called under RCU.
 */
static bool wg_queues_keep(struct net_device *dev)
{
	struct netdev_nested_priv none = {};

	return wg_queue_keeps(dev) &&
	       !netdev_walk_all_lower_dev_rcu(dev, wg_queue_cuts, &none);
}

/*
 * The longest packet that goes by @dst as it is, and what the device there takes
 * as one for GSO: bytes, segments. False if packets are changed on that way.
 * @whole: chains go all the way to the device as they are.
 */
bool wg_helper_dst_takes(const struct dst_entry *dst, u32 *packet, u32 *bytes,
			 u32 *segments, bool *whole)
{
	const netdev_features_t chains = NETIF_F_GSO_UDP_L4 | NETIF_F_FRAGLIST;
	struct net_device *dev = dst_dev_rcu(dst);

	if (dst_xfrm(dst) || dst->lwtstate)
		return false;
	*packet = dst_mtu(dst);
	*bytes = min(READ_ONCE(dev->gso_max_size),
		     READ_ONCE(dev->gso_ipv4_max_size));
	*segments = READ_ONCE(dev->gso_max_segs);
	*whole = (dev->features & chains) == chains && wg_queues_keep(dev);
	return true;
}

u32 wg_helper_dst_mtu(const struct dst_entry *dst)
{
	return dst_mtu(dst);
}

/*
 * udp_tunnel_xmit_skb() pushes headers without looking for room, into a buffer
 * that could be another's as well. What @skb says about checksums and headers
 * inside need not be true any more, and would be believed. For GSO the sum over
 * the pseudo header is made there, and what it is of must be said here.
 */
static bool wg_udp_room(struct sk_buff *skb, struct dst_entry *dst,
			unsigned int ip_header)
{
	skb->ip_summed = CHECKSUM_NONE;
	skb->encapsulation = 0;
	if (unlikely(skb_cow_head(skb, ip_header + sizeof(struct udphdr)))) {
		dst_release(dst);
		kfree_skb_reason(skb, SKB_DROP_REASON_NOMEM);
		return false;
	}
	if (skb_is_gso(skb)) {
		skb->ip_summed = CHECKSUM_PARTIAL;
		skb->csum_start = skb_headroom(skb) - sizeof(struct udphdr);
		skb->csum_offset = offsetof(struct udphdr, check);
	}
	return true;
}

/* What the tunnel code counted as sent by @dev, on this CPU: bottom halves are off. */
static u64 wg_sent(const struct net_device *dev)
{
	return u64_stats_read(&this_cpu_ptr(dev->tstats)->tx_packets);
}

/*
 * The tunnel code counts a chain as one packet, sent or not. Counts the others
 * likewise, if there are any.
 */
static void wg_count_others(struct net_device *dev, u64 sent, u32 others, bool v6)
{
	struct pcpu_sw_netstats *stats = this_cpu_ptr(dev->tstats);

	if (!others)
		return;
	if (wg_sent(dev) != sent) {
		u64_stats_update_begin(&stats->syncp);
		u64_stats_add(&stats->tx_packets, others);
		u64_stats_update_end(&stats->syncp);
	} else if (v6) {
		DEV_STATS_ADD(dev, tx_errors, others);
		DEV_STATS_ADD(dev, tx_aborted_errors, others);
	} else {
		DEV_STATS_ADD(dev, tx_dropped, others);
	}
}

/*
 * Whether routers are told not to fragment @skb. Not if it is too long for @dst:
 * then it leaves in fragments, as this host would drop it otherwise; nor if this
 * host was told not to believe what they say then (ip_no_pmtu_disc), when @sk was
 * made, or what they say is below what it takes (min_pmtu).
 */
static __be16 wg_df(const struct sock *sk, const struct sk_buff *skb,
		    const struct dst_entry *dst)
{
	unsigned int len = skb_is_gso(skb) ? skb_shinfo(skb)->gso_size : skb->len;

	len += sizeof(struct udphdr) + sizeof(struct iphdr);
	return len <= dst_mtu(dst) && ip_dont_fragment(sk, dst) ? htons(IP_DF) : 0;
}

/*
 * Errors of routers are for the route that @sk has by itself. That is the one its
 * packets leave by only if it has their mark.
 */
void wg_helper_sk_follow_mark(struct sock *sk, u32 mark)
{
	if (READ_ONCE(sk->sk_mark) != mark)
		WRITE_ONCE(sk->sk_mark, mark);
}

/*
 * Sends @skb by the route @dst; takes over the reference to it unless @hold. It
 * stands for @others more messages of its kind (a chain). @whole: no router is to
 * fragment it. False if @skb was
 * dropped as memory is short.
 *
 * Once for each packet, and nothing but inlines and bitfields of sk_buff around
 * one function: in Rust each of them would be a call.
 */
bool wg_helper_udp4_xmit(struct sock *sk, struct dst_entry *dst, bool hold,
			 struct sk_buff *skb, u32 others,
			 struct net_device *dev, const struct flowi4 *fl,
			 u32 mark, u8 ds, bool whole)
{
	const u64 sent = others ? wg_sent(dev) : 0;

	if (hold)
		dst_hold(dst);
	if (!wg_udp_room(skb, dst, sizeof(struct iphdr)))
		return false;
	skb_mark_not_on_list(skb);
	skb->dev = dev;
	skb->mark = mark;
	skb->ignore_df = 1;
	udp_tunnel_xmit_skb(dst_rtable(dst), sk, skb, fl->saddr, fl->daddr, ds,
			    ip4_dst_hoplimit(dst), whole ? wg_df(sk, skb, dst) : 0,
			    fl->fl4_sport, fl->fl4_dport, false, false, 0);
	wg_count_others(dev, sent, others, false);
	return true;
}

void wg_helper_dst_cache_reset(struct dst_cache *cache)
{
	dst_cache_reset(cache);
}

/*
 * Most of these are functions which only a kernel with IPv6 has, so that Rust
 * could not refer to them.
 */
#if IS_ENABLED(CONFIG_IPV6)
void wg_helper_flow6_classify(struct sock *sk, struct flowi6 *fl)
{
	security_sk_classify_flow(sk, flowi6_to_flowi_common(fl));
}

bool wg_helper_confirm_addr6(struct sock *sk, const struct in6_addr *addr)
{
	return ipv6_addr_any(addr) || ipv6_chk_addr(sock_net(sk), addr, NULL, 0);
}

struct dst_entry *wg_helper_route6(struct sock *sk, struct flowi6 *fl)
{
	return ip6_dst_lookup_flow(sock_net(sk), sk, fl, NULL);
}

/* Where @dst is of: of no table if it is nobody's. Under RCU. */
static struct wg_fib wg_fib6(const struct dst_entry *dst)
{
	const struct fib6_info *from = rcu_dereference(dst_rt6_info(dst)->from);

	if (!from)
		return (struct wg_fib) { RT6_TABLE_UNSPEC, 0 };
	return (struct wg_fib) { from->fib6_table->tb6_id, from->fib6_dst.plen };
}

/*
 * As wg_helper_route4_has(), where @best leads to @fl6: that way, with a reference,
 * or null. Asked with our address, by which rules may go; then a device is a wish
 * only, if it is not said to be more.
 */
struct dst_entry *wg_helper_route6_by(struct sock *sk, const struct flowi6 *fl6,
				      const struct dst_entry *best, int oif)
{
	struct net *net = sock_net(sk);
	struct flowi6 by = *fl6;
	struct dst_entry *dst;
	struct wg_fib found;

	by.flowi6_oif = oif;
	dst = ip6_route_output_flags(net, sk, &by, RT6_LOOKUP_F_IFACE);
	found = wg_fib6(dst);
	if (dst->error || found.table == RT6_TABLE_UNSPEC ||
	    !wg_may_answer(net, found, wg_fib6(best), oif)) {
		dst_release(dst);
		return NULL;
	}
	dst = xfrm_lookup_route(net, dst, flowi6_to_flowi(&by), sk, 0);
	return IS_ERR(dst) ? NULL : dst;
}

struct dst_entry *wg_helper_route6_cached(struct dst_cache *cache,
					  struct in6_addr *saddr)
{
	return dst_cache_get_ip6(cache, saddr);
}

void wg_helper_route6_cache(struct dst_cache *cache, struct dst_entry *dst,
			    const struct in6_addr *saddr)
{
	dst_cache_set_ip6(cache, dst, saddr);
}

bool wg_helper_udp6_xmit(struct sock *sk, struct dst_entry *dst, bool hold,
			 struct sk_buff *skb, u32 others,
			 struct net_device *dev, const struct flowi6 *fl,
			 u32 mark, u8 ds)
{
	const u64 sent = others ? wg_sent(dev) : 0;

	if (hold)
		dst_hold(dst);
	if (!wg_udp_room(skb, dst, sizeof(struct ipv6hdr)))
		return false;
	skb_mark_not_on_list(skb);
	skb->dev = dev;
	skb->mark = mark;
	skb->ignore_df = 1;
	udp_tunnel6_xmit_skb(dst, sk, skb, dev, &fl->saddr, &fl->daddr, ds,
			     ip6_dst_hoplimit(dst), 0, fl->fl6_sport,
			     fl->fl6_dport, false, 0);
	wg_count_others(dev, sent, others, true);
	return true;
}
#else
/* Without IPv6 there is no socket that could get here. */
void wg_helper_flow6_classify(struct sock *sk, struct flowi6 *fl)
{
}

bool wg_helper_confirm_addr6(struct sock *sk, const struct in6_addr *addr)
{
	return false;
}

struct dst_entry *wg_helper_route6(struct sock *sk, struct flowi6 *fl)
{
	return ERR_PTR(-EAFNOSUPPORT);
}

struct dst_entry *wg_helper_route6_by(struct sock *sk, const struct flowi6 *fl6,
				      const struct dst_entry *best, int oif)
{
	return NULL;
}

struct dst_entry *wg_helper_route6_cached(struct dst_cache *cache,
					  struct in6_addr *saddr)
{
	return NULL;
}

void wg_helper_route6_cache(struct dst_cache *cache, struct dst_entry *dst,
			    const struct in6_addr *saddr)
{
}

bool wg_helper_udp6_xmit(struct sock *sk, struct dst_entry *dst, bool hold,
			 struct sk_buff *skb, u32 others,
			 struct net_device *dev, const struct flowi6 *fl,
			 u32 mark, u8 ds)
{
	if (!hold)
		dst_release(dst);
	kfree_skb(skb);
	return false;
}
#endif
