#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the guest): tests/field/bind.sh
#
# Sockets that are bound to one of two uplinks, to an address, to a VRF; and what happens when that goes.
#
#   home up1 10.1.0.1 fd01::1 ----- 10.1.0.2 fd01::2 world
#        up2 10.2.0.1 fd02::1 ----- 10.2.0.2 fd02::2 (lo: 10.9.0.1 fd09::1)
set -uo pipefail
. "$(dirname "$0")/lib.sh"
trap 'end_case home world inner' EXIT

hosts home world inner
# uplink N: what goes to world by it, when there is none with a lower number.
uplink() {
	local end
	ip link add "up$1" netns home type veth peer name "up$1" netns world
	for ns in home world; do
		end=$([[ $ns == home ]] && echo 1 || echo 2)
		ip -n "$ns" addr add "10.$1.0.$end/24" dev "up$1"
		ip -n "$ns" addr add "fd0$1::$end/64" dev "up$1" nodad
	done
	ip -n home link set "up$1" up
	ip -n world link set "up$1" up
	ip -n home route add 10.9.0.1 via "10.$1.0.2" metric "$1"
	ip -n home -6 route add fd09::1 via "fd0$1::2" metric "$1"
}
uplink 1
uplink 2
ip -n world addr add 10.9.0.1/32 dev lo
ip -n world addr add fd09::1/128 dev lo
declare -A private public
for ns in home world; do
	private[$ns]=$(wg genkey)
	public[$ns]=$(wg pubkey <<<"${private[$ns]}")
	ip -n $ns link add wg0 type wireguard
done
in_ns world wg set wg0 listen-port 51820 private-key <(echo "${private[world]}") peer "${public[home]}" allowed-ips 192.168.9.1/32
in_ns home wg set wg0 listen-port 51821 private-key <(echo "${private[home]}") peer "${public[world]}" allowed-ips 192.168.9.0/24
ip -n home addr add 192.168.9.1/24 dev wg0
ip -n world addr add 192.168.9.2/24 dev wg0
ip -n home link set wg0 up
ip -n world link set wg0 up

observe() { in_ns "${at:-home}" python3 "$FIELD/../observe.py" "$@"; }
binds() { observe --bind wg0 "$@"; }
# shows FIELD: of the interface, as device-get has it; null: it has not got it.
shows() { observe wg0 | jq -r ".[\"$1\"]"; }
towards() { in_ns home wg set wg0 peer "${public[world]}" endpoint "$1:51820"; }
# answered [NS]: a ping is, through the tunnel.
answered() {
	local to=192.168.9.2
	[[ ${1:-home} == home ]] || to=192.168.9.1
	in_ns "${1:-home}" ping -q -c 3 -i 0.1 -W "${patience:-20}" "$to" | grep -q ' 3 received'
}
unanswered() { ! patience=1 answered "$@"; }
# comes_from ADDRESS: so world sees home after a ping to $outside. Not at once on a slow machine: when nothing has come for
# some time, world calls, from where and by what uplink it thinks best, which home then uses as far as it may.
comes_from() { wait_for 60 once_from "$1" || once_from "$1"; }
once_from() {
	towards "$outside"
	answered || { echo "no answer"; return 1; }
	equal "$(in_ns world wg show wg0 endpoints | cut -f2 | sed 's/:[0-9]*$//')" "$1"
}
# unheard PLACE: who calls home there is not (and home has not just called, which would tell where it is).
unheard() {
	in_ns world wg set wg0 peer "${public[home]}" endpoint "$1"
	unanswered world
}
# refused WORD TO...: binding is, with that errno's words, and nothing has changed.
refused() {
	local before said
	before=$(observe wg0 | jq -c 'with_entries(select(.key | startswith("bind")))')
	! said=$(binds "${@:2}" 2>&1) || { echo "was bound"; return 1; }
	[[ $said == *"$1"* ]] || { echo "$said"; return 1; }
	equal "$(observe wg0 | jq -c 'with_entries(select(.key | startswith("bind")))')" "$before"
}
# counts REASON COMMAND...: it drops something for that.
counts() {
	local before after
	before=$(dropped home wg0 "$1")
	"${@:2}" || return
	after=$(dropped home wg0 "$1")
	((after > before)) || { echo "$before before, $after after"; return 1; }
}

