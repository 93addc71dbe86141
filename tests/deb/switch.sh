#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the guest): scripts/vm -- tests/deb/switch.sh
#
# The package's configuration and wireguard-rs-select on a kernel with both
# drivers: who is loaded for the type, for the netlink family and by name; back and
# forth; with interfaces up; without our module; with one that is refused.
set -uo pipefail
. "$(dirname "$0")/../smoke/lib.sh"

krel=$(uname -r)
module=/lib/modules/$krel/updates/dkms/wireguard_rs.ko
select=scripts/wireguard-rs-select

# What scripts/vm put there shall not help here.
rm -f /etc/modprobe.d/wgrs.conf
unload() {
	[[ ! -e /sys/module/wireguard_rs ]] || rmmod wireguard_rs
	[[ ! -e /sys/module/wireguard ]] || rmmod wireguard
}
unload
install -D -m 644 /vm/wireguard_rs.ko "$module"
install -D -m 644 debian/wireguard-rs.modprobe /usr/lib/modprobe.d/wireguard-rs.conf
depmod
serves() { [[ $(driver_loaded) == "$1" ]] || { echo "loaded: $(driver_loaded)"; return 1; }; }
# status WANTED COMMAND...
status() {
	local want=$1 got=0
	shift
	"$@" || got=$?
	[[ $got == "$want" ]]
}

for way in "ip link add wgs type wireguard" "modprobe wireguard" "wg show wgs"; do
	# "wg show" asks for an interface that isn't there: the family is looked up.
	$way >/dev/null 2>&1
	check "'$way' loads ours, and ours only" serves ours
	ip link del wgs 2>/dev/null
	unload
done

check "c, with nothing loaded" "$select" c
check "'ip link add' loads the C driver" ip link add wgs type wireguard
check "and that only" serves c
ip netns add blue
ip -n blue link add wgblue type wireguard
check "rust, with interfaces up: status 3" status 3 "$select" rust
check "names the interface in another namespace" grep -q 'wgblue in the network namespace blue' <("$select" rust)
check "does nothing" serves c
check "to the interface" ip link show wgs
check "records nothing" test -e /etc/modprobe.d/wireguard-rs.conf
check "rust --now" "$select" rust --now
check "changes drivers" serves ours
check "the interfaces are gone" status 1 ip link show wgs
check "'ip link add' again" ip link add wgs type wireguard
check "c --at-boot with interfaces up" "$select" c --at-boot
check "leaves the driver" serves ours
check "and the interface" ip link show wgs
check "c --now" "$select" c --now
check "the C driver again" serves c
check "rust, without interfaces" "$select" rust
check "changes at once" serves ours
unload

mv "$module" /root/
depmod
check "without our module: 'ip link add'" ip link add wgs type wireguard
check "the C driver serves" serves c
ip link del wgs
check "rust can't be had" status 1 "$select" rust
check "and the C driver stays" serves c
unload
check "'modprobe wireguard' without our module" modprobe wireguard
check "loads the C driver" serves c
unload

# One that the kernel refuses, as it does an unsigned one under Secure Boot.
cp /root/wireguard_rs.ko "$module"
sed -i 's/vermagic=[0-9]/vermagic=9/' "$module"
depmod
check "it is refused" status 1 modprobe wireguard_rs
check "with a module that is refused: 'ip link add'" ip link add wgs type wireguard
check "the C driver serves" serves c
check "rust --now is refused" status 1 "$select" rust --now
check "and the C driver is back" serves c
verdict
