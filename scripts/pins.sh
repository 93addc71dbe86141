# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
#
# Everything that is pinned, in one place. The kernel series is pinned, its
# point release is not: that one comes from the package index.

# Kernel series; KERNEL_SERIES= in the environment overrides it.
PIN_KERNEL_SERIES=7.3

# Distribution of the sandbox and of the guest. The kernel comes from the
# backports of the same suite, whose own rustc built it.
PIN_SUITE=trixie

# Flavours of that kernel which are built with Rust, and the one that is meant when
# FLAVOUR= names none. Of arm64 it is the first. Which were run is in
# Documentation/support.md.
PIN_FLAVOURS=(amd64 cloud-amd64 rt-amd64 arm64 arm64-16k cloud-arm64 rt-arm64)
PIN_FLAVOUR=cloud-amd64

# Where KERNEL_SUITE=sid takes kernel and tools from: the newest that Debian has. A
# kernel is of one compiler, so each suite has a sandbox of its own.
PIN_UNSTABLE=(sid experimental)
PIN_UNSTABLE_GCC=16

# What the sandbox holds: everything that builds, checks and boots.
PIN_SANDBOX_PACKAGES=(
	build-essential gcc-14 rustc rust-src rustfmt rust-clippy bindgen cargo
	clang lld llvm libclang-dev libelf-dev libssl-dev
	bc bison flex dwarves kmod cpio rsync python3 python3-yaml
	zstd xz-utils lz4 erofs-utils busybox-static shellcheck
	qemu-system-x86 iproute2 git ca-certificates pkg-config
)
# And for a kernel of arm64.
PIN_SANDBOX_PACKAGES_ARM64=(gcc-14-aarch64-linux-gnu qemu-system-arm)

# What the guest holds; wireguard-tools comes from backports, because older
# ones cannot parse the incremental allowed-ips the kselftest uses.
PIN_GUEST_PACKAGES=(
	bash coreutils util-linux procps kmod iproute2 iputils-ping iperf3
	tcpdump nftables iptables conntrack ethtool ncat strace jq mount
	python3 python3-pyroute2 python3-yaml less
	"wireguard-tools/${PIN_SUITE}-backports"
)

# Raised when the way an entry of the cache is made changes.
PIN_SANDBOX_VERSION=1
PIN_GUEST_VERSION=1
PIN_KERNEL_VERSION=1

# The cache never grows beyond this many MiB for long.
PIN_CACHE_LIMIT_MIB=$((18 * 1024))
