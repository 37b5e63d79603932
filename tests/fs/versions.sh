#!/bin/sh
# SPDX-License-Identifier: MIT
# One file changes under its readers (docs/semantics.md P2.1, P2.7, P4.1): an
# open() sees the new bytes, all of them; a handle keeps the old ones or gets
# ESTALE; nobody sees a mixture, whatever the kernel has in its pages.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount

# fill CHARACTER COUNT
fill()
{
	head -c "$2" /dev/zero | tr '\0' "$1"
}

# only WHAT CHARACTER FILE: no other byte is in it.
only()
{
	rest=$(tr -d "$2" <"$3" | wc -c)
	[ "$rest" = 0 ] || fail "$1: $rest bytes are not '$2'"
}

body()
{
	mount_two
	fill a 200000 >"$A/f"
	# A knows the old size and has the first pages.
	same "size on A" "$(stat -c %s "$A/f")" 200000
	exec 8<"$A/f" 9<"$A/f"
	head -c 1000 <&9 >"$work/begin"
	fill b 300001 >"$B/f"
	# P2.1: at once, not cut at the size that was known.
	cat "$A/f" >"$work/new"
	same "new size" "$(stat -c %s "$work/new")" 300001
	only "the new bytes" b "$work/new"
	# P2.7, P4.1
	cat <&9 >"$work/old" 2>"$work/old.err" ||
		grep -q 'Stale file handle' "$work/old.err" ||
		fail "$(cat "$work/old.err")"
	only "an open handle" a "$work/old"
	cat "$A/f" >"$work/new"
	same "size again" "$(stat -c %s "$work/new")" 300001
	only "the new bytes again" b "$work/new"
	cat <&8 >"$work/old" 2>/dev/null || :
	only "another open handle" a "$work/old"
	exec 8<&- 9<&-

	# Shorter, and replaced by rename.
	exec 9<"$A/f"
	fill c 1000 >"$B/f.new"
	mv "$B/f.new" "$B/f"
	cat "$A/f" >"$work/new"
	same "shorter" "$(stat -c %s "$work/new")" 1000
	only "the shorter file" c "$work/new"
	cat <&9 >"$work/old" 2>/dev/null || :
	only "its open handle" b "$work/old"
	exec 9<&-

	# Appending in turn: each finds the end that the other left.
	: >"$A/log"
	for i in 1 2 3 4 5; do
		echo "A $i" >>"$A/log"
		echo "B $i" >>"$B/log"
	done
	for i in 1 2 3 4 5; do
		echo "A $i"
		echo "B $i"
	done >"$work/expected"
	cmp "$work/expected" "$A/log" || fail "the log on A"
	cmp "$work/expected" "$B/log" || fail "the log on B"

	# Many rounds, with readers that hold the file meanwhile.
	: >"$A/r0"
	: >"$A/r1"
	for i in 1 2 3 4 5 6 7 8 9 10; do
		c=$(echo "$i" | tr '123456789' 'defghijkl' | cut -c1)
		exec 9<"$A/r$((i % 2))"
		fill "$c" $((i * 7000)) >"$B/r$((i % 2))"
		cat "$A/r$((i % 2))" >"$work/new"
		same "round $i" "$(stat -c %s "$work/new")" $((i * 7000))
		only "round $i" "$c" "$work/new"
		exec 9<&-
	done
}

each_store body
