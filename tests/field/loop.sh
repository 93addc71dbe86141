#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the guest): tests/field/loop.sh
#
# The route to a peer's endpoint leads through the tunnel to that peer: refused, told to senders, counted,
# in the log once. Tunnels in a tunnel work, also with the same port and endpoint.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
trap 'end_case third' EXIT

namespaces_up
tunnel_up
in_left wg set wg0 peer "${public[right]}" allowed-ips 0.0.0.0/0,::/0
check "a tunnel" pings left "${inner4[right]}"
log_begins

# looped FAMILY: through this outer address.
looped() {
	local outer before packets out
	[[ $1 == 4 ]] && outer=${outer4[right]} || outer=${outer6[right]}
	in_left wg set wg0 peer "${public[right]}" endpoint "$([[ $1 == 4 ]] && echo "$outer" || echo "[$outer]"):${port[right]}"
	check "IPv$1: it works before" pings left "${inner4[right]}"
	before=$(dropped left wg0 tx-loop)
	ip -n left route add "$outer" dev wg0
	packets=$(sent left wg0)
	out=$(in_left ping -n -c 6 -i 0.2 -W 1 "${inner4[right]}" 2>&1)
	check "IPv$1: nothing comes back" grep -q ' 0 received' <<<"$out"
	check "IPv$1: senders are told" grep -qE 'Too many levels|Unreachable' <<<"$out"
	check "IPv$1: and by ICMP" icmp "${inner4[right]}"
	# Each too long for the tunnel, once it is wrapped.
	in_left ping -q -c 10 -i 0.2 -s 1380 -W 1 "${inner4[right]}" >/dev/null 2>&1
	check "IPv$1: counted" test "$(dropped left wg0 tx-loop)" -gt "$((before + 5))"
	# What is sent is what finds out, each with what comes of its fragments.
	check "IPv$1: nothing goes round" at_most "$(($(sent left wg0) - packets))" 40
	ip -n left route del "$outer" dev wg0
	check "IPv$1: it works again when the route is right" wait_for 10 pings left "${inner4[right]}"
}

# icmp ADDRESS: somebody on a connected socket hears of it. One packet in a second is let through.
icmp() {
	in_left python3 -c '
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect((sys.argv[1], 9))
s.setsockopt(socket.SOL_IP, 11, 1)
heard = set()
end = time.monotonic() + 20
while time.monotonic() < end and not {40, 113} & heard:
    try:
        s.send(b"x")
    except OSError as e:
        heard.add(e.errno)
    time.sleep(0.1)
sys.exit(0 if {40, 113} & heard else f"only {heard}")' "$1"
}

looped 4
looped 6
check "the log has one line" equal "$(log_since | grep -c 'leads through the tunnel')" 1

# ---- what looks alike and is none
before=$(dropped left wg0 tx-loop)
for ns in left right; do
	other=$([[ $ns == left ]] && echo right || echo left)
	ip -n "$ns" link add wg1 type wireguard
	ip netns exec "$ns" wg set wg1 private-key <(echo "${private[$ns]}") listen-port 51999 \
		peer "${public[$other]}" endpoint "${inner4[$other]}:51999" allowed-ips 192.168.78.0/24
	ip -n "$ns" addr add "192.168.78.$([[ $ns == left ]] && echo 1 || echo 2)/24" dev wg1
	ip -n "$ns" link set wg1 up
done
check "a tunnel in the tunnel" pings left 192.168.78.2
check "with large packets" pings left 192.168.78.2 -s 3000

# A host behind left, whose own tunnel to right has left's port.
in_left wg set wg0 peer "${public[right]}" endpoint "${outer4[right]}:${port[right]}"
ip netns add third
ip -n left link add tothird type veth peer name outer netns third
ip -n left addr add 10.5.0.1/24 dev tothird
ip -n left link set tothird up
ip -n third addr add 10.5.0.2/24 dev outer
ip -n third link set outer up
ip -n third route add default via 10.5.0.1
in_left sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.wg0.rp_filter=0 net.ipv4.conf.tothird.rp_filter=0
ip -n left route add default dev wg0 table 7
ip -n left rule add iif tothird table 7
key=$(wg genkey)
ip -n third link add wg0 type wireguard
ip netns exec third wg set wg0 private-key <(echo "$key") listen-port "${port[left]}" \
	peer "${public[right]}" endpoint "${outer4[right]}:${port[right]}" allowed-ips "${inner4[right]}/32"
ip -n third addr add 192.168.77.3/24 dev wg0
ip -n third link set wg0 up mtu 1300
in_right wg set wg0 peer "${public[left]}" allowed-ips "${inner4[left]}/32,${inner6[left]}/128,10.5.0.0/24" \
	peer "$(wg pubkey <<<"$key")" allowed-ips 192.168.77.3/32
in_right sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.wg0.rp_filter=0
ip -n right route add 10.5.0.0/24 dev wg0
check "another host's tunnel through it, with the same port to the same endpoint" pings third "${inner4[right]}"
in_left iptables -t nat -A POSTROUTING -o wg0 -j MASQUERADE
in_left conntrack -F >/dev/null 2>&1
check "and masqueraded, so with our address as well" pings third "${inner4[right]}"
check "as the endpoint shows" test -n "$(in_right wg show wg0 endpoints | grep -F "${inner4[left]}:${port[left]}")"
check "none of these was refused" equal "$(dropped left wg0 tx-loop)" "$before"
verdict
