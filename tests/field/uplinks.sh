#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the guest): tests/field/uplinks.sh
#
# A server with two uplinks, where the routes prefer the first: who calls by the second is answered by that, as
# long as a route leads there.
#
#   server w1 10.1.0.2 fd01::2 ----- 10.1.0.1 r1 router r3 10.3.0.1 ----- 10.3.0.2 client
#          w2 10.2.0.2 fd02::2 ----- 10.2.0.1 r2               fd03::1       fd03::2
set -uo pipefail
. "$(dirname "$0")/lib.sh"
trap 'end_case server router client' EXIT

hosts server router client
in_ns router sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
# cable NS DEVICE N: to the router, whose end is rN.
cable() {
	ip link add "$2" netns "$1" type veth peer name "r$3" netns router
	ip -n "$1" addr add "10.$3.0.2/24" dev "$2"
	ip -n "$1" addr add "fd0$3::2/64" dev "$2" nodad
	ip -n router addr add "10.$3.0.1/24" dev "r$3"
	ip -n router addr add "fd0$3::1/64" dev "r$3" nodad
	ip -n "$1" link set "$2" up
	ip -n router link set "r$3" up
}
cable server w1 1
cable server w2 2
cable client e 3
# routes N: to everywhere by uplink N.
routes() {
	ip -n server route replace default via "10.$1.0.1" dev "w$1" metric $(($1 * 10))
	ip -n server -6 route replace default via "fd0$1::1" dev "w$1" metric $(($1 * 10))
}
no_routes() {
	ip -n server route del default via "10.$1.0.1"
	ip -n server -6 route del default via "fd0$1::1"
}
routes 1
routes 2
ip -n client route add default via 10.3.0.1
ip -n client -6 route add default via fd03::1
declare -A private public
for ns in server client; do
	private[$ns]=$(wg genkey)
	public[$ns]=$(wg pubkey <<<"${private[$ns]}")
	ip -n $ns link add wg0 type wireguard
	in_ns $ns wg set wg0 listen-port 1000 private-key <(echo "${private[$ns]}")
done
ip -n server addr add 10.8.0.1/24 dev wg0
ip -n client addr add 10.8.0.2/24 dev wg0
ip -n server link set wg0 up
ip -n client link set wg0 up

# outside VERSION N: the server's address at uplink N, as wg has it.
outside() { if (($1 == 4)); then echo "10.$2.0.2"; else echo "[fd0$2::2]"; fi; }
# anew VERSION N: both forget each other, and the client is to call the server at uplink N.
anew() {
	in_ns server wg set wg0 peer "${public[client]}" remove
	in_ns client wg set wg0 peer "${public[server]}" remove
	in_ns server wg set wg0 peer "${public[client]}" allowed-ips 10.8.0.2/32
	in_ns client wg set wg0 peer "${public[server]}" allowed-ips 10.8.0.1/32 endpoint "$(outside "$1" "$2"):1000"
}
# answered NS ADDRESS: three pings.
answered() { in_ns "$1" ping -q -c 3 -i 0.1 -W 20 "$2" | grep -q ' 3 received'; }
# left_by DEVICE: datagrams that have left by it.
left_by() { in_ns server cat "/sys/class/net/$1/statistics/tx_bytes"; }
# by N COMMAND...: it succeeds, and what the server sends meanwhile leaves by uplink N, but for what any host has to say.
by() {
	local other=$((3 - $1)) before after
	before=$(left_by "w$other")
	"${@:2}" || { echo "no answer"; return 1; }
	after=$(left_by "w$other")
	# Six messages of 128 bytes, and what is around them.
	((after - before < 700)) || { echo "$((after - before)) bytes left by w$other"; return 1; }
}
# told VERSION N: where the client thinks that the server is.
told() { equal "$(in_ns client wg show wg0 endpoints | cut -f2)" "$(outside "$1" "$2"):1000"; }
twice() { answered client 10.8.0.1 && answered client 10.8.0.1; }

