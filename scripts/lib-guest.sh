# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What scripts/vm boots: the guest's root file system, and per kernel an
# initramfs with an image of its modules. Sourced after lib-kernel.sh.
#
# The guest sees one overlay of read-only images: the payload of the run, the
# kernel's modules, the root file system; on top a tmpfs takes what is written.

# Modules the initramfs needs to get at the images, where they are no built-ins.
GUEST_BOOT_MODULES=(virtio_pci virtio_blk virtio_console erofs overlay)

guest_fill() {
	logged "$CACHE/log/guest.log" "making the guest's root file system (about 1 minute)" guest_rootfs "$1"
}

guest_rootfs() {
	local dir=$1/root
	local -x DEBOOTSTRAP_ARCH=$DEB_ARCH
	if [[ $DEB_ARCH == amd64 ]]; then
		debootstrap_into "$dir" "${PIN_GUEST_PACKAGES[@]}"
	else
		debootstrap_into "$dir" busybox-static "${PIN_GUEST_PACKAGES[@]}"
		guest_configure "$dir"
		cp "$dir/bin/busybox" "$1/busybox"
	fi
	rm -rf "$dir"/var/cache/apt/* "$dir"/var/lib/apt/lists/* "$dir"/usr/share/locale/* "$dir"/usr/share/zoneinfo/*
	# netns.sh calls it by its old name.
	[[ -e $dir/usr/bin/ping6 ]] || ln -s ping "$dir/usr/bin/ping6"
	: >"$dir/etc/resolv.conf"
	echo wgrs >"$dir/etc/hostname"
	echo '127.0.0.1 localhost wgrs' >"$dir/etc/hosts"
	mkdir -p "$dir"/{src,vm,out,kselftest}
	in_sandbox mkfs.erofs --quiet "$1/rootfs.erofs" "$dir"
	rm -rf "$dir"
}

# guest_configure DIR: of what the packages' scripts would have done, had they run,
# what tests need.
guest_configure() {
	local dir=$1 t
	cp "$dir/usr/share/base-passwd/passwd.master" "$dir/etc/passwd"
	cp "$dir/usr/share/base-passwd/group.master" "$dir/etc/group"
	# tcpdump takes this user's identity.
	echo 'tcpdump:x:999:999::/nonexistent:/usr/sbin/nologin' >>"$dir/etc/passwd"
	echo 'tcpdump:x:999:' >>"$dir/etc/group"
	ln -s mawk "$dir/usr/bin/awk"
	ln -s ncat "$dir/usr/bin/nc"
	for t in ip{,6}tables{,-save,-restore}; do ln -s xtables-nft-multi "$dir/usr/sbin/$t"; done
}

guest_ensure() {
	GUEST_NAME=guest-$(key "$PIN_SUITE" "$PIN_GUEST_VERSION" "${PIN_GUEST_PACKAGES[@]}")
	[[ $DEB_ARCH == amd64 ]] || GUEST_NAME=guest-$DEB_ARCH-$(key "$GUEST_NAME" "$(declare -f guest_rootfs guest_configure)")
	cache_make "$GUEST_NAME" guest_fill
	GUEST=$CACHE/$GUEST_NAME
}

# boot_image DIR BASE RELEASE: initramfs and module image for the kernel whose
# modules are in BASE/lib/modules/RELEASE.
boot_image() {
	local dir=$1 base=$2 release=$3 m path n=0
	mkdir -p "$dir/init"/{bin,mods,proc,sys,dev} "$dir/mods/usr/lib"
	# For another architecture's, the guest's packages had it.
	if [[ $DEB_ARCH == amd64 ]]; then m=$SANDBOX/root/bin/busybox; else m=$GUEST/busybox; fi
	cp "$m" "$dir/init/bin/busybox"
	ln -s busybox "$dir/init/bin/sh"
	install -m 755 "$TOP/tests/vm/init" "$dir/init/init"
	for m in "${GUEST_BOOT_MODULES[@]}"; do
		while read -r path; do
			[[ -e $path ]] || continue
			n=$((n + 1))
			m=$dir/init/mods/$(printf %02d "$n")-$(basename "$path" | sed 's/\.ko.*/.ko/')
			case $path in
			*.xz) in_sandbox xz -dc "$path" >"$m" ;;
			*.zst) in_sandbox zstd -dqc "$path" >"$m" ;;
			*) cp "$path" "$m" ;;
			esac
		done < <(in_sandbox modprobe --dirname "$base" --set-version "$release" --show-depends "$m" 2>/dev/null | sed -n 's/^insmod \([^ ]*\).*/\1/p')
	done
	in_sandbox bash -c 'cd "$1/init" && find . | cpio --quiet -o -H newc | zstd -q -9 >"$1/initrd"' _ "$dir"
	cp -a "$base/lib/modules" "$dir/mods/usr/lib/modules"
	in_sandbox mkfs.erofs --quiet "$dir/modules.erofs" "$dir/mods"
	rm -rf "$dir/init" "$dir/mods"
}

