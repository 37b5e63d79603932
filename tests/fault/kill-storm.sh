#!/bin/sh
# SPDX-License-Identifier: MIT
# Two nodes under load, and on one of them the worker is killed again and again
# [P6.1], [P6.3], [P6.5], every fourth time upgraded instead [P6.4]: no program
# sees an error, and every file whose close() succeeded is whole in the store,
# compared by hash.  One program has a mount namespace of its own, with nothing
# but a plain bind of a subdirectory, as in a container.
#   STORM_SECONDS=N tests/fault/kill-storm.sh
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3 git sqlite3
seconds=25
quick && seconds=6
seconds=${STORM_SECONDS:-$seconds}

git init -q "$work/repo"
(
	cd "$work/repo"
	git config user.email a@b
	git config user.name a
	cp -r "$srcdir/docs" "$srcdir/common" .
	git add .
	git commit -qm one
) || fail "no repository"

# Each runs until $work/stop is there, and ends with 0 if all was well.
uploads()
{
	python3 "$srcdir/tests/fault/kill-storm.py" "$D/up" "$work/stop" \
		"$work/sums.$store"
}

clones()
{
	n=0
	until [ -e "$work/stop" ]; do
		git clone -q "$work/repo" "$D/clone$n" || return 1
		git -C "$D/clone$n" fsck --full >/dev/null 2>&1 || return 1
		n=$((n + 1))
	done
	echo "$n clones"
}

rows()
{
	n=0
	sqlite3 "$D/db" 'create table t (n integer primary key)' || return 1
	until [ -e "$work/stop" ]; do
		sqlite3 "$D/db" "insert into t values ($n)" || return 1
		n=$((n + 1))
	done
	same rows "$(sqlite3 "$D/db" 'select count(*) from t')" "$n"
	same integrity "$(sqlite3 "$D/db" 'pragma integrity_check')" ok
	echo "$n rows"
}

boxed()
{
	mkdir "$work/box" "$work/scratch" 2>/dev/null || :
	unshare -m --propagation private sh -c '
		mount --bind "$1/box" "$2/box"
		umount -l "$1"
		cd "$2/box"
		exec "$3/tests/fault/boxed.sh" "$2/scratch"
	' sh "$D" "$work" "$srcdir"
}

reader()
{
	# The other node: what it sees is whole.
	until [ -e "$work/stop" ]; do
		for f in "$E"/up/*/whole-*; do
			[ -e "$f" ] || continue
			sum=$(cksum "$f" 2>/dev/null) || continue # gone
			set -- $sum
			[ "$2" = 70000 ] || { echo "$f: $2 bytes"; return 1; }
		done
		sleep 0.1
	done
}

body()
{
	rm -f "$work/stop"
	D=$work/$store-D E=$work/$store-E
	mount_node "$store-D" "$SOURCE" "$D"
	mount_node "$store-E" "$SOURCE" "$E"
	mkdir "$D/up" "$D/box"
	pids=
	for job in uploads clones rows boxed reader; do
		$job >"$work/$job.out" 2>&1 &
		pids="$pids $!"
	done
	test_pids=$pids
	kill_and_upgrade "$D" "$seconds"
	touch "$work/stop" "$D/box/stop"
	for p in $pids; do
		wait "$p" || fail "$(tail -n 5 "$work"/*.out)"
	done
	cat "$work"/*.out
	echo "$kills kills, $upgrades upgrades"
	same pending "$(status_field "$D" pending_files)" 0
	(cd "$E/up" && sha256sum --quiet -c "$work/sums.$store") ||
		fail "the store has something else"
	nodes_pids="$nodes_pids $(status_field "$D" worker_pid)"
	nodes_pids="$nodes_pids $(status_field "$E" worker_pid)"
}
each_store body
