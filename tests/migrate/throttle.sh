#!/bin/sh
# SPDX-License-Identifier: MIT
# --bwlimit and --iops hold the reading back: it can't be faster than that, on
# whatever machine.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
. "$srcdir/tests/migrate/tree.sh"

new_store file
mkdir "$work/src"
for i in 1 2 3 4; do
	head -c 1000000 /dev/urandom >"$work/src/$i"
done

# at_least WHAT SECONDS: the last run took that long.
at_least()
{
	ended "$1" 0
	report seconds | awk -v min="$2" '{ exit !($1 >= min) }' ||
		fail "$1: $(report seconds) s"
}

migrate "$work/src" --throttle=adaptive --bwlimit=2M \
	--report="$work/report.json"
at_least "4 MB at 2 MiB a second" 1.9
for i in 1 2 3 4; do
	echo $i >>"$work/src/$i"
done
migrate "$work/src" --iops=2 --report="$work/report.json"
at_least "4 files at 2 a second" 1.9
diff -r "$work/src" "$store_dir"
same "mode of the report" "$(stat -c %a "$work/report.json")" 644
migrate "$work/src" --bwlimit=fast
ended "a wrong limit" 2
said "a size such as 20M"
