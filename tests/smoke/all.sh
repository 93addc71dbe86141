#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the guest): tests/smoke/all.sh ours|c [ways|signs]
#
# The smoke tests one after another; each goes on after the one before failed. "ways"
# are those of packets and of the module, "signs" those of what can be seen of them;
# both of them if none is named.
set -uo pipefail
cd "$(dirname "$0")" || exit 1

driver=$1 status=0 part=${2:-}
[[ $part =~ ^(|ways|signs)$ ]] || { echo "not ok - there is no part '$part' of the smoke tests: ways, signs"; exit 2; }

ways() {
	echo "# demo"
	./demo-guest.sh "$driver" || status=1
	echo "# ends of packets"
	# Room for a busy machine, here and below.
	timeout 600 ./ends.sh "$driver" || status=1
	echo "# wrong input"
	timeout 120 ./errors.py || status=1
	if [[ $driver == ours ]]; then
		echo "# install, autoload, uninstall"
		(cd /src && timeout 120 tests/smoke/autoload.sh) || status=1
	fi
	echo "# unload"
	# Room for a sanitizer kernel on a busy machine.
	timeout 900 ./unload.sh "$driver"
	ended=$?
	((ended == 0)) || status=1
	((ended != 124)) || echo "not ok - unload ended at its time-out of 900 s"
	[[ $driver == ours ]] || return 0
	echo "# netpoll"
	timeout 120 ./netpoll.sh || status=1
	echo "# messages that leave together"
	timeout 900 ./together.py || status=1
	echo "# messages that arrive together"
	timeout 1500 ./aggregates.py || status=1
	echo "# messages that arrive together past GRO"
	timeout 600 ./local_gso.py || status=1
	echo "# what outer headers tell of the packet inside"
	timeout 300 ./dscp.py || status=1
	echo "# messages that take no worker"
	timeout 900 ./inline.py || status=1
	echo "# a peer that is held"
	timeout 300 ./held-peer.sh || status=1
	echo "# the way back of who calls from inside a tunnel"
	timeout 300 ./way_in.py || status=1
	echo "# cookies that somebody wants to keep from us"
	timeout 300 ./cookie_starved.py || status=1
}

# The C driver has none of it.
signs() {
	echo "# drop counters"
	timeout 1500 ./drops.py || status=1
	echo "# tracepoints"
	timeout 300 ./trace.py || status=1
	# Large, and made for the stock kernel of amd64: scripts/smoke puts them in there.
	if [[ -d /opt/tracers ]]; then
		timeout 600 ./tracers.py || status=1
	else
		echo "skip - perf trace, perf stat, bpftrace (they are not in this guest)"
	fi
	echo "# peers and events"
	timeout 1500 ./events.py || status=1
	echo "# peers on demand"
	timeout 600 ./on_demand.py || status=1
	echo "# the command wgrs"
	# Userspace, so it is tried on the stock kernel only: scripts/smoke puts it in.
	if command -v wgrs >/dev/null; then
		timeout 600 ./wgrs.py || status=1
		timeout 600 ./wgrs_on_demand.py || status=1
	else
		echo "skip - the command wgrs (it is not in this guest)"
	fi
}

[[ $part == signs ]] || ways
[[ $part == ways || $driver != ours ]] || signs
exit "$status"
