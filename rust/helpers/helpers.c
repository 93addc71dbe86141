// SPDX-License-Identifier: GPL-2.0
/*
 * Shims for inlines and macros that bindgen cannot see, one file per subsystem.
 * `wg_helper_NAME` appears in Rust as `bindings::NAME`.
 */
#include "batch.c"
#include "cpu.c"
#include "crypto.c"
#include "genetlink.c"
#include "hashtable.c"
#include "lock.c"
#include "log.c"
#include "module.c"
#include "napi.c"
#include "netdevice.c"
#include "netns.c"
#include "notifier.c"
#include "rcu.c"
#include "rtnl.c"
#include "siphash.c"
#include "skbuff.c"
#include "slab.c"
#include "time.c"
#include "udp_tunnel.c"
#include "workqueue.c"
