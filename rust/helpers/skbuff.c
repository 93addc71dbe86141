// SPDX-License-Identifier: GPL-2.0
/*
 * sk_buff: inlines of <linux/skbuff.h>, <net/gso.h>, <net/ip_tunnels.h> and
 * <net/inet_ecn.h>.
 *
 * What runs once per packet (seal_prepare, reset, receive_prepare) is one
 * function per step, of inlines, bit-fields and members that depend on the
 * configuration. Measured on the instruction clock, a packet on its way through
 * both ends and the stacks around, as it is and with these steps in Rust that
 * calls one inline at a time: 20,428 and 20,497 instructions with 64 bytes of UDP
 * in it, 26,320 and 26,226 with 512, 55,087 and 54,933 with 1400; TCP the same.
 * So the calls cost no more than two runs differ by.
 */
#include <crypto/chacha20poly1305.h>
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/netdevice.h>
#include <linux/scatterlist.h>
#include <linux/skbuff.h>
#include <net/dst.h>
#include <net/dst_metadata.h>
#include <net/gso.h>
#include <net/icmp.h>
#include <net/inet_ecn.h>
#include <net/ip_tunnels.h>
#include <net/ipv6.h>

/* A buffer with @headroom bytes reserved and @tailroom behind them. */
struct sk_buff *wg_helper_skb_with_room(unsigned int headroom,
					unsigned int tailroom, gfp_t gfp)
{
	struct sk_buff *skb = alloc_skb(headroom + tailroom, gfp);

	if (!skb)
		return NULL;
	skb_reserve(skb, headroom);
	skb_set_inner_network_header(skb, 0);
	return skb;
}

/* An inline without CONFIG_TRACEPOINTS. */
void wg_helper_consume_skb(struct sk_buff *skb)
{
	consume_skb(skb);
}

void wg_helper_skb_orphan(struct sk_buff *skb)
{
	skb_orphan(skb);
}

/* What ties @skb to a path, but for its device. */
void wg_helper_skb_untie(struct sk_buff *skb)
{
	skb_dst_drop(skb);
	nf_reset_ct(skb);
	skb_ext_reset(skb);
}

struct sk_buff *wg_helper_skb_share_check(struct sk_buff *skb)
{
	return skb_share_check(skb, GFP_ATOMIC);
}

/* The route's MTU, or 0 if @skb has no route that knows one. */
u32 wg_helper_skb_dst_mtu(const struct sk_buff *skb)
{
	return skb_valid_dst(skb) ? dst_mtu(skb_dst(skb)) : 0;
}

/* Takes the flow hash, unless there is one. */
void wg_helper_skb_get_hash(struct sk_buff *skb)
{
	skb_get_hash(skb);
}

/* Whether @skb is accounted to a socket by its size, and by nothing else. */
bool wg_helper_skb_is_wmem(const struct sk_buff *skb)
{
	return is_skb_wmem(skb);
}

struct sk_buff *wg_helper_skb_gso_segment(struct sk_buff *skb)
{
	int offset = skb_network_offset(skb);

	/* What is in front of the network header is pulled, without a look. */
	if (unlikely(offset < 0 || offset > skb_headlen(skb)))
		return ERR_PTR(-EINVAL);
	return skb_gso_segment(skb, 0);
}

/*
 * The datagrams that @skb stands for, as udp_rcv_segment() has them: from the UDP
 * header on. @skb stays as it is.
 */
struct sk_buff *wg_helper_skb_udp_segment(struct sk_buff *skb)
{
	struct sk_buff *segs, *seg;
	int offset;

	if (unlikely(!skb_mac_header_was_set(skb)))
		return ERR_PTR(-EINVAL);
	offset = skb_mac_offset(skb);
	if (unlikely(offset > 0 || skb_network_offset(skb) < offset ||
		     skb_network_offset(skb) > 0))
		return ERR_PTR(-EINVAL);
	__skb_push(skb, -offset);
	segs = __skb_gso_segment(skb, NETIF_F_SG | NETIF_F_IP_CSUM | NETIF_F_IPV6_CSUM, false);
	__skb_pull(skb, -offset);
	if (IS_ERR_OR_NULL(segs))
		return segs;
	for (seg = segs; seg; seg = seg->next)
		__skb_pull(seg, skb_transport_offset(seg));
	return segs;
}

bool wg_helper_pskb_may_pull(struct sk_buff *skb, unsigned int len)
{
	return pskb_may_pull(skb, len);
}

int wg_helper_pskb_trim(struct sk_buff *skb, unsigned int len)
{
	return pskb_trim(skb, len);
}

