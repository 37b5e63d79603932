#!/bin/sh
# SPDX-License-Identifier: MIT
# make install puts everything where it belongs, and uninstall takes it away.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"

need_program make
# A make of its own, not a part of the one that runs this test.
unset MAKEFLAGS MFLAGS MAKELEVEL
variable()
{
	sed -n "s/^$1 = //p" "$builddir/Makefile"
}
in_dest()
{
	make -s -C "$builddir" "$@" prefix=/p mounthelperdir=/p/sbin \
		DESTDIR="$work/dest" >"$work/out" 2>&1 || {
		cat "$work/out" >&2
		fail "make $*"
	}
}
[ -n "$(variable mounthelperdir)" ] || fail "configure chose no mounthelperdir"

in_dest install
(cd "$work/dest/p" && find . ! -type d | LC_ALL=C sort) >"$work/list"
cat >"$work/want" <<'EOF'
./bin/sharedfs
./lib/systemd/system/docker-volume-sharedfs.service
./lib/systemd/system/docker-volume-sharedfs.socket
./lib/systemd/system/sharedfs@.service
./sbin/docker-volume-sharedfs
./sbin/migrate-local-uploads
./sbin/mount.fuse.sharedfs
./sbin/mount.sharedfs
./sbin/umount.fuse.sharedfs
./share/man/man8/docker-volume-sharedfs.8
./share/man/man8/migrate-local-uploads.8
./share/man/man8/mount.sharedfs.8
./share/man/man8/sharedfs.8
EOF
diff "$work/want" "$work/list" || fail "other files than these"
for l in mount umount; do
	"$work/dest/p/sbin/$l.fuse.sharedfs" --version | grep -q sharedfs ||
		fail "$l.fuse.sharedfs does not run"
done
in_dest uninstall
left=$(find "$work/dest" ! -type d)
[ -z "$left" ] || fail "left by uninstall: $left"
