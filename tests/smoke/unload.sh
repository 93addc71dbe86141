#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the guest): tests/smoke/unload.sh [ours|c] [ROUNDS]
#
# Unloads the module with interfaces up and traffic flowing, again and again.
# What it must not do (splat, leak, hang) shows in the kernel log and in the
# memory that stays in use.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

driver=${1:-ours} rounds=${2:-20}
traffic=()
stop_traffic() {
	((${#traffic[@]} == 0)) || kill "${traffic[@]}" 2>/dev/null
	wait "${traffic[@]}" 2>/dev/null
	traffic=()
}
cleanup() { stop_traffic; namespaces_down; }
trap cleanup EXIT

# received: inner bytes the right end has counted.
received() { ip -n right -s -j link show wg0 | jq '.[0].stats64.rx.bytes'; }
flowing() { (($(received) > $1)); }

# one_round: up, traffic both ways, and the module away under it.
one_round() {
	local before rest
	[[ $(driver_loaded) == "$driver" ]] || driver_load "$driver" || { echo "insmod failed"; return 1; }
	tunnel_up || { echo "no interfaces"; return 1; }
	# One more, with nothing configured, and one that is down.
	ip -n left link add wg1 type wireguard && ip -n left link set wg1 up
	ip -n right link add wg1 type wireguard
	in_left ping -q -c 1 -W 5 "${inner4[right]}" >/dev/null || { echo "no traffic before"; return 1; }
	before=$(received)
	ip netns exec left ping -q -f "${inner4[right]}" >/dev/null 2>&1 &
	traffic+=($!)
	ip netns exec right ping -q -f -s 1200 "${inner6[left]}" >/dev/null 2>&1 &
	traffic+=($!)
	wait_for 10 flowing $((before + 20000)) || { echo "no traffic in flight"; return 1; }
	driver_unload "$driver" || { echo "rmmod failed"; return 1; }
	[[ $(driver_loaded) == none ]] || { echo "the module is still there"; return 1; }
	rest=$(ip -n left -o link show type wireguard; ip -n right -o link show type wireguard)
	[[ ! $rest ]] || { echo "interfaces stayed: $rest"; return 1; }
	stop_traffic
	return 0
}

free_kib() {
	echo 3 >/proc/sys/vm/drop_caches
	awk '/^MemAvailable/ { print $2 }' /proc/meminfo
}

namespaces_up
done=0 why= first=0
for ((round = 1; round <= rounds; round++)); do
	if ! why=$(one_round 2>&1); then
		note "round $round: $why"
		break
	fi
	# The first rounds fill caches of the kernel's own.
	((round != 3)) || first=$(free_kib)
	done=$round
done
check "unloaded $rounds times with interfaces up and traffic flowing" test "$done" -eq "$rounds"
if ((rounds > 3 && done == rounds)); then
	# MemAvailable wanders by some 10 MiB from run to run, up and
	# down; smaller leaks are for kmemleak (scripts/sanitize) or more ROUNDS.
	limit=$((12288 + 200 * (rounds - 3)))
	# What waits for a grace period or lies in a CPU's own lists comes back; a leak does not.
	for ((i = 0; i < 20; i++)); do
		sleep 1
		lost=$((first - $(free_kib)))
		((lost >= limit)) || break
	done
	note "memory in use grew by $lost KiB in $((rounds - 3)) rounds"
	check "no memory stayed behind" test "$lost" -lt "$limit"
fi
# It can be used again afterwards; whoever comes next finds it loaded.
check "loads once more" driver_load "$driver"
verdict
