# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The sandbox: a chroot with the whole toolchain and QEMU, made once per set of
# packages, read-only afterwards, entered in a mount namespace of its own.
# Sourced after lib.sh.

# flavour_choose: which kernel is meant, by FLAVOUR=, ARCH= and KERNEL_SUITE= of the
# environment. Sets FLAVOUR, DEB_ARCH (amd64, arm64: as Debian calls it), KERNEL_SUITE
# and where the sandbox for it is. The sandbox itself is amd64, and has what builds and
# boots arm64 if need be.
flavour_choose() {
	local asked='' p
	case ${ARCH:-} in
	'') ;;
	amd64|x86|x86_64) asked=amd64 ;;
	arm64|aarch64) asked=arm64 ;;
	*) die "there are no kernels with Rust, 64 bits and a test here for ARCH=$ARCH: it is amd64 or arm64" 2 ;;
	esac
	if [[ ! ${FLAVOUR:-} ]]; then
		FLAVOUR=$PIN_FLAVOUR
		[[ $asked != arm64 ]] || FLAVOUR=arm64
	fi
	[[ " ${PIN_FLAVOURS[*]} " == *" $FLAVOUR "* ]] ||
		die "there is no kernel flavour '$FLAVOUR' with Rust: FLAVOUR= is one of ${PIN_FLAVOURS[*]}" 2
	DEB_ARCH=amd64
	[[ $FLAVOUR != *arm64* ]] || DEB_ARCH=arm64
	[[ ! $asked || $asked == "$DEB_ARCH" ]] ||
		die "ARCH=$ARCH has no flavour $FLAVOUR: leave one of ARCH= and FLAVOUR= out" 2
	KERNEL_SUITE=${KERNEL_SUITE:-$PIN_SUITE}
	[[ $KERNEL_SUITE == "$PIN_SUITE" || $KERNEL_SUITE == "${PIN_UNSTABLE[0]}" ]] ||
		die "there are no kernels of a suite '$KERNEL_SUITE' here: KERNEL_SUITE= is $PIN_SUITE or ${PIN_UNSTABLE[0]}" 2
	export FLAVOUR KERNEL_SUITE
	p=("${PIN_SANDBOX_PACKAGES[@]}")
	SANDBOX_NAME=sandbox
	if [[ $DEB_ARCH == arm64 ]]; then
		SANDBOX_NAME+=-arm64
		p+=("${PIN_SANDBOX_PACKAGES_ARM64[@]}")
	fi
	if [[ $KERNEL_SUITE != "$PIN_SUITE" ]]; then
		SANDBOX_NAME+=-$KERNEL_SUITE
		p=("${p[@]/#gcc-14/gcc-$PIN_UNSTABLE_GCC}")
	fi
	SANDBOX_NAME+=-$(key "$KERNEL_SUITE" "$PIN_SANDBOX_VERSION" "${p[@]}")
	SANDBOX=$CACHE/$SANDBOX_NAME
	SANDBOX_PACKAGES=("${p[@]}")
}
flavour_choose

# kernel_is_pinned: whether it is the kernel that all of the tests are for.
kernel_is_pinned() { [[ $FLAVOUR == "$PIN_FLAVOUR" && $KERNEL_SUITE == "$PIN_SUITE" ]]; }

# amd64_only: for who puts programs of the sandbox's into the guest.
amd64_only() {
	[[ $DEB_ARCH == amd64 ]] ||
		die "${0##*/} puts programs that were built for amd64 into its guests, and $FLAVOUR is of $DEB_ARCH: take a flavour of amd64" 2
}

CARGO_TARGET=$CACHE/cargo-target

KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# debootstrap_into DIR PACKAGE...: a minimal system of the pinned suite and its
# backports with these packages, or of DEBOOTSTRAP_SUITES=, the second of which has
# no more than what is asked for by version. A "pkg/suite" takes pkg from that suite. With
# DEBOOTSTRAP_ARCH= of another architecture it is only unpacked: nothing of it runs
# here.
debootstrap_into() {
	local dir=$1 mirror
	shift
	host_needs mmdebstrap mmdebstrap "$KEYRING" debian-archive-keyring unshare util-linux
	mirror=$(debian_mirror)
	mkdir -p "$CACHE/log"
	apt_host_options >"$dir.apt"
	printf '%s\n' 'Acquire::Retries "3";' 'Acquire::Languages "none";' 'APT::Install-Recommends "false";' >>"$dir.apt"
	say "using the mirror $mirror"
	local arch=${DEBOOTSTRAP_ARCH:-amd64} how=(--variant=minbase) suites
	read -ra suites <<<"${DEBOOTSTRAP_SUITES:-$PIN_SUITE $PIN_SUITE-backports}"
	local sources=("${suites[@]/#/deb $mirror }")
	[[ $arch == amd64 ]] || how=(--variant=extract '--include=?essential')
	# In a mount namespace: what mmdebstrap mounts can not stay behind.
	local status=0
	bounded 1500 unshare --mount --propagation private -- \
		mmdebstrap --quiet --mode=root "${how[@]}" --format=directory \
		--architectures="$arch" --components=main --keyring="$KEYRING" \
		--aptopt="$dir.apt" \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt='force-unsafe-io' \
		--include="$(IFS=,; echo "$*")" "${suites[0]}" "$dir" "${sources[@]/%/ main}" || status=$?
	if ((status)); then
		echo "the mirror $mirror did not deliver ${suites[0]} with these packages; DEBIAN_MIRROR=<URL> takes another"
		return 1
	fi
	mv "$dir.apt" "$dir/etc/apt/apt.conf.d/90host"
}

sandbox_fill() {
	local -x DEBOOTSTRAP_SUITES=
	[[ $KERNEL_SUITE == "$PIN_SUITE" ]] || DEBOOTSTRAP_SUITES=${PIN_UNSTABLE[*]}
	logged "$CACHE/log/sandbox.log" "making the $KERNEL_SUITE sandbox (toolchain, QEMU; about 2 minutes)" \
		debootstrap_into "$1/root" "${SANDBOX_PACKAGES[@]}"
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
