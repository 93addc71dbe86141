#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Two peers, each behind its own NAT, reach each other through a third that both dial.
#
#   alice -------- nat1 ------- relay ------- nat2 -------- bob
#   192.168.1.2       198.51.100.1 | .10   203.0.113.1       192.168.2.2
#   wg0 10.20.0.2         wg0 10.20.0.1, port 51820          wg0 10.20.0.3
#
# Each spoke has the whole 10.20.0.0/24 behind the relay; the relay has one
# /32 for each spoke and forwards. MTU 1300 leaves room for links with less
# than 1500 (LTE, PPPoE, tunnels in tunnels).
set -uo pipefail
. "$(dirname "$0")/lib.sh"
TUNNEL_MTU=1300

hosts alice nat1 relay nat2 bob
cable alice:eth0=192.168.1.2/24 nat1:lan=192.168.1.1/24
cable nat1:wan=198.51.100.1/24 relay:eth0=198.51.100.10/24
cable bob:eth0=192.168.2.2/24 nat2:lan=192.168.2.1/24
cable nat2:wan=203.0.113.1/24 relay:eth1=203.0.113.10/24
ip -n alice route add default via 192.168.1.1
ip -n bob route add default via 192.168.2.1
for nat in nat1 nat2; do
	router "$nat"
	on "$nat" nft -f - <<-END
		table ip nat {
			chain out { type nat hook postrouting priority srcnat; oifname "wan" masquerade; }
		}
	END
done

keys alice bob relay
router relay
tunnel relay 10.20.0.1/24 listen-port 51820 \
	peer "${public[alice]}" allowed-ips 10.20.0.2/32 \
	peer "${public[bob]}" allowed-ips 10.20.0.3/32
tunnel alice 10.20.0.2/24 \
	peer "${public[relay]}" endpoint 198.51.100.10:51820 allowed-ips 10.20.0.0/24 persistent-keepalive 5
tunnel bob 10.20.0.3/24 \
	peer "${public[relay]}" endpoint 203.0.113.10:51820 allowed-ips 10.20.0.0/24 persistent-keepalive 5
one_by_one alice:eth0 bob:eth0 relay:eth0 relay:eth1
record relay eth0
record relay eth1

# The spokes' keepalives introduce them: nobody had to send anything first.
introduced() { [[ $(endpoint relay alice) == 198.51.100.1:* && $(endpoint relay bob) == 203.0.113.1:* ]]; }
check "both spokes registered with the relay by themselves" wait_for 20 introduced
check "alice reaches bob" reaches alice 10.20.0.3
check "bob reaches alice" reaches bob 10.20.0.2
check "packets of the full MTU pass" reaches alice 10.20.0.3 -M "do" -s 1272
check "larger ones are refused on the spot" bash -c '! ip netns exec alice ping -q -c 1 -W 1 -M do -s 1273 10.20.0.3'
check "a transfer from alice to bob" transfer alice bob 10.20.0.3 3
check "the relay received it from alice" carried relay alice 200000
check "bob received it from the relay" carried bob relay 200000

# A /32 is also a filter: a spoke cannot speak in another's name.
ip -n alice addr add 10.20.0.3/32 dev lo
before=$(on bob cat /sys/class/net/wg0/statistics/rx_packets)
errors=$(on relay cat /sys/class/net/wg0/statistics/rx_errors)
on alice ping -q -c 3 -i 0.2 -W 1 -I 10.20.0.3 10.20.0.1 >/dev/null 2>&1
check "alice with bob's address is dropped by the relay" \
	test "$(on relay cat /sys/class/net/wg0/statistics/rx_errors)" -gt "$errors"
check "and bob heard nothing of it" test "$(on bob cat /sys/class/net/wg0/statistics/rx_packets)" -le $((before + 2))
check "outside there is nothing but WireGuard, at alice's side" only_wireguard relay eth0
check "outside there is nothing but WireGuard, at bob's side" only_wireguard relay eth1
check "no outer packet is larger than 1300 + 60 bytes" \
	test "$(recorded relay eth0 'ip[2:2] > 1360')" -eq 0
verdict
