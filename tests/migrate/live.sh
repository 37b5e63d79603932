#!/bin/sh
# SPDX-License-Identifier: MIT
# An application writes all the time: bulk copy, catching up and cut-over; it
# goes on, and everything is in the share as it was written [MIG.6] [MIG.7].
# One that holds an old file open is followed until it closes [MIG.8].  Then
# --undo, and everything is in the old tree again [MIG.9].
# MIGRATE_FILES sets the size of the tree.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
. "$srcdir/tests/migrate/tree.sh"
need_mount
need_program python3

n=${MIGRATE_FILES:-800}
if quick; then
	n=${MIGRATE_FILES:-60}
fi
LIBMOUNT_FSTAB=$work/fstab
export LIBMOUNT_FSTAB
OPTS_CACHE=cache_dir=$work/cache-cut,log_file=$work/cut.log

# The share has taken the place, or the program ended.
cut_over()
{
	grep -qs '^S cutover done' "$work"/state/*/journal ||
		not_running $mover
}

body()
{
	src=$work/up/loads
	rm -rf "$work/up" "$work/state" "$work/fstab"
	mkdir -p "$work/up"
	plain_tree "$src" "$n"
	cp -a "$src" "$work/copy"
	start_writer "$src" 5
	OPTS=$OPTS,$OPTS_CACHE

	# It holds a file open over the cut-over and writes on.
	mkfifo "$work/go"
	(
		exec 5>"$src/held" 3<"$work/go"
		echo before >&5
		read -r _ <&3
		echo after >&5
	) &
	holder=$!
	test_pids="$test_pids $holder"
	exec 4>"$work/go"
	wait_until 10 "the held file" test -s "$src/held"

	migrate-local-uploads "$src" "$SOURCE" -o "$OPTS" \
		--state="$work/state" --progress=plain --cutover --max-lag=1h \
		--write-fstab --report="$work/report.json" >"$work/out" 2>&1 &
	mover=$!
	wait_until 120 "the cut-over" cut_over
	mountpoint -q "$src" || { cat "$work/out" >&2; fail "no cut-over"; }
	note_node "$src"
	# Now the old file is in the old tree.
	same "the old tree" "$(cat "$src.before-sharedfs/held")" before
	echo go >&4
	exec 4>&-
	wait $holder
	code=0
	wait $mover || code=$?
	ended "cut-over" 0
	rm "$work/go"
	said "could not be written"
	said "for /etc/fstab: $SOURCE $src sharedfs"
	grep -qF "$SOURCE $src sharedfs " "$work/fstab" ||
		fail "no line in fstab: $(cat "$work/fstab")"
	grep "could not be written" "$work/out"
	wait_until 5 "the late bytes" grep -q after "$src/held"

	# The application goes on, on the share.
	same "what is mounted" "$(findmnt -n -o FSTYPE "$src")" fuse.sharedfs
	[ ! -e "$src.sharedfs-new" ] || fail "the staging directory is left"
	sleep 0.5
	stop_writer
	as_written "$src"
	cp -a "$src/writer-5" "$work/copy"
	cp -a "$src/held" "$work/copy"
	same_tree "$work/copy" "$src"

	# Back, with what changed in the share.
	echo "new on the share" >"$src/new"
	mkdir "$src/new dir"
	echo below >"$src/new dir/below"
	chmod 600 "$src/new"
	echo longer than it was >>"$src/large"
	rm "$src/-n"
	rm -r "$src/00"
	mv "$src/01" "$src/moved"
	chmod 701 "$src/02"
	ln -sf elsewhere "$src/link"
	rm -r "$work/copy"
	cp -a "$src" "$work/copy"
	if [ "$store" = file ]; then
		# Changed here and there: nobody can tell which one counts.
		echo here >>"$src.before-sharedfs/large"
		migrate "$src" --undo
		ended "undo that would lose something" 1
		said "large: changed in the share and in the old tree"
		said "not undone, $src is as it was"
		mountpoint -q "$src" || fail "it was unmounted"
		rm "$src.before-sharedfs/large"
	fi
	migrate "$src" --undo --report="$work/report.json"
	ended "undo" 0
	grep "could not be written" "$work/out"
	mountpoint -q "$src" && fail "something is mounted on it"
	same_tree "$work/copy" "$src"
	for d in before-sharedfs sharedfs-new; do
		[ ! -e "$src.$d" ] || fail "$src.$d is left"
	done
	wait_gone
	rm -r "$work/copy"
}
each_store body