# boot_ensure: for the stock kernel. Sets BOOT (initrd, modules.erofs), VMLINUZ
# and BOOT_RELEASE.
boot_ensure() {
	local name
	name=boot-$KREL-$(key "$KERNEL_NAME" "$(sha256sum <"$TOP/tests/vm/init")" "$(declare -f boot_image)")
	boot_fill() { logged "$CACHE/log/boot.log" "making the initramfs for $KREL" boot_image "$1" "$KERNEL_DIR/boot" "$KREL"; }
	cache_make "$name" boot_fill
	BOOT=$CACHE/$name VMLINUZ=$KERNEL_DIR/boot/vmlinuz BOOT_RELEASE=$KREL
}

# boot_from_tree DIR: the same for a kernel built in DIR.
boot_from_tree() {
	local tree=$1 name
	VMLINUZ=$tree/arch/x86/boot/bzImage
	[[ -e $VMLINUZ ]] || die "$tree holds no built kernel (arch/x86/boot/bzImage)"
	BOOT_RELEASE=$(<"$tree/include/config/kernel.release")
	name=boot-$BOOT_RELEASE-$(key "$tree" "$(stat -c %Y "$VMLINUZ")" "$(sha256sum <"$TOP/tests/vm/init")" "$(declare -f boot_image tree_modules)")
	boot_fill() {
		logged "$CACHE/log/boot-tree.log" "making the initramfs for $BOOT_RELEASE" tree_modules "$1" "$tree" "$BOOT_RELEASE"
	}
	cache_make "$name" boot_fill
	BOOT=$CACHE/$name
}

# tree_modules DIR TREE RELEASE: what modules_install would do, stripped.
tree_modules() {
	local dir=$1 tree=$2 release=$3 to m
	to=$dir/base/lib/modules/$release
	mkdir -p "$to/kernel"
	cp "$tree"/modules.builtin "$tree"/modules.builtin.modinfo "$to/"
	: >"$to/modules.order"
	[[ ! -e $tree/modules.order ]] || while read -r m; do
		m=${m%.o}
		m=${m%.ko}.ko
		mkdir -p "$to/kernel/${m%/*}"
		in_sandbox_with "$tree" strip --strip-debug -o "$to/kernel/$m" "$tree/$m"
		echo "kernel/$m" >>"$to/modules.order"
	done <"$tree/modules.order"
	in_sandbox depmod -b "$dir/base" "$release"
	boot_image "$dir" "$dir/base" "$release"
	rm -rf "$dir/base"
}

# accelerator: "kvm" or "tcg". That /dev/kvm exists says little (it may hang in
# early boot), so it is tried once with a short boot; the answer is remembered.
accelerator() {
	local state log pid deadline
	case ${VM_ACCEL:-} in
	kvm|tcg) echo "$VM_ACCEL"; return ;;
	'') ;;
	*) die "VM_ACCEL must be kvm or tcg, not '$VM_ACCEL'" ;;
	esac
	[[ $DEB_ARCH == amd64 && -c /dev/kvm && -w /dev/kvm ]] || { echo tcg; return; }
	state=$CACHE/kvm-$(key "$(uname -nr)" "$(grep -m1 'model name' /proc/cpuinfo)")
	if [[ ! -e $state ]]; then
		say "/dev/kvm is there: trying it with a short boot (at most 15 s)"
		log=$(mktemp "$CACHE/.kvm-probe.XXXXXX")
		sandbox_command
		"${SANDBOX_CMD[@]}" setpriv --pdeathsig KILL qemu-system-x86_64 -nodefaults -no-user-config \
			-accel kvm -cpu host -m 512 -display none -no-reboot -serial "file:$log" \
			-kernel "$VMLINUZ" -initrd "$BOOT/initrd" \
			-append "console=ttyS0 panic=-1 wgrs.probe" >/dev/null 2>&1 </dev/null &
		pid=$!
		deadline=$((SECONDS + 15))
		while kill -0 "$pid" 2>/dev/null && ((SECONDS < deadline)); do sleep 0.2; done
		kill -KILL "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
		if grep -q 'wgrs: probe ok' "$log"; then echo kvm >"$state"; else echo tcg >"$state"; fi
		rm -f "$log"
		say "KVM $([[ $(<"$state") == kvm ]] && echo works || echo "does not work here"): using $(<"$state")"
	fi
	cat "$state"
}
