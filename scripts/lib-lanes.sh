# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Several checks side by side: what waits for a guest leaves a CPU to another.
# Sourced, never run.

declare -A LANE_NAME=() LANE_START=()

# lanes JOBS NAME...: run_lane NAME for each, in this order, JOBS at a time (1:
# one after another), with its output in the file that lane_log NAME names. When
# one has ended, its output is printed and lane_ended NAME STATUS SECONDS called.
# These three are the caller's.
lanes() {
	local jobs=$1 name monitor=
	shift
	[[ $- == *m* ]] || monitor=1
	trap lanes_stop EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	for name; do
		while ((${#LANE_NAME[@]} >= jobs)); do lanes_wait; done
		say "$name begins"
		# In a process group of its own, so that it can be ended with all it started.
		[[ ! $monitor ]] || set -m
		(set -e; run_lane "$name") >"$(lane_log "$name")" 2>&1 </dev/null &
		LANE_NAME[$!]=$name LANE_START[$!]=$SECONDS
		[[ ! $monitor ]] || set +m
	done
	while ((${#LANE_NAME[@]})); do lanes_wait; done
	trap - EXIT INT TERM HUP
}

# lanes_wait: for the next one to end.
lanes_wait() {
	local pid='' status=0 name start
	wait -n -p pid "${!LANE_NAME[@]}" || status=$?
	[[ $pid ]] || die "waiting for ${LANE_NAME[*]} failed with status $status"
	name=${LANE_NAME[$pid]} start=${LANE_START[$pid]}
	unset "LANE_NAME[$pid]" "LANE_START[$pid]"
	printf '==== %s\n' "$name"
	cat "$(lane_log "$name")"
	lane_ended "$name" "$status" $((SECONDS - start))
}

# lanes_stop: ends those that run; a guest takes a moment to go.
lanes_stop() {
	local pid
	for pid in "${!LANE_NAME[@]}"; do kill -TERM -- -"$pid" 2>/dev/null || true; done
	for pid in "${!LANE_NAME[@]}"; do wait "$pid" 2>/dev/null || true; done
}
