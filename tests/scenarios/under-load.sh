#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Initiations flood a server: it answers with cookies, its tunnels keep their goodput, new peers get in.
#
#   alice    198.51.100.2 --.
#   attacker 198.51.100.3 --+-- (bridge) -- 198.51.100.1 server, port 51820
#   bob      198.51.100.4 --'               wg0 10.90.0.1
#   wg0 10.90.0.2 (alice), 10.90.0.4 (bob); the attacker knows the public key
set -uo pipefail
. "$(dirname "$0")/lib.sh"

hosts switch server alice bob attacker
ip -n switch link add br0 type bridge
ip -n switch link set br0 up
for h in server=1 alice=2 attacker=3 bob=4; do
	cable "switch:to-${h%=*}" "${h%=*}:eth0=198.51.100.${h#*=}/24"
	ip -n switch link set "to-${h%=*}" master br0
done

keys server alice bob
tunnel server 10.90.0.1/24 listen-port 51820 \
	peer "${public[alice]}" allowed-ips 10.90.0.2/32 \
	peer "${public[bob]}" allowed-ips 10.90.0.4/32
tunnel alice 10.90.0.2/24 peer "${public[server]}" endpoint 198.51.100.1:51820 allowed-ips 10.90.0.0/24
tunnel bob 10.90.0.4/24 peer "${public[server]}" endpoint 198.51.100.1:51820 allowed-ips 10.90.0.0/24
record bob eth0
# Cookies only and the first few, or the capture itself would be the load: who
# reads a file that grows as fast as he reads comes to no end.
ip netns exec attacker tcpdump -i eth0 -n -U --immediate-mode -c 100 -w "$TMP/attacker-eth0.pcap" "$COOKIE" 2>"$TMP/attacker.log" &
wait_for 15 grep -q 'listening on' "$TMP/attacker.log"

# 4 Mbit/s of UDP: what a tunnel carries without hurry, so that a change is
# the flood's doing, not the sender's.
rate=4M
check "alice is connected" reaches alice 10.90.0.1
check "alice sends for 4 s in peace" transfer alice server 10.90.0.1 4 -u -b $rate
peace=$bytes
note "$peace bytes, $lost datagrams lost"
check "without a flood nobody gets cookies" test "$(recorded attacker eth0 "$COOKIE")" -eq 0

note "the flood begins"
ip netns exec attacker python3 "$SCENARIOS/flood.py" 198.51.100.1 51820 "${public[server]}" 140 --burst 2500 --pause 0.25 >"$TMP/flood.json" &
flood=$!
cookies() { (($(recorded attacker eth0 "$COOKIE") > 0)); }
check "cookies go out" wait_for 15 cookies
check "alice sends for 4 s" transfer alice server 10.90.0.1 4 -u -b $rate
flooded=$bytes
note "$flooded bytes, $lost datagrams lost"
check "the flood went on all the time" kill -0 "$flood"
check "the goodput is at least 80 % of before" test $((flooded * 100)) -ge $((peace * 80))

# Bob was not connected: his initiation is answered with a cookie, and after
# five seconds he comes again with a valid MAC2.
check "a new peer gets in during the flood" on bob ping -q -c 1 -W 12 10.90.0.1
check "the flood still went on" kill -0 "$flood"
check "he was sent a cookie first" test "$(recorded bob eth0 "$COOKIE")" -ge 1
check "and used it" test "$(recorded bob eth0 "src 198.51.100.4 and $INITIATION and udp[140:4] != 0")" -ge 1
kill -TERM "$flood"
wait "$flood"
note "the flood: $(cat "$TMP/flood.json")"
check "the attacker got cookies only, and to what he sent" \
	jq -e '.cookies > 100 and .strange == 0' "$TMP/flood.json"
check "fewer than he sent" jq -e '.cookies < .sent' "$TMP/flood.json"

note "after the flood"
# The load ends when what had come has been worked through, and a second or two have passed.
calm() {
	on attacker python3 "$SCENARIOS/flood.py" 198.51.100.1 51820 "${public[server]}" 1 --burst 1 --pause 0.5 >"$TMP/calm.json"
	jq -e '.sent > 0 and .cookies == 0 and .strange == 0' "$TMP/calm.json"
}
check "a few initiations get no cookie any more" wait_for 20 calm
check "alice's session is the old one, and works" reaches alice 10.90.0.1
check "so does bob's" reaches bob 10.90.0.1
verdict
