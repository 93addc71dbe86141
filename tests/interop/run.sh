#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the near guest): tests/interop/run.sh [c] [go] [bt]
#
# The named pairs at the same time, so their lines mix. Captures and keys are in /out/PAIR.
set -uo pipefail
cd "$(dirname "$0")" || exit 1

# Nothing shall be lost for want of buffers on a slow machine.
sysctl -q -w net.core.rmem_default=4194304 net.core.rmem_max=8388608
modprobe -a virtio_net sch_netem tun veth
if ip link show eth1 >/dev/null 2>&1; then
	ip link set eth1 up
	ip addr add 10.255.0.1/24 dev eth1
	# The far guest may still be booting.
	for ((i = 0; i < 240; i++)); do
		ncat -z -w 1 10.255.0.2 7000 2>/dev/null && break
		sleep 0.5
	done
fi
export PAIRS=$#
pids=() number=1 status=0
for name; do
	timeout --kill-after=10 "${PAIR_TIMEOUT:-1200}" ./pair.sh "$name" $number </dev/null > >(exec tee "/tmp/$name.log") 2>&1 &
	pids+=($!)
	number=$((number + 1))
done
for name; do
	wait "${pids[0]}"
	s=$?
	pids=("${pids[@]:1}")
	sleep 0.5
	((s != 124 && s != 137)) || { echo "not ok - $name: ended at its time-out"; status=1; }
	if ((s)) && ! grep -q '^not ok' "/tmp/$name.log"; then echo "not ok - $name: ended with status $s"; fi
	((s == 0)) || status=1
done
exit "$status"
