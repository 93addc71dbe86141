#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# wg-quick up and down, wg syncconf, showconf and dumps, and a manager that speaks netlink itself.
#
#   home ----------------------- away
#   198.51.100.1         198.51.100.2
#   10.70.0.1              10.70.0.2, fd70::2, by /etc/wireguard/wg0.conf
#   "internet" 8.8.4.4, behind 0.0.0.0/0
set -uo pipefail
. "$(dirname "$0")/lib.sh"

hosts home away
cable home:eth0=198.51.100.1/24 away:eth0=198.51.100.2/24
ip -n home addr add 8.8.4.4/32 dev lo
keys home away other
psk=$(wg genpsk)
tunnel home 10.70.0.1/24 listen-port 51820 \
	peer "${public[away]}" preshared-key <(echo "$psk") allowed-ips 10.70.0.2/32,fd70::2/128
ip -n home addr add fd70::1/64 dev wg0 nodad
record home eth0

conf=$TMP/wg0.conf
quick() { on away wg-quick "$@"; }
# configuration ALLOWED-IPS [MORE]
configuration() {
	cat >"$conf" <<-END
		[Interface]
		PrivateKey = ${private[away]}
		Address = 10.70.0.2/24, fd70::2/64
		MTU = 1380
		PostUp = echo up %i >$TMP/hook
		PostDown = echo down %i >$TMP/hook

		[Peer]
		PublicKey = ${public[home]}
		PresharedKey = $psk
		Endpoint = 198.51.100.1:51820
		AllowedIPs = $1
		PersistentKeepalive = 25
		${2:-}
	END
	chmod 600 "$conf"
}
gone() { ! ip -n away link show wg0; }

note "wg-quick up and down"
configuration "10.70.0.0/24, fd70::/64, 10.71.0.0/16"
check "wg-quick up" quick up "$conf"
check "the interface is of kind wireguard" \
	test "$(ip -n away -d -j link show wg0 | jq -r '.[0].linkinfo.info_kind')" = wireguard
check "it has the MTU of the file" test "$(on away cat /sys/class/net/wg0/mtu)" = 1380
check "it has both addresses" test "$(ip -n away -j addr show wg0 scope global | jq '[.[].addr_info[] | .local] | sort | join(" ")' -r)" = "10.70.0.2 fd70::2"
check "allowed IPs beyond the address became a route" \
	test "$(ip -n away -j route show 10.71.0.0/16 | jq -r '.[0].dev')" = wg0
check "PostUp ran" grep -qx 'up wg0' "$TMP/hook"
check "IPv4 crosses" reaches away 10.70.0.1
check "IPv6 crosses" reaches away fd70::1 -6
check "a second up is refused" bash -c "! ip netns exec away wg-quick up $conf"
check "traffic crossed" carried home away 1000

note "wg show, showconf, dump"
check "wg show" bash -c "ip netns exec away wg show wg0 | grep -q 'persistent keepalive: every 25 seconds'"
dumped=$(on away wg show wg0 dump)
read -r d_private d_public d_port d_mark < <(head -n 1 <<<"$dumped")
check "the first line of the dump is the interface" \
	test "$d_private $d_public $d_mark" = "${private[away]} ${public[away]} off"
check "it has a port" test "${d_port:-0}" -gt 1023
read -r p_key p_psk p_endpoint p_ips p_handshake p_rx p_tx p_keep < <(tail -n 1 <<<"$dumped")
check "the second line is the peer" \
	test "$p_key $p_psk $p_endpoint $p_keep" = "${public[home]} $psk 198.51.100.1:51820 25"
check "with its allowed IPs" test "$(tr , '\n' <<<"$p_ips" | sort | paste -sd' ')" = "10.70.0.0/24 10.71.0.0/16 fd70::/64"
check "its handshake and its counters" test "$p_handshake" -gt 0 -a "$p_rx" -gt 1000 -a "$p_tx" -gt 1000
on away wg showconf wg0 >"$TMP/shown.conf"
ip -n away link add wgcopy type wireguard
check "wg setconf takes what showconf gave" on away wg setconf wgcopy <(grep -v ListenPort "$TMP/shown.conf")
check "and shows the same again" diff <(grep -v ListenPort "$TMP/shown.conf") <(on away wg showconf wgcopy | grep -v ListenPort)
ip -n away link del wgcopy

note "wg syncconf: changes apply, the session stays"
shaken=$(handshaken away home)
initiations=$(recorded home eth0 "$INITIATION")
configuration "10.70.0.0/24, fd70::/64" "
		[Peer]
		PublicKey = ${public[other]}
		AllowedIPs = 10.72.0.0/16"
check "wg syncconf" on away wg syncconf wg0 <(on away wg-quick strip "$conf")
check "the new peer is there" bash -c "ip netns exec away wg show wg0 peers | grep -qxF '${public[other]}'"
check "the allowed IPs that are gone are gone" bash -c "! ip netns exec away wg show wg0 allowed-ips | grep -q 10.71"
check "traffic goes on" reaches away 10.70.0.1
check "without a new handshake" test "$(handshaken away home) $(recorded home eth0 "$INITIATION")" = "$shaken $initiations"
check "wg-quick save" quick save "$conf"
check "saved both peers" test "$(grep -c '^\[Peer\]' "$conf")" -eq 2
check "wg-quick down" quick down "$conf"
check "PostDown ran" grep -qx 'down wg0' "$TMP/hook"
check "the interface is gone" gone
check "its routes are gone" test -z "$(ip -n away route show dev wg0 2>/dev/null)"

note "everything through the tunnel: 0.0.0.0/0"
configuration "0.0.0.0/0, ::/0"
check "wg-quick up" quick up "$conf"
check "it set a mark" test "$(on away wg show wg0 fwmark)" != off
check "an address in the internet is reached through it" reaches away 8.8.4.4
check "wg-quick down" quick down "$conf"
check "its rules are gone" test "$(ip -n away rule show | grep -c fwmark)" -eq 0
check "8.8.4.4 is out of reach again" unreachable away 8.8.4.4

note "a manager that speaks netlink itself, as systemd-networkd does: many peers"
ip -n away link add wgmany type wireguard
check "500 peers set and dumped by netlink are those wg shows" on away python3 "$SCENARIOS/manager.py" wgmany 500
check "a link dump lists it by its kind" \
	test "$(ip -n away -j link show type wireguard | jq -r '.[].ifname')" = wgmany
# Where the interface is gone nobody listens any more. The server, which hears nothing back for 15 s,
# tries a handshake; on a slow machine that is before the end, and the host says that the port is closed.
check "outside there was nothing but WireGuard" only_wireguard home eth0 "icmp[0] == 3 and icmp[1] == 3 and icmp[17] == 17"
verdict
