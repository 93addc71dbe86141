#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the guest, in namespaces of its own): tests/clients/wg-quick.sh
#
# wg-quick up, down, save and strip, with what they leave in routes, rules,
# addresses and firewall.
. "$(dirname "$0")/lib.sh"

mkdir -p /etc/wireguard
umask 077

around() {
	step 0 "$1: addresses" 'ip -o addr show | sed -E "s/^[0-9]+: //; s/valid_lft.*//"; ip link show type wireguard | sed -E "s/^[0-9]+: //"'
	step any "$1: routes and rules" 'for f in -4 -6; do ip $f rule; ip $f route show table all | grep -v "dev lo"; done'
	step any "$1: firewall" 'nft -s list ruleset; sysctl net.ipv4.conf.all.src_valid_mark'
	step 0 "$1: wg" 'for i in $(wg show interfaces); do echo "$i"; wg showconf "$i"; done'
}

# Somewhere for the outer packets to go, so that an MTU can be found.
ip link set lo up
ip link add out0 address 02:00:00:00:00:07 type dummy && ip addr add 192.0.2.2/24 dev out0 && ip link set out0 up mtu 1500
ip route add default via 192.0.2.1

cat >/etc/wireguard/wgq0.conf <<END
[Interface]
PrivateKey = ${private[0]}
Address = 10.66.0.1/24, fd66::1/64
ListenPort = 5555
PreUp = echo pre up %i
PostUp = echo post up %i; ip link show dev %i | grep -c UP
PreDown = echo pre down %i
PostDown = echo post down %i

[Peer]
PublicKey = ${public[1]}
PresharedKey = $psk
AllowedIPs = 10.66.0.2/32, 10.77.0.0/16, fd66::2/128, fd77::/48
Endpoint = 192.0.2.1:51820
PersistentKeepalive = 20
END
cat >/etc/wireguard/wgq1.conf <<END
[Interface]
PrivateKey = ${private[1]}
Address = 10.67.0.1/32
Address = fd67::1/128
MTU = 1333
SaveConfig = true

[Peer]
PublicKey = ${public[2]}
AllowedIPs = 0.0.0.0/0, ::/0
Endpoint = [2001:db8::1]:51820
END
cat >/etc/wireguard/wgq2.conf <<END
[Interface]
PrivateKey = ${private[2]}
Address = 10.68.0.1/24
Table = 1234
FwMark = 0x42

[Peer]
PublicKey = ${public[0]}
AllowedIPs = 10.68.0.0/24, 10.69.0.0/16
END

around 'before'
for conf in wgq0 wgq1 wgq2; do
	step 0 "strip $conf" "wg-quick strip $conf"
	step 0 "up $conf" "wg-quick up $conf"
	step 1 "up $conf again" "wg-quick up $conf"
	around "$conf is up"
	step 0 "$conf changed" "wg set $conf peer ${public[1]} allowed-ips 10.99.0.0/24 endpoint 192.0.2.9:9 peer ${public[2]} persistent-keepalive 3"
	step 0 "save $conf" "wg-quick save $conf; cat /etc/wireguard/$conf.conf"
	step 0 "syncconf $conf of what strip tells" "wg-quick strip $conf >\$tmp/stripped; wg syncconf $conf \$tmp/stripped; wg showconf $conf"
	step 0 "down $conf" "wg-quick down $conf"
	step 1 "down $conf again" "wg-quick down $conf"
	around "$conf is down"
done
step 0 'up all' 'for c in wgq0 wgq1 wgq2; do wg-quick up $c; done'
around 'all are up'
step 0 'down all' 'for c in wgq1 wgq0 wgq2; do wg-quick down $c; done'
around 'all are down'
step 0 'saved on the way down' 'cat /etc/wireguard/wgq1.conf'
step 1 'no such file' 'wg-quick up nope'
step any 'a wrong key' 'sed "s/^PublicKey.*/PublicKey = abc/" /etc/wireguard/wgq0.conf >/etc/wireguard/wgq3.conf; wg-quick up wgq3; ip link show wgq3'
step any 'a port in use' 'wg-quick up wgq0; sed "s/10.66/10.65/; s/fd66/fd65/" /etc/wireguard/wgq0.conf >/etc/wireguard/wgq4.conf
	wg-quick up wgq4; ip link show wgq4; wg-quick down wgq0'
rm -rf /etc/wireguard
