# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The stock kernel: resolved from the package index, unpacked, and its source
# prepared so that Rust modules can be built for it without building it.
# Sourced after lib-sandbox.sh.
#
# kernel_ensure sets KREL (its release), KVER (the package version) and
# KERNEL_DIR, which is /kernel in the sandbox:
#   src/   the source, of the same version
#   out/   the prepared output: configuration, Rust metadata, Module.symvers
#   boot/  vmlinuz and lib/modules/, as the packages ship them
# The kernel of the pinned flavour has the whole source, from which it is prepared
# by the kernel's own rules and sanitizer kernels are built. For any other flavour
# scripts/rust-metadata makes out/ of the headers packages, as it does for DKMS: a
# fourth of the time, a tenth of the room. There is then besides:
#   headers/  those packages; the sandbox has them where Debian puts them
# and src/ is what the tests take from the source.

# apt in the sandbox, with package lists of its own in the cache, as on a machine
# of the kernel's architecture, which can take tools of the sandbox's too.
kernel_apt() {
	local cmd=$1 of=
	local more=()
	shift
	if [[ $DEB_ARCH != amd64 ]]; then
		of=-$DEB_ARCH
		more=(-o APT::Architecture="$DEB_ARCH" -o APT::Architectures::="$DEB_ARCH" -o APT::Architectures::=amd64)
	fi
	[[ $KERNEL_SUITE == "$PIN_SUITE" ]] || of+=-$KERNEL_SUITE
	mkdir -p "$CACHE/apt/lists$of/partial" "$CACHE/apt/cache$of/archives/partial"
	in_sandbox "$cmd" -q -o Dir::State::lists="$CACHE/apt/lists$of" \
		-o Dir::Cache="$CACHE/apt/cache$of" -o APT::Sandbox::User=root "${more[@]}" "$@"
}

# The version of a package; empty if there is none.
kernel_package_version() {
	kernel_apt apt-cache madison "$1" 2>/dev/null | awk -F' *[|] *' 'NR == 1 { print $2 }'
}

# kernel_find SERIES: "RELEASE VERSION" of the newest kernel of the series, if
# headers, image and source are there in one version. A release may be all that there is
# of a name: "7.3-amd64".
kernel_find() {
	local series=$1 names release version v source p
	names=$(kernel_apt apt-cache pkgnames "linux-headers-$series" |
		grep -E "^linux-headers-${series//./\\.}(\.[0-9]+)?(-rc[0-9]+)?(\+deb[0-9]+)?-$FLAVOUR\$" | sort -Vr || true)
	[[ -n $names ]] || return 0
	source=$(kernel_package_version "linux-source-$series")
	[[ -n $source ]] || return 0
	while read -r p; do
		release=${p#linux-headers-}
		version=$(kernel_package_version "$p")
		[[ $version == "$source" ]] || continue
		v=$(kernel_package_version "linux-image-$release")
		[[ $v == "$version" ]] || die "the index has headers $version of $release but image ${v:-none}: the mirror is half updated, try later or set DEBIAN_MIRROR"
		printf '%s %s\n' "$release" "$version"
		return 0
	done <<<"$names"
	die "the index has linux-source-$series in version $source but headers only for ${names//$'\n'/, }: they must be one version; the mirror is half updated, try later or set DEBIAN_MIRROR"
}

# kernel_resolve SERIES: asks the index, says what it took.
kernel_resolve() {
	local series=$1 found other
	kernel_logged index "reading the package index" kernel_apt apt-get update
	found=$(kernel_find "$series")
	if [[ -z $found ]]; then
		other=$(kernel_apt apt-cache pkgnames linux-source- |
			sed -n 's/^linux-source-\([0-9]\+\.[0-9]\+\)$/\1/p' | sort -Vr | paste -sd' ')
		[[ -z ${KERNEL_SERIES:-} ]] || die "the index has no $FLAVOUR kernel of the series $series; it has: ${other:-none}"
		for other in $other; do
			found=$(kernel_find "$other")
			[[ -z $found ]] || break
		done
		[[ -n $found ]] || die "the index has no $FLAVOUR kernel with headers, image and source at all; set DEBIAN_MIRROR"
		say "the pinned series $series is gone from the index: taking ${found% *} instead"
	fi
	printf '%s\n' "$found"
}

# kernel_series: that of $KREL.
kernel_series() { grep -oE '^[0-9]+\.[0-9]+' <<<"$KREL"; }

# kernel_unpack DIR: packages of $KREL, all of version $KVER, into DIR.
kernel_unpack() {
	local dir=$1 series p debs=()
	series=$(kernel_series)
	mapfile -t debs < <(kernel_image_parts)
	mkdir -p "$dir/deb" "$dir/src" "$dir/out" "$dir/boot" "$dir/headers"
	(
		cd "$dir/deb"
		kernel_apt apt-get download \
			"linux-headers-$KREL=$KVER" "linux-source-$series=$KVER" "linux-image-$KREL=$KVER" "${debs[@]/%/=$KVER}"
	)
	for p in "$dir"/deb/*.deb; do
		case ${p##*/} in
		linux-headers-*) in_sandbox dpkg -x "$p" "$dir/headers" ;;
		linux-source-*)
			in_sandbox dpkg -x "$p" "$dir/deb/source"
			in_sandbox tar -C "$dir/src" --strip-components=1 -I 'xz -T0' \
				-xf "$dir/deb/source/usr/src/linux-source-$series.tar.xz"
			;;
		*) in_sandbox dpkg -x "$p" "$dir/boot" ;;
		esac
	done
	rm -rf "$dir/deb"
	kernel_boot_layout "$dir"
}

