#!/bin/sh
# SPDX-License-Identifier: MIT
# Requests are what s3 costs ([Q.1] to [Q.6], [Q.11]): how many each operation sends,
# counted by the proxy, with names and attributes believed for long.  A change of
# a number here is a change of the bill.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3

cat >"$work/op.py" <<'PY'
import os, sys
op, p = sys.argv[1:]
def put(flags, data=b"abc"):
    fd = os.open(p, os.O_WRONLY | flags, 0o644)
    os.write(fd, data)
    return fd
if op == "create": os.close(put(os.O_CREAT))
if op == "exclusive": os.close(put(os.O_CREAT | os.O_EXCL))
if op == "overwrite": os.close(put(os.O_TRUNC))
if op == "append": os.close(put(os.O_APPEND))
if op == "twice":
    fd = put(os.O_CREAT)
    os.fsync(fd)
    os.close(os.dup(fd))
    os.close(fd)
if op == "shell":
    # echo >new: the descriptor is moved to 1, the first one closed, then written.
    first = os.open(p, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    fd = os.dup(first)
    os.close(first)
    os.write(fd, b"abc")
    os.close(fd)
if op == "attributes":
    # As cp -a does it.
    fd = put(os.O_CREAT | os.O_EXCL)
    os.fchmod(fd, 0o600)
    os.fchown(fd, 1, 2)
    os.utime(fd, (1, 1))
    os.close(fd)
if op == "read":
    with open(p, "rb") as f: f.read()
if op == "open": os.close(os.open(p, os.O_RDWR))
if op == "stat": os.stat(p)
if op == "chmod": os.chmod(p, 0o604)
if op == "rename": os.rename(p, p + ".new")
if op == "temp":
    # As editors and uploads do it: a new file over the name, or to it.
    os.close(put(os.O_CREAT))
    os.rename(p, p[:p.rindex(".")])
if op == "unlink": os.unlink(p)
if op == "mkdir": os.mkdir(p)
if op == "rmdir": os.rmdir(p)
PY

# costs OP NAME "CLASS COUNT …": the rest is 0.
costs()
{
	proxy_do p reset
	python3 "$work/op.py" "$1" "$A/$2"
	got=$(proxy_do p count | grep -v total | grep -v ' 0$' | LC_ALL=C sort |
		tr '\n' ' ')
	[ "$got" = "$3${3:+ }" ] || {
		echo "FAIL: $1 costs $got, not $3" >&2
		bad=1
	}
}

# With absence believed as long as a listing ([Q.3]).
listed()
{
	OPTS="$OPTS,negative_timeout=600"
	A=$work/A
	mount_node A "$SOURCE" "$A"
	mkdir "$A/l"
	ls "$A/l" >/dev/null
	costs create l/f "PUT 1"
	costs exclusive l/g "PUT 2"
	costs temp l/t.1 "COPY 1 DELETE 1 PUT 1"
	costs temp l/t.1 "COPY 1 DELETE 1 PUT 1"
	costs temp l/u.1 "COPY 1 DELETE 1 PUT 1"
	costs rename l/f "COPY 1 DELETE 1"
	costs mkdir l/dir "PUT 1"
	costs mkdir l/dir/sub "PUT 1"
	costs unlink l/g "DELETE 1"
	costs create l/g "PUT 1"
}

# [Q.6] What the kernel's lookup has asked the open() does not ask again.
opened_again()
{
	A=$work/A
	mount_node A "$SOURCE" "$A" "$OPTS,actimeo=0,attr_delay=0"
	echo abc >"$A/again"
	cat "$A/again" >/dev/null
	proxy_do p reset
	for i in 1 2 3 4 5; do
		same "content" "$(cat "$A/again")" abc
	done
	same "GETs of 5 opens" "$(proxy_count p GET)" 0
	s3req PUT "/$bucket/again" -d new
	same "new content" "$(cat "$A/again")" new
	same "GETs of a new version" "$(proxy_count p GET)" 1
	umount_node "$A"
	wait_gone
}

# [Q.11] Files that no node has cached, one after the other.
cold()
{
	for i in 0 1 2 3 4 5 6 7 8 9; do
		s3req PUT "/$bucket/c/$i" -d "content $i"
		s3req PUT "/$bucket/c/s$i" -d s
	done
	s3req PUT "/$bucket/c/dir/f" -d below
	s3req PUT "/$bucket/c/both" -d file
	s3req PUT "/$bucket/c/both/f" -d below
	head -c 300000 /dev/zero >"$work/large"
	s3req PUT "/$bucket/c/large" -f "$work/large"
	s3req PUT "/$bucket/c/empty" -d ""
	mount_node A "$SOURCE" "$A"
	stat "$A/c" >/dev/null
	costs read c/0 "GET 1 HEAD 1 LIST 1"
	costs read c/1 "GET 1 LIST 1"
	proxy_do p reset
	same "content" "$(cat "$A/c/1")" "content 1"
	costs read c/2 "GET 1 LIST 1"
	costs read c/large "GET 2 LIST 1"
	costs read c/empty "GET 2 LIST 1"
	costs open c/3 "GET 1 LIST 1"
	costs stat c/4 "GET 1 LIST 1"
	costs read c/4 "GET 1"
	same "content" "$(cat "$A/c/4")" "content 4"
	# A directory is no file, whatever lies beside it [S3.6].
	costs stat c/dir "GET 1 HEAD 2 LIST 2"
	[ -d "$A/c/both" ] || fail "c/both is no directory"
	[ ! -e "$A/c/none" ] || fail "c/none is there"
	cmp "$A/c/large" "$work/large" || fail "c/large differs"
	# Nobody opens them.
	for i in 0 1 2 3 4 5 6 7 8; do
		stat "$A/c/s$i" >/dev/null
	done
	costs stat c/s9 "HEAD 1 LIST 1"
	costs read c/5 "GET 1 HEAD 1 LIST 1"
	costs read c/6 "GET 1 LIST 1"
	umount_node "$A"
	wait_gone
}

body()
{
	start_proxy p "127.0.0.1:$RGW_PORT"
	OPTS="$OPTS,endpoint=http://127.0.0.1:$proxy_port,actimeo=600,attr_delay=3600"
	A=$work/A bad=0
	mount_node A "$SOURCE" "$A"
	mkdir "$A/d" "$A/d/empty"
	stat "$A/d" >/dev/null
	costs create d/f "LIST 1 PUT 1"
	costs exclusive d/g "LIST 1 PUT 2"
	costs twice d/h "LIST 1 PUT 1"
	costs attributes d/i "LIST 1 PUT 2"
	costs shell d/j "LIST 1 PUT 2"
	costs overwrite d/f "HEAD 1 PUT 1"
	costs append d/f "GET 1 PUT 1"
	costs stat d/f ""
	costs read d/f "GET 1"
	costs open d/f "GET 1"
	costs chmod d/f "COPY 1 HEAD 1"
	costs rename d/f "COPY 1 DELETE 1 LIST 1"
	costs temp d/t.1 "COPY 1 DELETE 1 LIST 2 PUT 1"
	costs temp d/t.2 "COPY 1 DELETE 1 LIST 1 PUT 1"
	costs unlink d/g "DELETE 1"
	costs mkdir d/sub "LIST 1 PUT 1"
	costs rmdir d/empty "DELETE 1 LIST 1"
	umount_node "$A"
	wait_gone
	listed
	umount_node "$A"
	wait_gone
	OPTS="$OPTS,excl=close"
	mount_node A "$SOURCE" "$A"
	ls "$A/d" >/dev/null
	costs exclusive d/x "PUT 1"
	umount_node "$A"
	wait_gone
	opened_again
	cold
	[ "$bad" = 0 ]
}
STORES=s3 each_store body
