#!/bin/sh
# SPDX-License-Identifier: MIT
# [S3.15] A file that a program copies within the mount by copy_file_range(), as
# cp does, is copied inside the store: counted in requests and bytes.  And what
# must be sent all the same: a part of a file, a copy that was changed, a copy
# of what the store no longer has.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3 cp

MIB=11 # more than two parts of 5 MiB, and no whole number of them
cat >"$work/copier.py" <<'PY'
import os, sys
how, src, dst, gone = (sys.argv[1:] + [""])[:4]
size = os.stat(src).st_size
i = os.open(src, os.O_RDONLY)
o = os.open(dst, os.O_RDWR | os.O_CREAT, 0o640)

def copy(want, at=0):
    while want:
        n = os.copy_file_range(i, o, want, at, at)
        if n == 0: break
        want, at = want - n, at + n

if how == "half":
    copy(size // 2)
elif how == "pieces":  # and not where blocks end
    copy(1 << 20), copy(4 << 20, 1 << 20), copy(size - (5 << 20), 5 << 20)
else:
    copy(size)
if how == "changed": # while the kernel may write by itself
    os.pwrite(o, b"changed", 7 << 20)
elif how == "appended":
    os.pwrite(o, b"appended", size)
elif how == "cut":
    os.ftruncate(o, size - (1 << 20))
elif how == "read":
    assert len(os.pread(o, 1 << 20, 3 << 20)) == 1 << 20
if gone: # tells, and waits
    print("copied", flush=True)
    sys.stdin.readline()
os.close(o)
PY

# MiB that came from the store and went there, so far.
traffic()
{
	sharedfs status --json "$A" | python3 -c '
import json, sys
s = json.load(sys.stdin)["store"]
print(s["bytes_in"], s["bytes_out"])'
}

# costs WHAT "CLASS COUNT …" SENT COMMAND…: requests that change something or
# bring bytes, and MiB; nothing of the source is fetched again.
costs()
{
	what=$1 changes=$2 sent=$3
	shift 3
	proxy_do p reset
	before=$(traffic)
	"$@"
	got=$(proxy_do p count | grep -v 'total\|HEAD\|LIST\|GET\| 0$' |
		LC_ALL=C sort | tr '\n' ' ')
	same "requests of $what" "$got" "$changes "
	set -- $before $(traffic)
	same "MiB fetched for $what" $((($3 - $1) >> 20)) 0
	same "MiB sent for $what" $((($4 - $2) >> 20)) "$sent"
}

# what_is NAME: as the store has it.
what_is()
{
	rgw req "$RGW_DIR" GET "/$bucket/$d/$1" -o "$work/got"
	sha256sum <"$work/got"
}

header()
{
	rgw req "$RGW_DIR" HEAD "/$bucket/$d/$1" -i | tr -d '\r' |
		sed -n "s/^$2: //Ip"
}

# sent HOW: what the copier makes by HOW is as on a plain directory.
sent()
{
	python3 "$work/copier.py" "$1" "$work/data" "$work/plain"
	costs "$1" "$2" "$3" python3 "$work/copier.py" "$1" "$A/$d/a.txt" \
		"$A/$d/$1"
	same "$1" "$(what_is "$1")" "$(sha256sum <"$work/plain")"
	same "$1, here" "$(sha256sum <"$A/$d/$1")" "$(sha256sum <"$work/plain")"
	rm "$work/plain"
}

# gone NAME COMMAND…: what becomes of the source before the copy is closed.
gone()
{
	name=$1
	shift
	cp "$A/$d/a.txt" "$A/$d/$name-source"
	mkfifo "$work/in" "$work/out"
	python3 "$work/copier.py" whole "$A/$d/$name-source" "$A/$d/$name" wait \
		<"$work/in" >"$work/out" &
	copier=$!
	exec 7>"$work/in" 8<"$work/out"
	read -r answer <&8
	same "the copier" "$answer" copied
	"$@"
	echo go >&7
	wait "$copier" || fail "close() of $name"
	exec 7>&- 8<&-
	rm "$work/in" "$work/out"
	same "$name" "$(what_is "$name")" "$want"
}

one_mode()
{
	mode=$1 d=$1
	mount_node A "$SOURCE" "$A" "$OPTS,passthrough=$mode"
	mkdir "$A/$d"
	cp "$work/data" "$A/$d/a.txt"
	want=$(sha256sum <"$work/data")
	sha256sum <"$A/$d/a.txt" >/dev/null

	echo "- $mode: cp"
	# It reserves the name first.
	costs cp "COPY 1 PUT 1" 0 cp "$A/$d/a.txt" "$A/$d/b.html"
	same "the copy" "$(what_is b.html)" "$want"
	same "its type" "$(header b.html content-type)" text/html
	costs "cp over it" "COPY 1" 0 cp "$A/$d/a.txt" "$A/$d/b.html"
	same "the copy" "$(what_is b.html)" "$want"
	costs pieces "COPY 1" 0 \
		python3 "$work/copier.py" pieces "$A/$d/a.txt" "$A/$d/pieces"
	same "the pieces" "$(what_is pieces)" "$want"
	costs read "COPY 1" 0 \
		python3 "$work/copier.py" read "$A/$d/a.txt" "$A/$d/read"
	same "mode" "$(stat -c %a "$A/$d/read")" 640
	same "here" "$(sha256sum <"$A/$d/read")" "$want"

	echo "- $mode: what is none"
	sent changed "COMPLETE 1 CREATE 1 PART 3" 11
	if [ "$mode" = off ]; then
		sharedfs umount "$A"
		return
	fi
	sent half "COMPLETE 1 CREATE 1 PART 2" 5
	sent appended "COMPLETE 1 CREATE 1 PART 3" 11
	sent cut "COMPLETE 1 CREATE 1 PART 2" 10

	echo "- $mode: the source changes"
	gone replaced rgw req "$RGW_DIR" PUT "/$bucket/$d/replaced-source" \
		-d other
	gone removed rm "$A/$d/removed-source"
	gone renamed mv "$A/$d/renamed-source" "$A/$d/other"
	sharedfs umount "$A"
}

body()
{
	start_proxy p "127.0.0.1:$RGW_PORT"
	OPTS="$OPTS,endpoint=http://127.0.0.1:$proxy_port,part_size=5M"
	A=$work/A
	head -c "$((MIB << 20))" /dev/urandom >"$work/data"
	for mode in $(quick || echo off) auto; do
		one_mode "$mode"
	done

	echo "- what other tools say of the source is not said of the copy"
	rgw req "$RGW_DIR" PUT "/$bucket/$d/tagged.txt" -f "$work/data" \
		-H "x-amz-meta-color: red" -H "content-encoding: zstd"
	mount_node A "$SOURCE" "$A"
	cp "$A/$d/tagged.txt" "$A/$d/plain.css"
	same "type" "$(header plain.css content-type)" text/css
	same "tag" "$(header plain.css x-amz-meta-color)" ""
	same "encoding" "$(header plain.css content-encoding)" ""
	same "bytes" "$(what_is plain.css)" "$want"
	echo "- and a copy's own is kept"
	rgw req "$RGW_DIR" PUT "/$bucket/$d/own.txt" -d x \
		-H "x-amz-meta-color: blue"
	cp "$A/$d/tagged.txt" "$A/$d/own.txt"
	same "tag" "$(header own.txt x-amz-meta-color)" blue
	same "bytes" "$(what_is own.txt)" "$want"
	sharedfs umount "$A"
}
STORES=s3 each_store body
