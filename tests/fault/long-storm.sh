#!/bin/sh
# SPDX-License-Identifier: MIT
# Two nodes under load, and on both the worker is killed every 0.2 to 2 s,
# replaced by `sharedfs upgrade` or left without its supervisor [P6.1] [P6.3]
# [P6.4] [P6.5] [P6.6]: no program sees an error, and every file whose close()
# succeeded is whole in the store itself, compared by hash.
# Not one of the tests that ./check runs: it still finds mistakes
# (docs/reliability.md).
#   STORM_SECONDS=N    how long in all (48, with SHAREDFS_QUICK 16)
#   STORM_MODES=auto   with passthrough only; off: without ("auto off")
#   STORM_CALLS=1      also tests/fs/random-io.c's calls
#   SEED=N             other moments and other calls
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
. "$srcdir/tests/fault/truth.sh"
need_mount
need_program python3 git sqlite3 fio rclone
seed=${SEED:-1} modes=${STORM_MODES:-auto off} uploaders=100
if quick; then
	: "${STORM_SECONDS:=16}"
	uploaders=30
fi
rounds=0
for kind in ${STORES:-file s3}; do
	for mode in $modes; do
		rounds=$((rounds + 1))
	done
done
seconds=$((${STORM_SECONDS:=48} / rounds))

git init -q "$work/repo"
(
	cd "$work/repo"
	git config user.email a@b
	git config user.name a
	cp -r "$srcdir/docs" "$srcdir/common" .
	git add .
	git commit -qm one
) || fail "no repository"

# --- the programs: each ends with 0 after $work/stop is there ---------------

uploads_a()
{
	"$builddir/tests/bin/uploaders" "$A/up-a" "$B/up-a" "$uploaders" \
		"$work/stop" "$work/sums.up-a" "$seed"
}

uploads_b()
{
	"$builddir/tests/bin/uploaders" "$B/up-b" "$A/up-b" "$uploaders" \
		"$work/stop" "$work/sums.up-b" "$((seed + 1))"
}

verify()
{
	n=0
	until [ -e "$work/stop" ]; do
		n=$((n + 1))
		fio --name=storm --filename="$A/fio" --rw=randrw --size=4m \
			--bsrange=1k-64k --verify=crc32c --verify_fatal=1 \
			--verify_backlog=64 --fallocate=none --end_fsync=1 \
			--ioengine=psync --randseed="$n" --minimal \
			>"$work/fio.words" 2>&1 || {
			cat "$work/fio.words"
			return 1
		}
	done
	echo "$n rounds of fio"
}

calls()
{
	n=$((seed * 1000))
	until [ -e "$work/stop" ]; do
		"$builddir/tests/bin/random-io" "$A/calls" "$B/calls" 3 100 \
			"$n" || return 1
		rm "$A"/calls/*
		n=$((n + 1))
	done >"$work/calls.words" || { cat "$work/calls.words"; return 1; }
	echo "$((n - seed * 1000)) rounds of random calls"
}

clones()
{
	n=0
	until [ -e "$work/stop" ]; do
		rm -rf "$B/clone"
		git clone -q "$work/repo" "$B/clone" || return 1
		git -C "$B/clone" fsck --full >"$work/fsck" 2>&1 ||
			{ cat "$work/fsck"; return 1; }
		n=$((n + 1))
	done
	echo "$n clones"
}

rows()
{
	n=0
	sqlite3 "$A/db" 'create table t (n integer primary key)' || return 1
	same "journal mode" "$(sqlite3 "$A/db" 'pragma journal_mode')" delete
	until [ -e "$work/stop" ]; do
		sqlite3 "$A/db" "insert into t values ($n)" || return 1
		n=$((n + 1))
	done
	same rows "$(sqlite3 "$A/db" 'select count(*) from t')" "$n"
	echo "$n rows"
}

# --- what is done to them ---------------------------------------------------

# "DELAY DIR ACTION", again and again.
plan()
{
	awk -v seed="$1" -v a="$A" -v b="$B" 'BEGIN {
		srand(seed)
		for (n = 1; n < 100000; n++) {
			delay = 0.2 + 1.8 * rand()
			what = "kill"
			if (n % 5 == 2)
				what = "upgrade"
			if (n % 16 == 4)
				what = "orphan"
			print delay, rand() < 0.5 ? a : b, what
		} }'
}

# pid_of DIR worker_pid|supervisor_pid: prints nothing while there is none.
# (status_field would start python each time.)
pid_of()
{
	sharedfs status --json "$1" 2>/dev/null |
		sed -n "s/.*\"$2\": *\([1-9][0-9]*\).*/\1/p"
}

