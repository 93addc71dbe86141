#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage: tests/splat.sh
#
# Does scripts/splat tell trouble from what the kernel says when a run has
# allocations fail? The logs are made of lines that kernels said.
set -uo pipefail
splat=$(dirname "$0")/../scripts/splat
log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=0

# judged WANT NAME, of the log: WANT is what splat must say of it without and with
# SPLAT_INJECTED, each + (no trouble) or -.
judged() {
	local got=
	SPLAT_INJECTED='' "$splat" "$log" >/dev/null && got=+ || got=-
	SPLAT_INJECTED=1 "$splat" "$log" >/dev/null && got+=+ || got+=-
	if [[ $got == "$1" ]]; then
		echo "ok - $2"
	else
		echo "not ok - $2: $got, should be $1"
		failed=1
	fi
}
trace() {
	cat <<-'END'
		[  485.876734] CPU: 2 UID: 0 PID: 108 Comm: python3 Tainted: G           O        7.3.4-sanitizer #1 PREEMPT
		[  485.876780] Tainted: [O]=OOT_MODULE
		[  485.876801] Call Trace:
		[  485.876821]  <TASK>
		[  485.876844]  dump_stack_lvl+0x69/0x90
		[  485.881110]  </TASK>
	END
}
slab() {
	echo "[  485.876555] __kmem_cache_create_args(wireguard_rs_peer) failed with error $1"
	trace
}

echo '[  486.526243] wireguard_rs: WireGuard in Rust loaded' >"$log"
judged ++ "a log without trouble"
trace >"$log"
judged -- "a trace"
slab -12 >"$log"
judged -+ "a slab cache without memory"
slab -22 >>"$log"
judged -+ "two of them"
slab -17 >"$log"
judged -- "a slab cache that is there already"
{ slab -12; trace; } >"$log"
judged -- "another trace after it"
{ slab -12; echo '[  486.000000] BUG: KASAN: slab-out-of-bounds in f+0x1/0x2'; } >"$log"
judged -- "a report after it"
slab -12 | sed '/Tainted: \[/a [  485.876790] WARNING: net/core/skbuff.c:1 at f+0x1/0x2' >"$log"
judged -- "a report in the middle of it"
printf '%s\n' '[  1.0] python3: page allocation failure: order:0, mode:0xcc0' "$(trace)" '[  1.1] Mem-Info:' >"$log"
judged -+ "pages"
printf '%s\n' '[  1.0] ref_tracker: memory allocation failure, unreliable refcount tracker.' >"$log"
judged -+ "a reference that is not tracked"
exit "$failed"
