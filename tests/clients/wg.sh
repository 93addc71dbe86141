#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the guest, in a network namespace of its own): tests/clients/wg.sh
#
# wg: show in all its forms, set, setconf, addconf, syncconf, showconf.
. "$(dirname "$0")/lib.sh"
export p0=${public[0]} p1=${public[1]} p2=${public[2]}

state() { step 0 "state: $1" 'wg show all dump; wg showconf wg0'; }

step 0 'no interface' 'wg show; wg show interfaces; wg show all dump'
step 0 'ip link add' 'ip link add wg0 type wireguard'
for field in '' public-key private-key listen-port fwmark peers preshared-keys endpoints allowed-ips \
	latest-handshakes transfer persistent-keepalive dump; do
	step 0 "a new interface: show $field" "wg show wg0 $field"
done
step 0 'a new interface: showconf' 'wg showconf wg0'

step 0 'set: key, port, mark' 'wg set wg0 private-key $tmp/private0 listen-port 12345 fwmark 0x1234'
step 0 'set: two peers' 'wg set wg0 peer $p1 preshared-key $tmp/psk endpoint 192.0.2.1:1 persistent-keepalive 25 \
	allowed-ips 10.0.0.0/8,fd00::/16,10.1.2.3/24 peer $p2 endpoint "[2001:db8::1]:65535" allowed-ips 10.0.0.0/9'
for field in '' public-key private-key listen-port fwmark peers preshared-keys endpoints allowed-ips \
	latest-handshakes transfer persistent-keepalive dump; do
	step 0 "two peers: show $field" "wg show wg0 $field"
	step 0 "two peers: show all $field" "wg show all $field"
done
step 0 'two peers: hidden keys' 'WG_HIDE_KEYS=never wg show'
state 'two peers'

step 0 'set: allowed IPs of another peer' 'wg set wg0 peer $p2 allowed-ips 10.0.0.0/8,10.1.2.0/24'
state 'allowed IPs moved'
step 0 'set: allowed IPs, incrementally' 'wg set wg0 peer $p2 allowed-ips -10.1.2.0/24,+10.7.0.0/16,+fd01::/64'
step 0 'set: allowed IPs, of another, incrementally' 'wg set wg0 peer $p1 allowed-ips -10.7.0.0/16,+10.0.0.0/8'
state 'incremental'
step 0 'set: no allowed IPs' 'wg set wg0 peer $p1 allowed-ips ""'
step 0 'set: no preshared key, no keepalive' 'wg set wg0 peer $p1 preshared-key /dev/null persistent-keepalive off'
step 0 'set: no mark, no key, port 0' 'wg set wg0 fwmark off private-key /dev/null listen-port 0'
state 'cleared'
step 0 'set: own key, and it as peer' 'wg set wg0 private-key $tmp/private1; wg set wg0 peer $p1 peer $p0'
state 'own key'
step 0 'set: remove' 'wg set wg0 peer $p2 remove peer $p0 remove peer $p1 remove'
state 'removed'

cat >"$tmp/one.conf" <<END
[Interface]
PrivateKey = ${private[0]}
ListenPort = 1111
FwMark = 0x77

[Peer]
PublicKey = $p1
PresharedKey = $psk
AllowedIPs = 10.9.0.0/16, fd09::/64
Endpoint = 198.51.100.7:7
PersistentKeepalive = 9
END
cat >"$tmp/two.conf" <<END
[Interface]
ListenPort = 2222

[Peer]
PublicKey = $p2
AllowedIPs = 10.9.128.0/17
AllowedIPs = +fd0a::/64

[Peer]
PublicKey = $p1
AllowedIPs = 10.9.0.0/16
END
for on in down up; do
	step 0 "$on: link" "ip link set wg0 $on"
	step 0 "$on: setconf" 'wg setconf wg0 $tmp/one.conf'
	state "$on, setconf"
	step 0 "$on: addconf" 'wg addconf wg0 $tmp/two.conf'
	state "$on, addconf"
	step 0 "$on: syncconf of the first" 'wg syncconf wg0 $tmp/one.conf'
	state "$on, syncconf"
	step 0 "$on: syncconf of the second" 'wg syncconf wg0 $tmp/two.conf'
	state "$on, syncconf again"
	step 0 "$on: showconf read again" 'wg showconf wg0 >$tmp/shown; wg setconf wg0 $tmp/shown; wg showconf wg0 | diff - $tmp/shown'
	step 0 "$on: setconf of nothing" 'wg setconf wg0 /dev/null'
	state "$on, emptied"
