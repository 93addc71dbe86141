#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the guest, two CPUs): tests/field/hogged.sh
#
# A real-time task has a CPU and does not let go of it. Nothing waits for that CPU: what is to be done for
# the tunnel is done on another one, before anything is repeated, and before anything else comes.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
hog=
finish() {
	[[ -z $hog ]] || { kill "$hog"; wait "$hog" 2>/dev/null; }
	end_case
}
trap finish EXIT

check "two CPUs at least" test "$(nproc)" -ge 2
namespaces_up
tunnel_up
check "a tunnel" pings left "${inner4[right]}"

# Whatever is not a real-time task is kept from CPU 1, for good.
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
echo -1 >/proc/sys/kernel/sched_rt_runtime_us
# Who waits for that CPU for long is no fault here.
watchdog=/sys/module/workqueue/parameters/watchdog_thresh
[[ ! -w $watchdog ]] || echo 0 >$watchdog
for server in /sys/kernel/debug/sched/*_server/cpu1/runtime; do echo 0 >"$server"; done 2>/dev/null
exec {begun}< <(exec taskset -c 1 chrt -f 50 sh -c 'echo $$; while :; do :; done')
read -r -t 20 -u "$begun" hog
check "CPU 1 is held up" test -n "$hog"
taskset -pc 0 $$ >/dev/null

# rtt OPTION...: the longest time to an answer of those that must all come, in ms.
rtt() {
	local out
	out=$(in_left ping -q "$@" "${inner4[right]}") || { echo "$out"; return 1; }
	grep -q ' 0% packet loss' <<<"$out" || { echo "$out"; return 1; }
	sed -nE 's|.*= [0-9.]+/[0-9.]+/([0-9]+).*|\1|p' <<<"$out"
}
# within MS OPTION...: as rtt, and it is less.
within() {
	local longest
	longest=$(rtt "${@:2}") || { echo "$longest"; return 1; }
	((longest < $1)) || { echo "one took $longest ms"; return 1; }
}
anew() {
	in_left wg set wg0 peer "${public[right]}" remove
	in_left wg set wg0 peer "${public[right]}" allowed-ips "${inner4[right]}/32" endpoint "${outer4[right]}:${port[right]}"
}
handshakes() {
	local _
	for _ in {1..8}; do
		anew
		# An initiation is repeated after 5 s.
		within 5000 -c 1 -W 20 || return
	done
}
check "eight handshakes, none of them repeated" handshakes
# Three packets each, so that they go to a worker.
check "a few packets now and then: each is answered before the next" within 1000 -c 12 -i 1 -s 4000 -W 20
check "a stream, without loss" rtt -f -c 1000 -s 1000 -W 20
check "the other way" in_right ping -q -c 8 -i 0.2 -s 4000 -W 20 "${inner4[left]}"
verdict
