// SPDX-License-Identifier: GPL-2.0

#include <linux/poison.h>
#include <linux/rcupdate.h>
#include <linux/srcu.h>
#include <net/rtnetlink.h>

struct net *wg_helper_rtnl_newlink_link_net(struct rtnl_newlink_params *params)
{
	return rtnl_newlink_link_net(params);
}

/*
 * rtnl_link_unregister() waits for who is in a section of ops->srcu. Up to 7.2 it
 * does not wait for who has found @ops in the list, under RCU, and is about to
 * enter one: he does so when the srcu_struct is gone. Hence a section of our own
 * that ends a grace period after @ops was seen to be listed no more: by then each
 * finder is in one as well.
 */
struct wg_link_hold {
	struct rcu_head rcu;
	struct rtnl_link_ops *ops;
	int section;
	bool unlisted;
};

static void wg_link_hold_end(struct rcu_head *rcu)
{
	struct wg_link_hold *hold = container_of(rcu, struct wg_link_hold, rcu);

	if (hold->unlisted) {
		/* Lets rtnl_link_unregister() return: the last look at *hold. */
		srcu_up_read(&hold->ops->srcu, hold->section);
		return;
	}
	/* The mark of list_del_rcu(). */
	hold->unlisted = data_race(READ_ONCE(hold->ops->list.prev)) == LIST_POISON2;
	call_rcu_hurry(rcu, wg_link_hold_end);
}

void wg_helper_link_ops_unregister(struct rtnl_link_ops *ops)
{
	struct wg_link_hold hold = { .ops = ops };

	init_rcu_head_on_stack(&hold.rcu);
	hold.section = srcu_down_read(&ops->srcu);
	call_rcu_hurry(&hold.rcu, wg_link_hold_end);
	rtnl_link_unregister(ops);
	destroy_rcu_head_on_stack(&hold.rcu);
}
