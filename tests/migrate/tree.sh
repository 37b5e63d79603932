# SPDX-License-Identifier: MIT
# What the tests of migrate-local-uploads source, after lib.sh:
#   migrate DIR [option…]   runs it on $SOURCE, without waiting for a moment in
#                           which a busy store has caught up with a writer;
#                           output in $work/out, its exit code in $code
#   plain_tree DIR N        N small files and what every store can have
#   odd_tree DIR            one of each thing that needs care

migrate()
{
	dir=$1
	shift
	code=0
	migrate-local-uploads "$dir" "$SOURCE" \
		-o "$OPTS,log_level=${MIGRATE_LOG:-warning}" \
		--state="$work/state" --progress=plain --throttle=off \
		--max-lag=1h "$@" \
		>"$work/out" 2>&1 || code=$?
}

# ended WHAT CODE: the last migrate ended with this code.
ended()
{
	[ "$code" = "$2" ] || {
		cat "$work/out" >&2
		fail "$1: exit code $code, not $2"
	}
}

# said WORDS…: it printed that.
said()
{
	grep -qF -- "$*" "$work/out" || {
		cat "$work/out" >&2
		fail "it did not say: $*"
	}
}

# report FIELD: of $work/report.json; of a list, how many.
report()
{
	python3 -c '
import json, sys
v = json.load(open(sys.argv[1]))[sys.argv[2]]
print(len(v) if isinstance(v, list) else v)' "$work/report.json" "$1"
}

plain_tree()
{
	mkdir -p "$1"
	python3 - "$1" "$2" <<'PY'
import os, random, sys
root, n = sys.argv[1], int(sys.argv[2])
rnd = random.Random(7)
for i in range(n):
    d = os.path.join(root, "%02d" % (i % 20), "sub%d" % (i % 3))
    os.makedirs(d, exist_ok=True)
    p = os.path.join(d, "file-%05d.bin" % i)
    with open(p, "wb") as f:
        f.write(rnd.randbytes(rnd.choice((0, 1, 100, 4096, 20000))))
    os.chmod(p, rnd.choice((0o644, 0o600, 0o664)))
    os.chown(p, rnd.choice((0, 33)), 33)
    os.utime(p, ns=(10**18 + i, 10**18 + i * 1000003))
PY
	mkdir "$1/empty dir"
	chmod 2750 "$1/empty dir"
	chown 33:33 "$1/empty dir" "$1"
	ln -s ../nowhere "$1/dangling"
	ln -s "00/sub0/file-00000.bin" "$1/link"
	head -c 9000001 /dev/urandom >"$1/large"
	echo umlaut >"$1/$(printf 'f\303\274r "alle" %%41+&\nzwei')"
	: >"$1/-n"
}

odd_tree()
{
	echo one >"$1/first"
	ln "$1/first" "$1/second"
	ln "$1/first" "$1/empty dir/third"
	truncate -s 20M "$1/sparse"
	echo end >>"$1/sparse"
	echo attr >"$1/with attributes"
	setfattr -n user.colour -v blue "$1/with attributes"
	setfacl -m u:12:r "$1/with attributes"
	cp /bin/true "$1/setuid"
	chmod 4755 "$1/setuid"
	mkfifo "$1/fifo"
	touch -d '2001-02-03 04:05:06.789 UTC' "$1/fifo"
	python3 -c '
import os, socket, sys
os.chdir(sys.argv[1])
socket.socket(socket.AF_UNIX).bind("socket")' "$1"
	mknod "$1/device" c 1 3
	echo latin1 >"$1/$(printf 'na\357ve')"
}

# start_writer DIR SEED: an application, see writer.py; $writer is its process.
start_writer()
{
	seed=$2
	rm -rf "$work/control"
	mkdir -p "$work/control"
	python3 "$srcdir/tests/migrate/writer.py" "$1" "$work/control" "$seed" &
	writer=$!
	test_pids="$test_pids $writer"
	wait_until 30 "the writer's first files" test -e "$1/writer-$seed/d3"
}

stop_writer()
{
	: >"$work/control/stop"
	wait "$writer"
	[ ! -e "$work/control/failed" ] || fail "the application got an error"
}

# as_written DIR: the writer's files are there, just as it wrote them.
as_written()
{
	(cd "$1" && find "writer-$seed" -type f | LC_ALL=C sort | python3 -c '
import hashlib, os, sys
for p in sys.stdin.read().splitlines():
    b = open(p, "rb").read()
    print("%o %d %s %s" % (os.stat(p).st_mode & 0o7777, len(b),
                           hashlib.sha256(b).hexdigest(), p))') |
		LC_ALL=C sort -k 4 >"$work/have"
	LC_ALL=C sort -k 4 "$work/control/model" >"$work/model"
	diff "$work/model" "$work/have" >"$work/diff.out" || {
		head -n 20 "$work/diff.out" >&2
		fail "$1 is not what the application wrote"
	}
}
