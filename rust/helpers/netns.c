// SPDX-License-Identifier: GPL-2.0

#include <linux/capability.h>
#include <linux/mutex.h>
#include <net/net_namespace.h>

static DEFINE_MUTEX(wg_net_tokens);

void wg_helper_net_tokens_lock(void)
{
	mutex_lock(&wg_net_tokens);
}

void wg_helper_net_tokens_unlock(void)
{
	mutex_unlock(&wg_net_tokens);
}

struct net *wg_helper_maybe_get_net(struct net *net)
{
	return maybe_get_net(net);
}

void wg_helper_get_net(struct net *net)
{
	get_net(net);
}

void wg_helper_put_net(struct net *net)
{
	put_net(net);
}

bool wg_helper_net_ns_capable(struct net *net, int cap)
{
	return ns_capable(net->user_ns, cap);
}
