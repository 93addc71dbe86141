// SPDX-License-Identifier: GPL-2.0

#include <net/genetlink.h>

struct net *wg_helper_genl_info_net(const struct genl_info *info)
{
	return genl_info_net(info);
}

void wg_helper_genl_dump_check_consistent(struct netlink_callback *cb, void *hdr)
{
	genl_dump_check_consistent(cb, hdr);
}

void wg_helper_genl_msg_end(struct sk_buff *skb, void *hdr)
{
	genlmsg_end(skb, hdr);
}

u32 wg_helper_netlink_cb_portid(struct sk_buff *skb)
{
	return NETLINK_CB(skb).portid;
}

struct sk_buff *wg_helper_genlmsg_new(size_t size, gfp_t gfp)
{
	return genlmsg_new(size, gfp);
}

void wg_helper_nlmsg_free(struct sk_buff *skb)
{
	nlmsg_free(skb);
}

int wg_helper_genlmsg_reply(struct sk_buff *skb, const struct genl_info *info)
{
	return genlmsg_reply(skb, (struct genl_info *)info);
}

/*
 * For the one group of a registered family, under RCU. In a namespace that is torn
 * down there is no socket any more, or it stays until RCU is released.
 */
bool wg_helper_genl_group_has_listeners(const struct genl_family *family, struct net *net)
{
	struct sock *sk = READ_ONCE(net->genl_sock);

	return sk && netlink_has_listeners(sk, family->mcgrp_offset);
}

void wg_helper_genl_group_send(const struct genl_family *family,
			       struct net *net, struct sk_buff *skb)
{
	struct sock *sk = READ_ONCE(net->genl_sock);

	if (sk)
		nlmsg_multicast(sk, skb, 0, family->mcgrp_offset, GFP_ATOMIC);
	else
		nlmsg_free(skb);
}

void wg_helper_genl_group_lost(const struct genl_family *family, struct net *net)
{
	struct sock *sk = READ_ONCE(net->genl_sock);

	if (sk)
		netlink_set_err(sk, 0, family->mcgrp_offset, -ENOBUFS);
}
