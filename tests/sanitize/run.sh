#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the guest): tests/sanitize/run.sh ours|c COMMAND...
#
# Runs COMMAND with an eye on leaks: forgets those of the boot, runs it, looks
# for leaks with the module loaded and after it is unloaded. What else is
# wrong is in the kernel log, which scripts/vm reads.
set -uo pipefail
driver=$1
shift
. "$(dirname "$0")/../smoke/lib.sh"
. "$(dirname "$0")/lib.sh"

races_of_mutexes_ignored
leaks_forget
owners save /tmp/owners
start=$SECONDS
if "$@"; then
	ok "$*"
else
	not_ok "$* (exit status $?)"
fi
note "took $((SECONDS - start)) s"
epilogue
verdict
