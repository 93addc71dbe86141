/* SPDX-License-Identifier: GPL-2.0 */
/* What bindgen reads for crate wgk; sorted. Inlines and macros get a shim in helpers/. */
#include <crypto/blake2s.h>
#include <crypto/chacha20poly1305.h>
#include <crypto/curve25519.h>
#include <linux/netdevice.h>
#include <linux/random.h>
#include <linux/skbuff.h>
#include <uapi/linux/wireguard.h>
