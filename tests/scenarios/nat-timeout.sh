#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A NAT forgets idle UDP mappings in seconds; persistent-keepalive keeps the way back open.
#
#   inside -------------- nat --------------- outside
#   10.1.0.2      10.1.0.1  192.0.2.1      192.0.2.10
#   wg0 10.30.0.2         UDP: 3 s         wg0 10.30.0.1, port 51820
#
# Real routers take 30 s and more; "persistent-keepalive = 25" is for them.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

hosts inside nat outside
cable inside:eth0=10.1.0.2/24 nat:lan=10.1.0.1/24
cable nat:wan=192.0.2.1/24 outside:eth0=192.0.2.10/24
ip -n inside route add default via 10.1.0.1
router nat
on nat sysctl -q -w net.netfilter.nf_conntrack_udp_timeout=3 net.netfilter.nf_conntrack_udp_timeout_stream=3
# What comes in by itself is dropped, as on any home router.
on nat nft -f - <<-END
	table ip nat {
		chain out { type nat hook postrouting priority srcnat; oifname "wan" masquerade; }
		chain forward {
			type filter hook forward priority filter; policy drop;
			iifname "lan" accept
			ct state established,related accept
		}
		chain input {
			type filter hook input priority filter; policy accept;
			iifname "wan" udp dport != 0 ct state new drop
		}
	}
END

keys inside outside
tunnel outside 10.30.0.1/24 listen-port 51820 peer "${public[inside]}" allowed-ips 10.30.0.2/32
tunnel inside 10.30.0.2/24 peer "${public[outside]}" endpoint 192.0.2.10:51820 allowed-ips 10.30.0.0/24
record outside eth0

mapping() { on nat conntrack -L -p udp --dport 51820 2>/dev/null | grep -q 51820; }
no_mapping() { ! mapping; }

note "without keepalive"
check "inside opens the way" reaches inside 10.30.0.1
check "the NAT has a mapping" mapping
check "outside can answer while it lasts" on outside ping -q -c 1 -W 8 10.30.0.2
check "idle, the mapping goes" wait_for 30 no_mapping
check "and the way back is closed" unreachable outside 10.30.0.2

note "wg set wg0 peer ... persistent-keepalive 1"
on inside wg set wg0 peer "${public[outside]}" persistent-keepalive 1
check "the keepalive opens it" wait_for 15 mapping
before=$(recorded outside eth0 "src 192.0.2.1 and $EMPTY")
gone=0
for ((i = 0; i < 32; i++)); do
	mapping || gone=$((gone + 1))
	sleep 0.25
done
check "idle for 8 s, the mapping was there each of 32 times" test "$gone" -eq 0
sent=$(($(recorded outside eth0 "src 192.0.2.1 and $EMPTY") - before))
note "$sent keepalives in about 8 s"
check "keepalives went out, about one each second" test "$sent" -ge 4
check "outside reaches inside at any time" reaches outside 10.30.0.2
check "that went through the tunnel" carried inside outside 600

note "and off again"
on inside wg set wg0 peer "${public[outside]}" persistent-keepalive off
check "the mapping goes again" wait_for 40 no_mapping
check "and the way back is closed again" unreachable outside 10.30.0.2
check "outside there is nothing but WireGuard" only_wireguard outside eth0
verdict
