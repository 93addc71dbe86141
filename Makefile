# SPDX-License-Identifier: GPL-2.0
#
# Front door of wireguard_rs; what Kbuild reads is in Kbuild. Each target is a
# script in scripts/, which can be run by itself and knows --help.

MAKEFLAGS += --no-print-directory
.NOTPARALLEL:

all: module

help:
	@echo 'Building'
	@echo '  module         wireguard_rs.ko for the pinned stock kernel (default)'
	@echo '                 KDIR=<dir>: for that prepared kernel tree with CONFIG_RUST=y'
	@echo '                 FLAVOUR=<name>: amd64, cloud-amd64 (default), rt-amd64, arm64, arm64-16k, cloud-arm64, rt-arm64; for whatever boots'
	@echo '                 the stock kernel, too; ARCH=arm64 is FLAVOUR=arm64: cross-built, emulated'
	@echo '                 KERNEL_SERIES=<x.y>: for another series of the package index'
	@echo '                 KERNEL_SUITE=sid: the newest of Debian, with its compiler; from experimental, too'
	@echo '                 KERNEL_REFRESH=1: looks for a newer point release'
	@echo '  clippy         the same build, linted, warnings fatal'
	@echo '  install        into /lib/modules/<release>/updates, preferred to the C module'
	@echo '                 KREL=<release> (default: the running one), DESTDIR=<dir>'
	@echo '  uninstall      undoes install'
	@echo '  deb            Debian packages in build/deb: wireguard-rs-dkms builds the module where it is'
	@echo '                 installed, wireguard-rs-tools goes with prebuilt modules; lintian must be silent'
	@echo '  deb-modules    the module as a package, wireguard-rs-modules-<release>, and build/deb/repo,'
	@echo '                 an apt repository of all of them in a directory; KDIR=, KERNEL_SERIES= as above'
	@echo '  series         the driver as patches against the pinned linux-source, in build/series/patches;'
	@echo '                 CHECK=1: applied, linted and built as a maintainer would, and booted built in'
	@echo '  wgrs           the command wgrs, static: build/wgrs'
	@echo '  doc            rustdoc of both crates, in build/doc'
	@echo '  rust-analyzer  rust-project.json for editors'
	@echo '  clean          removes build/ (what is shared stays in ~/.cache/wireguard-rs)'
	@echo 'Proving'
	@echo '  demo           two peers talk through the module on the stock kernel in QEMU'
	@echo '  test           lint to interop, in this order; FULL=1 for their full size'
	@echo '  lint           format, clippy, unsafe only where it may be and argued for'
	@echo '  unit           cargo test of the protocol on the host'
	@echo '  fuzz           coverage-guided, of the same files, briefly; scripts/fuzz --seconds N for longer'
	@echo '  mutants        whether those tests notice when the code is wrong (cargo-mutants; an hour at a time)'
	@echo '                 MUTANTS="--limit <seconds> <file>..."; goes on where the last run ended'
	@echo '  smoke          demo, unload under traffic, wrong input, in one boot'
	@echo "  kselftest      the kernel's own netns.sh, unmodified; SMP=<n> (default 2)"
	@echo '  netlink        one conversation with the C driver and with ours, compared'
	@echo '  clients        wg, wg-quick, pyroute2 and YNL with both, compared'
	@echo '  network        what crosses the network, and what is counted, with both, compared'
	@echo '  field          situations from the field in which it is to do better than the C driver'
	@echo '  scenarios      what WireGuard is used for, each a script in tests/scenarios'
	@echo '  interop        with the C driver, wireguard-go and boringtun; decoded captures'
	@echo '  kunit          the KUnit suites, in a sanitizer kernel (built on first use: KASAN, lockdep ...)'
	@echo '  misuse         what safe code must not get out of crate wgk, tried in that kernel; random calls of it'
	@echo '  sanitize       these, kunit, smoke, netns.sh, scenarios, userspace peers, churn under traffic, hostile netlink'
	@echo '                 and packets, keys left in memory, failing allocations, in that kernel; SEED=<n>, FULL=1'
	@echo '  soak           a tunnel for three days, on a clock that jumps while nothing is to do; SOAK_HOURS=<n>, SEED=<n>'
	@echo '  install-test   the Debian package on a machine with systemd that boots: wg-quick, networkd, NetworkManager,'
	@echo '                 other kernels, removal; INSTALL="<step> ..." for some of it'
	@echo '  support        what Documentation/support.md is made of, on each kernel; SUPPORT="--write <row> ..." for some of it'
	@echo 'Measuring'
	@echo '  bench          the C driver, ours and wireguard-go side by side; BENCH=--quick, BENCH=--keep'
	@echo '  flood          a tunnel and an honest handshake under a flood of initiations, with C and with ours'
	@echo '  profile        where both drivers spend their instructions: flame graphs, tables'
	@echo 'By hand'
	@echo '  scripts/vm -- COMMAND       runs COMMAND in a guest with the module loaded'
	@echo '  scripts/sandbox -- COMMAND  runs COMMAND with the toolchain'

module:
	@scripts/module $(if $(KDIR),--kdir '$(KDIR)')

clippy:
	@scripts/module --clippy $(if $(KDIR),--kdir '$(KDIR)')

install uninstall:
	@scripts/install --$@ $(if $(KREL),--release '$(KREL)') $(if $(DESTDIR),--destdir '$(DESTDIR)')

deb deb-modules:
	@scripts/$@

series:
	@scripts/series $(if $(CHECK),--check)

doc:
	@scripts/doc

rust-analyzer:
	@scripts/rust-analyzer

demo:
	@scripts/demo

test:
	@scripts/test

lint unit fuzz smoke kselftest scenarios interop kunit sanitize soak wgrs:
	@scripts/$@

mutants:
	@scripts/mutants $(MUTANTS)

misuse:
	@scripts/sanitize misuse apifuzz

netlink:
	@tests/netlink/differential

clients:
	@tests/clients/clients

network:
	@tests/network/run --parallel

field:
	@tests/field/run $(FIELD)

install-test:
	@scripts/install-test $(INSTALL)

support:
	@scripts/support $(SUPPORT)

bench:
	@scripts/bench $(BENCH)

flood:
	@scripts/flood $(FLOOD)

profile:
	@scripts/profile

clean:
	rm -rf build rust-project.json

PHONY := all help module wgrs clippy install uninstall deb deb-modules series doc rust-analyzer demo test lint unit fuzz mutants smoke kselftest netlink clients network field scenarios interop kunit misuse sanitize soak install-test support bench flood profile clean
.PHONY: $(PHONY)
