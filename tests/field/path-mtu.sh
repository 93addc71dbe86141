#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the guest): tests/field/path-mtu.sh
#
# A link in the middle is narrower than the tunnel supposes: packets that don't fit are refused where they come from,
# once that is asked for, and everything arrives in one piece.
#
#   left 10.0.1.1 ----- 10.0.1.2 middle 10.0.2.2 --(narrow)-- 10.0.2.1 right
#        fd01::1        fd01::2         fd02::2               fd02::1
set -uo pipefail
. "$(dirname "$0")/lib.sh"
trap 'end_case left middle right' EXIT

declare -A private public outside=([left4]=10.0.1.1 [right4]=10.0.2.1 [left6]=fd01::1 [right6]=fd02::1)
inside4=192.168.9 inside6=fd09::

for ns in left middle right; do
	ip netns add "$ns" || exit 1
	ip -n "$ns" link set lo up
done
# cable NS OTHER NET: its end there is NET.1, or fd0NET::1; the other's is .2.
cable() {
	ip link add "$2" netns "$1" type veth peer name "$1" netns "$2"
	ip -n "$1" addr add "10.0.$3.1/24" dev "$2"
	ip -n "$1" addr add "fd0$3::1/64" dev "$2" nodad
	ip -n "$2" addr add "10.0.$3.2/24" dev "$1"
	ip -n "$2" addr add "fd0$3::2/64" dev "$1" nodad
	ip -n "$1" link set "$2" up
	ip -n "$2" link set "$1" up
	ip -n "$1" route add default via "10.0.$3.2"
	ip -n "$1" -6 route add default via "fd0$3::2"
}
cable left middle 1
cable right middle 2
in_ns middle sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
for ns in left right; do
	private[$ns]=$(wg genkey)
	public[$ns]=$(wg pubkey <<<"${private[$ns]}")
done

# tunnel NS OTHER LAST VERSION: wg0 with the address .LAST, to the other's outer address of that version.
tunnel() {
	local endpoint=${outside[$2$4]}:51820
	(($4 == 4)) || endpoint="[${outside[$2$4]}]:51820"
	ip -n "$1" link del wg0 2>/dev/null
	ip -n "$1" link add wg0 type wireguard
	in_ns "$1" wg set wg0 listen-port 51820 private-key <(echo "${private[$1]}") peer "${public[$2]}" \
		endpoint "$endpoint" allowed-ips "$inside4.0/24,$inside6/64"
	ip -n "$1" addr add "$inside4.$3/24" dev wg0
	ip -n "$1" addr add "$inside6$3/64" dev wg0 nodad
	ip -n "$1" link set wg0 up
}
# narrow MTU: the link between the router and right; what the ends had learnt is forgotten.
narrow() {
	ip -n middle link set right mtu "$1"
	ip -n right link set middle mtu "$1"
	for ns in left middle right; do
		ip -n "$ns" route flush cache
		ip -n "$ns" -6 route flush cache
	done
}
auto() { in_ns "$1" python3 "$FIELD/../observe.py" --auto-mtu wg0 "$2"; }
# learnt NS: the longest packet that fits; null: not known.
learnt() { in_ns "$1" python3 "$FIELD/../observe.py" --peers wg0 | jq '.["path-mtu"]'; }
knows() { [[ $(learnt "$1") == "$2" ]]; }
# fragments: how many of them were made, anywhere.
fragments() {
	for ns in left middle right; do
		in_ns "$ns" nstat -asz IpFragCreates Ip6FragCreates
	done | awk '/Frag/ { n += $2 } END { print n + 0 }'
}
# one NS ADDRESS LENGTH [OPTION...]: a packet of that length is answered.
one() {
	local headers=28
	[[ $2 != *:* ]] || headers=48
	in_ns "$1" ping -q -c 1 -W 5 -s $(($3 - headers)) "${@:4}" "$2" >/dev/null
}
# refused NS ADDRESS LENGTH MTU: such a packet is, and its sender's route knows MTU afterwards.
refused() {
	! one "$1" "$2" "$3" -M "do" || { echo "answered"; return 1; }
	ip -n "$1" route get "$2" | grep -q "mtu $4\\b" || { ip -n "$1" route get "$2"; return 1; }
}
# transfer FROM TO ADDRESS: 3 MB by TCP.
transfer() {
	local n
	in_ns "$2" timeout 60 ncat -l --recv-only "$3" 5201 2>/dev/null | wc -c >/tmp/path-mtu.bytes &
	wait_for 20 in_ns "$2" bash -c 'ss -Htln "sport = 5201" | grep -q .' || return
	head -c 3000000 /dev/zero | in_ns "$1" timeout 60 ncat --send-only "$3" 5201
	wait $!
	n=$(</tmp/path-mtu.bytes)
	equal "$n" 3000000
}