for v in 4 6; do
	outside=10.9.0.1
	from() { echo "10.$1.0.1"; }
	if ((v == 6)); then
		outside="[fd09::1]"
		from() { echo "[fd0$1::1]"; }
	fi
	binds index=0
	check "IPv$v: bound to nothing, the routes decide" comes_from "$(from 1)"
	check "IPv$v: the other uplink can be bound to" binds dev=up2
	check "IPv$v: that is where it leaves, in spite of the routes" comes_from "$(from 2)"
	check "IPv$v: what comes another way is not heard" wait_for 60 unheard "$(from 1):51821"
	check "IPv$v: and that way, it is" comes_from "$(from 2)"
	in_ns home wg set wg0 listen-port 5182$v
	check "IPv$v: with another port, it stays" comes_from "$(from 2)"
	ip -n home link set wg0 down
	ip -n home link set wg0 up
	check "IPv$v: down and up, it stays" comes_from "$(from 2)"
	check "IPv$v: and is shown" equal "$(shows bind-ifname)" up2
	in_ns home wg set wg0 listen-port 51821
done
check "a name and an index are too much" refused descriptor dev=up1 index=1
check "no such device" refused "No such device or address" dev=up3
check "no such index" refused "No such device or address" index=4294967295
check "the interface itself" refused "symbolic links" dev=wg0
check "an address of nobody here" refused "Cannot assign" v4=10.1.0.77
check "one of IPv6" refused "Cannot assign" v6=fd01::77
check "one of many" refused "Cannot assign" v4=224.0.0.1
check "one of many, IPv6" refused "Cannot assign" v6=ff02::1
check "an address of the other uplink's" refused "Cannot assign" dev=up2 v4=192.0.2.1
check "after all of that it works as before" comes_from "[fd02::1]"

# ------------------------------------------------------------------ addresses
outside=10.9.0.1
check "an address can be bound to, without a device" binds index=0 v4=10.2.0.1 v6=fd02::1
check "IPv4: it is what is sent from, whatever the routes prefer" comes_from 10.2.0.1
outside="[fd09::1]"
check "IPv6: the same" comes_from "[fd02::1]"
check "both are shown" equal "$(shows bind-ipv4) $(shows bind-ipv6)" "0a020001 fd020000000000000000000000000001"
outside=10.9.0.1
check "IPv4 again" comes_from 10.2.0.1
ip -n home addr del 10.2.0.1/24 dev up2
check "the address goes: nothing leaves, and that is counted" counts tx-no-route unanswered
ip -n home addr add 10.2.0.1/24 dev up2
ip -n home route replace 10.9.0.1 via 10.2.0.2 metric 2
check "it is back" comes_from 10.2.0.1
check "bound to nothing" binds v4=0.0.0.0 v6=::
check "the routes decide again" comes_from 10.1.0.1

# ------------------------------------------------------- the device goes away
# goes WAY...: up2 does, in that way.
goes() {
	local events=/tmp/bind-events
	binds dev=up2
	comes_from 10.2.0.1 || return
	ip netns exec home python3 "$FIELD/../observe.py" --join >"$events" 2>&1 &
	local listener=$!
	wait_for 20 in_ns home awk '$2 == 16 && $4 != "00000000" { found = 1 } END { exit !found }' /proc/net/netlink || return
	"$@"
	wait_for 20 grep -q '^device-changed .*"cause": "interface"' "$events"
	local told=$?
	kill "$listener"
	cat "$events"
	return "$told"
}
down_up() {
	ip -n home link set wg0 down
	ip -n home link set wg0 up 2>&1
}
check "the device is deleted, and that is told" goes ip -n home link del up2
check "device-get says so" equal "$(shows bind-gone) $(shows bind-ifname)" "true null"
check "nothing leaves any more, also not another way" counts tx-no-socket unanswered
uplink 2
check "another device of that name is another device" unanswered
check "an address alone does not bring it back" refused "No such device or address" v4=10.1.0.1
check "nor does a port" in_ns home wg set wg0 listen-port 51899
check "which is kept" equal "$(in_ns home wg show wg0 listen-port)" 51899
said=$(down_up)
check "the interface does not come up without it" grep -q "No such device" <<<"$said"
check "bound to the new one" binds dev=up2
ip -n home link set wg0 up
check "it works" comes_from 10.2.0.1
check "and has that port" equal "$(in_ns home wg show wg0 listen-port)" 51899
check "the device moves to another namespace, and that is told" goes ip -n home link set up2 netns inner
check "nothing leaves that way" unanswered
check "nothing is bound to" binds index=0
check "and it works without binding" comes_from 10.1.0.1
ip -n inner link del up2
uplink 2

