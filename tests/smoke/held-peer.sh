#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the guest, two CPUs or more): tests/smoke/held-peer.sh
#
# A removed peer that something still holds, here messages of its for a NAPI
# thread whose CPU never gets to it, with a route of a namespace in its cache:
# the namespace goes all the same, and nobody waits for RTNL meanwhile.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

param=/sys/module/wireguard_rs/parameters/debug_objects
fair=/sys/kernel/debug/sched/fair_server/cpu1/runtime
rt=/proc/sys/kernel/sched_rt_runtime_us
observe=$(dirname "$0")/../observe.py
hog= away=()
cleanup() {
	[[ ! $hog ]] || kill "$hog" 2>/dev/null
	for cpu in "${away[@]}"; do echo 1 >"$cpu/online"; done
	[[ ! ${rt_was-} ]] || echo "$rt_was" >$rt
	[[ ! ${fair_was-} ]] || echo "$fair_was" >$fair
	echo "${param_was:-N}" >$param
	ip netns del other 2>/dev/null
	namespaces_down
}
trap cleanup EXIT

# lines PATTERN: how often the driver said so since this script began.
lines() { log_since | grep -cE "$1"; }
destroyed() { lines 'wg0: Peer [0-9]+ .* destroyed'; }
both_destroyed() { (($(destroyed) == 2)); }
said() { (($(lines "$1"))); }

# two_tunnels KEY: an interface of "left" that lives in "other", with a peer in
# each of two interfaces of "right".
two_tunnels() {
	local key=$1 n
	ip netns add other
	ip -n left link add wg0 type wireguard && ip -n left link set wg0 netns other || return
	ip netns exec other wg set wg0 listen-port 51820 private-key <(echo "$key") || return
	for n in 0 1; do
		ip -n right link add "wg$n" type wireguard
		ip netns exec right wg set "wg$n" listen-port $((51821 + n)) private-key <(echo "${private[$n]}") \
			peer "$(wg pubkey <<<"$key")" allowed-ips "192.168.$((77 + n)).1" || return
		ip -n right addr add "192.168.$((77 + n)).2/24" dev "wg$n"
		ip -n right link set "wg$n" up
		ip -n other addr add "192.168.$((77 + n)).1/24" dev wg0
	done
	for n in 0 1; do
		ip netns exec other wg set wg0 peer "${public[$n]}" endpoint "10.0.0.2:$((51821 + n))" \
			allowed-ips "192.168.$((77 + n)).2" || return
	done
	ip -n other link set wg0 up
}
pings() { ip netns exec other ping -q -i 0.1 -c "$2" -W "$3" "192.168.$((77 + $1)).2"; }

# rtnl_free SECONDS: an interface can be added and deleted by then. Not by
# timeout(1), for who waits for RTNL can't be killed.
rtnl_free() {
	local done=/tmp/held-peer.$BASHPID
	(ip link add held0 type dummy && ip link del held0 && touch "$done") >/dev/null 2>&1 &
	wait_for "$1" test -e "$done"
}

# Ten messages in one packet: on a slow machine each of ten packets would be alone in its tick of the
# clock, and what is alone takes no work item.
burst() {
	ip netns exec right python3 -c '
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_UDP, 103, 1000)  # UDP_SEGMENT
s.sendto(bytes(10000), (sys.argv[1], 9))' "192.168.$((77 + $1)).1"
}
# The kernel lets these be moved, unlike workers.
threads_moved() {
	local thread threads=()
	for thread in /proc/[0-9]*; do
		[[ $(<"$thread/comm") != napi/wg0-* ]] || threads+=("${thread#/proc/}")
	done 2>/dev/null
	((${#threads[@]})) || return
	for thread in "${threads[@]}"; do taskset -pc 1 "$thread" || return; done
}
# waiting: messages of both peers wait for it.
waiting() {
	ip netns exec other python3 "$observe" --peers wg0 | jq -se 'length == 2 and all(."rx-queued" > 0)' >/dev/null
}

param_was=$(<$param)
echo 1 >$param
log_begins
for cpu in /sys/devices/system/cpu/cpu[0-9]*; do
	[[ $cpu =~ cpu[01]$ ]] || { echo 0 >"$cpu/online" && away+=("$cpu"); }
done
check "two CPUs are left" test "$(nproc)" = 2
namespaces_up
for n in 0 1; do
	private[$n]=$(wg genkey)
	public[$n]=$(wg pubkey <<<"${private[$n]}")
done
check "an interface of a namespace that lives in another" two_tunnels "$(wg genkey)"
check "the first pings to one peer" pings 0 10 10
check "the first pings to the other" pings 1 10 10

# From here on nothing but this runs on CPU 1: no ceiling for real-time tasks.
rt_was=$(<$rt)
echo -1 >$rt
if [[ -e $fair ]]; then
	fair_was=$(<$fair)
	echo 0 >$fair
fi
taskset -pc 0 $$ >/dev/null
taskset -c 1 chrt -f 50 bash -c 'while :; do :; done' &
hog=$!
running() { [[ $(ps -o cls= -p "$hog" | tr -d ' ') == FF ]]; }
check "a CPU is kept from its work" wait_for 20 running
check "whoever delivers is to do that there" threads_moved
for n in 0 1; do
	check "a burst of peer $n" burst $n
done
check "which nobody delivers" wait_for 30 waiting
for n in 0 1; do
	check "peer $n is removed" timeout 30 ip netns exec other wg set wg0 peer "${public[$n]}" remove
done
check "the namespace is given up" timeout 30 ip netns del left
check "its exit hook is called" wait_for 60 said 'wg0: Creating namespace exiting'
check "RTNL is free" rtnl_free 120
check "a removed peer is still held" test "$(destroyed)" -lt 2

kill "$hog" && wait "$hog" 2>/dev/null
hog=
check "both peers are destroyed" wait_for 60 both_destroyed
check "RTNL is free" rtnl_free 120
verdict