/*
 * ICMP errors go by the packet's route, taken for one of its protocol: without
 * a look, and in IPv4 without one they don't go at all. 4 or 6: the one to send.
 */
static int wg_icmp_for(const struct sk_buff *skb)
{
	int family = skb_valid_dst(skb) ? skb_dst(skb)->ops->family : AF_UNSPEC;

	if (skb->protocol == htons(ETH_P_IP) && family == AF_INET)
		return 4;
	if (skb->protocol == htons(ETH_P_IPV6) &&
	    (family == AF_INET6 || !skb_dst(skb)))
		return 6;
	return 0;
}

void wg_helper_icmp_unreachable(struct sk_buff *skb)
{
	switch (wg_icmp_for(skb)) {
	case 4:
		icmp_ndo_send(skb, ICMP_DEST_UNREACH, ICMP_HOST_UNREACH, 0);
		break;
	case 6:
		icmpv6_ndo_send(skb, ICMPV6_DEST_UNREACH, ICMPV6_ADDR_UNREACH, 0);
		break;
	}
}

void wg_helper_icmp_too_big(struct sk_buff *skb, u32 mtu)
{
	switch (wg_icmp_for(skb)) {
	case 4:
		icmp_ndo_send(skb, ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, htonl(mtu));
		break;
	case 6:
		icmpv6_ndo_send(skb, ICMPV6_PKT_TOOBIG, 0, mtu);
		break;
	}
}

/* Whether @skb, or each packet that it stands for, has @len bytes at most. */
bool wg_helper_skb_fits(const struct sk_buff *skb, unsigned int len)
{
	if (skb_is_gso(skb))
		return skb_gso_validate_network_len(skb, len);
	return skb->len <= len;
}

/*
 * Everything about @skb that depends on the side of the tunnel it was on is
 * forgotten; outbound, the flow hash and the kind of time stamp stay, so that
 * queues below still see the inner flow.
 */
void wg_helper_skb_reset(struct sk_buff *skb, bool encapsulating)
{
	const u32 hash = skb->hash;
	const u8 l4_hash = skb->l4_hash, sw_hash = skb->sw_hash;
	const u8 tstamp_type = skb->tstamp_type;

	skb_scrub_packet(skb, true);
	memset(&skb->headers, 0, sizeof(skb->headers));
	if (encapsulating) {
		skb->hash = hash;
		skb->l4_hash = l4_hash;
		skb->sw_hash = sw_hash;
		skb->tstamp_type = tstamp_type;
	}

	skb->dev = NULL;
	skb->queue_mapping = 0;
	skb->nohdr = 0;
	skb->peeked = 0;
	skb->mac_len = 0;
#ifdef CONFIG_NET_SCHED
	skb->tc_index = 0;
#endif
	skb_reset_redirect(skb);
	skb->hdr_len = skb_headroom(skb);
	skb_reset_mac_header(skb);
	skb_reset_network_header(skb);
	skb_reset_transport_header(skb);
	skb_reset_inner_headers(skb);
}

/* Whether the checksum that is still to be computed is one of @skb's data. */
static bool wg_csum_inside(const struct sk_buff *skb)
{
	int offset = skb_checksum_start_offset(skb);

	return offset >= 0 && offset + skb->csum_offset + sizeof(__sum16) <=
			      skb_headlen(skb);
}

/* Pieces that a packet may be in; one in more is made linear. */
#define WG_PIECES (MAX_SKB_FRAGS + 8)

/*
 * What is left to do after skb_cow_data() has found @pieces: 0 if @skb is linear,
 * or is made so for being in too many, with @tailroom bytes behind; else @pieces.
 */
static int wg_skb_pieces(struct sk_buff *skb, int pieces, unsigned int tailroom)
{
	if (pieces < 0 || !skb_is_nonlinear(skb))
		return min(pieces, 0);
	if (pieces <= WG_PIECES)
		return pieces;
	if (skb_linearize(skb))
		return -ENOMEM;
	if (skb_tailroom(skb) < tailroom &&
	    pskb_expand_head(skb, 0, tailroom - skb_tailroom(skb), GFP_ATOMIC))
		return -ENOMEM;
	return 0;
}

/*
 * Before sealing: the checksum is finished while the packet is still readable,
 * there are @headroom writable bytes in front, and the data is ours alone, with
 * @tailroom bytes behind. @ds, a DS field, gets the congestion bits of an outer
 * header. Returns 0 if the data is one linear piece, the number of scatterlist
 * entries it takes otherwise (then *@trailer is where the tail goes), or an
 * errno: -ENOMEM, or another if @skb is malformed.
 */
