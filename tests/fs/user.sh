#!/bin/sh
# SPDX-License-Identifier: MIT
# A user who is not root mounts through fusermount3.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program fusermount3 setpriv
new_store file
D=$work/mnt
mkdir "$D" "$work/home" "$work/run"
chown -R 65534:65534 "$D" "$work/home" "$work/run" "$store_dir"
# In this mount namespace only: a /dev/fuse for all, as udev makes it.
if ! setpriv --reuid=65534 --regid=65534 --clear-groups test -w /dev/fuse; then
	mknod -m 666 "$work/fuse" c 10 229 && [ -w "$work/fuse" ] ||
		skip "no /dev/fuse for users"
	mount --bind "$work/fuse" /dev/fuse
	setpriv --reuid=65534 --regid=65534 --clear-groups \
		sh -c ': <>/dev/fuse' 2>/dev/null ||
		skip "no /dev/fuse for users"
fi

as_user()
{
	env HOME="$work/home" XDG_RUNTIME_DIR="$work/run" \
		setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
}

as_user sharedfs mount "$SOURCE" "$D" -o "log_file=$work/home/log" ||
	fail "a user can't mount"
as_user sh -c "echo mine >'$D/file'"
same content "$(as_user cat "$D/file")" mine
same "in the store" "$(stat -c %u "$store_dir/file")" 65534
as_user sharedfs status --check "$D" >/dev/null || fail "status"
# [I.8]: its memory is closed even to its own user.
worker=$(as_user sharedfs status --json "$D" |
	sed -n 's/.*"worker_pid": \([0-9]*\).*/\1/p')
if ! grep -q '^#define SHAREDFS_SANITIZED' "$builddir/config.h" &&
    as_user cat "/proc/$worker/environ" >/dev/null 2>&1; then
	fail "the worker's memory can be read by its user"
fi
# Nobody else gets in, nor to the control socket.
if setpriv --reuid=65533 --regid=65533 --clear-groups ls "$D" 2>/dev/null; then
	fail "another user sees the mount"
fi
if env XDG_RUNTIME_DIR="$work/run" setpriv --reuid=65533 --regid=65533 \
	--clear-groups sharedfs status --check "$D" >/dev/null; then
	fail "another user gets the status"
fi
as_user sharedfs mount "$SOURCE" "$D" 2>"$work/out"
grep -q 'already mounted' "$work/out" || fail "$(cat "$work/out")"
as_user sharedfs umount "$D" || fail "a user can't unmount"
[ -z "$(our_mounts)" ] || fail "still mounted"
[ -d "$work/home/.cache/sharedfs" ] || fail "no cache in the home directory"
umount /dev/fuse 2>/dev/null || :
