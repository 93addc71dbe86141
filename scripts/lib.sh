# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Common ground of the scripts: messages, the cache, what the host must have,
# and which mirror it uses. Sourced, never run.

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# shellcheck source=scripts/pins.sh
. "$TOP/scripts/pins.sh"

CACHE=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/wireguard-rs
BUILD=$TOP/build
export TOP CACHE BUILD

# say WHAT: one line of progress, on stderr so that stdout stays the result's.
say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# die WHY [STATUS]: one sentence, then out.
die() {
	printf '%s: error: %s\n' "${0##*/}" "$1" >&2
	exit "${2:-1}"
}

need_root() {
	[[ $EUID -eq 0 ]] || die "must run as root (it makes a chroot and mounts); run it with sudo"
}

# logged LOG WHAT COMMAND...: runs a long step quietly, its output in LOG; on
# failure shows the end of it.
logged() {
	local log=$1 what=$2 start=$SECONDS
	shift 2
	mkdir -p "$(dirname "$log")"
	say "$what ..."
	# Not "if ! ...": that would switch off set -e inside a function.
	local status=0
	set +e
	(set -e; "$@") >"$log" 2>&1 </dev/null
	status=$?
	set -e
	if ((status)); then
		tail -n 25 "$log" >&2
		die "$what failed; the whole log is $log"
	fi
	say "$what: done in $((SECONDS - start)) s"
}

# bounded SECONDS COMMAND...: for steps that depend on the network.
bounded() {
	timeout --kill-after=10 "$@"
}

# ---------------------------------------------------------------- the cache

# key WORD...: a short name for a set of inputs.
key() { printf '%s\0' "$@" | sha256sum | cut -c1-12; }

# A finished entry is a directory with a .complete file in it. It is made
# under a temporary name and renamed, so what has its final name is whole.
cache_has() {
	[[ -e $CACHE/$1/.complete ]] && touch -c "$CACHE/$1/.complete"
}

# cache_make NAME FUNCTION: unless entry NAME is there, calls FUNCTION with
# the path of an empty directory to fill; two runs never make the same entry
# at once, and an interrupted one leaves nothing behind that counts.
cache_make() {
	local name=$1 fn=$2 lock tmp status
	mkdir -p "$CACHE"
	cache_has "$name" && return 0
	exec {lock}>"$CACHE/.lock-$name"
	if ! flock --nonblock "$lock"; then
		say "another run is making $name, waiting for it (at most 30 minutes)"
		flock --timeout 1800 "$lock" || die "the other run did not finish $name; see what holds $CACHE/.lock-$name"
	fi
	if ! cache_has "$name"; then
		cache_prune "$name"
		cache_remove "$CACHE"/.tmp-"$name".*
		tmp=$(mktemp -d "$CACHE/.tmp-$name.XXXXXX")
		chmod 755 "$tmp"
		# Not "if ! ...": that would switch off set -e inside the function.
		set +e
		(exec {lock}>&-; set -e; "$fn" "$tmp")
		status=$?
		set -e
		if ((status)); then
			cache_remove "$tmp"
			exit "$status"
		fi
		touch "$tmp/.complete"
		cache_remove "$CACHE/$name"
		mv -T "$tmp" "$CACHE/$name"
	fi
	exec {lock}>&-
}

