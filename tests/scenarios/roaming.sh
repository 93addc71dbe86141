#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A phone changes from Wi-Fi to LTE in the middle of a transfer, which goes on.
#
#             .-- wifi 198.51.100.2 -- 198.51.100.1 --.
#     phone --|                                       |-- server
#             '-- lte 203.0.113.2 ---- 203.0.113.1 ---'
#     wg0 10.40.0.2                       wg0 10.40.0.1, port 51820
set -uo pipefail
. "$(dirname "$0")/lib.sh"

hosts phone server
cable phone:wifi=198.51.100.2/24 server:eth0=198.51.100.1/24
cable phone:lte=203.0.113.2/24 server:eth1=203.0.113.1/24
ip -n server addr add 192.0.2.1/32 dev lo
ip -n phone route add 192.0.2.1 via 198.51.100.1 dev wifi metric 10
ip -n phone route add 192.0.2.1 via 203.0.113.1 dev lte metric 20

keys phone server
tunnel server 10.40.0.1/24 listen-port 51820 peer "${public[phone]}" allowed-ips 10.40.0.2/32
tunnel phone 10.40.0.2/24 peer "${public[server]}" endpoint 192.0.2.1:51820 allowed-ips 10.40.0.0/24
one_by_one phone:wifi phone:lte server:eth0 server:eth1
record server eth0
record server eth1

check "over Wi-Fi" reaches phone 10.40.0.1
check "the server sees the phone's Wi-Fi address" test "$(endpoint server phone | cut -d: -f1)" = 198.51.100.2

# session DEVICE: whose data messages to the server there bear which index.
session() {
	tcpdump -r "$TMP/server-$1.pcap" -n -x "dst 192.0.2.1 and $DATA" 2>/dev/null | awk '/0x0020:/ { print $2 $3 }' |
		if [[ $1 == eth0 ]]; then tail -n 1; else head -n 1; fi
}

# One TCP connection that sends until the scenario has seen enough, however slow
# the machine is; soon after it began, Wi-Fi is out of reach.
BLOCK=65536
on server timeout 300 ncat -l --recv-only 10.40.0.1 5201 2>"$TMP/receiver.log" | wc -c >"$TMP/received" &
receiver=$!
serving server || not_ok "the receiver listens"
(
	blocks=0
	until [[ -e $TMP/enough ]]; do
		head -c $BLOCK /dev/zero || break
		echo $((blocks += 1)) >"$TMP/blocks"
	done
) 2>"$TMP/sender.log" | on phone timeout 300 ncat --send-only 10.40.0.1 5201 &
client=$!
at_least() { (($(transferred server phone rx) >= $1)); }
check "the transfer runs over Wi-Fi" wait_for 60 at_least 300000
ip -n phone link set wifi down
change=$(transferred server phone rx)
note "Wi-Fi lost after $change bytes"
on_lte() { [[ $(endpoint server phone) == 203.0.113.2:* ]]; }
check "the server's endpoint for the phone follows to LTE" wait_for 15 on_lte
check "the transfer goes on: more arrives" wait_for 60 at_least $((change + 300000))
touch "$TMP/enough"
check "the same TCP connection ends well" wait "$client"
wait "$receiver"
sent=$(($(cat "$TMP/blocks") * BLOCK)) received=$(cat "$TMP/received")
note "$received bytes in one connection"
check "and carried all that was sent" test "$received" -eq "$sent" -a "$received" -gt 400000
check "LTE carried data messages" test "$(recorded server eth1 "$DATA")" -gt 100
check "Wi-Fi had carried some, too" test "$(recorded server eth0 "$DATA")" -gt 100
check "the session went on: its index, last on Wi-Fi, is the first on LTE" \
	test -n "$(session eth0)" -a "$(session eth0)" = "$(session eth1)"
check "nothing but WireGuard on LTE" only_wireguard server eth1

note "and back"
ip -n phone link set wifi up
ip -n phone route replace 192.0.2.1 via 198.51.100.1 dev wifi metric 10
check "over Wi-Fi again" reaches phone 10.40.0.1
check "the endpoint went back" test "$(endpoint server phone | cut -d: -f1)" = 198.51.100.2
check "the server's own packets take the new way" reaches server 10.40.0.2

note "the server moves, too: its packets come from another address"
ip -n server addr del 192.0.2.1/32 dev lo
ip -n server addr add 192.0.2.7/32 dev lo
ip -n server route replace 198.51.100.2 dev eth0 src 192.0.2.7
ip -n phone route add 192.0.2.7 via 198.51.100.1 dev wifi
check "the server speaks from its new address" reaches server 10.40.0.2
check "the phone followed" test "$(endpoint phone server)" = 192.0.2.7:51820
verdict
