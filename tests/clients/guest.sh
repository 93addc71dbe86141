#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the guest): tests/clients/guest.sh [CLIENT...]
#
# Runs every client script in namespaces of its own and leaves the transcripts
# in /out. It judges nothing: tests/clients/clients does, on the host.
set -u
cd "$(dirname "$0")/../.." || exit 1
clients=("$@")
((${#clients[@]})) || clients=(wg wg-quick pyroute2 ynl)
modprobe dummy numdummies=0 2>/dev/null
modprobe nf_tables 2>/dev/null

for client in "${clients[@]}"; do
	case $client in
	pyroute2) command=(python3 tests/clients/pyroute2_client.py) ;;
	ynl) command=(python3 tests/clients/ynl_client.py /ynl) ;;
	*) command=(bash "tests/clients/$client.sh") ;;
	esac
	start=$SECONDS
	# sysfs shows the network namespace that it was mounted in.
	PYTHONHASHSEED=0 timeout 300 unshare -nm sh -c 'mount -t sysfs sysfs /sys; ip link set lo up; exec "$@"' sh "${command[@]}" \
		>"/out/$client.txt" 2>"/out/$client.err" </dev/null
	echo "== end
-- status $?, wanted 0" | sed 's/status 0, wanted 0/status 0/' >>"/out/$client.txt"
	echo "# $client: $((SECONDS - start)) s"
done
