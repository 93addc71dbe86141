#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A pre-shared key on top: right it works, wrong it fails, a change holds from the next handshake on.
#
#   alice --------------------- bob
#   198.51.100.1       198.51.100.2
#   wg0 10.60.0.1     wg0 10.60.0.2
set -uo pipefail
. "$(dirname "$0")/lib.sh"

hosts alice bob
cable alice:eth0=198.51.100.1/24 bob:eth0=198.51.100.2/24
keys alice bob
psk1=$(wg genpsk) psk2=$(wg genpsk)
none=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
tunnel alice 10.60.0.1/24 listen-port 51820 peer "${public[bob]}" endpoint 198.51.100.2:51820 allowed-ips 10.60.0.2/32
tunnel bob 10.60.0.2/24 listen-port 51820 peer "${public[alice]}" endpoint 198.51.100.1:51820 allowed-ips 10.60.0.1/32
record alice eth0

# psk HOST PEER KEY
psk() { on "$1" wg set wg0 peer "${public[$2]}" preshared-key <(echo "$3"); }
shown() { on "$1" wg show wg0 preshared-keys | cut -f2; }
# The keys of the session go with the interface; the next packet needs new ones.
new_session() {
	ip -n alice link set wg0 down
	ip -n bob link set wg0 down
	ip -n bob link set wg0 up
	ip -n alice link set wg0 up
}

check "without one" reaches alice 10.60.0.2
check "wg shows none" test "$(shown alice)" = "(none)"

note "the same on both"
psk alice bob "$psk1"
psk bob alice "$psk1"
check "wg shows it" test "$(shown alice)/$(shown bob)" = "$psk1/$psk1"
check "the session that runs is not disturbed" reaches alice 10.60.0.2
new_session
check "it works, alice initiating" reaches alice 10.60.0.2
new_session
check "it works, bob initiating" reaches bob 10.60.0.1
check "traffic crossed" carried bob alice 1000

note "different ones"
psk bob alice "$psk2"
check "the session that runs still uses the old one" reaches alice 10.60.0.2
responses=$(recorded alice eth0 "src 198.51.100.2 and $RESPONSE")
data=$(recorded alice eth0 "$DATA")
new_session
check "nothing passes after the next handshake, alice initiating" unreachable alice 10.60.0.2
check "bob did answer alice's initiation" \
	test "$(recorded alice eth0 "src 198.51.100.2 and $RESPONSE")" -gt "$responses"
check "but no data message was sent" test "$(recorded alice eth0 "$DATA")" -eq "$data"
new_session
check "nothing passes, bob initiating" unreachable bob 10.60.0.1

note "one only"
psk bob alice "$none"
check "wg shows none at bob's" test "$(shown bob)" = "(none)"
new_session
check "nothing passes with one at alice's only" unreachable alice 10.60.0.2

note "the change on both"
psk alice bob "$psk2"
psk bob alice "$psk2"
new_session
check "the new one works" reaches alice 10.60.0.2
psk alice bob "$none"
psk bob alice "$none"
new_session
check "and so does none again" reaches bob 10.60.0.1
check "outside there is nothing but WireGuard" only_wireguard alice eth0
verdict
