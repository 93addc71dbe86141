#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the machine that scripts/install-test boots, by install-test.service):
#        machine.sh
#
# What has to be there once the machine is up. It brings up nothing itself and asks for
# no module: what is there came at boot. Then the machine is switched off. What it
# says goes to a port of its own, not among the messages of the kernel and systemd.
set -uo pipefail
# As it lies there.
# shellcheck source=tests/deb/lib.sh
. "$(dirname "$0")/lib.sh"
out=/run/install-test.out

# word NAME: of the kernel's command line.
word() { tr ' ' '\n' </proc/cmdline | sed -n "s/^install-test\.$1=//p"; }
port=/dev/virtio-ports/step
for ((i = 0; i < 120; i++)); do
	[[ ! -e $port ]] || break
	sleep 0.5
done
exec >"$port" 2>&1
trap 'echo "end of step"; sync; systemctl --no-block poweroff' EXIT

step=$(word step) driver=$(word driver)
IFS=, read -ra tunnels <<<"$(word tunnels)"
declare -A net=([wg0]=77 [wgnet0]=78 [wgnm0]=79)
echo "# up after $(cut -d. -f1 /proc/uptime) s: $(uname -r)"

# running: systemd has nothing more to start, and nothing failed.
running() {
	timeout 240 systemctl is-system-running --wait >"$out" 2>&1 && return 0
	{
		systemctl --no-pager --failed
		systemctl --no-pager list-jobs
		journalctl --no-pager -b -p warning -n 30
	} >>"$out" 2>&1
	return 1
}
# within SECONDS COMMAND...: becomes true in this time.
within() {
	local until=$((SECONDS + $1))
	shift
	until "$@" >"$out" 2>&1; do
		((SECONDS < until)) || return 1
		sleep 1
	done
}
answers() { ping -n -c 1 -W 5 "$1"; }
handshake() { [[ $(wg show "$1" latest-handshakes | cut -f2) -gt ${2:-0} ]]; }
# is_loaded FILE: by the number that the linker gave it.
is_loaded() {
	local of_file of_kernel
	of_file=$(xz -dc "$1" >/run/module.ko && readelf -n /run/module.ko 2>/dev/null | sed -n 's/.*Build ID: //p')
	of_kernel=$(tail -c 20 /sys/module/wireguard_rs/notes/.note.gnu.build-id | od -An -v -tx1 | tr -d ' \n')
	echo "the file is ${of_file:-without a number}, the kernel has ${of_kernel:-none}" >"$out"
	[[ $of_file && $of_file == "$of_kernel" ]]
}
status_says() { wireguard-rs-select >"$out" 2>&1 && grep -qxF "$1" "$out"; }
# has_peer INTERFACE: or what who made it has to say.
has_peer() {
	[[ $(wg show "$1" peers 2>"$out" | wc -l) == 1 ]] && return 0
	{
		wg show "$1"
		journalctl --no-pager -b -o short-monotonic -u systemd-networkd -u NetworkManager -u wg-quick@wg0 -n 60
		journalctl --no-pager -b -o short-monotonic -k -g wireguard
	} >>"$out" 2>&1
	return 1
}
nm_activated() { [[ $(nmcli -g GENERAL.STATE device show "$1") == 100* ]]; }
sleeps() { timeout 120 rtcwake -m "$mode" -s "$1" >"$out" 2>&1; }
# What the peer says of us, through a tunnel.
# shellcheck disable=SC2016 # for the inner shell
peer_says() { timeout 60 bash -c 'exec 3<>"/dev/tcp/$1/7"; cat <&3' _ "$1" >/run/peer 2>"$out" && grep -q '^to ' /run/peer; }

tunnels_work() {
	local t
	for t in "${tunnels[@]}"; do
		check "$step: $t: the peer answers through the tunnel" within 60 answers "10.${net[$t]}.0.2"
		check "$step: $t: and by IPv6" within 30 answers "fd${net[$t]}::2"
	done
	check "$step: the peer speaks through ${tunnels[0]}" within 60 peer_says "10.${net[${tunnels[0]}]}.0.2"
	for t in "${tunnels[@]}"; do
		check "$step: $t: the peer reaches us" grep -qx "to $t answer" /run/peer
	done
	sed 's/^/# peer: /' /run/peer
}

check "$step: the machine is up and no unit failed" running
check "$step: the kernel is $(word release)" test "$(uname -r)" = "$(word release)"
if [[ $driver == ours ]]; then
	check "$step: wireguard_rs is loaded" test -e /sys/module/wireguard_rs
	check "$step: the C driver is not" test ! -e /sys/module/wireguard
	check "$step: it is the module that DKMS put there" \
		test "$(modinfo -F filename wireguard_rs)" = "/lib/modules/$(uname -r)/updates/dkms/wireguard_rs.ko.xz"
	check "$step: and that is what is loaded" is_loaded "$(modinfo -F filename wireguard_rs)"
	check "$step: status says so" status_says 'Chosen: the Rust driver; now the Rust driver is loaded.'
else
	check "$step: the C driver is loaded" test -e /sys/module/wireguard
	check "$step: wireguard_rs is not" test ! -e /sys/module/wireguard_rs
fi
for t in "${tunnels[@]}"; do
	case $t in
	wg0) check "$step: wg-quick@wg0 is active" systemctl --quiet is-active wg-quick@wg0 ;;
	wgnet0) check "$step: networkd has wgnet0 configured" grep -q configured <(networkctl --no-pager --no-legend list wgnet0) ;;
	wgnm0) check "$step: NetworkManager has wgnm0 activated" within 60 nm_activated wgnm0 ;;
	esac
	check "$step: wg shows the peer of $t" has_peer "$t"
done
tunnels_work

if [[ $step == resume ]]; then
	mode=freeze
	! grep -q deep /sys/power/mem_sleep 2>/dev/null || mode=mem
	before=$(date +%s)
	echo "# rtcwake -m $mode"
	check "resume: it sleeps ($mode) and its clock wakes it" sleeps 15
	check "resume: it did sleep" grep -q 'PM: suspend exit' <(dmesg)
	check "resume: for as long as it was to" test $(($(date +%s) - before)) -ge 14
	check "resume: no unit failed" running
	check "resume: wireguard_rs is loaded" test -e /sys/module/wireguard_rs
	tunnels_work
	for t in "${tunnels[@]}"; do
		check "resume: $t: with a session made since" within 30 handshake "$t" "$before"
	done
fi
verdict