for v in 4 6; do
	for n in 1 2; do
		anew $v $n
		check "IPv$v: who calls by uplink $n" by $n twice
		check "IPv$v: is answered from the address that was called" told $v $n
	done
	no_routes 2
	check "IPv$v: no route leads there any more: the other uplink" by 1 twice
	routes 2
	anew $v 2
	check "IPv$v: there is one again" by 2 twice
	# The user says where the client is: then the routes decide, as long as it does not call.
	in_ns server wg set wg0 peer "${public[client]}" endpoint "$([[ $v == 4 ]] && echo 10.3.0.2 || echo "[fd03::2]"):1000"
	check "IPv$v: what was set by the user goes by the routes" by 1 answered server 10.8.0.2
done

# Rules and routes that refuse, or send elsewhere, are what the user has said: nothing goes around them.
# silent COMMAND...: it fails, and the server sends nothing but what any host has to say.
silent() {
	local before after
	before=$(($(left_by w1) + $(left_by w2)))
	! "$@" || { echo "an answer"; return 1; }
	after=$(($(left_by w1) + $(left_by w2)))
	((after - before < 1000)) || { echo "$((after - before)) bytes left"; return 1; }
}
call() { in_ns client ping -q -c 1 -W 2 10.8.0.1 >/dev/null; }
# server_ip VERSION ARGUMENT...: ip with what it is told, where A is the client, F the address at the second uplink, and G1 and G2 the routers.
server_ip() {
	local v=$1 word words=() a=10.3.0.2 f=10.2.0.2 g=10.%.0.1
	[[ $v == 4 ]] || a=fd03::2 f=fd02::2 g=fd0%::1
	shift
	for word; do
		case $word in
		A) word=$a ;;
		F) word=$f ;;
		G[12]) word=${g/\%/${word#G}} ;;
		esac
		words+=("$word")
	done
	ip -n server "-$v" "${words[@]}"
}
for v in 4 6; do
	server_ip $v route add prohibit A
	anew $v 2
	check "IPv$v: a route that prohibits" silent call
	server_ip $v route del prohibit A

	server_ip $v rule add from F prohibit
	anew $v 2
	check "IPv$v: a rule by source that prohibits" silent call
	server_ip $v rule del from F prohibit

	server_ip $v rule add from F lookup 20
	server_ip $v route add default via G1 dev w1 table 20
	anew $v 2
	check "IPv$v: a rule by source whose table has the other uplink only" by 1 twice
	server_ip $v rule del from F lookup 20

	in_ns server wg set wg0 fwmark 7
	server_ip $v rule add fwmark 7 lookup 20
	anew $v 2
	check "IPv$v: a rule by mark whose table has the other uplink only" by 1 twice
	server_ip $v route add default via G2 dev w2 table 20 metric 2000
	anew $v 2
	check "IPv$v: a rule by mark whose table has both" by 2 twice
	check "IPv$v: and the address that was called" told $v 2
	server_ip $v route flush table 20
	server_ip $v rule del fwmark 7 lookup 20
	in_ns server wg set wg0 fwmark 0
done

# A rule for what comes from the second uplink's address, and none of the main table's routes.
no_routes 2
ip -n server rule add from 10.2.0.2 lookup 20
ip -n server route add default via 10.2.0.1 table 20
anew 4 2
check "a rule by source: the uplink that it is for" by 2 twice
check "and its address" told 4 2
ip -n server rule del from 10.2.0.2 lookup 20
ip -n server route flush table 20
routes 2

# The first uplink goes, and comes back.
anew 4 1
check "before the first uplink goes" by 1 twice
ip -n server link set w1 down
in_ns client wg set wg0 peer "${public[server]}" endpoint 10.2.0.2:1000
check "it goes, and the client calls by the second" twice
check "from whose address it is answered" told 4 2
ip -n server link set w1 up
ip -n server addr replace fd01::2/64 dev w1 nodad
routes 1
check "it is back: who is there stays there" by 2 twice
anew 4 1
check "who calls by the first is answered by the first" by 1 twice

if modprobe vrf 2>/dev/null && ip -n server link add red type vrf table 10; then
	ip -n server link set red up
	ip -n server link set w2 master red
	ip -n server route add default via 10.2.0.1 dev w2 table 10
	in_ns server sysctl -qw net.ipv4.udp_l3mdev_accept=1
	anew 4 2
	check "the second uplink in a VRF" by 2 twice
	check "from its address" told 4 2
	ip -n server link del red
else
	skip "an uplink in a VRF" "this kernel has no module vrf"
fi
verdict
