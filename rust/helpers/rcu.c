// SPDX-License-Identifier: GPL-2.0
#include <linux/preempt.h>
#include <linux/rcupdate.h>

/*
 * Neither in atomic context nor, if this kernel can tell, in a read-side
 * critical section. in_atomic() is unreliable without CONFIG_PREEMPT_COUNT,
 * where it overlooks spin locks; the counts of softirqs and hardirqs are always
 * there.
 */
bool wg_helper_may_wait(void)
{
	return !in_atomic() && !irqs_disabled() && !rcu_preempt_depth();
}