# path VERSION MTU LONGEST: a narrow link, with that outside.
path() {
	local outer=$1 longest=$3 before refusals ns to
	note "IPv$outer outside, a link of $2 in the middle"
	narrow 1500
	tunnel left right 1 "$outer"
	tunnel right left 2 "$outer"
	check "the tunnel works" pings left "$inside4.2"
	narrow "$2"
	check "off: a long packet arrives, in fragments" wait_for 20 one left "$inside4.2" 1400 -M "do"
	check "off: nothing is learnt" knows left null
	refusals=$(dropped left wg0 tx-too-big)
	for ns in left right; do
		check "$ns: switched on" auto $ns 1
	done
	check "left: a short one tells what the route takes" one left "$inside4.2" 100
	# Who sends a long one first makes the router speak.
	learn() { one "$1" "$inside4.$2" 1400 -M "do"; knows "$1" "$longest"; }
	check "left: $longest bytes fit" wait_for 20 learn left 2
	# Right is at the narrow link itself, or a router's word is heard as well.
	check "right: $longest bytes fit" wait_for 20 learn right 1
	check "a packet of $longest + 1 is refused" refused left "$inside4.2" $((longest + 1)) "$longest"
	check "and counted" test "$(dropped left wg0 tx-too-big)" -gt "$refusals"
	before=$(fragments)
	check "one of $longest arrives" one left "$inside4.2" "$longest" -M "do"
	for to in "$inside4" "$inside6"; do
		[[ $to == "$inside4" || $longest -ge 1280 ]] || continue
		local dot=.
		[[ $to == "$inside4" ]] || dot=
		check "TCP to right ($to)" transfer left right "$to${dot}2"
		check "TCP to left ($to)" transfer right left "$to${dot}1"
	done
	check "nothing of it was fragmented" equal "$(fragments)" "$before"
	check "what may be fragmented is" one left "$inside4.2" 1400 -M dont
	if ((longest >= 1280)); then
		check "IPv6 inside is refused, too" refused left "${inside6}2" 1400 "$longest"
	else
		check "IPv6 inside is refused if it is above 1280" refused left "${inside6}2" 1400 1280
		check "one of 1280 arrives all the same" one left "${inside6}2" 1280
	fi
	narrow 1500
	check "the link is wide again" wait_for 20 one left "$inside4.2" 1400 -M "do"
	check "off again" auto left 0
	narrow "$2"
	check "a long packet arrives, in fragments" wait_for 20 one left "$inside4.2" 1400 -M "do"
}

# learns LONGEST: left does, by a long packet that makes the router speak.
learns() {
	one left "$inside4.2" 1400 -M "do"
	knows left "$1"
}
# marked: only what has the tunnel's mark goes around the tunnel, as wg-quick has it.
marked() {
	note "IPv4 outside, a way by the tunnel's mark"
	narrow 1500
	tunnel left right 1 4
	tunnel right left 2 4
	in_ns left wg set wg0 fwmark 51820 peer "${public[right]}" allowed-ips 0.0.0.0/0
	in_ns left ip route add default dev wg0 table 51820
	in_ns left ip rule add not fwmark 51820 table 51820
	in_ns left ip rule add table main suppress_prefixlength 0
	in_ns left sysctl -qw net.ipv4.conf.all.src_valid_mark=1
	check "the tunnel works" pings left "$inside4.2"
	narrow 1280
	check "switched on" auto left 1
	check "what the router says is for that way" wait_for 20 learns 1220
	check "TCP" transfer left right "$inside4.2"
	in_ns left ip rule del not fwmark 51820 table 51820
	in_ns left ip rule del table main suppress_prefixlength 0
}
# deaf MODE: routers are not believed.
deaf() {
	note "IPv4 outside, ip_no_pmtu_disc=$1"
	narrow 1500
	in_ns left sysctl -qw "net.ipv4.ip_no_pmtu_disc=$1"
	tunnel left right 1 4
	tunnel right left 2 4
	check "the tunnel works" pings left "$inside4.2"
	narrow 1280
	check "switched on" auto left 1
	check "a long packet arrives, in fragments" wait_for 20 one left "$inside4.2" 1400 -M "do"
	in_ns left sysctl -qw net.ipv4.ip_no_pmtu_disc=0
}
path 4 1280 1220
path 6 1400 1320
marked
deaf 2
if [[ ${FULL:-} ]]; then
	path 4 1400 1340
	path 6 1280 1200
fi
verdict