some_pid()
{
	old=$(pid_of "$1" "$2") && [ "$old" ]
}

other()
{
	now=$(pid_of "$1" "$2") && [ "$now" ] && [ "$now" != "$3" ]
}

# A new supervisor is there before the worker is killed again: without both
# nobody is left ([P6.6]).
do_orphan()
{
	wait_until 60 "a supervisor" some_pid "$1" supervisor_pid
	kill -KILL "$old"
	wait_until 60 "the next supervisor" other "$1" supervisor_pid "$old"
	nodes_pids="$nodes_pids $(pid_of "$1" supervisor_pid)"
}

do_upgrade()
{
	wait_until 60 "a worker" some_pid "$1" worker_pid
	sharedfs upgrade "$1" >"$work/words" || fail "no upgrade"
	wait_until 60 "the upgraded worker" other "$1" worker_pid "$old"
}

do_kill()
{
	wait_until 60 "a worker" some_pid "$1" worker_pid
	kill_worker "$old"
}

# Where programs failed there is nothing left to wait for.
all_run()
{
	for p in $pids; do
		! not_running "$p" || return 1
	done
}

storm()
{
	end=$(($(date +%s) + seconds)) n_kill=0 n_upgrade=0 n_orphan=0
	plan "$seed" >"$work/plan"
	while read -r delay dir action; do
		all_run || break
		# Some of each, however slow the machine is.
		[ "$(date +%s)" -lt "$end" ] || [ $n_kill -lt 3 ] ||
			[ $n_upgrade = 0 ] || [ $n_orphan = 0 ] || break
		sleep "$delay"
		"do_$action" "$dir"
		eval "n_$action=\$((n_$action + 1))"
	done <"$work/plan"
	echo "$n_kill kills, $n_upgrade upgrades, $n_orphan supervisors killed"
}

body()
{
	for mode in $modes; do
		echo "-- passthrough=$mode"
		[ "$mode" = "${modes%% *}" ] || new_store "$store"
		one_storm
	done
}

one_storm()
{
	rm -f "$work/stop"
	OPTS="$OPTS,passthrough=$mode"
	[ "$store" = file ] || OPTS="$OPTS,part_size=5M"
	mount_two
	mkdir "$A/up-a" "$B/up-b" "$A/calls"
	pids=
	for job in uploads_a uploads_b verify clones rows \
	    ${STORM_CALLS:+calls}; do
		$job >"$work/$job.out" 2>&1 &
		pids="$pids $!"
		# The daemons and what is done to them come first.
		renice -n 10 -p $! >"$work/renice"
	done
	test_pids=$pids
	storm
	touch "$work/stop"
	for p in $pids; do
		wait "$p" || fail "$(tail -n 20 "$work"/*.out)"
	done
	for n in "$A" "$B"; do
		same pending "$(status_field "$n" pending_files)" 0
		same failed "$(status_field "$n" errors.failed_files)" 0
		nodes_pids="$nodes_pids $(status_field "$n" worker_pid)"
		nodes_pids="$nodes_pids $(status_field "$n" supervisor_pid)"
	done
	umount_all
	files=0
	get_truth
	whole up-a
	whole up-b
	same integrity "$(sqlite3 "$truth/db" 'pragma integrity_check')" ok
	cat "$work"/*.out
	echo "$files files are whole in the store"
}

each_store body
