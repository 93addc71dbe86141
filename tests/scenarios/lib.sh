# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
#
# The vocabulary of the scenarios: hosts are network namespaces, cables are
# veth pairs, a tunnel is an interface wg0. Sourced in the guest.
#
# A scenario runs in namespaces of its own (run.sh makes them), so what it
# starts and sets up is gone with its last process.

# shellcheck source=tests/smoke/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../smoke/lib.sh"

SCENARIOS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TMP=$(mktemp -d)
declare -A private public
# The MTU of a tunnel, unless the scenario says otherwise.
TUNNEL_MTU=1420

# check NAME COMMAND...: as in the smoke tests, but COMMAND runs in this shell,
# so that it can leave values behind.
check() {
	local name=$1
	shift
	if "$@" >"$TMP/check.out" 2>&1; then
		ok "$name"
	else
		not_ok "$name"
		tail -n 20 "$TMP/check.out" | sed 's/^/#   /'
	fi
}

# on HOST COMMAND...: runs it there.
on() { ip netns exec "$@"; }

# in_background HOST COMMAND...: its pid in $!; output in $TMP/HOST.log.
in_background() {
	ip netns exec "$@" >>"$TMP/$1.log" 2>&1 </dev/null &
}

# stop PID: ends one that in_background started.
stop() {
	kill "$1" 2>/dev/null
	wait "$1" 2>/dev/null
	return 0
}

# hosts NAME...: makes them.
hosts() {
	local host
	for host; do
		ip netns add "$host"
		ip -n "$host" link set lo up
	done
}

# cable HOST:DEVICE[=ADDRESS/LENGTH] HOST:DEVICE[=...]: plugs them together.
cable() {
	local a=${1%%=*} b=${2%%=*} end host device
	ip link add "${a#*:}" netns "${a%%:*}" type veth peer name "${b#*:}" netns "${b%%:*}"
	for end; do
		host=${end%%:*} device=${end#*:}
		device=${device%%=*}
		[[ $end != *=* ]] || ip -n "$host" addr add "${end#*=}" dev "$device" nodad 2>/dev/null ||
			ip -n "$host" addr add "${end#*=}" dev "$device"
		ip -n "$host" link set "$device" up
	done
}

# one_by_one HOST:DEVICE...: messages leave there as a wire has them, and not several as one packet, so that
# what is recorded are messages.
one_by_one() {
	local end
	for end; do on "${end%%:*}" ethtool -K "${end#*:}" tx-udp-segmentation off || return; done
}

# router HOST: forwards packets, as "sysctl net.ipv4.ip_forward=1" makes it.
router() { on "$1" sysctl -q -w net.ipv4.ip_forward=1; }

# keys HOST...: a key pair for each, in private[] and public[].
keys() {
	local host
	for host; do
		private[$host]=$(wg genkey)
		public[$host]=$(wg pubkey <<<"${private[$host]}")
	done
}

# tunnel HOST ADDRESS/LENGTH [WG-SET-ARGUMENT...]: wg0 with the host's key.
tunnel() {
	local host=$1 address=$2
	shift 2
	ip -n "$host" link add wg0 type wireguard || return
	on "$host" wg set wg0 private-key <(echo "${private[$host]}") "$@" || return
	ip -n "$host" addr add "$address" dev wg0
	ip -n "$host" link set wg0 mtu "$TUNNEL_MTU" up
}

# endpoint HOST OF: what HOST takes for the endpoint of the peer OF.
endpoint() { on "$1" wg show wg0 endpoints | awk -v k="${public[$2]}" '$1 == k { print $2 }'; }
# transferred HOST OF rx|tx: bytes HOST counts for the peer OF.
transferred() {
	on "$1" wg show wg0 transfer | awk -v k="${public[$2]}" -v c="$3" '$1 == k { print c == "rx" ? $2 : $3 }'
}
# handshaken HOST WITH: when they last agreed on keys; 0 for never.
handshaken() { on "$1" wg show wg0 latest-handshakes | awk -v k="${public[$2]}" '$1 == k { print $2 }'; }

# reaches HOST ADDRESS [PING-OPTION...]: five pings, the first may need time
# for a handshake; all must be answered.
reaches() {
	local host=$1 address=$2
	shift 2
	on "$host" ping -q -c 5 -i 0.2 -W 8 "$@" "$address"
}
# unreachable HOST ADDRESS: two pings, none answered.
unreachable() { ! on "$1" ping -q -c 2 -i 0.5 -W 1 "$2"; }

# record HOST DEVICE: captures what passes there.
record() {
	local file=$TMP/$1-$2.pcap
	ip netns exec "$1" tcpdump -i "$2" -n -U --immediate-mode -s 256 -B 8192 -w "$file" 2>"$file.log" </dev/null &
	wait_for 15 grep -q 'listening on' "$file.log" || not_ok "capture of $2 on $1"
}
# recorded HOST DEVICE FILTER: how many packets of them match, now that those
# on their way have been written.
recorded() { sleep 0.2; tcpdump -r "$TMP/$1-$2.pcap" -n "$3" 2>/dev/null | wc -l; }
# Filters for the types of WireGuard's messages.
INITIATION='udp[8] = 1 and udp[4:2] = 156' RESPONSE='udp[8] = 2 and udp[4:2] = 100'
COOKIE='udp[8] = 3 and udp[4:2] = 72' DATA='udp[8] = 4 and udp[4:2] >= 40' EMPTY='udp[8] = 4 and udp[4:2] = 40'

# only_wireguard HOST DEVICE [FILTER]: data went by in WireGuard messages, and
# nothing else but what a link needs for itself, and what the filter allows.
only_wireguard() {
	local data other filter
	filter="not arp and not icmp6 and not ip6 proto 0 and not igmp"
	filter+=" and not ($INITIATION) and not ($RESPONSE) and not ($COOKIE) and not ($DATA)"
	[[ ! ${3:-} ]] || filter+=" and not ($3)"
	data=$(recorded "$1" "$2" "$DATA")
	other=$(recorded "$1" "$2" "$filter")
	echo "$2 on $1: $data data messages, $other other packets"
	tcpdump -r "$TMP/$1-$2.pcap" -n -c 5 "$filter" 2>/dev/null
	((data > 0 && other == 0))
}

# carried HOST OF BYTES: HOST received that much from the peer OF at least.
carried() {
	local n
	n=$(transferred "$1" "$2" rx)
	echo "$1 received ${n:-no} bytes from $2"
	((${n:-0} >= $3))
}

# serve HOST ADDRESS: an iperf3 server for the next transfer.
serve() {
	in_background "$1" iperf3 -s -1 -B "$2"
	serving "$1"
}
# serving HOST: waits for a server on iperf3's port.
serving() { wait_for 15 on "$1" bash -c 'ss -tlnH "sport = 5201" | grep -q 5201'; }
# transfer FROM TO ADDRESS SECONDS [IPERF3-OPTION...]: TCP (or what the options
# say) to the server at ADDRESS; received bytes in $bytes, lost datagrams in
# $lost.
transfer() {
	local from=$1 to=$2 address=$3 seconds=$4
	shift 4
	bytes=0 lost=-1
	serve "$to" "$address" || return
	on "$from" timeout $((seconds + 40)) iperf3 -c "$address" -t "$seconds" -J "$@" >"$TMP/iperf.json" 2>&1 || {
		tail -n 5 "$TMP/iperf.json"
		return 1
	}
	read -r bytes lost < <(jq -r '"\((.end.sum_received // .end.sum).bytes) \(.end.sum.lost_packets // -1)"' "$TMP/iperf.json")
	((bytes > 0))
}
