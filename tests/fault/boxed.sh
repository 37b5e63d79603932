#!/bin/sh
# SPDX-License-Identifier: MIT
# boxed.sh SCRATCH: what an application in a container does in its working
# directory, until there is a file "stop": uploads, compared with what was sent, a
# log that stays open, directories, listings.  Any error is fatal; it never
# leaves the directory.  (busybox's sh can run it.)
set -eu
scratch=$1
n=0
exec 3>>log
until test -e stop; do
	name=whole-$((n % 9))
	head -c $((20000 + n % 5 * 30000)) /dev/urandom >"$scratch/bytes"
	cp "$scratch/bytes" new
	mv new "$name"
	cmp "$scratch/bytes" "$name"
	cp "$scratch/bytes" "$name" # the same, in place
	cmp "$scratch/bytes" "$name"
	n=$((n + 1))
	echo "$n" >&3
	mkdir dir
	echo "$n" >dir/file
	test "$(cat dir/file)" = "$n"
	test "$(ls dir)" = file
	rm dir/file
	rmdir dir
	test "$(ls | head -n 1)" = log
done
exec 3>&-
seq 1 "$n" >"$scratch/log"
cmp "$scratch/log" log
echo "$n rounds"
