#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the guest): tests/field/pieces.sh
#
# A tunnel with an MTU far above its link's: messages come in very many fragments, and arrive.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
trap 'end_case' EXIT

namespaces_up
tunnel_up
check "a tunnel" pings left "${inner4[right]}"

# transfer ADDRESS: 3 MB by TCP, to right, come as they were sent.
transfer() {
	local wait out=0
	in_right timeout 60 python3 "$FIELD/transfer.py" receive 3000000 &
	wait=$!
	in_left timeout 60 python3 "$FIELD/transfer.py" send "$1" 3000000 || out=1
	wait "$wait" && return "$out"
}

for mtu in 4000 36000 65000; do
	for ns in left right; do ip -n "$ns" link set wg0 mtu "$mtu"; done
	size=$((mtu - 28))
	for to in "${inner4[right]}" "${inner6[right]}"; do
		check "MTU $mtu: pings of $size to $to" pings left "$to" -s "$size"
	done
done
check "MTU $mtu: TCP" transfer "${inner4[right]}"
for ns in left right; do
	for reason in rx-auth rx-memory rx-header tx-seal tx-malformed; do
		check "$ns: no $reason" equal "$(dropped "$ns" wg0 "$reason")" 0
	done
done
verdict
