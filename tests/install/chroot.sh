#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the chroot of the machine that scripts/install-test makes):
#        chroot.sh STEP [WORD...]
#
# What the administrator does at a step, and what apt and DKMS have to say to that.
set -uo pipefail
# As it lies there.
# shellcheck source=tests/deb/lib.sh
. "$(dirname "$0")/lib.sh"
step=$1
shift
module() { find "/lib/modules/$1" -name 'wireguard_rs.ko*' | head -n 1; }
module_for() { [[ $(modinfo -k "$1" -F vermagic wireguard_rs 2>"$out" | cut -d' ' -f1) == "$1" ]]; }
installed() { [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }
not_installed() { ! installed "$1"; }
driver_for() { modprobe -S "$1" --show-depends "$2" 2>&1; }

# ours RELEASE: built, and what would be loaded.
ours() {
	check "$step: dpkg is in order" in_order
	check "$step: DKMS built the module for $1" module_for "$1"
	check "$step: modprobe would take it" grep -q 'updates/dkms/wireguard_rs.ko' <(driver_for "$1" rtnl-link-wireguard)
	check "$step: there is an initramfs for $1" test -s "/boot/initrd.img-$1"
}

# A tunnel of the machine's and its other end: machine's key and peer's key in
# MINE and THEIRS, the peer's configuration in /opt/peer.
tunnel() {
	local name=$1 net=$2 port=$3
	MINE=$(wg genkey) THEIRS=$(wg genkey)
	{
		printf '%s\n' '[Interface]' "PrivateKey = $THEIRS" "ListenPort = $port" '[Peer]' "PublicKey = $(wg pubkey <<<"$MINE")" \
			"AllowedIPs = 10.$net.0.1/32, fd$net::1/128" "Endpoint = 10.99.0.1:$port" 'PersistentKeepalive = 10'
	} >"/opt/peer/$name.conf"
	THEIRS=$(wg pubkey <<<"$THEIRS")
}

case $step in
configured)
	set -e
	systemd-machine-id-setup >/dev/null
	echo machine >/etc/hostname
	echo '127.0.0.1 localhost machine' >/etc/hosts
	echo '/dev/vda / ext4 defaults 0 1' >/etc/fstab
	mkdir /opt/peer
	cat >/etc/systemd/network/10-wire.network <<'N'
[Match]
MACAddress=52:54:00:00:00:01
[Network]
Address=10.99.0.1/24
IPv6AcceptRA=no
N
	tunnel wg0 77 51820
	(umask 077; cat >/etc/wireguard/wg0.conf) <<N
[Interface]
PrivateKey = $MINE
ListenPort = 51820
Address = 10.77.0.1/24, fd77::1/64
[Peer]
PublicKey = $THEIRS
AllowedIPs = 10.77.0.2/32, fd77::2/128
Endpoint = 10.99.0.2:51820
N
	tunnel wgnet0 78 51821
	(umask 027; cat >/etc/systemd/network/20-wgnet0.netdev) <<N
[NetDev]
Name=wgnet0
Kind=wireguard
[WireGuard]
PrivateKey=$MINE
ListenPort=51821
[WireGuardPeer]
PublicKey=$THEIRS
AllowedIPs=10.78.0.2/32
AllowedIPs=fd78::2/128
Endpoint=10.99.0.2:51821
N
	chgrp systemd-network /etc/systemd/network/20-wgnet0.netdev
	cat >/etc/systemd/network/20-wgnet0.network <<'N'
[Match]
Name=wgnet0
[Network]
Address=10.78.0.1/24
Address=fd78::1/64
IPv6AcceptRA=no
N
	tunnel wgnm0 79 51822
	# For the step in which NetworkManager comes.
	printf 'MINE=%s THEIRS=%s\n' "$MINE" "$THEIRS" >/opt/install-test/wgnm0
	cat >/etc/systemd/system/install-test.service <<'N'
[Unit]
Description=What scripts/install-test wants to know
After=multi-user.target
[Service]
Type=exec
ExecStart=/opt/install-test/machine.sh
StandardOutput=journal+console
[Install]
WantedBy=multi-user.target
N
	# It waits 25 s for the kernel, which on an emulated machine with other work on the host may take longer to load
	# a module; an interface that was asked for then comes, and stays without its peers.
	mkdir /etc/systemd/system/systemd-networkd.service.d
	printf '%s\n' '[Service]' 'Environment=SYSTEMD_NETLINK_DEFAULT_TIMEOUT=240' >/etc/systemd/system/systemd-networkd.service.d/install-test.conf
	systemctl --quiet enable systemd-networkd systemd-networkd-wait-online wg-quick@wg0 install-test
	# Nothing of it is asked about here, and each costs an emulated machine seconds.
	systemctl --quiet mask getty@tty1.service serial-getty@ttyS0.service apt-daily.timer apt-daily-upgrade.timer \
		dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer systemd-hwdb-update.service ldconfig.service
	echo "deb [trusted=yes] file:/srv/packages ./" >/etc/apt/sources.list.d/wireguard-rs.list
	find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /opt -o -path /srv \) -prune -o \
		\( -iname '*wireguard?rs*' -o -iname '*wgrs*' \) -print | sort >/opt/install-test/before
	check "configured: the machine knows nothing of the package" grep -qx /etc/apt/sources.list.d/wireguard-rs.list /opt/install-test/before
	;;

installed)
	krel=$1
	check "installed: apt update" apt update
	check "installed: apt install wireguard-rs-dkms" apt -o APT::Install-Recommends=true install wireguard-rs-dkms
	cp "$out" /opt/install-test/installed.out
	ours "$krel"
	check "installed: the kernel's source came along" installed "linux-source-$(cut -d. -f1,2 <<<"$krel")"
	;;