# kernel_image_parts [WHAT]: the packages beside the image's that hold vmlinuz and
# the modules; the image package names them.
kernel_image_parts() {
	kernel_apt apt-cache depends "linux-image-$KREL=$KVER" |
		sed -nE "s/^ *Depends: (linux-(${1:-binary|modules})-.*)/\1/p"
}

# kernel_boot_layout DIR: old and new layouts of the image packages, made one.
kernel_boot_layout() {
	local dir=$1 p
	p=$(find "$dir/boot" -name 'vmlinuz*' -type f | head -n 1)
	[[ -n $p ]] || { echo "the image packages of $KREL hold no vmlinuz"; return 1; }
	mv "$p" "$dir/boot/vmlinuz"
	if [[ -d $dir/boot/usr/lib/modules ]]; then
		mkdir -p "$dir/boot/lib"
		mv "$dir/boot/usr/lib/modules" "$dir/boot/lib/modules"
	fi
	rm -rf "$dir/boot/usr" "$dir/boot/lib/modules/$KREL"/{vmlinuz,build,source}
	in_sandbox depmod -b "$dir/boot" "$KREL"
}

# kernel_prepare DIR: the Rust metadata of the stock kernel, made again.
kernel_prepare() {
	local dir=$1 headers=$1/headers/usr/src/linux-headers-$KREL cc
	cp "$headers/.config" "$dir/out/.config"
	grep -q '^CONFIG_RUST=y' "$dir/out/.config" ||
		{ echo "error: the kernel $KREL is built without Rust (CONFIG_RUST is not set)"; return 1; }
	cc=$(kernel_cc "$dir/out/.config")
	local -x KERNEL_DIR=$dir KERNEL_WRITABLE=1
	local make=(in_sandbox make -C /kernel/src O=/kernel/out CC="$cc" HOSTCC="$cc" LOCALVERSION="${KREL#"${KREL%%+*}"}")
	"${make[@]}" olddefconfig
	grep -q '^CONFIG_RUST=y' "$dir/out/.config" ||
		{ echo "error: the sandbox's Rust tools do not fit the kernel $KREL: CONFIG_RUST was dropped"; return 1; }
	"${make[@]}" -j"$(nproc)" modules_prepare
	[[ $(cat "$dir/out/include/config/kernel.release") == "$KREL" ]] ||
		{ echo "error: the source makes $(cat "$dir/out/include/config/kernel.release"), the headers are $KREL: they do not match"; return 1; }
	cp "$headers/Module.symvers" "$dir/out/"
	rm -rf "$dir/headers"
	chmod -R go+rX "$dir"
}