int wg_helper_skb_seal_prepare(struct sk_buff *skb, unsigned int headroom,
			       unsigned int tailroom, u8 *ds,
			       struct sk_buff **trailer)
{
	int err;

	*ds = ip_tunnel_ecn_encap(*ds, ip_hdr(skb), skb);

	if (unlikely(skb_cow_head(skb, headroom) < 0))
		return -ENOMEM;
	if (skb->ip_summed == CHECKSUM_PARTIAL) {
		if (unlikely(!wg_csum_inside(skb)))
			return -EINVAL;
		err = skb_checksum_help(skb);
		if (unlikely(err))
			return err;
	}

	if (likely(!skb_is_nonlinear(skb) && !skb_cloned(skb) &&
		   skb_tailroom(skb) >= tailroom))
		return 0;

	return wg_skb_pieces(skb, skb_cow_data(skb, tailroom, trailer), tailroom);
}

/*
 * Before opening a packet whose outer headers start @outer bytes before its
 * data, and which is scattered or somebody else's as well: the data is ours
 * alone. Returns as above.
 */
int wg_helper_skb_open_prepare(struct sk_buff *skb, unsigned int outer)
{
	struct sk_buff *trailer;
	int pieces;

	/* With the outer headers counted in, they stay in the linear part. */
	__skb_push(skb, outer);
	pieces = wg_skb_pieces(skb, skb_cow_data(skb, 0, &trailer), 0);
	__skb_pull(skb, outer);
	return pieces;
}

/* The rest of sealing when the data is scattered. */
bool wg_helper_skb_seal_sg(struct sk_buff *skb, struct sk_buff *trailer,
			   int frags, const u8 *header, unsigned int header_len,
			   unsigned int padding, u64 nonce, const u8 *key)
{
	struct scatterlist sg[WG_PIECES];
	unsigned int plain_len = skb->len + padding;

	if (frags > ARRAY_SIZE(sg))
		return false;
	memset(skb_tail_pointer(trailer), 0, padding);
	skb_set_inner_network_header(skb, 0);
	memcpy(__skb_push(skb, header_len), header, header_len);
	pskb_put(skb, trailer, padding + CHACHA20POLY1305_AUTHTAG_SIZE);

	sg_init_table(sg, frags);
	if (skb_to_sgvec(skb, sg, header_len,
			 plain_len + CHACHA20POLY1305_AUTHTAG_SIZE) <= 0)
		return false;
	return chacha20poly1305_encrypt_sg_inplace(sg, plain_len, NULL, 0,
						   nonce, key);
}

/*
 * Opens scattered data from @offset on, tag included; the tag is not cut off.
 * Returns 1; or 0 if that is wrong, and the data has been turned into garbage; or
 * an errno.
 */
int wg_helper_skb_open_sg(struct sk_buff *skb, unsigned int offset, int frags,
			  u64 nonce, const u8 *key)
{
	struct scatterlist sg[WG_PIECES];
	unsigned int len = skb->len - offset;

	if (frags > ARRAY_SIZE(sg))
		return -EMSGSIZE;
	sg_init_table(sg, frags);
	if (skb_to_sgvec(skb, sg, offset, len) <= 0)
		return -EMSGSIZE;
	return chacha20poly1305_decrypt_sg_inplace(sg, len, NULL, 0, nonce,
						   key);
}

/*
 * An opened packet, whose IP header was checked, becomes one that was received,
 * whatever was done to it before: nothing of the path that it came by is left,
 * nobody else has its data, and the IP header that its protocol says is in the
 * first @total_len bytes, which are what it is cut to. The tag vouches for every
 * layer's checksum.
 */
bool wg_helper_skb_receive_prepare(struct sk_buff *skb, u8 outer_ds,
				   unsigned int total_len)
{
	if (unlikely(skb_unclone(skb, GFP_ATOMIC)) || pskb_trim(skb, total_len))
		return false;
	skb_orphan(skb);
	wg_helper_skb_reset(skb, false);
	skb->protocol = ip_tunnel_parse_protocol(skb);
	if (skb->protocol == htons(ETH_P_IP))
		INET_ECN_decapsulate(skb, outer_ds, ip_hdr(skb)->tos);
	else if (skb->protocol == htons(ETH_P_IPV6))
		INET_ECN_decapsulate(skb, outer_ds,
				     ipv6_get_dsfield(ipv6_hdr(skb)));
	else
		return false;
	skb->ip_summed = CHECKSUM_UNNECESSARY;
	skb->csum_level = ~0;
	return true;
}
