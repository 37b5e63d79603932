#!/bin/sh
# SPDX-License-Identifier: MIT
# Mounting and unmounting: what is refused, what is recognised, and that
# nothing is left behind.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
new_store file
D=$work/mnt
mkdir "$D"
echo hello >"$store_dir/hello"

# refused WORDS ARGUMENTS…: exit status not 0, words on stderr, no mount.
refused()
{
	want=$1
	shift
	if sharedfs mount "$@" >"$work/out" 2>&1; then
		fail "was mounted: $*"
	fi
	grep -q "$want" "$work/out" ||
		fail "'$want' is not in: $(cat "$work/out")"
	[ -z "$(our_mounts)" ] || fail "something is mounted: $(our_mounts)"
}

O=cache_dir=$work/cache
refused 'mount point .*missing: No such file' "$SOURCE" "$work/missing" -o "$O"
refused 'mount point .*: not a directory' "$SOURCE" "$store_dir/hello" -o "$O"
refused 'not understood' "ftp://host/x" "$D" -o "$O"
refused 'does not exist' "file://$work/nostore" "$D" -o "$O"
refused "did you mean" "$SOURCE" "$D" -o "$O,actimoe=1"
refused 'out of range' "$SOURCE" "$D" -o "$O,io_threads=0"
mkdir "$work/tmpfs"
mount -t tmpfs x "$work/tmpfs"
if sharedfs mount "$SOURCE" "$work/tmpfs" -o "$O" 2>"$work/out"; then
	fail "mounted over another file system"
fi
grep -q 'something else is mounted there' "$work/out" || fail "$(cat "$work/out")"
umount "$work/tmpfs"

exec 8<"$store_dir/hello"
mount_node a "$SOURCE" "$D"
exec 8<&-
for p in $nodes_pids; do
	if ls -l "/proc/$p/fd" | grep -q 'store1/hello'; then
		fail "process $p holds a file of its caller"
	fi
done
# entry: options, type and source of the mount on $D.
entry()
{
	sed -n "s|^[^ ]* [^ ]* [^ ]* / $D \([^ ]*\) .*- \([^ ]* [^ ]*\) .*|\1 \2|p" \
		/proc/self/mountinfo
}
same "type and options" "$(entry)" \
	"rw,nosuid,nodev,relatime fuse.sharedfs $SOURCE"
same content "$(cat "$D/hello")" hello
sharedfs status --check "$D" >/dev/null || fail "status --check: $?"
same "status from inside" "$(status_field "$D" source)" "$SOURCE"
for f in source mountpoint version supervisor_pid worker_pid backend \
	passthrough pending_files pending_bytes cache_bytes hits misses \
	requests errors; do
	status_field "$D" "$f" >/dev/null || fail "status has no $f"
done
same mode "$(stat -c %a /run/sharedfs/"$(awk -v d="$D" '$5 == d { print $3 }' \
	/proc/self/mountinfo)".sock)" 600

# The same once more is no error and no second mount; another source is one.
sharedfs mount "$SOURCE" "$D" -o "$O" 2>"$work/out" || fail "not idempotent"
grep -q 'already mounted' "$work/out" || fail "$(cat "$work/out")"
mkdir "$work/other"
if sharedfs mount "file://$work/other" "$D" -o "$O" 2>"$work/out"; then
	fail "two sources on one directory"
fi
same mounts "$(our_mounts | wc -l)" 1

# Busy: refused with words, still there.
if (cd "$D" && sharedfs umount "$D" 2>"$work/out"); then
	fail "unmounted though busy"
fi
grep -q busy "$work/out" || fail "$(cat "$work/out")"
same content "$(cat "$D/hello")" hello
umount_all

# umount(8), without us: the daemon ends by itself, and all is in the store.
mount_node b "$SOURCE" "$D"
echo more >"$D/more"
umount -i "$D"
wait_gone
same "after umount(8)" "$(cat "$store_dir/more")" more

# SIGTERM and SIGINT: sent, unmounted, gone.
for sig in TERM INT; do
	mount_node c "$SOURCE" "$D"
	echo "$sig" >"$D/sig"
	kill -"$sig" "$(status_field "$D" supervisor_pid)"
	wait_gone
	[ -z "$(our_mounts)" ] || fail "still mounted after SIG$sig"
	same "after SIG$sig" "$(cat "$store_dir/sig")" "$sig"
done

# In the foreground, with a source that has a comma and a blank.
odd="$work/odd, store"
mkdir "$odd"
sharedfs mount "file://$odd" "$D" -f -o "$O" 2>"$work/fg.log" &
fg=$!
test_pids="$test_pids $fg"
wait_until 20 "the mount" sharedfs status --check "$D" >/dev/null
entry | grep -q 'odd,\\040store$' || fail "the source is not as given"
echo x >"$D/x"
same "supervisor" "$(status_field "$D" supervisor_pid)" "$fg"
sharedfs umount "$D"
wait $fg || fail "the foreground process ended with $?"
[ -e "$odd/x" ] || fail "x is not in the store"

# Read-only, and options of mount(8).
mount_node d "$SOURCE" "$D" "$OPTS,ro,noexec,_netdev,x-systemd.automount"
entry | grep -q '^ro,nosuid,nodev,noexec' || fail "flags"
if touch "$D/t" 2>/dev/null; then
	fail "written though read-only"
fi
umount_all