# kernel_source_pack DIR: of linux-source, what rust-metadata unpacks as a tarball
# under the package's own name, and what tests run or read in src/.
kernel_source_pack() {
	local dir=$1 top
	top=linux-source-$(kernel_series)
	mkdir -p "$dir/deb" "$dir/src"
	(cd "$dir/deb" && kernel_apt apt-get download "$top=$KVER")
	in_sandbox dpkg -x "$dir"/deb/*.deb "$dir/deb/package"
	in_sandbox tar -C "$dir/deb" -I 'xz -T0' -xf "$dir/deb/package/usr/src/$top.tar.xz" --wildcards \
		"$top/rust" "$top/scripts" "$top/drivers/base/base.h" "$top/drivers/android/binder/*.h" \
		"$top/tools/testing/selftests/wireguard" "$top/tools/net/ynl" "$top/Documentation/netlink" "$top/.rustfmt.toml"
	in_sandbox tar -C "$dir/deb" -I 'xz -T0 -1' -cf "$dir/$top.tar.xz" "$top"/{rust,scripts,drivers}
	mv "$dir/deb/$top"/{tools,Documentation,.rustfmt.toml} "$dir/src/"
	rm -rf "$dir/deb"
}

# kernel_source_ensure: one for all flavours of $KVER. Sets KERNEL_SOURCE.
kernel_source_ensure() {
	local name
	name=source-$KVER-$(key "$(declare -f kernel_source_pack)")
	source_fill() { kernel_logged source "fetching the source of kernel $KVER" kernel_source_pack "$1"; }
	cache_make "$name" source_fill
	KERNEL_SOURCE=$CACHE/$name
}

# kernel_unpack_parts DIR: image and headers of $KREL into DIR, without the source.
kernel_unpack_parts() {
	local dir=$1 p headers image
	# kbuild's are programs, which run here.
	mapfile -t headers < <(kernel_apt apt-cache depends "linux-headers-$KREL=$KVER" |
		sed -nE 's/^ *Depends: (linux-headers-.*)/\1/p; s/^ *Depends: (linux-kbuild-[^:]*).*/\1:amd64/p')
	mapfile -t image < <(kernel_image_parts 'binary|modules|base')
	mkdir -p "$dir"/{deb,headers,boot}
	(
		cd "$dir/deb"
		kernel_apt apt-get download "linux-headers-$KREL=$KVER" "linux-image-$KREL=$KVER" \
			"${headers[@]/%/=$KVER}" "${image[@]/%/=$KVER}"
	)
	for p in "$dir"/deb/*.deb; do
		case ${p##*/} in
		linux-headers-*|linux-kbuild-*) in_sandbox dpkg -x "$p" "$dir/headers" ;;
		*) in_sandbox dpkg -x "$p" "$dir/boot" ;;
		esac
	done
	rm -rf "$dir/deb"
	kernel_boot_layout "$dir"
}

# kernel_metadata DIR SOURCE: DIR/out by scripts/rust-metadata, which finds in DIR
# what it would find on a machine where these packages are installed.
kernel_metadata() {
	local dir=$1 p
	cp -r "$2/src" "$dir/src"
	mkdir -p "$dir/packages/dpkg" "$dir/packages/modules/$KREL"
	cp "$2"/linux-source-*.tar.xz "$dir/packages/"
	ln -s "/usr/src/linux-headers-$KREL" "$dir/packages/modules/$KREL/build"
	for p in "linux-headers-$KREL" "linux-source-$(kernel_series)"; do
		printf '%s\n' "Package: $p" 'Status: install ok unpacked' "Version: $KVER" 'Architecture: all' \
			'Maintainer: Debian' 'Description: as unpacked' ''
	done >"$dir/packages/dpkg/status"
	local -x KERNEL_DIR=$dir KERNEL_WRITABLE=1
	kernel_cross "$dir/headers/usr/src/linux-headers-$KREL/include/config/auto.conf"
	in_sandbox env "${KERNEL_CROSS[@]}" DPKG_ADMINDIR=/kernel/packages/dpkg SRCDIR=/kernel/packages MODDIR=/kernel/packages/modules \
		"$TOP/scripts/rust-metadata" "$KREL" /kernel/out
	rm -rf "$dir/packages"
	chmod -R go+rX "$dir"
}

