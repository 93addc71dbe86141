# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What builds and checks Debian packages: a system of its own in the cache, as
# the sandbox is. Sourced after lib-sandbox.sh.

DEB_TOOLS_PACKAGES=(build-essential debhelper dh-dkms kmod lintian)

deb_tools_fill() {
	logged "$CACHE/log/deb-tools.log" "fetching debhelper, dh-dkms and lintian (about 2 minutes)" \
		debootstrap_into "$1/root" "${DEB_TOOLS_PACKAGES[@]}"
	mkdir -p "$1/root/kernel"
}

deb_tools_ensure() {
	local name
	name=deb-tools-$(key "$PIN_SUITE" "${DEB_TOOLS_PACKAGES[@]}")
	cache_make "$name" deb_tools_fill
	DEB_TOOLS=$CACHE/$name
}

# in_deb_tools COMMAND...
in_deb_tools() {
	local SANDBOX=$DEB_TOOLS KERNEL_DIR=
	in_sandbox "$@"
}

# deb_version: the package's, as debian/changelog has it.
deb_version() { sed -n '1s/^[^ ]* (\([^)]*\)).*/\1/p' "$TOP/debian/changelog"; }

# deb_lint FILE...: anything lintian has to say is an error.
deb_lint() {
	in_deb_tools timeout --kill-after=10 600 lintian --allow-root --info --tag-display-limit 0 \
		--fail-on error,warning,info "$@" </dev/null
}

# A machine to install the package on: a system with the pinned kernel ($KREL) and
# its headers, and the headers of the suite's own kernel, which is built without
# Rust. What the package depends on is there, which leaves little to fetch at each
# run.
deb_machine_fill() {
	logged "$CACHE/log/deb-machine.log" "making a system to install the package on (about 2 minutes)" \
		debootstrap_into "$1/root" "${DEB_MACHINE_PACKAGES[@]}"
}
deb_machine_ensure() {
	local name
	DEB_MACHINE_PACKAGES=(bindgen dkms iproute2 kmod openssl rust-src rustc xz-utils zstd
		"linux-base/$PIN_SUITE-backports" initramfs-tools "linux-image-$KREL" "linux-headers-$KREL" "linux-headers-$FLAVOUR")
	name=deb-machine-$(key "$PIN_SUITE" "$KVER" "${DEB_MACHINE_PACKAGES[@]}")
	cache_make "$name" deb_machine_fill
	DEB_MACHINE=$CACHE/$name
}