done

step 0 'many: setconf' '{ cat $tmp/one.conf; many_peers 1 400; } >$tmp/many.conf; wg setconf wg0 $tmp/many.conf'
step 0 'many: showconf' 'wg showconf wg0'
step 0 'many: dump' 'wg show wg0 dump'
step 0 'many: syncconf of half and others' '{ cat $tmp/one.conf; many_peers 200 450; } >$tmp/half.conf; wg syncconf wg0 $tmp/half.conf'
step 0 'many: peers left, sorted' 'wg show wg0 allowed-ips | sort'
step 0 'many: one with very many allowed IPs' 'wg set wg0 peer $p2 allowed-ips \
	$(for i in $(seq 0 1499); do echo -n "172.$((i / 256)).$((i % 256)).0/24,"; done)0.0.0.0/1; wg show wg0 allowed-ips | tail -n 1'

step 1 'wrong: no such interface' 'wg show nope'
step 1 'wrong: not wireguard' 'wg show lo'
step 1 'wrong: set, not wireguard' 'wg set lo fwmark 1'
step 1 'wrong: set, no such interface' 'wg set nope fwmark 1'
step 1 'wrong: key' 'wg set wg0 peer abc'
step 1 'wrong: port in use' 'ip link set wg0 up; ip link add wg1 type wireguard; wg set wg0 listen-port 3333; ip link set wg1 up; wg set wg1 listen-port 3333'
step any 'wrong: port in use when it comes up' 'ip link set wg1 down; wg set wg1 listen-port 3333; ip link set wg1 up; wg show wg1 listen-port'
step 1 'wrong: without capabilities' 'setpriv --bounding-set -all --inh-caps -all --reuid 65534 --clear-groups wg show wg0'
step 1 'wrong: set without capabilities' 'setpriv --bounding-set -all --inh-caps -all --reuid 65534 --clear-groups wg set wg0 fwmark 1'
step 1 'wrong: configuration' 'echo "[Interface]
Foo = bar" >$tmp/wrong.conf; wg setconf wg0 $tmp/wrong.conf'
step 0 'two: show' 'wg show interfaces; wg show wg1'
step 0 'gone' 'ip link del wg0; ip link del wg1; wg show'

# Traffic: numbers vary, that there are some does not.
step 0 'traffic: two ends' 'ip netns add far; ip link add v0 type veth peer name v0 netns far
	for n in "" "-n far"; do ip $n link add wg0 type wireguard; ip $n link set lo up; ip $n link set v0 up; done
	ip addr add 10.10.0.1/24 dev v0; ip -n far addr add 10.10.0.2/24 dev v0
	wg set wg0 private-key $tmp/private0 listen-port 1 peer $p1 preshared-key $tmp/psk endpoint 10.10.0.2:2 allowed-ips 10.11.0.2/32
	ip netns exec far wg set wg0 private-key $tmp/private1 listen-port 2 peer $p0 preshared-key $tmp/psk allowed-ips 10.11.0.1/32
	ip addr add 10.11.0.1/24 dev wg0; ip -n far addr add 10.11.0.2/24 dev wg0
	ip link set wg0 up; ip -n far link set wg0 up'
step 0 'traffic: ping' 'ping -q -c 3 -i 0.2 -W 10 10.11.0.2 | grep -o "3 packets transmitted, 3 received"'
step 0 'traffic: endpoint learnt' 'ip netns exec far wg show wg0 endpoints'
step 0 'traffic: a handshake was a moment ago' 'now=$(date +%s); for n in "" "ip netns exec far"; do
	$n wg show wg0 latest-handshakes | while read -r key t; do ((now - t >= 0 && now - t < 60)) && echo "$key yes"; done; done'
step 0 'traffic: counted' 'for n in "" "ip netns exec far"; do $n wg show wg0 transfer |
	while read -r key rx tx; do ((rx > 300 && tx > 300)) && echo "$key yes"; done; done'
step 0 'traffic: shown' 'wg show wg0 | sed -E "s/(handshake|transfer): .*/\1/"'
step 0 'traffic: end' 'ip link del wg0; ip netns del far'
