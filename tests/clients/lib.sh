# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Common ground of the client scripts. A script is a series of steps; each one
# leaves its name, its output and its status in the transcript, which the host
# compares with the other driver's. Sourced in the guest.

# Keys that are the same in every run; made by "openssl rand", never used elsewhere.
private=(
	'WFxlPnDNKaSzW7ZMThfuRRpE3C5qSfMhJx0hCv3dE3A='
	'cHqRrlVr5xxFHoiPdFEnFylOOIXyYk5HnGbWCiBdnWk='
	'uNkbiBfUNnpJbmLmLB7uoGIm7oaNYVHbyzJZuBwyMlE='
)
psk='3b0k2jq0Yr3eR0iTvpgzLwQJEXuqvlnfZ6mKOHqbwSI='
public=()
for k in "${private[@]}"; do public+=("$(wg pubkey <<<"$k")"); done

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
for i in 0 1 2; do echo "${private[i]}" >"$tmp/private$i"; done
echo "$psk" >"$tmp/psk"

# step STATUS NAME COMMAND...: STATUS is what it must end with ("any": only
# the same with both drivers), so that a script that fails alike everywhere is
# noticed too. COMMAND may be shell, in one word.
step() {
	local want=$1 name=$2 status=0
	shift 2
	printf '== %s\n' "$name"
	if (($# == 1)); then
		timeout 60 bash -c "$1" 2>&1 || status=$?
	else
		timeout 60 "$@" 2>&1 || status=$?
	fi
	printf -- '-- status %d' "$status"
	[[ $want == any || $want == "$status" ]] || printf ', wanted %s' "$want"
	echo
}
export tmp psk

# many_peers FIRST LAST: sections of a configuration file.
many_peers() {
	python3 - "$1" "$2" <<-'END'
		import base64, hashlib, sys
		for n in range(int(sys.argv[1]), int(sys.argv[2]) + 1):
		    key = base64.b64encode(hashlib.sha256(b"peer %d" % n).digest()).decode()
		    print(f"[Peer]\nPublicKey = {key}")
		    print(f"AllowedIPs = 10.{n // 256}.{n % 256}.0/24, fd00:{n:x}::/64")
		    print(f"Endpoint = 192.0.2.{n % 256}:{1000 + n}\nPersistentKeepalive = {n % 100}\n")
	END
}
export -f many_peers
