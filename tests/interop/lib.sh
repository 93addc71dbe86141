# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
#
# Two ends of an interop pair, used alike: left is always the driver under
# test, right another implementation, in a namespace of this guest or in the
# far guest. Sourced by pair.sh, in the near guest.

# shellcheck source=tests/smoke/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../smoke/lib.sh"

# pair NAME NUMBER: sets the names and addresses of a pair.
pair() {
	PAIR=$1
	TMP=/tmp/interop-$PAIR
	OUT=/out/$PAIR
	mkdir -p "$TMP" "$OUT"
	case $PAIR in
	c) peer_name="C driver" ;;
	go) peer_name="wireguard-go" ;;
	bt) peer_name="boringtun" ;;
	esac
	declare -gA ns=([left]=$PAIR-left [right]=$PAIR-right)
	declare -gA side=([left]=1 [right]=2) other=([left]=right [right]=left)
	net4=10.$2.0
	# Of addresses of IPv6, all that is not zero is in the first four bytes: wireguard-go (also 0.0.20230223, Debian's)
	# copies no more of one where it had one of IPv4 before, and leaves the rest as it was.
	net6=fd00:$2
	# Two tunnels: 0 and 1.
	declare -gA dev=([left0]=wg0 [left1]=wg1 [right0]=wg${PAIR}0 [right1]=wg${PAIR}1) port private public
	local s t
	for s in left right; do
		for t in 0 1; do
			private[$s$t]=$(wg genkey)
			public[$s$t]=$(wg pubkey <<<"${private[$s$t]}")
			port[$s$t]=$((51800 + 10 * t + ${side[$s]}))
			printf 'LOCAL_STATIC_PRIVATE_KEY = %s\n' "${private[$s$t]}" >>"$OUT/keys"
			printf '%s %s %s\n' "$s" "$t" "${public[$s$t]}" >>"$OUT/public"
		done
	done
}

# outer4, outer6, inner4, inner6 SIDE [TUNNEL]: addresses.
outer4() { echo "$net4.${side[$1]}"; }
outer6() { echo "$net6${side[$1]}::"; }
inner4() { echo "192.168.$((100 + ${2:-0})).${side[$1]}"; }
inner6() { echo "fd99:${2:-0}::${side[$1]}"; }

# at SIDE SCRIPT: runs it there; its output and status.
at() {
	local out
	if [[ $PAIR != c || $1 == left ]]; then
		ip netns exec "${ns[$1]}" bash -c "$2" </dev/null 2>&1
		return
	fi
	out=$(printf '%s\n__END\n' "$2" | timeout 240 ncat --no-shutdown 10.255.0.2 7000)
	[[ $out != *__STATUS* ]] || { out=${out%$'\n'}; sed '$d' <<<"$out"; return "${out##*__STATUS }"; }
	echo "the far guest did not answer: $out"
	return 255
}

# check NAME COMMAND...: as in the smoke tests, but named after the pair, and
# COMMAND runs in this shell.
check() {
	local name="$PAIR: $1"
	shift
	if "$@" >"$TMP/check.out" 2>&1; then
		ok "$name"
	else
		not_ok "$name"
		{
			tail -n 12 "$TMP/check.out"
			how_it_stands
		} | sed 's/^/#   /'
	fi
}
# how_it_stands: for who reads of a failure: the tunnels as both ends see them, what ours counted, and the
# last messages of the outer link (1, 2: handshake, 3: cookie, 4: data).
how_it_stands() {
	local s
	for s in left right; do
		echo "$s:"
		at $s "wg show all latest-handshakes; wg show all transfer; wg show all endpoints; ip neigh show dev outer; ip -s link show outer"
	done
	at left "for d in wg0 wg1; do ethtool -S \$d; done 2>/dev/null | grep -v ': 0$'; nstat -asz | grep -i -e err -e discard | grep -v ' 0  '"
	date +%s.%N
	tcpdump -r "$OUT/outer.pcap" -n -tt -x udp 2>/dev/null |
		awk '/^[0-9]/ { head = $0 } /0x0010:/ && head ~ / IP / { print head, "type", substr($8, 1, 2) } /0x0030:/ && head ~ / IP6 / { print head, "type", substr($2, 1, 2) }' | tail -n 30
}
note() { printf '# %s: %s\n' "$PAIR" "$*"; }

# link_up: the outer link between the two.
link_up() {
	local s
	ip netns add "${ns[left]}"
	ip -n "${ns[left]}" link set lo up
	if [[ $PAIR == c ]]; then
		ip link set eth0 netns "${ns[left]}"
		ip -n "${ns[left]}" link set eth0 name outer
		# The capture is to show each message by itself, as a wire would.
		at left "ethtool -K outer gro off" || return
	else
		ip netns add "${ns[right]}"
		ip -n "${ns[right]}" link set lo up
		ip -n "${ns[left]}" link add outer type veth peer name outer netns "${ns[right]}"
		# As above.
		for s in left right; do at $s "ethtool -K outer tx-udp-segmentation off" || return; done
	fi
	for s in left right; do
		# .99 is who floods, .11 and .12 are where they roam to.
		at $s "ip link set outer mtu 9200; ip addr add $(outer4 $s)/24 dev outer
			ip addr add $(outer6 $s)/16 dev outer nodad; ip link set outer up
			sysctl -q -w net.ipv4.conf.all.promote_secondaries=1" || return
	done
	wait_for 30 at left "ping -q -c 1 -W 2 $(outer4 right)"
}

