#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A laptop behind NAT dials a server; the server is told no endpoint and learns it.
#
#   laptop ---------------- nat ------------------ server
#   192.168.1.100   192.168.1.1  198.51.100.1   198.51.100.10
#   wg0 10.10.0.2                               wg0 10.10.0.1, port 51820
set -uo pipefail
. "$(dirname "$0")/lib.sh"

hosts laptop nat server
cable laptop:eth0=192.168.1.100/24 nat:lan=192.168.1.1/24
cable nat:wan=198.51.100.1/24 server:eth0=198.51.100.10/24
ip -n laptop route add default via 192.168.1.1
router nat
on nat nft -f - <<-END
	table ip nat {
		chain out { type nat hook postrouting priority srcnat; oifname "wan" masquerade; }
	}
END

keys laptop server
tunnel server 10.10.0.1/24 listen-port 51820 \
	peer "${public[laptop]}" allowed-ips 10.10.0.2/32
tunnel laptop 10.10.0.2/24 \
	peer "${public[server]}" endpoint 198.51.100.10:51820 allowed-ips 10.10.0.0/24
record server eth0

# The address the laptop has is of no use to anybody outside.
check "the server cannot reach the laptop's own address" unreachable server 192.168.1.100
check "before the first packet the server knows no endpoint" test "$(endpoint server laptop)" = "(none)"
check "and cannot send" unreachable server 10.10.0.2

check "the laptop reaches the server" reaches laptop 10.10.0.1
learnt=$(endpoint server laptop)
note "the server learnt the endpoint $learnt"
check "the server learnt the router's address" test "${learnt%:*}" = 198.51.100.1
check "the server reaches the laptop" reaches server 10.10.0.2
check "a transfer to the laptop" transfer laptop server 10.10.0.1 2 -R
check "it went through the tunnel" carried laptop server 100000
check "a transfer to the server" transfer laptop server 10.10.0.1 2
check "it went through the tunnel" carried server laptop 100000
check "outside there is nothing but WireGuard" only_wireguard server eth0
check "nothing outside came from the laptop's own address" \
	test "$(recorded server eth0 'net 192.168.1.0/24 and udp')" -eq 0
verdict
