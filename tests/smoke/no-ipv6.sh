#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the guest, booted with ipv6.disable=1): tests/smoke/no-ipv6.sh
#
# Without the IPv6 address family an interface comes up all the same, on IPv4.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

check "this kernel has no IPv6" test ! -e /proc/net/if_inet6
check "ip link add" ip link add wg0 type wireguard
wg set wg0 private-key <(wg genkey) listen-port 7777 peer "$(wg genkey | wg pubkey)" \
	endpoint 127.0.0.1:7778 allowed-ips 10.9.8.7/32
ip addr add 10.9.8.1/24 dev wg0
check "it comes up" ip link set wg0 up
check "it listens on IPv4" wait_for 5 bash -c "ss -ulnH 'sport = 7777' | grep -q 7777"
v6_peer() { wg set wg0 peer "$(wg genkey | wg pubkey)" endpoint '[::1]:7778' allowed-ips 10.9.8.8/32; }
check "a peer with an IPv6 endpoint can be set" v6_peer
tx() { wg show wg0 transfer | awk '{ n += $3 } END { print n + 0 }'; }
ping -c 1 -W 1 10.9.8.7 >/dev/null 2>&1
check "handshakes are sent over IPv4" test "$(tx)" -gt 0
ping -c 1 -W 1 10.9.8.8 >/dev/null 2>&1
ok "a packet for the IPv6 endpoint does no harm"
check "ip link del" ip link del wg0
verdict
