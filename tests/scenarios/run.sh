#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the guest): tests/scenarios/run.sh ours|c [SCENARIO...]
#
# Runs all scenarios, or the named ones, each in network, mount and process
# namespaces of its own: nothing of it outlives it.
set -uo pipefail
cd "$(dirname "$0")" || exit 1

driver=$1
shift
all=(nat-roadwarrior relay nat-timeout roaming gateway-masquerade psk wg-quick netns under-load)
(($#)) || set -- "${all[@]}"

log=$(mktemp)
# What scenarios find in modules; in namespaces nothing would load it.
modprobe -aq nf_conntrack_netlink nft_masq nft_ct nf_nat xt_MASQUERADE sch_netem tun
passed=0 failed=0 skipped=0
for name; do
	[[ -x $name.sh ]] || { echo "not ok - there is no scenario $name"; failed=$((failed + 1)); continue; }
	printf '# ---- %s: %s\n' "$name" "$(sed -n '4s/^# //p' "$name.sh")"
	start=$SECONDS
	DRIVER=$driver timeout --kill-after=5 "${SCENARIO_TIMEOUT:-150}" \
		unshare --net --mount --propagation private --pid --fork --kill-child --mount-proc -- \
		bash -c 'mount -t tmpfs tmpfs /run; mkdir -p /run/netns /run/wireguard /run/lock
			mount -t tmpfs tmpfs /tmp; ip link set lo up; exec "./$1.sh"' _ "$name" </dev/null 2>&1 |
		sed "s/^\(ok\|not ok\|skip\) - /\1 - $name: /" | tee "$log"
	status=${PIPESTATUS[0]}
	p=$(grep -c '^ok - ' "$log") f=$(grep -c '^not ok - ' "$log") s=$(grep -c '^skip - ' "$log")
	if ((status == 124 || status == 137)); then
		echo "not ok - $name: ended at its time-out of ${SCENARIO_TIMEOUT:-150} s"
		f=$((f + 1))
	elif ((f == 0 && (status || p == 0))); then
		echo "not ok - $name: ended with status $status after $p checks"
		f=$((f + 1))
	fi
	printf '# %s: %d passed, %d failed, %d s\n' "$name" "$p" "$f" $((SECONDS - start))
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
done
# Namespaces are taken down behind one's back: the interfaces with them.
left=
for ((i = 0; i < 100; i++)); do
	left=$(ip -o link show type wireguard)
	[[ $left ]] || break
	sleep 0.1
done
if [[ $left ]]; then
	echo "not ok - interfaces stayed behind: $left"
	failed=$((failed + 1))
fi
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
((failed == 0 && passed > 0))
