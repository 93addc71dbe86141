# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Common ground of what runs on a sanitizer kernel. Sourced in the guest,
# after tests/smoke/lib.sh.

leaks=/sys/kernel/debug/kmemleak

kmemleak_off() { grep -qw kmemleak=off /proc/cmdline; }

# leaks_forget: what leaked before (at boot) is not ours.
leaks_forget() { [[ ! -e $leaks ]] || kmemleak_off || echo clear >"$leaks"; }

# leaks_none NAME: a check that kmemleak finds nothing. It looks only at what
# is older than five seconds, and a pointer on its way may hide from one scan.
leaks_none() {
	[[ -e $leaks ]] || return 0
	if kmemleak_off; then
		skip "$1" "kmemleak is off"
		return 0
	fi
	sleep 6
	echo scan >"$leaks"
	echo scan >"$leaks"
	if [[ ! -s $leaks ]] || ! grep -q . "$leaks"; then
		ok "$1"
	else
		not_ok "$1"
		cat "$leaks"
		echo clear >"$leaks"
	fi
}

# races_of_mutexes_ignored: the queue of those who spin for a mutex reads the
# neighbour's node, unmarked, while he leaves it; KCSAN reports that for every
# mutex that is contended, here genl's. Nothing else is exempt.
races_of_mutexes_ignored() {
	local function
	[[ -e /sys/kernel/debug/kcsan ]] || return 0
	for function in osq_lock osq_unlock; do echo "!$function" >/sys/kernel/debug/kcsan; done
}

# owners save|compare FILE: see owners.py.
owners() {
	local out status=0
	out=$(python3 "$(dirname "${BASH_SOURCE[0]}")/owners.py" "$@") || status=$?
	case $out in
	ok*) passed=$((passed + 1)) ;;
	not*) failed=$((failed + 1)) ;;
	esac
	[[ ! $out ]] || printf '%s\n' "$out"
	return "$status"
}

# no_taint: a check that the kernel has seen no warning (bit 9), died (7) or
# got stuck (14), whatever the log still shows of it.
no_taint() {
	local taint
	taint=$(</proc/sys/kernel/tainted)
	if ((taint & (1 << 9 | 1 << 7 | 1 << 14))); then
		not_ok "$1 (taint $taint)"
	else
		ok "$1"
	fi
}

# lockdep_on: a check that lockdep did not switch itself off.
lockdep_on() {
	[[ -e /proc/lockdep_stats ]] || return 0
	if grep -qE 'debug_locks: +1' /proc/lockdep_stats; then
		ok "$1"
	else
		not_ok "$1"
	fi
}

# lock_order: a check that locks nest as the table says; before the module goes, and its classes.
lock_order() {
	local out status=0
	out=$(python3 "$(dirname "${BASH_SOURCE[0]}")/locks.py") || status=$?
	case $out in
	*"not ok - "*) failed=$((failed + 1)) ;;
	ok*|*$'\n'"ok - "*) passed=$((passed + 1)) ;;
	esac
	printf '%s\n' "$out"
	return "$status"
}

# epilogue: leaks with the module loaded and without, and what else tells.
epilogue() {
	local ns
	for ns in $(ip netns list 2>/dev/null | cut -d' ' -f1); do ip netns del "$ns"; done
	sleep 1
	[[ -e $leaks || ! -e /tmp/owners ]] || owners compare /tmp/owners
	leaks_none "no leak with the module loaded"
	# shellcheck disable=SC2154
	[[ $driver != ours ]] || lock_order
	# shellcheck disable=SC2154
	check "the module can be unloaded" driver_unload "$driver"
	leaks_none "no leak after it is unloaded"
	lockdep_on "lockdep is still watching"
	no_taint "the kernel saw no warning"
}
