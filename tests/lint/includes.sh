#!/bin/sh
# SPDX-License-Identifier: MIT
# Includes point one way, fs -> cache -> backends -> common; a -priv.h header
# stays in its folder; <config.h> comes first.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"

# Prints one line for each breach in the tree $1.
breaches()
{
	(cd "$1" && find common backends cache fs mount-helpers bench tests \
		-name '*.[ch]' | sort | xargs awk '
	BEGIN {
		may["common"] = " common "
		may["backends"] = " backends common "
		may["cache"] = " cache backends common "
		may["fs"] = " fs cache backends common "
		may["mount-helpers"] = " mount-helpers fs backends common "
		may["bench"] = " bench fs common "
	}
	FNR == 1 {
		folder = FILENAME
		sub(/\/.*/, "", folder)
		first = 1
	}
	/^[ \t]*#[ \t]*include[ \t]/ {
		where = FILENAME ":" FNR ": " $0
		name = $0
		sub(/^[^<"]*[<"]/, "", name)
		sub(/[>"].*/, "", name)
		if (first && FILENAME ~ /\.c$/ && name != "config.h")
			print where "   <- <config.h> is not the first"
		first = 0
		if ($0 !~ /"/)
			next
		to = name
		if (!sub(/\/.*/, "", to)) {
			print where "   <- write the folder: \"folder/file.h\""
			next
		}
		if (folder == "tests")
			next
		if (index(may[folder], " " to " ") == 0)
			print where "   <- " folder " may not know " to
		else if (name ~ /-priv\.h$/ && to != folder)
			print where "   <- private to " to
	}')
}

breaches "$srcdir" >"$work/found"
[ ! -s "$work/found" ] || { cat "$work/found" >&2; fail "see above"; }

# A copy is fine until a wrong include is planted.
copy()
{
	rm -rf "$work/tree"
	mkdir "$work/tree"
	(cd "$srcdir" && find common backends cache fs mount-helpers bench tests \
		-name '*.[ch]' | tar -cf - -T -) | tar -xf - -C "$work/tree"
}
copy
breaches "$work/tree" >"$work/found"
[ ! -s "$work/found" ] || fail "the copy differs from the tree"
plant()
{
	copy
	echo "#include $2" >>"$work/tree/$1"
	breaches "$work/tree" >"$work/found"
	grep -q "^$1:" "$work/found" || fail "not found: $2 in $1"
}
plant common/buf.c '"backends/backend.h"'
plant common/err.h '"fs/fs.h"'
plant backends/backend.c '"cache/cache.h"'
plant backends/backend.h '"fs/options.h"'
plant cache/cache.h '"fs/fs.h"'
plant fs/fs.h '"cache/cache-priv.h"'
plant fs/fs.h '"fs.h"'
sed -i '/config.h/d' "$work/tree/common/buf.c"
breaches "$work/tree" | grep -q '^common/buf.c:.*config.h' ||
	fail "a missing <config.h> is not found"
