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
