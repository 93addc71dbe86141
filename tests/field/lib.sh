# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Common ground of the cases: the checks and the pair of namespaces of tests/smoke, drops by
# reason, and what a tunnel carries. Sourced in the guest.

# shellcheck source=tests/smoke/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../smoke/lib.sh"
FIELD=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# dropped NS DEV REASON: how many were, for that reason.
dropped() {
	ip netns exec "$1" python3 "$FIELD/../observe.py" "$2" | jq --arg reason "$3" '.drops[$reason] // 0'
}

in_ns() { ip netns exec "$@"; }

# hosts NS...: makes them; they take packets whichever way these come.
hosts() {
	local ns
	for ns; do
		ip netns add "$ns" || exit 1
		ip -n "$ns" link set lo up
		in_ns "$ns" sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
	done
}

# sent NS DEV: packets that it has sent.
sent() { ip netns exec "$1" cat "/sys/class/net/$2/statistics/tx_packets"; }

# pings NS ADDRESS [OPTION...]: three are answered.
pings() {
	ip netns exec "$1" ping -q -c 3 -i 0.1 -W 20 "${@:3}" "$2" | grep -q ' 3 received'
}

# equal A B: says so if they are not.
equal() { [[ $1 == "$2" ]] || { echo "$1, should be $2"; return 1; }; }
# at_most A B: likewise.
at_most() { (($1 <= $2)) || { echo "$1, should be $2 at most"; return 1; }; }

# end_case [NAMESPACE...]: forgets all namespaces of a case, those beside the pair as well.
end_case() {
	namespaces_down
	for ns in "$@"; do ip netns del "$ns" 2>/dev/null; done
	return 0
}
