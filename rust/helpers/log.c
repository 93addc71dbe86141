// SPDX-License-Identifier: GPL-2.0
#include <linux/jump_label.h>
#include <linux/kstrtox.h>
#include <linux/moduleparam.h>
#include <linux/net.h>
#include <linux/sysfs.h>

/*
 * The switch of the debug lines. module!'s parameters can neither be read nor
 * written in sysfs, and know nothing of static keys; hence this one is in C.
 *
 * In a struct because that is what Rust's static_branch_unlikely!() wants.
 */
struct wg_debug_switch {
	struct static_key_false key;
};

struct wg_debug_switch wg_debug_switch = { .key = STATIC_KEY_FALSE_INIT };

static int wg_debug_objects_set(const char *val, const struct kernel_param *kp)
{
	bool on = true;
	int ret = val ? kstrtobool(val, &on) : 0;

	if (ret)
		return ret;
	if (on)
		static_branch_enable(&wg_debug_switch.key);
	else
		static_branch_disable(&wg_debug_switch.key);
	return 0;
}

static int wg_debug_objects_get(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "%c\n",
			  static_key_enabled(&wg_debug_switch.key) ? 'Y' : 'N');
}

static const struct kernel_param_ops wg_debug_objects_ops = {
	.flags = KERNEL_PARAM_OPS_FL_NOARG,
	.set = wg_debug_objects_set,
	.get = wg_debug_objects_get,
};

module_param_cb(debug_objects, &wg_debug_objects_ops, NULL, 0644);
__MODULE_PARM_TYPE(debug_objects, "bool");
MODULE_PARM_DESC(debug_objects,
		 "log the creation and destruction of interfaces, peers and keypairs, and why packets are dropped (default: off)");
