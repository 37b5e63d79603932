#!/bin/sh
# SPDX-License-Identifier: MIT
# A store that hangs in the kernel, as a dead NFS server does: a FUSE mount whose
# daemon is stopped.  With more programs waiting than there are threads, cached
# files are read and listed as before (stale_if_error) [P7.4], open files go
# on, signals end the waiting [P1.9] [P7.1], and when the store is back all go
# on at once and every close() succeeds [P7.8].
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3
new_store file
waiting=16

# The store's own daemon: sharedfs does as well as any.
N=$work/nfs D=$work/mnt
mount_node n "$SOURCE" "$N" "$OPTS,passthrough=off,heartbeat=0,actimeo=0"
server="$(status_field "$N" supervisor_pid) $(status_field "$N" worker_pid)"
mount_node a "file://$N" "$D" \
	"$OPTS,stale_if_error=1h,actimeo=100ms,io_threads=8"

mkdir "$D/dir"
head -c 3000000 /dev/urandom >"$work/large"
cp "$work/large" "$D/dir/large"
echo cached >"$D/dir/small"
# Versions that are too young are not believed later ([F.5]).
sleep 2.1
cat "$D/dir/large" "$D/dir/small" >"$work/read"

# Reads a line of what to do: "read" a piece, "write" one, "end".
mkfifo "$work/do"
python3 - "$D/dir/large" "$D/dir/log" "$work/do" >"$work/did" <<'PY' &
import os, sys
large = os.open(sys.argv[1], os.O_RDONLY)
log = os.open(sys.argv[2], os.O_CREAT | os.O_WRONLY)
print("open", flush=True)
for word in open(sys.argv[3]):
    if word == "read\n":
        assert len(os.pread(large, 1000000, 1000000)) == 1000000
    elif word == "write\n":
        os.write(log, b"line\n")
    print(word.strip(), flush=True)
os.close(log)
PY
holder=$!
test_pids="$test_pids $holder"
exec 3>"$work/do"
did()
{
	[ "$(tail -n 1 "$work/did")" = "$1" ]
}
wait_until 20 "open files" did open
ls "$D/dir" >"$work/before"

cat >"$work/writer.py" <<'PY'
import os, sys
fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY, 0o644)
os.write(fd, sys.argv[2].encode())
if len(sys.argv) > 3:
    open(sys.argv[3]).readline()
os.close(fd)
print("closed", flush=True)
PY
# One that has its file open already.
mkfifo "$work/go"
python3 "$work/writer.py" "$D/dir/small" chang "$work/go" >"$work/w0" 2>&1 &
changer=$!
test_pids="$test_pids $changer"
exec 4>"$work/go" # it has written

kill -STOP $server
trap 'kill -CONT $server; cleanup' EXIT

writers= readers=
n=1
while [ $n -le $waiting ]; do
	python3 "$work/writer.py" "$D/new$n" "text $n" >"$work/w$n" 2>&1 &
	writers="$writers $!"
	cat "$D/dir/unknown$n" >"$work/r$n" 2>&1 &
	readers="$readers $!"
	n=$((n + 1))
done
test_pids="$test_pids $writers $readers"
is_down()
{
	[ "$(status_field "$D" backend)" = down ]
}
wait_until 60 "the store to be down" is_down
sharedfs status --check "$D" >"$work/out" && fail "status says all is well"

echo "== what is cached"
timeout 30 cmp "$D/dir/large" "$work/large" || fail "a cached file waits"
timeout 30 head -c 4 "$D/dir/small" >"$work/read" || fail "a cached file waits"
timeout 30 ls "$D/dir" >"$work/names" || fail "a listing waits"
cmp "$work/names" "$work/before"
echo read >&3
wait_until 30 "a read of an open file" did read
echo write >&3
wait_until 30 "a write to an open file" did write

echo "== signals"
# (A call that hangs in the kernel already can't be called back, [P7.8]: neither
# can that of the one who looks whether the store is back.)
looked()
{
	[ "$(status_field "$D" store.looks)" -gt 0 ]
}
wait_until 60 "a look at the store" looked
cat "$D/dir/unknown" >"$work/lost" 2>&1 &
lost=$!
test_pids="$test_pids $lost"
in_call()
{
	case $(uname -m):$(cut -d' ' -f1 "/proc/$1/syscall") in
	x86_64:"$2") return 0 ;;
	x86_64:*) return 1 ;;
	esac
}
wait_until 30 "a reader in open()" in_call "$lost" 257
echo go >&4
wait_until 30 "a writer in close()" in_call "$changer" 3
kill -KILL "$lost" "$changer"
wait_until 30 "a killed reader to end" not_running "$lost"
wait_until 30 "a killed writer to end" not_running "$changer"
same "acknowledged without a store" "$(cat "$work"/w*[0-9])" ""

echo "== back"
kill -CONT $server
trap cleanup EXIT
back=$(date +%s%N)
for w in $writers; do
	wait "$w" ||
		fail "a waiting writer failed: $(cat "$work"/w*[0-9])"
done
echo "all had gone on after $((($(date +%s%N) - back) / 1000000)) ms"
for r in $readers; do
	! wait "$r" || fail "an unknown name was read"
done
same "errors of readers" "$(cat "$work"/r*[0-9] | grep -vc 'No such file')" 0
echo end >&3
exec 3>&-
wait $holder || fail "the holder of open files"
n=1
while [ $n -le $waiting ]; do
	same "in the store" "$(cat "$store_dir/new$n")" "text $n"
	n=$((n + 1))
done
same "log" "$(cat "$store_dir/dir/log")" line
sent()
{
	[ "$(status_field "$D" pending_files)" = 0 ]
}
wait_until 30 "what a killed writer wrote" sent
same "of a killed writer" "$(cat "$store_dir/dir/small")" changd
sharedfs status --check "$D" >"$work/out" || fail "$(cat "$work/out")"
umount_node "$D"
umount_node "$N"
wait_gone
