#!/bin/sh
# SPDX-License-Identifier: MIT
# Labels of docs/semantics.md such as [P2.1] are unique, and each one that a
# test, a source file or the page itself names is there.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"

page=$srcdir/docs/semantics.md
label='\[[A-Z][A-Z0-9]*\.[0-9][0-9]*\]'
sed -n "s/^- \*\*\($label\)\*\*.*/\1/p" "$page" | sort >"$work/defined"
[ -s "$work/defined" ] || fail "no labels were found"
twice=$(uniq -d "$work/defined")
[ -z "$twice" ] || fail "defined twice: $twice"

cd "$srcdir"
grep -rhoE "$(printf '%s' "$label" | sed 's/\[0-9\]\[0-9\]\*/[0-9]+/')" \
	docs/semantics.md README.md tests fs cache backends mount-helpers \
	--include='*.md' --include='*.c' --include='*.h' --include='*.sh' |
	sort -u >"$work/named"
unknown=$(comm -13 "$work/defined" "$work/named")
[ -z "$unknown" ] || fail "not in docs/semantics.md: $unknown"
echo "$(wc -l <"$work/defined") labels"
