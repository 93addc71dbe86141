#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in a guest of scripts/vm): peer.sh serve
#
# The peer elsewhere: an interface of the C driver for each tunnel of the machine's.
# It is set up once, whatever happens to the machine. Who connects to port 7 is
# told how it sees the machine (peer.sh state).
set -euo pipefail

tunnels=(wg0 wgnet0 wgnm0)
declare -A net=([wg0]=77 [wgnet0]=78 [wgnm0]=79)

case ${1:-} in
serve)
	modprobe virtio_net
	ip addr add 10.99.0.2/24 dev eth0
	ip link set eth0 up
	for t in "${tunnels[@]}"; do
		ip link add "$t" type wireguard
		wg setconf "$t" "/peer/$t.conf"
		ip addr add "10.${net[$t]}.0.2/24" dev "$t"
		ip addr add "fd${net[$t]}::2/64" dev "$t"
		ip link set "$t" up
	done
	echo "peer: serves"
	exec ncat --listen --keep-open 7 --sh-exec "$(realpath "$0") state"
	;;
state)
	printf 'boot %s interfaces' "$(</proc/sys/kernel/random/boot_id)"
	for t in "${tunnels[@]}"; do printf ' %s:%s' "$t" "$(<"/sys/class/net/$t/ifindex")"; done
	echo
	echo "up $(cut -d. -f1 /proc/uptime) s"
	for t in "${tunnels[@]}"; do
		answer=silence
		! ping -c 1 -W 5 "10.${net[$t]}.0.1" >/dev/null 2>&1 || answer=answer
		printf 'to %s %s\n' "$t" "$answer"
	done
	;;
*) sed -n '4,8s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
