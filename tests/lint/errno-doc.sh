#!/bin/sh
# SPDX-License-Identifier: MIT
# docs/errno.md has every row of backends/*-errno.def, with the same error.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"

n=0
for def in "$srcdir"/backends/*-errno.def; do
	[ -e "$def" ] || skip "no store has a table yet"
	rows=$(sed -n 's/^[A-Z0-9_]*("\{0,1\}\([A-Za-z0-9]*\)"\{0,1\}, *\([A-Z0-9]*\), *[A-Z]*)$/| \1 | \2 |/p' \
		"$def")
	[ -n "$rows" ] || fail "$def: no rows were understood"
	[ "$(printf '%s\n' "$rows" | wc -l)" = \
		"$(grep -c '^[A-Z0-9_]*(' "$def")" ] ||
		fail "$def: a row was not understood"
	while read -r row; do
		grep -qF "$row" "$srcdir/docs/errno.md" ||
			fail "docs/errno.md lacks: $row ($def)"
		n=$((n + 1))
	done <<-EOF
	$rows
	EOF
done
echo "$n rows"
