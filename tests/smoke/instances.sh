#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the guest, eight CPUs): tests/smoke/instances.sh
#
# NAPI instances are made as peers need them: no more than an interface has
# peers, or than CPUs are online, those that come later included. Peers that
# share one move when there is another with nothing to do, and keep their order.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

N=${N:-150}
tmp=$(mktemp -d)
cpu() { echo "$2" >/sys/devices/system/cpu/cpu"$1"/online; }
# only N: CPUs 0 to N-1 are online.
only() {
	local c
	for ((c = 1; c < $(nproc --all); c++)); do
		(($(</sys/devices/system/cpu/cpu$c/online) == (c < $1))) || cpu $c $((c < $1))
	done
	note "CPUs online: $(</sys/devices/system/cpu/online)"
}
# threads INTERFACE: the numbers of its NAPI threads.
threads() {
	local pid
	for pid in $(grep -ls "^napi/$1-" /proc/[0-9]*/comm); do
		pid=${pid#/proc/}
		echo "${pid%/comm}"
	done | sort -n
}
count() { threads "$1" | wc -l; }
random_key() { head -c 32 /dev/urandom | base64; }
add_peers() {
	local i args=()
	for ((i = 0; i < $2; i++)); do args+=(peer "$(random_key)"); done
	wg set "$1" "${args[@]}"
}

# -- as peers come
only 8
check "an interface" ip link add wga type wireguard
check "without a peer one thread at most" test "$(count wga)" -le 1
add_peers wga 1
check "with one peer one thread" test "$(count wga)" -eq 1
add_peers wga 2
check "with three peers three" test "$(count wga)" -eq 3
add_peers wga 20
check "with more peers than CPUs one for each CPU" test "$(count wga)" -eq 8
wg setconf wga /dev/null
add_peers wga 9
check "other peers make no more of them" test "$(count wga)" -eq 8
check "softirq instead of threads" bash -c 'echo 0 >/sys/class/net/wga/threaded'
gone() { (($(count "$1") == 0)); }
check "and no thread is left" wait_for 20 gone wga
ip link del wga

# -- as CPUs come
only 1
ip link add wgb type wireguard
add_peers wgb 5
check "with one CPU one thread" test "$(count wgb)" -eq 1
only 3
add_peers wgb 1
check "two CPUs later, with another peer, three" test "$(count wgb)" -eq 3
ip link del wgb

# A hub and two clients, all made with one CPU online.
only 1
declare -A key=()
ip link set lo up
for ns in hub c1 c2; do
	ip netns add $ns
	ip -n $ns link set lo up
	key[$ns]=$(wg genkey)
	ip link add "w$ns" type wireguard
done
public() { wg pubkey <<<"${key[$1]}"; }
wg set whub listen-port 30000 private-key <(echo "${key[hub]}") \
	peer "$(public c1)" allowed-ips 10.78.0.1/32 endpoint 127.0.0.1:30001 \
	peer "$(public c2)" allowed-ips 10.78.0.2/32 endpoint 127.0.0.1:30002
for n in 1 2; do
	wg set wc$n listen-port 3000$n private-key <(echo "${key[c$n]}") \
		peer "$(public hub)" allowed-ips 10.78.0.0/24 endpoint 127.0.0.1:30000
done
declare -A address=([c1]=10.78.0.1 [c2]=10.78.0.2 [hub]=10.78.0.3)
for ns in hub c1 c2; do
	ip link set "w$ns" netns $ns
	ip -n $ns addr add "${address[$ns]}/24" dev "w$ns"
	ip -n $ns link set "w$ns" up
done
hub_answers() { ip netns exec "$1" ping -q -c 1 -W 10 10.78.0.3; }
for ns in c1 c2; do check "$ns reaches the hub" hub_answers $ns; done
check "one thread for both" test "$(count whub)" -eq 1
only 4
again() { ip -n c1 link set wc1 down && ip -n c1 link set wc1 up && hub_answers c1; }
check "a new handshake" again
more() { (($(count whub) == 2)); }
check "has the hub make a second one, on its CPUs" wait_for 20 more

# -- as they are shared
second=$(threads whub | tail -n 1)
used() { read -r ns _ <"/proc/$second/schedstat" && echo "$ns"; }
before=$(used)
for n in 1 2; do
	ip netns exec hub iperf3 -s -D -p 520$n >/dev/null 2>&1
	check "server $n listens" wait_for 20 bash -c "ip netns exec hub ss -Hltn | grep -q :520$n"
	ip netns exec c$n iperf3 -c 10.78.0.3 -p 520$n -u -b 0 -l 200 -t 60 -J >"$tmp/$n" 2>&1 &
done
moved() { (($(used) - before > 20000000)); }
check "under the load of two peers the second takes one" wait_for 50 moved
note "after $(($(used) - before)) ns of the second thread"
# Both are still being served.
sleep 2
before=$(used)
check "and keeps it" wait_for 20 moved
kill %1 %2 2>/dev/null
wait
for ns in hub c1 c2; do
	ip -n $ns link del "w$ns"
	# The servers keep it.
	ip netns pids $ns | xargs -r kill
	ip netns del $ns
done

# -- an interface for each peer
only 8
for ((i = 1; i <= N; i++)); do echo "link add w$i type wireguard"; echo "link set w$i up"; done >"$tmp/batch"
check "$N interfaces" ip -batch "$tmp/batch"
for ((i = 1; i <= N; i++)); do add_peers "w$i" 1; done
total=$(grep -hs '^napi/w[0-9]*-' /proc/[0-9]*/comm | wc -l)
check "with one peer each have one thread each at most" test "$total" -le "$N" -a "$total" -gt 0
sed -n 's/link add \([^ ]*\) .*/link del \1/p' "$tmp/batch" >"$tmp/del"
check "they can be deleted" ip -batch "$tmp/del"
none() { ! grep -qs '^napi/w' /proc/[0-9]*/comm; }
check "and no thread is left" wait_for 30 none
verdict
