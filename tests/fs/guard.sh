#!/bin/sh
# SPDX-License-Identifier: MIT
# [I.7]: the bare mount point is immutable when the share should be there and is
# not, and an ordinary directory again after unmounting.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program chattr

new_store file
D=$work/mnt
mkdir "$D"
chattr +i "$D" 2>/dev/null || skip "no immutable files on this file system"
if touch "$D/x" 2>/dev/null; then
	skip "no capability for immutable files"
fi
chattr -i "$D"
# Its own clean-up could not remove the directory.
trap 'code=$?; set +e; chattr -i "$D" 2>/dev/null; (exit $code); cleanup' EXIT

is_bare()
{
	! touch "$D/x" 2>/dev/null || { rm -f "$D/x"; return 1; }
}

is_gone()
{
	! grep -q " $D " /proc/self/mountinfo
}

echo "== a mount that fails leaves the guard"
if sharedfs mount "file://$work/none" "$D" -o guard 2>/dev/null; then
	fail "mounted what is not there"
fi
is_bare || fail "not guarded after a mount that failed"

echo "== umount undoes it"
mount_node n "$SOURCE" "$D" "$OPTS,guard"
echo x >"$D/f"
same "mounted" "$(cat "$D/f")" x
umount_all
is_bare && fail "guarded after umount"

echo "== a daemon that dies does not"
mount_node n "$SOURCE" "$D" "$OPTS,guard"
for p in $nodes_pids; do
	kill -KILL "$p"
done
wait_gone
umount -l "$D"
is_bare || fail "not guarded after the daemon died"
mount_node n "$SOURCE" "$D" "$OPTS,guard"
same "mounted on a guarded directory" "$(cat "$D/f")" x

echo "== SIGTERM undoes it"
kill -TERM "$(status_field "$D" supervisor_pid)"
wait_gone
wait_until 30 "the end of the mount" is_gone
is_bare && fail "guarded after SIGTERM"

echo "== a directory that was written to is named"
echo lost >"$D/upload"
mount_node n "$SOURCE" "$D" "$OPTS,guard" 2>"$work/out"
grep -q "is not empty" "$work/out" || fail "no warning: $(cat "$work/out")"
umount_all
same "content" "$(cat "$D/upload")" lost
