#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the guest): tests/smoke/netpoll.sh
#
# netconsole, which sends with interrupts off and from wherever the kernel has
# something to say, is refused on our interfaces.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

cleanup() {
	modprobe -rq netconsole
	ip link del wg0 2>/dev/null
}
trap cleanup EXIT

# since_then PATTERN: the kernel said so since this script began.
since_then() { log_since | grep -qE "$1"; }

if ! modprobe -nq netconsole; then
	skip "netconsole on an interface of ours" "this kernel has no module netconsole"
	exit 0
fi
log_begins
check "an interface with an address" eval 'ip link add wg0 type wireguard && ip addr add 10.9.9.1/24 dev wg0 && ip link set wg0 up'
# Whether the module stays without a target depends on the kernel's configuration.
modprobe -q netconsole netconsole=6665@10.9.9.1/wg0,6666@10.9.9.2/02:00:00:00:00:01
check "netconsole asked for it" wait_for 15 since_then "interface name 'wg0'"
check "and was refused" wait_for 15 since_then "wg0 doesn't support polling"
verdict
