#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the guest): tests/smoke/ends.sh ours|c
#
# A packet that did what it was for is not traced as a drop (skb:kfree_skb): in
# handshakes, keepalives, pings and bulk transfers the driver drops nothing. With the
# C driver the same, as a check of the check. Drops by others are only shown: the kernel
# has some of its own, such as for packets that GRO had merged into the list of another.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

tracing=/sys/kernel/tracing
tmp=$(mktemp -d)
cleanup() {
	in_right pkill -x iperf3 2>/dev/null
	namespaces_down
	rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 1' TERM
in_driver="\[wireguard(_rs)?\] "

# traced COMMAND...: while it runs, drops are traced; those by the driver are in
# $tmp/ours after, and their number in $dropped.
traced() {
	local status=0 lost
	echo 0 >$tracing/tracing_on
	: >$tracing/trace
	echo 1 >$tracing/events/skb/kfree_skb/enable
	echo 1 >$tracing/tracing_on
	"$@" >"$tmp/out" 2>&1 || status=$?
	echo 0 >$tracing/tracing_on
	echo 0 >$tracing/events/skb/kfree_skb/enable
	lost=$(cat $tracing/per_cpu/cpu*/stats | awk '/^(overrun|dropped events)/ { n += $NF } END { print n }')
	grep ' kfree_skb: ' $tracing/trace >"$tmp/all"
	grep -E "$in_driver" "$tmp/all" >"$tmp/ours"
	dropped=$(wc -l <"$tmp/ours")
	note "$(wc -l <"$tmp/all") drops, $dropped of them the driver's, $lost not recorded"
	sed 's/.*location=/#   /' "$tmp/all" | sort | uniq -c | sort -rn | head -n 5
	((status == 0)) || tail -n 5 "$tmp/out" | sed 's/^/#   /'
	((lost == 0)) || status=1
	return "$status"
}
# nothing_dropped NAME COMMAND...
nothing_dropped() {
	local name=$1
	shift
	traced "$@" && ((dropped == 0)) && ok "$name" && return
	not_ok "$name"
	sed 's/.*protocol=/#   /' "$tmp/ours" | sort | uniq -c | head -n 10
}
received() { ip -n "$1" -s -j link show wg0 | jq '.[0].stats64.rx.packets'; }
received_at_least() { (($(received "$1") >= $2)); }
handshakes() {
	local _
	for _ in 1 2 3; do
		# Going down, it loses its IPv6 address (and what is staged: nothing is).
		ip -n left link set wg0 down && ip -n left link set wg0 up &&
			ip -n left addr add "${inner6[left]}/64" dev wg0 nodad &&
			in_left ping -q -c 1 -W 10 "${inner4[right]}" || return
	done
}
keepalives() {
	local from
	from=$(received right)
	in_left wg set wg0 peer "${public[right]}" persistent-keepalive 1
	wait_for 60 received_at_least right $((from + 8)) || return
	in_left wg set wg0 peer "${public[right]}" persistent-keepalive 0
}
pings() {
	in_left ping -q -c 20 -i 0.05 -W 10 "${inner4[right]}" &&
		in_right ping -6 -q -c 20 -i 0.05 -W 10 "${inner6[left]}"
}
# Both ways, so that bursts are cut into segments here, and merged there.
bulk() { in_left iperf3 -c "${inner4[right]}" -n 1M && in_left iperf3 -6 -R -c "${inner6[right]}" -n 1M; }

check "the driver in use is $1" test "$(driver_loaded)" = "$1"
namespaces_up
# Not in check's subshell: the keys are wanted here.
tunnel_up && ok "two interfaces" || not_ok "two interfaces"
nothing_dropped "the first handshake" in_left ping -q -c 1 -W 10 "${inner4[right]}"
nothing_dropped "handshakes" handshakes
nothing_dropped "keepalives" keepalives
nothing_dropped "pings" pings
ip netns exec right iperf3 -s -D >/dev/null 2>&1
check "the server listens" wait_for 20 bash -c "ip netns exec right ss -Hltn | grep -q :5201"
nothing_dropped "bulk" bulk

# And what is a loss is traced as one, with ours.
junk() {
	local _
	for _ in 1 2 3; do
		in_left bash -c "echo no message of ours >/dev/udp/${outer4[right]}/${port[right]}" || return
	done
}
if [[ $1 == ours ]]; then
	traced junk && ((dropped == 3)) && ok "three datagrams that are no messages are three drops" ||
		not_ok "three datagrams that are no messages are three drops"
fi
verdict
