// SPDX-License-Identifier: GPL-2.0
#include <linux/timekeeping.h>

u64 wg_helper_ktime_get_coarse_boottime_ns(void)
{
	return ktime_get_coarse_boottime_ns();
}

u64 wg_helper_ktime_get_coarse_ns(void)
{
	return ktime_get_coarse_ns();
}
