#!/bin/sh
# SPDX-License-Identifier: MIT
# mount(8), umount(8) and fstab with the real helper, found in /sbin.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"

need_mount
need_program mount umount findmnt

# Only this namespace has the helper in /sbin, and a /run of its own for
# mount(8)'s table: the machine stays as it was.
sbin=$(readlink -f /sbin)
mount -t tmpfs tmpfs /run
mkdir /run/upper /run/work
mount -t overlay overlay \
	-o "lowerdir=$sbin,upperdir=/run/upper,workdir=/run/work" "$sbin" ||
	skip "no overlay over $sbin"
for l in mount.sharedfs mount.fuse.sharedfs umount.fuse.sharedfs; do
	ln -s "$builddir/$l" "$sbin/$l"
done

# A source that needs every kind of quoting there is.
store="$work/st ore,1"
dir="$work/m nt"
mkdir "$store" "$dir"
log=$work/daemon.log
opts="cache_dir=$work/cache,log_file=$log"
source="file://$store"
fstab=$work/fstab
esc()
{
	printf '%s' "$1" | sed 's/ /\\040/g'
}
line="_netdev,nofail,x-test.word=1,user,$opts"
printf '%s\n' "$(esc "$source") $(esc "$dir") sharedfs $line 0 0" >"$fstab"

count()
{
	findmnt -rno TARGET | grep -cxF "$(printf '%s' "$1" | sed 's/ /\\x20/g')" ||
		true
}

# expect CODE WORDS COMMAND…: exit status and words of a command.
expect()
{
	want=$1 words=$2
	shift 2
	code=0
	"$@" >"$work/out" 2>&1 || code=$?
	[ "$code" = "$want" ] && grep -qF -- "$words" "$work/out" || {
		cat "$work/out" >&2
		fail "$*: exit $code, wanted $want with '$words'"
	}
}

pids()
{
	echo "$(status_field "$dir" supervisor_pid) $(status_field "$dir" worker_pid)"
}

echo "== mount -a, twice"
mount -T "$fstab" -a
same "mounts" "$(count "$dir")" 1
same "source, byte for byte" "$(findmnt -no SOURCE -M "$dir")" "$source"
same "type" "$(findmnt -no FSTYPE -M "$dir")" fuse.sharedfs
findmnt -no OPTIONS -M "$dir" | grep -q nosuid,nodev || fail "not nosuid,nodev"
grep -q _netdev /run/mount/utab || fail "utab was not joined"
first=$(pids)
nodes_pids=$first
mount -T "$fstab" -a
same "mounts after the second mount -a" "$(count "$dir")" 1
expect 0 "already mounted" mount -T "$fstab" "$dir"
same "mounts after a mount by name" "$(count "$dir")" 1
same "daemons" "$(pids)" "$first"

echo "== umount"
echo hello >"$dir/f"
umount "$dir"
same "mounts after umount" "$(count "$dir")" 0
same "content in the store" "$(cat "$store/f")" hello
! grep -q sharedfs /run/mount/utab || fail "utab was not cleared"
wait_gone

echo "== fake, sloppy, nothing mounted"
mount -f -T "$fstab" "$dir"
same "mounts after a fake one" "$(count "$dir")" 0
rm -f /run/mount/utab
expect 1 "did you mean 'timeo'" \
	mount -t sharedfs -o "$opts,tiemo=3" "$source" "$dir"
expect 1 "500ms" mount -t sharedfs -o "$opts,timeo=soon" "$source" "$dir"
expect 1 "usage:" mount.sharedfs "$source"
expect 1 "usage:" mount.sharedfs "$source" "$dir" more
expect 32 "No such file" mount.sharedfs "$source" "$work/none"
expect 32 "no sharedfs" umount.fuse.sharedfs "$dir"
same "mounts after errors" "$(count "$dir")" 0

echo "== flags in any place, the other type, another source"
mount.sharedfs -n "$source" -s -o "rw,$opts" -v "$dir" -o nosuchoption=1
nodes_pids=$(pids)
mkdir "$work/other"
expect 32 "is mounted there" \
	mount -t sharedfs -o "$opts" "file://$work/other" "$dir"
same "mounts" "$(count "$dir")" 1
umount "$dir"
wait_gone
mount -t fuse.sharedfs -o "$opts" "$source" "$dir"
nodes_pids=$(pids)
same "content" "$(cat "$dir/f")" hello

echo "== remount"
mount -o remount,ro "$dir"
(echo x >"$dir/g") 2>/dev/null && fail "written to a read-only mount"
findmnt -no OPTIONS -M "$dir" | grep -q '^ro,nosuid,nodev' ||
	fail "remount dropped nosuid,nodev"
mount -o remount,rw "$dir"
findmnt -no OPTIONS -M "$dir" | grep -q '^rw,nosuid,nodev' ||
	fail "remount,rw dropped nosuid,nodev"
exec 8>"$dir/open"
expect 32 "open for writing" mount -o remount,ro "$dir"
exec 8>&-
expect 32 "umask=077 (is 022)" mount -o remount,ro,actimeo=7,umask=077 "$dir"
findmnt -no OPTIONS -M "$dir" | grep -q '^rw,' || fail "half a remount"
same "half a remount: actimeo" "$(status_field "$dir" options.actimeo)" 1
mount -o remount,rw,actimeo=7 "$dir"
same "[R.4] remounted: actimeo" "$(status_field "$dir" options.actimeo)" 7
mount -o "remount,rw,actimeo=1s,$opts" "$dir"
expect 32 "no sharedfs" mount.sharedfs "$source" "$work/other" -o remount,ro

echo "== busy and lazy"
exec 8<"$dir/f"
expect 32 "busy" umount "$dir"
same "mounts after a busy umount" "$(count "$dir")" 1
umount -l "$dir"
same "mounts after a lazy one" "$(count "$dir")" 0
same "content by the open descriptor" "$(cat <&8)" hello
exec 8<&-
wait_gone

echo "== umount waits for the store, and says what is left"
# No option here that mount(8) notes in utab: umount(8) finds the helper all the
# same.
small=$work/small
mkdir "$small"
mount -t tmpfs -o size=2m tmpfs "$small"
mount -t sharedfs -o "$opts" "file://$small" "$dir"
nodes_pids=$(pids)
head -c 1572864 /dev/zero >"$small/ballast"
head -c 1048576 /dev/urandom >"$work/content"
# [P1.2]: the bytes are kept.
cat "$work/content" >"$dir/kept" 2>/dev/null && fail "a full store took it"
expect 32 "  kept (1048576 bytes)" umount "$dir"
grep -q "1 file" "$work/out" || fail "no number of files"
same "mounts after an umount that left something" "$(count "$dir")" 1
rm "$small/ballast"
umount "$dir"
cmp "$work/content" "$small/kept" || fail "lost at umount"
wait_gone
umount "$small"

echo "== a dead mount"
mount -T "$fstab" "$dir"
kill_node "$dir"
wait_until 10 "ENOTCONN" sh -c "! stat -f '$dir' >/dev/null 2>&1"
expect 0 "unmounting the dead mount" mount -T "$fstab" "$dir"
nodes_pids=$(pids)
same "mounts after a dead one" "$(count "$dir")" 1
same "content after a dead one" "$(cat "$dir/f")" hello
kill_node "$dir"
wait_until 10 "ENOTCONN" sh -c "! stat -f '$dir' >/dev/null 2>&1"
umount "$dir"
same "mounts at the end" "$(count "$dir")" 0
wait_gone
umount "$sbin"
umount /run