without-rust)
	# Of the suite itself, which apt prefers to its backports.
	flavour=$(find /boot -name 'vmlinuz-*' -printf '%f\n' | sed -n 's/.*+deb[0-9]*-//p' | head -n 1)
	check "without-rust: apt install linux-image-$flavour linux-headers-$flavour" apt install "linux-image-$flavour" "linux-headers-$flavour"
	old=$(find /boot -name 'vmlinuz-6.*' -printf '%f\n' | sed 's/^vmlinuz-//' | head -n 1)
	echo "# kernel without Rust: $old"
	grep '^wireguard-rs: ' "$out" | sed 's/^/# /'
	check "without-rust: dpkg is in order" in_order
	check "without-rust: one sentence says why not" says_once "wireguard-rs: Kernel $old is older than"
	check "without-rust: no other does" test "$(grep -c '^wireguard-rs: ' "$out")" = 1
	check "without-rust: no module" test -z "$(module "$old")"
	check "without-rust: there is an initramfs" test -s "/boot/initrd.img-$old"
	;;

point-release)
	# Two of the oldest series that still have image, headers and source.
	flavour=$(find /boot -name 'vmlinuz-*' -printf '%f\n' | sed -n 's/.*+deb[0-9]*-//p' | head -n 1)
	series=7.2
	mapfile -t versions < <(apt-cache madison "linux-source-$series" | awk -F' *[|] *' '{ print $2 }' | sort -Vu | tail -n 2)
	((${#versions[@]} == 2)) || { echo "not ok - point-release: the archive has two versions of linux-source-$series"; exit 1; }
	if [[ $1 == older ]]; then v=${versions[0]}; else v=${versions[1]}; fi
	deb=$(find /boot -name 'vmlinuz-*' -printf '%f\n' | sed -n 's/.*+\(deb[0-9]*\)-.*/\1/p' | head -n 1)
	krel=${v%%-*}+$deb-$flavour
	echo "# kernel: $krel"
	check "point-release: apt install the kernel $v, with headers and source" apt install "linux-image-$krel=$v" "linux-headers-$krel=$v" "linux-source-$series=$v"
	ours "$krel"
	if [[ $1 == newer ]]; then
		before=${versions[0]%%-*}+$deb-$flavour
		check "point-release: the module for $before is still there" module_for "$before"
	fi
	;;

network-manager)
	check "network-manager: apt install network-manager" apt install network-manager
	# shellcheck source=/dev/null
	. /opt/install-test/wgnm0
	mkdir -p /etc/NetworkManager/conf.d
	printf '%s\n' '[main]' 'no-auto-default=*' '[keyfile]' 'unmanaged-devices=type:ethernet;interface-name:wg0;interface-name:wgnet0' \
		>/etc/NetworkManager/conf.d/install-test.conf
	# No daemon runs here; what it would write is what --offline prints. Peers nmcli
	# has no word for: its manual has them put into the file.
	file=/etc/NetworkManager/system-connections/wgnm0.nmconnection
	(umask 077; nmcli --offline connection add type wireguard con-name wgnm0 ifname wgnm0 autoconnect yes \
		wireguard.private-key "$MINE" wireguard.listen-port 51822 \
		ipv4.method manual ipv4.addresses 10.79.0.1/24 ipv6.method manual ipv6.addresses fd79::1/64 >"$file" 2>"$out")
	check "network-manager: nmcli connection add type wireguard" grep -q '^type=wireguard' "$file"
	printf '%s\n' '' "[wireguard-peer.$THEIRS]" endpoint=10.99.0.2:51822 'allowed-ips=10.79.0.2/32;fd79::2/128;' >>"$file"
	check "network-manager: dpkg is in order" in_order network-manager
	;;

dracut)
	mkdir -p /etc/dracut.conf.d
	# The machine is not the host whose devices would be looked at.
	echo 'hostonly="no"' >/etc/dracut.conf.d/install-test.conf
	cp "/boot/initrd.img-$1" /opt/initrd.before
	check "dracut: apt install dracut" apt install dracut
	check "dracut: initramfs-tools is gone" not_installed initramfs-tools
	# It makes one only when a kernel or a trigger asks for it.
	cmp -s "/boot/initrd.img-$1" /opt/initrd.before && dracut --force "/boot/initrd.img-$1" "$1" >"$out" 2>&1
	check "dracut: made the initramfs" grep -q dracut <(lsinitrd "/boot/initrd.img-$1" 2>"$out" | head -n 400)
	rm -f /opt/initrd.before
	ours "$1"
	;;

purged)
	check "purged: apt purge wireguard-rs-dkms" apt purge wireguard-rs-dkms
	check "purged: it is gone" not_installed wireguard-rs-dkms
	check "purged: dpkg is in order" test -z "$(dpkg --audit)"
	find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /opt -o -path /srv -o -path /var/lib/apt -o -path /var/cache/apt \) -prune -o \
		\( -iname '*wireguard?rs*' -o -iname '*wgrs*' \) -print | sort >/opt/install-test/after
	check "purged: nothing is left behind" diff /opt/install-test/before /opt/install-test/after
	for m in /lib/modules/*/modules.dep; do
		krel=$(basename "$(dirname "$m")")
		check "purged: the C driver would be loaded by $krel" grep -q 'wireguard/wireguard.ko' <(driver_for "$krel" rtnl-link-wireguard)
	done
	;;
*) echo "not ok - there is no step $step"; exit 2 ;;
esac
apt-get clean
verdict