# device SIDE TUNNEL: the interface with its key and addresses.
device() {
	local d=${dev[$1$2]}
	local create="ip link add $d type wireguard" there="wg show $d >/dev/null 2>&1"
	case $1$PAIR in
	rightgo) create="WG_PROCESS_FOREGROUND=1 LOG_LEVEL=error wireguard-go -f $d >/tmp/$d.log 2>&1 &" ;;
	# With a connected socket it could not roam.
	rightbt) create="boringtun-cli -f --disable-drop-privileges --disable-connected-udp -v error $d >/tmp/$d.log 2>&1 &" ;;
	esac
	# Not by wg, which takes a socket that is not listened to yet for a dead one's, and removes it.
	[[ $create != *.log* ]] || there="grep -q ' 00010000 .*/$d.sock\$' /proc/net/unix"
	at "$1" "$create
		for i in {1..300}; do $there && break; sleep 0.1; done
		wg set $d private-key <(echo ${private[$1$2]}) listen-port ${port[$1$2]} &&
		ip addr add $(inner4 "$1" "$2")/24 dev $d && ip addr add $(inner6 "$1" "$2")/64 dev $d nodad &&
		ip link set $d mtu 1420 up"
}

# peer SIDE TUNNEL [WORD...]: forgets the other end and sets it anew, with no
# session; WORDs are more for "wg set ... peer". "dial" is the IPv4 endpoint,
# "dial6" the IPv6 one, "psk=KEY" the pre-shared key.
peer() {
	local s=$1 t=$2 o=${other[$1]} w more=
	shift 2
	for w; do
		case $w in
		dial) more+=" endpoint $(outer4 "$o"):${port[$o$t]}" ;;
		dial6) more+=" endpoint [$(outer6 "$o")]:${port[$o$t]}" ;;
		psk=*) more+=" preshared-key <(echo ${w#psk=})" ;;
		*) more+=" $w" ;;
		esac
	done
	at "$s" "wg set ${dev[$s$t]} peer ${public[$o$t]} remove
		wg set ${dev[$s$t]} peer ${public[$o$t]} allowed-ips $(inner4 "$o" "$t")/32,$(inner6 "$o" "$t")/128 $more"
}
# peers TUNNEL LEFT-WORDS RIGHT-WORDS: both ends anew; who is told to dial
# comes last, or it might begin a session with the old one.
peers() {
	local s
	for s in left right; do
		at $s "wg set ${dev[$s$1]} peer ${public[${other[$s]}$1]} remove"
	done
	# shellcheck disable=SC2086
	if [[ $3 == *dial* ]]; then
		peer left "$1" $2 && peer right "$1" $3
	else
		peer right "$1" $3 && peer left "$1" $2
	fi
}

# reaches SIDE [TUNNEL [PING-OPTION...]]: five pings answered through the tunnel.
reaches() {
	local s=$1 t=${2:-0}
	shift
	shift
	at "$s" "ping -q -c 5 -i 0.2 -W ${PATIENCE:-12} $* $(inner4 "${other[$s]}" "$t")"
}
reaches6() { at "$1" "ping -6 -q -c 5 -i 0.2 -W 12 $(inner6 "${other[$1]}" "${2:-0}")"; }
unreachable() { ! at "$1" "ping -q -c 2 -i 0.5 -W 2 $(inner4 "${other[$1]}" "${2:-0}")"; }

# endpoint SIDE: of the peer of tunnel 0.  received SIDE, handshaken SIDE [T]
endpoint() { at "$1" "wg show ${dev[${1}0]} endpoints" | cut -f2; }
received() { at "$1" "wg show ${dev[${1}0]} transfer" | cut -f2; }
handshaken() { at "$1" "wg show ${dev[$1${2:-0}]} latest-handshakes" | cut -f2; }

# seen FILTER: how many packets of the outer link match.
seen() { sleep 0.3; tcpdump -r "$OUT/outer.pcap" -n "$1" 2>/dev/null | wc -l; }
from() { echo "(src host $(outer4 "$1") or src host $(outer6 "$1"))"; }

# disturbed WHAT: from now on the order of packets means nothing; "off" ends
# it. For decode.py.
disturbed() { date "+%s.%N $1" >>"$OUT/disturbed"; }

# impair NETEM-ARGUMENTS: what both ends send; "off" ends it.
impair() {
	local s
	[[ $1 == off ]] || disturbed "$1"
	for s in left right; do
		if [[ $1 == off ]]; then
			at $s "tc qdisc del dev outer root"
		else
			at $s "tc qdisc add dev outer root netem limit 20000 $*" || return
		fi
	done
	if [[ $1 == off ]]; then
		sleep 0.5
		disturbed off
	fi
}

# barrier NAME: until all pairs of this run have come here; at most 10 minutes.
barrier() {
	local n
	mkdir -p "/tmp/barrier-$1"
	: >"/tmp/barrier-$1/$PAIR"
	for ((n = 0; n < 1200; n++)); do
		(($(find "/tmp/barrier-$1" -type f | wc -l) < ${PAIRS:-1})) || return 0
		sleep 0.5
	done
	note "not all pairs came to $1"
}
