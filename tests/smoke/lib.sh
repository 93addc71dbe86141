# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Common ground of the guest scripts: checks with names, and a pair of network
# namespaces joined by a veth. Sourced in the guest.

passed=0 failed=0

ok() { passed=$((passed + 1)); printf 'ok - %s\n' "$*"; }
not_ok() { failed=$((failed + 1)); printf 'not ok - %s\n' "$*"; }
skip() { printf 'skip - %s (%s)\n' "$1" "$2"; }
note() { printf '# %s\n' "$*"; }

# check NAME COMMAND...: a check that passes if COMMAND does; its output is
# shown only if it fails.
check() {
	local name=$1 out
	shift
	if out=$("$@" 2>&1); then
		ok "$name"
	else
		not_ok "$name"
		printf '%s\n' "$out" | tail -n 20 | sed 's/^/#   /'
	fi
}

# The exit status of a script: 0 if every check passed and there was one.
verdict() { ((failed == 0 && passed > 0)); }

# log_begins: what log_since shows begins here.
log_begins() {
	log_mark="${0##*/} begins, $$"
	echo "$log_mark" >/dev/kmsg
}
# log_since: the kernel's log since then.
log_since() { dmesg | sed -n "/$log_mark/,\$p"; }

# driver_loaded: which driver serves "wireguard" now: ours, c, both or none.
driver_loaded() {
	local ours= c=
	[[ ! -e /sys/module/wireguard_rs ]] || ours=1
	[[ ! -e /sys/module/wireguard ]] || c=1
	case $ours$c in
	11) echo both ;;
	1) if [[ $ours ]]; then echo ours; else echo c; fi ;;
	*) echo none ;;
	esac
}

# driver_load/driver_unload ours|c
driver_load() {
	if [[ $1 == ours ]]; then insmod /vm/wireguard_rs.ko; else modprobe wireguard; fi
}
driver_unload() {
	if [[ $1 == ours ]]; then rmmod wireguard_rs; else rmmod wireguard; fi
}

# Outer addresses on the veth, inner ones on wg0.
declare -A outer4=([left]=10.0.0.1 [right]=10.0.0.2) outer6=([left]=fd00:aa::1 [right]=fd00:aa::2)
declare -A inner4=([left]=192.168.77.1 [right]=192.168.77.2) inner6=([left]=fd77::1 [right]=fd77::2)
declare -A port=([left]=51820 [right]=51821)
declare -A private=() public=()

in_left() { ip netns exec left "$@"; }
in_right() { ip netns exec right "$@"; }

# namespaces_up: left and right, joined by the veth "outer".
namespaces_up() {
	local ns
	for ns in left right; do
		ip netns add "$ns"
		ip -n "$ns" link set lo up
	done
	ip -n left link add outer type veth peer name outer netns right
	for ns in left right; do
		ip -n "$ns" addr add "${outer4[$ns]}/24" dev outer
		ip -n "$ns" addr add "${outer6[$ns]}/64" dev outer nodad
		ip -n "$ns" link set outer up
	done
}

namespaces_down() {
	ip netns del left 2>/dev/null
	ip netns del right 2>/dev/null
	return 0
}

# tunnel_up: wg0 in both, each the other's peer.
tunnel_up() {
	local ns other
	for ns in left right; do
		private[$ns]=$(wg genkey)
		public[$ns]=$(wg pubkey <<<"${private[$ns]}")
	done
	for ns in left right; do
		other=$([[ $ns == left ]] && echo right || echo left)
		ip -n "$ns" link add wg0 type wireguard || return
		ip netns exec "$ns" wg set wg0 private-key <(echo "${private[$ns]}") listen-port "${port[$ns]}" \
			peer "${public[$other]}" endpoint "${outer4[$other]}:${port[$other]}" \
			allowed-ips "${inner4[$other]}/32,${inner6[$other]}/128" || return
		ip -n "$ns" addr add "${inner4[$ns]}/24" dev wg0
		ip -n "$ns" addr add "${inner6[$ns]}/64" dev wg0 nodad
		ip -n "$ns" link set wg0 up || return
	done
}

# wait_for SECONDS COMMAND...: until it succeeds.
wait_for() {
	local deadline=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		((SECONDS < deadline)) || return 1
		sleep 0.1
	done
}
