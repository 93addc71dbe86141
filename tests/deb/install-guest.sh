#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the system that tests/deb/install makes):
#        install-guest.sh DEB KERNEL-RELEASE KERNEL-VERSION
set -uo pipefail
deb=$1 krel=$2 kver=$3
series=$(cut -d. -f1,2 <<<"$krel")
version=$(dpkg-deb -f "$deb" Version)
. "$(dirname "$0")/lib.sh"

module() { find "/lib/modules/$1" -name 'wireguard_rs.ko*' | head -n 1; }
# What the package may change: not what dpkg, apt and dkms keep for themselves, or
# what other packages bring (the source).
files() {
	find /etc /lib/modules /usr /var /root /opt /srv -xdev \( -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/cache \
		-o -path /var/log -o -path /usr/share/doc -o -path /root/out -o -path /root/files.\* \) -prune -o -print |
		grep -vE '^/var/lib/dkms(/mok\.(key|pub))?$|^/etc/ld.so.cache$|/modules\.[a-z.]+$|^/usr/src/linux-source' | sort
}

old=$(find /lib/modules -mindepth 1 -maxdepth 1 -name '6.*' -printf '%f\n' | head -n 1)
[[ $old && -d /lib/modules/$krel ]] || { echo "this system lacks the headers of $krel or of a 6.x"; exit 1; }
check "apt-get update" apt update
files >/root/files.before

echo '# the package, without the source of the kernel'
check "apt install, where no kernel can be served" apt --no-install-recommends install "$deb"
check "leaves dpkg in order" in_order
check "says in one sentence why not for $old" says_once "wireguard-rs: Kernel $old is older than"
check "says in one sentence why not for $krel" says_once "wireguard-rs: The source of kernel $krel is not installed (package linux-source-$series, version $kver)."
check "status repeats it" says "Kernel $krel: the C driver serves."
check "no module" test -z "$(module "$krel")$(module "$old")"

echo '# the source arrives'
check "apt install linux-source-$series" apt --no-install-recommends install "linux-source-$series=$kver"
check "leaves dpkg in order" in_order
check "the trigger built the module" test -n "$(module "$krel")"
check "in updates/dkms" test "$(dirname "$(module "$krel")")" = "/lib/modules/$krel/updates/dkms"
check "for that kernel" test "$(modinfo -k "$krel" -F vermagic wireguard_rs | cut -d' ' -f1)" = "$krel"
check "signed with DKMS's key" grep -q 'DKMS module signing key' <(modinfo -k "$krel" -F signer wireguard_rs)
check "compressed like the kernel's own" test "$(module "$krel")" = "/lib/modules/$krel/updates/dkms/wireguard_rs.ko.xz"
check "with types (BTF)" grep -q '\.BTF' <(xz -dc "$(module "$krel")")
check "status" grep -qF "Kernel $krel: the Rust driver is there." <(wireguard-rs-select)
check "modprobe would take it for the alias" grep -q 'updates/dkms/wireguard_rs.ko' \
	<(modprobe -S "$krel" --show-depends rtnl-link-wireguard)

echo '# a kernel comes (its headers run the hooks of DKMS), which can not be served'
check "apt install linux-headers-$old" apt --reinstall install "linux-headers-$old"
check "leaves dpkg in order" in_order
check "says in one sentence why not" says_once "wireguard-rs: Kernel $old is older than"

echo '# the source goes; an upgrade'
kept=$(du -sm "/var/lib/wireguard-rs/$krel" | cut -f1)
echo "# kept for $krel: $kept MB"
check "the metadata is kept" test "$kept" -gt 5 -a "$kept" -lt 150
check "apt remove linux-source-$series" apt remove "linux-source-$series"
check "the module stays" test -n "$(module "$krel")"
check "apt install --reinstall" apt --reinstall install "$deb"
check "leaves dpkg in order" in_order
check "it was built again, of what was kept" test -n "$(module "$krel")"
log=/var/lib/dkms/wireguard-rs/$version/$krel/x86_64/log/make.log
check "without unpacking a source" test "$(grep -c 'unpacking the Rust sources' "$log")" = 0

echo '# the choice, and what is left'
wireguard-rs-select c --at-boot
check "the C driver can be chosen" test -e /etc/modprobe.d/wireguard-rs.conf
check "apt remove" apt remove wireguard-rs-dkms
check "the module is gone" test -z "$(module "$krel")"
check "the kernel's metadata too" test ! -e /var/lib/wireguard-rs
check "apt purge" apt purge wireguard-rs-dkms
files >/root/files.after
check "apt purge leaves nothing behind" diff /root/files.before /root/files.after

verdict
