#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the guest): tests/field/by-name.sh
#
# Containers and unit files load the driver by the C module's name. Installed as 'make install' does it,
# ours is loaded by that, before there is an interface or after; once uninstalled, the C driver.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
cd "$FIELD/../.." || exit 1

# What scripts/vm put there against the C driver shall not help here.
saved=$(cat /etc/modprobe.d/wgrs.conf 2>/dev/null)
rm -f /etc/modprobe.d/wgrs.conf
restore() {
	ip link del wgname 2>/dev/null
	scripts/install --uninstall >/dev/null 2>&1
	[[ $(driver_loaded) != c ]] || rmmod wireguard
	[[ $(driver_loaded) != none ]] || driver_load ours
	[[ ! $saved ]] || printf '%s\n' "$saved" >/etc/modprobe.d/wgrs.conf
}
trap restore EXIT
while [[ $(driver_loaded) == ours ]]; do rmmod wireguard_rs || break; done

check "install" scripts/install --install --module /vm/wireguard_rs.ko
check "modprobe wireguard" modprobe wireguard
check "it loaded ours, and ours only" equal "$(driver_loaded)" ours
check "an interface" ip link add wgname type wireguard
check "modprobe wireguard, with an interface" modprobe wireguard
check "modprobe -n wireguard" modprobe -n wireguard
check "nothing else was loaded" equal "$(driver_loaded)" ours
ip link del wgname
check "modprobe -r wireguard_rs" modprobe -r wireguard_rs
check "an interface loads ours" ip link add wgname type wireguard
check "and then, by name" modprobe wireguard
check "ours only" equal "$(driver_loaded)" ours
ip link del wgname
rmmod wireguard_rs
check "uninstall" scripts/install --uninstall
check "modprobe wireguard, after that" modprobe wireguard
check "it loaded the C driver" equal "$(driver_loaded)" c
verdict
