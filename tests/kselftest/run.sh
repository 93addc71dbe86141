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
# It has addresses translated, and Debian's RT kernels are built without what that takes.
if ! modinfo xt_nat >/dev/null 2>&1 && ! unshare -n iptables -t nat -A POSTROUTING -j SNAT --to 192.0.2.1; then
	echo "skip - netns.sh (this kernel has no SNAT for iptables, CONFIG_NETFILTER_XT_NAT is off)"
	exit 0
fi
# Everything netns.sh needs from modules is loaded by its users; this is not.
modprobe nf_conntrack 2>/dev/null

# The ring may wrap in a long run: keep the lines as they come.
log=$(mktemp)
cat /dev/kmsg >"$log" &
reader=$!

bash "$script"
status=$?
if ((status == 0)); then
	echo "ok - netns.sh"
else
	echo "not ok - netns.sh (exit status $status)"
fi

# A namespace is taken down after its deletion returned.
sleep 3
kill "$reader"
python3 "$(dirname "$0")/lifecycle.py" "$log" || status=1
mkdir -p /out && cp "$log" /out/kmsg
exit "$status"
