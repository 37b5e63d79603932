#!/bin/sh
# SPDX-License-Identifier: MIT
# kill -9 at random moments while the source changes, then the same command
# again: the end is the same as without, nothing half made is left, and nothing
# that others put into the share is touched [MIG.2] [MIG.4].
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
. "$srcdir/tests/migrate/tree.sh"
need_mount
need_program python3 setfattr setfacl

src=$work/src
# MIGRATE_KILLS=50 MIGRATE_FILES=1000 is the long form.
n=${MIGRATE_FILES:-300} kills=${MIGRATE_KILLS:-6} seed=${MIGRATE_SEED:-1}
if quick; then
	n=${MIGRATE_FILES:-100} kills=${MIGRATE_KILLS:-4}
fi

# change ROUND: some files are written, replaced, renamed and removed.
change()
{
	python3 - "$src" "$1" <<'PY'
import os, random, sys
root, rnd = sys.argv[1], random.Random(int(sys.argv[2]))
files = sorted(os.path.join(d, f) for d, _, fs in os.walk(root) for f in fs
               if f.startswith("file-"))
for p in rnd.sample(files, min(10, len(files))):
    what = rnd.randrange(5)
    if what == 0:
        with open(p, "ab") as f:
            f.write(rnd.randbytes(5000))
    elif what == 1:
        with open(p + ".tmp", "wb") as f:
            f.write(rnd.randbytes(3000))
        os.rename(p + ".tmp", p)
    elif what == 2:
        os.rename(p, p + "x")
    elif what == 3:
        os.unlink(p)
    else:
        os.chmod(p, 0o600 + rnd.randrange(0o77))
d = os.path.join(root, "%02d" % rnd.randrange(20))
if rnd.randrange(3) == 0 and os.path.isdir(d):
    os.rename(d, d + "-r%s" % sys.argv[2])
PY
}

# The run is over its preflight, or over.
copying()
{
	grep -qs '^S share' "$work"/state/*/journal || not_running $pid
}

# What went through the proxy since then, but for what finds out what the store
# can do.
sent_nothing()
{
	grep -q PUT "$work/p.requests" || fail "the log has no PUT at all"
	[ "$(wc -l <"$work/p.requests")" -gt "$before" ] ||
		fail "nothing went through the proxy"
	tail -n "+$((before + 1))" "$work/p.requests" |
		grep -E '(PUT|POST|DELETE|COPY)' | grep -v sharedfs-probe \
		>"$work/sent" || :
	[ ! -s "$work/sent" ] || fail "it sent: $(head -n 3 "$work/sent")"
}

body()
{
	rm -rf "$src" "$work/state"
	plain_tree "$src" "$n"
	odd_tree "$src"
	if [ "$store" = s3 ]; then
		start_proxy p "${RGW_ENDPOINT#*://}"
		OPTS=$(echo "$OPTS" |
			sed "s|endpoint=$RGW_ENDPOINT|endpoint=http://127.0.0.1:$proxy_port|")
	fi
	rm "$src/socket" "$src/device" "$src"/na* "$src/setuid"
	i=0
	while [ $i -lt "$kills" ]; do
		i=$((i + 1))
		migrate-local-uploads "$src" "$SOURCE" -o "$OPTS" \
			-o log_level=warning --state="$work/state" \
			--progress=none >"$work/out" 2>&1 &
		pid=$!
		# From the first moment on; every other time once it copies.
		[ $((i % 2)) = 0 ] || wait_until 60 "the end of the preflight" \
			copying
		sleep "$(awk -v i=$i -v s="$seed" 'BEGIN { srand(i * s);
			print rand() / 2 }')"
		kill -KILL $pid 2>/dev/null || :
		wait $pid || :
		change $i
		[ $i != 1 ] || {
			mount_node A "$SOURCE" "$work/A"
			echo theirs >"$work/A/of another host"
			umount_node "$work/A"
		}
	done
	migrate "$src" --verify --report="$work/report.json"
	ended "the last run" 0
	[ "$store" != s3 ] || before=$(wc -l <"$work/p.requests")
	migrate "$src" --report="$work/report.json"
	ended "one more" 0
	same "sent once more" "$(report files_sent)" 0
	[ "$store" != s3 ] || sent_nothing

	# What a killed probe of the store leaves.
	[ "$store" != file ] || rm -rf "$store_dir"/.sharedfs-probe-*
	mount_node A "$SOURCE" "$work/A"
	same "another host's file" "$(cat "$work/A/of another host")" theirs
	rm "$work/A/of another host" "$src/fifo" "$work/A/fifo"
	same_tree "$src" "$work/A"
}
each_store body
