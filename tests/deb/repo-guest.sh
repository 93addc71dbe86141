#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the system that tests/deb/install --repo makes):
#        repo-guest.sh REPOSITORY KERNEL-RELEASE KERNEL-VERSION
set -uo pipefail
repo=$1 krel=$2 flavour=${2#*-}
. "$(dirname "$0")/lib.sh"

echo "deb [trusted=yes] file:$repo ./" >/etc/apt/sources.list.d/wireguard-rs.list
wanted() { modprobe -S "$krel" --show-depends "$1"; }
check "apt-get update" apt update
check "apt install wireguard-rs-modules-$flavour" apt --no-install-recommends install "wireguard-rs-modules-$flavour"
for package in wireguard-rs-modules-"$flavour" wireguard-rs-modules-"$krel" wireguard-rs-tools; do
	check "$package is installed" in_order "$package"
done
check "the module is for that kernel" test "$(modinfo -k "$krel" -F vermagic wireguard_rs | cut -d' ' -f1)" = "$krel"
check "modprobe would take it for the alias" grep -q 'updates/wireguard-rs/wireguard_rs.ko' <(wanted rtnl-link-wireguard)
check "status" grep -qF "Kernel $krel: the Rust driver is there." <(wireguard-rs-select)
check "the choice of the C driver" wireguard-rs-select c --at-boot
check "modprobe would take that one then" grep -q 'wireguard/wireguard.ko' <(wanted rtnl-link-wireguard)

check "apt install wireguard-rs-dkms: builds instead" apt --no-install-recommends install wireguard-rs-dkms
check "which takes the place of the others" in_order
check "prebuilt modules are gone" test ! -e "/lib/modules/$krel/updates/wireguard-rs"
check "the choice stays" test -e /etc/modprobe.d/wireguard-rs.conf
check "apt purge of what it took the place of" apt purge wireguard-rs-tools
check "does not take the choice along" test -e /etc/modprobe.d/wireguard-rs.conf
check "apt purge" apt purge wireguard-rs-dkms
check "does" test ! -e /etc/modprobe.d/wireguard-rs.conf
check "the C driver serves" grep -q 'wireguard/wireguard.ko' <(wanted rtnl-link-wireguard)
check "and no other" test -z "$(find /lib/modules -name 'wireguard_rs*')"
verdict
