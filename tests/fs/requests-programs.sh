#!/bin/sh
# SPDX-License-Identifier: MIT
# What everyday programs cost on s3 ([Q.1] to [Q.9], [A.1]), counted by the proxy,
# with names and attributes believed for long.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3 tar

# costs "CLASS COUNT …" COMMAND…: the rest is 0.
costs()
{
	want=$1
	shift
	proxy_do p reset
	"$@" || fail "$*"
	got=$(proxy_do p count | grep -v total | grep -v ' 0$' | LC_ALL=C sort |
		tr '\n' ' ')
	[ "$got" = "$want${want:+ }" ] || {
		echo "FAIL: $* costs $got, not $want" >&2
		bad=1
	}
}

# The object's headers say what a program set.
is_stored()
{
	same "$1 in the store" "$(s3req HEAD "/$bucket/$1" -i |
		tr -d '\r' | sed -n "s/^x-amz-meta-$2: //Ip")" "$3"
}

# As editors and downloads do it: a new file gets its attributes by name and
# then takes the place of the old one.
replace_file()
{
	python3 - "$1" <<-'PY'
	import os, sys
	p = sys.argv[1]
	fd = os.open(p + ".new", os.O_WRONLY | os.O_CREAT, 0o600)
	os.write(fd, b"abc")
	os.close(fd)
	os.chmod(p + ".new", 0o644)
	os.utime(p + ".new", (1, 1000000))
	os.rename(p + ".new", p)
	PY
}

sync_file()
{
	python3 -c '
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
os.fsync(fd)' "$1"
}

body()
{
	start_proxy p "127.0.0.1:$RGW_PORT"
	OPTS="$OPTS,endpoint=http://127.0.0.1:$proxy_port,actimeo=600,attr_delay=3600"
	A=$work/A bad=0
	mkdir "$work/src" "$work/src/sub"
	for f in a b sub/c; do
		echo "$f" >"$work/src/$f"
		touch -d @1000000 "$work/src/$f"
	done
	chmod 600 "$work/src/b"
	tar -C "$work/src" -cf "$work/src.tar" .
	mount_node A "$SOURCE" "$A"
	mkdir "$A/d" "$A/t" "$A/many"
	D=$A/d

	costs "COPY 1 DELETE 1 LIST 2 PUT 1" replace_file "$D/f"
	is_stored d/f mtime 1000000
	same "its mode" "$(stat -c %a "$D/f")" 644
	costs "COPY 1 DELETE 1 LIST 1 PUT 1" replace_file "$D/f"

	# cp looks the name up itself, then makes it with O_EXCL.
	costs "LIST 2 PUT 2" cp -p "$work/src/a" "$D/a"
	is_stored d/a mtime 1000000
	costs "LIST 3 PUT 2" install -m 755 "$work/src/a" "$D/b"

	# [A.1], [A.2], [A.4]
	costs "GET 1" touch -d @2000000 "$D/a"
	costs "" chmod 755 "$D/a"
	is_stored d/a mtime 1000000
	costs "COPY 1 GET 1 HEAD 1" sync_file "$D/a"
	is_stored d/a mtime 2000000
	costs "" chmod 777 "$D/a"
	costs "COPY 1 HEAD 1" chmod 600 "$D/a"
	costs "GET 1" touch -d @3000000 "$D/a"
	costs "COPY 1 HEAD 1" chown 3:3 "$D/a"
	is_stored d/a mtime 3000000
	costs "GET 1" touch -d @4000000 "$D/a"
	# (install, too, has set a mode by name.)
	same "what waits" "$(status_field "$A" pending_attrs)" 2
	# mv wants the new name to be free, and a look is all that it can have.
	costs "COPY 1 DELETE 1 LIST 2" mv "$D/a" "$D/a2"
	is_stored d/a2 mtime 4000000
	same "what still waits" "$(status_field "$A" pending_attrs)" 1

	# The directory once, each file reserved and sent.
	costs "LIST 4 PUT 7" tar -C "$A/t" -xf "$work/src.tar"
	costs "LIST 3 PUT 3" mkdir -p "$A/m1/m2/m3"
	# A marker, what waits for two directories, four copies.
	costs "COPY 4 DELETE 1 DELETE_MANY 1 HEAD 4 LIST 6 PUT 3" \
		mv "$A/t" "$A/t2"
	for n in 1 2 3 4 5 6 7 8 9 10; do
		echo "$n" >"$A/many/$n"
	done
	costs "DELETE 11 LIST 2" rm -r "$A/many"

	# [A.5], [A.3]
	touch -d @5000000 "$D/b"
	kill -9 "$(status_field "$A" worker_pid)"
	attrs_sent "$A" 2>"$work/polls"
	is_stored d/b mtime 5000000
	touch -d @6000000 "$D/b"
	umount_node "$A"
	is_stored d/b mtime 6000000
	wait_gone
	[ "$bad" = 0 ]
}
STORES=s3 each_store body
