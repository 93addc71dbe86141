#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the guest): tests/field/guest.sh CASE...
#
# Runs cases one after another; each goes on after the one before failed.
set -uo pipefail
cd "$(dirname "$0")" || exit 1

passed=0 failed=0
log=$(mktemp)
for name; do
	echo "# ---- $name"
	timeout --kill-after=5 400 "./$name.sh" </dev/null 2>&1 | sed "s/^\(ok\|not ok\) - /\1 - $name: /" | tee "$log"
	status=${PIPESTATUS[0]}
	p=$(grep -c '^ok - ' "$log") f=$(grep -c '^not ok - ' "$log")
	if ((f == 0 && (status || p == 0))); then
		echo "not ok - $name: ended with status $status after $p checks (124: its time-out of 400 s)"
		f=1
	fi
	passed=$((passed + p)) failed=$((failed + f))
done
printf '%d passed, %d failed, 0 skipped\n' "$passed" "$failed"
((failed == 0 && passed > 0))
