# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Common ground of what runs in the system that tests/deb/install makes: checks,
# and apt with its output in $out. Sourced there.

passed=0 failed=0
out=/root/out
export DEBIAN_FRONTEND=noninteractive

# check NAME COMMAND...
check() {
	local name=$1
	shift
	if "$@"; then
		passed=$((passed + 1))
		printf 'ok - %s\n' "$name"
	else
		failed=$((failed + 1))
		printf 'not ok - %s\n' "$name"
		[[ ! -s $out ]] || tail -n 80 "$out" | sed 's/^/# /'
	fi
}
apt() {
	local start=$SECONDS status=0
	apt-get -q -y -o APT::Sandbox::User=root -o Dpkg::Use-Pty=0 "$@" >"$out" 2>&1 </dev/null || status=$?
	echo "# apt-get $*: $((SECONDS - start)) s"
	return "$status"
}
says() { grep -qF -- "$1" "$out"; }
says_once() { [[ $(grep -cF -- "$1" "$out") == 1 ]]; }
in_order() { [[ $(dpkg-query -W -f '${Status}' "${1:-wireguard-rs-dkms}") == 'install ok installed' && ! $(dpkg --audit) ]]; }
verdict() {
	printf '%d passed, %d failed\n' "$passed" "$failed"
	((failed == 0 && passed > 0))
}
