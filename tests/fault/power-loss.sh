#!/bin/sh
# SPDX-License-Identifier: MIT
# A node loses power at random moments of a load: from each copy of its cache
# disk, as it was then, a fresh daemon goes on.  It loses nothing that was
# acknowledged, shows no wrong byte, lists what nobody closed and sends none of
# it over what is newer [P1.11] [P5.2].  Some copies were taken frozen, some are a
# disk that loses what was not flushed, and some have damaged files beside.
#   CUTS=N SEED=N tests/fault/power-loss.sh    more copies, other calls
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3 fsfreeze mkfs.ext4 losetup
losetup -f >/dev/null 2>&1 || skip "no loop device"
cuts=${CUTS:-2}
seed=${SEED:-1}
rand=$((seed * 7919))

# Another start of the host, as far as the daemon can see.
boot()
{
	python3 -c 'import uuid; print(uuid.uuid4())' >"$work/boot.$1"
	mount --bind "$work/boot.$1" /proc/sys/kernel/random/boot_id
}

# draw N: r is below N, the same in each run with that SEED.
draw()
{
	rand=$(((rand * 1103515245 + 12345) % 2147483648))
	r=$((rand / 65536 % $1))
}

# take_cut N: the disk as it is now, in $work/cut.N; and what of "open" must be
# in it.  By turns frozen, suddenly off, and both with damaged files.
take_cut()
{
	echo 0 >"$work/least.$1"
	if [ $(($1 % 2)) = 1 ]; then
		[ $(($1 % 4)) = 3 ] || cp "$work/held" "$work/least.$1"
		fsfreeze -f "$C"
		echo "cut 0 $work/cut.$1" >"$work/disk/ctl"
		fsfreeze -u "$C"
	else
		draw 30000
		echo "cut $r $work/cut.$1" >"$work/disk/ctl"
	fi
}

# Some files below $1 lose their end, get zeros or other bytes, or vanish.
damage()
{
	python3 - "$1" "$2" <<'END'
import os, random, sys
rnd = random.Random(int(sys.argv[2]))
files = sorted(os.path.join(d, f) for d, _, fs in os.walk(sys.argv[1] + "/v1")
               for f in fs if not f.endswith("lock"))
for path in rnd.sample(files, len(files) // 2):
    size = os.path.getsize(path)
    how = rnd.randrange(5)
    if how == 0:
        os.unlink(path)
    elif size:
        at = rnd.randrange(size)
        with open(path, "r+b") as f:
            if how == 1:
                f.truncate(at)
            else:
                f.seek(at)
                n = min(size - at, rnd.choice((1, 4096, 100000)))
                f.write(bytes(n) if how == 2 else rnd.randbytes(n))
print(len(files) // 2, "of", len(files), "files damaged")
END
}

# What the store has, as a node sees it that had nothing to do with it.
whole()
{
	(
		cd "$E"
		sha256sum --quiet -c "$work/sums" || exit 1
		find . -type f -printf '%p %s %m %U %T@\n' | LC_ALL=C sort
	) >"$work/$1" || fail "$1: the store has something else"
}

# Kept bytes of a file called "open": 0 if there is none.
kept_open()
{
	sharedfs recover list --json "$1" >"$work/json" || fail "recover list"
	python3 -c 'import json, sys
print(max([f["size"] for f in json.load(open(sys.argv[1]))
	   if f["path"] == "open"], default=0))' "$work/json"
}

# What is listed can be saved.
save_all()
{
	python3 -c 'import json, sys
for f in json.load(open(sys.argv[1])): print(f["id"])' "$work/json" |
		while read -r id; do
			sharedfs recover save "$D" "$id" "$work/saved" \
				>"$work/out" 2>&1 ||
				fail "recover save: $(cat "$work/out")"
			rm "$work/saved"
		done
}

# The disk can be unmounted only when all processes of the node have ended.
unmount_D()
{
	set -- "$(status_field "$D" supervisor_pid)" \
		"$(status_field "$D" worker_pid)"
	umount_node "$D"
	for p; do
		wait_until 60 "the end of process $p" not_running "$p"
	done
}

after()
{
	n=$1 pass=auto
	draw 2
	[ "$r" = 0 ] || pass=off
	mount -o loop "$work/cut.$n" "$C" || fail "cut $n can't be mounted"
	draw 30000
	[ $(((n + 1) % 4)) -gt 1 ] || damage "$C" "$r"
	sharedfs recover list "$C" >/dev/null || fail "recover list in cut $n"
	mount_node D "$SOURCE" "$D" "$OPTS,passthrough=$pass"
	kept=$(kept_open "$D")
	echo "cut $n: $kept bytes kept of \"open\"," \
		"$(cat "$work/least.$n") at least; passthrough $pass"
	[ "$kept" -ge "$(cat "$work/least.$n")" ] || fail "some are missing"
	(cd "$D" && sha256sum --quiet -c "$work/sums") || fail "wrong bytes"
	# Once more, from what is in the cache now.
	(cd "$D" && sha256sum --quiet -c "$work/sums") || fail "wrong bytes"
	save_all
	unmount_D
	umount "$C"
}

body()
{
	C=$work/cache-D D=$work/D E=$work/E
	rm -f "$work/stop" "$work/held" "$work"/cut.* "$work/img"
	truncate -s 256M "$work/img"
	mkfs.ext4 -q -F -E nodiscard "$work/img"
	mkdir -p "$work/disk" "$C"
	"$builddir/tests/bin/disk" "$work/img" "$work/disk"
	mount -o loop,commit=1 "$work/disk/disk" "$C"
	mount_node E "$SOURCE" "$E"
	head -c 200000 /dev/zero >"$E/old"
	mount_node D "$SOURCE" "$D"
	python3 "$srcdir/tests/fault/power-loss.py" "$D" "$seed" "$work/stop" \
		"$work/sums" "$work/held" >"$work/load.out" 2>&1 &
	load=$!
	test_pids="$test_pids $load"
	wait_until 60 "the first bytes" test -e "$work/held"
	n=$first
	while [ "$n" -lt $((first + cuts)) ]; do
		# Any moment will do.
		draw 700
		sleep "0.$((200 + r))"
		take_cut "$n"
		n=$((n + 1))
	done
	touch "$work/stop"
	wait "$load" || fail "$(cat "$work/load.out")"
	cat "$work/load.out"
	unmount_D
	umount "$C"
	umount "$work/disk"
	echo newer >"$E/old"
	echo "$(sha256sum <"$E/old" | cut -d' ' -f1)  old" >>"$work/sums"
	whole before
	n=$first
	while [ "$n" -lt $((first + cuts)) ]; do
		boot "$store.$n"
		after "$n"
		umount /proc/sys/kernel/random/boot_id
		n=$((n + 1))
	done
	whole after
	diff "$work/before" "$work/after" || fail "the store was changed"
	umount_node "$E"
	rm -f "$work"/cut.* "$work/img"
	# The other kinds on the other store.
	first=$n
}
first=1
each_store body
