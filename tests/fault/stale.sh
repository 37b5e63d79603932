#!/bin/sh
# SPDX-License-Identifier: MIT
# The store is down: with stale_if_error what is cached is read, listed and
# stat'ed at once, what is not waits; one look at a time reaches the store,
# signals end the waiting, and every waiting close() succeeds when it is back
# [P6.1] [P7.1] [P7.4] [P7.8].
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3
new_store s3
start_proxy p "${RGW_ENDPOINT#http://}"
OPTS=$(echo "$OPTS" |
	sed "s|endpoint=[^,]*|endpoint=http://127.0.0.1:$proxy_port|")
D=$work/mnt
mount_node a "$SOURCE" "$D" \
	"$OPTS,stale_if_error=1h,actimeo=100ms,io_threads=4,connect_timeout=1,request_timeout=2"
mkdir "$D/dir"
head -c 1000000 /dev/urandom >"$work/large"
cp "$work/large" "$D/dir/large"
echo cached >"$D/dir/small"
rgw req "$RGW_DIR" PUT "/$bucket/foreign" <"$work/large" >/dev/null 2>&1 || :
ls -l "$D/dir" >"$work/before"
cat "$D/dir/large" "$D/dir/small" >/dev/null

proxy_do p down >/dev/null
is_down()
{
	[ "$(status_field "$D" backend)" = down ]
}
# Somebody must find it out.
cat "$D/never seen" >/dev/null 2>&1 &
lost=$!
test_pids="$test_pids $lost"
wait_until 30 "the store to be down" is_down

echo "== what is cached"
timeout 20 cmp "$D/dir/large" "$work/large" || fail "a cached file waits"
same small "$(timeout 20 cat "$D/dir/small")" cached
timeout 20 ls -l "$D/dir" >"$work/after" || fail "a listing waits"
same listing "$(cat "$work/after")" "$(cat "$work/before")"

echo "== what is not"
code=0
timeout 2 cat "$D/foreign" >/dev/null 2>&1 || code=$?
same "cat of what is not cached" "$code" 124
not_running $lost && fail "a reader of an unknown name did not wait"

# More writers than threads; each close() waits, nobody is in another's way.
cat >"$work/writer.py" <<'PY'
import os, sys
fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY, 0o644)
os.write(fd, sys.argv[2].encode())
os.close(fd)
print("closed", flush=True)
PY
writers=
for n in 1 2 3 4 5 6 7 8; do
	python3 "$work/writer.py" "$D/new$n" "text $n" >"$work/w$n" 2>&1 &
	writers="$writers $!"
done
test_pids="$test_pids $writers"
python3 "$work/writer.py" "$D/dir/small" "changed" >"$work/w0" 2>&1 &
writers="$writers $!"
test_pids="$test_pids $!"
# Its writer may have been there, or not yet.
case $(timeout 20 cat "$D/dir/small") in
cached|changed) ;;
*) fail "a cached file waits, or has other bytes" ;;
esac
timeout 20 cmp "$D/dir/large" "$work/large" || fail "writers block a cached file"

looks()
{
	status_field "$D" store.looks
}
more_looks()
{
	[ "$(looks)" -gt "$((before + 2))" ]
}
before=$(looks)
wait_until 30 "looks" more_looks
same "closed before the store is back" "$(cat "$work"/w[0-8])" ""

echo "== a worker that takes over while it is down [P6.1]"
asked()
{
	grep -c 'request.*sharedfs-probe' "$work/p.requests" || :
}
probes=$(asked)
[ "$probes" -gt 0 ] || fail "the first worker did not ask what the store can"
was=$(status_field "$D" worker_pid)
kill_worker "$was"
replaced()
{
	[ "$(status_field "$D" worker_pid 2>/dev/null)" != "$was" ]
}
wait_until 10 "the next worker" replaced
same "closed while the store is down" "$(cat "$work"/w[0-8])" ""

# Its call is the second worker's now.
kill -KILL $lost
gone()
{
	not_running $lost
}
wait_until 10 "a killed reader to end" gone

echo "== back"
proxy_do p up >/dev/null
for w in $writers; do
	wait "$w" || fail "a waiting writer failed: $(cat "$work"/w?)"
done
for n in 1 2 3 4 5 6 7 8; do
	same "in the store" "$(rgw req "$RGW_DIR" GET "/$bucket/new$n")" "text $n"
done
sharedfs status --check "$D" >/dev/null || fail "not ok: $(sharedfs status "$D")"
rgw req "$RGW_DIR" GET "/$bucket/dir/small" | grep -q '^changed' ||
	fail "what was written meanwhile is not in the store"
same "questions of the second worker" "$(asked)" "$probes"
umount_all
wait_gone
