// SPDX-License-Identifier: GPL-2.0
#include <linux/jiffies.h>
#include <linux/timekeeping.h>
#include <linux/timer.h>

/*
 * Arms for a moment of the coarse monotonic clock, never early: the current
 * jiffy is partly over, so it does not count, and the rest is rounded up.
 */
void wg_helper_timer_arm_mono(struct timer_list *timer, u64 at_ns)
{
	u64 now = ktime_get_coarse_ns(), ticks = 0;

	if (at_ns > now)
		ticks = min_t(u64, nsecs_to_jiffies64(at_ns - now) + 2,
			      MAX_JIFFY_OFFSET);
	mod_timer(timer, jiffies + (unsigned long)ticks);
}