# kernel_cross CONFIG: sets KERNEL_CROSS, what make must be told to build for that
# kernel here.
kernel_cross() {
	KERNEL_CROSS=()
	! grep -q '^CONFIG_ARM64=y' "$1" || KERNEL_CROSS=(ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu-)
}

# kernel_cc CONFIG: the compiler a kernel was configured for.
kernel_cc() {
	local cc
	cc=$(sed -n 's/^CONFIG_CC_VERSION_TEXT="\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' "$1")
	case $cc in
	# "Debian clang version 19.1.7": the maker's name may come first.
	*clang*) echo clang ;;
	*gcc-[0-9]*' '*) echo "${cc%% *}" ;;
	*) echo x86_64-linux-gnu-gcc-14 ;;
	esac
}

# kernel_logged LOG WHAT FUNCTION...: a step that depends on the network.
kernel_logged() {
	local log=$CACHE/log/kernel-$1.log what=$2
	shift 2
	logged "$log" "$what" bounded 1500 \
		bash -c '. "$1/scripts/lib.sh"; . "$1/scripts/lib-sandbox.sh"; . "$1/scripts/lib-kernel.sh"
			set -euo pipefail; KREL=$2 KVER=$3; shift 3; "$@"' _ "$TOP" "${KREL:-}" "${KVER:-}" "$@"
}

kernel_fill() {
	if ! kernel_is_pinned; then
		kernel_source_ensure
		kernel_logged unpack "fetching kernel $KREL ($KVER): image, headers" kernel_unpack_parts "$1"
		logged "$CACHE/log/kernel-prepare.log" "compiling the Rust crates of kernel $KREL (about 1 minute)" \
			kernel_metadata "$1" "$KERNEL_SOURCE"
		return
	fi
	kernel_logged unpack "fetching kernel $KREL ($KVER): image, headers, source" kernel_unpack "$1"
	logged "$CACHE/log/kernel-prepare.log" "preparing kernel $KREL for Rust modules (about 2 minutes)" \
		kernel_prepare "$1"
}

# kernel_name "RELEASE VERSION": sets KREL, KVER and the name of the entry.
kernel_name() {
	read -r KREL KVER <<<"$1"
	local made_of=("$KVER" "$SANDBOX_NAME" "$PIN_KERNEL_VERSION")
	kernel_is_pinned || made_of+=("$(sha256sum <"$TOP/scripts/rust-metadata")")
	KERNEL_NAME=kernel-$KREL-$(key "${made_of[@]}")
}

# kernel_ensure: needs sandbox_ensure first. KERNEL_REFRESH=1 asks the index
# for a newer point release.
kernel_ensure() {
	local series=${KERNEL_SERIES:-$PIN_KERNEL_SERIES} state found=
	[[ $series =~ ^[0-9]+\.[0-9]+$ ]] || die "KERNEL_SERIES must look like $PIN_KERNEL_SERIES, not '$series'"
	state=$CACHE/series-$series
	kernel_is_pinned || state+=-$FLAVOUR
	[[ $KERNEL_SUITE == "$PIN_SUITE" ]] || state+=-$KERNEL_SUITE
	[[ ! -e $state || ${KERNEL_REFRESH:-0} == 1 ]] || found=$(<"$state")
	kernel_name "$found"
	# What is cached is used without asking; what is not may be gone by now.
	if [[ ! $found ]] || ! cache_has "$KERNEL_NAME"; then
		found=$(kernel_resolve "$series")
		kernel_name "$found"
	fi
	cache_make "$KERNEL_NAME" kernel_fill
	# Only now: an interrupted run shall ask the index again.
	[[ -e $state && $(<"$state") == "$found" ]] || { printf '%s\n' "$found" >"$state.$$"; mv "$state.$$" "$state"; }
	KERNEL_DIR=$CACHE/$KERNEL_NAME
	export KREL KVER KERNEL_DIR
}
