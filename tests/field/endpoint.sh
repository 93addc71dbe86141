#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the guest): tests/field/endpoint.sh
#
# An agent gives a peer a wrong endpoint first, and the right one a moment later: the handshake begins at once, if
# somebody waits for it, and no place gets more initiations than it would have got.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
trap 'end_case' EXIT

namespaces_up
tunnel_up
# Where nobody answers. What goes there is seen on the cable.
nowhere=192.0.2.7:1000
ip -n left route add 192.0.2.0/24 via "${outer4[right]}"
right=${outer4[right]}:${port[right]}
in_left wg set wg0 peer "${public[right]}" remove

# fresh ENDPOINT [OPTION...]: left's peer is new, and right has forgotten the one it had.
fresh() {
	in_left wg set wg0 peer "${public[right]}" remove
	in_right wg set wg0 peer "${public[left]}" remove
	in_right wg set wg0 peer "${public[left]}" allowed-ips "${inner4[left]}/32"
	in_left wg set wg0 peer "${public[right]}" endpoint "$1" allowed-ips "${inner4[right]}/32" "${@:2}"
}
# packet: one for the peer, which waits for a session.
packet() { in_left ping -q -c 1 -W 0.1 "${inner4[right]}" >/dev/null 2>&1; }
point() { in_left wg set wg0 peer "${public[right]}" endpoint "$@"; }
established() { [[ $(in_right wg show wg0 latest-handshakes | cut -f2) != 0 ]]; }
# soon LIMIT-IN-MS: there is a session by then. Without it it would be 4 to 5.3 s.
soon() {
	local begin now
	begin=$(date +%s%3N)
	until established; do
		now=$(date +%s%3N)
		((now - begin < 20000)) || { echo "none in 20 s"; return 1; }
		sleep 0.02
	done
	now=$(date +%s%3N)
	at_most $((now - begin)) "$1"
}

fresh "$nowhere"; packet; sleep 1.1; point "$right"
check "a packet waits" soon 2500
fresh "$nowhere" persistent-keepalive 25; sleep 1.1; point "$right"
check "a keepalive is wanted" soon 2500
fresh "$nowhere"; packet; sleep 1.1; point "192.0.2.8:1000"; sleep 1.1; point "$right"
check "wrong twice" soon 2500
fresh "$nowhere"; packet; point "$right"
check "at once, but a second after the one before" soon 3500
fresh "$nowhere"; sleep 0.5; point "$right"; sleep 1.5
check "nobody waits: nothing is sent" eval '! established'

# Told two places in turn, as fast as can be, for 12 s.
tcpdump=$(mktemp)
fresh "$nowhere"; sleep 6
ip netns exec left tcpdump -qni outer -U --immediate-mode 'udp and udp[4:2] = 156' >"$tcpdump" 2>"$tcpdump.log" &
pid=$!
wait_for 20 grep -q 'listening on' "$tcpdump.log"
packet
end=$((SECONDS + 12))
while ((SECONDS < end)); do
	point "192.0.2.8:1000"; sleep 0.1
	point "$nowhere"; sleep 0.1
done
kill "$pid"; wait "$pid" 2>/dev/null
# spaced: those to one place are 5 s apart, any two a second (a tick less: the clock is coarse).
spaced() {
	awk '/^[0-9]+:/ { split($1, t, ":"); now = t[1] * 3600 + t[2] * 60 + t[3]; to = $5; n++
		if (n > 1 && now - last < 0.95) { print "two within", now - last, "s"; bad = 1 }
		if (to in at && now - at[to] < 4.95) { print "two to", to, "within", now - at[to], "s"; bad = 1 }
		last = now; at[to] = now }
		END { if (n < 4) { print n + 0, "seen, should be 4 at least"; bad = 1 } exit bad }' "$tcpdump"
}
check "places told in turn: none gets more than it should" spaced
verdict
