# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The sandbox: a chroot with the whole toolchain and QEMU, made once per set of
# packages, read-only afterwards, entered in a mount namespace of its own.
# Sourced after lib.sh.

# flavour_choose: which kernel is meant, by FLAVOUR= of the environment.
flavour_choose() {
	FLAVOUR=${FLAVOUR:-$PIN_FLAVOUR}
	[[ " ${PIN_FLAVOURS[*]} " == *" $FLAVOUR "* ]] ||
		die "there is no kernel flavour '$FLAVOUR' with Rust: FLAVOUR= is one of ${PIN_FLAVOURS[*]}" 2
	export FLAVOUR
}
flavour_choose

SANDBOX_NAME=sandbox-$(key "$PIN_SUITE" "$PIN_SANDBOX_VERSION" "${PIN_SANDBOX_PACKAGES[@]}")
SANDBOX=$CACHE/$SANDBOX_NAME
CARGO_TARGET=$CACHE/cargo-target

KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# debootstrap_into DIR PACKAGE...: a minimal system of the pinned suite and its
# backports with these packages. A "pkg/suite" takes pkg from that suite.
debootstrap_into() {
	local dir=$1 mirror
	shift
	host_needs mmdebstrap mmdebstrap "$KEYRING" debian-archive-keyring unshare util-linux
	mirror=$(debian_mirror)
	mkdir -p "$CACHE/log"
	apt_host_options >"$dir.apt"
	printf '%s\n' 'Acquire::Retries "3";' 'Acquire::Languages "none";' 'APT::Install-Recommends "false";' >>"$dir.apt"
	say "using the mirror $mirror"
	# In a mount namespace: what mmdebstrap mounts can not stay behind.
	local status=0
	bounded 1500 unshare --mount --propagation private -- \
		mmdebstrap --quiet --mode=root --variant=minbase --format=directory \
		--architectures=amd64 --components=main --keyring="$KEYRING" \
		--aptopt="$dir.apt" \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt='force-unsafe-io' \
		--include="$(IFS=,; echo "$*")" "$PIN_SUITE" "$dir" \
		"deb $mirror $PIN_SUITE main" "deb $mirror $PIN_SUITE-backports main" || status=$?
	if ((status)); then
		echo "the mirror $mirror did not deliver $PIN_SUITE with these packages; DEBIAN_MIRROR=<URL> takes another"
		return 1
	fi
	mv "$dir.apt" "$dir/etc/apt/apt.conf.d/90host"
}

sandbox_fill() {
	logged "$CACHE/log/sandbox.log" "making the $PIN_SUITE sandbox (toolchain, QEMU; about 2 minutes)" \
		debootstrap_into "$1/root" "${PIN_SANDBOX_PACKAGES[@]}"
	mkdir -p "$1/root/kernel"
}

sandbox_ensure() {
	need_root
	host_needs unshare util-linux flock util-linux setpriv util-linux
	unshare --mount true 2>/dev/null ||
		die "root may not make a mount namespace here (a container without CAP_SYS_ADMIN?): run on a machine of its own"
	cache_make "$SANDBOX_NAME" sandbox_fill
	mkdir -p "$CACHE/cargo"
	# A registry mirror of the host's is the sandbox's too.
	local f
	for f in "${CARGO_HOME:-${HOME:-/root}/.cargo}"/config.toml; do
		[[ ! -f $f || $f -ef $CACHE/cargo/config.toml ]] || cp "$f" "$CACHE/cargo/config.toml"
	done
}

# in_sandbox COMMAND...: runs it in the sandbox, the checkout and the cache at
# their own paths, the kernel of $KERNEL_DIR (if set) at /kernel, and what is
# in the array SANDBOX_BINDS at its own path too.
SANDBOX_BINDS=()
in_sandbox() {
	sandbox_command
	"${SANDBOX_CMD[@]}" "$@"
}

# The prefix that does it. Every step execs the next, so that the process
# started with it is the command itself and can be ended by its pid.
sandbox_command() {
	SANDBOX_CMD=(unshare --mount --propagation private -- "$TOP/scripts/sandbox-enter"
		"$SANDBOX/root" "${KERNEL_DIR:-}" "$TOP" "$CACHE" "${SANDBOX_BINDS[@]}" --)
}

# cargo_fetch WHOSE CARGO-ARGUMENT...: the crates of WHOSE Cargo.lock, if they are
# not there. On its own, as that part depends on the network.
cargo_fetch() {
	local whose=$1
	shift
	! in_sandbox timeout --kill-after=10 300 cargo fetch --quiet "$@" --offline 2>/dev/null || return 0
	say "fetching the crates of $whose"
	in_sandbox timeout --kill-after=10 600 cargo fetch "$@" ||
		die "cargo could not fetch the crates; the sandbox takes proxies, certificates and ~/.cargo/config.toml from the host"
}

# in_sandbox_with PATH COMMAND...: with this path in it as well.
in_sandbox_with() {
	local SANDBOX_BINDS=("$1")
	shift
	in_sandbox "$@"
}
