# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Several checks side by side: what waits for a guest leaves a CPU to another.
# Sourced, never run, after lib.sh.

declare -A LANE_NAME=() LANE_START=()
LANE_TIMES=() LANE_LOGS=
LANES_PASSED=0 LANES_FAILED=0 LANES_SKIPPED=0

# lanes LOGS NAME...: calls run_lane NAME, which is the caller's, for each, in
# this order, JOBS= (2) at a time, and then says what came of them. The output of
# each is in LOGS-NAME.log, and printed when it has ended. LANES_UNTIL=, in seconds
# since 1970: what may not have ended by then is not begun; how many seconds each may
# take is said by lane_seconds NAME, which is the caller's then. False if a check failed.
lanes() {
	local jobs=${JOBS:-2} name
	[[ $jobs =~ ^[1-9][0-9]{0,3}$ ]] || die "JOBS must be a number from 1 on, not '$jobs'" 2
	LANE_LOGS=$1
	shift
	trap lanes_stop EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	for name; do
		while ((${#LANE_NAME[@]} >= jobs)); do lanes_wait; done
		if [[ ${LANES_UNTIL:-} ]] && (($(date +%s) + $(lane_seconds "$name") > LANES_UNTIL)); then
			printf 'skip - %s (no time was left to begin it)\n' "$name" | tee "$LANE_LOGS-$name.log"
			LANES_SKIPPED=$((LANES_SKIPPED + 1))
			continue
		fi
		say "$name begins"
		# In a process group of its own, so that it can be ended with all it started.
		set -m
		(set -e; run_lane "$name") >"$LANE_LOGS-$name.log" 2>&1 </dev/null &
		LANE_NAME[$!]=$name LANE_START[$!]=$SECONDS
		set +m
	done
	while ((${#LANE_NAME[@]})); do lanes_wait; done
	trap - EXIT INT TERM HUP

	echo '==== summary'
	printf '%s\n' "${LANE_TIMES[@]}"
	for name; do
		grep -aE '^(not ok|skip) - ' "$LANE_LOGS-$name.log" | sed "s/^/$name: /" || true
	done
	printf '%d passed, %d failed, %d skipped\n' "$LANES_PASSED" "$LANES_FAILED" "$LANES_SKIPPED"
	((LANES_FAILED == 0))
}

# lanes_wait: for the next one to end; shows and counts what it found.
lanes_wait() {
	local pid='' status=0 name seconds log p f s
	wait -n -p pid "${!LANE_NAME[@]}" || status=$?
	[[ $pid ]] || die "waiting for ${LANE_NAME[*]} failed with status $status"
	name=${LANE_NAME[$pid]} seconds=$((SECONDS - LANE_START[$pid])) log=$LANE_LOGS-${LANE_NAME[$pid]}.log
	unset "LANE_NAME[$pid]" "LANE_START[$pid]"
	printf '==== %s\n' "$name"
	cat "$log"
	read -r p f s < <(lane_counts "$log")
	# Who fails without a failed check, or checked nothing, is one.
	if ((status && f == 0)); then
		f=1
		printf 'not ok - %s ended with status %d\n' "$name" "$status" | tee -a "$log"
	elif ((p == 0 && f == 0)); then
		f=1
		printf 'not ok - %s ran no check\n' "$name" | tee -a "$log"
	fi
	LANES_PASSED=$((LANES_PASSED + p)) LANES_FAILED=$((LANES_FAILED + f)) LANES_SKIPPED=$((LANES_SKIPPED + s))
	LANE_TIMES+=("$(printf '%-10s %4d passed %3d failed %3d skipped %5d s' "$name" "$p" "$f" "$s" "$seconds")")
}

# lane_counts LOG: how many passed, failed and were skipped, of the scripts' checks
# and of cargo's tests.
lane_counts() {
	LC_ALL=C awk '
		/^ok - / { p++ }
		/^not ok - / { f++ }
		/^skip - / { s++ }
		/^test result: / { for (i = 1; i <= NF; i++) {
			if ($(i + 1) ~ /^passed/) p += $i
			if ($(i + 1) ~ /^failed/) f += $i
			if ($(i + 1) ~ /^ignored/) s += $i } }
		END { print p + 0, f + 0, s + 0 }' "$1"
}

# lanes_stop: ends those that run; a guest takes a moment to go.
lanes_stop() {
	local pid
	for pid in "${!LANE_NAME[@]}"; do kill -TERM -- -"$pid" 2>/dev/null || true; done
	for pid in "${!LANE_NAME[@]}"; do wait "$pid" 2>/dev/null || true; done
}
