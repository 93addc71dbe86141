#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the guest): tests/smoke/demo-guest.sh [ours|c]
#
# Two network namespaces, a WireGuard tunnel between them, traffic through it;
# passes only if the traffic arrived inside and the link outside carried
# nothing but WireGuard messages.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

driver=${1:-ours}
seconds=${DEMO_SECONDS:-3}
tmp=$(mktemp -d)
pids=()
cleanup() {
	((${#pids[@]} == 0)) || kill "${pids[@]}" 2>/dev/null
	namespaces_down
	rm -rf "$tmp"
}
trap cleanup EXIT

note "driver"
check "the driver in use is $driver and no other" test "$(driver_loaded)" = "$driver"

note "two namespaces, left ${outer4[left]} and right ${outer4[right]}, joined by a veth"
check "namespaces and veth" namespaces_up
# The capture is to show each message by itself, as a wire would.
for ns in left right; do ip netns exec "$ns" ethtool -K outer tx-udp-segmentation off; done
ip netns exec left tcpdump -i outer -n -U -s 256 -B 8192 -w "$tmp/outer.pcap" 2>"$tmp/tcpdump.log" &
pids+=($!) tcpdump=$!
check "capture of the outer link runs" wait_for 10 grep -q 'listening on' "$tmp/tcpdump.log"

note "ip link add wg0 type wireguard, wg genkey, wg pubkey, wg set"
if ! tunnel_up; then
	not_ok "interfaces and keys"
	exit 1
fi
ok "interfaces and keys"

# The pattern is what the capture must not show.
marker=77677273706c61696e746578
note "ping through the tunnel"
check "ping over IPv4, left to right" in_left ping -q -c 5 -i 0.2 -W 5 -p $marker "${inner4[right]}"
check "ping over IPv4, right to left" in_right ping -q -c 5 -i 0.2 -W 5 -p $marker "${inner4[left]}"
check "ping over IPv6, left to right" in_left ping -6 -q -c 5 -i 0.2 -W 5 -p $marker "${inner6[right]}"
check "ping over IPv6, right to left" in_right ping -6 -q -c 5 -i 0.2 -W 5 -p $marker "${inner6[left]}"
read -r _ handshake < <(in_left wg show wg0 latest-handshakes)
check "wg shows a handshake" test "${handshake:-0}" -gt 0

# transfer NAME CLIENT-OPTION...: iperf3 between the two; its bytes received
# and bit/s in $bytes and $rate.
transfer() {
	local name=$1 server
	shift
	ip netns exec right iperf3 -s -1 -B "${inner4[right]}" >"$tmp/server.log" 2>&1 &
	server=$!
	pids+=("$server")
	wait_for 10 in_right bash -c "ss -tlnH 'sport = 5201' | grep -q 5201"
	bytes=0 rate=0
	if in_left timeout $((seconds + 40)) iperf3 -c "${inner4[right]}" -t "$seconds" -J "$@" >"$tmp/client.json" 2>&1; then
		read -r bytes rate < <(jq -r '.end.sum_received | "\(.bytes) \(.bits_per_second | floor)"' "$tmp/client.json")
	else
		kill "$server" 2>/dev/null
		tail -n 5 "$tmp/client.json" | sed 's/^/#   /'
	fi
	wait "$server" 2>/dev/null
	check "iperf3 $name carried data" test "${bytes:-0}" -gt 100000
}
# counter NAMESPACE rx|tx: bytes of wg0.
counter() { ip -n "$1" -s -j link show wg0 | jq ".[0].stats64.$2.bytes"; }

note "iperf3, $seconds s each way"
before=$(counter right rx)
transfer "left to right" && bytes_there=$bytes rate_there=$rate
check "the right end counted those bytes" test $(($(counter right rx) - before)) -ge "${bytes_there:-1}"
before=$(counter left rx)
transfer "right to left" -R && bytes_back=$bytes rate_back=$rate
check "the left end counted those bytes" test $(($(counter left rx) - before)) -ge "${bytes_back:-1}"

note "the same peers over an IPv6 outer link"
in_left wg set wg0 peer "${public[right]}" endpoint "[${outer6[right]}]:${port[right]}"
check "ping over IPv4 in IPv6" in_left ping -q -c 3 -i 0.2 -W 5 -p $marker "${inner4[right]}"
check "ping over IPv6 in IPv6" in_left ping -6 -q -c 3 -i 0.2 -W 5 -p $marker "${inner6[right]}"
check "the other end followed to the new address" \
	test "$(in_right wg show wg0 endpoints | cut -f2)" = "[${outer6[left]}]:${port[left]}"

note "wg show"
in_left wg show | sed 's/^/#   /'

sleep 0.5
kill -TERM "$tcpdump"
wait "$tcpdump" 2>/dev/null
note "the outer link: $(grep -E 'captured|dropped by kernel' "$tmp/tcpdump.log" | paste -sd,)"
if python3 "$(dirname "$0")/check_capture.py" "$tmp/outer.pcap" --ports "${port[left]}" "${port[right]}" \
	--marker "$marker" --inner "${inner4[left]}" "${inner4[right]}" "${inner6[left]}" "${inner6[right]}" >"$tmp/capture.txt" 2>&1; then
	ok "the outer link carried nothing but WireGuard messages"
else
	not_ok "the outer link carried something else"
fi
sed 's/^/#   /' "$tmp/capture.txt"

mbit() { awk -v r="${1:-0}" 'BEGIN { printf "%.0f Mbit/s", r / 1e6 }'; }
module=$([[ $driver == ours ]] && echo wireguard_rs || echo wireguard)
cat <<EOF

  kernel      $(uname -r)
  module      $module $(cat "/sys/module/$module/version" 2>/dev/null || true)($(cat "/sys/module/$module/coresize" 2>/dev/null || echo ?) bytes of core)
  handshake   $([[ ${handshake:-0} -gt 0 ]] && date -u -d "@$handshake" '+%F %T UTC' || echo none)
  there       ${bytes_there:-0} bytes, $(mbit "${rate_there:-0}")
  back        ${bytes_back:-0} bytes, $(mbit "${rate_back:-0}")
  outer link  $(tail -n 1 "$tmp/capture.txt")
  checks      $passed passed, $failed failed

EOF
verdict
