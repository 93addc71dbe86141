/* SPDX-License-Identifier: GPL-2.0 */
/* What bindgen reads for crate wgk; sorted. Inlines and macros get a shim in helpers/. */
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <uapi/linux/wireguard.h>
