#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the guest): tests/smoke/autoload.sh
#
# An installed module is loaded by "ip link add ... type wireguard", in
# preference to the C driver, which carries the same aliases; after uninstall
# the C driver is back.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

# What scripts/vm put there against the C driver shall not help here.
rm -f /etc/modprobe.d/wgrs.conf
while [[ $(driver_loaded) == ours ]]; do rmmod wireguard_rs || break; done

check "the module carries the rtnl alias" \
	grep -qx 'alias: *rtnl-link-wireguard' <(modinfo /vm/wireguard_rs.ko)
check "the module carries the genetlink alias" \
	grep -qx 'alias: *net-pf-16-proto-16-family-wireguard' <(modinfo /vm/wireguard_rs.ko)
check "scripts/install --install" scripts/install --install --module /vm/wireguard_rs.ko
check "ip link add" ip link add wgauto type wireguard
check "that loaded ours, and ours only" test "$(driver_loaded)" = ours
version=$(sed -n 's/^#define WGK_VERSION "\(.*\)"$/\1/p' rust/helpers/version.h)
check "modinfo has the package's version" test "$version" = "$(modinfo -F version /vm/wireguard_rs.ko)"
check "so has sysfs" test "$version" = "$(</sys/module/wireguard_rs/version)"
check "so has ethtool -i" test "wireguard $version" = "$(ethtool -i wgauto | sed -n 's/^\(driver\|version\): //p' | paste -sd ' ')"
ip link del wgauto
rmmod wireguard_rs
check "scripts/install --uninstall" scripts/install --uninstall
check "ip link add after that" ip link add wgauto type wireguard
check "that loaded the C driver" test "$(driver_loaded)" = c
ip link del wgauto
rmmod wireguard
check "ours loads again" driver_load ours
verdict
