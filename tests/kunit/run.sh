#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the guest): tests/kunit/run.sh
#
# The suites of the module ran when it was loaded; hands out their results,
# one file per suite in KTAP, and looks for leaks.
set -uo pipefail
. "$(dirname "$0")/../smoke/lib.sh"
. "$(dirname "$0")/../sanitize/lib.sh"
driver=ours

suites=/sys/kernel/debug/kunit
[[ -d $suites ]] || { echo "not ok - this kernel has no KUnit (CONFIG_KUNIT, CONFIG_KUNIT_DEBUGFS)"; exit 1; }
mkdir -p /out/kunit
for suite in "$suites"/*; do
	cat "$suite/results" >"/out/kunit/${suite##*/}"
done
epilogue
verdict
