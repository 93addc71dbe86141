#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in the guest): tests/misuse/run.sh guest.py|apifuzz.py ARGUMENT...
#
# Runs one of the two, and looks whether lockdep still watches and the kernel
# is as it was. Leaks are looked for after the fuzzer only: some attempts end
# in one, and say so.
set -uo pipefail
. "$(dirname "$0")/../smoke/lib.sh"
. "$(dirname "$0")/../sanitize/lib.sh"
what=$1
shift

races_of_mutexes_ignored
leaks_forget
# What fail-nth has fail: also what may wait, and without a word.
for fault in /sys/kernel/debug/fail{slab,_page_alloc}; do
	[[ -e $fault ]] || continue
	echo N >"$fault/ignore-gfp-wait"
	echo 0 >"$fault/verbose"
done
start=$SECONDS
python3 "$(dirname "$0")/$what" "$@" || not_ok "$what (exit status $?)"
note "took $((SECONDS - start)) s"
[[ $what != apifuzz.py ]] || leaks_none "no leak after the fuzzer's module is unloaded"
lockdep_on "lockdep is still watching"
no_taint "the kernel saw no warning"
verdict