# cache_remove PATH...: refuses to cross into anything mounted below.
cache_remove() {
	local p
	for p; do
		[[ -e $p ]] || continue
		[[ $p == "$CACHE"/* ]] || die "will not remove $p, it is outside $CACHE"
		rm -rf --one-file-system "$p"
	done
}

# cache_prune KEEP: drops the entries unused for longest until the rest fits,
# never one that was used in the last hour, and leftovers of dead runs.
cache_prune() {
	local keep=$1 total entry mib stamp dir
	find "$CACHE" -maxdepth 1 -name '.tmp-*' -mmin +240 -print0 |
		while IFS= read -r -d '' entry; do
			say "dropping $entry, left by an interrupted run"
			cache_remove "$entry"
		done
	# Room for what is about to be made: the largest entry is about 3 GiB.
	total=$(($(du -sxm "$CACHE" 2>/dev/null | cut -f1) + 3072))
	while IFS=$'\t' read -r stamp dir; do
		((total > PIN_CACHE_LIMIT_MIB)) || break
		entry=${dir##*/}
		[[ $entry != "$keep" ]] || continue
		((stamp < $(date +%s) - 3600)) || continue
		mib=$(du -sxm "$dir" | cut -f1)
		say "the cache is over its limit: dropping $entry ($mib MiB, last used $(date -d "@$stamp" +%F))"
		cache_remove "$dir"
		total=$((total - mib))
	done < <(for dir in "$CACHE"/*/.complete; do
		[[ ! -e $dir ]] || printf '%s\t%s\n' "$(stat -c %Y "$dir")" "${dir%/.complete}"
	done | sort -n)
}

# The names of our KUnit suites, as src/ and rust/ have them, one on a line.
kunit_suites() {
	grep -rhoE 'kunit_tests\((wgk?_[a-z0-9_]+)\)' "$TOP/src" "$TOP/rust" | sed 's/.*(\(.*\))/\1/' | sort -u
}

# ----------------------------------------------------------------- the host

# host_needs COMMAND PACKAGE [COMMAND PACKAGE]...: installs what is missing.
host_needs() {
	local missing=()
	while (($#)); do
		if [[ $1 == /* ]]; then [[ -e $1 ]] || missing+=("$2"); else command -v "$1" >/dev/null || missing+=("$2"); fi
		shift 2
	done
	((${#missing[@]})) || return 0
	command -v apt-get >/dev/null || die "this host lacks ${missing[*]} and has no apt-get; a Debian 12 or 13 host is needed"
	need_root
	say "this host lacks ${missing[*]}: installing with apt-get"
	export DEBIAN_FRONTEND=noninteractive
	logged "$CACHE/log/host-update.log" "apt-get update on the host" bounded 300 apt-get -q update
	logged "$CACHE/log/host-install.log" "apt-get install ${missing[*]}" \
		bounded 600 apt-get -q -y --no-install-recommends install "${missing[@]}"
}

# The mirror: DEBIAN_MIRROR, else the one this host's own apt uses for Debian.
# Other archives may be configured beside it (they too may call a suite after
# a Debian release), so what says it is Debian's, or is signed by Debian's
# keys, or ends in /debian, comes first.
debian_mirror() {
	local origin release component uri signed score best=0 found=
	if [[ -n ${DEBIAN_MIRROR:-} ]]; then
		printf '%s\n' "${DEBIAN_MIRROR%/}"
		return
	fi
	while IFS='|' read -r origin release component uri signed; do
		[[ $component == main ]] || continue
		[[ $release =~ ^(oldstable|stable|testing|bookworm|trixie|forky|sid)$ ]] || continue
		[[ $uri == *debian-security* ]] && continue
		score=1
		[[ ${uri%/} == */debian ]] && score=2
		[[ $signed == *debian-archive* ]] && score=3
		[[ $origin == Debian ]] && score=4
		((score > best)) && best=$score found=${uri%/}
	done < <(apt-get indextargets --format '$(ORIGIN)|$(RELEASE)|$(COMPONENT)|$(REPO_URI)|$(SIGNED_BY)' 'Created-By: Packages' 2>/dev/null)
	# "mirror+file:" names a list of mirrors; its first line will do.
	if [[ $found == mirror+file:* ]]; then
		found=$(grep -m1 -oE '^[a-z]+://[^[:space:]]+' "/${found#mirror+file:/}" || true)
		found=${found%/}
	fi
	[[ -n $found ]] || die "this host's apt configuration names no Debian mirror; set DEBIAN_MIRROR=<URL of one>"
	printf '%s\n' "$found"
}

# What apt on this host was told about proxies, certificates and clocks.
apt_host_options() {
	apt-config dump | grep -E '^Acquire::(https?::(Proxy|CaInfo|CaPath|Verify-Peer|Verify-Host)|Check-Valid-Until|Check-Date)' |
		grep -v 'Proxy-Auto-Detect' || true
}
