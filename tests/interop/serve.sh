#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the guest): tests/interop/serve.sh
#        (by it, for each connection): tests/interop/serve.sh --one
#
# The far guest of the pair with the C driver. Two cards: the first is the
# link under test, put into a namespace "right"; over the second come the
# near guest's commands (lib.sh, at), run in that namespace.
set -uo pipefail

if [[ ${1:-} == --one ]]; then
	# The connection ends with this, not with what the script leaves running.
	for fd in /proc/self/fd/*; do
		fd=${fd##*/}
		((fd <= 2)) || exec {fd}>&-
	done
	script=
	while IFS= read -r line && [[ $line != __END ]]; do
		script+=$line$'\n'
	done
	ip netns exec right bash -c "$script" </dev/null 2>&1
	echo "__STATUS $?"
	exit
fi

# Nothing shall be lost for want of buffers on a slow machine.
sysctl -q -w net.core.rmem_default=4194304 net.core.rmem_max=8388608
modprobe -a virtio_net sch_netem
ip netns add right
ip -n right link set lo up
ip link set eth0 netns right
ip -n right link set eth0 name outer
ip link set eth1 up
ip addr add 10.255.0.2/24 dev eth1
echo "# far guest: the C driver, $(cat /sys/module/wireguard/version), waits for commands"
ncat -lk 10.255.0.2 7000 --sh-exec "$0 --one" &
server=$!
for ((i = 0; i < ${1:-1650}; i++)); do
	[[ ! -e /tmp/over ]] || break
	kill -0 "$server" 2>/dev/null || break
	sleep 1
done
kill "$server" 2>/dev/null
[[ -e /tmp/over ]]
