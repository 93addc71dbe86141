#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the guest, three CPUs, booted with isolcpus=2): tests/smoke/placement.sh
#
# The driver's work stays off an isolated CPU, even if who sends runs there, and
# follows the others when they go and come back under traffic.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

tracing=/sys/kernel/tracing
tmp=$(mktemp -d)

# traced COMMAND...: while it runs, which CPUs the driver's work is on. Sets
# work[N] to how often it began on CPU N.
declare -A work=()
traced() {
	local cpu status=0
	echo 0 >$tracing/tracing_on
	: >$tracing/trace
	echo 1 >$tracing/events/workqueue/workqueue_execute_start/enable
	echo 1 >$tracing/tracing_on
	"$@" >"$tmp/out" 2>&1 || status=$?
	echo 0 >$tracing/tracing_on
	echo 0 >$tracing/events/workqueue/workqueue_execute_start/enable
	for cpu in 0 1 2; do
		work[$cpu]=$(grep -c '\[wireguard' $tracing/per_cpu/cpu$cpu/trace)
	done
	note "work items begun on CPU 0, 1, 2: ${work[0]} ${work[1]} ${work[2]}"
	((status == 0)) || tail -n 5 "$tmp/out"
	return "$status"
}
# One after the other: many of them in a tick of the clock, of which the first may take no work item.
# Not short ones, of which none would.
pings() { ip netns exec left taskset -c "$1" ping -q -f -c 2000 -s 1000 -W 10 192.168.77.2; }
bulk() { ip netns exec left taskset -c "$1" iperf3 -c 192.168.77.2 -t 3; }
online() { echo "$2" >/sys/devices/system/cpu/cpu"$1"/online; }
lossless() { grep -q ' 0% packet loss' "$tmp/out"; }

check "CPU 2 is isolated" grep -qx 2 /sys/devices/system/cpu/isolated
namespaces_up
check "two interfaces" tunnel_up
ip netns exec right iperf3 -s -D >/dev/null 2>&1
check "the server listens" wait_for 20 bash -c "ip netns exec right ss -Hltn | grep -q :5201"
check "the first pings" ip netns exec left ping -q -c 3 -W 10 192.168.77.2

for from in 0 2; do
	traced pings $from && lossless && ok "pings from CPU $from" || not_ok "pings from CPU $from"
	check "no work on the isolated CPU" test "${work[2]}" -eq 0
	check "work on both others" test "${work[0]}" -gt 0 -a "${work[1]}" -gt 0
	traced bulk $from && ok "bulk from CPU $from" || not_ok "bulk from CPU $from"
	check "no work on the isolated CPU" test "${work[2]}" -eq 0
	check "work on both others" test "${work[0]}" -gt 0 -a "${work[1]}" -gt 0
done
# With pauses, so that each is the first of its tick: elsewhere these take no worker.
now_and_then() { ip netns exec left taskset -c 2 ping -q -c 40 -i 0.05 -W 10 192.168.77.2; }
traced now_and_then && lossless && ok "pings from CPU 2 now and then" || not_ok "pings from CPU 2 now and then"
check "a worker for each" test $((work[0] + work[1])) -ge 40
check "no work on the isolated CPU" test "${work[2]}" -eq 0
# New sessions, too.
rekeyed() {
	local _
	for _ in 1 2 3; do
		ip -n left link set wg0 down && ip -n left link set wg0 up &&
			ip netns exec left taskset -c 2 ping -q -c 2 -W 10 192.168.77.2 || return
	done
}
traced rekeyed && ok "handshakes from CPU 2" || not_ok "handshakes from CPU 2"
check "no work on the isolated CPU" test "${work[2]}" -eq 0

# CPU 1 goes and comes while packets flow. Not more of them than any queue on the way
# takes, even if who serves it is away for a while: none is to be lost.
ip netns exec left iperf3 -c 192.168.77.2 -w 256K -t 25 -J >"$tmp/bulk" 2>&1 &
bulk=$!
sleep 1
for _ in 1 2 3; do
	check "CPU 1 goes offline" online 1 0
	traced pings 0 && lossless && ok "pings go on" || not_ok "pings go on"
	check "CPU 0 does the work" test "${work[0]}" -gt 0
	check "CPU 1 comes back" online 1 1
	traced pings 0 && lossless && ok "pings go on" || not_ok "pings go on"
	check "CPU 1 works again" test "${work[1]}" -gt 0
	check "no work on the isolated CPU" test "${work[2]}" -eq 0
done
wait $bulk
check "the transfer came to its end" bash -c "jq -e '.end.sum_received.bytes > 1000000' $tmp/bulk"
namespaces_down
verdict
