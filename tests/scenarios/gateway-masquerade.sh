#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A router sends its whole LAN through the tunnel, masqueraded, with zones as on a home router.
#
#   pc ----------- router ------------- gateway ----------- web
#   192.168.1.2   .1   198.51.100.2   198.51.100.1   8.8.0.1    8.8.0.8
#                 wg0 10.50.0.2         wg0 10.50.0.1
#
# The router (nft): lan may go to vpn, nothing may go from lan to wan, what
# leaves by wg0 gets the router's tunnel address. The gateway (iptables): what
# came by wg0 leaves with the gateway's address. So the gateway needs one /32
# for the router and knows nothing of the LAN.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

hosts pc router gateway web
cable pc:eth0=192.168.1.2/24 router:lan=192.168.1.1/24
cable router:wan=198.51.100.2/24 gateway:wan=198.51.100.1/24
cable gateway:inet=8.8.0.1/24 web:eth0=8.8.0.8/24
ip -n pc route add default via 192.168.1.1
router router
router gateway

keys router gateway
tunnel gateway 10.50.0.1/24 listen-port 51820 peer "${public[router]}" allowed-ips 10.50.0.2/32
tunnel router 10.50.0.2/24 peer "${public[gateway]}" endpoint 198.51.100.1:51820 allowed-ips 0.0.0.0/0
ip -n router route add default dev wg0

on router nft -f - <<-END
	table inet zones {
		chain forward {
			type filter hook forward priority filter; policy drop;
			ct state established,related accept
			iifname "lan" oifname "wg0" tcp flags syn tcp option maxseg size set rt mtu
			iifname "lan" oifname "wg0" accept
		}
		chain input {
			type filter hook input priority filter; policy accept;
			iifname "wg0" ct state new drop
		}
	}
	table ip nat {
		chain out { type nat hook postrouting priority srcnat; oifname "wg0" masquerade; }
	}
END
on gateway iptables -t nat -A POSTROUTING -o inet -j MASQUERADE
on gateway iptables -P FORWARD DROP
on gateway iptables -A FORWARD -i wg0 -o inet -j ACCEPT
on gateway iptables -A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
check "the gateway has its rules" bash -c 'ip netns exec gateway iptables -t nat -S | grep -q MASQUERADE'

record gateway wan
record gateway inet
record gateway wg0

check "the PC reaches the web" reaches pc 8.8.0.8
check "the web saw the gateway's address only" \
	bash -c "(($(recorded gateway inet 'src 8.8.0.1 and icmp') >= 5)) && (($(recorded gateway inet 'net 192.168.1.0/24 or net 10.50.0.0/24') == 0))"
check "in the tunnel there was the router's address only" \
	bash -c "(($(recorded gateway wg0 'src 10.50.0.2 and icmp') >= 5)) && (($(recorded gateway wg0 'net 192.168.1.0/24') == 0))"
check "a download" transfer pc web 8.8.0.8 2 -R
check "it came through the tunnel" carried router gateway 100000
check "an upload" transfer pc web 8.8.0.8 2
check "it went through the tunnel" carried gateway router 100000
check "TCP was told a segment size that fits" \
	test "$(recorded gateway inet 'tcp[tcpflags] & tcp-syn != 0 and src 8.8.0.1 and tcp[20:4] != 0x02040564')" -eq 0

note "zones"
check "nobody from the gateway gets into the router by the tunnel" unreachable gateway 10.50.0.2
ip -n pc route add 198.51.100.1 via 192.168.1.1
check "nobody from the LAN gets out by the bare link" unreachable pc 198.51.100.1
ip -n router link set wg0 down
check "with the tunnel down, the LAN is cut off and leaks nothing" unreachable pc 8.8.0.8
ip -n router link set wg0 up
ip -n router route add default dev wg0
check "and comes back with it" reaches pc 8.8.0.8
check "on the bare link there was nothing but WireGuard" only_wireguard gateway wan
verdict
