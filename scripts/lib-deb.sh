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
