#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the guest, in a network namespace of its own): tests/clients/ynl.sh DIR
#
# The kernel's YNL client, tools/net/ynl/pyynl/cli.py in DIR, with the family's
# specification: do, dump, several in one, extended acknowledgements, policies.
. "$(dirname "$0")/lib.sh"

dir=${1:?}
export cli="python3 $dir/pyynl/cli.py --spec $dir/wireguard.yaml --no-schema --output-json"
hexkey() { base64 -d <<<"$1" | xxd -p -c 64; }
k0=$(hexkey "${private[0]}") p1=$(hexkey "${public[1]}") p2=$(hexkey "${public[2]}") hexpsk=$(hexkey "$psk")

do_set() { step "$1" "$2" "\$cli --do set-device --json '$3'"; }
dump() { step 0 "dump: $1" "\$cli --dump get-device --json '{\"ifname\": \"wg0\"}'"; }

ip link add wg0 type wireguard
index=$(cat /sys/class/net/wg0/ifindex)
step 0 'operations' '$cli --list-ops; $cli --list-msgs'
step any 'policy of set' '$cli --do set-device --policy --json "{\"ifname\": \"wg0\"}"'
step any 'policy of get' '$cli --dump get-device --policy --json "{\"ifname\": \"wg0\"}"'
dump 'a new interface'
do_set 0 'key, port, mark' "{\"ifname\": \"wg0\", \"private-key\": \"$k0\", \"listen-port\": 4242, \"fwmark\": 7}"
dump 'key, port, mark'
do_set 0 'peers' "{\"ifindex\": $index, \"peers\": [
	{\"public-key\": \"$p1\", \"preshared-key\": \"$hexpsk\", \"persistent-keepalive-interval\": 5,
	 \"endpoint\": \"02001234c0000201$(printf '0%.0s' {1..16})\",
	 \"allowedips\": [{\"family\": 2, \"ipaddr\": \"10.0.0.0\", \"cidr-mask\": 8}, {\"family\": 10, \"ipaddr\": \"fd00::\", \"cidr-mask\": 64}]},
	{\"public-key\": \"$p2\", \"protocol-version\": 1, \"allowedips\": [{\"family\": 2, \"ipaddr\": \"10.0.0.0\", \"cidr-mask\": 8}]}]}"
dump 'peers'
do_set 0 'an allowed IP removed' "{\"ifname\": \"wg0\", \"peers\": [{\"public-key\": \"$p2\",
	\"allowedips\": [{\"family\": 2, \"ipaddr\": \"10.0.0.0\", \"cidr-mask\": 8, \"flags\": [\"remove-me\"]}]}]}"
do_set 0 'update-only of one that is not' "{\"ifname\": \"wg0\", \"peers\": [{\"public-key\": \"$k0\", \"flags\": [\"update-only\"]}]}"
dump 'after these'
do_set 1 'cidr out of range' "{\"ifname\": \"wg0\", \"peers\": [{\"public-key\": \"$p2\",
	\"allowedips\": [{\"family\": 2, \"ipaddr\": \"10.0.0.0\", \"cidr-mask\": 33}]}]}"
do_set 1 'version 2' "{\"ifname\": \"wg0\", \"peers\": [{\"public-key\": \"$p2\", \"protocol-version\": 2}]}"
do_set 1 'flags outside the mask' '{"ifname": "wg0", "flags": 2}'
do_set 1 'a key that is too short' '{"ifname": "wg0", "private-key": "0011"}'
do_set 1 'a peer without a key' '{"ifname": "wg0", "peers": [{"flags": ["remove-me"]}]}'
do_set 1 'neither name nor index' '{"fwmark": 1}'
do_set 1 'name and index' "{\"ifname\": \"wg0\", \"ifindex\": $index}"
do_set 1 'no such interface' '{"ifname": "nope"}'
do_set 1 'no wireguard' '{"ifname": "lo"}'
do_set 1 'a name that is too long' '{"ifname": "sixteen-letters-"}'
step 1 'dump of no such interface' '$cli --dump get-device --json "{\"ifname\": \"nope\"}"'
step 1 'dump of neither' '$cli --dump get-device'
step 1 'get instead of dump' '$cli --do get-device --json "{\"ifname\": \"wg0\"}"'
step any 'several in one' "\$cli --multi set-device '{\"ifname\": \"wg0\", \"fwmark\": 8}' --multi set-device '{\"ifname\": \"wg0\", \"listen-port\": 9}'"
dump 'after the errors'
step 0 'many peers through wg' 'many_peers 1 100 >$tmp/many; wg addconf wg0 $tmp/many'
step 0 'dump: many, in small parts' '$cli --dbg-small-recv --dump get-device --json "{\"ifname\": \"wg0\"}" | grep -v ^Recv'
dump 'many'
do_set 0 'all replaced' '{"ifname": "wg0", "flags": ["replace-peers"]}'
dump 'none'