# ------------------------------------------------- seen from another namespace
binds dev=up2
ip -n home link set wg0 netns inner
ip -n inner addr add 192.168.9.1/24 dev wg0
ip -n inner link set wg0 up
at=inner
check "an interface that has moved says nothing of where its sockets are" equal "$(shows bind-ifindex) $(shows bind-ifname)" "null null"
in_ns inner ping -q -c 3 -i 0.1 -W 20 192.168.9.2 >/dev/null
check "and they are where they were" equal "$(in_ns world wg show wg0 endpoints | cut -f2)" 10.2.0.1:51899
check "from there it can be bound, to a device of theirs" binds dev=up1
at=home
ip -n inner link set wg0 netns home
ip -n home addr add 192.168.9.1/24 dev wg0
ip -n home link set wg0 up
check "back home, that is shown" equal "$(shows bind-ifname)" up1
check "and so it is" comes_from 10.1.0.1

# Root of a user namespace may configure an interface that he was given, and nothing of where its sockets are.
unshare --user --map-root-user --net sleep 1000 >/dev/null 2>&1 &
stranger=$!
his_own() { [[ $(readlink "/proc/$stranger/ns/net") != "$(readlink /proc/self/ns/net)" && -s /proc/$stranger/uid_map ]]; }
wait_for 20 his_own
ip -n home link add wg1 type wireguard
ip -n home link set wg1 netns $stranger
as_stranger() { nsenter -t "$stranger" -U -n "$@"; }
check "he may configure peers" as_stranger wg set wg1 private-key <(wg genkey) peer "${public[world]}" allowed-ips 10.0.0.0/8
check "and look" as_stranger python3 "$FIELD/../observe.py" wg1
for change in "--bind wg1 v4=10.1.0.1" "--bind wg1 index=0" "wg1 local-gso=1" "wg1 copy-dscp=1" "--auto-mtu wg1 1"; do
	# shellcheck disable=SC2086
	check "not permitted: $change" grep -q "not permitted" <<<"$(as_stranger python3 "$FIELD/../observe.py" $change 2>&1)"
done
kill "$stranger"

# ------------------------------------------------------------------------ VRF
if modprobe vrf 2>/dev/null && ip -n home link add red type vrf table 10; then
	ip -n home link set red up
	ip -n home link set up2 master red
	ip -n home addr replace fd02::1/64 dev up2 nodad
	ip -n home route add 10.9.0.1 via 10.2.0.2 table 10
	ip -n home -6 route add fd09::1 via fd02::2 table 10
	check "a VRF can be bound to" binds dev=red
	check "IPv4: it leaves by a device in that" comes_from 10.2.0.1
	outside="[fd09::1]"
	check "IPv6: it does" comes_from "[fd02::1]"
	check "what comes there is heard" answered world
	outside=10.9.0.1
	check "its routes stay cached: no source is forgotten" comes_from 10.2.0.1
	ip -n home link del red
	check "the VRF is deleted: nothing leaves" unanswered
	binds index=0
	check "without it, the routes decide" comes_from 10.1.0.1
else
	skip "sockets that are bound to a VRF" "this kernel has no module vrf"
fi
verdict
