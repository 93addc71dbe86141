#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the guest): tests/kselftest/run.sh
#
# The kernel's own netns.sh, unmodified; then the life of every object, read
# from the kernel log: each one created must have been destroyed, and there
# must have been some, or the check would prove nothing.
set -uo pipefail

script=/kselftest/wireguard/netns.sh
[[ -e $script ]] || { echo "not ok - $script is not in the guest"; exit 1; }
# It has addresses translated by iptables, and Debian's RT kernels are built without that.
if ! modinfo xt_nat >/dev/null 2>&1 && ! unshare -n iptables -t nat -A POSTROUTING -j SNAT --to 192.0.2.1 2>/dev/null; then
	PATH=$(cd "$(dirname "$0")" && pwd):$PATH
	if ! unshare -n iptables -t nat -A POSTROUTING -s 192.0.2.2 -j SNAT --to 192.0.2.1; then
		echo "skip - netns.sh (this kernel has no SNAT, neither for iptables nor for nft)"
		exit 0
	fi
	echo "# this kernel has no SNAT for iptables, CONFIG_NETFILTER_XT_NAT is off: $(command -v iptables) has nft do that"
fi
# Everything netns.sh needs from modules is loaded by its users; this is not.
modprobe nf_conntrack 2>/dev/null

# The ring may wrap in a long run: keep the lines as they come.
log=$(mktemp)
cat /dev/kmsg >"$log" &
reader=$!

said=$(mktemp)
# lives: of each object, as lifecycle.py reads the log; a namespace is taken down after its deletion returned.
lives() {
	local i
	for ((i = 0; i < 60; i++)); do
		if python3 "$(dirname "$0")/lifecycle.py" "$log" >"$said.lives"; then break; fi
		sleep 1
	done
	cat "$said.lives"
	((i < 60))
}
for try in 1 2; do
	bash "$script" 2>&1 | tee "$said"
	status=${PIPESTATUS[0]}
	# It gives the last namespace two seconds to be gone, and then looks at the log. On a busy machine that is too
	# little; whoever waits sees whether it goes. A life that does not end is what lifecycle.py says below.
	if ((status == 0 || try == 2)) || ! grep -q '^Error: wg[0-9]*: .*: merely created' "$said" || ! lives >/dev/null; then break; fi
	echo "# netns.sh looked for what lives before the last namespace was gone, which it is now: once more"
done
if ((status == 0)); then
	echo "ok - netns.sh"
else
	echo "not ok - netns.sh (exit status $status)"
fi
lives || status=1
kill "$reader"
mkdir -p /out && cp "$log" /out/kmsg
exit "$status"
