#!/bin/sh
# SPDX-License-Identifier: MIT
# What no close() acknowledged is kept, listed, saved and discarded, on a live
# mount and without one, and never sent over what is newer [P1.2] [P1.11]
# [P1.12].
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3
new_store file
D=$work/mnt
C=$work/cache-a
mount -t tmpfs store "$store_dir"

# ids PLACE: of all that is listed.
ids()
{
	sharedfs recover list --json "$1" >"$work/json"
	python3 -c 'import json, sys
for f in json.load(open(sys.argv[1])): print(f["id"])' "$work/json"
}

# field PLACE FILE NAME
field()
{
	sharedfs recover show --json "$1" "$2" >"$work/json"
	python3 -c 'import json, sys
print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$work/json" "$3"
}

refused()
{
	words=$1
	shift
	! sharedfs recover "$@" >"$work/out" 2>&1 || fail "no error: $*"
	grep -q "$words" "$work/out" || fail "$* says $(cat "$work/out")"
}

failed_files()
{
	[ "$(status_field "$D" errors.failed_files)" = "$1" ]
}

echo "== a close() that failed, on a live mount"
echo hello >"$store_dir/file"
mount_node a "$SOURCE" "$D"
same "nothing kept" "$(sharedfs recover list "$D")" "nothing is kept"
python3 - "$D/file" "$store_dir" <<'END'
import os, subprocess, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
subprocess.check_call(["mount", "-o", "remount,ro", sys.argv[2]])
os.write(fd, b"more\n")
try:
    os.close(fd)
    sys.exit("close() succeeded")
except OSError:
    pass
END
wait_until 10 "the failed file in the status" failed_files 1
mount -o remount,rw "$store_dir"
# [P1.10]
same "what the node shows" "$(cat "$D/file")" hello
id=$(ids "$D")
same "by path and by id" "$(field "$D" file id)" "$(field "$D" "$id" id)"
same state "$(field "$D" file state)" failed
same errno "$(field "$D" file errno)" 30
same ranges "$(field "$D" file ranges)" "[[6, 5]]"
sharedfs recover save "$D" file "$work/saved" 2>"$work/out"
grep -q 'only the 5 bytes' "$work/out" || fail "no word about holes"
same saved "$(tr -d '\0' <"$work/saved")" more
refused 'File exists' save "$D" file "$work/saved"
refused 'nothing is kept under "none"' show "$D" none
refused 'no cache directory' list "$work"
refused 'usage:' show "$D"
refused 'name the mount' discard "$C" "$id"
sharedfs recover discard "$D" file
same "after discard" "$(sharedfs recover list "$D")" "nothing is kept"
same failed_files "$(status_field "$D" errors.failed_files)" 0
same pending_files "$(status_field "$D" pending_files)" 0

echo "== daemon and supervisor killed while files are written"
python3 - "$D" "$(status_field "$D" supervisor_pid)" \
	"$(status_field "$D" worker_pid)" <<'END'
import os, sys, killer
d = sys.argv[1]
fds = []
for name, flags in (("new", os.O_CREAT), ("file", 0), ("gone", os.O_CREAT)):
    fd = os.open(d + "/" + name, os.O_RDWR | flags, 0o640)
    os.write(fd, b"12345")
    fds.append(fd)
killer.kill_node(int(sys.argv[2]), int(sys.argv[3]))
for fd in fds:
    try:
        os.close(fd)
    except OSError:
        pass
END
wait_gone
umount "$D"
same "files kept" "$(ids "$C" | wc -l)" 3
same state "$(field "$C" new state)" unsent
same bytes "$(field "$C" new bytes)" 5
sharedfs recover save "$C" /new "$work/new"
same content "$(cat "$work/new")" 12345
# Another node goes on; then the mount comes back.
echo "newer and longer" >"$store_dir/file"
find "$C" -name '*.j' | while read -r j; do
	case $(cat "$j") in *'"gone"'*)
		sed -i 's/"boot":"[^"]*"/"boot":"another"/' "$j"
	esac
done
mount_node a "$SOURCE" "$D"
same failed_files "$(status_field "$D" errors.failed_files)" 3
same "files kept" "$(ids "$D" | wc -l)" 3
same "state now" "$(field "$D" file state)" failed
same "restarted" "$(field "$D" gone restarted)" True
same "not restarted" "$(field "$D" new restarted)" False
field "$D" gone error | grep -q 'host went down' || fail "no word of the host"
sharedfs umount "$D" || fail "what is kept holds up the unmounting"
wait_gone
same "nothing newer is overwritten" "$(cat "$store_dir/file")" \
	"newer and longer"

echo "== another mount on the same cache directory"
# Partly fetched content of a mount that never comes back.
files=$(dirname "$(field "$C" new file)")
echo cached >"$files/12345"
touch -d '2 hours ago' "$files"
sharedfs mount "$SOURCE" "$work/other" -o "cache_dir=$C,log_file=$work/o.log" \
	2>/dev/null || {
	mkdir -p "$work/other"
	sharedfs mount "$SOURCE" "$work/other" \
		-o "cache_dir=$C,log_file=$work/o.log"
}
nodes_pids="$(status_field "$work/other" supervisor_pid)"
same kept_files "$(status_field "$work/other" errors.kept_files)" 3
[ ! -e "$files/12345" ] || fail "cached content of a dead mount stays"
same "of this mount" "$(ids "$work/other" | wc -l)" 0
same "of all" "$(ids "$C" | wc -l)" 3
sharedfs umount "$work/other"
wait_gone

echo "== a record that can't be read"
id=$(field "$C" new id)
: >"$(dirname "$files")/journal/$id.j"
same "still listed" "$(ids "$C" | grep -c "^$id\$")" 1
same state "$(field "$C" "$id" state)" unreadable
sharedfs recover save "$C" "$id" "$work/unreadable"
same content "$(cat "$work/unreadable")" 12345
sharedfs recover discard "$C" --all >/dev/null
same "after discard" "$(ids "$C" | wc -l)" 0
same "private files" "$(find "$files" -type f | wc -l)" 0
umount "$store_dir"

echo "== a new file on s3, of which nothing was sent"
new_store s3
for how in auto off; do
	mount_node b "$SOURCE" "$D" "$OPTS,passthrough=$how"
	python3 - "$D/new" "$(status_field "$D" supervisor_pid)" \
		"$(status_field "$D" worker_pid)" <<-'END'
	import os, sys, killer
	fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o640)
	os.write(fd, b"12345")
	killer.kill_node(int(sys.argv[2]), int(sys.argv[3]))
	END
	wait_gone
	umount "$D"
	mount_node b "$SOURCE" "$D" "$OPTS"
	same "$how: bytes" "$(field "$D" new bytes)" 5
	sharedfs recover discard "$D" new
	umount_node "$D"
	wait_gone
done
