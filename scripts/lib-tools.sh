# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
#
# Tools that only some targets need, each set in an entry of the cache of its
# own. Sourced after lib-sandbox.sh.

# Other implementations of WireGuard, and a dissector: a system with tshark and
# wireguard-go (of which the guest gets the binary), and boringtun-cli, built by
# the sandbox's cargo. Sets INTEROP_TOOLS.
BORINGTUN=0.7.0    # with its own lock file; 0.7.1's wants a rustc newer than trixie's
interop_tools_fill() {
	logged "$CACHE/log/interop-tools.log" "fetching tshark and wireguard-go (about 2 minutes)" \
		debootstrap_into "$1/root" tshark wireguard-go python3
	mkdir -p "$1/root/kernel"
	logged "$CACHE/log/interop-boringtun.log" "building boringtun-cli $BORINGTUN (about 3 minutes)" bounded 1800 \
		"$TOP/scripts/sandbox" -- cargo install --quiet --locked boringtun-cli --version "$BORINGTUN" \
		--root "$1" --target-dir "$1/target"
	rm -rf "$1/target"
}
interop_tools_ensure() {
	local name
	name=interop-$(key "$PIN_SUITE" "$BORINGTUN" tshark wireguard-go python3)
	cache_make "$name" interop_tools_fill
	INTEROP_TOOLS=$CACHE/$name
}

# What measures and draws: perf of the kernel's series with the libraries it
# needs (in perf/, for a guest), matplotlib (in root/, a system to enter), and
# inferno's flame graphs. Sets MEASURE_TOOLS.
INFERNO=0.12.4
MEASURE_PACKAGES=("linux-perf/${PIN_SUITE}-backports" python3 python3-matplotlib)
measure_tools_fill() {
	logged "$CACHE/log/measure-tools.log" "fetching perf and matplotlib (about 2 minutes)" \
		debootstrap_into "$1/root" "${MEASURE_PACKAGES[@]}"
	mkdir -p "$1/root/kernel"
	logged "$CACHE/log/measure-perf.log" "putting perf together for the guest" perf_collect "$1/root" "$1/perf"
	logged "$CACHE/log/measure-inferno.log" "building inferno $INFERNO (about 3 minutes)" bounded 1800 \
		"$TOP/scripts/sandbox" -- cargo install --quiet --locked inferno --version "$INFERNO" \
		--root "$1" --target-dir "$1/target"
	rm -rf "$1/target"
}

# collect ROOT FILE DIR NAME: DIR gets the program FILE of the system ROOT as NAME, and every library it is
# linked with, beside the loader that finds them.
collect() {
	local root=$1 bin=$2 to=$3 name=$4 lib
	mkdir -p "$to"
	cp "$root/$bin" "$to/$name.bin"
	chroot "$root" ldd "/$bin" | grep -o '/[^ ]*' | while read -r lib; do
		cp -L "$root$lib" "$to/"
	done
	printf '%s\n' '#!/bin/sh' 'here=$(dirname "$(readlink -f "$0")")' \
		"exec \"\$here/ld-linux-x86-64.so.2\" --library-path \"\$here\" \"\$here/$name.bin\" \"\$@\"" >"$to/$name"
	chmod 755 "$to/$name"
}

# perf_collect ROOT DIR: DIR gets perf.
perf_collect() {
	local bin
	bin=$(cd "$1" && find usr/bin usr/lib -type f -name 'perf*' -size +3M | head -n 1)
	[[ $bin ]] || { echo "the package linux-perf holds no perf"; return 1; }
	collect "$1" "$bin" "$2" perf
	"$2/perf" version
}
measure_tools_ensure() {
	local name
	name=measure-$(key "$PIN_SUITE" "$INFERNO" "${MEASURE_PACKAGES[@]}" "$(declare -f collect perf_collect)")
	cache_make "$name" measure_tools_fill
	MEASURE_TOOLS=$CACHE/$name
}

# What listens to tracepoints: perf of the kernel's series and bpftrace, each with the
# libraries it needs, for a guest (in opt/). Sets TRACER_TOOLS.
TRACER_PACKAGES=("linux-perf/${PIN_SUITE}-backports" bpftrace)
tracer_tools_fill() {
	logged "$CACHE/log/tracer-tools.log" "fetching perf and bpftrace (about 1 minute)" \
		debootstrap_into "$1/root" "${TRACER_PACKAGES[@]}"
	logged "$CACHE/log/tracer-collect.log" "putting them together for the guest" tracers_collect "$1/root" "$1/opt"
	cache_remove "$1/root"
}
# One directory for both: most libraries are the same.
tracers_collect() {
	perf_collect "$1" "$2"
	collect "$1" usr/bin/bpftrace "$2" bpftrace
	"$2/bpftrace" --version
}
tracer_tools_ensure() {
	local name
	name=tracers-$(key "$PIN_SUITE" "${TRACER_PACKAGES[@]}" "$(declare -f collect perf_collect tracers_collect)")
	cache_make "$name" tracer_tools_fill
	TRACER_TOOLS=$CACHE/$name
}

# cargo-mutants, built by the sandbox's cargo. Sets MUTANTS_TOOL.
CARGO_MUTANTS=26.0.0    # 27 wants a rustc newer than trixie's
mutants_tool_fill() {
	# Not optimised: it waits for cargo most of the time. What is built stays if it takes too long.
	logged "$CACHE/log/cargo-mutants.log" "building cargo-mutants $CARGO_MUTANTS (about 2 minutes)" bounded 3600 \
		"$TOP/scripts/sandbox" -- env CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0 \
		cargo install --quiet --locked --debug cargo-mutants --version "$CARGO_MUTANTS" \
		--root "$1" --target-dir "$BUILD/cargo-mutants"
	rm -rf "$BUILD/cargo-mutants"
}
mutants_tool_ensure() {
	local name
	name=cargo-mutants-$(key "$PIN_SUITE" "$CARGO_MUTANTS")
	cache_make "$name" mutants_tool_fill
	MUTANTS_TOOL=$CACHE/$name/bin/cargo-mutants
}

# The load generator of tests/bench, in the build directory. Sets BENCH_LOAD.
bench_load_build() {
	cd "$TOP/tests/bench/load"
	in_sandbox timeout --kill-after=10 1200 env CARGO_TARGET_DIR="$BUILD/bench-load" \
		cargo build --release --locked --quiet
}
bench_load_ensure() {
	logged "$BUILD/log/bench-load.log" "building the load generator" bench_load_build
	BENCH_LOAD=$BUILD/bench-load/release/wgrs-load
}
