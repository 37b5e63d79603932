#!/bin/sh
# SPDX-License-Identifier: MIT
# What must not stand in the sources: calls that overflow or hide errors,
# debts without an area, paths of somebody's machine, files without a licence.
# banned.sh [DIR] checks another tree.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"

# Prints one line for each breach in the tree $1.
breaches()
{
	(
	cd "$1"
	find fs cache backends common mount-helpers bench tests -name '*.[ch]' |
		sort >"$work/sources"
	xargs awk -f "$srcdir/tests/lint/code.awk" <"$work/sources" \
		>"$work/code"

	bad='(v?sprintf|strcpy|strcat|stpcpy|atoi|atol|atoll|gets|strtok'
	bad="$bad|mktemp|tmpnam|alloca|system|popen|strerror_r)"
	grep -E "(^|[^A-Za-z0-9_.>])$bad[[:blank:]]*\\(" "$work/code" |
		sed 's/$/   <- banned call/'
	# A product may wrap around; xcalloc and xrealloc check it.
	grep -E '(^|[^A-Za-z0-9_])x?malloc[[:blank:]]*\(' "$work/code" |
		grep -E '\(.*(sizeof.*\) *\*|\* *sizeof)' |
		sed 's/$/   <- malloc of a product; use xcalloc/'
	grep -E '(^|[^A-Za-z0-9_])(malloc|calloc|realloc|strdup|strndup|asprintf|vasprintf)[[:blank:]]*\(' \
		"$work/code" | grep -v '^common/xalloc\.\|^tests/' |
		sed 's/$/   <- use common\/xalloc.h/'

	find fs cache backends common mount-helpers tests docs bench examples \
		.ci Makefile.am configure.ac autogen.sh run.in README.md \
		quickstart check debian CONTRIBUTING.md -type f \
		! -name '*.o' ! -name '*.a' ! -path 'tests/bin/*' \
		! -path '*/.deps/*' ! -path 'tests/fuzz/corpus/*' \
		! -path 'tests/*.log' ! -path 'tests/*.trs' 2>/dev/null |
		sort >"$work/all"
	tr '\n' '\0' <"$work/all" | xargs -0 grep -IHnE \
		'(FIXME|TODO|XXX)' /dev/null |
		grep -vE '^tests/lint/banned\.sh:|FIXME\([a-z0-9-]+\): [^ ]|X{6}' |
		sed 's/$/   <- write FIXME(area): reason/'
	tr '\n' '\0' <"$work/all" | xargs -0 grep -IHnE \
		'(^|[^A-Za-z0-9_.$}])/([w]ork|tmp/b-)/?' /dev/null |
		sed 's/$/   <- a path of one machine/'

	spdx='SPDX-License-Identifier: MIT'
	while read -r f; do
		[ "$(head -n 1 "$f")" = "/* $spdx */" ] ||
			echo "$f:1:   <- the first line is not /* $spdx */"
		case $(sed -n 2p "$f") in
		'/*'*) ;;
		*) echo "$f:2:   <- the second line does not say what it is for" ;;
		esac
	done <"$work/sources"
	grep '\.sh$' "$work/all" | while read -r f; do
		head -n 2 "$f" | grep -q "^# $spdx\$" ||
			echo "$f:2:   <- no line # $spdx"
	done
	)
}

if [ $# -gt 0 ]; then
	breaches "$1"
	exit
fi

breaches "$srcdir" >"$work/found" || true
[ ! -s "$work/found" ] || { cat "$work/found" >&2; fail "see above"; }

# The lint finds what is planted.
plant()
{
	rm -rf "$work/tree"
	mkdir -p "$work/tree/fs" "$work/tree/common"
	{
		echo '/* SPDX-License-Identifier: MIT */'
		echo '/* Planted; strcpy(a, b) in a comment is fine. */'
		echo 'static const char s[] = "sprintf(\"x\")"; // atoi(s)'
		echo "$1"
	} >"$work/tree/fs/planted.c"
	breaches "$work/tree" >"$work/found" 2>/dev/null || true
}
plant 'int x = my_atoi(s) + snprintf(b, 1, s);'
[ ! -s "$work/found" ] || fail "clean code is refused: $(cat "$work/found")"
for bad in 'strcpy(a, b);' 'x = atoi (s);' 'sprintf(b, s);' \
    'p = xmalloc(n * sizeof(*p));' 'p = malloc(1);' \
    "/* FI""XME: later */" "/* TO""DO(x): y */" 'open("/w''ork/x");'; do
	plant "$bad"
	grep -q '^fs/planted.c:4:' "$work/found" || fail "not found: $bad"
done
plant ''
sed -i 1d "$work/tree/fs/planted.c"
breaches "$work/tree" >"$work/found" 2>/dev/null || true
grep -q '^fs/planted.c:1:' "$work/found" || fail "a missing licence is not found"
