#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# An interface made in one namespace and moved to another keeps its socket in the first.
#
#   container: wg0 10.80.0.2, nothing else
#       : (moved)
#   host eth0 198.51.100.2 ------- 198.51.100.1 eth0 server, wg0 10.80.0.1
#
# So a container has the tunnel and no way around it.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

hosts host container server
cable host:eth0=198.51.100.2/24 server:eth0=198.51.100.1/24
keys host server
tunnel server 10.80.0.1/24 listen-port 51820 peer "${public[host]}" allowed-ips 10.80.0.2/32

ip -n host link add wg0 type wireguard
check "move it" ip -n host link set wg0 netns container
check "it is there" ip -n container link show wg0
check "and not here" bash -c '! ip -n host link show wg0'
on container wg set wg0 private-key <(echo "${private[host]}") listen-port 51821 \
	peer "${public[server]}" endpoint 198.51.100.1:51820 allowed-ips 0.0.0.0/0
ip -n container addr add 10.80.0.2/24 dev wg0
ip -n container link set wg0 up
ip -n container route add default dev wg0
record server eth0

listens() { on "$1" ss -ulnH "sport = $2" | grep -q "$2"; }
check "the socket is in the first namespace" listens host 51821
check "and not in the second" bash -c '! ip netns exec container ss -ulnH | grep -q 51821'
check "the container has nothing but lo and wg0" \
	test "$(ip -n container -j link show | jq -r '[.[].ifname] | sort | join(" ")')" = "lo wg0"
check "the container reaches the server" reaches container 10.80.0.1
check "the server reaches the container" reaches server 10.80.0.2
check "the server sees the first namespace's address" test "$(endpoint server host)" = 198.51.100.2:51821
check "a transfer" transfer container server 10.80.0.1 2
check "it went through the tunnel" carried server host 100000

note "configured from where it is now, sending from where it was made"
on container wg set wg0 listen-port 51822
check "the new port is in the first namespace, too" listens host 51822
check "the server follows" reaches container 10.80.0.1
check "to the new port" test "$(endpoint server host)" = 198.51.100.2:51822
check "the container reaches nothing without the tunnel" \
	bash -c 'ip -n container link set wg0 down; ! ip netns exec container ping -q -c 1 -W 1 198.51.100.1'

note "down, up, away and back"
ip -n container link set wg0 up
ip -n container route add default dev wg0
check "after down and up it still works" reaches container 10.80.0.1
check "move it back" ip -n container link set wg0 netns host
ip -n host addr add 10.80.0.2/24 dev wg0
ip -n host link set wg0 up
check "it works there" reaches host 10.80.0.1
check "move it again" ip -n host link set wg0 netns container
check "the container goes" ip netns del container
closed() { ! listens host 51822; }
check "and the interface and its socket with it" wait_for 15 closed

note "the first namespace goes while the interface lives in another"
hosts second
ip -n host link add wg0 type wireguard
ip -n host link set wg0 netns second
on second wg set wg0 private-key <(echo "${private[host]}") listen-port 51823 \
	peer "${public[server]}" endpoint 198.51.100.1:51820 allowed-ips 10.80.0.1/32
ip -n second addr add 10.80.0.2/24 dev wg0
ip -n second link set wg0 up
check "it works" reaches second 10.80.0.1
ip netns del host
check "then it cannot send any more, and says so by silence" wait_for 15 unreachable second 10.80.0.1
check "it still answers wg" on second wg show wg0
check "and can be deleted" ip -n second link del wg0
check "outside there is nothing but WireGuard" only_wireguard server eth0
verdict
